//! EmailBodyPart and EmailBodyValue (RFC 8621 §4.1.4), from the stored form of a message.
//!
//! Invariants: a part has exactly the properties asked for, but that a multipart in a
//! `bodyStructure` always has its `subParts`, without which it would not be a structure; a part's
//! id is its index in preorder; only a multipart has neither part id nor blob id, but for parts of
//! a message that is itself encoded within another, which no blob id can name.

use super::email_header::{HeaderProperty, headers_json};
use crate::jmap::args::Args;
use crate::jmap::context::Budget;
use crate::jmap::error::MethodError;
use crate::mail::blob;
use crate::mail::body::{self, BodyLists};
use crate::store::rows::mail::StoredMessage;
use crate::store::rows::message::{HeaderField, MessageRow, PartRow};
use crate::types::{BlobId, EmailId, TransferEncoding};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// A property of an EmailBodyPart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PartProperty {
    PartId,
    BlobId,
    Size,
    Headers,
    Name,
    Type,
    Charset,
    Disposition,
    Cid,
    Language,
    Location,
    SubParts,
    Header(HeaderProperty),
}

/// RFC 8621 §4.2, the default of `bodyProperties`.
const DEFAULT: &[&str] =
    &["partId", "blobId", "size", "name", "type", "charset", "disposition", "cid", "language", "location"];

impl PartProperty {
    /// Reads the name; `None` where a part has no such property.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "partId" => Self::PartId,
            "blobId" => Self::BlobId,
            "size" => Self::Size,
            "headers" => Self::Headers,
            "name" => Self::Name,
            "type" => Self::Type,
            "charset" => Self::Charset,
            "disposition" => Self::Disposition,
            "cid" => Self::Cid,
            "language" => Self::Language,
            "location" => Self::Location,
            "subParts" => Self::SubParts,
            other => Self::Header(HeaderProperty::parse(other)?),
        })
    }
}

/// The arguments of Email/get and Email/parse that are about bodies (RFC 8621 §4.2).
#[derive(Clone, PartialEq, Debug)]
pub struct BodyArgs {
    /// Which properties of each part.
    pub properties: Vec<(String, PartProperty)>,
    pub text_values: bool,
    pub html_values: bool,
    pub all_values: bool,
    /// 0: all of it.
    pub value_bytes_max: usize,
}

impl Default for BodyArgs {
    fn default() -> Self {
        let known = |name: &&str| Some(((*name).to_owned(), PartProperty::parse(name)?));
        Self {
            properties: DEFAULT.iter().filter_map(known).collect(),
            text_values: false,
            html_values: false,
            all_values: false,
            value_bytes_max: 0,
        }
    }
}

impl BodyArgs {
    /// Takes the arguments.
    pub fn read(args: &mut Args) -> Result<Self, MethodError> {
        let mut read = Self::default();
        if let Some(names) = args.property_names("bodyProperties")? {
            read.properties.clear();
            for name in names {
                let unknown = || format!("there is no property '{name}' of a body part");
                let property = PartProperty::parse(&name)
                    .ok_or_else(|| MethodError::argument("bodyProperties", &unknown()))?;
                if read.properties.iter().all(|(known, _)| *known != name) {
                    read.properties.push((name, property));
                }
            }
        }
        read.text_values = args.flag("fetchTextBodyValues")?;
        read.html_values = args.flag("fetchHTMLBodyValues")?;
        read.all_values = args.flag("fetchAllBodyValues")?;
        let bytes_max = args.unsigned("maxBodyValueBytes")?.unwrap_or(0);
        read.value_bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(read)
    }

    /// Is the content of any part asked for?
    pub fn wants_values(&self) -> bool {
        self.text_values || self.html_values || self.all_values
    }
}

/// How parts of a message are named as blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartBlobs {
    /// What the parts lie in; `None` where they can't be named.
    root: Option<BlobId>,
    /// Where the octets that were parsed begin in it.
    shift: u32,
}

impl PartBlobs {
    /// Parts of this blob, whose first `shift` octets weren't parsed.
    pub fn within(blob: BlobId, shift: u32) -> Self {
        let root = BlobId { part: None, ..blob };
        match blob.part {
            None => Self { root: Some(root), shift },
            Some((offset, _, TransferEncoding::Identity)) => {
                Self { root: Some(root), shift: offset.saturating_add(shift) }
            }
            Some(_) => Self { root: None, shift },
        }
    }

    fn id(self, part: &PartRow) -> Value {
        let named = self.root.map(|root| {
            root.part(self.shift.saturating_add(part.offset), part.size, part.encoding).to_string()
        });
        named.into()
    }
}

