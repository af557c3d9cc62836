//! Junk, Trash, and what may be destroyed, by clients that know only mailboxes.

use super::*;
use crate::support::TEAM;

#[tokio::test]
async fn a_conversation_closes_as_spam_or_deleted_when_no_inbound_email_remains() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    deliver(&server, "one", None, "Help").await;
    deliver(&server, "two", Some("one"), "Re: Help").await;
    let known = emails(&bob).await;
    moved(&bob, &known[0], &["Unassigned"], &["Assigned/Bob"]).await;
    let state = async || {
        let now = conversation(&bob).await;
        (now["status"].clone(), now["resolution"].clone())
    };
    let reply = moved(&bob, &known[0], &["Inbox", "Assigned/Bob"], &["Junk"]).await;
    assert_set(&reply, json!({"updated": {&known[0]: null}}));
    assert_eq!(places(&bob, &known[0]).await, set(&["Junk"]));
    assert_eq!(places(&bob, &known[1]).await, set(&["Inbox", "Assigned/Bob"]), "only that Email");
    assert_eq!(state().await, (json!("open"), json!(null)));
    // The client saw it in the Inbox and takes it out of that one only.
    let reply = moved(&bob, &known[1], &["Inbox"], &["Junk"]).await;
    assert_set(&reply, json!({"updated": {&known[1]: null}}));
    assert_eq!(places(&bob, &known[1]).await, set(&["Junk"]), "what is thrown away is nobody's work");
    assert_eq!(state().await, (json!("closed"), json!("spam")));
    // Back again: that was no spam.
    let reply = moved(&bob, &known[1], &["Junk"], &["Inbox"]).await;
    assert_set(&reply, json!({"updated": {&known[1]: null}}));
    assert_eq!(places(&bob, &known[1]).await, set(&["Inbox", "Assigned/Bob"]));
    assert_eq!(state().await, (json!("open"), json!(null)));
    // One that comes back into a conversation that is open already gets all its places, too.
    let reply = moved(&bob, &known[0], &["Junk"], &["Inbox"]).await;
    assert_set(&reply, json!({"updated": {&known[0]: null}}));
    assert_eq!(places(&bob, &known[0]).await, set(&["Inbox", "Assigned/Bob"]));
    // The definition of done isn't asked of what is thrown away.
    let ann = server.client("ann@x.example").await;
    let settings = json!({"update": {"singleton": {"requireCategory": true, "requireResolution": true}}});
    ann.call("InboxSettings/set", settings).await;
    for email in &known {
        let reply = replaced(&bob, email, &["Trash"]).await;
        assert_set(&reply, json!({"updated": {email: null}}));
    }
    assert_eq!(state().await, (json!("closed"), json!("deleted")));
    server.check();
}

#[tokio::test]
async fn what_is_thrown_away_waits_for_no_answer_and_waits_again_when_it_is_back() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    deliver(&server, "one", None, "Help").await;
    let robot = message("robot@customer.example", CUSTOMER, SUPPORT, "Re: Help", "I am away.");
    let robot = format!("In-Reply-To: <one@customer.example>\r\nAuto-Submitted: auto-replied\r\n{robot}");
    let reply = server.deliver(CUSTOMER, &[SUPPORT], &robot).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let known = emails(&bob).await;
    let before = conversation(&bob).await;
    assert!(before["waitingSince"].is_string(), "{before}");
    moved(&bob, &known[0], &["Inbox"], &["Junk"]).await;
    let now = conversation(&bob).await;
    assert_eq!((&now["status"], &now["waitingSince"]), (&json!("open"), &json!(null)));
    moved(&bob, &known[0], &["Junk"], &["Inbox"]).await;
    assert_eq!(conversation(&bob).await["waitingSince"], before["waitingSince"]);
    server.check();
}

#[tokio::test]
async fn only_ones_own_drafts_can_be_destroyed_and_by_a_lead_what_is_thrown_away() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let ann = server.client("ann@x.example").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let mail = emails(&bob).await.remove(0);
    let own = draft(&bob, Some("one"), "Re: Help", "Half a").await;
    let second = draft(&bob, Some("one"), "Re: Help", "Half b").await;
    let sent = draft(&bob, Some("one"), "Re: Help", "All of it").await;
    assert!(submit(&bob, &sent).await["created"]["s"].is_object());
    let destroy = async |client: &Client, email: &str| {
        client.call_with(PLAIN, "Email/set", json!({"destroy": [email]})).await
    };
    let error = json!({
        "type": "forbidden",
        "description":
            "Only one's own drafts can be destroyed; a lead may destroy what is in Trash or Junk only."
    });
    let refused = |reply: &Value, email: &str| assert_set(reply, json!({"notDestroyed": {email: error}}));
    for client in [&ann, &bob] {
        refused(&destroy(client, &mail).await, &mail);
        refused(&destroy(client, &sent).await, &sent);
    }
    refused(&destroy(&cat, &own).await, &own);
    assert_set(&destroy(&bob, &own).await, json!({"destroyed": [own]}));
    assert_set(&destroy(&ann, &second).await, json!({"destroyed": [second]}));
    // A draft is its author's: colleagues see it and can't change it.
    let third = draft(&bob, Some("one"), "Re: Help", "Half c").await;
    let reply = moved(&cat, &third, &["Drafts"], &["Trash"]).await;
    let only_author = json!({
        "type": "forbidden", "description": "Only its author may change a draft; copy it to go on with it."
    });
    assert_set(&reply, json!({"notUpdated": {&third: only_author}}));
    let before = conversation(&bob).await;
    let reply = moved(&bob, &third, &["Drafts"], &["Archive"]).await;
    assert_set(&reply, json!({"updated": {&third: null}}));
    assert_eq!(conversation(&bob).await, before, "a draft never speaks");
    // In Trash as well as in a folder isn't "only".
    bob.call_with(PLAIN, "Mailbox/set", json!({"create": {"f": {"name": "Fun"}}})).await;
    moved(&bob, &mail, &["Pending"], &["Fun", "Trash"]).await;
    refused(&destroy(&ann, &mail).await, &mail);
    moved(&bob, &mail, &["Fun"], &[]).await;
    refused(&destroy(&bob, &mail).await, &mail);
    assert_set(&destroy(&ann, &mail).await, json!({"destroyed": [mail]}));
    let told = ann.call("Activity/get", json!({"ids": null})).await;
    let types: Vec<&Value> = told["list"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(types.iter().filter(|one| **one == "emailDestroyed").count(), 2, "the lead's two: {types:?}");
    let missing = json!({"type": "notFound"});
    assert_set(&destroy(&ann, &mail).await, json!({"notDestroyed": {&mail: missing}}));
    server.check();
}

