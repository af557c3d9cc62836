//! Random operations on one server; from every earlier state, /changes replayed over what /get said then
//! gives what /get says now, for every type; and queryChanges applied gives what a fresh query gives.

use crate::support::{Client, TestServer, message};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const STEPS: usize = 60;

/// xorshift64*: a failure replays from the seed that is printed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    fn pick<'a>(&mut self, from: &'a [String]) -> Option<&'a String> {
        from.get(self.roll(from.len()))
    }
}

/// What /get said of a type at one moment.
#[derive(Clone)]
struct Seen {
    state: String,
    objects: BTreeMap<String, Value>,
}

/// What a query said at one moment.
struct Asked {
    call: &'static str,
    arguments: Value,
    state: String,
    ids: Vec<String>,
}

/// A type and the properties that /get shows.
type Shown = (&'static str, Option<&'static [&'static str]>);

const OWN: &[Shown] =
    &[("Mailbox", None), ("Email", Some(&["mailboxIds", "keywords", "subject", "threadId", "blobId"]))];
const INBOX: &[Shown] = &[
    ("Mailbox", None),
    ("Email", Some(&["mailboxIds", "keywords", "subject", "threadId", "blobId"])),
    ("Conversation", None),
    ("Note", None),
    ("ReplyLock", None),
    ("Activity", None),
];

async fn get(client: &Client, (name, properties): Shown) -> Seen {
    let arguments = match properties {
        Some(properties) => json!({"ids": null, "properties": properties}),
        None => json!({"ids": null}),
    };
    let told = client.call(&format!("{name}/get"), arguments).await;
    let list = told["list"].as_array().unwrap_or_else(|| panic!("{name}: {told}"));
    let objects = list.iter().map(|one| (one["id"].as_str().unwrap().to_owned(), one.clone())).collect();
    Seen { state: told["state"].as_str().unwrap().to_owned(), objects }
}

/// Follows /changes from `then` to the present; what isn't named must be as it was.
async fn replay(client: &Client, shown: Shown, then: &Seen, now: &Seen, page: usize) {
    let name = shown.0;
    let mut objects = then.objects.clone();
    let mut since = then.state.clone();
    loop {
        let told =
            client.call(&format!("{name}/changes"), json!({"sinceState": since, "maxChanges": page})).await;
        assert_eq!(told["oldState"], json!(since), "{name}: {told}");
        let ids = |list: &str| -> Vec<String> {
            let list = told[list].as_array().unwrap_or_else(|| panic!("{name}: {told}"));
            list.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
        };
        let all: Vec<String> = ["created", "updated", "destroyed"].into_iter().flat_map(ids).collect();
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{name}: an id twice: {told}");
        assert!(all.len() <= page, "{name}: {told}");
        for id in ids("destroyed") {
            objects.remove(&id);
        }
        for id in ids("created").into_iter().chain(ids("updated")) {
            // What a later page destroys isn't there any more.
            match now.objects.get(&id) {
                Some(object) => objects.insert(id, object.clone()),
                None => objects.insert(id, Value::Null),
            };
        }
        told["newState"].as_str().unwrap().clone_into(&mut since);
        if told["hasMoreChanges"] == json!(false) {
            break;
        }
    }
    assert_eq!(since, now.state, "{name} from {}", then.state);
    assert_eq!(objects, now.objects, "{name} from {}", then.state);
}

async fn ask(client: &Client, call: &'static str, arguments: Value) -> Asked {
    let told = client.call(&format!("{call}/query"), arguments.clone()).await;
    let ids = told["ids"].as_array().unwrap_or_else(|| panic!("{call}: {told}"));
    let ids = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let state = told["queryState"].as_str().unwrap().to_owned();
    Asked { call, arguments, state, ids }
}

/// RFC 8620 §5.6: removed ids go, then the added come in, in the order of their index.
async fn replay_query(client: &Client, then: &Asked) {
    let mut arguments = then.arguments.clone();
    arguments["sinceQueryState"] = json!(then.state);
    let told = client.call(&format!("{}/queryChanges", then.call), arguments).await;
    if told["type"] == "cannotCalculateChanges" {
        return;
    }
    let removed: BTreeSet<&str> = told["removed"]
        .as_array()
        .unwrap_or_else(|| panic!("{told}"))
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    let mut ids: Vec<String> = then.ids.iter().filter(|id| !removed.contains(id.as_str())).cloned().collect();
    for added in told["added"].as_array().unwrap() {
        let index = added["index"].as_u64().unwrap() as usize;
        assert!(index <= ids.len(), "{} {}: {told}", then.call, then.arguments);
        ids.insert(index, added["id"].as_str().unwrap().to_owned());
    }
    let fresh = ask(client, then.call, then.arguments.clone()).await;
    assert_eq!(told["newQueryState"], json!(fresh.state));
    assert_eq!(ids, fresh.ids, "{} {}: {told}", then.call, then.arguments);
}

/// One random operation. What the rules refuse is as good a step as any.
async fn step(server: &TestServer, client: &Client, to: &str, n: usize, dice: &mut Dice) {
    let ids = |seen: Seen| seen.objects.into_keys().collect::<Vec<_>>();
    let emails = ids(get(client, OWN[1]).await);
    let mailboxes = ids(get(client, OWN[0]).await);
    let email = dice.pick(&emails).cloned().unwrap_or_default();
    let mailbox = dice.pick(&mailboxes).cloned().unwrap_or_default();
    let patch = |path: String, value: Value| json!({"update": {&email: Value::Object(Map::from_iter([(path, value)]))}});
    match dice.roll(if client.account == client.own().account { 8 } else { 13 }) {
        0..=2 => {
            let mut text = message(
                &format!("m{n}@c.example"),
                "m@c.example",
                to,
                &format!("Subject {}", n % 5),
                "Hello",
            );
            if n > 3 && dice.roll(2) == 0 {
                let other = dice.roll(n);
                text = format!("References: <m{other}@c.example>\r\n{text}");
            }
            assert!(server.deliver("m@c.example", &[to], &text).await.starts_with("250"));
        }
        3 => {
            let keyword = ["$seen", "$flagged", "blue"][dice.roll(3)];
            let value = if dice.roll(3) == 0 { Value::Null } else { json!(true) };
            client.call("Email/set", patch(format!("keywords/{keyword}"), value)).await;
        }
        4 => {
            let value = if dice.roll(3) == 0 { Value::Null } else { json!(true) };
            client.call("Email/set", patch(format!("mailboxIds/{mailbox}"), value)).await;
        }
        5 => {
            client.call("Email/set", patch("mailboxIds".into(), json!({mailbox: true}))).await;
        }
        6 => {
            client.call("Email/set", json!({"destroy": [email]})).await;
        }
        7 => {
            let create = json!({"a": {"name": format!("Folder {n}")}});
            let destroy = if dice.roll(2) == 0 { json!([mailbox]) } else { json!([]) };
            let arguments = json!({"create": create, "destroy": destroy, "onDestroyRemoveEmails": true});
            client.call("Mailbox/set", arguments).await;
        }
        _ => team_step(client, n, dice).await,
    }
}

async fn team_step(client: &Client, n: usize, dice: &mut Dice) {
    let conversations: Vec<String> = get(client, INBOX[2]).await.objects.into_keys().collect();
    let Some(id) = dice.pick(&conversations) else { return };
    match dice.roll(5) {
        0 => {
            let owner = if dice.roll(3) == 0 { Value::Null } else { json!(client.principal()) };
            client.call("Conversation/set", json!({"update": {id: {"ownerId": owner}}})).await;
        }
        1 => {
            let status = ["open", "pending", "closed"][dice.roll(3)];
            client.call("Conversation/set", json!({"update": {id: {"status": status}}})).await;
        }
        2 => {
            let tag = format!("tags/t{}", dice.roll(4));
            client.call("Conversation/set", json!({"update": {id: {tag: true}}})).await;
        }
        3 => {
            let notes: Vec<String> = get(client, INBOX[3]).await.objects.into_keys().collect();
            let destroy: Vec<&String> =
                if dice.roll(3) == 0 { dice.pick(&notes).into_iter().collect() } else { vec![] };
            let create = json!({"n": {"conversationId": id, "body": format!("Note {n}")}});
            client.call("Note/set", json!({"create": create, "destroy": destroy})).await;
        }
        _ => {
            let locks: Vec<String> = get(client, INBOX[4]).await.objects.into_keys().collect();
            let destroy: Vec<&String> =
                if dice.roll(2) == 0 { dice.pick(&locks).into_iter().collect() } else { vec![] };
            let create = json!({"l": {"conversationId": id}});
            client.call("ReplyLock/set", json!({"create": create, "destroy": destroy})).await;
        }
    }
}

async fn explore(server: &TestServer, client: &Client, to: &str, types: &[Shown], seed: u64) {
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let inbox = client.mailbox("inbox").await;
    let newest = json!([{"property": "receivedAt", "isAscending": false}]);
    let mut queries = vec![
        ("Email", json!({"filter": {"inMailbox": inbox}, "sort": newest})),
        ("Email", json!({"filter": {"inMailbox": inbox}, "sort": newest, "collapseThreads": true})),
        ("Email", json!({"filter": {"hasKeyword": "$flagged"}, "sort": newest})),
        ("Mailbox", json!({"sort": [{"property": "name"}]})),
    ];
    if types.len() > OWN.len() {
        queries.push(("Conversation", json!({"filter": {"status": "open"}})));
        queries.push(("Note", json!({})));
    }
    let (mut moments, mut asked) = (Vec::new(), Vec::new());
    for n in 0..STEPS {
        if n % 6 == 0 {
            for shown in types {
                moments.push((*shown, get(client, *shown).await));
            }
            for (call, arguments) in &queries {
                asked.push(ask(client, call, arguments.clone()).await);
            }
        }
        step(server, client, to, n, &mut dice).await;
    }
    for shown in types {
        let now = get(client, *shown).await;
        for (_, then) in moments.iter().filter(|(one, _)| one.0 == shown.0) {
            for page in [1, 3, 500] {
                replay(client, *shown, then, &now, page).await;
            }
        }
    }
    for then in &asked {
        replay_query(client, then).await;
    }
    server.check();
}

#[tokio::test]
async fn changes_replayed_from_any_state_give_what_a_personal_account_holds() {
    let server = TestServer::office(&[]).await;
    for seed in [1, 0x5eed] {
        let client = server.client("ann@x.example").await.own();
        explore(&server, &client, "ann@x.example", OWN, seed).await;
    }
}

#[tokio::test]
async fn changes_replayed_from_any_state_give_what_an_inbox_holds() {
    let server = TestServer::office(&[]).await;
    let client = server.client("ann@x.example").await;
    explore(&server, &client, "support@x.example", INBOX, 7).await;
}
