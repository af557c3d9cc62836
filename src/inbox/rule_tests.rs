//! The table of statuses (spec/status.md) cell by cell, claims in sequence, and invariants over random
//! events.

use super::change::Change;
use super::machine::*;
use super::messages::*;
use super::refusal::Refusal;
use super::status::Gone;
use crate::store::rows::team::*;
use crate::types::*;
use proptest::prelude::*;

pub(super) const ANN: PrincipalId = PrincipalId(1);
pub(super) const BOB: PrincipalId = PrincipalId(2);
pub(super) const LEA: PrincipalId = PrincipalId(3);
pub(super) const OBS: PrincipalId = PrincipalId(4);
const DAY: i64 = 24 * 60 * 60 * 1000;
const T0: i64 = 1_000_000;

pub(super) fn roster() -> Roster {
    use MemberRole::*;
    Roster {
        members: [(ANN, Agent), (BOB, Agent), (LEA, Lead), (OBS, Observer)].into_iter().collect(),
        teams: [PrincipalId(50)].into_iter().collect(),
    }
}

pub(super) fn member(principal: PrincipalId) -> Actor {
    Actor::Member { principal, role: roster().members[&principal] }
}

fn person(address: &str) -> Participant {
    Participant { name: None, address: Address::parse(address).unwrap() }
}

pub(super) fn mail(at: i64) -> Inbound {
    Inbound {
        email: EmailId(1),
        at: Millis(at),
        from: Some(person("customer@x.example")),
        reply_to: None,
        others: vec![],
        automatic: false,
        flagged: false,
    }
}

pub(super) fn reply(email: u32, at: i64) -> Outbound {
    Outbound {
        email: EmailId(email),
        submission: SubmissionId(email),
        at: Millis(at),
        reply: true,
        automatic: false,
        counted: false,
        recipients: vec![person("customer@x.example")],
        then_status: None,
        then_owner: None,
        if_version: None,
    }
}

/// An inbox with its settings; each step is the next modseq.
struct Inbox {
    settings: InboxSettingsRow,
    roster: Roster,
}

impl Inbox {
    fn new() -> Self {
        Self { settings: InboxSettingsRow::default(), roster: roster() }
    }

    fn context(&self, actor: Actor, now: i64, modseq: u64) -> Context<'_> {
        Context { settings: &self.settings, roster: &self.roster, actor, now: Millis(now), modseq }
    }

    fn apply(&self, row: &ConversationRow, event: Event, by: Actor, now: i64) -> Result<Applied, Refusal> {
        apply(row, &event, self.context(by, now, row.version + 1))
    }

    fn set(
        &self,
        row: &ConversationRow,
        change: Change,
        by: PrincipalId,
        now: i64,
    ) -> Result<Applied, Refusal> {
        self.apply(row, Event::Set { change, expect: Expect::default() }, member(by), now)
    }

    /// A conversation in that status, begun by a customer at T0 and answered by Ann.
    fn conversation(&self, status: Status) -> ConversationRow {
        let context = self.context(Actor::System(Cause::Mail), T0, 1);
        let row = begin("Help".into(), None, &First::Inbound(mail(T0)), context).unwrap().conversation;
        let row =
            self.apply(&row, Event::Outbound(reply(2, T0 + 1)), member(ANN), T0 + 1).unwrap().conversation;
        let snoozed_until = (status == Status::Snoozed).then_some(Some(Millis(T0 + DAY)));
        let change = Change { status: Some(status), snoozed_until, ..Change::default() };
        self.set(&row, change, ANN, T0 + 2).unwrap().conversation
    }
}

fn automatic(at: i64) -> Inbound {
    Inbound { automatic: true, ..mail(at) }
}

