//! Delayed and undo-able sending (RFC 4865; spec/locks.md, section 7).

use crate::support::client::PLAIN;
use crate::support::relay::Relay;
use crate::support::sending::{becomes, draft, envelope, made, place_text, submission, submit};
use crate::support::{Client, TEAM, TestServer, eventually, message};
use serde_json::{Value, json};
use std::time::Duration;

const SUPPORT: &str = "support@x.example";
const CUSTOMER: &str = "marta@customer.example";

/// An office with one customer's message.
async fn office(relay: &Relay) -> TestServer {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let text = message("one@customer.example", CUSTOMER, SUPPORT, "Where is it?", "Where?");
    assert!(server.deliver(CUSTOMER, &[SUPPORT], &text).await.starts_with("250"));
    server
}

async fn conversation(client: &Client) -> Value {
    client.call("Conversation/get", json!({"ids": null})).await["list"][0].clone()
}

async fn reply(client: &Client, body: &str) -> String {
    let properties = json!({
        "from": [{"email": SUPPORT}], "subject": "Re: Where is it?",
        "inReplyTo": ["one@customer.example"], "references": ["one@customer.example"],
        "bodyValues": {"b": {"value": body}}
    });
    draft(client, properties).await
}

fn hold(seconds: u32) -> Value {
    json!({"envelope": envelope(SUPPORT, &[CUSTOMER], json!({"HOLDFOR": seconds.to_string()}))})
}

#[tokio::test]
async fn the_session_says_how_long_a_message_can_wait() {
    let relay = Relay::start().await;
    let server = office(&relay).await;
    let bob = server.client("bob@x.example").await;
    for account in [&bob, &bob.own()] {
        let told = &bob.session["accounts"][&account.account]["accountCapabilities"]["urn:ietf:params:jmap:submission"];
        assert_eq!(
            *told,
            json!({
                "maxDelayedSend": 31_622_400,
                "submissionExtensions":
                    {"DSN": [], "FUTURERELEASE": ["31622400", "9999-12-31T23:59:59Z"], "SIZE": ["52428800"]}
            })
        );
    }
}

#[tokio::test]
async fn until_its_time_a_message_waits_in_scheduled_and_nothing_moves() {
    let relay = Relay::start().await;
    let server = office(&relay).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let email = reply(&bob, "It is back.").await;
    let before = conversation(&ann).await;
    let response = submit(&bob, TEAM, &email, hold(10)).await;
    let id = made(&response);
    assert_eq!(response["created"]["s"]["undoStatus"], "pending", "{response}");
    assert_eq!(place_text(&ann, &email).await, "scheduled $seen");
    let waits = conversation(&ann).await;
    for property in ["status", "ownerId", "messageCount", "lastOutboundAt", "firstReplyAt", "waitingSince"] {
        assert_eq!(waits[property], before[property], "{property}");
    }
    let told = ann.call("Activity/query", json!({"filter": {"type": "sendScheduled"}})).await;
    assert_eq!(told["ids"].as_array().map(Vec::len), Some(1), "{told}");
    // A client that moves what it thinks was sent is set right (RFC 8621 §7.5, onSuccessUpdateEmail).
    let sent = bob.mailbox("sent").await;
    bob.call("Email/set", json!({"update": {&email: {"mailboxIds": {sent: true}}}})).await;
    assert_eq!(place_text(&ann, &email).await, "scheduled $seen");
    assert_eq!(relay.deliveries(), 0);

    let taken = relay.wait_for(1).await;
    assert!(!taken[0].mail.contains("HOLD"), "{}", taken[0].mail);
    let now = becomes(&bob, &id, "final").await;
    assert_eq!(now["sendAt"], response["created"]["s"]["sendAt"]);
    assert_eq!(place_text(&ann, &email).await, "sent $seen");
    let after = conversation(&ann).await;
    assert_eq!(
        (&after["status"], &after["ownerId"], &after["messageCount"], &after["waitingSince"]),
        (&json!("pending"), &json!(bob.principal()), &json!(2), &Value::Null)
    );
    server.check();
}

#[tokio::test]
async fn its_sender_takes_it_back_and_it_is_a_draft_again() {
    let relay = Relay::start().await;
    let server = office(&relay).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let email = reply(&bob, "It is back.").await;
    let id = made(&submit(&bob, TEAM, &email, hold(3600)).await);
    let cancel = json!({"update": {&id: {"undoStatus": "canceled"}}});
    let refused = ann.call("EmailSubmission/set", cancel.clone()).await;
    assert_eq!(refused["notUpdated"][&id]["type"], "forbidden", "{refused}");
    let state = bob.call("EmailSubmission/get", json!({"ids": []})).await["state"].clone();
    let done = bob.call("EmailSubmission/set", cancel.clone()).await;
    assert_eq!(done["updated"], json!({&id: null}), "{done}");
    let changes = bob.call("EmailSubmission/changes", json!({"sinceState": state})).await;
    assert_eq!(changes["updated"], json!([&id]), "{changes}");
    assert_eq!(place_text(&bob, &email).await, "drafts $draft,$seen");
    let now = submission(&bob, &id).await;
    assert_eq!((&now["undoStatus"], &now["deliveryStatus"]), (&json!("canceled"), &Value::Null));
    let again = bob.call("EmailSubmission/set", json!({"update": {&id: {"undoStatus": "pending"}}})).await;
    assert_eq!(again["notUpdated"][&id]["type"], "invalidProperties", "{again}");
    assert_eq!(relay.deliveries(), 0);
    // What never went out may be sent.
    made(&submit(&bob, TEAM, &email, json!({})).await);
    relay.wait_for(1).await;
    server.check();
}

