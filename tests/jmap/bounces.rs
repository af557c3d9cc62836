//! What comes back for a message of ours: to the keyed return path, which is believed, and to any
//! other address, which is not.

use crate::support::relay::Relay;
use crate::support::sending::{draft, made, submission, submit};
use crate::support::{Client, TEAM, TestServer, eventually, message};
use serde_json::{Value, json};

const MARTA: &str = "marta@customer.example";
const SVEN: &str = "sven@customer.example";
const SUPPORT: &str = "support@x.example";

/// An inbox in which bob has answered marta (and sven): the conversation is pending.
struct Answered {
    server: TestServer,
    bob: Client,
    submission: String,
    email: String,
    path: String,
}

impl Answered {
    async fn new(to: &[&str]) -> Self {
        let relay = Relay::start().await;
        let server = TestServer::office(&["--relay", &relay.url()]).await;
        let text = message("q@customer.example", MARTA, SUPPORT, "Hello", "Where is it?");
        assert!(server.deliver(MARTA, &[SUPPORT], &text).await.starts_with("250"));
        let bob = server.client("bob@x.example").await;
        let to: Vec<Value> = to.iter().map(|email| json!({"email": email})).collect();
        let new = json!({
            "from": [{"email": SUPPORT}], "to": to, "subject": "Re: Hello", "messageId": ["r@x.example"],
            "inReplyTo": ["q@customer.example"], "references": ["q@customer.example"]
        });
        let email = draft(&bob, new).await;
        let submission = made(&submit(&bob, TEAM, &email, json!({})).await);
        let path = relay.wait_for(1).await[0].return_path();
        let answered = Self { server, bob, submission, email, path };
        eventually("relayed", async || {
            let now = answered.delivered().await;
            (now[MARTA] == "unknown").then_some(())
        })
        .await;
        answered
    }

    /// `delivered` of each recipient.
    async fn delivered(&self) -> Value {
        let now = submission(&self.bob, &self.submission).await;
        let status = now["deliveryStatus"].as_object().unwrap_or_else(|| panic!("{now}")).clone();
        status.into_iter().map(|(email, status)| (email, status["delivered"].clone())).collect()
    }

    async fn conversations(&self) -> Vec<Value> {
        let told = self.bob.call("Conversation/get", json!({"ids": null})).await;
        told["list"].as_array().unwrap_or_else(|| panic!("{told}")).clone()
    }

    async fn status(&self) -> Value {
        self.conversations().await[0]["status"].clone()
    }

    async fn deliver(&self, from: &str, to: &str, text: &str) -> String {
        self.server.deliver(from, &[to], &text.replace('\n', "\r\n")).await
    }

    /// The types of all activities after the reply was sent, oldest first.
    async fn activities(&self) -> Vec<(String, Value)> {
        let told = self.bob.call("Activity/get", json!({"ids": null})).await;
        let list = told["list"].as_array().unwrap_or_else(|| panic!("{told}")).clone();
        let mut all: Vec<(String, Value)> =
            list.into_iter().map(|one| (one["type"].as_str().unwrap().to_owned(), one)).collect();
        let sent = all.iter().position(|(kind, _)| kind == "replySent").unwrap();
        all.split_off(sent + 1).into_iter().filter(|(kind, _)| kind != "ownerChanged").collect()
    }
}

fn dsn(recipient: &str, action: &str, status: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example\nTo: somebody\nSubject: Undelivered\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nSorry.\n--b\n\
         Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n\
         Final-Recipient: rfc822; {recipient}\nAction: {action}\nStatus: {status}\n\
         Diagnostic-Code: smtp; 550 {status} so it is\n\n--b\nContent-Type: text/rfc822-headers\n\n\
         Message-ID: <r@x.example>\n\n--b--\n"
    )
}

#[tokio::test]
async fn a_bounce_to_the_return_path_opens_the_conversation_and_says_who_failed() {
    let it = Answered::new(&[MARTA, SVEN]).await;
    assert_eq!(it.status().await, "pending");
    let reply = it.deliver("", &it.path, &dsn(SVEN, "failed", "5.1.1")).await;
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert_eq!(it.delivered().await, json!({MARTA: "unknown", SVEN: "no"}));
    let now = submission(&it.bob, &it.submission).await;
    assert_eq!(now["deliveryStatus"][SVEN]["smtpReply"], "550 5.1.1 so it is");
    let conversation = &it.conversations().await[..];
    assert_eq!(conversation.len(), 1, "{conversation:?}");
    assert_eq!(conversation[0]["status"], "open");
    assert_eq!(conversation[0]["messageCount"], 3);
    let people = conversation[0]["participants"].as_array().unwrap();
    assert!(people.iter().all(|one| one["address"] != "MAILER-DAEMON@mx.example"), "{people:?}");
    let newest = it.bob.call("Email/query", json!({"filter": {"subject": "Undelivered"}})).await;
    let activities = it.activities().await;
    let (kind, failed) = activities.iter().find(|(kind, _)| kind == "deliveryFailed").unwrap();
    assert_eq!((kind.as_str(), &failed["after"]), ("deliveryFailed", &newest["ids"][0]), "{failed}");
    assert_eq!(failed["before"], it.submission);
    it.server.check();
}

