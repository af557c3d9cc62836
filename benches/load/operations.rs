//! What a client does, measured at one size of the inbox.

use crate::http::Http;
use crate::letters::{RARE_WORD, SECOND_WORD, TENTH_WORD};
use crate::server::Server;
use crate::smtp::Gateway;
use crate::table::{Spread, row};
use crate::{Load, Outcome, presence, team};
use serde_json::{Value, json};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const LIST_PROPERTIES: [&str; 11] = [
    "id",
    "threadId",
    "mailboxIds",
    "keywords",
    "from",
    "to",
    "subject",
    "receivedAt",
    "size",
    "preview",
    "hasAttachment",
];

/// A request's text.
pub fn request(calls: &Value) -> String {
    json!({"using": ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"], "methodCalls": calls})
        .to_string()
}

/// What the operations work on.
pub struct Place {
    pub account: String,
    inbox: String,
}

/// Measures everything at the present size, and prints it.
pub fn measure(server: &Server, load: &mut Load, size: usize) -> Outcome<()> {
    let mut http = server.client()?;
    let place = place(&mut http)?;
    let echo = vec![request(&json!([["Core/echo", {"hello": "world"}, "0"]]))];
    time(server, &mut http, "Core/echo", size, &echo)?;
    time(server, &mut http, "list view: query and 50 Emails", size, &[request(&place.list())])?;
    time(server, &mut http, "the query alone", size, &[request(&json!([place.query(json!({}))]))])?;
    read_threads(server, &mut http, &place, size)?;
    for (name, text) in [
        ("text search, one word, 100 hits", RARE_WORD.to_owned()),
        ("text search, two words, 50 hits", format!("{RARE_WORD} {SECOND_WORD}")),
        ("text search, one word, a tenth of all", TENTH_WORD.to_owned()),
    ] {
        time(server, &mut http, name, size, &[request(&json!([place.search(&text)]))])?;
    }
    let total = load.sent;
    let deep = place.query(json!({"position": total / 6, "calculateTotal": true}));
    time(server, &mut http, "deep page, calculateTotal, collapsed", size, &[request(&json!([deep]))])?;
    changes(server, &mut http, &place, load, size)?;
    keywords(server, &mut http, &place, size)?;
    team::measure(server, &place.account, size)?;
    presence::measure(server, &place.account, size)?;
    events(server, load, size)
}

impl Place {
    fn query(&self, extra: Value) -> Value {
        let mut arguments = json!({
            "accountId": self.account, "filter": {"inMailbox": self.inbox},
            "sort": [{"property": "receivedAt", "isAscending": false}], "collapseThreads": true, "limit": 50,
        });
        if let (Some(arguments), Some(extra)) = (arguments.as_object_mut(), extra.as_object()) {
            arguments.extend(extra.clone());
        }
        json!(["Email/query", arguments, "q"])
    }

    fn list(&self) -> Value {
        json!([self.query(json!({})), ["Email/get", {
            "accountId": self.account, "properties": LIST_PROPERTIES,
            "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"},
        }, "g"]])
    }

    fn search(&self, text: &str) -> Value {
        json!(["Email/query", {
            "accountId": self.account, "filter": {"text": text},
            "sort": [{"property": "receivedAt", "isAscending": false}], "limit": 50,
        }, "s"])
    }
}

pub fn place(http: &mut Http) -> Outcome<Place> {
    let session = http.get("/.well-known/jmap")?;
    let accounts = session["accounts"].as_object().ok_or("no accounts")?;
    let account = accounts.keys().next().ok_or("no account")?.clone();
    let answers = http.calls(json!([["Mailbox/get", {"accountId": account, "ids": null}, "0"]]))?;
    let list = answers[0][1]["list"].as_array().ok_or_else(|| answers[0].to_string())?;
    let inbox = list.iter().find(|one| one["role"] == "inbox").ok_or("no Inbox")?;
    let inbox = inbox["id"].as_str().ok_or("no id")?.to_owned();
    Ok(Place { account, inbox })
}

/// Sends the requests by turns for some rounds; prints wall time and server CPU of one.
pub fn time(server: &Server, http: &mut Http, name: &str, size: usize, requests: &[String]) -> Outcome<()> {
    for request in requests.iter().take(20) {
        let answer: Value = serde_json::from_slice(http.post(request)?)?;
        let responses = answer["methodResponses"].as_array().ok_or_else(|| answer.to_string())?;
        if let Some(error) = responses.iter().find(|one| one[0] == "error") {
            println!("{name:<52} {size:>8}  not answered: {}", error[1]["type"]);
            return Ok(());
        }
    }
    let round: u64 = std::env::var("BENCH_ROUND_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let round = Duration::from_millis(round);
    let (mut walls, mut cpus, mut turn) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let cpu_before = server.cpu_seconds()?;
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < round {
            http.post(&requests[turn % requests.len()])?;
            turn += 1;
            count += 1;
        }
        walls.push(begun.elapsed().as_secs_f64() / f64::from(count));
        cpus.push((server.cpu_seconds()? - cpu_before) / f64::from(count));
    }
    row(name, size, &Spread::of(walls), &Spread::of(cpus));
    Ok(())
}

/// Reads the Threads of the newest page one by one, with all bodies.
fn read_threads(server: &Server, http: &mut Http, place: &Place, size: usize) -> Outcome<()> {
    let answers = http.calls(place.list())?;
    let emails = answers.get(1).and_then(|one| one[1]["list"].as_array()).ok_or("no list")?;
    let read = |thread: &Value| {
        request(&json!([
            ["Thread/get", {"accountId": place.account, "ids": [thread]}, "t"],
            ["Email/get", {
                "accountId": place.account, "fetchTextBodyValues": true, "fetchHTMLBodyValues": true,
                "properties": ["id", "threadId", "mailboxIds", "keywords", "from", "to", "cc", "subject",
                    "receivedAt", "preview", "bodyValues", "textBody", "htmlBody", "attachments"],
                "#ids": {"resultOf": "t", "name": "Thread/get", "path": "/list/*/emailIds"},
            }, "g"],
        ]))
    };
    let requests: Vec<String> = emails.iter().map(|email| read(&email["threadId"])).collect();
    time(server, http, "Thread read with bodies (up to 3 Emails)", size, &requests)
}

/// Ten messages come; what changed is asked for.
fn changes(server: &Server, http: &mut Http, place: &Place, load: &mut Load, size: usize) -> Outcome<()> {
    let answers = http.calls(json!([
        ["Email/get", {"accountId": place.account, "ids": []}, "e"],
        place.query(json!({})),
    ]))?;
    let (state, query_state) = (answers[0][1]["state"].clone(), answers[1][1]["queryState"].clone());
    load.deliver(server, 1, 10)?;
    let changes = json!(["Email/changes", {"accountId": place.account, "sinceState": state}, "c"]);
    time(server, http, "Email/changes, ten changes", size, &[request(&json!([changes]))])?;
    let query_changes = json!(["Email/queryChanges", {
        "accountId": place.account, "filter": {"inMailbox": place.inbox}, "collapseThreads": true,
        "sort": [{"property": "receivedAt", "isAscending": false}], "sinceQueryState": query_state,
    }, "c"]);
    time(
        server,
        http,
        "Email/queryChanges, ten changes, collapsed",
        size,
        &[request(&json!([query_changes]))],
    )
}

/// `$flagged` is set and taken away on the Emails of the newest page.
fn keywords(server: &Server, http: &mut Http, place: &Place, size: usize) -> Outcome<()> {
    let answers = http.calls(json!([place.query(json!({}))]))?;
    let ids = answers[0][1]["ids"].as_array().ok_or("no ids")?;
    let flag = |id: &Value, on: Value| {
        let id = id.as_str().unwrap_or_default();
        request(&json!([["Email/set", {
            "accountId": place.account, "update": {id: {"keywords/$flagged": on}},
        }, "s"]]))
    };
    let on = ids.iter().map(|id| flag(id, json!(true)));
    let requests: Vec<String> = on.chain(ids.iter().map(|id| flag(id, Value::Null))).collect();
    time(server, http, "keyword update (Email/set)", size, &requests)
}

/// From the 250 of a message to the event that tells of it.
fn events(server: &Server, load: &mut Load, size: usize) -> Outcome<()> {
    let (told, tells) = mpsc::channel();
    let channel = server.client()?.events("Email", told)?;
    let mut gateway = Gateway::connect(server.smtp)?;
    let mut waits = Vec::new();
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..50 {
        while tells.try_recv().is_ok() {}
        let letter = load.letters.letter(load.sent);
        load.raw_bytes += letter.len() as u64;
        load.sent += 1;
        gateway.send(&letter)?;
        let accepted = Instant::now();
        let event = tells.recv_timeout(Duration::from_secs(5))?;
        // The event may well be here first: both wait for the same sync.
        waits.push(event.saturating_duration_since(accepted).as_secs_f64());
        std::thread::sleep(Duration::from_millis(5));
    }
    row("SMTP 250 to EventSource event", size, &Spread::of(waits), &Spread::of(Vec::new()));
    Ok(channel.shutdown(Shutdown::Both)?)
}
