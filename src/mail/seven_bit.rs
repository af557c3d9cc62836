//! A message for a relay that takes 7-bit octets alone (RFC 6152 §3): every part with others is written in a
//! transfer encoding that has none, and reads as before.
//!
//! It is what goes over the wire at one handover, and nothing else: what is kept, what the gate compares and
//! the Message-ID stay as they are.
//!
//! Invariants: the result is ASCII, parses to the same parts with the same decoded content, and nothing that a
//! signature covers is changed. What can't be had so is refused with the reason.
//!
//! A header in UTF-8 has no such form (RFC 6532 §3.6): it needs SMTPUTF8. The text around the parts of a
//! multipart, which nobody reads (RFC 2046 §5.1.1), has a question mark for each octet that doesn't fit.

use super::{body, fields, parse, transfer};
use crate::store::rows::message::{MessageRow, PartRow};
use crate::types::TransferEncoding;
use crate::types::limits::MIME_DEPTH_MAX;

/// Why a message has no 7-bit form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoSevenBit {
    #[error("a header in the message is in UTF-8")]
    Header,
    /// RFC 1847 §2.1: what is signed is never altered on its way.
    #[error("a signature covers octets that would have to be changed")]
    Signed,
    /// RFC 2046 §5.2.2, §5.2.3: such a body has no other encoding.
    #[error("a part of its type may not be encoded")]
    Unencodable,
    #[error("its structure can't be told for certain")]
    Structure,
}

const FIELD: &str = "Content-Transfer-Encoding";

/// The message in 7-bit octets.
pub fn convert(raw: &[u8]) -> Result<Vec<u8>, NoSevenBit> {
    nested(raw, 0)
}

fn nested(raw: &[u8], depth: usize) -> Result<Vec<u8>, NoSevenBit> {
    let message = parse::parse(raw);
    if depth > MIME_DEPTH_MAX || message.unparsed.is_some() {
        return Err(NoSevenBit::Structure);
    }
    let mut writer = Writer { raw, message: &message, depth, out: Vec::with_capacity(raw.len()) };
    writer.part(0)?;
    let out = writer.out;
    // An encoded line that looks like a boundary would be one.
    if out.is_ascii() && reads_alike(raw, &message, &out) { Ok(out) } else { Err(NoSevenBit::Structure) }
}

/// Whether what was written has the parts that were read. An embedded message was looked at by itself.
fn reads_alike(raw: &[u8], message: &MessageRow, out: &[u8]) -> bool {
    let written = parse::parse(out);
    let alike = |(one, other): (&PartRow, &PartRow)| {
        one.media_type == other.media_type
            && one.children == other.children
            && (one.is_multipart()
                || one.media_type == "message/rfc822"
                || body::decode(one, raw) == body::decode(other, out))
    };
    written.parts.len() == message.parts.len() && message.parts.iter().zip(&written.parts).all(alike)
}

