//! SMTP and LMTP listeners: sockets, timeouts and limits around [`Session`].
//!
//! Invariants:
//! - A reply leaves only after everything it depends on: the delivery hook returns when the
//!   message is durable, and the 250 is made from what it returned.
//! - A connection costs one buffer, one line, its pending replies and one message, and the messages
//!   of all connections share one budget.
//! - Whatever a peer sends, and whatever a hook does, ends at worst its own connection.
//! - After `shutdown` turns true nothing is accepted; sessions between transactions get 421,
//!   running transactions may end within `shutdown_wait`.
//!
//! A header of the PROXY protocol is read from proxies that are configured, and from nobody else.

use super::client_roots::ClientRoots;
use super::smtp_limits::{
    BudgetShare, ConnectionCount, ConnectionGuard, IntakeLimits, IpNetwork, MessageBudget, Pace, TooMany,
    Turns,
};
use super::smtp_log;
use crate::auth::LoginError;
use crate::mail::envelope::Envelope;
use crate::smtp::proxy::{self, ProxyHeader};
use crate::smtp::session::{
    Action, DeliveryAnswer, Dialect, RecipientAnswer, Rights, Session, SessionSettings,
};
use crate::types::Address;
use crate::types::limits::{
    SMTP_COMMAND_SECONDS_MAX, SMTP_DATA_SECONDS_MAX, SMTP_MESSAGE_SECONDS_MAX, SMTP_REPLY_SECONDS_MAX,
    SMTP_SHUTDOWN_SECONDS_MAX,
};
use crate::types::metrics::{Metrics, Raised, count};
use futures_util::future::{BoxFuture, join_all};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tracing::Instrument;

/// How the listeners behave.
#[derive(Clone)]
pub struct SmtpConfig {
    pub session: SessionSettings,
    pub limits: IntakeLimits,
    pub peers: PeerRules,
    /// The certificate to show now; `None`: no TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Wait for a command.
    pub command_wait: Duration,
    /// Wait for the next octets of a message.
    pub data_wait: Duration,
    /// Wait for a whole message.
    pub message_wait: Duration,
    /// Wait until the peer has taken what we sent.
    pub reply_wait: Duration,
    /// Wait for running transactions at the end.
    pub shutdown_wait: Duration,
}

impl SmtpConfig {
    /// The figures of `types/limits.rs`.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            session: SessionSettings::new(hostname),
            limits: IntakeLimits::default(),
            peers: PeerRules::default(),
            tls: None,
            command_wait: Duration::from_secs(SMTP_COMMAND_SECONDS_MAX),
            data_wait: Duration::from_secs(SMTP_DATA_SECONDS_MAX),
            message_wait: Duration::from_secs(SMTP_MESSAGE_SECONDS_MAX),
            reply_wait: Duration::from_secs(SMTP_REPLY_SECONDS_MAX),
            shutdown_wait: Duration::from_secs(SMTP_SHUTDOWN_SECONDS_MAX),
        }
    }
}

/// Which peers may do what.
#[derive(Clone, Debug, Default)]
pub struct PeerRules {
    /// Who may deliver without a login; `None`: everybody who connects.
    pub may_deliver: Option<Vec<IpNetwork>>,
    /// Logins are taken, over TLS.
    pub login: bool,
    /// Whose certificates let a client deliver.
    pub clients: Option<ClientRoots>,
    /// Proxies that begin each connection with a header of the PROXY protocol.
    pub proxies: Vec<IpNetwork>,
    /// Peers that may say by XCLIENT whom they speak for.
    pub xclient: Vec<IpNetwork>,
}

