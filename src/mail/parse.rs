//! A raw message to its stored form. Never fails, never panics, linear in the octets however deep
//! parts nest: one walk over the lines with a stack of the boundaries that are open.
//!
//! Settled here (spec/decisions/010-mime-structure.md): a multipart without a boundary, or in
//! which its boundary never occurs, is text/plain, so that its content can be read; message/*
//! parts are leaves; a part's field counts in its last instance, as everywhere (RFC 8621 §4.1.3).

use super::params::Structured;
use super::{fields, transfer, words};
use crate::store::rows::message::{HeaderField, MessageRow, Octets, PartRow, Unparsed};
use crate::types::TransferEncoding;
use crate::types::limits::{HEADER_BYTES_MAX, HEADER_FIELDS_MAX, MIME_DEPTH_MAX, MIME_PARTS_MAX};
use std::panic::catch_unwind;

/// Parses any octets as a message.
pub fn parse(raw: &[u8]) -> MessageRow {
    if u32::try_from(raw.len()).is_err() {
        return unparsed(raw, Unparsed::TooLarge);
    }
    // A fault in this code must not cost a message that was accepted: it is kept raw and flagged.
    match catch_unwind(|| Walk::new(raw).run()) {
        Ok(Ok(row)) => row,
        Ok(Err(why)) => catch_unwind(|| unparsed(raw, why)).unwrap_or_else(|_| failed(raw)),
        Err(_) => failed(raw),
    }
}

/// One text/plain part. Where the header block can be kept whole, the part is the body; else the
/// part is everything, so that nothing is out of reach.
fn unparsed(raw: &[u8], why: Unparsed) -> MessageRow {
    let mut row = failed(raw);
    row.unparsed = Some(why);
    let Some(part) = row.parts.first_mut() else {
        return row;
    };
    let mut keep = Keep::default();
    let body = fields::split(raw, 0, |_| false, |span| keep.add(raw, &span));
    if why != Unparsed::TooLarge && !keep.over {
        part.header_size = length(body);
        part.offset = length(body);
        part.size = length(raw.len() - body);
        part.decoded_size = part.size;
    }
    part.fields = keep.fields;
    row
}

fn failed(raw: &[u8]) -> MessageRow {
    let size = length(raw.len());
    let mut part = PartRow { size, decoded_size: size, ..empty_part(0) };
    part.charset = Some("us-ascii".to_owned());
    MessageRow { parts: vec![part], size, unparsed: Some(Unparsed::Failed) }
}

/// Lengths fit: `parse` refuses what is longer than 32 bits, where they are cut to the longest.
fn length(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn empty_part(start: usize) -> PartRow {
    PartRow {
        fields: Vec::new(),
        children: Vec::new(),
        media_type: "text/plain".to_owned(),
        charset: None,
        name: None,
        disposition: None,
        cid: None,
        language: None,
        location: None,
        encoding: TransferEncoding::Identity,
        encoding_known: true,
        header_offset: length(start),
        header_size: 0,
        offset: length(start),
        size: 0,
        decoded_size: 0,
    }
}

/// Keeps fields up to the limits.
#[derive(Default)]
struct Keep {
    fields: Vec<HeaderField>,
    bytes: usize,
    over: bool,
}

impl Keep {
    fn add(&mut self, raw: &[u8], span: &fields::FieldSpan) {
        let bytes = self.bytes.saturating_add(span.whole.len());
        if self.over || self.fields.len() >= HEADER_FIELDS_MAX || bytes > HEADER_BYTES_MAX {
            self.over = true;
            return;
        }
        self.bytes = bytes;
        let octets = |range: &std::ops::Range<usize>| raw.get(range.clone()).unwrap_or_default();
        self.fields.push(HeaderField {
            name: String::from_utf8_lossy(octets(&span.name)).into_owned(),
            value: Octets(octets(&span.value).to_vec()),
        });
    }
}

/// A multipart whose end hasn't been seen.
struct Open {
    part: usize,
    boundary: Vec<u8>,
    /// Its closing delimiter came; what follows up to the parent's next one is epilogue.
    closed: bool,
}

/// A line that is a delimiter of an open multipart (RFC 2046 §5.1.1).
struct Delimiter {
    start: usize,
    next: usize,
    level: usize,
    closing: bool,
}

struct Walk<'a> {
    raw: &'a [u8],
    parts: Vec<PartRow>,
    stack: Vec<Open>,
    /// The part whose body is being passed over, if it isn't a multipart.
    leaf: Option<usize>,
    header_bytes: usize,
}

