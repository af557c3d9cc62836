//! Identity (RFC 8621 §6).

use crate::support::{Client, TEAM, TestServer};
use serde_json::{Value, json};

#[tokio::test]
async fn an_account_has_an_identity_for_each_of_its_addresses_that_stays() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await.own();
    let all = bob.call("Identity/get", json!({"ids": null})).await;
    let id = all["list"][0]["id"].clone();
    assert_eq!(
        all["list"],
        json!([{
            "id": id, "name": "Bob", "email": "bob@x.example", "replyTo": null, "bcc": null,
            "textSignature": "", "htmlSignature": "", "mayDelete": false
        }])
    );
    let refused = bob.call("Identity/set", json!({"destroy": [id]})).await;
    assert_eq!(refused["notDestroyed"][id.as_str().unwrap()]["type"], "forbidden", "{refused}");
}

#[tokio::test]
async fn identities_are_made_changed_and_destroyed_and_every_state_is_exact() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await.own();
    let state = bob.call("Identity/get", json!({"ids": []})).await["state"].clone();
    let new = json!({
        "name": "B.", "email": "BOB@x.example", "replyTo": [{"name": null, "email": "b@y.example"}],
        "bcc": [{"name": "Archive", "email": "archive@x.example"}], "textSignature": "-- \nB."
    });
    let made = bob.call("Identity/set", json!({"create": {"i": new}})).await;
    let id = made["created"]["i"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!(made["created"]["i"], json!({"id": id, "htmlSignature": "", "mayDelete": true}));
    assert_eq!(made["oldState"], state);
    let patched = bob.call("Identity/set", json!({"update": {&id: {"bcc": null, "name": "Bee"}}})).await;
    assert_eq!(patched["updated"], json!({&id: null}), "{patched}");
    let now = bob.call("Identity/get", json!({"ids": [&id]})).await["list"][0].clone();
    assert_eq!(
        (&now["name"], &now["bcc"], &now["replyTo"][0]["email"]),
        (&json!("Bee"), &Value::Null, &json!("b@y.example"))
    );
    let fixed = bob.call("Identity/set", json!({"update": {&id: {"email": "bob2@x.example"}}})).await;
    assert_eq!(fixed["notUpdated"][&id]["properties"], json!(["email"]), "{fixed}");
    let changes = bob.call("Identity/changes", json!({"sinceState": state})).await;
    assert_eq!(changes["created"], json!([&id]), "{changes}");
    assert_eq!(changes["newState"], patched["newState"]);
    let same = bob.call("Identity/set", json!({"update": {&id: {"name": "Bee"}}})).await;
    assert_eq!(same["oldState"], same["newState"], "nothing changed");
    let gone = bob.call("Identity/set", json!({"destroy": [&id]})).await;
    assert_eq!(gone["destroyed"], json!([&id]));
    let changes = bob.call("Identity/changes", json!({"sinceState": patched["newState"]})).await;
    assert_eq!(changes["destroyed"], json!([&id]), "{changes}");
}

#[tokio::test]
async fn nobody_writes_as_an_address_that_is_not_theirs() {
    let server = TestServer::office(&[]).await;
    let bob = server.client("bob@x.example").await;
    for (client, email, kind) in [
        (&bob.own(), "ann@x.example", "forbiddenFrom"),
        (&bob.own(), "support@x.example", "forbiddenFrom"),
        (&bob.own(), "*@x.example", "forbiddenFrom"),
        (&bob.own(), "nonsense", "invalidProperties"),
        (&bob, "bob@x.example", "forbiddenFrom"),
    ] {
        let refused = client.call("Identity/set", json!({"create": {"i": {"email": email}}})).await;
        assert_eq!(refused["notCreated"]["i"]["type"], kind, "{email} {refused}");
    }
    for (property, value) in [
        ("replyTo", json!([{"name": "x"}])),
        ("bcc", json!("x@y.example")),
        ("name", json!("x".repeat(2000))),
        ("name", json!("B.\r\nBcc: all@x.example")),
        ("replyTo", json!([{"name": "B.\n", "email": "b@y.example"}])),
        ("mayDelete", json!(true)),
    ] {
        let new = json!({"email": "bob@x.example", property: value});
        let refused = bob.own().call("Identity/set", json!({"create": {"i": new}})).await;
        assert_eq!(refused["notCreated"]["i"]["properties"], json!([property]), "{refused}");
    }
}

