//! The ledger of requirements in spec/requirements, read and compared with the tests that there are.
//!
//! Invariants: each row has an id of its file's document and its section, in order and once; each names
//! tests that exist, or says why none applies; an id that the source mentions is in the ledger. Whether
//! a test really shows its requirement only a reader can tell. The format is in the folder's README.

use crate::rules::Finding;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

const LEVELS: &[&str] = &["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "states"];

/// A reason of fewer letters explains nothing.
const REASON_LETTERS_MIN: usize = 10;

/// Where a row stands: the numbers of its section, then its own. An appendix comes after all numbers.
type Place = (Vec<(bool, u64)>, u64);

/// Findings of one file, and the ids in it.
pub fn check_file(path: &str, text: &str, tests: &Tests) -> (Vec<Finding>, BTreeSet<String>) {
    let Some(document) = document(path) else {
        let reason = "a file here is README.md, rfcNNNN.md or draft-NAME.md";
        return (vec![Finding::new(path, 1, reason)], BTreeSet::new());
    };
    let (mut findings, mut ids) = (Vec::new(), BTreeSet::new());
    let (mut section, mut last) = (String::new(), None);
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim_start();
            section = heading.strip_prefix('§').map(first_word).unwrap_or_default().to_owned();
        }
        let Some(cells) = cells(line) else { continue };
        let mut find = |reason: String| findings.push(Finding::new(path, index + 1, reason));
        let [id, level, requirement, shown] = cells.as_slice() else {
            find("a row is | id | level | requirement | shown by |".into());
            continue;
        };
        match place(id, document) {
            Some((id_section, place)) => {
                if id_section != section {
                    find(format!("{id} stands under the heading of §{section}"));
                }
                if last.as_ref().is_some_and(|last| place <= *last) {
                    find(format!("{id} is there already, or not in order"));
                }
                last = Some(place);
                ids.insert(id.clone());
            }
            None => find(format!("`{id}` is no id: {document}-SECTION-NUMBER")),
        }
        if !LEVELS.contains(&level.as_str()) {
            find(format!("`{level}` is no level: {}", LEVELS.join(", ")));
        }
        if requirement.is_empty() {
            find(format!("{id} says nothing"));
        }
        shown_by(shown, tests).into_iter().for_each(|reason| find(format!("{id}: {reason}")));
    }
    (findings, ids)
}

/// Ids that a file of source or tests mentions and that the ledger doesn't have. Only documents that
/// have a file in the ledger are looked for.
pub fn unknown_ids(path: &str, text: &str, ids: &BTreeSet<String>) -> Vec<Finding> {
    let documents: BTreeSet<&str> = ids.iter().filter_map(|id| id.split('-').next()).collect();
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.') {
            let word = word.trim_end_matches('.');
            let document = word.split('-').next().unwrap_or_default();
            if documents.contains(document) && place(word, document).is_some() && !ids.contains(word) {
                findings.push(Finding::new(path, index + 1, format!("{word} is not in spec/requirements")));
            }
        }
    }
    findings
}

/// What a file's ids begin with: `8620` for rfc8620.md.
fn document(path: &str) -> Option<&str> {
    let stem = path.strip_suffix(".md")?;
    let rfc = stem.strip_prefix("rfc").filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let name = rfc.or_else(|| stem.strip_prefix("draft-"))?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(name)
}

/// The section and the place of an id such as `8620-3.3-2`.
fn place<'i>(id: &'i str, document: &str) -> Option<(&'i str, Place)> {
    let (section, number) = id.strip_prefix(document)?.strip_prefix('-')?.split_once('-')?;
    let part = |part: &str| match part.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some((true, u64::from(*letter))),
        _ => counted(part).map(|number| (false, number)),
    };
    let parts = section.split('.').map(part).collect::<Option<Vec<_>>>()?;
    Some((section, (parts, counted(number)?)))
}

