//! A small bad example for each rule, and the lines that it must find: a rule that can't fail keeps nothing.

use crate::rules::{self, Finding};
use crate::{Source, reachable};

/// The lines that the rule finds in `code` at `path`.
#[track_caller]
fn check(rule: fn(&Source) -> Vec<Finding>, path: &str, code: &str, lines: &[usize]) {
    let found: Vec<usize> =
        rule(&Source::parse(path, code, false)).into_iter().map(|finding| finding.line).collect();
    assert_eq!(found, lines, "in {path}:\n{code}");
}

#[test]
fn an_import_upwards_is_found_however_it_is_written() {
    let up = rules::floors;
    check(up, "mail/a.rs", "use crate::store::Txn;\nuse crate::jmap::Request;", &[2]);
    check(up, "mail/a.rs", "use crate::{\n    types::Id,\n    inbox::{gate, note},\n};", &[3, 3]);
    check(up, "store/a.rs", "fn f() {\n    crate::auth::login();\n}", &[2]);
    check(up, "store/a.rs", "fn f(x: &crate::mail::Email) {}", &[1]);
    check(up, "store/a.rs", "fn f() {\n    println!(\"{}\",\n        crate::wire::x::PORT);\n}", &[3]);
    check(up, "store/a.rs", "use super::super::mail::Email;", &[1]);
    check(up, "store/a.rs", "mod inner { use super::super::Txn; use super::super::super::mail; }", &[1]);
    check(up, "wire/http.rs", "use crate::app::App;", &[1]);
    check(up, "types/a.rs", "pub use crate::auth as who;", &[1]);
    check(up, "store/a.rs", "use crate::*;", &[1]);
}

#[test]
fn imports_down_and_on_the_own_floor_are_fine() {
    let code = "use crate::auth::Access;\nuse crate::mail::Email;\nuse super::note;\nuse std::fmt;";
    check(rules::floors, "inbox/a.rs", code, &[]);
    check(rules::floors, "app.rs", "use crate::config::Config;\nuse crate::wire::http;", &[]);
    check(rules::floors, "main.rs", "fn main() { postroom::app::run() }", &[]);
}

#[test]
fn jmap_and_smtp_do_not_see_each_other() {
    check(rules::floors, "jmap/a.rs", "use crate::smtp::Session;", &[1]);
    check(rules::floors, "smtp/a.rs", "use crate::jmap::Request;", &[1]);
}

#[test]
fn a_module_without_a_floor_is_found() {
    check(rules::floors, "helpers/a.rs", "fn f() {}", &[1]);
}

#[test]
fn rocksdb_outside_the_store_is_found() {
    check(rules::rocksdb_only_in_store, "mail/a.rs", "\nuse rocksdb::DB;", &[2]);
    check(rules::rocksdb_only_in_store, "store/engine/rocks.rs", "use rocksdb::DB;", &[]);
}

#[test]
fn json_below_jmap_is_found_but_not_in_tests() {
    check(rules::json_not_below_jmap, "inbox/a.rs", "fn f(v: &serde_json::Value) {}", &[1]);
    check(rules::json_not_below_jmap, "inbox/a.rs", "fn f() { let x = serde_json::json!({}); }", &[1]);
    check(rules::json_not_below_jmap, "jmap/a.rs", "use serde_json::Value;", &[]);
    let test = "#[cfg(test)]\nmod tests {\n    use serde_json::Value;\n}";
    check(rules::json_not_below_jmap, "inbox/a.rs", test, &[]);
}

#[test]
fn sockets_outside_wire_are_found() {
    let rule = rules::sockets_only_in_wire;
    check(rule, "smtp/a.rs", "use tokio::net::TcpStream;", &[1]);
    check(rule, "app.rs", "use std::net;\nfn f() { net::TcpListener::bind(\"\"); }", &[2]);
    check(rule, "smtp/a.rs", "use std::net::IpAddr;", &[]);
    check(rule, "wire/smtp_in.rs", "use tokio::net::TcpListener;", &[]);
}

