//! The stories of conversations, notes, activities and settings.

use super::{Story, capability};
use serde_json::{Value, json};

const OWNERSHIP: &[&str] = &["core", "ownership"];
const STATUS: &[&str] = &["core", "status"];
const BOTH: &[&str] = &["core", "ownership", "status"];
const NOTES: &[&str] = &["core", "notes"];
const ACTIVITY: &[&str] = &["core", "activity"];
const HER_ID: &str = "one@customer.example";

/// The id of the only conversation.
pub async fn conversation(story: &Story) -> String {
    let told = story.bob.client.call("Conversation/query", json!({})).await;
    told["ids"][0].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// A patch of one conversation with further arguments.
fn patch(id: &str, patch: Value, more: Value) -> Value {
    let mut arguments = json!({"update": {id: patch}});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    arguments
}

#[tokio::test]
async fn the_example_of_the_session() {
    let mut story = Story::begin("session.json", "What the Session says of an inbox").await;
    let (bob, path) = (story.bob.clone(), "/.well-known/jmap");
    let session = bob.client.get(path).await.json();
    let mut told = session["accounts"][&bob.client.account]["accountCapabilities"].clone();
    for name in ["ownership", "status", "notes", "locks", "activity"] {
        let identifier = capability(name);
        assert_eq!(session["capabilities"][&identifier], json!({}));
        story.schemas.fits("capabilities", &identifier, &told[&identifier]);
    }
    let ours = |name: &str| name.starts_with("https://postroom.dev/") || name.ends_with(":principals");
    told.as_object_mut().unwrap().retain(|name, _| ours(name));
    let accounts = json!({&bob.client.account: {"isPersonal": false, "accountCapabilities": told}});
    story.steps.push(json!({
        "by": bob.name, "what": "Bob's client reads the Session; of the inbox it says among other things:",
        "get": path, "excerpt": {"accounts": accounts}
    }));
    story.end();
}

#[tokio::test]
async fn the_example_of_claims() {
    let mut story = Story::begin("claim.json", "Claims, hand-offs and conditions").await;
    let [ann, bob, cat, olaf] = [&story.ann, &story.bob, &story.cat, &story.olaf].map(Clone::clone);
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    let id = conversation(&story).await;
    let get = json!({
        "#ids": {"resultOf": "0", "name": "Conversation/query", "path": "/ids"},
        "properties": ["subject", "customer", "ownerId", "version"]
    });
    let calls =
        json!([["Conversation/query", {"filter": {"hasOwner": false}}, "0"], ["Conversation/get", get, "1"]]);
    let told = story.step(&bob, "Bob looks at what nobody owns.", OWNERSHIP, calls).await;
    let version = told[1]["list"][0]["version"].clone();
    let claim = |who: &super::Member| json!({"ownerId": who.client.principal()});
    let args = patch(&id, claim(&bob), json!({}));
    story.call(&bob, "Bob claims it.", OWNERSHIP, "Conversation/set", args).await;
    let args = patch(&id, claim(&cat), json!({}));
    let what = "Cat claims it at the same moment; she was second, and learns who was first.";
    let told = story.call(&cat, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["notUpdated"][&id]["ownerId"], json!(bob.client.principal()));
    let args = patch(&id, claim(&cat), json!({"ifOwner": {&id: bob.client.principal()}}));
    let what = "Cat would take it from Bob. That needs a lead.";
    let told = story.call(&cat, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["notUpdated"][&id]["type"], "forbidden");
    let args = patch(&id, claim(&ann), json!({"ifVersion": {&id: version}}));
    let what = "Ann, a lead, takes it on the strength of what she read a while ago.";
    let told = story.call(&ann, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["notUpdated"][&id]["type"], "versionMismatch");
    let note = json!({"handoffNote": {&id: "You know the harbour; she is waiting for a berth."}});
    let using = &["core", "ownership", "notes"];
    let what = "Bob hands it to Cat with a note. Both happen, or neither.";
    story.call(&bob, what, using, "Conversation/set", patch(&id, claim(&cat), note)).await;
    let args = json!({"ids": [&id], "properties": ["ownerId", "noteCount"]});
    let told = story.call(&cat, "Cat sees that it is hers.", OWNERSHIP, "Conversation/get", args).await;
    assert_eq!(told["list"][0]["noteCount"], 1);
    let watch = format!("watcherIds/{}", olaf.client.principal());
    let args = patch(&id, json!({watch: true}), json!({}));
    story.call(&olaf, "Olaf, an observer, watches it.", OWNERSHIP, "Conversation/set", args).await;
    let args = patch(&id, json!({"ownerId": null}), json!({}));
    let what = "An observer may do no more than that.";
    let told = story.call(&olaf, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["notUpdated"][&id]["type"], "forbidden");
    let args = patch(&id, claim(&ann), json!({"ifOwner": {&id: cat.client.principal()}}));
    let told =
        story.call(&ann, "Ann takes it from Cat, and says so.", OWNERSHIP, "Conversation/set", args).await;
    assert!(told["updated"][&id].is_object(), "{told}");
    story.end();
}

#[tokio::test]
async fn the_example_of_statuses() {
    let mut story = Story::begin("status.json", "Closing, snoozing, and a customer who answers").await;
    let [ann, bob] = [&story.ann, &story.bob].map(Clone::clone);
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    let id = conversation(&story).await;
    let args =
        patch("singleton", json!({"requireCategory": true, "categories": ["bookings", "berths"]}), json!({}));
    let what = "Ann, a lead, asks for a category before anything is closed.";
    story.call(&ann, what, STATUS, "InboxSettings/set", args).await;
    let args = patch(&id, json!({"status": "closed"}), json!({}));
    let told = story.call(&bob, "Bob closes too early.", STATUS, "Conversation/set", args).await;
    assert_eq!(told["notUpdated"][&id]["missing"], json!(["category"]));
    let done =
        json!({"status": "closed", "category": "bookings", "resolution": "solved", "tags/summer": true});
    let args = patch(&id, done, json!({}));
    let what = "He says what it was about, and closes it, in one step.";
    let told = story.call(&bob, what, STATUS, "Conversation/set", args).await;
    assert!(told["updated"][&id]["closedAt"].is_string(), "{told}");
    story.mail("Marta answers.", "two", Some(HER_ID), "Re: Where is it?", "It is gone again.").await;
    let properties =
        ["status", "closedAt", "reopenCount", "category", "tags", "waitingSince", "messageCount"];
    let args = json!({"ids": [&id], "properties": properties});
    let told = story.call(&bob, "Her answer opened it again.", STATUS, "Conversation/get", args).await;
    assert_eq!((&told["list"][0]["status"], &told["list"][0]["reopenCount"]), (&json!("open"), &json!(1)));
    let past = json!({"status": "snoozed", "snoozedUntil": "2020-01-01T08:00:00Z"});
    let what = "A snooze ends in the future.";
    let told = story.call(&bob, what, STATUS, "Conversation/set", patch(&id, past, json!({}))).await;
    assert_eq!(told["notUpdated"][&id]["properties"], json!(["snoozedUntil"]));
    let later = json!({"status": "snoozed", "snoozedUntil": "2099-01-01T08:00:00Z", "priority": "high", "tags/summer": null});
    let what = "Bob snoozes it, raises its priority and takes the tag away.";
    story.call(&bob, what, STATUS, "Conversation/set", patch(&id, later, json!({}))).await;
    let filter = json!({"operator": "OR", "conditions": [{"status": "open"}, {"priority": "high", "category": "bookings"}]});
    let sort = json!([{"property": "priority", "isAscending": false}, {"property": "waitingSince"}]);
    let args = json!({"filter": filter, "sort": sort, "limit": 50, "calculateTotal": true});
    let what = "What is open, and what is urgent about bookings.";
    let told = story.call(&bob, what, STATUS, "Conversation/query", args).await;
    assert_eq!((&told["total"], &told["canCalculateChanges"]), (&json!(1), &json!(true)));
    story.end();
}

#[tokio::test]
async fn the_example_of_conversations() {
    let mut story =
        Story::begin("conversation.json", "Reading conversations, and keeping up with them").await;
    let [bob, cat] = [&story.bob, &story.cat].map(Clone::clone);
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    let told =
        story.call(&bob, "Bob reads all there is.", BOTH, "Conversation/get", json!({"ids": null})).await;
    let (id, state) = (told["list"][0]["id"].as_str().unwrap().to_owned(), told["state"].clone());
    let filter = json!({"ownerId": null});
    let args = json!({"filter": filter, "limit": 50, "calculateTotal": true});
    let what = "His queue: what nobody owns, by last activity.";
    let told = story.call(&bob, what, BOTH, "Conversation/query", args).await;
    assert_eq!(told["canCalculateChanges"], json!(true));
    let queue = told["queryState"].clone();
    let args = patch(&id, json!({"ownerId": cat.client.principal(), "tags": {"summer": true}}), json!({}));
    story.call(&cat, "Meanwhile Cat takes it and tags it.", BOTH, "Conversation/set", args).await;
    let calls = json!([
        ["Conversation/changes", {"sinceState": state}, "0"],
        ["Conversation/get", {
            "#ids": {"resultOf": "0", "name": "Conversation/changes", "path": "/updated"},
            "properties": ["ownerId", "tags", "version"]
        }, "1"],
        ["Conversation/queryChanges", {"filter": filter, "sinceQueryState": queue, "calculateTotal": true}, "2"]
    ]);
    let what = "Bob's client hears of it, fetches what changed, and takes it out of his queue.";
    let told = story.step(&bob, what, BOTH, calls).await;
    assert_eq!((&told[2]["removed"], &told[2]["added"]), (&json!([id]), &json!([])));
    let told =
        story.call(&bob, "How many stand in the usual queues.", BOTH, "Conversation/counts", json!({})).await;
    assert_eq!((&told["all"]["open"], &told["unowned"]["open"]), (&json!(1), &json!(0)));
    let get = json!({
        "#ids": {"resultOf": "0", "name": "Email/query", "path": "/ids"},
        "properties": ["subject", "conversationId", "authentication", "threading"]
    });
    let calls = json!([["Email/query", {"filter": {"conversationId": id}}, "0"], ["Email/get", get, "1"]]);
    let what = "Its messages, what the gateway found out about each, and why each is here.";
    let told = story.step(&bob, what, &["core", "mail", "ownership"], calls).await;
    assert_eq!(told[1]["list"][0]["threading"]["decidedBy"], "nothing");
    story.server.json(&["team", "add", "Harbour", "--member", "bob@x.example"]);
    let get = json!({
        "#ids": {"resultOf": "0", "name": "Principal/query", "path": "/ids"},
        "properties": ["type", "name", "memberIds"]
    });
    let calls = json!([["Principal/query", {"filter": {"type": "group"}}, "0"], ["Principal/get", get, "1"]]);
    let what = "The teams that have somebody in the inbox.";
    let told = story.step(&bob, what, &["core", "principals", "ownership"], calls).await;
    let args = patch(&id, json!({"teamId": told[1]["list"][0]["id"]}), json!({}));
    let what = "Bob gives the conversation to one of them; Cat is still accountable for it.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/set", args).await;
    assert!(told["updated"][&id].is_object(), "{told}");
    let calls = json!([
        ["Conversation/set", {"create": {"k": {"subject": "New"}}, "destroy": [id]}, "0"],
        ["Conversation/get", {"ids": ["cz7z"]}, "1"],
        ["Conversation/query", {"filter": {"colour": "red"}}, "2"]
    ]);
    let what = "Mistakes and their answers: conversations begin with messages, and don't go.";
    let told = story.step(&bob, what, BOTH, calls).await;
    assert_eq!(told[0]["notDestroyed"][&id]["type"], "forbidden");
    assert_eq!(told[2]["type"], "unsupportedFilter");
    story.end();
}

