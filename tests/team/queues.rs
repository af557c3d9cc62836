//! Queues: every filter and sort of Conversation/query, their changes, and what stands in them.

use super::*;
use crate::support::eventually;

struct Queues {
    server: TestServer,
    bob: Client,
    ann: Client,
    /// By subject: `Alpha`, `Beta`, `Gamma`, `Delta`, in the order in which they came.
    ids: BTreeMap<String, String>,
}

async fn queues() -> Queues {
    let server = office().await;
    for (id, subject) in [("one", "Alpha"), ("two", "Beta"), ("three", "Gamma"), ("four", "Delta")] {
        deliver(&server, id, None, subject).await;
    }
    let (bob, ann) = (server.client("bob@x.example").await, server.client("ann@x.example").await);
    let told = bob.call("Conversation/get", json!({"ids": null, "properties": ["subject"]})).await;
    let pair =
        |one: &Value| (one["subject"].as_str().unwrap().to_owned(), one["id"].as_str().unwrap().to_owned());
    let ids = told["list"].as_array().unwrap().iter().map(pair).collect();
    let queues = Queues { server, bob, ann, ids };
    let bobs = queues.bob.principal();
    queues.update("Alpha", json!({"ownerId": bobs, "priority": "urgent", "tags": {"vat": true}})).await;
    queues
        .update("Beta", json!({"status": "pending", "category": "billing", "watcherIds": {&bobs: true}}))
        .await;
    queues.update("Gamma", json!({"status": "snoozed", "snoozedUntil": "2099-01-01T00:00:00Z"})).await;
    queues.update("Delta", json!({"ownerId": bobs, "status": "closed", "resolution": "done"})).await;
    queues
}

impl Queues {
    async fn update(&self, subject: &str, patch: Value) {
        let id = &self.ids[subject];
        let reply = self.bob.call("Conversation/set", json!({"update": {id: patch}})).await;
        assert!(reply["updated"].get(id).is_some(), "{reply}");
    }

    /// The subjects of the results.
    async fn query(&self, filter: Value, sort: Value) -> Vec<&str> {
        let told = self.bob.call("Conversation/query", json!({"filter": filter, "sort": sort})).await;
        let ids = told["ids"].as_array().unwrap_or_else(|| panic!("{filter} {told}"));
        let subject = |id: &Value| self.ids.iter().find(|(_, one)| *one == id.as_str().unwrap()).unwrap().0;
        ids.iter().map(|id| subject(id).as_str()).collect()
    }
}

#[tokio::test]
async fn every_filter_finds_its_conversations() {
    let queues = queues().await;
    let bob = &queues.bob;
    let mut known = emails(bob).await;
    known.sort();
    let mailboxes = boxes(bob).await;
    let of = bob.call("Email/get", json!({"ids": [known[1]], "properties": ["threadId"]})).await;
    let thread = of["list"][0]["threadId"].clone();
    bob.call("Email/set", json!({"update": {&known[2]: {"keywords/$seen": true}}})).await;
    let any = json!(null);
    let table: Vec<(Value, &[&str])> = vec![
        (json!(null), &["Alpha", "Beta", "Gamma", "Delta"]),
        (json!({"ownerId": "me"}), &["Alpha", "Delta"]),
        (json!({"ownerId": bob.principal()}), &["Alpha", "Delta"]),
        (json!({"ownerId": queues.ann.principal()}), &[]),
        (json!({"ownerId": "none"}), &["Beta", "Gamma"]),
        (json!({"ownerId": null}), &["Beta", "Gamma"]),
        (json!({"hasOwner": true}), &["Alpha", "Delta"]),
        (json!({"hasOwner": false}), &["Beta", "Gamma"]),
        (json!({"ownerId": "me", "status": "open"}), &["Alpha"]),
        (json!({"ownerId": "none", "status": "open"}), &[]),
        (json!({"teamId": "none"}), &["Alpha", "Beta", "Gamma", "Delta"]),
        (json!({"watcherId": "me"}), &["Beta"]),
        (json!({"status": "pending"}), &["Beta"]),
        (json!({"tag": "vat"}), &["Alpha"]),
        (json!({"category": "billing"}), &["Beta"]),
        (json!({"category": null}), &["Alpha", "Gamma", "Delta"]),
        (json!({"resolution": "done"}), &["Delta"]),
        (json!({"priority": "urgent"}), &["Alpha"]),
        (json!({"isWaiting": true}), &["Alpha", "Beta", "Gamma"]),
        (json!({"isWaiting": true, "ownerId": "none"}), &["Beta", "Gamma"]),
        (json!({"isWaiting": false}), &["Delta"]),
        (json!({"waitingBefore": "2099-01-01T00:00:00Z"}), &["Alpha", "Beta", "Gamma"]),
        (json!({"waitingAfter": "2099-01-01T00:00:00Z"}), &[]),
        (json!({"snoozedAfter": "2098-01-01T00:00:00Z"}), &["Gamma"]),
        (json!({"snoozedBefore": "2098-01-01T00:00:00Z"}), &[]),
        (json!({"createdAfter": "2099-01-01T00:00:00Z"}), &[]),
        (json!({"updatedBefore": "2099-01-01T00:00:00Z"}), &["Alpha", "Beta", "Gamma", "Delta"]),
        (json!({"customer": "MARTA"}), &["Alpha", "Beta", "Gamma", "Delta"]),
        (json!({"customer": "nobody"}), &[]),
        (json!({"emailId": known[3]}), &["Delta"]),
        (json!({"emailId": "nonsense"}), &[]),
        (json!({"threadId": thread}), &["Beta"]),
        (json!({"inMailbox": mailboxes["Archive"]}), &["Delta"]),
        (json!({"inMailbox": mailboxes["Unassigned"]}), &["Beta", "Gamma"]),
        (json!({"hasUnseen": true}), &["Alpha", "Beta", "Delta"]),
        (json!({"hasUnseen": false}), &["Gamma"]),
        (
            json!({"operator": "OR", "conditions": [{"tag": "vat"}, {"emailId": known[1]}]}),
            &["Alpha", "Beta"],
        ),
        (
            json!({"operator": "NOT", "conditions": [{"inMailbox": mailboxes["Archive"]}]}),
            &["Alpha", "Beta", "Gamma"],
        ),
    ];
    for (filter, expected) in table {
        let mut found = queues.query(filter.clone(), any.clone()).await;
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{filter}");
    }
    // Words of a message find its conversation.
    let found = eventually("the text is found", async || {
        let found = queues.query(json!({"text": "three@customer.example"}), any.clone()).await;
        (found == ["Gamma"]).then_some(found)
    });
    found.await;
    queues.server.check();
}

