//! A JMAP client of plain HTTP and JSON: whole requests, whole replies.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub const CORE: &str = "urn:ietf:params:jmap:core";
pub const MAIL: &str = "urn:ietf:params:jmap:mail";
pub const SUBMISSION: &str = "urn:ietf:params:jmap:submission";
/// What a client names that knows the team capabilities.
pub const TEAM: &[&str] = &[
    CORE,
    MAIL,
    SUBMISSION,
    "https://postroom.dev/jmap/ownership",
    "https://postroom.dev/jmap/status",
    "https://postroom.dev/jmap/notes",
    "https://postroom.dev/jmap/locks",
    "https://postroom.dev/jmap/activity",
];
/// What any other client names.
pub const PLAIN: &[&str] = &[CORE, MAIL, SUBMISSION];

/// A client with its credentials and its session.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    authorization: String,
    pub session: Value,
    /// The inbox where the session shows one, else the person's own account.
    pub account: String,
}

/// A whole reply.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {:?}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The values of a header field, in order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }
}

fn basic(email: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{email}:{password}")))
}

impl Client {
    /// A person with their password.
    pub async fn basic(http: &str, email: &str, password: &str) -> Self {
        Self::log_in(http, basic(email, password)).await
    }

    /// A program with an app password.
    pub async fn bearer(http: &str, token: &str) -> Self {
        Self::log_in(http, format!("Bearer {token}")).await
    }

    /// A client that hasn't logged in, and whose credentials may be wrong.
    pub fn stranger(http: &str, authorization: String) -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let base = format!("http://{http}");
        Self { http: client, base, authorization, session: Value::Null, account: String::new() }
    }

    /// Wrong or right, in the scheme Basic.
    pub fn stranger_basic(http: &str, email: &str, password: &str) -> Self {
        Self::stranger(http, basic(email, password))
    }

    async fn log_in(http: &str, authorization: String) -> Self {
        let mut client = Self::stranger(http, authorization);
        let reply = client.get("/.well-known/jmap").await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        client.session = reply.json();
        let accounts = client.session["accounts"].as_object().expect("accounts");
        let inbox = accounts.iter().find(|(_, account)| account["isPersonal"] == json!(false));
        let account = inbox.or(accounts.iter().next()).map(|(id, _)| id.clone());
        client.account = account.unwrap_or_default();
        client
    }

    /// The value of its Authorization.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The same client, looking at another account.
    pub fn at(&self, account: &str) -> Self {
        Self { account: account.to_owned(), ..self.clone() }
    }

    /// The person's own account.
    pub fn own(&self) -> Self {
        self.at(self.session["primaryAccounts"][MAIL].as_str().expect("an account"))
    }

    /// Who this is, as the inbox's account says (RFC 9670 §1.5.1).
    pub fn principal(&self) -> String {
        let account = &self.session["accounts"][&self.account]["accountCapabilities"];
        account["urn:ietf:params:jmap:principals"]["currentUserPrincipalId"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// A GET with further header fields.
    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut request = self.http.get(self.url(path)).headers(self.headers());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        whole(request.send().await.expect("a reply")).await
    }

    /// A HEAD with these header fields.
    pub async fn head_with(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut request = self.http.head(self.url(path)).headers(self.headers());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        whole(request.send().await.expect("a reply")).await
    }

    /// An OPTIONS with these header fields.
    pub async fn options_with(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut request = self.http.request(reqwest::Method::OPTIONS, self.url(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        whole(request.send().await.expect("a reply")).await
    }

    pub async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        self.post_with(path, &[("Content-Type", content_type)], body).await
    }

    /// A POST with these header fields.
    pub async fn post_with(&self, path: &str, fields: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = self.http.post(self.url(path)).headers(self.headers());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        whole(request.body(body).send().await.expect("a reply")).await
    }

    /// A POST that keeps the server waiting for the rest of its body; dropping it ends it.
    pub async fn half_a_post(&self, path: &str) -> TcpStream {
        let host = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).await.expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
            self.authorization
        );
        stream.write_all(head.as_bytes()).await.expect("the server reads");
        stream
    }

    /// A POST to a server that may die: the body of a whole reply, or nothing.
    pub async fn try_post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Option<Value> {
        let request = self.http.post(self.url(path)).headers(self.headers());
        let response = request.header("Content-Type", content_type).body(body).send().await.ok()?;
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }

    /// An open channel of events.
    pub async fn events(&self, query: &str) -> Events {
        self.events_after(query, &[]).await
    }

    /// The same with further header fields, such as Last-Event-ID.
    pub async fn events_after(&self, query: &str, fields: &[(&str, &str)]) -> Events {
        let mut request =
            self.http.get(self.url(&format!("/jmap/eventsource?{query}"))).headers(self.headers());
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("a reply");
        assert_eq!(response.status().as_u16(), 200);
        Events { response, read: String::new() }
    }

    /// A whole request; the whole Response object.
    pub async fn request(&self, using: &[&str], calls: Value) -> Value {
        let body = json!({"using": using, "methodCalls": calls}).to_string();
        let reply = self.post("/jmap", "application/json", body.into_bytes()).await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// One call, `accountId` filled in; the arguments of its response, or of its error.
    pub async fn call_with(&self, using: &[&str], method: &str, mut arguments: Value) -> Value {
        arguments["accountId"] = json!(self.account);
        let mut reply = self.request(using, json!([[method, arguments, "c"]])).await;
        reply["methodResponses"][0][1].take()
    }

    /// One call of a client that knows us.
    pub async fn call(&self, method: &str, arguments: Value) -> Value {
        self.call_with(TEAM, method, arguments).await
    }

    /// Ids of the account's mailboxes by role.
    pub async fn mailbox(&self, role: &str) -> String {
        let found = self.call("Mailbox/query", json!({"filter": {"role": role}})).await;
        found["ids"][0].as_str().unwrap_or_else(|| panic!("no mailbox {role}: {found}")).to_owned()
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) }
    }

    fn headers(&self) -> HeaderMap {
        let value = HeaderValue::from_str(&self.authorization).expect("a header");
        let name = HeaderName::from_static("authorization");
        if self.authorization.is_empty() { HeaderMap::new() } else { HeaderMap::from_iter([(name, value)]) }
    }
}

async fn whole(response: reqwest::Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, body: response.bytes().await.expect("a whole body").to_vec() }
}

/// An EventSource channel.
pub struct Events {
    response: reqwest::Response,
    read: String,
}

impl Events {
    /// The next event's text without the empty line that ends it; `None` where the channel ends.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let event = event.to_owned();
                self.read = rest.to_owned();
                return Some(event);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await;
            match chunk.expect("an event in time") {
                Ok(Some(chunk)) => self.read.push_str(&String::from_utf8_lossy(&chunk)),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next event's name and data.
    pub async fn event(&mut self) -> (String, Value) {
        let text = self.next().await.expect("an event");
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        (line("event: ").to_owned(), serde_json::from_str(line("data: ")).unwrap_or(Value::Null))
    }
}
