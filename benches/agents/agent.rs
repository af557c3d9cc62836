//! An agent whose client knows our capabilities: claims, notes, tags, counts, locks and sends.

use crate::figures::Figures;
use crate::http::Http;
use crate::ledger::Ledger;
use crate::server::Server;
use crate::{Dice, Outcome};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

pub const PLAIN: &[&str] =
    &["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail", "urn:ietf:params:jmap:submission"];
pub const TEAM: &[&str] = &[
    "urn:ietf:params:jmap:core",
    "urn:ietf:params:jmap:mail",
    "urn:ietf:params:jmap:submission",
    "https://postroom.dev/jmap/ownership",
    "https://postroom.dev/jmap/status",
    "https://postroom.dev/jmap/notes",
    "https://postroom.dev/jmap/locks",
    "https://postroom.dev/jmap/activity",
];
/// Agents crowd around so many conversations at the head of a queue.
const HEAD: usize = 12;
/// Conversations whose counter everybody raises.
const COUNTED: usize = 20;

pub struct Agent {
    pub http: Http,
    pub ledger: Arc<Ledger>,
    pub dice: Dice,
    pub figures: Figures,
    pub account: String,
    pub principal: String,
    pub drafts: String,
    pub identity: String,
    pub number: usize,
    /// How many words of its own it used.
    pub words: usize,
    /// Conversations in which a plain client was refused: sending there again would be a yes.
    pub refused: HashSet<String>,
    /// Messages that a plain client has answered, or tried to.
    pub answered: HashSet<String>,
}

/// What an agent has read before it answers.
struct Read {
    version: String,
    waits: bool,
    newest: Option<Value>,
}

impl Agent {
    pub fn log_in(server: &Server, number: usize, ledger: Arc<Ledger>, dice: Dice) -> Outcome<Self> {
        let mut http = Http::connect(server.http, &Server::authorization(number))?;
        let session = http.get("/.well-known/jmap")?;
        let (account, object) =
            session["accounts"].as_object().and_then(|all| all.iter().next()).ok_or("no account")?;
        let account = account.clone();
        let principals = &object["accountCapabilities"]["urn:ietf:params:jmap:principals"];
        let principal = principals["currentUserPrincipalId"].as_str().ok_or("nobody")?.to_owned();
        let answers = http.calls(
            PLAIN,
            json!([
                ["Mailbox/query", {"accountId": account, "filter": {"role": "drafts"}}, "0"],
                ["Identity/get", {"accountId": account, "ids": null}, "1"]
            ]),
        )?;
        let drafts = answers[0][1]["ids"][0].as_str().ok_or("no Drafts")?.to_owned();
        let identity = answers[1][1]["list"][0]["id"].as_str().ok_or("no Identity")?.to_owned();
        Ok(Self {
            http,
            ledger,
            dice,
            figures: Figures::default(),
            account,
            principal,
            drafts,
            identity,
            number,
            words: 0,
            refused: HashSet::new(),
            answered: HashSet::new(),
        })
    }

    /// A request of these calls, `accountId` filled in; the arguments of the responses.
    pub fn ask(&mut self, what: &'static str, using: &[&str], mut calls: Value) -> Outcome<Vec<Value>> {
        for call in calls.as_array_mut().into_iter().flatten() {
            call[1]["accountId"] = json!(self.account);
        }
        let began = Instant::now();
        let answers = self.http.calls(using, calls)?;
        self.figures.request(what, began);
        if let Some(error) = answers.iter().find(|answer| answer[0] == "error") {
            return Err(format!("{what}: {error}").into());
        }
        Ok(answers.into_iter().map(|mut answer| answer[1].take()).collect())
    }

    /// A word that nobody else uses.
    pub fn word(&mut self) -> String {
        self.words += 1;
        format!("w{}-{}", self.number, self.words)
    }

    /// Looks at a queue, picks a conversation, and does something in it.
    pub fn work(&mut self) -> Outcome<()> {
        let Some(id) = self.pick()? else { return Ok(()) };
        match self.dice.below(100) {
            0..15 => self.note(&id),
            15..25 => self.tag(&id),
            25..35 => self.count(),
            35..40 => self.set_aside(&id),
            _ => {
                self.claim(&id)?;
                self.answer(&id)
            }
        }
    }

    fn pick(&mut self) -> Outcome<Option<String>> {
        // Half of them where everybody looks, half anywhere.
        let filter = match self.dice.below(3) {
            0 => json!({"hasOwner": false}),
            1 => json!({"ownerId": "me"}),
            _ => json!({"status": "open"}),
        };
        let far = if self.dice.percent(50) { 0 } else { self.dice.below(5000) };
        let calls = json!([["Conversation/query", {"filter": filter, "position": far, "limit": HEAD}, "0"]]);
        let ids = self.ask("Conversation/query of a queue", TEAM, calls)?.remove(0)["ids"].take();
        let all = ids.as_array().map_or(0, Vec::len);
        let at = self.dice.below(all);
        Ok(ids[at].as_str().map(str::to_owned))
    }

