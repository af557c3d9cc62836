//! Postfix as the relay: replies go out once whatever it does, and what it can't deliver comes back.

use crate::mta::Postfix;
use crate::support::relay::{Relay, Script};
use crate::support::sending::{draft, made, submission, submit};
use crate::support::{Client, TEAM, eventually};
use crate::{Certificates, MARTA, SUPPORT, conversation, office_with_question};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The next hop to the customers' server.
fn to(customers: &Relay) -> String {
    format!("smtp:[127.0.0.1]:{}", customers.address.port())
}

/// Bob answers; the submission's id.
async fn answer(bob: &Client, to: &[&str]) -> String {
    let to: Vec<Value> = to.iter().map(|email| json!({"email": email})).collect();
    let new = json!({
        "from": [{"email": SUPPORT}], "to": to, "subject": "Re: Hello",
        "inReplyTo": ["q@customer.example"], "references": ["q@customer.example"]
    });
    let email = draft(bob, new).await;
    made(&submit(bob, TEAM, &email, json!({})).await)
}

/// Waits until the relay said this about a recipient; `delivered` then.
async fn told(bob: &Client, id: &str, recipient: &str, reply: &str) -> Value {
    eventually(reply, async || {
        let status = submission(bob, id).await["deliveryStatus"][recipient].clone();
        status["smtpReply"].as_str()?.contains(reply).then(|| status["delivered"].clone())
    })
    .await
}

/// One message came out behind the relay, and no second one.
async fn comes_out_once(customers: &Relay) {
    customers.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taken = customers.messages();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(taken[0].rcpts, [format!("<{MARTA}>")]);
    assert!(taken[0].text().contains("\r\nSubject: Re: Hello\r\n"), "{}", taken[0].text());
}

#[tokio::test]
async fn what_the_customers_server_refuses_comes_back_by_the_keyed_return_path_and_opens_the_conversation() {
    let gone = "gone@customer.example";
    let refusal = (gone.to_owned(), "550 5.1.1 no such user".to_owned());
    let customers = Relay::start_with(Script { rcpts: vec![refusal], ..Script::default() }).await;
    let mut postfix = Postfix::new(&[], &[]);
    let (server, bob) = office_with_question(&["--relay", &postfix.url()], MARTA).await;
    let back = format!("smtp:[127.0.0.1]:{}", server.smtp.rsplit_once(':').unwrap().1);
    let routes = format!("inline:{{ {{ customer.example = {} }} {{ x.example = {back} }} }}", to(&customers));
    postfix.start().await;
    postfix.set("transport_maps", &routes);
    let id = answer(&bob, &[MARTA, gone]).await;
    assert_eq!(told(&bob, &id, MARTA, "250 2.0.0 Ok: queued as").await, "unknown");
    let path = customers.wait_for(1).await[0].return_path();
    assert!(path.starts_with("bounce+") && path.ends_with("@x.example"), "{path}");
    assert_eq!(told(&bob, &id, gone, "550 5.1.1 no such user").await, "no");
    let now = submission(&bob, &id).await;
    assert_eq!(now["deliveryStatus"][MARTA]["delivered"], "unknown", "{now}");
    assert_eq!(now["dsnBlobIds"].as_array().map(Vec::len), Some(1), "{now}");
    let conversation = conversation(&bob).await;
    assert_eq!(conversation["status"], "open");
    assert_eq!(conversation["messageCount"], 3, "the question, the answer, the report: {conversation}");
    let failed = bob.call("Activity/query", json!({"filter": {"type": "deliveryFailed"}})).await;
    assert_eq!(failed["ids"].as_array().map(Vec::len), Some(1), "{failed}");
    server.check();
}

#[tokio::test]
async fn a_reply_waits_while_the_relay_is_down_and_goes_out_once_it_is_up() {
    let customers = Relay::start().await;
    let mut postfix = Postfix::new(&[("customer.example", &to(&customers))], &[]);
    let (server, bob) = office_with_question(&["--relay", &postfix.url()], MARTA).await;
    let id = answer(&bob, &[MARTA]).await;
    assert_eq!(told(&bob, &id, MARTA, "451 4.4.2").await, "queued");
    assert_eq!(conversation(&bob).await["status"], "pending");
    postfix.start().await;
    server.json(&["queue", "retry", "--all"]);
    assert_eq!(told(&bob, &id, MARTA, "250 2.0.0 Ok: queued as").await, "unknown");
    comes_out_once(&customers).await;
    postfix.stop();
    postfix.start().await;
    comes_out_once(&customers).await;
    server.check();
}

