//! Messages to a relay: the sockets, TLS and the patience around [`Client`].
//!
//! Invariants:
//! - `before_data` has returned `Ok` before the first octet of the message is written.
//! - The final dot is written apart from the message, so that a connection that broke before it is
//!   known to have transferred nothing (RFC 5321 §4.1.1.4), and only one that broke after it gives
//!   `Unknown`.
//! - Every wait has an end, and all of them together end before the queue's lease does: nobody else
//!   begins with a message while it is still being handed over.
//! - Credentials never go over a connection without TLS.
//! - A connection is used for another message only while both sides agree that none is under way, and
//!   only after it has answered RSET (RFC 5321 §4.1.1.5). What has closed meanwhile costs a new
//!   connection and nothing else.
//!
//! Deliberately absent: MX lookups, the choice between relays.

use crate::mail::seven_bit;
use crate::smtp::client::{Client, Event, Introduction, Order, Outcome, RelayEnvelope};
use crate::smtp::data::{DotStuffer, FINAL_DOT};
use crate::smtp::reply::{RelayReply, ReplyReader};
use crate::types::limits::{
    RELAY_BLOCK_SECONDS_MAX, RELAY_CONNECT_SECONDS_MAX, RELAY_DATA_SECONDS_MAX, RELAY_FINAL_SECONDS_MAX,
    RELAY_HANDOVER_SECONDS_MAX, RELAY_IDLE_SECONDS_MAX, RELAY_MESSAGES_PER_CONNECTION_MAX,
    RELAY_QUIT_SECONDS_MAX, RELAY_REPLY_SECONDS_MAX,
};
use lettre::transport::smtp::authentication::Credentials;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Where the relay is and how to talk to it.
#[derive(Clone)]
pub struct RelayConfig {
    host: String,
    port: u16,
    security: Security,
    /// The user's name in a login.
    user: Option<String>,
    introduction: Introduction,
    tls: Arc<ClientConfig>,
    pub waits: RelayWaits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Security {
    None,
    StartTls,
    /// TLS from the first octet (RFC 8314 §3.3).
    Implicit,
}

/// How long to wait for what (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug)]
pub struct RelayWaits {
    pub connect: Duration,
    pub reply: Duration,
    pub data: Duration,
    pub block: Duration,
    pub last: Duration,
    /// All of it together.
    pub whole: Duration,
}

impl Default for RelayWaits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(RELAY_CONNECT_SECONDS_MAX),
            reply: Duration::from_secs(RELAY_REPLY_SECONDS_MAX),
            data: Duration::from_secs(RELAY_DATA_SECONDS_MAX),
            block: Duration::from_secs(RELAY_BLOCK_SECONDS_MAX),
            last: Duration::from_secs(RELAY_FINAL_SECONDS_MAX),
            whole: Duration::from_secs(RELAY_HANDOVER_SECONDS_MAX),
        }
    }
}

/// Why a relay can't be configured so.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RelayConfigError {
    #[error("a relay is smtp://host:port, smtp+starttls://user:password@host:port or smtps://…, not {0}")]
    Form(String),
    #[error("a password for the relay needs smtp+starttls:// or smtps://")]
    PasswordWithoutTls,
    #[error("the name for EHLO is a domain or an address literal, not {0:?}")]
    Hello(String),
    #[error("the file of root certificates has no usable certificate: {0}")]
    RootCertificates(String),
}

impl RelayConfig {
    /// Reads the relay's URL:
    ///
    /// | URL | means |
    /// |---|---|
    /// | `smtp://host:port` | no TLS, no password; port 25 |
    /// | `smtp+starttls://user:password@host:port` | STARTTLS is demanded; port 587 |
    /// | `smtps://user:password@host:port` | TLS from the start; port 465 |
    ///
    /// User and password are optional and percent-encoded; an IPv6 host stands in brackets. `hello`
    /// is our name in EHLO. `extra_roots_pem` are root certificates to trust beside the public ones.
    pub fn parse(url: &str, hello: &str, extra_roots_pem: Option<&[u8]>) -> Result<Self, RelayConfigError> {
        let form = || RelayConfigError::Form(without_password(url));
        let (scheme, rest) = url.split_once("://").ok_or_else(form)?;
        let (security, default_port) = match scheme {
            "smtp" => (Security::None, 25),
            "smtp+starttls" => (Security::StartTls, 587),
            "smtps" => (Security::Implicit, 465),
            _ => return Err(form()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let (host, port) = host_and_port(authority, default_port).ok_or_else(form)?;
        let (user, credentials) = match user {
            None => (None, None),
            Some(_) if security == Security::None => return Err(RelayConfigError::PasswordWithoutTls),
            Some(user) => {
                let (name, password) = user.split_once(':').ok_or_else(form)?;
                let name = percent_decoded(name).ok_or_else(form)?;
                let password = percent_decoded(password).ok_or_else(form)?;
                (Some(name.clone()), Some(Credentials::new(name, password)))
            }
        };
        if hello.is_empty() || !hello.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(RelayConfigError::Hello(hello.to_owned()));
        }
        let starttls = security == Security::StartTls;
        let introduction = Introduction { hello: hello.to_owned(), starttls, credentials };
        let tls = Arc::new(tls_config(extra_roots_pem)?);
        Ok(Self { host, port, security, user, introduction, tls, waits: RelayWaits::default() })
    }
}

impl RelayConfig {
    /// `HOST:PORT`, or `USER@HOST:PORT`, for logs and operators.
    pub fn name(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{user}{host}:{}", self.port)
    }
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

fn host_and_port(authority: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default_port), |digits| digits.parse().ok())?;
    let fits = !host.is_empty()
        && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet));
    fits.then(|| (host.to_owned(), port))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        if octet == b'%' {
            let digits = [octets.next()?, octets.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            out.push(octet);
        }
    }
    String::from_utf8(out).ok()
}

