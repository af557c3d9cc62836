//! The parsed form of a message: its parts with their header fields, and where the octets of each
//! part stand. It is all that answering headers, body structure and body lists needs; the content
//! itself is read from the blob by offset and size.
//!
//! Invariants, kept by `mail::parse`: `parts` is never empty and in preorder, `parts[0]` is the
//! message; a child's octets lie within its parent's; offsets and sizes lie within the octets that
//! were parsed. Offsets count from the first octet parsed: whoever stores a message with trace
//! header fields before it adds their length.
//!
//! Deliberately absent: decoded header values. They derive from the raw octets (RFC 8621
//! §4.1.2.1), so that a better decoder needs no migration.

use crate::types::TransferEncoding;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A parsed message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageRow {
    /// The parts in preorder; `[0]` is the message itself.
    pub parts: Vec<PartRow>,
    /// How many octets were parsed.
    pub size: u32,
    /// Why the structure isn't known, where it isn't; then there is one `text/plain` part.
    pub unparsed: Option<Unparsed>,
}

impl MessageRow {
    /// The header fields of the message, in order.
    pub fn fields(&self) -> &[HeaderField] {
        self.parts.first().map_or(&[], |part| &part.fields)
    }

    /// The last header field of that name in the message (RFC 8621 §4.1.3).
    pub fn field(&self, name: &str) -> Option<&HeaderField> {
        self.parts.first().and_then(|part| part.field(name))
    }
}

/// Why a message was kept raw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Unparsed {
    /// Nested deeper than `MIME_DEPTH_MAX`.
    TooDeep,
    /// More parts than `MIME_PARTS_MAX`.
    TooManyParts,
    /// A part with more fields than `HEADER_FIELDS_MAX`, or more octets of fields in all than
    /// `HEADER_BYTES_MAX`; the message's fields up to these limits are kept.
    TooManyFields,
    /// Larger than offsets can say.
    TooLarge,
    /// The parser failed on it; a fault of ours.
    Failed,
}

impl Unparsed {
    /// The reason in words, for operators.
    pub fn name(self) -> &'static str {
        match self {
            Unparsed::TooDeep => "too deep",
            Unparsed::TooManyParts => "too many parts",
            Unparsed::TooManyFields => "too many fields",
            Unparsed::TooLarge => "too large",
            Unparsed::Failed => "failed",
        }
    }
}

/// A part of a message (RFC 8621 §4.1.4). Its id within the Email is its index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartRow {
    /// All its header fields, in order.
    pub fields: Vec<HeaderField>,
    /// Indices of the sub-parts; not empty for `multipart/*`, empty for everything else.
    pub children: Vec<u32>,
    /// `type/subtype` in lower case, without parameters.
    pub media_type: String,
    /// The charset parameter, or the implicit one (RFC 8621 §4.1.4 `charset`).
    pub charset: Option<String>,
    /// The decoded file name.
    pub name: Option<String>,
    /// The disposition in lower case, without parameters.
    pub disposition: Option<String>,
    /// Content-Id without angle brackets.
    pub cid: Option<String>,
    /// Language tags of Content-Language.
    pub language: Option<Vec<String>>,
    /// Content-Location.
    pub location: Option<String>,
    /// How the octets at `offset` are encoded.
    pub encoding: TransferEncoding,
    /// False where Content-Transfer-Encoding names an encoding that nobody knows.
    pub encoding_known: bool,
    /// Where the header block begins.
    pub header_offset: u32,
    /// Octets of the header block with the empty line that ends it.
    pub header_size: u32,
    /// Where the encoded body begins.
    pub offset: u32,
    /// Octets of the encoded body.
    pub size: u32,
    /// Octets of the body once decoded.
    pub decoded_size: u32,
}

impl PartRow {
    /// True for `multipart/*`.
    pub fn is_multipart(&self) -> bool {
        self.media_type.starts_with("multipart/")
    }

    /// The last header field of that name, which compares without case.
    pub fn field(&self, name: &str) -> Option<&HeaderField> {
        self.fields.iter().rfind(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// One header field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeaderField {
    /// The name as it stands in the message: printable ASCII without a colon.
    pub name: String,
    /// What follows the colon, up to but without the line end that ends the field.
    pub value: Octets,
}

/// Octets that are stored as one run, not as a list of numbers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Octets(pub Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(OctetsVisitor)
    }
}

struct OctetsVisitor;

impl<'de> Visitor<'de> for OctetsVisitor {
    type Value = Octets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("octets")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Octets, E> {
        Ok(Octets(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Octets, E> {
        Ok(Octets(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Octets, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Octets(bytes))
    }
}
