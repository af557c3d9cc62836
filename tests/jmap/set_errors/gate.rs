//! What colleagues do meanwhile, as clients that know us hear it, and as all others do.

use super::*;
use crate::support::TEAM;
use crate::support::client::{CORE, SUBMISSION};
use crate::team::{conversation, deliver, draft, identity, submit};

const LOCKS: &str = "https://postroom.dev/jmap/locks";
const CONFIRM: &str = "Your message was not sent. Read the conversation first. To send yours all the same, wait ten \
                       seconds and send it again within ten minutes.";

async fn send(client: &Client, email: &str, more: Value) -> Value {
    let mut object = json!({"emailId": email, "identityId": identity(client).await});
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    client.call_with(TEAM, "EmailSubmission/set", json!({"create": {"s": object}})).await
}

/// The one refusal of a create, and nothing else in the reply.
#[track_caller]
fn refusal(reply: &Value) -> Value {
    let error = reply["notCreated"]["s"].clone();
    assert_set(reply, json!({"notCreated": {"s": error}}));
    error
}

async fn lock(client: &Client, conversation: &Value) -> Value {
    let create = json!({"create": {"s": {"conversationId": conversation["id"]}}});
    client.call("ReplyLock/set", create).await
}

#[tokio::test]
async fn a_colleagues_lock_is_lock_held_or_forbidden_to_send() {
    let server = TestServer::office(&[]).await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let now = conversation(&bob).await;
    let held = lock(&cat, &now).await["created"]["s"].take();
    let (holder, expires) = (cat.principal(), held["expiresAt"].as_str().unwrap().to_owned());
    let error = json!({
        "type": "lockHeld", "holderId": holder, "expiresAt": expires,
        "description": format!("Cat is answering this conversation, until {expires} at least.")
    });
    assert_eq!(refusal(&lock(&bob, &now).await), error);
    let answer = draft(&bob, Some("one"), "Re: Help", "On it.").await;
    assert_eq!(refusal(&send(&bob, &answer, json!({"ifVersion": now["version"]})).await), error);
    let lost = json!({
        "type": "lockLost", "holderId": holder, "expiresAt": expires,
        "description": "Your reply lock ended; Cat is answering now."
    });
    let theirs = json!({"lockToken": held["token"], "ifVersion": now["version"]});
    assert_eq!(refusal(&send(&bob, &answer, theirs).await), lost);
    let plain = json!({
        "type": "forbiddenToSend",
        "description": format!(
            "Cat is writing a reply to this conversation right now (until {expires}). {CONFIRM}"
        )
    });
    assert_eq!(refusal(&submit(&bob, &answer).await), plain);
    // A client that names our capabilities and nothing else is judged as a plain one.
    assert_eq!(refusal(&send(&bob, &answer, json!({})).await), plain);
    let released = cat.call("ReplyLock/set", json!({"destroy": [held["id"]]})).await;
    assert_set(&released, json!({"destroyed": [held["id"]]}));
    let gone = json!({
        "type": "lockLost", "holderId": null, "expiresAt": null,
        "description": "Your reply lock ended. Look at the conversation again, then send."
    });
    assert_eq!(refusal(&send(&bob, &answer, json!({"lockToken": 1})).await), gone);
    let old = held["id"].as_str().unwrap();
    let renewed = cat.call("ReplyLock/set", json!({"update": {old: {"seconds": 60}}})).await;
    assert_set(&renewed, json!({"notUpdated": {old: gone}}));
    let again = cat.call("ReplyLock/set", json!({"destroy": [old]})).await;
    assert_set(&again, json!({"notDestroyed": {old: gone}}));
    server.check();
}

