//! Email/set (RFC 8620 §5.3, RFC 8621 §4.6).

use super::*;
use serde_json::Map;

fn part() -> Value {
    json!([{"partId": "t", "type": "text/plain"}])
}

async fn own(server: &TestServer) -> (Client, String) {
    let client = server.client("ann@x.example").await.own();
    let inbox = client.mailbox("inbox").await;
    (client, inbox)
}

fn names(count: usize) -> Value {
    Value::Object((0..count).map(|n| (format!("k{n}"), json!(true))).collect::<Map<_, _>>())
}

#[tokio::test]
async fn create_refuses_precisely_and_makes_nothing() {
    let server = TestServer::office(&[]).await;
    let (client, inbox) = own(&server).await;
    let folders: Map<String, Value> =
        (0..65).map(|n| (format!("f{n}"), json!({"name": format!("Folder {n}")}))).collect();
    let made = client.call_with(PLAIN, "Mailbox/set", json!({"create": folders})).await;
    let many: Map<String, Value> = made["created"]
        .as_object()
        .unwrap()
        .values()
        .map(|one| (one["id"].as_str().unwrap().to_owned(), json!(true)))
        .collect();
    let whole = |change: Value| {
        let mut object = json!({
            "mailboxIds": {&inbox: true}, "subject": "Hello",
            "textBody": part(), "bodyValues": {"t": {"value": "Hello"}},
        });
        for (name, value) in change.as_object().unwrap() {
            object[name] = value.clone();
        }
        json!({"create": {"e": object}})
    };
    let table = vec![
        (
            "no mailbox named",
            json!({"create": {"e": {"subject": "Hello"}}}),
            invalid(&["mailboxIds"], "mailboxIds is required"),
        ),
        (
            "in none",
            whole(json!({"mailboxIds": {}})),
            invalid(&["mailboxIds"], "An Email is in at least one Mailbox."),
        ),
        (
            "in an unknown one",
            whole(json!({"mailboxIds": {"nope": true}})),
            invalid(&["mailboxIds"], "There is no such Mailbox."),
        ),
        (
            "false instead of true",
            whole(json!({"mailboxIds": {&inbox: false}})),
            invalid(&["mailboxIds"], "mailboxIds must map ids to true"),
        ),
        (
            "an unknown creation id",
            whole(json!({"mailboxIds": {"#nope": true}})),
            invalid(&["mailboxIds"], "mailboxIds refers to an object that was not created"),
        ),
        ("too many mailboxes", whole(json!({"mailboxIds": many})), only("tooManyMailboxes")),
        ("too many keywords", whole(json!({"keywords": names(65)})), only("tooManyKeywords")),
        (
            "no keyword",
            whole(json!({"keywords": {"a b": true}})),
            invalid(&["keywords"], "A keyword has characters that RFC 8621 doesn't allow."),
        ),
        (
            "a missing blob",
            whole(
                json!({"attachments": [{"blobId": "nope", "type": "image/png"}, {"blobId": "nor", "type": "image/png"}]}),
            ),
            json!({"type": "blobNotFound", "notFound": ["nope", "nor"]}),
        ),
        (
            "what the server sets",
            whole(json!({"size": 7, "threadId": "t1"})),
            invalid(&["size", "threadId"], "size is set by the server; threadId is set by the server"),
        ),
        (
            "what is no property",
            whole(json!({"colour": "red"})),
            invalid(&["colour"], "colour is not a property of this type"),
        ),
        (
            "not an object",
            json!({"create": {"e": {"mailboxIds": 7}}}),
            invalid(&["mailboxIds"], "mailboxIds must map ids to true"),
        ),
    ];
    refuses(&client, PLAIN, "Email/set", table).await;
    let found = client.call_with(PLAIN, "Email/query", json!({"calculateTotal": true})).await;
    assert_eq!(found["total"], 0);
    server.check();
}

#[tokio::test]
async fn create_refuses_what_is_larger_than_a_message_may_be() {
    let server = TestServer::office(&[]).await;
    let (client, inbox) = own(&server).await;
    let path = format!("/jmap/upload/{}", client.account);
    let blob =
        client.post(&path, "application/octet-stream", vec![7; 26 * 1024 * 1024]).await.json()["blobId"]
            .take();
    let attached = json!([{"blobId": blob, "type": "image/png"}, {"blobId": blob, "type": "image/png"}]);
    let object = json!({"mailboxIds": {&inbox: true}, "attachments": attached});
    let error = json!({"type": "tooLarge", "maxSize": 35 * 1024 * 1024});
    let table = vec![("together too large", json!({"create": {"e": object}}), error)];
    refuses(&client, PLAIN, "Email/set", table).await;
}

