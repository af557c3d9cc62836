//! One message to several inboxes: their conversations know each other, and a reply from one makes
//! the gates of the others ask.

use super::*;
use crate::support::{PASSWORD, TEAM, eventually};

const BILLING: &str = "billing@x.example";

struct Both {
    server: TestServer,
    billing: String,
}

/// support@ as ever, and billing@ with dora and cat.
async fn both() -> Both {
    let server = office().await;
    server.person("dora@x.example", "Dora");
    let billing = server.inbox(BILLING, &["dora@x.example:agent", "cat@x.example:agent"]);
    Both { server, billing }
}

impl Both {
    async fn client(&self, name: &str) -> Client {
        Client::basic(&self.server.http, &format!("{name}@x.example"), PASSWORD).await
    }
}

fn both_letter(id: &str) -> String {
    message(&format!("{id}@customer.example"), CUSTOMER, &format!("{SUPPORT}, {BILLING}"), "Both", "Hello")
}

async fn draft_from(client: &Client, from: &str, body: &str) -> String {
    answer_to("one", client, from, body).await
}

async fn answer_to(id: &str, client: &Client, from: &str, body: &str) -> String {
    let drafts = client.mailbox("drafts").await;
    let object = json!({
        "mailboxIds": {drafts: true}, "keywords": {"$draft": true},
        "from": [{"name": null, "email": from}], "to": [{"name": null, "email": CUSTOMER}],
        "subject": "Re: Both", "inReplyTo": [format!("{id}@customer.example")],
        "bodyValues": {"t": {"value": body}}, "textBody": [{"partId": "t", "type": "text/plain"}],
    });
    let made = client.call_with(PLAIN, "Email/set", json!({"create": {"d": object}})).await;
    made["created"]["d"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

#[tokio::test]
async fn a_message_to_two_inboxes_makes_their_conversations_siblings() {
    let both = both().await;
    let reply = both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter("one")).await;
    assert!(reply.starts_with("250 "), "{reply}");
    let (bob, dora) = (both.client("bob").await, both.client("dora").await);
    let (here, there) = (conversation(&bob).await, conversation(&dora).await);
    // Bob isn't in billing@: he learns that there is one, and not which conversation it is.
    assert_eq!(here["siblings"], json!([{"accountId": both.billing, "conversationId": null}]));
    assert_eq!(there["siblings"], json!([{"accountId": bob.account, "conversationId": null}]));
    let cat = both.client("cat").await;
    let seen = conversation(&cat.at(&bob.account)).await;
    assert_eq!(seen["siblings"], json!([{"accountId": both.billing, "conversationId": there["id"]}]));
    // Whoever gets it later, by a delivery of its own, is known as well; a retry tells nothing new.
    let sales = both.server.inbox("sales@x.example", &["dora@x.example:agent"]);
    for _ in 0..2 {
        let reply = both.server.deliver(CUSTOMER, &["sales@x.example"], &both_letter("one")).await;
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let here = conversation(&bob).await;
    let accounts: BTreeSet<&str> =
        here["siblings"].as_array().unwrap().iter().map(|one| one["accountId"].as_str().unwrap()).collect();
    assert_eq!(accounts, BTreeSet::from([both.billing.as_str(), sales.as_str()]));
    // Another message of the same customer has nothing to do with it.
    deliver(&both.server, "two", None, "Other").await;
    let list = bob.call("Conversation/get", json!({"ids": null})).await["list"].take();
    assert_eq!(list.as_array().unwrap().iter().filter(|one| one["siblings"] == json!([])).count(), 1);
    both.server.check();
}

#[tokio::test]
async fn a_reply_in_one_inbox_makes_the_gate_of_the_other_ask_with_inbox_and_time_only() {
    let both = both().await;
    both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter("one")).await;
    let (bob, dora) = (both.client("bob").await, both.client("dora").await);
    let before = conversation(&dora).await;
    let answer = draft_from(&bob, SUPPORT, "From support.").await;
    assert!(submit(&bob, &answer).await["created"]["s"].is_object());

    // At once, before any timer could have run: a plain client is refused in plain words.
    let own = draft_from(&dora, BILLING, "From billing.").await;
    let refused = submit(&dora, &own).await;
    let error = &refused["notCreated"]["s"];
    assert_eq!(error["type"], "forbiddenToSend", "{refused}");
    let description = error["description"].as_str().unwrap();
    let began = "The same message was answered from the inbox support@x.example on 20";
    assert!(description.starts_with(began), "{description}");
    for secret in ["Bob", "bob@", "From support"] {
        assert!(!refused.to_string().contains(secret), "{refused}");
    }

    // The conversation tells of it as an activity, its version moves, and the version that was read
    // before is asked about.
    let after = eventually("the word", async || {
        let now = conversation(&dora).await;
        (now["version"] != before["version"]).then_some(now)
    })
    .await;
    let told = dora.call("Activity/get", json!({"ids": null})).await;
    let kinds: Vec<&Value> = told["list"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "siblingReplied").count(), 1, "{kinds:?}");
    let create =
        |version: &Value| json!({"create": {"s": {"emailId": own, "identityId": "", "ifVersion": version}}});
    let mut named = create(&before["version"]);
    named["create"]["s"]["identityId"] = json!(identity(&dora).await);
    let refused = dora.call_with(TEAM, "EmailSubmission/set", named.clone()).await;
    let error = &refused["notCreated"]["s"];
    assert_eq!(
        *error,
        json!({
            "type": "conversationChanged", "level": "ask", "version": after["version"], "emailIds": [],
            "reasons": ["siblingReplied"], "description": error["description"]
        })
    );
    assert!(error["description"].as_str().unwrap().starts_with(began), "{error}");
    named["create"]["s"]["ifVersion"] = after["version"].clone();
    let sent = dora.call_with(TEAM, "EmailSubmission/set", named).await;
    assert!(sent["created"]["s"].is_object(), "{sent}");
    both.server.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replies_from_two_inboxes_at_the_same_moment_one_is_asked_about_the_other() {
    let both = both().await;
    let (bob, dora) = (both.client("bob").await, both.client("dora").await);
    for round in 0..8 {
        let id = format!("round{round}");
        both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter(&id)).await;
        let here = answer_to(&id, &bob, SUPPORT, &format!("From support {id}.")).await;
        let there = answer_to(&id, &dora, BILLING, &format!("From billing {id}.")).await;
        let (here, there) = tokio::join!(submit(&bob, &here), submit(&dora, &there));
        let sent = [&here, &there].into_iter().filter(|one| one["created"]["s"].is_object()).count();
        assert_eq!(sent, 1, "{here} {there}");
        let refused = if here["created"].is_null() { &here } else { &there };
        assert_eq!(refused["notCreated"]["s"]["type"], "forbiddenToSend", "{refused}");
    }
    both.server.check();
}