#[tokio::test]
async fn a_conversation_that_changed_asks_or_blocks() {
    let server = TestServer::office(&[]).await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let read = conversation(&bob).await;
    let answer = draft(&bob, Some("one"), "Re: Help", "From Bob.").await;
    deliver(&server, "two", Some("one"), "Re: Help").await;
    let inbound = crate::team::emails(&bob).await.pop().unwrap();
    let error = refusal(&send(&bob, &answer, json!({"ifVersion": read["version"]})).await);
    let version = conversation(&bob).await["version"].clone();
    assert_ne!(version, read["version"]);
    assert_eq!(
        error,
        json!({
            "type": "conversationChanged", "level": "ask", "version": version, "emailIds": [inbound],
            "reasons": ["inbound"],
            "description":
                "The conversation changed meanwhile (inbound). Look at it, then send again if your message still fits."
        })
    );

    let theirs = draft(&cat, Some("two"), "Re: Help", "From Cat.").await;
    assert!(submit(&cat, &theirs).await["created"]["s"].is_object());
    let plain = refusal(&submit(&bob, &answer).await);
    let sent = conversation(&bob).await["lastOutboundAt"].as_str().unwrap().to_owned();
    let told = format!("Cat replied to this conversation on {sent}. ");
    assert_eq!(plain, json!({"type": "forbiddenToSend", "description": format!("{told}{CONFIRM}")}));
    let at_once = refusal(&submit(&bob, &answer).await);
    assert_eq!(at_once, plain, "a client's own quick retry is no yes");

    let blocked = refusal(&send(&bob, &answer, json!({"ifVersion": version})).await);
    let after = conversation(&bob).await["version"].clone();
    let read_what = "Read what was sent or decided, then confirm that yours is still wanted.";
    assert_eq!(
        blocked,
        json!({
            "type": "conversationChanged", "level": "block", "version": after, "emailIds": [theirs],
            "reasons": blocked["reasons"], "description": format!("{told}{read_what}")
        })
    );
    assert!(blocked["reasons"].as_array().unwrap().contains(&json!("reply")), "{blocked}");
    // The new version alone isn't enough, nor the wrong id.
    for acknowledge in [json!([]), json!([answer])] {
        let more = json!({"ifVersion": after, "acknowledge": acknowledge});
        assert_eq!(
            refusal(&send(&bob, &answer, more).await),
            json!({
                "type": "conversationChanged", "level": "block", "version": after, "emailIds": [theirs],
                "reasons": ["reply"], "description": format!("{told}{read_what}")
            })
        );
    }
    let sent = send(&bob, &answer, json!({"ifVersion": after, "acknowledge": [theirs]})).await;
    assert!(sent["created"]["s"].is_object(), "{sent}");
    // A version of another shape names nothing.
    let other = draft(&bob, Some("two"), "Re: Help", "Once more.").await;
    for (more, property) in [
        (json!({"ifVersion": "new"}), "ifVersion"),
        (json!({"thenStatus": "done"}), "thenStatus"),
        (json!({"thenOwnerId": "nobody"}), "thenOwnerId"),
    ] {
        let error = refusal(&send(&bob, &other, more).await);
        assert_eq!(error, invalid(&[property], "It names nothing of this inbox."));
    }
    server.check();
}

#[tokio::test]
async fn a_conversation_that_a_colleague_closed_blocks() {
    let server = TestServer::office(&[]).await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let read = conversation(&bob).await;
    let answer = draft(&bob, Some("one"), "Re: Help", "From Bob.").await;
    let id = read["id"].as_str().unwrap();
    let closed = cat.call("Conversation/set", json!({"update": {id: {"status": "closed"}}})).await;
    assert!(closed["updated"].is_object(), "{closed}");
    let error = refusal(&send(&bob, &answer, json!({"ifVersion": read["version"]})).await);
    let now = conversation(&bob).await["version"].clone();
    assert_eq!(
        error,
        json!({
            "type": "conversationChanged", "level": "block", "version": now, "emailIds": [], "reasons": ["closed"],
            "description": "The conversation changed meanwhile (closed). Read what was sent or decided, then \
                            confirm that yours is still wanted."
        })
    );
    let sent = send(&bob, &answer, json!({"ifVersion": now})).await;
    assert!(sent["created"]["s"].is_object(), "{sent}");
    server.check();
}

