//! The JSON Schemas, as the server serves them.

use crate::support::Client;
use boon::{Compiler, Schemas as Compiled};
use serde_json::Value;
use std::collections::BTreeMap;

const BASE: &str = "https://postroom.dev/jmap/schema/";
const FILES: [&str; 13] = [
    "types",
    "errors",
    "standard",
    "capabilities",
    "Conversation",
    "Note",
    "ReplyLock",
    "Presence",
    "EmailSubmission",
    "Activity",
    "InboxSettings",
    "Email",
    "Principal",
];
/// Types that RFCs define: of their methods these have a schema where we add something.
const OF_RFCS: [&str; 8] =
    ["Core", "Mailbox", "Thread", "Email", "Identity", "EmailSubmission", "Principal", "Blob"];

/// All schemas, ready to be asked.
pub struct Schemas {
    documents: BTreeMap<&'static str, Value>,
}

impl Schemas {
    /// Fetches all of them, without credentials needed.
    pub async fn of(client: &Client) -> Self {
        let mut documents = BTreeMap::new();
        for file in FILES {
            documents.insert(file, client.get(&format!("/jmap/schema/{file}.json")).await.json());
        }
        Self { documents }
    }

    /// Checks the arguments or the response of a method, or an error. One of ours without a schema is a fault.
    #[track_caller]
    pub fn check(&self, method: &str, part: &str, value: &Value) {
        if method == "error" {
            return self.fits("errors", "MethodError", value);
        }
        let (name, verb) = method.split_once('/').expect("a method");
        let part = format!("{verb}{part}");
        if self.documents.get(name).is_some_and(|schema| schema["$defs"][&part].is_object()) {
            return self.fits(name, &part, value);
        }
        assert!(OF_RFCS.contains(&name), "no {part} in a schema of {name}");
    }

    /// Panics with what is wrong unless the value fits the definition.
    #[track_caller]
    pub fn fits(&self, file: &str, definition: &str, value: &Value) {
        let mut compiler = Compiler::new();
        for (name, document) in &self.documents {
            compiler.add_resource(&format!("{BASE}{name}.json"), document.clone()).expect("a schema");
        }
        let mut compiled = Compiled::new();
        // A slash within a definition's name is `~1` in a pointer (RFC 6901 §3).
        let pointer = definition.replace('~', "~0").replace('/', "~1");
        let index = compiler
            .compile(&format!("{BASE}{file}.json#/$defs/{pointer}"), &mut compiled)
            .unwrap_or_else(|error| panic!("{file}.json: {error:#}"));
        let told = compiled.validate(value, index).map_err(|error| format!("{error:#}"));
        if let Err(error) = told {
            panic!("{definition} of {file}.json: {error}\n{value:#}");
        }
    }
}

#[tokio::test]
async fn every_schema_compiles_and_refuses_what_is_wrong() {
    let server = crate::support::server::start().await;
    let schemas = Schemas::of(&Client::stranger(&server.http, String::new())).await;
    let good = serde_json::json!({"accountId": "ab", "create": {"l": {"conversationId": "#c"}}});
    schemas.check("ReplyLock/set", "Arguments", &good);
    for (file, document) in &schemas.documents {
        for name in document["$defs"].as_object().unwrap().keys() {
            // Whatever a definition asks for, this isn't it.
            let wrong = serde_json::json!([{"": [true]}]);
            let told = std::panic::catch_unwind(|| schemas.fits(file, name, &wrong));
            assert!(told.is_err(), "{name} in {file}.json takes anything");
        }
    }
    for wrong in [
        serde_json::json!({"create": {}}),
        serde_json::json!({"accountId": "ab", "create": {"l": {}}}),
        serde_json::json!({"accountId": "ab", "create": {"l": {"conversationId": "c", "token": 1}}}),
        serde_json::json!({"accountId": "ab", "ifOwner": {}}),
    ] {
        let told = std::panic::catch_unwind(|| schemas.check("ReplyLock/set", "Arguments", &wrong));
        assert!(told.is_err(), "{wrong}");
    }
}
