//! Messages from the gateway (`wire/smtp_in.rs`).

use crate::support::relay::CA_PEM;
use futures_util::FutureExt;
use postroom::auth::LoginError;
use postroom::mail::envelope::Envelope;
use postroom::smtp::session::{DeliveryAnswer, Dialect, RecipientAnswer};
use postroom::types::Address;
use postroom::wire::client_roots::ClientRoots;
use postroom::wire::smtp_in::{PeerRules, SmtpConfig, SmtpHooks, SmtpListener, serve};
use postroom::wire::smtp_limits::IpNetwork;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

type Delivered = Arc<Mutex<Vec<(Envelope, Vec<u8>)>>>;

/// A server whose hooks answer by the local part of the recipient.
struct Intake {
    address: SocketAddr,
    delivered: Delivered,
    /// A delivery to `held@` ends when a permit is added.
    gate: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Intake {
    async fn start(config: SmtpConfig) -> Self {
        let listener = SmtpListener::tcp("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self::start_on(vec![(listener, Dialect::Smtp)], config, address)
    }

    fn start_on(listeners: Vec<(SmtpListener, Dialect)>, config: SmtpConfig, address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (delivered, gate) = (Delivered::default(), Arc::new(Semaphore::new(0)));
        let task = tokio::spawn(serve(listeners, config, hooks(&delivered, &gate), Arc::default(), stopped));
        Self { address, delivered, gate, stop, task }
    }

    async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        Client { stream: Box::new(stream) }
    }

    fn delivered(&self) -> Vec<(Envelope, Vec<u8>)> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn hooks(delivered: &Delivered, gate: &Arc<Semaphore>) -> SmtpHooks {
    let (delivered, gate) = (Arc::clone(delivered), Arc::clone(gate));
    SmtpHooks {
        login: Box::new(|name, password, _| {
            async move {
            if name == "ann" && password == "secret" { Ok(()) } else { Err(LoginError::Refused) }
        }.boxed()
        }),
        recipient: Box::new(|address: Address| {
            async move {
                match address.as_str() {
                    "unknown@x" => RecipientAnswer::Unknown,
                    "panic@x" => panic!("a hook that fails"),
                    _ => RecipientAnswer::Known,
                }
            }
            .boxed()
        }),
        deliver: Box::new(move |envelope, content| {
            let (delivered, gate) = (Arc::clone(&delivered), Arc::clone(&gate));
            async move {
                if envelope.recipients.iter().any(|address| address.as_str() == "held@x") {
                    gate.acquire().await.expect("an open gate").forget();
                }
                let answer = |address: &Address| match address.as_str() {
                    "defer@x" => DeliveryAnswer::TryLater("Later please".into()),
                    _ => DeliveryAnswer::Accepted { id: address.to_string() },
                };
                let answers = envelope.recipients.iter().map(answer).collect();
                delivered.lock().unwrap_or_else(PoisonError::into_inner).push((envelope, content));
                answers
            }
            .boxed()
        }),
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Client {
    stream: Box<dyn Stream>,
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("the server reads");
    }

    /// Reads until the server has said exactly this; anything else fails.
    #[track_caller]
    fn expect<'a>(&'a mut self, text: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut got = Vec::new();
            while got.len() < text.len() {
                let mut octet = [0];
                let read = tokio::time::timeout(Duration::from_secs(60), self.stream.read(&mut octet)).await;
                match read {
                    Ok(Ok(1)) => got.push(octet[0]),
                    other => panic!("{caller}: {other:?} after {:?}", String::from_utf8_lossy(&got)),
                }
                if got != text.as_bytes()[..got.len()] {
                    break;
                }
            }
            assert_eq!(String::from_utf8_lossy(&got), text, "{caller}");
        }
    }

    /// The server has nothing more to say.
    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), self.stream.read_to_end(&mut rest)).await;
        assert!(matches!(read, Ok(Ok(0))), "{read:?} {:?}", String::from_utf8_lossy(&rest));
    }

    /// Sends messages of that size, a line each, until one is answered so.
    async fn send_until(&mut self, size_bytes: usize, answer: &str) {
        for _ in 0..100 {
            self.up_to_data("a@x").await;
            self.send(&format!("{}\r\n.\r\n", "x".repeat(size_bytes))).await;
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                line.push(self.stream.read_u8().await.expect("an answer"));
            }
            if line == answer.as_bytes() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never answered {answer}");
    }

    async fn hello(&mut self) {
        self.expect("220 mx.test ESMTP Postroom\r\n").await;
        self.send("HELO c\r\n").await;
        self.expect("250 mx.test\r\n").await;
    }

    async fn up_to_data(&mut self, rcpt: &str) {
        self.send(&format!("MAIL FROM:<a@b>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n")).await;
        self.expect("250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n").await;
        self.expect("354 Go ahead, end with CR LF . CR LF\r\n").await;
    }
}

