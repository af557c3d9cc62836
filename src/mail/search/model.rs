//! Tests of the whole: random work against a plain scan, and each promise of the handle by name.

use super::*;
use crate::types::{AccountId, Clock, EmailId, Millis, UtcDate};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const STORE: [u8; 16] = *b"a store's own id";
const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);

/// An index in a folder of its own.
struct Bench {
    _home: TempDir,
    dir: PathBuf,
    clock: Clock,
    index: Option<SearchIndex>,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        let clock = Clock::manual(Millis(0));
        let opened = SearchIndex::open(&dir, STORE, clock.clone()).unwrap();
        assert!(opened.rebuild, "a new index has to be fed");
        Self { _home: home, dir, clock, index: Some(opened.index) }
    }

    fn index(&self) -> &SearchIndex {
        self.index.as_ref().unwrap()
    }

    /// Closes and opens again; whether it came up empty.
    fn reopen(&mut self, store: [u8; 16]) -> bool {
        self.index = None;
        let opened = SearchIndex::open(&self.dir, store, self.clock.clone()).unwrap();
        self.index = Some(opened.index);
        opened.rebuild
    }

    fn add(&self, account: AccountId, email: u32, received_at: i64, text: IndexedText<'_>) {
        self.index().add(account, EmailId(email), UtcDate(received_at), &text).unwrap();
    }

    fn found(&self, account: AccountId, query: &TextQuery) -> Vec<u32> {
        self.index().search(account, query).unwrap().map(|hit| hit.unwrap().email.0).collect()
    }

    fn words(&self, account: AccountId, text: &str) -> Vec<u32> {
        self.found(account, &TextQuery::parse(Field::Text, text).unwrap())
    }
}

fn body(body: &str) -> IndexedText<'_> {
    IndexedText { body, ..IndexedText::default() }
}

fn text(field: Field, text: &str) -> TextQuery {
    TextQuery::parse(field, text).unwrap()
}

#[test]
fn what_was_added_is_found_at_once_newest_first_before_and_after_a_commit() {
    let bench = Bench::new();
    bench.add(A, 1, 100, body("an invoice"));
    bench.add(A, 2, 300, body("the invoice again"));
    bench.add(A, 3, 200, body("nothing"));
    bench.add(A, 4, 300, body("invoice"));
    assert_eq!(bench.words(A, "Invoice"), [4, 2, 1]);
    bench.index().flush().unwrap();
    assert_eq!(bench.words(A, "Invoice"), [4, 2, 1]);
    bench.add(A, 5, 250, body("invoice, late"));
    assert_eq!(bench.words(A, "Invoice"), [4, 2, 5, 1]);
    assert_eq!(bench.words(A, "invo*"), [4, 2, 5, 1]);
    assert_eq!(bench.words(A, "invo"), [0u32; 0]);
    assert_eq!(bench.words(A, "invoice late"), [5]);
}

#[test]
fn what_was_removed_is_not_found_before_and_after_a_commit() {
    let bench = Bench::new();
    for email in 1..4 {
        bench.add(A, email, i64::from(email), body("word"));
    }
    bench.index().flush().unwrap();
    bench.add(A, 4, 4, body("word"));
    bench.index().remove(A, EmailId(2)).unwrap();
    bench.index().remove(A, EmailId(4)).unwrap();
    assert_eq!(bench.words(A, "word"), [3, 1]);
    bench.index().flush().unwrap();
    assert_eq!(bench.words(A, "word"), [3, 1]);
    bench.index().remove_account(A).unwrap();
    bench.add(A, 5, 5, body("word"));
    assert_eq!(bench.words(A, "word"), [5]);
    bench.index().flush().unwrap();
    assert_eq!(bench.words(A, "word"), [5]);
}

#[test]
fn one_account_finds_nothing_of_another() {
    let bench = Bench::new();
    bench.add(A, 1, 1, body("secret"));
    for _ in 0..2 {
        assert_eq!(bench.words(B, "secret"), [0u32; 0]);
        assert_eq!(bench.words(B, "s*"), [0u32; 0]);
        assert_eq!(bench.found(B, &TextQuery::Not(vec![text(Field::Text, "other")])), [0u32; 0]);
        assert_eq!(bench.words(A, "secret"), [1]);
        bench.index().flush().unwrap();
    }
}

