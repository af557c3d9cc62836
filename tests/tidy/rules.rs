//! The rules, each a function of one parsed file, and the reason that its findings give.

use crate::Source;
use crate::names::{Name, is_test_code, names};
use std::collections::BTreeSet;
use std::fmt;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// Files that are one long table and so may be longer, each with its reason.
const TABLES: &[(&str, &str)] = &[];

/// Files that may write numbers big-endian beside store/keys.rs, each with its reason.
const BIG_ENDIAN: &[(&str, &str)] = &[
    ("store/keys.rs", "the keys themselves"),
    ("store/keys/lists.rs", "the keys themselves"),
    ("store/keys/places.rs", "the part of a list's keys that says the place"),
    ("types/clock.rs", "random octets from a seed, not keys"),
    ("auth/login.rs", "what a keyed hash of the login cache is made of, not keys"),
    ("inbox/activity.rs", "the encoding that the hash chain is made of, which must never change"),
    ("inbox/gate.rs", "lengths that go into a digest, not keys"),
    ("mail/search/engine.rs", "the terms of the full-text index, which has its own order"),
];

/// A broken rule: where, and why the rule is there.
#[derive(Debug, PartialEq)]
pub struct Finding {
    path: String,
    pub line: usize,
    reason: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, reason: impl Into<String>) -> Self {
        Self { path: path.into(), line, reason: reason.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.reason)
    }
}

const TOP_FLOOR: u8 = 7;

/// How high a top-level module stands. `inbox → mail → auth` is drawn on floor 2, so these get numbers of
/// their own; modules with the same number don't see each other, except on the top floor.
fn floor(module: &str) -> Option<u8> {
    Some(match module {
        "types" => 0,
        "store" => 1,
        "auth" => 2,
        "mail" => 3,
        "inbox" => 4,
        "jmap" | "smtp" => 5,
        "wire" => 6,
        "config" | "admin" | "cli" | "app" => TOP_FLOOR,
        "lib" | "main" => TOP_FLOOR + 1,
        _ => return None,
    })
}

/// Imports go down only.
pub fn floors(source: &Source) -> Vec<Finding> {
    let from = source.module();
    let Some(from_floor) = floor(from) else {
        return vec![source.finding(1, format!("`{from}` has no floor: draw it in src/lib.rs and in tidy"))];
    };
    let mut findings = Vec::new();
    for name in names(source) {
        let [first, to, ..] = name.parts.as_slice() else { continue };
        if first != "crate" || to == from || from_floor > TOP_FLOOR {
            continue;
        }
        // What isn't a module is an item of the crate root, and lib.rs only declares modules.
        let allowed = floor(to).is_some_and(|to_floor| {
            to_floor < from_floor || (to_floor == from_floor && from_floor == TOP_FLOOR)
        });
        if !allowed {
            let reason = format!("`{from}` may not see `{to}`: a file imports only from lower floors");
            findings.push(source.finding(name.line, reason));
        }
    }
    findings
}

pub fn rocksdb_only_in_store(source: &Source) -> Vec<Finding> {
    let reason = "the engine is known to store/ alone, so that another can take its place";
    only_in(source, &["store"], reason, |name| name.starts_with(&["rocksdb"]))
}

pub fn json_not_below_jmap(source: &Source) -> Vec<Finding> {
    // The index library keeps its own list of files as JSON, which a backup has to write.
    if source.path == "mail/search/engine.rs" {
        return Vec::new();
    }
    let places = ["jmap", "wire", "config", "admin", "cli", "app", "main"];
    let reason = "JSON is the form of the edge: below jmap/ values have types";
    only_in(source, &places, reason, |name| name.starts_with(&["serde_json"]))
}

pub fn sockets_only_in_wire(source: &Source) -> Vec<Finding> {
    const SOCKETS: &[&str] = &[
        "TcpListener",
        "TcpStream",
        "TcpSocket",
        "UdpSocket",
        "UnixListener",
        "UnixStream",
        "UnixDatagram",
        "SmtpTransport",
        "AsyncSmtpTransport",
        "SmtpConnection",
        "AsyncSmtpConnection",
    ];
    let reason = "sockets are only in wire/: protocol code takes bytes and gives actions";
    only_in(source, &["wire"], reason, |name| {
        name.starts_with(&["tokio", "net"]) || name.starts_with(&["axum"]) || name.has_any(SOCKETS)
    })
}