fn config() -> SmtpConfig {
    SmtpConfig::new("mx.test")
}

#[tokio::test]
async fn messages_come_in_over_one_connection() {
    let intake = Intake::start(config()).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.up_to_data("support@x").await;
    client.send("Subject: one\r\n\r\n..\r\n.\r\n").await;
    client.expect("250 2.0.0 Kept as support@x\r\n").await;
    client.up_to_data("defer@x").await;
    client.send("two\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<unknown@x>\r\nQUIT\r\n").await;
    client.expect("451 4.3.0 Later please\r\n250 2.1.0 Sender ok\r\n").await;
    client.expect("550 5.1.1 No such recipient here\r\n221 2.0.0 Bye\r\n").await;
    client.expect_end().await;
    let delivered = intake.delivered();
    assert_eq!(delivered[0].1, b"Subject: one\r\n\r\n.\r\n");
    assert_eq!(delivered[0].0.peer, Some("127.0.0.1".parse().expect("an address")));
    assert_eq!(delivered.len(), 2);
}

#[tokio::test]
async fn a_large_message_comes_in_octet_for_octet() {
    let intake = Intake::start(config()).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.up_to_data("a@x").await;
    let content = "a line of a large message\r\n".repeat(300_000);
    client.send(&content).await;
    client.send(".\r\n").await;
    client.expect("250 2.0.0 Kept as a@x\r\n").await;
    assert!(intake.delivered()[0].1 == content.as_bytes());
}

#[tokio::test]
async fn lmtp_comes_in_over_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lmtp");
    // A socket that a dead process left behind doesn't stop a new one.
    drop(SmtpListener::unix(&path).await.expect("a socket"));
    let listener = SmtpListener::unix(&path).await.expect("a socket");
    assert!(SmtpListener::unix(&path).await.is_err(), "a living socket is left alone");
    let nowhere = "127.0.0.1:0".parse().expect("an address");
    let intake = Intake::start_on(vec![(listener, Dialect::Lmtp)], config(), nowhere);
    let mut client = Client { stream: Box::new(UnixStream::connect(&path).await.expect("a connection")) };
    client.expect("220 mx.test LMTP Postroom\r\n").await;
    client.send("LHLO c\r\n").await;
    client.expect("250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n").await;
    client.expect("250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-DSN\r\n").await;
    client.expect("250-HELP\r\n250-SIZE 52428800\r\n250 LIMITS RCPTMAX=1000 MAILMAX=10000\r\n").await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<a@x>\r\nRCPT TO:<defer@x>\r\nDATA\r\n").await;
    client.expect("250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n250 2.1.5 Recipient ok\r\n").await;
    client.expect("354 Go ahead, end with CR LF . CR LF\r\n").await;
    client.send("x\r\n.\r\n").await;
    client.expect("250 2.0.0 Kept as a@x\r\n451 4.3.0 Later please\r\n").await;
    assert_eq!(intake.delivered()[0].0.peer, None);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let mut limited = config();
    limited.limits.connections_max = 2;
    let intake = Intake::start(limited).await;
    let (mut one, mut two) = (intake.client().await, intake.client().await);
    one.hello().await;
    two.hello().await;
    let mut three = intake.client().await;
    three.expect("421 4.3.2 Too many connections at mx.test, try again later\r\n").await;
    three.expect_end().await;
    one.send("QUIT\r\n").await;
    one.expect("221 2.0.0 Bye\r\n").await;
    one.expect_end().await;
    drop(one);
    for _ in 0..100 {
        let mut again = intake.client().await;
        let mut first = [0; 3];
        again.stream.read_exact(&mut first).await.expect("a greeting");
        if &first == b"220" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place of a closed connection is never given back");
}

