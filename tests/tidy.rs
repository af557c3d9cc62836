//! The rules of the source tree, kept by tests: which floor may see which, what only one place may
//! use, how long a function or a file may be, and that nothing lies about unused.
//!
//! Each rule is a function over one parsed file that gives findings with their line and the reason of the
//! rule; `tidy/examples.rs` has a small bad example for each, so that it is known to be able to fail.
//! Clock and randomness are not looked for here: clippy's `disallowed-methods` sees through imports.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "tidy/examples.rs"]
mod examples;
#[path = "tidy/ledger.rs"]
mod ledger;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/rules.rs"]
mod rules;

use names::is_test_code;
use rules::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_file_imports_only_from_lower_floors() {
    expect_clean(rules::floors);
}

#[test]
fn only_the_store_knows_rocksdb() {
    expect_clean(rules::rocksdb_only_in_store);
}

#[test]
fn json_begins_at_jmap() {
    expect_clean(rules::json_not_below_jmap);
}

#[test]
fn sockets_are_only_in_wire() {
    expect_clean(rules::sockets_only_in_wire);
}

#[test]
fn batches_are_only_written_by_the_transaction_and_the_engine() {
    expect_clean(rules::batches_only_in_txn);
}

#[test]
fn key_bytes_are_made_only_in_keys() {
    expect_clean(rules::key_bytes_only_in_keys);
}

#[test]
fn functions_are_short() {
    expect_clean(rules::short_functions);
}

#[test]
fn files_are_short() {
    expect_clean(rules::short_files);
}

#[test]
fn each_file_says_what_it_is_for() {
    expect_clean(rules::opens_with_purpose);
}

#[test]
fn each_exception_carries_its_reason() {
    expect_clean(rules::exceptions_have_reasons);
}

#[test]
fn every_file_belongs_to_the_crate() {
    let all = source_files();
    let reached = reachable(&|path| all.get(path).cloned());
    let dead: Vec<Finding> = all
        .keys()
        .filter(|path| !reached.contains_key(*path))
        .map(|path| Finding::new(path, 1, "no `mod` names this file, so it is never compiled"))
        .collect();
    report("src/", &dead);
}

#[test]
fn no_test_is_ignored() {
    for root in ["src", "tests", "demo", "benches"] {
        let mut findings = Vec::new();
        for (path, text) in files(&repository().join(root), "rs") {
            findings.extend(rules::ignored_tests(&Source::parse(&path, &text, false)));
        }
        report(&format!("{root}/"), &findings);
    }
}

#[test]
fn every_requirement_of_the_ledger_is_shown_by_tests_that_exist() {
    let mut tests = ledger::Tests::default();
    for (root, prefix) in [("src", ""), ("tests", "tests::")] {
        for (path, text) in files(&repository().join(root), "rs") {
            let module = module_path(&path).join("::");
            tests.add(&format!("{prefix}{module}"), &text);
        }
    }
    let (findings, _) = ledger_of_requirements(&tests);
    report("spec/requirements/", &findings);
}

#[test]
fn every_requirement_that_the_source_mentions_is_in_the_ledger() {
    let (_, ids) = ledger_of_requirements(&ledger::Tests::default());
    for root in ["src", "tests"] {
        let all = files(&repository().join(root), "rs");
        // The rule itself has bad examples.
        let all = all.iter().filter(|(path, _)| !path.starts_with("tidy/"));
        let findings: Vec<Finding> =
            all.flat_map(|(path, text)| ledger::unknown_ids(path, text, &ids)).collect();
        report(&format!("{root}/"), &findings);
    }
}

/// The findings in spec/requirements, and all ids there.
fn ledger_of_requirements(tests: &ledger::Tests) -> (Vec<Finding>, BTreeSet<String>) {
    let (mut findings, mut ids) = (Vec::new(), BTreeSet::new());
    for (path, text) in files(&repository().join("spec/requirements"), "md") {
        if path != "README.md" {
            let (found, in_file) = ledger::check_file(&path, &text, tests);
            findings.extend(found);
            ids.extend(in_file);
        }
    }
    (findings, ids)
}

/// One file: its path below src/, its text, and whether all of it is test code.
struct Source {
    path: String,
    text: String,
    file: syn::File,
    is_test: bool,
}

impl Source {
    fn parse(path: &str, text: &str, is_test: bool) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.into(), text: text.into(), file, is_test }
    }

    /// The first part of the path: `store` for `store/keys.rs` and for `store.rs`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }

    /// The module path of the file: `[store, keys]`, and `[store]` for `store/mod.rs`.
    fn module_path(&self) -> Vec<String> {
        module_path(&self.path)
    }

    fn finding(&self, line: usize, reason: impl Into<String>) -> Finding {
        Finding::new(&self.path, line, reason)
    }
}

fn module_path(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(String::from).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn expect_clean(rule: fn(&Source) -> Vec<Finding>) {
    let all = source_files();
    let reached = reachable(&|path| all.get(path).cloned());
    let findings: Vec<Finding> = all
        .iter()
        .flat_map(|(path, text)| rule(&Source::parse(path, text, reached.get(path) == Some(&true))))
        .collect();
    report("src/", &findings);
}

fn report(root: &str, findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(|finding| format!("{root}{finding}")).collect();
    assert!(findings.is_empty(), "\n{}\n", lines.join("\n"));
}

fn repository() -> PathBuf {
    // Cargo runs tests in the package's folder. A path that was compiled in may be that of another
    // checkout, since checkouts share their build folder.
    PathBuf::from(".")
}

/// The text of every file below src/, by its path there.
fn source_files() -> BTreeMap<String, String> {
    files(&repository().join("src"), "rs")
}

fn files(root: &Path, extension: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// The files that `mod` reaches from lib.rs and main.rs; true where only test code reaches them.
fn reachable(read: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, bool> {
    let mut reached = BTreeMap::new();
    let mut waiting = vec![("lib.rs".to_string(), false), ("main.rs".to_string(), false)];
    while let Some((path, is_test)) = waiting.pop() {
        let Some(text) = read(&path) else { continue };
        if reached.insert(path.clone(), is_test).is_some() {
            continue;
        }
        let source = Source::parse(&path, &text, is_test);
        let folder = source.module_path().join("/");
        collect_modules(&source.file.items, &folder, is_test, &mut waiting);
    }
    reached
}

fn collect_modules(items: &[syn::Item], folder: &str, is_test: bool, waiting: &mut Vec<(String, bool)>) {
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let is_test = is_test || is_test_code(&module.attrs);
        let name = module.ident.to_string();
        let inner = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        match &module.content {
            Some((_, items)) => collect_modules(items, &inner, is_test, waiting),
            None => {
                waiting.push((format!("{inner}.rs"), is_test));
                waiting.push((format!("{inner}/mod.rs"), is_test));
            }
        }
    }
}
