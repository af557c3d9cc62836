//! What a member sets on a conversation: one change, all or nothing.

use super::machine::{Actor, Draft, Expect, Value};
use super::refusal::Refusal;
use super::{ownership, status};
use crate::store::rows::team::{ActivityKind, ActivityValue, Priority, Reason, Status};
use crate::types::limits::{TAG_BYTES_MAX, TAGS_MAX};
use crate::types::{EmailId, MemberRole, Millis, PrincipalId};

/// Properties to set; null leaves one as it is. An inner null is a null that is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    pub status: Option<Status>,
    pub snoozed_until: Option<Option<Millis>>,
    pub owner: Option<Option<PrincipalId>>,
    pub team: Option<Option<PrincipalId>>,
    pub category: Option<Option<String>>,
    pub resolution: Option<Option<String>>,
    /// All tags, in any order.
    pub tags: Option<Vec<String>>,
    pub priority: Option<Priority>,
    /// All watchers, in any order.
    pub watchers: Option<Vec<PrincipalId>>,
    /// The Email whose mailboxes say all of this; null where it was set on the conversation.
    pub by_move: Option<EmailId>,
}

impl Change {
    /// True where nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }

    fn is_work(&self) -> bool {
        Change { watchers: None, ..self.clone() } != Change::default()
    }
}

pub(super) fn set(draft: &mut Draft<'_>, change: &Change, expect: Expect) -> Result<(), Refusal> {
    if change.is_work() {
        draft.actor().must_be_agent()?;
    }
    check_expectations(draft, expect)?;
    let lacked = status::missing(&draft.row, draft.context.settings);
    if let Some(email) = change.by_move {
        draft.because(Reason::MailboxMove, ActivityValue::Email(email));
    }
    if let Some(owner) = change.owner {
        check_owner(draft, owner)?;
        ownership::check(&draft.row, owner, expect, draft.actor())?;
        ownership::set_owner(draft, owner);
    }
    if let Some(team) = change.team {
        set_team(draft, team)?;
    }
    if let Some(category) = &change.category {
        set_category(draft, category.as_deref())?;
    }
    if let Some(resolution) = &change.resolution {
        check_word(resolution.as_deref(), &draft.context.settings.resolutions, "resolution")?;
        status::set_resolution(draft, resolution.as_deref());
    }
    if let Some(tags) = &change.tags {
        set_tags(draft, tags)?;
    }
    if let Some(priority) = change.priority {
        set_priority(draft, priority);
    }
    if let Some(watchers) = &change.watchers {
        set_watchers(draft, watchers)?;
    }
    // Last, because the definition of done is asked of what the whole change makes.
    set_status(draft, change, &lacked)
}

fn check_expectations(draft: &Draft<'_>, expect: Expect) -> Result<(), Refusal> {
    let row = &draft.row;
    if expect.if_version.is_some_and(|version| version != row.version) {
        return Err(Refusal::VersionMismatch { version: row.version });
    }
    if expect.if_owner.is_some_and(|owner| owner != row.owner) {
        return Err(Refusal::OwnerMismatch { owner: row.owner, version: row.version });
    }
    Ok(())
}

/// An owner is always an individual who may work here.
pub(super) fn check_owner(draft: &Draft<'_>, owner: Option<PrincipalId>) -> Result<(), Refusal> {
    if owner.is_none_or(|owner| draft.row.owner == Some(owner) || draft.context.roster.can_own(owner)) {
        return Ok(());
    }
    Err(invalid("ownerId", "The owner must be a member of the inbox who may answer mail."))
}

fn set_status(draft: &mut Draft<'_>, change: &Change, lacked: &[&'static str]) -> Result<(), Refusal> {
    let to = change.status.unwrap_or(draft.row.status);
    let until = match (to, change.snoozed_until) {
        (Status::Snoozed, Some(Some(until))) if until > draft.context.now => Some(until),
        (Status::Snoozed, None) if draft.row.status == Status::Snoozed => draft.row.snoozed_until,
        (Status::Snoozed, _) => {
            return Err(invalid("snoozedUntil", "A snooze needs a time in the future."));
        }
        (_, Some(Some(_))) => {
            return Err(invalid("snoozedUntil", "Only a snoozed conversation has a time to come back."));
        }
        (_, _) => None,
    };
    if to == Status::Closed {
        // A closed conversation may not lose what its close needed, either.
        let lacked = if draft.row.status == Status::Closed { lacked } else { &[] };
        let missing = status::missing(&draft.row, draft.context.settings);
        let missing: Vec<_> = missing.into_iter().filter(|name| !lacked.contains(name)).collect();
        if !missing.is_empty() {
            return Err(Refusal::NotDone { missing });
        }
    }
    status::enter(draft, to, until);
    Ok(())
}

/// Refuses a close that the definition of done doesn't allow.
pub(super) fn check_done(draft: &Draft<'_>) -> Result<(), Refusal> {
    let missing = status::missing(&draft.row, draft.context.settings);
    if missing.is_empty() { Ok(()) } else { Err(Refusal::NotDone { missing }) }
}

fn set_team(draft: &mut Draft<'_>, team: Option<PrincipalId>) -> Result<(), Refusal> {
    if draft.row.team == team {
        return Ok(());
    }
    if team.is_some_and(|team| !draft.context.roster.teams.contains(&team)) {
        return Err(invalid("teamId", "That is no team of this inbox."));
    }
    let before = draft.row.team;
    draft.row.team = team;
    draft.bump();
    draft.log(ActivityKind::TeamChanged, Value::principal(before), Value::principal(team));
    Ok(())
}

