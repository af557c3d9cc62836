//! Telling the sender of a message who asked for it what became of the message (RFC 9007, RFC 8098): only when
//! somebody orders it, once for each message, with the null return path, through the relay queue.
//!
//! It is automatic mail: it answers nobody, moves no conversation, and no client sees its submission. In an
//! inbox it is on record. The mark that it was sent is written in the same transaction.

use super::desk::{Desk, DeskResult};
use super::machine::Entry;
use super::moves;
use crate::mail::automatic::{self, AutomaticReason};
use crate::mail::compose::ComposeDefaults;
use crate::mail::date::MailDate;
use crate::mail::keyed::WireKeys;
use crate::mail::mdn::{self, Notification, Report};
use crate::mail::outbound::{self, Automatic};
use crate::mail::{headers, memo, message, parse, words};
use crate::store::rows::activity::ActivityKind;
use crate::store::rows::mail::{EmailRow, MailAddress, Origin, StoredMessage};
use crate::store::rows::team::ActivityValue;
use crate::store::{Read, StoreError, StoreResult, Txn, blobs};
use crate::types::*;
use std::collections::BTreeSet;

/// What somebody orders to be told, checked by the caller as far as the Identity goes.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub email: EmailId,
    pub identity: IdentityId,
    pub from: MailAddress,
    pub sender: PrincipalId,
    pub subject: Option<&'a str>,
    pub text: Option<&'a str>,
    pub with_original: bool,
    /// What of it the message itself says is filled in here.
    pub report: Report,
}

/// A notification that is on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub submission: SubmissionId,
    pub report: Report,
    pub subject: String,
    pub text: String,
}

/// Why none is sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    #[error("There is no such Email.")]
    NoEmail,
    #[error("It has no valid Disposition-Notification-To: nobody asks for a notification.")]
    NotAsked,
    #[error("A notification was sent already: it has $mdnsent.")]
    AlreadySent,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("With the original message it would be too large.")]
    TooLarge,
    #[error("{0} can't be written so.")]
    Unwritable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Queues the notification. The caller marks the Email in the same transaction.
pub fn send(
    txn: &mut Txn<'_>,
    account: AccountId,
    order: Order<'_>,
    hostname: &str,
) -> Result<(Sent, EmailRow), NotSent> {
    let read: &dyn Read = txn;
    let row: EmailRow = read.row(account, order.email)?.ok_or(NotSent::NoEmail)?;
    let stored: StoredMessage = read.row(account, order.email)?.ok_or(NotSent::NoEmail)?;
    let to = may_tell(&row, &stored)?;
    let about = &stored.message;
    let id = headers::message_ids(about, "message-id").into_iter().next();
    // RFC 8098 §2.3: what the sender's system says of whom it was for.
    let original =
        about.field("Original-Recipient").map(|field| words::unfold(&field.value.0).trim().to_owned());
    let report = Report {
        original_recipient: original.filter(|given| mdn::is_value(given) && given.contains(';')),
        original_message_id: id.map(|id| format!("<{id}>")),
        ..order.report
    };
    let kind = report.disposition.kind.as_str();
    let subject = order.subject.map_or_else(|| default_subject(kind, &row.subject), str::to_owned);
    let text = order.text.map_or_else(|| default_text(kind, &row.subject), str::to_owned);
    let original = if order.with_original { blobs::content(read, &row.blob)? } else { None };
    let now = txn.store().clock.now();
    let keys = WireKeys::load(txn)?;
    let defaults = ComposeDefaults {
        message_id: keys.message_id(&txn.store().random, hostname),
        date: MailDate::utc(now),
        boundary_seed: txn.store().random.bytes(),
    };
    let of = Notification {
        from: order.from,
        to: &to,
        subject: &subject,
        text: &text,
        report: &report,
        about,
        original,
    };
    let raw = mdn::compose(of, &defaults).map_err(|error| NotSent::Unwritable(error.culprit().to_owned()))?;
    if raw.len() > limits::UPLOAD_SIZE_BYTES_MAX {
        return Err(NotSent::TooLarge);
    }
    if memo::is_in(&keys, &parse::parse(&raw), &raw) {
        return Err(NotSent::Forbidden("It has an internal note of an inbox in it: notes are never sent."));
    }
    let automatic = Automatic {
        identity: order.identity,
        email: order.email,
        thread: row.thread,
        author: order.sender,
        to: &to,
        raw: &raw,
    };
    let submission = outbound::enqueue_automatic(txn, account, &automatic, now)?;
    Ok((Sent { submission, report, subject, text }, row))
}

/// Whom the notification goes to, where there may be one.
fn may_tell(row: &EmailRow, stored: &StoredMessage) -> Result<Vec<Address>, NotSent> {
    let has = |keyword: &str| row.keywords.iter().any(|known| known.as_str() == keyword);
    if has(Keyword::MDN_SENT) {
        return Err(NotSent::AlreadySent);
    }
    if has(Keyword::DRAFT) || row.origin == Origin::Outbound {
        return Err(NotSent::Forbidden("A notification is about a message that came in."));
    }
    let reason = automatic::is_automatic(&stored.message, false);
    if matches!(reason, Some(AutomaticReason::DispositionNotification | AutomaticReason::DeliveryReport)) {
        // RFC 8098 §2.1: none is ever sent about another.
        return Err(NotSent::Forbidden("Nothing is told about a notification."));
    }
    let to = mdn::asked_for(&stored.message);
    if to.is_empty() { Err(NotSent::NotAsked) } else { Ok(to) }
}

/// Marks the Email in a person's own account.
pub fn mark_personal(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    row: &EmailRow,
) -> StoreResult<()> {
    message::change(txn, account, email, row, &marked(row))
}

/// Marks the Email in an inbox, and puts the notification on record.
pub fn mark_inbox(desk: &mut Desk<'_, '_>, email: EmailId, row: &EmailRow, sent: &Sent) -> DeskResult<()> {
    moves::change(desk, email, row, &marked(row), true)?;
    let before = ActivityValue::Submission(sent.submission).into();
    let after = ActivityValue::Email(email).into();
    Ok(desk.record(row.conversation, &Entry::new(ActivityKind::AutomaticSent, before, after))?)
}

fn marked(row: &EmailRow) -> EmailRow {
    let mut keywords: BTreeSet<Keyword> = row.keywords.iter().cloned().collect();
    keywords.extend(Keyword::parse(Keyword::MDN_SENT));
    EmailRow { keywords: keywords.into_iter().collect(), ..row.clone() }
}

fn default_subject(kind: &str, subject: &str) -> String {
    let word = match kind {
        "deleted" => "Deleted",
        "dispatched" => "Passed on",
        "processed" => "Processed",
        _ => "Displayed",
    };
    format!("{word}: {}", shown(subject))
}

fn default_text(kind: &str, subject: &str) -> String {
    format!(
        "You asked to be told: your message \"{}\" was {kind}.\n\
         That doesn't say that anybody has read or understood it.\n",
        shown(subject)
    )
}

fn shown(subject: &str) -> String {
    subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
