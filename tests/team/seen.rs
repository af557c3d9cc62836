//! `$seen`, `$muted` and `$followed` are each member's own (spec/decisions/002): what it is to the one,
//! and that the others hear nothing of it.

use super::*;

/// Counts of the Inbox: unreadEmails, unreadThreads.
async fn unread(client: &Client) -> (Value, Value) {
    let inbox = client.mailbox("inbox").await;
    let told = client.call_with(PLAIN, "Mailbox/get", json!({"ids": [inbox]})).await;
    (told["list"][0]["unreadEmails"].clone(), told["list"][0]["unreadThreads"].clone())
}

async fn keywords(client: &Client, email: &str) -> Value {
    let told =
        client.call_with(PLAIN, "Email/get", json!({"ids": [email], "properties": ["keywords"]})).await;
    told["list"][0]["keywords"].clone()
}

async fn states(client: &Client) -> [Value; 3] {
    let mut out = [Value::Null, Value::Null, Value::Null];
    for (at, kind) in ["Email", "Mailbox", "Thread"].into_iter().enumerate() {
        let told = client.call_with(PLAIN, &format!("{kind}/get"), json!({"ids": []})).await;
        out[at] = told["state"].clone();
    }
    out
}

/// The only Email, by whoever asks.
async fn only(client: &Client) -> String {
    let all = emails(client).await;
    assert_eq!(all.len(), 1);
    all[0].clone()
}

async fn mark(client: &Client, email: &str, keyword: &str, on: bool) -> Value {
    let value = if on { json!(true) } else { Value::Null };
    let patch = json!({(format!("keywords/{keyword}")): value});
    client.call_with(PLAIN, "Email/set", json!({"update": {email: patch}})).await
}

#[tokio::test]
async fn reading_is_a_members_own_and_moves_nobody_elses_state_counts_or_push() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let email = only(&ann).await;
    let (anns, bobs) = (states(&ann).await, states(&bob).await);
    assert_eq!(anns, bobs, "nobody has read anything yet");
    let mut told_to_bob = bob.events("types=Email,Mailbox,Thread&closeafter=no&ping=0").await;
    let mut told_to_ann = ann.events("types=Email,Mailbox,Thread&closeafter=no&ping=0").await;
    told_to_bob.next().await.unwrap();
    told_to_ann.next().await.unwrap();
    let reply = mark(&ann, &email, "$seen", true).await;
    assert_set(&reply, json!({"updated": {&email: null}}));
    assert_eq!((&reply["oldState"], reply["newState"] == anns[0]), (&anns[0], false));
    assert_eq!(keywords(&ann, &email).await, json!({"$seen": true}));
    assert_eq!(keywords(&bob, &email).await, json!({}));
    assert_eq!(unread(&ann).await, (json!(0), json!(0)));
    assert_eq!(unread(&bob).await, (json!(1), json!(1)));
    assert_eq!(states(&bob).await, bobs);
    let [email_state, mailbox_state, _] = states(&ann).await;
    let (_, data) = told_to_ann.event().await;
    let changed = json!({&ann.account: {"Mailbox": mailbox_state, "Email": email_state}});
    assert_eq!(data, json!({"@type": "StateChange", "changed": changed}));
    // Bob hears of the next message, and of nothing before it.
    deliver(&server, "two", None, "Delivery").await;
    let (_, data) = told_to_bob.event().await;
    assert_eq!(data["changed"][&bob.account]["Email"], states(&bob).await[0]);
    let since = json!({"sinceState": bobs[0]});
    let changes = bob.call_with(PLAIN, "Email/changes", since).await;
    assert_eq!((changes["created"].as_array().unwrap().len(), &changes["updated"]), (1, &json!([])));
}

