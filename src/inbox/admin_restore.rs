//! A store that comes back from a backup: what waited in its queue then may have gone out since, so that
//! nothing more goes out before somebody has looked at it.
//!
//! The queue stands still until `postroom queue resume`, and each message in it is marked as one that was
//! perhaps relayed, as one is whose handover broke off. A scheduled message whose time has come since the
//! backup is marked as well: its release brings it into the queue, which stands still.

use super::admin::Office;
use super::desk::TimerKind;
use super::handover::{self, Postmaster};
use super::timers;
use crate::mail::outbound::{self, QueueRules};
use crate::store::rows::submission::RelayState;
use crate::store::{StoreResult, Ticket, keys};
use crate::types::{AccountId, SubmissionId};

/// What waits in a store that was restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Messages in the queue.
    pub queued: usize,
    /// Scheduled messages whose time has come.
    pub scheduled: usize,
}

/// Stops the queue of a store that nobody serves yet, and marks what waits in it.
pub fn hold_queue(office: Office<'_>) -> StoreResult<Held> {
    let store = office.store;
    let locked = store.lock_blocking(&[AccountId::DIRECTORY]);
    let mut txn = store.begin(&locked);
    outbound::set_paused(&mut txn, true)?;
    let mut ticket = txn.commit()?.ticket;
    drop(locked);
    let now = store.clock.now();
    let mut held = Held::default();
    for due in outbound::all(&store.snapshot())? {
        let (waits, marked) = hold(office, due.account, due.submission)?;
        held.queued += usize::from(waits);
        ticket = marked;
    }
    let timers = timers::due(&store.snapshot(), now, usize::MAX)?;
    for timer in timers.into_iter().filter(|timer| timer.kind == TimerKind::Release as u8) {
        let (waits, marked) = hold(office, timer.account, SubmissionId(timer.id))?;
        held.scheduled += usize::from(waits);
        ticket = marked;
    }
    // What was committed last is durable last.
    store.durable_blocking(ticket)?;
    Ok(held)
}

/// Marks one message. A handover that was going on when the backup was made is nobody's any more. False where
/// nothing waits: nobody knew of an earlier handover either, so that nothing more is tried.
fn hold(office: Office<'_>, account: AccountId, id: SubmissionId) -> StoreResult<(bool, Ticket)> {
    let postmaster = Postmaster { hostname: office.hostname.to_owned(), rules: QueueRules::default() };
    let locked = office.store.lock_blocking(&[account]);
    let mut txn = office.store.begin(&locked);
    if let Some(finished) = outbound::reclaim(&mut txn, account, id)? {
        handover::tell(&postmaster, &office.directory.current(), &mut txn, account, id, &finished)?;
    }
    let waits = outbound::load(&txn, account, id)?.is_some_and(|(row, _)| row.relay != RelayState::Done);
    if waits {
        let mut note = outbound::note(&txn, account, id)?;
        note.uncertain = note.uncertain.max(1);
        // Whatever was known of each recipient was known then.
        note.perhaps.clear();
        txn.put_at(keys::row(account, keys::Kind::QueueMark, id.0), &note)?;
    }
    Ok((waits, txn.commit()?.ticket))
}
