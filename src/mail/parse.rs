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
        let end = length(end);
        // A header block that runs into a delimiter has no empty line, and its last line end is the
        // delimiter's.
        part.header_offset = part.header_offset.min(end);
        part.offset = part.offset.min(end);
        part.header_size = part.offset - part.header_offset;
        part.size = end - part.offset;
        let body = self.raw.get(part.offset as usize..end as usize).unwrap_or_default();
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
    let (encoding, known) = value("Content-Transfer-Encoding")
        .map_or((TransferEncoding::Identity, true), |raw| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `type[offset+size]`, children in parentheses, of the part at `index`.
    fn shape(row: &MessageRow, index: usize) -> String {
        let part = &row.parts[index];
        let mut out = part.media_type.clone();
        if !part.children.is_empty() {
            let inner: Vec<String> = part.children.iter().map(|c| shape(row, *c as usize)).collect();
            out.push_str(&format!("({})", inner.join(" ")));
        }
        out
    }

    fn bodies(raw: &[u8], row: &MessageRow) -> Vec<String> {
        let leaves = row.parts.iter().filter(|part| part.children.is_empty());
        leaves
            .map(|p| String::from_utf8_lossy(&raw[p.offset as usize..][..p.size as usize]).into_owned())
            .collect()
    }

    #[track_caller]
    fn check(raw: &str, expected: &str, texts: &[&str]) {
        let raw = raw.replace('\n', "\r\n");
        for raw in [raw.replace("\r\n", "\n"), raw] {
            let row = parse(raw.as_bytes());
            assert_eq!(row.unparsed, None, "{raw}");
            assert_eq!(shape(&row, 0), expected, "{raw}");
            let found: Vec<String> =
                bodies(raw.as_bytes(), &row).iter().map(|b| b.replace("\r\n", "\n")).collect();
            assert_eq!(found, texts, "{raw}");
            nests(&row, raw.len());
        }
    }

    /// Parts are in preorder, each child's octets are within its parent's, all within the message.
    fn nests(row: &MessageRow, size: usize) {
        assert_eq!(row.size as usize, size);
        let mut seen = 0u32;
        let mut todo = vec![(0u32, 0u64, size as u64)];
        while let Some((index, from, to)) = todo.pop() {
            assert_eq!(index, seen, "preorder");
            seen += 1;
            let part = &row.parts[index as usize];
            let (start, size) = (u64::from(part.offset), u64::from(part.size));
            assert!(u64::from(part.header_offset) >= from && start + size <= to, "{row:?}");
            assert_eq!(part.header_offset + part.header_size, part.offset);
            assert_eq!(part.is_multipart(), !part.children.is_empty());
            todo.extend(part.children.iter().rev().map(|child| (*child, start, start + size)));
        }
        assert_eq!(seen as usize, row.parts.len());
    }

    #[test]
    fn a_plain_message_is_one_part() {
        check("Subject: x\n\nbody\n", "text/plain", &["body\n"]);
        check("", "text/plain", &[""]);
        check("\n", "text/plain", &[""]);
        check("Subject: x", "text/plain", &[""]);
        check("no header at all\nsecond line", "text/plain", &["no header at all\nsecond line"]);
        check("Content-Type: text\n\nx", "text/plain", &["x"]);
        check("Content-Type: Text/HTML (c); charset=x\n\nx", "text/html", &["x"]);
    }

    #[test]
    fn multiparts_are_split_at_their_boundaries() {
        let top = "Content-Type: multipart/mixed; boundary=\"b\"\n\n";
        check(
            &format!("{top}pre\n--b\n\none\n--b\n\ntwo\n--b--\nepilogue\n"),
            "multipart/mixed(text/plain text/plain)",
            &["one", "two"],
        );
        check(&format!("{top}--b  \n\none\n\n--b--  \n"), "multipart/mixed(text/plain)", &["one\n"]);
        check(&format!("{top}--b\n\nnever closed\n"), "multipart/mixed(text/plain)", &["never closed\n"]);
        check(&format!("{top}--b\n--b\n\n--b--"), "multipart/mixed(text/plain text/plain)", &["", ""]);
        check(&format!("{top}--b\nno header\n--b--"), "multipart/mixed(text/plain)", &["no header"]);
        check(&format!("{top}--b\nX-A: b\n--b--"), "multipart/mixed(text/plain)", &[""]);
        check(
            &format!("{top}--b\n\none\n--bc\n--b-- x\n--b--"),
            "multipart/mixed(text/plain)",
            &["one\n--bc\n--b-- x"],
        );
        check(&format!("{top}--b--\n--b\n\nafter the end"), "text/plain", &["--b--\n--b\n\nafter the end"]);
        check(&format!("{top}nothing"), "text/plain", &["nothing"]);
        check("Content-Type: multipart/mixed\n\n--b\n\nx\n--b--", "text/plain", &["--b\n\nx\n--b--"]);
        check(
            "Content-Type: multipart/mixed;\n boundary=\"a\n b\"\n\n--a b\n\nx\n--a b--",
            "multipart/mixed(text/plain)",
            &["x"],
        );
    }

    #[test]
    fn a_parents_boundary_ends_what_its_children_left_open() {
        let raw = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=ab\n\n\
                   --ab\n\none\n--ab\nContent-Type: text/html\n\ntwo\n--a\n\nthree\n--ab\nno more\n--a--\n--ab--";
        let expected = "multipart/mixed(multipart/alternative(text/plain text/html) text/plain)";
        check(raw, expected, &["one", "two", "three\n--ab\nno more"]);
    }

    #[test]
    fn attached_messages_are_leaves_and_a_digest_has_them_by_default() {
        let raw = "Content-Type: multipart/digest; boundary=a\n\n--a\n\nSubject: x\n\nin\n--a\nContent-Type: text/plain\n\ny\n\
                   --a\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=z\n\n--z\n\nq\n--z--\n--a--";
        check(
            raw,
            "multipart/digest(message/rfc822 text/plain message/rfc822)",
            &["Subject: x\n\nin", "y", "Content-Type: multipart/mixed; boundary=z\n\n--z\n\nq\n--z--"],
        );
    }

    #[test]
    fn a_part_tells_all_that_its_fields_say() {
        let raw = b"Content-Type: image/PNG; name=\"=?utf-8?q?=C3=A4?=\"\r\nContent-Transfer-Encoding: BASE64 (x)\r\n\
            Content-Disposition: Attachment; filename*0*=utf-8''%C3; filename*1*=%A4.png\r\nContent-ID: (c) <a@b>\r\n\
            Content-Language: de, en-GB (x)\r\nContent-Location: http://x/\r\n y\r\n\r\naGVs\r\nbG8=\r\n";
        let row = parse(raw);
        let part = &row.parts[0];
        let fields = part.fields.clone();
        let expected = PartRow {
            fields,
            media_type: "image/png".to_owned(),
            name: Some("ä.png".to_owned()),
            disposition: Some("attachment".to_owned()),
            cid: Some("a@b".to_owned()),
            language: Some(vec!["de".to_owned(), "en-GB".to_owned()]),
            location: Some("http://x/y".to_owned()),
            encoding: TransferEncoding::Base64,
            header_size: part.header_size,
            offset: part.header_size,
            size: 12,
            decoded_size: 5,
            ..empty_part(0)
        };
        assert_eq!(*part, expected);
        assert_eq!(part.fields.len(), 6);
        assert_eq!(part.fields[3].value, Octets(b" (c) <a@b>".to_vec()));
    }

    #[test]
    fn the_charset_is_given_or_implied() {
        let cases = [
            ("X: y", Some("us-ascii")),
            ("Content-Type: text/html", Some("us-ascii")),
            ("Content-Type: image/png", None),
            ("Content-Type: text/plain; charset=\"UTF-8\"", Some("UTF-8")),
            ("Content-Type: application/xml; charset=x", Some("x")),
        ];
        for (field, expected) in cases {
            assert_eq!(
                parse(format!("{field}\r\n\r\n").as_bytes()).parts[0].charset.as_deref(),
                expected,
                "{field}"
            );
        }
        let row = parse(b"Content-Transfer-Encoding: x-uuencode\r\n\r\nx");
        assert_eq!((row.parts[0].encoding, row.parts[0].encoding_known), (TransferEncoding::Identity, false));
    }

    #[test]
    fn what_exceeds_a_limit_is_kept_raw_and_flagged() {
        let head = "Subject: x\r\n";
        let mut deep = head.to_owned();
        for level in 0..5000 {
            deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"));
        }
        let mut many = format!("{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        many.push_str(&"--b\r\n\r\nx\r\n".repeat(5000));
        let fields = format!("{head}{}\r\nbody", "A: b\r\n".repeat(5000));
        let long = format!("{head}A: {}\r\n\r\nbody", "x".repeat(HEADER_BYTES_MAX));
        for (raw, why, field_count) in [
            (deep, Unparsed::TooDeep, 2),
            (many, Unparsed::TooManyParts, 2),
            (fields, Unparsed::TooManyFields, HEADER_FIELDS_MAX),
            (long, Unparsed::TooManyFields, 1),
        ] {
            let row = parse(raw.as_bytes());
            let part = &row.parts[0];
            assert_eq!((row.unparsed, row.parts.len(), part.fields.len()), (Some(why), 1, field_count));
            assert_eq!((part.offset + part.size) as usize, raw.len());
            assert_eq!(part.media_type, "text/plain");
            let whole = part.offset == 0;
            assert_eq!(whole, why == Unparsed::TooManyFields, "{why:?}");
        }
    }

    const REAL: &str = "From: =?utf-8?q?A=C3=A4?= <a@b>\r\nTo: G: x@y, \"Z, Q\" <z@q>;\r\nSubject: =?utf-8?b?w6Q=?=\r\n =?utf-8?q?x?=\r\n\
        Date: Tue, 10 Jul 2018 01:03:11 +1300\r\nMessage-ID: <i@j>\r\nReferences: <a@b>\r\n <c@d>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=\"o\"\r\n\r\npre\r\n--o\r\nContent-Type: multipart/alternative;\r\n boundary=i\r\n\r\n\
        --i\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4 =\r\nb\r\n\
        --i\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+eDwvYj4=\r\n--i--\r\n--o\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n--o\r\nContent-Type: image/png; name*=utf-8''%41\r\n\
        Content-Disposition: attachment; filename*0=a; filename*1=b\r\nContent-ID: <c@d>\r\n\r\n\x00\x01\r\n--o--\r\nend\r\n";

    /// Everything that derives from a message, which must hold for any octets.
    fn derives(raw: &[u8]) {
        let row = parse(raw);
        assert_ne!(row.unparsed, Some(Unparsed::Failed), "{}", raw.escape_ascii());
        nests(&row, raw.len());
        let stored = postcard::to_allocvec(&row).expect("a row is encoded");
        assert_eq!(postcard::from_bytes::<MessageRow>(&stored).expect("a row is decoded"), row);
        for part in &row.parts {
            let leaf = crate::mail::body::decode(part, raw);
            assert_eq!(leaf.len(), part.decoded_size as usize);
            assert!(crate::mail::body::body_value(part, raw, 7).value.len() <= 7);
            for field in &part.fields {
                use crate::mail::headers::{HeaderForm::*, value_in_form};
                for form in [Raw, Text, Addresses, GroupedAddresses, MessageIds, Date, Urls] {
                    let _ = value_in_form(&field.value.0, form);
                }
            }
        }
        let preview = crate::mail::body::preview(&row, raw);
        assert!(preview.chars().count() <= crate::types::limits::PREVIEW_CHARS_MAX);
        let _ =
            (crate::mail::body::indexed_text(&row, raw), crate::mail::automatic::is_automatic(&row, false));
    }

    #[test]
    fn a_real_message_has_the_structure_that_it_says() {
        let row = parse(REAL.as_bytes());
        let expected =
            "multipart/mixed(multipart/alternative(text/plain text/html) message/rfc822 image/png)";
        assert_eq!(shape(&row, 0), expected);
        assert_eq!(
            bodies(REAL.as_bytes(), &row),
            ["=C3=A4 =\r\nb", "PGI+eDwvYj4=", "Subject: in\r\n\r\nx", "\0\u{1}"]
        );
        derives(REAL.as_bytes());
    }

    proptest! {
        #[test]
        fn any_octets_parse(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
            derives(&raw);
        }

        #[test]
        fn any_row_of_boundaries_parses(pieces in proptest::collection::vec(0usize..12, 0..40)) {
            const PIECES: [&str; 12] = ["--a", "--a--", "--b", "--b--", "\r\n", "\n", "\r\n\r\n", "x",
                "Content-Type: multipart/mixed; boundary=a\r\n", "Content-Type: multipart/digest; boundary=b\r\n",
                "Content-Type: multipart/alternative; boundary=a\n\n", " "];
            let raw: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            derives(raw.as_bytes());
            derives(format!("Content-Type: multipart/mixed; boundary=a\r\n\r\n{raw}").as_bytes());
        }

        #[test]
        fn a_mutated_message_parses(edits in proptest::collection::vec((any::<u16>(), any::<u8>(), 0u8..4), 1..8)) {
            let mut raw = REAL.as_bytes().to_vec();
            for (at, byte, kind) in edits {
                let at = usize::from(at) % (raw.len() + 1);
                match kind {
                    0 => raw.insert(at, byte),
                    1 if at < raw.len() => raw[at] = byte,
                    2 if at < raw.len() => { raw.remove(at); }
                    _ => { let tail = raw.split_off(at); let keep = usize::from(byte).min(tail.len()); raw.extend_from_slice(&tail[keep..]); }
                }
            }
            derives(&raw);
        }
    }
}
