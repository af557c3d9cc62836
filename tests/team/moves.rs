//! Email/set by clients that know only mailboxes: what a move says, and who may say it.

use super::*;
use crate::support::TEAM;
use crate::support::eventually;

const CATS_WORDS: &str =
    "Bob owns this conversation. Ask them to hand it over or to release it, or ask a lead.";

#[tokio::test]
async fn every_member_who_may_own_has_a_mailbox_before_anything_is_in_it() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    let paths: BTreeSet<String> = boxes(&bob).await.into_keys().collect();
    let own = set(&["Assigned/Ann", "Assigned/Bob", "Assigned/Cat"]);
    assert_eq!(
        paths.iter().filter(|path| path.starts_with("Assigned/")).cloned().collect::<BTreeSet<_>>(),
        own
    );
    // An observer owns nothing until they are an agent; equal names are told apart by the address.
    server.person("bob@y.example", "Bob");
    server.json(&["inbox", "member", "add", SUPPORT, "bob@y.example:agent"]);
    server.json(&["inbox", "member", "add", SUPPORT, "olaf@x.example:agent"]);
    let paths = boxes(&bob).await;
    assert!(paths.contains_key("Assigned/Olaf"), "{paths:?}");
    assert!(paths.contains_key("Assigned/Bob (bob@y.example)"), "{paths:?}");
    server.check();
}

#[tokio::test]
async fn a_claim_by_a_move_is_told_to_the_next_one_in_plain_words() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let email = &emails(&bob).await[0];
    assert_eq!(places(&bob, email).await, set(&["Inbox", "Unassigned"]));

    let claimed = moved(&bob, email, &["Unassigned"], &["Assigned/Bob"]).await;
    assert_set(&claimed, json!({"updated": {email: null}}));
    assert_ne!(claimed["oldState"], claimed["newState"]);
    assert_eq!(places(&bob, email).await, set(&["Inbox", "Assigned/Bob"]));
    let conversation = conversation(&bob).await;
    assert_eq!(conversation["ownerId"], json!(bob.principal()));

    let refused = moved(&cat, email, &["Unassigned"], &["Assigned/Cat"]).await;
    let error = json!({"type": "forbidden", "description": CATS_WORDS});
    assert_set(&refused, json!({"notUpdated": {email: error}}));
    assert_eq!(refused["oldState"], refused["newState"]);
    // Whoever names our capabilities learns the winner and the version.
    let refused = moved_with(TEAM, &cat, email, &["Unassigned"], &["Assigned/Cat"]).await;
    let error = json!({
        "type": "ownerMismatch", "description": CATS_WORDS,
        "ownerId": bob.principal(), "version": conversation["version"]
    });
    assert_set(&refused, json!({"notUpdated": {email: error}}));
    assert_eq!(places(&cat, email).await, set(&["Inbox", "Assigned/Bob"]));
    server.check();
}