#[test]
fn each_event_leads_from_each_status_where_the_table_says() {
    use Status::*;
    let now = T0 + 10;
    let mail_actor = Actor::System(Cause::Mail);
    let failed = |dsn| Event::DeliveryFailed(DeliveryFailed { submission: SubmissionId(2), dsn });
    let dsn = Some((EmailId(3), Millis(now)));
    let named = |status| Event::Outbound(Outbound { then_status: Some(status), ..reply(3, now) });
    let other = Event::Outbound(Outbound { reply: false, ..reply(3, now) });
    let ack = Event::Outbound(Outbound { automatic: true, ..reply(3, now) });
    let note = Event::NoteCreated { note: NoteId(1), mentions: vec![] };
    let held = Event::SendHeld { email: EmailId(3), submission: SubmissionId(3), is_sent: false };
    let same = [Open, Pending, Snoozed, Closed];
    let table: Vec<(&str, Event, Actor, [Status; 4])> = vec![
        ("person", Event::Inbound(mail(now)), mail_actor, [Open; 4]),
        ("automatic", Event::Inbound(automatic(now)), mail_actor, same),
        ("dsn", failed(dsn), mail_actor, [Open; 4]),
        ("relay failure", failed(None), mail_actor, [Open; 4]),
        ("reply", Event::Outbound(reply(3, now)), member(ANN), [Pending; 4]),
        ("reply then open", named(Open), member(ANN), [Open; 4]),
        ("reply then closed", named(Closed), member(ANN), [Closed; 4]),
        ("other outbound", other, member(ANN), same),
        ("acknowledgement", ack, mail_actor, same),
        ("note", note, member(OBS), same),
        ("internal", Event::Internal { email: EmailId(3) }, mail_actor, same),
        ("import", Event::Imported { email: EmailId(3) }, member(ANN), same),
        ("snooze early", Event::SnoozeReached, Actor::System(Cause::Timer), same),
        ("held", held, Actor::System(Cause::Timer), [Open; 4]),
        ("spam", Event::InboundGone(Gone::Spam), member(ANN), [Closed; 4]),
    ];
    let inbox = Inbox::new();
    for (name, event, actor, expected) in table {
        for (from, to) in Status::ALL.into_iter().zip(expected) {
            let row = inbox.conversation(from);
            let applied = inbox.apply(&row, event.clone(), actor, now).unwrap();
            let after = &applied.conversation;
            assert_eq!(after.status, to, "{name} from {from:?}");
            let reopened = u32::from(name == "person" && from == Closed);
            assert_eq!(after.reopen_count, reopened, "{name} from {from:?}");
            let logged =
                applied.effects.iter().filter(|effect| matches!(effect, Effect::Activity(_))).count();
            let counts = expected_bump(name, from);
            assert_eq!(logged > 0, counts || name == "relay failure", "{name} from {from:?}");
            assert_eq!(after.version > row.version, counts, "{name} from {from:?}");
        }
    }
}

#[test]
fn what_follows_from_an_event_says_from_which() {
    use ActivityKind::{OwnerChanged, StatusChanged, WatcherAdded};
    let now = T0 + 10;
    let mail_actor = Actor::System(Cause::Mail);
    let sent = ActivityValue::Submission(reply(3, now).submission);
    let named = Outbound { then_status: Some(Status::Open), ..reply(3, now) };
    let failed = |dsn| Event::DeliveryFailed(DeliveryFailed { submission: SubmissionId(2), dsn });
    let mentions = Event::NoteCreated { note: NoteId(4), mentions: vec![OBS] };
    let moved = Change { status: Some(Status::Closed), by_move: Some(EmailId(7)), ..Change::default() };
    let moved = Event::Set { change: moved, expect: Expect::default() };
    let asked = Change { status: Some(Status::Open), ..Change::default() };
    let asked = Event::Set { change: asked, expect: Expect::default() };
    let held = Event::SendHeld { email: EmailId(3), submission: SubmissionId(3), is_sent: false };
    let email = |id| ActivityValue::Email(EmailId(id));
    let table = [
        (
            Event::Inbound(mail(now)),
            mail_actor,
            StatusChanged,
            Some((Reason::InboundReceived, email(mail(now).email.0))),
        ),
        (
            failed(None),
            mail_actor,
            StatusChanged,
            Some((Reason::DeliveryFailed, ActivityValue::Submission(SubmissionId(2)))),
        ),
        (
            failed(Some((EmailId(3), Millis(now)))),
            mail_actor,
            StatusChanged,
            Some((Reason::DeliveryFailed, email(3))),
        ),
        (Event::Outbound(reply(3, now)), member(ANN), StatusChanged, Some((Reason::StatusAfterReply, sent))),
        (Event::Outbound(reply(3, now)), member(ANN), OwnerChanged, Some((Reason::OwnOnReply, sent))),
        (Event::Outbound(named), member(ANN), StatusChanged, Some((Reason::AskedWithSend, sent))),
        (mentions, member(ANN), WatcherAdded, Some((Reason::Mentioned, ActivityValue::Note(NoteId(4))))),
        (moved, member(ANN), StatusChanged, Some((Reason::MailboxMove, email(7)))),
        (asked, member(ANN), StatusChanged, None),
        (
            held,
            mail_actor,
            StatusChanged,
            Some((Reason::SendHeld, ActivityValue::Submission(SubmissionId(3)))),
        ),
        (
            Event::InboundGone(Gone::Spam),
            member(ANN),
            StatusChanged,
            Some((Reason::NoInboundLeft, ActivityValue::None)),
        ),
    ];
    let inbox = Inbox::new();
    for (event, actor, kind, because) in table {
        let logged: Vec<Option<Explain>> = Status::ALL
            .into_iter()
            .map(|from| ConversationRow { owner: None, ..inbox.conversation(from) })
            .flat_map(|row| inbox.apply(&row, event.clone(), actor, now).unwrap().effects)
            .filter_map(|effect| match effect {
                Effect::Activity(entry) if entry.kind == kind => Some(entry.explain),
                _ => None,
            })
            .collect();
        let expected = because.map(|(reason, of)| Explain { reason, of });
        assert!(!logged.is_empty() && logged.iter().all(|one| *one == expected), "{event:?}: {logged:?}");
    }
}

