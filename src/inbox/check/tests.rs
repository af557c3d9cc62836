//! A team's day is clean; and whatever row is then missing, doubled or false, that is told, and
//! nothing else.

use super::*;
use crate::inbox::admin::AdminRequest;
use crate::inbox::admin_list::ListRequest;
use crate::inbox::change::Change;
use crate::inbox::desk;
use crate::inbox::lists;
use crate::inbox::lock::Ask;
use crate::inbox::machine::{Event, Expect};
use crate::inbox::notes::Text;
use crate::inbox::sending::Submitted;
use crate::inbox::support::{House, START, address, ask};
use crate::mail::{blob, identity, indexer, message, outbound, quota, viewer};
use crate::store::changes::TypeStates;
use crate::store::check::kinds;
use crate::store::list::{self, List, Place};
use crate::store::rows::account::AccountState;
use crate::store::rows::directory::*;
use crate::store::rows::mail::*;
use crate::store::rows::push::*;
use crate::store::rows::quota::{QuotaLimit, QuotaLimitsRow, UsageRow};
use crate::store::rows::submission::*;
use crate::store::rows::team::*;
use crate::store::rows::vacation::{VacationAnsweredRow, VacationRow};
use crate::store::rows::viewer::{ViewerCountsRow, ViewerStateRow, ViewersRow};
use crate::store::sweep::Retention;
use crate::store::uploads::{self, UploadRow};
use crate::store::{PreparedBlob, Read, Txn};

/// A house in which everything that is stored is there at least once.
struct Day {
    list: AccountId,
    house: House,
    /// An attachment of the note.
    file: BlobHash,
    /// On its way, and no object any more.
    detached: SubmissionId,
    scheduled: Submitted,
    lock: LockId,
}

const OPEN: ConversationId = ConversationId(1);
const SNOOZED: ConversationId = ConversationId(2);
const UNTIL: Millis = Millis(START.0 + 86_400_000);
const DIRECTORY: AccountId = AccountId::DIRECTORY;

fn day() -> Day {
    let house = House::new();
    house.deliver(&["support@x.example", "ann@x.example"], "first", "");
    house.deliver(&["support@x.example"], "second", "References: <other@c.example>\r\n");
    let file = PreparedBlob::of(b"a file").unwrap();
    let lock = work_of_bob(&house, &file);
    let reply = |n: u32, to: &str| {
        format!(
            "From: support@x.example\r\nTo: carl@c.example\r\nSubject: {n}\r\nMessage-ID: <{n}@x.example>\r\nIn-Reply-To: <{to}@c.example>\r\n\r\nAnswer {n}\r\n"
        )
    };
    let sent = house.send(house.draft(&reply(1, "none")), None);
    let scheduled = house.send(house.draft(&reply(2, "nothing")), Some(UNTIL));
    let other = house.send(house.draft(&reply(3, "nobody")), None);
    rows_by_hand(&house, &file, (&sent, &other));
    house.deliver(&["support@x.example"], "third", "");
    house.at_desk(house.bob, MemberRole::Agent, |desk| {
        let third: EmailRow = row(desk.txn, desk.account, EmailId(6));
        desk.merge(third.conversation.unwrap(), OPEN, Expect::default())
    });
    let list = directory_by_hand(&house);
    house.at_desk(house.ann, MemberRole::Admin, |desk| {
        let settings = InboxSettingsRow { notes_as_memos: true, ..desk.settings.clone() };
        desk.set_settings(settings, "notesAsMemos")
    });
    crate::inbox::sweep::run(&house.server.store, &house.server.directory.current(), Retention::default())
        .unwrap();
    Day { file: file.hash, detached: other.id, scheduled, lock, list, house }
}

/// A note that was edited, a conversation that sleeps, and a lock.
fn work_of_bob(house: &House, file: &PreparedBlob) -> LockId {
    house.at_desk(house.bob, MemberRole::Agent, |desk| {
        desk.txn.put_blob(file)?;
        uploads::add(desk.txn, desk.account, house.bob, &file.hash, file.size)?;
        let blob = BlobId { root: BlobRoot::Content(file.hash), part: None };
        assert!(blob::exists(desk.read(), desk.account, Some(house.bob), &blob)?);
        let attachment = NoteAttachment { blob, name: None, media_type: "text/plain".into() };
        let text =
            Text { body: "Mind this".into(), mentions: vec![house.ann], attachments: vec![attachment] };
        let (note, _) = desk.create_note(OPEN, None, text.clone())?;
        desk.txn.correct(desk.account)?;
        desk.update_note(note, Text { body: "Mind this, please".into(), ..text })?;
        let change = Change {
            status: Some(Status::Snoozed),
            snoozed_until: Some(Some(UNTIL)),
            tags: Some(vec!["vip".into()]),
            ..Change::default()
        };
        desk.apply(SNOOZED, &Event::Set { change, expect: Expect::default() }, vec![])?;
        Ok(desk.acquire_lock(Ask { conversation: OPEN, seconds: None, force: false })?.0)
    })
}