#[tokio::test]
async fn kept_mailboxes_stay_as_they_are() {
    let server = office().await;
    let ann = server.client("ann@x.example").await;
    let known = boxes(&ann).await;
    for path in [
        "Inbox",
        "Pending",
        "Unassigned",
        "Assigned",
        "Assigned/Bob",
        "Archive",
        "Snoozed",
        "Scheduled",
        "Trash",
    ] {
        let id = &known[path];
        let moved = json!({"update": {id: {"name": "Other"}}, "destroy": []});
        let reply = ann.call_with(PLAIN, "Mailbox/set", moved).await;
        assert_eq!(reply["notUpdated"][id]["type"], "forbidden", "{path}: {reply}");
        assert!(reply["notUpdated"][id]["description"].is_string(), "{path}: {reply}");
        let moved = json!({"update": {id: {"parentId": known["Archive"]}}});
        let reply = ann.call_with(PLAIN, "Mailbox/set", moved).await;
        assert!(reply["notUpdated"][id]["type"].is_string(), "{path}: {reply}");
        let gone = json!({"destroy": [id], "onDestroyRemoveEmails": true});
        let reply = ann.call_with(PLAIN, "Mailbox/set", gone).await;
        assert!(reply["notDestroyed"][id]["type"].is_string(), "{path}: {reply}");
    }
    assert_eq!(boxes(&ann).await, known);
    let rights =
        ann.call_with(PLAIN, "Mailbox/get", json!({"ids": null, "properties": ["name", "myRights"]})).await;
    for mailbox in rights["list"].as_array().unwrap() {
        let closed = ["Snoozed", "Scheduled", "Assigned"].contains(&mailbox["name"].as_str().unwrap());
        assert_eq!(mailbox["myRights"]["mayAddItems"], json!(!closed), "{mailbox}");
        assert_eq!(mailbox["myRights"]["mayRename"], json!(false), "{mailbox}");
        assert_eq!(mailbox["myRights"]["mayDelete"], json!(false), "{mailbox}");
    }
}

#[tokio::test]
async fn what_is_copied_out_of_an_inbox_is_on_record_there() {
    let server = office().await;
    let (ann, own) = (server.client("ann@x.example").await, server.client("ann@x.example").await.own());
    deliver(&server, "one", None, "Where is it?").await;
    let email = emails(&ann).await.remove(0);
    let get = json!({"ids": [email], "properties": ["blobId", "bodyStructure"]});
    let whole = ann.call("Email/get", get).await["list"][0].take();
    let (blob, part) = (&whole["blobId"], &whole["bodyStructure"]["blobId"]);
    let about = conversation(&ann).await["id"].clone();
    let create = json!({"c": {"id": email, "mailboxIds": {own.mailbox("inbox").await: true}}});
    let calls = json!([
        ["Email/copy", {"fromAccountId": ann.account, "accountId": own.account, "create": create}, "a"],
        ["Blob/copy", {"fromAccountId": ann.account, "accountId": own.account, "blobIds": [blob, part]}, "b"],
    ]);
    let reply = own.request(TEAM, calls).await;
    assert!(reply["methodResponses"][0][1]["created"]["c"]["id"].is_string(), "{reply}");
    assert_eq!(reply["methodResponses"][1][1]["copied"].as_object().map(Map::len), Some(2), "{reply}");
    let query = json!({"filter": {"type": "copiedOut"}, "sort": [{"property": "at"}]});
    let ids = ann.call("Activity/query", query).await["ids"].take();
    let told = ann.call("Activity/get", json!({"ids": ids})).await;
    let told = told["list"].as_array().unwrap();
    assert_eq!(told.len(), 3);
    for one in told {
        assert_eq!((&one["before"], &one["after"]), (&json!(email), &json!(own.account)));
        assert_eq!((&one["conversationId"], &one["cause"]), (&about, &json!("user")));
    }
    server.check();
}
