//! Names in the place of what differs from run to run.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Values and the names that stand for them.
#[derive(Default)]
pub struct Placeholders {
    /// By what kind of value it is, and the value.
    names: BTreeMap<(String, String), String>,
    counts: BTreeMap<String, usize>,
}

/// What the first letter of an id of ours tells.
fn kind_of_id(id: &str) -> Option<&'static str> {
    let (letter, rest) = (id.chars().next()?, id.get(1..)?);
    // A word of its own wherever a principal may be named, though a mailbox can have it as its id.
    if id == "me" {
        return None;
    }
    let digits = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    let kind = match letter {
        'a' => "account",
        'p' => "principal",
        'e' => "email",
        't' => "thread",
        'm' => "mailbox",
        'i' => "identity",
        's' => "submission",
        'c' => "conversation",
        'n' => "note",
        'l' => "lock",
        'y' => "activity",
        'w' => "presence",
        'b' | 'r' => "blob",
        _ => return None,
    };
    (!rest.is_empty() && rest.chars().all(digits)).then_some(kind)
}

fn holds_ids(name: &str) -> bool {
    let exact = [
        "id",
        "ids",
        "destroy",
        "destroyed",
        "removed",
        "created",
        "updated",
        "notFound",
        "mentions",
        "acknowledge",
    ];
    name.ends_with("Id") || name.ends_with("Ids") || exact.contains(&name)
}

fn holds_a_state(name: &str) -> bool {
    name == "state" || name.ends_with("State") && name != "sessionState"
}

impl Placeholders {
    /// Gives an id a name of its own.
    pub fn known(&mut self, name: &str, id: &str) {
        self.names.insert(("id".into(), id.to_owned()), format!("<{name}>"));
    }

    /// A step with names in place of values. Ids are found first, wherever they stand.
    pub fn put_into(&mut self, step: &Value) -> Value {
        self.find_ids("", step);
        let mut out = step.clone();
        for pointer in ["/request/methodCalls", "/response/methodResponses"] {
            let calls = out.pointer_mut(pointer).and_then(Value::as_array_mut);
            calls.into_iter().flatten().for_each(|call| self.put_into_call(call));
        }
        if let Some(excerpt) = out.get_mut("excerpt") {
            *excerpt = self.replaced("", "", excerpt);
        }
        if let Some(state) = out.pointer_mut("/response/sessionState") {
            *state = "<sessionState>".into();
        }
        out
    }

    fn put_into_call(&mut self, call: &mut Value) {
        let method = call[0].as_str().unwrap_or_default().to_owned();
        let of = method.split('/').next().unwrap_or_default();
        call[1] = self.replaced(of, "", &call[1]);
    }

    fn find_ids(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) if holds_ids(name) => {
                if let Some(kind) = kind_of_id(text) {
                    self.name("id", kind, text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.find_ids(name, item)),
            Value::Object(members) => members.iter().for_each(|(name, value)| self.find_ids(name, value)),
            _ => {}
        }
    }

    fn name(&mut self, what: &str, kind: &str, value: &str) -> String {
        let key = (what.to_owned(), value.to_owned());
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        let name = if *count == 1 { format!("<{kind}>") } else { format!("<{kind}-{count}>") };
        self.names.insert(key, name.clone());
        name
    }

    fn id(&self, text: &str) -> Option<String> {
        self.names.get(&("id".to_owned(), text.to_owned())).cloned()
    }

    /// `of` is the type whose method this is.
    fn replaced(&mut self, of: &str, name: &str, value: &Value) -> Value {
        match value {
            Value::String(text) if holds_a_state(name) => {
                self.name(&format!("{of}State"), &format!("{of}State"), text).into()
            }
            Value::String(text) if matches!(name, "version" | "ifVersion") => {
                self.name("version", "version", text).into()
            }
            Value::String(text) if holds_ids(name) || matches!(name, "before" | "after" | "ifOwner") => {
                self.id(text).unwrap_or_else(|| without_times(text)).into()
            }
            Value::String(text) => without_times(text).into(),
            Value::Array(items) => items.iter().map(|item| self.replaced(of, name, item)).collect(),
            Value::Object(members) => {
                let mut out = Map::new();
                for (key, value) in members {
                    // What is below an id is about the same thing as what the id stands in.
                    let below = if self.id(key).is_some() { name } else { key };
                    let value = self.replaced(of, below, value);
                    let path: Vec<String> =
                        key.split('/').map(|part| self.id(part).unwrap_or_else(|| part.to_owned())).collect();
                    out.insert(path.join("/"), value);
                }
                Value::Object(out)
            }
            other => other.clone(),
        }
    }
}

/// The text with `<time>` for every UTCDate in it.
fn without_times(text: &str) -> String {
    const FORM: &str = "0000-00-00T00:00:00Z";
    let is_time = |part: &str| {
        part.chars()
            .zip(FORM.chars())
            .all(|(c, form)| if form == '0' { c.is_ascii_digit() } else { c == form })
    };
    let (mut out, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        if let Some(part) = rest.get(..FORM.len()).filter(|part| is_time(part)) {
            out.push_str("<time>");
            rest = &rest[part.len()..];
        } else {
            let next = rest.chars().next().unwrap_or_default();
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

#[test]
fn the_same_value_has_the_same_name_and_words_stay() {
    let mut names = Placeholders::default();
    names.known("bob", "pc");
    let step = serde_json::json!({"request": {"methodCalls": [["Conversation/set", {
        "update": {"cb": {"ownerId": "pc", "status": "pending", "watcherIds/pc": true}},
        "ifVersion": {"cb": "7"}
    }, "0"]]}, "response": {"methodResponses": [["Conversation/get", {
        "state": "7", "list": [{"id": "cb", "version": "7", "previousId": "cd"}, {"id": "cd", "version": "8"}],
        "description": "until 2026-11-26T04:00:00Z at least"
    }, "0"]], "sessionState": "x"}});
    let expected = serde_json::json!({"request": {"methodCalls": [["Conversation/set", {
        "update": {"<conversation>": {"ownerId": "<bob>", "status": "pending", "watcherIds/<bob>": true}},
        "ifVersion": {"<conversation>": "<version>"}
    }, "0"]]}, "response": {"methodResponses": [["Conversation/get", {
        "state": "<ConversationState>",
        "list": [
            {"id": "<conversation>", "version": "<version>", "previousId": "<conversation-2>"},
            {"id": "<conversation-2>", "version": "<version-2>"}
        ],
        "description": "until <time> at least"
    }, "0"]], "sessionState": "<sessionState>"}});
    assert_eq!(names.put_into(&step), expected);
}
