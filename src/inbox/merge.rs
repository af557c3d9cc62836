//! Merge, its undo, and split.
//!
//! The caller moves the messages and says with [`Contents`] what each side then holds; the rows
//! follow from that. A merged conversation keeps its status, owner and snooze for an undo, and
//! answers everything else with where it went.

use super::machine::{Applied, Context, Draft, Effect, Value};
use super::messages::empty;
use super::refusal::Refusal;
use super::status;
use crate::store::rows::team::{
    ActivityKind, ActivityValue, ConversationRow, Participant, ParticipantRow, Reason, Status,
};
use crate::types::limits::PARTICIPANTS_MAX;
use crate::types::{ConversationId, Millis, ThreadId};

/// What a conversation's messages add up to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    pub thread_ids: Vec<ThreadId>,
    pub participants: Vec<ParticipantRow>,
    pub message_count: u32,
    pub note_count: u32,
    pub first_inbound_at: Option<Millis>,
    pub last_inbound_at: Option<Millis>,
    pub last_outbound_at: Option<Millis>,
    pub first_reply_at: Option<Millis>,
    pub unanswered_since: Option<Millis>,
}

/// What one message was to its conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// Inbound from a person.
    Person,
    /// Inbound automatic, and DSNs.
    Automatic,
    Reply,
    /// Sent by us, no reply.
    Other,
    /// Internal or imported.
    Internal,
}

/// One non-draft message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageFacts {
    pub thread: ThreadId,
    pub at: Millis,
    pub kind: MessageKind,
    /// A close settled it: a customer's later message began a new wait.
    pub settled: bool,
    /// People from outside on it.
    pub participants: Vec<Participant>,
}

/// Adds messages up, as if they had come one by one in the order of their time.
pub fn contents(messages: &[MessageFacts], note_count: u32) -> Contents {
    let mut sorted: Vec<&MessageFacts> = messages.iter().collect();
    sorted.sort_by_key(|message| message.at);
    let mut sum = Contents { note_count, ..Contents::default() };
    for message in sorted {
        sum.message_count = sum.message_count.saturating_add(1);
        sum.thread_ids.push(message.thread);
        let people = message.participants.iter().map(|person| ParticipantRow {
            address: person.address.clone(),
            name: person.name.clone(),
            first_seen_at: message.at,
            outside: true,
        });
        join_participants(&mut sum.participants, people);
        match message.kind {
            MessageKind::Person => {
                sum.first_inbound_at.get_or_insert(message.at);
                if !message.settled {
                    sum.unanswered_since.get_or_insert(message.at);
                }
                sum.last_inbound_at = Some(message.at);
            }
            MessageKind::Automatic => sum.last_inbound_at = Some(message.at),
            MessageKind::Reply => {
                sum.unanswered_since = None;
                sum.last_outbound_at = Some(message.at);
                if sum.first_inbound_at.is_some() {
                    sum.first_reply_at.get_or_insert(message.at);
                }
            }
            MessageKind::Other => sum.last_outbound_at = Some(message.at),
            MessageKind::Internal => {}
        }
    }
    sum.thread_ids.sort_unstable();
    sum.thread_ids.dedup();
    sum
}

pub(super) fn merged_into(draft: &mut Draft<'_>, target: ConversationId) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    draft.row.merged_into = Some(target);
    draft.row.message_count = 0;
    draft.row.note_count = 0;
    draft.row.waiting_since = None;
    draft.bump();
    draft.effects.push(Effect::EndLock { of: None });
    draft.log(ActivityKind::MergedInto, Value::NONE, ActivityValue::Conversation(target).into());
    draft.project();
    Ok(())
}

/// The target takes in `from` as it was before the merge.
pub(super) fn took_in(
    draft: &mut Draft<'_>,
    source: ConversationId,
    from: &ConversationRow,
) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    if from.merged_into.is_some() {
        return Err(Refusal::InvalidProperties {
            properties: vec!["mergedIntoId"],
            why: "That conversation was merged already.",
        });
    }
    let row = &mut draft.row;
    row.thread_ids.extend(&from.thread_ids);
    row.thread_ids.sort_unstable();
    row.thread_ids.dedup();
    join_participants(&mut row.participants, from.participants.iter().cloned());
    row.watchers.extend(&from.watchers);
    row.watchers.sort_unstable();
    row.watchers.dedup();
    row.siblings.extend(&from.siblings);
    row.siblings.sort_unstable();
    row.siblings.dedup();
    row.message_count = row.message_count.saturating_add(from.message_count);
    row.note_count = row.note_count.saturating_add(from.note_count);
    row.customer = row.customer.take().or_else(|| from.customer.clone());
    row.first_inbound_at = earliest(row.first_inbound_at, from.first_inbound_at);
    row.last_inbound_at = row.last_inbound_at.max(from.last_inbound_at);
    row.last_outbound_at = row.last_outbound_at.max(from.last_outbound_at);
    row.first_reply_at = earliest(row.first_reply_at, from.first_reply_at);
    // A close settled what was unanswered before it, on either side.
    let open_wait =
        |row: &ConversationRow| if row.status == Status::Closed { None } else { row.unanswered_since };
    let wait = earliest(open_wait(row), open_wait(from));
    draft.bump();
    draft.log(ActivityKind::Merged, ActivityValue::Conversation(source).into(), Value::NONE);
    draft.because(Reason::Merge, ActivityValue::Conversation(source));
    // Closed means resolved: work that comes in opens what it comes into.
    if draft.row.status == Status::Closed && from.status != Status::Closed {
        status::enter(draft, Status::Open, None);
    }
    if draft.row.status != Status::Closed {
        draft.row.unanswered_since = wait;
        draft.row.waiting_since = wait;
    }
    draft.project();
    Ok(())
}