#[tokio::test]
async fn every_sort_orders_both_ways_and_null_stands_last() {
    let queues = queues().await;
    let all = |property: &str, ascending: bool| {
        json!([
            {"property": property, "isAscending": ascending}, {"property": "createdAt", "isAscending": true}
        ])
    };
    let created = queues.query(json!(null), json!([{"property": "createdAt", "isAscending": false}])).await;
    let mut sorted = created.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["Alpha", "Beta", "Delta", "Gamma"]);
    assert_eq!(queues.query(json!(null), all("priority", false)).await[0], "Alpha");
    assert_eq!(queues.query(json!(null), all("priority", true)).await[3], "Alpha");
    for ascending in [true, false] {
        assert_eq!(queues.query(json!(null), all("snoozedUntil", ascending)).await[0], "Gamma");
        assert_eq!(queues.query(json!(null), all("waitingSince", ascending)).await[3], "Delta");
    }
    for property in ["lastInboundAt", "lastActivityAt"] {
        let one_way = queues.query(json!(null), json!([{"property": property, "isAscending": true}])).await;
        assert_eq!(one_way.len(), 4);
    }
    // Whoever waits, longest first, is a list of its own.
    let filter = json!({"isWaiting": true, "ownerId": "none"});
    let sort = json!([{"property": "waitingSince", "isAscending": true}]);
    let mut found = queues.query(filter.clone(), sort.clone()).await;
    found.sort_unstable();
    assert_eq!(found, ["Beta", "Gamma"]);
    let told = queues.bob.call("Conversation/query", json!({"filter": filter, "sort": sort})).await;
    assert_eq!(told["canCalculateChanges"], json!(true));
}

#[tokio::test]
async fn changes_of_a_filtered_and_sorted_queue_are_exact() {
    let queues = queues().await;
    let bob = &queues.bob;
    let asked = json!({
        "filter": {"operator": "NOT", "conditions": [{"status": "closed"}]},
        "sort": [{"property": "priority", "isAscending": false}, {"property": "createdAt", "isAscending": true}]
    });
    let before = bob.call("Conversation/query", asked.clone()).await;
    assert_eq!(before["canCalculateChanges"], json!(true));
    queues.update("Alpha", json!({"status": "closed"})).await;
    queues.update("Beta", json!({"priority": "high"})).await;
    let mut changes = asked.clone();
    changes["sinceQueryState"] = before["queryState"].clone();
    changes["calculateTotal"] = json!(true);
    let told = bob.call("Conversation/queryChanges", changes).await;
    let mut removed: Vec<&str> =
        told["removed"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    removed.sort_unstable();
    let mut expected = vec![queues.ids["Alpha"].as_str(), queues.ids["Beta"].as_str()];
    expected.sort_unstable();
    assert_eq!(removed, expected);
    assert_eq!(told["added"], json!([{"id": queues.ids["Beta"], "index": 0}]));
    assert_eq!(told["total"], json!(2));
    // What only the Emails' log tells can't be calculated, and the answer says so.
    let unseen = json!({"filter": {"hasUnseen": true}});
    let told = bob.call("Conversation/query", unseen).await;
    assert_eq!(told["canCalculateChanges"], json!(false));
}

#[tokio::test]
async fn the_usual_queues_are_counted_in_one_call() {
    let queues = queues().await;
    let bob = &queues.bob;
    let told = bob.call("Conversation/counts", json!({})).await;
    let state = bob.call("Conversation/get", json!({"ids": []})).await["state"].clone();
    let none = json!({"open": 0, "pending": 0, "snoozed": 0, "waiting": 0});
    let mut of_owners = json!({});
    for name in ["ann", "bob", "cat", "olaf"] {
        let client = queues.server.client(&format!("{name}@x.example")).await;
        of_owners[client.principal()] = none.clone();
    }
    of_owners[bob.principal()] = json!({"open": 1, "pending": 0, "snoozed": 0, "waiting": 1});
    assert_eq!(
        told,
        json!({
            "accountId": bob.account, "state": state,
            "all": {"open": 1, "pending": 1, "snoozed": 1, "closed": 1, "waiting": 3},
            "unowned": {"open": 0, "pending": 1, "snoozed": 1, "waiting": 2},
            "ofOwners": of_owners
        })
    );
}
