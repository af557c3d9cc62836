//! One random operation. What the rules refuse is as good a step as any; a failure of the server isn't.

use super::{Dice, Explorer};
use crate::support::client::PLAIN;
use crate::support::{Client, TEAM, TestServer, message};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

type Ids = BTreeMap<&'static str, Vec<String>>;

pub async fn step(
    server: &TestServer,
    explorer: &Explorer,
    who: &Client,
    to: &str,
    ids: &Ids,
    n: usize,
    dice: &mut Dice,
) {
    let of_inbox = ids.contains_key("Conversation");
    match dice.roll(if of_inbox { 22 } else { 13 }) {
        0..=3 => deliver(server, to, n, dice).await,
        4..=6 => change_email(who, ids, dice).await,
        7 => mailboxes(who, ids, n, dice).await,
        8 | 9 => draft_and_send(who, to, n, dice).await,
        10 => import(who, ids, n).await,
        11 => identity(explorer, ids, n, dice).await,
        12 => several(who, ids, n, dice).await,
        13..=15 => conversation(who, ids, dice).await,
        16 => note(who, ids, n, dice).await,
        17 => lock(who, ids, dice).await,
        18 => settings(explorer, n, dice).await,
        19 | 20 => combine(explorer, who, ids, dice).await,
        _ => submission(who, ids, dice).await,
    }
}

/// The server may refuse, never fail.
async fn call(who: &Client, method: &str, arguments: Value) -> Value {
    let told = who.call(method, arguments).await;
    assert_ne!(told["type"], "serverFail", "{method}: {told}");
    told
}

async fn deliver(server: &TestServer, to: &str, n: usize, dice: &mut Dice) {
    let body = "Hello ".repeat(1 + dice.roll(60));
    let from = format!("{}@c.example", dice.word(&["m", "n", "o"]));
    let mut text = message(&format!("m{n}@c.example"), &from, to, &format!("Subject {}", n % 5), &body);
    if n >= 5 && dice.roll(3) > 0 {
        // An older one with the same subject: the same Thread, if there is one.
        let other = n - 5 * (1 + dice.roll(n / 5));
        text = format!("References: <m{other}@c.example> <out{other}@x.example>\r\n{text}");
    }
    assert!(server.deliver(&from, &[to], &text).await.starts_with("250"));
}

async fn change_email(who: &Client, ids: &Ids, dice: &mut Dice) {
    let Some(email) = dice.pick(&ids["Email"]) else { return };
    let Some(mailbox) = dice.pick(&ids["Mailbox"]) else { return };
    let value = if dice.roll(3) == 0 { Value::Null } else { json!(true) };
    let keyword = dice.word(&["$seen", "$seen", "$flagged", "$muted", "blue"]);
    let patch = match dice.roll(6) {
        0..=2 => json!({(format!("keywords/{keyword}")): value}),
        3 => json!({(format!("mailboxIds/{mailbox}")): value}),
        _ => json!({"mailboxIds": {mailbox: true}}),
    };
    let arguments = match dice.roll(8) {
        0 => json!({"destroy": [email]}),
        _ => json!({"update": {email: patch}}),
    };
    call(who, "Email/set", arguments).await;
}

async fn mailboxes(who: &Client, ids: &Ids, n: usize, dice: &mut Dice) {
    let Some(mailbox) = dice.pick(&ids["Mailbox"]) else { return };
    let parent = if dice.roll(2) == 0 { json!(mailbox) } else { Value::Null };
    let arguments = match dice.roll(4) {
        0 | 1 => json!({"create": {"a": {"name": format!("Folder {n}"), "parentId": parent}}}),
        2 => json!({"update": {mailbox: {"name": format!("Renamed {n}"), "sortOrder": dice.roll(9)}}}),
        _ => json!({"destroy": [mailbox], "onDestroyRemoveEmails": true}),
    };
    call(who, "Mailbox/set", arguments).await;
}