#[tokio::test]
async fn an_address_that_is_no_gateway_has_a_limit_of_its_own() {
    let mut limited = config();
    limited.limits.gateways = Vec::new();
    limited.limits.connections_per_address_max = 1;
    let intake = Intake::start(limited).await;
    let mut one = intake.client().await;
    one.hello().await;
    let mut two = intake.client().await;
    two.expect("421 4.7.0 Too many connections from your address at mx.test, try again later\r\n").await;
}

#[tokio::test]
async fn silence_ends_a_session_between_commands_and_within_a_message() {
    let mut impatient = config();
    impatient.command_wait = Duration::from_secs(3);
    impatient.data_wait = Duration::from_secs(3);
    let intake = Intake::start(impatient).await;
    for within_message in [false, true] {
        let mut client = intake.client().await;
        client.hello().await;
        if within_message {
            client.up_to_data("a@x").await;
            client.send("half a mess").await;
        }
        client.expect("421 4.4.2 mx.test Waited too long for you\r\n").await;
        client.expect_end().await;
    }
    assert!(intake.delivered().is_empty());
}

#[tokio::test]
async fn a_message_that_drips_in_ends_too() {
    let mut impatient = config();
    impatient.message_wait = Duration::from_millis(100);
    let intake = Intake::start(impatient).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.up_to_data("a@x").await;
    for _ in 0..15 {
        let _ = client.stream.write_all(b"x").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.expect("421 4.4.2 mx.test Waited too long for you\r\n").await;
}

#[tokio::test]
async fn chunks_hold_their_memory_no_longer_than_a_message_may_take() {
    let mut impatient = config();
    impatient.message_wait = Duration::from_millis(100);
    let intake = Intake::start(impatient).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.send("MAIL FROM:<m@c.example>\r\nRCPT TO:<a@x>\r\nBDAT 5\r\nhello").await;
    let taken = "250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n250 2.0.0 5 octets received\r\n";
    client.expect(taken).await;
    client.expect("421 4.4.2 mx.test Waited too long for you\r\n").await;
    client.expect_end().await;
}

#[tokio::test]
async fn messages_share_a_budget_and_one_too_many_is_refused_for_now() {
    let mut limited = config();
    limited.limits.in_flight_bytes_max = 64 * 1024;
    limited.limits.budget_wait = Duration::from_millis(50);
    let intake = Intake::start(limited).await;
    let (mut one, mut two) = (intake.client().await, intake.client().await);
    one.hello().await;
    two.hello().await;
    one.up_to_data("a@x").await;
    one.send(&"x".repeat(33 * 1024)).await;
    // When the server has read it, nobody but the test's patience knows.
    two.send_until(60 * 1024, "452 4.3.1 There is no room for the message now\r\n").await;
    drop(one);
    two.send_until(60 * 1024, "250 2.0.0 Kept as a@x\r\n").await;
}

#[tokio::test]
async fn at_shutdown_idle_sessions_get_421_and_running_transactions_end() {
    let intake = Intake::start(config()).await;
    let (mut idle, mut busy, mut held) =
        (intake.client().await, intake.client().await, intake.client().await);
    idle.hello().await;
    busy.hello().await;
    held.hello().await;
    busy.up_to_data("a@x").await;
    held.up_to_data("held@x").await;
    held.send(".\r\n").await;
    intake.stop.send(true).expect("a server that listens");
    idle.expect("421 4.3.2 mx.test The server stops\r\n").await;
    idle.expect_end().await;
    busy.send("x\r\n.\r\n").await;
    busy.expect("250 2.0.0 Kept as a@x\r\n421 4.3.2 mx.test The server stops\r\n").await;
    intake.gate.add_permits(1);
    held.expect("250 2.0.0 Kept as held@x\r\n421 4.3.2 mx.test The server stops\r\n").await;
    drop((idle, busy, held));
    tokio::time::timeout(Duration::from_secs(60), intake.task).await.expect("an end").expect("no panic");
    assert!(TcpStream::connect(intake.address).await.is_err());
}

#[tokio::test]
async fn shutdown_waits_for_nobody_for_ever() {
    let mut hasty = config();
    hasty.shutdown_wait = Duration::from_millis(50);
    let intake = Intake::start(hasty).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.up_to_data("a@x").await;
    intake.stop.send(true).expect("a server that listens");
    tokio::time::timeout(Duration::from_secs(60), intake.task).await.expect("an end").expect("no panic");
    assert!(intake.delivered.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_hook_that_panics_ends_its_own_connection_only() {
    let intake = Intake::start(config()).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<panic@x>\r\n").await;
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest).await;
    let mut client = intake.client().await;
    client.hello().await;
}

/// Loopback.
fn here() -> Vec<IpNetwork> {
    vec![IpNetwork::parse("127.0.0.0/8").expect("a network")]
}

fn tls() -> Arc<ServerConfig> {
    tls_for(None)
}

/// Asks clients for certificates where some count.
fn tls_for(clients: Option<&ClientRoots>) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("../support/relay_tls/relay.pem"))
        .collect::<Result<Vec<_>, _>>()
        .expect("a certificate");
    let key =
        PrivateKeyDer::from_pem_slice(include_bytes!("../support/relay_tls/relay-key.pem")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions");
    let config = match clients {
        Some(clients) => config.with_client_cert_verifier(clients.asking()),
        None => config.with_no_client_auth(),
    };
    Arc::new(config.with_single_cert(chain, key).expect("a certificate for the key"))
}

impl Client {
    /// Shakes hands as a client that trusts the tests' authority.
    async fn encrypt(self) -> Self {
        self.encrypt_as(None).await
    }

    /// The same with a certificate and its key to show.
    async fn encrypt_as(self, shown: Option<(&[u8], &[u8])>) -> Self {
        let mut roots = RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(CA_PEM) {
            roots.add(one.expect("a certificate")).expect("a root");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots);
        let config = match shown {
            Some((chain, key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(chain).map(|one| one.expect("a certificate")).collect();
                let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, self.stream).await.expect("a handshake");
        Self { stream: Box::new(stream) }
    }

    /// EHLO, and its reply with these lines at its end.
    async fn ehlo(&mut self, more: &[&str]) {
        self.send("EHLO c\r\n").await;
        let mut lines = vec!["mx.test"];
        lines.extend(
            "PIPELINING 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES CHUNKING BINARYMIME DSN HELP".split(' '),
        );
        lines.extend(["SIZE 52428800", "LIMITS RCPTMAX=1000 MAILMAX=10000"]);
        lines.extend(more);
        let last = lines.pop().expect("a line");
        let text: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        self.expect(&format!("{text}250 {last}\r\n")).await;
    }
}

#[tokio::test]
async fn a_binary_message_comes_in_chunks_octet_for_octet() {
    let intake = Intake::start(config()).await;
    let mut client = intake.client().await;
    client.hello().await;
    let content: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    client.send("MAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<a@x>\r\n").await;
    client.expect("250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n").await;
    for (piece, last) in content.chunks(70_000).zip(["", "", " LAST"]) {
        client.send(&format!("BDAT {}{last}\r\n", piece.len())).await;
        client.stream.write_all(piece).await.expect("the server reads");
    }
    client.expect("250 2.0.0 70000 octets received\r\n250 2.0.0 70000 octets received\r\n").await;
    client.expect("250 2.0.0 Kept as a@x\r\n").await;
    assert!(intake.delivered()[0].1 == content);
}

#[tokio::test]
async fn a_client_encrypts_and_logs_in_before_it_may_deliver() {
    let mut strict = config();
    strict.peers = PeerRules { may_deliver: Some(Vec::new()), login: true, ..PeerRules::default() };
    strict.tls = Some(tls());
    let intake = Intake::start(strict).await;
    let mut client = intake.client().await;
    client.expect("220 mx.test ESMTP Postroom\r\n").await;
    client.ehlo(&["STARTTLS"]).await;
    client.send("MAIL FROM:<a@b>\r\n").await;
    client.expect("530 5.7.0 Say STARTTLS first, then log in\r\n").await;
    client.send("STARTTLS\r\n").await;
    client.expect("220 2.0.0 Begin the handshake\r\n").await;
    let mut client = client.encrypt().await;
    client.ehlo(&["AUTH PLAIN"]).await;
    client.send("AUTH PLAIN AGFubgB3cm9uZw==\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n").await;
    client.expect("535 5.7.8 The name or the password is wrong\r\n235 2.7.0 Logged in\r\n").await;
    client.up_to_data("a@x").await;
    client.send("x\r\n.\r\n").await;
    client.expect("250 2.0.0 Kept as a@x\r\n").await;
    assert_eq!(intake.delivered()[0].0.with(), "ESMTPSA");
}

#[tokio::test]
async fn a_client_with_a_certificate_of_a_known_authority_may_deliver_from_anywhere() {
    let own: (&[u8], &[u8]) = (
        include_bytes!("../support/relay_tls/client.pem"),
        include_bytes!("../support/relay_tls/client-key.pem"),
    );
    let stranger: (&[u8], &[u8]) = (
        include_bytes!("../support/relay_tls/other.pem"),
        include_bytes!("../support/relay_tls/other-key.pem"),
    );
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/relay_tls/client-ca.pem");
    let roots = ClientRoots::open(authority.as_ref()).expect("an authority");
    let mut strict = config();
    strict.tls = Some(tls_for(Some(&roots)));
    strict.peers = PeerRules { may_deliver: Some(Vec::new()), clients: Some(roots), ..PeerRules::default() };
    let intake = Intake::start(strict.clone()).await;
    let mut plain = intake.client().await;
    plain.hello().await;
    plain.send("MAIL FROM:<a@b>\r\n").await;
    plain.expect("530 5.7.0 Say STARTTLS first, with a certificate of yours\r\n").await;
    for (shown, told) in [
        (Some(own), "250 2.1.0 Sender ok\r\n"),
        (Some(stranger), "554 5.7.1 Your address may not deliver here\r\n"),
        (None, "554 5.7.1 Your address may not deliver here\r\n"),
    ] {
        let mut client = intake.client().await;
        client.hello().await;
        client.send("STARTTLS\r\n").await;
        client.expect("220 2.0.0 Begin the handshake\r\n").await;
        let mut client = client.encrypt_as(shown).await;
        client.send("HELO c\r\nMAIL FROM:<a@b>\r\n").await;
        client.expect(&format!("250 mx.test\r\n{told}")).await;
    }
    // From the first octet it is the same, and what an address allows needs no certificate.
    let listener = SmtpListener::tls("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let intake = Intake::start_on(vec![(listener, Dialect::Smtp)], strict.clone(), address);
    let mut client = intake.client().await.encrypt_as(Some(own)).await;
    client.hello().await;
    client.up_to_data("a@x").await;
    client.send("x\r\n.\r\n").await;
    client.expect("250 2.0.0 Kept as a@x\r\n").await;
    strict.peers.may_deliver = Some(here());
    let intake = Intake::start(strict).await;
    let mut client = intake.client().await;
    client.hello().await;
    client.up_to_data("a@x").await;
}

#[tokio::test]
async fn a_listener_with_tls_from_the_first_octet_speaks_nothing_else() {
    let mut strict = config();
    strict.tls = Some(tls());
    let listener = SmtpListener::tls("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let intake = Intake::start_on(vec![(listener, Dialect::Smtp)], strict, address);
    let mut client = intake.client().await.encrypt().await;
    client.expect("220 mx.test ESMTP Postroom\r\n").await;
    client.ehlo(&[]).await;
    let mut plain = intake.client().await;
    plain.send("EHLO c\r\n").await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), plain.stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && !rest.starts_with(b"220"), "{rest:?}");
}

#[tokio::test]
async fn a_proxy_names_its_client_and_nobody_else_may() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\0\x19\0\x19";
    let mut proxied = config();
    proxied.peers = PeerRules { proxies: here(), ..PeerRules::default() };
    let intake = Intake::start(proxied).await;
    let mut client = intake.client().await;
    client.stream.write_all(header).await.expect("the server reads");
    client.hello().await;
    client.up_to_data("a@x").await;
    client.send("x\r\n.\r\n").await;
    client.expect("250 2.0.0 Kept as a@x\r\n").await;
    assert_eq!(intake.delivered()[0].0.peer, Some("192.0.2.7".parse().expect("an address")));
    let mut without = intake.client().await;
    without.send("EHLO c\r\n").await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), without.stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && rest.is_empty(), "the connection ends without a word: {rest:?}");
    // A peer that isn't configured as a proxy is a client that talks nonsense.
    let open = Intake::start(config()).await;
    let mut liar = open.client().await;
    liar.expect("220 mx.test ESMTP Postroom\r\n").await;
    liar.stream.write_all(header).await.expect("the server reads");
    liar.expect("500 5.5.1 Unknown command\r\n500 5.5.1 Unknown command\r\n").await;
}

