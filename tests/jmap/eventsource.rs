//! Push over EventSource (RFC 8620 §7.3).

use crate::support::{Client, TestServer, message};
use serde_json::json;

async fn deliver(server: &TestServer, id: &str) {
    let text = message(id, "marta@customer.example", "support@x.example", "Hello", "Hello");
    assert!(server.deliver("marta@customer.example", &["support@x.example"], &text).await.starts_with("250"));
}

#[tokio::test]
async fn a_delivered_message_is_told_with_the_states_that_get_gives() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=Email,Mailbox,Thread,Conversation&closeafter=no&ping=0").await;
    assert_eq!(events.next().await.unwrap(), ": connected");
    deliver(&server, "one@customer.example").await;
    let (name, data) = events.event().await;
    let mut states = json!({});
    for kind in ["Conversation", "Email", "Mailbox", "Thread"] {
        states[kind] = ann.call(&format!("{kind}/get"), json!({"ids": []})).await["state"].clone();
    }
    assert_eq!(
        (name.as_str(), &data),
        ("state", &json!({"@type": "StateChange", "changed": {&ann.account: states}}))
    );
}

/// RFC 8621 §1.5: what is added to the store changes EmailDelivery, and nothing else does.
#[tokio::test]
async fn a_delivery_is_told_as_a_type_of_its_own_and_reading_is_none() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=EmailDelivery&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    let mut last = json!(null);
    for round in ["one", "two"] {
        deliver(&server, &format!("{round}@customer.example")).await;
        let (_, data) = events.event().await;
        let state = data["changed"][&ann.account].clone();
        assert!(state["EmailDelivery"].is_string() && state != last, "{data}");
        assert_eq!(state.as_object().unwrap().len(), 1, "{data}");
        last = state;
        // Marking and destroying what is there is no delivery: the next event is that of the next one.
        let id = ann.call("Email/query", json!({"limit": 1})).await["ids"][0].as_str().unwrap().to_owned();
        let marked = ann.call("Email/set", json!({"update": {&id: {"keywords/$flagged": true}}})).await;
        assert_eq!(marked["updated"], json!({&id: null}));
    }
    let drafts = ann.mailbox("drafts").await;
    let draft = json!({"mailboxIds": {drafts: true}, "keywords": {"$draft": true}, "subject": "New"});
    let made = ann.call("Email/set", json!({"create": {"d": draft}})).await["created"]["d"]["id"].clone();
    let (_, data) = events.event().await;
    assert_ne!(data["changed"][&ann.account], last, "a message of one's own is added, too");
    ann.call("Email/set", json!({"destroy": [made]})).await;
    let quiet = tokio::time::timeout(std::time::Duration::from_millis(700), events.event()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn a_star_tells_of_registered_types_only() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=*&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    deliver(&server, "one@customer.example").await;
    let (_, data) = events.event().await;
    let told: Vec<&String> = data["changed"][&ann.account].as_object().unwrap().keys().collect();
    assert!(told.iter().any(|name| *name == "Email"), "{data}");
    for ours in ["Conversation", "Note", "ReplyLock", "Activity", "InboxSettings"] {
        assert!(!told.iter().any(|name| *name == ours), "{data}");
    }
}

#[tokio::test]
async fn a_channel_that_closes_after_a_state_ends_after_one_and_resumes_by_its_id() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=Email&closeafter=state&ping=0").await;
    events.next().await.unwrap();
    deliver(&server, "one@customer.example").await;
    let (name, _) = events.event().await;
    assert_eq!(name, "state");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn what_changed_while_the_server_was_down_or_the_client_away_is_told_after_the_last_event() {
    let mut server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=Email,Identity&closeafter=state&ping=0").await;
    events.next().await.unwrap();
    deliver(&server, "one@customer.example").await;
    let first = events.next().await.unwrap();
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    deliver(&server, "two@customer.example").await;
    assert!(server.stop().await.success());
    server.start().await;
    let fields = [("last-event-id", id.as_str())];
    let mut events = ann.events_after("types=Email,Identity&closeafter=no&ping=0", &fields).await;
    assert_eq!(events.next().await.unwrap(), ": connected");
    let (_, data) = events.event().await;
    let state = ann.call("Email/get", json!({"ids": []})).await["state"].clone();
    assert_eq!(data["changed"], json!({&ann.account: {"Email": state}}));
}

