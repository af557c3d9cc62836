//! Merge, its undo, and split: what members and clients that sync page by page see of them.

use super::*;
use crate::support::TEAM;

/// Two conversations of one customer, oldest first, and Bob and Ann who work them.
async fn two() -> (TestServer, Client, Client, [String; 2]) {
    let server = office().await;
    deliver(&server, "one", None, "Invoice").await;
    deliver(&server, "two", None, "Invoice again").await;
    let (bob, ann) = (server.client("bob@x.example").await, server.client("ann@x.example").await);
    let found = bob.call("Conversation/query", json!({})).await;
    let mut ids: Vec<String> = serde_json::from_value(found["ids"].clone()).unwrap();
    // Numbers are given in the order of creation, dates may be equal.
    ids.sort();
    let [one, two] = ids.try_into().unwrap();
    (server, bob, ann, [one, two])
}

/// All Emails in the order of their numbers.
async fn in_order(client: &Client) -> Vec<String> {
    let mut known = emails(client).await;
    known.sort();
    known
}

async fn get(client: &Client, id: &str) -> Value {
    let asked = json!({"ids": [id], "properties": [
        "status", "ownerId", "mergedIntoId", "messageCount", "noteCount", "emailIds", "threadIds",
        "waitingSince", "version", "subject"
    ]});
    client.call("Conversation/get", asked).await["list"][0].clone()
}

/// Conversation/set of one conversation: what it became, or why not.
async fn update(client: &Client, id: &str, patch: Value) -> Result<Value, Value> {
    let reply = client.call("Conversation/set", json!({"update": {id: patch}})).await;
    match reply["updated"].get(id) {
        Some(updated) => Ok(updated.clone()),
        None => Err(reply["notUpdated"][id].clone()),
    }
}