/// Its entry says it.
#[test]
fn what_came_itself_is_explained_by_nothing() {
    let inbox = Inbox::new();
    let (now, mail_actor) = (T0 + 10, Actor::System(Cause::Mail));
    let row = inbox.conversation(Status::Closed);
    let first = inbox.apply(&row, Event::Inbound(mail(now)), mail_actor, now).unwrap().effects.remove(0);
    assert!(matches!(
        first,
        Effect::Activity(Entry { kind: ActivityKind::InboundReceived, explain: None, .. })
    ));
}

/// A relay failure without a DSN is no message: it counts only where it opens.
fn expected_bump(name: &str, from: Status) -> bool {
    match name {
        "snooze early" => false,
        "spam" => from != Status::Closed,
        "relay failure" => from != Status::Open,
        _ => true,
    }
}

#[test]
fn a_member_sets_each_status_from_each_other() {
    let inbox = Inbox::new();
    for from in Status::ALL {
        for to in Status::ALL {
            let until = (to == Status::Snoozed).then_some(Some(Millis(T0 + 2 * DAY)));
            let change = Change { status: Some(to), snoozed_until: until, ..Change::default() };
            let row = inbox.set(&inbox.conversation(from), change, BOB, T0 + 10).unwrap().conversation;
            assert_eq!(row.status, to);
            assert_eq!(row.closed_at.is_some(), to == Status::Closed);
            assert_eq!(row.snoozed_until, until.flatten());
        }
    }
}

#[test]
fn a_snooze_ends_at_its_time_with_new_and_needs_a_future_one() {
    let inbox = Inbox::new();
    let row = inbox.conversation(Status::Snoozed);
    let timer = Actor::System(Cause::Timer);
    let applied = inbox.apply(&row, Event::SnoozeReached, timer, T0 + DAY).unwrap();
    assert_eq!(applied.conversation.status, Status::Open);
    for effect in [Effect::MarkNew, Effect::ClearTimer, Effect::Project] {
        assert!(applied.effects.contains(&effect), "{effect:?}");
    }
    for until in [None, Some(None), Some(Some(Millis(T0 + 10)))] {
        let change = Change { status: Some(Status::Snoozed), snoozed_until: until, ..Change::default() };
        let refusal = inbox.set(&inbox.conversation(Status::Open), change, ANN, T0 + 10).unwrap_err();
        assert!(
            matches!(refusal, Refusal::InvalidProperties { properties, .. } if properties == ["snoozedUntil"])
        );
    }
}