#[tokio::test]
async fn a_message_that_its_conversation_shows_elsewhere_is_told_in_the_reply_and_by_changes() {
    let server = office().await;
    let bob = server.client("bob@x.example").await;
    let known = boxes(&bob).await;
    let (inbox, archive) = (&known["Inbox"], &known["Archive"]);
    // What a member files begins a conversation that is closed: it is shown in Archive, not in Inbox.
    let object = json!({
        "mailboxIds": {inbox: true}, "subject": "Told by phone",
        "bodyValues": {"t": {"value": "x"}}, "textBody": [{"partId": "t"}]
    });
    let made = bob.call_with(PLAIN, "Email/set", json!({"create": {"k": object}})).await;
    let created = &made["created"]["k"];
    assert_eq!(created["mailboxIds"], json!({archive: true}), "{made}");
    let changes =
        async |since: &Value| bob.call_with(PLAIN, "Email/changes", json!({"sinceState": since})).await;
    let told = changes(&made["newState"]).await;
    assert_eq!(told["updated"], json!([created["id"]]), "{told}");
    let told = changes(&made["oldState"]).await;
    assert_eq!((&told["created"], &told["updated"]), (&json!([created["id"]]), &json!([])));
    // The reply of an import has four properties: there the next changes tell alone.
    let raw = "From: a@customer.example\r\nSubject: Old\r\nMessage-ID: <old@x>\r\n\r\nx\r\n";
    let path = format!("/jmap/upload/{}", bob.account);
    let blob = bob.post(&path, "message/rfc822", raw.into()).await.json()["blobId"].take();
    let import = json!({"emails": {"i": {"blobId": blob, "mailboxIds": {inbox: true}}}});
    let made = bob.call_with(PLAIN, "Email/import", import).await;
    let id = made["created"]["i"]["id"].as_str().unwrap_or_else(|| panic!("{made}"));
    assert_eq!(places(&bob, id).await, set(&["Archive"]));
    assert_eq!(changes(&made["newState"]).await["updated"], json!([id]));
    // Where it is shown as it was put there is nothing to tell.
    let drafts = json!({"mailboxIds": {&known["Drafts"]: true}, "keywords": {"$draft": true}});
    let made = bob.call_with(PLAIN, "Email/set", json!({"create": {"k": drafts}})).await;
    assert_eq!(made["created"]["k"].as_object().unwrap().len(), 4, "{made}");
    assert_eq!(changes(&made["newState"]).await["updated"], json!([]));
    server.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_claims_by_moves_exactly_one_wins_and_the_others_learn_who() {
    let server = office().await;
    let names = ["Ann", "Bob", "Cat"];
    let mut people = Vec::new();
    for name in names {
        people.push(server.client(&format!("{}@x.example", name.to_lowercase())).await);
    }
    for round in 0..6 {
        deliver(&server, &format!("r{round}"), None, &format!("Round {round}")).await;
        let email = emails(&people[0]).await.pop().unwrap();
        let claim = async |who: usize| {
            let to = format!("Assigned/{}", names[who]);
            moved(&people[who], &email, &["Unassigned"], &[&to]).await
        };
        let (ann, bob, cat) = tokio::join!(claim(0), claim(1), claim(2));
        let replies = [ann, bob, cat];
        let won: Vec<usize> = (0..3).filter(|who| replies[*who]["updated"].is_object()).collect();
        assert_eq!(won.len(), 1, "{replies:?}");
        let winner = names[won[0]];
        for (who, reply) in replies.iter().enumerate().filter(|(who, _)| *who != won[0]) {
            let description = CATS_WORDS.replace("Bob", winner);
            let error = json!({"type": "forbidden", "description": description});
            assert_set(reply, json!({"notUpdated": {&email: error}}));
            assert_ne!(names[who], winner);
        }
        assert_eq!(places(&people[0], &email).await, set(&["Inbox", &format!("Assigned/{winner}")]));
    }
    server.check();
}

#[tokio::test]
async fn each_place_does_what_it_says_and_takes_the_conversations_other_emails_along() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    deliver(&server, "two", Some("one"), "Re: Help").await;
    let bob = server.client("bob@x.example").await;
    let sent = draft(&bob, Some("two"), "Re: Help", "We are on it.").await;
    assert!(submit(&bob, &sent).await["created"]["s"].is_object());
    let known = emails(&bob).await;
    let (one, two) = (&known[0], &known[1]);
    let table = [
        (vec!["Pending"], vec!["Inbox"], vec!["Inbox", "Assigned/Bob"], "open", true),
        (vec!["Inbox"], vec!["Pending"], vec!["Pending", "Assigned/Bob"], "pending", true),
        (vec!["Pending", "Assigned/Bob"], vec!["Archive"], vec!["Archive"], "closed", true),
        (vec!["Archive"], vec!["Inbox"], vec!["Inbox", "Assigned/Bob"], "open", true),
        // What is taken away says nothing.
        (vec!["Inbox"], vec![], vec!["Inbox", "Assigned/Bob"], "open", true),
        (vec!["Assigned/Bob"], vec!["Unassigned"], vec!["Inbox", "Unassigned"], "open", false),
        (vec![], vec!["Assigned/Cat"], vec!["Inbox", "Assigned/Cat"], "open", true),
    ];
    for (from, to, expected, status, owned) in table {
        let reply = moved(&bob, one, &from, &to).await;
        assert_set(&reply, json!({"updated": {one: null}}));
        for email in [one, two] {
            assert_eq!(places(&bob, email).await, set(&expected), "{from:?} → {to:?}");
        }
        assert_eq!(places(&bob, &sent).await, set(&["Sent"]), "the Sent copy stays");
        let now = conversation(&bob).await;
        assert_eq!(
            (&now["status"], now["ownerId"].is_string()),
            (&json!(status), owned),
            "{from:?} → {to:?}"
        );
    }
    server.check();
}

