//! The relay queue: what is late, fails or is unknown, and what an operator sees of it and does.

use crate::support::relay::{Hangup, Relay, Script};
use crate::support::sending::{draft, envelope, made, submission, submit};
use crate::support::server::postroom;
use crate::support::{Client, TEAM, TestServer, eventually, message};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const MARTA: &str = "marta@customer.example";
const SUPPORT: &str = "support@x.example";

/// An inbox with marta's question.
struct Desk {
    server: TestServer,
    bob: Client,
    _config: tempfile::NamedTempFile,
}

impl Desk {
    async fn new(relay: &Relay, config: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let server = TestServer::office(&["--config", &path, "--relay", &relay.url()]).await;
        let text = message("q@customer.example", MARTA, SUPPORT, "Hello", "Where is it?");
        assert!(server.deliver(MARTA, &[SUPPORT], &text).await.starts_with("250"));
        let bob = server.client("bob@x.example").await;
        Self { server, bob, _config: file }
    }

    /// Bob's answer, submitted.
    async fn answer(&self) -> String {
        let new = json!({
            "from": [{"email": SUPPORT}], "to": [{"email": MARTA}], "subject": "Re: Hello",
            "inReplyTo": ["q@customer.example"], "references": ["q@customer.example"]
        });
        let email = draft(&self.bob, new).await;
        made(&submit(&self.bob, TEAM, &email, json!({})).await)
    }

    async fn conversation(&self) -> Value {
        let told = self.bob.call("Conversation/get", json!({"ids": null})).await;
        assert_eq!(told["list"].as_array().map(Vec::len), Some(1), "{told}");
        told["list"][0].clone()
    }

    /// How many activities of a type there are.
    async fn activities(&self, kind: &str) -> usize {
        let told = self.bob.call("Activity/query", json!({"filter": {"type": kind}})).await;
        told["ids"].as_array().unwrap_or_else(|| panic!("{told}")).len()
    }

    /// Waits until `deliveryStatus` of marta is this, less what the relay said; gives what it said.
    async fn delivered(&self, id: &str, delivered: &str) -> String {
        eventually(delivered, async || {
            let status = submission(&self.bob, id).await["deliveryStatus"][MARTA].clone();
            let reply = status["smtpReply"].as_str().unwrap().to_owned();
            (status["delivered"] == delivered && !reply.contains("waits for the relay")).then_some(reply)
        })
        .await
    }

    /// The text of the newest report on a submission, as it came.
    async fn report(&self, id: &str) -> String {
        let now = submission(&self.bob, id).await;
        let blob = now["dsnBlobIds"].as_array().and_then(|all| all.last()).and_then(Value::as_str);
        let blob = blob.unwrap_or_else(|| panic!("{now}"));
        let path = format!("/jmap/download/{}/{blob}/report?type=message/rfc822", self.bob.account);
        String::from_utf8(self.bob.get(&path).await.body).unwrap()
    }

    fn queue(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["queue"];
        all.extend(arguments);
        let mut told = self.server.json(&all);
        assert_eq!(told["done"], "queue");
        told.as_object_mut().unwrap().remove("done");
        told
    }
}

fn later() -> Script {
    Script { mail: Some("451 4.3.0 come back later".to_owned()), ..Script::default() }
}