#[test]
fn a_customer_who_answers_too_late_begins_a_new_conversation() {
    let inbox = Inbox::new();
    let row = inbox.conversation(Status::Closed);
    let last = T0 + 2 + 30 * DAY;
    let mail_actor = Actor::System(Cause::Mail);
    let applied = inbox.apply(&row, Event::Inbound(mail(last)), mail_actor, last).unwrap();
    assert_eq!((applied.conversation.status, applied.conversation.reopen_count), (Status::Open, 1));
    let late = inbox.apply(&row, Event::Inbound(mail(last + 1)), mail_actor, last + 1).unwrap();
    assert_eq!(late, Applied { conversation: row.clone(), effects: vec![Effect::BeginNew] });
    let bounced = inbox.apply(&row, Event::Inbound(automatic(last + 1)), mail_actor, last + 1).unwrap();
    assert_eq!(bounced.conversation.status, Status::Closed);
}

#[test]
fn closing_needs_what_the_definition_of_done_demands() {
    let mut inbox = Inbox::new();
    let row = ConversationRow { owner: None, ..inbox.conversation(Status::Open) };
    inbox.settings = InboxSettingsRow {
        require_category: true,
        require_resolution: true,
        require_owner: true,
        ..InboxSettingsRow::default()
    };
    let close = Change { status: Some(Status::Closed), ..Change::default() };
    let missing = vec!["category", "resolution", "ownerId"];
    assert_eq!(inbox.set(&row, close.clone(), ANN, T0 + 10), Err(Refusal::NotDone { missing }));
    let whole = Change {
        category: Some(Some("billing".into())),
        resolution: Some(Some("refunded".into())),
        owner: Some(Some(ANN)),
        ..close
    };
    let closed = inbox.set(&row, whole, ANN, T0 + 10).unwrap().conversation;
    assert_eq!((closed.status, closed.closed_by), (Status::Closed, Some(ANN)));
    // What the close needed stays as long as it is closed.
    let release = Change { owner: Some(None), ..Change::default() };
    let needed = Err(Refusal::NotDone { missing: vec!["ownerId"] });
    assert_eq!(inbox.set(&closed, release.clone(), ANN, T0 + 11), needed);
    let open = Change { status: Some(Status::Open), ..release };
    assert!(inbox.set(&closed, open, ANN, T0 + 11).is_ok());
    // A reply that the setting would close goes out all the same.
    inbox.settings.status_after_reply = Status::Closed;
    let sent = inbox.apply(&row, Event::Outbound(reply(5, T0 + 10)), member(ANN), T0 + 10).unwrap();
    assert_eq!(sent.conversation.status, Status::Pending);
    // Spam has nothing to be done with.
    let spam = inbox.apply(&row, Event::InboundGone(Gone::Spam), member(ANN), T0 + 10).unwrap().conversation;
    assert_eq!((spam.status, spam.resolution.as_deref()), (Status::Closed, Some("spam")));
    let unowned = Change { owner: Some(None), ..Change::default() };
    let owned = ConversationRow { owner: Some(ANN), ..spam };
    let needed = Err(Refusal::NotDone { missing: vec!["ownerId"] });
    assert_eq!(inbox.set(&owned, unowned, ANN, T0 + 11), needed, "and not what it never had");
}

#[test]
fn waiting_since_is_the_oldest_unanswered_inbound_from_a_person() {
    let mut inbox = Inbox::new();
    let mail_actor = Actor::System(Cause::Mail);
    let context = inbox.context(mail_actor, T0, 1);
    let row = begin("Auto".into(), None, &First::Inbound(automatic(T0)), context).unwrap().conversation;
    assert_eq!((row.status, row.waiting_since), (Status::Open, None));
    let row = inbox.apply(&row, Event::Inbound(mail(T0 + 5)), mail_actor, T0 + 5).unwrap().conversation;
    let row = inbox.apply(&row, Event::Inbound(mail(T0 + 9)), mail_actor, T0 + 9).unwrap().conversation;
    assert_eq!(row.waiting_since, Some(Millis(T0 + 5)));
    let answered = inbox.apply(&row, Event::Outbound(reply(7, T0 + 10)), member(ANN), T0 + 10).unwrap();
    let answered = answered.conversation;
    assert_eq!((answered.waiting_since, answered.first_reply_at), (None, Some(Millis(T0 + 10))));
    assert_eq!(answered.owner, Some(ANN));
    let close = Change { status: Some(Status::Closed), ..Change::default() };
    let closed = inbox.set(&row, close, ANN, T0 + 11).unwrap().conversation;
    assert_eq!(closed.waiting_since, None);
    let again =
        inbox.apply(&closed, Event::Inbound(mail(T0 + 20)), mail_actor, T0 + 20).unwrap().conversation;
    assert_eq!(again.waiting_since, Some(Millis(T0 + 20)));

    inbox.settings.trusted_automatic = vec![Address::parse("CUSTOMER@x.example").unwrap()];
    let form = Inbound { reply_to: Some(person("eve@y.example")), ..automatic(T0) };
    let context = inbox.context(mail_actor, T0, 1);
    let row = begin("Form".into(), None, &First::Inbound(form), context).unwrap().conversation;
    assert_eq!(row.customer, Some(person("eve@y.example")));
    assert_eq!(row.waiting_since, Some(Millis(T0)));
}