#[tokio::test]
async fn a_slow_relay_gets_the_reply_once_and_nobody_waits_for_it() {
    let customers = Relay::start().await;
    let slow = [("smtpd_recipient_restrictions", "sleep 4, permit")];
    let postfix = Postfix::start_with(&[("customer.example", &to(&customers))], &slow).await;
    let (server, bob) = office_with_question(&["--relay", &postfix.url()], MARTA).await;
    let began = Instant::now();
    let id = answer(&bob, &[MARTA]).await;
    assert_eq!(conversation(&bob).await["status"], "pending");
    assert!(began.elapsed() < Duration::from_secs(4), "the agent waited for the relay");
    assert_eq!(told(&bob, &id, MARTA, "250 2.0.0 Ok: queued as").await, "unknown");
    assert!(began.elapsed() >= Duration::from_secs(4), "the relay was slow");
    comes_out_once(&customers).await;
    server.check();
}

#[tokio::test]
async fn a_reply_that_the_relay_puts_off_goes_out_once_when_it_is_taken() {
    let customers = Relay::start().await;
    let later = [("smtpd_recipient_restrictions", "defer")];
    let mut postfix = Postfix::start_with(&[("customer.example", &to(&customers))], &later).await;
    let (server, bob) = office_with_question(&["--relay", &postfix.url()], MARTA).await;
    let id = answer(&bob, &[MARTA]).await;
    assert_eq!(told(&bob, &id, MARTA, "450 4.3.2").await, "queued");
    // A session that began before the change would go on refusing, and the server keeps its connections.
    postfix.stop();
    postfix.edit("smtpd_recipient_restrictions", "permit");
    postfix.start().await;
    eventually("the relay takes it", async || {
        server.json(&["queue", "retry", "--all"]);
        let status = submission(&bob, &id).await["deliveryStatus"][MARTA].clone();
        status["smtpReply"].as_str()?.starts_with("250").then_some(())
    })
    .await;
    comes_out_once(&customers).await;
    assert_eq!(server.json(&["queue", "list"])["entries"], json!([]));
    server.check();
}

#[tokio::test]
async fn the_server_begins_tls_with_a_relay_that_takes_nothing_in_the_clear() {
    let customers = Relay::start().await;
    let certificates = Certificates::new();
    let (chain, key) = (certificates.path("chain.pem"), certificates.path("key.pem"));
    let settings = [
        ("smtpd_tls_security_level", "encrypt"),
        ("smtpd_tls_chain_files", &format!("{key}, {chain}")),
        ("smtpd_tls_received_header", "yes"),
    ];
    let settings = settings.map(|(name, value)| (name, value as &str));
    let postfix = Postfix::start_with(&[("customer.example", &to(&customers))], &settings).await;
    let url = postfix.url().replace("smtp://", "smtp+starttls://");
    let arguments = ["--config", &certificates.configuration(), "--relay", &url];
    let (_server, bob) = office_with_question(&arguments, MARTA).await;
    let id = answer(&bob, &[MARTA]).await;
    assert_eq!(told(&bob, &id, MARTA, "250 2.0.0 Ok: queued as").await, "unknown");
    comes_out_once(&customers).await;
    let text = customers.messages()[0].text();
    assert!(text.contains("using TLSv1.3 with cipher"), "{text}");
}

#[tokio::test]
async fn a_recipient_in_utf_8_is_relayed_with_smtputf8() {
    let customers = Relay::start().await;
    let postfix = Postfix::start_with(&[("customer.example", &to(&customers))], &[]).await;
    let (server, bob) = office_with_question(&["--relay", &postfix.url()], MARTA).await;
    let id = answer(&bob, &["jürgen@customer.example"]).await;
    assert_eq!(told(&bob, &id, "jürgen@customer.example", "250 2.0.0 Ok: queued as").await, "unknown");
    let taken = &customers.wait_for(1).await[0];
    assert!(taken.mail.ends_with(" SMTPUTF8"), "{}", taken.mail);
    assert_eq!(taken.rcpts, ["<jürgen@customer.example>"]);
    server.check();
}
