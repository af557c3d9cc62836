//! The team's work over sockets: what members do with clients that know us, and with clients that
//! know nothing of us.

mod acknowledgement;
mod bulk;
mod erase;
mod membership;
mod memos;
mod merge;
mod moves;
mod moves_away;
mod naming;
mod no_note_leaves;
mod plain_retries;
mod presence;
mod queues;
mod roles;
mod seen;
mod siblings;
mod snooze;
mod teams;
mod waiting;

use crate::support::client::PLAIN;
use crate::support::{Client, TestServer, message};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub const CUSTOMER: &str = "marta@customer.example";
pub const SUPPORT: &str = "support@x.example";

/// The office, with an observer beside.
pub async fn office() -> TestServer {
    let server = TestServer::office(&[]).await;
    server.person("olaf@x.example", "Olaf");
    server.json(&["inbox", "member", "add", SUPPORT, "olaf@x.example:observer"]);
    server
}

/// Delivers `<id@customer.example>` to support@, as an answer to `to` where one is named.
pub async fn deliver(server: &TestServer, id: &str, to: Option<&str>, subject: &str) {
    let id = format!("{id}@customer.example");
    let mut text = message(&id, CUSTOMER, SUPPORT, subject, &format!("This is {id}."));
    if let Some(to) = to {
        text = format!("In-Reply-To: <{to}@customer.example>\r\n{text}");
    }
    let reply = server.deliver(CUSTOMER, &[SUPPORT], &text).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

/// The whole reply of a /set: its states, the given members, and null for every other one.
#[track_caller]
pub fn assert_set(reply: &Value, members: Value) {
    let mut whole = Map::new();
    for name in ["accountId", "oldState", "newState"] {
        assert!(reply[name].is_string(), "{reply}");
        whole.insert(name.into(), reply[name].clone());
    }
    for name in ["created", "updated", "destroyed", "notCreated", "notUpdated", "notDestroyed"] {
        whole.insert(name.into(), members[name].clone());
    }
    assert_eq!(*reply, Value::Object(whole));
}

/// The ids of mailboxes by their paths, `Assigned/Bob` for one.
pub async fn boxes(client: &Client) -> BTreeMap<String, String> {
    let told = client.call_with(PLAIN, "Mailbox/get", json!({"ids": null})).await;
    let list = told["list"].as_array().unwrap();
    let path = |mailbox: &Value| {
        let name = mailbox["name"].as_str().unwrap();
        match list.iter().find(|above| above["id"] == mailbox["parentId"]) {
            Some(above) => format!("{}/{name}", above["name"].as_str().unwrap()),
            None => name.to_owned(),
        }
    };
    list.iter().map(|mailbox| (path(mailbox), mailbox["id"].as_str().unwrap().to_owned())).collect()
}

/// All Emails, in the order in which they came.
pub async fn emails(client: &Client) -> Vec<String> {
    let sort = json!([{"property": "receivedAt"}]);
    let told = client.call_with(PLAIN, "Email/query", json!({"sort": sort})).await;
    told["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// The paths of the mailboxes that an Email is in.
pub async fn places(client: &Client, email: &str) -> BTreeSet<String> {
    let told = client.call("Email/get", json!({"ids": [email], "properties": ["mailboxIds"]})).await;
    let known = boxes(client).await;
    let path = |id: &String| known.iter().find(|(_, known)| *known == id).unwrap().0.clone();
    told["list"][0]["mailboxIds"].as_object().unwrap().keys().map(path).collect()
}

/// The only conversation of the inbox.
pub async fn conversation(client: &Client) -> Value {
    let told = client.call("Conversation/get", json!({"ids": null})).await;
    assert_eq!(told["list"].as_array().unwrap().len(), 1, "{told}");
    told["list"][0].clone()
}

/// A plain client's change of one Email: single mailboxes added and taken away.
pub async fn moved(client: &Client, email: &str, from: &[&str], to: &[&str]) -> Value {
    moved_with(PLAIN, client, email, from, to).await
}

/// The same with these capabilities in use.
pub async fn moved_with(using: &[&str], client: &Client, email: &str, from: &[&str], to: &[&str]) -> Value {
    let known = boxes(client).await;
    let mut patch = Map::new();
    for path in from {
        patch.insert(format!("mailboxIds/{}", known[*path]), Value::Null);
    }
    for path in to {
        patch.insert(format!("mailboxIds/{}", known[*path]), json!(true));
    }
    client.call_with(using, "Email/set", json!({"update": {email: patch}})).await
}

/// A plain client's replacement of the whole property.
pub async fn replaced(client: &Client, email: &str, by: &[&str]) -> Value {
    let known = boxes(client).await;
    let mailboxes: Map<String, Value> = by.iter().map(|path| (known[*path].clone(), json!(true))).collect();
    client.call_with(PLAIN, "Email/set", json!({"update": {email: {"mailboxIds": mailboxes}}})).await
}

/// A set of paths.
pub fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

/// Makes a draft from support@ in answer to `to` and gives its id.
pub async fn draft(client: &Client, to: Option<&str>, subject: &str, body: &str) -> String {
    let drafts = client.mailbox("drafts").await;
    let mut object = json!({
        "mailboxIds": {drafts: true},
        "keywords": {"$draft": true},
        "from": [{"name": "Support", "email": SUPPORT}],
        "to": [{"name": null, "email": CUSTOMER}],
        "subject": subject,
        "bodyValues": {"t": {"value": body}},
        "textBody": [{"partId": "t", "type": "text/plain"}],
    });
    if let Some(to) = to {
        object["inReplyTo"] = json!([format!("{to}@customer.example")]);
    }
    let made = client.call_with(PLAIN, "Email/set", json!({"create": {"d": object}})).await;
    made["created"]["d"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// The first identity of the account.
pub async fn identity(client: &Client) -> String {
    let told = client.call_with(PLAIN, "Identity/get", json!({"ids": null})).await;
    told["list"][0]["id"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// Submits an Email as a plain client does.
pub async fn submit(client: &Client, email: &str) -> Value {
    let create = json!({"create": {"s": {"emailId": email, "identityId": identity(client).await}}});
    client.call_with(PLAIN, "EmailSubmission/set", create).await
}
