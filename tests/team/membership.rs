//! People join, leave, take another role and are shut out while they are connected: what it is from the
//! transaction on (RFC 9670; spec/README.md).

use super::*;
use crate::support::relay::Relay;
use crate::support::sending::{envelope, made, place_text, submission};

const PRINCIPALS: &[&str] =
    &["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail", "urn:ietf:params:jmap:principals"];

fn member(server: &TestServer, what: &str, who: &str) {
    server.json(&["inbox", "member", what, SUPPORT, who]);
}

/// The notifications of a person, oldest first.
async fn notifications(client: &Client) -> Vec<Value> {
    let own = client.own();
    let sort = json!([{"property": "created", "isAscending": true}]);
    let found = own.call_with(PRINCIPALS, "ShareNotification/query", json!({"sort": sort})).await;
    let told = own.call_with(PRINCIPALS, "ShareNotification/get", json!({"ids": found["ids"]})).await;
    told["list"].as_array().unwrap_or_else(|| panic!("{told}")).clone()
}

async fn session(client: &Client) -> Value {
    client.get("/.well-known/jmap").await.json()
}

fn rights(works: bool) -> Value {
    json!({
        "mayReadItems": true, "mayAddItems": works, "mayRemoveItems": works, "maySetSeen": true,
        "maySetKeywords": works, "mayCreateChild": works, "mayRename": false, "mayDelete": false,
        "maySubmit": works
    })
}

#[tokio::test]
async fn whoever_joins_has_the_account_in_the_session_is_told_once_and_sees_the_kept_mailboxes() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    bob.call("Mailbox/set", json!({"create": {"f": {"name": "Of Bob"}}})).await;
    server.person("dora@x.example", "Dora");
    let dora = server.client("dora@x.example").await;
    let before = dora.session.clone();
    let mut events = dora.events("types=ShareNotification,Mailbox&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    member(&server, "add", "dora@x.example:agent");
    let after = session(&dora).await;
    assert_ne!(before["state"], after["state"]);
    assert_eq!(after["accounts"][&bob.account]["isPersonal"], false);
    let mut heard = json!({});
    while heard[&dora.account].is_null() || heard[&bob.account].is_null() {
        let (_, data) = events.event().await;
        let changed = data["changed"].as_object().unwrap();
        changed.iter().for_each(|(account, types)| heard[account] = types.clone());
    }
    assert!(heard[&dora.account]["ShareNotification"].is_string(), "{heard}");
    let told = notifications(&dora).await;
    assert_eq!(
        json!(told),
        json!([{
            "id": told[0]["id"], "created": told[0]["created"],
            "changedBy": {"name": "The operator of the server", "email": null, "principalId": null},
            "objectType": "Mailbox", "objectAccountId": bob.account, "objectId": bob.mailbox("inbox").await,
            "oldRights": null, "newRights": rights(true), "name": SUPPORT
        }])
    );
    let at = dora.at(&bob.account);
    let told = at.call_with(PLAIN, "Mailbox/get", json!({"ids": null})).await;
    for mailbox in told["list"].as_array().unwrap() {
        assert_eq!(mailbox["isSubscribed"], json!(mailbox["name"] != "Of Bob"), "{mailbox}");
    }
}

#[tokio::test]
async fn subscriptions_are_each_members_own_and_the_inbox_stays() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let made = bob.call("Mailbox/set", json!({"create": {"f": {"name": "Of Bob"}}})).await;
    let folder = made["created"]["f"]["id"].as_str().unwrap().to_owned();
    let subscribed = async |client: &Client, id: &str| {
        let get = json!({"ids": [id], "properties": ["isSubscribed"]});
        client.call_with(PLAIN, "Mailbox/get", get).await["list"][0]["isSubscribed"].clone()
    };
    assert_eq!(
        (subscribed(&ann, &folder).await, subscribed(&bob, &folder).await),
        (json!(false), json!(true))
    );
    let state = bob.call_with(PLAIN, "Mailbox/get", json!({"ids": []})).await["state"].clone();
    let archive = ann.mailbox("archive").await;
    let patch = json!({"update": {&archive: {"isSubscribed": false}, &folder: {"isSubscribed": true}}});
    let reply = ann.call_with(PLAIN, "Mailbox/set", patch).await;
    assert_set(&reply, json!({"updated": {&archive: null, &folder: null}}));
    let changes = ann.call_with(PLAIN, "Mailbox/changes", json!({"sinceState": reply["oldState"]})).await;
    let mut updated: Vec<&str> =
        changes["updated"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    updated.sort_unstable();
    let mut both = [archive.as_str(), folder.as_str()];
    both.sort_unstable();
    assert_eq!((updated, &changes["updatedProperties"]), (both.to_vec(), &Value::Null));
    assert_eq!(bob.call_with(PLAIN, "Mailbox/get", json!({"ids": []})).await["state"], state);
    assert_eq!(
        (subscribed(&ann, &archive).await, subscribed(&bob, &archive).await),
        (json!(false), json!(true))
    );
    let filter = json!({"filter": {"isSubscribed": false}});
    assert_eq!(ann.call_with(PLAIN, "Mailbox/query", filter.clone()).await["ids"], json!([archive]));
    assert_eq!(bob.call_with(PLAIN, "Mailbox/query", filter).await["ids"], json!([]));
    let inbox = ann.mailbox("inbox").await;
    let patch = json!({"update": {&inbox: {"isSubscribed": false}}});
    let reply = ann.call_with(PLAIN, "Mailbox/set", patch).await;
    assert_eq!(reply["notUpdated"][&inbox]["type"], "forbidden");
}