pub fn batches_only_in_txn(source: &Source) -> Vec<Finding> {
    if source.path == "store/txn.rs" || source.path.starts_with("store/engine") {
        return Vec::new();
    }
    let reason = "only the transaction writes, so that no row goes without its change log";
    only_in(source, &[], reason, |name| name.has_any(&["WriteBatch"]))
}

pub fn key_bytes_only_in_keys(source: &Source) -> Vec<Finding> {
    if BIG_ENDIAN.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let reason = "keys are made and read in store/keys.rs only, where the key space is drawn";
    only_in(source, &[], reason, |name| name.has_any(&["to_be_bytes", "from_be_bytes"]))
}

/// Findings for what the code that ships names outside `modules`; tests may reach further.
fn only_in(source: &Source, modules: &[&str], reason: &str, is_it: fn(&Name) -> bool) -> Vec<Finding> {
    if modules.contains(&source.module()) {
        return Vec::new();
    }
    let found = names(source).into_iter().filter(|name| !name.is_test && is_it(name));
    let lines: BTreeSet<usize> = found.map(|name| name.line).collect();
    lines.into_iter().map(|line| source.finding(line, reason)).collect()
}

pub fn short_functions(source: &Source) -> Vec<Finding> {
    let mut functions = Functions { tests: usize::from(source.is_test), long: vec![] };
    functions.visit_file(&source.file);
    let finding = |(name, line, lines): (String, usize, usize)| {
        let reason = format!("`{name}` has {lines} lines; up to {FUNCTION_LINES_MAX} are read at a glance");
        source.finding(line, reason)
    };
    functions.long.into_iter().map(finding).collect()
}

struct Functions {
    tests: usize,
    long: Vec<(String, usize, usize)>,
}

impl Functions {
    fn measure(&mut self, signature: &syn::Signature, whole: proc_macro2::Span) {
        let first = signature.fn_token.span.start().line;
        let lines = whole.end().line - first + 1;
        if self.tests == 0 && lines > FUNCTION_LINES_MAX {
            self.long.push((signature.ident.to_string(), first, lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = usize::from(is_test_code(&item.attrs));
        self.tests += is_test;
        visit::visit_item_mod(self, item);
        self.tests -= is_test;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test_code(&item.attrs) {
            self.measure(&item.sig, item.span());
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, item.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.measure(&item.sig, item.span());
        visit::visit_trait_item_fn(self, item);
    }
}

/// Lines are counted up to the first module of tests.
pub fn short_files(source: &Source) -> Vec<Finding> {
    if source.is_test || TABLES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let tests = source.file.items.iter().find_map(|item| match item {
        syn::Item::Mod(module) if is_test_code(&module.attrs) => Some(module.span().start().line - 1),
        _ => None,
    });
    let lines = tests.unwrap_or_else(|| source.text.lines().count());
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let reason =
        format!("{lines} lines before its tests; split what has more than {FILE_LINES_MAX} by purpose");
    vec![source.finding(1, reason)]
}

pub fn opens_with_purpose(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    let reason = "a file opens with `//!`: what it is for, its invariants, what is left out on purpose";
    vec![source.finding(1, reason)]
}

pub fn exceptions_have_reasons(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, name, text) in attributes(source) {
        if name != "allow" && name != "expect" {
            continue;
        }
        if !text.contains("reason =") {
            findings.push(source.finding(line, format!("`{name}` carries its reason: `reason = \"…\"`")));
        }
        if text.contains("disallowed_methods") && source.path != "types/clock.rs" {
            let reason = "only types/clock.rs reads the real clock and randomness; pass them in";
            findings.push(source.finding(line, reason));
        }
    }
    findings
}

pub fn ignored_tests(source: &Source) -> Vec<Finding> {
    let ignored = attributes(source).into_iter().filter(|(_, name, _)| name == "ignore");
    ignored.map(|(line, _, _)| source.finding(line, "a test that doesn't run proves nothing")).collect()
}

/// Line, name and content of every attribute.
fn attributes(source: &Source) -> Vec<(usize, String, String)> {
    let mut attributes = Attributes(Vec::new());
    attributes.visit_file(&source.file);
    attributes.0
}

struct Attributes(Vec<(usize, String, String)>);

impl<'ast> Visit<'ast> for Attributes {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let name = attribute.path().segments.last().map(|segment| segment.ident.to_string());
        let text = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        self.0.push((attribute.span().start().line, name.unwrap_or_default(), text));
    }
}
