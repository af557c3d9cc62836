//! Handing messages to the relay (`wire/smtp_out.rs`).

use crate::support::relay::{CA_PEM, Hangup, Relay, Script};
use postroom::smtp::client::{Outcome, RelayEnvelope, RelayRecipient, Verdict};
use postroom::types::Address;
use postroom::wire::smtp_out::{RelayConfig, RelayLink};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

fn envelope(rcpts: &[&str]) -> RelayEnvelope {
    let address = |text: &str| Address::parse(text).expect("an address");
    RelayEnvelope {
        mail_from: Some(address("support@us.example")),
        params: Vec::new(),
        rcpts: rcpts
            .iter()
            .map(|text| RelayRecipient { address: address(text), params: Vec::new() })
            .collect(),
    }
}

fn config(relay: &Relay) -> RelayConfig {
    RelayConfig::parse(&relay.url(), "us.example", None).expect("a relay")
}

const MESSAGE: &[u8] = b"Subject: hi\r\n\r\n.dot\r\nend\r\n";

/// Hands over `MESSAGE`; counts how often the attempt was put on record.
async fn send(config: &RelayConfig, rcpts: &[&str]) -> (Outcome, usize) {
    let records = AtomicUsize::new(0);
    let outcome = link(config)
        .hand_over(far(), &envelope(rcpts), MESSAGE, || async {
            records.fetch_add(1, Ordering::SeqCst);
            Ok::<(), Infallible>(())
        })
        .await;
    (outcome, records.load(Ordering::SeqCst))
}

/// A relay that no connection goes to yet.
fn link(config: &RelayConfig) -> RelayLink {
    RelayLink::new(config.clone(), 1)
}

/// An end that no test reaches.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Hands over a message whose attempt is recorded without fault.
async fn send_raw(link: &RelayLink, raw: &[u8]) -> Outcome {
    link.hand_over(far(), &envelope(&["a@x"]), raw, || async { Ok::<(), Infallible>(()) }).await
}

fn each(outcome: &Outcome) -> Vec<(Verdict, String)> {
    outcome.recipients.iter().map(|one| (one.verdict, one.reply.smtp_reply())).collect()
}

#[tokio::test]
async fn a_message_arrives_as_it_was() {
    let relay = Relay::start().await;
    let (outcome, records) = send(&config(&relay), &["a@x.example", "b@y.example"]).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    let accepted = (Verdict::Accepted, "250 2.0.0 Queued".to_owned());
    assert_eq!(each(&outcome), [accepted.clone(), accepted]);
    assert_eq!(records, 1);
    let taken = &relay.messages()[0];
    assert_eq!(taken.mail, "<support@us.example> SIZE=26");
    assert_eq!(taken.rcpts, ["<a@x.example>", "<b@y.example>"]);
    assert_eq!(taken.text(), String::from_utf8_lossy(MESSAGE));
}

#[tokio::test]
async fn a_large_message_arrives_as_it_was() {
    let relay = Relay::start().await;
    let raw = b".line of a large message\r\n".repeat(100_000);
    let outcome = send_raw(&link(&config(&relay)), &raw).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert!(relay.messages()[0].content == raw);
}

#[tokio::test]
async fn refused_recipients_keep_their_own_reply() {
    let rcpts = vec![
        ("no@x".to_owned(), "550-5.1.1 no\r\n550 5.1.1 such user".to_owned()),
        ("later@x".to_owned(), "450 4.2.1 busy".to_owned()),
    ];
    let relay = Relay::start_with(Script { rcpts, ..Script::default() }).await;
    let (outcome, _) = send(&config(&relay), &["no@x", "yes@x", "later@x"]).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(
        each(&outcome),
        [
            (Verdict::Refused, "550 5.1.1 no such user".to_owned()),
            (Verdict::Accepted, "250 2.0.0 Queued".to_owned()),
            (Verdict::TryLater, "450 4.2.1 busy".to_owned()),
        ]
    );
    assert_eq!(relay.messages()[0].rcpts, ["<yes@x>"]);
}

