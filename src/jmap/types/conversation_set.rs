//! Conversation/set: claim, hand-off, status, tags, watchers, through the one state machine.
//!
//! Conversations begin with messages and never go, so that only updates are possible. An update is
//! one event: all of it happens, or none. Properties that are sent back as they were say nothing.
//! The answer tells what changed otherwise than asked, above all the new `version`.

use super::conversation::{Conversation, to_json};
use super::team;
use crate::inbox::change::Change;
use crate::inbox::desk::Staff;
use crate::inbox::machine::{Event, Expect};
use crate::inbox::notes::Text;
use crate::inbox::refusal;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::object::*;
use crate::jmap::set::Outcome;
use crate::store::rows::team::{ConversationRow, Priority, Status};
use crate::types::{ConversationId, Millis, PrincipalId, UtcDate};
use serde_json::{Map, Value};

/// What Conversation/set takes beside the standard arguments.
#[derive(Default)]
pub struct SetArgs {
    /// Conversation id → the note that goes with its new owner, in Markdown. Both or neither.
    handoff_notes: Map<String, Value>,
}

type Set<'c, 't> = SetCall<'c, 't, SetArgs>;

impl SetObject for Conversation {
    type SetArgs = SetArgs;

    fn set_args(ctx: &Ctx, args: &mut Args) -> Result<SetArgs, MethodError> {
        let mut own = SetArgs::default();
        if ctx.using.contains(Capability::Ownership) && ctx.using.contains(Capability::Notes) {
            own.handoff_notes = args.object("handoffNote")?.unwrap_or_default();
        }
        if !own.handoff_notes.values().all(Value::is_string) {
            return Err(MethodError::argument("handoffNote", "must map conversation ids to strings"));
        }
        Ok(own)
    }

    fn create(_set: &mut Set<'_, '_>, _properties: Map<String, Value>) -> Result<Created, Refusal> {
        Err(SetError::forbidden("A conversation begins with a message and can't be created.").into())
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = ConversationId::parse(update.id).ok_or(SetErrorKind::NotFound)?;
        let change = read_change(&update)?;
        let note = set.args.handoff_notes.get(update.id).and_then(Value::as_str);
        if note.is_some() && change.owner.is_none() {
            let why = "A hand-off note goes with a new owner.";
            return Err(SetError::properties(["ownerId"], why).into());
        }
        let before = row(set, id)?;
        let expect = expect(set.expected, update.id, &before);
        let staff = team::staff(set.ctx, set.account);
        let expect = expect.map_err(|no| team::set_error(&no, &staff))?;
        apply(set, id, &staff, Event::Set { change, expect }, note)?;
        let after = row(set, id)?;
        Ok(told(set.ctx, &update, &before, &after))
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = ConversationId::parse(id).ok_or(SetErrorKind::NotFound)?;
        row(set, id)?;
        Err(SetError::forbidden("Conversations can't be destroyed; close it instead.").into())
    }

    fn after_set(set: &mut Set<'_, '_>, outcome: &Outcome) -> Result<Vec<(Target, SetError)>, MethodError> {
        let answered = |id: &String| {
            outcome.updated.contains_key(id) || outcome.not_updated.iter().any(|(refused, _)| refused == id)
        };
        match set.args.handoff_notes.keys().find(|id| !answered(id)) {
            None => Ok(Vec::new()),
            Some(id) => {
                Err(MethodError::argument("handoffNote", &format!("{id} isn't updated in this call")))
            }
        }
    }
}

fn row(set: &Set<'_, '_>, id: ConversationId) -> Result<ConversationRow, Refusal> {
    Ok(set.reader().row::<ConversationRow>(set.account.id, id)?.ok_or(SetErrorKind::NotFound)?)
}

fn apply(
    set: &mut Set<'_, '_>,
    id: ConversationId,
    staff: &Staff,
    event: Event,
    note: Option<&str>,
) -> Result<(), Refusal> {
    let mut desk = team::desk(set.ctx, set.account, set.txn, staff)?;
    desk.apply(id, &event, Vec::new()).map_err(|error| team::refused(error, staff))?;
    if let Some(body) = note {
        let text = Text { body: body.to_owned(), ..Text::default() };
        desk.create_note(id, None, text).map_err(|error| match team::refused(error, staff) {
            // The note's own properties aren't properties of a conversation.
            Refusal::Object(SetError { kind: SetErrorKind::InvalidProperties { .. }, description }) => {
                SetError { kind: SetErrorKind::InvalidProperties { properties: vec![] }, description }.into()
            }
            other => other,
        })?;
    }
    Ok(())
}

/// What the client expects of the conversation. A version or an owner that isn't even spelled
/// right can't be what it has.
fn expect(expected: &Expected, id: &str, row: &ConversationRow) -> Result<Expect, refusal::Refusal> {
    let version = row.version;
    let if_version = match expected.version(id) {
        None => None,
        Some(text) if text == version.to_string() => Some(version),
        Some(_) => return Err(refusal::Refusal::VersionMismatch { version }),
    };
    let if_owner = match expected.owner(id) {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => match PrincipalId::parse(text) {
            Some(owner) => Some(Some(owner)),
            None => return Err(refusal::Refusal::OwnerMismatch { owner: row.owner, version }),
        },
    };
    Ok(Expect { if_version, if_owner })
}

/// The properties that differ, as the rules take them.
fn read_change(update: &Update<'_>) -> Result<Change, SetError> {
    let mut change = Change::default();
    for (name, value) in update.new {
        if update.old.get(name) == Some(value) {
            continue;
        }
        let unknown = |why: &'static str| SetError::properties([name.as_str()], why);
        let principal =
            |text: &str| PrincipalId::parse(text).ok_or_else(|| unknown("There is no such principal."));
        let text = value.as_str().map(str::to_owned);
        match name.as_str() {
            "ownerId" => change.owner = Some(text.as_deref().map(principal).transpose()?),
            "teamId" => change.team = Some(text.as_deref().map(principal).transpose()?),
            "watcherIds" => {
                let watchers = team::set_names(value).map(|id| principal(id));
                change.watchers = Some(watchers.collect::<Result<_, _>>()?);
            }
            "status" => {
                let status = text.as_deref().and_then(Status::parse);
                change.status = Some(status.ok_or_else(|| unknown("There is no such status."))?);
            }
            "snoozedUntil" => {
                let until = text.as_deref().and_then(UtcDate::parse);
                change.snoozed_until = Some(until.map(|date| Millis(date.0.saturating_mul(1000))));
            }
            "resolution" => change.resolution = Some(text),
            "category" => change.category = Some(text),
            "tags" => change.tags = Some(team::set_names(value).cloned().collect()),
            "priority" => {
                let priority = text.as_deref().and_then(Priority::parse);
                change.priority = Some(priority.ok_or_else(|| unknown("There is no such priority."))?);
            }
            _ => {}
        }
    }
    Ok(change)
}

/// What is otherwise than the client now thinks.
fn told(
    ctx: &Ctx,
    update: &Update<'_>,
    before: &ConversationRow,
    after: &ConversationRow,
) -> Option<Map<String, Value>> {
    let props = Props::by_default(Conversation::table(), ctx.using);
    let mut thought = to_json(ctx, update.id, before, &props);
    thought.extend(update.new.iter().map(|(name, value)| (name.clone(), value.clone())));
    let mut now = to_json(ctx, update.id, after, &props);
    now.retain(|name, value| thought.get(name) != Some(value));
    (!now.is_empty()).then_some(now)
}
