//! Members of inboxes at the command line: who joins, who leaves, and what becomes of their work.

use super::admin::{self, AdminError, AdminReply, Office};
use crate::auth::accounts;
use crate::inbox::desk::{self, Desk};
use crate::inbox::machine::{Actor, Entry, Event, Value};
use crate::inbox::{kept, scheduling, server};
use crate::mail::viewer;
use crate::store::rows::team::{ActivityKind, ActivityValue, Cause};
use crate::store::{List, Txn, list};
use crate::types::*;

/// Conversations that one transaction takes from a person who left.
const RELEASED_AT_ONCE: usize = 50;

pub(super) fn add(
    office: Office<'_>,
    inbox: &str,
    email: &str,
    word: &str,
) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let (inbox, person, role) =
        (admin::find_inbox(&view, inbox)?, admin::find_person(&view, email)?, admin::role(word)?);
    let before =
        view.members(inbox).iter().find(|member| member.principal == person).map(|member| member.role);
    admin::change(office, &[inbox], |txn| {
        accounts::set_member(txn, inbox, person, role)?;
        if before.is_none() {
            viewer::join(txn, inbox, person)?;
        }
        kept::for_members(txn, &view, inbox, &[(person, role)])?;
        let before = before.map_or(ActivityValue::None, ActivityValue::Role);
        record_member(txn, inbox, person, before, ActivityValue::Role(role))
    })?;
    if role < MemberRole::Agent {
        release_work(office, inbox, person)?;
    }
    Ok(AdminReply::Done)
}

pub(super) fn remove(office: Office<'_>, inbox: &str, email: &str) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let (inbox, person) = (admin::find_inbox(&view, inbox)?, admin::find_person(&view, email)?);
    admin::change(office, &[inbox], |txn| {
        accounts::remove_member(txn, inbox, person)?;
        viewer::leave(txn, inbox, person)?;
        record_member(txn, inbox, person, ActivityValue::Principal(person), ActivityValue::None)
    })?;
    release_work(office, inbox, person)?;
    Ok(AdminReply::Done)
}

/// Puts a change of membership on the inbox's record.
pub(super) fn record_member(
    txn: &mut Txn<'_>,
    inbox: AccountId,
    person: PrincipalId,
    before: ActivityValue,
    after: ActivityValue,
) -> Result<(), AdminError> {
    let staff = desk::Staff::default();
    let mut desk = Desk::open(txn, inbox, Actor::System(Cause::User), &staff)?;
    let kind = match (before, after) {
        (ActivityValue::None, _) => ActivityKind::MemberJoined,
        (_, ActivityValue::None) => ActivityKind::MemberLeft,
        _ => ActivityKind::RoleChanged,
    };
    let before = if kind == ActivityKind::MemberJoined { ActivityValue::Principal(person) } else { before };
    desk.record(None, &Entry { kind, before: Value::Plain(before), after: Value::Plain(after) })?;
    Ok(())
}

/// A person who may not work here any more owns nothing and answers nothing: step by step, so that
/// no step is large. A step that a crash prevented is made up for when the conversation moves.
pub(super) fn release_work(
    office: Office<'_>,
    inbox: AccountId,
    person: PrincipalId,
) -> Result<(), AdminError> {
    // Closed work keeps who did it: those are passed over.
    let mut kept = 0;
    loop {
        let locked = office.store.lock_blocking(&[inbox]);
        let mut txn = office.store.begin(&locked);
        let owned = List::ConversationsOfOwner(Some(person));
        let found = list::page(&txn, inbox, owned, kept, RELEASED_AT_ONCE, false)?;
        let staff = server::staff(&office.directory.current(), inbox);
        let mut desk = Desk::open(&mut txn, inbox, Actor::System(Cause::User), &staff)?;
        for entry in &found {
            let id = ConversationId(entry.place.id);
            desk.apply(id, &Event::MemberLeft { principal: person }, Vec::new())?;
            kept += u32::from(desk.conversation(id)?.is_some_and(|row| row.owner == Some(person)));
        }
        if found.is_empty() {
            desk.end_locks_of(person)?;
            scheduling::hold_all_of(&mut txn, &staff, inbox, person).map_err(AdminError::from)?;
        }
        let committed = txn.commit()?;
        drop(locked);
        office.store.durable_blocking(committed.ticket)?;
        if found.is_empty() {
            return Ok(());
        }
    }
}