#[test]
fn each_field_looks_where_it_says() {
    let bench = Bench::new();
    let mail = IndexedText {
        from: "Ann Example <ann@customer.example>",
        to: "support@shop.example",
        cc: "boss@customer.example",
        bcc: "archive@shop.example",
        subject: "Broken lamp",
        body: "It flickers at night",
        attachment_names: "photo.jpeg",
    };
    bench.add(A, 1, 1, mail);
    for committed in [false, true] {
        for (field, words, found) in [
            (Field::Text, "lamp flickers ann photo.jpeg support@shop.example", true),
            (Field::From, "ann example", true),
            (Field::From, "ann@customer.example", true),
            (Field::From, "@customer.example", true),
            (Field::From, "ann@", true),
            (Field::From, "customer.example", true),
            (Field::From, "support", false),
            (Field::To, "support", true),
            (Field::Cc, "boss", true),
            (Field::Bcc, "archive", true),
            (Field::Bcc, "boss", false),
            (Field::Subject, "broken", true),
            (Field::Subject, "night", false),
            (Field::Body, "night", true),
            (Field::Body, "broken", false),
            (Field::Body, "photo", false),
            (Field::Text, "!?", false),
            (Field::Text, " ", true),
        ] {
            let query = text(field, words);
            assert_eq!(bench.found(A, &query).len() == 1, found, "{field:?} {words} {committed}");
            assert_eq!(query.matches(&mail), found, "{field:?} {words}");
        }
        bench.index().flush().unwrap();
    }
}

#[test]
fn a_phrase_gives_candidates_that_the_text_decides() {
    let bench = Bench::new();
    let texts = ["the red lamp is dim", "the lamp is red", "red\r\nlamp", "blue lamp"];
    for (email, text) in (0u32..).zip(texts) {
        bench.add(A, email, i64::from(email), body(text));
    }
    for (words, candidates, matching) in [
        ("\"red lamp\"", vec![2, 1, 0], vec![2, 0]),
        ("'red lamp' dim", vec![0], vec![0]),
        ("red-lamp", vec![2, 1, 0], vec![2, 0]),
        ("\"lamp", vec![3, 2, 1, 0], vec![3, 2, 1, 0]),
    ] {
        for query in [text(Field::Text, words), text(Field::Body, words)] {
            assert_eq!(bench.found(A, &query), candidates, "{words}");
            let verified = candidates.iter().filter(|&&email| query.matches(&body(texts[email as usize])));
            assert_eq!(verified.copied().collect::<Vec<_>>(), matching, "{words}");
        }
    }
    let negated = TextQuery::Not(vec![text(Field::Text, "\"red lamp\"")]);
    assert!(negated.must_verify());
    assert_eq!(bench.found(A, &negated), [3, 2, 1, 0]);
    bench.index().flush().unwrap();
    assert_eq!(bench.found(A, &negated), [3, 2, 1, 0]);
}

#[test]
fn text_without_spaces_is_found_by_any_part_of_it() {
    let bench = Bench::new();
    bench.add(A, 1, 1, body("請求書を送ります"));
    for _ in 0..2 {
        for (words, found) in [("請求書", true), ("求書", true), ("書", true), ("す", true), ("書求", false)]
        {
            assert_eq!(!bench.words(A, words).is_empty(), found, "{words}");
        }
        bench.index().flush().unwrap();
    }
    assert!(text(Field::Text, "請求書").must_verify());
    assert!(text(Field::Text, "請求書").matches(&body("新しい請求書")));
    assert!(!text(Field::Text, "請求書").matches(&body("請求 求書")));
}

#[test]
fn the_words_of_a_query_are_marked_in_the_original_text() {
    let query = TextQuery::And(vec![
        text(Field::Text, "creme \"red lamp\" invo* jo@x.example"),
        text(Field::Subject, "elsewhere"),
        TextQuery::Not(vec![text(Field::Text, "dim")]),
    ]);
    let original = "Crème! A RED, lamp; dim INVOICE from <Jo@X.example> elsewhere";
    let marked: Vec<&str> =
        find(original, &query.words_at(Place::Body), 10).into_iter().map(|range| &original[range]).collect();
    assert_eq!(marked, ["Crème", "RED, lamp", "INVOICE", "Jo@X.example"]);
    assert_eq!(find(original, &query.words_at(Place::Body), 1).first(), Some(&(0..6)));
}

