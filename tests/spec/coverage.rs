//! That the examples leave nothing out.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn read(folder: &str) -> Vec<(String, Value)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("spec").join(folder);
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
        })
        .collect()
}

/// Calls `visit` with every object in a value.
fn objects<'v>(value: &'v Value, visit: &mut impl FnMut(&'v Value)) {
    match value {
        Value::Object(members) => {
            visit(value);
            members.values().for_each(|one| objects(one, visit));
        }
        Value::Array(items) => items.iter().for_each(|one| objects(one, visit)),
        _ => {}
    }
}

#[test]
fn every_method_and_every_error_of_ours_is_in_an_example() {
    let (mut methods, mut errors) = (BTreeSet::new(), BTreeSet::new());
    for (_, example) in read("examples") {
        for step in example["steps"].as_array().unwrap() {
            for answer in step["response"]["methodResponses"].as_array().into_iter().flatten() {
                methods.insert(answer[0].as_str().unwrap().to_owned());
            }
            objects(&step["response"], &mut |object| {
                errors.extend(object["type"].as_str().map(str::to_owned));
            });
        }
    }
    for (name, schema) in read("schema") {
        for (definition, content) in schema["$defs"].as_object().unwrap() {
            // Of EmailSubmission, whose other methods are RFC 8621's, the gate is what is ours.
            if let Some(verb) = definition.strip_suffix("Arguments")
                && !["standard", "EmailSubmission"].contains(&name.as_str())
            {
                assert!(methods.contains(&format!("{name}/{verb}")), "no example of {name}/{verb}");
            }
            if name == "errors"
                && let Some(error) = content["properties"]["type"]["const"].as_str()
            {
                assert!(errors.contains(error), "no example of {error}");
            }
        }
    }
    assert!(methods.contains("EmailSubmission/set"));
}