#[tokio::test]
async fn in_an_inbox_each_member_has_identities_of_their_own_the_default_first() {
    let server = TestServer::office(&[]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let shared = ann.call("Identity/get", json!({"ids": null})).await;
    let id = shared["list"][0]["id"].as_str().unwrap().to_owned();
    let signed = json!({"update": {&id: {"name": "Ann of Support", "textSignature": "Ann"}}});
    assert_eq!(ann.call("Identity/set", signed).await["updated"], json!({&id: null}));
    let made = ann.call("Identity/set", json!({"create": {"i": {"email": "support@x.example"}}})).await;
    let own = made["created"]["i"]["id"].as_str().unwrap().to_owned();
    let names = |all: &Value| {
        let list = all["list"].as_array().unwrap().iter();
        list.map(|one| (one["id"].clone(), one["name"].clone())).collect::<Vec<_>>()
    };
    let anns = ann.call("Identity/get", json!({"ids": null})).await;
    assert_eq!(names(&anns), [(json!(id), json!("Ann of Support")), (json!(own), json!(""))]);
    let bobs = bob.call("Identity/get", json!({"ids": null})).await;
    assert_eq!(names(&bobs), [(json!(id), shared["list"][0]["name"].clone())]);
    let changes = bob.call("Identity/changes", json!({"sinceState": shared["state"]})).await;
    assert_eq!((&changes["created"], &changes["newState"]), (&json!([]), &anns["state"]), "{changes}");
    assert_eq!(bob.call("Identity/get", json!({"ids": [&own]})).await["notFound"], json!([&own]));
    let refused = bob.call("Identity/set", json!({"update": {&own: {"name": "x"}}})).await;
    assert_eq!(refused["notUpdated"][&own]["type"], "notFound", "{refused}");
    let refused = json!({"create": {"s": {"identityId": own, "emailId": "e"}}});
    let refused = bob.call("EmailSubmission/set", refused).await;
    assert_eq!(refused["notCreated"]["s"]["properties"], json!(["identityId"]), "{refused}");
    server.check();
}

#[tokio::test]
async fn members_are_called_as_the_inbox_has_it_unless_they_name_themselves() {
    let server = TestServer::office(&[]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let name = async |client: &Client| {
        let all = client.call("Identity/get", json!({"ids": null})).await;
        (all["list"][0]["id"].as_str().unwrap().to_owned(), all["list"][0]["name"].clone())
    };
    let set = async |pattern: Value| {
        let patch = json!({"update": {"singleton": {"identityName": pattern}}});
        ann.call_with(TEAM, "InboxSettings/set", patch).await
    };
    let state = bob.call("Identity/get", json!({"ids": []})).await["state"].clone();
    assert_eq!(set(json!("{member} at {inbox}")).await["updated"], json!({"singleton": null}));
    let (id, called) = name(&bob).await;
    assert_eq!(called, "Bob at support@x.example");
    assert_eq!(name(&ann).await.1, "Ann at support@x.example");
    let changes = bob.call("Identity/changes", json!({"sinceState": state})).await;
    assert_eq!(changes["updated"], json!([id]), "{changes}");

    // Another property of it leaves the name to the pattern; a name of one's own stays.
    let change = async |client: &Client, patch: Value| {
        let told = client.call("Identity/set", json!({"update": {&id: patch}})).await;
        assert_eq!(told["updated"], json!({&id: null}), "{told}");
    };
    change(&bob, json!({"textSignature": "Bob"})).await;
    change(&ann, json!({"name": "support@x.example"})).await;
    set(json!("{member} of {inbox}")).await;
    assert_eq!(name(&bob).await.1, "Bob of support@x.example");
    assert_eq!(name(&ann).await.1, "support@x.example");
    change(&ann, json!({"name": "Ann of support@x.example"})).await;
    set(Value::Null).await;
    for client in [&ann, &bob] {
        assert_eq!(name(client).await.1, "support@x.example");
    }
    for wrong in [json!(""), json!(" "), json!("a\nb"), json!("x".repeat(256))] {
        let refused = set(wrong).await;
        assert_eq!(refused["notUpdated"]["singleton"]["properties"], json!(["identityName"]), "{refused}");
    }
    server.check();
}
