//! What was acknowledged against what is there, and what was sent against what the relay got.

use crate::Outcome;
use crate::agent::{TEAM, age};
use crate::http::Http;
use crate::ledger::Ledger;
use crate::server::Server;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Objects fetched at once.
const PAGE: usize = 500;

/// Everything of one type, read by a member.
struct Reader {
    http: Http,
    account: String,
}

/// All that is wrong, in words.
pub fn of(server: &Server, ledger: &Ledger) -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    sent_once(ledger, &mut faults);
    answered_once(ledger, &mut faults);
    let mut http = Http::connect(server.http, &Server::authorization(0))?;
    let session = http.get("/.well-known/jmap")?;
    let account =
        session["accounts"].as_object().and_then(|all| all.keys().next()).ok_or("no account")?.clone();
    let mut reader = Reader { http, account };
    let conversations = reader.all("Conversation", json!(["tags", "category", "noteCount", "ownerId"]))?;
    let notes = reader.all("Note", json!(["conversationId", "body"]))?;
    let activities = reader.all("Activity", Value::Null)?;
    nothing_lost(ledger, &conversations, &notes, &mut faults);
    owners(ledger, &conversations, &activities, &mut faults);
    let report = server.command(&["check"])?;
    println!(
        "{} conversations, {} notes, {} activities, {} messages at the relay; check: {}",
        conversations.len(),
        notes.len(),
        activities.len(),
        ledger.relayed().len(),
        report["faults"]
    );
    if report["faults"] != json!([]) {
        faults.push(format!("check: {}", report["faults"]));
    }
    for line in
        server.log().lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).take(20)
    {
        faults.push(format!("the server's log: {line}"));
    }
    Ok(faults)
}

impl Reader {
    /// All objects by their ids.
    fn all(&mut self, name: &str, properties: Value) -> Outcome<HashMap<String, Value>> {
        let mut out = HashMap::new();
        let mut position = 0;
        loop {
            let calls = json!([
                [format!("{name}/query"), {
                    "accountId": self.account, "position": position, "limit": PAGE
                }, "0"],
                [format!("{name}/get"), {
                    "accountId": self.account, "properties": properties,
                    "#ids": {"resultOf": "0", "name": format!("{name}/query"), "path": "/ids"}
                }, "1"]
            ]);
            let told = self.http.calls(TEAM, calls)?;
            let list = told[1][1]["list"].as_array().ok_or_else(|| format!("{told:?}"))?;
            for one in list {
                out.insert(one["id"].as_str().unwrap_or_default().to_owned(), one.clone());
            }
            if list.len() < PAGE {
                return Ok(out);
            }
            position += PAGE;
        }
    }
}

/// Every acknowledged submission is at the relay once, and nothing else is.
fn sent_once(ledger: &Ledger, faults: &mut Vec<String>) {
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    for reply in ledger.relayed().iter() {
        *got.entry(reply.token.clone()).or_default() += 1;
    }
    let acknowledged = ledger.acknowledged();
    for token in &acknowledged.sent {
        match got.remove(token) {
            Some(1) => {}
            count => faults.push(format!("{token} was acknowledged, and is {count:?} times at the relay")),
        }
    }
    faults
        .extend(got.iter().map(|(token, count)| format!("{token} is {count} times at the relay for nobody")));
    faults.extend(acknowledged.otherwise.iter().cloned());
}

/// No message of a customer has two replies: nobody confirmed one.
fn answered_once(ledger: &Ledger, faults: &mut Vec<String>) {
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for reply in ledger.relayed().iter() {
        answers.entry(reply.in_reply_to.clone()).or_default().push(reply.token.clone());
    }
    for (message, tokens) in answers.iter().filter(|(_, tokens)| tokens.len() > 1) {
        faults.push(format!("the customer's {message} was answered by {tokens:?}"));
    }
}

fn nothing_lost(
    ledger: &Ledger,
    conversations: &HashMap<String, Value>,
    notes: &HashMap<String, Value>,
    faults: &mut Vec<String>,
) {
    let acknowledged = ledger.acknowledged();
    for (id, tag) in &acknowledged.tags {
        if conversations.get(id).is_none_or(|one| one["tags"][tag] != json!(true)) {
            faults.push(format!("the tag {tag} of {id} is lost"));
        }
    }
    for (id, count) in &acknowledged.counts {
        let there = conversations.get(id).and_then(|one| one["category"].as_str()).unwrap_or("0");
        if there != count.to_string() {
            faults.push(format!("the counter of {id} is {there} after {count} acknowledged raises"));
        }
    }
    let mut of: HashMap<&str, u64> = HashMap::new();
    for note in notes.values() {
        *of.entry(note["conversationId"].as_str().unwrap_or_default()).or_default() += 1;
    }
    for (id, note, word) in &acknowledged.notes {
        let there = notes.get(note).filter(|one| one["conversationId"] == json!(id));
        if there.is_none_or(|one| !one["body"].as_str().unwrap_or_default().contains(word)) {
            faults.push(format!("the note {note} ({word}) of {id} is lost"));
        }
    }
    for (id, one) in conversations {
        let count = of.get(id.as_str()).copied().unwrap_or_default();
        if one["noteCount"] != json!(count) {
            faults.push(format!("{id} counts {} notes and has {count}", one["noteCount"]));
        }
    }
}

/// The history of each owner has no gap, ends with the present one, and has every claim once.
fn owners(
    ledger: &Ledger,
    conversations: &HashMap<String, Value>,
    activities: &HashMap<String, Value>,
    faults: &mut Vec<String>,
) {
    let mut history: HashMap<&str, Vec<&Value>> = HashMap::new();
    for one in activities.values().filter(|one| one["type"] == "ownerChanged") {
        history.entry(one["conversationId"].as_str().unwrap_or_default()).or_default().push(one);
    }
    let mut claimed: HashMap<(&str, &str), usize> = HashMap::new();
    let known: HashSet<&str> = conversations.keys().map(String::as_str).collect();
    for (id, changes) in &mut history {
        changes.sort_by_key(|one| age(&one["id"]));
        let mut owner = &Value::Null;
        for change in changes.iter() {
            if change["before"] != *owner {
                faults.push(format!("{id} went from {} where {owner} owned it", change["before"]));
            }
            owner = &change["after"];
            if change["before"].is_null() && change["actorId"] == change["after"] {
                *claimed.entry((id, change["after"].as_str().unwrap_or_default())).or_default() += 1;
            }
        }
        if known.contains(id) && conversations[*id]["ownerId"] != *owner {
            faults.push(format!(
                "{id} is owned by {} and its history says {owner}",
                conversations[*id]["ownerId"]
            ));
        }
    }
    let acknowledged = ledger.acknowledged();
    for (id, principal) in &acknowledged.claims {
        match claimed.get_mut(&(id.as_str(), principal.as_str())) {
            Some(count) if *count > 0 => *count -= 1,
            _ => faults.push(format!("{principal} won {id}, and its history doesn't say so")),
        }
    }
}