#[tokio::test]
async fn the_example_of_merges() {
    let mut story = Story::begin("merge.json", "A merge, its undo, and a split").await;
    let bob = story.bob.clone();
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    story
        .mail("She writes again, as if it were new.", "two", None, "My booking", "And an invoice, please.")
        .await;
    let query = json!({"sort": [{"property": "createdAt"}]});
    let get = json!({
        "#ids": {"resultOf": "0", "name": "Conversation/query", "path": "/ids"},
        "properties": ["subject", "messageCount", "emailIds", "mergedIntoId", "version"]
    });
    let calls = json!([["Conversation/query", query, "0"], ["Conversation/get", get, "1"]]);
    let told = story.step(&bob, "Bob sees two conversations about one booking.", OWNERSHIP, calls).await;
    let list = told[1]["list"].as_array().unwrap().clone();
    let [one, two] = [0, 1].map(|at: usize| list[at]["id"].as_str().unwrap().to_owned());
    let args = patch(&two, json!({"mergedIntoId": &one}), json!({"ifVersion": {&two: list[1]["version"]}}));
    let what = "He merges the second into the first.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/set", args).await;
    assert!(told["updated"][&two].is_object(), "{told}");
    let args = json!({"ids": [&one, &two], "properties": ["messageCount", "mergedIntoId"]});
    let what = "The first has both messages; the second says where it went.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/get", args).await;
    assert_eq!(
        (&told["list"][0]["messageCount"], &told["list"][1]["mergedIntoId"]),
        (&json!(2), &json!(one))
    );
    let args = patch(&two, json!({"ownerId": bob.client.principal()}), json!({}));
    let what = "What was merged takes no other change.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["notUpdated"][&two]["type"], "forbidden");
    let args = patch(&two, json!({"mergedIntoId": null}), json!({}));
    let what = "He takes the merge back.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["updated"][&two]["messageCount"], 1);
    story.mail("Marta answers.", "three", Some(HER_ID), "Re: Where is it?", "An invoice for May, too.").await;
    let args = json!({"ids": [&one], "properties": ["emailIds"]});
    let what = "Her answer is about something else: Bob looks which message it is.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/get", args).await;
    let email = told["list"][0]["emailIds"][1].clone();
    let args = json!({"create": {"k": {"emailIds": [email], "subject": "Invoice for May"}}});
    let what = "He splits it off.";
    let told = story.call(&bob, what, OWNERSHIP, "Conversation/set", args).await;
    assert_eq!(told["created"]["k"]["messageCount"], 1);
    story.end();
}

