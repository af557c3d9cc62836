//! Full text, through Email/query.

use crate::support::client::PLAIN;
use crate::support::{Client, TestServer, message};
use serde_json::{Value, json};

async fn found(client: &Client, filter: Value) -> Vec<String> {
    let calls = json!([
        ["Email/query", {"accountId": client.account, "filter": filter,
            "sort": [{"property": "subject"}]}, "q"],
        ["Email/get", {"accountId": client.account, "properties": ["subject"],
            "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"}}, "g"],
    ]);
    let reply = client.request(PLAIN, calls).await;
    let list = reply["methodResponses"][1][1]["list"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let mut subjects: Vec<String> =
        list.iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect();
    subjects.sort();
    subjects
}

#[tokio::test]
async fn words_are_found_at_once_in_any_part_and_after_a_restart() {
    let mut server = TestServer::office(&[]).await;
    for (id, from, subject, body) in [
        ("a@c", "Marta Lindqvist <marta@c.example>", "Alpha mooring", "The berth is flooded"),
        ("b@c", "Jo <jo@c.example>", "Beta invoice", "Please send the invoice for the berth again"),
        ("c@c", "Zoë <zoe@c.example>", "Gamma", "Straße und Café"),
    ] {
        let text = message(id, from, "support@x.example", subject, body);
        assert!(server.deliver("x@c.example", &["support@x.example"], &text).await.starts_with("250"));
    }
    for _ in 0..2 {
        let ann = server.client("ann@x.example").await;
        assert_eq!(found(&ann, json!({"text": "berth"})).await, ["Alpha mooring", "Beta invoice"]);
        assert_eq!(found(&ann, json!({"body": "flooded"})).await, ["Alpha mooring"]);
        assert_eq!(found(&ann, json!({"subject": "INVOICE"})).await, ["Beta invoice"]);
        assert_eq!(found(&ann, json!({"from": "lindqvist"})).await, ["Alpha mooring"]);
        assert_eq!(found(&ann, json!({"text": "strasse"})).await, ["Gamma"]);
        assert_eq!(found(&ann, json!({"text": "\"berth is flooded\""})).await, ["Alpha mooring"]);
        let not = json!({"operator": "NOT", "conditions": [{"text": "berth"}]});
        assert_eq!(found(&ann, not).await, ["Gamma"]);
        assert_eq!(found(&ann, json!({"text": "nowhere"})).await, [""; 0]);
        server.kill();
        server.start().await;
    }
}
