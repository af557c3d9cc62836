//! The Emails, each with its Thread, its places in lists and sets, its parsed form, the Message-IDs
//! that it is found by, and its content.

use super::Mail;
use crate::mail::{ingest, thread};
use crate::store::blobs::{self, Referrer};
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::list::{List, Place};
use crate::store::rows::mail::*;
use crate::store::rows::viewer::{Mark, Viewer};
use crate::store::sets::{self, Bitmap, EmailSet};
use crate::store::{StoreError, StoreResult};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What the Emails say that sets and the Message-ID index must say.
#[derive(Default)]
struct Truth {
    sets: BTreeMap<u64, (EmailSet, Bitmap)>,
    message_ids: u64,
}

/// Emails that one finding names.
const NAMED_MAX: usize = 5;

pub(super) fn check(check: &mut Check<'_>, mail: &mut Mail) -> StoreResult<()> {
    let account = mail.account;
    let mut truth = Truth::default();
    check.each::<EmailRow>(account, Kind::Email, |check, key, row| {
        let email = EmailId(keys::last_id(key).unwrap_or_default());
        check.report.emails += 1;
        mail.emails.insert(email);
        mail.usage.messages += 1;
        mail.usage.octets += u64::from(row.size);
        summary(check, mail, email, &row, &mut truth)?;
        placed(check, mail, email, &row)?;
        message(check, mail, email, &row, &mut truth)?;
        content(check, mail, email, &row)
    })?;
    sets(check, mail, &truth)?;
    message_ids(check, mail, truth.message_ids)?;
    orphans(check, mail)
}

/// What the row says by itself.
fn summary(
    check: &mut Check<'_>,
    mail: &Mail,
    email: EmailId,
    row: &EmailRow,
    truth: &mut Truth,
) -> StoreResult<()> {
    let account = mail.account;
    let next = &mail.state.next;
    if email.0 > next.email || row.thread.0 > next.thread {
        check.fault(account, format_args!("{email} or its Thread is beyond the last id that was given"));
    }
    let sorted = row.mailboxes.is_sorted_by(|a, b| a < b) && row.keywords.is_sorted_by(|a, b| a < b);
    if row.mailboxes.is_empty() || !sorted {
        check.fault(
            account,
            format_args!("{email} has no mailboxes, or they or its keywords aren't in order"),
        );
    }
    for mailbox in row.mailboxes.iter().filter(|mailbox| !mail.mailboxes.contains(mailbox)) {
        check.fault(account, format_args!("{email} is in {mailbox}, which doesn't exist"));
    }
    let keywords = row.keywords.iter().cloned().map(EmailSet::Keyword);
    let mailboxes = row.mailboxes.iter().copied().map(EmailSet::Mailbox);
    let attachment = row.has_attachment.then_some(EmailSet::Attachment);
    let own = own_sets(row, &mail.viewers);
    for set in keywords.chain(mailboxes).chain(attachment).chain(own).chain([EmailSet::All]) {
        truth.sets.entry(set.code()).or_insert_with(|| (set, Bitmap::default())).1.insert(email);
    }
    Ok(())
}

/// What members have marked for themselves; marks of those who left are nobody's.
fn own_sets(row: &EmailRow, viewers: &[Viewer]) -> Vec<EmailSet> {
    let known = row.own.iter().filter(|own| viewers.iter().any(|viewer| viewer.number == own.viewer));
    let marks = known.flat_map(|own| Mark::ALL.map(|mark| (own, mark)));
    marks
        .filter(|(own, mark)| own.marks.has(*mark))
        .map(|(own, mark)| EmailSet::Own(own.viewer, mark))
        .collect()
}

/// Its places in lists and in its Thread.
fn placed(check: &mut Check<'_>, mail: &mut Mail, email: EmailId, row: &EmailRow) -> StoreResult<()> {
    let place = Place { at: row.received_at, id: email.0 };
    mail.expect(check, List::AllEmails, place, row.thread)?;
    for mailbox in &row.mailboxes {
        mail.expect(check, List::Mailbox(*mailbox), place, row.thread)?;
    }
    let thread: ThreadRow = check.row(mail.account, row.thread)?.unwrap_or_default();
    let unread = !row.keywords.iter().any(|word| matches!(word.as_str(), Keyword::SEEN | Keyword::DRAFT));
    let mailboxes = row.mailboxes.clone();
    let truth = ThreadEmail { email, received_at: row.received_at, mailboxes, unread };
    let is_draft = row.keywords.iter().any(|word| word.as_str() == Keyword::DRAFT);
    let flipped = row.own.iter().filter(|own| !is_draft && own.marks.has(Mark::Seen));
    let flipped: Vec<u32> = flipped.map(|own| own.viewer).collect();
    let kept = thread.flipped.iter().filter(|(other, _)| *other == email);
    let mut kept: Vec<u32> = kept.map(|(_, viewer)| *viewer).collect();
    kept.sort_unstable();
    if !thread.emails.contains(&truth) || kept != flipped {
        check.fault(mail.account, format_args!("{email} isn't in {} as it is", row.thread));
    }
    Ok(())
}

