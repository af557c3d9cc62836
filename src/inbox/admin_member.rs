//! Members of inboxes at the command line: who joins, who leaves, and what becomes of their work.

use super::admin::{self, AdminError, AdminReply, Office};
use crate::inbox::{membership, server};
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

/// Ends the release of what a person owned here, so that the command's answer says that it is done. What
/// doesn't come about is left to the timer.
pub(super) fn release_work(
    office: Office<'_>,
    inbox: AccountId,
    person: PrincipalId,
) -> Result<(), AdminError> {
    loop {
        let locked = office.store.lock_blocking(&[inbox]);
        let mut txn = office.store.begin(&locked);
        let staff = server::staff(&office.directory.current(), inbox);
        let is_more = membership::release(&mut txn, &staff, inbox, person)?;
        let committed = txn.commit()?;
        drop(locked);
        office.store.durable_blocking(committed.ticket)?;
        if !is_more {
            return Ok(());
        }
    }
}
