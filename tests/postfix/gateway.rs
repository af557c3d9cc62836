//! Postfix as the gateway: what it takes arrives, over each way that it can hand over.

use crate::mta::{self, Postfix};
use crate::support::relay::Relay;
use crate::support::{Gateway, TestServer, eventually, message, server};
use crate::{Certificates, MARTA, SUPPORT, arrived, received};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

const ANN: &str = "ann@x.example";

/// Gives Postfix a message for these.
async fn give(postfix: &Postfix, to: &[&str], subject: &str) {
    let text = message(&format!("{subject}@customer.example"), MARTA, SUPPORT, subject, "Where is it?");
    let mut gateway = Gateway::connect(&postfix.address()).await;
    let reply = gateway.deliver(MARTA, to, &text).await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued"), "{reply}");
}

/// Each of these accounts has the message once, and knows how it came.
async fn has_once(server: &TestServer, subject: &str, protocol: &str) {
    let bob = server.client("bob@x.example").await;
    let ann = server.client(ANN).await;
    for client in [bob, ann.own()] {
        let email = arrived(&client, subject).await;
        let trace = received(&email);
        assert!(trace.contains(&format!("with {protocol}\r\n")), "{trace}");
        assert!(trace.contains("from mta.example"), "{trace}");
        assert_eq!(email["header:Return-Path:asRaw"], " <marta@customer.example>");
        let hops = email["header:Received:asRaw:all"].as_array().map(Vec::len);
        assert_eq!(hops, Some(2), "ours and Postfix's: {email}");
    }
}

#[tokio::test]
async fn mail_over_smtp_arrives_once_for_each_of_several_recipients_and_the_unknown_one_comes_back() {
    let customers = Relay::start().await;
    let server = TestServer::office(&[]).await;
    let routes = [
        ("x.example", format!("smtp:[127.0.0.1]:{}", server.smtp.rsplit_once(':').unwrap().1)),
        ("customer.example", format!("smtp:[127.0.0.1]:{}", customers.address.port())),
    ];
    let routes = routes.each_ref().map(|(domain, next)| (*domain, next.as_str()));
    let postfix = Postfix::start_with(&routes, &[]).await;
    give(&postfix, &[SUPPORT, ANN, "nobody@x.example"], "several").await;
    has_once(&server, "several", "ESMTP").await;
    let bounce = &customers.wait_for(1).await[0];
    assert_eq!(bounce.return_path(), "", "{}", bounce.mail);
    assert_eq!(bounce.rcpts, ["<marta@customer.example>"]);
    let text = bounce.text();
    assert!(text.contains("550 5.1.1 No such recipient here"), "{text}");
    assert!(text.contains("Final-Recipient: rfc822; nobody@x.example"), "{text}");
    server.check();
}

#[tokio::test]
async fn mail_over_lmtp_arrives_on_a_port_and_on_a_unix_socket() {
    let folder = mta::open_folder();
    let socket = folder.path().join("lmtp");
    for unix in [false, true] {
        let listen = if unix { format!("unix:{}", socket.display()) } else { "127.0.0.1:0".to_owned() };
        let server = TestServer::office(&["--lmtp", &listen]).await;
        let next = if unix {
            // Postfix's own user is to be let in.
            fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
            format!("lmtp:unix:{}", socket.display())
        } else {
            format!("lmtp:inet:{}", server.lmtp.as_deref().unwrap())
        };
        let postfix = Postfix::start_with(&[("x.example", &next)], &[]).await;
        give(&postfix, &[SUPPORT, ANN], "by-lmtp").await;
        has_once(&server, "by-lmtp", "LMTP").await;
        server.check();
    }
}

#[tokio::test]
async fn the_gateway_begins_tls_and_believes_the_certificate() {
    let certificates = Certificates::new();
    let server = TestServer::office(&["--config", &certificates.configuration()]).await;
    let next = format!("smtp:[localhost]:{}", server.smtp.rsplit_once(':').unwrap().1);
    let authority = certificates.path("ca.pem");
    // "secure": no delivery but over TLS, to the name that the certificate is for.
    let settings = [
        ("smtp_tls_security_level", "secure"),
        ("smtp_tls_CAfile", authority.as_str()),
        ("smtp_host_lookup", "native"),
    ];
    let postfix = Postfix::start_with(&[("x.example", &next)], &settings).await;
    give(&postfix, &[SUPPORT, ANN], "over-tls").await;
    has_once(&server, "over-tls", "ESMTPS").await;
}

#[tokio::test]
async fn mail_waits_in_the_gateway_while_the_server_is_down_and_comes_once_it_is_up() {
    let mut server = TestServer::office(&[]).await;
    let next = format!("smtp:[127.0.0.1]:{}", server.smtp.rsplit_once(':').unwrap().1);
    let postfix = Postfix::start_with(&[("x.example", &next)], &[]).await;
    server.kill();
    give(&postfix, &[SUPPORT, ANN], "waits").await;
    eventually("a try of Postfix", async || postfix.log().contains("status=deferred").then_some(())).await;
    server.start().await;
    has_once(&server, "waits", "ESMTP").await;
    server.check();
}

#[tokio::test]
async fn addresses_in_utf_8_arrive_as_they_are() {
    let server = server::start().await;
    server.person(ANN, "Ann");
    server.inbox("grüße@x.example", &["ann@x.example:agent"]);
    let next = format!("smtp:[127.0.0.1]:{}", server.smtp.rsplit_once(':').unwrap().1);
    let postfix = Postfix::start_with(&[("x.example", &next)], &[]).await;
    let mut gateway = Gateway::connect(&postfix.address()).await;
    let text = message("u@kunde.example", "jürgen@kunde.example", "grüße@x.example", "Frage", "Wo ist es?");
    for line in ["MAIL FROM:<jürgen@kunde.example> SMTPUTF8", "RCPT TO:<grüße@x.example>"] {
        let reply = gateway.say(line).await;
        assert!(reply.starts_with("250"), "{line}: {reply}");
    }
    assert!(gateway.say("DATA").await.starts_with("354"));
    gateway.send(format!("{text}.\r\n").as_bytes()).await.unwrap();
    assert!(gateway.reply().await.starts_with("250"));
    let email = arrived(&server.client(ANN).await, "Frage").await;
    assert!(received(&email).contains("with UTF8SMTP\r\n"), "{email}");
    assert_eq!(email["header:Return-Path:asRaw"], " <jürgen@kunde.example>");
    assert_eq!(email["header:Delivered-To:asRaw"], " grüße@x.example");
    assert_eq!(email["from"], json!([{"name": null, "email": "jürgen@kunde.example"}]));
    server.check();
}
