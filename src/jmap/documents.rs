//! The specifications of our capabilities, as every server serves them: the texts in `spec/`, the
//! schemas, the examples, in the binary.
//!
//! Invariant: a capability's identifier is a URL, and its path leads to its text here (RFC 8620
//! §1.8). The layout below `/jmap/` is that of `spec/`, so that links between texts hold in both.
//! The tests keep texts and schemas true to the property tables and the methods.

/// One document.
#[derive(Clone, Copy, Debug)]
pub struct Document {
    /// Below `/jmap/`, as it lies in `spec/`.
    pub path: &'static str,
    pub text: &'static str,
}

impl Document {
    /// Its media type. RFC 7763 registers Markdown's, the draft of JSON Schema names its own.
    pub fn media_type(&self) -> &'static str {
        if self.path.starts_with("schema/") {
            "application/schema+json"
        } else if self.path.ends_with(".json") {
            "application/json"
        } else if self.path.ends_with(".py") {
            "text/x-python; charset=utf-8"
        } else {
            "text/markdown; charset=utf-8"
        }
    }
}

macro_rules! documents {
    ($($path:literal)*) => {
        &[$(Document { path: $path, text: include_str!(concat!("../../spec/", $path)) }),*]
    };
}

/// All of them.
pub static ALL: &[Document] = documents![
    "README.md"
    "conversation.md"
    "ownership.md"
    "status.md"
    "notes.md"
    "locks.md"
    "activity.md"
    "inbox-settings.md"
    "schema/types.json"
    "schema/errors.json"
    "schema/standard.json"
    "schema/capabilities.json"
    "schema/Conversation.json"
    "schema/Note.json"
    "schema/ReplyLock.json"
    "schema/Presence.json"
    "schema/EmailSubmission.json"
    "schema/Activity.json"
    "schema/Email.json"
    "schema/Principal.json"
    "schema/InboxSettings.json"
    "examples/session.json"
    "examples/conversation.json"
    "examples/claim.json"
    "examples/merge.json"
    "examples/status.json"
    "examples/notes.json"
    "examples/locks.json"
    "examples/send.json"
    "examples/activity.json"
    "examples/settings.json"
    "examples/client.py"
];

