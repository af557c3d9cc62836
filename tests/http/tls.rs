//! HTTPS on a listener of our own.

use crate::support::relay::CA_PEM;
use crate::support::tls_client::{connect, get, secure};
use crate::support::{PASSWORD, TestServer, eventually, server};
use base64::Engine;
use serde_json::json;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const CHAIN: &[u8] = include_bytes!("../support/relay_tls/relay.pem");
const KEY: &[u8] = include_bytes!("../support/relay_tls/relay-key.pem");
const OTHER_CA: &[u8] = include_bytes!("../support/relay_tls/other-ca.pem");
const OTHER_CHAIN: &[u8] = include_bytes!("../support/relay_tls/other.pem");
const OTHER_KEY: &[u8] = include_bytes!("../support/relay_tls/other-key.pem");

fn write_pair(folder: &Path, chain: &[u8], key: &[u8]) {
    std::fs::write(folder.join("chain.pem"), chain).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
}

async fn secure_office(folder: &Path) -> TestServer {
    write_pair(folder, CHAIN, KEY);
    let config = folder.join("postroom.toml");
    let text = format!(
        "https = \"127.0.0.1:0\"\nsmtps = \"127.0.0.1:0\"\ntls_certificate = {:?}\ntls_key = {:?}\n",
        folder.join("chain.pem"),
        folder.join("key.pem")
    );
    std::fs::write(&config, text).unwrap();
    let server = server::start_with(&["--config", config.to_str().unwrap()]).await;
    server.person("ann@x.example", "Ann");
    server
}

fn authorization() -> String {
    let text = format!("ann@x.example:{PASSWORD}");
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(text))
}

#[tokio::test]
async fn the_client_chooses_the_version_of_http_and_is_given_secure_urls() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure_office(folder.path()).await;
    let https = server.https.clone().unwrap();
    let url = format!("https://{https}/.well-known/jmap");
    for (offered, agreed) in [
        (&[b"h2".as_slice(), b"http/1.1"][..], Some(b"h2".as_slice())),
        (&[b"http/1.1".as_slice()][..], Some(b"http/1.1".as_slice())),
        (&[][..], None),
    ] {
        let stream = connect(&https, CA_PEM, offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let reply = get(stream, &url, &authorization()).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("strict-transport-security"), ["max-age=31536000"]);
        let session = reply.json();
        assert_eq!(session["apiUrl"], json!(format!("https://{https}/jmap")));
        let socket = &session["capabilities"]["urn:ietf:params:jmap:websocket"]["url"];
        assert_eq!(*socket, json!(format!("wss://{https}/jmap/ws")));
    }
    let plain = server.client("ann@x.example").await.get("/.well-known/jmap").await;
    assert!(plain.header("strict-transport-security").is_empty(), "not by plain HTTP (RFC 6797)");
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure_office(folder.path()).await;
    let https = server.https.clone().unwrap();
    // A half of a new pair is never shown.
    std::fs::write(folder.path().join("chain.pem"), OTHER_CHAIN).unwrap();
    server.signal("HUP");
    eventually("the refusal", async || {
        server.log().contains("the old TLS certificate stays in use").then_some(())
    })
    .await;
    assert!(connect(&https, CA_PEM, &[]).await.is_ok());
    // The other half makes it a pair, which is noticed.
    std::fs::write(folder.path().join("key.pem"), OTHER_KEY).unwrap();
    eventually("the new certificate", async || connect(&https, OTHER_CA, &[]).await.ok()).await;
    assert!(connect(&https, CA_PEM, &[]).await.is_err());
    write_pair(folder.path(), CHAIN, KEY);
    server.signal("HUP");
    eventually("the old certificate", async || connect(&https, CA_PEM, &[]).await.ok()).await;
}

/// Sends one command and gives the whole reply.
async fn ask(stream: &mut (impl AsyncBufReadExt + AsyncWriteExt + Unpin), command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut reply = String::new();
    while stream.read_line(&mut reply).await.unwrap() > 0 {
        let last = reply.lines().last().unwrap_or_default();
        if last.as_bytes().get(3) == Some(&b' ') {
            break;
        }
    }
    reply
}

#[tokio::test]
async fn the_gateway_may_deliver_by_starttls_or_by_tls_from_the_first_octet() {
    let folder = tempfile::tempdir().unwrap();
    let server = secure_office(folder.path()).await;
    let mut plain = BufReader::new(TcpStream::connect(&server.smtp).await.unwrap());
    let mut greeting = String::new();
    plain.read_line(&mut greeting).await.unwrap();
    assert!(greeting.starts_with("220 "), "{greeting}");
    assert!(ask(&mut plain, "EHLO gateway").await.contains("STARTTLS"));
    assert!(ask(&mut plain, "STARTTLS").await.starts_with("220 "));
    let upgraded = BufReader::new(secure(plain.into_inner(), CA_PEM, &[]).await.unwrap());
    deliver_secured(upgraded, "One").await;

    // RFC 8314 §3.3: nothing is said before the handshake.
    let mut stream = BufReader::new(connect(server.smtps.as_ref().unwrap(), CA_PEM, &[]).await.unwrap());
    let mut greeting = String::new();
    stream.read_line(&mut greeting).await.unwrap();
    assert!(greeting.starts_with("220 "), "{greeting}");
    deliver_secured(stream, "Two").await;

    let client = server.client("ann@x.example").await;
    let told = client.call("Email/query", json!({"calculateTotal": true})).await;
    assert_eq!(told["total"], json!(2));
}

/// A message over what is encrypted already.
async fn deliver_secured(mut stream: impl AsyncBufReadExt + AsyncWriteExt + Unpin, subject: &str) {
    assert!(!ask(&mut stream, "EHLO gateway").await.contains("STARTTLS"));
    assert!(ask(&mut stream, "MAIL FROM:<carl@c.example>").await.starts_with("250 "));
    assert!(ask(&mut stream, "RCPT TO:<ann@x.example>").await.starts_with("250 "));
    assert!(ask(&mut stream, "DATA").await.starts_with("354 "));
    let reply = ask(&mut stream, &format!("Subject: {subject}\r\n\r\nHello\r\n.")).await;
    assert!(reply.starts_with("250 "), "{reply}");
}
