//! Messages: what each kind does to its conversation, and how a conversation begins.

use super::machine::{Applied, Context, Draft, Effect, Expect, Value};
use super::merge::Contents;
use super::refusal::Refusal;
use super::{change, ownership, status};
use crate::store::rows::team::{
    ActivityKind, ActivityValue, ConversationRow, InboxSettingsRow, Participant, ParticipantRow, Priority,
    Reason, Status,
};
use crate::types::limits::PARTICIPANTS_MAX;
use crate::types::{Address, ConversationId, EmailId, Millis, PrincipalId, SubmissionId};
use std::time::Duration;

/// A message from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inbound {
    pub email: EmailId,
    pub at: Millis,
    /// From; null where a message has none that can be read.
    pub from: Option<Participant>,
    pub reply_to: Option<Participant>,
    /// Reply-To, To and Cc, without the inbox's own addresses: who is answered there is answered.
    pub others: Vec<Participant>,
    /// RFC 3834 or its shape says that no person wrote it.
    pub automatic: bool,
    /// A stranger who quotes a known subject or id: joins, never becomes the customer.
    pub flagged: bool,
}

/// A message of ours that came back for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryFailed {
    pub submission: SubmissionId,
    /// The DSN, if the failure came as mail.
    pub dsn: Option<(EmailId, Millis)>,
}

/// A message that went out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbound {
    pub email: EmailId,
    pub submission: SubmissionId,
    pub at: Millis,
    /// A participant from outside is among its envelope recipients ([`is_reply`]).
    pub reply: bool,
    /// Written by no person: an acknowledgement, a rule's answer.
    pub automatic: bool,
    /// It was no draft, so that the conversation counts it as a message already.
    pub counted: bool,
    /// To and Cc, without the inbox's own addresses. They take part from a reply on.
    pub recipients: Vec<Participant>,
    pub then_status: Option<Status>,
    pub then_owner: Option<Option<PrincipalId>>,
    /// The submission's `ifVersion`, which the gate has judged.
    pub if_version: Option<u64>,
}

/// True where a participant from outside is among the envelope recipients.
pub fn is_reply(row: &ConversationRow, recipients: &[Address]) -> bool {
    let outside: Vec<String> =
        row.participants.iter().filter(|p| p.outside).map(|participant| participant.address.key()).collect();
    recipients.iter().any(|recipient| outside.contains(&recipient.key()))
}

/// True where the sender counts as a person: no automatic mail, or a trusted web form.
pub fn is_from_person(inbound: &Inbound, settings: &InboxSettingsRow) -> bool {
    !inbound.automatic || is_trusted(inbound, settings)
}

fn is_trusted(inbound: &Inbound, settings: &InboxSettingsRow) -> bool {
    let key = inbound.from.as_ref().map(|from| from.address.key());
    inbound.automatic
        && key.is_some_and(|key| settings.trusted_automatic.iter().any(|trusted| trusted.key() == key))
}

/// Who the customer would be by this message: From, or Reply-To of a trusted web form.
fn correspondent<'a>(inbound: &'a Inbound, settings: &InboxSettingsRow) -> Option<&'a Participant> {
    let answered = if is_trusted(inbound, settings) { inbound.reply_to.as_ref() } else { None };
    answered.or(inbound.from.as_ref())
}

/// A conversation with nothing in it: open, unowned.
pub fn empty(now: Millis, subject: String, previous: Option<ConversationId>) -> ConversationRow {
    ConversationRow {
        thread_ids: Vec::new(),
        subject,
        customer: None,
        participants: Vec::new(),
        owner: None,
        owner_set: None,
        team: None,
        status: Status::Open,
        status_set: None,
        snoozed_until: None,
        resolution: None,
        category: None,
        tags: Vec::new(),
        priority: Priority::Normal,
        watchers: Vec::new(),
        created_at: now,
        first_inbound_at: None,
        last_inbound_at: None,
        last_outbound_at: None,
        last_activity_at: now,
        waiting_since: None,
        unanswered_since: None,
        first_reply_at: None,
        closed_at: None,
        closed_by: None,
        reopen_count: 0,
        previous,
        merged_into: None,
        siblings: Vec::new(),
        note_count: 0,
        message_count: 0,
        version: 0,
        last_lock_token: 0,
        category_set: None,
    }
}

