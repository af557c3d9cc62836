//! Email/import (RFC 8621 §4.8): messages from blobs, tolerant of how they are made.
//!
//! A Message-ID that the account has already is `alreadyExists`, drafts of one's own included, so
//! that a client's repeated attempt makes no second Email.

use super::email::Email;
use super::email_set;
use crate::inbox::intake::Brought;
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::Method;
use crate::jmap::object::{Object, SetObject};
use crate::jmap::session::Account;
use crate::jmap::set;
use crate::mail::ingest::{self, Prepared};
use crate::mail::message::Added;
use crate::mail::{blob, headers, thread};
use crate::store::rows::mail::MailboxRow;
use crate::store::{Read, Txn};
use crate::types::*;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Runs Email/import.
pub fn run(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let if_in_state = args.string("ifInState")?;
    let emails = args.creates("emails")?.ok_or_else(|| MethodError::argument("emails", "is missing"))?;
    args.finish()?;
    if emails.len() > limits::OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let account = ctx.writable(&account_id, method.capability, MemberRole::Agent)?;
    let ((old_state, created, not_created), committed) = ctx.write(account.id, |ctx, txn| {
        let old_state = Email::state(ctx, txn, account)?;
        if if_in_state.as_ref().is_some_and(|wanted| *wanted != old_state) {
            return Err(MethodErrorKind::StateMismatch.into());
        }
        let (mut created, mut not_created) = (Map::new(), Map::new());
        for (creation_id, import) in emails {
            if !txn.has_room() {
                not_created.insert(creation_id, set::too_much_at_once().into_json(ctx.using));
                continue;
            }
            let savepoint = txn.savepoint();
            match import_one(ctx, txn, account, &import) {
                Ok(added) => {
                    ctx.stage_created(&creation_id, &added.email.to_string());
                    created.insert(creation_id, created_json(&added));
                }
                Err(Refusal::Call(error)) => return Err(error),
                Err(Refusal::Object(error) | Refusal::Remembered(error, _)) => {
                    txn.rollback(savepoint);
                    not_created.insert(creation_id, error.into_json(ctx.using));
                }
            }
        }
        Ok((old_state, created, not_created))
    })?;
    let new_state = Email::state_after_set(ctx, account, &committed, &old_state)?;
    let or_null = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { Value::Object(map) };
    let mut response = Map::new();
    response.insert("accountId".into(), account_id.into());
    response.insert("oldState".into(), old_state.into());
    response.insert("newState".into(), new_state.into());
    response.insert("created".into(), or_null(created));
    response.insert("notCreated".into(), or_null(not_created));
    ctx.respond(method.name, response);
    Ok(())
}

fn created_json(added: &Added) -> Value {
    let mut created = Map::with_capacity(4);
    created.insert("id".into(), added.email.to_string().into());
    created.extend(email_set::told(added));
    created.into()
}

fn import_one(ctx: &Ctx, txn: &mut Txn<'_>, account: &Account, import: &Value) -> Result<Added, Refusal> {
    let Value::Object(import) = import else {
        return Err(SetError::new(SetErrorKind::Forbidden, "An import is an object.").into());
    };
    let (blob_id, received, brought) = read_import(ctx, txn, account, import)?;
    let content = match BlobId::parse(&blob_id) {
        Some(id) => blob::fetch(txn, account.id, Some(ctx.session.principal), &id)?,
        None => None,
    };
    let missing = || SetError::properties(["blobId"], "There is no such blob.");
    let content = content.ok_or_else(missing)?;
    let prepared = ingest::prepare(&content, false)?;
    // As for Email/parse, what has a header field is a message, however imperfect.
    if prepared.message.fields().is_empty() {
        let kind = SetErrorKind::InvalidEmail { properties: vec!["blobId".into()] };
        return Err(SetError::new(kind, "The blob has no header fields: it is no message.").into());
    }
    refuse_known(txn, account.id, &prepared)?;
    let received = received.or_else(|| headers::received_at(&prepared.message));
    let received_at = received.unwrap_or_else(|| ctx.store.clock.now().date());
    email_set::bring(ctx, txn, account, &prepared, Brought { received_at, ..brought })
}

