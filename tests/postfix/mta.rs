//! A Postfix of the test's own: its configuration and its queue lie in a folder that is removed with it, it
//! listens on one loopback port, asks no name server, and no service of the system knows of it.

use crate::support::eventually;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// Services by what they are called in master.cf(5); one a line, nothing in a chroot.
const SERVICES: &str = "
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 1 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
lmtp      unix - - n - - lmtp
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
tlsmgr    unix - - n 1000? 1 tlsmgr
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
";

/// One Postfix; it stops when dropped.
pub struct Postfix {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postfix {
    /// A Postfix that hands mail to each domain to the next hop beside it, as transport(5) spells it, with
    /// further settings of postconf(5). It isn't started yet.
    pub fn new(routes: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let folder = open_folder();
        let path = folder.path().display();
        let port = free_port();
        for name in ["etc", "queue", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let owned = Command::new("chown").arg("postfix").arg(folder.path().join("data")).status();
        assert!(owned.unwrap().success(), "Postfix is installed");
        let mut text = format!(
            "compatibility_level = 3.6\nqueue_directory = {path}/queue\ndata_directory = {path}/data\n\
             meta_directory = /etc/postfix\nmaillog_file = {path}/log\nmaillog_file_prefixes = {path}\n\
             myhostname = mta.example\nmydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\nsmtp_dns_support_level = disabled\nsmtpd_peername_lookup = no\n\
             alias_maps =\nalias_database =\nsmtputf8_enable = yes\nqueue_run_delay = 1s\n\
             minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\n"
        );
        let routes: Vec<String> =
            routes.iter().map(|(domain, next)| format!("{{ {domain} = {next} }}")).collect();
        text += &format!("transport_maps = inline:{{ {} }}\n", routes.join(" "));
        for (name, value) in settings {
            text += &format!("{name} = {value}\n");
        }
        fs::write(folder.path().join("etc/main.cf"), text).unwrap();
        let master = format!("127.0.0.1:{port} inet n - n - - smtpd{SERVICES}");
        fs::write(folder.path().join("etc/master.cf"), master).unwrap();
        Self { folder, port, child: None }
    }

    /// The same, started.
    pub async fn start_with(routes: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let mut postfix = Self::new(routes, settings);
        postfix.start().await;
        postfix
    }

    /// `127.0.0.1:PORT`, chosen before it starts and kept by later starts.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What the server's `relay` is to be, so that it relays through this one.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address())
    }

    pub async fn start(&mut self) {
        let out = File::create(self.folder.path().join("out")).unwrap();
        let mut command = self.command("postfix");
        command.arg("start-fg").stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.child = Some(command.spawn().unwrap());
        eventually("a greeting of Postfix", async || {
            let stream = TcpStream::connect(self.address()).await.ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.ok()?;
            line.starts_with("220 ").then_some(())
        })
        .await;
    }

    /// Changes a setting of the running Postfix; sessions that began before don't know it.
    pub fn set(&self, name: &str, value: &str) {
        self.edit(name, value);
        assert!(self.command("postfix").arg("reload").stderr(Stdio::null()).status().unwrap().success());
    }

    /// Changes a setting for the next start.
    pub fn edit(&self, name: &str, value: &str) {
        let changed = self.command("postconf").args(["-e", &format!("{name}={value}")]).status();
        assert!(changed.unwrap().success());
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = self.command("postfix").arg("stop").stderr(Stdio::null()).status();
            // It has ended, or it ends now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("out") + &read("log")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(format!("/usr/sbin/{name}"));
        command.arg("-c").arg(self.folder.path().join("etc"));
        command
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("---- Postfix's log\n{}----", self.log());
        }
    }
}

/// A folder that Postfix's own user may look into.
pub fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().to_owned();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    folder
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
