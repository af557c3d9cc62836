//! The properties of an Email (RFC 8621 §4.1) as they were asked for, and where each comes from:
//! the summary row, the parsed form, or the content.
//!
//! Invariant: a value from the summary is what the parsed form would give; where the summary can't
//! tell (a list that it may have cut, an empty value that may be a missing field), it isn't asked.

use super::email_body::{Body, BodyArgs};
use super::email_evidence;
use super::email_header::{self, HeaderProperty, addresses_json, headers_json};
use crate::jmap::context::Budget;
use crate::jmap::error::MethodError;
use crate::jmap::reply;
use crate::mail::body::{self, BodyLists};
use crate::mail::ingest::{
    SUMMARY_ADDRESSES_MAX, SUMMARY_EMAIL_BYTES_MAX, SUMMARY_NAME_BYTES_MAX, SUMMARY_SUBJECT_BYTES_MAX,
};
use crate::mail::viewer::Eyes;
use crate::store::rows::mail::{EmailRow, MailAddress};
use crate::types::{BlobId, EmailId, Keyword};
use serde_json::{Map, Value};
use std::cell::OnceCell;
use std::fmt::Display;
use std::io::Write;

/// A property of an Email.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EmailProperty {
    Id,
    BlobId,
    ThreadId,
    MailboxIds,
    Keywords,
    Size,
    ReceivedAt,
    HasAttachment,
    Preview,
    ConversationId,
    Authentication,
    Threading,
    Unparsed,
    From,
    To,
    Subject,
    SentAt,
    Header(HeaderProperty),
    Headers,
    BodyStructure,
    BodyValues,
    TextBody,
    HtmlBody,
    Attachments,
}

impl EmailProperty {
    /// Reads the name; `None` where an Email has no such property.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "blobId" => Self::BlobId,
            "threadId" => Self::ThreadId,
            "mailboxIds" => Self::MailboxIds,
            "keywords" => Self::Keywords,
            "size" => Self::Size,
            "receivedAt" => Self::ReceivedAt,
            "hasAttachment" => Self::HasAttachment,
            "preview" => Self::Preview,
            "conversationId" => Self::ConversationId,
            "authentication" => Self::Authentication,
            "threading" => Self::Threading,
            "unparsed" => Self::Unparsed,
            "from" => Self::From,
            "to" => Self::To,
            "subject" => Self::Subject,
            "sentAt" => Self::SentAt,
            "headers" => Self::Headers,
            "bodyStructure" => Self::BodyStructure,
            "bodyValues" => Self::BodyValues,
            "textBody" => Self::TextBody,
            "htmlBody" => Self::HtmlBody,
            "attachments" => Self::Attachments,
            other => Self::Header(email_header::convenience(other).or_else(|| HeaderProperty::parse(other))?),
        })
    }

    /// The value, where the summary row tells it: keywords as these eyes see them.
    pub fn from_row(&self, email: EmailId, row: &EmailRow, eyes: Option<&Eyes>) -> Option<Value> {
        Some(match self {
            Self::Id => email.to_string().into(),
            Self::BlobId => BlobId::message(email).to_string().into(),
            Self::ThreadId => row.thread.to_string().into(),
            Self::MailboxIds => set(row.mailboxes.iter().map(ToString::to_string)),
            Self::Keywords => match eyes {
                Some(eyes) => set(eyes.keywords(email, row).into_iter().map(str::to_owned)),
                None => set(row.keywords.iter().map(|keyword| keyword.as_str().to_owned())),
            },
            Self::Size => row.size.into(),
            Self::ReceivedAt => row.received_at.to_string().into(),
            Self::HasAttachment => row.has_attachment.into(),
            Self::Preview => row.preview.as_str().into(),
            Self::ConversationId => row.conversation.map(|id| id.to_string()).into(),
            Self::From if is_whole(&row.from) => addresses_json(&row.from),
            Self::To if is_whole(&row.to) => addresses_json(&row.to),
            Self::Subject if self.is_in_row(row) => row.subject.as_str().into(),
            Self::SentAt => row.sent_at.clone().into(),
            _ => return None,
        })
    }

    /// Appends the value as text; the same as [`Self::from_row`], without values in between.
    fn write(&self, out: &mut Vec<u8>, email: EmailId, row: &EmailRow, eyes: Option<&Eyes>) {
        match self {
            Self::Id => plain(out, &email),
            Self::BlobId => plain(out, &BlobId::message(email)),
            Self::ThreadId => plain(out, &row.thread),
            Self::MailboxIds => write_set(out, row.mailboxes.iter(), |out, mailbox| plain(out, mailbox)),
            Self::Keywords => match eyes {
                Some(eyes) => write_set(out, eyes.keywords(email, row).into_iter(), reply::write::<str>),
                None => write_set(out, row.keywords.iter().map(Keyword::as_str), reply::write::<str>),
            },
            Self::Size => reply::write(out, &row.size),
            Self::ReceivedAt => plain(out, &row.received_at),
            Self::HasAttachment => reply::write(out, &row.has_attachment),
            Self::Preview => reply::write(out, &row.preview),
            Self::Subject => reply::write(out, &row.subject),
            Self::SentAt => reply::write(out, &row.sent_at),
            Self::From => write_addresses(out, &row.from),
            Self::To => write_addresses(out, &row.to),
            other => reply::write(out, &other.from_row(email, row, eyes)),
        }
    }

    /// Is it told by the summary row of nearly every Email?
    fn is_of_summary(&self) -> bool {
        !matches!(
            self,
            Self::Header(_)
                | Self::Unparsed
                | Self::Headers
                | Self::BodyStructure
                | Self::BodyValues
                | Self::TextBody
                | Self::HtmlBody
                | Self::Attachments
        )
    }

    /// Does the summary row tell the value?
    fn is_in_row(&self, row: &EmailRow) -> bool {
        match self {
            Self::From => is_whole(&row.from),
            Self::To => is_whole(&row.to),
            Self::Subject => !row.subject.is_empty() && row.subject.len() + 4 <= SUMMARY_SUBJECT_BYTES_MAX,
            other => other.is_of_summary(),
        }
    }
}

