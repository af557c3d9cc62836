//! New messages in the push itself (draft-ietf-jmap-emailpush-03).

use crate::support::push_service::{PushService, Subscriber};
use crate::support::{CORE, Client, TestServer, message};
use serde_json::{Value, json};
use std::time::Duration;

const EMAIL_PUSH: &str = "urn:ietf:params:jmap:emailpush";

async fn set(client: &Client, arguments: Value) -> Value {
    let calls = json!([["PushSubscription/set", arguments, "c"]]);
    let using = [CORE, "urn:ietf:params:jmap:mail", EMAIL_PUSH];
    client.request(&using, calls).await["methodResponses"][0][1].take()
}

/// A verified subscription that is pushed nothing else.
async fn subscribe(service: &PushService, client: &Client, path: &str, config: Value) -> String {
    let wanted = json!({
        "deviceClientId": "phone", "url": service.url(path), "keys": Subscriber::new().keys(), "types": [],
        "emailPush": {&client.account: config}
    });
    let made = set(client, json!({"create": {"s": wanted}})).await;
    let id = made["created"]["s"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let code = Subscriber::new().read(&service.nth(path, 0).await)["verificationCode"].clone();
    let done = set(client, json!({"update": {&id: {"verificationCode": code}}})).await;
    assert_eq!(done["updated"], json!({&id: null}), "{done}");
    id
}

async fn deliver(server: &TestServer, id: &str, subject: &str) {
    let text = message(id, "marta@customer.example", "support@x.example", subject, "Where is it?");
    let reply = server.deliver("marta@customer.example", &["support@x.example"], &text).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test]
async fn a_message_that_matches_is_pushed_with_what_was_asked_for() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    assert_eq!(ann.session["capabilities"][EMAIL_PUSH], json!({}));
    assert_eq!(ann.session["accounts"][&ann.account]["accountCapabilities"][EMAIL_PUSH], json!({}));
    deliver(&server, "before@customer.example", "Invoice of before").await;
    let config = json!({
        "filter": {"subject": "invoice"}, "properties": ["subject", "from", "id"], "urgency": "high"
    });
    let id = subscribe(&service, &ann, "/a", config.clone()).await;
    let calls = json!([["PushSubscription/get", {"ids": [id], "properties": ["emailPush"]}, "c"]]);
    let shown = ann.request(&[CORE, EMAIL_PUSH], calls).await;
    assert_eq!(shown["methodResponses"][0][1]["list"][0]["emailPush"], json!({&ann.account: config}));

    deliver(&server, "other@customer.example", "A question").await;
    deliver(&server, "one@customer.example", "The invoice").await;
    let pushed = service.nth("/a", 1).await;
    assert_eq!(pushed.header("urgency"), "high");
    let text = Subscriber::new().read(&pushed);
    let found =
        ann.call("Email/query", json!({"filter": {"subject": "The invoice"}})).await["ids"][0].clone();
    let state = ann.call("Email/get", json!({"ids": []})).await["state"].clone();
    assert_eq!(
        text,
        json!({
            "@type": "EmailPush",
            "accountId": ann.account,
            "emails": [{
                "subject": "The invoice",
                "from": [{"name": null, "email": "marta@customer.example"}],
                "id": found
            }],
            "state": state
        })
    );
    // What a client brings itself was not delivered, and what was told is told once.
    let drafts = ann.mailbox("drafts").await;
    let draft = json!({"mailboxIds": {drafts: true}, "keywords": {"$draft": true}, "subject": "My invoice"});
    ann.call("Email/set", json!({"create": {"d": draft}})).await;
    deliver(&server, "two@customer.example", "Another invoice").await;
    let text = Subscriber::new().read(&service.nth("/a", 2).await);
    assert_eq!(text["emails"].as_array().unwrap().len(), 1, "{text}");
    assert_eq!(text["emails"][0]["subject"], "Another invoice");
    // A restart repeats nothing.
    let mut server = server;
    assert!(server.stop().await.success());
    server.start().await;
    deliver(&server, "three@customer.example", "Third invoice").await;
    let text = Subscriber::new().read(&service.nth("/a", 3).await);
    assert_eq!((&text["emails"][0]["subject"], service.pushed("/a").len()), (&json!("Third invoice"), 4));
}

