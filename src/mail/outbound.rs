//! The relay queue: what waits to be handed over, what is being handed over, and what became of it.
//!
//! A submission's place in the queue is a row of its own, keyed by when it is next due and written
//! in the same transaction as the submission. A handover is a lease: its begin is durable before
//! the relay is contacted, and a second mark is durable before the message's octets go out. So a
//! process that ends leaves one of three things behind: nothing begun, begun and safe to begin
//! again, or octets on their way, which is the only state in which nobody knows. Then the message
//! is sent once more under the same Message-ID, to the same relay and no other, and that is on
//! record; where nobody knows a second time, it is left to people.
//!
//! A submission that a client destroyed goes on its way all the same (RFC 8621 §7.5): its row is
//! *detached*, kept where no client sees it, until it is done. What the server answers by itself
//! is detached from the beginning.

mod settle;

use self::settle::settle_waiting;
use super::dsn;
use crate::store::blobs::{self, Referrer};
use crate::store::rows::submission::*;
use crate::store::{PreparedBlob, Read, Row, StoreResult, Txn, keys, rows};
use crate::types::*;
use std::ops::ControlFlow;
use std::time::Duration;

/// What the relay said at the end of a handover.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handover {
    /// One for each recipient that was offered, in their order.
    pub replies: Vec<RelayReply>,
    /// The relay knows what the sender wants to hear of (RFC 3461).
    pub dsn: bool,
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
    /// The connection was lost after the octets had gone out: the relay may have it for them.
    Unknown,
}

/// What became of a submission by a handover, or by whoever ended it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finished {
    /// Recipients that will never get it.
    pub failed: Vec<Address>,
    /// Recipients that it is late for, told once.
    pub late: Vec<Address>,
    /// Recipients that may have it or not, and nothing more is tried.
    pub unsure: Vec<Address>,
    /// Recipients of whose delivery the sender wants to hear, and whose relay tells nothing of it.
    pub relayed: Vec<Address>,
    /// Nobody knows whether the relay took it this time.
    pub uncertain: bool,
    /// Nothing more will be tried.
    pub done: bool,
    /// The submission as it is now; `None` where there is none.
    pub row: Option<SubmissionRow>,
}

/// How long what is tried; the configuration's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRules {
    /// After this time what the relay doesn't take has failed.
    pub give_up: Duration,
    /// After this time the sender is told that it is late.
    pub warn: Duration,
}

impl Default for QueueRules {
    fn default() -> Self {
        Self {
            give_up: Duration::from_secs(limits::RELAY_GIVE_UP_SECONDS),
            warn: Duration::from_secs(limits::RELAY_WARN_SECONDS),
        }
    }
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

/// A message that a program of ours writes about one that came in.
#[derive(Clone, Copy, Debug)]
pub struct Automatic<'a> {
    pub identity: IdentityId,
    /// What it is about.
    pub email: EmailId,
    pub thread: ThreadId,
    /// Who ordered it; nobody's number where nobody did.
    pub author: PrincipalId,
    pub to: &'a [Address],
    pub raw: &'a [u8],
}

/// Puts such a message into the queue, as nothing that a client sees. The return path is null, so that an
/// answer to it ends here (RFC 3834 §3.3, RFC 8098 §2.1).
pub fn enqueue_automatic(
    txn: &mut Txn<'_>,
    account: AccountId,
    message: &Automatic<'_>,
    now: Millis,
) -> StoreResult<SubmissionId> {
    let blob = PreparedBlob::of(message.raw)?;
    txn.put_blob(&blob)?;
    let id = SubmissionId(txn.allot(account, |next| &mut next.submission)?);
    blobs::refer(txn, account, &blob.hash, Referrer::Submission, id.0)?;
    let recipient = |address: &Address| Recipient {
        address: address.clone(),
        parameters: Vec::new(),
        smtp_reply: None,
        delivered: Delivered::Queued,
        settled: false,
    };
    let mut row = SubmissionRow {
        identity: message.identity,
        email: message.email,
        thread: message.thread,
        blob: blob.hash,
        mail_from: None,
        mail_from_parameters: Vec::new(),
        recipients: message.to.iter().map(recipient).collect(),
        send_at: now.date(),
        undo_status: UndoStatus::Final,
        author: message.author,
        conversation: None,
        created_at: now,
        relay: RelayState::Queued { next: now },
        attempts: 0,
        idempotency_key: None,
    };
    enqueue_detached(txn, account, id, &mut row, now)?;
    Ok(id)
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
        if row.undo_status == UndoStatus::Canceled {
            // It never went out: the same message may be sent.
            forget_destroyed(txn, account, id)?;
        }
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
    let left =
        ReturnPathRow { email: row.email, conversation: row.conversation, submission: Some(row.clone()) };
    txn.put_at(keys::row(account, keys::Kind::ReturnPath, id.0), &left)?;
    txn.delete_at(keys::pair(account, keys::Kind::SubmissionOfEmail, row.email.0, id.0));
    txn.delete_at(keys::row(account, keys::Kind::SubmissionReports, id.0));
    txn.remove::<SubmissionRow>(account, id)
}