/// Appends as a string what has nothing to escape: an id, a date.
fn plain(out: &mut Vec<u8>, value: &dyn Display) {
    // Memory takes everything.
    let _ = write!(out, "\"{value}\"");
}

/// Appends names that are mapped to true.
fn write_set<T>(out: &mut Vec<u8>, names: impl Iterator<Item = T>, name: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'{');
    for (at, one) in names.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        name(out, one);
        out.extend_from_slice(b":true");
    }
    out.push(b'}');
}

fn write_addresses(out: &mut Vec<u8>, addresses: &[MailAddress]) {
    out.push(b'[');
    for (at, address) in addresses.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"name\":" } else { b"{\"name\":" });
        reply::write(out, &address.name);
        out.extend_from_slice(b",\"email\":");
        reply::write(out, &address.email);
        out.push(b'}');
    }
    out.push(b']');
}

/// Can the list be neither cut nor that of a field that isn't there?
fn is_whole(addresses: &[MailAddress]) -> bool {
    // What was cut is a little shorter than the limit at most.
    let is_cut = |one: &MailAddress| {
        one.name.as_ref().is_some_and(|name| name.len() + 4 > SUMMARY_NAME_BYTES_MAX)
            || one.email.len() + 4 > SUMMARY_EMAIL_BYTES_MAX
    };
    (1..SUMMARY_ADDRESSES_MAX).contains(&addresses.len()) && !addresses.iter().any(is_cut)
}

fn set(names: impl Iterator<Item = String>) -> Value {
    Value::Object(names.map(|name| (name, Value::Bool(true))).collect())
}

/// What one call wants of each Email, read once.
pub struct Shape<'a> {
    wanted: Vec<(&'a str, EmailProperty)>,
    /// Each name as the JSON string that it is, and a colon.
    labels: Vec<Vec<u8>>,
    body: &'a BodyArgs,
}