#[tokio::test]
async fn a_new_member_is_told_of_the_inbox_on_the_open_channel() {
    let server = TestServer::office(&[]).await;
    server.person("dan@x.example", "Dan");
    deliver(&server, "one@customer.example").await;
    let mut events = server.client("dan@x.example").await.events("types=Email&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    server.json(&["inbox", "member", "add", "support@x.example", "dan@x.example:observer"]);
    let (_, data) = events.event().await;
    let dan = server.client("dan@x.example").await;
    let state = dan.call("Email/get", json!({"ids": []})).await["state"].clone();
    assert_eq!(data["changed"], json!({&dan.account: {"Email": state}}));
}

#[tokio::test]
async fn a_ping_comes_as_often_as_the_server_says() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=*&closeafter=no&ping=1").await;
    events.next().await.unwrap();
    let (name, data) = events.event().await;
    let interval = data["interval"].as_u64().unwrap();
    assert_eq!((name.as_str(), data), ("ping", json!({"interval": interval})));
}

/// RFC 8620 §7.3: a ping sets no id, and its interval is one that every client can live with.
#[tokio::test]
async fn a_ping_has_no_id_and_comes_also_where_what_changes_is_not_told() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    let mut events = ann.events("types=VacationResponse&closeafter=no&ping=1").await;
    assert_eq!(events.next().await.unwrap(), ": connected");
    let changes = async {
        for number in 0.. {
            deliver(&server, &format!("m{number}@customer.example")).await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let ping = tokio::select! {
        () = changes => unreachable!("they have no end"),
        event = events.next() => event.unwrap(),
    };
    assert_eq!(ping, "event: ping\ndata: {\"interval\":5}");
}

#[tokio::test]
async fn a_channel_that_is_asked_for_in_another_form_is_refused() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    for (query, detail) in [
        ("types=*&closeafter=never&ping=0", "closeafter is \"state\" or \"no\"."),
        ("types=*&closeafter=no&ping=-1", "A variable in the URL's query is of another type."),
        ("types=*&closeafter=no&ping=often", "A variable in the URL's query is of another type."),
    ] {
        let reply = ann.get(&format!("/jmap/eventsource?{query}")).await;
        assert_eq!(reply.header("content-type"), ["application/problem+json"], "{query}");
        let problem = json!({"type": "about:blank", "status": 400, "title": "Bad Request", "detail": detail});
        assert_eq!((reply.status, reply.json()), (400, problem), "{query}");
    }
}

#[tokio::test]
async fn a_revoked_app_password_ends_its_channel_at_once() {
    let server = TestServer::office(&[]).await;
    let made = server.json(&["app-password", "add", "ann@x.example", "--label", "laptop"]);
    let laptop = Client::bearer(&server.http, made["secret"].as_str().unwrap()).await;
    let mut events = laptop.events("types=*&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    server.json(&["app-password", "revoke", made["id"].as_str().unwrap()]);
    assert_eq!(events.next().await, None);
    assert_eq!(laptop.get("/.well-known/jmap").await.status, 401);
}

#[tokio::test]
async fn a_member_who_leaves_hears_nothing_of_the_inbox_any_more() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await;
    let mut events = bob.events("types=Email&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    server.json(&["inbox", "member", "remove", "support@x.example", "bob@x.example"]);
    deliver(&server, "one@customer.example").await;
    let text = message("own@customer.example", "marta@customer.example", "bob@x.example", "Hello", "Hello");
    server.deliver("marta@customer.example", &["bob@x.example"], &text).await;
    let (_, data) = events.event().await;
    let told: Vec<&String> = data["changed"].as_object().unwrap().keys().collect();
    assert_eq!(told, [&bob.own().account]);
    assert_eq!(bob.call("Email/get", json!({"ids": []})).await["type"], "accountNotFound");
}