#[tokio::test]
async fn what_comes_back_is_read_for_what_it_is() {
    let it = Answered::new(&[MARTA]).await;
    let late = dsn(MARTA, "delayed", "4.4.1");
    let away = "From: marta@customer.example\nSubject: Away\nAuto-Submitted: auto-replied\n\nI am away.\n";
    let seen = "From: marta@customer.example\nSubject: Read\nMIME-Version: 1.0\n\
                Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nRead.\n\
                --b\nContent-Type: message/disposition-notification\n\n\
                Final-Recipient: rfc822; marta@customer.example\nOriginal-Message-ID: <other@x>\n\
                Disposition: manual-action/MDN-sent-manually; displayed\n\n--b--\n";
    let warning = "From: Mailer-Daemon@e.example\nSubject: Warning: message delayed 24 hours\n\n\
                   A message that you sent has not yet been delivered to one or more of its\nrecipients:\n\n  \
                   marta@customer.example\n\nNo action is required on your part.\n";
    for (text, subject) in
        [(late.as_str(), "Undelivered"), (away, "Away"), (seen, "Read"), (warning, "Warning")]
    {
        let reply = it.deliver("", &it.path, text).await;
        assert!(reply.starts_with("250"), "{subject}: {reply}");
        assert_eq!(it.status().await, "pending", "{subject}");
        assert_eq!(it.delivered().await, json!({MARTA: "unknown"}), "{subject}");
    }
    assert_eq!(it.conversations().await.len(), 1, "all joined it, whatever they refer to");
    let qmail = "From: MAILER-DAEMON@q.example\nSubject: failure notice\n\n\
                 Hi. This is the qmail-send program at q.example.\n\
                 This is a permanent error; I've given up. Sorry it didn't work out.\n\n\
                 <marta@customer.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n";
    assert!(it.deliver("", &it.path, qmail).await.starts_with("250"));
    assert_eq!(it.status().await, "open");
    assert_eq!(it.delivered().await, json!({MARTA: "no"}));
    let kinds: Vec<String> = it.activities().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "deliveryFailed").count(), 1, "{kinds:?}");
    it.server.check();
}

#[tokio::test]
async fn a_forged_or_foreign_bounce_opens_nothing_and_changes_no_status() {
    let it = Answered::new(&[MARTA]).await;
    let last = it.path.find('@').unwrap() - 1;
    let other = if it.path.as_bytes()[last] == b'a' { "b" } else { "a" };
    let forged = format!("{}{other}{}", &it.path[..last], &it.path[last + 1..]);
    let reply = it.deliver("", &forged, &dsn(MARTA, "failed", "5.1.1")).await;
    assert_eq!(reply, "550 5.1.1 No such recipient here");
    for _ in 0..2 {
        // It names our message, and anybody could.
        let reply = it.deliver("", SUPPORT, &dsn(MARTA, "failed", "5.1.1")).await;
        assert!(reply.starts_with("250"), "{reply}");
    }
    assert_eq!(it.delivered().await, json!({MARTA: "unknown"}));
    let conversations = it.conversations().await;
    let ours = conversations.iter().find(|one| one["messageCount"] == 2).unwrap();
    assert_eq!(ours["status"], "pending", "{conversations:?}");
    let now = submission(&it.bob, &it.submission).await;
    assert_eq!(now["dsnBlobIds"].as_array().map(Vec::len), Some(1), "{now}");
    it.server.check();
}

#[tokio::test]
async fn a_disposition_notification_joins_its_conversation_and_reopens_nothing() {
    let it = Answered::new(&[MARTA]).await;
    let mdn = "From: marta@customer.example\nTo: support@x.example\nSubject: Read: Hello\nMIME-Version: 1.0\n\
        Message-ID: <n@customer.example>\nIn-Reply-To: <r@x.example>\nReferences: <r@x.example>\n\
        Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nRead.\n\
        --b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; marta@customer.example\n\
        Original-Message-ID: <r@x.example>\nDisposition: manual-action/MDN-sent-manually; displayed\n\n--b--\n";
    // Some systems send it with a return path of their own.
    assert!(it.deliver(MARTA, SUPPORT, mdn).await.starts_with("250"));
    let conversations = it.conversations().await;
    assert_eq!(conversations.len(), 1, "{conversations:?}");
    assert_eq!(
        (&conversations[0]["status"], &conversations[0]["messageCount"]),
        (&json!("pending"), &json!(3))
    );
    assert_eq!(it.activities().await.last().map(|(kind, _)| kind.as_str()), Some("automaticReceived"));
    it.server.check();
}