pub(super) fn gave_back(
    draft: &mut Draft<'_>,
    source: ConversationId,
    contents: &Contents,
) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    fill(&mut draft.row, contents);
    draft.row.customer = customer_of(&draft.row.participants, &draft.row);
    draft.bump();
    draft.log(ActivityKind::MergeUndone, ActivityValue::Conversation(source).into(), Value::NONE);
    draft.project();
    Ok(())
}

pub(super) fn merge_undone(draft: &mut Draft<'_>, contents: &Contents) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    let Some(target) = draft.row.merged_into.take() else {
        return Err(Refusal::InvalidProperties {
            properties: vec!["mergedIntoId"],
            why: "That conversation isn't merged.",
        });
    };
    let before = draft.row.last_inbound_at;
    fill(&mut draft.row, contents);
    draft.bump();
    draft.log(ActivityKind::MergeUndone, Value::NONE, ActivityValue::Conversation(target).into());
    draft.because(Reason::Merge, ActivityValue::Conversation(target));
    // Whoever left meanwhile doesn't own it again; whoever wrote meanwhile waits; a snooze whose
    // time passed meanwhile is over.
    if draft.row.status != Status::Closed {
        super::ownership::drop_departed(draft);
    }
    let answered_meanwhile = draft.row.last_inbound_at > before && draft.row.unanswered_since.is_some();
    let overslept = draft.row.snoozed_until.is_some_and(|until| until <= draft.context.now);
    if answered_meanwhile || overslept {
        status::enter(draft, Status::Open, None);
    }
    draft.project();
    Ok(())
}

pub(super) fn split_off(
    draft: &mut Draft<'_>,
    new: ConversationId,
    contents: &Contents,
) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    if contents.message_count == 0 {
        return Err(Refusal::InvalidProperties {
            properties: vec!["emailIds"],
            why: "A split must leave at least one message where it was.",
        });
    }
    fill(&mut draft.row, contents);
    draft.row.customer = customer_of(&draft.row.participants, &draft.row);
    draft.bump();
    draft.log(ActivityKind::SplitOff, Value::NONE, ActivityValue::Conversation(new).into());
    draft.project();
    Ok(())
}

/// The new conversation of a split: open, with the owner, team, category and tags of the old one.
pub fn begin_split(
    from: &ConversationRow,
    source: ConversationId,
    subject: String,
    contents: &Contents,
    context: Context<'_>,
) -> Result<Applied, Refusal> {
    context.actor.must_be_agent()?;
    let before = empty(context.now, subject, None);
    let mut draft = Draft::new(before.clone(), context);
    draft.row.owner = from.owner.filter(|&owner| context.roster.can_own(owner));
    draft.row.team = from.team;
    draft.row.category.clone_from(&from.category);
    draft.row.tags.clone_from(&from.tags);
    draft.row.siblings.clone_from(&from.siblings);
    fill(&mut draft.row, contents);
    draft.row.customer = customer_of(&draft.row.participants, from);
    draft.bump();
    draft.log(ActivityKind::Created, ActivityValue::Conversation(source).into(), Value::NONE);
    draft.project();
    Ok(draft.finish(&before))
}

/// The old customer if they take part, else the first who does.
fn customer_of(participants: &[ParticipantRow], from: &ConversationRow) -> Option<Participant> {
    let key = from.customer.as_ref().map(|customer| customer.address.key());
    if participants.iter().any(|person| Some(person.address.key()) == key) {
        return from.customer.clone();
    }
    let first = participants.iter().find(|person| person.outside)?;
    Some(Participant { name: first.name.clone(), address: first.address.clone() })
}

fn fill(row: &mut ConversationRow, contents: &Contents) {
    row.thread_ids.clone_from(&contents.thread_ids);
    row.participants.clone_from(&contents.participants);
    row.message_count = contents.message_count;
    row.note_count = contents.note_count;
    row.first_inbound_at = contents.first_inbound_at;
    row.last_inbound_at = contents.last_inbound_at;
    row.last_outbound_at = contents.last_outbound_at;
    row.first_reply_at = contents.first_reply_at;
    row.unanswered_since = contents.unanswered_since;
    row.waiting_since = if row.status == Status::Closed { None } else { contents.unanswered_since };
}

fn join_participants(into: &mut Vec<ParticipantRow>, people: impl Iterator<Item = ParticipantRow>) {
    for person in people {
        let key = person.address.key();
        let has_room = into.len() < PARTICIPANTS_MAX;
        match into.iter_mut().find(|known| known.address.key() == key) {
            Some(known) => known.first_seen_at = known.first_seen_at.min(person.first_seen_at),
            None if has_room => into.push(person),
            None => {}
        }
    }
}

fn earliest(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    one.into_iter().chain(other).min()
}
