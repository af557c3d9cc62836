//! Every SetError that Email/set and EmailSubmission/set have, each asserted whole.

mod email;
mod gate;
mod submission;

use crate::support::client::PLAIN;
use crate::support::{Client, TestServer};
use crate::team::assert_set;
use serde_json::{Value, json};

/// Calls `method` with each row's change and expects the whole reply to be that one refusal.
async fn refuses(client: &Client, using: &[&str], method: &str, table: Vec<(&str, Value, Value)>) {
    for (name, change, error) in table {
        let (what, target, value) = match change.as_object().unwrap().iter().next().unwrap() {
            (what, Value::Object(one)) => {
                (what.as_str(), one.keys().next().unwrap().clone(), one.values().next().unwrap().clone())
            }
            (what, ids) => (what.as_str(), ids[0].as_str().unwrap().to_owned(), Value::Null),
        };
        let reply = client.call_with(using, method, change.clone()).await;
        let member =
            format!("not{}{}d", what[..1].to_uppercase(), what[1..].strip_suffix('y').unwrap_or(&what[1..]));
        let member = if what == "destroy" { "notDestroyed".to_owned() } else { member };
        println!("{name}: {reply}");
        assert_eq!(reply["oldState"], reply["newState"], "{name}: {value}");
        assert_set(&reply, json!({member: {target: error}}));
    }
}

/// `invalidProperties` about these.
fn invalid(properties: &[&str], description: &str) -> Value {
    json!({"type": "invalidProperties", "properties": properties, "description": description})
}

/// An error without more.
fn only(kind: &str) -> Value {
    json!({"type": kind})
}