#[tokio::test]
async fn versions_and_owners_that_differ_are_told_with_what_is_true_now() {
    let server = TestServer::office(&[]).await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let before = conversation(&bob).await;
    let id = before["id"].as_str().unwrap();
    let claim = |who: &Client, more: Value| {
        let mut arguments = json!({"update": {id: {"ownerId": who.principal()}}});
        for (name, value) in more.as_object().unwrap() {
            arguments[name] = value.clone();
        }
        arguments
    };
    let claimed = bob.call("Conversation/set", claim(&bob, json!({}))).await;
    assert!(claimed["updated"].is_object(), "{claimed}");
    let version = conversation(&bob).await["version"].clone();
    let owner = json!({
        "type": "ownerMismatch", "ownerId": bob.principal(), "version": version,
        "description": "Bob owns this conversation. Ask them to hand it over or to release it, or ask a lead."
    });
    let stale = json!({
        "type": "versionMismatch", "version": version,
        "description": "The conversation changed since you read it. Read it again, then repeat the change."
    });
    let table = vec![
        ("a claim", claim(&cat, json!({})), owner.clone()),
        ("an expected owner", claim(&cat, json!({"ifOwner": {id: null}})), owner),
        ("an old version", claim(&cat, json!({"ifVersion": {id: before["version"]}})), stale),
    ];
    for (name, arguments, error) in table {
        let reply = cat.call("Conversation/set", arguments).await;
        assert_eq!(
            reply,
            {
                let mut whole = reply.clone();
                whole["notUpdated"] = json!({id: error});
                whole
            },
            "{name}"
        );
        assert_set(&reply, json!({"notUpdated": {id: reply["notUpdated"][id]}}));
    }
    let note = json!({"create": {"n": {"conversationId": id, "body": "Mine"}}});
    let note = bob.call("Note/set", note).await["created"]["n"].take();
    let note_id = note["id"].as_str().unwrap();
    let edit = json!({"update": {note_id: {"body": "Other"}}, "ifVersion": {note_id: "0"}});
    let reply = bob.call("Note/set", edit).await;
    assert_eq!(reply["notUpdated"][note_id]["type"], "versionMismatch", "{reply}");
    assert_eq!(reply["notUpdated"][note_id]["version"], note["version"], "{reply}");
    server.check();
}

#[tokio::test]
async fn a_close_that_is_not_done_names_what_is_missing_to_whom_it_can() {
    let server = TestServer::office(&[]).await;
    deliver(&server, "one", None, "Help").await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let settings = json!({"update": {"singleton": {"requireCategory": true, "requireResolution": true}}});
    assert!(ann.call("InboxSettings/set", settings).await["updated"].is_object());
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    let words = "The conversation can't be closed yet: the inbox asks for a category and a resolution.";
    let error = json!({"type": "notDone", "missing": ["category", "resolution"], "description": words});
    let reply = bob.call("Conversation/set", json!({"update": {&id: {"status": "closed"}}})).await;
    assert_set(&reply, json!({"notUpdated": {&id: error}}));
    let answer = draft(&bob, Some("one"), "Re: Help", "Done.").await;
    let closing = json!({"thenStatus": "closed"});
    assert_eq!(refusal(&send(&bob, &answer, closing).await), error);
    // Whoever knows the gate and not the status hears it in registered words.
    let object = json!({"emailId": answer, "identityId": identity(&bob).await, "thenStatus": "closed"});
    let using = [CORE, SUBMISSION, LOCKS];
    let reply = bob.call_with(&using, "EmailSubmission/set", json!({"create": {"s": object}})).await;
    assert_eq!(refusal(&reply), invalid(&["thenStatus"], words));
    server.check();
}