#[tokio::test]
async fn whoever_answered_in_both_inboxes_is_not_asked_about_themselves() {
    let both = both().await;
    both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter("one")).await;
    let cat = both.client("cat").await;
    let (support, billing) = (cat.at(&both.client("bob").await.account), cat.at(&both.billing));
    let first = draft_from(&support, SUPPORT, "From support.").await;
    assert!(submit(&support, &first).await["created"]["s"].is_object());
    let second = draft_from(&billing, BILLING, "From billing.").await;
    let sent = submit(&billing, &second).await;
    assert!(sent["created"]["s"].is_object(), "{sent}");
    both.server.check();
}

#[tokio::test]
async fn word_of_a_reply_survives_a_kill() {
    let mut both = both().await;
    both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter("one")).await;
    let bob = both.client("bob").await;
    let answer = draft_from(&bob, SUPPORT, "From support.").await;
    assert!(submit(&bob, &answer).await["created"]["s"].is_object());
    both.server.kill();
    both.server.start().await;
    let dora = both.client("dora").await;
    let own = draft_from(&dora, BILLING, "From billing.").await;
    let refused = submit(&dora, &own).await;
    assert_eq!(refused["notCreated"]["s"]["type"], "forbiddenToSend", "{refused}");
    both.server.check();
}