#[test]
fn a_flagged_stranger_never_becomes_the_customer() {
    let inbox = Inbox::new();
    let row = inbox.conversation(Status::Pending);
    let stranger = Inbound { from: Some(person("eve@evil.example")), flagged: true, ..mail(T0 + 9) };
    let mail_actor = Actor::System(Cause::Mail);
    let joined = inbox.apply(&row, Event::Inbound(stranger), mail_actor, T0 + 9).unwrap().conversation;
    assert_eq!(joined.customer, Some(person("customer@x.example")));
    assert_eq!(joined.participants.len(), 2);
}

fn claim(by: PrincipalId, to: Option<PrincipalId>, expect: Expect) -> (Event, Actor) {
    (Event::Set { change: Change { owner: Some(to), ..Change::default() }, expect }, member(by))
}

#[test]
fn claims_and_hand_offs_follow_the_expectations() {
    let inbox = Inbox::new();
    let free = ConversationRow { owner: None, ..inbox.conversation(Status::Open) };
    let anns = ConversationRow { owner: Some(ANN), ..free.clone() };
    let version = free.version;
    let none = Expect::default();
    let from = |owner| Expect { if_owner: Some(owner), if_version: None };
    let at = |version| Expect { if_owner: None, if_version: Some(version) };
    let mismatch = Err(Refusal::OwnerMismatch { owner: Some(ANN), version });
    type Case<'a> = (
        &'a str,
        &'a ConversationRow,
        PrincipalId,
        Option<PrincipalId>,
        Expect,
        Result<Option<PrincipalId>, Refusal>,
    );
    let lead_only = Err(Refusal::Forbidden("Somebody else owns this conversation; taking it needs a lead."));
    let cases: Vec<Case<'_>> = vec![
        ("claim of the free", &free, BOB, Some(BOB), none, Ok(Some(BOB))),
        ("the loser learns the winner", &anns, BOB, Some(BOB), none, mismatch.clone()),
        ("a lead's claim loses too", &anns, LEA, Some(LEA), none, mismatch.clone()),
        ("a lead takes over, saying from whom", &anns, LEA, Some(LEA), from(Some(ANN)), Ok(Some(LEA))),
        ("a lead takes over at a version", &anns, LEA, Some(LEA), at(version), Ok(Some(LEA))),
        ("an agent doesn't", &anns, BOB, Some(BOB), from(Some(ANN)), lead_only.clone()),
        ("nor at a version", &anns, BOB, Some(BOB), at(version), lead_only),
        ("hand-off by the owner", &anns, ANN, Some(BOB), none, Ok(Some(BOB))),
        ("release by the owner", &anns, ANN, None, none, Ok(None)),
        ("release by another", &anns, BOB, None, none, mismatch.clone()),
        ("hand-off by a lead", &anns, LEA, Some(BOB), none, Ok(Some(BOB))),
        ("a wrong expectation", &anns, ANN, Some(BOB), from(None), mismatch),
        ("claim again", &anns, ANN, Some(ANN), none, Ok(Some(ANN))),
        ("an old version", &free, BOB, Some(BOB), at(version - 1), Err(Refusal::VersionMismatch { version })),
    ];
    for (name, row, by, to, expect, expected) in cases {
        let (event, actor) = claim(by, to, expect);
        let result = inbox.apply(row, event, actor, T0 + 10).map(|applied| applied.conversation.owner);
        assert_eq!(result, expected, "{name}");
    }
    for (to, by) in [(OBS, BOB), (PrincipalId(50), BOB), (PrincipalId(99), BOB)] {
        let (event, actor) = claim(by, Some(to), none);
        assert!(matches!(inbox.apply(&free, event, actor, T0), Err(Refusal::InvalidProperties { .. })));
    }
    let (event, actor) = claim(OBS, None, none);
    assert!(matches!(inbox.apply(&free, event, actor, T0), Err(Refusal::Forbidden(_))));
}