#[tokio::test]
async fn each_way_to_fail_has_its_verdict_and_only_354_has_the_attempt_recorded() {
    let usual = Script::default;
    let reply = |text: &str| Some(text.to_owned());
    for (script, verdict, recorded) in [
        (Script { greeting: reply("554 5.3.2 closed"), ..usual() }, Verdict::TryLater, 0),
        (Script { greeting: reply("HTTP/1.1 400 what"), ..usual() }, Verdict::TryLater, 0),
        (Script { mail: reply("451 4.3.0 later"), ..usual() }, Verdict::TryLater, 0),
        (Script { mail: reply("550 5.7.1 not you"), ..usual() }, Verdict::Refused, 0),
        (Script { data: reply("451 4.3.0 later"), ..usual() }, Verdict::TryLater, 0),
        (Script { data: reply("554 5.6.0 no"), ..usual() }, Verdict::Refused, 0),
        (Script { end: reply("451 4.3.0 later"), ..usual() }, Verdict::TryLater, 1),
        (Script { end: reply("554 5.6.0 no"), ..usual() }, Verdict::Refused, 1),
        (Script { end: reply("nonsense"), ..usual() }, Verdict::Unknown, 1),
        (Script { hangup: Hangup::AfterDot, ..usual() }, Verdict::Unknown, 1),
        (Script { hangup: Hangup::AfterTaking, ..usual() }, Verdict::Unknown, 1),
    ] {
        let relay = Relay::start_with(script.clone()).await;
        let (outcome, records) = send(&config(&relay), &["a@x"]).await;
        assert_eq!((outcome.verdict, records), (verdict, recorded), "{script:?}");
        assert_eq!(outcome.recipients[0].verdict, verdict);
        assert_eq!(relay.deliveries(), usize::from(script.hangup == Hangup::AfterTaking));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_the_message_leaves_no_doubt() {
    let relay = Relay::start_with(Script { hangup: Hangup::BeforeDot, ..Script::default() }).await;
    let raw = b"a line of a message that fills all socket buffers\r\n".repeat(400_000);
    let outcome = send_raw(&link(&config(&relay)), &raw).await;
    assert_eq!(outcome.verdict, Verdict::TryLater, "{:?}", outcome.reply);
    assert_eq!(relay.deliveries(), 0);
}

#[tokio::test]
async fn a_message_whose_attempt_cant_be_recorded_isnt_sent() {
    let relay = Relay::start().await;
    let link = link(&config(&relay));
    let outcome = link.hand_over(far(), &envelope(&["a@x"]), MESSAGE, || async { Err("disk full") }).await;
    assert_eq!(outcome.verdict, Verdict::TryLater);
    assert!(outcome.reply.text.contains("disk full"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(relay.deliveries(), 0);
    assert_eq!(relay.commands().last().map(String::as_str), Some("DATA"));
}

#[tokio::test]
async fn a_relay_that_is_slow_or_not_there_is_tried_later() {
    let relay = Relay::start_with(Script { pause: Duration::from_secs(60), ..Script::default() }).await;
    let mut slow = config(&relay);
    slow.waits.reply = Duration::from_millis(50);
    assert_eq!(send(&slow, &["a@x"]).await.0.verdict, Verdict::TryLater);
    let mut limited = config(&relay);
    limited.waits.whole = Duration::from_millis(50);
    assert_eq!(send(&limited, &["a@x"]).await.0.verdict, Verdict::TryLater);
    drop(relay);
    let gone = RelayConfig::parse("smtp://127.0.0.1:1", "us.example", None).expect("a relay");
    assert_eq!(send(&gone, &["a@x"]).await.0.verdict, Verdict::TryLater);
}

#[tokio::test]
async fn a_relay_that_is_slow_after_the_final_dot_leaves_it_unknown() {
    let relay = Relay::start_with(Script { pause: Duration::from_millis(300), ..Script::default() }).await;
    let mut slow = config(&relay);
    slow.waits.last = Duration::from_millis(50);
    assert_eq!(send(&slow, &["a@x"]).await.0.verdict, Verdict::Unknown);
    assert_eq!(relay.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn a_relay_without_ehlo_is_asked_with_helo() {
    let relay = Relay::start_with(Script { offers: Vec::new(), ..Script::default() }).await;
    assert_eq!(send(&config(&relay), &["a@x"]).await.0.verdict, Verdict::Accepted);
    assert_eq!(relay.commands()[..2], ["EHLO us.example", "HELO us.example"]);
    assert_eq!(relay.messages()[0].mail, "<support@us.example>");
}

#[tokio::test]
async fn starttls_and_implicit_tls_need_a_certificate_that_is_trusted() {
    let offers = vec!["STARTTLS".to_owned(), "AUTH PLAIN".to_owned()];
    let relay = Relay::start_with(Script { offers, ..Script::default() }).await;
    let port = relay.address.port();
    let starttls = format!("smtp+starttls://u:p@localhost:{port}");
    let trusted = |url: &str| RelayConfig::parse(url, "us.example", Some(CA_PEM)).expect("a relay");
    let (outcome, _) = send(&trusted(&starttls), &["a@x"]).await;
    assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.reply);
    assert!(relay.commands().contains(&"AUTH PLAIN AHUAcA==".to_owned()));
    let stranger = RelayConfig::parse(&starttls, "us.example", None).expect("a relay");
    let (outcome, _) = send(&stranger, &["a@x"]).await;
    assert_eq!(outcome.verdict, Verdict::TryLater);
    assert!(outcome.reply.text.contains("TLS handshake"), "{:?}", outcome.reply);
    assert_eq!((relay.deliveries(), relay.connections()), (1, 2));

    let relay = Relay::start_with(Script { implicit_tls: true, ..Script::default() }).await;
    let url = format!("smtps://127.0.0.1:{}", relay.address.port());
    let (outcome, _) = send(&trusted(&url), &["a@x"]).await;
    assert_eq!(outcome.verdict, Verdict::Accepted, "{:?}", outcome.reply);
}

#[tokio::test]
async fn starttls_that_isnt_offered_is_never_done_without() {
    let relay = Relay::start().await;
    let url = format!("smtp+starttls://u:p@127.0.0.1:{}", relay.address.port());
    let config = RelayConfig::parse(&url, "us.example", Some(CA_PEM)).expect("a relay");
    assert_eq!(send(&config, &["a@x"]).await.0.verdict, Verdict::TryLater);
    assert!(relay.commands().iter().all(|line| !line.starts_with("AUTH") && !line.starts_with("MAIL")));
}

#[tokio::test]
async fn replies_injected_before_the_handshake_are_never_taken_for_the_relay_s() {
    let relay = Relay::start().await;
    relay.script(Script {
        offers: vec!["STARTTLS".to_owned()],
        starttls: Some("220 go\r\n250-relay\r\n250 AUTH PLAIN".to_owned()),
        ..Script::default()
    });
    let url = format!("smtp+starttls://u:p@127.0.0.1:{}", relay.address.port());
    let config = RelayConfig::parse(&url, "us.example", Some(CA_PEM)).expect("a relay");
    let (outcome, _) = send(&config, &["a@x"]).await;
    assert_eq!(outcome.verdict, Verdict::TryLater);
    assert!(outcome.reply.text.contains("in the clear"), "{:?}", outcome.reply);
}

#[tokio::test]
async fn one_connection_carries_message_after_message_each_begun_anew() {
    let rcpts = vec![("no@x".to_owned(), "550 5.1.1 no".to_owned())];
    let relay = Relay::start_with(Script { rcpts, ..Script::default() }).await;
    let link = link(&config(&relay));
    for rcpt in ["a@x", "no@x", "c@x"] {
        link.hand_over(far(), &envelope(&[rcpt]), MESSAGE, || async { Ok::<(), Infallible>(()) }).await;
    }
    assert_eq!((relay.connections(), relay.deliveries()), (1, 2));
    let mail = "MAIL FROM:<support@us.example> SIZE=26";
    let one = |rcpt: &str| [mail.to_owned(), format!("RCPT TO:<{rcpt}>"), "DATA".to_owned()];
    let mut expected = vec!["EHLO us.example".to_owned()];
    expected.extend(one("a@x"));
    expected.push("RSET".to_owned());
    expected.extend_from_slice(&one("no@x")[..2]);
    expected.push("RSET".to_owned());
    expected.extend(one("c@x"));
    assert_eq!(relay.commands(), expected);
    link.close_idle(true);
    let last = || async { relay.commands().last().map(String::as_str) == Some("QUIT") };
    for _ in 0..100 {
        if last().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", relay.commands());
}

#[tokio::test]
async fn a_connection_that_closed_meanwhile_or_ended_in_doubt_is_never_used_again() {
    let relay = Relay::start().await;
    let link = link(&config(&relay));
    assert_eq!(send_raw(&link, MESSAGE).await.verdict, Verdict::Accepted);
    // The next reply that it gives is the last one of the connection.
    relay.script(Script { rset: Some("421 4.4.2 too long idle".to_owned()), ..Script::default() });
    assert_eq!(send_raw(&link, MESSAGE).await.verdict, Verdict::Accepted);
    assert_eq!((relay.connections(), relay.deliveries()), (2, 2));
    relay.script(Script { hangup: Hangup::AfterTaking, ..Script::default() });
    assert_eq!(send_raw(&link, MESSAGE).await.verdict, Verdict::Unknown);
    relay.script(Script::default());
    assert_eq!(send_raw(&link, MESSAGE).await.verdict, Verdict::Accepted);
    assert_eq!((relay.connections(), relay.deliveries()), (3, 4));
}

#[tokio::test]
async fn a_relay_without_8bitmime_gets_the_message_in_seven_bits_and_one_that_has_it_as_it_is() {
    let raw = "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\nViele Gr\u{fc}\u{df}e an alle\r\n";
    let offers = vec!["SIZE".to_owned()];
    let relay = Relay::start_with(Script { offers, ..Script::default() }).await;
    assert_eq!(send_raw(&link(&config(&relay)), raw.as_bytes()).await.verdict, Verdict::Accepted);
    let taken = &relay.messages()[0];
    let seven = "Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nViele Gr=C3=BC=C3=9Fe an alle\r\n";
    assert_eq!((taken.text(), taken.mail.as_str()), (seven.to_owned(), "<support@us.example> SIZE=151"));
    relay.script(Script::default());
    assert_eq!(send_raw(&link(&config(&relay)), raw.as_bytes()).await.verdict, Verdict::Accepted);
    assert_eq!(relay.messages()[1].text(), raw);
    // What is signed is never altered: it goes back to its sender.
    let signed =
        "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n--b\r\n\r\nx\r\n--b--\r\n";
    relay.script(Script { offers: vec!["SIZE".to_owned()], ..Script::default() });
    let outcome = send_raw(&link(&config(&relay)), signed.as_bytes()).await;
    assert_eq!(outcome.verdict, Verdict::Refused);
    let said = "554 5.6.3 Postroom: the relay lacks 8BITMIME, and the message can't be converted: \
        a signature covers octets that would have to be changed";
    assert_eq!(outcome.reply.smtp_reply(), said);
    assert_eq!(relay.deliveries(), 2);
}
