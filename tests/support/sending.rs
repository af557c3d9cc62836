//! What tests of sending share: drafts, submissions, and where an Email is.

use super::{Client, eventually};
use serde_json::{Value, json};

/// The id of the account's first Identity.
pub async fn identity(client: &Client) -> String {
    let all = client.call("Identity/get", json!({"ids": null})).await;
    all["list"][0]["id"].as_str().unwrap_or_else(|| panic!("{all}")).to_owned()
}

/// Makes a draft with these properties in place of the usual ones; gives its id.
pub async fn draft(client: &Client, properties: Value) -> String {
    let mut email = json!({
        "mailboxIds": {client.mailbox("drafts").await: true},
        "keywords": {"$draft": true},
        "to": [{"email": "marta@customer.example"}],
        "subject": "Hello",
        "bodyValues": {"b": {"value": "Hello there"}},
        "textBody": [{"partId": "b", "type": "text/plain"}]
    });
    for (name, value) in properties.as_object().unwrap() {
        email[name] = value.clone();
    }
    let made = client.call("Email/set", json!({"create": {"d": email}})).await;
    made["created"]["d"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// The whole response to the submission of an Email, with further properties of it.
pub async fn submit(client: &Client, using: &[&str], email: &str, properties: Value) -> Value {
    let mut submission = json!({"identityId": identity(client).await, "emailId": email});
    for (name, value) in properties.as_object().unwrap() {
        submission[name] = value.clone();
    }
    client.call_with(using, "EmailSubmission/set", json!({"create": {"s": submission}})).await
}

/// The id of a submission that was made.
#[track_caller]
pub fn made(response: &Value) -> String {
    response["created"]["s"]["id"].as_str().unwrap_or_else(|| panic!("{response}")).to_owned()
}

/// An envelope from `from` to these, with parameters of `mailFrom`.
pub fn envelope(from: &str, to: &[&str], parameters: Value) -> Value {
    let to: Vec<Value> = to.iter().map(|email| json!({"email": email, "parameters": null})).collect();
    json!({"mailFrom": {"email": from, "parameters": parameters}, "rcptTo": to})
}

/// A submission as it is now.
pub async fn submission(client: &Client, id: &str) -> Value {
    client.call("EmailSubmission/get", json!({"ids": [id]})).await["list"][0].clone()
}

/// Waits until a submission has this `undoStatus`.
pub async fn becomes(client: &Client, id: &str, undo_status: &str) -> Value {
    eventually(undo_status, async || {
        let now = submission(client, id).await;
        (now["undoStatus"] == undo_status).then_some(now)
    })
    .await
}

/// The roles of the mailboxes that an Email is in, and its keywords, both in order.
pub async fn place(client: &Client, email: &str) -> (Vec<String>, Vec<String>) {
    let email = client
        .call("Email/get", json!({"ids": [email], "properties": ["mailboxIds", "keywords"]}))
        .await["list"][0]
        .clone();
    let ids: Vec<String> = email["mailboxIds"].as_object().unwrap().keys().cloned().collect();
    let mailboxes = client.call("Mailbox/get", json!({"ids": ids, "properties": ["role"]})).await;
    let roles = mailboxes["list"].as_array().unwrap().iter();
    let mut roles: Vec<String> = roles.map(|one| one["role"].as_str().unwrap_or("-").to_owned()).collect();
    roles.sort();
    let mut keywords: Vec<String> = email["keywords"].as_object().unwrap().keys().cloned().collect();
    keywords.sort();
    (roles, keywords)
}

/// `place` as it reads best in an assertion.
pub async fn place_text(client: &Client, email: &str) -> String {
    let (roles, keywords) = place(client, email).await;
    format!("{} {}", roles.join(","), keywords.join(","))
}
