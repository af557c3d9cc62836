//! VacationResponse (RFC 8621 §8), answering by RFC 3834.

use crate::support::relay::Relay;
use crate::support::{CORE, Client, MAIL, TestServer, eventually, message};
use serde_json::{Value, json};
use std::time::Duration;

const VACATION: &[&str] = &[CORE, MAIL, "urn:ietf:params:jmap:vacationresponse"];
const BOB: &str = "bob@x.example";

async fn set(bob: &Client, patch: Value) -> Value {
    bob.call_with(VACATION, "VacationResponse/set", json!({"update": {"singleton": patch}})).await
}

/// Delivers a message with further header fields.
async fn deliver(server: &TestServer, from: &str, path: &str, to: &str, fields: &str) {
    let text = message("q@customer.example", from, to, "A question", "Hello?");
    let text = text.replace("MIME-Version", &format!("{fields}X-From: {from}{path}\r\nMIME-Version"));
    let reply = server.deliver(path, &[BOB], &text).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test]
async fn it_is_one_object_that_is_neither_made_nor_destroyed() {
    let server = TestServer::office(&[]).await;
    let bob = server.client(BOB).await.own();
    let told = bob.call_with(VACATION, "VacationResponse/get", json!({"ids": null})).await;
    assert_eq!(
        told["list"],
        json!([{
            "id": "singleton", "isEnabled": false, "fromDate": null, "toDate": null, "subject": null,
            "textBody": null, "htmlBody": null
        }])
    );
    let refused = json!({"create": {"v": {"isEnabled": true}}, "destroy": ["singleton"],
        "update": {"other": {"isEnabled": true}}});
    let refused = bob.call_with(VACATION, "VacationResponse/set", refused).await;
    assert_eq!(refused["notCreated"], json!({"v": {"type": "singleton"}}));
    assert_eq!(refused["notDestroyed"], json!({"singleton": {"type": "singleton"}}));
    assert_eq!(refused["notUpdated"], json!({"other": {"type": "notFound"}}));
    for (patch, property) in [
        (json!({"isEnabled": "yes"}), "isEnabled"),
        (json!({"fromDate": "tomorrow"}), "fromDate"),
        (json!({"textBody": "x".repeat(70_000)}), "textBody"),
        (json!({"subject": "Away\r\nBcc: all@x.example"}), "subject"),
        (json!({"nonsense": 1}), "nonsense"),
    ] {
        let refused = set(&bob, patch).await;
        assert_eq!(refused["notUpdated"]["singleton"]["properties"], json!([property]), "{refused}");
    }
    let done = set(&bob, json!({"isEnabled": true, "subject": "Away"})).await;
    assert_eq!(done["updated"], json!({"singleton": null}), "{done}");
    assert_eq!(done["oldState"], told["state"]);
    assert_ne!(done["newState"], told["state"]);
    let now = bob.call_with(VACATION, "VacationResponse/get", json!({"ids": ["singleton", "x"]})).await;
    assert_eq!((&now["list"][0]["subject"], &now["notFound"]), (&json!("Away"), &json!(["x"])));
    // The team's inbox has none: it has acknowledgements.
    let inbox = server.client(BOB).await;
    let none = inbox.call_with(VACATION, "VacationResponse/get", json!({"ids": null})).await;
    assert_eq!(none["type"], "accountNotSupportedByMethod");
}