impl<'a> Walk<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self { raw, parts: Vec::new(), stack: Vec::new(), leaf: None, header_bytes: 0 }
    }

    fn run(mut self) -> Result<MessageRow, Unparsed> {
        let mut at = self.begin(0)?;
        while let Some(delimiter) = self.next_delimiter(at) {
            let end = before_line_end(self.raw, delimiter.start);
            self.end_down_to(delimiter.level + 1, end);
            at = delimiter.next;
            if let Some(open) = self.stack.get_mut(delimiter.level) {
                open.closed = delimiter.closing;
                if !delimiter.closing {
                    at = self.begin(delimiter.next)?;
                }
            }
        }
        self.end_down_to(0, self.raw.len());
        Ok(MessageRow { parts: self.parts, size: length(self.raw.len()), unparsed: None })
    }

    /// Begins a part at `start` under the innermost open multipart; gives where its body begins.
    fn begin(&mut self, start: usize) -> Result<usize, Unparsed> {
        if self.parts.len() >= MIME_PARTS_MAX {
            return Err(Unparsed::TooManyParts);
        }
        let index = self.parts.len();
        let parent = self.stack.last().map(|open| open.part);
        let digest = parent.is_some_and(|parent| self.parts[parent].media_type == "multipart/digest");
        if let Some(parent) = parent {
            self.parts[parent].children.push(length(index));
        }
        let mut keep = Keep { bytes: self.header_bytes, ..Keep::default() };
        let ends = |line: &[u8]| self.delimiter_of(line).is_some();
        let body = fields::split(self.raw, start, ends, |span| keep.add(self.raw, &span));
        if keep.over {
            return Err(Unparsed::TooManyFields);
        }
        self.header_bytes = keep.bytes;
        let mut part = empty_part(start);
        part.fields = keep.fields;
        part.header_size = length(body - start);
        part.offset = length(body);
        let boundary = describe(&mut part, digest);
        self.parts.push(part);
        match boundary {
            Some(boundary) => {
                if self.stack.len() >= MIME_DEPTH_MAX {
                    return Err(Unparsed::TooDeep);
                }
                self.stack.push(Open { part: index, boundary, closed: false });
            }
            None => self.leaf = Some(index),
        }
        Ok(body)
    }

    /// The next delimiter at or after `from`, which is where a line begins.
    fn next_delimiter(&self, from: usize) -> Option<Delimiter> {
        if self.stack.iter().all(|open| open.closed) {
            return None;
        }
        let mut start = from;
        loop {
            let rest = self.raw.get(start..)?;
            if rest.starts_with(b"--") {
                let (line, next) = fields::line_at(self.raw, start);
                if let Some((level, closing)) = self.delimiter_of(line) {
                    return Some(Delimiter { start, next, level, closing });
                }
            }
            start += memchr::memmem::find(rest, b"\n--")? + 1;
        }
    }

    /// Which open multipart the line delimits, innermost first: a boundary that is missing ends
    /// with its parent's.
    fn delimiter_of(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?.trim_ascii_end();
        self.stack.iter().enumerate().rev().filter(|(_, open)| !open.closed).find_map(|(level, open)| {
            match text.strip_prefix(open.boundary.as_slice())? {
                b"" => Some((level, false)),
                b"--" => Some((level, true)),
                _ => None,
            }
        })
    }

    /// Ends the present leaf and every multipart at `level` or deeper.
    fn end_down_to(&mut self, level: usize, end: usize) {
        if let Some(leaf) = self.leaf.take() {
            self.end_part(leaf, end);
        }
        while self.stack.len() > level {
            let Some(open) = self.stack.pop() else { return };
            let part = &mut self.parts[open.part];
            if part.children.is_empty() {
                part.media_type = "text/plain".to_owned();
                part.charset = Some("us-ascii".to_owned());
            }
            self.end_part(open.part, end);
        }
    }

    fn end_part(&mut self, index: usize, end: usize) {
        let part = &mut self.parts[index];
        let start = part.offset as usize;
        // The line end before a delimiter may already be the end of the header block.
        let body = self.raw.get(start..end.max(start)).unwrap_or_default();
        part.size = length(body.len());
        part.decoded_size = length(transfer::decoded_length(part.encoding, body));
    }
}