#[test]
fn closing_keeps_everything_and_opening_tells_where_feeding_goes_on() {
    let mut bench = Bench::new();
    bench.add(A, 1, 1, body("kept"));
    bench.index().advance(A, 7).unwrap();
    bench.index().advance(B, 3).unwrap();
    assert!(!bench.reopen(STORE));
    assert_eq!(bench.words(A, "kept"), [1]);
    assert_eq!([bench.index().indexed_modseq(A), bench.index().indexed_modseq(B)], [7, 3]);
    assert!(bench.index().wait_until_searchable(A, 7, Duration::ZERO));
    assert!(!bench.index().wait_until_searchable(A, 8, Duration::from_millis(1)));
}

#[test]
fn what_is_fed_again_after_a_crash_is_found_once() {
    let mut bench = Bench::new();
    bench.add(A, 1, 1, body("word"));
    bench.index().flush().unwrap();
    bench.reopen(STORE);
    bench.add(A, 1, 1, body("word"));
    assert_eq!(bench.words(A, "word"), [1]);
    bench.index().flush().unwrap();
    assert_eq!(bench.words(A, "word"), [1]);
    assert_eq!(bench.index().stats().committed_messages, 1);
}

#[test]
fn an_index_of_another_store_is_moved_aside_and_comes_up_empty() {
    let mut bench = Bench::new();
    bench.add(A, 1, 1, body("word"));
    assert!(bench.reopen([0; 16]));
    assert_eq!(bench.words(A, "word"), [0u32; 0]);
    assert!(bench.dir.with_extension("damaged").exists());
    assert!(!bench.reopen([0; 16]));
}

#[test]
fn a_damaged_index_is_moved_aside_whatever_the_damage() {
    let breaks: [fn(&std::path::Path); 4] = [
        |dir| std::fs::write(dir.join("meta.json"), "{").unwrap(),
        |dir| std::fs::remove_file(dir.join("meta.json")).unwrap(),
        |dir| {
            for file in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "term" || extension == "fast") {
                    std::fs::write(file, "short").unwrap();
                }
            }
        },
        |dir| std::fs::write(dir.join(index::DISTRUST), "").unwrap(),
    ];
    for damage in breaks {
        let mut bench = Bench::new();
        bench.add(A, 1, 1, body("word"));
        bench.index = None;
        damage(&bench.dir);
        assert!(bench.reopen(STORE));
        bench.add(A, 1, 1, body("word"));
        assert_eq!(bench.words(A, "word"), [1]);
    }
}

#[test]
fn an_index_that_is_in_use_is_left_alone() {
    let bench = Bench::new();
    bench.add(A, 1, 1, body("word"));
    // The writer holds the lock from its first entry until it rests.
    bench.index().flush().unwrap();
    assert!(matches!(SearchIndex::open(&bench.dir, STORE, bench.clock.clone()), Err(SearchError::InUse)));
    assert_eq!(bench.words(A, "word"), [1]);
}

#[test]
fn a_commit_comes_by_itself_after_its_time_and_the_writer_rests() {
    let bench = Bench::new();
    bench.add(A, 1, 1, body("word"));
    bench.clock.advance(Duration::from_secs(29));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        (bench.index().stats().tail_messages, bench.index().stats().lag),
        (1, Duration::from_secs(29))
    );
    bench.clock.advance(Duration::from_secs(1));
    while bench.index().stats().tail_messages > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    bench.clock.advance(Duration::from_secs(60));
    // Once it rests another process could open the index.
    while SearchIndex::open(&bench.dir, STORE, bench.clock.clone()).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.words(A, "word"), [1]);
}

/// Long enough for the writer to look at a clock that was moved.
fn let_the_writer_look() {
    std::thread::sleep(Duration::from_millis(1200));
}

