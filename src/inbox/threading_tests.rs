//! Which conversation a message joins, as a table: each case is a list of messages, and the letters of
//! their conversations.
//!
//! ```text
//! KIND | who | subject | own id | what it refers to | more
//! ```
//!
//! `in` came in from `who`; `out` we sent to `who`; `many` we sent to `who` and eleven others; `old` was
//! imported. Ids: `1` is `<1@c.example>`, `K1` one that this server made, `F1` one that looks so.
//! References are ids in the order of the field; the last one is In-Reply-To as well, unless they
//! begin with `>`. More: `cc:NAME`, `to:NAME`, `reply:NAME`, `auto`, `spam`, `dmarc:RESULT`, `ti:N`
//! (Outlook's Thread-Index), `tag:TAG`. A letter is followed by `!` where the sender is a stranger there.

use super::desk::{Desk, PersonName, Staff};
use super::intake::{self, Arrival, Brought};
use super::machine::{Actor, Roster};
use super::sending::{self, Order, TeamOrder};
use crate::auth::Directory;
use crate::mail::authentication::TrustRules;
use crate::mail::keyed::WireKeys;
use crate::mail::{ingest, mailbox};
use crate::store::rows::mail::{EmailRow, EvidenceRow};
use crate::store::rows::submission::{Delivered, Recipient};
use crate::store::rows::team::{Cause, ConversationRow};
use crate::store::{Read, Row, Store, StoreOptions};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const INBOX: AccountId = AccountId(1);
const ANN: PrincipalId = PrincipalId(1);

