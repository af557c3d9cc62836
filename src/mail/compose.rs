//! Writes the message of an Email/set create (RFC 8621 §4.6): typed values in, RFC 5322 octets
//! out. What goes in comes back from the parser: header values in their form, text, and the octets
//! of blobs exactly.
//!
//! Invariants: CR LF line ends; no value can end its field or begin another; the same input gives
//! the same octets. Deliberately absent: JSON and its rules (the caller's), and judging whether
//! addresses are fit for sending, since drafts may be half-written.

use super::addresses::{MailAddress, EmailAddressGroup};
use super::compose_headers::HeaderWriter;
use super::compose_parts;
use super::date::MailDate;
use super::fields;
use super::headers::is_field_name;
use thiserror::Error;

/// A message to write.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Draft {
    /// Fields of the message without Content-*, in order.
    pub headers: Vec<DraftHeader>,
    /// None: an empty text/plain.
    pub body: Option<DraftPart>,
}

/// A header field to write.
#[derive(Clone, PartialEq, Debug)]
pub struct DraftHeader {
    pub name: String,
    pub value: DraftValue,
}

/// A header field value in the form in which it was given.
#[derive(Clone, PartialEq, Debug)]
pub enum DraftValue {
    /// What follows the colon, exactly; it may be folded.
    Raw(String),
    Text(String),
    Addresses(Vec<MailAddress>),
    GroupedAddresses(Vec<EmailAddressGroup>),
    MessageIds(Vec<String>),
    Date(MailDate),
    Urls(Vec<String>),
}

/// A body part to write.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DraftPart {
    /// `None`: text/plain for text, multipart/mixed for parts, else application/octet-stream.
    pub media_type: Option<String>,
    /// Of content given as octets; text is always written as UTF-8.
    pub charset: Option<String>,
    pub name: Option<String>,
    pub disposition: Option<String>,
    pub cid: Option<String>,
    pub language: Vec<String>,
    pub location: Option<String>,
    /// Further fields. A Content-Type here takes the place of `media_type` and `charset`; any
    /// other Content-* takes the place of the property that it stands for.
    pub headers: Vec<DraftHeader>,
    pub content: DraftContent,
}

/// What a part holds.
#[derive(Clone, PartialEq, Debug)]
pub enum DraftContent {
    Text(String),
    /// The octets of a blob.
    Bytes(Vec<u8>),
    Parts(Vec<DraftPart>),
}

impl Default for DraftContent {
    fn default() -> Self {
        DraftContent::Text(String::new())
    }
}

/// What is written where the draft doesn't say it.
#[derive(Clone, PartialEq, Debug)]
pub struct ComposeDefaults {
    /// Without angle brackets.
    pub message_id: String,
    pub date: MailDate,
    /// Makes boundaries differ between equal contents; may be anything.
    pub boundary_seed: [u8; 16],
}

/// Why a draft can't be written. `0` is the field or property at fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ComposeError {
    #[error("\"{0}\" is not a header field name")]
    FieldName(String),
    #[error("{0} holds a control character or a line end")]
    Control(String),
    #[error("{0} has a line longer than 998 octets")]
    LineTooLong(String),
    #[error("{0} can't hold this value")]
    Value(String),
    #[error("{0} may stand on a body part only")]
    ContentOnMessage(String),
    #[error("{0} is set by the server")]
    ServerSet(String),
    #[error("body parts nest too deep or are too many")]
    Structure,
}

/// Writes the message.
pub fn compose(draft: &Draft, defaults: &ComposeDefaults) -> Result<Vec<u8>, ComposeError> {
    let mut writer = HeaderWriter::default();
    let given = |name: &str| draft.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    if !given("Date") {
        writer.field("Date", &DraftValue::Date(defaults.date))?;
    }
    if !given("Message-ID") {
        writer.field("Message-ID", &DraftValue::MessageIds(vec![defaults.message_id.clone()]))?;
    }
    for header in &draft.headers {
        if header.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-")) {
            return Err(ComposeError::ContentOnMessage(header.name.clone()));
        }
        if !is_field_name(&header.name) {
            return Err(ComposeError::FieldName(header.name.clone()));
        }
        writer.field(&header.name, &header.value)?;
    }
    let empty = DraftPart::default();
    let body = draft.body.as_ref().unwrap_or(&empty);
    let on_part = body.headers.iter().any(|header| header.name.eq_ignore_ascii_case("MIME-Version"));
    if !given("MIME-Version") && !on_part {
        writer.field("MIME-Version", &DraftValue::Raw(" 1.0".to_owned()))?;
    }
    let mut out = writer.into_bytes();
    compose_parts::write(body, &defaults.boundary_seed, &mut out)?;
    Ok(out)
}

/// The body structure for `textBody`, `htmlBody` and `attachments` (RFC 8621 §4.6): text and HTML
/// as alternatives, inline attachments with a Content-Id beside the HTML as multipart/related,
/// the others after it in multipart/mixed.
pub fn arrange(
    text: Option<DraftPart>,
    html: Option<DraftPart>,
    attachments: Vec<DraftPart>,
) -> Option<DraftPart> {
    let multipart = |kind: &str, parts: Vec<DraftPart>| DraftPart {
        media_type: Some(format!("multipart/{kind}")),
        content: DraftContent::Parts(parts),
        ..DraftPart::default()
    };
    let embeds = |part: &DraftPart| part.cid.is_some() && part.disposition.as_deref() == Some("inline");
    let has_html = html.is_some();
    let (embedded, others): (Vec<_>, Vec<_>) = attachments.into_iter().partition(|p| has_html && embeds(p));
    let html = html.map(|html| {
        if embedded.is_empty() {
            return html;
        }
        multipart("related", std::iter::once(html).chain(embedded).collect())
    });
    let body = match (text, html) {
        (Some(text), Some(html)) => Some(multipart("alternative", vec![text, html])),
        (text, html) => text.or(html),
    };
    if others.is_empty() {
        return body;
    }
    Some(multipart("mixed", body.into_iter().chain(others).collect()))
}

/// The message without its Bcc and Resent-Bcc fields, for sending (RFC 5322 §3.6.3, §3.6.6); all
/// other octets are as they were.
pub fn strip_bcc(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut kept = 0;
    fields::split(raw, 0, |_| false, |span| {
        let name = raw.get(span.name.clone()).unwrap_or_default();
        if name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc") {
            out.extend_from_slice(raw.get(kept..span.whole.start).unwrap_or_default());
            kept = span.whole.end;
        }
    });
    out.extend_from_slice(raw.get(kept..).unwrap_or_default());
    out
}