#[tokio::test]
async fn the_servers_corrections_show_in_changes_from_the_new_state() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    deliver(&server, "two", Some("one"), "Re: Help").await;
    let bob = server.client("bob@x.example").await;
    let known = emails(&bob).await;
    let changes = async |since: &Value| {
        let mut told = bob.call_with(PLAIN, "Email/changes", json!({"sinceState": since})).await;
        let mut updated: Vec<String> = serde_json::from_value(told["updated"].take()).unwrap();
        updated.sort();
        assert_eq!((&told["created"], &told["destroyed"]), (&json!([]), &json!([])), "{told}");
        updated
    };
    // Only the owner is said, and Unassigned kept: the server takes the message out of it, and the
    // other one along.
    let reply = moved(&bob, &known[0], &[], &["Assigned/Bob"]).await;
    assert_set(&reply, json!({"updated": {&known[0]: null}}));
    let mut both = known.clone();
    both.sort();
    assert_eq!(changes(&reply["newState"]).await, both);
    assert_eq!(changes(&reply["oldState"]).await, both);
    // Nothing to correct on the moved message itself: it isn't told again.
    let reply = moved(&bob, &known[0], &["Inbox"], &["Pending"]).await;
    assert_eq!(changes(&reply["newState"]).await, [known[1].clone()]);
    // A change that is put back whole.
    let reply = moved(&bob, &known[1], &["Pending"], &[]).await;
    assert_set(&reply, json!({"updated": {&known[1]: null}}));
    assert_eq!(changes(&reply["newState"]).await, [known[1].clone()]);
    let mailbox = bob.call_with(PLAIN, "Mailbox/get", json!({"ids": null})).await;
    assert!(mailbox["state"].is_string());
    server.check();
}

#[tokio::test]
async fn rights_go_by_role_and_are_told_in_standard_errors() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let ann = server.client("ann@x.example").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let olaf = server.client("olaf@x.example").await;
    let email = &emails(&bob).await[0];
    let refused = |reply: &Value, description: &str| {
        let error = json!({"type": "forbidden", "description": description});
        assert_set(reply, json!({"notUpdated": {email: error}}));
    };
    let done = |reply: &Value| assert_set(reply, json!({"updated": {email: null}}));
    let observer = "An observer may read and write notes; this needs an agent.";
    refused(&moved(&olaf, email, &["Inbox"], &["Archive"]).await, observer);
    refused(&moved(&olaf, email, &["Unassigned"], &["Assigned/Bob"]).await, observer);
    let flag = json!({"update": {email: {"keywords/$flagged": true}}});
    refused(&olaf.call_with(PLAIN, "Email/set", flag).await, observer);
    let seen = json!({"update": {email: {"keywords/$seen": true}}});
    done(&olaf.call_with(PLAIN, "Email/set", seen).await);

    // An agent claims what is free, hands off and releases their own.
    done(&moved(&bob, email, &["Unassigned"], &["Assigned/Bob"]).await);
    let lead = "Somebody else owns this conversation; taking it needs a lead.";
    refused(&moved(&cat, email, &["Assigned/Bob"], &["Assigned/Cat"]).await, lead);
    refused(&moved(&cat, email, &["Assigned/Bob"], &["Unassigned"]).await, lead);
    refused(&moved(&cat, email, &[], &["Unassigned"]).await, CATS_WORDS);
    done(&moved(&bob, email, &["Assigned/Bob"], &["Assigned/Cat"]).await);
    done(&moved(&cat, email, &["Assigned/Cat"], &["Unassigned"]).await);
    done(&moved(&bob, email, &["Unassigned"], &["Assigned/Bob"]).await);
    // A lead takes over, saying from whom, and hands off; a bare claim loses like anybody's.
    refused(&moved(&ann, email, &[], &["Assigned/Ann"]).await, CATS_WORDS);
    done(&moved(&ann, email, &["Assigned/Bob"], &["Assigned/Ann"]).await);
    done(&moved(&ann, email, &["Assigned/Ann"], &["Assigned/Bob"]).await);
    done(&moved(&ann, email, &[], &["Assigned/Cat"]).await);
    // Status is every agent's to set.
    done(&moved(&bob, email, &["Inbox"], &["Archive"]).await);
    assert_eq!(places(&ann, email).await, set(&["Archive"]));
    // Somebody who can own nothing any more is no owner: not of what is reopened, and not by a move.
    server.json(&["inbox", "member", "add", SUPPORT, "cat@x.example:observer"]);
    done(&moved(&bob, email, &["Archive"], &["Inbox"]).await);
    assert_eq!(places(&ann, email).await, set(&["Inbox", "Unassigned"]));
    let reply = moved(&bob, email, &["Unassigned"], &["Assigned/Cat"]).await;
    let error = json!({
        "type": "invalidProperties", "properties": ["mailboxIds"],
        "description": "The owner must be a member of the inbox who may answer mail."
    });
    assert_set(&reply, json!({"notUpdated": {email: error}}));
    server.check();
}

