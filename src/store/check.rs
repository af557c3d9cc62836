//! Says whether everything that is kept twice agrees, on one snapshot, on a live server too.
//!
//! Reads account by account and row by row; in memory are one account's sets and counts. The
//! rules are written here a second time on purpose: a check that called the code that writes the
//! rows would agree with its faults. Deliberately absent: the activity chain's hashes, which the
//! floor above computes, and the full-text index.

use super::blobs::{self, Referrer};
use super::list::{self, List, Place};
use super::read::Read;
use super::rows::account::AccountState;
use super::rows::mail::*;
use super::rows::submission::{RELEASE_TIMER, RelayState, SubmissionRow};
use super::rows::viewer::{Mark, OwnMarks, Viewer, ViewersRow};
use super::sets::{self, Bitmap, EmailSet};
use super::{Store, StoreResult, keys};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What was looked at, and what is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub accounts: u64,
    pub emails: u64,
    pub threads: u64,
    pub blobs: u64,
    /// One sentence a fault; none where all is well.
    pub faults: Vec<String>,
}

/// Faults that are told; a broken store has very many.
const FAULTS_MAX: usize = 1000;

/// Checks the whole store. `progress` is called after each account.
pub fn check(store: &Store, progress: &mut dyn FnMut(&Report)) -> StoreResult<Report> {
    let snapshot = store.snapshot();
    let read: &dyn Read = &snapshot;
    let mut report = Report::default();
    let mut next = Some(0);
    while let Some(from) = next {
        let mut found = None;
        read.scan(&keys::accounts_from(from), false, &mut |key, _| {
            found = keys::account_of(key);
            ControlFlow::Break(())
        })?;
        let Some(account) = found else { break };
        Account { read, account, report: &mut report, entries: BTreeMap::new() }.check()?;
        report.accounts += 1;
        progress(&report);
        next = account.0.checked_add(1);
    }
    check_blobs(read, &mut report)?;
    report.faults.truncate(FAULTS_MAX);
    Ok(report)
}

/// One account under check.
struct Account<'a> {
    read: &'a dyn Read,
    account: AccountId,
    report: &'a mut Report,
    /// How many entries each list should have.
    entries: BTreeMap<List, u32>,
}

