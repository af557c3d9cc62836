//! One response of a method (RFC 8620 §3.4): its name, its arguments, the id of the call.
//!
//! The `list` of a /get that is asked for all the time is made as text at once, since values that
//! are only there to be printed cost most of such a response. It is read back where a result
//! reference looks into it.

use serde_json::{Map, Value};
use std::cell::OnceCell;

/// A response on its way.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    pub name: String,
    pub call_id: String,
    arguments: Map<String, Value>,
    /// What stands in place of the argument `list`, which is null then.
    list: Option<ListText>,
}

/// A JSON array as text.
#[derive(Clone, PartialEq, Debug)]
struct ListText {
    text: String,
    read: OnceCell<Value>,
}

const LIST: &str = "list";

impl Reply {
    pub fn new(name: String, arguments: Map<String, Value>, call_id: String) -> Self {
        Self { name, call_id, arguments, list: None }
    }

    /// With this JSON array as its argument `list`, for which `arguments` has a place.
    pub fn with_list(self, text: String) -> Self {
        debug_assert!(self.arguments.contains_key(LIST), "there is a place for the list");
        Self { list: Some(ListText { text, read: OnceCell::new() }), ..self }
    }

    /// An argument.
    pub fn argument(&self, name: &str) -> Option<&Value> {
        match &self.list {
            Some(list) if name == LIST => Some(list.value()),
            _ => self.arguments.get(name),
        }
    }

    /// All arguments.
    pub fn arguments(&self) -> Map<String, Value> {
        let mut arguments = self.arguments.clone();
        if let Some(list) = &self.list {
            arguments.insert(LIST.to_owned(), list.value().clone());
        }
        arguments
    }

    /// Appends the invocation as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        write(out, &self.name);
        out.extend_from_slice(b",{");
        for (at, (name, value)) in self.arguments.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write(out, name);
            out.push(b':');
            match &self.list {
                Some(list) if name == LIST => out.extend_from_slice(list.text.as_bytes()),
                _ => write(out, value),
            }
        }
        out.extend_from_slice(b"},");
        write(out, &self.call_id);
        out.push(b']');
    }
}

impl ListText {
    fn value(&self) -> &Value {
        // It was written as JSON a moment ago.
        self.read.get_or_init(|| serde_json::from_str(&self.text).unwrap_or_default())
    }
}

/// Appends a value as JSON; memory takes everything, so that it can't fail.
pub fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "what is told can be told as JSON");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_as_text_reads_and_prints_as_the_same_list_of_values() {
        let list = json!([{"id": "ea", "subject": "a \"quoted\" \u{2028} one"}, {"id": "eb", "x": null}]);
        let arguments = |list: &Value| match json!({"accountId": "ab", "list": list, "notFound": []}) {
            Value::Object(arguments) => arguments,
            _ => Map::new(),
        };
        let plain = Reply::new("Foo/get".into(), arguments(&list), "0".into());
        let text = Reply::new("Foo/get".into(), arguments(&Value::Null), "0".into());
        let text = text.with_list(list.to_string());
        assert_eq!(text.argument("list"), Some(&list));
        assert_eq!(text.argument("accountId"), Some(&json!("ab")));
        assert_eq!(text.arguments(), plain.arguments());
        let printed = |reply: &Reply| {
            let mut out = Vec::new();
            reply.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(&text), printed(&plain));
        let whole: Value = serde_json::from_str(&printed(&text)).unwrap();
        assert_eq!(whole, json!(["Foo/get", plain.arguments(), "0"]));
    }
}
