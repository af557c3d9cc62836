//! Members of inboxes at the command line: who joins, who leaves, and what becomes of their work.

use super::admin::{self, AdminError, AdminReply, Office};
use crate::inbox::desk::Desk;
use crate::inbox::machine::{Actor, Event};
use crate::inbox::membership::{self, RELEASED_AT_ONCE};
use crate::inbox::{scheduling, server};
use crate::store::rows::team::Cause;
use crate::store::{List, list};
use crate::types::*;

pub(super) fn add(
    office: Office<'_>,
    inbox: &str,
    email: &str,
    word: &str,
) -> Result<AdminReply, AdminError> {
    change(office, inbox, email, Some(admin::role(word)?))
}

pub(super) fn remove(office: Office<'_>, inbox: &str, email: &str) -> Result<AdminReply, AdminError> {
    change(office, inbox, email, None)
}

fn change(
    office: Office<'_>,
    inbox: &str,
    email: &str,
    role: Option<MemberRole>,
) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let (inbox, person) = (admin::find_inbox(&view, inbox)?, admin::find_person(&view, email)?);
    let accounts = membership::accounts_of(&view, inbox, person);
    let wanted = membership::Change { inbox, person, role, by: membership::operator() };
    admin::change(office, &accounts, |txn| membership::change(txn, &wanted))?;
    if role.is_none_or(|role| role < MemberRole::Agent) {
        release_work(office, inbox, person)?;
    }
    Ok(AdminReply::Done)
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