struct Writer<'a> {
    raw: &'a [u8],
    message: &'a MessageRow,
    depth: usize,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn octets(&self, from: u32, to: u32) -> &'a [u8] {
        self.raw.get(from as usize..to as usize).unwrap_or_default()
    }

    fn part(&mut self, index: usize) -> Result<(), NoSevenBit> {
        let part = self.message.parts.get(index).ok_or(NoSevenBit::Structure)?;
        let end = part.offset.saturating_add(part.size);
        let whole = self.octets(part.header_offset, end);
        if whole.is_ascii() {
            self.out.extend_from_slice(whole);
            return Ok(());
        }
        if !self.octets(part.header_offset, part.offset).is_ascii() {
            return Err(NoSevenBit::Header);
        }
        match part.media_type.as_str() {
            "multipart/signed" => Err(NoSevenBit::Signed),
            "message/partial" | "message/external-body" => Err(NoSevenBit::Unencodable),
            _ if !part.children.is_empty() => self.multipart(part, end),
            _ => self.leaf(index, part, self.octets(part.offset, end)),
        }
    }

    fn multipart(&mut self, part: &PartRow, end: u32) -> Result<(), NoSevenBit> {
        self.header(part, None, false);
        let mut at = part.offset;
        for &child in &part.children {
            let row = self.message.parts.get(child as usize).ok_or(NoSevenBit::Structure)?;
            self.around(at, row.header_offset);
            self.part(child as usize)?;
            at = row.offset.saturating_add(row.size);
        }
        self.around(at, end);
        Ok(())
    }

    /// Delimiters, and what stands before, between and after parts.
    fn around(&mut self, from: u32, to: u32) {
        let octets = self.octets(from, to).iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' });
        self.out.extend(octets);
    }

    fn leaf(&mut self, index: usize, part: &PartRow, encoded: &[u8]) -> Result<(), NoSevenBit> {
        let says_multipart = part.field("Content-Type").is_some_and(|field| {
            field.value.0.trim_ascii_start().to_ascii_lowercase().starts_with(b"multipart")
        });
        if !part.encoding_known || says_multipart {
            return Err(NoSevenBit::Structure);
        }
        if part.media_type == "message/rfc822" && part.encoding == TransferEncoding::Identity {
            // RFC 2046 §5.2.1: it isn't encoded itself, but its own parts are.
            let inner = nested(encoded, self.depth + 1)?;
            self.header(part, None, false);
            self.out.extend_from_slice(&inner);
            return Ok(());
        }
        let content = transfer::decode(part.encoding, encoded);
        let high = content.iter().filter(|octet| !octet.is_ascii()).count();
        // The shorter one, and for anything but text the one that keeps each octet for certain.
        let quoted = part.media_type.starts_with("text/") && high * 3 <= content.len();
        self.header(part, Some(if quoted { "quoted-printable" } else { "base64" }), index == 0);
        if quoted {
            transfer::encode_quoted_printable(&content, &mut self.out);
        } else {
            transfer::encode_base64(&content, &mut self.out);
            // The line end before a delimiter is the delimiter's.
            let end = self.out.strip_suffix(b"\r\n").map_or(self.out.len(), <[u8]>::len);
            self.out.truncate(if index == 0 { self.out.len() } else { end });
        }
        Ok(())
    }

    /// The part's header with that transfer encoding; without one, `7bit` in place of what it said.
    fn header(&mut self, part: &PartRow, encoding: Option<&str>, is_message: bool) {
        let header = self.octets(part.header_offset, part.offset);
        let line_end = if header.is_empty() || header.ends_with(b"\r\n") { "\r\n" } else { "\n" };
        let is_blank = |line: &[u8]| line == b"\r\n" || line == b"\n";
        let blank = header.split_inclusive(|octet| *octet == b'\n').next_back().filter(|line| is_blank(line));
        let fields_end = header.len() - blank.map_or(0, <[u8]>::len);
        let (mut kept, mut said, mut versioned) = (0, false, false);
        let out = &mut self.out;
        fields::split(
            header,
            0,
            |_| false,
            |span| {
                let name = header.get(span.name.clone()).unwrap_or_default();
                versioned |= name.eq_ignore_ascii_case(b"MIME-Version");
                if name.eq_ignore_ascii_case(FIELD.as_bytes()) {
                    out.extend_from_slice(header.get(kept..span.whole.start).unwrap_or_default());
                    kept = span.whole.end;
                    said = true;
                }
            },
        );
        out.extend_from_slice(header.get(kept..fields_end).unwrap_or_default());
        if is_message && !versioned {
            // RFC 2045 §4: without it the encoding would say nothing.
            out.extend_from_slice(format!("MIME-Version: 1.0{line_end}").as_bytes());
        }
        if let Some(encoding) = encoding.or(said.then_some("7bit")) {
            out.extend_from_slice(format!("{FIELD}: {encoding}{line_end}").as_bytes());
        }
        out.extend_from_slice(line_end.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &str) -> String {
        String::from_utf8(convert(raw.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn text_becomes_quoted_printable_and_everything_else_base64() {
        assert_eq!(
            text("Subject: x\r\nContent-Transfer-Encoding: 8bit\r\nTo: a@b\r\n\r\nGr\u{fc}n \r\n"),
            "Subject: x\r\nTo: a@b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             Gr=C3=BCn=20\r\n"
        );
        assert_eq!(
            text("MIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n\u{fc}"),
            "MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=\r\n"
        );
        assert_eq!(
            text("A: b\n\nabcdef\u{fc}"),
            "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nabcdef=C3=BC"
        );
    }

    #[test]
    fn only_the_parts_that_need_it_are_written_anew() {
        let raw = "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{fc}\r\n\
            --b\r\nX: y\r\n\r\nplain  \r\n--b\r\n\r\n\u{fc}\u{fc}\u{fc}\r\n--b\r\nContent-Type: message/rfc822\r\n\
            Content-Transfer-Encoding: binary\r\n\r\nSubject: inner\r\n\r\ninner \u{fc}\r\n--b--\r\n";
        assert_eq!(
            text(raw),
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\n??\r\n\
             --b\r\nX: y\r\n\r\nplain  \r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nw7zDvMO8\r\n--b\r\n\
             Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\n\
             MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ninner =C3=BC\r\n--b--\r\n"
        );
    }

    #[test]
    fn what_may_not_be_changed_is_refused() {
        let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n--b\r\n\r\nsig\r\n--b--\r\n";
        let within = format!("Content-Type: message/rfc822\r\n\r\n{signed}");
        let mut deep = "Subject: x\r\n\r\n\u{fc}".to_owned();
        for _ in 0..60 {
            deep = format!("Content-Type: message/rfc822\r\n\r\n{deep}");
        }
        for (raw, why) in [
            (signed, NoSevenBit::Signed),
            (&within, NoSevenBit::Signed),
            ("Subject: \u{fc}\r\n\r\nx", NoSevenBit::Header),
            ("Content-Type: message/rfc822\r\n\r\nSubject: \u{fc}\r\n\r\nx", NoSevenBit::Header),
            ("Content-Type: message/partial\r\n\r\n\u{fc}", NoSevenBit::Unencodable),
            ("Content-Type: multipart/mixed\r\n\r\n\u{fc}", NoSevenBit::Structure),
            ("Content-Transfer-Encoding: x-mine\r\n\r\n\u{fc}", NoSevenBit::Structure),
            (&deep, NoSevenBit::Structure),
        ] {
            assert_eq!(convert(raw.as_bytes()), Err(why), "{raw}");
        }
        let ascii = signed.replace('\u{fc}', "u") + "\u{fc}";
        assert_eq!(
            convert(ascii.as_bytes()),
            Err(NoSevenBit::Signed),
            "its epilogue is no part, but it is told apart by nobody"
        );
    }

    /// A part with its header, its boundary named by how deep it is.
    fn any_part() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![
            Just("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"),
            Just("Content-Type: text/html; charset=utf-8\r\n\r\n"),
            Just("Content-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n"),
            Just("Content-Transfer-Encoding: base64\r\nSubject: x\r\n\r\n"),
            Just("Content-Transfer-Encoding: quoted-printable\r\n\r\n"),
            Just("\r\n"),
        ];
        let line =
            prop::collection::vec(prop_oneof![Just(b'-'), Just(b'='), Just(b' '), Just(b'.'), 1u8..], 0..90);
        let leaf = (kind, prop::collection::vec(line, 0..4))
            .prop_map(|(kind, lines)| [kind.as_bytes(), &lines.join(&b"\r\n"[..])].concat());
        leaf.prop_recursive(3, 12, 3, |part| {
            let several =
                (prop::collection::vec(part.clone(), 1..4), 0u32..1000).prop_map(|(parts, number)| {
                    let mut out =
                        format!("Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n").into_bytes();
                    for part in parts {
                        out.extend_from_slice(format!("--b{number}\r\n").as_bytes());
                        out.extend_from_slice(&part);
                        out.extend_from_slice(b"\r\n");
                    }
                    out.extend_from_slice(format!("--b{number}--\r\n").as_bytes());
                    out
                });
            let message = part
                .prop_map(|part| [&b"Content-Type: message/rfc822\r\n\r\nFrom: a@b\r\n"[..], &part].concat());
            prop_oneof![several, message]
        })
    }

    /// Every leaf of a message and of those in it: its type and what it decodes to.
    fn leaves(raw: &[u8], out: &mut Vec<(String, Vec<u8>)>) {
        let message = parse::parse(raw);
        for part in message.parts.iter().filter(|part| part.children.is_empty()) {
            let content = body::decode(part, raw);
            match part.media_type.as_str() {
                "message/rfc822" => leaves(&content, out),
                kind => out.push((kind.to_owned(), content)),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_in_seven_bits_reads_as_before(part in any_part()) {
            let raw = [&b"From: a@b\r\nMIME-Version: 1.0\r\n"[..], &part].concat();
            let (mut before, mut after) = (Vec::new(), Vec::new());
            match convert(&raw) {
                Ok(written) => {
                    prop_assert!(written.is_ascii());
                    leaves(&raw, &mut before);
                    leaves(&written, &mut after);
                    prop_assert_eq!(before, after);
                    prop_assert_eq!(convert(&written), Ok(written), "what needs nothing stays as it is");
                }
                // A line of the body that reads as a header field, and has octets that no header may have.
                Err(why) => prop_assert!(matches!(why, NoSevenBit::Header | NoSevenBit::Structure), "{:?}", why),
            }
        }
    }
}
