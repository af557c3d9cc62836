//! PatchObject (RFC 8620 §5.3): paths into an object, each with a value to put there.
//!
//! Invariants: a patch is applied as a whole or not at all; no path reaches into an array, none is
//! a prefix of another, and all that comes before a path's last token exists already. This file
//! knows nothing of properties: what null means at the top and who may set what is `set.rs`'s.

use super::error::{SetError, SetErrorKind};
use super::refs::unescape;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// One path of a patch: its tokens, at least one, and the value.
#[derive(Clone, PartialEq, Debug)]
pub struct Path<'p> {
    pub tokens: Vec<Cow<'p, str>>,
    pub value: &'p Value,
}

impl Path<'_> {
    /// The property that the path is in.
    pub fn property(&self) -> &str {
        self.tokens.first().map_or("", Cow::as_ref)
    }

    /// Does the path name the property itself?
    pub fn is_whole(&self) -> bool {
        self.tokens.len() == 1
    }
}

/// Reads the paths, in an order in which a prefix stands right before what it is a prefix of.
pub fn paths(patch: &Map<String, Value>) -> Result<Vec<Path<'_>>, SetError> {
    let mut paths = Vec::with_capacity(patch.len());
    for (pointer, value) in patch {
        let tokens: Option<Vec<_>> = pointer.split('/').map(unescape).collect();
        let tokens = tokens.ok_or_else(|| invalid(pointer, "is not a JSON Pointer"))?;
        paths.push(Path { tokens, value });
    }
    paths.sort_by(|a, b| a.tokens.cmp(&b.tokens));
    for pair in paths.windows(2) {
        if let [short, long] = pair
            && long.tokens.starts_with(&short.tokens)
        {
            return Err(invalid(&short.tokens.join("/"), "is a prefix of another path"));
        }
    }
    Ok(paths)
}

/// Puts the path's value into `object`; null removes the member.
pub fn apply(object: &mut Map<String, Value>, path: &Path<'_>) -> Result<(), SetError> {
    let Some((last, parents)) = path.tokens.split_last() else {
        return Err(invalid("", "is empty"));
    };
    let mut parent = object;
    for token in parents {
        parent = match parent.get_mut(token.as_ref()) {
            Some(Value::Object(members)) => members,
            other => return Err(leads_nowhere(path, other.as_deref())),
        };
    }
    if path.value.is_null() {
        // The members that remain keep their order; nobody counts on the cheaper removal.
        parent.shift_remove(last.as_ref());
    } else {
        parent.insert(last.clone().into_owned(), path.value.clone());
    }
    Ok(())
}

/// What stands at the path now, where [`apply`] could put something.
pub fn find<'o>(object: &'o Map<String, Value>, path: &Path<'_>) -> Result<Option<&'o Value>, SetError> {
    let Some((last, parents)) = path.tokens.split_last() else {
        return Err(invalid("", "is empty"));
    };
    let mut parent = object;
    for token in parents {
        parent = match parent.get(token.as_ref()) {
            Some(Value::Object(members)) => members,
            other => return Err(leads_nowhere(path, other)),
        };
    }
    Ok(parent.get(last.as_ref()))
}

/// What a path runs into is no object with members.
fn leads_nowhere(path: &Path<'_>, found: Option<&Value>) -> SetError {
    let why = match found {
        Some(Value::Array(_)) => "reaches into an array",
        _ => "is in something that does not exist",
    };
    invalid(&path.tokens.join("/"), why)
}

fn invalid(path: &str, why: &str) -> SetError {
    SetError::new(SetErrorKind::InvalidPatch, format!("The path '{path}' {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            _ => panic!("an object was wanted"),
        }
    }

    fn patched(object: &Map<String, Value>, patch: &Map<String, Value>) -> Option<Value> {
        let mut out = object.clone();
        for path in paths(patch).ok()? {
            apply(&mut out, &path).ok()?;
        }
        Some(Value::Object(out))
    }

    #[test]
    fn patches_do_what_rfc_8620_says() {
        let before = object(json!({
            "a": {"b": {"c": 1}, "d": [1, {"x": 2}]}, "n": null, "t/e": {"m~n": 1}, "": {"": 1}
        }));
        for (patch, wanted) in [
            (json!({"a/b/c": 2}), Some(json!({"c": 2}))),
            (json!({"a/b/new": true}), Some(json!({"c": 1, "new": true}))),
            (json!({"a/b/c": null}), Some(json!({}))),
            (json!({"a/b/missing": null}), Some(json!({"c": 1}))),
            (json!({"a/b": {"z": 0}}), Some(json!({"z": 0}))),
            (json!({"a/b/c": 2, "a/b": {}}), None),
            (json!({"a": {}, "a/d": []}), None),
            (json!({"a/d/0": 2}), None),
            (json!({"a/d/1/x": 2}), None),
            (json!({"a/b/c/deeper": 2}), None),
            (json!({"a/missing/c": 2}), None),
            (json!({"a/missing/c": null}), None),
            (json!({"n/x": 1}), None),
            (json!({"a/~2": 1}), None),
            (json!({"a/~": 1}), None),
            (json!({"t~1e/m~0n": 5}), Some(json!({"c": 1}))),
            (json!({"/": 5}), Some(json!({"c": 1}))),
            // Not prefixes of each other: whole tokens count.
            (json!({"a/b/c": 3, "a/b/cc": 4}), Some(json!({"c": 3, "cc": 4}))),
        ] {
            let patch = object(patch.clone());
            let after = patched(&before, &patch);
            if let [one] = paths(&patch).unwrap_or_default().as_slice() {
                assert_eq!(find(&before, one).is_ok(), after.is_some(), "{patch:?}");
            }
            assert_eq!(after.map(|after| after["a"]["b"].clone()), wanted, "{patch:?}");
        }
    }

    /// The same by the words of the RFC, one path at a time, without care for speed.
    fn naive(object: &Map<String, Value>, patch: &Map<String, Value>) -> Option<Value> {
        let keys: Vec<String> = patch.keys().map(|key| format!("/{key}")).collect();
        for a in &keys {
            if keys.iter().any(|b| a != b && b.starts_with(&format!("{a}/"))) {
                return None;
            }
        }
        let mut out = Value::Object(object.clone());
        for (key, value) in keys.iter().zip(patch.values()) {
            let (parent, last) = key.rsplit_once('/')?;
            for end in key.match_indices('/').map(|(at, _)| at) {
                if out.pointer(&key[..end])?.is_array() {
                    return None;
                }
            }
            let members = out.pointer_mut(parent)?.as_object_mut()?;
            match value {
                Value::Null => members.remove(last),
                value => members.insert(last.to_owned(), value.clone()),
            };
        }
        Some(out)
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!(true))];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_gives_what_the_words_of_the_rfc_give(
            members in prop::collection::btree_map("[abc]", tree(), 0..4),
            patch in prop::collection::btree_map("[abc](/[abc0]){0,3}", tree(), 0..4),
        ) {
            let before: Map<String, Value> = members.into_iter().collect();
            let patch: Map<String, Value> = patch.into_iter().collect();
            prop_assert_eq!(patched(&before, &patch), naive(&before, &patch));
        }
    }
}
