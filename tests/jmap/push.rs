//! Push subscriptions (RFC 8620 §7.2, RFC 8291, RFC 8292, RFC 9749).

use crate::support::push_service::{PushService, Subscriber, get, set};
use crate::support::{CORE, Client, TestServer, eventually, message};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

async fn deliver(server: &TestServer, id: &str, to: &str) {
    let text = message(id, "marta@customer.example", to, "Hello", "Hello");
    assert!(server.deliver("marta@customer.example", &[to], &text).await.starts_with("250"));
}

async fn state(client: &Client, kind: &str) -> Value {
    client.call(&format!("{kind}/get"), json!({"ids": []})).await["state"].clone()
}

#[tokio::test]
async fn a_subscription_is_verified_by_its_code_and_then_pushed_to() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let wanted = json!({"deviceClientId": "phone", "url": service.url("/a?x=1"), "types": ["Email", "Note", "Future"]});
    let made = set(&ann, json!({"create": {"s": wanted}})).await;
    let id = made["created"]["s"]["id"].as_str().unwrap().to_owned();
    let expires = made["created"]["s"]["expires"].clone();
    assert_eq!(
        made,
        json!({
            "created": {"s": {"id": id, "keys": null, "verificationCode": null, "expires": expires}},
            "updated": null,
            "destroyed": null,
            "notCreated": null,
            "notUpdated": null,
            "notDestroyed": null
        })
    );
    let first = service.nth("/a?x=1", 0).await;
    assert_eq!((first.header("content-type"), first.header("ttl")), ("application/json", "86400"));
    let verification = first.json();
    let code = verification["verificationCode"].as_str().unwrap();
    assert_eq!(
        verification,
        json!({"@type": "PushVerification", "pushSubscriptionId": id, "verificationCode": code})
    );
    // Nobody learns the code here, and nothing is pushed before it came back.
    let shown = json!({
        "id": id, "deviceClientId": "phone", "verificationCode": null, "expires": expires,
        "types": ["Email", "Note", "Future"]
    });
    assert_eq!(get(&ann, json!({"ids": null})).await, json!({"list": [shown], "notFound": []}));
    deliver(&server, "unheard@customer.example", "support@x.example").await;
    let wrong = set(&ann, json!({"update": {&id: {"verificationCode": "guess"}}})).await;
    assert_eq!(
        (&wrong["updated"], &wrong["notUpdated"][&id]["type"], &wrong["notUpdated"][&id]["properties"]),
        (&json!(null), &json!("invalidProperties"), &json!(["verificationCode"]))
    );
    let right = set(&ann, json!({"update": {&id: {"verificationCode": code}}})).await;
    assert_eq!(right["updated"], json!({&id: null}));
    assert_eq!(get(&ann, json!({"ids": [id]})).await["list"][0]["verificationCode"], code);
    // What happens from now on is pushed, of the types that are named.
    deliver(&server, "one@customer.example", "support@x.example").await;
    let pushed = service.nth("/a?x=1", 1).await;
    let change = pushed.json();
    assert_eq!(
        change,
        json!({"@type": "StateChange", "changed": {&ann.account: {"Email": change["changed"][&ann.account]["Email"]}}})
    );
    assert_eq!(pushed.header("urgency"), "normal");
    eventually("the last state", async || {
        let last = service.pushed("/a?x=1").last()?.json();
        (last["changed"][&ann.account]["Email"] == state(&ann, "Email").await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_push_is_signed_with_the_key_that_the_session_tells() {
    let (mut server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let key =
        ann.session["capabilities"]["urn:ietf:params:jmap:webpush-vapid"]["applicationServerKey"].clone();
    service.create(&ann, "/a", json!({})).await;
    let pushed = service.nth("/a", 0).await;
    let proof = pushed.header("authorization").strip_prefix("vapid t=").unwrap().to_owned();
    let (token, told) = proof.split_once(", k=").unwrap();
    assert_eq!(json!(told), key);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], service.url(""));
    assert!(claims["sub"].as_str().unwrap().starts_with("mailto:postmaster@"), "{claims}");
    // The key stays what it is.
    assert!(server.stop().await.success());
    server.start().await;
    assert_eq!(server.client("ann@x.example").await.session, ann.session);
}

#[tokio::test]
async fn with_keys_only_the_subscriber_can_read_what_is_pushed() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let subscriber = Subscriber::new();
    let id = service.create(&ann, "/a", json!({"keys": subscriber.keys(), "types": ["Mailbox"]})).await;
    let verification = subscriber.read(&service.nth("/a", 0).await);
    assert_eq!(verification["pushSubscriptionId"], json!(id));
    set(&ann, json!({"update": {&id: {"verificationCode": verification["verificationCode"]}}})).await;
    deliver(&server, "one@customer.example", "support@x.example").await;
    let pushed = service.nth("/a", 1).await;
    let change = subscriber.read(&pushed);
    assert_eq!(change["changed"].as_object().unwrap().keys().collect::<Vec<_>>(), [&ann.account]);
    let other =
        service.pushed("/a").into_iter().take(2).map(|one| one.body[..16].to_vec()).collect::<Vec<_>>();
    assert_ne!(other[0], other[1], "each message has a salt of its own");
}

#[tokio::test]
async fn a_subscription_is_seen_by_the_login_that_made_it_alone() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let made = server.json(&["app-password", "add", "ann@x.example", "--label", "phone"]);
    let phone = Client::bearer(&server.http, made["secret"].as_str().unwrap()).await;
    let id = service.create(&phone, "/a", json!({})).await;
    let bob = server.client("bob@x.example").await;
    for other in [&ann, &bob] {
        assert_eq!(get(other, json!({"ids": null})).await, json!({"list": [], "notFound": []}));
        assert_eq!(get(other, json!({"ids": [id]})).await, json!({"list": [], "notFound": [id]}));
        let done = set(other, json!({"update": {&id: {"types": []}}, "destroy": [id]})).await;
        assert_eq!(done["notDestroyed"][&id]["type"], "notFound", "{done}");
    }
    assert_eq!(get(&phone, json!({"ids": null})).await["list"][0]["id"], json!(id));
    let done = set(&phone, json!({"destroy": [id]})).await;
    assert_eq!(
        (&done["destroyed"], get(&phone, json!({"ids": null})).await["list"].clone()),
        (&json!([id]), json!([]))
    );
}

