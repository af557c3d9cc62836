//! Snoozed conversations come back by themselves at their time, and as soon as the server is there again
//! where it was down then.

use super::*;
use crate::support::eventually;
use postroom::types::Clock;
use std::time::Duration;

/// A UTCDate so many seconds from now.
fn in_seconds(seconds: u64) -> String {
    Clock::system().now().after(Duration::from_secs(seconds)).date().to_string()
}

/// An inbox with one conversation of two messages that Bob snoozed; its id, and its messages.
async fn snoozed(until: &str) -> (TestServer, Client, String, Vec<String>) {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    deliver(&server, "two", Some("one"), "Re: Help").await;
    let bob = server.client("bob@x.example").await;
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    let patch = json!({"status": "snoozed", "snoozedUntil": until});
    let reply = bob.call("Conversation/set", json!({"update": {&id: patch}})).await;
    assert!(reply["updated"].get(&id).is_some(), "{reply}");
    let mut messages = emails(&bob).await;
    // Numbers are given in the order of arrival, dates may be equal.
    messages.sort();
    let now = conversation(&bob).await;
    assert_eq!((&now["status"], &now["snoozedUntil"]), (&json!("snoozed"), &json!(until)));
    assert_eq!(places(&bob, &messages[1]).await, set(&["Snoozed", "Unassigned"]));
    (server, bob, id, messages)
}

/// Waits until the conversation is open, and looks whether all that belongs to that has happened.
async fn comes_back(bob: &Client, id: &str, messages: &[String], until: &str) {
    let back = eventually("open again", async || {
        let now = conversation(bob).await;
        (now["status"] == "open").then_some(now)
    })
    .await;
    assert!(*in_seconds(0) >= *until, "not before its time");
    assert_eq!(back["snoozedUntil"], Value::Null);
    let told = bob.call("Email/get", json!({"ids": messages, "properties": ["keywords"]})).await;
    let keywords: Vec<&Value> = told["list"].as_array().unwrap().iter().map(|one| &one["keywords"]).collect();
    assert_eq!(keywords, [&json!({}), &json!({"$new": true})], "the newest is as new");
    for message in messages {
        assert_eq!(places(bob, message).await, set(&["Inbox", "Unassigned"]));
    }
    let filter = json!({"conversationId": id});
    let ids = bob.call("Activity/query", json!({"filter": filter})).await["ids"].take();
    let properties = ["type", "actorId", "cause", "before", "after", "explain"];
    let told = bob.call("Activity/get", json!({"ids": ids, "properties": properties})).await;
    let is_end = |one: &&Value| one["type"] == "statusChanged" && one["after"] == "open";
    let ends: Vec<&Value> = told["list"].as_array().unwrap().iter().filter(is_end).collect();
    let [end] = ends.as_slice() else { panic!("{told}") };
    let explain = json!({"reason": "snoozedUntil", "until": until});
    assert_eq!(
        **end,
        json!({
            "id": end["id"], "type": "statusChanged", "actorId": null, "cause": "timer",
            "before": "snoozed", "after": "open", "explain": explain
        })
    );
}

#[tokio::test]
async fn a_snoozed_conversation_is_open_and_new_when_its_time_comes() {
    let until = in_seconds(4);
    let (server, bob, id, messages) = snoozed(&until).await;
    comes_back(&bob, &id, &messages, &until).await;
    server.check();
}

#[tokio::test]
async fn a_snooze_whose_time_comes_while_the_server_is_dead_ends_at_its_next_start() {
    let until = in_seconds(4);
    let (mut server, bob, id, messages) = snoozed(&until).await;
    server.kill();
    while *in_seconds(0) <= *until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.start().await;
    comes_back(&bob, &id, &messages, &until).await;
    server.check();
}

#[tokio::test]
async fn a_snooze_outlives_a_stop_and_still_waits_for_its_time() {
    let until = in_seconds(8);
    let (mut server, bob, id, messages) = snoozed(&until).await;
    assert!(server.stop().await.success());
    server.start().await;
    assert_eq!(conversation(&bob).await["status"], "snoozed");
    comes_back(&bob, &id, &messages, &until).await;
    server.check();
}
