//! Emails in the store: the one place where an Email enters, changes and leaves.
//!
//! Every change keeps in the same transaction: the Thread, the ordered lists of the account and of
//! the mailboxes (all Emails, and of each Thread the newest), the mailboxes' counts, the sets by
//! keyword and mailbox, the Message-ID index, the blob's reference, what quotas count, and what all
//! this is for each viewer of an inbox.

use super::ingest;
use super::quota;
use super::thread::{self, ThreadKeys};
use super::viewer;
use crate::store::blobs::{self, Referrer};
use crate::store::changes::Change;
use crate::store::list::{self, Entry};
use crate::store::rows::mail::*;
use crate::store::rows::message::MessageRow;
use crate::store::sets::{self, EmailSet};
use crate::store::{List, Place, PreparedBlob, Read, Row, StoreError, StoreResult, Txn};
use crate::types::*;
use std::collections::BTreeSet;

/// A message that is about to become an Email.
#[derive(Clone, Debug)]
pub struct NewEmail {
    /// The content without trace headers.
    pub content: PreparedBlob,
    /// Trace header fields (RFC 5321 §4.4), to stand before the content.
    pub prefix: Vec<u8>,
    pub message: MessageRow,
    pub summary: Summary,
    pub mailboxes: BTreeSet<MailboxId>,
    pub keywords: BTreeSet<Keyword>,
    pub received_at: UtcDate,
    pub author: Option<PrincipalId>,
    pub origin: Origin,
    /// The Thread that it joins, where that is settled; else its references and subject tell.
    pub thread: Option<ThreadId>,
}

/// What a list view and the threading need of a message; made once from the parsed form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub from: Vec<MailAddress>,
    pub to: Vec<MailAddress>,
    pub subject: String,
    pub preview: String,
    pub sent_at: Option<String>,
    pub has_attachment: bool,
    pub thread_keys: ThreadKeys,
}

/// What [`add`] made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Added {
    pub email: EmailId,
    pub thread: ThreadId,
    pub size: u32,
}

/// Puts an Email into the account, in its Thread.
pub fn add(txn: &mut Txn<'_>, account: AccountId, new: NewEmail) -> StoreResult<Added> {
    let email = EmailId(txn.allot(account, |next| &mut next.email)?);
    let keys = &new.summary.thread_keys;
    let found = match new.thread {
        Some(settled) => Some(settled),
        None => thread::find(txn, account, keys)?,
    };
    let thread = match found {
        Some(thread) => thread,
        None => ThreadId(txn.allot(account, |next| &mut next.thread)?),
    };
    txn.put_blob(&new.content)?;
    blobs::refer(txn, account, &new.content.hash, Referrer::Email, email.0)?;
    thread::index(txn, account, email, thread, keys)?;
    let size = new.content.size.saturating_add(u32::try_from(new.prefix.len()).unwrap_or(u32::MAX));
    let row = EmailRow {
        thread,
        mailboxes: new.mailboxes.into_iter().collect(),
        keywords: new.keywords.into_iter().collect(),
        received_at: new.received_at,
        size,
        blob: new.content.hash,
        has_attachment: new.summary.has_attachment,
        from: new.summary.from,
        to: new.summary.to,
        subject: new.summary.subject,
        preview: new.summary.preview,
        sent_at: new.summary.sent_at,
        conversation: None,
        author: new.author,
        origin: new.origin,
        own: Vec::new(),
    };
    quota::add(txn, account, size)?;
    txn.insert(account, email, &StoredMessage { prefix: new.prefix, message: new.message })?;
    place(txn, account, email, None, Some(&row))?;
    txn.insert(account, email, &row)?;
    // RFC 8621 §1.5: whatever is added to the store, and nothing else.
    txn.log(account, DataType::EmailDelivery, email.0, Change::Created)?;
    Ok(Added { email, thread, size })
}

/// Writes a changed Email and all that follows from its mailboxes and keywords. The Thread, date
/// and content of an Email never change.
pub fn change(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    before: &EmailRow,
    after: &EmailRow,
) -> StoreResult<()> {
    debug_assert_eq!((before.thread, before.received_at), (after.thread, after.received_at));
    if before == after {
        return Ok(());
    }
    let after = viewer::settled(before, after);
    place(txn, account, email, Some(before), Some(&after))?;
    // What only members marked for themselves moves nobody else's state.
    let for_all =
        before.own == after.own || EmailRow { own: before.own.clone(), ..EmailRow::clone(&after) } != *before;
    if for_all {
        txn.update(account, email, after.as_ref())?;
    } else {
        annotate(txn, account, email, &after)?;
    }
    viewer::follow(txn, account, email, (&before.own, &after.own), for_all)
}

/// Writes what no client sees of an Email (its conversation) without a change of its state.
pub fn annotate(txn: &mut Txn<'_>, account: AccountId, email: EmailId, row: &EmailRow) -> StoreResult<()> {
    txn.put_at(EmailRow::key(account, email), row)
}