#[test]
fn the_writer_does_not_rest_on_what_it_has_taken() {
    let bench = Bench::new();
    bench.add(A, 1, 1, body("word"));
    let_the_writer_look();
    // It has the message, and would rest now; the commit comes later.
    bench.clock.advance(Duration::from_secs(15));
    let_the_writer_look();
    bench.clock.advance(Duration::from_secs(16));
    while bench.index().stats().tail_messages > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.words(A, "word"), [1]);
}

#[test]
fn a_purge_takes_nothing_that_waits_for_its_commit() {
    let bench = Bench::new();
    for email in 1..200 {
        bench.add(A, email, 1, body("word"));
        if email % 20 == 0 {
            bench.index().purge().unwrap();
        }
    }
    bench.index().flush().unwrap();
    assert_eq!(bench.words(A, "word").len(), 199);
}

#[test]
fn a_prefix_of_too_many_words_is_refused() {
    let bench = Bench::new();
    for email in 0..4u32 {
        let words: Vec<String> = (0..6000).map(|word| format!("w{email}x{word}")).collect();
        bench.add(A, email, 0, body(&words.join(" ")));
    }
    bench.index().flush().unwrap();
    let query = text(Field::Text, "w*");
    assert!(matches!(bench.index().search(A, &query), Err(SearchError::TooBroad)));
    assert_eq!(bench.words(A, "w1*"), [1]);
}

#[test]
fn a_writer_that_fails_starts_over_and_loses_nothing() {
    let bench = Bench::new();
    let away = bench.dir.with_extension("away");
    std::fs::rename(&bench.dir, &away).unwrap();
    bench.add(A, 1, 1, body("word"));
    bench.index().advance(A, 1).unwrap();
    assert_eq!(bench.words(A, "word"), [1]);
    std::thread::sleep(Duration::from_millis(120));
    std::fs::rename(&away, &bench.dir).unwrap();
    bench.index().flush().unwrap();
    assert_eq!(bench.index().stats().committed_messages, 1);
    assert_eq!((bench.words(A, "word"), bench.index().indexed_modseq(A)), (vec![1], 1));
}

#[test]
fn a_writer_that_goes_on_failing_gives_up_and_the_next_start_rebuilds() {
    let mut bench = Bench::new();
    let away = bench.dir.with_extension("away");
    std::fs::rename(&bench.dir, &away).unwrap();
    std::fs::write(&bench.dir, "in the way").unwrap();
    bench.add(A, 1, 1, body("word"));
    assert!(matches!(bench.index().flush(), Err(SearchError::Failed(_))));
    assert!(bench.index().stats().failed);
    let query = text(Field::Text, "word");
    assert!(matches!(bench.index().search(A, &query), Err(SearchError::Failed(_))));
    assert!(matches!(bench.index().remove(A, EmailId(1)), Err(SearchError::Failed(_))));
    bench.index = None;
    std::fs::remove_file(&bench.dir).unwrap();
    std::fs::rename(&away, &bench.dir).unwrap();
    std::fs::write(bench.dir.join(index::DISTRUST), "").unwrap();
    assert!(bench.reopen(STORE));
}

#[test]
fn a_full_tail_makes_intake_wait_and_nothing_is_lost() {
    let bench = Bench::new();
    let count = 3 * crate::types::limits::TAIL_MESSAGES_MAX as u32;
    for email in 0..count {
        bench.add(A, email, i64::from(email), body("word"));
        assert!(bench.index().stats().tail_messages <= crate::types::limits::TAIL_MESSAGES_MAX);
    }
    assert_eq!(bench.words(A, "word"), (0..count).rev().collect::<Vec<_>>());
    bench.index().flush().unwrap();
    assert_eq!(bench.words(A, "word"), (0..count).rev().collect::<Vec<_>>());
}

#[test]
fn accounts_with_the_same_words_and_dates_stay_apart_in_one_segment() {
    let bench = Bench::new();
    for email in 0..300u32 {
        bench.add(AccountId(1 + email % 3), email, i64::from(email * 7919 % 50), body("same words"));
    }
    bench.index().flush().unwrap();
    for account in 1..4 {
        let found = bench.words(AccountId(account), "same words");
        let mut expected: Vec<u32> = (0..300).filter(|email| 1 + email % 3 == account).collect();
        expected.sort_by_key(|&email| std::cmp::Reverse((email * 7919 % 50, email)));
        assert_eq!(found, expected);
    }
}

