//! As many conversations in one call as a call takes.

use super::*;
use crate::support::Gateway;

const MANY: usize = 500;
const GATEWAYS: usize = 4;

/// Conversations of two and three messages, in turn, over several connections; how many messages that makes.
async fn fill(server: &TestServer) -> usize {
    let letters = |n: usize| {
        let subject = format!("Booking {n} has vanished from the calendar of the harbour");
        let body = "It was there yesterday, and the deposit is paid. Please look, and tell me.\r\n".repeat(6);
        (0..2 + n % 2).map(move |at| {
            let text = message(&format!("{n}.{at}@customer.example"), CUSTOMER, SUPPORT, &subject, &body);
            if at == 0 { text } else { format!("In-Reply-To: <{n}.0@customer.example>\r\n{text}") }
        })
    };
    let send = async |mut gateway: Gateway, first: usize| {
        let mut count = 0;
        for text in (first..MANY).step_by(GATEWAYS).flat_map(letters) {
            let reply = gateway.deliver(CUSTOMER, &[SUPPORT], &text).await;
            assert!(reply.starts_with("250 "), "{reply}");
            count += 1;
        }
        count
    };
    let mut all = Vec::new();
    for first in 0..GATEWAYS {
        all.push(send(server.gateway().await, first));
    }
    futures_util::future::join_all(all).await.into_iter().sum()
}

/// One patch for all of them, done in one transaction: they have one version.
async fn set_all(client: &Client, ids: &[String], patch: Value) {
    let update: Map<String, Value> = ids.iter().map(|id| (id.clone(), patch.clone())).collect();
    let reply = client.call("Conversation/set", json!({"update": update})).await;
    assert_eq!(reply["notUpdated"], Value::Null);
    let updated = reply["updated"].as_object().unwrap_or_else(|| panic!("{reply}"));
    let versions: BTreeSet<String> = updated.values().map(|one| one["version"].to_string()).collect();
    assert_eq!((updated.len(), versions.len()), (ids.len(), 1), "{versions:?}");
}

#[tokio::test]
async fn five_hundred_conversations_are_claimed_and_closed_in_one_transaction_each() {
    let server = office().await;
    let messages = fill(&server).await;
    let bob = server.client("bob@x.example").await;
    let found = bob.call("Conversation/query", json!({"limit": MANY})).await;
    let ids: Vec<String> = serde_json::from_value(found["ids"].clone()).unwrap();
    assert_eq!(ids.len(), MANY);
    set_all(&bob, &ids, json!({"ownerId": bob.principal()})).await;
    set_all(&bob, &ids, json!({"status": "closed"})).await;
    let counts = bob.call("Conversation/counts", json!({})).await;
    assert_eq!(counts["all"], json!({"open": 0, "pending": 0, "snoozed": 0, "closed": MANY, "waiting": 0}));
    let archive = bob.mailbox("archive").await;
    let told = bob.call("Mailbox/get", json!({"ids": [archive], "properties": ["totalEmails"]})).await;
    assert_eq!(told["list"][0]["totalEmails"], json!(messages));
    server.check();
}