/// Takes an Email away for good.
pub fn destroy(txn: &mut Txn<'_>, account: AccountId, email: EmailId, row: &EmailRow) -> StoreResult<()> {
    let stored: Option<StoredMessage> = (txn as &dyn Read).row(account, email)?;
    let keys = stored.map(|stored| ingest::thread_keys(&stored.message)).unwrap_or_default();
    place(txn, account, email, Some(row), None)?;
    viewer::follow(txn, account, email, (&row.own, &[]), true)?;
    quota::remove(txn, account, row.size)?;
    thread::unindex(txn, account, email, &keys);
    blobs::unrefer(txn, account, &row.blob, Referrer::Email, email.0);
    txn.delete_at(EvidenceRow::key(account, email));
    txn.remove::<StoredMessage>(account, email)?;
    txn.remove::<EmailRow>(account, email)
}

/// The raw message: trace headers, then content. `None` where the Email or its content is gone.
pub fn raw(read: &dyn Read, account: AccountId, email: EmailId) -> StoreResult<Option<Vec<u8>>> {
    let Some(row) = read.row::<EmailRow>(account, email)? else { return Ok(None) };
    let Some(stored) = read.row::<StoredMessage>(account, email)? else { return Ok(None) };
    let Some(content) = blobs::content(read, &row.blob)? else { return Ok(None) };
    let mut raw = stored.prefix;
    raw.extend_from_slice(&content);
    Ok(Some(raw))
}

/// Neither `$seen` nor `$draft` (RFC 8621 §2, `unreadEmails`).
pub fn is_unread(row: &EmailRow) -> bool {
    !row.keywords.iter().any(|keyword| matches!(keyword.as_str(), Keyword::SEEN | Keyword::DRAFT))
}

/// Brings the Thread, lists, counts and sets from what `before` says to what `after` says.
fn place(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    before: Option<&EmailRow>,
    after: Option<&EmailRow>,
) -> StoreResult<()> {
    let Some(row) = after.or(before) else { return Ok(()) };
    let thread = row.thread;
    let old: ThreadRow = (txn as &dyn Read).row(account, thread)?.unwrap_or_default();
    let mut new = old.clone();
    new.emails.retain(|entry| entry.email != email);
    new.flipped.retain(|(flipped, _)| *flipped != email);
    if let Some(after) = after {
        let entry = ThreadEmail {
            email,
            received_at: after.received_at,
            mailboxes: after.mailboxes.clone(),
            unread: is_unread(after),
        };
        // RFC 8621 §3: oldest first; equal dates in the order of arrival.
        let at = new
            .emails
            .partition_point(|other| (other.received_at, other.email) <= (entry.received_at, entry.email));
        new.emails.insert(at, entry);
        new.flipped.extend(viewer::flipped(email, after));
    }
    write_thread(txn, account, thread, &old, &new)?;
    let entry = Entry { place: Place { at: row.received_at, id: email.0 }, with: thread.0 };
    place_in_lists(txn, account, entry, before, after)?;
    place_heads(txn, account, thread, &old, &new)?;
    place_in_sets(txn, account, email, before, after)?;
    count(txn, account, &old, &new)
}

/// A Thread's state moves when its members do, not with their keywords or mailboxes.
fn write_thread(
    txn: &mut Txn<'_>,
    account: AccountId,
    thread: ThreadId,
    old: &ThreadRow,
    new: &ThreadRow,
) -> StoreResult<()> {
    if new.emails.is_empty() {
        return txn.remove::<ThreadRow>(account, thread);
    }
    if old.emails.is_empty() {
        return txn.insert(account, thread, new);
    }
    if old.emails.len() != new.emails.len() {
        return txn.update(account, thread, new);
    }
    if old == new {
        return Ok(());
    }
    txn.put_at(ThreadRow::key(account, thread), new)
}

fn place_in_lists(
    txn: &mut Txn<'_>,
    account: AccountId,
    entry: Entry,
    before: Option<&EmailRow>,
    after: Option<&EmailRow>,
) -> StoreResult<()> {
    match (before, after) {
        (None, Some(_)) => list::insert(txn, account, List::AllEmails, entry)?,
        (Some(_), None) => list::remove(txn, account, List::AllEmails, entry.place)?,
        _ => {}
    }
    let was = before.map_or(&[][..], |row| &row.mailboxes);
    let is = after.map_or(&[][..], |row| &row.mailboxes);
    for mailbox in was.iter().filter(|mailbox| !is.contains(mailbox)) {
        list::remove(txn, account, List::Mailbox(*mailbox), entry.place)?;
    }
    for mailbox in is.iter().filter(|mailbox| !was.contains(mailbox)) {
        list::insert(txn, account, List::Mailbox(*mailbox), entry)?;
    }
    Ok(())
}

/// Moves the Thread's newest Email in the lists of heads, where it is another one now.
fn place_heads(
    txn: &mut Txn<'_>,
    account: AccountId,
    thread: ThreadId,
    old: &ThreadRow,
    new: &ThreadRow,
) -> StoreResult<()> {
    let lists =
        mailboxes_of(old, new).into_iter().map(|mailbox| (List::MailboxHeads(mailbox), Some(mailbox)));
    for (heads, mailbox) in lists.chain([(List::AllHeads, None)]) {
        let (was, is) = (head(old, mailbox), head(new, mailbox));
        if was == is {
            continue;
        }
        if let Some(place) = was {
            list::remove(txn, account, heads, place)?;
        }
        if let Some(place) = is {
            list::insert(txn, account, heads, Entry { place, with: thread.0 })?;
        }
    }
    Ok(())
}