impl<'a> Shape<'a> {
    /// These properties, which are known to exist.
    pub fn new(names: impl Iterator<Item = &'a str>, body: &'a BodyArgs) -> Self {
        let wanted: Vec<(&str, EmailProperty)> =
            names.filter_map(|name| Some((name, EmailProperty::parse(name)?))).collect();
        let label = |name: &str| {
            let mut label = Vec::with_capacity(name.len() + 3);
            reply::write(&mut label, name);
            label.push(b':');
            label
        };
        let labels = wanted.iter().map(|(name, _)| label(name)).collect();
        Self { wanted, labels, body }
    }

    /// Can the summary rows tell all of it, but for a rare Email?
    pub fn is_of_summary(&self) -> bool {
        self.wanted.iter().all(|(_, property)| property.is_of_summary())
    }

    /// Appends the object as text, as far as it can be told by the summary row alone.
    pub fn write(&self, out: &mut Vec<u8>, email: EmailId, row: &EmailRow, eyes: Option<&Eyes>) {
        out.push(b'{');
        for (at, ((_, property), label)) in self.wanted.iter().zip(&self.labels).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(label);
            property.write(out, email, row, eyes);
        }
        out.push(b'}');
    }

    /// Must the parsed form be read?
    pub fn needs_message(&self, row: &EmailRow) -> bool {
        self.wanted.iter().any(|(_, property)| !property.is_in_row(row))
    }

    /// Is anything asked of how it came?
    pub fn needs_evidence(&self) -> bool {
        self.wanted.iter().any(|(_, property)| email_evidence::is_evidence(property))
    }

    /// Must the content be read?
    pub fn needs_content(&self) -> bool {
        self.body.wants_values() && self.wanted.iter().any(|(_, one)| *one == EmailProperty::BodyValues)
    }

    /// The object. `known` gives what comes from elsewhere than the message; what is long counts against the
    /// budget.
    pub fn object(
        &self,
        known: &dyn Fn(&EmailProperty) -> Option<Value>,
        message: Option<&Message<'_>>,
        budget: &Budget,
    ) -> Result<Map<String, Value>, MethodError> {
        let mut object = Map::with_capacity(self.wanted.len());
        for (name, property) in &self.wanted {
            let value = match (known(property), message) {
                (Some(value), _) => value,
                (None, Some(message)) => message.value(property, self.body, budget)?,
                (None, None) => Value::Null,
            };
            object.insert((*name).to_owned(), value);
        }
        Ok(object)
    }
}

/// About how many octets a value is.
fn octets(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(octets).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + octets(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
    }
}

/// A message, with what is made of it at most once.
pub struct Message<'m> {
    body: Body<'m>,
    lists: OnceCell<BodyLists>,
}

impl<'m> Message<'m> {
    pub fn new(body: Body<'m>) -> Self {
        Self { body, lists: OnceCell::new() }
    }

    fn value(
        &self,
        property: &EmailProperty,
        args: &BodyArgs,
        budget: &Budget,
    ) -> Result<Value, MethodError> {
        let convenience = |name| match email_header::convenience(name) {
            Some(header) => header.value(self.body.fields()),
            None => Value::Null,
        };
        let lists = || self.lists.get_or_init(|| body::lists(self.body.message()));
        let value = match property {
            EmailProperty::From => convenience("from"),
            EmailProperty::To => convenience("to"),
            EmailProperty::Subject => convenience("subject"),
            EmailProperty::SentAt => convenience("sentAt"),
            EmailProperty::Header(header) => header.value(self.body.fields()),
            EmailProperty::Headers => headers_json(self.body.fields()),
            EmailProperty::Unparsed => self.body.message().unparsed.is_some().into(),
            EmailProperty::BodyStructure => self.body.structure(args),
            EmailProperty::BodyValues => self.body.values(args, lists(), budget)?,
            EmailProperty::TextBody => self.body.list(args, &lists().text),
            EmailProperty::HtmlBody => self.body.list(args, &lists().html),
            EmailProperty::Attachments => self.body.list(args, &lists().attachments),
            _ => Value::Null,
        };
        if *property != EmailProperty::BodyValues {
            budget.spend(octets(&value))?;
        }
        Ok(value)
    }
}