/// How a conversation comes to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum First {
    Inbound(Inbound),
    /// We write first; the first recipient is the customer.
    Outbound(Outbound),
    Internal(EmailId),
    /// Imported old mail starts closed.
    Imported {
        email: EmailId,
        customer: Option<Participant>,
        others: Vec<Participant>,
    },
}

/// Begins a conversation with its first message.
pub fn begin(
    subject: String,
    previous: Option<ConversationId>,
    first: &First,
    context: Context<'_>,
) -> Result<Applied, Refusal> {
    let before = empty(context.now, subject, previous);
    let mut draft = Draft::new(before.clone(), context);
    draft.bump();
    let of = previous.map_or(ActivityValue::None, ActivityValue::Conversation);
    draft.log(ActivityKind::Created, of.into(), Value::NONE);
    match first {
        First::Inbound(message) => inbound(&mut draft, message),
        First::Outbound(message) => {
            draft.row.customer = message.recipients.first().cloned();
            take_part(&mut draft, &message.recipients, message.at);
            outbound(&mut draft, message)?;
        }
        First::Internal(email) => internal(&mut draft, *email),
        First::Imported { email, customer, others } => {
            draft.row.customer = customer.clone();
            let at = draft.context.now;
            take_part(&mut draft, customer.as_slice(), at);
            take_part(&mut draft, others, at);
            imported(&mut draft, *email);
            draft.because(Reason::Imported, ActivityValue::Email(*email));
            // The definition of done is about work; old mail is none.
            status::enter(&mut draft, Status::Closed, None);
        }
    }
    Ok(draft.finish(&before))
}

pub(super) fn inbound(draft: &mut Draft<'_>, message: &Inbound) {
    if begins_new(&draft.row, message, draft.context.settings) {
        draft.effects.push(Effect::BeginNew);
        return;
    }
    let person = is_from_person(message, draft.context.settings);
    draft.row.message_count = draft.row.message_count.saturating_add(1);
    draft.row.last_inbound_at = draft.row.last_inbound_at.max(Some(message.at));
    let from = correspondent(message, draft.context.settings).cloned();
    take_part(draft, from.as_slice(), message.at);
    take_part(draft, &message.others, message.at);
    if draft.row.customer.is_none() && !message.flagged {
        draft.row.customer = from;
    }
    let kind = if person { ActivityKind::InboundReceived } else { ActivityKind::AutomaticReceived };
    draft.message(kind, message.email, ActivityValue::None);
    if !person {
        return;
    }
    draft.because(Reason::InboundReceived, ActivityValue::Email(message.email));
    draft.row.first_inbound_at.get_or_insert(message.at);
    let reopens = draft.row.status == Status::Closed;
    if reopens {
        draft.row.reopen_count = draft.row.reopen_count.saturating_add(1);
        // What was open at the close was settled by it.
        draft.row.unanswered_since = None;
    }
    draft.row.unanswered_since.get_or_insert(message.at);
    status::enter(draft, Status::Open, None);
    draft.row.waiting_since = draft.row.unanswered_since;
}

/// What was thrown away waits for no answer, and what was taken out again waits like any other.
pub(super) fn sight_changed(draft: &mut Draft<'_>, contents: &Contents) {
    let row = &mut draft.row;
    let before = (row.unanswered_since, row.first_inbound_at);
    row.first_inbound_at = contents.first_inbound_at;
    row.unanswered_since = contents.unanswered_since;
    if row.status != Status::Closed {
        row.waiting_since = contents.unanswered_since;
    }
    if before != (row.unanswered_since, row.first_inbound_at) {
        draft.bump();
    }
}

/// A person's answer that comes too late: a new conversation begins with it.
pub fn begins_new(row: &ConversationRow, message: &Inbound, settings: &InboxSettingsRow) -> bool {
    is_from_person(message, settings) && comes_too_late(row, message.at, settings)
}

/// Closed longer ago than `reopenWithin`.
fn comes_too_late(row: &ConversationRow, at: Millis, settings: &InboxSettingsRow) -> bool {
    let within = Duration::from_secs(u64::from(settings.reopen_within_days) * 24 * 60 * 60);
    row.closed_at.is_some_and(|closed_at| at > closed_at.after(within))
}

