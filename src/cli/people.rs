//! `postroom person` and `postroom app-password`.

use crate::inbox::admin::AdminRequest;
use clap::{Args, Subcommand};
use std::io::{BufRead, IsTerminal, Write};

#[derive(Subcommand)]
pub enum Person {
    /// Add a person, with a mail account of their own.
    #[command(after_help = "Examples:
  postroom person add ann@example.com --name Ann
  echo 'a long secret' | postroom person add ann@example.com --name Ann --password-stdin
  postroom person add ann@example.com --name Ann --no-mailbox")]
    Add {
        email: String,
        #[arg(long)]
        name: String,
        #[command(flatten)]
        password: PasswordFrom,
        /// The person works in inboxes only.
        #[arg(long)]
        no_mailbox: bool,
    },
    /// List all people.
    #[command(after_help = "Example:\n  postroom person list --json")]
    List,
    /// Let a person in nowhere any more; what they own in inboxes becomes unowned.
    #[command(after_help = "Example:\n  postroom person disable ann@example.com")]
    Disable { email: String },
    /// Set a person's password.
    #[command(
        after_help = "Example:\n  postroom person password ann@example.com --password-stdin < secret.txt"
    )]
    Password {
        email: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
}

impl Person {
    /// What it asks.
    pub fn request(self) -> Result<AdminRequest, String> {
        Ok(match self {
            Self::Add { email, name, password, no_mailbox } => {
                AdminRequest::PersonAdd { email, name, password: password.read()?, mailbox: !no_mailbox }
            }
            Self::List => AdminRequest::PersonList,
            Self::Disable { email } => AdminRequest::PersonDisable { email },
            Self::Password { email, password } => {
                AdminRequest::PersonPassword { email, password: password.read()? }
            }
        })
    }
}

#[derive(Args)]
pub struct PasswordFrom {
    /// Read the password from the first line of standard input. Without it a terminal is asked, and
    /// where there is none a password is made and printed.
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordFrom {
    /// The password from standard input or the terminal; `None` has one made.
    fn read(&self) -> Result<Option<String>, String> {
        let stdin = std::io::stdin();
        if !self.password_stdin && !stdin.is_terminal() {
            return Ok(None);
        }
        if !self.password_stdin {
            eprint!("Password (shown as you type; empty: one is made): ");
            std::io::stderr().flush().map_err(|error| error.to_string())?;
        }
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(|error| format!("the password can't be read: {error}"))?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        match (password.is_empty(), self.password_stdin) {
            (false, _) => Ok(Some(password)),
            (true, false) => Ok(None),
            (true, true) => Err("there is no password on standard input".to_owned()),
        }
    }
}

#[derive(Subcommand)]
pub enum AppPassword {
    /// Make an app password; its secret is printed this once.
    #[command(after_help = "Examples:
  postroom app-password add ann@example.com --label laptop
  postroom app-password add ann@example.com --inbox support@example.com --label phone")]
    Add {
        email: String,
        /// It opens this inbox and nothing else.
        #[arg(long, value_name = "EMAIL")]
        inbox: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List app passwords, without their secrets.
    #[command(after_help = "Example:\n  postroom app-password list ann@example.com")]
    List { email: Option<String> },
    /// Revoke an app password; open channels end at once.
    #[command(after_help = "Example:\n  postroom app-password revoke kb")]
    Revoke { id: String },
}

impl AppPassword {
    /// What it asks.
    pub fn request(self) -> AdminRequest {
        match self {
            Self::Add { email, inbox, label } => AdminRequest::AppPasswordAdd { email, inbox, label },
            Self::List { email } => AdminRequest::AppPasswordList { email },
            Self::Revoke { id } => AdminRequest::AppPasswordRevoke { id },
        }
    }
}