impl Account<'_> {
    fn check(mut self) -> StoreResult<()> {
        let state: AccountState = self.read.row(self.account, ())?.unwrap_or_default();
        self.check_logs(&state)?;
        let mailboxes = self.read.ids(&keys::all(self.account, keys::Kind::Mailbox), false, usize::MAX)?;
        let mailboxes = mailboxes.into_iter().map(MailboxId).collect();
        self.check_emails(&state, &mailboxes)?;
        self.check_threads()?;
        self.check_lists()?;
        self.check_queue()
    }

    fn fault(&mut self, text: String) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(format!("account {}: {text}", self.account));
        }
    }

    fn check_logs(&mut self, state: &AccountState) -> StoreResult<()> {
        for data_type in DataType::ALL {
            let mut last = 0;
            self.read.scan(&keys::changes_after(self.account, data_type, 0), true, &mut |key, _| {
                last = keys::last_version(key).unwrap_or_default();
                ControlFlow::Break(())
            })?;
            let kept = state.types.of(data_type);
            if last != kept || kept > state.modseq {
                let name = data_type.name();
                self.fault(format!(
                    "{name} is at {kept}, its log at {last}, the account at {}",
                    state.modseq
                ));
            }
        }
        Ok(())
    }

    fn check_emails(&mut self, state: &AccountState, mailboxes: &BTreeSet<MailboxId>) -> StoreResult<()> {
        let mut truth: BTreeMap<u64, Bitmap> = BTreeMap::new();
        let mut broken = Ok(());
        let read = self.read;
        let viewers = read.row::<ViewersRow>(self.account, ())?.unwrap_or_default().viewers;
        read.scan_rows::<EmailRow>(&keys::all(self.account, keys::Kind::Email), |key, row| {
            let email = EmailId(keys::last_id(key).unwrap_or_default());
            self.report.emails += 1;
            for set in sets_of(&row).into_iter().chain(own_sets(&row, &viewers)) {
                truth.entry(set.code()).or_default().insert(email);
            }
            if email.0 > state.next.email {
                self.fault(format!("{email} is beyond the last id that was given"));
            }
            for mailbox in row.mailboxes.iter().filter(|mailbox| !mailboxes.contains(mailbox)) {
                self.fault(format!("{email} is in {mailbox}, which doesn't exist"));
            }
            broken = self.check_email(email, &row);
            if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        broken?;
        if truth != sets::load_all(read, self.account)? {
            self.fault(
                "the sets of Emails by keyword, mailbox and attachment don't fit the Emails".to_owned(),
            );
        }
        Ok(())
    }

    fn check_email(&mut self, email: EmailId, row: &EmailRow) -> StoreResult<()> {
        let place = Place { at: row.received_at, id: email.0 };
        self.expect_entry(List::AllEmails, place)?;
        for mailbox in &row.mailboxes {
            self.expect_entry(List::Mailbox(*mailbox), place)?;
        }
        let thread: ThreadRow = self.read.row(self.account, row.thread)?.unwrap_or_default();
        let unread = !row.keywords.iter().any(|word| matches!(word.as_str(), Keyword::SEEN | Keyword::DRAFT));
        let truth =
            ThreadEmail { email, received_at: row.received_at, mailboxes: row.mailboxes.clone(), unread };
        if !thread.emails.contains(&truth) {
            self.fault(format!("{email} isn't in {} as it is", row.thread));
        }
        if self.read.bytes(&keys::row(self.account, keys::Kind::Message, email.0))?.is_none() {
            self.fault(format!("{email} has no parsed message"));
        }
        let reference = keys::blob_reference(&row.blob, self.account, Referrer::Email as u8, email.0);
        if !self.read.has(&reference)? || blobs::info(self.read, &row.blob)?.is_none() {
            self.fault(format!("{email} has no content, or no reference to it"));
        }
        Ok(())
    }

    fn expect_entry(&mut self, list: List, place: Place) -> StoreResult<()> {
        *self.entries.entry(list).or_default() += 1;
        if !list::contains(self.read, self.account, list, place)? {
            self.fault(format!("{list:?} lacks {place:?}"));
        }
        Ok(())
    }

    fn check_threads(&mut self) -> StoreResult<()> {
        let read = self.read;
        let roles: MailboxRolesRow = read.row(self.account, ())?.unwrap_or_default();
        let trash = roles.with_role(MailboxRole::Trash);
        let mut counts: BTreeMap<MailboxId, MailboxCountsRow> = BTreeMap::new();
        let mut emails = 0;
        let mut broken = Ok(());
        read.scan_rows::<ThreadRow>(&keys::all(self.account, keys::Kind::Thread), |key, row| {
            self.report.threads += 1;
            emails += row.emails.len() as u32;
            if row.emails.is_empty() {
                self.fault(format!("{} is empty", ThreadId(keys::last_id(key).unwrap_or_default())));
            }
            count(&row, trash, &mut counts);
            broken = self.check_heads(&row);
            if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        broken?;
        if emails != self.entries.get(&List::AllEmails).copied().unwrap_or_default() {
            self.fault(format!(
                "the Threads have {emails} Emails in all, and the account has another number"
            ));
        }
        let mut kept: BTreeMap<MailboxId, MailboxCountsRow> = BTreeMap::new();
        read.scan_rows(&keys::all(self.account, keys::Kind::MailboxCounts), |key, row| {
            kept.insert(MailboxId(keys::last_id(key).unwrap_or_default()), row);
            ControlFlow::Continue(())
        })?;
        for mailbox in kept.keys().chain(counts.keys()).copied().collect::<BTreeSet<_>>() {
            let (kept, truth) = (kept.get(&mailbox).copied(), counts.get(&mailbox).copied());
            if kept.unwrap_or_default() != truth.unwrap_or_default() {
                self.fault(format!("{mailbox} says {kept:?} where {truth:?} is true"));
            }
        }
        Ok(())
    }

    fn check_heads(&mut self, thread: &ThreadRow) -> StoreResult<()> {
        let newest = |within: Option<MailboxId>| {
            let emails = thread.emails.iter();
            let emails =
                emails.filter(|entry| within.is_none_or(|mailbox| entry.mailboxes.contains(&mailbox)));
            emails.map(|entry| Place { at: entry.received_at, id: entry.email.0 }).min()
        };
        if let Some(place) = newest(None) {
            self.expect_entry(List::AllHeads, place)?;
        }
        let mailboxes: BTreeSet<_> =
            thread.emails.iter().flat_map(|entry| &entry.mailboxes).copied().collect();
        for mailbox in mailboxes {
            if let Some(place) = newest(Some(mailbox)) {
                self.expect_entry(List::MailboxHeads(mailbox), place)?;
            }
        }
        Ok(())
    }

    fn check_lists(&mut self) -> StoreResult<()> {
        let mut lists: BTreeSet<List> = self.entries.keys().copied().collect();
        self.read.scan(&keys::account_lists(self.account), false, &mut |key, _| {
            lists.extend(keys::read_list(key).map(|(list, _)| list));
            ControlFlow::Continue(())
        })?;
        for list in lists {
            for fault in list::check(self.read, self.account, list)? {
                self.fault(fault);
            }
            let of_emails =
                matches!(list, List::AllEmails | List::AllHeads | List::Mailbox(_) | List::MailboxHeads(_));
            let truth = self.entries.get(&list).copied().unwrap_or_default();
            let total = list::total(self.read, self.account, list)?;
            if of_emails && total != truth {
                self.fault(format!("{list:?} has {total} entries and should have {truth}"));
            }
        }
        Ok(())
    }

    fn check_queue(&mut self) -> StoreResult<()> {
        let (mut waiting, mut scheduled) = (BTreeSet::new(), BTreeSet::new());
        for kind in [keys::Kind::Submission, keys::Kind::DetachedSubmission] {
            self.read.scan_rows::<SubmissionRow>(&keys::all(self.account, kind), |key, row| {
                match row.relay {
                    RelayState::Done => {}
                    RelayState::Scheduled { until } => scheduled.extend(keys::last_id(key).zip(Some(until))),
                    _ => waiting.extend(keys::last_id(key)),
                }
                ControlFlow::Continue(())
            })?;
        }
        let mut queued = BTreeSet::new();
        self.read.scan(&keys::due_all(keys::Kind::Queue), false, &mut |key, _| {
            queued.extend(keys::read_due(key).filter(|due| due.1 == self.account).map(|due| due.3));
            ControlFlow::Continue(())
        })?;
        if waiting != queued {
            self.fault(format!("the relay queue has submissions {queued:?}, and {waiting:?} wait"));
        }
        for (id, until) in scheduled {
            let timer = keys::due(keys::Kind::Timer, until, self.account, RELEASE_TIMER, id);
            if !self.read.has(&timer)? {
                self.fault(format!("submission {id} is scheduled, and no timer releases it"));
            }
        }
        Ok(())
    }
}

/// What a Thread adds to the counts of its mailboxes (RFC 8621 §2).
fn count(thread: &ThreadRow, trash: Option<MailboxId>, counts: &mut BTreeMap<MailboxId, MailboxCountsRow>) {
    let is_trash = |mailbox: &MailboxId| Some(*mailbox) == trash;
    let unread = || thread.emails.iter().filter(|entry| entry.unread);
    let outside = unread().any(|entry| entry.mailboxes.iter().any(|mailbox| !is_trash(mailbox)));
    let inside = unread().any(|entry| entry.mailboxes.iter().any(is_trash));
    let mut seen = BTreeSet::new();
    for entry in &thread.emails {
        for mailbox in &entry.mailboxes {
            let row = counts.entry(*mailbox).or_default();
            row.total_emails += 1;
            row.unread_emails += u32::from(entry.unread);
            if seen.insert(*mailbox) {
                row.total_threads += 1;
                row.unread_threads += u32::from(if is_trash(mailbox) { inside } else { outside });
            }
        }
    }
}

fn sets_of(row: &EmailRow) -> Vec<EmailSet> {
    let mut sets: Vec<EmailSet> = row.keywords.iter().cloned().map(EmailSet::Keyword).collect();
    sets.extend(row.mailboxes.iter().copied().map(EmailSet::Mailbox));
    sets.extend(row.has_attachment.then_some(EmailSet::Attachment));
    sets.push(EmailSet::All);
    sets
}

/// What members have marked for themselves; marks of those who left are nobody's.
fn own_sets(row: &EmailRow, viewers: &[Viewer]) -> Vec<EmailSet> {
    let known = |own: &&OwnMarks| viewers.iter().any(|viewer| viewer.number == own.viewer);
    let marks = |own: &OwnMarks| {
        let (viewer, marks) = (own.viewer, own.marks);
        Mark::ALL
            .into_iter()
            .filter(move |mark| marks.has(*mark))
            .map(move |mark| EmailSet::Own(viewer, mark))
    };
    row.own.iter().filter(known).flat_map(marks).collect()
}

/// Every blob has its content, and every reference by an Email is that Email's.
fn check_blobs(read: &dyn Read, report: &mut Report) -> StoreResult<()> {
    let mut broken = Ok(());
    read.scan(&keys::all_blob_info(), false, &mut |key, _| {
        broken = check_blob(read, key, report);
        if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken
}

fn check_blob(read: &dyn Read, key: &[u8], report: &mut Report) -> StoreResult<()> {
    let fault = match keys::read_blob_info(key) {
        None => Some("a blob's row has a key that can't be read".to_owned()),
        Some((hash, None)) if keys::is_blob_info(key) => {
            report.blobs += 1;
            (!read.has(&keys::blob(&hash))?).then(|| format!("blob {hash:?} has no content"))
        }
        Some((_, None)) => None,
        Some((hash, Some((account, sort, id)))) => {
            let email = sort == Referrer::Email as u8;
            let email = if email { Some(read.row::<EmailRow>(account, EmailId(id))?) } else { None };
            let belongs = email.is_none_or(|row| row.is_some_and(|row| row.blob == hash));
            let stored = blobs::info(read, &hash)?.is_some();
            (!belongs || !stored).then(|| format!("blob {hash:?} has a false reference by account {account}"))
        }
    };
    report.faults.extend(fault);
    Ok(())
}
