//! What a team does, measured at one size of the inbox: its queue, claims, and replies through the gate.

use crate::Outcome;
use crate::http::Http;
use crate::operations::time;
use crate::server::Server;
use crate::table::{Spread, row};
use serde_json::{Value, json};
use std::time::Instant;

const ROUNDS: usize = 5;
const REPLIES_A_ROUND: usize = 20;
/// A queue's page.
const PAGE: usize = 50;

/// A request's text.
fn request(calls: &Value) -> String {
    let using = json!([
        "urn:ietf:params:jmap:core",
        "urn:ietf:params:jmap:mail",
        "urn:ietf:params:jmap:submission",
        "urn:ietf:params:jmap:principals",
        "https://postroom.dev/jmap/ownership",
        "https://postroom.dev/jmap/status",
        "https://postroom.dev/jmap/locks"
    ]);
    json!({"using": using, "methodCalls": calls}).to_string()
}

/// The arguments of the responses; a method error ends the bench.
pub fn ask(http: &mut Http, calls: &Value) -> Outcome<Vec<Value>> {
    let answer: Value = serde_json::from_slice(http.post(&request(calls))?)?;
    let answers = answer["methodResponses"].as_array().ok_or_else(|| answer.to_string())?;
    match answers.iter().find(|one| one[0] == "error") {
        Some(error) => Err(error.to_string().into()),
        None => Ok(answers.iter().map(|one| one[1].clone()).collect()),
    }
}

/// The inbox, its queue, and who is there.
pub struct Team {
    pub account: String,
    principal: String,
    pub drafts: String,
    pub identity: String,
    pub address: String,
}

/// Measures everything at the present size, and prints it.
pub fn measure(server: &Server, account: &str, size: usize) -> Outcome<()> {
    let mut http = server.client()?;
    let team = Team::find(&mut http, account)?;
    let queue = team.queue(json!({"status": "open"}), json!({}));
    let total =
        ask(&mut http, &json!([team.queue(json!({"status": "open"}), json!({"calculateTotal": true}))]))?;
    println!("  ({} conversations are open)", total[0]["total"]);
    time(server, &mut http, "Conversation/query, queue of 50", size, &[request(&json!([queue]))])?;
    let get = json!(["Conversation/get", {
        "accountId": team.account, "#ids": {"resultOf": "q", "name": "Conversation/query", "path": "/ids"}
    }, "g"]);
    time(
        server,
        &mut http,
        "queue view: query and 50 Conversations",
        size,
        &[request(&json!([queue, get]))],
    )?;
    let own = team.queue(json!({"ownerId": "me", "status": "open"}), json!({}));
    time(server, &mut http, "Conversation/query, mine and open", size, &[request(&json!([own]))])?;
    team.claims(server, &mut http, size)?;
    team.replies(server, &mut http, size)
}

