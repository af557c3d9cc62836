//! Email (RFC 8621 §4.1, §4.2): its table, Email/get and Email/changes.
//!
//! Invariants: what a list view asks for comes from the summary rows alone, read in one batch; the
//! parsed form is read only for header fields and body structure, the content only for
//! `bodyValues`; a forbidden form of a header field is no property. Deliberately absent: filters
//! and sorts (`email_query.rs`), creating and changing (`email_set.rs`, `email_import.rs`).

use super::email_body::{Body, BodyArgs};
use super::email_evidence;
use super::email_header::HeaderProperty;
use super::email_view::{EmailProperty, Message, Shape};
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::{Budget, Ctx};
use crate::jmap::error::MethodError;
use crate::jmap::object::{Initial, Kind, Object, Property, Props, TextList, TypeTable};
use crate::jmap::reply;
use crate::jmap::session::Account;
use crate::mail::viewer::{self, Eyes};
use crate::store::keys::{self, Kind as RowKind};
use crate::store::rows::mail::{EmailRow, EvidenceRow, StoredMessage};
use crate::store::{Read, StoreError, blobs};
use crate::types::{AccountId, DataType, EmailId, MemberRole};
use serde_json::{Map, Value};

/// The type.
pub struct Email;

/// Parsed forms that are read in one batch.
const MESSAGES_BATCH: usize = 32;
/// What an object of a list view takes as text, more or less.
const OBJECT_BYTES: usize = 700;

static TABLE: TypeTable = TypeTable {
    name: "Email",
    data_type: Some(DataType::Email),
    capability: Capability::Mail,
    id: |number| EmailId(number).to_string(),
    // In the order of RFC 8621 §4.2, where the default of `properties` is.
    properties: &[
        Property::ID,
        Property::server("blobId", Kind::Id),
        Property::server("threadId", Kind::Id),
        Property::mutable("mailboxIds", Kind::IdSet, Initial::Required),
        Property::mutable("keywords", Kind::KeywordSet, Initial::EmptyObject),
        Property::server("size", Kind::UnsignedInt),
        Property::immutable("receivedAt", Kind::UtcDate, Initial::Computed),
        Property::immutable("messageId", Kind::Strings, Initial::Computed).or_null(),
        Property::immutable("inReplyTo", Kind::Strings, Initial::Computed).or_null(),
        Property::immutable("references", Kind::Strings, Initial::Computed).or_null(),
        Property::immutable("sender", Kind::Array, Initial::Computed).or_null(),
        Property::immutable("from", Kind::Array, Initial::Computed).or_null(),
        Property::immutable("to", Kind::Array, Initial::Computed).or_null(),
        Property::immutable("cc", Kind::Array, Initial::Computed).or_null(),
        Property::immutable("bcc", Kind::Array, Initial::Computed).or_null(),
        Property::immutable("replyTo", Kind::Array, Initial::Computed).or_null(),
        Property::immutable("subject", Kind::String, Initial::Computed).or_null(),
        Property::immutable("sentAt", Kind::Date, Initial::Computed).or_null(),
        Property::server("hasAttachment", Kind::Boolean),
        Property::server("preview", Kind::String),
        Property::immutable("bodyValues", Kind::Object, Initial::Computed),
        Property::immutable("textBody", Kind::Array, Initial::Computed),
        Property::immutable("htmlBody", Kind::Array, Initial::Computed),
        Property::immutable("attachments", Kind::Array, Initial::Computed),
        Property::immutable("bodyStructure", Kind::Object, Initial::Computed).on_request(),
        Property::server("headers", Kind::Array).on_request(),
        // It exists where any capability of ours is in use, which `get_args` sees to.
        Property::server("conversationId", Kind::Id).or_null().on_request(),
        Property::server("authentication", Kind::Object).or_null().on_request(),
        Property::server("threading", Kind::Object).or_null().on_request(),
        Property::server("unparsed", Kind::Boolean).on_request(),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

impl Object for Email {
    type GetArgs = BodyArgs;

    fn table() -> &'static TypeTable {
        &TABLE
    }

    /// Also `header:…` (RFC 8621 §4.1.3).
    fn property(name: &str) -> Option<&'static Property> {
        TABLE.property(name).or_else(|| Some(HeaderProperty::parse(name)?.property()))
    }

    fn get_args(ctx: &Ctx, args: &mut Args, props: &Props) -> Result<BodyArgs, MethodError> {
        check_visible(ctx, props.iter())?;
        BodyArgs::read(args)
    }

    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        args: &BodyArgs,
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let shape = Shape::new(props.iter(), args);
        let member = ctx.member(account).filter(|_| props.has("keywords"));
        let eyes = viewer::eyes(reader, account.id, member)?;
        // No Email has the number 0: it stands for an id that can't be read.
        let known: Vec<EmailId> = ids.iter().map(|id| EmailId::parse(id).unwrap_or(EmailId(0))).collect();
        let rows = reader.rows::<EmailRow>(account.id, known.iter().copied())?;
        let found: Vec<(EmailId, Option<EmailRow>)> = known.into_iter().zip(rows).collect();
        let mut out = Vec::with_capacity(found.len());
        for batch in found.chunks(MESSAGES_BATCH) {
            let wants = |row: &Option<EmailRow>| row.as_ref().is_some_and(|row| shape.needs_message(row));
            let of: Vec<EmailId> = batch.iter().filter(|(_, row)| wants(row)).map(|(id, _)| *id).collect();
            let mut messages = reader.rows::<StoredMessage>(account.id, of)?.into_iter();
            for (email, row) in batch {
                let Some(row) = row else {
                    out.push(None);
                    continue;
                };
                let stored = match shape.needs_message(row) {
                    true => Some(messages.next().flatten().ok_or_else(|| lost(*email))?),
                    false => None,
                };
                out.push(Some(object(
                    reader,
                    account.id,
                    &shape,
                    (*email, row, eyes.as_ref()),
                    stored.as_ref(),
                    &ctx.budget,
                )?));
            }
        }
        Ok(out)
    }

    /// What a list view asks for, straight from the summary rows.
    fn get_text(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        args: &BodyArgs,
    ) -> Result<Option<TextList>, MethodError> {
        let shape = Shape::new(props.iter(), args);
        if !shape.is_of_summary() {
            return Ok(None);
        }
        let member = ctx.member(account).filter(|_| props.has("keywords"));
        let eyes = viewer::eyes(reader, account.id, member)?;
        let known: Vec<EmailId> = ids.iter().map(|id| EmailId::parse(id).unwrap_or(EmailId(0))).collect();
        let rows = reader.rows::<EmailRow>(account.id, known.iter().copied())?;
        let mut out = Vec::with_capacity(2 + rows.len() * OBJECT_BYTES);
        let mut missing = Vec::new();
        for ((id, email), row) in ids.iter().zip(known).zip(rows) {
            let Some(row) = row else {
                missing.push((*id).to_owned());
                continue;
            };
            out.push(if out.is_empty() { b'[' } else { b',' });
            if shape.needs_message(&row) || shape.needs_evidence() {
                let stored: Option<StoredMessage> = reader.row(account.id, email)?;
                let stored = stored.ok_or_else(|| lost(email))?;
                let known = (email, &row, eyes.as_ref());
                let object = object(reader, account.id, &shape, known, Some(&stored), &ctx.budget)?;
                reply::write(&mut out, &object);
            } else {
                shape.write(&mut out, email, &row, eyes.as_ref());
            }
        }
        out.extend_from_slice(if out.is_empty() { b"[]" } else { b"]" });
        // All pieces are UTF-8.
        Ok(Some(TextList { text: String::from_utf8(out).unwrap_or_default(), missing }))
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let ids = reader.ids(&keys::all(account.id, RowKind::Email), false, max + 1)?;
        Ok((ids.len() <= max).then(|| ids.into_iter().map(|id| EmailId(id).to_string()).collect()))
    }
}