/// What else an inbox and an account may have.
fn rows_by_hand(house: &House, file: &PreparedBlob, (sent, other): (&Submitted, &Submitted)) {
    house.write(house.inbox, |txn| {
        let eyes = viewer::ensure(txn, house.inbox, house.bob).unwrap();
        let before: EmailRow = row(txn, house.inbox, EmailId(1));
        let seen = Keyword::parse(Keyword::SEEN).into_iter().collect();
        let after = eyes.with_keywords(EmailId(1), &before, &seen);
        message::change(txn, house.inbox, EmailId(1), &before, &after).unwrap();
    });
    house.write(house.inbox, |txn| {
        outbound::destroy(txn, house.inbox, other.id, &other.row).unwrap();
        let reports = ReportsRow { dsns: vec![EmailId(1)], ..ReportsRow::default() };
        txn.put_at(keys::row(house.inbox, Kind::SubmissionReports, sent.id.0), &reports).unwrap();
        let note = QueueMarkRow { warned: true, ..QueueMarkRow::default() };
        txn.put_at(keys::row(house.inbox, Kind::QueueMark, sent.id.0), &note).unwrap();
        let row = identity::all(txn, house.inbox).unwrap()[0].1.clone();
        identity::write_for(txn, house.inbox, IdentityId(1), house.bob, &row).unwrap();
        let refusal = RefusalRow::Block(Block { at: START, emails: vec![] });
        let key = keys::pair(house.inbox, Kind::PlainRefusal, OPEN.0, house.bob.0);
        txn.put_at(key, &refusal).unwrap();
        let erased = keys::versioned(house.inbox, Kind::Purge, OPEN.0, 1);
        txn.put_at(erased, &vec![file.hash]).unwrap();
    });
    house.write(house.own, |txn| {
        txn.update(house.own, (), &VacationRow::default()).unwrap();
        let key = keys::named(house.own, Kind::VacationAnswered, &[7; 16]);
        txn.put_at(key, &VacationAnsweredRow { at: START }).unwrap();
        let limits = QuotaLimitsRow { octets: Some(QuotaLimit::hard(1 << 30)), messages: None };
        quota::set_limits(txn, house.own, &limits).unwrap();
    });
}

/// A password of an inbox, a push subscription, a team and a distribution list, which it gives.
fn directory_by_hand(house: &House) -> AccountId {
    let secret = crate::auth::credentials::hash(&house.server.directory.current(), "pr").unwrap_or([3; 32]);
    let inbox = Some(house.inbox);
    let password =
        CredentialRow { principal: house.bob, inbox, label: String::new(), hash: secret, created_at: START };
    house.write(DIRECTORY, |txn| {
        let id = CredentialId(txn.allot(DIRECTORY, |next| &mut next.credential).unwrap());
        txn.insert(DIRECTORY, id, &password).unwrap();
    });
    let push = PushSubscriptionRow {
        login: LoginRow { principal: house.bob, inbox: None, credential: None, password: None },
        device_client_id: "x".into(),
        url: "https://push.example/".into(),
        keys: None,
        code: String::new(),
        asked: false,
        verified: false,
        expires: UtcDate(7),
        types: None,
        position: None,
        created_at: START,
        email_push: vec![],
        mail_position: None,
    };
    house.write(DIRECTORY, |txn| {
        outbound::set_paused(txn, true).unwrap();
        txn.put_at(PushCreationsRow::key(DIRECTORY, house.bob), &PushCreationsRow::default()).unwrap();
        txn.put_at(PushSubscriptionRow::key(DIRECTORY, (house.bob, PushSubscriptionId(1))), &push).unwrap();
    });
    let team = TeamRow { name: "Two".into(), members: vec![house.bob], disabled: false, created_at: START };
    house.write(DIRECTORY, |txn| {
        let id = PrincipalId(txn.allot(DIRECTORY, |next| &mut next.principal).unwrap());
        txn.insert(DIRECTORY, id, &team).unwrap();
    });
    let (email, name, members) = ("all@x.example".into(), "All".into(), vec!["ann@x.example".into()]);
    let all = ListRequest::Add { email, name, posting: "staff".into(), owner: None, members };
    ask(&house.server, AdminRequest::List(all));
    let view = house.server.directory.current();
    let list = view.account_by_address(&address("all@x.example")).unwrap();
    house.write(list, |txn| {
        txn.allot(list, |next| &mut next.submission).unwrap();
        lists::note(txn, list, 1, lists::Fate::Failed, "550 5.1.1 nobody").unwrap();
    });
    list
}