    fn claim(&mut self, id: &str) -> Outcome<()> {
        let calls = json!([["Conversation/set", {
            "update": {id: {"ownerId": self.principal}}, "ifOwner": {id: null}
        }, "0"]]);
        let told = self.ask("claim", TEAM, calls)?.remove(0);
        let error = told["notUpdated"][id]["type"].as_str();
        if error.is_none() {
            self.ledger.acknowledged().claims.push((id.to_owned(), self.principal.clone()));
        }
        self.figures.outcome(&format!("claim: {}", error.unwrap_or("won")));
        Ok(())
    }

    fn note(&mut self, id: &str) -> Outcome<()> {
        let word = self.word();
        let calls = json!([["Note/set", {
            "create": {"n": {"conversationId": id, "body": format!("note {word}: it was the import")}}
        }, "0"]]);
        let told = self.ask("note", TEAM, calls)?.remove(0);
        if let Some(note) = told["created"]["n"]["id"].as_str() {
            self.ledger.acknowledged().notes.push((id.to_owned(), note.to_owned(), word));
        }
        Ok(())
    }

    fn tag(&mut self, id: &str) -> Outcome<()> {
        let word = self.word();
        let calls = json!([["Conversation/set", {"update": {id: {format!("tags/{word}"): true}}}, "0"]]);
        let told = self.ask("tag", TEAM, calls)?.remove(0);
        let error = told["notUpdated"][id]["type"].as_str();
        if error.is_none() {
            self.ledger.acknowledged().tags.push((id.to_owned(), word));
        }
        self.figures.outcome(&format!("tag: {}", error.unwrap_or("set")));
        Ok(())
    }

    /// Raises the counter of a conversation that many raise: what was read must be what is replaced.
    fn count(&mut self) -> Outcome<()> {
        let calls = json!([
            ["Conversation/query", {"sort": [{"property": "createdAt"}], "limit": COUNTED}, "0"],
            ["Conversation/get", {
                "#ids": {"resultOf": "0", "name": "Conversation/query", "path": "/ids"},
                "properties": ["category", "version"]
            }, "1"]
        ]);
        let told = self.ask("look at counters", TEAM, calls)?.remove(1);
        let one = told["list"][self.dice.below(COUNTED)].clone();
        let Some(id) = one["id"].as_str() else { return Ok(()) };
        let count: usize = one["category"].as_str().unwrap_or("0").parse()?;
        let calls = json!([["Conversation/set", {
            "update": {id: {"category": (count + 1).to_string()}}, "ifVersion": {id: one["version"]}
        }, "0"]]);
        let told = self.ask("compare and set", TEAM, calls)?.remove(0);
        let error = told["notUpdated"][id]["type"].as_str();
        if error.is_none() {
            *self.ledger.acknowledged().counts.entry(id.to_owned()).or_default() += 1;
        }
        self.figures.outcome(&format!("compare and set: {}", error.unwrap_or("set")));
        Ok(())
    }

    /// Snoozes, closes, opens, or hands over.
    fn set_aside(&mut self, id: &str) -> Outcome<()> {
        let change = match self.dice.below(4) {
            0 => json!({"status": "snoozed", "snoozedUntil": "2099-01-01T00:00:00Z"}),
            1 => json!({"status": "closed"}),
            2 => json!({"status": "open"}),
            _ => json!({"ownerId": null}),
        };
        let told = self.ask(
            "status or release",
            TEAM,
            json!([["Conversation/set", {"update": {id: change}}, "0"]]),
        )?;
        let error = told[0]["notUpdated"][id]["type"].as_str();
        self.figures.outcome(&format!("status or release: {}", error.unwrap_or("set")));
        Ok(())
    }

    /// Locks, reads, writes and sends.
    fn answer(&mut self, id: &str) -> Outcome<()> {
        let calls = json!([["ReplyLock/set", {"create": {"l": {"conversationId": id, "seconds": 15}}}, "0"]]);
        let told = self.ask("lock", TEAM, calls)?.remove(0);
        let Some(lock) = told["created"]["l"]["id"].as_str().map(str::to_owned) else {
            let error = told["notCreated"]["l"]["type"].as_str().unwrap_or("?").to_owned();
            self.figures.outcome(&format!("lock: {error}"));
            return Ok(());
        };
        let token = told["created"]["l"]["token"].clone();
        let read = self.read(id)?;
        if self.dice.percent(5) {
            self.figures.outcome("lock: its holder died");
            return Ok(());
        }
        let newest = read.newest.filter(|_| read.waits);
        let Some(newest) = newest else {
            self.figures.outcome("lock: nothing to answer");
            self.ask("give the lock back", TEAM, json!([["ReplyLock/set", {"destroy": [lock]}, "0"]]))?;
            return Ok(());
        };
        let word = self.word();
        let email = self.draft(&newest, &word)?;
        let then = if self.dice.percent(30) { json!("closed") } else { Value::Null };
        let gate = json!({
            "identityId": self.identity, "emailId": email, "lockToken": token, "ifVersion": read.version,
            "thenStatus": then, "idempotencyKey": word
        });
        self.send("lock and send", TEAM, gate, &word).map(|_| ())
    }