/// What happens in the model.
#[derive(Clone, Debug)]
enum Act {
    Add {
        account: u32,
        date: i64,
        words: Vec<u8>,
    },
    /// One of those that are there.
    Remove {
        pick: usize,
    },
    RemoveAccount {
        account: u32,
    },
    Advance {
        account: u32,
    },
    Flush,
    Reopen,
    Crash,
    Search {
        account: u32,
        query: Ask,
    },
}

#[derive(Clone, Debug)]
enum Ask {
    Word(u8),
    Both(u8, u8),
    Either(u8, u8),
    Without(u8, u8),
    Phrase(u8, u8),
    NotPhrase(u8, u8),
    Prefix(u8),
}

fn word(number: u8) -> String {
    format!("{}{}", ["ka", "lo", "mi"][usize::from(number % 3)], number / 3)
}

impl Ask {
    fn query(&self) -> TextQuery {
        let one = |number: u8| text(Field::Text, &word(number));
        match *self {
            Ask::Word(a) => one(a),
            Ask::Both(a, b) => text(Field::Body, &format!("{} {}", word(a), word(b))),
            Ask::Either(a, b) => TextQuery::Or(vec![one(a), one(b)]),
            Ask::Without(a, b) => TextQuery::And(vec![one(a), TextQuery::Not(vec![one(b)])]),
            Ask::Phrase(a, b) => text(Field::Text, &format!("\"{} {}\"", word(a), word(b))),
            Ask::NotPhrase(a, b) => TextQuery::Not(vec![Ask::Phrase(a, b).query()]),
            Ask::Prefix(a) => text(Field::Text, &format!("{}*", &word(a)[..2])),
        }
    }