#[test]
fn work_of_a_member_who_left_becomes_visibly_unowned() {
    let mut inbox = Inbox::new();
    let closed = inbox.conversation(Status::Closed);
    inbox.roster.members.remove(&ANN);
    for (status, owner) in [(Status::Pending, None), (Status::Closed, Some(ANN))] {
        let row = Inbox::new().conversation(status);
        let event = Event::MemberLeft { principal: ANN };
        let left = inbox.apply(&row, event, member(LEA), T0 + 10).unwrap().conversation;
        assert_eq!(left.owner, owner);
    }
    let mail_actor = Actor::System(Cause::Mail);
    let reopened = inbox.apply(&closed, Event::Inbound(mail(T0 + 20)), mail_actor, T0 + 20).unwrap();
    assert_eq!(reopened.conversation.owner, None);
    let answered = inbox.apply(&closed, Event::Outbound(reply(9, T0 + 20)), member(BOB), T0 + 20).unwrap();
    assert_eq!(answered.conversation.owner, Some(BOB));
}

#[test]
fn a_change_is_applied_as_a_whole_or_not_at_all_and_counts_only_where_it_must() {
    let inbox = Inbox::new();
    let row = inbox.conversation(Status::Open);
    let bad = Change { tags: Some(vec!["vip".into()]), team: Some(Some(ANN)), ..Change::default() };
    assert!(matches!(inbox.set(&row, bad, ANN, T0 + 9), Err(Refusal::InvalidProperties { .. })));
    let watch = Change { watchers: Some(vec![OBS]), ..Change::default() };
    let watched = inbox.set(&row, watch, OBS, T0 + 9).unwrap().conversation;
    assert_eq!((watched.version, watched.watchers), (row.version, vec![OBS]));
    let tags = Change { tags: Some(vec!["b".into(), "a".into(), "b".into()]), ..Change::default() };
    let tagged = inbox.set(&row, tags.clone(), ANN, T0 + 9).unwrap().conversation;
    assert_eq!(tagged.tags, ["a", "b"]);
    assert_eq!(tagged.version, row.version + 1);
    let again = inbox.set(&tagged, tags, ANN, T0 + 10).unwrap();
    assert_eq!(again, Applied { conversation: tagged, effects: vec![] });
}

#[test]
fn a_merge_ends_locks_and_answers_with_where_it_went_until_it_is_undone() {
    let inbox = Inbox::new();
    let (a, b) = (inbox.conversation(Status::Closed), inbox.conversation(Status::Snoozed));
    let target = ConversationId(1);
    let merged = inbox.apply(&b, Event::MergedInto { target }, member(ANN), T0 + 10).unwrap();
    assert!(merged.effects.contains(&Effect::EndLock { of: None }));
    assert!(merged.effects.contains(&Effect::ClearTimer));
    let b2 = merged.conversation;
    let refused = inbox.apply(&b2, Event::Inbound(mail(T0 + 11)), Actor::System(Cause::Mail), T0 + 11);
    assert_eq!(refused, Err(Refusal::Merged { into: target }));
    let took = Event::TookIn { source: ConversationId(2), from: Box::new(b.clone()) };
    let a2 = inbox.apply(&a, took, member(ANN), T0 + 10).unwrap().conversation;
    assert_eq!((a2.status, a2.message_count), (Status::Open, 4));
    let contents = super::merge::Contents { message_count: 2, ..Default::default() };
    let undone = inbox.apply(&b2, Event::MergeUndone { contents }, member(ANN), T0 + 12).unwrap();
    assert_eq!((undone.conversation.status, undone.conversation.merged_into), (Status::Snoozed, None));
    assert!(undone.effects.contains(&Effect::SetTimer(Millis(T0 + DAY))));
}

