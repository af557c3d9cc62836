//! The Threads: whose Emails they are, their heads in the lists, and the counts of the mailboxes.

use super::Mail;
use super::viewers::{self, Fewer};
use crate::store::StoreResult;
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::list::{List, Place};
use crate::store::rows::mail::{MailboxCountsRow, ThreadEmail, ThreadRow};
use crate::store::sets::Bitmap;
use crate::types::{MailboxId, ThreadId};
use std::collections::{BTreeMap, BTreeSet};

/// What each mailbox has.
pub(super) type Counts = BTreeMap<MailboxId, MailboxCountsRow>;

pub(super) fn check(check: &mut Check<'_>, mail: &mut Mail) -> StoreResult<()> {
    let account = mail.account;
    let mut truth = Counts::new();
    let mut fewer = Fewer::new();
    let mut placed = Bitmap::default();
    check.each::<ThreadRow>(account, Kind::Thread, |check, key, row| {
        let thread = ThreadId(keys::last_id(key).unwrap_or_default());
        check.report.threads += 1;
        if row.emails.is_empty() {
            check.fault(account, format_args!("{thread} is empty"));
        }
        if !row.emails.is_sorted_by_key(|entry| (entry.received_at, entry.email)) {
            check.fault(account, format_args!("{thread} isn't in the order of receivedAt"));
        }
        for entry in &row.emails {
            if !mail.emails.contains(entry.email) {
                check.fault(account, format_args!("{thread} has {}, which doesn't exist", entry.email));
            }
            if !placed.insert(entry.email) {
                check.fault(account, format_args!("{} is in {thread} and in another Thread", entry.email));
            }
        }
        count(&row, mail.trash, &|entry| entry.unread, &mut truth);
        viewers::add(mail, &row, &mut fewer);
        heads(check, mail, thread, &row)
    })?;
    counts(check, mail, truth)?;
    viewers::counts(check, mail, fewer)
}

fn heads(check: &mut Check<'_>, mail: &mut Mail, id: ThreadId, thread: &ThreadRow) -> StoreResult<()> {
    let newest = |within: Option<MailboxId>| {
        let emails = thread.emails.iter();
        let emails = emails.filter(|entry| within.is_none_or(|mailbox| entry.mailboxes.contains(&mailbox)));
        emails.map(|entry| Place { at: entry.received_at, id: entry.email.0 }).min()
    };
    let mailboxes: BTreeSet<_> = thread.emails.iter().flat_map(|entry| &entry.mailboxes).copied().collect();
    let lists = mailboxes.into_iter().map(|mailbox| (List::MailboxHeads(mailbox), Some(mailbox)));
    for (list, within) in lists.chain([(List::AllHeads, None)]) {
        if let Some(place) = newest(within) {
            mail.expect(check, list, place, id)?;
        }
    }
    Ok(())
}

/// What a Thread adds to the counts of its mailboxes (RFC 8621 §2), given which Emails are unread.
pub(super) fn count(
    thread: &ThreadRow,
    trash: Option<MailboxId>,
    is_unread: &dyn Fn(&ThreadEmail) -> bool,
    counts: &mut Counts,
) {
    let is_trash = |mailbox: &MailboxId| Some(*mailbox) == trash;
    let unread = || thread.emails.iter().filter(|entry| is_unread(entry));
    let outside = unread().any(|entry| entry.mailboxes.iter().any(|mailbox| !is_trash(mailbox)));
    let inside = unread().any(|entry| entry.mailboxes.iter().any(is_trash));
    let mut seen = BTreeSet::new();
    for entry in &thread.emails {
        for mailbox in &entry.mailboxes {
            let row = counts.entry(*mailbox).or_default();
            row.total_emails += 1;
            row.unread_emails += u32::from(is_unread(entry));
            if seen.insert(*mailbox) {
                row.total_threads += 1;
                row.unread_threads += u32::from(if is_trash(mailbox) { inside } else { outside });
            }
        }
    }
}

fn counts(check: &mut Check<'_>, mail: &Mail, truth: Counts) -> StoreResult<()> {
    let account = mail.account;
    check.each::<MailboxCountsRow>(account, Kind::MailboxCounts, |check, key, kept| {
        let mailbox = MailboxId(keys::last_id(key).unwrap_or_default());
        let truth = truth.get(&mailbox).copied().unwrap_or_default();
        if !mail.mailboxes.contains(&mailbox) {
            check.fault(account, format_args!("there are counts of {mailbox}, which doesn't exist"));
        }
        if kept != truth {
            check.fault(account, format_args!("{mailbox} is counted as {kept:?}, and {truth:?} is true"));
        }
        Ok(())
    })
}
