//! Mail of before, brought in and taken out by the command line: pages of whole messages with their
//! dates, keywords and folders.
//!
//! A message is known by its content: what the account has already is not stored again, so that an import
//! that was interrupted can be run again from its beginning. The trace header fields that deliveries put
//! before it make no other message of it, and what went out in an export is known with ours. In an inbox old
//! mail is recorded, and begins conversations that are closed (nothing is answered, nothing reopens).
//!
//! A request takes as many commits as its messages need: each has what one commit has room for.

use super::admin::{self, AdminError, Office};
use super::desk::{Desk, Staff};
use super::intake::{self, Brought};
use super::machine::Actor;
use super::server;
use crate::mail::ingest::{self, Prepared};
use crate::mail::quota::{self, Room};
use crate::mail::{headers, mailbox, message};
use crate::store::blobs::{self, Referrer};
use crate::store::rows::directory::AccountKind;
use crate::store::rows::mail::{EmailRow, MailboxRow, Origin};
use crate::store::rows::team::Cause;
use crate::store::{Read, Ticket, Txn, keys};
use crate::types::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Some messages to bring in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportRequest {
    /// The address of the account.
    pub into: String,
    pub messages: Vec<MessageLine>,
}

/// A message outside the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageLine {
    /// The octets, in base64.
    pub content: String,
    /// The mailboxes it is in, each by the names that lead to it from the top. None, or a name such as
    /// INBOX or Sent, is the mailbox with that role.
    pub folders: Vec<Vec<String>>,
    pub keywords: Vec<String>,
    /// Seconds since 1970; without it the message tells.
    pub received_at: Option<i64>,
}

/// What became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    pub added: u64,
    /// Those that the account had.
    pub known: u64,
}

/// A page of an account's messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportRequest {
    pub from: String,
    /// What `next` of the page before said; 0 begins.
    pub after: u32,
}

/// The page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportPage {
    pub messages: Vec<MessageLine>,
    /// `None`: that was the last one.
    pub next: Option<u32>,
    /// How many messages the account has.
    pub total: u64,
}

/// Brings messages in. Those before one that can't be taken may be there when it fails: the same request
/// made again knows them.
pub fn import(office: Office<'_>, request: &ImportRequest) -> Result<ImportReport, AdminError> {
    let account = admin::find_account(office, &request.into)?;
    let coming = request.messages.iter().map(Coming::read).collect::<Result<Vec<_>, _>>()?;
    office.store.check_space()?;
    let view = office.directory.current();
    let is_inbox = view.account(account).is_some_and(|row| matches!(row.kind, AccountKind::Inbox(_)));
    let staff = server::staff(&view, account);
    let into = Target { office, account, email: &request.into, is_inbox, staff: &staff };
    let locked = office.store.lock_blocking(&[account]);
    let (mut report, mut ticket) = (ImportReport::default(), Ticket::default());
    let mut rest = coming.as_slice();
    while !rest.is_empty() {
        let mut txn = office.store.begin(&locked);
        let taken = take(&mut txn, into, rest, &mut report)?;
        ticket = txn.commit()?.ticket;
        rest = rest.get(taken..).unwrap_or_default();
    }
    drop(locked);
    // What was committed last is durable last.
    office.store.durable_blocking(ticket)?;
    Ok(report)
}