type Case = (&'static str, &'static [&'static str], &'static str);

const CASES: &[Case] = &[
    // What it refers to.
    ("one message begins one", &["in|marta|Hello|1"], "A"),
    ("In-Reply-To joins", &["in|marta|Hello|1", "in|marta|Re: Hello|2|1"], "AA"),
    ("References alone join", &["in|marta|Hello|1", "in|marta|Re: Hello|2|>1"], "AA"),
    (
        "an ancestor joins where the parent is unknown",
        &["in|marta|Hello|1", "in|marta|Re: Hello|2|1 9"],
        "AA",
    ),
    (
        "the parent wins over an ancestor",
        &["in|marta|One|1", "in|marta|Two|2", "in|marta|Re: Two|3|1 2"],
        "ABB",
    ),
    ("the subject may change", &["in|marta|Hello|1", "in|marta|Goodbye|2|1"], "AA"),
    ("a broken id joins nothing", &["in|marta|Hello|1", "in|marta|Re: Hello|2|?"], "AB"),
    ("a chain of three", &["in|marta|Hello|1", "in|marta|Re: Hello|2|1", "in|marta|Re: Hello|3|1 2"], "AAA"),
    ("two answers to one", &["in|marta|Hello|1", "in|marta|Re: Hello|2|1", "in|marta|Re: Hello|3|1"], "AAA"),
    ("an unknown reference begins one", &["in|marta|Re: Hello|2|77"], "A"),
    (
        "references reach through our answer",
        &["in|marta|Hello|1", "out|marta|Re: Hello|o|1", "in|marta|Re: Hello|3|1 o"],
        "AAA",
    ),
    (
        "our answer alone is enough",
        &["in|marta|Hello|1", "out|marta|Re: Hello|o|1", "in|marta|Re: Hello|3|o"],
        "AAA",
    ),
    ("we write first", &["out|marta|Offer|o", "in|marta|Re: Offer|2|o"], "AA"),
    (
        "two of ours to one person stay two",
        &["out|marta|Offer|o", "out|marta|Bill|p", "in|marta|Re: Bill|2|p"],
        "ABB",
    ),
    ("an old message that was imported is followed", &["old|marta|Hello|1", "in|marta|Re: Hello|2|1"], "AA"),
    // Ids of ours.
    (
        "an id that we made joins",
        &["in|marta|Hello|1", "out|marta|Re: Hello|K1|1", "in|marta|Re: Hello|3|K1"],
        "AAA",
    ),
    ("a forged id of ours joins nothing", &["in|marta|Hello|F1", "in|eve|Re: Hello|2|F1"], "AB"),
    (
        "a forged id beside a true one doesn't matter",
        &["in|marta|Hello|1", "in|marta|Re: Hello|2|1 F1"],
        "AA",
    ),
    ("an id of ours whose message is gone begins one", &["in|marta|Re: Hello|2|K9"], "A"),
    ("a forged id doesn't lend its subject", &["in|marta|Hello|1|F1", "in|eve|Hello|2|F1"], "AB"),
    // Subjects.
    ("an equal subject joins nothing", &["in|marta|Hello|1", "in|marta|Hello|2"], "AB"),
    ("Re: and an equal subject join nothing", &["in|marta|Hello|1", "in|marta|Re: Hello|2"], "AB"),
    ("a stranger with an equal subject begins one", &["in|marta|Hello|1", "in|eve|Re: Hello|2"], "AB"),
    (
        "a ticket number in the subject joins nothing",
        &["in|marta|[#7] Hello|1", "in|eve|Re: [#7] Hello|2"],
        "AB",
    ),
    ("an empty subject joins nothing", &["in|marta||1", "in|marta||2"], "AB"),
    // Strangers.
    ("a stranger who answers joins flagged", &["in|marta|Hello|1", "in|eve|Re: Hello|2|1"], "AA!"),
    (
        "a known person isn't flagged",
        &["in|marta|Hello|1", "in|marta|Re: Hello|2|1", "in|marta|Re: Hello|3|2"],
        "AAA",
    ),
    ("who was in Cc isn't a stranger", &["in|marta|Hello|1||cc:sven", "in|sven|Re: Hello|2|1"], "AA"),
    ("who got a blind copy joins flagged", &["in|marta|Hello|1", "in|bea|Re: Hello|2|1"], "AA!"),
    (
        "whom a copy went to is no part of the request, and joins flagged",
        &["in|marta|Hello|1", "out|sven|Re: Hello|o|1", "in|sven|Re: Hello|3|o"],
        "AAA!",
    ),
    (
        "a stranger is known from then on",
        &["in|marta|Hello|1", "in|eve|Re: Hello|2|1", "in|eve|Re: Hello|3|2"],
        "AA!A",
    ),
    ("case doesn't make a stranger", &["in|marta|Hello|1", "in|MARTA|Re: Hello|2|1"], "AA"),
    // An ancestor that never came here.
    (
        "two answers to an unseen message share a conversation among who takes part",
        &["in|marta|Re: Hello|1|77|cc:sven", "in|sven|Re: Hello|2|77"],
        "AA",
    ),
    (
        "the same person twice about an unseen message",
        &["in|marta|Re: Hello|1|77", "in|marta|Re: Hello|2|77"],
        "AA",
    ),
    ("whom it is to counts as well", &["in|marta|Re: Hello|1|77", "in|sven|Re: Hello|2|77|to:marta"], "AA!"),
    (
        "a copied person opens no second one",
        &["in|marta|Re: Hello|1|77|cc:sven", "in|sven|Re: Hello|2|77 1|cc:marta"],
        "AA",
    ),
    (
        "strangers who share an unseen id stay apart",
        &["in|marta|Re: Hello|1|77", "in|eve|Re: Hello|2|77"],
        "AB",
    ),
    (
        "another subject about an unseen message stays apart",
        &["in|marta|Re: Hello|1|77", "in|marta|Bill|2|77"],
        "AB",
    ),
    ("the original after its answer", &["in|sven|Re: Hello|2|1|cc:marta", "in|marta|Hello|1"], "AA"),
    ("the original of strangers after its answer", &["in|eve|Re: Hello|2|1", "in|marta|Hello|1"], "AB"),
    // Robots and newsletters.
    (
        "a robot's constant reference keeps its customers apart",
        &["in|shop|New order|1|const|auto reply:marta", "in|shop|New order|2|const|auto reply:sven"],
        "AB",
    ),
    (
        "and holds one customer's together",
        &["in|shop|New order|1|const|auto reply:marta", "in|shop|New order|2|const|auto"],
        "AA",
    ),
    ("a constant Message-ID of two people", &["in|marta|Form|same", "in|eve|Form|same"], "AB"),
    ("a constant Message-ID of one person", &["in|marta|Form|same", "in|marta|Form|same|"], "AA"),
    (
        "newsletters that share an id and not the subject",
        &["in|news|May|same|auto", "in|news|June|same|auto"],
        "AB",
    ),
    (
        "an absent person's answer joins what it answers",
        &["out|marta|Offer|o", "in|marta|Away|2|o|auto"],
        "AA",
    ),
    (
        "spam that answers joins and reopens nothing",
        &["in|marta|Hello|1", "in|eve|Re: Hello|2|1|spam"],
        "AA!",
    ),
    ("spam begins its own", &["in|eve|Win|1||spam", "in|eve|Win|2||spam"], "AB"),
    // One to many.
    (
        "answers to one of ours to many are each their own",
        &["many|list|News|m", "in|marta|Re: News|1|m", "in|sven|Re: News|2|m"],
        "ABC",
    ),
    (
        "a second answer of the same person joins the first",
        &["many|list|News|m", "in|marta|Re: News|1|m", "in|marta|Re: News|2|m"],
        "ABB",
    ),
    (
        "our answer to one of them goes on there",
        &[
            "many|list|News|m",
            "in|marta|Re: News|1|m",
            "out|marta|Re: News|o|m 1",
            "in|marta|Re: News|2|m 1 o",
        ],
        "ABBB",
    ),
    (
        "another person's answer to it stays out",
        &["many|list|News|m", "in|marta|Re: News|1|m", "in|sven|Re: News|2|m", "in|marta|Re: News|3|m 1"],
        "ABCB",
    ),
    (
        "one to a few is one conversation",
        &["out|marta|News|m||cc:sven", "in|marta|Re: News|1|m", "in|sven|Re: News|2|m"],
        "AAA",
    ),
    // Outlook.
    ("Thread-Index joins who takes part", &["in|marta|Hello|1||ti:1", "in|marta|Re: Hello|2||ti:1"], "AA"),
    ("Thread-Index of somebody else doesn't", &["in|marta|Hello|1||ti:1", "in|eve|Re: Hello|2||ti:1"], "AB"),
    ("Thread-Index with another subject doesn't", &["in|marta|Hello|1||ti:1", "in|marta|Bill|2||ti:1"], "AB"),
    ("another Thread-Index doesn't", &["in|marta|Hello|1||ti:1", "in|marta|Re: Hello|2||ti:2"], "AB"),
    (
        "a reference wins over Thread-Index",
        &["in|marta|Hello|1||ti:1", "in|marta|Hello|2", "in|marta|Re: Hello|3|2|ti:1"],
        "ABB",
    ),
    (
        "a copied person with Thread-Index",
        &["in|marta|Hello|1||ti:1 cc:sven", "in|sven|Re: Hello|2||ti:1"],
        "AA",
    ),
    // What the gateway found.
    ("a From that fails joins", &["in|marta|Hello|1", "in|marta|Re: Hello|2|1|dmarc:fail"], "AA"),
    ("a From that holds joins", &["in|marta|Hello|1", "in|marta|Re: Hello|2|1|dmarc:pass"], "AA"),
    (
        "a colleague's proven mail is internal and joins",
        &["in|marta|Hello|1", "in|ann|Re: Hello|2|1|dmarc:pass"],
        "AA!",
    ),
    // Coming back.
    ("our own message that comes back is no second one", &["out|marta|Offer|o", "in|support|Offer|o"], "AA"),
    ("somebody else's with our id is one of its own", &["out|marta|Offer|o", "in|eve|Offer|o"], "AB"),
    // Tags.
    ("a tag joins nothing", &["in|marta|Hello|1||tag:billing", "in|sven|Hello|2||tag:billing"], "AB"),
];

struct Office {
    store: Arc<Store>,
    staff: Staff,
    keys: WireKeys,
    letters: BTreeMap<ConversationId, char>,
}

impl Office {
    fn new() -> Self {
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        let clock = Clock::manual(Millis(1_790_000_000_000));
        let store = Store::in_memory(options, clock, Random::seeded(1)).unwrap();
        Directory::open(&store).unwrap();
        let locked = store.lock_blocking(&[INBOX]);
        let mut txn = store.begin(&locked);
        mailbox::create_defaults(&mut txn, INBOX, true).unwrap();
        let person = PersonName { name: "Ann".into(), email: address("ann") };
        let staff = Staff {
            roster: Roster { members: BTreeMap::from([(ANN, MemberRole::Agent)]), ..Roster::default() },
            names: BTreeMap::from([(ANN, person)]),
            addresses: vec![address("support")],
            ..Staff::default()
        };
        Desk::open(&mut txn, INBOX, Actor::System(Cause::User), &staff).unwrap().keep_mailboxes().unwrap();
        txn.commit().unwrap();
        drop(locked);
        let keys = WireKeys::load(&store.snapshot()).unwrap();
        Self { store, staff, keys, letters: BTreeMap::new() }
    }

    fn id(&self, name: &str) -> String {
        let made =
            |seed: &str| self.keys.message_id(&Random::seeded(seed.parse().unwrap()), "mail.x.example");
        match name.split_at_checked(1) {
            Some(("K", seed)) if !seed.is_empty() => made(seed),
            Some(("F", seed)) if !seed.is_empty() => {
                let id = made(seed);
                let other = if id.starts_with('a') { "b" } else { "a" };
                format!("{other}{}", &id[1..])
            }
            _ => format!("{name}@c.example"),
        }
    }

    fn raw(&self, step: &[&str]) -> String {
        let [kind, who, subject, id, rest @ ..] = step else { panic!("{step:?}") };
        let (refs, more) = (rest.first().unwrap_or(&""), rest.get(1).unwrap_or(&""));
        let (from, to) = if *kind == "in" || *kind == "old" { (*who, "support") } else { ("support", *who) };
        let mut out = format!("From: {}\r\nTo: {}\r\nSubject: {subject}\r\n", address(from), address(to));
        out += &format!("Message-ID: <{}>\r\n", self.id(id));
        let ids: Vec<String> =
            refs.trim_start_matches('>').split_whitespace().map(|id| format!("<{}>", self.id(id))).collect();
        if *refs == "?" {
            out += "In-Reply-To: what you wrote\r\n";
        } else if !ids.is_empty() {
            out += &format!("References: {}\r\n", ids.join(" "));
            if !refs.starts_with('>') {
                out += &format!("In-Reply-To: {}\r\n", ids[ids.len() - 1]);
            }
        }
        for word in more.split_whitespace() {
            out += &match word.split_once(':').unwrap_or((word, "")) {
                ("cc", name) => format!("Cc: {}\r\n", address(name)),
                ("to", name) => format!("Cc: {}\r\n", address(name)),
                ("reply", name) => format!("Reply-To: {}\r\n", address(name)),
                ("auto", _) => "Auto-Submitted: auto-generated\r\n".to_owned(),
                ("spam", _) => "X-Spam-Flag: YES\r\n".to_owned(),
                ("dmarc", result) => format!("Authentication-Results: gw; dmarc={result}\r\n"),
                ("ti", number) => format!("Thread-Index: {}\r\n", number.repeat(40)),
                ("tag", _) => String::new(),
                other => panic!("{other:?}"),
            };
        }
        out + "\r\nText of " + id + ".\r\n"
    }

    /// Does one step; gives the letter of its conversation.
    fn step(&mut self, step: &str) -> String {
        let parts: Vec<&str> = step.split('|').collect();
        let raw = self.raw(&parts);
        let rules = TrustRules {
            authserv_ids: vec!["gw".to_owned()],
            spam_fields: vec![("X-Spam-Flag".to_owned(), "YES".to_owned())],
        };
        let mut prepared = ingest::prepare(raw.as_bytes(), false).unwrap();
        prepared.trust = rules.read(&prepared.message, true);
        let locked = self.store.lock_blocking(&[INBOX]);
        let mut txn = self.store.begin(&locked);
        let sends = matches!(parts[0], "out" | "many");
        let actor = match sends {
            true => Actor::Member { principal: ANN, role: MemberRole::Agent },
            false => Actor::System(Cause::Mail),
        };
        let mut desk = Desk::open(&mut txn, INBOX, actor, &self.staff).unwrap();
        let more = parts.get(5).copied().unwrap_or_default();
        let email = match parts[0] {
            "in" => {
                let from = address(parts[1]);
                let tags = more.split_whitespace().filter_map(|word| word.strip_prefix("tag:"));
                let tags: Vec<String> = tags.map(str::to_owned).collect();
                let at = desk.now;
                let arrival =
                    Arrival { mail_from: Some(&from), prefix: b"", at, returned: None, tags: &tags };
                intake::deliver_inbox(&mut desk, &prepared, &arrival).unwrap().email
            }
            "old" => bring(&mut desk, &prepared, &[]),
            _ => {
                let email = bring(&mut desk, &prepared, &[Keyword::DRAFT]);
                submit(&mut desk, email, &parts, more);
                email
            }
        };
        txn.commit().unwrap();
        drop(locked);
        self.letter(email)
    }

    fn letter(&mut self, email: EmailId) -> String {
        let snapshot = self.store.snapshot();
        let read: &dyn Read = &snapshot;
        let row: EmailRow = read.row(INBOX, email).unwrap().unwrap();
        let evidence: Option<EvidenceRow> = read.row(INBOX, email).unwrap();
        let next = char::from(b'A' + self.letters.len() as u8);
        let letter = *self.letters.entry(row.conversation.unwrap()).or_insert(next);
        let stranger = evidence.is_some_and(|evidence| evidence.stranger);
        format!("{letter}{}", if stranger { "!" } else { "" })
    }
}

fn address(name: &str) -> Address {
    let domain = if name == "support" || name == "ann" { "x.example" } else { "c.example" };
    Address::parse(&format!("{name}@{domain}")).unwrap()
}

fn bring(desk: &mut Desk<'_, '_>, prepared: &ingest::Prepared, keywords: &[&str]) -> EmailId {
    let role = if keywords.is_empty() { MailboxRole::Archive } else { MailboxRole::Drafts };
    let mailbox = mailbox::roles(desk.read(), INBOX).unwrap().with_role(role).unwrap();
    let brought = Brought {
        mailboxes: BTreeSet::from([mailbox]),
        keywords: keywords.iter().filter_map(|word| Keyword::parse(word)).collect(),
        received_at: desk.now.date(),
        trace: Vec::new(),
    };
    intake::bring_inbox(desk, prepared, brought).unwrap().email
}

fn submit(desk: &mut Desk<'_, '_>, email: EmailId, parts: &[&str], more: &str) {
    let mut to = vec![address(parts[1])];
    to.extend(more.split_whitespace().filter_map(|word| word.strip_prefix("cc:")).map(address));
    if parts[0] == "many" {
        to = ["marta", "sven"].map(address).to_vec();
        to.extend((0..10).map(|n| address(&format!("n{n}"))));
    }
    let recipient = |address| Recipient {
        address,
        parameters: Vec::new(),
        smtp_reply: None,
        delivered: Delivered::Queued,
        settled: false,
    };
    let order = Order {
        email,
        identity: IdentityId(1),
        mail_from: Some(address("support")),
        mail_from_parameters: Vec::new(),
        recipients: to.into_iter().map(recipient).collect(),
        sender: ANN,
        idempotency_key: None,
        release_at: None,
    };
    let submitted = sending::submit_inbox(desk, &order, &TeamOrder::default());
    assert!(submitted.is_ok_and(|submitted| !submitted.repeated), "{parts:?}");
}

#[test]
fn each_message_joins_the_conversation_that_it_belongs_to() {
    assert!(CASES.len() >= 60, "{} cases", CASES.len());
    let mut wrong = Vec::new();
    for (name, steps, expected) in CASES {
        let mut office = Office::new();
        let got: String = steps.iter().map(|step| office.step(step)).collect();
        if got != *expected {
            wrong.push(format!("{name}: {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

/// The others are named, so that a client can offer a merge.
#[test]
fn a_message_that_bridges_conversations_joins_one_and_names_the_others() {
    type Bridge = (&'static [&'static str], &'static str, &'static [u32]);
    let cases: &[Bridge] = &[
        (&["in|marta|One|1", "in|marta|Two|2", "in|marta|Re: Two|3|1 2"], "ABB", &[1]),
        (
            &["in|marta|One|1", "in|marta|Two|2", "in|marta|Six|3", "in|marta|Re: Six|4|1 2 3"],
            "ABCC",
            &[1, 2],
        ),
        // Its own conversation, an unknown id and a forged one are no bridge.
        (&["in|marta|One|1", "in|marta|Re: One|2|1", "in|marta|Re: One|3|1 2 77 F1"], "AAA", &[]),
        // Each answer to one of ours to many is apart from it on purpose.
        (&["many|list|News|m", "in|marta|Re: News|1|m", "in|marta|Re: News|2|m 1"], "ABB", &[]),
        (&["in|marta|One|1"], "A", &[]),
    ];
    for (steps, letters, others) in cases {
        let mut office = Office::new();
        let got: String = steps.iter().map(|step| office.step(step)).collect();
        let last = EmailId(steps.len() as u32);
        let evidence: EvidenceRow =
            (&office.store.snapshot() as &dyn Read).row(INBOX, last).unwrap().unwrap();
        let also: Vec<u32> = evidence.also.iter().map(|id| id.0).collect();
        assert_eq!((got.as_str(), also.as_slice()), (*letters, *others), "{steps:?}");
    }
}

/// However many have referred to a message since, what has the id is found first.
#[test]
fn a_message_is_found_by_its_id_behind_very_many_that_refer_to_it() {
    let mut office = Office::new();
    assert_eq!(office.step("in|marta|Hello|1"), "A");
    for number in 0..40 {
        assert_eq!(office.step(&format!("in|marta|Re: Hello|2{number}|1|auto")), "A");
    }
    assert_eq!(office.step("in|eve|Something else|90|1"), "A!");
    // Each answer to one of ours to many is its own, the thirty-fourth, too, whoever else had a copy.
    let mut office = Office::new();
    let news = office.step("many|list|News|m");
    let mut seen = BTreeSet::from([news]);
    for number in 0..34 {
        assert!(
            seen.insert(office.step(&format!("in|c{number}|Re: News|3{number}|m|cc:partner"))),
            "{number}"
        );
    }
}

/// All messages of a conversation move in one commit.
#[test]
fn what_comes_to_a_full_conversation_begins_one_that_follows_it() {
    let mut office = Office::new();
    assert_eq!(office.step("in|marta|Hello|1"), "A");
    let (store, full) = (Arc::clone(&office.store), ConversationId(1));
    let locked = store.lock_blocking(&[INBOX]);
    let mut txn = store.begin(&locked);
    let row: ConversationRow = (&txn as &dyn Read).row(INBOX, full).unwrap().unwrap();
    let row = ConversationRow { message_count: limits::CONVERSATION_MESSAGES_MAX - 1, ..row };
    txn.put_at(ConversationRow::key(INBOX, full), &row).unwrap();
    txn.commit().unwrap();
    drop(locked);
    let steps = [
        "in|marta|Re: Hello|2|1",
        "in|marta|Re: Hello|3|1",
        "old|marta|Re: Hello|4|1",
        "in|marta|Re: Hello|5|3",
    ];
    assert_eq!(steps.map(|step| office.step(step)).concat(), "ABCB");
    let next: ConversationRow =
        (&store.snapshot() as &dyn Read).row(INBOX, ConversationId(2)).unwrap().unwrap();
    assert_eq!(next.previous, Some(full));
    // A draft is for whom it answers.
    assert_eq!(office.step("out|marta|Re: Hello|o|1"), "A");
}
