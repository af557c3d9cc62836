//! Random operations on one server, seen by everybody who takes part; from every earlier state, /changes replayed over what /get said then
//! gives what /get says now, for every type that the server has; and queryChanges applied to what a
//! random query said at any moment gives what the same query says now. A failure replays from the seed
//! that is printed.

#[path = "model/counts.rs"]
mod counts;
#[path = "model/dice.rs"]
pub mod dice;
#[path = "model/queries.rs"]
mod queries;
#[path = "model/steps.rs"]
mod steps;

use crate::support::relay::Relay;
use crate::support::{Client, TestServer, eventually};
use dice::Dice;
use queries::Asked;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const STEPS: usize = 220;
/// Queries are asked at every so manieth step, and there are so many of them.
const ASK_EVERY: usize = 6;
const QUERIES: usize = 14;
/// Of those who take part, so many are looked over the shoulder.
const EXPLORERS: usize = 2;
/// Calls of one request.
const BATCH: usize = 40;

/// Every type with /get and /changes, and the properties that are looked at where not all are.
const TYPES: &[(&str, Option<&[&str]>)] = &[
    ("Mailbox", None),
    ("Email", Some(&["mailboxIds", "keywords", "subject", "threadId", "blobId", "size", "receivedAt"])),
    ("Thread", None),
    ("EmailSubmission", None),
    ("Identity", None),
    ("Quota", None),
    ("Conversation", None),
    ("Note", None),
    ("ReplyLock", None),
    ("Activity", None),
    ("InboxSettings", None),
];

/// What /get said of a type while it had one state.
type Objects = BTreeMap<String, Value>;

