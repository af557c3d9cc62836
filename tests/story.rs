//! The main job from end to end: mail comes in over SMTP, a team works on it, one reply goes out, and
//! everything survives a kill. Here by a knowing client of plain JSON; in `story/plain.rs` the same by a
//! JMAP library that knows nothing of our capabilities.

mod plain;

use crate::support::client::PLAIN;
use crate::support::relay::Relay;
use crate::support::{Client, TestServer, message};
use serde_json::{Value, json};
use std::time::Duration;

const CUSTOMER: &str = "marta@customer.example";

async fn deliver(server: &TestServer) {
    let text = message(
        "one@customer.example",
        CUSTOMER,
        "support@x.example",
        "Where is it?",
        "Where is my booking?",
    );
    assert!(server.deliver(CUSTOMER, &["support@x.example"], &text).await.starts_with("250"));
}

async fn conversation(client: &Client) -> Value {
    client.call("Conversation/get", json!({"ids": null})).await["list"][0].clone()
}

/// A draft that answers the customer; its id.
async fn draft(client: &Client, text: &str) -> String {
    let drafts = client.mailbox("drafts").await;
    let made = client
        .call(
            "Email/set",
            json!({"create": {"r": {
                "mailboxIds": {drafts: true},
                "keywords": {"$draft": true, "$seen": true},
                "from": [{"name": "Support", "email": "support@x.example"}],
                "to": [{"name": null, "email": CUSTOMER}],
                "subject": "Re: Where is it?",
                "inReplyTo": ["one@customer.example"],
                "references": ["one@customer.example"],
                "bodyValues": {"t": {"value": text}},
                "textBody": [{"partId": "t", "type": "text/plain"}],
            }}}),
        )
        .await;
    made["created"]["r"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

async fn submit(client: &Client, using: &[&str], email: &str, gate: Value) -> Value {
    let identity = client.call("Identity/get", json!({"ids": null})).await["list"][0]["id"].clone();
    let mut submission = json!({"emailId": email, "identityId": identity});
    submission.as_object_mut().unwrap().extend(gate.as_object().unwrap().clone());
    client.call_with(using, "EmailSubmission/set", json!({"create": {"s": submission}})).await
}

#[tokio::test]
async fn a_team_answers_a_customer_exactly_once_and_a_kill_changes_nothing() {
    let relay = Relay::start().await;
    let mut server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server).await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let seen = conversation(&bob).await;
    let id = seen["id"].as_str().unwrap();
    assert_eq!(
        (&seen["ownerId"], &seen["status"], &seen["messageCount"], &seen["subject"]),
        (&Value::Null, &json!("open"), &json!(1), &json!("Where is it?"))
    );

    // Both claim; one wins, the other is told who.
    let claim = |client: &Client| {
        let arguments = json!({"update": {id: {"ownerId": client.principal()}}});
        let client = client.clone();
        async move { client.call("Conversation/set", arguments).await }
    };
    let (bobs, cats) = tokio::join!(claim(&bob), claim(&cat));
    let bob_won = bobs["updated"].get(id).is_some();
    let (owner, other, refused) = if bob_won { (&bob, &cat, cats) } else { (&cat, &bob, bobs) };
    let now = conversation(owner).await;
    assert_eq!(now["ownerId"], json!(owner.principal()));
    let error = &refused["notUpdated"][id];
    assert_eq!(
        *error,
        json!({
            "type": "ownerMismatch", "description": error["description"],
            "ownerId": owner.principal(), "version": now["version"]
        })
    );

    // A note, the lock, and a colleague who is stopped.
    let note = json!({"conversationId": id, "body": "Put back by hand", "mentions": [owner.principal()]});
    let made = other.call("Note/set", json!({"create": {"n": note}})).await;
    let note = made["created"]["n"]["id"].clone();
    assert!(note.is_string(), "{made}");
    let lock = owner.call("ReplyLock/set", json!({"create": {"l": {"conversationId": id}}})).await;
    let token = lock["created"]["l"]["token"].clone();
    assert!(token.is_u64(), "{lock}");
    let held = other.call("ReplyLock/set", json!({"create": {"l": {"conversationId": id}}})).await;
    assert_eq!(held["notCreated"]["l"]["type"], "lockHeld", "{held}");
    let theirs = draft(other, "Which booking?").await;
    let version = conversation(other).await["version"].clone();
    let told = submit(other, crate::support::TEAM, &theirs, json!({"ifVersion": version})).await;
    assert_eq!(told["notCreated"]["s"]["type"], "lockHeld", "{told}");
    let told = submit(other, PLAIN, &theirs, json!({})).await;
    assert_eq!(told["notCreated"]["s"]["type"], "forbiddenToSend", "{told}");
    assert_eq!(relay.deliveries(), 0);

    // The owner answers, and asks again as a client does that heard nothing.
    let version = conversation(owner).await["version"].clone();
    let ours = draft(owner, "It is back in the calendar.").await;
    let gate = json!({"lockToken": token, "ifVersion": version, "idempotencyKey": "k1"});
    let first = submit(owner, crate::support::TEAM, &ours, gate.clone()).await;
    assert!(first["created"]["s"]["id"].is_string(), "{first}");
    let taken = relay.wait_for(1).await;
    let again = submit(owner, crate::support::TEAM, &ours, gate).await;
    assert_eq!(again["created"]["s"]["id"], first["created"]["s"]["id"], "{again}");
    assert_eq!(taken[0].rcpts.len(), 1);
    assert!(taken[0].text().contains("back in the calendar"));
    assert!(!taken[0].text().contains("by hand"), "no note goes out");

    let before = conversation(owner).await;
    assert_eq!((&before["status"], &before["messageCount"]), (&json!("pending"), &json!(2)), "{before}");
    server.kill();
    server.start().await;
    let ann = server.client("ann@x.example").await;
    assert_eq!(conversation(&ann).await, before);
    assert_eq!(ann.call("Note/get", json!({"ids": [note]})).await["list"][0]["body"], "Put back by hand");
    assert_eq!(ann.call("ReplyLock/get", json!({"ids": null})).await["list"], json!([]));
    let mails = ann.call("Email/query", json!({"calculateTotal": true})).await;
    assert_eq!(mails["total"], 3, "the customer's, the reply, the colleague's draft");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(relay.deliveries(), 1, "and never again");
    server.check();
}