/// Refuses `conversationId` and what else is ours where no capability of ours is in use.
pub(super) fn check_visible<'n>(
    ctx: &Ctx,
    mut names: impl Iterator<Item = &'n str>,
) -> Result<(), MethodError> {
    const OURS: [&str; 4] = ["conversationId", "authentication", "threading", "unparsed"];
    let ours = names.find(|name| OURS.contains(name));
    match ours.filter(|_| !ctx.using.knows_us()) {
        Some(name) => Err(MethodError::argument("properties", &format!("there is no property '{name}'"))),
        None => Ok(()),
    }
}

fn lost(email: EmailId) -> StoreError {
    StoreError::Corrupt(format!("the message of Email {email} is gone"))
}

fn object(
    reader: &dyn Read,
    account: AccountId,
    shape: &Shape<'_>,
    (email, row, eyes): (EmailId, &EmailRow, Option<&Eyes>),
    stored: Option<&StoredMessage>,
    budget: &Budget,
) -> Result<Map<String, Value>, MethodError> {
    let evidence: Option<EvidenceRow> = match shape.needs_evidence() {
        true => reader.row(account, email)?,
        false => None,
    };
    let known = |property: &EmailProperty| {
        email_evidence::value(property, evidence.as_ref()).or_else(|| property.from_row(email, row, eyes))
    };
    let Some(stored) = stored else { return shape.object(&known, None, budget) };
    let content = match shape.needs_content() {
        true => blobs::content(reader, &row.blob)?.unwrap_or_default(),
        false => Vec::new(),
    };
    shape.object(&known, Some(&Message::new(Body::of_email(email, stored, &content))), budget)
}
