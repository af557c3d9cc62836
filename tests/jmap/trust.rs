//! What the gateway says of a message, what an address says beside who it is for, and mail that runs
//! in circles.

use crate::support::client::PLAIN;
use crate::support::relay::Relay;
use crate::support::sending::{draft, made, submit};
use crate::support::{Client, TEAM, TestServer, message};
use serde_json::{Value, json};

const MARTA: &str = "marta@customer.example";
const SUPPORT: &str = "support@x.example";

async fn office(config: &str, more: &[&str]) -> (TestServer, Client, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut arguments = vec!["--config", path.as_str()];
    arguments.extend(more);
    let server = TestServer::office(&arguments).await;
    let bob = server.client("bob@x.example").await;
    (server, bob, file)
}

fn text(header: &str, id: &str, body: &str) -> String {
    format!("{header}{}", message(id, MARTA, SUPPORT, "Hello", body))
}

async fn emails(client: &Client, properties: &[&str]) -> Vec<Value> {
    let told = client.call("Email/get", json!({"ids": null, "properties": properties})).await;
    told["list"].as_array().unwrap_or_else(|| panic!("{told}")).clone()
}

async fn conversations(client: &Client) -> Vec<Value> {
    let told = client.call("Conversation/get", json!({"ids": null})).await;
    told["list"].as_array().unwrap_or_else(|| panic!("{told}")).clone()
}

#[tokio::test]
async fn what_our_gateway_proved_is_shown_and_what_others_say_there_is_gone() {
    let (server, bob, _config) = office("authserv_ids = [\"gw.example\"]\n", &[]).await;
    let header = "Authentication-Results: gw.example; spf=pass; dkim=none; dmarc=fail\r\n\
                  Authentication-Results: evil.example; dmarc=pass\r\n";
    assert!(server.deliver(MARTA, &[SUPPORT], &text(header, "1@c", "x")).await.starts_with("250"));
    let got =
        emails(&bob, &["authentication", "threading", "header:Authentication-Results:asText:all"]).await;
    let id = got[0]["id"].clone();
    assert_eq!(
        got,
        [json!({
            "id": id,
            "authentication":
                {"authservId": "gw.example", "spf": "pass", "dkim": "none", "dmarc": "fail", "hasFailed": true},
            "threading": {
                "decidedBy": "nothing", "emailId": null, "alsoConversationIds": [], "isStranger": false,
                "hasFailedAuthentication": true,
                "forgedReferences": [], "cameBackAt": null
            },
            "header:Authentication-Results:asText:all": ["gw.example; spf=pass; dkim=none; dmarc=fail"]
        })]
    );
    for name in ["authentication", "threading"] {
        let plain = bob.call_with(PLAIN, "Email/get", json!({"ids": [id], "properties": [name]})).await;
        assert_eq!(plain["type"], "invalidArguments", "{plain}");
    }
    let all = bob.call("Email/get", json!({"ids": [id]})).await;
    assert!(all["list"][0].get("authentication").is_none(), "on request only");
    // Whoever isn't who they say doesn't become the customer.
    assert_eq!(conversations(&bob).await[0]["customer"], Value::Null);
    server.check();
}

#[tokio::test]
async fn spam_goes_to_junk_and_its_conversation_is_closed_and_nothing_reopens() {
    let (server, bob, _config) = office("", &[]).await;
    let reply =
        server.deliver(MARTA, &[SUPPORT, "bob@x.example"], &text("X-Spam-Flag: YES\r\n", "1@c", "x")).await;
    assert!(reply.starts_with("250"), "{reply}");
    for client in [&bob, &bob.own()] {
        let junk = client.mailbox("junk").await;
        let got = emails(client, &["mailboxIds"]).await;
        assert_eq!(got[0]["mailboxIds"], json!({junk: true}));
    }
    let spam = &conversations(&bob).await[0];
    assert_eq!((&spam["status"], &spam["resolution"]), (&json!("closed"), &json!("spam")));
    // A gateway that isn't ours is nobody's word.
    let (server, bob, _config) = office("gateways = [\"192.0.2.0/24\"]\n", &[]).await;
    server.deliver(MARTA, &[SUPPORT], &text("X-Spam-Flag: YES\r\n", "1@c", "x")).await;
    assert_eq!(conversations(&bob).await[0]["status"], "open");
    server.check();
}

#[tokio::test]
async fn what_was_taken_for_spam_waits_like_any_mail_once_it_is_out_of_junk() {
    let (server, bob, _config) = office("", &[]).await;
    let spam = text("X-Spam-Flag: YES\r\n", "1@c", "x");
    assert!(server.deliver(MARTA, &[SUPPORT], &spam).await.starts_with("250"));
    assert_eq!(conversations(&bob).await[0]["waitingSince"], Value::Null);
    let email = emails(&bob, &["receivedAt"]).await.remove(0);
    let (junk, inbox) = (bob.mailbox("junk").await, bob.mailbox("inbox").await);
    let patch = json!({format!("mailboxIds/{junk}"): null, format!("mailboxIds/{inbox}"): true});
    let id = email["id"].as_str().unwrap();
    let moved = bob.call_with(PLAIN, "Email/set", json!({"update": {id: patch}})).await;
    assert!(moved["updated"].is_object(), "{moved}");
    let now = &conversations(&bob).await[0];
    assert_eq!((&now["status"], &now["resolution"]), (&json!("open"), &Value::Null));
    assert_eq!(now["waitingSince"], email["receivedAt"]);
    let waiting =
        bob.call("Conversation/query", json!({"filter": {"waitingBefore": "2100-01-01T00:00:00Z"}})).await;
    assert_eq!(waiting["ids"], json!([now["id"]]), "{waiting}");
    server.check();
}

