//! Real Postfix as the gateway before the server and as the relay behind it (`make postfix`). A target of
//! its own, since it needs Postfix and root: `cargo test` leaves it out, `scripts/postfix.sh` says whether it
//! can run.
//!
//! What lies behind the relay, the customers' own server, is the fake one of the other tests.
#![allow(clippy::unwrap_used, reason = "a test may panic, also outside of its own function")]

mod gateway;
mod mta;
mod relay;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "it stands for all tests, and these need a part of it")]
mod support;

use serde_json::{Value, json};
use support::{Client, TestServer, eventually};

const MARTA: &str = "marta@customer.example";
const SUPPORT: &str = "support@x.example";

/// The certificate of the other tests as files that Postfix and the server can read, and a
/// configuration of the server that shows it and trusts it.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = mta::open_folder();
        let pem: [(&str, &[u8]); 3] = [
            ("ca.pem", support::relay::CA_PEM),
            ("chain.pem", include_bytes!("../support/relay_tls/relay.pem")),
            ("key.pem", include_bytes!("../support/relay_tls/relay-key.pem")),
        ];
        for (name, text) in pem {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The path of a configuration that has the server show the certificate and trust its authority.
    fn configuration(&self) -> String {
        let text = format!(
            "tls_certificate = {:?}\ntls_key = {:?}\nrelay_roots = {:?}\n",
            self.path("chain.pem"),
            self.path("key.pem"),
            self.path("ca.pem")
        );
        std::fs::write(self.folder.path().join("postroom.toml"), text).unwrap();
        self.path("postroom.toml")
    }
}

/// Waits for an Email with that subject; all of it.
async fn arrived(client: &Client, subject: &str) -> Value {
    let found = eventually(subject, async || {
        let found = client.call("Email/query", json!({"filter": {"subject": subject}})).await;
        found["ids"].as_array().is_some_and(|ids| !ids.is_empty()).then_some(found)
    })
    .await;
    assert_eq!(found["ids"].as_array().map(Vec::len), Some(1), "{subject} is there once: {found}");
    let properties = json!([
        "id",
        "subject",
        "from",
        "threadId",
        "conversationId",
        "header:Received:asRaw:all",
        "header:Return-Path:asRaw",
        "header:Delivered-To:asRaw",
        "bodyValues",
        "textBody"
    ]);
    let wanted = json!({"ids": found["ids"], "properties": properties, "fetchTextBodyValues": true});
    client.call("Email/get", wanted).await["list"][0].clone()
}

/// The newest trace field of an Email: what the server wrote of the gateway.
fn received(email: &Value) -> &str {
    email["header:Received:asRaw:all"][0].as_str().unwrap_or_else(|| panic!("{email}"))
}

/// The one conversation of an inbox.
async fn conversation(client: &Client) -> Value {
    let told = client.call("Conversation/get", json!({"ids": null})).await;
    assert_eq!(told["list"].as_array().map(Vec::len), Some(1), "{told}");
    told["list"][0].clone()
}

/// The usual office with the question that everybody answers.
async fn office_with_question(arguments: &[&str], from: &str) -> (TestServer, Client) {
    let server = TestServer::office(arguments).await;
    let text = support::message("q@customer.example", MARTA, SUPPORT, "Hello", "Where is it?");
    assert!(server.deliver(from, &[SUPPORT], &text).await.starts_with("250"));
    let bob = server.client("bob@x.example").await;
    (server, bob)
}