/// A submission that is no object any more, as it was when it was destroyed.
pub fn destroyed(
    read: &dyn Read,
    account: AccountId,
    id: SubmissionId,
) -> StoreResult<Option<SubmissionRow>> {
    let Some(bytes) = read.bytes(&keys::row(account, keys::Kind::ReturnPath, id.0))? else { return Ok(None) };
    Ok(rows::decode::<ReturnPathRow>(&bytes)?.submission)
}

/// Keeps of a submission that is no object any more where a bounce belongs, and nothing else.
pub fn forget_destroyed(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<()> {
    let key = keys::row(account, keys::Kind::ReturnPath, id.0);
    if let Some(bytes) = txn.bytes(&key)? {
        let left = ReturnPathRow { submission: None, ..rows::decode(&bytes)? };
        txn.put_at(key, &left)?;
    }
    Ok(())
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

/// When the next thing after `now` is due.
pub fn next_due(read: &dyn Read, now: Millis) -> StoreResult<Option<Millis>> {
    let later = keys::due_after(keys::Kind::Queue, now);
    Ok(collect(read, &later, 1)?.first().map(|due| due.at))
}

/// The domain of the first recipient that waits, as domains compare; empty where nobody waits.
pub fn domain(row: &SubmissionRow) -> String {
    let waiting = row.recipients.iter().find(|recipient| !recipient.settled);
    waiting.map(|recipient| recipient.address.domain_key()).unwrap_or_default()
}

/// Everything in the queue.
pub fn all(read: &dyn Read) -> StoreResult<Vec<Due>> {
    collect(read, &keys::due_all(keys::Kind::Queue), usize::MAX)
}

/// Whether a handover was begun that nobody ended in its time: its relay may have the message, and before
/// the next one [`reclaim`] says so.
pub fn is_abandoned(read: &dyn Read, account: AccountId, id: SubmissionId, now: Millis) -> StoreResult<bool> {
    let row = load(read, account, id)?.map(|(row, _)| row.relay);
    Ok(
        matches!(row, Some(relay @ RelayState::Handing { .. }) if due_at(&relay).is_some_and(|due| due <= now)),
    )
}

/// Takes the lease for one handover. `None` where the submission isn't waiting, or isn't due yet.
pub fn begin(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    now: Millis,
) -> StoreResult<Option<SubmissionRow>> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(None) };
    let is_handing = matches!(row.relay, RelayState::Handing { .. });
    if is_handing || due_at(&row.relay).is_none_or(|due| due > now) {
        return Ok(None);
    }
    if note(txn, account, id)?.is_unsure() {
        tracing::warn!(
            account = %account, submission = %id,
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

/// Marks that the message's octets are about to go out to this relay. False where the lease is lost,
/// or where another relay may have the message.
pub fn handing(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    relay: &str,
    now: Millis,
) -> StoreResult<bool> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(false) };
    if !matches!(row.relay, RelayState::Contacting { .. }) {
        return Ok(false);
    }
    let mut note = note(txn, account, id)?;
    if note.is_unsure() && note.handed_to.as_deref().is_some_and(|other| other != relay) {
        return Ok(false);
    }
    note.handed_to = Some(relay.to_owned());
    txn.put_at(note_key(account, id), &note)?;
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
    rules: &QueueRules,
) -> StoreResult<Finished> {
    let now = txn.store().clock.now();
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(Finished::default()) };
    let mut note = note(txn, account, id)?;
    let since = queued_since(&row);
    let mut finished = Finished::default();
    if !handover.dsn {
        let waiting = row.recipients.iter().filter(|recipient| !recipient.settled);
        let taken = waiting.zip(&handover.replies).filter(|(recipient, reply)| {
            reply.verdict == Verdict::Accepted && dsn::is_wanted(recipient, dsn::What::Relayed)
        });
        finished.relayed = taken.map(|(recipient, _)| recipient.address.clone()).collect();
    }
    let over = since.after(rules.give_up) <= now;
    settle_waiting(&mut row, &mut note, &handover.replies, over, &mut finished);
    if !note.warned && since.after(rules.warn) <= now {
        let waiting = row.recipients.iter().filter(|recipient| !recipient.settled);
        finished.late = waiting.map(|recipient| recipient.address.clone()).collect();
        note.warned = !finished.late.is_empty();
    }
    unplace(txn, account, id, &row);
    row.undo_status = UndoStatus::Final;
    row.relay = RelayState::Queued { next: now.after(backoff(row.attempts, &txn.store().random)) };
    write(txn, account, id, row, note, shown, finished)
}

/// Takes up what was left in the middle: by an ended process, at the start, when nobody has a lease; by a
/// handover whose end couldn't be written down, once its lease has run out. `None` where it wasn't in the
/// middle.
pub fn reclaim(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<Option<Finished>> {
    let now = txn.store().clock.now();
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(None) };
    let uncertain = match row.relay {
        RelayState::Contacting { .. } => false,
        RelayState::Handing { .. } => true,
        _ => return Ok(None),
    };
    let mut note = note(txn, account, id)?;
    let mut finished = Finished::default();
    if uncertain {
        let text = "451 4.4.2 the handover broke off while the relay was taking the message: it may have it"
            .to_owned();
        let reply = RelayReply { verdict: Verdict::Unknown, text };
        settle_waiting(&mut row, &mut note, std::iter::repeat(&reply), false, &mut finished);
    }
    unplace(txn, account, id, &row);
    row.relay = RelayState::Queued { next: now };
    write(txn, account, id, row, note, shown, finished).map(Some)
}

