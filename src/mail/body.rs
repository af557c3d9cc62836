//! The body of a message (RFC 8621 §4.1.4): which parts are its text, its HTML and its
//! attachments; the content of a part; the preview; the text that search reads. Functions of the
//! stored form and the raw octets that it was made from; an offset that doesn't fit them reads as
//! nothing.

use super::charset::{self, Decoded};
use super::{html, transfer};
use crate::store::rows::message::{MessageRow, PartRow};
use crate::types::limits::{INDEXED_TEXT_BYTES_MAX, PREVIEW_CHARS_MAX};

/// Encoded octets of a part that the preview reads.
const PREVIEW_SOURCE_BYTES_MAX: usize = 128 * 1024;

/// The flat lists of RFC 8621 §4.1.4: indices into the row's parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BodyLists {
    pub text: Vec<u32>,
    pub html: Vec<u32>,
    pub attachments: Vec<u32>,
}

/// An EmailBodyValue (RFC 8621 §4.1.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyValue {
    pub value: String,
    pub is_encoding_problem: bool,
    pub is_truncated: bool,
}

/// Which parts are shown as text, as HTML, and as attachments.
pub fn lists(row: &MessageRow) -> BodyLists {
    let mut lists = BodyLists::default();
    Decompose { row, lists: &mut lists }.parts(&[0], "mixed", false, true, true);
    lists
}

/// The algorithm suggested in RFC 8621 §4.1.4. `wants_text` and `wants_html` stand for its
/// `textBody` and `htmlBody` not being null; unlike there, a body part that both lists refuse
/// becomes an attachment, as the definition of `attachments` demands.
struct Decompose<'a> {
    row: &'a MessageRow,
    lists: &'a mut BodyLists,
}

impl Decompose<'_> {
    /// Recursion is as deep as the parts nest, which the parser bounds.
    fn parts(
        &mut self,
        parts: &[u32],
        multipart: &str,
        in_alternative: bool,
        mut wants_text: bool,
        mut wants_html: bool,
    ) {
        let row = self.row;
        let (text_length, html_length) = (self.lists.text.len(), self.lists.html.len());
        let (had_text, had_html) = (wants_text, wants_html);
        for (at, &index) in parts.iter().enumerate() {
            let Some(part) = row.parts.get(index as usize) else { continue };
            if let Some(sub) = part.media_type.strip_prefix("multipart/") {
                let alternative = in_alternative || sub == "alternative";
                self.parts(&part.children, sub, alternative, wants_text, wants_html);
                continue;
            }
            if !is_body(part, at, multipart) {
                self.lists.attachments.push(index);
                continue;
            }
            if multipart == "alternative" {
                self.alternative(part, index, wants_text, wants_html);
                continue;
            }
            if in_alternative {
                wants_html &= part.media_type != "text/plain";
                wants_text &= part.media_type != "text/html";
            }
            if wants_text {
                self.lists.text.push(index);
            }
            if wants_html {
                self.lists.html.push(index);
            }
            let refused = !wants_text && !wants_html;
            if refused || ((!wants_text || !wants_html) && is_inline_media(part)) {
                self.lists.attachments.push(index);
            }
        }
        if multipart == "alternative" && had_text && had_html {
            self.complete(text_length, html_length);
        }
    }

    fn alternative(&mut self, part: &PartRow, index: u32, wants_text: bool, wants_html: bool) {
        match part.media_type.as_str() {
            "text/plain" if wants_text => self.lists.text.push(index),
            "text/html" if wants_html => self.lists.html.push(index),
            _ => self.lists.attachments.push(index),
        }
    }

    /// Where an alternative has only one of the two forms, it stands in both lists.
    fn complete(&mut self, text_length: usize, html_length: usize) {
        let lists = &mut *self.lists;
        let (no_text, no_html) = (lists.text.len() == text_length, lists.html.len() == html_length);
        if no_text && !no_html {
            lists.text.extend_from_slice(&lists.html[html_length..]);
        } else if no_html && !no_text {
            lists.html.extend_from_slice(&lists.text[text_length..]);
        }
    }
}

fn is_body(part: &PartRow, at: usize, multipart: &str) -> bool {
    let media = is_inline_media(part);
    part.disposition.as_deref() != Some("attachment")
        && (matches!(part.media_type.as_str(), "text/plain" | "text/html") || media)
        && (at == 0 || (multipart != "related" && (media || part.name.is_none())))
}

fn is_inline_media(part: &PartRow) -> bool {
    ["image/", "audio/", "video/"].iter().any(|kind| part.media_type.starts_with(kind))
}