/// What `check` says of the store with changes that are made behind the back of every floor.
fn faults(day: &Day, change: impl FnOnce(&mut Txn<'_>)) -> Vec<String> {
    let accounts = [DIRECTORY, day.house.own, day.house.inbox, day.list];
    let locked = day.house.server.store.lock_blocking(&accounts);
    let mut txn = day.house.server.store.begin(&locked);
    change(&mut txn);
    check::view(&txn, FLOORS, &mut |_| {}).unwrap().faults
}

fn row<R: Row>(txn: &Txn<'_>, account: AccountId, id: R::Id) -> R {
    (txn as &dyn Read).row(account, id).unwrap().unwrap()
}

/// Changes a stored row where it is.
fn edit<R: Row>(txn: &mut Txn<'_>, account: AccountId, id: R::Id, change: impl FnOnce(&mut R)) {
    let mut changed: R = row(txn, account, id);
    change(&mut changed);
    txn.put_at(R::key(account, id), &changed).unwrap();
}

#[test]
fn every_kind_of_row_is_checked_by_one_floor() {
    let mut claimed: Vec<u8> = FLOORS.iter().flat_map(|floor| floor.kinds).map(|kind| *kind as u8).collect();
    claimed.extend(check::OWN_KINDS.iter().map(|kind| *kind as u8));
    claimed.sort_unstable();
    let mut all: Vec<u8> = kinds::ALL.iter().map(|kind| *kind as u8).collect();
    all.sort_unstable();
    assert_eq!(claimed, all);
}

#[test]
fn a_day_of_work_is_clean_and_has_every_kind_of_row() {
    let day = day();
    let checked = run(&day.house.server.store, None, &day.house.server.directory.current(), &mut |_| {});
    assert_eq!(checked.unwrap().report.faults, Vec::<String>::new());
    let snapshot = day.house.server.store.snapshot();
    for kind in kinds::ALL {
        let in_account =
            [DIRECTORY, day.house.own, day.house.inbox, day.list].map(|account| keys::all(account, *kind));
        let somewhere = in_account.iter().chain([&keys::due_all(*kind)]).any(|range| {
            let mut found = false;
            (&snapshot as &dyn Read)
                .scan(range, false, &mut |_, _| {
                    found = true;
                    ControlFlow::Break(())
                })
                .unwrap();
            found
        });
        assert!(somewhere, "there is no row of {kind:?}, so that nothing below is shown of it");
    }
}

/// Every kind: a row that isn't readable is told of. What depended on it may be told of as well.
#[test]
fn a_row_that_cannot_be_read_is_told_and_ends_nothing() {
    let day = day();
    for kind in kinds::ALL {
        // Rows without content, and those of the whole server.
        let empty = [
            Kind::ConversationNote,
            Kind::ConversationActivity,
            Kind::SubmissionOfEmail,
            Kind::NoteMention,
            Kind::NoteEdited,
            Kind::OwnMessageId,
        ];
        if empty.contains(kind)
            || matches!(kind, Kind::Timer | Kind::Queue | Kind::QueuePaused | Kind::Format)
        {
            continue;
        }
        let told = faults(&day, |txn| {
            for account in [DIRECTORY, day.house.own, day.house.inbox, day.list] {
                let mut found = Vec::new();
                (&*txn as &dyn Read)
                    .scan(&keys::all(account, *kind), false, &mut |key, _| {
                        found.push(key.to_vec());
                        ControlFlow::Break(())
                    })
                    .unwrap();
                for key in found {
                    let key = keys::named(account, *kind, keys::last_name(&key));
                    txn.put_at(key, &()).unwrap();
                }
            }
        });
        assert!(!told.is_empty(), "an unreadable {kind:?} was not told of");
    }
}

#[test]
fn full_text_that_lacks_a_message_is_told() {
    let day = day();
    let (store, view) = (&day.house.server.store, day.house.server.directory.current());
    let home = tempfile::tempdir().unwrap();
    let opened = SearchIndex::open(&home.path().join("index"), [1; 16], store.clock.clone()).unwrap();
    let index = opened.index;
    for account in [day.house.own, day.house.inbox] {
        while indexer::catch_up(store, &index, account).unwrap() > 0 {}
    }
    let told = || run(store, Some(&index), &view, &mut |_| {}).unwrap();
    assert_eq!((told().report.faults, told().search_lag), (Vec::new(), Some(0)));
    index.remove(day.house.inbox, EmailId(1)).unwrap();
    let fault = format!("account {}: full text has 6 messages, and the account 7", day.house.inbox);
    assert_eq!(told().report.faults, [fault]);
}

type Corrupt = fn(&mut Txn<'_>, &Day);

/// Every case shows what it should, and nothing else.
#[track_caller]
fn show(day: &Day, cases: &[(Corrupt, &[&str])]) {
    let (own, inbox) = (format!("account {}", day.house.own), format!("account {}", day.house.inbox));
    let head =
        desk::activity_head(&day.house.server.store.snapshot(), day.house.inbox).unwrap().next.to_string();
    let mut told = Vec::new();
    let mut expected = Vec::new();
    for (corrupt, faults_expected) in cases {
        told.push(faults(day, |txn| corrupt(txn, day)));
        let text = |text: &&str| text.replace("OWN", &own).replace("INBOX", &inbox).replace("HEAD", &head);
        expected.push(faults_expected.iter().map(text).collect::<Vec<_>>());
    }
    assert_eq!(told, expected);
}

#[test]
fn lists_of_emails_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| txn.delete_at(keys::row(day.house.own, Kind::Message, 1)),
            &[
                "OWN: eb has no parsed message that can be read",
                "OWN: a Message-ID leads to eb, which hasn't got it",
            ],
        ),
        (
            |txn, day| {
                txn.delete_at(keys::list_entry(day.house.own, List::AllHeads, place(txn, day.house.own)))
            },
            &["OWN: AllHeads has ranks at depth 0 that don't fit its entries", "OWN: AllHeads lacks eb"],
        ),
        (
            |txn, day| {
                let place = Place { id: 9, ..place(txn, day.house.own) };
                txn.put_at(keys::list_entry(day.house.own, List::AllEmails, place), &1u32).unwrap();
            },
            &[
                "OWN: AllEmails has ranks at depth 0 that don't fit its entries",
                "OWN: AllEmails has 2 entries and should have 1",
            ],
        ),
        (
            |txn, day| {
                let place = place(txn, day.house.own);
                txn.put_at(keys::list_entry(day.house.own, List::AllEmails, place), &9u32).unwrap();
            },
            &["OWN: AllEmails has eb in another Thread than tb"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn mailboxes_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| {
                edit::<MailboxCountsRow>(txn, day.house.own, MailboxId(1), |row| row.unread_emails = 7)
            },
            &[
                "OWN: mb is counted as MailboxCountsRow { total_emails: 1, unread_emails: 7, total_threads: 1, unread_threads: 1 }, \
               and MailboxCountsRow { total_emails: 1, unread_emails: 1, total_threads: 1, unread_threads: 1 } is true",
            ],
        ),
        (
            |txn, day| txn.delete_at(keys::row(day.house.own, Kind::MailboxCounts, 2)),
            &["OWN: mc has no counts"],
        ),
        (
            |txn, day| {
                edit::<MailboxRolesRow>(txn, day.house.own, (), |row| row.roles.retain(|(_, id)| id.0 != 2))
            },
            &["OWN: mc has the role Archive, and the role doesn't lead to it"],
        ),
        (
            |txn, day| {
                edit::<MailboxRow>(txn, day.house.own, MailboxId(2), |row| row.parent = Some(MailboxId(2)))
            },
            &["OWN: mc is too deep, or below itself"],
        ),
        (
            |txn, day| edit::<MailboxRow>(txn, day.house.own, MailboxId(2), |row| row.name = "Inbox".into()),
            &["OWN: mc and mb are siblings with the same name"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn emails_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| {
                edit::<EmailRow>(txn, day.house.own, EmailId(1), |row| {
                    row.keywords.extend(Keyword::parse("$new"))
                })
            },
            &["OWN: the set of $new lacks eb (1 in all)"],
        ),
        (
            |txn, day| edit::<EmailRow>(txn, day.house.own, EmailId(1), |row| row.size += 1),
            &[
                "OWN: eb has 338 octets, and says 339",
                "OWN: its usage is kept as UsageRow { octets: 338, messages: 1 }, and UsageRow { octets: 339, messages: 1 } is true",
            ],
        ),
        (
            |txn, day| edit::<UsageRow>(txn, day.house.own, (), |row| row.messages = 4),
            &[
                "OWN: its usage is kept as UsageRow { octets: 338, messages: 4 }, and UsageRow { octets: 338, messages: 1 } is true",
            ],
        ),
        (
            |txn, day| edit::<ThreadRow>(txn, day.house.own, ThreadId(1), |row| row.emails[0].unread = false),
            &[
                "OWN: eb isn't in tb as it is",
                "OWN: mb is counted as MailboxCountsRow { total_emails: 1, unread_emails: 1, total_threads: 1, unread_threads: 1 }, \
               and MailboxCountsRow { total_emails: 1, unread_emails: 0, total_threads: 1, unread_threads: 0 } is true",
            ],
        ),
        (
            |txn, day| {
                let row = MessageIdRow { thread: ThreadId(1), subject: 0, own: true };
                txn.put_at(keys::hashed(day.house.own, Kind::MessageId, 5, 1), &row).unwrap();
            },
            &["OWN: a Message-ID leads to eb, which hasn't got it"],
        ),
        (
            |txn, day| txn.put_at(keys::hashed(day.house.own, Kind::OwnMessageId, 5, 1), &()).unwrap(),
            &["OWN: a Message-ID leads to eb, which hasn't got it"],
        ),
        (
            |txn, day| {
                let row: EmailRow = row(txn, day.house.own, EmailId(1));
                txn.delete_at(keys::blob_reference(&row.blob, day.house.own, Referrer::Email as u8, 1));
            },
            &["OWN: eb has no reference to its content"],
        ),
        (
            |txn, day| txn.put_at(keys::set_chunk(day.house.own, 77, 0), &vec![(0u8, 2u64)]).unwrap(),
            &["OWN: an unknown set has too much: eb (1 in all)"],
        ),
    ];
    show(&day, cases);
}

/// Where the only Email of an account stands.
fn place(txn: &Txn<'_>, account: AccountId) -> Place {
    let row: EmailRow = row(txn, account, EmailId(1));
    Place { at: row.received_at, id: 1 }
}

#[test]
fn identities_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| txn.delete_at(keys::row(day.house.inbox, Kind::Identity, 2)),
            &["INBOX: the address help@x.example has no Identity"],
        ),
        (
            |txn, day| {
                let row: IdentityRow = row(txn, day.house.inbox, IdentityId(1));
                txn.put_at(keys::pair(day.house.inbox, Kind::IdentityOfMember, 9, 99), &row).unwrap();
            },
            &[
                "INBOX: ij is something to pdd, and doesn't exist",
                "INBOX: ij is something to pdd, who doesn't exist",
            ],
        ),
    ];
    show(&day, cases);
}

