//! Several relays: whose mail goes where, and what happens where one fails.

use crate::support::relay::{Hangup, Relay, Script};
use crate::support::sending::{draft, made, submit};
use crate::support::{Client, TEAM, TestServer, eventually};
use postroom::types::limits::RELAY_DOWN_SECONDS_MIN;
use serde_json::{Value, json};
use std::time::Duration;

const MARTA: &str = "marta@customer.example";

/// Two inboxes of two domains, both bob's, and relays as a configuration says.
struct Desk {
    server: TestServer,
    support: Client,
    help: Client,
    _config: tempfile::NamedTempFile,
}

impl Desk {
    async fn new(relays: &[(&Relay, &str)]) -> Self {
        let tables: Vec<String> = relays
            .iter()
            .map(|(relay, keys)| format!("[[relays]]\nurl = {:?}\n{keys}\n", relay.url()))
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), tables.concat()).unwrap();
        let server = TestServer::office(&["--config", file.path().to_str().unwrap()]).await;
        let support = server.client("bob@x.example").await;
        let help = support.at(&server.inbox("help@y.example", &["bob@x.example:agent"]));
        Self { server, support, help, _config: file }
    }

    fn queue(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["queue"];
        all.extend(arguments);
        self.server.json(&all)
    }

    /// How a relay is, as an operator sees it: its state, and its failures one after another.
    fn state(&self, relay: &Relay) -> (String, u64) {
        let told = self.queue(&["list"]);
        let all = told["relays"].as_array().unwrap();
        let one = all.iter().find(|one| one["name"] == relay.name()).unwrap_or_else(|| panic!("{told}"));
        (one["state"].as_str().unwrap().to_owned(), one["failures"].as_u64().unwrap())
    }
}

/// Sends a message from an inbox.
async fn write(client: &Client, from: &str, subject: &str) -> String {
    let email =
        draft(client, json!({"from": [{"email": from}], "to": [{"email": MARTA}], "subject": subject})).await;
    made(&submit(client, TEAM, &email, json!({})).await)
}

/// A relay that takes nothing more, over old connections or new ones.
fn closed() -> Script {
    Script {
        greeting: Some("554 5.3.2 closed".to_owned()),
        rset: Some("421 4.3.2 closed".to_owned()),
        ..Script::default()
    }
}

#[tokio::test]
async fn mail_of_a_domain_goes_through_the_relay_that_names_it_and_all_other_through_the_rest() {
    let (of_y, of_others) = (Relay::start().await, Relay::start().await);
    let it = Desk::new(&[(&of_y, "senders = [\"Y.example\"]"), (&of_others, "")]).await;
    write(&it.help, "help@y.example", "From y").await;
    write(&it.support, "support@x.example", "From x").await;
    assert!(of_y.wait_for(1).await[0].text().contains("Subject: From y\r\n"));
    assert!(of_others.wait_for(1).await[0].text().contains("Subject: From x\r\n"));
    // Its only relay is down: it waits, and goes through no other.
    of_y.script(closed());
    write(&it.help, "help@y.example", "Again from y").await;
    eventually("down", async || (it.state(&of_y) == ("down".to_owned(), 1)).then_some(())).await;
    assert_eq!((of_y.deliveries(), of_others.deliveries()), (1, 1));
    it.server.check();
}

#[tokio::test]
async fn where_one_relay_fails_the_next_one_takes_the_message_once_and_the_first_is_asked_last() {
    let (first, second) = (Relay::start_with(closed()).await, Relay::start().await);
    let it = Desk::new(&[(&second, "priority = 2"), (&first, "priority = 1")]).await;
    write(&it.support, "support@x.example", "One").await;
    assert!(second.wait_for(1).await[0].text().contains("Subject: One\r\n"));
    assert_eq!((it.state(&first), it.state(&second)), (("down".into(), 1), ("up".into(), 0)));
    let asked = first.connections();
    write(&it.support, "support@x.example", "Two").await;
    second.wait_for(2).await;
    assert_eq!(first.connections(), asked, "it was asked again at once");
    // It answers again, and one message shows that.
    first.script(Script::default());
    tokio::time::sleep(Duration::from_secs(RELAY_DOWN_SECONDS_MIN)).await;
    write(&it.support, "support@x.example", "Three").await;
    assert!(first.wait_for(1).await[0].text().contains("Subject: Three\r\n"));
    eventually("all written down", async || (it.queue(&["list"])["entries"] == json!([])).then_some(()))
        .await;
    assert_eq!(it.state(&first), ("up".to_owned(), 0));
    assert_eq!(second.deliveries(), 2);
    it.server.check();
}

#[tokio::test]
async fn what_a_relay_refuses_or_puts_off_goes_to_no_other() {
    let script = Script { mail: Some("451 4.3.0 later".to_owned()), ..Script::default() };
    let (first, second) = (Relay::start_with(script).await, Relay::start().await);
    let it = Desk::new(&[(&first, "priority = 1"), (&second, "priority = 2")]).await;
    write(&it.support, "support@x.example", "One").await;
    eventually("put off", async || {
        let told = it.queue(&["list"]);
        (told["entries"][0]["recipients"][0]["reply"] == "451 4.3.0 later").then_some(())
    })
    .await;
    assert_eq!((it.state(&first), second.connections()), (("up".to_owned(), 0), 0));
}

#[tokio::test]
async fn what_a_relay_perhaps_took_goes_to_no_other_by_itself() {
    let script = Script { hangup: Hangup::AfterTaking, ..Script::default() };
    let (first, second) = (Relay::start_with(script).await, Relay::start().await);
    let mut it = Desk::new(&[(&first, "priority = 1"), (&second, "priority = 2")]).await;
    write(&it.support, "support@x.example", "One").await;
    first.wait_for(1).await;
    let entry = eventually("uncertain", async || {
        let told = it.queue(&["list"])["entries"][0].clone();
        (told["uncertain"] == 1).then_some(told)
    })
    .await;
    assert_eq!(entry["perhapsAt"], json!(first.name()));
    // It can't be reached now, and a death forgets nothing.
    first.script(closed());
    let name = entry["id"].as_str().unwrap();
    it.queue(&["retry", name]);
    let put_off = async |it: &Desk| {
        eventually("down, and put off", async || {
            let is_waiting = it.queue(&["list"])["entries"][0]["state"] == "waiting";
            (it.state(&first).0 == "down" && is_waiting).then_some(())
        })
        .await;
    };
    put_off(&it).await;
    it.server.kill();
    it.server.start().await;
    put_off(&it).await;
    it.queue(&["retry", name]);
    put_off(&it).await;
    assert_eq!((first.deliveries(), second.connections()), (1, 0));
    // Other mail goes its way meanwhile, and this one to the same relay when it answers.
    write(&it.support, "support@x.example", "Two").await;
    assert!(second.wait_for(1).await[0].text().contains("Subject: Two\r\n"));
    first.script(Script::default());
    it.queue(&["retry", name]);
    let taken = first.wait_for(2).await;
    assert_eq!(taken[0].content, taken[1].content, "the same message, for whoever compares");
    assert_eq!(second.deliveries(), 1);
    it.server.check();
}