/// Gives a page of at most [`limits::EXPORT_PAGE_BYTES_MAX`] octets, or one message.
pub fn export(office: Office<'_>, request: &ExportRequest) -> Result<ExportPage, AdminError> {
    let account = admin::find_account(office, &request.from)?;
    let snapshot = office.store.snapshot();
    let read: &dyn Read = &snapshot;
    let tree = mailbox::all(read, account)?;
    let mut page =
        ExportPage { messages: Vec::new(), next: None, total: quota::usage(read, account)?.messages };
    let (mut octets, mut last, mut failed) = (0, request.after, None);
    let range = keys::rows_after(account, keys::Kind::Email, request.after);
    read.scan_rows::<EmailRow>(&range, |key, row| {
        if octets >= limits::EXPORT_PAGE_BYTES_MAX {
            page.next = Some(last);
            return ControlFlow::Break(());
        }
        last = keys::last_id(key).unwrap_or_default();
        if row.origin == Origin::Memo {
            // A note of the inbox is no mail of it.
            return ControlFlow::Continue(());
        }
        match message::raw(read, account, EmailId(last)) {
            Ok(raw) => {
                let raw = raw.unwrap_or_default();
                octets += raw.len();
                page.messages.push(MessageLine {
                    content: BASE64_STANDARD.encode(raw),
                    folders: row.mailboxes.iter().map(|one| path(&tree, *one)).collect(),
                    keywords: row.keywords.iter().map(|keyword| keyword.as_str().to_owned()).collect(),
                    received_at: Some(row.received_at.0),
                });
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(page),
    }
}

/// Where messages come in.
#[derive(Clone, Copy)]
struct Target<'a> {
    office: Office<'a>,
    account: AccountId,
    /// Its address, as it was asked for.
    email: &'a str,
    is_inbox: bool,
    staff: &'a Staff,
}

/// A message that comes in.
struct Coming<'r> {
    line: &'r MessageLine,
    prepared: Prepared,
    /// The contents that it is known by: its own, and what stands behind its first trace header fields.
    known_by: Vec<BlobHash>,
}

impl<'r> Coming<'r> {
    fn read(line: &'r MessageLine) -> Result<Self, AdminError> {
        let content = BASE64_STANDARD.decode(&line.content);
        let content = content.map_err(|_| AdminError::Rule("a message isn't base64".to_owned()))?;
        let prepared = ingest::prepare(&content, false)?;
        let behind = trace_ends(&content).into_iter().filter_map(|end| content.get(end..));
        let known_by = std::iter::once(prepared.content.hash).chain(behind.map(BlobHash::of)).collect();
        Ok(Self { line, prepared, known_by })
    }
}

/// Takes in what one commit has room for, one message at least. Gives how many.
fn take(
    txn: &mut Txn<'_>,
    into: Target<'_>,
    coming: &[Coming<'_>],
    report: &mut ImportReport,
) -> Result<usize, AdminError> {
    for (number, one) in coming.iter().enumerate() {
        let savepoint = txn.savepoint();
        let is_new = take_one(txn, into, one)?;
        if number > 0 && !txn.fits() {
            // A large one begins a commit of its own.
            txn.rollback(savepoint);
            return Ok(number);
        }
        report.added += u64::from(is_new);
        report.known += u64::from(!is_new);
        if !txn.has_room() {
            return Ok(number + 1);
        }
    }
    Ok(coming.len())
}

/// False where the account had it.
fn take_one(txn: &mut Txn<'_>, into: Target<'_>, coming: &Coming<'_>) -> Result<bool, AdminError> {
    let Target { office, account, email, is_inbox, staff } = into;
    let Coming { line, prepared, .. } = coming;
    let folders = folders(txn, account, is_inbox, &line.folders)?;
    if known(txn, account, is_inbox, coming, &folders)? {
        return Ok(false);
    }
    if quota::room(txn, account, office.store.quotas(), u64::from(prepared.content.size))? == Room::None {
        return Err(AdminError::Rule(format!("{email} is over its quota")));
    }
    let sent = || prepared.summary.sent_at.as_deref()?.parse::<Timestamp>().ok();
    let received = line.received_at.map(UtcDate).or_else(|| headers::received_at(&prepared.message));
    let received = received.or_else(|| sent().map(|at| UtcDate(at.as_second())));
    let brought = Brought {
        mailboxes: folders,
        // What was a memo elsewhere is old mail here.
        keywords: line
            .keywords
            .iter()
            .filter_map(|keyword| Keyword::parse(keyword))
            .filter(|keyword| keyword.as_str() != Keyword::MEMO)
            .collect(),
        received_at: received.unwrap_or_else(|| office.store.clock.now().date()),
        trace: Vec::new(),
    };
    if is_inbox {
        let mut desk = Desk::open(txn, account, Actor::System(Cause::User), staff)?;
        intake::bring_inbox(&mut desk, prepared, brought)?;
    } else {
        intake::bring_personal(txn, account, prepared, brought)?;
    }
    Ok(true)
}

/// Whether the account has a message of this content; if so, it is in these folders too, where it is a
/// person's own. In an inbox it stays where its conversation has put it.
fn known(
    txn: &mut Txn<'_>,
    account: AccountId,
    is_inbox: bool,
    coming: &Coming<'_>,
    folders: &BTreeSet<MailboxId>,
) -> Result<bool, AdminError> {
    let mut found = None;
    for hash in &coming.known_by {
        if found.is_none() {
            found = blobs::referrers(txn, account, hash, Referrer::Email)?.first().copied();
        }
    }
    let Some(email) = found.map(EmailId) else { return Ok(false) };
    if let Some(before) = (txn as &dyn Read).row::<EmailRow>(account, email)?.filter(|_| !is_inbox) {
        let all: BTreeSet<MailboxId> = before.mailboxes.iter().chain(folders).copied().collect();
        let after = EmailRow { mailboxes: all.into_iter().collect(), ..before.clone() };
        message::change(txn, account, email, &before, &after)?;
    }
    Ok(true)
}

/// Where each of the trace header fields ends that a message begins with (RFC 5321 §4.4, and what final
/// deliveries add beside).
fn trace_ends(content: &[u8]) -> Vec<usize> {
    const NAMES: [&[u8]; 4] = [b"Return-Path:", b"Received:", b"Delivered-To:", b"X-Original-To:"];
    let (mut ends, mut at) = (Vec::new(), 0);
    while ends.len() < limits::KNOWN_BEHIND_FIELDS_MAX {
        let rest = content.get(at..).unwrap_or_default();
        let begins_with =
            |name: &&[u8]| rest.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
        if !NAMES.iter().any(begins_with) {
            break;
        }
        let is_last = |end: &usize| !matches!(rest.get(end + 1), Some(b' ' | b'\t'));
        let Some(end) = memchr::memchr_iter(b'\n', rest).find(is_last) else { break };
        at += end + 1;
        ends.push(at);
    }
    ends
}

/// The mailboxes that folders of elsewhere are here; those that aren't there are made.
fn folders(
    txn: &mut Txn<'_>,
    account: AccountId,
    is_inbox: bool,
    wanted: &[Vec<String>],
) -> Result<BTreeSet<MailboxId>, AdminError> {
    let roles = mailbox::roles(txn, account)?;
    let mut out = BTreeSet::new();
    for names in wanted {
        let role = usual(names);
        // What is old waits for nobody.
        let role =
            if is_inbox && role == Some(MailboxRole::Inbox) { Some(MailboxRole::Archive) } else { role };
        let found = match role.and_then(|role| roles.with_role(role)) {
            Some(mailbox) => mailbox,
            None => made(txn, account, names)?,
        };
        out.insert(found);
    }
    if out.is_empty() {
        let role = if is_inbox { MailboxRole::Archive } else { MailboxRole::Inbox };
        out.extend(roles.with_role(role));
    }
    Ok(out)
}

/// What a folder is for, by the names that programs give to theirs.
fn usual(names: &[String]) -> Option<MailboxRole> {
    let [name] = names else { return names.is_empty().then_some(MailboxRole::Inbox) };
    Some(match name.to_lowercase().as_str() {
        "inbox" => MailboxRole::Inbox,
        "archive" | "archives" => MailboxRole::Archive,
        "drafts" | "draft" => MailboxRole::Drafts,
        "sent" | "sent items" | "sent mail" | "sent messages" => MailboxRole::Sent,
        "junk" | "junk e-mail" | "spam" => MailboxRole::Junk,
        "trash" | "deleted items" | "deleted messages" => MailboxRole::Trash,
        _ => return None,
    })
}

/// The mailbox at the end of these names, made where it isn't there.
fn made(txn: &mut Txn<'_>, account: AccountId, names: &[String]) -> Result<MailboxId, AdminError> {
    let mut parent = None;
    for name in names {
        let all = mailbox::all(txn, account)?;
        let there = all.iter().find(|(_, row)| row.parent == parent && row.name == *name);
        let next = match there {
            Some((id, _)) => *id,
            None => {
                let row = MailboxRow {
                    name: name.clone(),
                    parent,
                    role: None,
                    sort_order: 0,
                    unsubscribed: Vec::new(),
                    kept: None,
                    subscribed: Vec::new(),
                };
                let made = mailbox::create(txn, account, row.clone());
                let made = made.map_err(|_| AdminError::Rule(format!("no mailbox can be named {name:?}")))?;
                let mut after = all;
                after.push((made, row));
                if !mailbox::misfits(&Vec::new(), &after).is_empty() {
                    return Err(AdminError::Rule(format!("{name:?} is one mailbox too many, or too deep")));
                }
                made
            }
        };
        parent = Some(next);
    }
    parent.ok_or_else(|| AdminError::Rule("a folder has no name".to_owned()))
}

/// The names that lead to a mailbox.
fn path(tree: &mailbox::Tree, mailbox: MailboxId) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = Some(mailbox);
    while let Some((_, row)) = at.and_then(|at| tree.iter().find(|(id, _)| *id == at)) {
        // The Inbox is nameless outside: each program calls it otherwise.
        if row.role != Some(MailboxRole::Inbox) {
            names.insert(0, row.name.clone());
        }
        at = row.parent.filter(|_| names.len() <= limits::MAILBOX_DEPTH_MAX);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_header_fields_end_where_the_next_field_begins() {
        for (content, behind) in [
            (
                "Return-Path: <>\r\nReceived: a\r\n\tb\r\nSubject: x\r\n",
                vec!["Received: a\r\n\tb\r\nSubject: x\r\n", "Subject: x\r\n"],
            ),
            ("received: a\n b\n\nReceived: c\n", vec!["\nReceived: c\n"]),
            ("Subject: x\r\nReceived: a\r\n", vec![]),
            ("Received: a", vec![]),
            ("Received: a\r\n", vec![""]),
            ("", vec![]),
        ] {
            let found: Vec<&str> =
                trace_ends(content.as_bytes()).iter().map(|end| &content[*end..]).collect();
            assert_eq!(found, behind, "{content:?}");
        }
        let many = "Received: a\r\n".repeat(20);
        assert_eq!(trace_ends(many.as_bytes()).len(), limits::KNOWN_BEHIND_FIELDS_MAX);
    }
}
