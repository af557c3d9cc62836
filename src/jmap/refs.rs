//! Result references (RFC 8620 §3.7): an argument taken from an earlier response of the request.
//!
//! Invariants: all or nothing, a call runs only when all its references resolved; what the
//! references of one request copy is bounded (`REFERENCES_SIZE_BYTES_MAX`), since a chain of them
//! could otherwise double its data with each call.

use super::error::{MethodError, MethodErrorKind};
use super::reply::Reply;
use crate::types::limits::REFERENCES_SIZE_BYTES_MAX;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// How much the references of one request may still copy, in octets.
#[derive(Debug)]
pub struct ReferenceBudget(usize);

impl Default for ReferenceBudget {
    fn default() -> Self {
        Self(REFERENCES_SIZE_BYTES_MAX)
    }
}

/// Puts the real values in place of all arguments that begin with `#`.
pub fn resolve(
    arguments: &mut Map<String, Value>,
    responses: &[Reply],
    budget: &mut ReferenceBudget,
) -> Result<(), MethodError> {
    if !arguments.keys().any(|name| name.starts_with('#')) {
        return Ok(());
    }
    let doubled = |name: &&String| name.strip_prefix('#').is_some_and(|plain| arguments.contains_key(plain));
    if let Some(name) = arguments.keys().find(doubled) {
        return Err(MethodError::argument(&name[1..], "given both as a value and as a reference"));
    }
    let mut out = Map::with_capacity(arguments.len());
    for (name, value) in std::mem::take(arguments) {
        match name.strip_prefix('#') {
            Some(plain) => out.insert(plain.to_owned(), lookup(plain, &value, responses, budget)?),
            None => out.insert(name, value),
        };
    }
    *arguments = out;
    Ok(())
}

/// The tokens of a JSON Pointer (RFC 6901 §3), unescaped; `None` where it isn't one.
pub fn pointer_tokens(pointer: &str) -> Option<Vec<Cow<'_, str>>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    pointer.strip_prefix('/')?.split('/').map(unescape).collect()
}

/// One token with `~1` and `~0` read; `None` where a `~` stands for nothing.
pub fn unescape(token: &str) -> Option<Cow<'_, str>> {
    if !token.contains('~') {
        return Some(Cow::Borrowed(token));
    }
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(Cow::Owned(out))
}

fn lookup(
    argument: &str,
    reference: &Value,
    responses: &[Reply],
    budget: &mut ReferenceBudget,
) -> Result<Value, MethodError> {
    let failed =
        |why: &str| MethodError::new(MethodErrorKind::InvalidResultReference, format!("#{argument}: {why}"));
    let text = |name: &str| reference.get(name).and_then(Value::as_str);
    let (Some(result_of), Some(name), Some(path)) = (text("resultOf"), text("name"), text("path")) else {
        return Err(failed("a reference has resultOf, name and path"));
    };
    let response = responses.iter().find(|response| response.call_id == result_of);
    let response = response.ok_or_else(|| failed("there is no response with that call id"))?;
    if response.name != name {
        return Err(failed("the first response with that call id has another name"));
    }
    let tokens = pointer_tokens(path).ok_or_else(|| failed("the path is not a JSON Pointer"))?;
    let missing = || failed("the path leads nowhere");
    let found = match tokens.split_first() {
        None => copy_object(&response.arguments(), budget).map(Value::Object),
        Some((first, rest)) => {
            let value = response.argument(first.as_ref()).ok_or_else(missing)?;
            evaluate(value, rest, budget).ok_or_else(missing)?
        }
    };
    found.ok_or_else(|| failed("the references of this request resolve to too much data"))
}

/// The value that the rest of a pointer leads to. Outer `None`: nowhere. Inner `None`: too large.
fn evaluate(value: &Value, tokens: &[Cow<'_, str>], budget: &mut ReferenceBudget) -> Option<Option<Value>> {
    let Some((token, rest)) = tokens.split_first() else {
        return Some(copy(value, budget));
    };
    match value {
        Value::Object(members) => evaluate(members.get(token.as_ref())?, rest, budget),
        Value::Array(items) if token == "*" => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                match evaluate(item, rest, budget)? {
                    None => return Some(None),
                    // The result is flattened from an array of arrays to a single array.
                    Some(Value::Array(inner)) => out.extend(inner),
                    Some(one) => out.push(one),
                }
            }
            Some(Some(Value::Array(out)))
        }
        Value::Array(items) => evaluate(items.get(array_index(token)?)?, rest, budget),
        _ => None,
    }
}

/// RFC 6901 §4: digits without a leading zero.
fn array_index(token: &str) -> Option<usize> {
    let canonical = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    canonical.then(|| token.parse().ok()).flatten()
}

/// What one value costs beside its text: about what it takes in memory.
const VALUE_BYTES: usize = 32;