#[tokio::test]
async fn mail_that_came_since_it_was_asked_for_is_pushed_though_the_server_was_killed_at_once() {
    let (mut server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    deliver(&server, "before@customer.example", "Before").await;
    subscribe(&service, &ann, "/a", json!({"filter": null, "properties": ["subject"]})).await;
    deliver(&server, "one@customer.example", "Since").await;
    server.kill();
    server.start().await;
    // A kill after the push and before it is written down has it pushed once more, and never what came before.
    service.nth("/a", 1).await;
    for pushed in &service.pushed("/a")[1..] {
        assert_eq!(Subscriber::new().read(pushed)["emails"], json!([{"subject": "Since"}]));
    }
}

#[tokio::test]
async fn whoever_left_the_inbox_is_pushed_none_of_its_mail() {
    let (server, service, _folder) = PushService::office().await;
    let bob = server.client("bob@x.example").await;
    subscribe(&service, &bob, "/b", json!({"filter": null, "properties": ["subject"]})).await;
    deliver(&server, "one@customer.example", "For the team").await;
    let text = Subscriber::new().read(&service.nth("/b", 1).await);
    assert_eq!(text["emails"], json!([{"subject": "For the team"}]));
    server.json(&["inbox", "member", "remove", "support@x.example", "bob@x.example"]);
    deliver(&server, "two@customer.example", "Not for bob").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(service.pushed("/b").len(), 2, "nothing since");
}

#[tokio::test]
async fn a_config_that_could_not_be_kept_is_refused_by_its_path() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let account = ann.account.clone();
    let keys = Subscriber::new().keys();
    for (path, push, keys) in [
        ("emailPush".to_owned(), json!({&account: {"properties": ["subject"]}}), Value::Null),
        ("emailPush/azz".to_owned(), json!({"azz": {"properties": ["subject"]}}), keys.clone()),
        (format!("emailPush/{account}"), json!({&account: 1}), keys.clone()),
        (format!("emailPush/{account}/properties"), json!({&account: {}}), keys.clone()),
        (format!("emailPush/{account}/properties"), json!({&account: {"properties": ["x"]}}), keys.clone()),
        (
            format!("emailPush/{account}/filter"),
            json!({&account: {"properties": ["id"], "filter": {"x": 1}}}),
            keys.clone(),
        ),
        (
            format!("emailPush/{account}/urgency"),
            json!({&account: {"properties": ["id"], "urgency": "now"}}),
            keys.clone(),
        ),
        (format!("emailPush/{account}/more"), json!({&account: {"properties": ["id"], "more": 1}}), keys),
    ] {
        let wanted =
            json!({"deviceClientId": "d", "url": service.url("/x"), "keys": keys, "emailPush": push});
        let done = set(&ann, json!({"create": {"s": wanted}})).await;
        let error = &done["notCreated"]["s"];
        assert_eq!(
            (&error["type"], &error["properties"]),
            (&json!("invalidProperties"), &json!([path])),
            "{done}"
        );
    }
    // A client that doesn't know the capability has no such property.
    let wanted = json!({"deviceClientId": "d", "url": service.url("/x"), "emailPush": null});
    let done = crate::support::push_service::set(&ann, json!({"create": {"s": wanted}})).await;
    assert_eq!(done["notCreated"]["s"]["properties"], json!(["emailPush"]));
}

#[tokio::test]
async fn a_muted_thread_is_silent_and_a_followed_one_is_told_of_whatever_the_filter_says() {
    let (server, service, _folder) = PushService::office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let config = json!({"filter": {"subject": "invoice"}, "properties": ["subject"]});
    for (client, path) in [(&ann, "/a"), (&bob, "/b")] {
        subscribe(&service, client, path, config.clone()).await;
    }
    deliver(&server, "loud@customer.example", "The invoice").await;
    deliver(&server, "quiet@customer.example", "A question").await;
    for path in ["/a", "/b"] {
        let told = Subscriber::new().read(&service.nth(path, 1).await);
        assert_eq!(told["emails"], json!([{"subject": "The invoice"}]), "{path}");
    }
    for (subject, keyword) in [("The invoice", "$muted"), ("A question", "$followed")] {
        let ids = ann.call("Email/query", json!({"filter": {"subject": subject}})).await["ids"].take();
        let update = json!({"update": {ids[0].as_str().unwrap(): {format!("keywords/{keyword}"): true}}});
        assert!(ann.call("Email/set", update).await["updated"].is_object());
    }
    let answer = async |id: &str, to: &str, subject: &str| {
        let text = message(id, "marta@customer.example", "support@x.example", subject, "And?");
        let text = format!("In-Reply-To: <{to}>\r\n{text}");
        let reply = server.deliver("marta@customer.example", &["support@x.example"], &text).await;
        assert!(reply.starts_with("250"), "{reply}");
    };
    answer("two@customer.example", "loud@customer.example", "Re: The invoice").await;
    answer("three@customer.example", "quiet@customer.example", "Re: A question").await;
    let told = Subscriber::new().read(&service.nth("/a", 2).await);
    assert_eq!(told["emails"], json!([{"subject": "Re: A question"}]));
    // What the one mutes and follows is nothing to the other.
    let told = Subscriber::new().read(&service.nth("/b", 2).await);
    assert_eq!(told["emails"], json!([{"subject": "Re: The invoice"}]));
}