#[tokio::test]
async fn an_operator_sees_the_queue_stops_it_has_it_tried_and_takes_something_out() {
    let relay = Relay::start_with(later()).await;
    let it = Desk::new(&relay, "").await;
    let id = it.answer().await;
    assert_eq!(it.delivered(&id, "queued").await, "451 4.3.0 come back later");
    let told = it.queue(&["list"]);
    let entry = &told["entries"][0];
    let name = entry["id"].as_str().unwrap().to_owned();
    assert_eq!(name, format!("{}-{id}", it.bob.account));
    let relays = json!([{
        "name": relay.name(), "senders": [], "priority": 0, "state": "up", "failures": 0,
        "downUntil": null, "error": null
    }]);
    assert_eq!(
        told,
        json!({"paused": false, "relays": relays, "entries": [{
            "id": name, "account": SUPPORT, "from": SUPPORT, "subject": "Re: Hello", "state": "waiting",
            "queuedAt": entry["queuedAt"], "nextAt": entry["nextAt"], "attempts": 1, "uncertain": 0,
            "perhapsAt": null,
            "recipients": [{"email": MARTA, "state": "waiting", "reply": "451 4.3.0 come back later"}]
        }]})
    );
    assert_eq!(it.queue(&["show", &name])["entries"][0]["id"], json!(name));
    assert_eq!(it.queue(&["pause"])["paused"], true);
    relay.script(Script::default());
    it.queue(&["retry", &name]);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(relay.deliveries(), 0, "it is paused");
    assert_eq!(it.queue(&["resume"])["paused"], false);
    it.delivered(&id, "unknown").await;
    assert_eq!(relay.deliveries(), 1);
    assert_eq!(it.queue(&["list"]), json!({"paused": false, "relays": relays, "entries": []}));
    let gone = it.server.command(&["queue", "show", &name], "");
    assert!(!gone.status.success());
    assert!(String::from_utf8_lossy(&gone.stderr).contains("nothing in the queue is called"), "{gone:?}");

    relay.script(later());
    let id = it.answer_again().await;
    it.delivered(&id, "queued").await;
    assert_eq!(it.conversation().await["status"], "pending");
    let name = it.queue(&["list"])["entries"][0]["id"].as_str().unwrap().to_owned();
    let told = it.queue(&["cancel", &name]);
    assert_eq!(told["entries"][0]["state"], "done");
    assert_eq!(it.delivered(&id, "no").await, "554 5.7.0 taken out of the queue by an administrator");
    assert_eq!(it.conversation().await["status"], "open");
    relay.script(Script::default());
    assert_eq!(it.queue(&["retry", "--all"])["entries"], json!([]));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(relay.deliveries(), 1, "what was taken out never goes");
    it.server.check();
}

impl Desk {
    /// A second answer, that isn't the first one over again.
    async fn answer_again(&self) -> String {
        let new = json!({
            "from": [{"email": SUPPORT}], "to": [{"email": MARTA}], "subject": "Re: Hello",
            "inReplyTo": ["q@customer.example"], "bodyValues": {"b": {"value": "Another word"}}
        });
        let email = draft(&self.bob, new).await;
        made(&submit(&self.bob, TEAM, &email, json!({})).await)
    }

    /// One that waits for so many seconds.
    async fn answer_later(&self, seconds: u32) -> String {
        let new = json!({
            "from": [{"email": SUPPORT}], "to": [{"email": MARTA}], "subject": "Re: Hello",
            "inReplyTo": ["q@customer.example"], "bodyValues": {"b": {"value": "One more thing"}}
        });
        let email = draft(&self.bob, new).await;
        let hold = json!({"HOLDFOR": seconds.to_string()});
        let hold = json!({"envelope": envelope(SUPPORT, &[MARTA], hold)});
        made(&submit(&self.bob, TEAM, &email, hold).await)
    }
}

