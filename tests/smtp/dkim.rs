//! Signatures on what goes to the relay (RFC 6376), verified by rules written down here once more: the
//! verifier shares no code with the server.

use crate::support::relay::{Relay, Script};
use crate::support::sending::submit;
use crate::support::{Client, TEAM, TestServer, eventually};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ED25519, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::json;
use std::path::Path;

const SUPPORT: &str = "support@x.example";
const RSA: &str = include_str!("../support/dkim/rsa.pem");
const ED25519_PEM: &str = include_str!("../support/dkim/ed25519.pem");

/// A server that signs for these domains, each with a key; the folder holds configuration and keys.
async fn signing(relay: &Relay, keys: &[(&str, &str, &str)]) -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("relay = {:?}\n", relay.url());
    for (domain, selector, pem) in keys {
        let file = folder.path().join(format!("{selector}.pem"));
        std::fs::write(&file, pem).unwrap();
        text += &format!("[[dkim]]\ndomain = {domain:?}\nselector = {selector:?}\nkey_file = {file:?}\n");
    }
    let config = folder.path().join("postroom.toml");
    std::fs::write(&config, text).unwrap();
    (TestServer::office(&["--config", config.to_str().unwrap()]).await, folder)
}

/// Sends exactly these octets.
async fn send(client: &Client, raw: &str) {
    let path = format!("/jmap/upload/{}/", client.account);
    let blob = client.post(&path, "message/rfc822", raw.as_bytes().to_vec()).await.json()["blobId"].clone();
    let import = json!({"blobId": blob, "mailboxIds": {client.mailbox("drafts").await: true}});
    let told = client.call("Email/import", json!({"emails": {"i": import}})).await;
    let email = told["created"]["i"]["id"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
    let told = submit(client, TEAM, &email, json!({})).await;
    assert!(told["created"]["s"].is_object(), "{told}");
}

fn message(subject: &str, body: &str) -> String {
    format!(
        "Date: Tue, 17 Nov 2026 10:00:00 +0000\r\nFrom:  Support\t <{SUPPORT}>\r\nTo: marta@customer.example\r\n\
         Bcc: archive@y.example\r\nSubject: {subject}\r\nMessage-ID: <{}@x.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain;\r\n charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{body}",
        subject.len() + 1000 * body.len()
    )
}

/// The value of a tag, white space taken out.
fn tag(field: &str, name: &str) -> String {
    let tags = field.split_once(':').unwrap().1.split(';');
    let found = tags.filter_map(|one| one.trim().split_once('=')).find(|(tag, _)| tag.trim() == name);
    found.unwrap_or_else(|| panic!("{name}: {field}")).1.split_whitespace().collect()
}

fn relaxed_words(text: &str) -> String {
    text.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn relaxed_field(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap();
    format!("{}:{}", name.trim_end().to_lowercase(), relaxed_words(&value.replace("\r\n", "")))
}

fn relaxed_body(body: &str) -> String {
    let line = |line: &str| {
        let leads = line.starts_with([' ', '\t']) && !relaxed_words(line).is_empty();
        format!("{}{}\r\n", if leads { " " } else { "" }, relaxed_words(line))
    };
    let text: String = body.strip_suffix("\r\n").unwrap_or(body).split("\r\n").map(line).collect();
    let text = text.trim_end_matches("\r\n");
    if text.is_empty() { String::new() } else { format!("{text}\r\n") }
}

/// Each field of the header, folded as it came.
fn fields_of(header: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for line in header.split("\r\n") {
        match fields.last_mut().filter(|_| line.starts_with([' ', '\t'])) {
            Some(field) => *field += &format!("\r\n{line}"),
            None => fields.push(line.to_owned()),
        }
    }
    fields
}

fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

/// Whether a signature fits the message and one of our keys (RFC 6376 §6.1.3).
fn is_good(fields: &[String], body: &str, own: &str) -> bool {
    let hash = STANDARD.encode(digest(&SHA256, relaxed_body(body).as_bytes()));
    let mut left: Vec<&String> = fields.iter().filter(|field| *field != own).collect();
    let mut signed = String::new();
    for name in tag(own, "h").split(':') {
        let named = |field: &&String| field.split_once(':').unwrap().0.trim_end().eq_ignore_ascii_case(name);
        if let Some(at) = left.iter().rposition(named) {
            signed += &format!("{}\r\n", relaxed_field(left.remove(at)));
        }
    }
    let (before, _) = own.rsplit_once("\tb=").unwrap();
    signed += &relaxed_field(&format!("{before}\tb="));
    let signature = STANDARD.decode(tag(own, "b")).unwrap();
    let fits = match tag(own, "a").as_str() {
        "rsa-sha256" => {
            let key = RsaKeyPair::from_pkcs8(&der(RSA)).unwrap();
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref().to_vec());
            key.verify(signed.as_bytes(), &signature).is_ok()
        }
        "ed25519-sha256" => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED25519_PEM)).unwrap();
            let key = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref().to_vec());
            key.verify(digest(&SHA256, signed.as_bytes()).as_ref(), &signature).is_ok()
        }
        other => panic!("{other}"),
    };
    fits && tag(own, "bh") == hash
}