#[tokio::test]
async fn whoever_leaves_loses_everything_at_once_and_what_they_held_is_free() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    let claim = json!({"update": {&id: {"ownerId": bob.principal()}}});
    let claimed = bob.call("Conversation/set", claim).await;
    assert!(claimed["updated"][&id]["version"].is_string(), "{claimed}");
    let lock = bob.call("ReplyLock/set", json!({"create": {"l": {"conversationId": id}}})).await;
    assert!(lock["created"]["l"]["token"].is_number(), "{lock}");
    let waits = draft(&bob, Some("one"), "Re: Invoice", "Later.").await;
    let envelope = envelope(SUPPORT, &[CUSTOMER], json!({"HOLDFOR": "3600"}));
    let create = json!({"s": {"emailId": waits, "identityId": identity(&bob).await, "envelope": envelope}});
    let scheduled = made(&bob.call("EmailSubmission/set", json!({"create": create})).await);
    let written = draft(&bob, Some("one"), "Re: Invoice", "Half a").await;
    let refused = ann.call("Email/set", json!({"update": {&written: {"keywords/$flagged": true}}})).await;
    assert_eq!(refused["notUpdated"][&written]["type"], "forbidden", "the author is still here");
    let before = session(&bob).await;

    member(&server, "remove", "bob@x.example");
    let (ids, since) = (json!({"ids": []}), json!({"sinceState": "s1"}));
    for (method, arguments) in [("Email/get", &ids), ("Conversation/get", &ids), ("Mailbox/changes", &since)]
    {
        let told = bob.call(method, arguments.clone()).await;
        assert_eq!(told["type"], "accountNotFound", "{method}");
    }
    let after = session(&bob).await;
    assert_ne!(before["state"], after["state"]);
    assert!(after["accounts"][&bob.account].is_null());
    let told = notifications(&bob).await;
    let last = told.last().unwrap();
    assert_eq!(
        (&last["objectAccountId"], &last["oldRights"], &last["newRights"]),
        (&json!(bob.account), &rights(true), &Value::Null)
    );
    assert_eq!(conversation(&ann).await["ownerId"], Value::Null);
    assert_eq!(ann.call("ReplyLock/get", json!({"ids": null})).await["list"], json!([]));
    assert_eq!(submission(&ann, &scheduled).await["undoStatus"], "canceled");
    assert!(place_text(&ann, &waits).await.starts_with("drafts "));
    // Drafts pass to the leads, to nobody else.
    let cat = server.client("cat@x.example").await;
    let patch = json!({"update": {&written: {"keywords/$flagged": true}}});
    assert_eq!(cat.call("Email/set", patch.clone()).await["notUpdated"][&written]["type"], "forbidden");
    assert_set(&ann.call("Email/set", patch).await, json!({"updated": {&written: null}}));
    let sent = submit(&ann, &written).await;
    assert!(sent["created"]["s"]["id"].is_string(), "{sent}");
    server.check();
}

#[tokio::test]
async fn another_role_is_told_where_it_changes_rights_and_ends_what_it_no_longer_allows() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    bob.call("Conversation/set", json!({"update": {&id: {"ownerId": bob.principal()}}})).await;
    let known = notifications(&bob).await.len();
    member(&server, "add", "bob@x.example:lead");
    assert_eq!(notifications(&bob).await.len(), known, "a lead has the rights of an agent");
    member(&server, "add", "bob@x.example:observer");
    let told = notifications(&bob).await;
    assert_eq!(
        (told.len(), &told[known]["oldRights"], &told[known]["newRights"]),
        (known + 1, &rights(true), &rights(false))
    );
    assert_eq!(conversation(&ann).await["ownerId"], Value::Null);
    let claim = json!({"update": {&id: {"ownerId": bob.principal()}}});
    assert_eq!(bob.call("Conversation/set", claim).await["notUpdated"][&id]["type"], "forbidden");
    let shared = ann.call_with(
        PRINCIPALS,
        "Mailbox/get",
        json!({"ids": [ann.mailbox("inbox").await], "properties": ["shareWith"]}),
    );
    let shared = shared.await["list"][0]["shareWith"].clone();
    assert_eq!((&shared[&bob.principal()], &shared[&ann.principal()]), (&rights(false), &rights(true)));
}