/// The document at a path below `/jmap/`: as its file is called, or a text without `.md`; nothing
/// is the list of all.
pub fn find(path: &str) -> Option<&'static Document> {
    let path = if path.is_empty() { "README.md" } else { path };
    ALL.iter().find(|one| one.path == path || one.path.strip_suffix(".md") == Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jmap::capability::Capability;
    use crate::jmap::error::VendorError;
    use crate::jmap::methods;
    use crate::jmap::object::{Access, Kind, Object, Property, TypeTable};
    use crate::jmap::types;
    use serde_json::{Map, Value};
    use std::collections::BTreeSet;

    fn text(path: &str) -> &'static str {
        find(path).unwrap_or_else(|| panic!("spec/{path} isn't served")).text
    }

    fn schema(name: &str) -> Value {
        serde_json::from_str(text(&format!("schema/{name}.json"))).unwrap()
    }

    /// The types that the texts describe, each with the text of what is nobody's in particular.
    fn tables() -> [(&'static TypeTable, &'static str); 7] {
        [
            (types::conversation::Conversation::table(), "conversation"),
            (types::note::Note::table(), "notes"),
            (types::reply_lock::ReplyLock::table(), "locks"),
            (types::presence::Presence::table(), "locks"),
            (types::activity::Activity::table(), "activity"),
            (types::inbox_settings::InboxSettings::table(), "inbox-settings"),
            (types::submission::EmailSubmission::table(), "locks"),
        ]
    }

    /// What types of an RFC have from us alone, each with the text of what is nobody's in particular: all that an
    /// Email gives on request and RFC 8621 doesn't know, and what names a capability of ours.
    fn additions() -> [(&'static TypeTable, Vec<&'static Property>, &'static str); 2] {
        let email = types::email::Email::table();
        let known = ["bodyStructure", "headers"];
        let of_email = email.properties.iter().filter(|one| !one.by_default && !known.contains(&one.name));
        let principal = types::principal::Principal::table();
        let is_ours = |one: &&Property| one.capability.is_some_and(Capability::is_vendor);
        let of_principal = principal.properties.iter().filter(is_ours);
        [(email, of_email.collect(), "conversation"), (principal, of_principal.collect(), "ownership")]
    }

    /// Every type that the texts describe, with those of its properties that they do.
    fn described() -> Vec<(&'static TypeTable, Vec<&'static Property>, &'static str)> {
        let whole =
            tables().into_iter().map(|(table, rest)| (table, table.properties.iter().collect(), rest));
        whole.chain(additions()).collect()
    }

    /// Where a property of a type is described; RFC 8621 describes most of EmailSubmission's.
    fn described_in(table: &TypeTable, property: &Property, rest: &'static str) -> Option<&'static str> {
        match property.capability {
            Some(Capability::Ownership) => Some("ownership"),
            Some(Capability::Status) => Some("status"),
            Some(_) => Some(rest),
            None => (table.name != "EmailSubmission").then_some(rest),
        }
    }

    /// The rows of a property in the tables of a text: its type and who sets it. Two types that a
    /// text describes may have a property of one name.
    fn rows(document: &str, property: &str) -> Vec<(String, String)> {
        let row = |line: &str| {
            // A bar within a cell is written `\|`.
            let line = line.replace("\\|", "\u{1}");
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, kind, access, _, _, ..] = cells.as_slice() else { return None };
            let sets = ["server", "client", "at creation"].contains(access);
            (sets && *name == format!("`{property}`"))
                .then(|| (kind.replace('\u{1}', "|"), (*access).to_owned()))
        };
        text(document).lines().filter_map(row).collect()
    }

    /// How the texts write what a property may be.
    fn kinds(property: &Property) -> Vec<String> {
        let plain: &[&str] = match property.kind {
            Kind::Id => &["Id"],
            Kind::Ids => &["Id[]"],
            Kind::IdSet => &["Id[Boolean]"],
            Kind::String => &["String"],
            Kind::Strings => &["String[]"],
            Kind::StringSet | Kind::KeywordSet => &["String[Boolean]"],
            Kind::Boolean => &["Boolean"],
            Kind::Int => &["Int"],
            Kind::UnsignedInt => &["UnsignedInt"],
            Kind::UtcDate | Kind::Date => &["UTCDate"],
            Kind::Object => &["Object"],
            Kind::Array => &["Object[]"],
            Kind::Any => &["any", "Id"],
        };
        let null = if property.nullable { "|null" } else { "" };
        plain.iter().map(|kind| format!("{kind}{null}")).collect()
    }

    #[test]
    fn the_path_of_every_capability_url_leads_to_its_text() {
        for one in Capability::VENDOR {
            let path = one.uri().strip_prefix("https://postroom.dev/jmap/").unwrap();
            let found = find(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(found.media_type(), "text/markdown; charset=utf-8");
            assert!(found.text.contains(&format!("`{}`", one.uri())), "{path}");
        }
        assert_eq!(find("").unwrap().path, "README.md");
        assert_eq!(find("locks.md").unwrap().path, "locks.md");
        assert_eq!(find("schema/Note.json").unwrap().media_type(), "application/schema+json");
        for unknown in ["schema", "schema/Note", "../README.md", "architecture.md", "/locks"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn every_property_is_described_as_the_table_has_it() {
        for (table, properties, rest) in described() {
            for property in properties {
                let Some(document) = described_in(table, property, rest) else { continue };
                let what = format!("{}.{} in spec/{document}.md", table.name, property.name);
                let by = match property.access {
                    Access::ServerSet => "server",
                    Access::Mutable => "client",
                    Access::Immutable => "at creation",
                };
                let (rows, kinds) = (rows(document, property.name), kinds(property));
                let described = rows.iter().any(|(kind, access)| access == by && kinds.contains(kind));
                assert!(described, "{what} should be {kinds:?}, set by {by}; the tables have {rows:?}");
            }
        }
    }

    #[test]
    fn every_property_is_in_its_schema_and_nothing_else_is() {
        for (table, properties, _) in described() {
            let schema = schema(table.name);
            let known = schema["$defs"]["Properties"]["properties"].as_object().unwrap();
            let known: BTreeSet<&str> = known.keys().map(String::as_str).collect();
            let real: BTreeSet<&str> = properties.iter().map(|property| property.name).collect();
            assert_eq!(known, real, "spec/schema/{}.json", table.name);
        }
    }

    #[test]
    fn every_method_of_ours_has_schemas_of_its_arguments_and_its_response() {
        let ours = methods::all().filter(|method| method.capability.is_vendor());
        for method in ours {
            let (name, verb) = method.name.split_once('/').unwrap();
            let schema = schema(name);
            for part in ["Arguments", "Response"] {
                let wanted = format!("{verb}{part}");
                assert!(schema["$defs"][&wanted].is_object(), "{wanted} in spec/schema/{name}.json");
            }
            let described = tables().iter().any(|(_, document)| text(document).contains(method.name));
            assert!(described, "no text speaks of {}", method.name);
        }
    }

    #[test]
    fn every_error_of_ours_has_a_schema_and_stands_in_the_texts_of_its_capabilities() {
        let schema = schema("errors");
        for error in VendorError::ALL {
            assert_eq!(schema["$defs"][error.name()]["properties"]["type"]["const"], error.name());
            assert!(text("README.md").contains(&format!("| `{}` |", error.name())), "{}", error.name());
            let [own] = error.capabilities() else { continue };
            let path = own.uri().strip_prefix("https://postroom.dev/jmap/").unwrap();
            assert!(
                text(path).contains(&format!("`{}`", error.name())),
                "{} in spec/{path}.md",
                error.name()
            );
        }
    }

    #[test]
    fn every_reference_between_schemas_leads_somewhere() {
        fn references<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
            match value {
                Value::Object(members) => {
                    out.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|one| references(one, out));
                }
                Value::Array(items) => items.iter().for_each(|one| references(one, out)),
                _ => {}
            }
        }
        for document in ALL.iter().filter(|one| one.path.starts_with("schema/")) {
            let whole: Value = serde_json::from_str(document.text).unwrap();
            let path = document.path;
            assert_eq!(whole["$id"], format!("https://postroom.dev/jmap/{path}"));
            let mut all = Vec::new();
            references(&whole, &mut all);
            for reference in all {
                let (file, pointer) = reference.split_once('#').unwrap();
                let target =
                    if file.is_empty() { whole.clone() } else { schema(file.trim_end_matches(".json")) };
                assert!(target.pointer(pointer).is_some(), "{path}: {reference}");
            }
        }
    }

    #[test]
    fn every_link_between_the_texts_leads_somewhere() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/");
        for document in ALL.iter().filter(|one| one.path.ends_with(".md")) {
            for link in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if link.starts_with("https://") {
                    continue;
                }
                let (file, part) = link.split_once('#').unwrap_or((link, ""));
                let file = if file.is_empty() { document.path } else { file };
                assert!(
                    std::path::Path::new(&format!("{folder}{file}")).exists(),
                    "{}: {link}",
                    document.path
                );
                if !part.is_empty() {
                    let anchors: BTreeSet<String> = text(file).lines().filter_map(anchor).collect();
                    assert!(anchors.contains(part), "{}: {link}, of {anchors:?}", document.path);
                }
            }
        }
    }

    /// A heading as what shows Markdown makes an anchor of it.
    fn anchor(line: &str) -> Option<String> {
        let heading = line.trim_start_matches('#');
        let heading = (heading.len() < line.len()).then(|| heading.trim())?;
        let lower = heading.to_lowercase();
        let kept = lower.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c));
        Some(kept.collect::<String>().replace(' ', "-"))
    }

    #[test]
    fn the_examples_in_the_texts_have_the_properties_that_there_are() {
        let mut seen = BTreeSet::new();
        for document in ALL.iter().filter(|one| one.path.ends_with(".md")) {
            for block in document.text.split("```json ").skip(1) {
                let (name, rest) = block.split_once('\n').unwrap();
                let (json, _) = rest.split_once("```").unwrap();
                let object: Map<String, Value> = serde_json::from_str(json)
                    .unwrap_or_else(|error| panic!("{}, {name}: {error}", document.path));
                let Some((table, _)) = tables().into_iter().find(|(table, _)| table.name == name) else {
                    assert!(methods::find(name).is_some(), "{}: {name}", document.path);
                    continue;
                };
                seen.insert(name);
                let on_request = |name: &str| table.property(name).is_some_and(|one| !one.by_default);
                let real = table.properties.iter().map(|one| one.name).filter(|name| !on_request(name));
                let known: BTreeSet<&str> = object.keys().map(String::as_str).collect();
                assert_eq!(known, real.collect(), "{}: {name}", document.path);
            }
        }
        assert_eq!(seen, ["Activity", "Conversation", "Note", "ReplyLock"].into());
    }
}
