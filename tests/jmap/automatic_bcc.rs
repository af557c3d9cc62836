//! Copies of what an inbox sends (spec/inbox-settings.md, `automaticBcc`).

use crate::support::relay::{Relay, Script};
use crate::support::sending::{draft, envelope, made, submission, submit};
use crate::support::{Client, TEAM, TestServer, eventually};
use serde_json::{Value, json};

const SUPPORT: &str = "support@x.example";
const MARTA: &str = "marta@customer.example";
const ARCHIVE: &str = "archive@x.example";

async fn office(relay: &Relay) -> (TestServer, Client) {
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let told = set(&server, json!([ARCHIVE, "audit@y.example", MARTA])).await;
    assert_eq!(told["updated"], json!({"singleton": null}), "{told}");
    let bob = server.client("bob@x.example").await;
    (server, bob)
}

async fn set(server: &TestServer, to: Value) -> Value {
    let ann = server.client("ann@x.example").await;
    let patch = json!({"update": {"singleton": {"automaticBcc": to}}});
    ann.call_with(TEAM, "InboxSettings/set", patch).await
}

async fn written(client: &Client) -> String {
    draft(client, json!({"from": [{"email": SUPPORT}]})).await
}

fn brackets(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|address| format!("<{address}>")).collect()
}

#[tokio::test]
async fn what_a_member_sends_goes_to_the_copies_too_and_no_header_says_so() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let email = written(&bob).await;
    let response = submit(&bob, TEAM, &email, json!({})).await;
    let all = [MARTA, ARCHIVE, "audit@y.example"];
    assert_eq!(response["created"]["s"]["envelope"], envelope(SUPPORT, &all, Value::Null), "{response}");
    let taken = relay.wait_for(1).await;
    assert_eq!(taken[0].rcpts, brackets(&all));
    assert!(!taken[0].text().contains(ARCHIVE) && !taken[0].text().contains("audit@"), "{}", taken[0].text());

    // The same again is the same submission, whatever the setting has become meanwhile.
    set(&server, json!(["other@y.example"])).await;
    let again = submit(&bob, TEAM, &email, json!({})).await;
    assert_eq!(made(&again), made(&response));
    // A person's own account copies nothing.
    let own = draft(&bob.own(), json!({"from": [{"email": "bob@x.example"}]})).await;
    made(&submit(&bob.own(), TEAM, &own, json!({})).await);
    assert_eq!(relay.wait_for(2).await[1].rcpts, brackets(&[MARTA]));
    assert_eq!(relay.deliveries(), 2);
    server.check();
}

#[tokio::test]
async fn a_copy_that_fails_keeps_the_message_from_nobody() {
    let rcpts = vec![(ARCHIVE.to_owned(), "550 5.1.1 no such user".to_owned())];
    let relay = Relay::start_with(Script { rcpts, ..Script::default() }).await;
    let (server, bob) = office(&relay).await;
    let id = made(&submit(&bob, TEAM, &written(&bob).await, json!({})).await);
    assert_eq!(relay.wait_for(1).await[0].rcpts, brackets(&[MARTA, "audit@y.example"]));
    let status = eventually("a failure", async || {
        let status = submission(&bob, &id).await["deliveryStatus"].clone();
        (status[ARCHIVE]["delivered"] == "no").then_some(status)
    });
    assert_eq!(status.await[MARTA]["smtpReply"], "250 2.0.0 Queued");
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

#[tokio::test]
async fn what_is_taken_back_was_copied_to_nobody_and_what_waited_is_at_its_release() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let hold = |seconds: &str| json!({"envelope": envelope(SUPPORT, &[MARTA], json!({"HOLDFOR": seconds}))});
    let email = written(&bob).await;
    let id = made(&submit(&bob, TEAM, &email, hold("3600")).await);
    assert_eq!(submission(&bob, &id).await["envelope"]["rcptTo"].as_array().map(Vec::len), Some(1));
    let back = bob.call("EmailSubmission/set", json!({"update": {&id: {"undoStatus": "canceled"}}})).await;
    assert_eq!(back["updated"], json!({&id: null}), "{back}");
    set(&server, json!([ARCHIVE])).await;
    made(&submit(&bob, TEAM, &email, hold("1")).await);
    assert_eq!(relay.wait_for(1).await[0].rcpts, brackets(&[MARTA, ARCHIVE]));
    assert_eq!(relay.deliveries(), 1);
    server.check();
}

#[tokio::test]
async fn copies_count_among_the_recipients_and_go_to_no_address_of_the_inbox() {
    let relay = Relay::start().await;
    let (server, bob) = office(&relay).await;
    let to: Vec<String> = (0..498).map(|number| format!("c{number}@customer.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let wide = json!({"envelope": envelope(SUPPORT, &to, Value::Null)});
    let refused = submit(&bob, TEAM, &written(&bob).await, wide).await;
    let error = &refused["notCreated"]["s"];
    assert_eq!((&error["type"], &error["maxRecipients"]), (&json!("tooManyRecipients"), &json!(497)));
    let eleven: Vec<String> = (0..11).map(|number| format!("a{number}@y.example")).collect();
    for wrong in [
        json!([SUPPORT]),
        json!(["*@y.example"]),
        json!(["grün@y.example"]),
        json!(["nonsense"]),
        json!(eleven),
    ] {
        let refused = set(&server, wrong).await;
        assert_eq!(refused["notUpdated"]["singleton"]["properties"], json!(["automaticBcc"]), "{refused}");
    }
    assert_eq!(relay.deliveries(), 0);
}
