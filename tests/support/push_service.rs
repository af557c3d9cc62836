//! A push service (RFC 8030) on a free port, over TLS: it records the messages that it got and answers as
//! scripted. It shares no code with the server, so that both can't be wrong in the same way.

use super::relay::acceptor;
use super::{Client, eventually};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey};
use ring::{aead, hkdf};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Pushed {
    /// The value of a header field; empty where it isn't there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

#[derive(Default)]
struct State {
    status: u16,
    pushed: Vec<Pushed>,
    connections: usize,
}

/// A running push service; it stops when dropped.
pub struct PushService {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl PushService {
    /// A service that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { status: 201, ..State::default() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                lock(&shared).connections += 1;
                // A connection that breaks pushed nothing.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, task }
    }

    /// A server that may push to a service of its own.
    pub async fn office() -> (super::TestServer, Self, tempfile::TempDir) {
        let service = Self::start().await;
        let (folder, config) = service.config();
        (super::TestServer::office(&["--config", &config]).await, service, folder)
    }

    /// The arguments of a server that may push here: the path of a configuration file made for it.
    pub fn config(&self) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let roots = folder.path().join("roots.pem");
        std::fs::write(&roots, super::relay::CA_PEM).expect("a file");
        let text = format!("push_networks = [\"127.0.0.0/8\"]\npush_roots = {:?}\n", roots.to_string_lossy());
        let path = folder.path().join("postroom.toml");
        std::fs::write(&path, text).expect("a file");
        (folder, path.to_string_lossy().into_owned())
    }

    /// A URL that leads here.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.address.port())
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        lock(&self.state).status = status;
    }

    /// What was pushed to a path so far, taken or not.
    pub fn pushed(&self, path: &str) -> Vec<Pushed> {
        lock(&self.state).pushed.iter().filter(|one| one.path == path).cloned().collect()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// Waits for the message of this number to a path.
    pub async fn nth(&self, path: &str, number: usize) -> Pushed {
        eventually("a push", async || self.pushed(path).get(number).cloned()).await
    }

    /// Creates a subscription to a path, and gives its id once it is verified.
    pub async fn subscribe(&self, client: &Client, path: &str, more: Value) -> String {
        let id = self.create(client, path, more).await;
        let code = self.nth(path, 0).await.json()["verificationCode"].clone();
        let verify = json!({"update": {&id: {"verificationCode": code}}});
        let done = set(client, verify).await;
        assert_eq!(done["updated"], json!({&id: null}), "{done}");
        id
    }

    /// Creates a subscription to a path, and gives its id.
    pub async fn create(&self, client: &Client, path: &str, more: Value) -> String {
        let mut subscription = json!({"deviceClientId": "device", "url": self.url(path)});
        for (name, value) in more.as_object().expect("properties") {
            subscription[name] = value.clone();
        }
        let done = set(client, json!({"create": {"s": subscription}})).await;
        done["created"]["s"]["id"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned()
    }
}

impl Drop for PushService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The arguments of the response to a PushSubscription/set.
pub async fn set(client: &Client, arguments: Value) -> Value {
    let calls = json!([["PushSubscription/set", arguments, "c"]]);
    client.request(&[super::CORE], calls).await["methodResponses"][0][1].take()
}

/// The arguments of the response to a PushSubscription/get.
pub async fn get(client: &Client, arguments: Value) -> Value {
    let calls = json!([["PushSubscription/get", arguments, "c"]]);
    client.request(&[super::CORE], calls).await["methodResponses"][0][1].take()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor().accept(stream).await?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    assert_eq!(method, "POST");
    let field =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: Vec<(String, String)> = lines.iter().skip(1).filter_map(field).collect();
    let mut pushed = Pushed { path, headers, body: Vec::new() };
    let length = pushed.header("content-length").parse().unwrap_or(0);
    pushed.body = vec![0; length];
    stream.read_exact(&mut pushed.body).await?;
    let status = {
        let mut state = lock(&state);
        state.pushed.push(pushed);
        state.status
    };
    stream.write_all(format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?;
    stream.flush().await
}

/// A subscriber's side of RFC 8291.
pub struct Subscriber {
    private: SecretKey,
    auth: [u8; 16],
}

impl Subscriber {
    pub fn new() -> Self {
        Self { private: SecretKey::from_slice(&[42; 32]).expect("a key"), auth: [7; 16] }
    }

    /// The property `keys`.
    pub fn keys(&self) -> Value {
        json!({
            "p256dh": BASE64_URL_SAFE_NO_PAD.encode(self.public()),
            "auth": BASE64_URL_SAFE_NO_PAD.encode(self.auth)
        })
    }

    fn public(&self) -> Vec<u8> {
        self.private.public_key().to_encoded_point(false).as_bytes().to_vec()
    }

    /// What a message says.
    pub fn read(&self, pushed: &Pushed) -> Value {
        assert_eq!(pushed.header("content-encoding"), "aes128gcm");
        let (salt, rest) = pushed.body.split_at(16);
        let (size, rest) = rest.split_at(4);
        assert_eq!(size, [0, 0, 16, 0]);
        let theirs = &rest[1..66];
        let mut record = rest[66..].to_vec();
        let shared = p256::ecdh::diffie_hellman(
            self.private.to_nonzero_scalar(),
            PublicKey::from_sec1_bytes(theirs).expect("a point").as_affine(),
        );
        let info = [b"WebPush: info\0".as_slice(), &self.public(), theirs].concat();
        let secret = derive(&self.auth, shared.raw_secret_bytes(), &info, 32);
        let key = derive(salt, &secret, b"Content-Encoding: aes128gcm\0", 16);
        let nonce = derive(salt, &secret, b"Content-Encoding: nonce\0", 12);
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).expect("a key"));
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).expect("a nonce");
        let text = key.open_in_place(nonce, aead::Aad::empty(), &mut record).expect("ours to read");
        serde_json::from_slice(text.strip_suffix(&[2]).expect("the delimiter")).expect("JSON")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(salt: &[u8], secret: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    key.expand(&[info], Length(length)).expect("short").fill(&mut out).expect("that long");
    out
}
