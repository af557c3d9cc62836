//! The relay queue: what waits to be handed over, what is being handed over, and what became of it.
//!
//! A submission's place in the queue is a row of its own, keyed by when it is next due and written
//! in the same transaction as the submission. A handover is a lease: its begin is durable before
//! the relay is contacted, and a second mark is durable before the message's octets go out. So a
//! process that ends leaves one of three things behind: nothing begun, begun and safe to begin
//! again, or octets on their way, which is the only state in which nobody knows.
//!
//! A submission that a client destroyed goes on its way all the same (RFC 8621 §7.5): its row is
//! *detached*, kept where no client sees it, until it is done. What the server answers by itself
//! is detached from the beginning.

use crate::store::blobs::{self, Referrer};
use crate::store::rows::submission::*;
use crate::store::{Read, Row, StoreResult, Txn, keys, rows};
use crate::types::*;
use std::ops::ControlFlow;
use std::time::Duration;

/// What the relay said at the end of a handover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handover {
    /// One for each recipient that was offered, in their order.
    pub replies: Vec<RelayReply>,
    /// The connection was lost after the octets had gone out: the relay may have the message.
    pub unknown: bool,
}

/// The relay's word on one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayReply {
    pub verdict: Verdict,
    /// The reply as it came, code first, in one line (RFC 8621 §7, `smtpReply`).
    pub text: String,
}

/// What follows from a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The relay has it.
    Accepted,
    /// 4xx, or no connection.
    TryLater,
    /// 5xx.
    Refused,
}

/// What [`finish`] made of a handover.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finished {
    /// Recipients that will never get it.
    pub failed: Vec<Address>,
    /// Nothing more will be tried.
    pub done: bool,
}

/// Something in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    pub at: Millis,
    pub account: AccountId,
    pub submission: SubmissionId,
}

/// Puts a submission into the queue. The caller writes the row.
pub fn enqueue(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &mut SubmissionRow,
    at: Millis,
) -> StoreResult<()> {
    row.relay = RelayState::Queued { next: at };
    place(txn, account, id, row)
}

/// Puts a message of the server's own into the queue: no client ever sees it as an object.
pub fn enqueue_detached(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &mut SubmissionRow,
    at: Millis,
) -> StoreResult<()> {
    enqueue(txn, account, id, row, at)?;
    txn.put_at(detached_key(account, id), row)
}

/// A submission on its way, and whether it is an object that clients see.
pub fn load(
    read: &dyn Read,
    account: AccountId,
    id: SubmissionId,
) -> StoreResult<Option<(SubmissionRow, bool)>> {
    if let Some(row) = read.row::<SubmissionRow>(account, id)? {
        return Ok(Some((row, true)));
    }
    match read.bytes(&detached_key(account, id))? {
        Some(bytes) => Ok(Some((rows::decode(&bytes)?, false))),
        None => Ok(None),
    }
}

/// Writes a submission that moved on, where it is. A detached one that is done is kept no longer.
pub fn store(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &SubmissionRow,
    shown: bool,
) -> StoreResult<()> {
    if shown {
        return txn.update(account, id, row);
    }
    if row.relay == RelayState::Done {
        txn.delete_at(detached_key(account, id));
        return Ok(());
    }
    txn.put_at(detached_key(account, id), row)
}

/// Takes the object away that clients see. What is on its way stays on it (RFC 8621 §7.5).
pub fn destroy(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &SubmissionRow,
) -> StoreResult<()> {
    if row.relay != RelayState::Done {
        txn.put_at(detached_key(account, id), row)?;
    }
    txn.delete_at(keys::pair(account, keys::Kind::SubmissionOfEmail, row.email.0, id.0));
    txn.delete_at(keys::row(account, keys::Kind::SubmissionReports, id.0));
    txn.remove::<SubmissionRow>(account, id)
}

/// The same without a change that a client would see.
fn annotate(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    row: &SubmissionRow,
    shown: bool,
) -> StoreResult<()> {
    let key = if shown { SubmissionRow::key(account, id) } else { detached_key(account, id) };
    txn.put_at(key, row)
}

fn detached_key(account: AccountId, id: SubmissionId) -> keys::Key {
    keys::row(account, keys::Kind::DetachedSubmission, id.0)
}

/// What is due up to `now`, the longest waiting first.
pub fn due(read: &dyn Read, now: Millis, limit: usize) -> StoreResult<Vec<Due>> {
    collect(read, &keys::due_until(keys::Kind::Queue, now), limit)
}

/// When the next thing is due.
pub fn next_due(read: &dyn Read) -> StoreResult<Option<Millis>> {
    Ok(collect(read, &keys::due_all(keys::Kind::Queue), 1)?.first().map(|due| due.at))
}

/// Everything in the queue.
pub fn all(read: &dyn Read) -> StoreResult<Vec<Due>> {
    collect(read, &keys::due_all(keys::Kind::Queue), usize::MAX)
}

/// Takes the lease for one handover. `None` where the submission isn't waiting, or isn't due yet.
pub fn begin(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    now: Millis,
) -> StoreResult<Option<SubmissionRow>> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(None) };
    if due_at(&row.relay).is_none_or(|due| due > now) {
        return Ok(None);
    }
    if let RelayState::Handing { since } = row.relay {
        tracing::warn!(
            account = %account, submission = %id, since = since.0,
            "sending again: the outcome of the last handover is unknown; the Message-ID stays the same"
        );
    }
    unplace(txn, account, id, &row);
    row.relay = RelayState::Contacting { since: now };
    row.attempts = row.attempts.saturating_add(1);
    place(txn, account, id, &row)?;
    // The lease is nothing that a client sees.
    annotate(txn, account, id, &row, shown)?;
    Ok(Some(row))
}