impl Team {
    pub fn find(http: &mut Http, account: &str) -> Outcome<Self> {
        let session = http.get("/.well-known/jmap")?;
        let capabilities = &session["accounts"][account]["accountCapabilities"];
        let principal = &capabilities["urn:ietf:params:jmap:principals"]["currentUserPrincipalId"];
        let calls = json!([
            ["Mailbox/query", {"accountId": account, "filter": {"role": "drafts"}}, "0"],
            ["Identity/get", {"accountId": account, "ids": null}, "1"]
        ]);
        let told = ask(http, &calls)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("{told:?}"));
        Ok(Self {
            account: account.to_owned(),
            principal: text(principal)?,
            drafts: text(&told[0]["ids"][0])?,
            identity: text(&told[1]["list"][0]["id"])?,
            address: text(&told[1]["list"][0]["email"])?,
        })
    }

    fn queue(&self, filter: Value, more: Value) -> Value {
        let mut arguments = json!({"accountId": self.account, "filter": filter, "limit": PAGE});
        if let (Some(arguments), Some(more)) = (arguments.as_object_mut(), more.as_object()) {
            arguments.extend(more.clone());
        }
        json!(["Conversation/query", arguments, "q"])
    }

    /// Conversations of the queue's first page are claimed and given back by turns.
    fn claims(&self, server: &Server, http: &mut Http, size: usize) -> Outcome<()> {
        let told = ask(http, &json!([self.queue(json!({"hasOwner": false}), json!({}))]))?;
        let ids = told[0]["ids"].as_array().ok_or("no ids")?;
        let set = |id: &Value, owner: Value| {
            let id = id.as_str().unwrap_or_default();
            request(&json!([["Conversation/set", {
                "accountId": self.account, "update": {id: {"ownerId": owner}}
            }, "s"]]))
        };
        let claims = ids.iter().map(|id| set(id, json!(self.principal)));
        let requests: Vec<String> = claims.chain(ids.iter().map(|id| set(id, Value::Null))).collect();
        time(server, http, "claim, or release (Conversation/set)", size, &requests)
    }

    /// The lock, then the reply through the gate with token and version, which ends the lock.
    fn replies(&self, server: &Server, http: &mut Http, size: usize) -> Outcome<()> {
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let drafts = self.drafts(http, round)?;
            let count = drafts.len() as f64;
            let (begun, cpu_before) = (Instant::now(), server.cpu_seconds()?);
            for (conversation, version, draft) in &drafts {
                let lock = json!([["ReplyLock/set", {
                    "accountId": self.account, "create": {"l": {"conversationId": conversation}}
                }, "l"]]);
                let told = ask(http, &lock)?;
                let send = json!([["EmailSubmission/set", {
                    "accountId": self.account, "create": {"s": {
                        "identityId": self.identity, "emailId": draft, "ifVersion": version,
                        "lockToken": told[0]["created"]["l"]["token"]
                    }}
                }, "s"]]);
                let told = ask(http, &send)?;
                if told[0]["created"]["s"].is_null() {
                    return Err(told[0].to_string().into());
                }
            }
            walls.push(begun.elapsed().as_secs_f64() / count);
            cpus.push((server.cpu_seconds()? - cpu_before) / count);
        }
        row("lock and send through the gate", size, &Spread::of(walls), &Spread::of(cpus));
        Ok(())
    }

    /// Drafts that answer conversations deep in the queue: conversation, version and draft of each.
    fn drafts(&self, http: &mut Http, round: usize) -> Outcome<Vec<(Value, Value, Value)>> {
        let window = json!({"limit": REPLIES_A_ROUND, "position": PAGE + round});
        let told = ask(http, &json!([self.queue(json!({"status": "open"}), window)]))?;
        let mut out = Vec::new();
        for id in told[0]["ids"].as_array().ok_or("no ids")? {
            let calls = json!([
                ["Conversation/get", {
                    "accountId": self.account, "ids": [id], "properties": ["version", "threadIds"]
                }, "c"],
                ["Thread/get", {
                    "accountId": self.account,
                    "#ids": {"resultOf": "c", "name": "Conversation/get", "path": "/list/*/threadIds"}
                }, "t"],
                ["Email/get", {
                    "accountId": self.account, "properties": ["messageId", "subject", "from"],
                    "#ids": {"resultOf": "t", "name": "Thread/get", "path": "/list/*/emailIds"}
                }, "e"]
            ]);
            let told = ask(http, &calls)?;
            let newest = told[2]["list"].as_array().and_then(|all| all.last()).ok_or("no messages")?;
            let draft = json!({
                "mailboxIds": {self.drafts.as_str(): true}, "keywords": {"$draft": true},
                "from": [{"email": self.address}], "to": newest["from"], "subject": newest["subject"],
                "inReplyTo": newest["messageId"], "references": newest["messageId"],
                "bodyValues": {"t": {"value": format!("An answer to {id} in round {round}.")}},
                "textBody": [{"partId": "t", "type": "text/plain"}]
            });
            let made =
                ask(http, &json!([["Email/set", {"accountId": self.account, "create": {"d": draft}}, "d"]]))?;
            let version = told[0]["list"][0]["version"].clone();
            out.push((id.clone(), version, made[0]["created"]["d"]["id"].clone()));
        }
        Ok(out)
    }
}
