//! `notesAsMemos`: notes as clients see them that know only mail, and notes that such clients write.

use super::*;
use crate::support::relay::Relay;

/// The setting, by a lead.
async fn show(lead: &Client, wanted: bool) {
    let set = json!({"update": {"singleton": {"notesAsMemos": wanted}}});
    let told = lead.call("InboxSettings/set", set).await;
    assert!(told["updated"].is_object(), "{told}");
}

/// Writes a note and gives its id.
async fn note(client: &Client, conversation: &Value, email: Option<&str>, body: &str) -> String {
    let create = json!({"create": {"n": {
        "conversationId": conversation["id"], "emailId": email, "body": body,
    }}});
    let told = client.call("Note/set", create).await;
    told["created"]["n"]["id"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// The memos of the inbox as a plain client finds them, oldest first.
async fn memos(client: &Client) -> Vec<Value> {
    let query = json!({"filter": {"hasKeyword": "$memo"}, "sort": [{"property": "receivedAt"}]});
    let ids = client.call_with(PLAIN, "Email/query", query).await["ids"].take();
    let get = json!({"ids": ids, "fetchAllBodyValues": true, "properties": [
        "id", "threadId", "mailboxIds", "keywords", "from", "replyTo", "to", "subject", "messageId",
        "inReplyTo", "bodyValues", "hasAttachment", "conversationId"
    ]});
    client.call("Email/get", get).await["list"].as_array().unwrap().clone()
}

fn text(memo: &Value) -> &str {
    memo["bodyValues"].as_object().unwrap().values().next().unwrap()["value"].as_str().unwrap()
}

async fn keywords(client: &Client, email: &str) -> Value {
    let get = json!({"ids": [email], "properties": ["keywords"]});
    client.call_with(PLAIN, "Email/get", get).await["list"][0]["keywords"].take()
}

/// An Email/set of a plain client that makes one message.
async fn make(client: &Client, properties: Value) -> Value {
    let mut object = json!({
        "subject": "Re: Broken", "bodyValues": {"t": {"value": "By hand"}},
        "textBody": [{"partId": "t", "type": "text/plain"}],
    });
    for (name, value) in properties.as_object().unwrap() {
        object[name] = value.clone();
    }
    client.call_with(PLAIN, "Email/set", json!({"create": {"m": object}})).await
}

/// Marta's mail, and the conversation that it began.
async fn begun(server: &TestServer, client: &Client) -> (String, Value) {
    deliver(server, "first", None, "Broken").await;
    (emails(client).await[0].clone(), conversation(client).await)
}

#[tokio::test]
async fn a_note_is_a_message_that_names_nobody_in_the_thread_of_what_it_is_about() {
    let server = office().await;
    let (ann, bob) = (server.client("ann@x.example").await, server.client("bob@x.example").await);
    let (first, conversation) = begun(&server, &ann).await;
    note(&bob, &conversation, Some(&first), "Before the setting").await;
    assert_eq!(memos(&ann).await, Vec::<Value>::new());
    show(&ann, true).await;
    note(&bob, &conversation, None, "Don't tell her, it's *our* fault").await;
    let found = memos(&ann).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let known = boxes(&ann).await;
    let thread = ann.call("Email/get", json!({"ids": [first], "properties": ["threadId"]})).await;
    for memo in &found {
        let address = memo["from"][0]["email"].as_str().unwrap();
        assert!(address.ends_with("@memo.invalid"), "{memo}");
        assert_eq!(memo["from"], json!([{"name": "Bob", "email": address}]));
        assert_eq!((&memo["replyTo"], &memo["to"]), (&memo["from"], &Value::Null));
        assert_eq!(memo["messageId"], json!([address]));
        assert_eq!(memo["inReplyTo"], json!(["first@customer.example"]));
        assert_eq!(memo["subject"], "Broken");
        assert_eq!(memo["mailboxIds"], json!({&known["Memos"]: true}));
        assert_eq!(memo["threadId"], thread["list"][0]["threadId"]);
        assert_eq!(memo["conversationId"], Value::Null);
        assert!(
            text(memo).ends_with(&format!(
                "\n\nThis is an internal note. It is never sent to anybody.\n{address}\n"
            ))
        );
    }
    assert!(text(&found[0]).starts_with("Before the setting\n"));
    assert!(text(&found[1]).starts_with("Don't tell her, it's *our* fault\n"));
    // What was there is no news; a new one is, to all but its author.
    assert_eq!(found[0]["keywords"], json!({"$memo": true, "$seen": true}));
    assert_eq!(found[1]["keywords"], json!({"$memo": true}));
    assert_eq!(memos(&bob).await[1]["keywords"], json!({"$memo": true, "$seen": true}));
    assert_eq!(keywords(&ann, &first).await["$hasmemo"], true);
    // It is no message of the conversation.
    let told = ann.call("Conversation/get", json!({"ids": null})).await;
    assert_eq!((&told["list"][0]["messageCount"], &told["list"][0]["noteCount"]), (&json!(1), &json!(2)));
    server.check();
}

#[tokio::test]
async fn a_memo_follows_its_note_and_goes_with_it_or_with_the_setting() {
    let server = office().await;
    let ann = server.client("ann@x.example").await;
    let (first, conversation) = begun(&server, &ann).await;
    show(&ann, true).await;
    let one = note(&ann, &conversation, None, "One").await;
    let two = note(&ann, &conversation, None, "Two").await;
    let before = memos(&ann).await;
    let state = ann.call_with(PLAIN, "Email/get", json!({"ids": []})).await["state"].take();
    let edit = json!({"update": {&one: {"body": "One, better"}}});
    assert!(ann.call("Note/set", edit).await["updated"].is_object());
    let after = memos(&ann).await;
    assert_eq!(after.len(), 2);
    let edited = after.iter().find(|memo| text(memo).starts_with("One, better\n")).unwrap();
    assert_eq!(edited["messageId"], before[0]["messageId"]);
    assert_eq!(edited["keywords"], json!({"$memo": true, "$seen": true}), "by its author");
    let told = ann.call_with(PLAIN, "Email/changes", json!({"sinceState": state})).await;
    assert_eq!(told["created"], json!([edited["id"]]));
    assert_eq!(told["destroyed"], json!([before[0]["id"]]));
    assert!(ann.call("Note/set", json!({"destroy": [&one]})).await["destroyed"].is_array());
    assert_eq!(memos(&ann).await.len(), 1);
    assert_eq!(keywords(&ann, &first).await["$hasmemo"], true, "of the other one");
    server.check();
    assert!(ann.call("Note/set", json!({"destroy": [&two]})).await["destroyed"].is_array());
    assert_eq!(keywords(&ann, &first).await["$hasmemo"], Value::Null);
    note(&ann, &conversation, None, "Three").await;
    show(&ann, false).await;
    assert_eq!((memos(&ann).await, &keywords(&ann, &first).await["$hasmemo"]), (vec![], &Value::Null));
    assert_eq!(ann.call("Note/get", json!({"ids": null})).await["list"][0]["body"], "Three");
    server.check();
}

#[tokio::test]
async fn more_notes_than_fit_into_one_commit_all_get_their_memos_and_lose_them() {
    let server = office().await;
    let ann = server.client("ann@x.example").await;
    let (_, conversation) = begun(&server, &ann).await;
    let create: Map<String, Value> = (0..120)
        .map(|n| {
            (format!("n{n}"), json!({"conversationId": conversation["id"], "body": format!("Note {n}")}))
        })
        .collect();
    assert_eq!(
        ann.call("Note/set", json!({"create": create})).await["created"].as_object().unwrap().len(),
        120
    );
    for (wanted, count) in [(true, 120), (false, 0)] {
        show(&ann, wanted).await;
        crate::support::eventually("every note is where the setting has it", async || {
            (memos(&ann).await.len() == count).then_some(())
        })
        .await;
        server.check();
    }
}

#[tokio::test]
async fn however_many_notes_there_are_answers_find_their_conversation() {
    let server = office().await;
    let ann = server.client("ann@x.example").await;
    let (_, about) = begun(&server, &ann).await;
    show(&ann, true).await;
    let create: Map<String, Value> = (0..40)
        .map(|n| (format!("n{n}"), json!({"conversationId": about["id"], "body": format!("Note {n}")})))
        .collect();
    assert!(ann.call("Note/set", json!({"create": create})).await["notCreated"].is_null());
    let text =
        message("later@customer.example", "sven@customer.example", SUPPORT, "Quite another", "Me, too");
    let text = format!("In-Reply-To: <first@customer.example>\r\n{text}");
    assert!(server.deliver("sven@customer.example", &[SUPPORT], &text).await.starts_with("250 "));
    assert_eq!(conversation(&ann).await["messageCount"], 2);
    // A memo that answers a memo is about the same.
    let inbox = ann.mailbox("inbox").await;
    let mark = memos(&ann).await[0]["messageId"].clone();
    let properties = json!({"mailboxIds": {&inbox: true}, "keywords": {"$memo": true}, "inReplyTo": mark});
    let told = make(&ann, properties).await;
    assert!(told["created"]["m"].is_object(), "{told}");
    assert_eq!(conversation(&ann).await["noteCount"], 41);
    server.check();
}

#[tokio::test]
async fn a_memo_that_a_plain_client_makes_becomes_a_note() {
    let server = office().await;
    let (ann, bob, olaf) = (
        server.client("ann@x.example").await,
        server.client("bob@x.example").await,
        server.client("olaf@x.example").await,
    );
    let (first, conversation) = begun(&server, &ann).await;
    show(&ann, true).await;
    note(&ann, &conversation, None, "So that there is the mailbox").await;
    let known = boxes(&ann).await;
    for (name, client, place) in [("bob", &bob, "Memos"), ("olaf", &olaf, "Inbox")] {
        let properties = json!({
            "mailboxIds": {&known[place]: true}, "keywords": {"$memo": true, "$seen": true},
            "inReplyTo": ["first@customer.example"], "from": [{"email": format!("{name}@x.example")}],
        });
        let told = make(client, properties).await;
        let made = told["created"]["m"].clone();
        assert_eq!(made["mailboxIds"], json!({&known["Memos"]: true}), "{told}");
        assert_eq!(made["keywords"], json!({"$memo": true, "$seen": true}));
        let notes = ann.call("Note/get", json!({"ids": null})).await;
        let written = notes["list"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&written["body"], &written["emailId"]), (&json!("By hand"), &json!(first)));
        assert_eq!(written["conversationId"], conversation["id"]);
        assert_eq!(written["authorId"], client.principal());
        let memo = memos(client).await.into_iter().find(|memo| memo["id"] == made["id"]).unwrap();
        assert!(text(&memo).starts_with("By hand\n\nThis is an internal note"), "{memo}");
    }
    // With an attachment, by import.
    let whole = "From: bob@x.example\r\nIn-Reply-To: <first@customer.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee the plan\r\n--b\r\n\
        Content-Type: application/pdf; name=plan.pdf\r\nContent-Disposition: attachment\r\n\r\nPDF\r\n--b--\r\n";
    let upload =
        bob.post(&format!("/jmap/upload/{}", bob.account), "message/rfc822", whole.into()).await.json();
    let import = json!({"emails": {"i": {
        "blobId": upload["blobId"], "mailboxIds": {&known["Memos"]: true}, "keywords": {"$memo": true}
    }}});
    let told = bob.call_with(PLAIN, "Email/import", import).await;
    assert!(told["created"]["i"]["id"].is_string(), "{told}");
    let notes = ann.call("Note/get", json!({"ids": null})).await;
    let written = notes["list"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(written["body"], "See the plan");
    let file = &written["attachments"][0];
    assert_eq!((&file["name"], &file["type"]), (&json!("plan.pdf"), &json!("application/pdf")));
    let path =
        format!("/jmap/download/{}/{}/p?type=text/plain", ann.account, file["blobId"].as_str().unwrap());
    assert_eq!(ann.get(&path).await.body, b"PDF");
    server.check();
}

#[tokio::test]
async fn a_memo_that_is_about_nothing_or_that_nobody_wants_is_refused() {
    let server = office().await;
    let ann = server.client("ann@x.example").await;
    let (_, conversation) = begun(&server, &ann).await;
    let inbox = ann.mailbox("inbox").await;
    let memo = json!({"mailboxIds": {&inbox: true}, "keywords": {"$memo": true}, "inReplyTo": ["first@customer.example"]});
    let told = make(&ann, memo.clone()).await;
    assert_eq!(told["notCreated"]["m"]["type"], "forbidden", "{told}");
    show(&ann, true).await;
    let mut nowhere = memo.clone();
    nowhere["inReplyTo"] = json!(["unknown@customer.example"]);
    let told = make(&ann, nowhere).await;
    assert_eq!(told["notCreated"]["m"]["type"], "invalidProperties");
    assert_eq!(told["notCreated"]["m"]["properties"], json!(["inReplyTo"]));
    let mut draft = memo.clone();
    draft["keywords"]["$draft"] = json!(true);
    let told = make(&ann, draft).await;
    assert_eq!(told["notCreated"]["m"]["properties"], json!(["keywords"]));
    let own = json!({"create": {"b": {"name": "Mine", "role": "memos"}}});
    let told = ann.call_with(PLAIN, "Mailbox/set", own).await;
    assert_eq!(told["notCreated"]["b"]["properties"], json!(["role"]), "{told}");
    note(&ann, &conversation, None, "So that there is the mailbox").await;
    let memos_box = ann.mailbox("memos").await;
    let told = make(&ann, json!({"mailboxIds": {&memos_box: true}, "keywords": {}})).await;
    assert_eq!(told["notCreated"]["m"]["type"], "forbidden", "what is no memo: {told}");
    let rights = ann.call_with(PLAIN, "Mailbox/get", json!({"ids": [memos_box]})).await;
    assert_eq!(rights["list"][0]["myRights"]["mayAddItems"], false);
    server.check();
}

#[tokio::test]
async fn a_memo_can_be_read_and_destroyed_and_not_changed() {
    let server = office().await;
    let (ann, bob, cat) = (
        server.client("ann@x.example").await,
        server.client("bob@x.example").await,
        server.client("cat@x.example").await,
    );
    let (first, conversation) = begun(&server, &ann).await;
    show(&ann, true).await;
    note(&bob, &conversation, None, "Bob's").await;
    let memo = memos(&bob).await[0]["id"].as_str().unwrap().to_owned();
    let inbox = bob.mailbox("inbox").await;
    for patch in [
        json!({"keywords/$memo": null}),
        json!({"keywords/$flagged": true}),
        json!({"mailboxIds": {&inbox: true}}),
        json!({format!("mailboxIds/{inbox}"): true}),
    ] {
        let told = bob.call_with(PLAIN, "Email/set", json!({"update": {&memo: patch}})).await;
        assert_eq!(told["notUpdated"][&memo]["type"], "forbidden", "{told}");
    }
    let seen = json!({"update": {&memo: {"keywords/$seen": true}}});
    assert!(cat.call_with(PLAIN, "Email/set", seen).await["updated"].is_object());
    let told = bob.call_with(PLAIN, "Email/set", json!({"update": {&first: {"keywords/$memo": true}}})).await;
    assert_eq!(told["notUpdated"][&first]["properties"], json!(["keywords"]));
    let told = cat.call_with(PLAIN, "Email/set", json!({"destroy": [&memo]})).await;
    assert_eq!(told["notDestroyed"][&memo]["type"], "forbidden", "it is another's");
    let own = cat.own();
    let copy = json!({"fromAccountId": cat.account, "create": {"c": {
        "id": memo, "mailboxIds": {own.mailbox("inbox").await: true}
    }}});
    let told = own.call_with(PLAIN, "Email/copy", copy).await;
    assert_eq!(told["notCreated"]["c"]["type"], "forbidden");
    let told = bob.call_with(PLAIN, "Email/set", json!({"destroy": [&memo]})).await;
    assert_eq!(told["destroyed"], json!([memo]));
    assert_eq!(bob.call("Note/get", json!({"ids": null})).await["list"], json!([]));
    server.check();
}

#[tokio::test]
async fn nothing_that_has_a_memo_in_it_is_ever_sent_from_any_account() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let ann = server.client("ann@x.example").await;
    let (_, conversation) = begun(&server, &ann).await;
    show(&ann, true).await;
    note(&ann, &conversation, None, "Don't tell her").await;
    let memo = memos(&ann).await[0].clone();
    let blob = ann.call("Email/get", json!({"ids": [memo["id"]], "properties": ["blobId"]})).await;
    let blob = blob["list"][0]["blobId"].clone();
    let mark = memo["messageId"][0].as_str().unwrap();
    let quote: String = text(&memo).lines().map(|line| format!("> {line}\n")).collect();
    let drafts = ann.mailbox("drafts").await;
    let draft = json!({
        "mailboxIds": {drafts: true}, "keywords": {"$draft": true}, "from": [{"email": SUPPORT}],
        "to": [{"email": CUSTOMER}],
    });
    for (what, change) in [
        ("an answer", json!({"inReplyTo": [mark]})),
        ("to the memo", json!({"to": [{"email": mark}]})),
        ("quoted", json!({"bodyValues": {"t": {"value": quote}}})),
        ("forwarded", json!({"attachments": [{"blobId": blob, "type": "message/rfc822"}]})),
        ("as a file", json!({"attachments": [{"blobId": blob, "type": "text/plain", "name": "n.txt"}]})),
    ] {
        let mut object = draft.clone();
        for (name, value) in change.as_object().unwrap() {
            object[name] = value.clone();
        }
        let told = make(&ann, object).await;
        let id = told["created"]["m"]["id"].as_str().unwrap_or_else(|| panic!("{what}: {told}"));
        let told = submit(&ann, id).await;
        assert_eq!(told["notCreated"]["s"]["type"], "forbiddenToSend", "{what}: {told}");
        assert!(told["notCreated"]["s"]["description"].as_str().unwrap().contains("note"), "{what}");
    }
    let told = submit(&ann, memo["id"].as_str().unwrap()).await;
    assert!(told["notCreated"]["s"]["type"].is_string(), "itself: {told}");
    // Taken home by hand, it is known there, too.
    let own = ann.own();
    let path = format!("/jmap/download/{}/{}/m?type=message/rfc822", ann.account, blob.as_str().unwrap());
    let raw = ann.get(&path).await.body;
    let upload = own.post(&format!("/jmap/upload/{}", own.account), "text/plain", raw).await.json();
    let object = json!({
        "mailboxIds": {own.mailbox("drafts").await: true}, "from": [{"email": "ann@x.example"}],
        "to": [{"email": CUSTOMER}], "attachments": [{"blobId": upload["blobId"], "type": "application/octet-stream"}],
    });
    let told = make(&own, object).await;
    let told = submit(&own, told["created"]["m"]["id"].as_str().unwrap()).await;
    assert_eq!(told["notCreated"]["s"]["type"], "forbiddenToSend", "{told}");
    // And what has none goes out.
    let mut object = draft;
    object["inReplyTo"] = json!(["first@customer.example"]);
    let told = make(&ann, object).await;
    let told = submit(&ann, told["created"]["m"]["id"].as_str().unwrap()).await;
    assert!(told["created"]["s"].is_object(), "{told}");
    let taken = relay.wait_for(1).await;
    assert_eq!(taken.len(), 1);
    assert!(!taken[0].text().contains("tell her"));
    server.check();
}

/// What the server writes by itself is no way out either.
#[tokio::test]
async fn no_automatic_mail_has_a_memo_in_it() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let ann = server.client("ann@x.example").await;
    let (_, conversation) = begun(&server, &ann).await;
    show(&ann, true).await;
    note(&ann, &conversation, None, "Don't tell her").await;
    let quote = text(&memos(&ann).await[0]).to_owned();
    // A notification of disposition that somebody writes it into.
    let asks = format!("Disposition-Notification-To: {CUSTOMER}\r\n");
    let text = message("asks@customer.example", CUSTOMER, SUPPORT, "Read?", "Did you?");
    assert!(server.deliver(CUSTOMER, &[SUPPORT], &format!("{asks}{text}")).await.starts_with("250 "));
    let email = emails(&ann).await.last().unwrap().clone();
    let send = json!({"identityId": identity(&ann).await, "send": {"k": {
        "forEmailId": email, "textBody": quote, "disposition": {
            "actionMode": "manual-action", "sendingMode": "mdn-sent-manually", "type": "displayed"
        }
    }}});
    let using = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail", "urn:ietf:params:jmap:mdn"];
    let told = ann.call_with(&using, "MDN/send", send).await;
    assert_eq!(told["notSent"]["k"]["type"], "forbidden", "{told}");
    // An acknowledgement that somebody copied it into; one without goes out.
    for (id, acknowledgement) in [("marked", quote.as_str()), ("clean", "We got it.")] {
        let set = json!({"update": {"singleton": {"acknowledgement": acknowledgement}}});
        assert!(ann.call("InboxSettings/set", set).await["updated"].is_object());
        let from = format!("{id}@other.example");
        let text = message(&format!("{id}@other.example"), &from, SUPPORT, id, "Hello");
        assert!(server.deliver(&from, &[SUPPORT], &text).await.starts_with("250 "));
    }
    let taken = relay.wait_for(1).await;
    assert_eq!((taken.len(), &taken[0].rcpts), (1, &vec!["<clean@other.example>".to_owned()]));
    server.check();
}