pub(super) fn delivery_failed(draft: &mut Draft<'_>, failed: &DeliveryFailed) {
    let submission = ActivityValue::Submission(failed.submission);
    match failed.dsn {
        Some((email, at)) => {
            draft.row.message_count = draft.row.message_count.saturating_add(1);
            draft.row.last_inbound_at = draft.row.last_inbound_at.max(Some(at));
            draft.message(ActivityKind::DeliveryFailed, email, submission);
        }
        None => draft.log(ActivityKind::DeliveryFailed, submission.into(), Value::NONE),
    }
    let report = failed.dsn.map_or(submission, |(email, _)| ActivityValue::Email(email));
    draft.because(Reason::DeliveryFailed, report);
    status::enter(draft, Status::Open, None);
    draft.effects.push(Effect::MarkNew);
}

pub(super) fn outbound(draft: &mut Draft<'_>, message: &Outbound) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    draft.row.message_count = draft.row.message_count.saturating_add(u32::from(!message.counted));
    draft.row.last_outbound_at = draft.row.last_outbound_at.max(Some(message.at));
    let kind = match (message.automatic, message.reply) {
        (true, _) => ActivityKind::AutomaticSent,
        (false, true) => ActivityKind::ReplySent,
        (false, false) => ActivityKind::OtherSent,
    };
    let submission = ActivityValue::Submission(message.submission);
    draft.message(kind, message.email, submission);
    draft.because(Reason::AskedWithSend, submission);
    let counts = message.reply && !message.automatic;
    if counts {
        take_part(draft, &message.recipients, message.at);
        draft.row.unanswered_since = None;
        draft.row.waiting_since = None;
        if draft.row.first_inbound_at.is_some() {
            draft.row.first_reply_at.get_or_insert(message.at);
        }
    }
    then(draft, message, counts)
}

/// Owner first, since the definition of done may ask for one.
fn then(draft: &mut Draft<'_>, message: &Outbound, counts: bool) -> Result<(), Refusal> {
    let submission = ActivityValue::Submission(message.submission);
    if message.then_status != Some(Status::Closed) && (counts || message.then_status.is_some()) {
        ownership::drop_departed(draft);
    }
    match message.then_owner {
        Some(owner) => {
            let expect = Expect { if_version: message.if_version, if_owner: None };
            change::then_owner(draft, owner, expect)?;
        }
        None if counts => draft.while_because(Reason::OwnOnReply, submission, change::own_on_reply),
        None => {}
    }
    match message.then_status {
        Some(Status::Snoozed) => {
            return Err(Refusal::InvalidProperties {
                properties: vec!["thenStatus"],
                why: "A snooze needs a time: send first, then snooze the conversation.",
            });
        }
        Some(Status::Closed) => {
            if draft.row.status != Status::Closed {
                change::check_done(draft)?;
            }
            status::enter(draft, Status::Closed, None);
        }
        Some(named) => status::enter(draft, named, None),
        None if counts => {
            let to = status::after_reply(draft);
            draft.because(Reason::StatusAfterReply, submission);
            status::enter(draft, to, None);
        }
        None => {}
    }
    Ok(())
}

/// Mail between members: on record, nothing else.
pub(super) fn internal(draft: &mut Draft<'_>, email: EmailId) {
    draft.row.message_count = draft.row.message_count.saturating_add(1);
    draft.message(ActivityKind::InternalReceived, email, ActivityValue::None);
}

/// Drafts aren't counted; one that has lost its keyword is.
pub(super) fn draft_changed(draft: &mut Draft<'_>, is_draft: bool) {
    let count = draft.row.message_count;
    draft.row.message_count = if is_draft { count.saturating_sub(1) } else { count.saturating_add(1) };
    draft.bump();
}

/// A member destroyed it; a draft isn't told of.
pub(super) fn destroyed(draft: &mut Draft<'_>, email: EmailId) {
    draft.row.message_count = draft.row.message_count.saturating_sub(1);
    draft.bump();
    draft.log(ActivityKind::EmailDestroyed, ActivityValue::Email(email).into(), Value::NONE);
}