#[tokio::test]
async fn the_example_of_notes() {
    let mut story = Story::begin("notes.json", "Notes: mentions, edits, and whose they are").await;
    let [ann, bob, cat] = [&story.ann, &story.bob, &story.cat].map(Clone::clone);
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    let id = conversation(&story).await;
    let note =
        json!({"conversationId": &id, "body": "Put back by **hand**.", "mentions": [cat.client.principal()]});
    let args = json!({"create": {"n": note}});
    let told = story.call(&bob, "Bob writes a note for Cat.", NOTES, "Note/set", args).await;
    let made = told["created"]["n"].clone();
    let (note, version) = (made["id"].as_str().unwrap().to_owned(), made["version"].clone());
    let calls = json!([
        ["Note/query", {"filter": {"mentions": "me"}}, "0"],
        ["Note/get", {"#ids": {"resultOf": "0", "name": "Note/query", "path": "/ids"}}, "1"]
    ]);
    let told = story.step(&cat, "Cat looks where she is mentioned.", NOTES, calls).await;
    let (queue, state) = (told[0]["queryState"].clone(), told[1]["state"].clone());
    let args =
        patch(&note, json!({"body": "Put back by hand at 9:40."}), json!({"ifVersion": {&note: version}}));
    story.call(&bob, "Bob says it better.", NOTES, "Note/set", args.clone()).await;
    let what = "An edit of what was read before that is refused.";
    let told = story.call(&bob, what, NOTES, "Note/set", args).await;
    assert_eq!(told["notUpdated"][&note]["type"], "versionMismatch");
    let args = json!({"ids": [note], "properties": ["body", "earlierVersions"]});
    let told = story.call(&cat, "What it said before.", NOTES, "Note/get", args).await;
    assert_eq!(told["list"][0]["earlierVersions"].as_array().map(Vec::len), Some(1));
    let args = patch(&note, json!({"body": "No."}), json!({}));
    let told = story.call(&cat, "A note is changed by its author alone.", NOTES, "Note/set", args).await;
    assert_eq!(told["notUpdated"][&note]["type"], "forbidden");
    let calls = json!([
        ["Note/changes", {"sinceState": state}, "0"],
        ["Note/queryChanges", {"filter": {"mentions": "me"}, "sinceQueryState": queue}, "1"]
    ]);
    let told = story.step(&cat, "What is new since Cat looked.", NOTES, calls).await;
    assert_eq!(told[0]["updated"], json!([note]));
    let args = json!({"destroy": [note]});
    let told = story.call(&ann, "A lead may take it away.", NOTES, "Note/set", args).await;
    assert_eq!(told["destroyed"], json!([note]));
    story.end();
}