fn set_category(draft: &mut Draft<'_>, category: Option<&str>) -> Result<(), Refusal> {
    if draft.row.category.as_deref() == category {
        return Ok(());
    }
    check_word(category, &draft.context.settings.categories, "category")?;
    let before = draft.row.category.take();
    draft.row.category = category.map(str::to_owned);
    draft.row.category_set = draft.set_by();
    draft.bump();
    draft.log(ActivityKind::CategoryChanged, Value::text(before.as_deref()), Value::text(category));
    Ok(())
}

/// A category or resolution is one of those allowed, or any short text where none are listed.
fn check_word(word: Option<&str>, allowed: &[String], property: &'static str) -> Result<(), Refusal> {
    let fits = |word: &str| {
        let listed = allowed.is_empty() || allowed.iter().any(|allowed| allowed == word);
        listed && !word.trim().is_empty() && word.len() <= TAG_BYTES_MAX
    };
    if word.is_none_or(fits) {
        return Ok(());
    }
    Err(invalid(property, "The inbox doesn't know that word."))
}

fn set_tags(draft: &mut Draft<'_>, tags: &[String]) -> Result<(), Refusal> {
    let mut tags = tags.to_vec();
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.trim().is_empty() || tag.len() > TAG_BYTES_MAX) {
        return Err(invalid("tags", "Too many tags, or one that is empty or too long."));
    }
    if tags == draft.row.tags {
        return Ok(());
    }
    let before = std::mem::replace(&mut draft.row.tags, tags.clone());
    draft.bump();
    for tag in before.iter().filter(|tag| !tags.contains(tag)) {
        draft.log(ActivityKind::TagRemoved, Value::Text(tag.clone()), Value::NONE);
    }
    for tag in tags.into_iter().filter(|tag| !before.contains(tag)) {
        draft.log(ActivityKind::TagAdded, Value::NONE, Value::Text(tag));
    }
    Ok(())
}

fn set_priority(draft: &mut Draft<'_>, priority: Priority) {
    let before = std::mem::replace(&mut draft.row.priority, priority);
    if before != priority {
        draft.bump();
        draft.log(
            ActivityKind::PriorityChanged,
            ActivityValue::Priority(before).into(),
            ActivityValue::Priority(priority).into(),
        );
    }
}

/// Everybody may watch; making others watch is work.
fn set_watchers(draft: &mut Draft<'_>, watchers: &[PrincipalId]) -> Result<(), Refusal> {
    // Who left isn't shown any more, and goes without a word.
    let members = &draft.context.roster.members;
    draft.row.watchers.retain(|watcher| members.contains_key(watcher));
    let before = draft.row.watchers.clone();
    let added: Vec<_> = watchers.iter().copied().filter(|watcher| !before.contains(watcher)).collect();
    let removed: Vec<_> = before.into_iter().filter(|watcher| !watchers.contains(watcher)).collect();
    if added.iter().any(|watcher| !draft.context.roster.members.contains_key(watcher)) {
        return Err(invalid("watcherIds", "Only members of the inbox can watch."));
    }
    let own = |watcher: &PrincipalId| draft.actor().principal() == Some(*watcher);
    if !draft.actor().is_at_least(MemberRole::Agent) && !added.iter().chain(&removed).all(own) {
        return Err(Refusal::Forbidden("An observer may add and remove only themselves as watcher."));
    }
    for watcher in added {
        watch(draft, watcher);
    }
    for watcher in removed {
        unwatch(draft, watcher);
    }
    Ok(())
}

/// Watching is each member's own affair and doesn't count for the version.
pub(super) fn watch(draft: &mut Draft<'_>, principal: PrincipalId) {
    if let Err(at) = draft.row.watchers.binary_search(&principal) {
        draft.row.watchers.insert(at, principal);
        draft.log(ActivityKind::WatcherAdded, Value::NONE, ActivityValue::Principal(principal).into());
    }
}

pub(super) fn unwatch(draft: &mut Draft<'_>, principal: PrincipalId) {
    if let Ok(at) = draft.row.watchers.binary_search(&principal) {
        draft.row.watchers.remove(at);
        draft.log(ActivityKind::WatcherRemoved, ActivityValue::Principal(principal).into(), Value::NONE);
    }
}

/// `thenStatus` and `thenOwnerId` of a reply: checked like a change of the same properties.
pub(super) fn then_owner(
    draft: &mut Draft<'_>,
    owner: Option<PrincipalId>,
    expect: Expect,
) -> Result<(), Refusal> {
    check_owner(draft, owner)?;
    ownership::check(&draft.row, owner, expect, draft.actor())?;
    ownership::set_owner(draft, owner);
    Ok(())
}

/// The owner after a reply where `ownOnReply` decides.
pub(super) fn own_on_reply(draft: &mut Draft<'_>) {
    if let Actor::Member { principal, .. } = draft.actor()
        && draft.context.settings.own_on_reply
        && draft.row.owner.is_none()
        && draft.context.roster.can_own(principal)
    {
        ownership::set_owner(draft, Some(principal));
    }
}

fn invalid(property: &'static str, why: &'static str) -> Refusal {
    Refusal::InvalidProperties { properties: vec![property], why }
}
