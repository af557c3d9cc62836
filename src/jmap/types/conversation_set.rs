//! Conversation/set: claim, hand-off, status, tags, watchers, merge and split, through the one state
//! machine.
//!
//! Conversations begin with messages and never go: a create is a split, which names messages of
//! another conversation, and nothing is destroyed. An update is all or nothing. `mergedIntoId` merges
//! the conversation into that one, and null takes the merge back. Properties that are sent back as
//! they were say nothing. The answer tells what changed otherwise than asked, above all the new
//! `version`.

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
use crate::jmap::session::Account;
use crate::jmap::set::Outcome;
use crate::store::rows::team::{ConversationRow, Priority, Status};
use crate::types::{ConversationId, EmailId, Millis, PrincipalId, UtcDate};
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

    /// What isn't named is as in the conversation that the messages leave.
    const HAS_DEFAULTS: bool = false;

    fn create(set: &mut Set<'_, '_>, mut properties: Map<String, Value>) -> Result<Created, Refusal> {
        let unknown = || SetError::properties(["emailIds"], "There is no such message in a conversation.");
        let mut emails = Vec::new();
        for id in properties.shift_remove("emailIds").iter().filter_map(Value::as_array).flatten() {
            let email = id.as_str().and_then(EmailId::parse).ok_or_else(unknown)?;
            if !emails.contains(&email) {
                emails.push(email);
            }
        }
        let subject = properties.shift_remove("subject");
        let subject = subject.as_ref().and_then(Value::as_str).map(str::to_owned);
        if properties.shift_remove("mergedIntoId").is_some_and(|into| !into.is_null()) {
            return Err(SetError::properties(["mergedIntoId"], "What is split off isn't merged.").into());
        }
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        let id = desk.split(&emails, subject).map_err(|error| team::refused(error, &staff))?;
        let change = read_change(&Map::new(), &properties)?;
        if !change.is_empty() {
            apply(set, id, &staff, Event::Set { change, expect: Expect::default() }, None)?;
        }
        let props = Props::by_default(Conversation::table(), set.ctx.using);
        let mut told = to_json(set.ctx, set.account, &id.to_string(), &row(set, id)?, &props);
        told.shift_remove("id");
        Ok(Created { id: id.to_string(), properties: told })
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = ConversationId::parse(update.id).ok_or(SetErrorKind::NotFound)?;
        let change = read_change(update.old, update.new)?;
        let note = set.args.handoff_notes.get(update.id).and_then(Value::as_str);
        if note.is_some() && change.owner.is_none() {
            let why = "A hand-off note goes with a new owner.";
            return Err(SetError::properties(["ownerId"], why).into());
        }
        let before = row(set, id)?;
        let expect = expect(set.expected, update.id, &before);
        let staff = team::staff(set.ctx, set.account);
        let expect = expect.map_err(|no| team::set_error(&no, &staff))?;
        change_one(set, id, &staff, Wish { change, merge: read_merge(&update)?, expect, note })?;
        let after = row(set, id)?;
        Ok(told(set.ctx, set.account, &update, &before, &after))
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

/// All that one update asks for.
struct Wish<'w> {
    change: Change,
    /// The conversation to merge into; the inner null takes a merge back.
    merge: Option<Option<ConversationId>>,
    expect: Expect,
    note: Option<&'w str>,
}

fn change_one(
    set: &mut Set<'_, '_>,
    id: ConversationId,
    staff: &Staff,
    wish: Wish<'_>,
) -> Result<(), Refusal> {
    let Wish { change, merge, mut expect, note } = wish;
    // A merged conversation takes no other change, so that an undo comes first and a merge last. What
    // the client expects is asked of the conversation as it was, once.
    if merge == Some(None) {
        let mut desk = team::desk(set.ctx, set.account, set.txn, staff)?;
        desk.unmerge(id, expect).map_err(|error| team::refused(error, staff))?;
        expect = Expect::default();
    }
    if merge.is_none() || !change.is_empty() {
        apply(set, id, staff, Event::Set { change, expect }, note)?;
        expect = Expect::default();
    }
    if let Some(Some(into)) = merge {
        let mut desk = team::desk(set.ctx, set.account, set.txn, staff)?;
        desk.merge(id, into, expect).map_err(|error| team::refused(error, staff))?;
    }
    Ok(())
}

/// What an update says of `mergedIntoId`, where it says something new.
fn read_merge(update: &Update<'_>) -> Result<Option<Option<ConversationId>>, SetError> {
    let Some(value) = update.new.get("mergedIntoId") else { return Ok(None) };
    if update.old.get("mergedIntoId") == Some(value) {
        return Ok(None);
    }
    let unknown = || SetError::properties(["mergedIntoId"], "There is no such conversation.");
    value.as_str().map(|id| ConversationId::parse(id).ok_or_else(unknown)).transpose().map(Some)
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
fn read_change(old: &Map<String, Value>, new: &Map<String, Value>) -> Result<Change, SetError> {
    let mut change = Change::default();
    for (name, value) in new {
        if old.get(name) == Some(value) {
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
    account: &Account,
    update: &Update<'_>,
    before: &ConversationRow,
    after: &ConversationRow,
) -> Option<Map<String, Value>> {
    let props = Props::by_default(Conversation::table(), ctx.using);
    let mut thought = to_json(ctx, account, update.id, before, &props);
    thought.extend(update.new.iter().map(|(name, value)| (name.clone(), value.clone())));
    let mut now = to_json(ctx, account, update.id, after, &props);
    now.retain(|name, value| thought.get(name) != Some(value));
    (!now.is_empty()).then_some(now)
}