pub(super) fn imported(draft: &mut Draft<'_>, email: EmailId) {
    draft.row.message_count = draft.row.message_count.saturating_add(1);
    draft.message(ActivityKind::Imported, email, ActivityValue::None);
}

pub(super) fn send_held(draft: &mut Draft<'_>, email: EmailId, submission: SubmissionId, is_sent: bool) {
    draft.row.message_count = draft.row.message_count.saturating_add(u32::from(is_sent));
    draft.message(ActivityKind::SendHeld, email, ActivityValue::Submission(submission));
    draft.because(Reason::SendHeld, ActivityValue::Submission(submission));
    status::enter(draft, Status::Open, None);
    // Its owner and its sender notice by this; the draft that came back is new, too.
    draft.effects.push(Effect::MarkNew);
}

/// Adds people to the participants, each once, up to a limit. The given ones are from outside:
/// the caller left out members and the inbox's own addresses.
fn take_part(draft: &mut Draft<'_>, people: &[Participant], at: Millis) {
    for person in people {
        let key = person.address.key();
        let has_room = draft.row.participants.len() < PARTICIPANTS_MAX;
        let known = draft.row.participants.iter_mut().find(|known| known.address.key() == key);
        match known {
            Some(known) if known.name.is_none() => known.name.clone_from(&person.name),
            Some(_) => {}
            None if has_room => {
                draft.row.participants.push(ParticipantRow {
                    address: person.address.clone(),
                    name: person.name.clone(),
                    first_seen_at: at,
                    outside: true,
                });
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::machine::Event;
    use crate::inbox::support::{House, written};
    use crate::types::MemberRole;

    const SUPPORT: &[&str] = &["support@x.example"];

    fn addresses(row: &[ParticipantRow]) -> Vec<&str> {
        row.iter().map(|one| one.address.as_str()).collect()
    }

    #[test]
    fn an_answer_to_where_the_customer_wants_answers_is_a_reply() {
        let house = House::new();
        house.deliver(SUPPORT, "first", "Reply-To: Desk <desk@c.example>, help@x.example\r\n");
        let (id, row) = house.conversation_of(house.email("first@c.example"));
        assert_eq!(addresses(&row.participants), ["carl@c.example", "desk@c.example"]);
        assert_eq!(
            row.customer.map(|one| one.address.as_str().to_owned()),
            Some("carl@c.example".to_owned())
        );
        let answer = house.draft(&written("answer", "In-Reply-To: <first@c.example>\r\n"));
        house.send_to(answer, &["desk@c.example".to_owned()]);
        let (_, row) = house.conversation_of(answer);
        assert_eq!((row.status, row.owner, row.waiting_since), (Status::Pending, Some(house.bob), None));
        assert!(row.first_reply_at.is_some());
        // What the messages add up to says the same: a merge and a split count them again.
        let contents = house.at_desk(house.bob, MemberRole::Agent, |desk| Ok(desk.contents(id)?));
        assert_eq!(addresses(&contents.participants), ["carl@c.example", "desk@c.example"]);
    }

    #[test]
    fn an_answer_that_comes_too_late_leaves_nothing_in_the_old_conversation() {
        let house = House::new();
        house.deliver(SUPPORT, "first", "");
        let (old, _) = house.conversation_of(house.email("first@c.example"));
        let change = change::Change { status: Some(Status::Closed), ..change::Change::default() };
        house.at_desk(house.bob, MemberRole::Agent, |desk| {
            desk.apply(old, &Event::Set { change, expect: Expect::default() }, Vec::new())
        });
        house.server.store.clock.advance(Duration::from_secs(400 * 24 * 60 * 60));
        // Its subject is another, so that it is a Thread of its own.
        house.deliver(SUPPORT, "late", "In-Reply-To: <first@c.example>\r\n");
        let (new, row) = house.conversation_of(house.email("late@c.example"));
        let (_, before) = house.conversation_of(house.email("first@c.example"));
        assert_ne!(new, old);
        assert_eq!((row.previous, row.thread_ids.len()), (Some(old), 1));
        assert_eq!((before.thread_ids.len(), before.status, before.message_count), (1, Status::Closed, 1));
        assert!(!before.thread_ids.contains(&row.thread_ids[0]));
    }
}
