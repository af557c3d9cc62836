//! What becomes of a submission at the relay, told to whom it concerns: in an inbox to the
//! conversation, and in every account to the sender, by a delivery status notification (RFC 3464).
//!
//! A handover, a start after a death, and an operator end in the same few outcomes
//! ([`Finished`]), and each is written down in one transaction with what it means.

use super::desk::{Desk, DeskError, DeskResult};
use super::lists;
use super::machine::{Actor, Entry, Event, Value};
use super::messages::{DeliveryFailed, First, Inbound};
use super::returned;
use super::server::{self, Server};
use crate::auth::View;
use crate::mail::dsn::{self, Notification, What};
use crate::mail::fields;
use crate::mail::ingest::{self, Prepared};
use crate::mail::keyed::WireKeys;
use crate::mail::message::{self, Added};
use crate::mail::outbound::{self, Finished, Handover, QueueRules};
use crate::mail::{mailbox, reports};
use crate::store::rows::directory::AccountKind;
use crate::store::rows::mail::{EmailRow, Kept, Origin};
use crate::store::rows::submission::SubmissionRow;
use crate::store::rows::team::{ActivityKind, ActivityValue, Cause};
use crate::store::{Read, StoreError, StoreResult, Txn, blobs};
use crate::types::*;
use std::collections::BTreeSet;

/// Who writes notifications, and by which rules.
#[derive(Clone, Debug)]
pub struct Postmaster {
    pub hostname: String,
    pub rules: QueueRules,
}

/// Writes down what the relay said.
pub fn finish(
    server: &Server,
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    handover: &Handover,
) -> StoreResult<()> {
    let postmaster = server.postmaster();
    let finished = outbound::finish(txn, account, id, handover, &postmaster.rules)?;
    tell(&postmaster, &server.directory.current(), txn, account, id, &finished)
}

/// Takes up what an ended process left in the middle.
pub fn reclaim(server: &Server, txn: &mut Txn<'_>, account: AccountId, id: SubmissionId) -> StoreResult<()> {
    match outbound::reclaim(txn, account, id)? {
        Some(finished) => {
            tell(&server.postmaster(), &server.directory.current(), txn, account, id, &finished)
        }
        None => Ok(()),
    }
}

/// Tells what became of a submission.
pub fn tell(
    postmaster: &Postmaster,
    view: &View,
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    finished: &Finished,
) -> StoreResult<()> {
    let Some(row) = &finished.row else { return Ok(()) };
    if view.list(account).is_some() {
        return lists::tell(txn, view, account, finished);
    }
    let is_inbox = view.account(account).is_some_and(|row| matches!(row.kind, AccountKind::Inbox(_)));
    let told = [
        (What::Failed, &finished.failed),
        (What::Late, &finished.late),
        (What::Unsure, &finished.unsure),
        (What::Relayed, &finished.relayed),
    ];
    if !is_inbox {
        for (what, about) in told.into_iter().filter(|(_, about)| !about.is_empty()) {
            if let Some(prepared) = notification(postmaster, txn, account, row, what, about)? {
                let inbox = mailbox::inbox_or_any(txn, account)?;
                file(txn, account, id, &prepared, inbox.into_iter().collect())?;
            }
        }
        return Ok(());
    }
    // Nobody waits for what a program sent.
    if row.mail_from.is_none() {
        return Ok(());
    }
    let staff = server::staff(view, account);
    let mut desk = Desk::open(txn, account, Actor::System(Cause::Mail), &staff)?;
    if finished.uncertain {
        record_uncertain(&mut desk, id, row)?;
    }
    for (what, about) in told.into_iter().filter(|(_, about)| !about.is_empty()) {
        match tell_inbox(postmaster, &mut desk, id, row, what, about) {
            Ok(()) => {}
            Err(DeskError::Store(error)) => return Err(error),
            // A merged conversation takes no events; its submission still tells.
            Err(DeskError::Refused(refusal)) => tracing::warn!(%refusal, "an outcome was refused"),
        }
    }
    Ok(())
}

/// On record, where the activities of the conversation are read.
fn record_uncertain(desk: &mut Desk<'_, '_>, id: SubmissionId, row: &SubmissionRow) -> StoreResult<()> {
    let conversation = returned::conversation(desk.read(), desk.account, id)?.map(|(id, _)| id);
    let before = Value::Plain(ActivityValue::Submission(id));
    let after = Value::Plain(ActivityValue::Email(row.email));
    desk.record(conversation, &Entry::new(ActivityKind::SendUncertain, before, after))
}