#[tokio::test]
async fn what_lies_in_junk_still_waits_for_nothing_when_other_mail_is_taken_out() {
    let (server, bob, _config) = office("", &[]).await;
    let spam = text("X-Spam-Flag: YES\r\n", "1@c", "x");
    assert!(server.deliver(MARTA, &[SUPPORT], &spam).await.starts_with("250"));
    // Times of mail are whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let second = text("X-Spam-Flag: YES\r\nReferences: <1@c>\r\n", "2@c", "x");
    assert!(server.deliver(MARTA, &[SUPPORT], &second).await.starts_with("250"));
    let mut both = emails(&bob, &["receivedAt"]).await;
    both.sort_by_key(|email| email["receivedAt"].as_str().unwrap().to_owned());
    let (junk, inbox) = (bob.mailbox("junk").await, bob.mailbox("inbox").await);
    let patch = json!({format!("mailboxIds/{junk}"): null, format!("mailboxIds/{inbox}"): true});
    let moved =
        bob.call_with(PLAIN, "Email/set", json!({"update": {both[1]["id"].as_str().unwrap(): patch}})).await;
    assert!(moved["updated"].is_object(), "{moved}");
    let now = conversations(&bob).await;
    assert_eq!((now.len(), &now[0]["messageCount"]), (1, &json!(2)));
    assert_ne!(both[0]["receivedAt"], both[1]["receivedAt"]);
    assert_eq!(now[0]["waitingSince"], both[1]["receivedAt"]);
    server.check();
}

#[tokio::test]
async fn an_addresss_detail_is_a_tag_and_a_domain_may_have_one_inbox_for_all() {
    let (server, _, _config) = office("", &[]).await;
    server.json(&[
        "inbox",
        "add",
        "all@y.example",
        "--name",
        "All",
        "--alias",
        "*@y.example",
        "--member",
        "bob@x.example:agent",
    ]);
    assert!(
        server.deliver(MARTA, &["support+Billing@x.example"], &text("", "1@c", "x")).await.starts_with("250")
    );
    assert!(server.deliver(MARTA, &["whoever@Y.example"], &text("", "2@c", "y")).await.starts_with("250"));
    let bob = server.client("bob@x.example").await;
    let accounts = bob.session["accounts"].as_object().unwrap().clone();
    let at = |name: &str| bob.at(accounts.iter().find(|(_, account)| account["name"] == name).unwrap().0);
    let (support, all) = (at(SUPPORT), at("All"));
    assert_eq!(conversations(&support).await[0]["tags"], json!({"billing": true}));
    assert_eq!(conversations(&all).await[0]["tags"], json!({}));
    let identities = all.call("Identity/get", json!({"ids": null})).await;
    let emails: Vec<&Value> =
        identities["list"].as_array().unwrap().iter().map(|one| &one["email"]).collect();
    assert_eq!(emails, ["all@y.example"], "nobody writes as all of a domain");
    server.check();
}

#[tokio::test]
async fn the_tags_of_all_addresses_by_which_a_message_comes_to_an_inbox_are_kept_however_it_comes() {
    let (server, bob, _config) = office("", &[]).await;
    let to = [SUPPORT, "support+billing@x.example", "support+Urgent@x.example", "support+billing@x.example"];
    let text = text("", "1@c", "x");
    let first = server.deliver(MARTA, &to, &text).await;
    assert!(first.starts_with("250"), "{first}");
    let tags = conversations(&bob).await[0]["tags"].clone();
    assert_eq!(tags, json!({"billing": true, "urgent": true}));
    // A gateway that sends to each apart.
    let second = server.deliver(MARTA, &["support+vip@x.example"], &text).await;
    assert_eq!(second.split(' ').nth(4), first.split(' ').nth(4), "{second}: the same Email");
    let now = conversations(&bob).await;
    assert_eq!((now.len(), &now[0]["messageCount"]), (1, &json!(1)));
    assert_eq!(now[0]["tags"], json!({"billing": true, "urgent": true, "vip": true}));
    server.check();
}

#[tokio::test]
async fn a_message_that_was_delivered_here_again_and_again_is_refused() {
    let (server, bob, _config) = office("", &[]).await;
    let times = |count: usize| "Delivered-To: Support@x.example\r\n".repeat(count);
    assert!(server.deliver(MARTA, &[SUPPORT], &text(&times(2), "1@c", "x")).await.starts_with("250"));
    let reply = server.deliver(MARTA, &[SUPPORT], &text(&times(3), "2@c", "y")).await;
    assert_eq!(reply, "554 5.3.0 the message runs in circles: it was delivered here before");
    assert_eq!(emails(&bob, &["id"]).await.len(), 1);
}

#[tokio::test]
async fn a_message_of_the_inbox_that_comes_back_is_noted_on_its_sent_copy() {
    let relay = Relay::start().await;
    let (server, bob, _config) = office("", &["--relay", &relay.url()]).await;
    let to = json!([{"email": MARTA}, {"email": SUPPORT}]);
    let email = draft(&bob, json!({"from": [{"email": SUPPORT}], "to": to})).await;
    made(&submit(&bob, TEAM, &email, json!({})).await);
    let taken = relay.wait_for(1).await[0].text();
    assert!(server.deliver("", &[SUPPORT], &taken).await.starts_with("250"));
    let got = emails(&bob, &["threading"]).await;
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0]["threading"]["cameBackAt"].is_string(), "{got:?}");
    assert_eq!(conversations(&bob).await[0]["status"], "pending");
    server.check();
}