/// The signatures of a message by selector, each with whether it is good.
fn verified(text: &str) -> Vec<(String, bool)> {
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    let fields = fields_of(header);
    let own = fields.iter().filter(|field| field.starts_with("DKIM-Signature:"));
    own.map(|own| (tag(own, "s"), is_good(&fields, body, own))).collect()
}

/// 6376-3.5-1, 6376-5.3-1
#[tokio::test]
async fn what_the_relay_gets_is_signed_by_every_key_of_the_sender_s_domain() {
    let relay = Relay::start().await;
    let keys = [("X.example", "rsa1", RSA), ("x.example", "ed1", ED25519_PEM), ("y.example", "no", RSA)];
    let (server, _folder) = signing(&relay, &keys).await;
    let bob = server.client("bob@x.example").await;
    let long = "word ".repeat(190);
    let bodies = [
        "Hello\r\n".to_owned(),
        ".\r\n..\r\n.dot  and\t space \r\n\r\n \r\n\r\n".to_owned(),
        "bare\nline ends\n.\n".to_owned(),
        "no end".to_owned(),
        "Gr\u{fc}\u{df}e\r\n".to_owned(),
        format!("{long}\r\n \t indented\r\n{}\r\n", "x".repeat(5000)),
        String::new(),
    ];
    for (number, body) in bodies.iter().enumerate() {
        let subject = if number == 4 { "Gr\u{fc}n \u{2713}".to_owned() } else { format!("{number}") };
        send(&bob, &message(&subject, body)).await;
        let text = relay.wait_for(number + 1).await[number].text();
        let good = [("rsa1".to_owned(), true), ("ed1".to_owned(), true)];
        assert_eq!(verified(&text), good, "{text}");
        assert!(!text.contains("archive@"), "{text}");
        // Whatever a reader would be shown instead is signed.
        for changed in [
            text.replace("\r\nTo: ", "\r\nTo: eve@y.example, "),
            text.replacen("\r\nDate:", "\r\nFrom: eve@y.example\r\nDate:", 1),
            text.replacen("\r\nDate:", "\r\nReply-To: eve@y.example\r\nDate:", 1),
            format!("{text}more\r\n"),
        ] {
            assert!(verified(&changed).iter().all(|(_, good)| !good), "{changed}");
        }
    }
    for key in [RSA, ED25519_PEM] {
        let secret = key.lines().nth(1).unwrap();
        assert!(!server.log().contains(secret));
    }
    server.check();
}

/// 6376-5.3-2
#[tokio::test]
async fn what_is_signed_is_in_seven_bits_so_that_no_relay_has_to_change_it() {
    let relay = Relay::start().await;
    let (server, _folder) = signing(&relay, &[("x.example", "rsa1", RSA)]).await;
    let bob = server.client("bob@x.example").await;
    for (number, offers) in [vec!["SIZE".to_owned()], vec!["8BITMIME".to_owned()]].into_iter().enumerate() {
        relay.script(Script { offers, ..Script::default() });
        let subject = ["Without 8BITMIME", "With"][number];
        send(&bob, &message(subject, "Viele Gr\u{fc}\u{df}e an alle\r\n")).await;
        let text = relay.wait_for(number + 1).await[number].text();
        assert!(text.ends_with("\r\n\r\nViele Gr=C3=BC=C3=9Fe an alle\r\n"), "{text}");
        assert_eq!(verified(&text), [("rsa1".to_owned(), true)], "{text}");
    }
}

#[tokio::test]
async fn mail_of_a_domain_without_a_key_goes_out_as_it_was_and_a_new_key_is_used_at_once() {
    let relay = Relay::start().await;
    let (server, folder) = signing(&relay, &[("y.example", "sel", RSA)]).await;
    let bob = server.client("bob@x.example").await;
    send(&bob, &message("unsigned", "Hello\r\n")).await;
    assert_eq!(verified(&relay.wait_for(1).await[0].text()), []);
    let help = bob.at(&server.inbox("help@y.example", &["bob@x.example:agent"]));
    let from_y = |subject: &str| message(subject, "Hello\r\n").replace(SUPPORT, "help@y.example");
    send(&help, &from_y("signed")).await;
    let text = relay.wait_for(2).await[1].text();
    assert!(text.contains("a=rsa-sha256") && verified(&text) == [("sel".to_owned(), true)], "{text}");
    replace(&folder.path().join("sel.pem"), ED25519_PEM);
    server.signal("HUP");
    eventually("the new key", async || server.log().contains("the DKIM keys were read anew").then_some(()))
        .await;
    send(&help, &from_y("signed anew")).await;
    let text = relay.wait_for(3).await[2].text();
    assert!(text.contains("a=ed25519-sha256") && verified(&text) == [("sel".to_owned(), true)], "{text}");
}

fn replace(file: &Path, content: &str) {
    std::fs::write(file, content).unwrap();
}
