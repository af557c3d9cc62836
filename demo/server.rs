//! The real binary as a child process: serve, kill, serve again, and the commands beside it.

use crate::Outcome;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the server may take until it answers.
const START_SECONDS_MAX: u64 = 30;
/// How long it may take to end after SIGTERM.
const STOP_SECONDS_MAX: u64 = 15;

pub struct Server {
    binary: PathBuf,
    pub data: PathBuf,
    relay: String,
    child: Option<Child>,
    /// `127.0.0.1:PORT`; chosen by the first start, and kept by later ones.
    pub http: String,
    pub smtp: String,
}

impl Server {
    pub fn new(data: &Path, relay: String) -> Outcome<Self> {
        let any = "127.0.0.1:0".to_string();
        Ok(Self { binary: binary()?, data: data.into(), relay, child: None, http: any.clone(), smtp: any })
    }

    pub async fn start(&mut self) -> Outcome<()> {
        let addresses = self.data.join("addresses.json");
        // What an earlier run left would be read as this run's.
        let _ = std::fs::remove_file(&addresses);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.binary)
            .args(["serve", "--http", &self.http, "--smtp", &self.smtp, "--relay", &self.relay, "--data"])
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        let addresses: Value = loop {
            if let Some(status) = child.try_wait()? {
                return Err(
                    format!("the server ended at once ({status}), see {}", self.log().display()).into()
                );
            }
            let read = std::fs::read(&addresses).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(read) = read {
                break read;
            }
            if Instant::now() > deadline {
                return Err("the server wrote no addresses.json".into());
            }
            sleep(Duration::from_millis(20)).await;
        };
        self.http = addresses["http"].as_str().ok_or("addresses.json has no http")?.into();
        self.smtp = addresses["smtp"].as_str().ok_or("addresses.json has no smtp")?.into();
        Ok(())
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) -> Outcome<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and the server's own exit, which is to be 0.
    pub async fn stop(&mut self) -> Outcome<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        let deadline = Instant::now() + Duration::from_secs(STOP_SECONDS_MAX);
        let status: ExitStatus = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err("the server didn't stop after SIGTERM".into());
            }
            sleep(Duration::from_millis(20)).await;
        };
        self.child = None;
        if status.success() { Ok(()) } else { Err(format!("the server stopped with {status}").into()) }
    }

    /// Runs one of the other commands on the same data folder and gives what it printed. It may block:
    /// nobody else waits meanwhile.
    pub fn command(&self, arguments: &[&str], input: Option<&str>) -> Outcome<String> {
        let mut child = Command::new(&self.binary)
            .args(arguments)
            .env("POSTROOM_DATA", &self.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or("no standard input")?;
        // A command that reads no input may have closed it.
        let _ = stdin.write_all(input.unwrap_or("").as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim_end().to_string();
        if !output.status.success() {
            let told = text(&output.stderr);
            return Err(
                format!("postroom {} ended with {}: {told}", arguments.join(" "), output.status).into()
            );
        }
        Ok(text(&output.stdout))
    }

    /// Beside the data folder, never in it.
    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

/// However the demo ends, its server doesn't outlive it.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The binary that make built beside this example, or POSTROOM_BIN.
fn binary() -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os("POSTROOM_BIN") {
        return Ok(path.into());
    }
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(Path::parent).ok_or("no build folder")?;
    let binary = folder.join(format!("postroom{}", std::env::consts::EXE_SUFFIX));
    if binary.exists() { Ok(binary) } else { Err("the server isn't built: use `make demo`".into()) }
}
