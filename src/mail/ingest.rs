//! From octets to what the store keeps of a message: hashed, compressed, parsed and summed up
//! once, before any lock is taken.

use super::authentication::Trust;
use super::bounce::{self, Notice};
use super::keyed::WireKeys;
use super::message::{NewEmail, Summary};
use super::reports::{self, Report};
use super::thread::ThreadKeys;
use super::{automatic, body, headers, parse, sender, subject, words};
use crate::store::rows::mail::{MailAddress, Origin};
use crate::store::rows::message::MessageRow;
use crate::store::{PreparedBlob, StoreResult};
use crate::types::{Keyword, MailboxId, PrincipalId, UtcDate};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::BTreeSet;

/// A message that is ready to be put into any number of accounts.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub content: PreparedBlob,
    pub message: MessageRow,
    pub summary: Summary,
    pub cc: Vec<MailAddress>,
    pub reply_to: Vec<MailAddress>,
    /// No person wrote it (RFC 3834, or its shape).
    pub automatic: bool,
    /// What it says of a message of ours, where it is a report.
    pub report: Option<Report>,
    /// What it may say where it is one without a standard form.
    pub notice: Option<Notice>,
    /// What the gateway found out about it.
    pub trust: Trust,
    /// Its header can be passed on as it stands ([`sender::has_plain_lines`]).
    pub has_plain_lines: bool,
}

/// Addresses kept in a list view's row; the whole field stays in the parsed form.
pub const SUMMARY_ADDRESSES_MAX: usize = 8;
/// Octets there of a name, of an address and of the subject.
pub const SUMMARY_NAME_BYTES_MAX: usize = 256;
pub const SUMMARY_EMAIL_BYTES_MAX: usize = 512;
pub const SUMMARY_SUBJECT_BYTES_MAX: usize = 1000;

/// Prepares a message. `null_path` says that its envelope sender is `<>`.
pub fn prepare(content: &[u8], null_path: bool) -> StoreResult<Prepared> {
    let blob = PreparedBlob::of(content)?;
    let message = parse::parse(content);
    let summary = summarise(&message, content);
    let report = reports::read(&message, content);
    let notice = if report.is_none() { bounce::notice(&message, content, null_path) } else { None };
    Ok(Prepared {
        content: blob,
        has_plain_lines: sender::has_plain_lines(headers::block(&message, content)),
        cc: headers::addresses(&message, "cc"),
        reply_to: headers::addresses(&message, "reply-to"),
        automatic: automatic::is_automatic(&message, null_path).is_some(),
        report,
        notice,
        trust: Trust::default(),
        summary,
        message,
    })
}

impl Prepared {
    /// The Email that it becomes in one account.
    pub fn email(
        &self,
        prefix: Vec<u8>,
        mailboxes: BTreeSet<MailboxId>,
        keywords: BTreeSet<Keyword>,
        received_at: UtcDate,
        origin: Origin,
        author: Option<PrincipalId>,
    ) -> NewEmail {
        NewEmail {
            content: self.content.clone(),
            prefix,
            message: self.message.clone(),
            summary: self.summary.clone(),
            mailboxes,
            keywords,
            received_at,
            author,
            origin,
            thread: None,
        }
    }
}

/// The ids and the base subject that decide about a message's Thread.
pub fn thread_keys(message: &MessageRow) -> ThreadKeys {
    let mut references = headers::message_ids(message, "in-reply-to");
    let mut others = headers::message_ids(message, "references");
    others.reverse();
    references.extend(others);
    references.extend(thread_index(message));
    let own = headers::message_ids(message, "message-id");
    // A memo is in the Thread that it is put in, and never stands for what it is about.
    if own.iter().any(|id| WireKeys::looks_like_memo(id)) {
        references.clear();
    }
    ThreadKeys {
        own,
        references,
        base_subject: subject::thread_subject(&headers::text(message, "subject").unwrap_or_default()),
    }
}

/// The begin of Outlook's Thread-Index (22 octets: a time and a GUID), which all messages of one
/// conversation share, as an id that none of them has: Outlook may send no other.
fn thread_index(message: &MessageRow) -> Option<String> {
    let text = headers::text(message, "thread-index")?;
    let octets = BASE64_STANDARD.decode(text.split_whitespace().collect::<String>()).ok()?;
    let begin: String = octets.get(..22)?.iter().map(|octet| format!("{octet:02x}")).collect();
    Some(format!("thread-index:{begin}"))
}

fn summarise(message: &MessageRow, content: &[u8]) -> Summary {
    let short = |name| {
        let mut addresses = headers::addresses(message, name);
        addresses.truncate(SUMMARY_ADDRESSES_MAX);
        for address in &mut addresses {
            address.name = address.name.take().map(|name| words::cut(name, SUMMARY_NAME_BYTES_MAX));
            // What is that long is no address; the parsed form has it.
            address.email = words::cut(std::mem::take(&mut address.email), SUMMARY_EMAIL_BYTES_MAX);
        }
        addresses
    };
    Summary {
        from: short("from"),
        to: short("to"),
        subject: words::cut(headers::text(message, "subject").unwrap_or_default(), SUMMARY_SUBJECT_BYTES_MAX),
        preview: body::preview(message, content),
        sent_at: headers::date(message, "date"),
        has_attachment: body::has_attachment(message),
        thread_keys: thread_keys(message),
    }
}
