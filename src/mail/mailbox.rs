//! Mailboxes (RFC 8621 §2): the tree of an account, the roles, and what a new account starts with.
//!
//! Names are unique among siblings and roles in the account. Kept mailboxes of an inbox belong to
//! the server: they can't be renamed, moved, given a role or destroyed.

use crate::store::changes::Change;
use crate::store::rows::mail::*;
use crate::store::{List, Read, Row, StoreResult, Txn, keys, list};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};

/// Why a mailbox can't be as asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MailboxRefusal {
    /// The name is empty, too long, or has a control character.
    Name,
    /// A sibling has the name; which one, unless the same call has made it.
    NameTaken(Option<MailboxId>),
    /// The parent doesn't exist, is too deep, or is the mailbox itself or below it.
    Parent,
    /// Another mailbox has the role.
    RoleTaken(MailboxId),
    /// The account has as many mailboxes as it may have.
    TooMany,
    /// The mailbox is one that the server keeps.
    Kept,
    /// It has children (RFC 8621 §2.5).
    HasChild,
    /// It has Emails, and their removal wasn't asked for (RFC 8621 §2.5).
    HasEmail,
}

/// The result of a rule and of the store.
pub type MailboxResult<T> = Result<T, MailboxError>;

/// A refusal, or a failed store.
#[derive(Debug)]
pub enum MailboxError {
    Refused(MailboxRefusal),
    Store(crate::store::StoreError),
}