/// TLS to servers that the public roots vouch for, or these, in PEM.
pub fn tls_config(extra_roots_pem: Option<&[u8]>) -> Result<ClientConfig, RelayConfigError> {
    let wrong = |error: String| RelayConfigError::RootCertificates(error);
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_roots_pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(wrong("it is empty".to_owned()));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A relay with the connections to it.
pub struct RelayLink {
    config: RelayConfig,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that waits for the next message.
struct Idle {
    line: Line,
    offers: Vec<String>,
    since: Instant,
}

impl RelayLink {
    /// A relay to which at most so many connections are open at once.
    pub fn new(config: RelayConfig, connections_max: usize) -> Self {
        let permits = Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS));
        Self { config, permits, idle: Mutex::default() }
    }

    /// Hands one message to the relay, by `ends` at the latest. `before_data` is called once, when the
    /// relay has agreed to take the message (354) and before any of it is sent; it must put on record,
    /// durably, that the message may be delivered from now on. If it fails the message isn't sent:
    /// `TryLater`.
    pub async fn hand_over<F, E>(
        &self,
        ends: Instant,
        envelope: &RelayEnvelope,
        raw: &[u8],
        before_data: impl FnOnce() -> F,
    ) -> Outcome
    where
        F: Future<Output = Result<(), E>>,
        E: std::fmt::Display,
    {
        let mut client = Client::new(self.config.introduction.clone(), envelope.clone(), raw);
        // The semaphore is never closed.
        let Ok(_permit) = tokio::time::timeout_at(ends, self.permits.acquire()).await else {
            return client.lost("all connections to the relay were taken for too long");
        };
        let ends = ends.min(Instant::now() + self.config.waits.whole);
        let (mut line, mut order) = match self.reused(ends).await {
            Some((line, offers)) => (line, client.resume(offers)),
            None => match connect(&self.config, ends).await {
                Ok(mut line) => {
                    let greeting = line.reply(self.config.waits.reply).await;
                    (line, client.next(greeting))
                }
                Err(reason) => return client.lost(&reason),
            },
        };
        let mut before_data = Some(before_data);
        loop {
            let event = match order {
                Order::Command(command) => self.ask(&mut line, &client, &command).await,
                Order::UpgradeTls => match line.upgrade(&self.config).await {
                    Ok(upgraded) => {
                        line = upgraded;
                        Event::TlsReady
                    }
                    // The line went with the failed handshake.
                    Err(reason) => return client.lost(&reason),
                },
                Order::Convert => converted(raw.to_vec()).await,
                Order::Record => match before_data.take() {
                    Some(record) => match record().await {
                        Ok(()) => Event::OnRecord,
                        Err(error) => Event::Lost(format!("the attempt could not be put on record: {error}")),
                    },
                    None => Event::Lost("the attempt was to be recorded twice".to_owned()),
                },
                Order::SendMessage => match self.deliver(&mut line, client.content()).await {
                    Ok(event) => event,
                    Err(reason) => {
                        let early = line.early_reply().await;
                        return client.lost_before_dot(early, &reason);
                    }
                },
                Order::Finish(outcome) => {
                    self.put_away(line, &client);
                    return outcome;
                }
            };
            order = client.next(event);
        }
    }

    async fn ask(&self, line: &mut Line, client: &Client<'_>, command: &[u8]) -> Event {
        let waits = &self.config.waits;
        let wait = if client.awaits_data_reply() { waits.data } else { waits.reply };
        match line.send(command, waits.block).await {
            Ok(()) => line.reply(wait).await,
            Err(reason) => Event::Lost(reason),
        }
    }

    /// The message and its final dot; an error where the dot was never written.
    async fn deliver(&self, line: &mut Line, raw: &[u8]) -> Result<Event, String> {
        let waits = &self.config.waits;
        line.send_message(raw, waits.block).await?;
        Ok(match line.send(FINAL_DOT, waits.block).await {
            Ok(()) => line.reply(waits.last).await,
            Err(reason) => Event::Lost(reason),
        })
    }

    /// A connection that took messages before and is still there.
    async fn reused(&self, ends: Instant) -> Option<(Line, Vec<String>)> {
        loop {
            let Idle { mut line, offers, since } = self.idle().pop()?;
            line.ends = ends;
            if since.elapsed() >= idle_max() {
                line.leave(true);
            } else if line.send(RSET, self.config.waits.block).await.is_ok()
                && let Event::Reply(reply) = line.reply(RSET_WAIT.min(self.config.waits.reply)).await
                && (200..300).contains(&reply.code)
            {
                return Some((line, offers));
            }
        }
    }

    fn put_away(&self, mut line: Line, client: &Client<'_>) {
        line.messages += 1;
        match client.leftover() {
            Some(offers)
                if line.messages < RELAY_MESSAGES_PER_CONNECTION_MAX && !line.reader.holds_octets() =>
            {
                self.idle().push(Idle { line, offers, since: Instant::now() });
            }
            _ => line.leave(client.may_say_quit()),
        }
    }

    /// Closes the connections that have waited too long for another message, or all of them.
    pub fn close_idle(&self, all: bool) {
        let mut idle = self.idle();
        let (old, kept) = idle.drain(..).partition(|one| all || one.since.elapsed() >= idle_max());
        *idle = kept;
        let old: Vec<Idle> = old;
        old.into_iter().for_each(|one| one.line.leave(true));
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn converted(raw: Vec<u8>) -> Event {
    match tokio::task::spawn_blocking(move || seven_bit::convert(&raw)).await {
        Ok(done) => Event::Converted(done),
        Err(error) => Event::Lost(format!("the message could not be converted: {error}")),
    }
}

fn idle_max() -> Duration {
    Duration::from_secs(RELAY_IDLE_SECONDS_MAX)
}

const RSET: &[u8] = b"RSET\r\n";
/// Who doesn't answer RSET by then is left for a new connection.
const RSET_WAIT: Duration = Duration::from_secs(5);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to the relay.
struct Line {
    stream: Box<dyn Stream>,
    reader: ReplyReader,
    /// When the handover is over, whatever is being waited for.
    ends: Instant,
    /// Messages that were handed over, or tried to be.
    messages: u32,
}

/// Octets of the message that are stuffed and written at once.
const BLOCK_BYTES: usize = 32 * 1024;

async fn connect(relay: &RelayConfig, ends: Instant) -> Result<Line, String> {
    let address = (relay.host.as_str(), relay.port);
    let stream = timeout(relay.waits.connect.min(relay.waits.whole), TcpStream::connect(address))
        .await
        .map_err(|_| "the relay can't be reached: no answer in time".to_owned())?
        .map_err(|error| format!("the relay can't be reached: {error}"))?;
    // The final dot is a write of its own and must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let line = Line { stream: Box::new(stream), reader: ReplyReader::default(), ends, messages: 0 };
    if relay.security == Security::Implicit { line.upgrade(relay).await } else { Ok(line) }
}

impl Line {
    /// `wait`, or what is left of the whole handover.
    fn limited(&self, wait: Duration) -> Duration {
        wait.min(self.ends.saturating_duration_since(Instant::now()))
    }

    async fn upgrade(self, relay: &RelayConfig) -> Result<Line, String> {
        // Octets in the clear after the reply to STARTTLS are somebody else's: kept, they would
        // answer for the relay (RFC 3207 §6).
        if self.reader.holds_octets() {
            return Err("octets in the clear followed the reply to STARTTLS".to_owned());
        }
        let name = ServerName::try_from(relay.host.clone())
            .map_err(|_| format!("{} is no name that a certificate can have", relay.host))?;
        let connector = TlsConnector::from(Arc::clone(&relay.tls));
        let stream = timeout(self.limited(relay.waits.connect), connector.connect(name, self.stream))
            .await
            .map_err(|_| "the TLS handshake with the relay took too long".to_owned())?
            .map_err(|error| format!("the TLS handshake with the relay failed: {error}"))?;
        Ok(Line {
            stream: Box::new(stream),
            reader: ReplyReader::default(),
            ends: self.ends,
            messages: self.messages,
        })
    }

    async fn send(&mut self, octets: &[u8], wait: Duration) -> Result<(), String> {
        // A reply that nothing asked for would be taken for the answer to what comes next.
        if self.reader.holds_octets() {
            return Err("the relay spoke out of turn".to_owned());
        }
        let wait = self.limited(wait);
        let written = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        match timeout(wait, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the connection to the relay broke: {error}")),
            Err(_) => Err("the relay took nothing for too long".to_owned()),
        }
    }

    /// The message up to its final dot, without it.
    async fn send_message(&mut self, raw: &[u8], wait: Duration) -> Result<(), String> {
        let mut stuffer = DotStuffer::default();
        let mut block = Vec::with_capacity(BLOCK_BYTES * 2);
        for piece in raw.chunks(BLOCK_BYTES) {
            stuffer.push(piece, &mut block);
            self.send(&block, wait).await?;
            block.clear();
        }
        stuffer.finish(&mut block);
        self.send(&block, wait).await
    }

    async fn reply(&mut self, wait: Duration) -> Event {
        match timeout(self.limited(wait), self.read_reply()).await {
            Ok(Ok(reply)) => Event::Reply(reply),
            Ok(Err(reason)) => Event::Lost(reason),
            Err(_) => Event::Lost("the relay did not answer in time".to_owned()),
        }
    }

    async fn read_reply(&mut self) -> Result<RelayReply, String> {
        let mut buffer = vec![0; 4096];
        // A reply may be there already, read together with the one before it.
        let mut count = 0;
        loop {
            if let Some(reply) = self.reader.receive(buffer.get(..count).unwrap_or_default())? {
                return Ok(reply);
            }
            count = match self.stream.read(&mut buffer).await {
                Ok(0) => return Err("the relay closed the connection".to_owned()),
                Ok(count) => count,
                Err(error) => return Err(format!("the connection to the relay broke: {error}")),
            };
        }
    }

    /// What the relay may have said before it stopped taking the message.
    async fn early_reply(&mut self) -> Option<RelayReply> {
        let wait = Duration::from_secs(RELAY_QUIT_SECONDS_MAX);
        timeout(wait, self.read_reply()).await.ok()?.ok()
    }

    /// Says goodbye without letting the outcome wait for it. Where the relay still waits for the
    /// message, only closing tells it that none comes.
    fn leave(mut self, politely: bool) {
        if politely {
            let wait = Duration::from_secs(RELAY_QUIT_SECONDS_MAX);
            tokio::spawn(async move {
                if self.send(b"QUIT\r\n", wait).await.is_ok() {
                    let _ = timeout(wait, self.read_reply()).await;
                }
                let _ = timeout(wait, self.stream.shutdown()).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<(String, u16, Security), RelayConfigError> {
        RelayConfig::parse(url, "us.example", None).map(|relay| (relay.host, relay.port, relay.security))
    }

    #[test]
    fn relay_urls_are_read() {
        assert_eq!(parse("smtp://relay"), Ok(("relay".into(), 25, Security::None)));
        assert_eq!(parse("smtp://127.0.0.1:2525/"), Ok(("127.0.0.1".into(), 2525, Security::None)));
        assert_eq!(parse("smtp://[::1]:2525"), Ok(("::1".into(), 2525, Security::None)));
        assert_eq!(
            parse("smtp+starttls://u%40x:p%3A%2F@relay.example"),
            Ok(("relay.example".into(), 587, Security::StartTls))
        );
        assert_eq!(parse("smtps://relay.example"), Ok(("relay.example".into(), 465, Security::Implicit)));
    }

    #[test]
    fn other_urls_are_refused_without_showing_the_password() {
        for url in [
            "",
            "relay",
            "http://relay",
            "smtp://",
            "smtp://a:b:c",
            "smtp://relay:x",
            "smtp://[::1]x",
            "smtp://a b",
            "smtps://user@relay",
            "smtps://u:p%zz@relay",
            "smtps://u:p%f@relay",
        ] {
            assert!(matches!(parse(url), Err(RelayConfigError::Form(_))), "{url}");
        }
        assert_eq!(parse("smtp://u:p@relay"), Err(RelayConfigError::PasswordWithoutTls));
        let shown = parse("smtps://u:secret%zz@relay").expect_err("refused").to_string();
        assert!(!shown.contains("secret"), "{shown}");
        for hello in ["", "a b", "a\r\nQUIT"] {
            let refused = RelayConfig::parse("smtp://relay", hello, None).err();
            assert_eq!(refused, Some(RelayConfigError::Hello(hello.into())));
        }
        for pem in [&b""[..], b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let refused = RelayConfig::parse("smtp://relay", "us.example", Some(pem)).err();
            assert!(matches!(refused, Some(RelayConfigError::RootCertificates(_))));
        }
    }
}