/// Has a waiting submission tried at once, whatever it waits for. False where it doesn't wait.
pub fn retry(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<bool> {
    let now = txn.store().clock.now();
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(false) };
    if !matches!(row.relay, RelayState::Queued { .. }) {
        return Ok(false);
    }
    unplace(txn, account, id, &row);
    row.relay = RelayState::Queued { next: now };
    place(txn, account, id, &row)?;
    annotate(txn, account, id, &row, shown)?;
    Ok(true)
}

/// Takes a waiting submission out of the queue: what wasn't handed over yet has failed. `None`
/// where it doesn't wait.
pub fn cancel(txn: &mut Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<Option<Finished>> {
    let Some((mut row, shown)) = load(txn, account, id)? else { return Ok(None) };
    if !matches!(row.relay, RelayState::Queued { .. }) {
        return Ok(None);
    }
    let mut note = note(txn, account, id)?;
    let mut finished = Finished::default();
    let text = "554 5.7.0 taken out of the queue by an administrator".to_owned();
    let reply = RelayReply { verdict: Verdict::Refused, text };
    settle_waiting(&mut row, &mut note, std::iter::repeat(&reply), true, &mut finished);
    unplace(txn, account, id, &row);
    write(txn, account, id, row, note, shown, finished).map(Some)
}

/// What the queue notes of a submission beside its row.
pub fn note(read: &dyn Read, account: AccountId, id: SubmissionId) -> StoreResult<QueueMarkRow> {
    match read.bytes(&note_key(account, id))? {
        Some(bytes) => rows::decode(&bytes),
        None => Ok(QueueMarkRow::default()),
    }
}

/// Whether the operator has stopped the queue.
pub fn is_paused(read: &dyn Read) -> StoreResult<bool> {
    read.has(&keys::single(AccountId::DIRECTORY, keys::Kind::QueuePaused))
}

/// Stops the queue, or lets it run again.
pub fn set_paused(txn: &mut Txn<'_>, paused: bool) -> StoreResult<()> {
    let key = keys::single(AccountId::DIRECTORY, keys::Kind::QueuePaused);
    if paused {
        return txn.put_at(key, &());
    }
    txn.delete_at(key);
    Ok(())
}

/// Writes a submission after a step, and what follows where nothing more is to be tried.
fn write(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    mut row: SubmissionRow,
    note: QueueMarkRow,
    shown: bool,
    mut finished: Finished,
) -> StoreResult<Finished> {
    finished.done = row.recipients.iter().all(|recipient| recipient.settled);
    if finished.done {
        blobs::unrefer(txn, account, &row.blob, Referrer::Submission, id.0);
        row.relay = RelayState::Done;
        txn.delete_at(note_key(account, id));
    } else if note != QueueMarkRow::default() {
        txn.put_at(note_key(account, id), &note)?;
    } else {
        txn.delete_at(note_key(account, id));
    }
    place(txn, account, id, &row)?;
    store(txn, account, id, &row, shown)?;
    finished.row = Some(row);
    Ok(finished)
}

fn note_key(account: AccountId, id: SubmissionId) -> keys::Key {
    keys::row(account, keys::Kind::QueueMark, id.0)
}

/// Since when it could have been handed over: a scheduled one not before its time.
pub fn queued_since(row: &SubmissionRow) -> Millis {
    row.created_at.max(Millis(row.send_at.0.saturating_mul(1000)))
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

/// The wait before the next attempt: it doubles, and is a fifth shorter or longer by chance, so
/// that what failed together isn't tried together.
fn backoff(attempts: u32, random: &Random) -> Duration {
    let doubled = limits::RELAY_RETRY_SECONDS_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let seconds = doubled.min(limits::RELAY_RETRY_SECONDS_MAX);
    let chance = u64::from(u16::from_le_bytes(random.bytes::<2>()));
    Duration::from_millis(seconds * 800 + seconds * 400 * chance / u64::from(u16::MAX))
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
    fn waits_double_up_to_the_longest_and_differ_by_a_fifth() {
        let random = Random::seeded(1);
        for (attempts, seconds) in
            [(1, 10), (2, 20), (3, 40), (8, 1280), (9, 2560), (10, 3600), (u32::MAX, 3600)]
        {
            let waits: Vec<u64> = (0..50).map(|_| backoff(attempts, &random).as_millis() as u64).collect();
            assert!(waits.iter().all(|wait| (seconds * 800..=seconds * 1200).contains(wait)), "{waits:?}");
            assert!(waits.iter().any(|wait| *wait < seconds * 1000), "{waits:?}");
            assert!(waits.iter().any(|wait| *wait > seconds * 1000), "{waits:?}");
        }
    }
}