#[tokio::test]
async fn what_a_subscription_may_be_is_checked_and_its_end_is_not_too_far_off() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let keys = Subscriber::new().keys();
    for (property, value) in [
        ("url", json!("http://push.example/")),
        ("url", json!("https://")),
        ("url", json!(format!("https://push.example/{}", "x".repeat(3000)))),
        ("deviceClientId", json!("")),
        ("keys", json!({"p256dh": keys["p256dh"]})),
        ("keys", json!({"p256dh": "AAAA", "auth": keys["auth"]})),
        ("verificationCode", json!("guess")),
        ("types", json!("Email")),
        ("expires", json!("soon")),
    ] {
        let mut wanted = json!({"deviceClientId": "d", "url": service.url("/never")});
        wanted[property] = value.clone();
        let done = set(&ann, json!({"create": {"s": wanted}})).await;
        let error = &done["notCreated"]["s"];
        assert_eq!(
            (&error["type"], &error["properties"]),
            (&json!("invalidProperties"), &json!([property])),
            "{value}"
        );
    }
    let far = json!({"deviceClientId": "d", "url": service.url("/a"), "expires": "2999-01-01T00:00:00Z"});
    let done = set(&ann, json!({"create": {"s": far}})).await;
    let (id, capped) =
        (done["created"]["s"]["id"].as_str().unwrap().to_owned(), &done["created"]["s"]["expires"]);
    assert!(capped.as_str().unwrap() < "2999", "{done}");
    let done = set(&ann, json!({"update": {&id: {"expires": "2999-01-01T00:00:00Z"}}})).await;
    assert!(done["updated"][&id]["expires"].as_str().unwrap() < "2999", "{done}");
    let near = "2026-01-01T00:00:00Z";
    let done = set(&ann, json!({"update": {&id: {"expires": near}}})).await;
    assert_eq!(done["updated"], json!({&id: null}));
    assert_eq!(get(&ann, json!({"ids": [id]})).await["notFound"], json!([id]), "its time is over");
    assert_eq!(service.pushed("/never").len(), 0);
}

#[tokio::test]
async fn what_is_private_to_a_device_is_never_told_and_there_are_no_accounts_and_states() {
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    for private in ["url", "keys"] {
        let answer = get(&ann, json!({"ids": null, "properties": ["id", private]})).await;
        assert_eq!(answer["type"], "forbidden");
    }
    for (method, arguments) in [
        ("PushSubscription/get", json!({"accountId": ann.account, "ids": null})),
        ("PushSubscription/set", json!({"accountId": ann.account})),
        ("PushSubscription/set", json!({"ifInState": "x"})),
    ] {
        let reply = ann.request(&[CORE], json!([[method, arguments, "c"]])).await;
        assert_eq!(reply["methodResponses"][0][1]["type"], "invalidArguments", "{reply}");
    }
    let reply = ann.request(&[CORE], json!([["PushSubscription/changes", {"sinceState": "x"}, "c"]])).await;
    assert_eq!(reply["methodResponses"][0][1]["type"], "unknownMethod");
}