async fn draft_and_send(who: &Client, from: &str, n: usize, dice: &mut Dice) {
    let found = call(who, "Mailbox/query", json!({"filter": {"role": "drafts"}})).await;
    // A personal one may be destroyed like any other.
    let Some(drafts) = found["ids"][0].as_str() else { return };
    let identity = call(who, "Identity/get", json!({"ids": null})).await["list"][0]["id"].clone();
    let other = dice.roll(n + 1);
    let object = json!({
        "mailboxIds": {drafts: true}, "keywords": {"$draft": true},
        "from": [{"name": null, "email": from}], "to": [{"name": null, "email": "m@c.example"}],
        "subject": format!("Re: Subject {}", other % 5), "inReplyTo": [format!("m{other}@c.example")],
        "messageId": [format!("out{n}@x.example")], "bodyValues": {"t": {"value": format!("Answer {n}")}},
        "textBody": [{"partId": "t", "type": "text/plain"}],
    });
    let mut calls = vec![json!(["Email/set", {"accountId": who.account, "create": {"d": object}}, "d"])];
    if dice.roll(3) > 0 {
        calls.push(json!(["EmailSubmission/set", {
            "accountId": who.account, "create": {"s": {"emailId": "#d", "identityId": identity}},
            "onSuccessUpdateEmail": {"#s": {"keywords/$answered": true}}
        }, "s"]));
    }
    let using = if dice.roll(2) == 0 { PLAIN } else { TEAM };
    let told = who.request(using, json!(calls)).await;
    assert!(!told.to_string().contains("serverFail"), "{told}");
}

async fn import(who: &Client, ids: &Ids, n: usize) {
    let text = message(&format!("old{n}@c.example"), "m@c.example", "x@x.example", "Old", "Long ago");
    let path = format!("/jmap/upload/{}", who.account);
    let blob = who.post(&path, "message/rfc822", text.into_bytes()).await.json()["blobId"].take();
    let Some(mailbox) = ids["Mailbox"].get(n % ids["Mailbox"].len()) else { return };
    let one = json!({"blobId": blob, "mailboxIds": {mailbox: true}, "receivedAt": "2020-01-02T03:04:05Z"});
    call(who, "Email/import", json!({"emails": {"i": one}})).await;
}

async fn identity(explorer: &Explorer, ids: &Ids, n: usize, dice: &mut Dice) {
    let Some(id) = dice.pick(&ids["Identity"]) else { return };
    let arguments = json!({"update": {id: {"name": format!("Name {n}"), "textSignature": "Bye"}}});
    let told = explorer.call("Identity/set", arguments).await;
    assert_ne!(told["type"], "serverFail", "{told}");
}

/// Many objects in one call, some of which can't be.
async fn several(who: &Client, ids: &Ids, n: usize, dice: &mut Dice) {
    let mut update = Map::new();
    for _ in 0..4 {
        let Some(email) = dice.pick(&ids["Email"]) else { return };
        let Some(mailbox) = dice.pick(&ids["Mailbox"]) else { return };
        let patch = match dice.roll(3) {
            0 => json!({(format!("mailboxIds/{mailbox}")): true, "keywords/blue": true}),
            1 => json!({"keywords": {"$flagged": true}}),
            _ => json!({"mailboxIds/nope": true}),
        };
        update.insert(email.clone(), patch);
    }
    let destroy: Vec<&String> =
        dice.pick(&ids["Email"]).into_iter().filter(|_| n.is_multiple_of(3)).collect();
    call(who, "Email/set", json!({"update": update, "destroy": destroy})).await;
}