/// Marks that the message's octets are about to go out. False where the lease is lost.
pub fn handing(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId, now: Millis) -> StoreResult<bool> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(false) };
    if !matches!(row.relay, RelayState::Contacting { .. }) {
        return Ok(false);
    }
    unplace(txn, account, id, &row);
    row.relay = RelayState::Handing { since: now };
    place(txn, account, id, &row)?;
    annotate(txn, account, id, &row, shown)?;
    Ok(true)
}

/// Writes down what became of a handover.
pub fn finish(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    handover: &Handover,
    now: Millis,
) -> StoreResult<Finished> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(Finished::default()) };
    unplace(txn, account, id, &row);
    let mut finished = Finished::default();
    let given_up = row.created_at.after(Duration::from_secs(limits::RELAY_GIVE_UP_SECONDS)) <= now;
    let waiting = row.recipients.iter_mut().filter(|recipient| !recipient.settled);
    for (recipient, reply) in waiting.zip(&handover.replies) {
        settle(recipient, reply, given_up, &mut finished);
    }
    finished.done = row.recipients.iter().all(|recipient| recipient.settled);
    row.undo_status = UndoStatus::Final;
    if finished.done {
        blobs::unrefer(txn, account, &row.blob, Referrer::Submission, id.0);
        row.relay = RelayState::Done;
    } else if handover.unknown {
        // Due after a wait as any other, but not forgotten: the next begin says why it sends again.
        row.relay = RelayState::Handing { since: lease_ending(now.after(backoff(row.attempts))) };
    } else {
        row.relay = RelayState::Queued { next: now.after(backoff(row.attempts)) };
    }
    place(txn, account, id, &row)?;
    store(txn, account, id, &row, shown)?;
    Ok(finished)
}

/// Makes everything that an ended process left in the middle due now. Only at start, when nobody
/// else has a lease.
pub fn reclaim(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId, now: Millis) -> StoreResult<()> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(()) };
    let relay = match row.relay {
        RelayState::Contacting { .. } => RelayState::Queued { next: now },
        RelayState::Handing { .. } => RelayState::Handing { since: lease_ending(now) },
        _ => return Ok(()),
    };
    unplace(txn, account, id, &row);
    row.relay = relay;
    place(txn, account, id, &row)?;
    annotate(txn, account, id, &row, shown)
}

/// When a submission in that state is due: waiting ones at their time, begun ones when the lease
/// has run out.
pub fn due_at(relay: &RelayState) -> Option<Millis> {
    let lease = Duration::from_secs(limits::RELAY_LEASE_SECONDS);
    match relay {
        RelayState::Queued { next } => Some(*next),
        RelayState::Contacting { since } | RelayState::Handing { since } => Some(since.after(lease)),
        RelayState::Done | RelayState::Scheduled { .. } => None,
    }
}

/// The begin of a lease that ends then.
fn lease_ending(end: Millis) -> Millis {
    let lease = i64::try_from(limits::RELAY_LEASE_SECONDS).unwrap_or(i64::MAX).saturating_mul(1000);
    Millis(end.0.saturating_sub(lease))
}

fn settle(recipient: &mut Recipient, reply: &RelayReply, given_up: bool, finished: &mut Finished) {
    recipient.smtp_reply = Some(reply.text.clone());
    match reply.verdict {
        Verdict::Accepted => {
            recipient.settled = true;
            // RFC 8621 §7: the relay's "yes" is not yet a delivery.
            recipient.delivered = Delivered::Unknown;
        }
        Verdict::TryLater if !given_up => {}
        Verdict::TryLater | Verdict::Refused => {
            recipient.settled = true;
            recipient.delivered = Delivered::No;
            finished.failed.push(recipient.address.clone());
        }
    }
}

fn backoff(attempts: u32) -> Duration {
    let doubled = limits::RELAY_RETRY_SECONDS_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    Duration::from_secs(doubled.min(limits::RELAY_RETRY_SECONDS_MAX))
}

fn place(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId, row: &SubmissionRow) -> StoreResult<()> {
    match due_at(&row.relay) {
        Some(at) => txn.put_at(keys::due(keys::Kind::Queue, at, account, 0, id.0), &QueueRow),
        None => Ok(()),
    }
}

fn unplace(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId, row: &SubmissionRow) {
    if let Some(at) = due_at(&row.relay) {
        txn.delete_at(keys::due(keys::Kind::Queue, at, account, 0, id.0));
    }
}

fn collect(read: &dyn Read, range: &keys::KeyRange, limit: usize) -> StoreResult<Vec<Due>> {
    let mut out = Vec::new();
    if limit == 0 {
        return Ok(out);
    }
    read.scan(range, false, &mut |key, _| {
        if let Some((at, account, _, id)) = keys::read_due(key) {
            out.push(Due { at, account, submission: SubmissionId(id) });
        }
        if out.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let seconds: Vec<u64> = (1..=11).map(|attempts| backoff(attempts).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(backoff(u32::MAX).as_secs(), 3600);
    }
}