/// The newest Email of a Thread, or of those in a mailbox. A smaller place is a newer one.
pub fn head(thread: &ThreadRow, mailbox: Option<MailboxId>) -> Option<Place> {
    let within = |entry: &&ThreadEmail| mailbox.is_none_or(|mailbox| entry.mailboxes.contains(&mailbox));
    let places = thread.emails.iter().filter(within);
    places.map(|entry| Place { at: entry.received_at, id: entry.email.0 }).min()
}

fn place_in_sets(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    before: Option<&EmailRow>,
    after: Option<&EmailRow>,
) -> StoreResult<()> {
    let was = before.map(sets_of).unwrap_or_default();
    let is = after.map(sets_of).unwrap_or_default();
    for set in was.iter().filter(|set| !is.contains(set)) {
        sets::write(txn, account, set, email, false)?;
    }
    for set in is.iter().filter(|set| !was.contains(set)) {
        sets::write(txn, account, set, email, true)?;
    }
    Ok(())
}

/// The sets that an Email is in.
pub fn sets_of(row: &EmailRow) -> Vec<EmailSet> {
    let keywords = row.keywords.iter().cloned().map(EmailSet::Keyword);
    let mailboxes = row.mailboxes.iter().copied().map(EmailSet::Mailbox);
    let attachment = row.has_attachment.then_some(EmailSet::Attachment);
    keywords.chain(mailboxes).chain(attachment).chain([EmailSet::All]).collect()
}

pub(super) fn mailboxes_of(old: &ThreadRow, new: &ThreadRow) -> BTreeSet<MailboxId> {
    old.emails.iter().chain(&new.emails).flat_map(|entry| entry.mailboxes.iter().copied()).collect()
}

/// What a Thread adds to the counts of a mailbox (RFC 8621 §2), given which Emails are unread.
pub fn share_of(
    thread: &ThreadRow,
    mailbox: MailboxId,
    trash: Option<MailboxId>,
    unread: &dyn Fn(&ThreadEmail) -> bool,
) -> MailboxCountsRow {
    let within: Vec<&ThreadEmail> =
        thread.emails.iter().filter(|entry| entry.mailboxes.contains(&mailbox)).collect();
    if within.is_empty() {
        return MailboxCountsRow::default();
    }
    // "Emails in the Trash are ignored when calculating the unreadThreads count of other mailboxes",
    // and what is outside the Trash is ignored for the Trash.
    let in_trash = |entry: &ThreadEmail| trash.is_some_and(|trash| entry.mailboxes.contains(&trash));
    let only_in_trash = |entry: &ThreadEmail| in_trash(entry) && entry.mailboxes.len() == 1;
    let counts = |entry: &&ThreadEmail| {
        if trash == Some(mailbox) { in_trash(entry) } else { !only_in_trash(entry) }
    };
    let unread_thread = thread.emails.iter().filter(counts).any(unread);
    MailboxCountsRow {
        total_emails: within.len() as u32,
        unread_emails: within.iter().filter(|entry| unread(entry)).count() as u32,
        total_threads: 1,
        unread_threads: u32::from(unread_thread),
    }
}

fn count(txn: &mut Txn<'_>, account: AccountId, old: &ThreadRow, new: &ThreadRow) -> StoreResult<()> {
    let roles: MailboxRolesRow = (txn as &dyn Read).row(account, ())?.unwrap_or_default();
    let trash = roles.with_role(MailboxRole::Trash);
    let mut told = BTreeSet::new();
    for mailbox in mailboxes_of(old, new) {
        let share = |thread| share_of(thread, mailbox, trash, &|entry| entry.unread);
        let (was, is) = (share(old), share(new));
        if was == is {
            continue;
        }
        let counts: MailboxCountsRow = (txn as &dyn Read).row(account, mailbox)?.unwrap_or_default();
        let moved = MailboxCountsRow {
            total_emails: shift(counts.total_emails, was.total_emails, is.total_emails)?,
            unread_emails: shift(counts.unread_emails, was.unread_emails, is.unread_emails)?,
            total_threads: shift(counts.total_threads, was.total_threads, is.total_threads)?,
            unread_threads: shift(counts.unread_threads, was.unread_threads, is.unread_threads)?,
        };
        txn.put(account, mailbox, &moved, Change::Counted)?;
        told.insert(mailbox);
    }
    match roles.keeping(&Kept::Inbox) {
        Some(_) => viewer::count(txn, account, (old, new), trash, &told),
        None => Ok(()),
    }
}

fn shift(count: u32, was: u32, is: u32) -> StoreResult<u32> {
    (count + is)
        .checked_sub(was)
        .ok_or_else(|| StoreError::Corrupt("a mailbox's count fell below zero".to_owned()))
}
