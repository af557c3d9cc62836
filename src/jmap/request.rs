//! A Request object from bytes (RFC 8620 §3.3), or why it isn't one.
//!
//! Invariants: what comes out is I-JSON (RFC 7493: no object has two members of one name, no string
//! a code point that is no character), nests at most `JSON_DEPTH_MAX` deep, names only capabilities that we have and holds at most
//! `CALLS_IN_REQUEST_MAX` calls. Unknown members of the Request are ignored, as §3.3 demands.
//! The Content-Type is the caller's to check.

use super::capability::{Capability, CapabilitySet};
use super::error::RequestError;
use super::ijson;
use crate::types::is_id;
use crate::types::limits::{CALLS_IN_REQUEST_MAX, JSON_DEPTH_MAX, REQUEST_SIZE_BYTES_MAX};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;

/// One method call, or one response: name, arguments, method call id (§3.2).
#[derive(Clone, PartialEq, Debug)]
pub struct Invocation {
    pub name: String,
    pub arguments: Map<String, Value>,
    pub call_id: String,
}

/// A request that may be processed.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub using: CapabilitySet,
    pub calls: Vec<Invocation>,
    /// Creation id → id; `None` where the client gave no `createdIds`, and wants none back.
    pub created_ids: Option<Map<String, Value>>,
}

/// Reads a request from the octets of a body.
pub fn parse(body: &[u8]) -> Result<Request, RequestError> {
    if body.len() > REQUEST_SIZE_BYTES_MAX {
        return Err(RequestError::Limit("maxSizeRequest"));
    }
    from_json(parse_json(body)?)
}

/// Reads I-JSON of bounded depth. The WebSocket binding has members of its own around a Request
/// (RFC 8887 §4.3), so that it reads the JSON first.
pub fn parse_json(body: &[u8]) -> Result<Value, RequestError> {
    let too_deep = Cell::new(false);
    let mut from = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: 0, too_deep: &too_deep }
        .deserialize(&mut from)
        .and_then(|value| from.end().map(|()| value));
    match value {
        Ok(value) => Ok(value),
        Err(_) if too_deep.get() => Err(RequestError::Limit("maxDepth")),
        Err(error) => Err(RequestError::NotJson(error.to_string())),
    }
}

/// Reads a request from JSON.
pub fn from_json(value: Value) -> Result<Request, RequestError> {
    let Value::Object(mut members) = value else {
        return Err(not_request("it is not an object"));
    };
    let Some(Value::Array(using)) = members.remove("using") else {
        return Err(not_request("using must be an array of strings"));
    };
    let Some(Value::Array(calls)) = members.remove("methodCalls") else {
        return Err(not_request("methodCalls must be an array"));
    };
    let created_ids = match members.remove("createdIds") {
        None => None,
        // Id[Id] (§3.3).
        Some(Value::Object(ids))
            if ids.iter().all(|(id, to)| is_id(id) && to.as_str().is_some_and(is_id)) =>
        {
            Some(ids)
        }
        Some(_) => return Err(not_request("createdIds must map ids to ids")),
    };
    let uris: Option<Vec<&str>> = using.iter().map(Value::as_str).collect();
    let uris = uris.ok_or_else(|| not_request("using must be an array of strings"))?;
    let within_limit = calls.len() <= CALLS_IN_REQUEST_MAX;
    let calls = calls.into_iter().map(invocation).collect::<Option<Vec<_>>>();
    let calls = calls.ok_or_else(|| not_request("a method call must be [name, arguments, call id]"))?;
    let using = capabilities(&uris)?;
    if !within_limit {
        return Err(RequestError::Limit("maxCallsInRequest"));
    }
    Ok(Request { using, calls, created_ids })
}

fn not_request(why: &'static str) -> RequestError {
    RequestError::NotRequest(why.into())
}

fn capabilities(uris: &[&str]) -> Result<CapabilitySet, RequestError> {
    let mut using = CapabilitySet::default();
    for uri in uris {
        let known = Capability::parse(uri);
        using.insert(known.ok_or_else(|| RequestError::UnknownCapability((*uri).to_owned()))?);
    }
    Ok(using)
}

fn invocation(value: Value) -> Option<Invocation> {
    let Value::Array(items) = value else { return None };
    let [name, arguments, call_id] = <[Value; 3]>::try_from(items).ok()?;
    match (name, arguments, call_id) {
        (Value::String(name), Value::Object(arguments), Value::String(call_id)) => {
            Some(Invocation { name, arguments, call_id })
        }
        _ => None,
    }
}

/// Reads a `Value`, refusing what serde_json would let pass: members of one name, and great depth.
#[derive(Clone, Copy)]
struct Strict<'c> {
    depth: usize,
    too_deep: &'c Cell<bool>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            self.too_deep.set(true);
            return Err(E::custom("nested too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        character_text(value)?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        character_text(&value)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut out = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            character_text(&name)?;
            let value = members.next_value_seed(seed)?;
            if out.insert(name, value).is_some() {
                return Err(A::Error::custom("an object has two members of one name"));
            }
        }
        Ok(Value::Object(out))
    }
}

