//! The stories of locks and of the send gate.

use super::team::conversation;
use super::{Member, Story};
use serde_json::{Value, json};

const LOCKS: &[&str] = &["core", "locks"];
const GATE: &[&str] = &["core", "mail", "submission", "locks"];
const READ: &[&str] = &["core", "ownership", "status"];
const PLAIN: &[&str] = &["core", "mail", "submission"];

async fn begin(file: &'static str, title: &'static str) -> (Story, String) {
    let mut story = Story::begin(file, title).await;
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    let id = conversation(&story).await;
    (story, id)
}

#[tokio::test]
async fn the_example_of_locks() {
    let (mut story, id) = begin("locks.json", "A reply lock: granted, held, renewed, taken over, lost").await;
    let [ann, bob, cat] = [&story.ann, &story.bob, &story.cat].map(Clone::clone);
    let create = json!({"create": {"l": {"conversationId": &id}}});
    let told = story.call(&bob, "Bob begins to answer.", LOCKS, "ReplyLock/set", create.clone()).await;
    let lock = told["created"]["l"]["id"].as_str().unwrap().to_owned();
    let told = story.call(&cat, "Cat learns that he does.", LOCKS, "ReplyLock/set", create).await;
    assert_eq!(told["notCreated"]["l"]["type"], "lockHeld");
    let what = "Everybody sees the lock; its token only its holder.";
    let told = story.call(&cat, what, LOCKS, "ReplyLock/get", json!({"ids": null})).await;
    assert_eq!(told["list"][0]["token"], Value::Null);
    let state = told["state"].clone();
    let bobs = json!({"filter": {"holderId": bob.client.principal()}, "sort": [{"property": "expiresAt"}]});
    let what = "Which ones are Bob's, and which end first.";
    let told = story.call(&cat, what, LOCKS, "ReplyLock/query", bobs.clone()).await;
    assert_eq!(told["ids"], json!([lock]));
    let renew = json!({"update": {&lock: {"seconds": 300}}});
    story.call(&bob, "Bob takes longer.", LOCKS, "ReplyLock/set", renew.clone()).await;
    let force = |force: bool| json!({"create": {"l": {"conversationId": &id, "force": force}}});
    let what = "Taking over needs a lead.";
    let told = story.call(&cat, what, LOCKS, "ReplyLock/set", force(true)).await;
    assert_eq!(told["notCreated"]["l"]["type"], "forbidden");
    let told = story.call(&ann, "Ann is one.", LOCKS, "ReplyLock/set", force(true)).await;
    let anns = told["created"]["l"]["id"].clone();
    let told = story.call(&bob, "Bob's lock has ended.", LOCKS, "ReplyLock/set", renew).await;
    assert_eq!(told["notUpdated"][&lock]["type"], "lockLost");
    let mut since = bobs;
    since["sinceQueryState"] = state.clone();
    let calls =
        json!([["ReplyLock/changes", {"sinceState": state}, "0"], ["ReplyLock/queryChanges", since, "1"]]);
    let told = story.step(&cat, "That is how it shows to others.", LOCKS, calls).await;
    assert_eq!((&told[0]["created"], &told[0]["destroyed"]), (&json!([anns]), &json!([lock])));
    assert_eq!((&told[1]["removed"], &told[1]["added"]), (&json!([lock]), &json!([])));
    let args = json!({"destroy": [anns]});
    story.call(&ann, "Ann gives hers back.", LOCKS, "ReplyLock/set", args).await;
    let create = json!({"create": {"p": {"conversationId": &id}}});
    let told = story.call(&bob, "Bob opens the conversation.", LOCKS, "Presence/set", create).await;
    let lease = told["created"]["p"]["id"].as_str().unwrap().to_owned();
    let types = json!({"update": {&lease: {"doing": "composing"}}});
    story.call(&bob, "He begins to type; this keeps his lease, too.", LOCKS, "Presence/set", types).await;
    let calls = json!([
        ["Presence/get", {"ids": null}, "0"],
        ["Presence/changes", {"sinceState": told["newState"]}, "1"]
    ]);
    let told = story.step(&cat, "Cat sees him. There is no log of it.", LOCKS, calls).await;
    assert_eq!(told[1]["type"], "cannotCalculateChanges");
    let calls = json!([
        ["Presence/set", {"destroy": [&lease]}, "0"], ["Presence/changes", {"sinceState": told[0]["state"]}, "1"]
    ]);
    story.step(&bob, "He leaves.", LOCKS, calls).await;
    let now = story.call(&cat, "Nobody is there.", LOCKS, "Presence/get", json!({"ids": null})).await;
    let args = json!({"sinceState": now["state"]});
    story.call(&cat, "Nothing changed since.", LOCKS, "Presence/changes", args).await;
    story.end();
}