#[tokio::test]
async fn a_person_gets_one_answer_a_day_that_says_what_it_is() {
    let relay = Relay::start().await;
    let mut server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    set(&bob, json!({"isEnabled": true, "htmlBody": "<p>Back on <b>Monday</b>.</p>"})).await;
    deliver(&server, "marta@customer.example", "marta@customer.example", BOB, "").await;
    let taken = relay.wait_for(1).await;
    assert!(taken[0].mail.starts_with("<> SIZE="), "{}", taken[0].mail);
    assert_eq!(taken[0].rcpts, ["<marta@customer.example>"]);
    let text = taken[0].text();
    for line in [
        "From: Bob <bob@x.example>\r\n",
        "To: marta@customer.example\r\n",
        "Subject: Auto: A question\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "In-Reply-To: <q@customer.example>\r\n",
        "References: <q@customer.example>\r\n",
        "Back on Monday.",
        "<p>Back on <b>Monday</b>.</p>",
    ] {
        assert!(text.contains(line), "{line} {text}");
    }
    assert_eq!(bob.call("EmailSubmission/get", json!({"ids": null})).await["list"], json!([]));
    deliver(&server, "marta@customer.example", "Marta@customer.example", BOB, "").await;
    eventually("the relay's word is kept", async || {
        (server.json(&["queue", "list"])["entries"] == json!([])).then_some(())
    })
    .await;
    server.kill();
    server.start().await;
    deliver(&server, "marta@customer.example", "marta@customer.example", BOB, "X-Third: 3\r\n").await;
    deliver(&server, "sven@customer.example", "sven@customer.example", BOB, "").await;
    assert_eq!(relay.wait_for(2).await[1].rcpts, ["<sven@customer.example>"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(relay.deliveries(), 2);
    server.check();
}

#[tokio::test]
async fn nothing_automatic_no_list_and_nobody_of_ours_is_answered() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    set(&bob, json!({"isEnabled": true, "textBody": "Away."})).await;
    let mut number = 0;
    for (path, to, fields) in [
        ("", BOB, ""),
        ("c@customer.example", BOB, "Auto-Submitted: auto-replied\r\n"),
        ("c@customer.example", BOB, "Precedence: bulk\r\n"),
        ("c@customer.example", BOB, "Precedence: list\r\n"),
        ("c@customer.example", BOB, "List-Id: <l.customer.example>\r\n"),
        ("c@customer.example", BOB, "List-Post: <mailto:l@customer.example>\r\n"),
        ("c@customer.example", BOB, "Return-Path: <>\r\n"),
        ("c@customer.example", "undisclosed@customer.example", ""),
        ("ann@x.example", BOB, ""),
        ("ann+shop@x.example", BOB, ""),
        ("support@x.example", BOB, ""),
        ("bob@x.example", BOB, ""),
        ("MAILER-DAEMON@customer.example", BOB, ""),
        ("list-request@customer.example", BOB, ""),
        ("owner-list@customer.example", BOB, ""),
        ("no-reply@customer.example", BOB, ""),
    ] {
        number += 1;
        let from = format!("c{number}@customer.example");
        deliver(&server, &from, path, to, fields).await;
    }
    for patch in [
        json!({"isEnabled": false}),
        json!({"isEnabled": true, "toDate": "2020-01-01T00:00:00Z"}),
        json!({"toDate": null, "fromDate": "2100-01-01T00:00:00Z"}),
    ] {
        set(&bob, patch).await;
        number += 1;
        let from = format!("c{number}@customer.example");
        deliver(&server, &from, &from, BOB, "").await;
    }
    set(&bob, json!({"fromDate": "2020-01-01T00:00:00Z", "toDate": "2100-01-01T00:00:00Z"})).await;
    deliver(&server, "last@customer.example", "last@customer.example", BOB, "").await;
    assert_eq!(relay.wait_for(1).await[0].rcpts, ["<last@customer.example>"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

#[tokio::test]
async fn without_a_body_there_is_a_text_of_ours() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    set(&bob, json!({"isEnabled": true, "subject": "Gone"})).await;
    deliver(&server, "marta@customer.example", "marta@customer.example", BOB, "").await;
    let text = relay.wait_for(1).await[0].text();
    assert!(text.contains("Subject: Gone") && text.contains("This answer was sent by a program."), "{text}");
    assert_eq!(relay.messages()[0].rcpts, ["<marta@customer.example>"]);
}

#[tokio::test]
async fn mail_to_an_address_with_a_detail_is_answered_and_so_is_whoever_writes_from_another_postroom() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    set(&bob, json!({"isEnabled": true, "textBody": "Away."})).await;
    let shop = "bob+shop@x.example";
    let text = message("q@customer.example", "marta@customer.example", shop, "A question", "Hello?");
    assert!(server.deliver("marta@customer.example", &[shop], &text).await.starts_with("250"));
    let taken = relay.wait_for(1).await;
    assert_eq!(taken[0].rcpts, ["<marta@customer.example>"]);
    assert!(taken[0].text().contains("From: Bob <bob@x.example>\r\n"), "{}", taken[0].text());
    // Another return path for each message, and one answer for their author.
    let path = |digit: &str| format!("bounce+{}@other.example", digit.repeat(32));
    for digit in ["a", "b"] {
        deliver(&server, "sven@other.example", &path(digit), BOB, "").await;
    }
    let taken = relay.wait_for(2).await;
    assert_eq!(taken[1].rcpts, [format!("<{}>", path("a"))]);
    deliver(&server, "last@customer.example", "last@customer.example", BOB, "").await;
    assert_eq!(relay.wait_for(3).await[2].rcpts, ["<last@customer.example>"]);
    server.check();
}