fn copy(value: &Value, budget: &mut ReferenceBudget) -> Option<Value> {
    let text = value.as_str().map_or(0, str::len);
    budget.0 = budget.0.checked_sub(text + VALUE_BYTES)?;
    Some(match value {
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| copy(item, budget)).collect::<Option<_>>()?)
        }
        Value::Object(members) => Value::Object(copy_object(members, budget)?),
        plain => plain.clone(),
    })
}

fn copy_object(members: &Map<String, Value>, budget: &mut ReferenceBudget) -> Option<Map<String, Value>> {
    let mut out = Map::with_capacity(members.len());
    for (name, value) in members {
        budget.0 = budget.0.checked_sub(name.len())?;
        out.insert(name.clone(), copy(value, budget)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => panic!("an object was wanted"),
        }
    }

    fn responses() -> Vec<Reply> {
        let arguments = object(json!({
            "ids": ["a", "b"],
            "list": [
                {"id": "a", "threadId": "t1", "emailIds": ["e1", "e2"], "deep": [["x"], ["y"]]},
                {"id": "b", "threadId": "t2", "emailIds": ["e3"], "deep": []}
            ],
            "a/b": {"m~n": 7, "": 8, "*": 9},
            "empty": [],
            "null": null
        }));
        let error = object(json!({"type": "serverFail"}));
        vec![
            Reply::new("Foo/get".into(), arguments.clone(), "t0".into()),
            Reply::new("error".into(), error, "t1".into()),
            Reply::new("Foo/get".into(), arguments, "t1".into()),
        ]
    }

    fn resolved(path: &str) -> Option<Value> {
        let reference = json!({"resultOf": "t0", "name": "Foo/get", "path": path});
        let mut arguments = object(json!({ "#x": reference }));
        resolve(&mut arguments, &responses(), &mut ReferenceBudget::default()).ok()?;
        arguments.remove("x")
    }

    #[test]
    fn paths_lead_where_rfc_8620_says() {
        for (path, wanted) in [
            ("/ids", Some(json!(["a", "b"]))),
            ("/ids/1", Some(json!("b"))),
            ("/ids/*", Some(json!(["a", "b"]))),
            ("/list/*/threadId", Some(json!(["t1", "t2"]))),
            ("/list/*/emailIds", Some(json!(["e1", "e2", "e3"]))),
            ("/list/*/emailIds/*", Some(json!(["e1", "e2", "e3"]))),
            ("/list/*/deep", Some(json!([["x"], ["y"]]))),
            ("/list/*/deep/*", Some(json!(["x", "y"]))),
            ("/list/0/id", Some(json!("a"))),
            ("/empty/*/whatever", Some(json!([]))),
            ("/a~1b/m~0n", Some(json!(7))),
            ("/a~1b/", Some(json!(8))),
            ("/a~1b/*", Some(json!(9))),
            ("/null", Some(json!(null))),
            ("", Some(Value::Object(responses().remove(0).arguments()))),
            ("/list/*/missing", None),
            ("/list/00/id", None),
            ("/list/01/id", None),
            ("/list/-/id", None),
            ("/list/+1/id", None),
            ("/list/2/id", None),
            ("/list//id", None),
            ("/nowhere", None),
            ("/null/x", None),
            ("/a~2b", None),
            ("/a~", None),
            ("ids", None),
            ("/ids/*/x", None),
        ] {
            assert_eq!(resolved(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_reference_that_does_not_resolve_refuses_the_call() {
        for (arguments, wanted) in [
            (json!({"#x": {"resultOf": "t9", "name": "Foo/get", "path": "/ids"}}), "invalidResultReference"),
            (json!({"#x": {"resultOf": "t0", "name": "Bar/get", "path": "/ids"}}), "invalidResultReference"),
            // The first response with the id counts, whatever follows it.
            (json!({"#x": {"resultOf": "t1", "name": "Foo/get", "path": "/ids"}}), "invalidResultReference"),
            (json!({"#x": {"resultOf": "t0", "path": "/ids"}}), "invalidResultReference"),
            (json!({"#x": "t0"}), "invalidResultReference"),
            (json!({"#x": null}), "invalidResultReference"),
            (
                json!({"x": 1, "#x": {"resultOf": "t0", "name": "Foo/get", "path": "/ids"}}),
                "invalidArguments",
            ),
            (
                json!({"#x": {"resultOf": "t0", "name": "Foo/get", "path": "/ids"}, "x": 1}),
                "invalidArguments",
            ),
        ] {
            let mut given = object(arguments.clone());
            let error = resolve(&mut given, &responses(), &mut ReferenceBudget::default()).unwrap_err();
            assert_eq!(error.kind.name(), wanted, "{arguments}");
        }
    }

    #[test]
    fn references_may_not_copy_without_bound() {
        let mut arguments = object(json!({"#x": {"resultOf": "t0", "name": "Foo/get", "path": "/list"}}));
        let error = resolve(&mut arguments, &responses(), &mut ReferenceBudget(100)).unwrap_err();
        assert_eq!(error.kind, MethodErrorKind::InvalidResultReference);
    }
}
