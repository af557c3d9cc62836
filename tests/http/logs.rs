//! What the log tells, and what it must not, however much is asked of it.

use crate::support::push_service::PushService;
use crate::support::relay::{CA_PEM, Relay, Script};
use crate::support::server::start;
use crate::support::socket::Socket;
use crate::support::{CORE, Client, MAIL, PASSWORD, TEAM, TestServer, eventually, message, sending};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use std::fs;

/// A relay that wants a password, and a push service; the configuration that names both.
async fn surroundings() -> (Relay, PushService, tempfile::TempDir, String) {
    let offers = vec!["STARTTLS".to_owned(), "AUTH PLAIN".to_owned()];
    let relay = Relay::start_with(Script { offers, ..Script::default() }).await;
    let push = PushService::start().await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, CA_PEM).unwrap();
    let file = folder.path().join("postroom.toml");
    let text = format!(
        "relay = \"smtp+starttls://us:relaysecret@localhost:{}\"\nrelay_roots = {roots:?}\n\
         push_networks = [\"127.0.0.0/8\"]\npush_roots = {roots:?}\n",
        relay.address.port()
    );
    fs::write(&file, text).unwrap();
    (relay, push, folder, file.to_string_lossy().into_owned())
}

#[tokio::test]
async fn no_line_has_a_secret_or_what_a_message_says_at_any_level() {
    let (relay, push, _folder, config) = surroundings().await;
    let mut server = TestServer::office(&["--config", &config]).await;
    server.kill();
    server.under("export POSTROOM_LOG=trace");
    server.start().await;
    let customer = "marta@customer.example";
    let letter = message("one@customer.example", customer, "support@x.example", "SUBJECTIN", "BODYIN");
    assert!(server.deliver(customer, &["support@x.example"], &letter).await.starts_with("250"));

    // Logins of each kind, right and wrong.
    let bob = server.client("bob@x.example").await;
    let made = server.json(&["app-password", "add", "bob@x.example", "--label", "LABEL"]);
    let token = made["secret"].as_str().unwrap().to_owned();
    let phone = Client::bearer(&server.http, &token).await;
    let wrong = Client::stranger_basic(&server.http, "bob@x.example", "WRONGSECRET");
    assert_eq!(wrong.get("/.well-known/jmap").await.status, 401);
    let made =
        server.json_with(&["person", "password", "cat@x.example", "--password-stdin"], "NEWSECRETOFCAT");
    assert_eq!(made["password"], json!(null));
    let ticket = phone.post("/jmap/ws/ticket", "", Vec::new()).await.json()["value"].clone();
    let ticket = ticket.as_str().unwrap().to_owned();
    let path = format!("/jmap/ws?ticket={ticket}");
    let socket = Socket::try_open(&server.http, &path, &[("sec-websocket-protocol", "jmap")]).await;
    let mut socket = socket.ok().unwrap();
    let other = phone.post("/jmap/ws/ticket", "", Vec::new()).await.json()["value"].clone();
    let other = other.as_str().unwrap().to_owned();
    assert_ne!(bob.get(&format!("/jmap/ws/ticket/{other}")).await.status, 200, "it is there to be deleted");

    // The work, over HTTP and over a WebSocket.
    let conversation = bob.call("Conversation/get", json!({"ids": null})).await["list"][0]["id"].clone();
    let note = json!({"conversationId": conversation, "body": "NOTEBODY"});
    let made = bob.call("Note/set", json!({"create": {"n": note}})).await;
    assert!(made["created"]["n"].is_object(), "{made}");
    let emails = json!([["Email/query", {"accountId": bob.account}, "q"], ["Email/get", {
        "accountId": bob.account, "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"},
        "properties": ["subject", "bodyValues", "blobId"], "fetchAllBodyValues": true}, "g"]]);
    let read = socket.request("R", &[CORE, MAIL], emails).await;
    assert!(read.to_string().contains("BODYIN"), "{read}");
    let blob = read["methodResponses"][1][1]["list"][0]["blobId"].as_str().unwrap().to_owned();
    let file = format!("/jmap/download/{}/{blob}/FILENAME.pdf?type=a/b", bob.account);
    assert_eq!(bob.get(&file).await.status, 200);
    let upload = format!("/jmap/upload/{}", bob.account);
    assert_eq!(bob.post(&upload, "text/plain", b"UPLOADED".to_vec()).await.status, 201);
    let found = bob.call("Email/query", json!({"filter": {"text": "SEARCHED"}})).await;
    assert_eq!(found["ids"], json!([]), "{found}");
    let id = push.subscribe(&bob, "/PUSHPATH", json!({})).await;
    assert!(!id.is_empty());
    let code = push.pushed("/PUSHPATH")[0].json()["verificationCode"].as_str().unwrap().to_owned();

    // A reply, and what is refused.
    let draft = sending::draft(
        &bob,
        json!({
            "from": [{"name": "Support", "email": "support@x.example"}],
            "to": [{"name": null, "email": customer}], "subject": "SUBJECTOUT",
            "bodyValues": {"t": {"value": "BODYOUT"}}, "textBody": [{"partId": "t", "type": "text/plain"}]
        }),
    )
    .await;
    let sent = sending::submit(&bob, TEAM, &draft, json!({"idempotencyKey": "IDEMPOTENCY"})).await;
    assert!(sent["created"].is_object(), "{sent}");
    assert!(relay.wait_for(1).await[0].text().contains("BODYOUT"));
    let broken = bob.post("/jmap", "application/json", b"{\"BROKENJSON".to_vec()).await;
    assert_eq!(broken.status, 400);
    let log = eventually("the handover's line", async || {
        Some(server.log()).filter(|log| log.contains("handed over"))
    })
    .await;
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the level holds: {log}");
    assert!(log.contains("/jmap/download/"), "requests are told: {log}");
    assert!(server.stop().await.success());

    let log = server.log();
    let basic = BASE64_STANDARD.encode(format!("bob@x.example:{PASSWORD}"));
    let relayed = BASE64_STANDARD.encode("\0us\0relaysecret");
    for secret in [
        PASSWORD,
        "WRONGSECRET",
        "NEWSECRETOFCAT",
        "relaysecret",
        &basic,
        &relayed,
        &token,
        &ticket,
        &other,
        &code,
        "PUSHPATH",
        "IDEMPOTENCY",
        "SUBJECTIN",
        "BODYIN",
        "SUBJECTOUT",
        "BODYOUT",
        "NOTEBODY",
        "FILENAME",
        "UPLOADED",
        "SEARCHED",
        "BROKENJSON",
        "LABEL",
    ] {
        let told: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(told.is_empty(), "{secret}: {told:#?}");
    }
}