#[test]
fn submissions_that_disagree_with_the_queue_and_timers_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| txn.delete_at(keys::due(Kind::Queue, START, day.house.inbox, 0, day.detached.0)),
            &["INBOX: sd waits for the relay, and isn't in the queue"],
        ),
        (
            |txn, day| txn.put_at(keys::due(Kind::Queue, START, day.house.inbox, 0, 99), &QueueRow).unwrap(),
            &["INBOX: sdd is in the relay queue and doesn't wait, or not until then"],
        ),
        (
            |txn, day| {
                txn.delete_at(keys::due(
                    Kind::Timer,
                    UNTIL,
                    day.house.inbox,
                    RELEASE_TIMER,
                    day.scheduled.id.0,
                ))
            },
            &["INBOX: sc is scheduled, and no timer releases it"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::due(Kind::Timer, UNTIL, day.house.inbox, RELEASE_TIMER, 99), &()).unwrap()
            },
            &["INBOX: a timer releases sdd, which isn't scheduled, or not for then"],
        ),
        (
            |txn, day| {
                txn.delete_at(keys::pair(
                    day.house.inbox,
                    Kind::ScheduledSend,
                    day.scheduled.row.email.0,
                    day.scheduled.id.0,
                ))
            },
            &["INBOX: sc is scheduled, and nothing says what its release must know"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn submissions_that_disagree_with_emails_and_content_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| {
                let row = &day.scheduled.row;
                let key = keys::blob_reference(
                    &row.blob,
                    day.house.inbox,
                    Referrer::Submission as u8,
                    day.scheduled.id.0,
                );
                txn.delete_at(key);
            },
            &["INBOX: sc isn't done and has no reference to its content"],
        ),
        (
            |txn, day| {
                txn.delete_at(keys::pair(
                    day.house.inbox,
                    Kind::SubmissionOfEmail,
                    day.scheduled.row.email.0,
                    day.scheduled.id.0,
                ))
            },
            &["INBOX: sc isn't found by its Email, ee"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::row(day.house.inbox, Kind::SubmissionReports, 9), &ReportsRow::default())
                    .unwrap()
            },
            &["INBOX: there are reports of sj, which doesn't exist"],
        ),
        (
            |txn, day| {
                let row: SubmissionRow = row(txn, day.house.inbox, day.scheduled.id);
                let done = SubmissionRow { relay: RelayState::Done, ..row };
                let hash = done.blob;
                txn.put_at(keys::row(day.house.inbox, Kind::DetachedSubmission, 2), &done).unwrap();
                assert_eq!(hash, done.blob);
            },
            &["INBOX: sc is detached, and done", "INBOX: sc is detached, and an object as well"],
        ),
        (
            |txn, day| txn.put_at(VacationRow::key(day.house.inbox, ()), &VacationRow::default()).unwrap(),
            &["INBOX: an inbox has a vacation response"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn conversations_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| {
                let row: ConversationRow = row(txn, day.house.inbox, OPEN);
                let place = Place { at: row.last_activity_at.date(), id: OPEN.0 };
                list::remove(txn, day.house.inbox, List::ConversationsOfOwner(None), place).unwrap();
            },
            &["INBOX: ConversationsOfOwner(None) lacks cb"],
        ),
        (
            |txn, day| {
                let entry = list::Entry { place: Place { at: UtcDate(7), id: 9 }, with: 0 };
                list::insert(txn, day.house.inbox, List::Conversations, entry).unwrap();
            },
            &["INBOX: Conversations has 5 entries and should have 4"],
        ),
        (
            |txn, day| edit::<ConversationRow>(txn, day.house.inbox, OPEN, |row| row.closed_at = Some(START)),
            &["INBOX: cb is closed without a time, or has a time and isn't closed"],
        ),
        (
            |txn, day| {
                edit::<ConversationRow>(txn, day.house.inbox, OPEN, |row| row.watchers.push(PrincipalId(99)))
            },
            &["INBOX: cb names pdd, who doesn't exist"],
        ),
        (
            |txn, day| {
                edit::<ConversationRow>(txn, day.house.inbox, OPEN, |row| {
                    row.previous = Some(ConversationId(99))
                })
            },
            &["INBOX: cb names cdd, which doesn't exist"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn timers_and_locks_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| {
                txn.delete_at(keys::due(
                    Kind::Timer,
                    UNTIL,
                    day.house.inbox,
                    TimerKind::Snooze as u8,
                    SNOOZED.0,
                ))
            },
            &["INBOX: cc is snoozed, and no timer wakes it"],
        ),
        (
            |txn, day| {
                txn.put_at(
                    keys::due(Kind::Timer, UNTIL, day.house.inbox, TimerKind::Snooze as u8, OPEN.0),
                    &(),
                )
                .unwrap()
            },
            &["INBOX: a timer wakes cb, which isn't snoozed, or not until then"],
        ),
        (
            |txn, day| txn.put_at(keys::due(Kind::Timer, UNTIL, day.house.inbox, 200, OPEN.0), &()).unwrap(),
            &["INBOX: there is a timer of an unknown kind, 200"],
        ),
        (
            |txn, day| {
                let kind = TimerKind::MemberRelease as u8;
                txn.put_at(keys::due(Kind::Timer, START, day.house.inbox, kind, 99), &()).unwrap()
            },
            &["INBOX: a timer releases the work of pdd, who doesn't exist"],
        ),
        (
            |txn, day| {
                txn.put_at(
                    keys::due(Kind::Timer, UNTIL, day.house.inbox, TimerKind::Lock as u8, day.lock.0),
                    &(),
                )
                .unwrap()
            },
            &["INBOX: a timer ends lb, which isn't there, or doesn't end then"],
        ),
        (
            |txn, day| txn.delete_at(keys::row(day.house.inbox, Kind::ConversationLock, OPEN.0)),
            &["INBOX: lb is a lock of cb, which hasn't got it"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::row(day.house.inbox, Kind::ConversationLock, SNOOZED.0), &day.lock).unwrap()
            },
            &["INBOX: cc has the lock lb, which is another's or doesn't exist"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn what_a_conversation_has_and_disagrees_is_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| txn.delete_at(keys::pair(day.house.inbox, Kind::ConversationEmail, OPEN.0, 1)),
            &["INBOX: eb is in cb, which hasn't got it", "INBOX: cb counts 2 messages and has 1"],
        ),
        (
            |txn, day| {
                let key = keys::pair(day.house.inbox, Kind::ConversationEmail, OPEN.0, 2);
                txn.put_at(key, &crate::inbox::desk::ConversationEmailRow { version: 1 }).unwrap();
            },
            &["INBOX: cb has ec, which is elsewhere or doesn't exist"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::row(day.house.inbox, Kind::ThreadConversation, 1), &ConversationId(99))
                    .unwrap()
            },
            &["INBOX: tb leads to cdd, which doesn't exist"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn notes_and_memos_that_disagree_are_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| txn.delete_at(keys::pair(day.house.inbox, Kind::NoteMention, day.house.ann.0, 1)),
            &["account ac: nb mentions pb, who can't find it"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::pair(day.house.inbox, Kind::NoteMention, day.house.bob.0, 1), &()).unwrap()
            },
            &["account ac: pc finds nb, which doesn't mention them or doesn't exist"],
        ),
        (
            |txn, day| txn.delete_at(keys::row(day.house.inbox, Kind::Memo, 1)),
            &["INBOX: eh is a memo of no note", "INBOX: nb has no memo, against the setting notesAsMemos"],
        ),
        (
            |txn, day| edit::<MemoRow>(txn, day.house.inbox, NoteId(1), |row| row.email = EmailId(1)),
            &["INBOX: nb has the memo eb, which is none", "INBOX: eh is a memo of no note"],
        ),
        (
            |txn, day| {
                let memo: MemoRow = row(txn, day.house.inbox, NoteId(1));
                txn.put_at(MemoRow::key(day.house.inbox, NoteId(9)), &memo).unwrap();
            },
            &["INBOX: nj has the memo eh, which is none", "INBOX: eh is the memo of nj, which doesn't exist"],
        ),
        (
            |txn, day| {
                let settings = InboxSettingsRow::default();
                txn.put_at(keys::row(day.house.inbox, Kind::InboxSettings, 0), &settings).unwrap();
            },
            &["INBOX: nb has a memo, against the setting notesAsMemos"],
        ),
        (
            |txn, day| txn.delete_at(keys::row(day.house.inbox, Kind::NoteEdited, 1)),
            &["account ac: nb has earlier versions, or has none, against its mark"],
        ),
        (
            |txn, day| txn.put_at(keys::row(day.house.inbox, Kind::NoteEdited, 9), &()).unwrap(),
            &["account ac: nj is marked as edited, and doesn't exist"],
        ),
        (
            |txn, day| txn.delete_at(keys::pair(day.house.inbox, Kind::ConversationNote, OPEN.0, 1)),
            &["INBOX: nb is on cb, which hasn't got it", "INBOX: cb counts 1 notes and has 0"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::pair(day.house.inbox, Kind::ConversationNote, OPEN.0, 9), &()).unwrap()
            },
            &["INBOX: cb has nj, which is elsewhere or doesn't exist"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn what_the_gate_remembers_and_disagrees_is_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| {
                let refusal = RefusalRow::Block(Block { at: START, emails: vec![] });
                txn.put_at(keys::pair(day.house.inbox, Kind::PlainRefusal, 99, 1), &refusal).unwrap();
            },
            &["INBOX: a refusal is remembered for cdd, which doesn't exist"],
        ),
        (
            |txn, day| {
                let key = keys::versioned(day.house.inbox, Kind::ConversationEvent, 99, 1);
                txn.put_at(key, &ConversationEventsRow::default()).unwrap();
            },
            &["INBOX: there are events of cdd at 1, which never was"],
        ),
    ];
    show(&day, cases);
}

