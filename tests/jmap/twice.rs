//! Never twice: what a client sends again by accident goes out once, and what only looks like it is sent.

use crate::support::client::PLAIN;
use crate::support::relay::Relay;
use crate::support::sending::{becomes, draft, envelope, made, submit};
use crate::support::{Client, TestServer};
use serde_json::{Value, json};

const BOB: &str = "bob@x.example";

async fn office(relay: &Relay) -> (TestServer, Client) {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client(BOB).await.own();
    (server, bob)
}

/// A draft with text, HTML and a file, as a client that lost a response makes it again.
async fn letter(client: &Client, blob: &str) -> String {
    let parts = json!({
        "from": [{"email": BOB}],
        "bodyValues": {"t": {"value": "Here it is."}, "h": {"value": "<p>Here it is.</p>"}},
        "textBody": [{"partId": "t", "type": "text/plain"}],
        "htmlBody": [{"partId": "h", "type": "text/html"}],
        "attachments": [{"blobId": blob, "type": "text/plain", "name": "list.txt"}]
    });
    draft(client, parts).await
}

async fn upload(client: &Client, content: &str) -> String {
    let path = format!("/jmap/upload/{}", client.account);
    let told = client.post(&path, "text/plain", content.as_bytes().to_vec()).await.json();
    told["blobId"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[tokio::test]
async fn a_message_with_many_parts_that_is_made_anew_goes_out_once() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let file = upload(&bob, "one, two").await;
    let first = letter(&bob, &file).await;
    let id = made(&submit(&bob, PLAIN, &first, json!({})).await);
    becomes(&bob, &id, "final").await;
    let again = letter(&bob, &file).await;
    assert_ne!(first, again);
    let raw = async |email: &str| {
        let told = bob.call("Email/get", json!({"ids": [email], "properties": ["blobId"]})).await;
        let blob = told["list"][0]["blobId"].as_str().unwrap().to_owned();
        bob.get(&format!("/jmap/download/{}/{blob}/m?type=message/rfc822", bob.account)).await.body
    };
    assert_ne!(raw(&first).await, raw(&again).await, "its boundaries are others");
    assert_eq!(made(&submit(&bob, PLAIN, &again, json!({})).await), id);
    // Another file is another message.
    let other = upload(&bob, "one, two, three").await;
    let other = letter(&bob, &other).await;
    assert_ne!(made(&submit(&bob, PLAIN, &other, json!({})).await), id);
    assert_eq!(relay.wait_for(2).await.len(), 2);
    server.check();
}

#[tokio::test]
async fn a_message_whose_record_was_destroyed_is_not_sent_again() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let email = draft(&bob, json!({"from": [{"email": BOB}]})).await;
    let id = made(&submit(&bob, PLAIN, &email, json!({})).await);
    relay.wait_for(1).await;
    let gone = bob.call("EmailSubmission/set", json!({"destroy": [&id]})).await;
    assert_eq!(gone["destroyed"], json!([&id]));
    assert_eq!(made(&submit(&bob, PLAIN, &email, json!({})).await), id);
    let another = draft(&bob, json!({"from": [{"email": BOB}]})).await;
    assert_eq!(made(&submit(&bob, PLAIN, &another, json!({})).await), id);
    let new = draft(&bob, json!({"from": [{"email": BOB}], "subject": "Another"})).await;
    assert_ne!(made(&submit(&bob, PLAIN, &new, json!({})).await), id);
    let subjects: Vec<bool> =
        relay.wait_for(2).await.iter().map(|one| one.text().contains("Subject: Another")).collect();
    assert_eq!(subjects, [false, true]);
    server.check();
}

/// A copy to more people that was taken back takes nothing away from what is known of the first.
#[tokio::test]
async fn what_went_out_is_known_again_though_a_later_copy_of_it_was_canceled() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let people = ["marta@customer.example", "sven@customer.example"];
    let email = draft(&bob, json!({"from": [{"email": BOB}]})).await;
    let first = json!({"envelope": envelope(BOB, &people[..1], Value::Null)});
    let id = made(&submit(&bob, PLAIN, &email, first).await);
    relay.wait_for(1).await;
    for _ in 0..2 {
        let later = json!({"envelope": envelope(BOB, &people, json!({"HOLDFOR": "3600"}))});
        let copy = made(&submit(&bob, PLAIN, &email, later).await);
        assert_ne!(copy, id);
        let cancel = json!({"update": {&copy: {"undoStatus": "canceled"}}});
        let done = bob.call("EmailSubmission/set", cancel).await;
        assert_eq!(done["updated"], json!({&copy: null}), "{done}");
    }
    let others = json!({"envelope": envelope(BOB, &people[..1], json!({"HOLDFOR": "1800"}))});
    assert_eq!(made(&submit(&bob, PLAIN, &email, others).await), id);
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

/// A client that counts the time to wait from now on names another one with each attempt.
#[tokio::test]
async fn the_same_words_to_the_same_people_are_one_message_whether_they_wait_or_not() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let people = ["marta@customer.example"];
    let mut ids = Vec::new();
    for parameters in [json!({"HOLDFOR": "3600"}), json!({"HOLDFOR": "3599"}), Value::Null] {
        let email = draft(&bob, json!({"from": [{"email": BOB}]})).await;
        let order = json!({"envelope": envelope(BOB, &people, parameters)});
        ids.push(made(&submit(&bob, PLAIN, &email, order).await));
    }
    assert_eq!(ids, vec![ids[0].clone(); 3]);
    assert_eq!(relay.deliveries(), 0, "the first one waits still");
    server.check();
}

#[tokio::test]
async fn a_message_goes_to_each_recipient_once_however_its_envelopes_are_split() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let people = ["marta@customer.example", "sven@customer.example"];
    let to = json!([{"email": people[0]}, {"email": people[1]}]);
    let email = draft(&bob, json!({"from": [{"email": BOB}], "to": to})).await;
    let mut ids = Vec::new();
    for person in people {
        let order = json!({"envelope": envelope(BOB, &[person], Value::Null)});
        ids.push(made(&submit(&bob, PLAIN, &email, order).await));
    }
    assert_ne!(ids[0], ids[1]);
    let both = json!({"envelope": envelope(BOB, &people, Value::Null)});
    assert_eq!(made(&submit(&bob, PLAIN, &email, both).await), ids[0], "both had it");
    let taken = relay.wait_for(2).await;
    let mut rcpts: Vec<String> = taken.iter().flat_map(|one| one.rcpts.clone()).collect();
    rcpts.sort();
    assert_eq!(rcpts, people.map(|person| format!("<{person}>")));
    server.check();
}