#[test]
fn batches_outside_the_transaction_and_the_engine_are_found() {
    let code = "use rocksdb::WriteBatch;";
    check(rules::batches_only_in_txn, "store/changes.rs", code, &[1]);
    check(rules::batches_only_in_txn, "store/txn.rs", code, &[]);
    check(rules::batches_only_in_txn, "store/engine/rocks.rs", code, &[]);
}

#[test]
fn key_bytes_outside_keys_are_found() {
    let code =
        "fn f(n: u32) -> [u8; 4] { n.to_be_bytes() }\nfn g(b: [u8; 4]) -> u32 { u32::from_be_bytes(b) }";
    check(rules::key_bytes_only_in_keys, "store/list.rs", code, &[1, 2]);
    check(rules::key_bytes_only_in_keys, "store/keys.rs", code, &[]);
}

#[test]
fn a_function_of_71_lines_is_found_but_not_a_test() {
    let long = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    check(rules::short_functions, "mail/a.rs", &long(70), &[]);
    check(rules::short_functions, "mail/a.rs", &long(71), &[1]);
    check(rules::short_functions, "mail/a.rs", &format!("struct S;\nimpl S {{\n{}}}", long(71)), &[3]);
    check(rules::short_functions, "mail/a.rs", &format!("#[test]\n{}", long(71)), &[]);
}

#[test]
fn a_file_of_601_lines_is_found_and_its_tests_do_not_count() {
    let code = |lines: usize| "const A: u8 = 0;\n".repeat(lines);
    check(rules::short_files, "mail/a.rs", &code(600), &[]);
    check(rules::short_files, "mail/a.rs", &code(601), &[1]);
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}", code(600), code(100));
    check(rules::short_files, "mail/a.rs", &tests, &[]);
}

#[test]
fn a_file_without_its_purpose_is_found() {
    check(rules::opens_with_purpose, "mail/a.rs", "// parse\nfn f() {}", &[1]);
    check(rules::opens_with_purpose, "mail/a.rs", "//! Parses.\nfn f() {}", &[]);
}

#[test]
fn an_exception_without_its_reason_is_found() {
    let rule = rules::exceptions_have_reasons;
    check(rule, "mail/a.rs", "#[allow(dead_code)]\nfn f() {}", &[1]);
    check(rule, "mail/a.rs", "#[allow(dead_code, reason = \"later\")]\nfn f() {}", &[]);
    let clock = "#[expect(clippy::disallowed_methods, reason = \"the real clock\")]\nfn f() {}";
    check(rule, "mail/a.rs", clock, &[1]);
    check(rule, "types/clock.rs", clock, &[]);
}

#[test]
fn an_ignored_test_is_found() {
    check(rules::ignored_tests, "a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", &[2]);
}

#[test]
fn a_file_that_no_mod_names_is_not_reached() {
    let files = [
        ("lib.rs", "pub mod store;\n#[cfg(test)]\nmod helpers;"),
        ("store/mod.rs", "mod keys;"),
        ("store/keys.rs", "mod table;"),
        ("store/keys/table.rs", ""),
        ("store/old.rs", ""),
        ("helpers.rs", ""),
    ];
    let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| text.to_string());
    let reached: Vec<(String, bool)> = reachable(&read).into_iter().collect();
    let expected = [
        ("helpers.rs", true),
        ("lib.rs", false),
        ("store/keys.rs", false),
        ("store/keys/table.rs", false),
        ("store/mod.rs", false),
    ];
    assert_eq!(reached, expected.map(|(path, is_test)| (path.to_string(), is_test)));
}

#[test]
fn a_requirement_that_no_test_names_is_found() {
    let text = "# Locks\n- LOCK-1 granted once\n- LOCK-2 expires\nsee RFC-8620 and LOCK-3\n";
    let tests = ["// LOCK-12\n".to_string(), "/// LOCK-2: it expires\n".to_string()];
    let lines: Vec<usize> = rules::unnamed_requirements("locks.md", text, &tests)
        .into_iter()
        .map(|finding| finding.line)
        .collect();
    assert_eq!(lines, [2]);
}