/// A number from 1 on, without a leading zero.
fn counted(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// The cells of a line of a table that is neither its head nor the rule below. `\|` is no border.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?;
    let inner = inner.strip_suffix('|').unwrap_or(inner).replace("\\|", "\u{0}");
    let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect();
    let first = cells.first()?;
    let is_rule = !first.is_empty() && first.bytes().all(|byte| byte == b'-' || byte == b':');
    (!is_rule && first != "id").then_some(cells)
}

/// What is wrong with the last cell of a row.
fn shown_by(cell: &str, tests: &Tests) -> Vec<String> {
    if let Some(reason) = cell.strip_prefix("n/a:") {
        let short = reason.chars().filter(|c| c.is_alphabetic()).count() < REASON_LETTERS_MIN;
        return if short { vec!["`n/a:` goes on with the reason".into()] } else { Vec::new() };
    }
    let mut wrong = Vec::new();
    for name in cell.split(',').map(str::trim) {
        let plain = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
        match plain.map(|name| (name, tests.find(name))) {
            Some((_, 1)) => {}
            Some((name, 0)) => wrong.push(format!("there is no test `{name}`")),
            Some((name, _)) => wrong.push(format!("several tests are called `{name}`: name the module, too")),
            None => wrong.push("it is shown by names of tests in backticks, or `n/a: reason`".into()),
        }
    }
    wrong
}

/// Every test that there is, by its path.
#[derive(Default)]
pub struct Tests(BTreeMap<String, Vec<String>>);

impl Tests {
    /// Adds the tests of a file; `module` is where it stands, `jmap::request` or `tests::jmap::request`.
    pub fn add(&mut self, module: &str, text: &str) {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{module}: {error}"));
        let mut found = Vec::new();
        collect(tokens, module, &mut found);
        for (module, name) in found {
            self.0.entry(name).or_default().push(module);
        }
    }

    /// How many tests have a path that ends so. Modules called `tests` may be left out.
    fn find(&self, name: &str) -> usize {
        let (module, name) = name.rsplit_once("::").unwrap_or(("", name));
        let ends_so = |whole: &&String| {
            let mut shorter = whole.replace("::tests::", "::");
            shorter.truncate(shorter.trim_end_matches("::tests").len());
            module.is_empty() || [whole.as_str(), &shorter].into_iter().any(|path| ends_with(path, module))
        };
        self.0.get(name).map_or(0, |modules| modules.iter().filter(ends_so).count())
    }
}

/// Whether the path ends with whole segments of `module`.
fn ends_with(path: &str, module: &str) -> bool {
    path.strip_suffix(module).is_some_and(|before| before.is_empty() || before.ends_with("::"))
}

/// Finds `#[test] fn name` and `#[tokio::test] async fn name`, in macros such as `proptest!` as well.
fn collect(tokens: TokenStream, module: &str, found: &mut Vec<(String, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut is_test = false;
    for (index, token) in tokens.iter().enumerate() {
        let after = |distance: usize| tokens.get(index + distance);
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                is_test |= matches!(after(1), Some(TokenTree::Group(group)) if is_test_attribute(group));
            }
            TokenTree::Ident(word) if word == "fn" && is_test => {
                if let Some(TokenTree::Ident(name)) = after(1) {
                    found.push((module.to_owned(), name.to_string()));
                }
                is_test = false;
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let before = |distance: usize| index.checked_sub(distance).and_then(|at| tokens.get(at));
                let inner = match (before(2), before(1)) {
                    (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name))) if word == "mod" => {
                        format!("{module}::{name}")
                    }
                    _ => module.to_owned(),
                };
                collect(group.stream(), &inner, found);
            }
            _ => {}
        }
    }
}

/// The path of the attribute, before any arguments, ends with `test`.
fn is_test_attribute(group: &proc_macro2::Group) -> bool {
    let path = group.stream().into_iter().take_while(|token| !matches!(token, TokenTree::Group(_)));
    let last = path.filter(|token| matches!(token, TokenTree::Ident(_))).last();
    group.delimiter() == Delimiter::Bracket && last.is_some_and(|name| name.to_string() == "test")
}
