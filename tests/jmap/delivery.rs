//! From the gateway into accounts, and what JMAP shows of it.

use crate::support::client::PLAIN;
use crate::support::{Gateway, TestServer, message};
use serde_json::{Value, json};

const CUSTOMER: &str = "marta@customer.example";

#[tokio::test]
async fn a_delivered_message_is_found_by_query_and_got_by_reference() {
    let server = TestServer::office(&[]).await;
    let text = message(
        "one@customer.example",
        "Marta <marta@customer.example>",
        "support@x.example",
        "Hello",
        "Where is it?",
    );
    let reply = server.deliver(CUSTOMER, &["support@x.example"], &text).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let ann = server.client("ann@x.example").await;
    let (account, inbox) = (ann.account.clone(), ann.mailbox("inbox").await);
    let properties = ["subject", "from", "to", "messageId", "preview", "hasAttachment", "keywords", "size"];
    let reply = ann
        .request(
            PLAIN,
            json!([
                ["Email/query", {
                    "accountId": account, "filter": {"inMailbox": inbox}, "calculateTotal": true,
                    "sort": [{"property": "receivedAt", "isAscending": false}], "collapseThreads": true
                }, "q"],
                ["Email/get", {
                    "accountId": account, "properties": properties,
                    "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"}
                }, "g"],
            ]),
        )
        .await;
    let (query, get) = (&reply["methodResponses"][0], &reply["methodResponses"][1]);
    let id = &query[1]["ids"][0];
    assert_eq!(
        *query,
        json!(["Email/query", {
            "accountId": account, "queryState": query[1]["queryState"], "canCalculateChanges": true,
            "position": 0, "ids": [id], "total": 1
        }, "q"])
    );
    let mail = &get[1]["list"][0];
    assert!(mail["size"].as_u64().unwrap() > text.len() as u64, "with the trace header");
    assert_eq!(
        *get,
        json!(["Email/get", {
            "accountId": account,
            "state": get[1]["state"],
            "list": [{
                "id": id,
                "subject": "Hello",
                "from": [{"name": "Marta", "email": "marta@customer.example"}],
                "to": [{"name": null, "email": "support@x.example"}],
                "messageId": ["one@customer.example"],
                "preview": "Where is it?",
                "hasAttachment": false,
                "keywords": {},
                "size": mail["size"]
            }],
            "notFound": []
        }, "g"])
    );
}

