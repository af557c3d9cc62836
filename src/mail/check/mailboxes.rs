//! The mailboxes: the tree holds together, each has its counts, and each role and kept meaning leads
//! to the mailbox that has it.

use super::Mail;
use crate::mail::mailbox;
use crate::store::StoreResult;
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::rows::mail::{MailboxCountsRow, MailboxRolesRow, MailboxRow};
use crate::types::{MailboxId, MailboxRole, limits};
use std::collections::BTreeMap;

pub(super) fn check(check: &mut Check<'_>, mail: &mut Mail) -> StoreResult<()> {
    let account = mail.account;
    let mut rows: BTreeMap<MailboxId, MailboxRow> = BTreeMap::new();
    check.each::<MailboxRow>(account, Kind::Mailbox, |_, key, row| {
        rows.insert(MailboxId(keys::last_id(key).unwrap_or_default()), row);
        Ok(())
    })?;
    mail.mailboxes = rows.keys().copied().collect();
    for (id, row) in &rows {
        if id.0 > mail.state.next.mailbox {
            check.fault(account, format_args!("{id} is beyond the last id that was given"));
        }
        tree(check, mail, *id, row, &rows);
        if check.at::<MailboxCountsRow>(&keys::row(account, Kind::MailboxCounts, id.0))?.is_none() {
            check.fault(account, format_args!("{id} has no counts"));
        }
    }
    roles(check, mail, &rows)
}

fn tree(
    check: &mut Check<'_>,
    mail: &Mail,
    id: MailboxId,
    row: &MailboxRow,
    rows: &BTreeMap<MailboxId, MailboxRow>,
) {
    let account = mail.account;
    if !mailbox::name_fits(&row.name) {
        check.fault(account, format_args!("{id} has a name that no mailbox may have"));
    }
    let mut siblings = rows.range(..id).filter(|(_, other)| other.parent == row.parent);
    if let Some((other, _)) = siblings.find(|(_, other)| other.name == row.name) {
        check.fault(account, format_args!("{id} and {other} are siblings with the same name"));
    }
    let mut above = row.parent;
    for _ in 0..limits::MAILBOX_DEPTH_MAX {
        let Some(parent) = above else { return };
        let Some(found) = rows.get(&parent) else {
            check.fault(account, format_args!("{id} is below {parent}, which doesn't exist"));
            return;
        };
        above = found.parent;
    }
    check.fault(account, format_args!("{id} is too deep, or below itself"));
}

fn roles(check: &mut Check<'_>, mail: &mut Mail, rows: &BTreeMap<MailboxId, MailboxRow>) -> StoreResult<()> {
    let account = mail.account;
    let mut known = MailboxRolesRow::default();
    check.each::<MailboxRolesRow>(account, Kind::MailboxRoles, |_, _, row| {
        known = row;
        Ok(())
    })?;
    for (role, id) in &known.roles {
        if rows.get(id).and_then(|row| row.role) != Some(*role) {
            check.fault(account, format_args!("the role {role:?} leads to {id}, which hasn't got it"));
        }
    }
    for (kept, id) in &known.kept {
        if rows.get(id).and_then(|row| row.kept.as_ref()) != Some(kept) {
            check.fault(account, format_args!("{kept:?} leads to {id}, which is another mailbox"));
        }
    }
    for (id, row) in rows {
        if let Some(role) = row.role
            && !known.roles.contains(&(role, *id))
        {
            check.fault(account, format_args!("{id} has the role {role:?}, and the role doesn't lead to it"));
        }
        if let Some(kept) = &row.kept
            && !known.kept.iter().any(|(own, other)| (own, other) == (kept, id))
        {
            check.fault(account, format_args!("{id} is kept as {kept:?}, which doesn't lead to it"));
        }
    }
    mail.trash = known.with_role(MailboxRole::Trash);
    Ok(())
}
