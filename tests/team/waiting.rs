//! What waits is seen, counted once, and told to whoever answers meanwhile.

use super::*;
use crate::support::relay::Relay;
use crate::support::sending::{envelope, made, place_text};
use crate::support::{TEAM, eventually};

async fn with_relay(relay: &Relay) -> TestServer {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server, "one", None, "Where is it?").await;
    server
}

async fn submit_with(client: &Client, using: &[&str], email: &str, more: Value) -> Value {
    let mut one = json!({"emailId": email, "identityId": identity(client).await});
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.call_with(using, "EmailSubmission/set", json!({"create": {"s": one}})).await
}

fn later() -> Value {
    json!({"envelope": envelope(SUPPORT, &[CUSTOMER], json!({"HOLDFOR": "3600"}))})
}

async fn count(client: &Client) -> Value {
    conversation(client).await["messageCount"].clone()
}

async fn conversations(client: &Client) -> Vec<Value> {
    client.call("Conversation/get", json!({"ids": null})).await["list"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_scheduled_reply_is_no_message_yet_whatever_a_client_makes_of_its_keywords() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let bob = server.client("bob@x.example").await;
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Tomorrow.").await;
    let sent = submit_with(&bob, TEAM, &reply, later()).await;
    let id = made(&sent);
    assert_eq!(count(&bob).await, 1);
    server.check();
    let drafted = bob.call("Email/set", json!({"update": {&reply: {"keywords/$draft": true}}})).await;
    assert!(drafted["updated"].is_object(), "{drafted}");
    assert_eq!((count(&bob).await, place_text(&bob, &reply).await), (json!(1), "scheduled $seen".to_owned()));
    server.check();
    let back = bob.call("EmailSubmission/set", json!({"update": {&id: {"undoStatus": "canceled"}}})).await;
    assert!(back["updated"].is_object(), "{back}");
    assert_eq!(count(&bob).await, 1);
    server.check();
}

#[tokio::test]
async fn a_sent_message_that_goes_to_somebody_else_too_is_counted_once() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let bob = server.client("bob@x.example").await;
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Here.").await;
    made(&submit(&bob, &reply).await);
    assert_eq!(count(&bob).await, 2);
    let copy = json!({"envelope": envelope(SUPPORT, &["boss@customer.example"], Value::Null)});
    made(&submit_with(&bob, TEAM, &reply, copy).await);
    assert_eq!(relay.wait_for(2).await.len(), 2);
    assert_eq!(count(&bob).await, 2);
    server.check();
}

#[tokio::test]
async fn whoever_answers_newer_mail_is_told_of_a_colleagues_reply_that_waits() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Tomorrow.").await;
    made(&submit_with(&bob, TEAM, &reply, later()).await);
    deliver(&server, "two", Some("one"), "Re: Where is it?").await;
    // Cat answers the newer message, by a client that knows nothing of us, and by one that has the lock.
    let own = draft(&cat, Some("two"), "Re: Where is it?", "Today.").await;
    let refused = submit(&cat, &own).await;
    let error = &refused["notCreated"]["s"];
    assert_eq!(error["type"], "forbiddenToSend", "{refused}");
    assert!(error["description"].as_str().unwrap().contains("Bob"), "{error}");
    let about = conversation(&cat).await["id"].clone();
    let lock = cat.call("ReplyLock/set", json!({"create": {"l": {"conversationId": about}}})).await;
    let token = json!({"lockToken": lock["created"]["l"]["token"]});
    let refused = submit_with(&cat, TEAM, &own, token).await;
    let error = &refused["notCreated"]["s"];
    assert_eq!(
        (&error["type"], &error["level"]),
        (&json!("conversationChanged"), &json!("block")),
        "{error}"
    );
    assert_eq!(error["emailIds"], json!([reply]), "{error}");
    server.check();
}

#[tokio::test]
async fn a_lock_is_for_the_reply_and_another_message_leaves_it() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let bob = server.client("bob@x.example").await;
    let about = conversation(&bob).await["id"].clone();
    let lock = bob.call("ReplyLock/set", json!({"create": {"l": {"conversationId": about}}})).await;
    let lock = &lock["created"]["l"];
    let forward = draft(&bob, Some("one"), "Fwd: Where is it?", "Do you have it?").await;
    let to = json!({"envelope": envelope(SUPPORT, &["supplier@elsewhere.example"], Value::Null)});
    made(&submit_with(&bob, PLAIN, &forward, to).await);
    let held = bob.call("ReplyLock/get", json!({"ids": null})).await;
    assert_eq!(held["list"][0]["id"], lock["id"], "{held}");
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Here.").await;
    made(&submit_with(&bob, TEAM, &reply, json!({"lockToken": lock["token"]})).await);
    assert_eq!(bob.call("ReplyLock/get", json!({"ids": null})).await["list"], json!([]));
    server.check();
}

#[tokio::test]
async fn only_its_sender_or_a_lead_removes_what_waits_to_be_sent() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let cat = server.client("cat@x.example").await;
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Tomorrow.").await;
    let id = made(&submit_with(&bob, TEAM, &reply, later()).await);
    let refused = cat.call_with(PLAIN, "EmailSubmission/set", json!({"destroy": [&id]})).await;
    assert_eq!(refused["notDestroyed"][&id]["type"], "forbidden", "{refused}");
    let gone = ann.call_with(PLAIN, "EmailSubmission/set", json!({"destroy": [&id]})).await;
    assert_eq!(gone["destroyed"], json!([id]), "{gone}");
    server.check();
}

