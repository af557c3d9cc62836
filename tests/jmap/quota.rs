//! Quotas (RFC 9425).

use crate::support::sending::draft;
use crate::support::{CORE, Client, Gateway, MAIL, TestServer, message};
use serde_json::{Value, json};

const QUOTA: &[&str] = &[CORE, MAIL, "urn:ietf:params:jmap:quota"];
const BOB: &str = "bob@x.example";

async fn call(client: &Client, method: &str, arguments: Value) -> Value {
    client.call_with(QUOTA, method, arguments).await
}

async fn deliver(server: &TestServer, id: &str, to: &[&str]) -> String {
    let text = message(id, "marta@customer.example", to[0], id, "Hello");
    server.deliver("marta@customer.example", to, &text).await
}

/// What is used, in octets and messages.
async fn used(client: &Client) -> (u64, u64) {
    let all = call(client, "Quota/get", json!({"ids": null, "properties": ["used"]})).await;
    let used = |at: usize| all["list"][at]["used"].as_u64().unwrap_or_else(|| panic!("{all}"));
    (used(0), used(1))
}

async fn size_of(client: &Client, email: &str) -> u64 {
    let email = client.call("Email/get", json!({"ids": [email], "properties": ["size"]})).await;
    email["list"][0]["size"].as_u64().unwrap()
}

#[tokio::test]
async fn an_account_tells_what_it_may_hold_and_holds() {
    let server = TestServer::office(&[]).await;
    let limits =
        ["quota", "set", BOB, "--octets", "1000000", "--octets-soft", "900000", "--octets-warn", "800000"];
    server.json(&limits);
    let bob = server.client(BOB).await.own();
    let capability = "urn:ietf:params:jmap:quota";
    assert_eq!(bob.session["capabilities"][capability], json!({}));
    assert_eq!(bob.session["accounts"][&bob.account]["accountCapabilities"][capability], json!({}));
    let all = call(&bob, "Quota/get", json!({"ids": null})).await;
    assert_eq!(
        all["list"],
        json!([
            {
                "id": "qb", "resourceType": "octets", "used": 0, "hardLimit": 1_000_000, "scope": "account",
                "name": "Storage", "types": ["Email"], "warnLimit": 800_000, "softLimit": 900_000,
                "description": "The size of all messages in this account."
            },
            {
                "id": "qc", "resourceType": "count", "used": 0, "hardLimit": 10_000_000, "scope": "account",
                "name": "Messages", "types": ["Email"], "warnLimit": null, "softLimit": null,
                "description": "The number of messages in this account."
            }
        ])
    );
    // RFC 9425 §4: no quota of types that the client doesn't use.
    let using = [CORE, capability];
    let none = bob.call_with(&using, "Quota/get", json!({"ids": null})).await;
    assert_eq!(none["list"], json!([]));
    let none = bob.call_with(&using, "Quota/get", json!({"ids": ["qb"]})).await;
    assert_eq!(none["notFound"], json!(["qb"]));
    let none = bob.call_with(&using, "Quota/query", json!({})).await;
    assert_eq!(none["ids"], json!([]));
}