/// The line end before a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
fn before_line_end(raw: &[u8], start: usize) -> usize {
    let before = raw.get(..start).unwrap_or_default();
    let before = before.strip_suffix(b"\n").map_or(before, |b| b.strip_suffix(b"\r").unwrap_or(b));
    before.len()
}

/// Fills in what the part's fields say; gives the boundary if it is a multipart that has one.
fn describe(part: &mut PartRow, in_digest: bool) -> Option<Vec<u8>> {
    let value = |name: &str| part.field(name).map(|field| field.value.0.as_slice());
    let content_type = value("Content-Type").map(Structured::parse);
    let disposition = value("Content-Disposition").map(Structured::parse);
    let (encoding, known) =
        value("Content-Transfer-Encoding").map_or((TransferEncoding::Identity, true), |raw| {
            transfer::encoding_named(&Structured::parse(raw).value)
        });
    let cid = value("Content-Id").and_then(cid);
    let language = value("Content-Language").map(|raw| {
        let list = Structured::parse(raw).value;
        list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    });
    let location = value("Content-Location").map(|raw| {
        words::decode_words(words::unfold(raw).trim()).split_ascii_whitespace().collect::<String>()
    });
    let mut media_type = media_type(content_type.as_ref(), in_digest);
    let mut boundary = None;
    if media_type.starts_with("multipart/") {
        let given = content_type.as_ref().and_then(|given| given.plain("boundary")).unwrap_or_default();
        boundary = Some(given.trim_end().as_bytes().to_vec()).filter(|boundary| !boundary.is_empty());
        if boundary.is_none() {
            media_type = "text/plain".to_owned();
        }
    }
    let charset = content_type.as_ref().and_then(|given| given.plain("charset"));
    part.charset = match charset.filter(|charset| !charset.is_empty()) {
        Some(charset) => Some(charset.to_owned()),
        None if content_type.is_none() || media_type.starts_with("text/") => Some("us-ascii".to_owned()),
        None => None,
    };
    part.name = disposition.as_ref().and_then(|given| given.decoded("filename"));
    if part.name.is_none() {
        part.name = content_type.as_ref().and_then(|given| given.decoded("name"));
    }
    part.disposition = disposition.map(|given| given.value.to_ascii_lowercase()).filter(|d| !d.is_empty());
    (part.cid, part.language, part.location) = (cid, language, location);
    part.media_type = media_type;
    if boundary.is_none() {
        (part.encoding, part.encoding_known) = (encoding, known);
    }
    boundary
}

/// RFC 2045 §5.2: text/plain where the field is absent or can't be read.
fn media_type(content_type: Option<&Structured>, in_digest: bool) -> String {
    let Some(given) = content_type else {
        return if in_digest { "message/rfc822" } else { "text/plain" }.to_owned();
    };
    let lower = given.value.to_ascii_lowercase();
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
    };
    match lower.split_once('/') {
        Some((kind, sub)) if token(kind) && token(sub) => lower,
        _ => "text/plain".to_owned(),
    }
}

/// Content-Id without comments, white space and angle brackets.
fn cid(raw: &[u8]) -> Option<String> {
    let text = Structured::parse(raw).value;
    let inner = text.strip_prefix('<').unwrap_or(&text);
    let inner = inner.strip_suffix('>').unwrap_or(inner);
    (!inner.is_empty()).then(|| inner.to_owned())
}
