//! The whole of `postroom check`: what the rows of an inbox mean to each other, and with it what the
//! floors below know.
//!
//! A conversation stands in its lists and has its Emails, its notes, its lock and its timers; the
//! history is a chain without gaps. Deliberately absent: what the counts in a conversation's row say,
//! which follow from its history and not from what is there now.

mod conversations;
mod history;
#[cfg(test)]
mod tests;

use super::desk::TimerKind;
use crate::auth::{self, View};
use crate::mail;
use crate::mail::search::SearchIndex;
use crate::store::blobs::Referrer;
use crate::store::check::{self, Check, Floor, Reference, Report};
use crate::store::keys::{self, Kind};
use crate::store::rows::directory::{AccountKind, AccountRow, ListBounceRow, ListTerms, PrincipalRow};
use crate::store::rows::team::{ConversationRow, InboxSettingsRow, NoteRow, ReplyLockRow};
use crate::store::{Row, Store, StoreResult};
use crate::types::*;
use std::ops::ControlFlow;

/// This floor's part of the check.
pub const FLOOR: Floor = Floor {
    kinds: &[
        Kind::Conversation,
        Kind::ConversationEmail,
        Kind::ConversationNote,
        Kind::ConversationLock,
        Kind::ConversationActivity,
        Kind::ConversationEvent,
        Kind::ThreadConversation,
        Kind::Merge,
        Kind::Purge,
        Kind::Note,
        Kind::NoteMention,
        Kind::NoteEdited,
        Kind::Memo,
        Kind::Lock,
        Kind::Activity,
        Kind::ActivityText,
        Kind::ActivityHead,
        Kind::InboxSettings,
        Kind::DeliverySeen,
        Kind::ListBounce,
        Kind::SubmissionSeen,
        Kind::PlainRefusal,
        Kind::Timer,
    ],
    account,
    server: timers,
    refers,
    referrers: &[Referrer::Note],
};

/// Every floor's part.
const FLOORS: &[Floor] = &[auth::check::FLOOR, mail::check::FLOOR, FLOOR];

/// What was found, and how far full text is behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    pub report: Report,
    /// Positions of the accounts' logs that full text hasn't taken in yet; `None` without an index.
    pub search_lag: Option<u64>,
}

/// Checks everything. `progress` is called now and then.
pub fn run(
    store: &Store,
    search: Option<&SearchIndex>,
    view: &View,
    progress: &mut dyn FnMut(&Report),
) -> StoreResult<Checked> {
    let mut report = check::check(store, FLOORS, progress)?;
    let accounts = view.accounts().map(|(id, _)| id);
    let search_lag = search
        .map(|index| mail::check::search_lag(store, index, accounts, &mut report.faults))
        .transpose()?;
    Ok(Checked { report, search_lag })
}

fn account(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    if account == AccountId::DIRECTORY {
        return Ok(());
    }
    conversations::check(check, account)?;
    history::check(check, account)?;
    check.each::<Vec<BlobHash>>(account, Kind::Purge, |_, _, _| Ok(()))?;
    check.each::<InboxSettingsRow>(account, Kind::InboxSettings, |_, _, _| Ok(()))?;
    check.each::<super::intake::SeenRow>(account, Kind::DeliverySeen, |_, _, _| Ok(()))?;
    let directory: Option<AccountRow> = check.row(AccountId::DIRECTORY, account)?;
    check.each::<ListBounceRow>(account, Kind::ListBounce, |check, key, _| {
        let number = keys::last_id(key).unwrap_or_default();
        let is_one = |terms: &ListTerms| terms.subscribers.iter().any(|one| one.number == number);
        if !directory
            .as_ref()
            .is_some_and(|row| matches!(&row.kind, AccountKind::List(terms) if is_one(terms)))
        {
            check.fault(account, format_args!("something came back from member {number}, who is none"));
        }
        Ok(())
    })
}

/// The timers of the whole server: each is of something that is there and waits for that moment.
fn timers(check: &mut Check<'_>) -> StoreResult<()> {
    let read = check.read;
    let mut broken = Ok(());
    read.scan(&keys::due_all(Kind::Timer), false, &mut |key, _| {
        check.step();
        if let Some(due) = keys::read_due(key) {
            broken = timer(check, due);
        }
        if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken
}

fn timer(check: &mut Check<'_>, (at, account, kind, id): (Millis, AccountId, u8, u32)) -> StoreResult<()> {
    if kind == TimerKind::Snooze as u8 {
        let id = ConversationId(id);
        let row: Option<ConversationRow> = check.row(account, id)?;
        if row.is_none_or(|row| row.snoozed_until != Some(at) || row.merged_into.is_some()) {
            check.fault(account, format_args!("a timer wakes {id}, which isn't snoozed, or not until then"));
        }
    } else if kind == TimerKind::Lock as u8 {
        let id = LockId(id);
        let row: Option<ReplyLockRow> = check.row(account, id)?;
        if row.is_none_or(|row| row.expires_at != at) {
            check.fault(account, format_args!("a timer ends {id}, which isn't there, or doesn't end then"));
        }
    } else if kind == TimerKind::SiblingReplied as u8 {
        let id = ConversationId(id);
        if !check.read.has(&ConversationRow::key(account, id))? {
            check.fault(account, format_args!("word of a sibling waits for {id}, which doesn't exist"));
        }
    } else if kind == TimerKind::MemberRelease as u8 {
        let id = PrincipalId(id);
        if !check.read.has(&PrincipalRow::key(AccountId::DIRECTORY, id))? {
            check.fault(account, format_args!("a timer releases the work of {id}, who doesn't exist"));
        }
    } else if ![TimerKind::Release, TimerKind::Place, TimerKind::Memos]
        .map(|known| known as u8)
        .contains(&kind)
    {
        check.fault(account, format_args!("there is a timer of an unknown kind, {kind}"));
    }
    Ok(())
}

fn refers(check: &Check<'_>, reference: Reference) -> StoreResult<bool> {
    let note: Option<NoteRow> = check.row(reference.account, NoteId(reference.id))?;
    Ok(note.is_some_and(|note| super::notes::contents(&note).contains(&reference.blob)))
}