#[tokio::test]
async fn whoever_is_disabled_owns_and_holds_nothing_and_their_channels_end() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    deliver(&server, "one", None, "Invoice").await;
    let id = conversation(&bob).await["id"].as_str().unwrap().to_owned();
    bob.call("Conversation/set", json!({"update": {&id: {"ownerId": bob.principal()}}})).await;
    bob.call("ReplyLock/set", json!({"create": {"l": {"conversationId": id}}})).await;
    let mut events = bob.events("types=*&closeafter=no&ping=0").await;
    events.next().await.unwrap();
    server.json(&["person", "disable", "bob@x.example"]);
    assert_eq!(events.next().await, None);
    assert_eq!(bob.get("/.well-known/jmap").await.status, 401);
    assert_eq!(conversation(&ann).await["ownerId"], Value::Null);
    assert_eq!(ann.call("ReplyLock/get", json!({"ids": null})).await["list"], json!([]));
    server.check();
}

#[tokio::test]
async fn notifications_are_found_synced_and_destroyed_and_nothing_else() {
    let server = office().await;
    server.person("dora@x.example", "Dora");
    let dora = server.client("dora@x.example").await.own();
    let begin = dora.call_with(PRINCIPALS, "ShareNotification/get", json!({"ids": null})).await;
    assert_eq!(begin["list"], json!([]));
    for role in ["observer", "agent"] {
        member(&server, "add", &format!("dora@x.example:{role}"));
    }
    let told = notifications(&dora).await;
    let ids: Vec<&str> = told.iter().map(|one| one["id"].as_str().unwrap()).collect();
    let inbox = &told[0]["objectAccountId"];
    let changes = json!({"sinceState": begin["state"]});
    let changes = dora.call_with(PRINCIPALS, "ShareNotification/changes", changes).await;
    assert_eq!((&changes["created"], &changes["updated"]), (&json!(ids), &json!([])));
    for (filter, found) in [
        (json!({"objectType": "Mailbox", "objectAccountId": inbox}), json!([ids[1], ids[0]])),
        (json!({"objectType": "Calendar"}), json!([])),
        (json!({"objectAccountId": dora.account}), json!([])),
        (json!({"after": "2000-01-01T00:00:00Z", "before": "2900-01-01T00:00:00Z"}), json!([ids[1], ids[0]])),
        (json!({"before": "2000-01-01T00:00:00Z"}), json!([])),
    ] {
        let query = json!({"filter": filter, "sort": [{"property": "created", "isAscending": false}]});
        let told = dora.call_with(PRINCIPALS, "ShareNotification/query", query).await;
        assert_eq!(told["ids"], found, "{filter}");
    }
    let before = dora.call_with(PRINCIPALS, "ShareNotification/query", json!({})).await;
    let set = json!({
        "create": {"n": {"name": "mine"}}, "update": {ids[0]: {"name": "mine"}}, "destroy": [ids[1], "ha"]
    });
    let reply = dora.call_with(PRINCIPALS, "ShareNotification/set", set).await;
    assert_eq!(reply["notCreated"]["n"]["type"], "forbidden");
    assert_eq!(reply["notUpdated"][ids[0]]["type"], "forbidden");
    assert_eq!(
        (&reply["destroyed"], &reply["notDestroyed"]["ha"]["type"]),
        (&json!([ids[1]]), &json!("notFound"))
    );
    let since = json!({"sinceQueryState": before["queryState"]});
    let delta = dora.call_with(PRINCIPALS, "ShareNotification/queryChanges", since).await;
    assert_eq!((&delta["removed"], &delta["added"]), (&json!([ids[1]]), &json!([])));
    // A colleague sees none of it.
    let ann = server.client("ann@x.example").await;
    let told = ann.call_with(PRINCIPALS, "ShareNotification/get", json!({"ids": ids})).await;
    assert_eq!(told["list"], json!([]));
}

#[tokio::test]
async fn a_principal_tells_of_ones_own_account_only_and_is_the_operators_to_change() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let me = ann.principal();
    let get = json!({"ids": [me, bob.principal()], "properties": ["accounts", "email"]});
    let told = ann.call_with(PRINCIPALS, "Principal/get", get).await;
    let own = ann.own().account;
    assert_eq!(
        told["list"],
        json!([
            {"id": me, "email": "ann@x.example", "accounts": {&own: session(&ann).await["accounts"][&own]}},
            {"id": bob.principal(), "email": "bob@x.example", "accounts": null}
        ])
    );
    let query = json!({"filter": {"accountIds": [own]}});
    assert_eq!(ann.call_with(PRINCIPALS, "Principal/query", query).await["ids"], json!([me]));
    let set = json!({
        "create": {"p": {"type": "individual", "name": "New"}},
        "update": {&me: {"name": "Queen"}}, "destroy": [bob.principal()]
    });
    let reply = ann.call_with(PRINCIPALS, "Principal/set", set).await;
    let him = bob.principal();
    for (member, key) in [("notCreated", "p"), ("notUpdated", me.as_str()), ("notDestroyed", him.as_str())] {
        assert_eq!(reply[member][key]["type"], "forbidden", "{reply}");
    }
    let told = bob.call_with(PRINCIPALS, "Principal/get", json!({"ids": [bob.principal()]})).await;
    assert_eq!(told["list"][0]["name"], "Bob");
}