#[tokio::test]
async fn changes_of_the_reader_merge_what_is_theirs_with_what_is_everybodys() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    deliver(&server, "two", None, "Delivery").await;
    let all = emails(&ann).await;
    let [before, mailboxes, _] = states(&ann).await;
    mark(&ann, &all[0], "$seen", true).await;
    mark(&bob, &all[1], "$flagged", true).await;
    mark(&bob, &all[1], "$seen", true).await;
    let now = states(&ann).await;
    let changes = ann.call_with(PLAIN, "Email/changes", json!({"sinceState": before, "maxChanges": 1})).await;
    assert_eq!(
        (&changes["updated"], &changes["hasMoreChanges"], &changes["oldState"]),
        (&json!([all[0]]), &json!(true), &before)
    );
    let rest = ann.call_with(PLAIN, "Email/changes", json!({"sinceState": changes["newState"]})).await;
    assert_eq!((&rest["updated"], &rest["newState"]), (&json!([all[1]]), &now[0]));
    let told = ann.call_with(PLAIN, "Mailbox/changes", json!({"sinceState": mailboxes})).await;
    assert_eq!(
        told["updatedProperties"],
        json!(["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"])
    );
    // ifInState compares the pair: what Bob read in between is nothing to Ann.
    mark(&bob, &all[0], "$seen", true).await;
    let patch = json!({"ifInState": now[0], "update": {&all[0]: {"keywords/$seen": null}}});
    let reply = ann.call_with(PLAIN, "Email/set", patch).await;
    assert_set(&reply, json!({"updated": {&all[0]: null}}));
    let patch = json!({"ifInState": now[0], "update": {&all[0]: {"keywords/$seen": true}}});
    assert_eq!(ann.call_with(PLAIN, "Email/set", patch).await["type"], "stateMismatch");
}

#[tokio::test]
async fn filters_and_sorts_by_seen_are_the_readers_and_their_changes_are_exact() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    deliver(&server, "two", Some("one"), "Re: Invoice").await;
    let all = emails(&ann).await;
    let unseen = json!({"filter": {"notKeyword": "$seen"}, "sort": [{"property": "receivedAt"}]});
    let query = |client: Client, arguments: Value| async move {
        client.call_with(PLAIN, "Email/query", arguments).await
    };
    let (anns, bobs) = (query(ann.clone(), unseen.clone()).await, query(bob.clone(), unseen.clone()).await);
    assert_eq!((&anns["ids"], &bobs["ids"]), (&json!(all), &json!(all)));
    mark(&ann, &all[0], "$seen", true).await;
    assert_eq!(query(ann.clone(), unseen.clone()).await["ids"], json!([all[1]]));
    let later = query(bob.clone(), unseen.clone()).await;
    assert_eq!((&later["ids"], &later["queryState"]), (&json!(all), &bobs["queryState"]));
    let mut since = unseen.clone();
    since["sinceQueryState"] = anns["queryState"].clone();
    let changes = ann.call_with(PLAIN, "Email/queryChanges", since).await;
    assert_eq!((&changes["removed"], &changes["added"]), (&json!([all[0]]), &json!([])));
    let whole = json!({"filter": {"allInThreadHaveKeyword": "$seen"}});
    mark(&ann, &all[1], "$seen", true).await;
    assert_eq!(query(ann.clone(), whole.clone()).await["ids"], json!([all[1], all[0]]));
    assert_eq!(query(bob.clone(), whole).await["ids"], json!([]));
}

#[tokio::test]
async fn what_came_before_one_joined_is_seen_and_what_the_team_sends_is_seen_for_all() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    deliver(&server, "one", None, "Invoice").await;
    server.person("dora@x.example", "Dora");
    server.json(&["inbox", "member", "add", SUPPORT, "dora@x.example:agent"]);
    let dora = server.client("dora@x.example").await;
    let email = only(&dora).await;
    assert_eq!(keywords(&dora, &email).await, json!({"$seen": true}));
    assert_eq!((unread(&dora).await, unread(&bob).await), ((json!(0), json!(0)), (json!(1), json!(1))));
    // It can be marked unread like any other.
    mark(&dora, &email, "$seen", false).await;
    assert_eq!(unread(&dora).await, (json!(1), json!(1)));
    deliver(&server, "two", Some("one"), "Re: Invoice").await;
    assert_eq!(unread(&dora).await, (json!(2), json!(1)));
    let sent = draft(&bob, Some("two"), "Re: Invoice", "Paid.").await;
    let reply = submit(&bob, &sent).await;
    assert!(reply["created"]["s"]["id"].is_string(), "{reply}");
    assert_eq!(keywords(&dora, &sent).await["$seen"], true);
    // Whoever leaves and comes back begins anew.
    server.json(&["inbox", "member", "remove", SUPPORT, "dora@x.example"]);
    server.json(&["inbox", "member", "add", SUPPORT, "dora@x.example:agent"]);
    assert_eq!(keywords(&dora, &email).await, json!({"$seen": true}));
    assert_eq!(unread(&dora).await, (json!(0), json!(0)));
    server.check();
}