#[tokio::test]
async fn one_message_to_two_inboxes_and_a_person_is_an_email_in_each_with_the_same_content() {
    let server = TestServer::office(&[]).await;
    server.inbox("billing@x.example", &["ann@x.example:agent"]);
    let text = message(
        "two@customer.example",
        CUSTOMER,
        "support@x.example, billing@x.example",
        "Both",
        "Hello both",
    );
    let to = ["support@x.example", "billing@x.example", "ann@x.example"];
    let reply = server.deliver(CUSTOMER, &to, &text).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let ann = server.client("ann@x.example").await;
    let mut seen = Vec::new();
    for account in ann.session["accounts"].as_object().unwrap().keys() {
        let client = ann.at(account);
        let found = client
            .call_with(PLAIN, "Email/get", json!({"ids": null, "properties": ["blobId", "messageId"]}))
            .await;
        assert_eq!(found["list"].as_array().unwrap().len(), 1, "{account}: {found}");
        let blob = found["list"][0]["blobId"].as_str().unwrap();
        let raw = client.get(&format!("/jmap/download/{account}/{blob}/m.eml?type=message/rfc822")).await;
        let raw = String::from_utf8(raw.body).unwrap();
        assert!(raw.ends_with(&text), "the content follows the trace header: {raw}");
        assert!(raw.starts_with("Return-Path: <marta@customer.example>\r\n"), "{raw}");
        seen.push(raw);
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(server.check()["blobs"], 1, "stored once");
}

#[tokio::test]
async fn a_retry_of_the_gateway_is_recognised() {
    let server = TestServer::office(&[]).await;
    let text = message("three@customer.example", CUSTOMER, "support@x.example", "Once", "Only once");
    let first = server.deliver(CUSTOMER, &["support@x.example"], &text).await;
    let again = server.deliver(CUSTOMER, &["support@x.example"], &text).await;
    assert!(first.starts_with("250 "), "{first}");
    assert_eq!(first, again, "the retry is told the same");
    let ann = server.client("ann@x.example").await;
    let found = ann.call("Email/query", json!({"calculateTotal": true})).await;
    assert_eq!(found["total"], 1);
}

#[tokio::test]
async fn an_unknown_recipient_is_refused_and_the_others_are_served() {
    let server = TestServer::office(&[]).await;
    let mut gateway = server.gateway().await;
    assert_eq!(gateway.say("MAIL FROM:<marta@customer.example>").await, "250 2.1.0 Sender ok");
    assert_eq!(gateway.say("RCPT TO:<nobody@x.example>").await, "550 5.1.1 No such recipient here");
    assert_eq!(gateway.say("RCPT TO:<Support@X.example>").await, "250 2.1.5 Recipient ok");
    assert_eq!(gateway.say("DATA").await, "354 Go ahead, end with CR LF . CR LF");
    gateway.send(b"Subject: x\r\n\r\nx\r\n.\r\n").await.unwrap();
    assert!(gateway.reply().await.starts_with("250 2.0.0 "));
    gateway.quit().await;
    let ann = server.client("ann@x.example").await;
    assert_eq!(ann.call("Email/query", json!({"calculateTotal": true})).await["total"], 1);
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let server = TestServer::office(&["--lmtp", "127.0.0.1:0"]).await;
    let mut lmtp = Gateway::raw(server.lmtp.as_ref().unwrap()).await;
    assert!(lmtp.reply().await.starts_with("220 "));
    assert!(lmtp.say("LHLO gateway.example").await.starts_with("250-"));
    lmtp.say("MAIL FROM:<marta@customer.example>").await;
    assert_eq!(lmtp.say("RCPT TO:<support@x.example>").await, "250 2.1.5 Recipient ok");
    assert_eq!(lmtp.say("RCPT TO:<nobody@x.example>").await, "550 5.1.1 No such recipient here");
    assert_eq!(lmtp.say("RCPT TO:<bob@x.example>").await, "250 2.1.5 Recipient ok");
    assert!(lmtp.say("DATA").await.starts_with("354 "));
    lmtp.send(b"Subject: x\r\n\r\nx\r\n.\r\n").await.unwrap();
    let replies = [lmtp.reply().await, lmtp.reply().await];
    assert!(replies.iter().all(|reply| reply.starts_with("250 2.0.0 ")), "{replies:?}");
    let bob = server.client("bob@x.example").await;
    for client in [bob.own(), bob] {
        assert_eq!(client.call_with(PLAIN, "Email/query", json!({"calculateTotal": true})).await["total"], 1);
    }
}

#[tokio::test]
async fn every_message_of_the_demo_is_delivered_and_readable() {
    let server = TestServer::office(&[]).await;
    let mut files: Vec<_> =
        std::fs::read_dir("demo/mails").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut gateway = server.gateway().await;
    for file in &files {
        let raw = std::fs::read(file).unwrap();
        assert!(
            gateway.say("MAIL FROM:<marta@customer.example> BODY=8BITMIME SMTPUTF8").await.starts_with("250")
        );
        assert!(gateway.say("RCPT TO:<support@x.example>").await.starts_with("250"));
        assert!(gateway.say("DATA").await.starts_with("354"));
        gateway.send(&raw).await.unwrap();
        gateway.send(b".\r\n").await.unwrap();
        assert!(gateway.reply().await.starts_with("250"), "{}", file.display());
    }
    let ann = server.client("ann@x.example").await;
    let found = ann.call_with(PLAIN, "Email/get", json!({"ids": null, "fetchAllBodyValues": true})).await;
    let list = found["list"].as_array().unwrap();
    assert_eq!(list.len(), files.len());
    for mail in list {
        let bodies = mail["bodyValues"].as_object().unwrap();
        assert!(!bodies.is_empty(), "{mail}");
        let told: Vec<_> = bodies.values().map(|one| one["value"].as_str().unwrap_or_default()).collect();
        assert!(told.iter().any(|text| !text.trim().is_empty()), "{}", mail["subject"]);
        assert_ne!(mail["threadId"], Value::Null);
    }
    server.check();
}

#[tokio::test]
async fn an_address_in_u_labels_and_in_a_labels_is_one_address() {
    let server = crate::support::server::start().await;
    server.person("ann@müller.example", "Ann");
    server.inbox("hilfe@müller.example", &["ANN@xn--mller-kva.example:agent"]);
    let taken = server.command(&["inbox", "add", "Hilfe@XN--mller-kva.example", "--name", "Again"], "");
    assert!(!taken.status.success());
    let told = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(told.contains("the address Hilfe@XN--mller-kva.example is taken"), "{told}");
    let mut gateway = server.gateway().await;
    let from = "marta@customer.example";
    for (number, to, utf8) in [
        (1, "hilfe@xn--mller-kva.example", ""),
        (2, "hilfe@müller.example", " SMTPUTF8"),
        (3, "HILFE+tag@MÜLLER.example", " SMTPUTF8"),
    ] {
        let text =
            message(&format!("{number}@customer.example"), from, to, &format!("Letter {number}"), "Hello");
        assert!(gateway.say(&format!("MAIL FROM:<{from}>{utf8}")).await.starts_with("250"));
        let reply = gateway.say(&format!("RCPT TO:<{to}>")).await;
        assert_eq!(reply, "250 2.1.5 Recipient ok", "{to}");
        assert!(gateway.say("DATA").await.starts_with("354"));
        gateway.send(format!("{text}.\r\n").as_bytes()).await.unwrap();
        assert!(gateway.reply().await.starts_with("250 2.0.0"));
    }
    let ann = server.client("ann@XN--MLLER-KVA.example").await;
    let found = ann.call("Email/query", json!({})).await;
    assert_eq!(found["ids"].as_array().map(Vec::len), Some(3), "{found}");
    server.check();
}