#[tokio::test]
async fn the_usage_is_kept_with_every_message_and_changes_tell_that_only_it_moved() {
    let server = TestServer::office(&[]).await;
    let bob = server.client(BOB).await.own();
    let state = call(&bob, "Quota/get", json!({"ids": []})).await["state"].clone();
    let query = call(&bob, "Quota/query", json!({"sort": [{"property": "used"}]})).await;
    assert_eq!(query["canCalculateChanges"], true);
    assert!(deliver(&server, "one@customer.example", &[BOB]).await.starts_with("250"));
    let mine = draft(&bob, json!({})).await;
    let ids = bob.call("Email/query", json!({})).await["ids"].clone();
    let mut sum = 0;
    for id in ids.as_array().unwrap() {
        sum += size_of(&bob, id.as_str().unwrap()).await;
    }
    assert_eq!(used(&bob).await, (sum, 2));
    let changes = call(&bob, "Quota/changes", json!({"sinceState": state})).await;
    assert_eq!(
        changes,
        json!({
            "accountId": bob.account, "oldState": state, "newState": changes["newState"],
            "hasMoreChanges": false, "updatedProperties": ["used"], "created": [],
            "updated": ["qb", "qc"], "destroyed": []
        })
    );
    // A keyword moves nothing, a limit moves more than the usage.
    bob.call("Email/set", json!({"update": {&mine: {"keywords/$flagged": true}}})).await;
    let same = call(&bob, "Quota/changes", json!({"sinceState": changes["newState"]})).await;
    assert_eq!((&same["updated"], &same["updatedProperties"]), (&json!([]), &Value::Null), "{same}");
    server.json(&["quota", "set", BOB, "--messages", "50"]);
    let moved = call(&bob, "Quota/changes", json!({"sinceState": changes["newState"]})).await;
    assert_eq!((&moved["updated"], &moved["updatedProperties"]), (&json!(["qc"]), &Value::Null), "{moved}");
    let size = size_of(&bob, &mine).await;
    bob.call("Email/set", json!({"destroy": [&mine]})).await;
    assert_eq!(used(&bob).await, (sum - size, 1));
    let delta = json!({"sinceQueryState": query["queryState"], "sort": [{"property": "used"}]});
    let delta = call(&bob, "Quota/queryChanges", delta).await;
    assert_eq!(delta["added"], json!([{"id": "qc", "index": 0}, {"id": "qb", "index": 1}]), "{delta}");
    server.check();
}

#[tokio::test]
async fn quotas_are_found_by_each_condition_and_sorted() {
    let server = TestServer::office(&[]).await;
    let bob = server.client(BOB).await.own();
    assert!(deliver(&server, "one@customer.example", &[BOB]).await.starts_with("250"));
    for (filter, sort, ids) in [
        (json!({"name": "tor"}), "name", json!(["qb"])),
        (json!({"scope": "account"}), "name", json!(["qc", "qb"])),
        (json!({"scope": "global"}), "name", json!([])),
        (json!({"resourceType": "count"}), "name", json!(["qc"])),
        (json!({"type": "Email"}), "used", json!(["qc", "qb"])),
        (json!({"type": "Mailbox"}), "used", json!([])),
    ] {
        let arguments = json!({"filter": filter, "sort": [{"property": sort}]});
        assert_eq!(call(&bob, "Quota/query", arguments).await["ids"], ids, "{filter}");
    }
    let error = call(&bob, "Quota/query", json!({"filter": {"used": 1}})).await;
    assert_eq!(error["type"], "unsupportedFilter");
    let error = call(&bob, "Quota/query", json!({"sort": [{"property": "hardLimit"}]})).await;
    assert_eq!(error["type"], "unsupportedSort");
}

#[tokio::test]
async fn a_full_account_takes_nothing_in_and_the_others_are_served() {
    let server = TestServer::office(&["--lmtp", "127.0.0.1:0"]).await;
    server.json(&["quota", "set", BOB, "--messages", "1"]);
    assert!(deliver(&server, "one@customer.example", &[BOB]).await.starts_with("250"));
    // Told at once, for this recipient alone.
    assert_eq!(deliver(&server, "two@customer.example", &[BOB]).await, "452 4.2.2 The mailbox is full");
    let mut gateway = server.gateway().await;
    assert!(gateway.say("MAIL FROM:<marta@customer.example>").await.starts_with("250"));
    assert_eq!(gateway.say("RCPT TO:<bob@x.example>").await, "452 4.2.2 The mailbox is full");
    assert!(gateway.say("RCPT TO:<ann@x.example>").await.starts_with("250"));
    // Found out with the message only: LMTP answers for each recipient.
    server.json(&["quota", "set", BOB, "--octets", "700", "--reset"]);
    let mut lmtp = Gateway::raw(server.lmtp.as_ref().unwrap()).await;
    lmtp.reply().await;
    lmtp.say("LHLO gateway.example").await;
    lmtp.say("MAIL FROM:<marta@customer.example>").await;
    assert!(lmtp.say("RCPT TO:<bob@x.example>").await.starts_with("250"));
    assert!(lmtp.say("RCPT TO:<ann@x.example>").await.starts_with("250"));
    lmtp.say("DATA").await;
    let text = message("three@customer.example", "marta@customer.example", BOB, "3", &"x".repeat(500));
    lmtp.send(format!("{text}.\r\n").as_bytes()).await.unwrap();
    assert_eq!(lmtp.reply().await, "452 4.2.2 The mailbox is full");
    assert!(lmtp.reply().await.starts_with("250 2.0.0"));
    assert_eq!(used(&server.client(BOB).await.own()).await.1, 1);
    server.check();
}