#[tokio::test]
async fn muted_and_followed_are_a_members_own_and_an_observer_may_mark() {
    let server = office().await;
    let (bob, olaf) = (server.client("bob@x.example").await, server.client("olaf@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let email = only(&bob).await;
    for keyword in ["$seen", "$muted", "$followed"] {
        assert_set(&mark(&olaf, &email, keyword, true).await, json!({"updated": {&email: null}}));
    }
    let own = json!({"$seen": true, "$muted": true, "$followed": true});
    assert_eq!((keywords(&olaf, &email).await, keywords(&bob, &email).await), (own, json!({})));
    let muted = json!({"filter": {"hasKeyword": "$muted"}});
    assert_eq!(olaf.call_with(PLAIN, "Email/query", muted.clone()).await["ids"], json!([email]));
    assert_eq!(bob.call_with(PLAIN, "Email/query", muted).await["ids"], json!([]));
    let refused = mark(&olaf, &email, "$flagged", true).await;
    assert_eq!(refused["notUpdated"][&email]["type"], "forbidden");
    mark(&olaf, &email, "$muted", false).await;
    assert_eq!(keywords(&olaf, &email).await, json!({"$seen": true, "$followed": true}));
    // A colleague's draft can be read, too.
    let written = draft(&bob, Some("one"), "Re: Invoice", "Soon.").await;
    assert_set(&mark(&olaf, &written, "$seen", true).await, json!({"updated": {&written: null}}));
    server.check();
}

#[tokio::test]
async fn seen_can_be_shared_and_the_switch_leaves_no_client_with_what_was() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let email = only(&ann).await;
    mark(&ann, &email, "$seen", true).await;
    let (before, mailboxes) = (states(&bob).await[0].clone(), states(&bob).await[1].clone());
    let patch = json!({"update": {"singleton": {"sharedSeen": true}}});
    assert_set(&ann.call("InboxSettings/set", patch).await, json!({"updated": {"singleton": null}}));
    for (method, since) in [("Email/changes", &before), ("Mailbox/changes", &mailboxes)] {
        let told = bob.call_with(PLAIN, method, json!({"sinceState": since})).await;
        assert_eq!(told["type"], "cannotCalculateChanges", "{method}");
    }
    assert_eq!((unread(&ann).await, unread(&bob).await), ((json!(1), json!(1)), (json!(1), json!(1))));
    mark(&bob, &email, "$seen", true).await;
    assert_eq!(keywords(&ann, &email).await, json!({"$seen": true}));
    assert_eq!((unread(&ann).await, unread(&bob).await), ((json!(0), json!(0)), (json!(0), json!(0))));
    let patch = json!({"update": {"singleton": {"sharedSeen": false}}});
    ann.call("InboxSettings/set", patch).await;
    mark(&ann, &email, "$seen", false).await;
    assert_eq!((unread(&ann).await, unread(&bob).await), ((json!(1), json!(1)), (json!(0), json!(0))));
    server.check();
}

#[tokio::test]
async fn a_copy_into_ones_own_account_has_the_keywords_that_one_sees() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let email = only(&ann).await;
    mark(&ann, &email, "$seen", true).await;
    for (client, seen) in [(&ann, json!({"$seen": true})), (&bob, json!({}))] {
        let own = client.own();
        let create = json!({"c": {"id": email, "mailboxIds": {own.mailbox("inbox").await: true}}});
        let copy = json!({"fromAccountId": client.account, "create": create});
        let reply = own.call_with(PLAIN, "Email/copy", copy).await;
        let id = reply["created"]["c"]["id"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
        assert_eq!(keywords(&own, &id).await, seen);
    }
}
