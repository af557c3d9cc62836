//! The viewers of an inbox: who they are, and how many fewer Emails and Threads are unread for each.

use super::Mail;
use super::threads::{Counts, count};
use crate::store::StoreResult;
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::rows::directory::{AccountKind, AccountRow, PrincipalRow};
use crate::store::rows::mail::{ThreadEmail, ThreadRow};
use crate::store::rows::viewer::*;
use crate::types::{AccountId, MailboxId, PrincipalId};
use std::collections::BTreeMap;

/// How many fewer are unread, by member and mailbox.
pub(super) type Fewer = BTreeMap<(PrincipalId, MailboxId), ViewerCountsRow>;

pub(super) fn check(check: &mut Check<'_>, mail: &mut Mail) -> StoreResult<()> {
    let account = mail.account;
    let directory: Option<AccountRow> = check.row(AccountId::DIRECTORY, account)?;
    let is_inbox = directory.is_none_or(|row| matches!(row.kind, AccountKind::Inbox(_)));
    let mut row = ViewersRow::default();
    check.each::<ViewersRow>(account, Kind::Viewers, |_, _, found| {
        row = found;
        Ok(())
    })?;
    if !is_inbox && !row.viewers.is_empty() {
        check.fault(account, "somebody's own account has viewers");
    }
    for (at, viewer) in row.viewers.iter().enumerate() {
        let person = viewer.principal;
        let twice = |other: &Viewer| other.principal == person || other.number == viewer.number;
        if row.viewers.iter().take(at).any(twice) || viewer.number > row.last {
            check
                .fault(account, format_args!("{person} is a viewer twice, or by a number that wasn't given"));
        }
        if check.row::<PrincipalRow>(AccountId::DIRECTORY, person)?.is_none() {
            check.fault(account, format_args!("{person} is a viewer and doesn't exist"));
        }
    }
    mail.viewers = row.viewers;
    Ok(())
}

/// What a Thread adds to how many fewer are unread for each viewer (spec/decisions/023).
pub(super) fn add(mail: &Mail, thread: &ThreadRow, fewer: &mut Fewer) {
    for viewer in &mail.viewers {
        let flipped = |entry: &ThreadEmail| thread.flipped.contains(&(entry.email, viewer.number));
        let unread = |entry: &ThreadEmail| (entry.unread && entry.email > viewer.floor) != flipped(entry);
        if thread.emails.iter().all(|entry| entry.unread == unread(entry)) {
            continue;
        }
        let (mut for_all, mut own) = (Counts::new(), Counts::new());
        count(thread, mail.trash, &|entry| entry.unread, &mut for_all);
        count(thread, mail.trash, &unread, &mut own);
        for (mailbox, for_all) in for_all {
            let own = own.get(&mailbox).copied().unwrap_or_default();
            let sum = fewer.entry((viewer.principal, mailbox)).or_default();
            sum.emails += for_all.unread_emails as i32 - own.unread_emails as i32;
            sum.threads += for_all.unread_threads as i32 - own.unread_threads as i32;
        }
    }
}

/// What is kept is what the Threads say.
pub(super) fn counts(check: &mut Check<'_>, mail: &Mail, mut truth: Fewer) -> StoreResult<()> {
    let account = mail.account;
    truth.retain(|_, fewer| *fewer != ViewerCountsRow::default());
    check.each::<ViewerCountsRow>(account, Kind::ViewerCounts, |check, key, kept| {
        let member = PrincipalId(keys::first_id(key).unwrap_or_default());
        let mailbox = MailboxId(keys::last_id(key).unwrap_or_default());
        let truth = truth.remove(&(member, mailbox)).unwrap_or_default();
        if kept != truth {
            check.fault(
                account,
                format_args!("for {member} {mailbox} has fewer by {kept:?}, and {truth:?} is true"),
            );
        }
        Ok(())
    })?;
    for ((member, mailbox), truth) in truth {
        check.fault(account, format_args!("for {member} {mailbox} has fewer by none, and {truth:?} is true"));
    }
    Ok(())
}