#[tokio::test]
async fn two_answers_in_one_change_or_none_at_all_are_refused() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let bob = server.client("bob@x.example").await;
    let email = &emails(&bob).await[0];
    let before = conversation(&bob).await;
    let invalid = |reply: &Value, description: &str| {
        let error =
            json!({"type": "invalidProperties", "properties": ["mailboxIds"], "description": description});
        assert_set(reply, json!({"notUpdated": {email: error}}));
    };
    let owners = "One change can't give a conversation two owners.";
    let statuses = "One change can't give a conversation two statuses.";
    let reply = moved(&bob, email, &["Unassigned"], &["Assigned/Bob", "Assigned/Cat"]).await;
    invalid(&reply, owners);
    invalid(&replaced(&bob, email, &["Inbox", "Assigned/Bob", "Assigned/Cat"]).await, owners);
    invalid(&moved(&bob, email, &["Inbox"], &["Pending", "Archive"]).await, statuses);
    let none = "An Email is in at least one Mailbox.";
    invalid(&moved(&bob, email, &["Inbox", "Unassigned"], &[]).await, none);
    invalid(&replaced(&bob, email, &[]).await, none);
    for place in ["Snoozed", "Scheduled", "Assigned"] {
        let reply = moved(&bob, email, &["Inbox"], &[place]).await;
        let error = json!({
            "type": "forbidden", "description": "Messages can't be put into this mailbox by hand."
        });
        assert_set(&reply, json!({"notUpdated": {email: error}}));
    }
    assert_eq!(places(&bob, email).await, set(&["Inbox", "Unassigned"]));
    assert_eq!(conversation(&bob).await, before);
    // One that changed goes on beside one that was refused.
    deliver(&server, "two", None, "Other").await;
    let other = &emails(&bob).await[1];
    let known = boxes(&bob).await;
    let claim = json!({
        (format!("mailboxIds/{}", known["Assigned/Bob"])): true,
        (format!("mailboxIds/{}", known["Unassigned"])): null,
    });
    let both = json!({
        (format!("mailboxIds/{}", known["Assigned/Bob"])): true,
        (format!("mailboxIds/{}", known["Assigned/Cat"])): true,
    });
    let reply = bob.call_with(PLAIN, "Email/set", json!({"update": {other: claim, email: both}})).await;
    let error = json!({"type": "invalidProperties", "properties": ["mailboxIds"], "description": owners});
    assert_set(&reply, json!({"updated": {other: null}, "notUpdated": {email: error}}));
    server.check();
}

#[tokio::test]
async fn a_stale_whole_replacement_undoes_nothing_that_a_colleague_set() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let (bob, cat) = (server.client("bob@x.example").await, server.client("cat@x.example").await);
    let email = &emails(&bob).await[0];
    bob.call_with(PLAIN, "Mailbox/set", json!({"create": {"f": {"name": "Fun"}}})).await;
    moved(&bob, email, &["Unassigned"], &["Assigned/Bob"]).await;
    moved(&bob, email, &["Inbox"], &["Pending"]).await;
    let before = conversation(&bob).await;
    // Cat's client still has Inbox and Unassigned, and only wants to add a folder.
    let reply = replaced(&cat, email, &["Inbox", "Unassigned", "Fun"]).await;
    assert_set(&reply, json!({"updated": {email: null}}));
    assert_eq!(places(&bob, email).await, set(&["Pending", "Assigned/Bob", "Fun"]));
    assert_eq!(conversation(&bob).await, before);
    let told = cat.call_with(PLAIN, "Email/changes", json!({"sinceState": reply["newState"]})).await;
    assert_eq!(told["updated"], json!([email]), "Cat's client is put right");
    // One's own state may be undone, and a patch is no copy.
    let reply = replaced(&bob, email, &["Inbox", "Unassigned", "Fun"]).await;
    assert_set(&reply, json!({"updated": {email: null}}));
    assert_eq!(places(&bob, email).await, set(&["Inbox", "Unassigned", "Fun"]));
    moved(&cat, email, &["Inbox"], &["Archive"]).await;
    assert_eq!(places(&bob, email).await, set(&["Archive", "Fun"]));
    server.check();
}

