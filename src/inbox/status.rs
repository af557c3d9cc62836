//! Status: entering one, and the definition of done.

use super::machine::{Draft, Effect, Value};
use super::ownership;
use super::refusal::Refusal;
use crate::store::rows::team::{
    ActivityKind, ActivityValue, ConversationRow, InboxSettingsRow, Reason, Status,
};
use crate::types::Millis;

/// Where the last inbound Email went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// To Junk.
    Spam,
    /// To Trash.
    Deleted,
}

impl Gone {
    /// The resolution that the close gets.
    pub fn resolution(self) -> &'static str {
        match self {
            Gone::Spam => "spam",
            Gone::Deleted => "deleted",
        }
    }
}

/// What the definition of done demands and the conversation lacks, as property names.
pub fn missing(row: &ConversationRow, settings: &InboxSettingsRow) -> Vec<&'static str> {
    [
        ("category", settings.require_category && row.category.is_none()),
        ("resolution", settings.require_resolution && row.resolution.is_none()),
        ("ownerId", settings.require_owner && row.owner.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, is_missing)| is_missing.then_some(name))
    .collect()
}

/// Enters a status, with all that depends on it. `until` counts for snoozed only. Whether it is
/// allowed was asked before.
pub(super) fn enter(draft: &mut Draft<'_>, to: Status, until: Option<Millis>) {
    let from = draft.row.status;
    let until = if to == Status::Snoozed { until } else { None };
    if from != to {
        if from == Status::Closed {
            reopen(draft);
        }
        if to == Status::Closed {
            draft.row.closed_at = Some(draft.context.now);
            draft.row.closed_by = draft.actor().principal();
            draft.row.waiting_since = None;
        }
        draft.row.status = to;
        draft.row.status_set = draft.set_by();
        draft.bump();
        draft.log(
            ActivityKind::StatusChanged,
            ActivityValue::Status(from).into(),
            ActivityValue::Status(to).into(),
        );
    }
    if draft.row.snoozed_until != until {
        let before = draft.row.snoozed_until;
        draft.row.snoozed_until = until;
        draft.row.status_set = draft.set_by();
        draft.bump();
        draft.log(ActivityKind::SnoozedUntilChanged, Value::moment(before), Value::moment(until));
    }
}

/// What leaving closed takes back, whoever opens.
fn reopen(draft: &mut Draft<'_>) {
    draft.row.closed_at = None;
    draft.row.closed_by = None;
    draft.row.waiting_since = draft.row.unanswered_since;
    // What the server resolved by itself isn't true of a conversation that goes on.
    if let Some(resolution) = draft.row.resolution.clone()
        && [Gone::Spam, Gone::Deleted].iter().any(|how| how.resolution() == resolution)
    {
        set_resolution(draft, None);
    }
    ownership::drop_departed(draft);
}

/// Sets the resolution; whether it is allowed was asked before.
pub(super) fn set_resolution(draft: &mut Draft<'_>, resolution: Option<&str>) {
    if draft.row.resolution.as_deref() == resolution {
        return;
    }
    let before = draft.row.resolution.take();
    draft.row.resolution = resolution.map(str::to_owned);
    draft.bump();
    draft.log(ActivityKind::ResolutionChanged, Value::text(before.as_deref()), Value::text(resolution));
}

/// The status that a reply leads to where its sender names none. A close that the definition of
/// done forbids becomes pending: a reply that is ready to go isn't stopped by a default.
pub(super) fn after_reply(draft: &Draft<'_>) -> Status {
    match draft.context.settings.status_after_reply {
        Status::Closed if !missing(&draft.row, draft.context.settings).is_empty() => Status::Pending,
        Status::Snoozed => Status::Pending,
        status => status,
    }
}

pub(super) fn snooze_reached(draft: &mut Draft<'_>) {
    let due = draft.row.snoozed_until.is_some_and(|until| until <= draft.context.now);
    // A timer that lost against a change finds nothing to do.
    if draft.row.status != Status::Snoozed || !due || draft.row.merged_into.is_some() {
        return;
    }
    let due = draft.row.snoozed_until.map_or(ActivityValue::None, ActivityValue::Moment);
    draft.because(Reason::SnoozedUntil, due);
    enter(draft, Status::Open, None);
    draft.effects.push(Effect::MarkNew);
}

/// The definition of done isn't asked: there is nothing left to be done with.
pub(super) fn inbound_gone(draft: &mut Draft<'_>, how: Gone) -> Result<(), Refusal> {
    draft.actor().must_be_agent()?;
    if draft.row.status != Status::Closed {
        draft.because(Reason::NoInboundLeft, ActivityValue::None);
        set_resolution(draft, Some(how.resolution()));
        enter(draft, Status::Closed, None);
    }
    Ok(())
}
