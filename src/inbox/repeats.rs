//! Never twice: how a submission is known for the repetition of an earlier one.
//!
//! The same principal's submission within a day is the same as one with its `idempotencyKey`, with its
//! recipients and content, or with its Message-ID where nobody is new among the recipients (decision 097). The
//! gate says how long a day is; a submission that was canceled is none.

use super::gate;
use super::sending::{Order, Submitted};
use crate::mail::{body, outbound};
use crate::store::rows::mail::{EmailRow, StoredMessage};
use crate::store::rows::submission::*;
use crate::store::rows::team::EarlierSubmissionRow;
use crate::store::{Read, StoreResult, Txn, blobs, keys};
use crate::types::*;

/// The digests by which the same submission is known again.
#[derive(Default)]
pub(super) struct Digests {
    /// Any of these says so: the client's own key, the content with its recipients.
    alone: Vec<Digest>,
    /// All of these together say so: the Message-ID to each recipient. To somebody who hasn't had it, it is
    /// sent (RFC 8621 §7.5).
    to_each: Vec<Digest>,
}

type Digest = [u8; 16];

/// Those of a submission that is about to be made.
pub(super) fn digests(
    txn: &mut Txn<'_>,
    account: AccountId,
    order: &Order<'_>,
    email: &EmailRow,
) -> StoreResult<Digests> {
    let read: &dyn Read = txn;
    let digest = |what: &str, pieces: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(what.as_bytes()).update(&[0]).update(order.sender.to_string().as_bytes());
        for piece in pieces {
            hasher.update(blake3::hash(piece).as_bytes());
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        digest
    };
    let mut out = Digests::default();
    out.alone.extend(order.idempotency_key.map(|key| digest("idempotencyKey", &[key.as_bytes()])));
    let stored: Option<StoredMessage> = read.row(account, order.email)?;
    let Some(stored) = stored else { return Ok(out) };
    let recipients: Vec<Address> = order.recipients.iter().map(|one| one.address.clone()).collect();
    if let Some(id) = crate::mail::ingest::thread_keys(&stored.message).own.first() {
        let to = |one: &Address| digest("message-id", &[id.as_bytes(), one.key().as_bytes()]);
        out.to_each = recipients.iter().map(to).collect();
    }
    if let Some(content) = blobs::content(read, &email.blob)? {
        let parts = body::digest(&stored.message, &content);
        let content = gate::content_digest(&recipients, &email.subject, &parts);
        out.alone.push(digest("content", &[&content]));
    }
    Ok(out)
}

/// The submission that this one repeats.
pub(super) fn earlier(
    txn: &mut Txn<'_>,
    account: AccountId,
    digests: &Digests,
) -> StoreResult<Option<Submitted>> {
    for digest in &digests.alone {
        if let Some(found) = sent_before(txn, account, digest)? {
            return Ok(Some(found));
        }
    }
    let mut first = None;
    for digest in &digests.to_each {
        let Some(found) = sent_before(txn, account, digest)? else { return Ok(None) };
        first.get_or_insert(found);
    }
    Ok(first)
}

/// The submission that a digest was remembered for, if it went out or will.
fn sent_before(txn: &Txn<'_>, account: AccountId, digest: &Digest) -> StoreResult<Option<Submitted>> {
    for (submission, _) in remembered(txn, account, digest)? {
        if let Some(row) = record(txn, account, submission)?
            && row.undo_status != UndoStatus::Canceled
        {
            return Ok(Some(Submitted { id: submission, row, repeated: true }));
        }
    }
    Ok(None)
}

/// The submissions that count for a digest today, the last one first.
fn remembered(
    txn: &Txn<'_>,
    account: AccountId,
    digest: &Digest,
) -> StoreResult<Vec<(SubmissionId, Millis)>> {
    let read: &dyn Read = txn;
    let Some(bytes) = read.bytes(&keys::named(account, keys::Kind::SubmissionSeen, digest))? else {
        return Ok(Vec::new());
    };
    let seen: EarlierSubmissionRow = crate::store::rows::decode(&bytes)?;
    let now = txn.store().clock.now();
    let all = std::iter::once((seen.submission, seen.at)).chain(seen.before);
    Ok(all.filter(|(_, at)| gate::is_duplicate(*at, now)).collect())
}

/// A submission, though it may be no object any more.
fn record(txn: &Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<Option<SubmissionRow>> {
    let read: &dyn Read = txn;
    match read.row(account, id)? {
        Some(row) => Ok(Some(row)),
        None => outbound::destroyed(read, account, id),
    }
}

/// Has a submission known again by them for a day.
pub(super) fn remember(
    txn: &mut Txn<'_>,
    account: AccountId,
    digests: &Digests,
    submission: SubmissionId,
) -> StoreResult<()> {
    let at = txn.store().clock.now();
    for digest in digests.alone.iter().chain(&digests.to_each) {
        let mut before = None;
        for one in remembered(txn, account, digest)? {
            let is_final = |row: SubmissionRow| row.undo_status == UndoStatus::Final;
            if record(txn, account, one.0)?.is_some_and(is_final) {
                before = Some(one);
                break;
            }
        }
        let key = keys::named(account, keys::Kind::SubmissionSeen, digest);
        txn.put_at(key, &EarlierSubmissionRow { submission, at, before })?;
    }
    Ok(())
}