/// A message that header fields and body are read from.
pub struct Body<'m> {
    message: &'m MessageRow,
    blobs: PartBlobs,
    /// The octets that were parsed; empty where no content is asked for.
    content: &'m [u8],
    stored: Option<&'m StoredMessage>,
    /// All fields, where a trace stands before the message; made when first asked for.
    with_trace: OnceCell<Vec<HeaderField>>,
}

impl<'m> Body<'m> {
    /// A parsed message and the octets that it was parsed from.
    pub fn of_message(message: &'m MessageRow, blobs: PartBlobs, content: &'m [u8]) -> Self {
        Self { message, blobs, content, stored: None, with_trace: OnceCell::new() }
    }

    /// An Email's message, whose content may be left out where no value is asked for.
    pub fn of_email(email: EmailId, stored: &'m StoredMessage, content: &'m [u8]) -> Self {
        let blobs = PartBlobs::within(BlobId::message(email), blob::prefix_size(stored));
        let stored_prefix = (!stored.prefix.is_empty()).then_some(stored);
        Self { stored: stored_prefix, ..Self::of_message(&stored.message, blobs, content) }
    }

    /// The parsed form.
    pub fn message(&self) -> &'m MessageRow {
        self.message
    }

    /// The fields of the message, trace included; its first part has no others.
    pub fn fields(&self) -> &[HeaderField] {
        match self.stored {
            Some(stored) => self.with_trace.get_or_init(|| blob::header_fields(stored)),
            None => self.message.fields(),
        }
    }

    /// `bodyStructure`.
    pub fn structure(&self, args: &BodyArgs) -> Value {
        self.part(0, args, true)
    }

    /// One of the flat lists.
    pub fn list(&self, args: &BodyArgs, parts: &[u32]) -> Value {
        parts.iter().map(|&index| self.part(index, args, false)).collect()
    }

    /// Recursion is as deep as parts nest, which the parser bounds (`MIME_DEPTH_MAX`).
    fn part(&self, index: u32, args: &BodyArgs, in_structure: bool) -> Value {
        let Some(part) = self.message.parts.get(index as usize) else { return Value::Null };
        let fields = if index == 0 { self.fields() } else { &part.fields };
        let sub_parts = || match part.is_multipart() {
            true => part.children.iter().map(|&child| self.part(child, args, in_structure)).collect(),
            false => Value::Null,
        };
        let leaf = |value: Value| if part.is_multipart() { Value::Null } else { value };
        let mut object = Map::with_capacity(args.properties.len() + 1);
        for (name, property) in &args.properties {
            let value = match property {
                PartProperty::PartId => leaf(index.to_string().into()),
                PartProperty::BlobId => leaf(self.blobs.id(part)),
                PartProperty::Size => part.decoded_size.into(),
                PartProperty::Headers => headers_json(fields),
                PartProperty::Name => part.name.clone().into(),
                PartProperty::Type => part.media_type.as_str().into(),
                PartProperty::Charset => part.charset.clone().into(),
                PartProperty::Disposition => part.disposition.clone().into(),
                PartProperty::Cid => part.cid.clone().into(),
                PartProperty::Language => part.language.clone().into(),
                PartProperty::Location => part.location.clone().into(),
                PartProperty::SubParts => sub_parts(),
                PartProperty::Header(header) => header.value(fields),
            };
            object.insert(name.clone(), value);
        }
        if in_structure && part.is_multipart() && !object.contains_key("subParts") {
            object.insert("subParts".into(), sub_parts());
        }
        Value::Object(object)
    }

    /// `bodyValues`: the text of the parts that the arguments ask for.
    pub fn values(&self, args: &BodyArgs, lists: &BodyLists, budget: &Budget) -> Result<Value, MethodError> {
        let mut wanted = BTreeSet::new();
        if args.text_values {
            wanted.extend(lists.text.iter().copied());
        }
        if args.html_values {
            wanted.extend(lists.html.iter().copied());
        }
        if args.all_values {
            wanted.extend((0..).take(self.message.parts.len()));
        }
        let mut values = Map::new();
        for index in wanted {
            let part = self.message.parts.get(index as usize);
            let Some(part) = part.filter(|part| part.media_type.starts_with("text/")) else { continue };
            let value = body::body_value(part, self.content, args.value_bytes_max);
            budget.spend(value.value.len())?;
            let value = json!({
                "value": value.value,
                "isEncodingProblem": value.is_encoding_problem,
                "isTruncated": value.is_truncated
            });
            values.insert(index.to_string(), value);
        }
        Ok(Value::Object(values))
    }
}