#[tokio::test]
async fn the_example_of_activities() {
    let mut story = Story::begin("activity.json", "The history of a conversation and of its inbox").await;
    let [ann, bob] = [&story.ann, &story.bob].map(Clone::clone);
    story
        .mail("Marta writes to support@x.example.", "one", None, "Where is it?", "Where is my booking?")
        .await;
    let id = conversation(&story).await;
    let args = patch(&id, json!({"ownerId": bob.client.principal(), "tags/summer": true}), json!({}));
    story.call(&bob, "Bob takes it and tags it.", BOTH, "Conversation/set", args).await;
    let get = json!({"#ids": {"resultOf": "0", "name": "Activity/query", "path": "/ids"}});
    let sort = json!([{"property": "at"}]);
    let query = json!({"filter": {"conversationId": &id}, "sort": sort});
    let calls = json!([["Activity/query", query, "0"], ["Activity/get", get, "1"]]);
    let what = "What happened in the conversation, oldest first.";
    let told = story.step(&ann, what, ACTIVITY, calls).await;
    let (queue, state) = (told[0]["queryState"].clone(), told[1]["state"].clone());
    let calls = json!([
        ["Activity/query", {"filter": {"conversationId": null, "type": "memberJoined"}, "limit": 1}, "0"],
        ["Activity/get", get, "1"]
    ]);
    let what = "Who joined the inbox last: what concerns no conversation.";
    let told = story.step(&ann, what, ACTIVITY, calls).await;
    assert_eq!(told[1]["list"][0]["after"], "observer");
    let args = patch(&id, json!({"status": "closed"}), json!({}));
    story.call(&bob, "Bob closes the conversation.", STATUS, "Conversation/set", args).await;
    let calls = json!([
        ["Activity/changes", {"sinceState": state}, "0"],
        ["Activity/queryChanges", {
            "filter": {"conversationId": &id}, "sort": sort, "sinceQueryState": queue, "calculateTotal": true
        }, "1"],
        ["Activity/get", {"#ids": {"resultOf": "0", "name": "Activity/changes", "path": "/created"}}, "2"]
    ]);
    let told = story.step(&ann, "What is new since.", ACTIVITY, calls).await;
    assert_eq!(told[2]["list"][0]["type"], "statusChanged");
    let args = json!({"ids": [&id]});
    let told = story.call(&bob, "Erasing is an admin's.", ACTIVITY, "Conversation/erase", args.clone()).await;
    assert_eq!(told["type"], "forbidden");
    story.server.json(&["inbox", "member", "add", "support@x.example", "ann@x.example:admin"]);
    let what = "Ann, who is an admin now, erases the conversation.";
    let told = story.call(&ann, what, ACTIVITY, "Conversation/erase", args).await;
    assert_eq!(told["erased"], json!([id]));
    let calls = json!([
        ["Activity/query", {"filter": {"conversationId": &id}, "sort": sort}, "0"], ["Activity/get", get, "1"]
    ]);
    let told = story.step(&ann, "What happened stays, without words.", ACTIVITY, calls).await;
    assert_eq!(told[1]["list"].as_array().unwrap().last().unwrap()["type"], "erased");
    story.end();
}

