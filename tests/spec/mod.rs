//! The examples of `spec/`: played against a real server, validated by the schemas that it serves, and
//! compared with the files in `spec/examples`.
//!
//! Ids, states, versions and times differ from run to run; in the files names in angle brackets stand for
//! them, the same name for the same value. `UPDATE_EXAMPLES=1 cargo test --test main spec::` writes the files
//! anew.

mod coverage;
mod placeholders;
mod schemas;
mod sending;
mod team;

use crate::support::{Client, PASSWORD, TestServer, message};
use placeholders::Placeholders;
use schemas::Schemas;
use serde_json::{Value, json};
use std::path::PathBuf;

const SUPPORT: &str = "support@x.example";
const MARTA: &str = "marta@customer.example";

/// How steps begin whose arguments are wrong on purpose.
const MISTAKES: &str = "Mistakes";

/// A member at a client.
#[derive(Clone)]
struct Member {
    name: &'static str,
    client: Client,
}

/// A story that is played and written down.
struct Story {
    file: &'static str,
    title: &'static str,
    server: TestServer,
    schemas: Schemas,
    ann: Member,
    bob: Member,
    cat: Member,
    olaf: Member,
    steps: Vec<Value>,
}

/// The folder of the files.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("spec/examples")
}

fn capability(name: &str) -> String {
    match name {
        "core" | "mail" | "submission" | "principals" => format!("urn:ietf:params:jmap:{name}"),
        ours => format!("https://postroom.dev/jmap/{ours}"),
    }
}

impl Story {
    /// An office with an inbox: ann leads it, bob and cat are agents, olaf observes.
    async fn begin(file: &'static str, title: &'static str) -> Self {
        let server = TestServer::office(&[]).await;
        server.person("olaf@x.example", "Olaf");
        server.json(&["inbox", "member", "add", SUPPORT, "olaf@x.example:observer"]);
        let member = async |name| {
            let email = format!("{name}@x.example");
            Member { name, client: Client::basic(&server.http, &email, PASSWORD).await }
        };
        let [ann, bob, cat, olaf] =
            [member("ann").await, member("bob").await, member("cat").await, member("olaf").await];
        let schemas = Schemas::of(&ann.client).await;
        Self { file, title, server, schemas, ann, bob, cat, olaf, steps: Vec::new() }
    }

    /// A customer writes.
    async fn mail(&mut self, what: &str, id: &str, answers: Option<&str>, subject: &str, body: &str) {
        if !self.steps.is_empty() {
            next_second().await;
        }
        let mut text = message(&format!("{id}@customer.example"), MARTA, SUPPORT, subject, body);
        if let Some(answers) = answers {
            text = format!("In-Reply-To: <{answers}>\r\n{text}");
        }
        let reply = self.server.deliver(MARTA, &[SUPPORT], &text).await;
        assert!(reply.starts_with("250 "), "{reply}");
        let lines: Vec<&str> = text.trim_end().split("\r\n").collect();
        self.steps.push(json!({"what": what, "message": lines}));
    }

    /// A member's request, with `accountId` filled in; its responses, each its arguments.
    async fn step(&mut self, who: &Member, what: &str, using: &[&str], mut calls: Value) -> Vec<Value> {
        for call in calls.as_array_mut().expect("calls") {
            let mut arguments = json!({"accountId": who.client.account});
            arguments.as_object_mut().unwrap().extend(call[1].as_object().unwrap().clone());
            call[1] = arguments;
        }
        let using: Vec<String> = using.iter().map(|name| capability(name)).collect();
        let names: Vec<&str> = using.iter().map(String::as_str).collect();
        if calls.as_array().unwrap().iter().any(|call| call[0] == "Conversation/set") {
            next_second().await;
        }
        let response = who.client.request(&names, calls.clone()).await;
        let responses = response["methodResponses"].as_array().unwrap().clone();
        for (call, answer) in calls.as_array().unwrap().iter().zip(&responses) {
            // What the server refuses as a whole the schemas may refuse as well.
            if answer[0] != "error" && !what.starts_with(MISTAKES) {
                self.schemas.check(call[0].as_str().unwrap(), "Arguments", &call[1]);
            }
            self.schemas.check(answer[0].as_str().unwrap(), "Response", &answer[1]);
        }
        self.steps.push(json!({
            "by": who.name, "what": what,
            "request": {"using": using, "methodCalls": calls}, "response": response
        }));
        responses.into_iter().map(|mut answer| answer[1].take()).collect()
    }

    /// One call; the arguments of its response.
    async fn call(&mut self, who: &Member, what: &str, using: &[&str], method: &str, args: Value) -> Value {
        self.step(who, what, using, json!([[method, args, "0"]])).await.remove(0)
    }

    /// Compares with the file, or writes it.
    fn end(self) {
        self.server.check();
        let mut names = Placeholders::default();
        names.known("inbox", &self.ann.client.account);
        for member in [&self.ann, &self.bob, &self.cat, &self.olaf] {
            names.known(member.name, &member.client.principal());
        }
        let steps: Vec<Value> = self.steps.iter().map(|step| names.put_into(step)).collect();
        let whole = json!({"title": self.title, "steps": steps});
        let text = format!("{}\n", pretty(&whole, 0, 0));
        let path = folder().join(self.file);
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            std::fs::write(&path, text).expect("a file that can be written");
            return;
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "spec/examples/{} is otherwise:\n{}", self.file, difference(&kept, &text));
    }
}

/// Times are told in seconds, and `updated` tells of one only where it changed: so that it always does.
async fn next_second() {
    tokio::time::sleep(std::time::Duration::from_millis(1_010)).await;
}

/// JSON with what is short on one line.
fn pretty(value: &Value, indent: usize, used: usize) -> String {
    let line = value.to_string();
    if indent + used + line.chars().count() <= 116 && indent > 0 {
        return spaced(value);
    }
    let pad = " ".repeat(indent + 2);
    let inner: Vec<String> = match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let name = Value::from(name.as_str()).to_string();
                format!("{pad}{name}: {}", pretty(value, indent + 2, name.len() + 2))
            };
            members.iter().map(member).collect()
        }
        Value::Array(items) => {
            items.iter().map(|item| format!("{pad}{}", pretty(item, indent + 2, 0))).collect()
        }
        _ => return line,
    };
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    format!("{open}\n{}\n{}{close}", inner.join(",\n"), " ".repeat(indent))
}

/// One line with a space behind colons and commas.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), spaced(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// The lines that differ, with a few before and behind.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - same;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(old, new)| old == new).count();
    let context = same.saturating_sub(3);
    let mut out: Vec<String> = old[context..same].iter().map(|line| format!("  {line}")).collect();
    out.extend(old[same..old.len() - tail].iter().map(|line| format!("- {line}")));
    out.extend(new[same..new.len() - tail].iter().map(|line| format!("+ {line}")));
    out.extend(new[new.len() - tail..].iter().take(3).map(|line| format!("  {line}")));
    out.join("\n")
}