#[tokio::test]
async fn a_request_has_an_id_that_its_lines_and_its_answer_have() {
    let mut server = start().await;
    server.kill();
    server.under("export POSTROOM_LOG=debug");
    server.start().await;
    let stranger = server.stranger();
    let given = stranger.get_with("/healthz", &[("x-request-id", "from-the.proxy_1")]).await;
    assert_eq!(given.header("x-request-id"), ["from-the.proxy_1"]);
    let made = stranger.get_with("/healthz", &[("x-request-id", "two words\"")]).await;
    let made = made.header("x-request-id")[0].to_owned();
    assert!(made.starts_with('r') && made[1..].parse::<u64>().is_ok(), "{made}");
    let log = server.log();
    for id in ["from-the.proxy_1", &made] {
        assert!(log.contains(&format!("id=\"{id}\"")), "{id}: {log}");
    }
    assert!(!log.contains("two words") && !log.contains('\x1b'), "no colours but for a terminal: {log}");
}

#[tokio::test]
async fn each_message_that_comes_in_and_goes_out_has_a_line_with_its_result_and_without_what_it_says() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    server.json(&["list", "add", "all@x.example", "--name", "All", "--member", "bob@x.example"]);
    let customer = "marta@customer.example";
    let letter = message("one@customer.example", customer, "support@x.example", "SUBJECTIN", "BODYIN");
    let to = ["support@x.example", "bob@x.example", "all@x.example"];
    let reply = server.deliver(customer, &to, &letter).await;
    let kept = reply.strip_prefix("250 2.0.0 Kept as ").unwrap_or_else(|| panic!("{reply}")).to_owned();
    let circles = format!("{}{letter}", "Received: again\r\n".repeat(101));
    assert!(server.deliver(customer, &["bob@x.example"], &circles).await.starts_with("554 5.4.6"));
    relay.wait_for(1).await;
    let log = eventually("the handover's line", async || {
        Some(server.log()).filter(|log| log.contains("handed over"))
    })
    .await;
    let line = |what: &str| {
        let found = log.lines().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no line says {what}: {log}")).to_owned()
    };
    let came = line("a message came in");
    for part in [
        "INFO smtp{id=\"s",
        " peer=127.0.0.1",
        " result=\"accepted 2, refused 1\"",
        &format!(" size_bytes={}", letter.len()),
        &format!(" kept=\"{kept}\""),
    ] {
        assert!(came.contains(part), "{part}: {came}");
    }
    let refused = line("a message was refused");
    assert!(refused.contains("smtp{id=\"s") && refused.contains("code=554 status=\"5.4.6\""), "{refused}");
    let handed = line("handed over");
    let name = format!(":{}\" outcome=Accepted", relay.address.port());
    assert!(handed.contains(" relay=\"") && handed.contains(&name), "{handed}");
    for secret in ["SUBJECTIN", "BODYIN", customer, "bob@x.example"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