#[tokio::test]
async fn the_example_of_settings() {
    let mut story = Story::begin("settings.json", "Reading and changing how an inbox works").await;
    let [ann, bob] = [&story.ann, &story.bob].map(Clone::clone);
    let args = json!({"ids": null});
    let told = story.call(&bob, "Bob reads how his team works.", STATUS, "InboxSettings/get", args).await;
    let state = told["state"].clone();
    let wish = json!({"lockSeconds": 300, "plainCollision": "reject", "guide": "Answer within **a day**."});
    let args = patch("singleton", wish, json!({}));
    let told = story.call(&bob, "Changing it needs a lead.", STATUS, "InboxSettings/set", args.clone()).await;
    assert_eq!(told["notUpdated"]["singleton"]["type"], "forbidden");
    let told = story.call(&ann, "Ann is one.", STATUS, "InboxSettings/set", args).await;
    assert_eq!(told["updated"], json!({"singleton": null}));
    let args = json!({"create": {"k": {}}, "update": {"singleton": {"lockSeconds": 5}}});
    let what = "Mistakes and their answers: there is one object, and a lock lasts 15 to 600 seconds.";
    let told = story.call(&ann, what, STATUS, "InboxSettings/set", args).await;
    assert_eq!(told["notUpdated"]["singleton"]["properties"], json!(["lockSeconds"]));
    let args = json!({"sinceState": state});
    story.call(&bob, "Bob's client hears of the change.", STATUS, "InboxSettings/changes", args).await;
    story.end();
}