impl PeerRules {
    fn rights(&self, gateways: &[IpNetwork], peer: Option<IpAddr>, tls: bool, encrypted: bool) -> Rights {
        let within = |networks: &[IpNetwork]| {
            peer.is_some_and(|peer| networks.iter().any(|network| network.contains(peer)))
        };
        Rights {
            encrypted,
            starttls: tls && !encrypted,
            login: self.login,
            certificates: self.clients.is_some(),
            // A unix socket is open to whom its file is.
            must_login: peer.is_some() && self.may_deliver.as_ref().is_some_and(|allowed| !within(allowed)),
            xclient: within(&self.xclient),
            // A unix socket is the gateway's.
            gateway: peer.is_none() || within(gateways),
            paced: true,
        }
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(peer))
    }
}

/// Whether we take mail for an address.
pub type RecipientHook = Box<dyn Fn(Address) -> BoxFuture<'static, RecipientAnswer> + Send + Sync>;
/// Keeps a message durably; one answer for each recipient, in the order of the envelope.
pub type DeliverHook =
    Box<dyn Fn(Envelope, Vec<u8>) -> BoxFuture<'static, Vec<DeliveryAnswer>> + Send + Sync>;

/// Whether a name and a password are right, from that address.
pub type LoginHook =
    Box<dyn Fn(String, String, Option<IpAddr>) -> BoxFuture<'static, Result<(), LoginError>> + Send + Sync>;

/// The questions that a session asks of the server.
pub struct SmtpHooks {
    pub recipient: RecipientHook,
    pub deliver: DeliverHook,
    pub login: LoginHook,
}

/// A socket that waits for the gateway.
#[derive(Debug)]
pub enum SmtpListener {
    Tcp(TcpListener),
    /// TLS from the first octet (RFC 8314 §3.3).
    Tls(TcpListener),
    Unix(UnixListener),
}

impl SmtpListener {
    /// Listens on a TCP address; port 0 takes a free one.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// Listens on a TCP address for TLS from the first octet.
    pub async fn tls(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Tls)
    }

    /// Listens on a unix path. A socket that a dead process left there is replaced; a living one
    /// or anything that isn't a socket is an error.
    pub async fn unix(path: &Path) -> io::Result<Self> {
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        if is_socket && UnixStream::connect(path).await.is_err() {
            std::fs::remove_file(path)?;
        }
        UnixListener::bind(path).map(Self::Unix)
    }

    /// The TCP address; `None` of a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Peer> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => {
                let implicit_tls = matches!(self, Self::Tls(_));
                listener.accept().await.map(|(stream, peer)| Peer::Tcp(stream, peer.ip(), implicit_tls))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Peer::Unix(stream)),
        }
    }
}

enum Peer {
    Tcp(TcpStream, IpAddr, bool),
    Unix(UnixStream),
}

/// What all connections share.
struct Server {
    config: SmtpConfig,
    settings: Arc<SessionSettings>,
    hooks: SmtpHooks,
    connections: Arc<ConnectionCount>,
    pace: Pace,
    budget: MessageBudget,
    turns: Turns,
    metrics: Arc<Metrics>,
}

const BUFFER_BYTES: usize = 16 * 1024;
/// Replies to a pipelining client are sent in pieces of about this.
const REPLIES_BYTES: usize = 16 * 1024;
/// After an error of accept, mostly too many open files, there is this much rest.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a closed connection is read on, so that the last reply isn't lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Serves all listeners until `shutdown` turns true (or its sender is gone) and the running
/// transactions have ended. The limits hold for all listeners together.
pub async fn serve(
    listeners: Vec<(SmtpListener, Dialect)>,
    config: SmtpConfig,
    hooks: SmtpHooks,
    metrics: Arc<Metrics>,
    shutdown: watch::Receiver<bool>,
) {
    let server = Arc::new(Server {
        settings: Arc::new(config.session.clone()),
        connections: ConnectionCount::new(config.limits.clone()),
        pace: Pace::new(&config.limits),
        budget: MessageBudget::new(&config.limits),
        turns: Turns::new(&config.limits),
        config,
        hooks,
        metrics,
    });
    join_all(
        listeners
            .into_iter()
            .map(|(listener, dialect)| accept_all(listener, dialect, Arc::clone(&server), shutdown.clone())),
    )
    .await;
}