#[tokio::test]
async fn what_the_relay_never_takes_fails_with_a_report_and_opens_the_conversation() {
    let relay = Relay::start_with(later()).await;
    let it = Desk::new(&relay, "relay_give_up_seconds = 0\n").await;
    let id = it.answer().await;
    assert_eq!(it.delivered(&id, "no").await, "451 4.3.0 come back later");
    let now = it.conversation().await;
    assert_eq!((&now["status"], &now["messageCount"]), (&json!("open"), &json!(3)), "{now}");
    assert_eq!(it.activities("deliveryFailed").await, 1);
    let report = it.report(&id).await;
    for line in [
        "To: <support@x.example>\r\nSubject: Not delivered: Re: Hello\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Final-Recipient: rfc822; marta@customer.example\r\nAction: failed\r\nStatus: 5.3.0\r\n",
        "Diagnostic-Code: smtp; 451 4.3.0 come back later\r\n",
        "In-Reply-To: <q@customer.example>\r\n",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
    assert_eq!(relay.deliveries(), 0);
    it.server.check();
}

#[tokio::test]
async fn who_sent_what_is_late_is_told_once_and_nothing_moves() {
    let relay = Relay::start_with(later()).await;
    let it = Desk::new(&relay, "relay_warn_seconds = 0\n").await;
    let id = it.answer().await;
    it.delivered(&id, "queued").await;
    let report = eventually("the report", async || {
        let now = submission(&it.bob, &id).await;
        (now["dsnBlobIds"].as_array()?.len() == 1).then_some(())
    });
    report.await;
    let report = it.report(&id).await;
    assert!(report.contains("Action: delayed\r\nStatus: 4.3.0\r\n"), "{report}");
    assert!(report.contains("Will-Retry-Until: "), "{report}");
    assert_eq!(it.conversation().await["status"], "pending");
    let name = it.queue(&["list"])["entries"][0]["id"].as_str().unwrap().to_owned();
    it.queue(&["retry", &name]);
    eventually("tried again, and put off", async || {
        let entry = &it.queue(&["list"])["entries"][0];
        (entry["attempts"] == 2 && entry["state"] == "waiting").then_some(())
    })
    .await;
    relay.script(Script::default());
    it.queue(&["retry", "--all"]);
    it.delivered(&id, "unknown").await;
    let now = submission(&it.bob, &id).await;
    assert_eq!(now["dsnBlobIds"].as_array().map(Vec::len), Some(1), "{now}");
    assert_eq!(it.conversation().await["status"], "pending");
    it.server.check();
}

#[tokio::test]
async fn a_message_that_the_relay_may_have_is_sent_once_more_and_then_left_to_people() {
    let lost = || Script { hangup: Hangup::AfterTaking, ..Script::default() };
    let relay = Relay::start_with(lost()).await;
    let it = Desk::new(&relay, "").await;
    let id = it.answer().await;
    let reply = it.delivered(&id, "queued").await;
    assert!(
        reply.starts_with("451 4.4.2 ") && reply.contains("no reply after the message was sent"),
        "{reply}"
    );
    assert_eq!(it.activities("sendUncertain").await, 1);
    let entry = it.queue(&["list"])["entries"][0].clone();
    assert_eq!((&entry["uncertain"], &entry["state"]), (&json!(1), &json!("waiting")), "{entry}");
    assert_eq!(it.conversation().await["status"], "pending");
    it.queue(&["retry", "--all"]);
    it.delivered(&id, "unknown").await;
    assert_eq!(it.activities("sendUncertain").await, 2);
    assert_eq!(it.conversation().await["status"], "open", "people decide now");
    let report = it.report(&id).await;
    assert!(report.contains("Subject: Perhaps not delivered: Re: Hello\r\n"), "{report}");
    assert_eq!(relay.deliveries(), 2, "never a third time");
    let ids: Vec<String> = relay
        .messages()
        .iter()
        .map(|one| one.text().lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned())
        .collect();
    assert_eq!(ids[0], ids[1], "the same message, for whoever compares");
    assert_eq!(it.queue(&["list"])["entries"], json!([]));
    it.server.check();
}

#[tokio::test]
async fn a_death_before_during_and_after_the_relays_word_is_told_for_what_it_is() {
    // Whether it dies before it sends the message, before the answer, or after it.
    for (point, slow) in [("before", true), ("during", true), ("after", false)] {
        let relay = Relay::start_with(Script {
            pause: Duration::from_millis(if slow { 1500 } else { 0 }),
            ..Script::default()
        })
        .await;
        let mut it = Desk::new(&relay, "").await;
        let id = it.answer().await;
        eventually(point, async || {
            let reached = match point {
                "before" => relay.commands().iter().any(|line| line == "DATA"),
                _ => relay.deliveries() == 1,
            };
            reached.then_some(())
        })
        .await;
        if point == "after" {
            it.delivered(&id, "unknown").await;
        }
        it.server.kill();
        relay.script(Script::default());
        it.server.start().await;
        it.delivered(&id, "unknown").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (sent, uncertain) = (relay.deliveries(), it.activities("sendUncertain").await);
        let expected = match point {
            "during" => (2, 1),
            _ => (1, 0),
        };
        assert_eq!((sent, uncertain), expected, "{point}: {}", it.server.log());
        assert_eq!(it.conversation().await["status"], "pending", "{point}");
        it.server.check();
    }
}

/// Runs a command on a folder that nobody serves.
#[track_caller]
fn on(folder: &Path, arguments: &[&str]) -> Value {
    let output = postroom().args(arguments).arg("--json").arg("--data").arg(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn what_waited_in_a_backup_goes_out_a_second_time_only_once_somebody_says_so() {
    let relay = Relay::start_with(later()).await;
    let mut it = Desk::new(&relay, "").await;
    let id = it.answer().await;
    it.delivered(&id, "queued").await;
    let scheduled = it.answer_later(6).await;
    let [backup, restored, other] = ["backup", "restored", "other"].map(|name| it.server.beside(name));
    it.server.json(&["backup", backup.to_str().unwrap()]);
    relay.script(Script::default());
    it.queue(&["retry", "--all"]);
    relay.wait_for(2).await;
    assert!(it.server.stop().await.success());

    for folder in [&restored, &other] {
        let told = on(folder, &["restore", backup.to_str().unwrap()]);
        let queue = json!({"paused": true, "waiting": 1, "scheduled": 1});
        assert_eq!(told, json!({"restored": folder.to_str(), "queue": queue}));
        let told = on(folder, &["queue", "list"]);
        let entry = &told["entries"][0];
        assert_eq!(told["paused"], true);
        assert_eq!(
            (&entry["state"], &entry["uncertain"], &entry["perhapsAt"]),
            (&json!("waiting"), &json!(1), &json!(null))
        );
        assert_eq!(on(folder, &["check"])["faults"], json!([]));
    }
    // What is held at its release, and so is sent by nobody, leaves nothing behind.
    on(&other, &["inbox", "member", "remove", SUPPORT, "bob@x.example"]);
    assert_eq!(on(&other, &["check"])["faults"], json!([]));

    std::fs::remove_dir_all(it.server.data()).unwrap();
    std::fs::rename(&restored, it.server.data()).unwrap();
    it.server.start().await;
    let both = eventually("the scheduled one in the queue", async || {
        let entries = it.queue(&["list"])["entries"].clone();
        (entries.as_array().unwrap().len() == 2).then_some(entries)
    });
    for entry in both.await.as_array().unwrap() {
        assert_eq!((&entry["state"], &entry["uncertain"]), (&json!("waiting"), &json!(1)), "{entry}");
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(relay.deliveries(), 2, "it is paused");
    it.server.check();
    let told = it.queue(&["cancel", &format!("{}-{scheduled}", it.bob.account)]);
    let entry = &told["entries"][0];
    assert_eq!(
        (&entry["state"], &entry["recipients"][0]["state"]),
        (&json!("done"), &json!("perhaps relayed")),
        "it may have gone out, and nobody says that it failed: {told}"
    );
    it.delivered(&scheduled, "unknown").await;
    assert_eq!(it.queue(&["resume"])["paused"], false);
    relay.wait_for(3).await;
    it.delivered(&id, "unknown").await;
    assert_eq!(it.queue(&["list"])["entries"], json!([]));
    assert_eq!(relay.deliveries(), 3, "what was taken out never goes");
    it.server.check();
}