#[tokio::test]
async fn mail_that_came_in_is_not_put_where_sent_mail_and_drafts_are() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    deliver(&server, "one", None, "Where is it?").await;
    let email = emails(&bob).await.remove(0);
    for place in ["Sent", "Drafts"] {
        let refused = moved(&bob, &email, &["Inbox", "Unassigned"], &[place]).await;
        let error = &refused["notUpdated"][&email];
        assert_eq!(error["type"], "invalidProperties", "{refused}");
        assert_eq!(error["properties"], json!(["mailboxIds"]), "{refused}");
    }
    assert_eq!(places(&bob, &email).await, set(&["Inbox", "Unassigned"]));
    server.check();
}

#[tokio::test]
async fn a_form_that_writes_as_the_inbox_is_answered_at_reply_to() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    let form =
        format!("Reply-To: {CUSTOMER}\r\n{}", message("f@x.example", SUPPORT, SUPPORT, "Form", "Hello"));
    assert!(server.deliver("www@x.example", &[SUPPORT], &form).await.starts_with("250"));
    let nobody = message("g@x.example", SUPPORT, SUPPORT, "Form without", "Hello");
    assert!(server.deliver("www@x.example", &[SUPPORT], &nobody).await.starts_with("250"));
    let all = conversations(&bob).await;
    let of = |subject: &str| all.iter().find(|one| one["subject"] == subject).unwrap().clone();
    assert_eq!(of("Form")["customer"], json!({"name": null, "address": CUSTOMER}));
    assert_eq!(of("Form")["participants"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&of("Form without")["customer"], &of("Form without")["participants"]),
        (&Value::Null, &json!([]))
    );
    server.check();
}

#[tokio::test]
async fn a_persons_mail_to_a_return_path_that_comes_too_late_begins_a_conversation() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    server.json(&["inbox", "member", "add", SUPPORT, "ann@x.example:admin"]);
    let ann = server.client("ann@x.example").await;
    let soon = ann.call("InboxSettings/set", json!({"update": {"singleton": {"reopenWithin": 0}}})).await;
    assert!(soon["updated"].is_object(), "{soon}");
    let reply = draft(&ann, Some("one"), "Re: Where is it?", "Here.").await;
    made(&submit_with(&ann, TEAM, &reply, json!({"thenStatus": "closed"})).await);
    let path = relay.wait_for(1).await[0].return_path();
    let old = conversation(&ann).await;
    assert_eq!(old["status"], "closed");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let text = message("late@customer.example", CUSTOMER, &path, "And the other one?", "Where is that?");
    assert!(server.deliver(CUSTOMER, &[&path], &text).await.starts_with("250"));
    let new = eventually("the new one", async || {
        conversations(&ann).await.into_iter().find(|one| one["id"] != old["id"])
    })
    .await;
    assert_eq!((&new["status"], &new["previousId"]), (&json!("open"), &old["id"]));
    assert!(!new["waitingSince"].is_null());
    assert_eq!(new["messageCount"], 1);
    server.check();
}

#[tokio::test]
async fn a_message_with_several_submissions_is_counted_once_however_they_end() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let bob = server.client("bob@x.example").await;
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Tomorrow.").await;
    let to = |person: &str| json!({"envelope": envelope(SUPPORT, &[person], json!({"HOLDFOR": "3600"}))});
    let cancel = async |id: &str| {
        let done = bob.call("EmailSubmission/set", json!({"update": {id: {"undoStatus": "canceled"}}})).await;
        assert!(done["updated"].is_object(), "{done}");
    };
    let first = made(&submit_with(&bob, TEAM, &reply, to(CUSTOMER)).await);
    let second = made(&submit_with(&bob, TEAM, &reply, to("boss@customer.example")).await);
    assert_ne!(first, second);
    assert_eq!(count(&bob).await, 1);
    server.check();
    cancel(&first).await;
    assert_eq!(place_text(&bob, &reply).await, "scheduled $seen");
    cancel(&second).await;
    assert_eq!(
        (count(&bob).await, place_text(&bob, &reply).await),
        (json!(1), "drafts $draft,$seen".to_owned())
    );
    server.check();
    // What went out once is no draft again because a second time is taken back.
    made(&submit(&bob, &reply).await);
    let later = made(&submit_with(&bob, TEAM, &reply, to("boss@customer.example")).await);
    assert_eq!(
        (count(&bob).await, place_text(&bob, &reply).await),
        (json!(1), "scheduled,sent $seen".to_owned())
    );
    server.check();
    cancel(&later).await;
    assert_eq!((count(&bob).await, place_text(&bob, &reply).await), (json!(2), "sent $seen".to_owned()));
    server.check();
}

#[tokio::test]
async fn what_was_held_after_its_record_was_destroyed_may_be_sent() {
    let relay = Relay::start().await;
    let server = with_relay(&relay).await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let reply = draft(&bob, Some("one"), "Re: Where is it?", "Tomorrow.").await;
    let version = conversation(&bob).await["version"].clone();
    let soon = json!({
        "envelope": envelope(SUPPORT, &[CUSTOMER], json!({"HOLDFOR": "4"})), "ifVersion": version
    });
    let id = made(&submit_with(&bob, TEAM, &reply, soon).await);
    let gone = bob.call("EmailSubmission/set", json!({"destroy": [&id]})).await;
    assert_eq!(gone["destroyed"], json!([&id]), "{gone}");
    let about = conversation(&cat).await["id"].as_str().unwrap().to_owned();
    let closed = cat.call("Conversation/set", json!({"update": {&about: {"status": "closed"}}})).await;
    assert!(closed["updated"].is_object(), "{closed}");
    eventually("held", async || place_text(&bob, &reply).await.starts_with("drafts").then_some(())).await;
    assert_eq!(relay.deliveries(), 0);
    assert_ne!(made(&submit(&bob, &reply).await), id);
    assert_eq!(relay.wait_for(1).await.len(), 1);
    server.check();
}
