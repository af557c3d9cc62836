//! kill -9 of the real process under load, several times over, and a disk that takes no more: what was
//! acknowledged is there, once, and the relay has each reply once.

use crate::support::client::PLAIN;
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
pub async fn message_ids(client: &Client) -> BTreeMap<String, usize> {
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
pub async fn reply(client: &Client, id: &str, drafts: &str, identity: &str) -> Value {
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

pub fn recipients(relay: &Relay) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for taken in relay.messages() {
        for to in taken.rcpts {
            *seen.entry(to).or_default() += 1;
        }
    }
    seen
}

/// One agent's own thread of work, and what of it was acknowledged.
#[derive(Default)]
struct Work {
    /// Conversations claimed, by their ids.
    owned: Vec<String>,
    /// The highest token of each conversation's lock.
    tokens: BTreeMap<String, u64>,
    /// Message-IDs of replies that were created.
    sent: Vec<String>,
    /// A submission whose answer the kill cut off: it is made again.
    open: Option<(String, Value)>,
}

/// A call whose answer may never come.
async fn try_call(client: &Client, method: &str, mut arguments: Value) -> Option<Value> {
    arguments["accountId"] = json!(client.account);
    let body = json!({"using": crate::support::TEAM, "methodCalls": [[method, arguments, "c"]]}).to_string();
    let mut reply = client.try_post("/jmap", "application/json", body.into_bytes()).await?;
    Some(reply["methodResponses"][0][1].take())
}

/// Takes a message in, claims its conversation, locks it and answers, over and over until killed.
async fn work_until_broken(client: Client, smtp: String, name: String, work: Arc<Mutex<Work>>) -> Option<()> {
    let drafts = client.mailbox("drafts").await;
    let told = try_call(&client, "Identity/get", json!({"ids": null})).await?;
    let identity = told["list"][0]["id"].clone();
    for n in 0.. {
        let id = format!("{name}.{n}");
        let from = format!("{id}@customer.example");
        let text = message(&format!("in.{from}"), &from, "support@x.example", &id, "Hello");
        let mut gateway = Gateway::try_connect(&smtp).await?;
        if !gateway.try_deliver(&from, "support@x.example", &text).await?.starts_with("250 ") {
            return None;
        }
        let found = try_call(&client, "Email/query", json!({"filter": {"subject": id}})).await?;
        let of = json!({"ids": found["ids"], "properties": ["conversationId", "subject"]});
        let mails = try_call(&client, "Email/get", of).await?;
        let mail = mails["list"].as_array()?.iter().find(|mail| mail["subject"] == json!(id))?.clone();
        let conversation = mail["conversationId"].as_str()?.to_owned();
        let claim = json!({"update": {&conversation: {"ownerId": client.principal()}}});
        let claimed = try_call(&client, "Conversation/set", claim).await?;
        assert!(claimed["updated"].is_object(), "{claimed}");
        work.lock().unwrap().owned.push(conversation.clone());
        let lock = json!({"create": {"l": {"conversationId": &conversation}}});
        let locked = try_call(&client, "ReplyLock/set", lock).await?;
        let token = locked["created"]["l"]["token"].as_u64().unwrap_or_else(|| panic!("{locked}"));
        work.lock().unwrap().tokens.insert(conversation, token);
        let create = json!({"create": {"d": {
            "mailboxIds": {&drafts: true}, "keywords": {"$draft": true},
            "from": [{"name": null, "email": "support@x.example"}],
            "to": [{"name": null, "email": &from}], "subject": format!("Re: {id}"),
            "inReplyTo": [format!("in.{from}")], "messageId": [format!("out.{from}")],
            "bodyValues": {"t": {"value": "There."}}, "textBody": [{"partId": "t", "type": "text/plain"}],
        }}});
        let made = try_call(&client, "Email/set", create).await?;
        let submission = json!({"create": {"s": {
            "emailId": made["created"]["d"]["id"], "identityId": identity, "lockToken": token,
            "idempotencyKey": &id
        }}});
        work.lock().unwrap().open = Some((from.clone(), submission.clone()));
        let sent = try_call(&client, "EmailSubmission/set", submission).await?;
        assert!(sent["created"]["s"].is_object(), "{sent}");
        let mut work = work.lock().unwrap();
        work.open = None;
        work.sent.push(from);
    }
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_claims_locks_and_replies_keeps_what_was_answered_and_sends_each_once() {
    let relay = Relay::start().await;
    let url = relay.url();
    let mut server = TestServer::office(&["--relay", &url]).await;
    let names = ["ann", "bob", "cat"];
    let works: Vec<Arc<Mutex<Work>>> = names.iter().map(|_| Arc::default()).collect();
    for round in 0..3 {
        let mut tasks = Vec::new();
        for (name, work) in names.iter().zip(&works) {
            let client = server.client(&format!("{name}@x.example")).await;
            let name = format!("r{round}.{name}");
            tasks.push(tokio::spawn(work_until_broken(client, server.smtp.clone(), name, Arc::clone(work))));
        }
        tokio::time::sleep(Duration::from_millis(1500 + 230 * round)).await;
        server.kill();
        for task in tasks {
            task.await.unwrap();
        }
        server.start().await;
        server.check();
        for (name, work) in names.iter().zip(&works) {
            let client = server.client(&format!("{name}@x.example")).await;
            let owned = work.lock().unwrap().owned.clone();
            kept(&client, &owned).await;
            again(&client, work).await;
        }
    }
    let sent: Vec<String> = works.iter().flat_map(|work| work.lock().unwrap().sent.clone()).collect();
    assert!(sent.len() > 6, "there was work: {sent:?}");
    eventually("every reply at the relay", async || (recipients(&relay).len() >= sent.len()).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (to, log) = (recipients(&relay), server.log());
    assert!(sent.iter().all(|to_whom| to.keys().any(|to| to.contains(to_whom.as_str()))), "{sent:?} {to:?}");
    assert_eq!(to.len(), sent.len(), "nobody else: {to:?}");
    let twice = to.values().sum::<usize>() - to.len();
    let unknown = log.lines().filter(|line| line.contains("sending again")).count();
    assert!(twice <= unknown, "{twice} sent twice, {unknown} on record: {to:?}\n{log}");
}

/// Each conversation claimed is still its claimer's.
async fn kept(client: &Client, owned: &[String]) {
    let told = client.call("Conversation/get", json!({"ids": owned, "properties": ["ownerId"]})).await;
    let list = told["list"].as_array().unwrap_or_else(|| panic!("{told}"));
    assert_eq!(list.len(), owned.len());
    assert!(list.iter().all(|one| one["ownerId"] == json!(client.principal())), "{told}");
}

/// Locks only grow; and what wasn't answered is asked once more, as any client would.
async fn again(client: &Client, work: &Mutex<Work>) {
    let (tokens, open) = {
        let mut work = work.lock().unwrap();
        (std::mem::take(&mut work.tokens), work.open.take())
    };
    if let Some((to, mut submission)) = open {
        let told = client.call("EmailSubmission/set", submission.clone()).await;
        if told["created"].is_null() {
            // The lock's time is over, or it was released by the reply that went out.
            submission["create"]["s"]["lockToken"].take();
            let told = client.call_with(PLAIN, "EmailSubmission/set", plain(submission)).await;
            assert!(told["created"]["s"].is_object(), "{told}");
        }
        work.lock().unwrap().sent.push(to);
    }
    for (conversation, token) in tokens.into_iter().take(3) {
        let lock = json!({"create": {"l": {"conversationId": conversation}}});
        let told = client.call("ReplyLock/set", lock).await;
        assert!(told["created"]["l"]["token"].as_u64().is_some_and(|next| next > token), "{told}");
        client.call("ReplyLock/set", json!({"destroy": [told["created"]["l"]["id"]]})).await;
    }
}

/// The same submission by a client that knows nothing of us.
fn plain(mut submission: Value) -> Value {
    let object = submission["create"]["s"].as_object_mut().expect("an object");
    object.retain(|name, _| name == "emailId" || name == "identityId");
    submission
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_ends_the_server_and_loses_nothing_acknowledged() {
    let mut server = TestServer::office(&[]).await;
    assert!(server.stop().await.success());
    // No file may grow beyond this: the log's next write fails, as on a full disk.
    server.under("trap '' XFSZ; ulimit -f 3000");
    server.start().await;
    let taken = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..GATEWAYS)
        .map(|n| tokio::spawn(deliver_until_broken(server.smtp.clone(), format!("g{n}"), Arc::clone(&taken))))
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("an end").unwrap();
    }
    eventually("the end of the server", async || server.has_ended().then_some(())).await;
    assert!(server.log().contains("the store failed; ending the process"), "{}", server.log());
    server.kill();
    server.under("");
    server.start().await;
    server.check();
    let there = message_ids(&server.client("ann@x.example").await).await;
    let acknowledged = taken.lock().unwrap().clone();
    assert!(acknowledged.len() > GATEWAYS, "there was load: {}", acknowledged.len());
    for id in &acknowledged {
        assert_eq!(there.get(id), Some(&1), "{id} was acknowledged");
    }
    assert!(there.values().all(|count| *count == 1), "something is doubled");
}