#[test]
fn what_members_see_and_disagrees_is_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| txn.delete_at(ViewerCountsRow::key(day.house.inbox, (day.house.bob, MailboxId(1)))),
            &["INBOX: for pc mb has fewer by none, and ViewerCountsRow { emails: 1, threads: 1 } is true"],
        ),
        (
            |txn, day| {
                let row = ViewerCountsRow { emails: 7, threads: 0 };
                txn.put_at(ViewerCountsRow::key(day.house.inbox, (day.house.ann, MailboxId(1))), &row)
                    .unwrap();
            },
            &["INBOX: for pb mb has fewer by ViewerCountsRow { emails: 7, threads: 0 }, \
               and ViewerCountsRow { emails: 0, threads: 0 } is true"],
        ),
        (
            |txn, day| {
                edit::<ThreadRow>(txn, day.house.inbox, ThreadId(1), |row| row.flipped.push((EmailId(1), 77)))
            },
            &["INBOX: eb isn't in tb as it is"],
        ),
        (
            |txn, day| edit::<ViewersRow>(txn, day.house.inbox, (), |row| row.last = 0),
            &["INBOX: pc is a viewer twice, or by a number that wasn't given"],
        ),
        (
            |txn, day| {
                edit::<ViewerStateRow>(txn, day.house.inbox, day.house.bob, |row| {
                    row.types = TypeStates::default()
                });
            },
            &[
                "INBOX: Mailbox of pc is at 0, and its log at 12",
                "INBOX: Email of pc is at 0, and its log at 12",
            ],
        ),
    ];
    show(&day, cases);
}

