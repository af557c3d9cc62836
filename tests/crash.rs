//! kill -9 of the real process under load, several times over: what was acknowledged is there, once,
//! and the relay has each reply once.

use crate::support::relay::Relay;
use crate::support::{Client, Gateway, TestServer, eventually, message};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROUNDS: usize = 4;
const GATEWAYS: usize = 6;

/// Delivers until the connection breaks; each acknowledged Message-ID is noted.
async fn deliver_until_broken(smtp: String, name: String, taken: Arc<Mutex<Vec<String>>>) {
    let mut gateway = Gateway::connect(&smtp).await;
    for n in 0.. {
        let id = format!("{name}.{n}@customer.example");
        let text =
            message(&id, "marta@customer.example", "support@x.example", &format!("Load {id}"), "Hello");
        // The last words of a killed server may be cut.
        for line in ["MAIL FROM:<marta@customer.example>", "RCPT TO:<support@x.example>", "DATA"] {
            if gateway.send(format!("{line}\r\n").as_bytes()).await.is_err() {
                return;
            }
            if !gateway.reply().await.starts_with(['2', '3']) {
                return;
            }
        }
        if gateway.send(format!("{text}.\r\n").as_bytes()).await.is_err() {
            return;
        }
        if !gateway.reply().await.starts_with("250 ") {
            return;
        }
        taken.lock().unwrap().push(id);
    }
}

/// How often each Message-ID is in the account.
async fn message_ids(client: &Client) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let mut position = 0;
    loop {
        let calls = json!([
            ["Email/query", {"accountId": client.account, "position": position, "limit": 200,
                "sort": [{"property": "receivedAt"}]}, "q"],
            ["Email/get", {"accountId": client.account, "properties": ["messageId"],
                "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"}}, "g"],
        ]);
        let reply = client.request(crate::support::TEAM, calls).await;
        let list =
            reply["methodResponses"][1][1]["list"].as_array().unwrap_or_else(|| panic!("{reply}")).clone();
        if list.is_empty() {
            return seen;
        }
        position += list.len();
        for mail in list {
            *seen.entry(mail["messageId"][0].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_parallel_delivery_loses_and_doubles_nothing() {
    let mut server = TestServer::office(&[]).await;
    let taken = Arc::new(Mutex::new(Vec::new()));
    for round in 0..ROUNDS {
        let tasks: Vec<_> = (0..GATEWAYS)
            .map(|n| {
                let name = format!("r{round}.g{n}");
                tokio::spawn(deliver_until_broken(server.smtp.clone(), name, Arc::clone(&taken)))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(700 + 170 * round as u64)).await;
        server.kill();
        for task in tasks {
            task.await.unwrap();
        }
        server.start().await;
        server.check();
        let ann = server.client("ann@x.example").await;
        let there = message_ids(&ann).await;
        let acknowledged = taken.lock().unwrap().clone();
        for id in &acknowledged {
            assert_eq!(there.get(id), Some(&1), "round {round}: {id} was acknowledged");
        }
        assert!(there.values().all(|count| *count == 1), "round {round}: something is doubled");
        // What was on its way at the kill may be there as well, one message a gateway and round.
        assert!(there.len() <= acknowledged.len() + GATEWAYS * (round + 1));
    }
    let total = taken.lock().unwrap().len();
    assert!(total > ROUNDS, "there was load: {total}");
}

/// Imports a message from support@ to an outside address and submits it; the submission's answer.
async fn reply(client: &Client, id: &str, drafts: &str, identity: &str) -> Value {
    let create = json!({"create": {"r": {
        "mailboxIds": {drafts: true},
        "keywords": {"$draft": true},
        "from": [{"name": "Support", "email": "support@x.example"}],
        "to": [{"name": null, "email": format!("{id}@customer.example")}],
        "subject": format!("About {id}"),
        "messageId": [format!("{id}@x.example")],
        "bodyValues": {"t": {"value": format!("This is about {id}.")}},
        "textBody": [{"partId": "t", "type": "text/plain"}],
    }}});
    let made = client.call("Email/set", create).await;
    let email = made["created"]["r"]["id"].clone();
    assert!(email.is_string(), "{made}");
    client
        .call("EmailSubmission/set", json!({"create": {"s": {"emailId": email, "identityId": identity}}}))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_replies_go_out_sends_each_of_them_once() {
    let relay = Relay::start().await;
    let url = relay.url();
    let mut server = TestServer::office(&["--relay", &url]).await;
    let mut submitted = 0;
    for round in 0..3 {
        let ann = server.client("ann@x.example").await;
        let drafts = ann.mailbox("drafts").await;
        let identity = ann.call("Identity/get", json!({"ids": null})).await["list"][0]["id"].clone();
        for n in 0..8 {
            let told = reply(&ann, &format!("r{round}n{n}"), &drafts, identity.as_str().unwrap()).await;
            assert!(told["created"]["s"]["id"].is_string(), "{told}");
            submitted += 1;
        }
        server.kill();
        server.start().await;
    }
    eventually("every reply at the relay", async || (recipients(&relay).len() >= submitted).then_some(()))
        .await;
    // What is taken up again after the last kill comes within these seconds, and then nothing more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (to, log) = (recipients(&relay), server.log());
    assert_eq!(to.len(), submitted, "nobody else: {to:?}");
    // A process that died between the last octets and the relay's answer can't know: the one case in
    // which a message is sent again, and then it is on record.
    let twice = to.values().sum::<usize>() - submitted;
    let unknown = log.lines().filter(|line| line.contains("sending again")).count();
    assert!(twice <= unknown, "{twice} sent twice, {unknown} on record: {to:?}\n{log}");
    server.check();
}

fn recipients(relay: &Relay) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for taken in relay.messages() {
        for to in taken.rcpts {
            *seen.entry(to).or_default() += 1;
        }
    }
    seen
}