#[tokio::test]
async fn a_subscription_ends_with_its_login() {
    let (server, service, _folder) = PushService::office().await;
    let made = server.json(&["app-password", "add", "ann@x.example", "--label", "phone"]);
    let phone = Client::bearer(&server.http, made["secret"].as_str().unwrap()).await;
    let bob = server.client("bob@x.example").await;
    service.subscribe(&phone, "/phone", json!({"types": ["Email"]})).await;
    service.subscribe(&bob, "/bob", json!({"types": ["Email"]})).await;
    service.create(&phone, "/unverified", json!({})).await;
    service.nth("/unverified", 0).await;
    server.json(&["app-password", "revoke", made["id"].as_str().unwrap()]);
    deliver(&server, "one@customer.example", "support@x.example").await;
    service.nth("/bob", 1).await;
    assert_eq!(service.pushed("/phone").len(), 1);
    eventually("its row is gone", async || {
        let log = server.log();
        (log.matches("a push subscription has ended").count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_member_who_leaves_is_pushed_nothing_of_the_inbox() {
    let (server, service, _folder) = PushService::office().await;
    let bob = server.client("bob@x.example").await;
    service.subscribe(&bob, "/bob", json!({"types": ["Email"]})).await;
    server.json(&["inbox", "member", "remove", "support@x.example", "bob@x.example"]);
    deliver(&server, "one@customer.example", "support@x.example").await;
    deliver(&server, "two@customer.example", "bob@x.example").await;
    let pushed = service.nth("/bob", 1).await;
    let change = pushed.json();
    assert_eq!(change["changed"].as_object().unwrap().keys().collect::<Vec<_>>(), [&bob.own().account]);
}

#[tokio::test]
async fn a_push_service_that_knows_the_subscription_no_more_ends_it() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    service.subscribe(&ann, "/a", json!({"types": ["Email"]})).await;
    service.answer(410);
    deliver(&server, "one@customer.example", "support@x.example").await;
    eventually("it is gone", async || {
        (get(&ann, json!({"ids": null})).await["list"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(service.pushed("/a").len(), 2);
}

#[tokio::test]
async fn what_the_push_service_did_not_take_is_pushed_later_as_one_change_also_after_a_restart() {
    let (mut server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    service.subscribe(&ann, "/a", json!({"types": ["Email", "Identity"]})).await;
    service.answer(503);
    deliver(&server, "one@customer.example", "support@x.example").await;
    service.nth("/a", 1).await;
    deliver(&server, "last@customer.example", "support@x.example").await;
    assert!(server.stop().await.success());
    let failed = service.pushed("/a").len();
    service.answer(201);
    server.start().await;
    let change = service.nth("/a", failed).await.json();
    let changed = json!({&ann.account: {"Email": state(&ann, "Email").await}});
    assert_eq!(change, json!({"@type": "StateChange", "changed": changed}));
}

/// Whoever pushes hears of the verification after the client does: it may even be after a crash.
#[tokio::test]
async fn what_came_since_the_verification_is_pushed_though_the_server_was_killed_at_once() {
    let (mut server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    service.subscribe(&ann, "/a", json!({"types": ["Email"]})).await;
    deliver(&server, "one@customer.example", "support@x.example").await;
    server.kill();
    server.start().await;
    let changed = json!({&ann.account: {"Email": state(&ann, "Email").await}});
    eventually("the change", async || {
        let last = service.pushed("/a").last()?.json();
        (last == json!({"@type": "StateChange", "changed": changed})).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_push_that_failed_is_tried_again_by_itself() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    service.answer(503);
    let id = service.create(&ann, "/a", json!({})).await;
    service.nth("/a", 0).await;
    service.answer(201);
    let again = service.nth("/a", 1).await.json();
    assert_eq!(again["pushSubscriptionId"], json!(id));
}

#[tokio::test]
async fn nothing_is_pushed_into_networks_that_strangers_cannot_reach() {
    let service = PushService::start().await;
    let server = TestServer::office(&[]).await;
    let ann = server.client("ann@x.example").await;
    service.create(&ann, "/a", json!({})).await;
    let port = service.address.port();
    service.create(&ann, "/b", json!({"url": format!("https://localhost:{port}/b")})).await;
    eventually("both are gone", async || {
        (get(&ann, json!({"ids": null})).await["list"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(service.connections(), 0);
}

/// RFC 8620 §8.6.
#[tokio::test]
async fn a_user_has_so_many_subscriptions_and_makes_so_many_in_an_hour() {
    let (server, service, _folder) = PushService::office().await;
    let ann = server.client("ann@x.example").await;
    let make = async |numbers: std::ops::Range<usize>| {
        let wanted: serde_json::Map<String, Value> = numbers
            .map(|number| {
                let name = format!("s{number}");
                let device = json!({"deviceClientId": name, "url": service.url(&format!("/{name}"))});
                (name, device)
            })
            .collect();
        set(&ann, json!({"create": wanted})).await
    };
    let done = make(0..51).await;
    assert_eq!(done["created"].as_object().unwrap().len(), 50, "{done}");
    assert_eq!(done["notCreated"]["s50"]["type"], "overQuota");
    // Those that are destroyed make room, and count in the hour all the same.
    let destroy = |done: &Value| {
        let made = done["created"].as_object().unwrap().values();
        json!({"destroy": made.map(|one| one["id"].clone()).collect::<Vec<_>>()})
    };
    set(&ann, destroy(&done)).await;
    let done = make(100..150).await;
    assert_eq!(done["created"].as_object().unwrap().len(), 50, "{done}");
    set(&ann, destroy(&done)).await;
    let done = make(200..201).await;
    assert_eq!(done["created"], Value::Null);
    assert_eq!(
        done["notCreated"]["s200"],
        json!({"type": "rateLimit", "description": "Too many subscriptions within an hour."})
    );
}