#[test]
fn a_history_that_was_tampered_with_is_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, day| edit::<ActivityRow>(txn, day.house.inbox, ActivityId(3), |row| row.at = Millis(0)),
            &["INBOX: the activity chain is broken at yd: Hash"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::single(day.house.inbox, Kind::ActivityHead), &(ActivityId(3), [0u8; 32]))
                    .unwrap()
            },
            &["INBOX: the activity chain is broken at HEAD: End"],
        ),
        (
            |txn, day| {
                let (id, key) = text(txn, day);
                let mut texts: ActivityTextRow =
                    crate::store::rows::decode(&txn.bytes(&key).unwrap().unwrap()).unwrap();
                texts.after.as_mut().unwrap().text.push('!');
                txn.put_at(key, &texts).unwrap();
                assert!(id > 0);
            },
            &["INBOX: a text of yj isn't the one that was chained"],
        ),
        (
            |txn, day| {
                let row: ActivityRow = row(txn, day.house.inbox, ActivityId(3));
                txn.delete_at(keys::pair(
                    day.house.inbox,
                    Kind::ConversationActivity,
                    row.conversation.unwrap().0,
                    3,
                ));
            },
            &["INBOX: yd is an activity of cb, which hasn't got it"],
        ),
        // What was erased is no fault.
        (
            |txn, day| {
                let (_, key) = text(txn, day);
                txn.delete_at(key);
            },
            &[],
        ),
    ];
    show(&day, cases);
}