/// Whether the gate stops Dora's answer, because the other inbox has answered.
async fn is_stopped(dora: &Client, answer: &str) -> bool {
    let reply = submit(dora, answer).await;
    let error = &reply["notCreated"]["s"];
    let said = error["description"].as_str().unwrap_or_default();
    error["type"] == "forbiddenToSend" && said.contains("from the inbox support@x.example")
}

async fn answered(bob: &Client) {
    let answer = draft_from(bob, SUPPORT, "From support.").await;
    assert!(submit(bob, &answer).await["created"]["s"].is_object());
}

#[tokio::test]
async fn whoever_gets_the_message_after_it_was_answered_elsewhere_is_told() {
    let both = both().await;
    let (bob, dora) = (both.client("bob").await, both.client("dora").await);
    both.server.deliver(CUSTOMER, &[SUPPORT], &both_letter("one")).await;
    answered(&bob).await;
    both.server.deliver(CUSTOMER, &[BILLING], &both_letter("one")).await;
    let own = draft_from(&dora, BILLING, "From billing.").await;
    assert!(is_stopped(&dora, &own).await);
    both.server.check();
}

#[tokio::test]
async fn what_was_split_off_hears_of_siblings_like_what_it_was_a_part_of() {
    let both = both().await;
    let (bob, dora) = (both.client("bob").await, both.client("dora").await);
    both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter("one")).await;
    let more = format!(
        "In-Reply-To: <one@customer.example>\r\n{}",
        message("more@customer.example", CUSTOMER, BILLING, "Re: Both", "More")
    );
    both.server.deliver(CUSTOMER, &[BILLING], &more).await;
    let one = emails(&dora).await.remove(0);
    let split = dora.call("Conversation/set", json!({"create": {"k": {"emailIds": [one]}}})).await;
    assert!(split["created"]["k"]["id"].is_string(), "{split}");
    answered(&bob).await;
    let own = draft_from(&dora, BILLING, "From billing.").await;
    assert!(is_stopped(&dora, &own).await, "the half with the shared message");
    both.server.check();
}

#[tokio::test]
async fn word_that_came_while_a_conversation_was_merged_is_there_after_the_undo() {
    let both = both().await;
    let (bob, dora) = (both.client("bob").await, both.client("dora").await);
    both.server.deliver(CUSTOMER, &[SUPPORT, BILLING], &both_letter("one")).await;
    let source = conversation(&dora).await["id"].as_str().unwrap().to_owned();
    let other = message("two@customer.example", CUSTOMER, BILLING, "Other", "Hello");
    both.server.deliver(CUSTOMER, &[BILLING], &other).await;
    let list = dora.call("Conversation/get", json!({"ids": null})).await["list"].take();
    let target =
        list.as_array().unwrap().iter().find(|one| one["id"] != source.as_str()).unwrap()["id"].clone();
    let merged = dora.call("Conversation/set", json!({"update": {&source: {"mergedIntoId": target}}})).await;
    assert!(merged["updated"].is_object(), "{merged}");
    answered(&bob).await;
    eventually("the word", async || {
        let told = dora.call("Activity/query", json!({"filter": {"type": "siblingReplied"}})).await;
        (told["ids"] != json!([])).then_some(())
    })
    .await;
    let undone = dora.call("Conversation/set", json!({"update": {&source: {"mergedIntoId": null}}})).await;
    assert!(undone["updated"].is_object(), "{undone}");
    let own = draft_from(&dora, BILLING, "From billing.").await;
    assert!(is_stopped(&dora, &own).await);
    both.server.check();
}
