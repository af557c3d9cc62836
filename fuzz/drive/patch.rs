//! Any `[object, PatchObject]`: what the server makes of it is what the words of RFC 8620 §5.3 say,
//! read once more here, slowly.

use postroom::jmap::patch;
use serde_json::{Map, Value};

pub fn drive(octets: &[u8]) {
    let Ok((object, patch)) = serde_json::from_slice::<(Map<String, Value>, Map<String, Value>)>(octets)
    else {
        return;
    };
    assert_eq!(applied(&object, &patch), by_the_words(&object, &patch), "{patch:?}");
}

fn applied(object: &Map<String, Value>, patch: &Map<String, Value>) -> Option<Value> {
    let mut out = object.clone();
    for path in patch::paths(patch).ok()? {
        patch::apply(&mut out, &path).ok()?;
    }
    Some(Value::Object(out))
}

/// "The pointer MUST NOT reference inside an array", "all parts prior to the last MUST already
/// exist", "there MUST NOT be two patches … where the pointer of one is the prefix of the other".
fn by_the_words(object: &Map<String, Value>, patch: &Map<String, Value>) -> Option<Value> {
    let mut paths: Vec<Vec<String>> = Vec::new();
    for pointer in patch.keys() {
        paths.push(pointer.split('/').map(token).collect::<Option<_>>()?);
    }
    for (n, one) in paths.iter().enumerate() {
        if paths.iter().enumerate().any(|(other, path)| other != n && path.starts_with(one)) {
            return None;
        }
    }
    let mut out = Value::Object(object.clone());
    for (path, value) in paths.iter().zip(patch.values()) {
        let (last, before) = path.split_last()?;
        let mut at = &mut out;
        for token in before {
            at = at.as_object_mut()?.get_mut(token)?;
        }
        let members = at.as_object_mut()?;
        match value {
            Value::Null => members.remove(last),
            value => members.insert(last.clone(), value.clone()),
        };
    }
    Some(out)
}

/// RFC 6901 §3: `~0` and `~1`, and no other `~`.
fn token(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '~' => match letters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            letter => letter,
        });
    }
    Some(out)
}