/// The activity that has a text, and where that is.
fn text(txn: &Txn<'_>, day: &Day) -> (u32, keys::Key) {
    let all = keys::all(day.house.inbox, Kind::ActivityText);
    let id = (txn as &dyn Read).ids(&all, false, 1).unwrap()[0];
    (id, keys::row(day.house.inbox, Kind::ActivityText, id))
}

#[test]
fn a_directory_that_disagrees_is_told() {
    let day = day();
    let cases: &[(Corrupt, &[&str])] = &[
        (
            |txn, _| txn.delete_at(keys::named(DIRECTORY, Kind::Address, b"help@x.example")),
            &["the directory: help@x.example of INBOX doesn't lead to it"],
        ),
        (
            |txn, day| {
                txn.put_at(keys::named(DIRECTORY, Kind::Address, b"x@x.example"), &day.house.inbox).unwrap()
            },
            &["the directory: x@x.example leads to INBOX, which hasn't got it"],
        ),
        (
            |txn, day| {
                edit::<PrincipalRow>(txn, DIRECTORY, day.house.bob, |row| {
                    row.email = address("ann@x.example")
                })
            },
            &["the directory: ann@x.example is the address of two people"],
        ),
        (
            |txn, day| edit::<PrincipalRow>(txn, DIRECTORY, day.house.bob, |row| row.disabled = true),
            &["the directory: app password kb is of pc, who is disabled or doesn't exist"],
        ),
        (
            |txn, day| {
                edit::<AccountRow>(txn, DIRECTORY, day.house.inbox, |row| {
                    let AccountKind::Inbox(members) = &mut row.kind else { panic!() };
                    members.retain(|member| member.principal != PrincipalId(2));
                });
            },
            &["the directory: app password kb opens INBOX, and pc is no member"],
        ),
        (
            |txn, day| {
                edit::<PrincipalRow>(txn, DIRECTORY, day.house.bob, |row| row.account = Some(AccountId(1)))
            },
            &["the directory: pc has OWN, which isn't theirs"],
        ),
        (
            |txn, day| txn.delete_at(PrincipalRow::key(DIRECTORY, day.house.bob)),
            &[
                "the directory: pc is a member of INBOX and doesn't exist",
                "the directory: pc is in team pd and doesn't exist",
                "the directory: a PushSubscription is pc's, who isn't its login or doesn't exist",
                "the directory: app password kb is of pc, who is disabled or doesn't exist",
                "INBOX: pc is a viewer and doesn't exist",
                "INBOX: ib is something to pc, who doesn't exist",
                "INBOX: cd names pc, who doesn't exist",
                "INBOX: ce names pc, who doesn't exist",
            ],
        ),
        (
            |txn, _| txn.delete_at(SecretRow::key(DIRECTORY, ())),
            &["the directory: the server's secret is missing or can't be read"],
        ),
        (
            |txn, _| txn.put_at(keys::row(AccountId(9), Kind::Mailbox, 1), &1u8).unwrap(),
            &[
                "account aj: its state is missing or can't be read",
                "account aj: there are rows of it, and the directory doesn't know it",
                "account aj: Mailbox 1 can't be read",
            ],
        ),
    ];
    show(&day, cases);
}