async fn kinds(client: &Client, id: &str) -> Vec<String> {
    let sort = json!([{"property": "at", "isAscending": true}]);
    let asked = json!({"filter": {"conversationId": id}, "sort": sort});
    let ids = client.call("Activity/query", asked).await["ids"].take();
    let told = client.call("Activity/get", json!({"ids": ids, "properties": ["type"]})).await;
    told["list"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_merge_moves_messages_and_notes_ends_locks_and_is_told_in_every_change() {
    let (server, bob, _, [one, two]) = two().await;
    let known = in_order(&bob).await;
    let note =
        bob.call("Note/set", json!({"create": {"n": {"conversationId": two, "body": "Twice?"}}})).await;
    let note = note["created"]["n"]["id"].clone();
    bob.call("ReplyLock/set", json!({"create": {"l": {"conversationId": two}}})).await;
    let mut states = json!({});
    for kind in ["Conversation", "Email", "Note", "ReplyLock"] {
        states[kind] = bob.call(&format!("{kind}/get"), json!({"ids": []})).await["state"].clone();
    }
    let open = json!({"filter": {"status": "open"}});
    let query_state = bob.call("Conversation/query", open.clone()).await["queryState"].clone();

    assert!(update(&bob, &two, json!({"mergedIntoId": one})).await.is_ok());
    let (target, source) = (get(&bob, &one).await, get(&bob, &two).await);
    assert_eq!(
        (&target["emailIds"], &target["messageCount"], &target["noteCount"]),
        (&json!(known), &json!(2), &json!(1))
    );
    assert_eq!(
        (&source["emailIds"], &source["messageCount"], &source["mergedIntoId"]),
        (&json!([]), &json!(0), &json!(one))
    );
    let of = bob.call("Email/get", json!({"ids": known, "properties": ["conversationId"]})).await;
    for email in of["list"].as_array().unwrap() {
        assert_eq!(email["conversationId"], json!(one));
    }
    let notes = bob.call("Note/query", json!({"filter": {"conversationId": one}})).await;
    assert_eq!(notes["ids"], json!([note]));

    let since = async |kind: &str| {
        let told = bob.call(&format!("{kind}/changes"), json!({"sinceState": states[kind]})).await;
        let sorted = |name: &str| {
            let mut ids: Vec<String> = serde_json::from_value(told[name].clone()).unwrap();
            ids.sort();
            ids
        };
        (sorted("created"), sorted("updated"), sorted("destroyed"))
    };
    let none = Vec::<String>::new;
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(since("Conversation").await, (none(), both, none()));
    assert_eq!(since("Email").await, (none(), vec![known[1].clone()], none()));
    assert_eq!(since("Note").await.1, vec![note.as_str().unwrap().to_owned()]);
    assert_eq!(since("ReplyLock").await.2.len(), 1, "the lock of what was merged ends");
    let mut changes = open.clone();
    changes["sinceQueryState"] = query_state;
    let told = bob.call("Conversation/queryChanges", changes).await;
    let removed: Vec<String> = serde_json::from_value(told["removed"].clone()).unwrap();
    assert!(removed.contains(&two), "{told}");
    assert_eq!(told["total"], json!(null));
    assert_eq!(bob.call("Conversation/query", open).await["ids"], json!([one]));
    assert_eq!(kinds(&bob, &two).await.last().unwrap(), "mergedInto");
    assert!(kinds(&bob, &one).await.contains(&"merged".to_owned()));
    let refused = update(&bob, &two, json!({"status": "closed"})).await.unwrap_err();
    assert_eq!(
        refused,
        json!({"type": "forbidden", "description": "The conversation was merged into another one; work on that one."})
    );
    server.check();
}

#[tokio::test]
async fn an_undone_merge_takes_back_its_messages_and_what_arrived_since_on_their_threads() {
    let (server, bob, _, [one, two]) = two().await;
    let before = get(&bob, &two).await;
    assert!(update(&bob, &two, json!({"mergedIntoId": one})).await.is_ok());
    deliver(&server, "three", Some("two"), "Re: Invoice again").await;
    deliver(&server, "four", Some("one"), "Re: Invoice").await;
    let all = in_order(&bob).await;
    assert_eq!(get(&bob, &one).await["emailIds"], json!(all));
    assert!(update(&bob, &two, json!({"mergedIntoId": null})).await.is_ok());
    let (target, source) = (get(&bob, &one).await, get(&bob, &two).await);
    assert_eq!(target["emailIds"], json!([all[0], all[3]]));
    assert_eq!(source["emailIds"], json!([all[1], all[2]]));
    for (name, value) in
        [("mergedIntoId", json!(null)), ("messageCount", json!(2)), ("status", json!("open"))]
    {
        assert_eq!(source[name], value);
    }
    assert_eq!(source["waitingSince"], before["waitingSince"]);
    assert_ne!(source["version"], before["version"]);
    // Its threads are its own again.
    deliver(&server, "five", Some("three"), "Re: Invoice again").await;
    assert_eq!(get(&bob, &two).await["messageCount"], json!(3));
    assert_eq!(kinds(&bob, &one).await.iter().filter(|kind| *kind == "mergeUndone").count(), 1);
    assert_eq!(kinds(&bob, &two).await.iter().filter(|kind| *kind == "mergeUndone").count(), 1);
    let again = update(&bob, &two, json!({"mergedIntoId": null})).await;
    assert_eq!(again, Ok(json!(null)), "what is said already says nothing");
    server.check();
}

#[tokio::test]
async fn a_message_that_bridges_two_conversations_says_which_and_a_client_merges_them() {
    let (server, bob, _, [one, two]) = two().await;
    let text = message("three@customer.example", CUSTOMER, SUPPORT, "Re: Invoice again", "It is about both.");
    let text = format!(
        "References: <one@customer.example> <two@customer.example>\r\nIn-Reply-To: <two@customer.example>\r\n{text}"
    );
    assert!(server.deliver(CUSTOMER, &[SUPPORT], &text).await.starts_with("250 "));
    let known = in_order(&bob).await;
    let asked = json!({"ids": [known[2]], "properties": ["conversationId", "threading"]});
    let told = bob.call("Email/get", asked).await["list"].take();
    let threading = json!({
        "decidedBy": "reference", "emailId": known[1], "alsoConversationIds": [one], "isStranger": false,
        "hasFailedAuthentication": false, "forgedReferences": [], "cameBackAt": null
    });
    assert_eq!(told, json!([{"id": known[2], "conversationId": two, "threading": threading}]));
    let offered = told[0]["threading"]["alsoConversationIds"][0].as_str().unwrap();
    assert!(update(&bob, offered, json!({"mergedIntoId": two})).await.is_ok());
    assert_eq!(get(&bob, &two).await["emailIds"], json!(known));
    // What belongs together by now bridges nothing.
    deliver(&server, "four", Some("three"), "Re: Invoice again").await;
    let last = in_order(&bob).await.pop().unwrap();
    let asked = json!({"ids": [last], "properties": ["threading"]});
    let told = bob.call("Email/get", asked).await["list"].take();
    assert_eq!(told[0]["threading"]["alsoConversationIds"], json!([]));
    server.check();
}

#[tokio::test]
async fn merges_of_merges_are_undone_in_any_order() {
    let (server, bob, _, [one, two]) = two().await;
    deliver(&server, "three", None, "Invoice once more").await;
    let list = bob.call("Conversation/get", json!({"ids": null, "properties": ["subject"]})).await;
    let three = list["list"].as_array().unwrap().iter().find(|one| one["subject"] == "Invoice once more");
    let three = three.unwrap()["id"].as_str().unwrap().to_owned();
    assert!(update(&bob, &three, json!({"mergedIntoId": two})).await.is_ok());
    let into_itself = update(&bob, &two, json!({"mergedIntoId": two})).await.unwrap_err();
    assert_eq!(into_itself["properties"], json!(["mergedIntoId"]));
    assert!(update(&bob, &two, json!({"mergedIntoId": one})).await.is_ok());
    let known = in_order(&bob).await;
    assert_eq!(get(&bob, &one).await["emailIds"], json!(known));
    let into_merged = update(&bob, &one, json!({"mergedIntoId": two})).await.unwrap_err();
    assert_eq!(into_merged["properties"], json!(["mergedIntoId"]));
    // The inner one first, although what it went into has nothing any more.
    assert!(update(&bob, &three, json!({"mergedIntoId": null})).await.is_ok());
    assert_eq!(get(&bob, &three).await["emailIds"], json!([known[2]]));
    assert!(update(&bob, &two, json!({"mergedIntoId": null})).await.is_ok());
    assert_eq!(get(&bob, &two).await["emailIds"], json!([known[1]]));
    assert_eq!(get(&bob, &one).await["emailIds"], json!([known[0]]));
    server.check();
}

#[tokio::test]
async fn a_split_makes_a_conversation_of_chosen_messages() {
    let (server, bob, _, [one, _]) = two().await;
    deliver(&server, "three", Some("one"), "Re: Invoice").await;
    deliver(&server, "four", Some("one"), "Another matter").await;
    update(&bob, &one, json!({"ownerId": bob.principal(), "tags": {"vat": true}})).await.unwrap();
    let known = in_order(&bob).await;
    let create = json!({"create": {"s": {"emailIds": [known[3]], "subject": "Another matter"}}});
    let reply = bob.call("Conversation/set", create).await;
    let made = reply["created"]["s"].clone();
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
    for (name, value) in [
        ("subject", json!("Another matter")),
        ("ownerId", json!(bob.principal())),
        ("tags", json!({"vat": true})),
        ("status", json!("open")),
        ("messageCount", json!(1)),
        ("mergedIntoId", json!(null)),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    assert_eq!(get(&bob, &id).await["emailIds"], json!([known[3]]));
    assert_eq!(get(&bob, &one).await["emailIds"], json!([known[0], known[2]]));
    assert_eq!(places(&bob, &known[3]).await, set(&["Inbox", "Assigned/Bob"]));
    // An answer goes to the conversation of the message that it references; one that references
    // nothing known goes to the newest of its Thread.
    deliver(&server, "five", Some("four"), "Re: Another matter").await;
    deliver(&server, "six", Some("three"), "Re: Invoice").await;
    assert_eq!(get(&bob, &id).await["messageCount"], json!(2));
    assert_eq!(get(&bob, &one).await["messageCount"], json!(3));
    assert_eq!(kinds(&bob, &id).await[0], "created");
    assert!(kinds(&bob, &one).await.contains(&"splitOff".to_owned()));
    // At least one message stays where it was; messages of two conversations make no one.
    let all_of_it = get(&bob, &id).await["emailIds"].clone();
    for (emails, name) in [(all_of_it, "all"), (json!([known[0], known[1]]), "two"), (json!([]), "none")] {
        let reply = bob.call("Conversation/set", json!({"create": {"s": {"emailIds": emails}}})).await;
        let refused = &reply["notCreated"]["s"];
        let told = (&refused["type"], &refused["properties"]);
        assert_eq!(told, (&json!("invalidProperties"), &json!(["emailIds"])), "{name}");
    }
    server.check();
}

#[tokio::test]
async fn merging_what_another_owns_needs_a_lead_and_an_observer_merges_and_splits_nothing() {
    let (server, bob, ann, [one, two]) = two().await;
    let olaf = server.client("olaf@x.example").await;
    let cat = server.client("cat@x.example").await;
    for (patch, id) in [(json!({"mergedIntoId": one}), &two), (json!({"mergedIntoId": two}), &one)] {
        assert_eq!(update(&olaf, id, patch).await.unwrap_err()["type"], "forbidden");
    }
    let known = in_order(&bob).await;
    deliver(&server, "three", Some("one"), "Re: Invoice").await;
    let split = json!({"create": {"s": {"emailIds": [known[0]]}}});
    assert_eq!(olaf.call("Conversation/set", split).await["notCreated"]["s"]["type"], "forbidden");
    update(&cat, &two, json!({"ownerId": cat.principal()})).await.unwrap();
    let refused = update(&bob, &two, json!({"mergedIntoId": one})).await.unwrap_err();
    assert_eq!(
        refused,
        json!({"type": "forbidden", "description": "Somebody else owns that conversation; merging it needs a lead."})
    );
    assert!(update(&ann, &two, json!({"mergedIntoId": one})).await.is_ok());
    let stale = json!({"update": {&two: {"mergedIntoId": null}}, "ifVersion": {&two: "1"}});
    let reply = bob.call("Conversation/set", stale).await;
    let version = get(&bob, &two).await["version"].clone();
    let refused = &reply["notUpdated"][&two];
    assert_eq!((&refused["type"], &refused["version"]), (&json!("versionMismatch"), &version));
    server.check();
}

#[tokio::test]
async fn a_reply_that_rests_on_the_time_before_a_merge_is_blocked_and_knows_the_replies_there() {
    let (server, bob, ann, [one, two]) = two().await;
    let before = get(&bob, &two).await["version"].clone();
    // Ann answers the second one; then it goes into the first.
    let hers = draft(&ann, Some("two"), "Re: Invoice again", "Done.").await;
    assert!(submit(&ann, &hers).await["created"]["s"]["id"].is_string());
    let his = draft(&bob, Some("two"), "Re: Invoice again", "Sorted.").await;
    assert!(update(&ann, &two, json!({"mergedIntoId": one})).await.is_ok());
    let create = json!({"create": {"s": {
        "emailId": his, "identityId": identity(&bob).await, "ifVersion": before
    }}});
    let reply = bob.call_with(TEAM, "EmailSubmission/set", create).await;
    let refused = &reply["notCreated"]["s"];
    assert_eq!(
        (&refused["type"], &refused["level"], &refused["emailIds"]),
        (&json!("conversationChanged"), &json!("block"), &json!([hers])),
        "{reply}"
    );
    let reasons: Vec<String> = serde_json::from_value(refused["reasons"].clone()).unwrap();
    assert!(reasons.contains(&"merged".to_owned()) && reasons.contains(&"reply".to_owned()), "{refused}");
    // A plain client is told of her reply, too, although it went out in the other conversation.
    let refused = submit(&bob, &his).await["notCreated"]["s"].clone();
    assert_eq!(refused["type"], "forbiddenToSend");
    server.check();
}
