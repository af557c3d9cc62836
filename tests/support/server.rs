//! `postroom serve` as a child process on free ports and a folder of its own, and the other commands
//! beside it. Everything that a test makes goes through the command line.

use super::{Client, Gateway, PASSWORD};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A server of the test's own; it is killed, and its folder removed, when dropped.
pub struct TestServer {
    folder: tempfile::TempDir,
    extra: Vec<String>,
    under: String,
    child: Option<Child>,
    /// `127.0.0.1:PORT`; chosen by the first start and kept by later ones.
    pub http: String,
    pub https: Option<String>,
    pub smtp: String,
    pub lmtp: Option<String>,
    pub smtps: Option<String>,
    pub metrics: Option<String>,
}

/// A server without people.
pub async fn start() -> TestServer {
    start_with(&[]).await
}

/// A server started with further arguments.
pub async fn start_with(extra: &[&str]) -> TestServer {
    let folder = tempfile::tempdir().expect("a folder");
    let any = "127.0.0.1:0".to_owned();
    let extra = extra.iter().map(|one| (*one).to_owned()).collect();
    let mut server = TestServer {
        folder,
        extra,
        under: String::new(),
        child: None,
        http: any.clone(),
        https: None,
        smtp: any,
        lmtp: None,
        smtps: None,
        metrics: None,
    };
    server.start().await;
    server
}

/// The command under test.
pub fn postroom() -> Command {
    Command::new(env!("CARGO_BIN_EXE_postroom"))
}

impl TestServer {
    /// The usual office: ann (lead), bob and cat (agents) with accounts of their own, and support@.
    pub async fn office(extra: &[&str]) -> Self {
        let server = start_with(extra).await;
        for (email, name) in [("ann@x.example", "Ann"), ("bob@x.example", "Bob"), ("cat@x.example", "Cat")] {
            server.person(email, name);
        }
        server.inbox(
            "support@x.example",
            &["ann@x.example:lead", "bob@x.example:agent", "cat@x.example:agent"],
        );
        server
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A path beside the data folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From the next start on the shell runs these commands before it becomes the server.
    pub fn under(&mut self, commands: &str) {
        commands.clone_into(&mut self.under);
    }

    /// Somebody without credentials.
    pub fn stranger(&self) -> Client {
        Client::stranger(&self.http, String::new())
    }

    /// Sends the server a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("a running server").id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("kill");
        assert!(status.success());
    }

    /// Whether the server ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("a child").is_some())
    }

    /// Starts the server and waits until it tells where it listens.
    pub async fn start(&mut self) {
        std::fs::create_dir_all(self.data()).expect("a folder");
        let addresses = self.data().join("addresses.json");
        // What an earlier run left would be read as this run's.
        let _ = std::fs::remove_file(&addresses);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.beside("log"));
        let log = log.expect("a log");
        let child = Command::new("sh")
            .args(["-c", &format!("{}\nexec \"$@\"", self.under), "sh", env!("CARGO_BIN_EXE_postroom")])
            .args(["serve", "--http", &self.http, "--smtp", &self.smtp, "--data"])
            .arg(self.data())
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let child = self.child.insert(child);
        let began = Instant::now();
        let told: Value = loop {
            if let Some(told) =
                std::fs::read(&addresses).ok().and_then(|text| serde_json::from_slice(&text).ok())
            {
                break told;
            }
            if let Some(status) = child.try_wait().expect("a child") {
                panic!("the server ended with {status}: {}", self.log());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no addresses.json: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        self.http = text("http").expect("an address for HTTP");
        self.https = text("https");
        self.smtp = text("smtp").expect("an address for SMTP");
        self.lmtp = text("lmtp");
        self.smtps = text("smtps");
        self.metrics = text("metrics");
    }

    /// What the server wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.beside("log")).unwrap_or_default()
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that ended by itself is as dead.
            let _ = child.kill();
            child.wait().expect("an end");
        }
    }

    /// SIGTERM, and the exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running server");
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it doesn't stop: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs a command on the data folder.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = postroom()
            .args(arguments)
            .env("POSTROOM_DATA", self.data())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        // A command that reads no input may have closed it.
        let _ = child.stdin.take().expect("standard input").write_all(input.as_bytes());
        child.wait_with_output().expect("the command ends")
    }

    /// Runs a command that must succeed, with `--json`, and gives what it printed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(arguments, "")
    }

    /// The same with something on standard input.
    #[track_caller]
    pub fn json_with(&self, arguments: &[&str], input: &str) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let output = self.command(&all, input);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}{}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Adds a person whose password is [`PASSWORD`].
    #[track_caller]
    pub fn person(&self, email: &str, name: &str) -> Value {
        self.json_with(&["person", "add", email, "--name", name, "--password-stdin"], PASSWORD)
    }

    /// Adds an inbox with members, `EMAIL:ROLE` each; gives its account id.
    #[track_caller]
    pub fn inbox(&self, email: &str, members: &[&str]) -> String {
        let mut arguments = vec!["inbox", "add", email, "--name", email];
        for member in members {
            arguments.extend(["--member", member]);
        }
        self.json(&arguments)["accountId"].as_str().expect("an account").to_owned()
    }

    /// Fails unless `postroom check` finds everything in order.
    #[track_caller]
    pub fn check(&self) -> Value {
        let report = self.json(&["check"]);
        assert_eq!(report["faults"], serde_json::json!([]), "{report}");
        report
    }

    /// A person's client.
    pub async fn client(&self, email: &str) -> Client {
        Client::basic(&self.http, email, PASSWORD).await
    }

    /// A gateway's connection.
    pub async fn gateway(&self) -> Gateway {
        Gateway::connect(&self.smtp).await
    }

    /// Delivers one message over a connection of its own; gives the reply to the final dot.
    pub async fn deliver(&self, from: &str, to: &[&str], message: &str) -> String {
        let mut gateway = self.gateway().await;
        let reply = gateway.deliver(from, to, message).await;
        gateway.quit().await;
        reply
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- the server's log\n{}----", self.log());
        }
    }
}