#[tokio::test]
async fn a_category_has_its_place_in_the_archive_and_the_definition_of_done_is_asked() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let email = &emails(&bob).await[0];
    let settings =
        json!({"update": {"singleton": {"requireCategory": true, "categories": ["billing", "bug"]}}});
    let reply = ann.call("InboxSettings/set", settings).await;
    assert_set(&reply, json!({"updated": {"singleton": null}}));
    let reply = moved(&bob, email, &["Inbox", "Unassigned"], &["Archive"]).await;
    let error = json!({
        "type": "invalidProperties", "properties": ["mailboxIds"],
        "description": "The conversation can't be closed yet: the inbox asks for a category."
    });
    assert_set(&reply, json!({"notUpdated": {email: error}}));
    let reply = moved(&bob, email, &["Inbox", "Unassigned"], &["Archive/bug"]).await;
    assert_set(&reply, json!({"updated": {email: null}}));
    assert_eq!(places(&bob, email).await, set(&["Archive", "Archive/bug"]));
    let now = conversation(&bob).await;
    assert_eq!((&now["status"], &now["category"]), (&json!("closed"), &json!("bug")));
    let reply = moved(&bob, email, &[], &["Archive/billing"]).await;
    assert_set(&reply, json!({"updated": {email: null}}));
    assert_eq!(places(&bob, email).await, set(&["Archive", "Archive/billing"]));
    server.check();
}

/// What has lost `$draft` is a message of the conversation, and one that has it again is none.
#[tokio::test]
async fn a_draft_that_is_none_any_more_counts_as_a_message() {
    let server = office().await;
    deliver(&server, "one", None, "Help").await;
    let bob = server.client("bob@x.example").await;
    let first = bob.call("Email/get", json!({"ids": emails(&bob).await, "properties": ["messageId"]})).await;
    let drafts = bob.mailbox("drafts").await;
    let draft = json!({
        "mailboxIds": {drafts: true}, "keywords": {"$draft": true}, "subject": "Re: Help",
        "inReplyTo": first["list"][0]["messageId"], "references": first["list"][0]["messageId"]
    });
    let made = bob.call("Email/set", json!({"create": {"d": draft}})).await["created"]["d"]["id"].clone();
    let draft = made.as_str().unwrap();
    for (keywords, count) in [(json!({}), 2), (json!({"$draft": true}), 1), (json!({"$flagged": true}), 2)] {
        let told = bob.call("Email/set", json!({"update": {draft: {"keywords": keywords}}})).await;
        assert_eq!(told["updated"], json!({draft: null}), "{told}");
        assert_eq!(conversation(&bob).await["messageCount"], json!(count), "{keywords}");
        server.check();
    }
}

#[tokio::test]
async fn what_is_closed_goes_where_a_new_setting_has_it() {
    let server = office().await;
    server.json(&["inbox", "member", "add", SUPPORT, "ann@x.example:admin"]);
    let ann = server.client("ann@x.example").await;
    for n in 0..60 {
        deliver(&server, &format!("m{n}"), None, &format!("Matter {n}")).await;
    }
    let ids = ann.call("Conversation/query", json!({})).await["ids"].take();
    let close = ids
        .as_array()
        .unwrap()
        .iter()
        .map(|id| (id.as_str().unwrap().to_owned(), json!({"status": "closed", "category": "billing"})));
    let closed = ann.call("Conversation/set", json!({"update": close.collect::<Map<_, _>>()})).await;
    assert_eq!(closed["notUpdated"], Value::Null, "{closed}");
    let known = emails(&ann).await;
    for (required, place) in [(true, "Archive/billing"), (false, "Archive")] {
        let change =
            json!({"update": {"singleton": {"requireCategory": required, "categories": ["billing"]}}});
        assert!(ann.call("InboxSettings/set", change).await["updated"].is_object());
        let mailbox = boxes(&ann).await[place].clone();
        eventually("all are there", async || {
            let filter = json!({"filter": {"inMailbox": mailbox}, "calculateTotal": true});
            let told = ann.call_with(PLAIN, "Email/query", filter).await;
            (told["total"] == known.len()).then_some(())
        })
        .await;
        server.check();
    }
}
