//! Presence over sockets: who is looking at what, told at once, and nowhere kept.

use super::*;
use crate::support::eventually;
use crate::support::socket::Socket;
use std::time::{Duration, Instant};

const QUERY: &str = "types=Presence&closeafter=no&ping=0";

async fn begin(client: &Client, conversation: &str, doing: &str) -> String {
    let create = json!({"create": {"p": {"conversationId": conversation, "doing": doing}}});
    let told = client.call("Presence/set", create).await;
    told["created"]["p"]["id"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

async fn who(client: &Client) -> Value {
    let told = client.call("Presence/get", json!({"ids": null})).await;
    let one = |lease: &Value| json!([lease["principalId"], lease["conversationId"], lease["doing"]]);
    told["list"].as_array().unwrap().iter().map(one).collect()
}

#[tokio::test]
async fn who_looks_at_and_types_in_a_conversation_is_told_to_channels_that_name_it() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    let mut events = cat.events(QUERY).await;
    let mut others = cat.events("types=*&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    others.next().await.unwrap();
    let told = bob.call("Presence/set", json!({"create": {"p": {"conversationId": id}}})).await;
    let lease = told["created"]["p"]["id"].as_str().unwrap().to_owned();
    let (name, data) = events.event().await;
    let state = cat.call("Presence/get", json!({"ids": []})).await["state"].clone();
    assert_eq!(
        (name.as_str(), data),
        ("state", json!({"@type": "StateChange", "changed": {&cat.account: {"Presence": state}}}))
    );
    assert_eq!(who(&cat).await, json!([[bob.principal(), id, "viewing"]]));
    // A sign of life is seen by nobody, another doing is.
    let renewed = bob.call("Presence/set", json!({"update": {&lease: {}}})).await;
    assert_eq!((&renewed["oldState"], &renewed["newState"]), (&state, &state));
    bob.call("Presence/set", json!({"update": {&lease: {"doing": "composing"}}})).await;
    events.event().await;
    assert_eq!(who(&cat).await, json!([[bob.principal(), id, "composing"]]));
    // Only its holder ends a lease.
    let refused = cat.call("Presence/set", json!({"destroy": [lease]})).await;
    assert_eq!(refused["notDestroyed"][&lease]["type"], "notFound");
    assert_eq!(bob.call("Presence/set", json!({"destroy": [lease]})).await["destroyed"], json!([lease]));
    events.event().await;
    assert_eq!(who(&cat).await, json!([]));
    // A channel of all registered types heard nothing of it: the next that it hears is mail.
    deliver(&server, "two", Some("one"), "Re: Help").await;
    let (_, data) = others.event().await;
    assert_eq!(data["changed"][&cat.account].get("Presence"), None);
    assert!(data["changed"][&cat.account].get("Email").is_some(), "{data}");
}

/// A lease ends thirty seconds after its last sign of life.
#[tokio::test]
async fn a_websocket_is_told_as_well_and_both_channels_of_the_end_of_who_fell_silent() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    let mut events = cat.events(QUERY).await;
    events.next().await.unwrap();
    let mut socket = Socket::open(&cat).await;
    socket.send(json!({"@type": "WebSocketPushEnable", "dataTypes": ["Presence"]})).await;
    socket.settled().await;
    let state = async || cat.call("Presence/get", json!({"ids": []})).await["state"].clone();
    let changed = async || json!({&cat.account: {"Presence": state().await}});
    let began = Instant::now();
    let lease = begin(&bob, &id, "composing").await;
    let told = socket.next().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let wanted = json!({"@type": "StateChange", "pushState": told["pushState"], "changed": changed().await});
    assert_eq!(told, wanted);
    assert_eq!(events.event().await.1["changed"], changed().await);
    assert_eq!(who(&cat).await, json!([[bob.principal(), id, "composing"]]));
    // Half a minute of silence: still there shortly before its end, and told at once behind it.
    tokio::time::sleep(Duration::from_secs(29).saturating_sub(began.elapsed())).await;
    assert_eq!(who(&cat).await, json!([[bob.principal(), id, "composing"]]));
    // The client gives up a response that lasts too long: another channel tells it.
    let mut events = cat.events(QUERY).await;
    events.next().await.unwrap();
    let told = socket.next().await;
    let silent = began.elapsed();
    assert!((Duration::from_secs(30)..Duration::from_secs(32)).contains(&silent), "{silent:?}");
    assert_eq!(told["changed"], changed().await);
    assert_eq!(events.event().await.1["changed"], changed().await);
    assert_eq!(who(&cat).await, json!([]));
    let late = bob.call("Presence/set", json!({"update": {&lease: {}}})).await;
    assert_eq!(late["notUpdated"][&lease]["type"], "notFound", "{late}");
}

#[tokio::test]
async fn presence_ends_with_membership_and_needs_access() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    begin(&bob, &id, "composing").await;
    let mut events = cat.events(QUERY).await;
    events.next().await.unwrap();
    server.json(&["inbox", "member", "remove", SUPPORT, "bob@x.example"]);
    assert_eq!(who(&cat).await, json!([]));
    eventually("his end is told", async || {
        let (_, data) = events.event().await;
        data["changed"][&cat.account].get("Presence").is_some().then_some(())
    })
    .await;
    assert_eq!(bob.call("Presence/get", json!({"ids": null})).await["type"], "accountNotFound");
    let own = cat.own();
    assert_eq!(own.call("Presence/get", json!({"ids": null})).await["type"], "accountNotSupportedByMethod");
}

#[tokio::test]
async fn a_lease_is_refused_where_it_makes_no_sense_or_there_are_too_many() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let olaf = server.client("olaf@x.example").await;
    let id = conversation(&olaf).await["id"].as_str().unwrap().to_owned();
    let create = json!({"create": {
        "composes": {"conversationId": id, "doing": "composing"},
        "nowhere": {"conversationId": "cz7z"},
        "sleeps": {"conversationId": id, "doing": "sleeping"},
        "other": {"conversationId": id, "principalId": "pb"}
    }});
    let told = olaf.call("Presence/set", create).await;
    let refused = |name: &str| {
        let error = &told["notCreated"][name];
        (error["type"].as_str().unwrap().to_owned(), error["properties"].clone())
    };
    assert_eq!(refused("composes"), ("forbidden".into(), Value::Null));
    assert_eq!(refused("nowhere"), ("invalidProperties".into(), json!(["conversationId"])));
    assert_eq!(refused("sleeps"), ("invalidProperties".into(), json!(["doing"])));
    assert_eq!(refused("other"), ("invalidProperties".into(), json!(["principalId"])));
    let many: Map<String, Value> =
        (0..33).map(|n| (format!("p{n}"), json!({"conversationId": id}))).collect();
    let told = olaf.call("Presence/set", json!({"create": many})).await;
    assert_eq!(told["created"].as_object().unwrap().len(), 32);
    let refused: Vec<&Value> = told["notCreated"].as_object().unwrap().values().collect();
    assert_eq!(refused[0]["type"], "rateLimit");
}