impl From<crate::store::StoreError> for MailboxError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<MailboxRefusal> for MailboxError {
    fn from(refusal: MailboxRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A mailbox of a new account: name, role, sort order, and for inboxes what it is kept true to.
type Default = (&'static str, Option<MailboxRole>, u32, Option<Kept>);

/// What a person's own account starts with.
fn personal_defaults() -> Vec<Default> {
    vec![
        ("Inbox", Some(MailboxRole::Inbox), 1, None),
        ("Archive", Some(MailboxRole::Archive), 2, None),
        ("Drafts", Some(MailboxRole::Drafts), 3, None),
        ("Sent", Some(MailboxRole::Sent), 4, None),
        ("Junk", Some(MailboxRole::Junk), 5, None),
        ("Trash", Some(MailboxRole::Trash), 6, None),
    ]
}

/// What an inbox starts with: the work as mailboxes, and the usual ones beside them.
fn inbox_defaults() -> Vec<Default> {
    vec![
        ("Inbox", Some(MailboxRole::Inbox), 1, Some(Kept::Inbox)),
        ("Unassigned", None, 2, Some(Kept::Unassigned)),
        ("Assigned", None, 3, Some(Kept::AssignedParent)),
        ("Pending", None, 4, Some(Kept::Pending)),
        ("Snoozed", Some(MailboxRole::Snoozed), 5, Some(Kept::Snoozed)),
        ("Archive", Some(MailboxRole::Archive), 6, Some(Kept::Archive)),
        ("Drafts", Some(MailboxRole::Drafts), 7, Some(Kept::Drafts)),
        ("Scheduled", Some(MailboxRole::Scheduled), 8, Some(Kept::Scheduled)),
        ("Sent", Some(MailboxRole::Sent), 9, Some(Kept::Sent)),
        ("Junk", Some(MailboxRole::Junk), 10, Some(Kept::Junk)),
        ("Trash", Some(MailboxRole::Trash), 11, Some(Kept::Trash)),
    ]
}

/// Makes the mailboxes that a new account starts with.
pub fn create_defaults(txn: &mut Txn<'_>, account: AccountId, inbox: bool) -> StoreResult<()> {
    let defaults = if inbox { inbox_defaults() } else { personal_defaults() };
    for (name, role, sort_order, kept) in defaults {
        let name = name.to_owned();
        write_new(
            txn,
            account,
            MailboxRow {
                name,
                parent: None,
                role,
                sort_order,
                unsubscribed: Vec::new(),
                kept,
                subscribed: Vec::new(),
            },
        )?;
    }
    Ok(())
}

/// The mailboxes of an account by role and by what they are kept true to.
pub fn roles(read: &dyn Read, account: AccountId) -> StoreResult<MailboxRolesRow> {
    Ok(read.row(account, ())?.unwrap_or_default())
}

/// All mailboxes of an account, at most [`limits::MAILBOXES_MAX`].
pub fn all(read: &dyn Read, account: AccountId) -> StoreResult<Tree> {
    let rows = read.collect_rows(&keys::all(account, keys::Kind::Mailbox))?;
    Ok(rows.into_iter().map(|(id, row)| (MailboxId(id), row)).collect())
}

/// Makes a mailbox of the server's own: an owner's or a category's.
pub fn create_kept(
    txn: &mut Txn<'_>,
    account: AccountId,
    name: &str,
    parent: Option<MailboxId>,
    kept: Kept,
) -> StoreResult<MailboxId> {
    let taken: Vec<String> = all(txn, account)?
        .into_iter()
        .filter(|(_, row)| row.parent == parent)
        .map(|(_, row)| row.name)
        .collect();
    let mut free = name.to_owned();
    let mut number = 2;
    // A folder of somebody's own may have the name already.
    while taken.iter().any(|name| name.to_lowercase() == free.to_lowercase()) {
        free = format!("{name} {number}");
        number += 1;
    }
    let row = MailboxRow {
        name: free,
        parent,
        role: None,
        sort_order: 10,
        unsubscribed: Vec::new(),
        kept: Some(kept),
        subscribed: Vec::new(),
    };
    write_new(txn, account, row)
}

/// The mailbox of what is to be sent later. An inbox has one; a person's own account gets one with
/// its first such message.
pub fn ensure_scheduled(txn: &mut Txn<'_>, account: AccountId) -> StoreResult<MailboxId> {
    ensure(txn, account, "Scheduled", MailboxRole::Scheduled, Kept::Scheduled)
}

/// The mailbox of an inbox's memos, made with the first one.
pub fn ensure_memos(txn: &mut Txn<'_>, account: AccountId) -> StoreResult<MailboxId> {
    ensure(txn, account, "Memos", MailboxRole::Memos, Kept::Memos)
}

/// The kept mailbox with that role; it is made where there is none.
fn ensure(
    txn: &mut Txn<'_>,
    account: AccountId,
    name: &str,
    role: MailboxRole,
    kept: Kept,
) -> StoreResult<MailboxId> {
    let known = roles(txn, account)?;
    if let Some(there) = known.keeping(&kept).or(known.with_role(role)) {
        return Ok(there);
    }
    let mailbox = create_kept(txn, account, name, None, kept)?;
    if let Some(row) = (txn as &dyn Read).row::<MailboxRow>(account, mailbox)? {
        let row = MailboxRow { role: Some(role), ..row };
        txn.update(account, mailbox, &row)?;
        let mut roles = roles(txn, account)?;
        roles.roles.push((role, mailbox));
        txn.put(account, (), &roles, Change::Updated)?;
    }
    Ok(mailbox)
}

/// The Inbox; where an account has none, its first mailbox: what comes in has to go somewhere.
pub fn inbox_or_any(read: &dyn Read, account: AccountId) -> StoreResult<Option<MailboxId>> {
    match roles(read, account)?.with_role(MailboxRole::Inbox) {
        Some(inbox) => Ok(Some(inbox)),
        None => Ok(all(read, account)?.first().map(|(id, _)| *id)),
    }
}

/// Makes a mailbox as a client asks (RFC 8621 §2.5). Whether it fits among the others is
/// [`misfits`]'s to say, when all changes of a call are made.
pub fn create(txn: &mut Txn<'_>, account: AccountId, row: MailboxRow) -> MailboxResult<MailboxId> {
    if !name_fits(&row.name) {
        return Err(MailboxRefusal::Name.into());
    }
    Ok(write_new(txn, account, row)?)
}

/// Changes a mailbox as a client asks; `member` is who asks, where the account is an inbox. Whether
/// it fits among the others is [`misfits`]'s to say, when all changes of a call are made.
pub fn update(
    txn: &mut Txn<'_>,
    account: AccountId,
    mailbox: MailboxId,
    (before, after): (&MailboxRow, &MailboxRow),
    member: Option<PrincipalId>,
) -> MailboxResult<()> {
    if before == after {
        return Ok(());
    }
    // RFC 8621 §2: a subscription is a member's own, and nobody else hears of it.
    let subscribed = MailboxRow {
        unsubscribed: after.unsubscribed.clone(),
        subscribed: after.subscribed.clone(),
        ..before.clone()
    };
    if let Some(member) = member.filter(|_| subscribed == *after) {
        txn.put_at(MailboxRow::key(account, mailbox), after)?;
        return Ok(txn.log_own(account, member, DataType::Mailbox, mailbox.0, Change::Updated)?);
    }
    let moved = (&before.name, before.parent, before.role) != (&after.name, after.parent, after.role);
    if moved {
        if before.kept.is_some() {
            return Err(MailboxRefusal::Kept.into());
        }
        if !name_fits(&after.name) {
            return Err(MailboxRefusal::Name.into());
        }
    }
    txn.update(account, mailbox, after)?;
    if before.role != after.role {
        let mut roles = roles(txn, account)?;
        roles.roles.retain(|(_, other)| *other != mailbox);
        roles.roles.extend(after.role.map(|role| (role, mailbox)));
        txn.put(account, (), &roles, Change::Updated)?;
        if before.role == Some(MailboxRole::Trash) || after.role == Some(MailboxRole::Trash) {
            recount(txn, account)?;
        }
    }
    Ok(())
}

/// Takes a mailbox away (RFC 8621 §2.5). It must be empty: the caller has dealt with its Emails.
pub fn destroy(
    txn: &mut Txn<'_>,
    account: AccountId,
    mailbox: MailboxId,
    row: &MailboxRow,
) -> MailboxResult<()> {
    if row.kept.is_some() {
        return Err(MailboxRefusal::Kept.into());
    }
    if all(txn, account)?.iter().any(|(_, other)| other.parent == Some(mailbox)) {
        return Err(MailboxRefusal::HasChild.into());
    }
    if list::total(txn, account, List::Mailbox(mailbox))? > 0 {
        return Err(MailboxRefusal::HasEmail.into());
    }
    if row.role.is_some() {
        let mut roles = roles(txn, account)?;
        roles.roles.retain(|(_, other)| *other != mailbox);
        txn.put(account, (), &roles, Change::Updated)?;
    }
    txn.remove::<MailboxCountsRow>(account, mailbox)?;
    txn.remove::<MailboxRow>(account, mailbox)?;
    Ok(())
}

/// Whether a name may be a mailbox's (RFC 8621 §2): 1 character at least, no control characters,
/// at most [`limits::MAILBOX_NAME_BYTES_MAX`] octets.
pub fn name_fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::MAILBOX_NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

fn write_new(txn: &mut Txn<'_>, account: AccountId, row: MailboxRow) -> StoreResult<MailboxId> {
    let mailbox = MailboxId(txn.allot(account, |next| &mut next.mailbox)?);
    if row.role.is_some() || row.kept.is_some() {
        let mut roles = roles(txn, account)?;
        roles.roles.extend(row.role.map(|role| (role, mailbox)));
        roles.kept.extend(row.kept.clone().map(|kept| (kept, mailbox)));
        txn.put(account, (), &roles, Change::Updated)?;
    }
    txn.insert(account, mailbox, &row)?;
    txn.put(account, mailbox, &MailboxCountsRow::default(), Change::Counted)?;
    Ok(mailbox)
}

/// The mailboxes of an account with their ids, in the order of these.
pub type Tree = Vec<(MailboxId, MailboxRow)>;

/// The changes between two states of an account's mailboxes that the second one can't bear, each with
/// why: names unique among siblings, one mailbox a role, and a tree of bounded size and depth (RFC 8621
/// §2). A state is judged without the changes found so far, so that what collided with one of them may
/// stand. Of changes that collide with each other the one of the lower id stands.
pub fn misfits(before: &Tree, after: &Tree) -> Vec<(MailboxId, MailboxRefusal)> {
    let was: BTreeMap<MailboxId, &MailboxRow> = before.iter().map(|(id, row)| (*id, row)).collect();
    let place = |row: &MailboxRow| (row.name.clone(), row.parent, row.role);
    let mut judged: Tree = after.clone();
    let mut touched: BTreeSet<MailboxId> = after
        .iter()
        .filter(|(id, row)| was.get(id).is_none_or(|was| place(was) != place(row)))
        .map(|(id, _)| *id)
        .collect();
    let mut found = Vec::new();
    while let Some((id, why)) =
        touched.iter().rev().find_map(|id| misfit(&judged, &touched, &was, *id).map(|why| (*id, why)))
    {
        touched.remove(&id);
        match was.get(&id) {
            Some(was) => {
                if let Some((_, row)) = judged.iter_mut().find(|(other, _)| *other == id) {
                    row.clone_from(was);
                }
            }
            None => judged.retain(|(other, _)| *other != id),
        }
        found.push((id, why));
    }
    found
}

/// Why the mailbox `own` doesn't fit where it is now.
fn misfit(
    all: &Tree,
    touched: &BTreeSet<MailboxId>,
    was: &BTreeMap<MailboxId, &MailboxRow>,
    own: MailboxId,
) -> Option<MailboxRefusal> {
    let (_, row) = all.iter().find(|(id, _)| *id == own)?;
    if all.len() > limits::MAILBOXES_MAX && !was.contains_key(&own) {
        return Some(MailboxRefusal::TooMany);
    }
    let mut others = all.iter().filter(|(id, _)| *id != own && (*id < own || !touched.contains(id)));
    if let Some((id, _)) =
        others.clone().find(|(_, other)| other.parent == row.parent && other.name == row.name)
    {
        return Some(MailboxRefusal::NameTaken(was.contains_key(id).then_some(*id)));
    }
    if let Some((id, _)) = others.find(|(_, other)| row.role.is_some() && other.role == row.role) {
        return Some(MailboxRefusal::RoleTaken(*id));
    }
    let mut depth = 1 + height(all, own, 0);
    let mut above = row.parent;
    while let Some(parent) = above {
        depth += 1;
        let Some((id, found)) = all.iter().find(|(id, _)| *id == parent) else {
            return Some(MailboxRefusal::Parent);
        };
        if *id == own || depth > limits::MAILBOX_DEPTH_MAX {
            return Some(MailboxRefusal::Parent);
        }
        above = found.parent;
    }
    None
}

/// How many levels there are below a mailbox.
fn height(all: &[(MailboxId, MailboxRow)], mailbox: MailboxId, depth: usize) -> usize {
    if depth >= limits::MAILBOX_DEPTH_MAX {
        return 0;
    }
    let below = all.iter().filter(|(_, row)| row.parent == Some(mailbox));
    below.map(|(id, _)| 1 + height(all, *id, depth + 1)).max().unwrap_or(0)
}

/// Counts all mailboxes anew: what the unread Threads are depends on which one is the Trash.
fn recount(txn: &mut Txn<'_>, account: AccountId) -> StoreResult<()> {
    let trash = roles(txn, account)?.with_role(MailboxRole::Trash);
    let mut counts: BTreeMap<MailboxId, MailboxCountsRow> =
        all(txn, account)?.into_iter().map(|(id, _)| (id, MailboxCountsRow::default())).collect();
    (txn as &dyn Read).scan_rows::<ThreadRow>(&keys::all(account, keys::Kind::Thread), |_, thread| {
        for (mailbox, sum) in &mut counts {
            let share = super::message::share_of(&thread, *mailbox, trash, &|entry| entry.unread);
            sum.total_emails += share.total_emails;
            sum.unread_emails += share.unread_emails;
            sum.total_threads += share.total_threads;
            sum.unread_threads += share.unread_threads;
        }
        std::ops::ControlFlow::Continue(())
    })?;
    for (mailbox, sum) in counts {
        let before: MailboxCountsRow = (txn as &dyn Read).row(account, mailbox)?.unwrap_or_default();
        if before != sum {
            txn.put(account, mailbox, &sum, Change::Counted)?;
        }
    }
    Ok(())
}