#[tokio::test]
async fn a_client_adds_nothing_beyond_the_soft_limit_while_mail_still_comes_in() {
    let server = TestServer::office(&[]).await;
    let bob = server.client(BOB).await.own();
    let inbox = bob.mailbox("inbox").await;
    let text = message("old@customer.example", "marta@customer.example", BOB, "Old", "Hello");
    let path = bob.session["uploadUrl"].as_str().unwrap().replace("{accountId}", &bob.account);
    let blob = bob.post(&path, "message/rfc822", text.clone().into_bytes()).await.json()["blobId"].clone();
    assert!(deliver(&server, "one@customer.example", &[BOB]).await.starts_with("250"));
    server.json(&["quota", "set", BOB, "--messages", "3", "--messages-soft", "1"]);
    let new = json!({"mailboxIds": {&inbox: true}, "subject": "x"});
    let refused = bob.call("Email/set", json!({"create": {"e": new}})).await;
    assert_eq!(refused["notCreated"]["e"]["type"], "overQuota", "{refused}");
    let import = json!({"emails": {"i": {"blobId": blob, "mailboxIds": {&inbox: true}}}});
    let refused = bob.call("Email/import", import.clone()).await;
    assert_eq!(refused["notCreated"]["i"]["type"], "overQuota", "{refused}");
    assert_eq!(bob.post(&path, "message/rfc822", text.into_bytes()).await.status, 507);
    assert!(deliver(&server, "two@customer.example", &[BOB]).await.starts_with("250"));
    assert!(deliver(&server, "three@customer.example", &[BOB]).await.starts_with("250"));
    assert!(deliver(&server, "four@customer.example", &[BOB]).await.starts_with("452 4.2.2"));
    assert_eq!(used(&bob).await.1, 3);
    server.json(&["quota", "set", BOB, "--reset"]);
    let done = bob.call("Email/import", import).await;
    assert!(done["created"]["i"]["id"].is_string(), "{done}");
    server.check();
}

#[tokio::test]
async fn the_command_line_shows_and_sets_limits_and_refuses_nonsense() {
    let server = TestServer::office(&[]).await;
    let shown = server.json(&["quota", "show", "support@x.example"]);
    assert_eq!(
        shown,
        json!({
            "done": "quota", "email": "support@x.example", "accountId": shown["accountId"],
            "octetsUsed": 0, "octets": {"hard": 1_099_511_627_776_u64, "soft": null, "warn": null},
            "messagesUsed": 0, "messages": {"hard": 10_000_000, "soft": null, "warn": null}
        })
    );
    for wrong in [
        &["quota", "show", "nobody@x.example"][..],
        &["quota", "set", BOB, "--octets", "5", "--octets-soft", "6"],
        &["quota", "set", BOB, "--octets", "5", "--octets-warn", "6"],
        &["quota", "set", BOB, "--octets", "9007199254740992"],
        &["quota", "set", BOB, "--octets-soft", "6"],
    ] {
        assert!(!server.command(wrong, "").status.success(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_change_of_the_usage_is_pushed() {
    let server = TestServer::office(&[]).await;
    let bob = server.client(BOB).await.own();
    let mut events = bob.events("types=Quota&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    assert!(deliver(&server, "one@customer.example", &[BOB]).await.starts_with("250"));
    let (name, data) = events.event().await;
    let state = call(&bob, "Quota/get", json!({"ids": []})).await["state"].clone();
    assert_eq!(name, "state");
    assert_eq!(data["changed"], json!({&bob.account: {"Quota": state}}));
}