async fn conversation(who: &Client, ids: &Ids, dice: &mut Dice) {
    let Some(id) = dice.pick(&ids["Conversation"]) else { return };
    let patch = match dice.roll(7) {
        0 | 1 => json!({"ownerId": if dice.roll(3) == 0 { Value::Null } else { json!(who.principal()) }}),
        2 | 3 => json!({"status": dice.word(&["open", "pending", "closed"])}),
        4 => json!({"status": "snoozed", "snoozedUntil": "2037-01-01T00:00:00Z"}),
        5 => {
            json!({(format!("tags/t{}", dice.roll(4))): if dice.roll(3) == 0 { Value::Null } else { json!(true) }})
        }
        _ => json!({
            "priority": dice.word(&["low", "normal", "high", "urgent"]),
            "category": dice.word(&["billing", "bug"]), "watcherIds": {who.principal(): true}
        }),
    };
    call(who, "Conversation/set", json!({"update": {id: patch}})).await;
}

/// A merge, the undo of one, or a split.
async fn combine(explorer: &Explorer, who: &Client, ids: &Ids, dice: &mut Dice) {
    // What was merged is in no list any more.
    let ever = explorer.moments["Conversation"].values().flat_map(BTreeMap::keys);
    let merged: BTreeSet<&String> = ever.filter(|id| !ids["Conversation"].contains(id)).collect();
    let merged: Vec<String> = merged.into_iter().cloned().collect();
    let conversations = &ids["Conversation"];
    let arguments =
        match (dice.roll(5), dice.pick(conversations), dice.pick(&merged), dice.pick(&ids["Email"])) {
            (0 | 1, Some(id), ..) => {
                json!({"update": {id: {"mergedIntoId": dice.pick(conversations)}}})
            }
            (2 | 3, _, Some(id), _) => json!({"update": {id: {"mergedIntoId": null}}}),
            (_, _, _, Some(email)) => json!({"create": {"s": {"emailIds": [email], "subject": "Apart"}}}),
            _ => return,
        };
    call(who, "Conversation/set", arguments).await;
}

async fn note(who: &Client, ids: &Ids, n: usize, dice: &mut Dice) {
    let Some(id) = dice.pick(&ids["Conversation"]) else { return };
    let arguments = match (dice.roll(4), dice.pick(&ids["Note"])) {
        (0, Some(note)) => json!({"update": {note: {"body": format!("Other {n}")}}}),
        (1, Some(note)) => json!({"destroy": [note]}),
        _ => json!({"create": {"n": {"conversationId": id, "body": format!("Note {n}")}}}),
    };
    call(who, "Note/set", arguments).await;
}

async fn lock(who: &Client, ids: &Ids, dice: &mut Dice) {
    let Some(id) = dice.pick(&ids["Conversation"]) else { return };
    let arguments = match (dice.roll(4), dice.pick(&ids["ReplyLock"])) {
        (0, Some(lock)) => json!({"update": {lock: {"seconds": 300}}}),
        (1, Some(lock)) => json!({"destroy": [lock]}),
        _ => json!({"create": {"l": {"conversationId": id, "seconds": 600, "force": dice.roll(2) == 0}}}),
    };
    call(who, "ReplyLock/set", arguments).await;
}

async fn settings(explorer: &Explorer, n: usize, dice: &mut Dice) {
    let patch = match dice.roll(3) {
        0 => json!({"guide": format!("Be kind, {n} times.")}),
        1 => json!({"requireCategory": dice.roll(2) == 0, "categories": ["billing", "bug"]}),
        _ => json!({"statusAfterReply": dice.word(&["open", "pending", "closed"])}),
    };
    let told = explorer.call("InboxSettings/set", json!({"update": {"singleton": patch}})).await;
    assert_ne!(told["type"], "serverFail", "{told}");
}

async fn submission(who: &Client, ids: &Ids, dice: &mut Dice) {
    let Some(id) = dice.pick(&ids["EmailSubmission"]) else { return };
    let arguments = match dice.roll(2) {
        0 => json!({"destroy": [id]}),
        _ => json!({"update": {id: {"undoStatus": "canceled"}}}),
    };
    call(who, "EmailSubmission/set", arguments).await;
}