#[tokio::test]
async fn connections_and_messages_count_for_whom_a_proxy_or_xclient_speaks_and_not_for_the_proxy() {
    let of = |last: u8| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\0\x19\0\x19".to_vec();
        header[19] = last;
        header
    };
    let mut limited = config();
    limited.limits.gateways = Vec::new();
    limited.limits.connections_per_address_max = 1;
    limited.limits.messages_per_minute = Some(1);
    limited.peers = PeerRules { proxies: here(), ..PeerRules::default() };
    let intake = Intake::start(limited.clone()).await;
    let (mut one, mut two, mut three) = (intake.client().await, intake.client().await, intake.client().await);
    for (client, last) in [(&mut one, 7), (&mut two, 8)] {
        client.stream.write_all(&of(last)).await.expect("the server reads");
        client.hello().await;
    }
    three.stream.write_all(&of(7)).await.expect("the server reads");
    three.expect("421 4.7.0 Too many connections from your address at mx.test, try again later\r\n").await;
    for client in [&mut one, &mut two] {
        client.send("MAIL FROM:<a@b>\r\nRSET\r\nMAIL FROM:<a@b>\r\n").await;
        client.expect("250 2.1.0 Sender ok\r\n250 2.0.0 Ok\r\n").await;
        client.expect("450 4.7.1 You send faster than you may, try again in a minute\r\n").await;
    }
    limited.peers = PeerRules { xclient: here(), ..PeerRules::default() };
    limited.limits.connections_per_address_max = 2;
    let intake = Intake::start(limited).await;
    let (mut one, mut two) = (intake.client().await, intake.client().await);
    for client in [&mut one, &mut two] {
        client.hello().await;
        client.send("XCLIENT ADDR=192.0.2.7\r\n").await;
        client.expect("220 mx.test ESMTP Postroom\r\n").await;
    }
    let mut three = intake.client().await;
    three.hello().await;
    three.send("XCLIENT ADDR=192.0.2.7\r\n").await;
    three.expect("220 mx.test ESMTP Postroom\r\n").await;
    three.expect("421 4.7.0 mx.test Too many connections from your address\r\n").await;
    three.expect_end().await;
}

#[tokio::test]
async fn a_message_that_waits_too_long_for_its_turn_is_refused_for_now() {
    let mut slow = config();
    slow.limits.deliveries_max = 1;
    slow.limits.deliveries_waiting_max = 1;
    slow.limits.budget_wait = Duration::from_secs(4);
    let intake = Intake::start(slow).await;
    let (mut one, mut two, mut three) = (intake.client().await, intake.client().await, intake.client().await);
    for client in [&mut one, &mut two, &mut three] {
        client.hello().await;
    }
    one.up_to_data("held@x").await;
    two.up_to_data("a@x").await;
    one.send("x\r\n.\r\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    two.send("x\r\n.\r\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    three.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@x>\r\n").await;
    three.expect("250 2.1.0 Sender ok\r\n451 4.3.2 Busy now, try again later\r\n").await;
    two.expect("451 4.3.0 busy now, try again later\r\n").await;
    intake.gate.add_permits(1);
    one.expect("250 2.0.0 Kept as held@x\r\n").await;
    two.up_to_data("a@x").await;
    two.send("x\r\n.\r\n").await;
    two.expect("250 2.0.0 Kept as a@x\r\n").await;
}
