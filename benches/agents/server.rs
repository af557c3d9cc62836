//! The real binary on a temporary folder, with an inbox and its team.

use crate::Outcome;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_postroom");
const PASSWORD: &str = "a long secret for agents";
/// Ticks in which the kernel counts CPU time (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Server {
    folder: TempDir,
    child: Child,
    pub http: SocketAddr,
    pub smtp: SocketAddr,
}

impl Server {
    /// Starts it, with so many agents in support@agents.example and a lead beside.
    pub fn start(relay: SocketAddr, agents: usize) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(BINARY)
            .args(["serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0"])
            .args(["--relay", &format!("smtp://{relay}"), "--data"])
            .arg(folder.path().join("data"))
            .env("POSTROOM_LOG", "warn")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { folder, child, http: nowhere, smtp: nowhere };
        let (began, file) = (Instant::now(), server.folder.path().join("data/addresses.json"));
        let told: Value = loop {
            if let Some(told) = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok())
            {
                break told;
            }
            if began.elapsed() > Duration::from_secs(60) {
                return Err(format!("the server doesn't start: {}", server.log()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        server.http = told["http"].as_str().ok_or("no address")?.parse()?;
        server.smtp = told["smtp"].as_str().ok_or("no address")?.parse()?;
        server.hire(agents)?;
        Ok(server)
    }

    fn hire(&self, agents: usize) -> Outcome<()> {
        let mut arguments: Vec<String> =
            ["inbox", "add", "support@agents.example", "--name", "Support"].map(str::to_owned).into();
        for number in 0..agents {
            let email = Self::email(number);
            self.command(&["person", "add", &email, "--name", &email, "--password-stdin", "--no-mailbox"])?;
            arguments.extend(["--member".to_owned(), format!("{email}:agent")]);
        }
        self.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(())
    }

    fn email(number: usize) -> String {
        format!("agent-{number}@agents.example")
    }

    /// The Authorization of an agent.
    pub fn authorization(number: usize) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{PASSWORD}", Self::email(number))))
    }

    /// Runs one of the other commands beside the server; what it prints as JSON.
    pub fn command(&self, arguments: &[&str]) -> Outcome<Value> {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .args(["--json", "--data"])
            .arg(self.folder.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that wants no password may be gone already.
            let _ = writeln!(stdin, "{PASSWORD}");
        }
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).map_err(|_| format!("{arguments:?}: {} {text}", output.status).into())
    }

    /// User and system time of the process so far.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Waits until nothing goes on behind.
    pub fn wait_until_idle(&self) -> Outcome<()> {
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.cpu_seconds()?;
            std::thread::sleep(Duration::from_millis(100));
            quiet = if self.cpu_seconds()? - before < 0.03 { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