fn tell_inbox(
    postmaster: &Postmaster,
    desk: &mut Desk<'_, '_>,
    id: SubmissionId,
    row: &SubmissionRow,
    what: What,
    about: &[Address],
) -> DeskResult<()> {
    let joined = returned::conversation(desk.read(), desk.account, id)?;
    let Some(prepared) = notification(postmaster, desk.txn, desk.account, row, what, about)? else {
        // Nobody wants a message about it; the conversation is told all the same.
        let is_failure = matches!(what, What::Failed | What::Unsure);
        if let Some((conversation, _)) = joined.filter(|_| is_failure) {
            let failed = DeliveryFailed { submission: id, dsn: None };
            desk.apply(conversation, &Event::DeliveryFailed(failed), Vec::new())?;
        }
        return Ok(());
    };
    let mailboxes = match &joined {
        Some((_, found)) => desk.place(&BTreeSet::new(), found)?,
        None => {
            let kept = desk.kept()?;
            [Kept::Inbox, Kept::Unassigned].iter().filter_map(|kept_as| kept.id(kept_as)).collect()
        }
    };
    let added = file(desk.txn, desk.account, id, &prepared, mailboxes)?;
    let inbound = Inbound {
        email: added.email,
        at: desk.now,
        from: None,
        reply_to: None,
        others: Vec::new(),
        automatic: true,
        flagged: false,
    };
    let Some((conversation, _)) = joined else {
        desk.begin(&prepared.summary.subject, None, &First::Inbound(inbound), added.thread, Vec::new())?;
        return Ok(());
    };
    desk.enter(conversation, added.email, added.thread)?;
    let event = match what {
        What::Late | What::Delivered | What::Relayed => Event::Inbound(inbound),
        What::Failed | What::Unsure => {
            Event::DeliveryFailed(DeliveryFailed { submission: id, dsn: Some((added.email, desk.now)) })
        }
    };
    desk.apply(conversation, &event, Vec::new())?;
    Ok(())
}

/// Puts a notification into the account, and among the reports on the submission.
fn file(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: SubmissionId,
    prepared: &Prepared,
    mailboxes: BTreeSet<MailboxId>,
) -> StoreResult<Added> {
    if mailboxes.is_empty() {
        return Err(StoreError::Corrupt(format!("account {account} has no Inbox")));
    }
    let at = txn.store().clock.now().date();
    let new = prepared.email(Vec::new(), mailboxes, BTreeSet::new(), at, Origin::Automatic, None);
    let added = message::add(txn, account, new)?;
    reports::keep_own(txn, account, id, added.email)?;
    Ok(added)
}

/// The notification of what became of a submission; `None` where there is nobody to tell, or nobody
/// who wants to hear it.
fn notification(
    postmaster: &Postmaster,
    txn: &Txn<'_>,
    account: AccountId,
    row: &SubmissionRow,
    what: What,
    about: &[Address],
) -> StoreResult<Option<Prepared>> {
    let wanted = |one: &Address| {
        row.recipients.iter().any(|known| known.address == *one && dsn::is_wanted(known, what))
    };
    let about: Vec<Address> = about.iter().filter(|one| wanted(one)).cloned().collect();
    // RFC 3464 §2: nothing is reported about a message with the null path.
    if row.mail_from.is_none() || about.is_empty() {
        return Ok(None);
    }
    let raw = blobs::content(txn, &row.blob)?.unwrap_or_default();
    let end = fields::split(&raw, 0, |_| false, |_| {});
    let email: Option<EmailRow> = (txn as &dyn Read).row(account, row.email)?;
    let now = txn.store().clock.now();
    let message_id = WireKeys::load(txn)?.message_id(&txn.store().random, &postmaster.hostname);
    let composed = dsn::compose(&Notification {
        what,
        submission: row,
        about: &about,
        header: raw.get(..end.min(limits::HEADER_BYTES_MAX)).unwrap_or_default(),
        subject: &email.map(|email| email.subject).unwrap_or_default(),
        hostname: &postmaster.hostname,
        message_id: &message_id,
        now,
        retried_until: outbound::queued_since(row).after(postmaster.rules.give_up),
    });
    // It isn't one that came in: what it says is written down already.
    Ok(Some(Prepared { report: None, ..ingest::prepare(&composed, true)? }))
}