/// `alreadyExists` where the account has the Message-ID.
pub(super) fn refuse_known(read: &dyn Read, account: AccountId, prepared: &Prepared) -> Result<(), Refusal> {
    let Some(existing) = existing(read, account, prepared)? else { return Ok(()) };
    let kind = SetErrorKind::AlreadyExists { existing_id: existing.to_string() };
    Err(SetError::new(kind, "A message with this Message-ID is here already.").into())
}

/// The newest Email with the same Message-ID.
fn existing(read: &dyn Read, account: AccountId, prepared: &Prepared) -> Result<Option<EmailId>, Refusal> {
    let Some(own) = prepared.summary.thread_keys.own.first() else { return Ok(None) };
    Ok(thread::emails_with_message_id(read, account, own)?.into_iter().next())
}

/// Reads an EmailImport object: the blob's id, the date where one is given, all the rest.
fn read_import(
    ctx: &Ctx,
    read: &dyn Read,
    account: &Account,
    import: &Map<String, Value>,
) -> Result<(String, Option<UtcDate>, Brought), Refusal> {
    let known = ["blobId", "mailboxIds", "keywords", "receivedAt"];
    let mut wrong: Vec<String> =
        import.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
    let mut brought = Brought {
        mailboxes: BTreeSet::new(),
        keywords: BTreeSet::new(),
        received_at: UtcDate::default(),
        trace: Vec::new(),
    };
    let mut received = None;
    let blob_id = import.get("blobId").and_then(Value::as_str).and_then(|id| ctx.resolve_id(id));
    if blob_id.is_none() {
        wrong.push("blobId".to_owned());
    }
    match keywords(import.get("keywords")) {
        Some(keywords) => brought.keywords = keywords,
        None => wrong.push("keywords".to_owned()),
    }
    match mailboxes(ctx, read, account, import.get("mailboxIds"), &brought.keywords)? {
        Some(mailboxes) => brought.mailboxes = mailboxes,
        None => wrong.push("mailboxIds".to_owned()),
    }
    match import.get("receivedAt") {
        None | Some(Value::Null) => {}
        Some(given) => {
            received = given.as_str().and_then(UtcDate::parse);
            if received.is_none() {
                wrong.push("receivedAt".to_owned());
            }
        }
    }
    if !wrong.is_empty() {
        return Err(SetError::properties(wrong, "These properties are missing or wrong.").into());
    }
    if brought.keywords.len() > limits::KEYWORDS_PER_EMAIL_MAX {
        return Err(SetErrorKind::TooManyKeywords.into());
    }
    if brought.mailboxes.len() > limits::MAILBOXES_PER_EMAIL_MAX {
        return Err(SetErrorKind::TooManyMailboxes.into());
    }
    Ok((blob_id.map(|id| id.into_owned()).unwrap_or_default(), received, brought))
}

/// At least one mailbox, each of which exists and takes Emails by hand.
fn mailboxes(
    ctx: &Ctx,
    read: &dyn Read,
    account: &Account,
    given: Option<&Value>,
    keywords: &BTreeSet<Keyword>,
) -> Result<Option<BTreeSet<MailboxId>>, Refusal> {
    let Some(Value::Object(given)) = given else { return Ok(None) };
    let mut out = BTreeSet::new();
    for (id, value) in given {
        let resolved = ctx.resolve_id(id);
        let mailbox = resolved.as_deref().and_then(MailboxId::parse).filter(|_| *value == Value::Bool(true));
        let Some(mailbox) = mailbox else { return Ok(None) };
        let Some(row) = read.row::<MailboxRow>(account.id, mailbox)? else { return Ok(None) };
        email_set::may_add(&row, keywords)?;
        out.insert(mailbox);
    }
    Ok((!out.is_empty()).then_some(out))
}

fn keywords(given: Option<&Value>) -> Option<BTreeSet<Keyword>> {
    match given {
        None | Some(Value::Null) => Some(BTreeSet::new()),
        Some(Value::Object(given)) => given
            .iter()
            .map(|(name, value)| Keyword::parse(name).filter(|_| *value == Value::Bool(true)))
            .collect(),
        Some(_) => None,
    }
}