/// Its parsed form, and the ids that it is found by.
fn message(
    check: &mut Check<'_>,
    mail: &Mail,
    email: EmailId,
    row: &EmailRow,
    truth: &mut Truth,
) -> StoreResult<()> {
    let account = mail.account;
    let Some(stored) = check.row::<StoredMessage>(account, email)? else {
        check.fault(account, format_args!("{email} has no parsed message that can be read"));
        return Ok(());
    };
    let size = u64::from(stored.message.size) + stored.prefix.len() as u64;
    if size != u64::from(row.size) {
        check.fault(account, format_args!("{email} has {size} octets, and says {}", row.size));
    }
    for (hash, wanted) in thread::entries(row.thread, &ingest::thread_keys(&stored.message)) {
        truth.message_ids += 1;
        let found: Option<MessageIdRow> = check.at(&keys::hashed(account, Kind::MessageId, hash, email.0))?;
        let leads =
            !wanted.own || check.read.has(&keys::hashed(account, Kind::OwnMessageId, hash, email.0))?;
        if found != Some(wanted) || !leads {
            let own = if wanted.own { "its Message-ID" } else { "a Message-ID that it refers to" };
            check.fault(account, format_args!("{email} isn't found by {own}"));
        }
    }
    Ok(())
}

fn content(check: &mut Check<'_>, mail: &Mail, email: EmailId, row: &EmailRow) -> StoreResult<()> {
    let account = mail.account;
    let reference = keys::blob_reference(&row.blob, account, Referrer::Email as u8, email.0);
    if !check.read.has(&reference)? {
        check.fault(account, format_args!("{email} has no reference to its content"));
    }
    match blobs::info(check.read, &row.blob) {
        Ok(None) => check.fault(account, format_args!("the content of {email} isn't stored")),
        // One that can't be read is told of with the blobs.
        Ok(Some(_)) | Err(StoreError::Corrupt(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn name_of(set: &EmailSet) -> String {
    match set {
        EmailSet::Keyword(keyword) => format!("the set of {keyword}"),
        EmailSet::Mailbox(mailbox) => format!("the set of {mailbox}"),
        EmailSet::Own(viewer, mark) => format!("the set of {} of viewer {viewer}", mark.keyword()),
        EmailSet::Attachment => "the set of attachments".to_owned(),
        EmailSet::All => "the set of all Emails".to_owned(),
    }
}

fn sets(check: &mut Check<'_>, mail: &Mail, truth: &Truth) -> StoreResult<()> {
    let account = mail.account;
    let kept = match sets::load_all(check.read, account) {
        Ok(kept) => kept,
        Err(StoreError::Corrupt(_)) => {
            check.fault(account, "a set of Emails can't be read");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let none = Bitmap::default();
    for code in kept.keys().chain(truth.sets.keys()).copied().collect::<BTreeSet<u64>>() {
        let known = truth.sets.get(&code);
        let name = known.map_or_else(|| "an unknown set".to_owned(), |(set, _)| name_of(set));
        let (is, should) = (kept.get(&code).unwrap_or(&none), known.map_or(&none, |(_, bits)| bits));
        for (one, other, how) in [(should, is, "lacks"), (is, should, "has too much:")] {
            let mut rest = one.clone();
            rest.subtract(other);
            if !rest.is_empty() {
                let named: Vec<String> = rest.iter().take(NAMED_MAX).map(|email| email.to_string()).collect();
                let count = rest.len();
                check.fault(account, format_args!("{name} {how} {} ({count} in all)", named.join(", ")));
            }
        }
    }
    Ok(())
}

/// No Message-ID leads to an Email that hasn't got it. Only where there are more entries than the
/// Emails have is each one looked at.
fn message_ids(check: &mut Check<'_>, mail: &Mail, truth: u64) -> StoreResult<()> {
    let account = mail.account;
    let fault = |check: &mut Check<'_>, email: EmailId| {
        check.fault(account, format_args!("a Message-ID leads to {email}, which hasn't got it"));
    };
    check.each::<()>(account, Kind::OwnMessageId, |check, key, ()| {
        let Some((hash, email)) = keys::read_hashed(key) else { return Ok(()) };
        let row: Option<MessageIdRow> = check.at(&keys::hashed(account, Kind::MessageId, hash, email))?;
        if !row.is_some_and(|row| row.own) {
            fault(check, EmailId(email));
        }
        Ok(())
    })?;
    let mut found = 0;
    check.each::<MessageIdRow>(account, Kind::MessageId, |_, _, _| {
        found += 1;
        Ok(())
    })?;
    if found <= truth {
        return Ok(());
    }
    check.each::<MessageIdRow>(account, Kind::MessageId, |check, key, _| {
        let email = EmailId(keys::last_id(key).unwrap_or_default());
        let stored: Option<StoredMessage> = check.row(account, email)?;
        let keys = stored.map(|stored| ingest::thread_keys(&stored.message)).unwrap_or_default();
        let entries = thread::entries(ThreadId(0), &keys);
        if !entries.iter().any(|(hash, _)| keys::hashed(account, Kind::MessageId, *hash, email.0).is(key)) {
            fault(check, email);
        }
        Ok(())
    })
}

/// Parsed messages and evidence of Emails that aren't there.
fn orphans(check: &mut Check<'_>, mail: &Mail) -> StoreResult<()> {
    let read = check.read;
    read.scan(&keys::all(mail.account, Kind::Message), false, &mut |key, _| {
        let email = EmailId(keys::last_id(key).unwrap_or_default());
        if !mail.emails.contains(email) {
            check.fault(
                mail.account,
                format_args!("there is a parsed message of {email}, which doesn't exist"),
            );
        }
        ControlFlow::Continue(())
    })?;
    check.each::<EvidenceRow>(mail.account, Kind::Evidence, |check, key, _| {
        let email = EmailId(keys::last_id(key).unwrap_or_default());
        if !mail.emails.contains(email) {
            check.fault(mail.account, format_args!("there is evidence of {email}, which doesn't exist"));
        }
        Ok(())
    })
}