    fn read(&mut self, id: &str) -> Outcome<Read> {
        let calls = json!([
            ["Conversation/get", {"ids": [id], "properties": ["version", "waitingSince", "threadIds"]}, "0"],
            ["Thread/get", {
                "#ids": {"resultOf": "0", "name": "Conversation/get", "path": "/list/*/threadIds"}
            }, "1"],
            ["Email/get", {
                "#ids": {"resultOf": "1", "name": "Thread/get", "path": "/list/*/emailIds"},
                "properties": ["messageId", "from", "subject", "keywords", "receivedAt"]
            }, "2"]
        ]);
        let told = self.ask("read the conversation", TEAM, calls)?;
        let one = &told[0]["list"][0];
        Ok(Read {
            version: one["version"].as_str().ok_or("no version")?.to_owned(),
            waits: one["waitingSince"].is_string(),
            newest: newest_inbound(&told[2]["list"]),
        })
    }

    /// A draft that answers a message; its id.
    pub fn draft(&mut self, to: &Value, word: &str) -> Outcome<String> {
        let create = json!({
            "mailboxIds": {self.drafts.as_str(): true}, "keywords": {"$draft": true, "$seen": true},
            "from": [{"name": "Support", "email": "support@agents.example"}],
            "to": to["from"], "subject": format!("Re: {}", to["subject"].as_str().unwrap_or_default()),
            "inReplyTo": to["messageId"], "references": to["messageId"],
            "bodyValues": {"t": {"value": format!("It is put right now.\r\ntoken {word}\r\n")}},
            "textBody": [{"partId": "t", "type": "text/plain"}]
        });
        let told =
            self.ask("draft", PLAIN, json!([["Email/set", {"create": {"d": create}}, "0"]]))?.remove(0);
        Ok(told["created"]["d"]["id"].as_str().ok_or_else(|| told.to_string())?.to_owned())
    }

    /// Submits, and now and then asks again as if no answer had come. True where it was taken.
    pub fn send(
        &mut self,
        what: &'static str,
        using: &[&str],
        submission: Value,
        word: &str,
    ) -> Outcome<bool> {
        let calls = json!([["EmailSubmission/set", {"create": {"s": submission}}, "0"]]);
        let told = self.ask(what, using, calls.clone())?.remove(0);
        let Some(id) = told["created"]["s"]["id"].as_str() else {
            let error = &told["notCreated"]["s"];
            let kind = error["type"].as_str().unwrap_or("?");
            let reasons: Vec<&str> =
                error["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            self.figures.outcome(format!("{what}: {kind} {}", reasons.join(" ")).trim_end());
            let email = submission["emailId"].clone();
            self.ask("throw the draft away", PLAIN, json!([["Email/set", {"destroy": [email]}, "0"]]))?;
            return Ok(false);
        };
        self.ledger.acknowledged().sent.push(word.to_owned());
        self.figures.outcome(&format!("{what}: sent"));
        if self.dice.percent(15) {
            let again = self.ask("send the same again", using, calls)?.remove(0);
            if again["created"]["s"]["id"].as_str() != Some(id) {
                self.ledger.acknowledged().otherwise.push(format!("{id} again: {again}"));
            }
        }
        Ok(true)
    }
}

/// The newest message that isn't ours and isn't a machine's.
pub fn newest_inbound(list: &Value) -> Option<Value> {
    let ours = |email: &&Value| {
        let from = email["from"][0]["email"].as_str().unwrap_or_default();
        !from.starts_with("support@") && email["keywords"]["$draft"] != json!(true)
    };
    let all = list.as_array()?.iter().filter(ours);
    all.max_by_key(|email| age(&email["id"])).cloned()
}

/// What orders ids by age: they are numbers in base 32, whose digits are letters first, then 2 to 7.
pub fn age(id: &Value) -> (usize, String) {
    let id = id.as_str().unwrap_or_default();
    let digit = |c: char| if c.is_ascii_digit() { (b'{' + (c as u8 - b'2')) as char } else { c };
    (id.len(), id.chars().map(digit).collect())
}