async fn accept_all(
    listener: SmtpListener,
    dialect: Dialect,
    server: Arc<Server>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(ended) = tasks.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok(peer) => admit(peer, dialect, &server, &shutdown, &mut tasks),
                Err(error) => {
                    tracing::warn!(%error, "an SMTP connection could not be accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
    drop(listener);
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    if timeout(server.config.shutdown_wait, all_ended).await.is_err() {
        tracing::warn!(left = tasks.len(), "SMTP sessions were cut off at shutdown");
        tasks.shutdown().await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an SMTP session ended in a panic; its client will try again");
    }
}

/// Ready once the server stops.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and with it whoever could want us to go on.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

fn admit(
    peer: Peer,
    dialect: Dialect,
    server: &Arc<Server>,
    shutdown: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    let address = match &peer {
        Peer::Tcp(_, address, _) => Some(*address),
        Peer::Unix(_) => None,
    };
    // A proxy's connection counts for whom it speaks, which it says first.
    let counted = address.filter(|peer| !server.config.peers.is_proxy(*peer));
    let guard = match server.connections.enter(counted) {
        Ok(guard) => guard,
        Err(why) => {
            count(&server.metrics.smtp_connections, "result", "turned away");
            return turn_away(&peer, why, &server.settings.hostname);
        }
    };
    count(&server.metrics.smtp_connections, "result", "let in");
    let (stream, implicit_tls): (Box<dyn Stream>, bool) = match peer {
        Peer::Tcp(stream, _, implicit_tls) => {
            // Replies are small and awaited; without this each would wait for an acknowledgement.
            let _ = stream.set_nodelay(true);
            (Box::new(stream), implicit_tls)
        }
        Peer::Unix(stream) => (Box::new(stream), false),
    };
    let newcomer = Newcomer { stream, address, implicit_tls, dialect };
    let session = converse(newcomer, Arc::clone(server), shutdown.clone(), guard);
    tasks.spawn(session.instrument(smtp_log::session(address)));
}

/// A connection before its first octet.
struct Newcomer {
    stream: Box<dyn Stream>,
    address: Option<IpAddr>,
    implicit_tls: bool,
    dialect: Dialect,
}

/// RFC 5321 §3.1 and §4.2.2: 421 in place of the greeting.
fn too_many(why: TooMany, hostname: &str) -> String {
    let why = match why {
        TooMany::InAll => "4.3.2 Too many connections",
        TooMany::FromAddress => "4.7.0 Too many connections from your address",
    };
    format!("421 {why} at {hostname}, try again later\r\n")
}

/// A fresh socket has room for a line.
fn turn_away(peer: &Peer, why: TooMany, hostname: &str) {
    let line = too_many(why, hostname);
    let _ = match peer {
        Peer::Tcp(stream, ..) => stream.try_write(line.as_bytes()),
        Peer::Unix(stream) => stream.try_write(line.as_bytes()),
    };
}

async fn converse(
    newcomer: Newcomer,
    server: Arc<Server>,
    shutdown: watch::Receiver<bool>,
    guard: ConnectionGuard,
) {
    let _open = Raised::new(&server.metrics.smtp_open);
    let ended = async {
        let mut connection = begin(newcomer, server, guard).await?;
        connection.run(shutdown).await
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "an SMTP connection broke");
    }
}

/// Everything before the greeting: the proxy's header, then TLS where it begins at once.
async fn begin(
    newcomer: Newcomer,
    server: Arc<Server>,
    mut guard: ConnectionGuard,
) -> io::Result<Connection> {
    let Newcomer { mut stream, mut address, implicit_tls, dialect } = newcomer;
    if address.is_some_and(|peer| server.config.peers.is_proxy(peer)) {
        let header = proxy_header(&mut stream);
        let told = timeout(server.config.reply_wait, header).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if let Some(told) = told {
            smtp_log::speaks_for(told);
            if let Err(why) = guard.speaks_for(told) {
                count(&server.metrics.smtp_connections, "result", "turned away");
                let line = too_many(why, &server.settings.hostname);
                let _ = timeout(server.config.reply_wait, stream.write_all(line.as_bytes())).await;
                return Err(io::Error::other("too many connections from one address behind a proxy"));
            }
        }
        address = told.or(address);
    }
    let mut vouched = false;
    if implicit_tls {
        (stream, vouched) = encrypt(stream, &server).await?;
    }
    let config = &server.config;
    let rights = config.peers.rights(&config.limits.gateways, address, config.tls.is_some(), implicit_tls);
    let mut session = Session::new(Arc::clone(&server.settings), dialect, address).with_rights(rights);
    if vouched {
        session.vouched();
    }
    let share = server.budget.share();
    let (out, message_ends) = (Vec::new(), None);
    Ok(Connection { stream, address, told: None, guard, session, server, share, out, message_ends })
}

/// Reads the header octet by octet, so that nothing behind it is taken: it is short, and a TLS
/// handshake may follow.
async fn proxy_header(stream: &mut Box<dyn Stream>) -> io::Result<Option<IpAddr>> {
    let mut header = Vec::new();
    loop {
        match proxy::read(&header) {
            ProxyHeader::Whole(_, address) => return Ok(address),
            ProxyHeader::Wrong => {
                return Err(io::Error::other("a proxy sent no header of the PROXY protocol"));
            }
            ProxyHeader::Unfinished => header.push(stream.read_u8().await?),
        }
    }
}

/// The connection over TLS, and whether the client has shown a certificate that counts.
async fn encrypt(stream: Box<dyn Stream>, server: &Server) -> io::Result<(Box<dyn Stream>, bool)> {
    let Some(tls) = &server.config.tls else { return Err(io::Error::other("there is no certificate")) };
    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
    let stream =
        timeout(server.config.reply_wait, handshake).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let shown = stream.get_ref().1.peer_certificates();
    let vouched = server.config.peers.clients.as_ref().is_some_and(|roots| roots.vouch_for(shown));
    Ok((Box::new(stream), vouched))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Connection {
    stream: Box<dyn Stream>,
    address: Option<IpAddr>,
    /// For whom the client speaks by XCLIENT.
    told: Option<IpAddr>,
    guard: ConnectionGuard,
    session: Session,
    server: Arc<Server>,
    share: BudgetShare,
    /// Replies that weren't sent yet.
    out: Vec<u8>,
    /// When the message being received must have come.
    message_ends: Option<Instant>,
}

/// What came while waiting for the client.
enum Heard {
    Octets(usize),
    End,
    Silence,
    Shutdown,
}

impl Connection {
    async fn run(&mut self, mut shutdown: watch::Receiver<bool>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if !self.act().await? {
                return self.linger(&mut buffer).await;
            }
            if self.is_one_too_many() {
                self.session.close("4.7.0", "Too many connections from your address");
                continue;
            }
            self.weigh_message().await;
            match self.hear(&mut buffer, &mut shutdown).await? {
                Heard::Octets(count) => self.session.receive(buffer.get(..count).unwrap_or_default()),
                Heard::End => return Ok(()),
                Heard::Silence => self.session.close("4.4.2", "Waited too long for you"),
                Heard::Shutdown => self.session.close("4.3.2", "The server stops"),
            }
        }
    }

    /// Whether the connection is one too many of the address that the client speaks for since a moment ago.
    fn is_one_too_many(&mut self) -> bool {
        let told = self.session.speaks_for();
        let Some(address) = told.filter(|_| told != self.told) else { return false };
        self.told = told;
        smtp_log::speaks_for(address);
        self.guard.speaks_for(address).is_err()
    }

    /// Carries out all actions that there are; false once the connection is to be closed.
    async fn act(&mut self) -> io::Result<bool> {
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Reply(reply) => {
                    self.server.metrics.smtp_replies.get_or_create(&[("code", reply.code.into())]).inc();
                    reply.write_to(&mut self.out);
                    if self.out.len() >= REPLIES_BYTES {
                        self.flush().await?;
                    }
                }
                Action::CheckPace(peer) => {
                    self.session.pace_answer(self.server.pace.allows(peer, Instant::now()));
                }
                Action::CheckRecipient(address) => {
                    let answer = match self.server.turns.are_many_waiting() {
                        true => RecipientAnswer::Busy,
                        false => (self.server.hooks.recipient)(address).await,
                    };
                    self.session.recipient_answer(answer);
                }
                Action::Deliver { envelope, content } => {
                    let (begun, size) = (Instant::now(), content.len());
                    let answers = match self.server.turns.take().await {
                        Some(_turn) => (self.server.hooks.deliver)(envelope, content).await,
                        None => {
                            let busy = DeliveryAnswer::TryLater("busy now, try again later".to_owned());
                            vec![busy; envelope.recipients.len()]
                        }
                    };
                    smtp_log::message(&self.server.metrics, size, &answers, begun);
                    self.session.delivery_answer(&answers);
                    self.message_ends = None;
                    // The share is given back by weigh_message, now that the content is gone.
                }
                Action::StartTls => {
                    self.flush().await?;
                    let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
                    let (stream, vouched) = encrypt(plain, &self.server).await?;
                    self.stream = stream;
                    self.session.tls_ready();
                    if vouched {
                        self.session.vouched();
                    }
                }
                Action::Login { name, password } => {
                    let answer = (self.server.hooks.login)(name, password, self.address).await;
                    if answer.is_err() {
                        count(&self.server.metrics.logins, "where", "smtp");
                    }
                    self.session.login_answer(answer);
                }
                Action::Close => {
                    self.flush().await?;
                    return Ok(false);
                }
            }
        }
        self.flush().await?;
        Ok(true)
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        timeout(self.server.config.reply_wait, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.out.clear();
        Ok(())
    }

    /// Takes from the budget what the message needs by now. While it waits nothing is read, which
    /// slows the client down; where the budget stays used up, the message is refused for now.
    async fn weigh_message(&mut self) {
        if !self.share.resize(self.session.message_bytes()).await {
            tracing::warn!("a message was refused for now: too many octets are being received at once");
            self.session.refuse_for_room();
            self.share.resize(0).await;
        }
    }

    async fn hear(&mut self, buffer: &mut [u8], shutdown: &mut watch::Receiver<bool>) -> io::Result<Heard> {
        let config = &self.server.config;
        let is_receiving = self.session.receiving_message();
        let wait = if is_receiving || self.session.message_bytes() > 0 {
            // Also between chunks (RFC 3030): what has come holds memory that others want.
            let now = Instant::now();
            let ends = *self.message_ends.get_or_insert(now + config.message_wait);
            let patience = if is_receiving { config.data_wait } else { config.command_wait };
            patience.min(ends.saturating_duration_since(now))
        } else {
            self.message_ends = None;
            config.command_wait
        };
        let may_stop = !self.session.in_transaction();
        tokio::select! {
            biased;
            () = stopped(shutdown), if may_stop => Ok(Heard::Shutdown),
            read = timeout(wait, self.stream.read(buffer)) => match read {
                Err(_) => Ok(Heard::Silence),
                Ok(Ok(0)) => Ok(Heard::End),
                Ok(Ok(count)) => Ok(Heard::Octets(count)),
                Ok(Err(error)) => Err(error),
            },
        }
    }

    /// Says that nothing more will come and reads on for a moment: closing a socket with unread
    /// octets resets it, and the peer may then lose the last reply.
    async fn linger(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.stream.shutdown().await?;
        let drained = async { while self.stream.read(buffer).await.is_ok_and(|count| count > 0) {} };
        let _ = timeout(LINGER, drained).await;
        Ok(())
    }
}