#[tokio::test]
async fn a_bounce_finds_its_conversation_though_the_submission_was_destroyed_and_comes_once() {
    let it = Answered::new(&[MARTA]).await;
    let gone = it.bob.call("EmailSubmission/set", json!({"destroy": [it.submission]})).await;
    assert_eq!(gone["destroyed"], json!([it.submission]), "{gone}");
    let text = dsn("somebody.else@customer.example", "failed", "5.1.1");
    let first = it.deliver("", &it.path, &text).await;
    assert_eq!(it.deliver("", &it.path, &text).await, first, "the gateway's retry");
    let conversations = it.conversations().await;
    assert_eq!(conversations.len(), 1, "{conversations:?}");
    assert_eq!((&conversations[0]["status"], &conversations[0]["messageCount"]), (&json!("open"), &json!(3)));
    assert!(!it.email.is_empty());
    it.server.check();
}

#[tokio::test]
async fn the_return_path_of_a_personal_message_is_keyed_and_believed_too() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let bob = server.client("bob@x.example").await.own();
    let email = draft(&bob, json!({"from": [{"email": "bob@x.example"}]})).await;
    let id = made(&submit(&bob, TEAM, &email, json!({})).await);
    let taken = &relay.wait_for(1).await[0];
    assert!(taken.text().contains(".pr@"), "the Message-ID is ours: {}", taken.text());
    let text = dsn(MARTA, "failed", "5.2.1").replace('\n', "\r\n");
    let reply = server.deliver("", &[&taken.return_path()], &text).await;
    assert!(reply.starts_with("250"), "{reply}");
    let delivered = submission(&bob, &id).await["deliveryStatus"][MARTA]["delivered"].clone();
    assert_eq!(delivered, "no");
    server.check();
}

#[tokio::test]
async fn a_sender_who_asks_for_it_hears_of_what_was_delivered_once_and_others_dont() {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let text = message("q@customer.example", MARTA, SUPPORT, "Hello", "Where is it?");
    for _ in 0..2 {
        let mut gateway = server.gateway().await;
        for line in [
            format!("MAIL FROM:<{MARTA}> RET=FULL ENVID=QQ+2B1"),
            format!("RCPT TO:<{SUPPORT}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;help@x.example"),
            "RCPT TO:<bob@x.example> NOTIFY=FAILURE".to_owned(),
        ] {
            assert!(gateway.say(&line).await.starts_with("250"), "{line}");
        }
        assert!(gateway.say("DATA").await.starts_with("354"));
        gateway.send(format!("{text}.\r\n").as_bytes()).await.unwrap();
        assert!(gateway.reply().await.starts_with("250"), "the second time is a gateway's retry");
        gateway.quit().await;
    }
    // Of nobody's mail nobody is told.
    let mut gateway = server.gateway().await;
    assert!(gateway.say("MAIL FROM:<>").await.starts_with("250"));
    assert!(gateway.say(&format!("RCPT TO:<{SUPPORT}> NOTIFY=SUCCESS")).await.starts_with("250"));
    assert!(gateway.say("DATA").await.starts_with("354"));
    gateway.send(b"Subject: report\r\n\r\nx\r\n.\r\n").await.unwrap();
    assert!(gateway.reply().await.starts_with("250"));
    // What is sent after all this is the second message that the relay gets.
    let bob = server.client("bob@x.example").await.own();
    let last = draft(&bob, json!({"from": [{"email": "bob@x.example"}], "subject": "Last"})).await;
    relay.wait_for(1).await;
    made(&submit(&bob, TEAM, &last, json!({})).await);
    let taken = relay.wait_for(2).await;
    assert!(taken[1].text().contains("Subject: Last"));
    assert!(taken[0].mail.starts_with("<>"), "{}", taken[0].mail);
    assert_eq!(taken[0].rcpts, [format!("<{MARTA}>")]);
    let told = taken[0].text();
    for line in [
        format!("To: <{MARTA}>\r\nSubject: Delivered: Hello\r\n"),
        "Original-Envelope-Id: QQ+1\r\n".to_owned(),
        format!(
            "Original-Recipient: rfc822;help@x.example\r\nFinal-Recipient: rfc822; {SUPPORT}\r\n\
             Action: delivered\r\nStatus: 2.1.5\r\n"
        ),
        "Message-ID: <q@customer.example>\r\n".to_owned(),
    ] {
        assert!(told.contains(&line), "{line}\n{told}");
    }
    assert!(!told.contains("bob@x.example") && !told.contains("Where is it?"), "{told}");
    server.check();
}
