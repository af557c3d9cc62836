//! A fake SMTP relay on a free port: it records the messages that it took and behaves as scripted.
//! It shares no code with the server, so that both can't be wrong in the same way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The authority that signed the relay's certificate, for `localhost` and 127.0.0.1.
pub const CA_PEM: &[u8] = include_bytes!("relay_tls/ca.pem");

/// A message that the relay took over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What followed `MAIL FROM:`, parameters included.
    pub mail: String,
    /// What followed each accepted `RCPT TO:`.
    pub rcpts: Vec<String>,
    /// The content, dots unstuffed.
    pub content: Vec<u8>,
}

impl Taken {
    /// The address between the angle brackets after `MAIL FROM:`.
    pub fn return_path(&self) -> String {
        let path = self.mail.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        path.unwrap_or_else(|| panic!("{}", self.mail)).0.to_owned()
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// When the relay closes the connection in the middle of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hangup {
    #[default]
    Never,
    /// After the first line of the content.
    BeforeDot,
    /// After the final dot, not having taken the message.
    AfterDot,
    /// After the final dot, having taken the message.
    AfterTaking,
}

/// How the relay behaves. `None` is the usual reply.
#[derive(Clone, Debug)]
pub struct Script {
    pub greeting: Option<String>,
    /// The lines after the name in the reply to EHLO; none: EHLO is an unknown command.
    pub offers: Vec<String>,
    pub mail: Option<String>,
    /// Replies to RCPT by the address; others are accepted.
    pub rcpts: Vec<(String, String)>,
    pub data: Option<String>,
    pub rset: Option<String>,
    /// The reply to the final dot. The message counts as taken only where it begins with 2.
    pub end: Option<String>,
    pub hangup: Hangup,
    /// A pause before each reply.
    pub pause: Duration,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// The reply to STARTTLS, which is followed by the handshake all the same.
    pub starttls: Option<String>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: None,
            offers: ["SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"].map(String::from).into(),
            mail: None,
            rcpts: Vec::new(),
            data: None,
            rset: None,
            end: None,
            hangup: Hangup::Never,
            pause: Duration::ZERO,
            implicit_tls: false,
            starttls: None,
        }
    }
}