/// Whether there is something to offer as a download: an attachment that isn't marked inline and
/// isn't an image embedded in a multipart/related by its Content-Id.
pub fn has_attachment(row: &MessageRow) -> bool {
    let embedded = |index: u32, part: &PartRow| {
        part.cid.is_some()
            && part.media_type.starts_with("image/")
            && part.disposition.is_none()
            && row.parts.iter().any(|p| p.media_type == "multipart/related" && p.children.contains(&index))
    };
    lists(row).attachments.iter().any(|&index| {
        row.parts.get(index as usize).is_some_and(|part| {
            part.disposition.as_deref() != Some("inline") && !embedded(index, part)
        })
    })
}

/// The encoded octets of a part. `raw` is what was parsed.
pub fn encoded<'a>(part: &PartRow, raw: &'a [u8]) -> &'a [u8] {
    let start = part.offset as usize;
    raw.get(start..start.saturating_add(part.size as usize)).unwrap_or_default()
}

/// The content of a part: what its blobId names.
pub fn decode(part: &PartRow, raw: &[u8]) -> Vec<u8> {
    transfer::decode(part.encoding, encoded(part, raw))
}

/// The value of a text part; `bytes_max` 0 means all of it (RFC 8621 §4.2 `maxBodyValueBytes`).
pub fn body_value(part: &PartRow, raw: &[u8], bytes_max: usize) -> BodyValue {
    let decoded = text_of(part, encoded(part, raw));
    let mut value = decoded.text;
    let is_truncated = bytes_max > 0 && value.len() > bytes_max;
    if is_truncated {
        let end = value.floor_char_boundary(bytes_max);
        let tag = if part.media_type == "text/html" { html::tag_around(&value, end) } else { None };
        value.truncate(tag.unwrap_or(end));
    }
    BodyValue { value, is_encoding_problem: decoded.problem || !part.encoding_known, is_truncated }
}

/// Decoded text with LF line ends.
fn text_of(part: &PartRow, encoded: &[u8]) -> Decoded {
    let mut decoded =
        charset::decode_or_guess(part.charset.as_deref(), &transfer::decode(part.encoding, encoded));
    if decoded.text.contains("\r\n") {
        decoded.text = decoded.text.replace("\r\n", "\n");
    }
    decoded
}

/// As [`text_of`], for HTML without its markup, and reading no more than it must.
fn plain_text(part: &PartRow, raw: &[u8], source_max: usize, bytes_max: usize) -> String {
    let encoded = encoded(part, raw);
    let decoded = text_of(part, encoded.get(..source_max).unwrap_or(encoded));
    let mut text = decoded.text;
    if part.media_type == "text/html" {
        text = html::to_text(&text, bytes_max);
    }
    html::cut(&mut text, bytes_max);
    text
}

/// The preview: the first text of the body without quoted lines, white space collapsed.
pub fn preview(row: &MessageRow, raw: &[u8]) -> String {
    let lists = lists(row);
    let mut best = String::new();
    for &index in lists.text.iter().chain(&lists.html) {
        let Some(part) = row.parts.get(index as usize).filter(|p| p.media_type.starts_with("text/")) else {
            continue;
        };
        let text = plain_text(part, raw, PREVIEW_SOURCE_BYTES_MAX, PREVIEW_SOURCE_BYTES_MAX);
        let own = collapse(text.lines().filter(|line| !line.starts_with('>')));
        if !own.is_empty() {
            return own;
        }
        if best.is_empty() {
            best = collapse(text.lines().map(|line| line.trim_start_matches(['>', ' '])));
        }
    }
    best
}

fn collapse<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    let mut count = 0;
    for word in lines.flat_map(str::split_whitespace) {
        if count > 0 {
            out.push(' ');
            count += 1;
        }
        for c in word.chars().filter(|c| !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}')) {
            if count >= PREVIEW_CHARS_MAX {
                return out.trim_end().to_owned();
            }
            out.push(c);
            count += 1;
        }
        if count >= PREVIEW_CHARS_MAX {
            break;
        }
    }
    out.trim().to_owned()
}

/// The text of all text/* parts, body parts first, for full-text search: at most
/// `INDEXED_TEXT_BYTES_MAX` octets.
pub fn indexed_text(row: &MessageRow, raw: &[u8]) -> String {
    let lists = lists(row);
    let mut order: Vec<u32> = lists.text.iter().chain(&lists.html).chain(&lists.attachments).copied().collect();
    let mut seen = vec![false; row.parts.len()];
    order.retain(|&index| seen.get_mut(index as usize).is_some_and(|seen| !std::mem::replace(seen, true)));
    let mut out = String::new();
    for index in order {
        let left = INDEXED_TEXT_BYTES_MAX.saturating_sub(out.len() + 1);
        let Some(part) = row.parts.get(index as usize).filter(|p| p.media_type.starts_with("text/")) else {
            continue;
        };
        if left == 0 {
            break;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        // Text is at most three times as long encoded; markup may be much more than its text.
        let text = plain_text(part, raw, 8 * INDEXED_TEXT_BYTES_MAX, left);
        out.push_str(&text);
    }
    out
}
