//! An inbox gets another name and other addresses while its members are at work.

use super::*;

const HELLO: &str = "hello@x.example";

async fn name_in_session(client: &Client) -> (Value, Value) {
    let session = client.get("/.well-known/jmap").await.json();
    (session["accounts"][&client.account]["name"].clone(), session["state"].clone())
}

async fn identities(client: &Client) -> Value {
    let told = client.call("Identity/get", json!({"ids": null, "properties": ["name", "email"]})).await;
    told["list"].as_array().unwrap().iter().map(|one| json!([one["name"], one["email"]])).collect()
}

#[tokio::test]
async fn a_new_name_and_new_addresses_hold_for_sessions_identities_and_mail_from_the_next_moment_on() {
    let server = office().await;
    server.person("ada@x.example", "Ada");
    server.json(&["inbox", "member", "add", SUPPORT, "ada@x.example:admin"]);
    let (ada, bob) = (server.client("ada@x.example").await, server.client("bob@x.example").await);
    let (_, state) = name_in_session(&bob).await;
    let settings = bob.call("InboxSettings/get", json!({"ids": null})).await["state"].clone();
    let of_identities = bob.call("Identity/get", json!({"ids": []})).await["state"].clone();

    let new = json!({"update": {"singleton": {"name": "Help desk", "addresses": [HELLO, SUPPORT]}}});
    let refused = bob.call("InboxSettings/set", new.clone()).await;
    assert_eq!(refused["notUpdated"]["singleton"]["type"], "forbidden", "{refused}");
    let set = ada.call("InboxSettings/set", new).await;
    assert_set(&set, json!({"updated": {"singleton": null}}));
    let told = ada.call("InboxSettings/get", json!({"ids": null})).await["list"][0].clone();
    assert_eq!((&told["name"], &told["addresses"]), (&json!("Help desk"), &json!([HELLO, SUPPORT])));

    let (name, now) = name_in_session(&bob).await;
    assert_eq!(name, "Help desk");
    assert_ne!(now, state);
    assert_eq!(identities(&bob).await, json!([["Help desk", HELLO], ["Help desk", SUPPORT]]));
    for (kind, since) in [("InboxSettings", &settings), ("Identity", &of_identities)] {
        let told = bob.call(&format!("{kind}/changes"), json!({"sinceState": since})).await;
        assert_ne!(told["oldState"], told["newState"], "{told}");
    }
    let to = |address: &str| message(&format!("to-{address}"), CUSTOMER, address, "Hi", "Hello.");
    let reply = server.deliver(CUSTOMER, &[HELLO], &to(HELLO)).await;
    assert!(reply.starts_with("250 "), "{reply}");

    // What is left out is refused from now on, and nobody writes as it any more.
    let set = json!({"update": {"singleton": {"addresses": [HELLO]}}});
    assert_set(&ada.call("InboxSettings/set", set).await, json!({"updated": {"singleton": null}}));
    let reply = server.deliver(CUSTOMER, &[SUPPORT], &to(SUPPORT)).await;
    assert!(reply.starts_with("550 "), "{reply}");
    assert_eq!(identities(&bob).await, json!([["Help desk", HELLO]]));

    let taken = json!({"update": {"singleton": {"addresses": [HELLO, "bob@x.example"]}}});
    let refused = ada.call("InboxSettings/set", taken).await["notUpdated"]["singleton"].clone();
    assert_eq!(
        refused,
        json!({
            "type": "invalidProperties", "properties": ["addresses"],
            "description": "One of the addresses can't be had."
        })
    );

    // The operator gives it back, under a name of its own.
    let line = server.json(&["inbox", "set", HELLO, "--email", SUPPORT, "--name", "Support"]);
    let inbox = &line["inboxes"][0];
    assert_eq!(
        (&inbox["email"], &inbox["aliases"], &inbox["name"]),
        (&json!(SUPPORT), &json!([HELLO]), &json!("Support"))
    );
    let reply = server.deliver(CUSTOMER, &[SUPPORT], &to(SUPPORT)).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let kinds = json!({"filter": {"type": "settingsChanged"}});
    let told = bob.call("Activity/query", kinds).await;
    assert_eq!(told["ids"].as_array().map(Vec::len), Some(3), "{told}");
    server.check();
}