/// A running relay; it stops when dropped.
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    script: Script,
    taken: Vec<Taken>,
    connections: usize,
    commands: Vec<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// A relay that takes everything.
    pub async fn start() -> Self {
        Self::start_with(Script::default()).await
    }

    /// A relay that behaves as `script` says.
    pub async fn start_with(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        shared.state().script = script;
        let server = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.state().connections += 1;
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let implicit_tls = server.state().script.implicit_tls;
                    // A broken connection is what some tests are about.
                    let _ = if implicit_tls {
                        match acceptor().accept(stream).await {
                            Ok(stream) => serve(Box::new(stream), &server).await,
                            Err(error) => Err(error),
                        }
                    } else {
                        serve(Box::new(stream), &server).await
                    };
                });
            }
        });
        Self { address, shared, task }
    }

    /// `127.0.0.1:port`, as operators see it.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// `smtp://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Behaves as `script` says from the next command on.
    pub fn script(&self, script: Script) {
        self.shared.state().script = script;
    }

    /// The messages taken so far.
    pub fn messages(&self) -> Vec<Taken> {
        self.shared.state().taken.clone()
    }

    /// How many messages were taken so far.
    pub fn deliveries(&self) -> usize {
        self.shared.state().taken.len()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// All command lines of all connections, in order.
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// Waits until `count` messages were taken and gives them; panics after a minute.
    pub async fn wait_for(&self, count: usize) -> Vec<Taken> {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.deliveries() >= count {
                    return self.messages();
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(messages) => messages,
            Err(_) => panic!("the relay took {} of {count} messages", self.deliveries()),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// TLS with the certificate for `localhost` and 127.0.0.1.
pub fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("relay_tls/relay.pem"))
        .collect::<Result<Vec<_>, _>>()
        .expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("relay_tls/relay-key.pem")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate for the key");
    TlsAcceptor::from(Arc::new(config))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection.
struct Dialogue<'a> {
    stream: BufReader<Box<dyn Stream>>,
    shared: &'a Shared,
    mail: String,
    rcpts: Vec<String>,
}

async fn serve(stream: Box<dyn Stream>, shared: &Shared) -> std::io::Result<()> {
    let mut dialogue =
        Dialogue { stream: BufReader::new(stream), shared, mail: String::new(), rcpts: Vec::new() };
    let greeting = dialogue.script().greeting;
    dialogue.say(greeting, "220 relay.test ESMTP").await?;
    while let Some(line) = dialogue.line().await? {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        shared.state().commands.push(line.clone());
        if line == "STARTTLS" {
            let scripted = dialogue.script().starttls;
            dialogue.say(scripted, "220 go").await?;
            let stream = acceptor().accept(dialogue.stream.into_inner()).await?;
            dialogue.stream = BufReader::new(Box::new(stream));
        } else if !dialogue.command(&line).await? {
            break;
        }
    }
    dialogue.stream.shutdown().await
}

impl Dialogue<'_> {
    fn script(&self) -> Script {
        self.shared.state().script.clone()
    }

    async fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let count = self.stream.read_until(b'\n', &mut line).await?;
        Ok((count > 0).then_some(line))
    }

    async fn say(&mut self, scripted: Option<String>, usual: &str) -> std::io::Result<()> {
        tokio::time::sleep(self.script().pause).await;
        let reply = format!("{}\r\n", scripted.as_deref().unwrap_or(usual));
        self.stream.write_all(reply.as_bytes()).await?;
        self.stream.flush().await
    }

    /// Answers a command; false where the connection is to be closed.
    async fn command(&mut self, line: &str) -> std::io::Result<bool> {
        let script = self.script();
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("EHLO") && script.offers.is_empty() {
            self.say(None, "502 5.5.1 What?").await?;
        } else if upper.starts_with("EHLO") {
            let last = script.offers.len() - 1;
            let mut reply = "250-relay.test".to_owned();
            for (number, offer) in script.offers.iter().enumerate() {
                reply += &format!("\r\n250{}{offer}", if number == last { ' ' } else { '-' });
            }
            self.say(None, &reply).await?;
        } else if let Some(mail) = upper.starts_with("MAIL FROM:").then(|| &line[10..]) {
            self.mail = mail.to_owned();
            self.rcpts.clear();
            self.say(script.mail, "250 2.1.0 Ok").await?;
        } else if let Some(rcpt) = upper.starts_with("RCPT TO:").then(|| &line[8..]) {
            let scripted = script.rcpts.iter().find(|(address, _)| rcpt.starts_with(&format!("<{address}>")));
            let reply = scripted.map(|(_, reply)| reply.clone());
            if reply.as_ref().is_none_or(|reply| reply.starts_with('2')) {
                self.rcpts.push(rcpt.to_owned());
            }
            self.say(reply, "250 2.1.5 Ok").await?;
        } else if upper == "DATA" {
            let agreed = script.data.as_ref().is_none_or(|reply| reply.starts_with("354"));
            self.say(script.data, "354 Go ahead").await?;
            return if agreed { self.message(script.hangup).await } else { Ok(true) };
        } else if upper == "QUIT" {
            self.say(None, "221 2.0.0 Bye").await?;
            return Ok(false);
        } else if upper == "RSET" {
            self.rcpts.clear();
            self.say(script.rset, "250 2.0.0 Ok").await?;
        } else if upper.starts_with("AUTH") {
            self.say(None, "235 2.7.0 Welcome").await?;
        } else {
            self.say(None, "250 2.0.0 Ok").await?;
        }
        Ok(true)
    }

    async fn message(&mut self, hangup: Hangup) -> std::io::Result<bool> {
        let mut content = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            if line == b".\r\n" {
                break;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if hangup == Hangup::BeforeDot {
                return Ok(false);
            }
        }
        let end = self.script().end;
        let good = end.as_ref().is_none_or(|reply| reply.starts_with('2'));
        if good && hangup != Hangup::AfterDot {
            let taken = Taken { mail: self.mail.clone(), rcpts: std::mem::take(&mut self.rcpts), content };
            self.shared.state().taken.push(taken);
            self.shared.changed.notify_waiters();
        }
        if hangup != Hangup::Never {
            return Ok(false);
        }
        self.say(end, "250 2.0.0 Queued").await?;
        Ok(true)
    }
}