#[test]
fn blobs_and_logs_that_disagree_are_told() {
    let day = day();
    let hash = day.file;
    let told = faults(&day, |txn| txn.delete_at(keys::blob(&hash)));
    assert_eq!(told, [format!("blob {hash:?} has no content")]);
    let told = faults(&day, |txn| txn.put_at(keys::blob(&hash), &7u64).unwrap());
    assert_eq!(told, [format!("blob {hash:?} hasn't the content that its name says")]);
    let told = faults(&day, |txn| txn.delete_at(keys::blob_info(&hash)));
    let inbox = day.house.inbox;
    assert_eq!(
        told,
        [
            format!("there is content of blob {hash:?}, and no row tells of it"),
            format!("account {inbox}: Upload 2 refers to blob {hash:?}, which isn't stored"),
            format!("account {inbox}: Note 1 refers to blob {hash:?}, which isn't stored"),
        ]
    );
    let told = faults(&day, |txn| {
        let key = keys::blob_reference(&hash, inbox, Referrer::Email as u8, 1);
        txn.put_at(key, &START).unwrap();
    });
    assert_eq!(
        told,
        [format!("account {inbox}: Email 1 has a reference to blob {hash:?} and doesn't use it")]
    );
    let told = faults(&day, |txn| txn.delete_at(keys::blob_reference(&hash, inbox, Referrer::Note as u8, 1)));
    assert_eq!(told, [format!("account {inbox}: nb has no reference to blob {hash:?}")]);
    let (bob, by_bob) = (day.house.bob, keys::blob_reference(&hash, inbox, Referrer::Upload as u8, 2));
    let told = faults(&day, |txn| txn.delete_at(UploadRow::key(inbox, (bob, 1))));
    assert_eq!(
        told,
        [format!("account {inbox}: Upload 2 has a reference to blob {hash:?} and doesn't use it")]
    );
    let told = faults(&day, |txn| txn.delete_at(by_bob.clone()));
    assert_eq!(told, [format!("account {inbox}: an upload of blob {hash:?} has no reference of its own")]);
    let told = faults(&day, |txn| txn.delete_at(PrincipalRow::key(DIRECTORY, day.house.ann)));
    assert!(told.len() >= 2, "{told:?}");
    let told = faults(&day, |txn| edit::<AccountState>(txn, inbox, (), |state| state.modseq = 0));
    assert!(told.iter().all(|fault| fault.starts_with(&format!("account {inbox}: "))), "{told:?}");
    let state: AccountState =
        (&day.house.server.store.snapshot() as &dyn Read).row(inbox, ()).unwrap().unwrap();
    let at = state.types.of(DataType::Note);
    let told = faults(&day, |txn| txn.delete_at(keys::change(inbox, DataType::Note, at)));
    assert_eq!(told, [format!("account {inbox}: Note is at {at}, and its log at {}", at - 1)]);
    let told = faults(&day, |txn| txn.put_at(keys::change(inbox, DataType::Note, at + 900), &1u8).unwrap());
    assert_eq!(told, [format!("account {inbox}: an entry of a log can't be read")]);
}

#[test]
fn a_list_whose_members_do_not_add_up_is_told_of() {
    let day = day();
    let list = day.list;
    let told = faults(&day, |txn| {
        edit::<AccountRow>(txn, DIRECTORY, list, |row| {
            let AccountKind::List(terms) = &mut row.kind else { panic!() };
            let one = Subscriber { number: 3, address: address("ANN@x.example"), since: START };
            terms.subscribers.insert(0, one);
        });
        txn.put_at(keys::row(list, Kind::ListBounce, 7), &1u8).unwrap();
        lists::note(txn, list, 8, lists::Fate::Failed, "").unwrap();
    });
    assert_eq!(
        told,
        [
            format!("the directory: the members of list {list} aren't numbered in order, or beyond the last"),
            format!("the directory: an address is a member of list {list} twice"),
            format!("account {list}: bounces of a subscriber 7 can't be read"),
            format!("account {list}: something came back from member 8, who is none"),
        ]
    );
}

#[test]
fn a_very_broken_store_is_told_of_within_bounds_and_progress_goes_on() {
    let day = day();
    let account = day.house.inbox;
    let (mut last, mut calls) = (0, 0);
    let locked = day.house.server.store.lock_blocking(&[account]);
    let mut txn = day.house.server.store.begin(&locked);
    for id in 100..1_300 {
        txn.put_at(keys::pair(account, Kind::ConversationNote, 1, id), &()).unwrap();
    }
    for id in 0..100_000 {
        txn.put_at(keys::pair(account, Kind::ConversationEmail, 1, id + 10), &()).unwrap();
    }
    let report = check::view(&txn, FLOORS, &mut |report| {
        calls += 1;
        assert!(report.accounts >= last);
        last = report.accounts;
    });
    let report = report.unwrap();
    assert_eq!(report.faults.len(), check::FAULTS_MAX);
    assert!(report.faults_untold > 100_000, "{}", report.faults_untold);
    assert!(calls >= 1);
}
