//! kill -9 at named points of a message's way in and out, round after round, under 32 parallel senders and a
//! relay that fails in every way it can: what was accepted is stored once, what was submitted is relayed once
//! but for what is on record as uncertain, and `check` is clean.
//!
//! A point is what the other end sees: the gateway of a message that comes in, the relay of one that goes out.
//! One round for each point by default; `make faults` plays 200 (FAULT_ROUNDS).

use crate::crash::{message_ids, recipients, reply};
use crate::model::dice::Dice;
use crate::support::relay::{Hangup, Relay, Script};
use crate::support::{Client, Gateway, TestServer, eventually, message};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const SENDERS: usize = 32;
const REPLIES: usize = 4;
/// A round in which a point isn't reached is ended all the same.
const ROUND_MAX: Duration = Duration::from_secs(8);

/// Where the server is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Point {
    /// The gateway has the 250 of MAIL.
    AfterMail,
    AfterRcpt,
    /// The gateway has the 354.
    AfterData,
    /// Half of the message is sent.
    WithinMessage,
    /// The final dot is sent, and no reply read.
    AfterDot,
    /// The gateway has the 250 of its message.
    AfterAccepted,
    /// The relay has a connection.
    RelayConnected,
    RelayMail,
    RelayData,
    /// The relay has the message and hasn't said so.
    RelayBeforeReply,
    RelayAfterReply,
    /// Wherever it happens to be.
    Anywhere,
}

const POINTS: [Point; 12] = [
    Point::AfterMail,
    Point::AfterRcpt,
    Point::AfterData,
    Point::WithinMessage,
    Point::AfterDot,
    Point::AfterAccepted,
    Point::RelayConnected,
    Point::RelayMail,
    Point::RelayData,
    Point::RelayBeforeReply,
    Point::RelayAfterReply,
    Point::Anywhere,
];

/// What all senders share.
#[derive(Default)]
struct Shared {
    /// Message-IDs that got a 250.
    accepted: Mutex<Vec<String>>,
    reached: Notify,
}

