//! What an envelope's sender hears of a delivery: that it succeeded, where they asked for that (RFC 3461 §4.1,
//! NOTIFY=SUCCESS), and who doesn't get what others got, where SMTP's one reply took it for these (RFC 5321
//! §4.2.5, §6.1).
//!
//! Success is told in the transaction that delivers, so that each is told once and nobody of what didn't
//! happen. Failure is told in one of its own before the reply, once for each sending of the same message to
//! the same. Other failures are the client's to report, who was refused at once.
//!
//! A distribution list is a destination like any other: what it passes on is its own mail (RFC 3461
//! §5.2.7.3).

use super::{addressing, intake};
use crate::auth::View;
use crate::mail::dsn::{self, Notification, What};
use crate::mail::envelope::{Envelope, NotTaken, ReportWish};
use crate::mail::ingest::Prepared;
use crate::mail::keyed::WireKeys;
use crate::mail::outbound;
use crate::store::blobs::{self, Referrer};
use crate::store::rows::submission::{Delivered, Recipient, RelayState, SubmissionRow, UndoStatus};
use crate::store::{PreparedBlob, StoreResult, Txn};
use crate::types::*;

/// Queues the notification for those of the envelope's recipients that this account is, where any asks.
pub fn queue(
    txn: &mut Txn<'_>,
    account: AccountId,
    view: &View,
    envelope: &Envelope,
    prepared: &Prepared,
    hostname: &str,
) -> StoreResult<()> {
    // What is spam names a sender who may never have written.
    let Some(sender) = envelope.mail_from.as_ref().filter(|_| !prepared.trust.spam) else { return Ok(()) };
    let about = asked(view, account, envelope);
    if about.is_empty() {
        return Ok(());
    }
    write(txn, account, What::Delivered, sender, about, envelope, prepared, hostname)
}

/// A recipient that doesn't get what others got, with what the client wants to hear of it.
#[derive(Clone, Debug)]
pub struct LeftOut {
    pub address: Address,
    pub wish: ReportWish,
    pub why: NotTaken,
}

/// Queues the notification of those that are left out; the account is one that took the message. False where
/// there is nothing to write: nobody to tell, nobody who wants to hear it, or told before.
pub fn queue_left_out(
    txn: &mut Txn<'_>,
    account: AccountId,
    left_out: &[LeftOut],
    envelope: &Envelope,
    prepared: &Prepared,
    hostname: &str,
) -> StoreResult<bool> {
    // RFC 5321 §6.2: what is spam names a sender who may never have written.
    let Some(sender) = envelope.mail_from.as_ref().filter(|_| !prepared.trust.spam) else { return Ok(false) };
    let wanted = left_out.iter().filter(|one| !one.wish.no_failure);
    let about: Vec<Recipient> = wanted
        .map(|one| {
            let reply = Some(one.why.to_string());
            Recipient { smtp_reply: reply, ..recipient(one.address.clone(), one.wish.original.clone()) }
        })
        .collect();
    let names = about.iter().map(|one| one.address.key());
    if about.is_empty() || !intake::tell_once(txn, account, prepared, sender, names)? {
        return Ok(false);
    }
    write(txn, account, What::Failed, sender, about, envelope, prepared, hostname)?;
    Ok(true)
}

/// Writes a notification and queues it.
#[expect(clippy::too_many_arguments, reason = "one notification, of two kinds, told of in one place")]
fn write(
    txn: &mut Txn<'_>,
    account: AccountId,
    what: What,
    sender: &Address,
    about: Vec<Recipient>,
    envelope: &Envelope,
    prepared: &Prepared,
    hostname: &str,
) -> StoreResult<()> {
    let now = txn.store().clock.now();
    let told = row(about, prepared, envelope, now);
    let addresses: Vec<Address> = told.recipients.iter().map(|one| one.address.clone()).collect();
    let content = prepared.content.content()?;
    let end = prepared.message.parts.first().map_or(0, |part| part.header_size as usize);
    let message_id = WireKeys::load(txn)?.message_id(&txn.store().random, hostname);
    let raw = dsn::compose(&Notification {
        what,
        submission: &SubmissionRow { mail_from: Some(sender.clone()), ..told },
        about: &addresses,
        header: content.get(..end.min(limits::HEADER_BYTES_MAX)).unwrap_or_default(),
        subject: &prepared.summary.subject,
        hostname,
        message_id: &message_id,
        now,
        retried_until: now,
    });
    let blob = PreparedBlob::of(&raw)?;
    txn.put_blob(&blob)?;
    let id = SubmissionId(txn.allot(account, |next| &mut next.submission)?);
    blobs::refer(txn, account, &blob.hash, Referrer::Submission, id.0)?;
    let to = Recipient { smtp_reply: None, ..recipient(sender.clone(), None) };
    let mut row = SubmissionRow { blob: blob.hash, ..row(vec![to], prepared, envelope, now) };
    row.mail_from_parameters.clear();
    outbound::enqueue_detached(txn, account, id, &mut row, now)
}

/// Those recipients that lead to the account and want to hear of success, each once.
fn asked(view: &View, account: AccountId, envelope: &Envelope) -> Vec<Recipient> {
    let mut out: Vec<Recipient> = Vec::new();
    for (address, wish) in envelope.recipients.iter().zip(&envelope.reports) {
        let is_ours = || addressing::resolve(view, address).is_some_and(|target| target.account == account);
        let is_new = out.iter().all(|known| known.address.key() != address.key());
        if wish.success && is_new && is_ours() {
            out.push(recipient(address.clone(), wish.original.clone()));
        }
    }
    out
}

fn recipient(address: Address, original: Option<String>) -> Recipient {
    Recipient {
        address,
        parameters: original.map(|original| ("ORCPT".to_owned(), Some(original))).into_iter().collect(),
        smtp_reply: Some("250 2.1.5 delivered".to_owned()),
        delivered: Delivered::Queued,
        settled: false,
    }
}

/// A row that no client sees. The null path: nothing is reported of a report (RFC 3464 §2).
fn row(recipients: Vec<Recipient>, prepared: &Prepared, envelope: &Envelope, now: Millis) -> SubmissionRow {
    let id = envelope.envelope_id.clone().map(|id| ("ENVID".to_owned(), Some(id)));
    SubmissionRow {
        identity: IdentityId(0),
        email: EmailId(0),
        thread: ThreadId(0),
        blob: prepared.content.hash,
        mail_from: None,
        mail_from_parameters: id.into_iter().collect(),
        recipients,
        send_at: now.date(),
        undo_status: UndoStatus::Final,
        author: PrincipalId(0),
        conversation: None,
        created_at: now,
        relay: RelayState::Queued { next: now },
        attempts: 0,
        idempotency_key: None,
    }
}