#[tokio::test]
async fn update_and_destroy_refuse_precisely_and_change_nothing() {
    let server = TestServer::office(&[]).await;
    let (client, inbox) = own(&server).await;
    let text = crate::support::message("one@c.example", "m@c.example", "ann@x.example", "Hello", "Hello");
    assert!(server.deliver("m@c.example", &["ann@x.example"], &text).await.starts_with("250 "));
    let email =
        client.call_with(PLAIN, "Email/query", json!({})).await["ids"][0].as_str().unwrap().to_owned();
    let archive = client.mailbox("archive").await;
    let update = |patch: Value| json!({"update": {&email: patch}});
    let patch = |path: &str, why: &str| json!({"type": "invalidPatch", "description": format!("The path '{path}' {why}.")});
    let table = vec![
        ("an unknown Email", json!({"update": {"nope": {"keywords/$seen": true}}}), only("notFound")),
        (
            "an Email that was not created",
            json!({"update": {"#nope": {"keywords/$seen": true}}}),
            only("notFound"),
        ),
        (
            "what can't be changed",
            update(json!({"subject": "Other", "receivedAt": "2026-01-01T00:00:00Z"})),
            invalid(&["receivedAt", "subject"], "receivedAt can't be changed; subject can't be changed"),
        ),
        ("what the server sets", update(json!({"size": 1})), invalid(&["size"], "size can't be changed")),
        (
            "what is no property",
            update(json!({"colour": "red"})),
            invalid(&["colour"], "colour is not a property of this type"),
        ),
        (
            "a path into what is no property",
            update(json!({"colour/red": true})),
            patch("colour/red", "is in something that does not exist"),
        ),
        (
            "a path below a value",
            update(json!({"keywords/$seen/deep": true})),
            patch("keywords/$seen/deep", "is in something that does not exist"),
        ),
        (
            "one path within another",
            update(json!({"keywords": {}, "keywords/$seen": true})),
            patch("keywords", "is a prefix of another path"),
        ),
        (
            "no value of its kind",
            update(json!({"keywords/$seen": 1})),
            invalid(&["keywords"], "keywords must map strings to true"),
        ),
        (
            "no keyword",
            update(json!({"keywords/a b": true})),
            invalid(&["keywords"], "A keyword has characters that RFC 8621 doesn't allow."),
        ),
        ("too many keywords", update(json!({"keywords": names(65)})), only("tooManyKeywords")),
        (
            "out of the last mailbox",
            update(json!({(format!("mailboxIds/{inbox}")): null})),
            invalid(&["mailboxIds"], "An Email is in at least one Mailbox."),
        ),
        (
            "into an unknown mailbox",
            update(json!({"mailboxIds/nope": true})),
            invalid(&["mailboxIds"], "There is no such Mailbox."),
        ),
        ("an unknown Email to destroy", json!({"destroy": ["nope"]}), only("notFound")),
        ("one that was not created", json!({"destroy": ["#nope"]}), only("notFound")),
    ];
    refuses(&client, PLAIN, "Email/set", table).await;
    // RFC 8620 §5.3: what the same call destroys isn't updated.
    let both = json!({"update": {&email: {"keywords/$seen": true}}, "destroy": [&email]});
    let reply = client.call_with(PLAIN, "Email/set", both).await;
    assert_set(&reply, json!({"destroyed": [email], "notUpdated": {&email: only("willDestroy")}}));
    // A null that takes nothing away, and paths through an array and a text.
    assert!(
        server
            .deliver("m@c.example", &["ann@x.example"], &text.replace("one@", "two@"))
            .await
            .starts_with("250 ")
    );
    let other =
        client.call_with(PLAIN, "Email/query", json!({})).await["ids"][0].as_str().unwrap().to_owned();
    let nothing = json!({"update": {&other: {"keywords/$flagged": null}}});
    let reply = client.call_with(PLAIN, "Email/set", nothing).await;
    assert_set(&reply, json!({"updated": {&other: null}}));
    let into = |path: &str, value: Value| json!({"update": {&other: {path: value}}});
    let array = patch("from/0/email", "reaches into an array");
    let text = patch("subject/x", "is in something that does not exist");
    let table = vec![
        ("into an array", into("from/0/email", json!("x@y.example")), array.clone()),
        ("into an array for nothing", into("from/0/email", Value::Null), array),
        ("to an end of an array", into("from/-", Value::Null), patch("from/-", "reaches into an array")),
        ("into a text", into("subject/x", Value::Null), text),
    ];
    refuses(&client, PLAIN, "Email/set", table).await;
    assert_ne!(archive, inbox);
    server.check();
}