/// One person at work in one account, with everything that the server offers in use.
struct Explorer {
    client: Client,
    using: Vec<String>,
    types: Vec<(&'static str, Option<&'static [&'static str]>)>,
    /// Type → state → objects.
    moments: BTreeMap<&'static str, BTreeMap<String, Objects>>,
}

impl Explorer {
    async fn new(client: Client) -> Self {
        let using = client.session["capabilities"].as_object().unwrap().keys().cloned().collect();
        let mut explorer = Self { client, using, types: TYPES.to_vec(), moments: BTreeMap::new() };
        let told = explorer.request(explorer.gets()).await;
        let has = |(_, reply): &(_, Value)| reply[1]["list"].is_array();
        explorer.types = TYPES.iter().copied().zip(told).filter(has).map(|(one, _)| one).collect();
        explorer
    }

    /// Many calls in few requests; the responses in order.
    async fn request(&self, calls: Vec<Value>) -> Vec<Value> {
        let using: Vec<&str> = self.using.iter().map(String::as_str).collect();
        let mut out = Vec::new();
        for some in calls.chunks(BATCH) {
            let mut told = self.client.request(&using, json!(some)).await;
            let responses = told["methodResponses"].as_array_mut().unwrap();
            assert_eq!(responses.len(), some.len(), "{some:?}");
            out.append(responses);
        }
        out
    }

    async fn call(&self, method: &str, mut arguments: Value) -> Value {
        arguments["accountId"] = json!(self.client.account);
        self.request(vec![json!([method, arguments, "c"])]).await.remove(0)[1].take()
    }

    fn gets(&self) -> Vec<Value> {
        let get = |(name, properties): &(&str, Option<&[&str]>)| {
            let arguments = json!({"accountId": self.client.account, "ids": null, "properties": properties});
            json!([format!("{name}/get"), arguments, "g"])
        };
        self.types.iter().map(get).collect()
    }

    /// Every type as it is now: state and objects.
    async fn look(&self) -> BTreeMap<&'static str, (String, Objects)> {
        let told = self.request(self.gets()).await;
        let seen = |((name, _), reply): (&(&'static str, _), Value)| {
            let list = reply[1]["list"].as_array().unwrap_or_else(|| panic!("{name}: {reply}"));
            let object = |one: &Value| (one["id"].as_str().unwrap().to_owned(), one.clone());
            (*name, (reply[1]["state"].as_str().unwrap().to_owned(), list.iter().map(object).collect()))
        };
        self.types.iter().zip(told).map(seen).collect()
    }

    /// Looks and remembers. A state that was seen before must show the same objects.
    async fn remember(&mut self) -> BTreeMap<&'static str, Vec<String>> {
        let mut ids = BTreeMap::new();
        let seen = self.look().await;
        counts::check(&seen);
        for (name, (state, objects)) in seen {
            ids.insert(name, objects.keys().cloned().collect());
            let known = self.moments.entry(name).or_default();
            if let Some(before) = known.get(&state) {
                assert_eq!(*before, objects, "{name} changed, and its state {state} didn't");
            }
            known.insert(state, objects);
        }
        ids
    }

    /// Follows /changes from every state that was ever seen to the present, in pages of `page`.
    async fn replay(&self, page: usize) {
        let now = self.look().await;
        let mut merged: BTreeSet<String> = BTreeSet::new();
        let mut open: Vec<(&'static str, &String, String, Objects)> = Vec::new();
        for (name, states) in &self.moments {
            let from =
                |(state, objects): (_, &Objects)| (*name, state, String::clone(state), objects.clone());
            open.extend(states.iter().map(from));
        }
        while !open.is_empty() {
            let changes = |(name, _, since, _): &(&str, &String, String, Objects)| {
                let arguments =
                    json!({"accountId": self.client.account, "sinceState": since, "maxChanges": page});
                json!([format!("{name}/changes"), arguments, "c"])
            };
            let told = self.request(open.iter().map(changes).collect()).await;
            let mut next = Vec::new();
            for ((name, from, since, mut objects), reply) in open.into_iter().zip(told) {
                let (state, all) = &now[name];
                let reply = &reply[1];
                assert_eq!(reply["oldState"], json!(since), "{name} from {from}: {reply}");
                apply_changes(&mut objects, all, reply, page);
                let since = reply["newState"].as_str().unwrap().to_owned();
                if reply["hasMoreChanges"] == json!(true) {
                    next.push((name, from, since, objects));
                    continue;
                }
                assert_eq!(since, *state, "{name} from {from}");
                if *name == *"Conversation" {
                    merged.extend(objects.extract_if(.., |_, object| object.is_null()).map(|(id, _)| id));
                }
                assert_eq!(objects, *all, "{name} from {from}");
            }
            open = next;
        }
        self.are_merged(&merged).await;
    }

    /// What /get leaves out where it gives all, though it isn't destroyed: what went into another one.
    async fn are_merged(&self, ids: &BTreeSet<String>) {
        let told = self.call("Conversation/get", json!({"ids": ids, "properties": ["mergedIntoId"]})).await;
        let list = told["list"].as_array().map(Vec::as_slice).unwrap_or_default();
        let merged = list.iter().filter(|one| one["mergedIntoId"].is_string()).count();
        assert_eq!(merged, ids.len(), "{ids:?}: {told}");
    }
}

/// Applies one /changes response; what isn't named stays as it was.
fn apply_changes(objects: &mut Objects, now: &Objects, told: &Value, page: usize) {
    let ids = |list: &str| -> Vec<&str> {
        let list = told[list].as_array().unwrap_or_else(|| panic!("{told}"));
        list.iter().map(|id| id.as_str().unwrap()).collect()
    };
    let mut all: Vec<&str> = ["created", "updated", "destroyed"].into_iter().flat_map(ids).collect();
    assert!(all.len() <= page, "{told}");
    all.sort_unstable();
    all.dedup();
    let count: usize = ["created", "updated", "destroyed"].into_iter().map(|list| ids(list).len()).sum();
    assert_eq!(all.len(), count, "an id twice: {told}");
    for id in ids("destroyed") {
        objects.remove(id);
    }
    for id in ids("created").into_iter().chain(ids("updated")) {
        // What a later page destroys isn't there any more.
        objects.insert(id.to_owned(), now.get(id).cloned().unwrap_or(Value::Null));
    }
}

/// Random work, looked at after every step; then everything is replayed.
async fn explore(server: &TestServer, people: Vec<Client>, to: &str, seed: u64) {
    println!("seed {seed}");
    let mut dice = Dice(seed);
    // What somebody reads is theirs alone: each member has states and results of their own.
    let mut explorers = Vec::new();
    for person in people.iter().take(EXPLORERS) {
        explorers.push(Explorer::new(person.clone()).await);
    }
    let mut asked: Vec<Vec<Asked>> = explorers.iter().map(|_| Vec::new()).collect();
    let mut plans: Vec<(&str, Value)> = Vec::new();
    let mut ids = explorers[0].remember().await;
    for n in 0..STEPS {
        let who = people[dice.roll(people.len())].clone();
        steps::step(server, &explorers[0], &who, to, &ids, n, &mut dice).await;
        for explorer in &mut explorers {
            ids = explorer.remember().await;
        }
        if n == STEPS / 5 {
            plans = (0..QUERIES).map(|_| queries::random(&ids, &mut dice)).collect();
        }
        if n % ASK_EVERY == 0 && !plans.is_empty() {
            for (explorer, asked) in explorers.iter().zip(&mut asked) {
                asked.extend(queries::ask(explorer, &plans).await);
            }
        }
    }
    // What the relay still says comes first, so that the present stands still.
    eventually("an empty queue", async || {
        let told = explorers[0].call("EmailSubmission/get", json!({"ids": null})).await;
        let queued = told["list"].to_string().contains("\"delivered\":\"queued\"");
        (!queued).then_some(())
    })
    .await;
    for (explorer, asked) in explorers.iter().zip(&asked) {
        for page in [500, 7, 1] {
            explorer.replay(page).await;
        }
        queries::replay(explorer, asked, &mut dice).await;
        let seen: Vec<(&str, usize)> =
            explorer.moments.iter().map(|(name, states)| (*name, states.len())).collect();
        println!("states seen: {seen:?}, queries asked: {}", asked.len());
    }
    server.check();
}

async fn personal(seed: u64) {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let ann = server.client("ann@x.example").await.own();
    explore(&server, vec![ann], "ann@x.example", seed).await;
}

async fn inbox(seed: u64) {
    let relay = Relay::start().await;
    let server = TestServer::office(&["--relay", &relay.url()]).await;
    let people = vec![server.client("ann@x.example").await, server.client("bob@x.example").await];
    explore(&server, people, "support@x.example", seed).await;
}

#[tokio::test]
async fn changes_replayed_from_any_state_give_what_a_personal_account_holds() {
    personal(1).await;
}

#[tokio::test]
async fn changes_replayed_from_any_state_give_what_another_personal_account_holds() {
    personal(0x5eed).await;
}

#[tokio::test]
async fn changes_replayed_from_any_state_give_what_an_inbox_holds() {
    inbox(7).await;
}

#[tokio::test]
async fn changes_replayed_from_any_state_give_what_another_inbox_holds() {
    inbox(2026).await;
}
