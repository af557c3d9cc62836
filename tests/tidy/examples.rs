//! A small bad example for each rule, and the lines that it must find: a rule that can't fail keeps nothing.

use crate::rules::{self, Finding};
use crate::{Source, ledger, reachable};

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

/// The lines and reasons that the ledger's rule finds in rows below the heading of §3.3.
fn ledger_findings(rows: &str) -> Vec<String> {
    let mut tests = ledger::Tests::default();
    tests.add(
        "jmap::request",
        "mod tests { #[test] fn it_is_read() {} #[test] fn twice() {} fn helper() {} }",
    );
    tests.add("tests::jmap::request", "#[tokio::test(start_paused = true)]\nasync fn twice() {}");
    tests.add("tests::model", "proptest! { #![x] #[test] /** why */ fn it_holds(a in 0..1) {} }");
    let text = format!(
        "# RFC 8620\n### §3.3 Request\n| id | level | requirement | shown by |\n|---|---|---|---|\n{rows}"
    );
    let (findings, _) = ledger::check_file("rfc8620.md", &text, &tests);
    findings.iter().map(|finding| finding.to_string().replace("rfc8620.md:", "")).collect()
}

#[test]
fn a_good_ledger_has_no_findings() {
    let rows = "| 8620-3.3-1 | MUST | a | `it_is_read` |\n\
                | 8620-3.3-2 | MUST NOT | a \\| b | `jmap::request::it_is_read`, `it_holds` |\n\
                | 8620-3.3-10 | states | c | `request::tests::twice`, `tests::jmap::request::twice` |\n\
                ## §3.3.1 Deeper\n\
                | 8620-3.3.1-1 | SHOULD | d | n/a: clients do this, not servers |\n\
                ## §10.2 Later\n\
                | 8620-10.2-3 | states | e | `it_is_read` |\n\
                ## §A Appendix\n\
                | 8620-A-1 | states | f | `it_is_read` |\n";
    assert_eq!(ledger_findings(rows), Vec::<String>::new());
}

#[test]
fn a_bad_row_of_the_ledger_is_found() {
    for (row, wanted) in [
        ("| 8620-3.3-1 | MUST | a | `it_was_read` |", "5: 8620-3.3-1: there is no test `it_was_read`"),
        ("| 8620-3.3-1 | MUST | a | `helper` |", "5: 8620-3.3-1: there is no test `helper`"),
        (
            "| 8620-3.3-1 | MUST | a | `smtp::it_is_read` |",
            "5: 8620-3.3-1: there is no test `smtp::it_is_read`",
        ),
        (
            "| 8620-3.3-1 | MUST | a | `equest::it_is_read` |",
            "5: 8620-3.3-1: there is no test `equest::it_is_read`",
        ),
        (
            "| 8620-3.3-1 | MUST | a | `twice` |",
            "5: 8620-3.3-1: several tests are called `twice`: name the module, too",
        ),
        (
            "| 8620-3.3-1 | MUST | a | it_is_read |",
            "5: 8620-3.3-1: it is shown by names of tests in backticks, or `n/a: reason`",
        ),
        (
            "| 8620-3.3-1 | MUST | a | |",
            "5: 8620-3.3-1: it is shown by names of tests in backticks, or `n/a: reason`",
        ),
        ("| 8620-3.3-1 | MUST | a | n/a: no |", "5: 8620-3.3-1: `n/a:` goes on with the reason"),
        ("| 8620-3.3-1 | MUST | | `it_is_read` |", "5: 8620-3.3-1 says nothing"),
        (
            "| 8620-3.3-1 | must | a | `it_is_read` |",
            "5: `must` is no level: MUST, MUST NOT, SHOULD, SHOULD NOT, states",
        ),
        ("| 8620-3.3-1 | MUST | a |", "5: a row is | id | level | requirement | shown by |"),
        ("| 8620-3.4-1 | MUST | a | `it_is_read` |", "5: 8620-3.4-1 stands under the heading of §3.3"),
        ("| 8621-3.3-1 | MUST | a | `it_is_read` |", "5: `8621-3.3-1` is no id: 8620-SECTION-NUMBER"),
        ("| 8620-3.3-01 | MUST | a | `it_is_read` |", "5: `8620-3.3-01` is no id: 8620-SECTION-NUMBER"),
        ("| 8620-3.3 | MUST | a | `it_is_read` |", "5: `8620-3.3` is no id: 8620-SECTION-NUMBER"),
        (
            "| 8620-3.3-2 | MUST | a | `it_is_read` |\n| 8620-3.3-2 | MUST | b | `it_is_read` |",
            "6: 8620-3.3-2 is there already, or not in order",
        ),
        (
            "| 8620-3.3-10 | MUST | a | `it_is_read` |\n| 8620-3.3-9 | MUST | b | `it_is_read` |",
            "6: 8620-3.3-9 is there already, or not in order",
        ),
    ] {
        assert_eq!(ledger_findings(row), [wanted], "{row}");
    }
}

#[test]
fn a_file_of_the_ledger_is_named_after_its_document() {
    let tests = ledger::Tests::default();
    for (path, good) in [
        ("rfc8620.md", true),
        ("draft-emailpush.md", true),
        ("8620.md", false),
        ("rfc.md", false),
        ("rfc86x0.md", false),
        ("notes.md", false),
    ] {
        assert_eq!(ledger::check_file(path, "", &tests).0.is_empty(), good, "{path}");
    }
}

#[test]
fn an_id_that_is_not_in_the_ledger_is_found_in_the_source() {
    let ids = ["8620-3.3-1".to_owned()].into();
    let code =
        "// 8620-3.3-1, 8620-3.3-2.\nlet date = \"2026-11-25\"; // RFC 8620-3\n/// (8620-5.1-1)\n// 8621-1-1";
    let found = ledger::unknown_ids("a.rs", code, &ids);
    assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1, 3]);
}