fn random_event() -> impl Strategy<Value = (u8, u8, i64)> {
    (0..18u8, 1..5u8, 0..(3 * DAY))
}

fn event_of(kind: u8, row: &ConversationRow, who: PrincipalId, now: i64) -> (Event, Actor) {
    let mail_actor = Actor::System(Cause::Mail);
    let set = |change| (Event::Set { change, expect: Expect::default() }, member(who));
    let status = |status| Change { status: Some(status), ..Change::default() };
    match kind {
        0 => (Event::Inbound(mail(now)), mail_actor),
        1 => (Event::Inbound(automatic(now)), mail_actor),
        2 => (Event::Outbound(reply(3, now)), member(who)),
        3 => (Event::Outbound(Outbound { reply: false, ..reply(3, now) }), member(who)),
        4 => (Event::Outbound(Outbound { then_status: Some(Status::Closed), ..reply(3, now) }), member(who)),
        5 => set(status(Status::Open)),
        6 => set(status(Status::Closed)),
        7 => set(status(Status::Pending)),
        8 => set(Change { snoozed_until: Some(Some(Millis(now + DAY))), ..status(Status::Snoozed) }),
        9 => (Event::SnoozeReached, Actor::System(Cause::Timer)),
        10 => set(Change { owner: Some(Some(who)), ..Change::default() }),
        11 => set(Change { owner: Some(None), ..Change::default() }),
        12 => (Event::MemberLeft { principal: who }, member(LEA)),
        13 => (Event::InboundGone(Gone::Deleted), member(who)),
        14 => (Event::NoteCreated { note: NoteId(1), mentions: vec![BOB] }, member(who)),
        15 => {
            let dsn = Some((EmailId(9), Millis(now)));
            (Event::DeliveryFailed(DeliveryFailed { submission: SubmissionId(1), dsn }), mail_actor)
        }
        16 => set(Change { tags: Some(vec![format!("t{}", row.version % 3)]), ..Change::default() }),
        _ => set(Change { watchers: Some(vec![who]), ..Change::default() }),
    }
}

proptest! {
    #[test]
    fn the_invariants_hold_whatever_happens(steps in prop::collection::vec(random_event(), 1..60)) {
        let inbox = Inbox::new();
        let mut row = inbox.conversation(Status::Open);
        let (mut now, mut modseq) = (T0 + 10, row.version);
        for (kind, who, wait) in steps {
            (now, modseq) = (now + wait, modseq + 1);
            let (event, actor) = event_of(kind, &row, PrincipalId(u32::from(who)), now);
            let Ok(applied) = apply(&row, &event, inbox.context(actor, now, modseq)) else { continue };
            let after = applied.conversation;
            prop_assert_eq!(after.status == Status::Closed, after.closed_at.is_some());
            prop_assert_eq!(after.status == Status::Snoozed, after.snoozed_until.is_some());
            prop_assert!(after.status != Status::Closed || after.waiting_since.is_none());
            if kind == 2 {
                prop_assert!(after.waiting_since.is_none() && after.owner.is_some());
            }
            let counted = |row: &ConversationRow| {
                (row.owner, row.team, row.status, row.snoozed_until, row.resolution.clone(), row.category.clone(),
                 row.tags.clone(), row.message_count, row.note_count)
            };
            prop_assert_eq!(after.version == modseq, counted(&after) != counted(&row));
            prop_assert!(after.version == modseq || after.version == row.version);
            let shown = |row: &ConversationRow| (row.status, row.owner);
            if shown(&after) != shown(&row) {
                prop_assert!(applied.effects.contains(&Effect::Project));
                prop_assert!(applied.effects.iter().any(|effect| matches!(effect, Effect::Activity(_))));
            }
            let woken = applied.effects.iter().any(|e| matches!(e, Effect::SetTimer(_) | Effect::ClearTimer));
            prop_assert_eq!(woken, after.snoozed_until != row.snoozed_until);
            row = after;
        }
    }
}