#[tokio::test]
async fn a_restart_loses_no_scheduled_message_and_sends_none_twice() {
    let relay = Relay::start().await;
    let mut server = office(&relay).await;
    let bob = server.client("bob@x.example").await;
    let email = reply(&bob, "It is back.").await;
    let id = made(&submit(&bob, TEAM, &email, hold(5)).await);
    server.kill();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(relay.deliveries(), 0);
    server.start().await;
    relay.wait_for(1).await;
    becomes(&server.client("bob@x.example").await, &id, "final").await;
    server.kill();
    server.start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

#[tokio::test]
async fn a_colleagues_reply_in_between_holds_it() {
    let relay = Relay::start().await;
    let server = office(&relay).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let email = reply(&bob, "It is back.").await;
    let id = made(&submit(&bob, PLAIN, &email, hold(10)).await);
    // Ann's gate sees it.
    let theirs = reply(&ann, "We have found it.").await;
    let version = conversation(&ann).await["version"].clone();
    let plain = submit(&ann, PLAIN, &theirs, json!({})).await;
    let told = &plain["notCreated"]["s"];
    assert_eq!(told["type"], "forbiddenToSend", "{plain}");
    assert!(told["description"].as_str().unwrap().starts_with("Bob scheduled a reply"), "{plain}");
    made(&submit(&ann, TEAM, &theirs, json!({"ifVersion": version})).await);
    relay.wait_for(1).await;
    becomes(&bob, &id, "canceled").await;
    assert_eq!(place_text(&bob, &email).await, "drafts $draft,$new,$seen");
    let now = conversation(&ann).await;
    assert_eq!((&now["status"], &now["messageCount"]), (&json!("open"), &json!(2)), "{now}");
    let told = ann.call("Activity/query", json!({"filter": {"type": "sendHeld"}})).await;
    let told = ann.call("Activity/get", json!({"ids": told["ids"]})).await["list"][0].clone();
    assert_eq!((&told["cause"], &told["conversationId"]), (&json!("timer"), &now["id"]), "{told}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

#[tokio::test]
async fn whoever_may_send_no_more_has_what_they_scheduled_held_at_once() {
    let relay = Relay::start().await;
    let server = office(&relay).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let email = reply(&bob, "It is back.").await;
    let id = made(&submit(&bob, TEAM, &email, hold(3600)).await);
    server.json(&["inbox", "member", "remove", SUPPORT, "bob@x.example"]);
    assert_eq!(submission(&ann, &id).await["undoStatus"], "canceled");
    assert_eq!(place_text(&ann, &email).await, "drafts $draft,$new,$seen");
    server.check();
}

#[tokio::test]
async fn a_person_schedules_their_own_mail_too_and_what_is_destroyed_goes_out_all_the_same() {
    let relay = Relay::start().await;
    let server = office(&relay).await;
    let bob = server.client("bob@x.example").await.own();
    let from = json!([{"email": "bob@x.example"}]);
    let hold = json!({"envelope": envelope("bob@x.example", &[CUSTOMER], json!({"HOLDFOR": "8"}))});
    let kept = draft(&bob, json!({"from": from})).await;
    let lost = draft(&bob, json!({"from": from, "subject": "Lost"})).await;
    let sent = bob.mailbox("sent").await;
    let first = made(&submit(&bob, TEAM, &kept, hold.clone()).await);
    let second = made(&submit(&bob, TEAM, &lost, hold).await);
    let moved = json!({"update": {&kept: {format!("mailboxIds/{sent}"): true, "keywords/$flagged": true}}});
    bob.call("Email/set", moved).await;
    assert_eq!(place_text(&bob, &kept).await, "scheduled $flagged,$seen");
    let gone = bob.call("EmailSubmission/set", json!({"destroy": [&second]})).await;
    assert_eq!(gone["destroyed"], json!([&second]), "{gone}");
    let gone = bob.call("Email/set", json!({"destroy": [&lost]})).await;
    assert_eq!(gone["destroyed"], json!([&lost]), "{gone}");
    server.check();
    let taken = relay.wait_for(2).await;
    assert!(taken.iter().any(|one| one.text().contains("Subject: Lost")));
    becomes(&bob, &first, "final").await;
    eventually("filed", async || (place_text(&bob, &kept).await == "sent $flagged,$seen").then_some(()))
        .await;
    server.check();
}