    /// The plain scan: knows nothing of terms.
    fn accepts(&self, words: &[u8]) -> bool {
        let has = |number: &u8| words.contains(number);
        match self {
            Ask::Word(a) => has(a),
            Ask::Both(a, b) => has(a) && has(b),
            Ask::Either(a, b) => has(a) || has(b),
            Ask::Without(a, b) => has(a) && !has(b),
            Ask::Phrase(a, b) => words.windows(2).any(|pair| pair == [*a, *b]),
            Ask::NotPhrase(a, b) => !words.windows(2).any(|pair| pair == [*a, *b]),
            Ask::Prefix(a) => words.iter().any(|number| number % 3 == a % 3),
        }
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let number = || 0..12u8;
    prop_oneof![
        number().prop_map(Ask::Word),
        (number(), number()).prop_map(|(a, b)| Ask::Both(a, b)),
        (number(), number()).prop_map(|(a, b)| Ask::Either(a, b)),
        (number(), number()).prop_map(|(a, b)| Ask::Without(a, b)),
        (number(), number()).prop_map(|(a, b)| Ask::Phrase(a, b)),
        (number(), number()).prop_map(|(a, b)| Ask::NotPhrase(a, b)),
        number().prop_map(Ask::Prefix),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let account = || 1..3u32;
    prop_oneof![
        12 => (account(), 0..6i64, prop::collection::vec(0..12u8, 0..8))
            .prop_map(|(account, date, words)| Act::Add { account, date, words }),
        4 => any::<usize>().prop_map(|pick| Act::Remove { pick }),
        1 => account().prop_map(|account| Act::RemoveAccount { account }),
        3 => account().prop_map(|account| Act::Advance { account }),
        2 => Just(Act::Flush),
        1 => Just(Act::Reopen),
        1 => Just(Act::Crash),
        10 => (account(), ask()).prop_map(|(account, query)| Act::Search { account, query }),
    ]
}

/// What the store would know: the messages, and the changes of each account in order.
#[derive(Default)]
struct Model {
    messages: BTreeMap<(u32, u32), (i64, Vec<u8>)>,
    changes: BTreeMap<u32, Vec<(u64, u32)>>,
    next_email: u32,
    modseq: u64,
}

impl Model {
    fn act(&mut self, bench: &mut Bench, act: &Act) {
        match act {
            Act::Add { account, date, words } => {
                self.next_email += 1;
                self.messages.insert((*account, self.next_email), (*date, words.clone()));
                self.change(*account, self.next_email);
                self.feed(bench, *account, self.next_email);
            }
            Act::Remove { pick } => {
                let there = self.messages.len().max(1);
                let Some((&(account, email), _)) = self.messages.iter().nth(pick % there) else { return };
                self.messages.remove(&(account, email));
                self.change(account, email);
                self.feed(bench, account, email);
            }
            Act::RemoveAccount { account } => {
                self.messages.retain(|(owner, _), _| owner != account);
                self.changes.remove(account);
                bench.index().remove_account(AccountId(*account)).unwrap();
                bench.index().flush().unwrap();
            }
            Act::Advance { account } => bench.index().advance(AccountId(*account), self.modseq).unwrap(),
            Act::Flush => bench.index().flush().unwrap(),
            Act::Reopen => assert!(!bench.reopen(STORE)),
            Act::Crash => self.crash(bench),
            Act::Search { account, query } => self.compare(bench, *account, query),
        }
    }

    fn change(&mut self, account: u32, email: u32) {
        self.modseq += 1;
        self.changes.entry(account).or_default().push((self.modseq, email));
    }

    fn feed(&self, bench: &Bench, account: u32, email: u32) {
        match self.messages.get(&(account, email)) {
            Some((date, words)) => {
                let words: Vec<String> = words.iter().map(|&number| word(number)).collect();
                bench.add(AccountId(account), email, *date, body(&words.join(" ")));
            }
            None => bench.index().remove(AccountId(account), EmailId(email)).unwrap(),
        }
    }

    /// Goes on with the files of the last commit alone, as after a kill, and feeds what is missing.
    fn crash(&self, bench: &mut Bench) {
        let copy = bench.dir.with_extension("copy");
        std::fs::create_dir_all(&copy).unwrap();
        let positions = bench.index().link_committed_files(&copy).unwrap();
        bench.index = None;
        std::fs::remove_dir_all(&bench.dir).unwrap();
        std::fs::rename(&copy, &bench.dir).unwrap();
        assert!(!bench.reopen(STORE));
        for (&account, changes) in &self.changes {
            let position = bench.index().indexed_modseq(AccountId(account));
            assert_eq!(position, positions.get(&AccountId(account)).copied().unwrap_or(0));
            for &(_, email) in changes.iter().filter(|(modseq, _)| *modseq > position) {
                self.feed(bench, account, email);
            }
            bench.index().advance(AccountId(account), self.modseq).unwrap();
        }
    }

    fn compare(&self, bench: &Bench, account: u32, ask: &Ask) {
        let query = ask.query();
        let mut emails: Vec<EmailId> =
            bench.index().search(AccountId(account), &query).unwrap().map(|hit| hit.unwrap().email).collect();
        emails.sort_unstable();
        let unordered = bench.index().search(AccountId(account), &query).unwrap().into_emails().unwrap();
        assert_eq!(unordered, emails);
        let found: Vec<(i64, u32)> = bench
            .index()
            .search(AccountId(account), &query)
            .unwrap()
            .map(|hit| hit.map(|hit| (hit.received_at.0, hit.email.0)).unwrap())
            .filter(|(_, email)| !query.must_verify() || self.verify(account, *email, &query))
            .collect();
        let mut expected: Vec<(i64, u32)> = self
            .messages
            .iter()
            .filter(|((owner, _), (_, words))| *owner == account && ask.accepts(words))
            .map(|(&(_, email), &(date, _))| (date, email))
            .collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, expected, "{ask:?} in {account}");
    }

    fn verify(&self, account: u32, email: u32, query: &TextQuery) -> bool {
        let words: Vec<String> =
            self.messages[&(account, email)].1.iter().map(|&number| word(number)).collect();
        query.matches(&body(&words.join(" ")))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn a_search_finds_what_a_plain_scan_finds_whatever_happened(acts in prop::collection::vec(act(), 1..80)) {
        let mut bench = Bench::new();
        let mut model = Model::default();
        for act in &acts {
            model.act(&mut bench, act);
        }
        for account in 1..3 {
            for number in 0..12 {
                model.compare(&bench, account, &Ask::Word(number));
            }
        }
    }
}