/// Delivers until the connection breaks. The sender that has a point ends at it in its third message, and
/// says so.
async fn send(smtp: String, name: String, point: Option<Point>, shared: Arc<Shared>) -> Option<()> {
    let mut gateway = Gateway::try_connect(&smtp).await?;
    for n in 0.. {
        let point = point.filter(|_| n == 2);
        let id = format!("{name}.{n}@customer.example");
        let text =
            message(&id, "marta@customer.example", "support@x.example", &format!("Load {id}"), "Hello");
        let lines = [
            ("MAIL FROM:<marta@customer.example>", Point::AfterMail),
            ("RCPT TO:<support@x.example>", Point::AfterRcpt),
            ("DATA", Point::AfterData),
        ];
        for (line, after) in lines {
            gateway.send(format!("{line}\r\n").as_bytes()).await.ok()?;
            let reply = gateway.reply().await;
            if reply.starts_with('4') {
                // Too much at once is said, and tried again.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            reply.starts_with(['2', '3']).then_some(())?;
            if point == Some(after) {
                shared.reached.notify_one();
            }
        }
        let whole = format!("{text}.\r\n");
        let (front, back) = whole.as_bytes().split_at(whole.len() / 2);
        gateway.send(front).await.ok()?;
        if point == Some(Point::WithinMessage) {
            shared.reached.notify_one();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.send(back).await.ok()?;
        if point == Some(Point::AfterDot) {
            shared.reached.notify_one();
        }
        gateway.reply().await.starts_with("250 ").then_some(())?;
        shared.accepted.lock().unwrap().push(id);
        if point == Some(Point::AfterAccepted) {
            shared.reached.notify_one();
        }
    }
    Some(())
}

/// Changes how the relay behaves all the time. What it hasn't taken it never says that it has.
fn flaky(relay: Arc<Relay>, seed: u64) -> JoinHandle<()> {
    tokio::spawn(async move {
        let usual = || Script { pause: Duration::from_millis(5), ..Script::default() };
        let later = |code: &str| Some(format!("{code} 4.3.0 later"));
        let mut dice = Dice(seed);
        loop {
            relay.script(match dice.roll(12) {
                0 => Script { greeting: later("421"), ..usual() },
                1 => Script { mail: later("451"), ..usual() },
                2 => Script { data: later("451"), ..usual() },
                3 => Script { end: later("452"), ..usual() },
                4 => Script { hangup: Hangup::BeforeDot, ..usual() },
                5 => Script { hangup: Hangup::AfterTaking, ..usual() },
                6 => Script { pause: Duration::from_millis(60), ..usual() },
                _ => usual(),
            });
            tokio::time::sleep(Duration::from_millis(15 + dice.roll(40) as u64)).await;
        }
    })
}

/// How often the relay has seen a point.
fn seen(relay: &Relay, point: Point) -> usize {
    let commands = |verb: &str| relay.commands().iter().filter(|line| line.starts_with(verb)).count();
    match point {
        Point::RelayConnected => relay.connections(),
        Point::RelayMail => commands("MAIL"),
        Point::RelayData => commands("DATA"),
        _ => relay.deliveries(),
    }
}

/// Has whatever waits for the relay tried now, and waits until the relay sees the point once more.
async fn relay_reached(server: &TestServer, relay: &Relay, point: Point) {
    let before = seen(relay, point);
    server.json(&["queue", "retry", "--all"]);
    while seen(relay, point) == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if point == Point::RelayAfterReply {
        // The reply is said after the relay's usual pause.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One round: load, the point, the end of the process, and a new one.
/// Gives what was submitted, and whether the point was reached.
async fn round(
    server: &mut TestServer,
    relay: &Relay,
    number: usize,
    shared: &Arc<Shared>,
) -> (Vec<String>, bool) {
    let point = POINTS[number % POINTS.len()];
    let ann = server.client("ann@x.example").await;
    let submitted = submit(&ann, number).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| {
            let point = Some(point).filter(|_| n == 0);
            tokio::spawn(send(server.smtp.clone(), format!("r{number}.g{n}"), point, Arc::clone(shared)))
        })
        .collect();
    let reached = async {
        match point {
            Point::Anywhere => {
                tokio::time::sleep(Duration::from_millis(100 + 37 * (number as u64 % 10))).await
            }
            Point::AfterMail
            | Point::AfterRcpt
            | Point::AfterData
            | Point::WithinMessage
            | Point::AfterDot
            | Point::AfterAccepted => shared.reached.notified().await,
            _ => relay_reached(server, relay, point).await,
        }
    };
    let is_reached = tokio::time::timeout(ROUND_MAX, reached).await.is_ok();
    if !is_reached {
        println!("round {number}: {point:?} wasn't reached");
    }
    server.kill();
    for sender in senders {
        // A connection that breaks ends it; it fails only where it panics.
        let _ = sender.await.unwrap();
    }
    server.start().await;
    server.check();
    (submitted, is_reached)
}

/// Submits replies; those that were created, by their recipients.
async fn submit(ann: &Client, number: usize) -> Vec<String> {
    let drafts = ann.mailbox("drafts").await;
    let identity = ann.call("Identity/get", json!({"ids": null})).await["list"][0]["id"].clone();
    let mut submitted = Vec::new();
    for n in 0..REPLIES {
        let id = format!("r{number}n{n}");
        let told = reply(ann, &id, &drafts, identity.as_str().unwrap()).await;
        assert!(told["created"]["s"]["id"].is_string(), "{told}");
        submitted.push(format!("<{id}@customer.example>"));
    }
    submitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_point_the_server_is_killed_at_the_accepted_is_stored_and_the_submitted_relayed_once() {
    let rounds = std::env::var("FAULT_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(POINTS.len());
    let relay = Arc::new(Relay::start().await);
    let url = relay.url();
    let mut server = TestServer::office(&["--relay", &url]).await;
    let shared = Arc::new(Shared::default());
    let weather = flaky(Arc::clone(&relay), 11);
    let (mut submitted, mut reached) = (BTreeSet::new(), [0; POINTS.len()]);
    for number in 0..rounds {
        let (new, is_reached) = round(&mut server, &relay, number, &shared).await;
        submitted.extend(new);
        reached[number % POINTS.len()] += usize::from(is_reached);
    }
    // A slow machine may miss one now and then.
    if rounds >= 4 * POINTS.len() {
        assert!(reached.iter().all(|times| *times > 0), "{reached:?} times at {POINTS:?}");
    }
    weather.abort();
    relay.script(Script::default());
    eventually("an empty queue", async || {
        server.json(&["queue", "retry", "--all"]);
        (server.json(&["queue", "list"])["entries"] == json!([])).then_some(())
    })
    .await;
    let ann = server.client("ann@x.example").await;
    let there = message_ids(&ann).await;
    let accepted = shared.accepted.lock().unwrap().clone();
    let lost: Vec<&String> = accepted.iter().filter(|id| there.get(*id) != Some(&1)).collect();
    assert!(lost.is_empty(), "accepted, and not there once: {lost:?}");
    assert!(there.iter().all(|(id, count)| *count == 1 || id.is_empty()), "something is doubled");
    let relayed = recipients(&relay);
    let told =
        ann.call("Activity/query", json!({"filter": {"type": "sendUncertain"}, "limit": 100_000})).await;
    let uncertain = told["ids"].as_array().unwrap_or_else(|| panic!("{told}")).len();
    let twice = relayed.values().sum::<usize>() - relayed.len();
    let missing: Vec<&String> = submitted.iter().filter(|to| !relayed.contains_key(*to)).collect();
    println!(
        "{rounds} rounds: {} accepted, {} submitted, {} relayed, {twice} of them again, {} left to people, \
         {uncertain} uncertain on record",
        accepted.len(),
        submitted.len(),
        relayed.len(),
        missing.len()
    );
    assert!(relayed.keys().all(|to| submitted.contains(to)), "nobody else: {relayed:?}");
    // Two deaths with octets on their way leave a message to people; and each of them is on record.
    assert!(twice + 2 * missing.len() <= uncertain, "{twice} again, missing {missing:?}");
    assert!(accepted.len() > rounds, "there was load");
    server.check();
}
