//! Clients that know nothing of the gate and bring a new Email at each attempt: what is told once, what a
//! client's own retry is worth, and what an inbox's setting makes of it.

use super::*;
use crate::support::relay::Relay;
use std::time::Duration;

/// From when on the next attempt is a person's (spec/locks.md, section 5), and some.
const PAUSE: Duration = Duration::from_millis(10_300);
const CONFIRM: &str = "Your message was not sent. Read the conversation first. To send yours all the same, wait ten \
                       seconds and send it again within ten minutes.";
const REJECT: &str = "Your message was not sent. This inbox allows one answer at a time: read the conversation, then \
                      write a new reply to its newest message if one is still needed.";

/// The office with the setting `plainCollision`, and a message that Cat has answered. Gives what Bob is told of that.
async fn answered(relay: &Relay, setting: &str) -> (TestServer, Client, String) {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    deliver(&server, "one", None, "Where is it?").await;
    let (ann, bob, cat) = (
        server.client("ann@x.example").await,
        server.client("bob@x.example").await,
        server.client("cat@x.example").await,
    );
    let update = json!({"update": {"singleton": {"plainCollision": setting}}});
    let told = ann.call("InboxSettings/set", update).await;
    assert!(told["updated"].get("singleton").is_some(), "{told}");
    let theirs = draft(&cat, Some("one"), "Re: Where is it?", "From Cat.").await;
    assert!(submit(&cat, &theirs).await["created"]["s"].is_object());
    relay.wait_for(1).await;
    let sent = conversation(&bob).await["lastOutboundAt"].as_str().unwrap().to_owned();
    (server, bob, format!("Cat replied to this conversation on {sent}. "))
}

/// What such a client does at each attempt: it brings the message anew, under an id that it makes for this attempt,
/// and submits that. Gives the Email and the whole response.
async fn attempt(client: &Client, n: u32, to: &str) -> (String, Value) {
    let id = format!("attempt{n}@x.example");
    let text = message(&id, SUPPORT, CUSTOMER, "Re: Where is it?", "From Bob.");
    let raw = format!("In-Reply-To: <{to}>\r\n{text}").into_bytes();
    let path = format!("/jmap/upload/{}", client.account);
    let blob = client.post(&path, "message/rfc822", raw).await.json()["blobId"].clone();
    let drafts = client.mailbox("drafts").await;
    let one =
        json!({"blobId": blob, "mailboxIds": {drafts: true}, "keywords": {"$draft": true, "$seen": true}});
    let told = client.call_with(PLAIN, "Email/import", json!({"emails": {"i": one}})).await;
    let email = told["created"]["i"]["id"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
    let response = submit(client, &email).await;
    (email, response)
}

#[track_caller]
fn assert_refused(response: &Value, description: &str) {
    let error = json!({"type": "forbiddenToSend", "description": description});
    assert_set(response, json!({"notCreated": {"s": error}}));
}

async fn activities(client: &Client) -> Vec<String> {
    let told = client.call("Activity/get", json!({"ids": null, "properties": ["type"]})).await;
    told["list"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn another_email_after_ten_seconds_is_a_yes_and_one_at_once_is_none() {
    let relay = Relay::start().await;
    let (server, bob, cats) = answered(&relay, "confirm").await;
    let told = format!("{cats}{CONFIRM}");
    let mut known = BTreeSet::new();
    // The person's attempt, and what the client retries by itself.
    for n in 1..=3 {
        let (email, refused) = attempt(&bob, n, "one@customer.example").await;
        assert_refused(&refused, &told);
        assert!(known.insert(email), "an Email of its own each time");
    }
    assert_eq!(relay.deliveries(), 1);
    tokio::time::sleep(PAUSE).await;
    let (email, sent) = attempt(&bob, 4, "one@customer.example").await;
    assert!(known.insert(email), "the yes comes with another Email, too");
    let made = sent["created"]["s"].clone();
    assert!(made["id"].is_string(), "{sent}");
    assert_set(&sent, json!({"created": {"s": made}}));
    let taken = relay.wait_for(2).await;
    assert!(taken[1].text().contains("Message-ID: <attempt4@x.example>"), "{}", taken[1].text());
    let over = activities(&bob).await.into_iter().filter(|kind| kind == "sentOver").count();
    assert_eq!(over, 1, "that it went out knowingly is on record");
    server.check();
}

#[tokio::test]
async fn where_the_inbox_rejects_no_attempt_is_a_yes_but_an_answer_to_what_was_sent_is_welcome() {
    let relay = Relay::start().await;
    let (server, bob, cats) = answered(&relay, "reject").await;
    let told = format!("{cats}{REJECT}");
    for n in 1..=2 {
        assert_refused(&attempt(&bob, n, "one@customer.example").await.1, &told);
    }
    tokio::time::sleep(PAUSE).await;
    assert_refused(&attempt(&bob, 3, "one@customer.example").await.1, &told);
    // Whoever answers the colleague's message has read it.
    let theirs = relay.messages()[0].text();
    let id = theirs.lines().find_map(|line| line.strip_prefix("Message-ID: <")?.strip_suffix('>'));
    let (_, sent) = attempt(&bob, 4, id.unwrap_or_else(|| panic!("{theirs}"))).await;
    assert!(sent["created"]["s"]["id"].is_string(), "{sent}");
    relay.wait_for(2).await;
    server.check();
}

#[tokio::test]
async fn where_the_inbox_allows_it_nothing_is_refused_and_what_went_out_over_another_is_on_record() {
    let relay = Relay::start().await;
    let (server, bob, _) = answered(&relay, "allow").await;
    let (_, sent) = attempt(&bob, 1, "one@customer.example").await;
    assert!(sent["created"]["s"]["id"].is_string(), "{sent}");
    relay.wait_for(2).await;
    assert!(activities(&bob).await.contains(&"sentOver".to_owned()));
    // That is said of replies over others, and of nothing else: the same message again goes out no second time.
    let (_, again) = attempt(&bob, 2, "one@customer.example").await;
    assert_eq!(again["created"]["s"]["id"], sent["created"]["s"]["id"], "{again}");
    assert_eq!(relay.deliveries(), 2);
    server.check();
}
