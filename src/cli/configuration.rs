//! `postroom config`: is a file right, and what may stand in it.

use crate::app;
use crate::config::{self, ConfigError, RawConfig};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum Configuration {
    /// Say all that is wrong with a configuration, without starting or changing anything.
    #[command(after_help = "Examples:
  postroom config check --config /etc/postroom.toml
  postroom config check --config /etc/postroom.toml --json && systemctl restart postroom

Exit code 1 where something is wrong.")]
    Check {
        /// The file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print what each key means.
    #[command(after_help = "Example:\n  postroom config reference | less")]
    Reference,
}

/// One thing that is wrong.
struct Finding {
    key: Option<&'static str>,
    why: String,
}

/// Runs the command.
pub fn run(command: &Configuration, data: &Path, json: bool) -> ExitCode {
    let file = match command {
        Configuration::Reference => {
            print!("{}", config::reference());
            return ExitCode::SUCCESS;
        }
        Configuration::Check { config } => config,
    };
    let findings = findings(file, data);
    if json {
        let errors: Vec<Value> =
            findings.iter().map(|one| json!({"key": one.key, "description": one.why})).collect();
        println!("{:#}", json!({"file": file, "errors": errors}));
    } else if findings.is_empty() {
        println!("{} is right", file.display());
    } else {
        findings.iter().for_each(|one| println!("{}", one.why));
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn findings(file: &Path, data: &Path) -> Vec<Finding> {
    let said = |error: ConfigError| Finding { key: error.key(), why: error.to_string() };
    let raw: RawConfig = match config::read(file) {
        Ok(raw) => raw,
        Err(error) => return vec![said(error)],
    };
    match raw.check(data.to_owned()) {
        Ok(config) => app::unusable(&config)
            .into_iter()
            .map(|(key, error)| Finding { key: Some(key), why: error.to_string() })
            .collect(),
        Err(errors) => errors.0.into_iter().map(said).collect(),
    }
}