/// A draft that answers Marta's message, made by Email/set as ever (RFC 8621 §4.6).
async fn draft(who: &Member, answers: &str, body: &str) -> String {
    let drafts = who.client.mailbox("drafts").await;
    let create = json!({"create": {"draft": {
        "mailboxIds": {drafts: true},
        "keywords": {"$draft": true, "$seen": true},
        "from": [{"name": "Support", "email": super::SUPPORT}],
        "to": [{"name": "Marta", "email": super::MARTA}],
        "subject": "Re: Where is it?",
        "inReplyTo": [answers],
        "references": [answers],
        "bodyValues": {"text": {"value": body}},
        "textBody": [{"partId": "text", "type": "text/plain"}]
    }}});
    let made = who.client.call("Email/set", create).await;
    made["created"]["draft"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

async fn identity(who: &Member) -> Value {
    let told = who.client.call("Identity/get", json!({"ids": null})).await;
    told["list"][0]["id"].clone()
}

async fn submission(who: &Member, email: &str, gate: Value) -> Value {
    let mut object = json!({"identityId": identity(who).await, "emailId": email});
    object.as_object_mut().unwrap().extend(gate.as_object().unwrap().clone());
    json!({"create": {"s": object}})
}

#[tokio::test]
async fn the_example_of_sending() {
    let (mut story, id) = begin("send.json", "The send gate").await;
    let [bob, cat] = [&story.bob, &story.cat].map(Clone::clone);
    let read = json!({"ids": [&id], "properties": ["version", "waitingSince"]});
    let told = story.call(&bob, "Bob reads the conversation.", READ, "Conversation/get", read.clone()).await;
    let old = told["list"][0]["version"].clone();
    let create = json!({"create": {"l": {"conversationId": &id}}});
    let told = story.call(&bob, "He locks it.", LOCKS, "ReplyLock/set", create).await;
    let token = told["created"]["l"]["token"].clone();
    let email = draft(&bob, "one@customer.example", "It is back in the calendar.").await;
    let gate =
        json!({"lockToken": token, "ifVersion": old, "idempotencyKey": "a1f3", "thenStatus": "pending"});
    let args = submission(&bob, &email, gate).await;
    let what = "He wrote a draft, and sends it through the gate.";
    let told = story.call(&bob, what, GATE, "EmailSubmission/set", args.clone()).await;
    let sent = told["created"]["s"]["id"].clone();
    let what = "He never got the answer, so that his client asks again. Nothing is sent twice.";
    let told = story.call(&bob, what, GATE, "EmailSubmission/set", args).await;
    assert_eq!(told["created"]["s"]["id"], sent);
    let args = json!({"ids": [sent], "properties": ["conversationId", "idempotencyKey", "undoStatus"]});
    story.call(&bob, "What became of it.", GATE, "EmailSubmission/get", args).await;
    let properties = ["ownerId", "status", "waitingSince", "messageCount", "version"];
    let args = json!({"ids": [&id], "properties": properties});
    let what = "Sending made the conversation his, pending and answered, and ended the lock.";
    let told = story.call(&bob, what, READ, "Conversation/get", args).await;
    assert_eq!(told["list"][0]["status"], "pending");

    let answer = draft(&cat, "one@customer.example", "Which booking is it?").await;
    let args = submission(&cat, &answer, json!({"ifVersion": old})).await;
    let what = "Cat answers what she read before Bob's reply: blocked, with what she must read.";
    let told = story.call(&cat, what, GATE, "EmailSubmission/set", args).await;
    let blocked = told["notCreated"]["s"].clone();
    assert_eq!((&blocked["level"], &blocked["emailIds"]), (&json!("block"), &json!([email])));
    let args = submission(&cat, &answer, json!({})).await;
    let what = "A client that knows nothing of the gate hears it in words.";
    let told = story.call(&cat, what, PLAIN, "EmailSubmission/set", args).await;
    assert_eq!(told["notCreated"]["s"]["type"], "forbiddenToSend");
    story
        .mail("Marta writes again.", "two", Some("one@customer.example"), "Re: Where is it?", "Thank you!")
        .await;
    let gate = json!({"ifVersion": blocked["version"], "acknowledge": [email]});
    let args = submission(&cat, &answer, gate).await;
    let what = "Cat has read Bob's reply, and means it. But now Marta wrote: the gate asks.";
    let told = story.call(&cat, what, GATE, "EmailSubmission/set", args).await;
    let asked = told["notCreated"]["s"].clone();
    assert_eq!((&asked["level"], &asked["reasons"]), (&json!("ask"), &json!(["inbound"])));
    let gate = json!({"ifVersion": asked["version"], "acknowledge": [email]});
    let args = submission(&cat, &answer, gate).await;
    let told = story.call(&cat, "She read that, too, and sends.", GATE, "EmailSubmission/set", args).await;
    assert!(told["created"]["s"]["id"].is_string(), "{told}");
    let args = submission(&cat, &answer, json!({"lockToken": 1, "idempotencyKey": "b2"})).await;
    let what = "The same message once more, under another key, is the same submission.";
    let told = story.call(&cat, what, GATE, "EmailSubmission/set", args).await;
    assert!(told["created"]["s"]["id"].is_string(), "{told}");
    story.end();
}