fn character_text<E: Error>(text: &str) -> Result<(), E> {
    if ijson::allows(text) {
        Ok(())
    } else {
        Err(E::custom("a string has a code point that is no character"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(body: &str) -> Value {
        parse(body.as_bytes()).map_or_else(|error| error.to_json()["type"].clone(), |_| json!("accepted"))
    }

    #[test]
    fn a_request_is_read_or_refused_with_the_registered_problem() {
        let core = "urn:ietf:params:jmap:core";
        let many = vec![r#"["Core/echo",{},"c"]"#; CALLS_IN_REQUEST_MAX + 1].join(",");
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for (body, wanted) in [
            (String::new(), "notJSON"),
            ("{".into(), "notJSON"),
            ("{} x".into(), "notJSON"),
            ("\u{feff}{}".into(), "notJSON"),
            (r#"{"using":[],"using":[],"methodCalls":[]}"#.into(), "notJSON"),
            (r#"{"using":[],"methodCalls":[["a",{"x":1,"x":1},"c"]]}"#.into(), "notJSON"),
            (r#"{"using":["\ud800"],"methodCalls":[]}"#.into(), "notJSON"),
            (r#"{"using":["\udc00\ud800"],"methodCalls":[]}"#.into(), "notJSON"),
            (r#"{"using":["\uffff"],"methodCalls":[]}"#.into(), "notJSON"),
            (r#"{"using":[],"methodCalls":[["a",{"\ufdd0":1},"c"]]}"#.into(), "notJSON"),
            (r#"{"using":[],"methodCalls":[["a",{"x":1e999},"c"]]}"#.into(), "notJSON"),
            (r#"{"using":[],"methodCalls":[["a",{"x":01},"c"]]}"#.into(), "notJSON"),
            (r#"{"using":[],"methodCalls":[["a",{"x":NaN},"c"]]}"#.into(), "notJSON"),
            (r#"{"using":[],"methodCalls":[["a",{"x":1,},"c"]]}"#.into(), "notJSON"),
            ("[]".into(), "notRequest"),
            ("null".into(), "notRequest"),
            (r#"{"using":[]}"#.into(), "notRequest"),
            (r#"{"methodCalls":[]}"#.into(), "notRequest"),
            (r#"{"using":"x","methodCalls":[]}"#.into(), "notRequest"),
            (r#"{"using":[1],"methodCalls":[]}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":{}}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[["a",{}]]}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[["a",[],"c"]]}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[["a",{},1]]}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[["a",{},"c",0]]}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[],"createdIds":{"a":1}}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[],"createdIds":{"a b":"x"}}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[],"createdIds":{"a":""}}"#.into(), "notRequest"),
            (r#"{"using":[],"methodCalls":[],"createdIds":null}"#.into(), "notRequest"),
            (r#"{"Using":[],"methodCalls":[]}"#.into(), "notRequest"),
            (r#"{"using":["urn:x"],"methodCalls":[]}"#.into(), "unknownCapability"),
            (format!(r#"{{"using":["{core}"],"methodCalls":[{many}]}}"#), "limit"),
            (deep(JSON_DEPTH_MAX + 1), "limit"),
            (deep(100_000), "limit"),
            (deep(JSON_DEPTH_MAX), "notRequest"),
            (" ".repeat(REQUEST_SIZE_BYTES_MAX + 1), "limit"),
        ] {
            let wanted = format!("urn:ietf:params:jmap:error:{wanted}");
            assert_eq!(refused(&body), json!(wanted), "{}", &body[..body.len().min(80)]);
        }
        assert_eq!(refused(r#"{"using":[],"methodCalls":[]}"#), json!("accepted"));
        assert_eq!(parse(b"{\"using\":[\"\xff\"],\"methodCalls\":[]}").unwrap_err().to_json()["status"], 400);
    }

    #[test]
    fn unknown_members_are_ignored_and_the_rest_is_kept_in_order() {
        let body = json!({
            "using": ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"],
            "methodCalls": [["Core/echo", {"b": 1, "a": -2, "f": 1.5}, "c1"]],
            "createdIds": {"k": "ma"},
            "future": true
        });
        let request = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(request.using, CapabilitySet::of(&[Capability::Core, Capability::Mail]));
        assert_eq!(request.calls.len(), 1);
        assert_eq!(
            Value::Object(request.calls[0].arguments.clone()).to_string(),
            r#"{"b":1,"a":-2,"f":1.5}"#
        );
        assert_eq!(Value::Object(request.created_ids.unwrap()), json!({"k": "ma"}));
    }
}
