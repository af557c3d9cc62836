//! The server under load: the real binary on a temporary folder, and what the system knows of it.

use crate::Outcome;
use crate::http::Http;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_postroom");
const PASSWORD: &str = "a long secret for the bench";
/// Ticks in which the kernel counts CPU time (USER_HZ, the same on every Linux that we run on).
const TICKS_PER_SECOND: f64 = 100.0;

/// The address of a person: Ann, and the colleagues that a bench adds.
pub fn member(number: usize) -> String {
    if number == 0 { "ann@bench.example".into() } else { format!("colleague{number}@bench.example") }
}

/// A server that may be stopped and started again on its folder.
pub struct Server {
    folder: TempDir,
    child: Option<Child>,
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    /// Where it sends to from the next start on.
    pub relay: Option<SocketAddr>,
}

impl Server {
    /// Starts on a fresh folder with one person and one inbox, which has that many messages.
    pub fn start_fresh(messages: usize) -> Outcome<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server =
            Self { folder: TempDir::new()?, child: None, smtp: nowhere, http: nowhere, relay: None };
        server.administer(&[
            "person",
            "add",
            "ann@bench.example",
            "--name",
            "Ann",
            "--password-stdin",
            "--no-mailbox",
        ])?;
        server.administer(&[
            "inbox",
            "add",
            "support@bench.example",
            "--name",
            "Support",
            "--member",
            "ann@bench.example:admin",
        ])?;
        if messages > 0 {
            crate::synthetic::fill(server.folder.path(), messages)?;
        }
        server.start()?;
        Ok(server)
    }

    /// Starts the process; gives the seconds until HTTP has answered.
    pub fn start(&mut self) -> Outcome<f64> {
        let file = self.folder.path().join("addresses.json");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let begun = Instant::now();
        let child = Command::new(BINARY)
            .args(["serve", "--http", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--data"])
            .arg(self.folder.path())
            .args(self.relay.map(|relay| format!("--relay=smtp://{relay}")))
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        while !file.exists() {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err("the server doesn't start".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let addresses: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let address = |name: &str| addresses[name].as_str().ok_or("no address")?.parse().map_err(Into::into);
        let parsed: Outcome<(SocketAddr, SocketAddr)> =
            address("http").and_then(|http| Ok((http, address("smtp")?)));
        (self.http, self.smtp) = parsed?;
        // The first login hashes a password on purpose for long; an answer of any kind shows a server at work.
        std::net::TcpStream::connect(self.http)?;
        crate::smtp::Gateway::connect(self.smtp)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// SIGTERM; gives the seconds until the process is gone.
    pub fn stop(&mut self) -> Outcome<f64> {
        let begun = Instant::now();
        Command::new("kill").args(["-TERM", &self.pid()?.to_string()]).status()?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Outcome<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// A JMAP connection of the inbox's admin.
    pub fn client(&self) -> Outcome<Http> {
        self.client_of(&member(0))
    }

    /// A JMAP connection of a person.
    pub fn client_of(&self, email: &str) -> Outcome<Http> {
        let secret = BASE64_STANDARD.encode(format!("{email}:{PASSWORD}"));
        Http::connect(self.http, &format!("Basic {secret}"))
    }

    /// One more agent of the inbox; who is there already stays.
    pub fn add_colleague(&self, email: &str) -> Outcome<()> {
        if self.client_of(email)?.get("/.well-known/jmap").is_ok() {
            return Ok(());
        }
        self.administer(&["person", "add", email, "--name", email, "--password-stdin", "--no-mailbox"])?;
        self.administer(&["inbox", "member", "add", "support@bench.example", &format!("{email}:agent")])
    }

    /// User and system time of the process so far.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        // The name in parentheses may hold anything; utime and stime are fields 14 and 15.
        let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
        let ticks: f64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Resident memory.
    pub fn memory_bytes(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?;
        Ok(kib * 1024)
    }

    /// Waits until full text and compaction have rested for half a second.
    pub fn wait_until_idle(&self) -> Outcome<()> {
        let mut quiet = 0;
        while quiet < 5 {
            let before = self.cpu_seconds()?;
            std::thread::sleep(Duration::from_millis(100));
            quiet = if self.cpu_seconds()? - before < 0.02 { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// What the folder takes on disk.
    pub fn disk_bytes(&self) -> Outcome<u64> {
        fn sum(folder: &Path) -> std::io::Result<u64> {
            use std::os::unix::fs::MetadataExt;
            let mut bytes = 0;
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let meta = entry.metadata()?;
                bytes += if meta.is_dir() { sum(&entry.path())? } else { meta.blocks() * 512 };
            }
            Ok(bytes)
        }
        Ok(sum(self.folder.path())?)
    }

    fn pid(&self) -> Outcome<u32> {
        Ok(self.child.as_ref().ok_or("the server doesn't run")?.id())
    }

    pub fn administer(&self, arguments: &[&str]) -> Outcome<()> {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .arg("--data")
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that wants no password may be gone already.
            let _ = writeln!(stdin, "{PASSWORD}");
        }
        if child.wait()?.success() { Ok(()) } else { Err(format!("{arguments:?} failed").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
