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
        row.parts
            .get(index as usize)
            .is_some_and(|part| part.disposition.as_deref() != Some("inline") && !embedded(index, part))
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
fn plain_text(
    part: &PartRow,
    raw: &[u8],
    source_max: usize,
    bytes_max: usize,
    of_html: fn(&str, usize) -> String,
) -> String {
    let encoded = encoded(part, raw);
    let decoded = text_of(part, encoded.get(..source_max).unwrap_or(encoded));
    let mut text = decoded.text;
    if part.media_type == "text/html" {
        text = of_html(&text, bytes_max);
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
        let text = plain_text(part, raw, PREVIEW_SOURCE_BYTES_MAX, PREVIEW_SOURCE_BYTES_MAX, html::to_text);
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
        for c in
            word.chars().filter(|c| !c.is_control() && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}'))
        {
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

/// The text of the body, HTML without its markup: at most `bytes_max` octets.
pub fn text(row: &MessageRow, raw: &[u8], bytes_max: usize) -> String {
    let parts = lists(row).text.into_iter().filter_map(|index| row.parts.get(index as usize));
    let texts = parts.filter(|part| part.media_type.starts_with("text/"));
    let mut out = texts.fold(String::new(), |mut out, part| {
        let left = bytes_max.saturating_sub(out.len());
        out.push_str(&plain_text(part, raw, encoded(part, raw).len(), left, html::to_text));
        out
    });
    html::cut(&mut out, bytes_max);
    out
}

/// The text of all text/* parts, body parts first, for full-text search: at most
/// `INDEXED_TEXT_BYTES_MAX` octets.
pub fn indexed_text(row: &MessageRow, raw: &[u8]) -> String {
    let lists = lists(row);
    let mut order: Vec<u32> =
        lists.text.iter().chain(&lists.html).chain(&lists.attachments).copied().collect();
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
        let text = plain_text(part, raw, 8 * INDEXED_TEXT_BYTES_MAX, left, html::to_searchable_text);
        out.push_str(&text);
    }
    out
}

/// What a message says in its parts: media types, names, order and nesting, and decoded content. The same
/// said again has the same digest, whatever boundaries, Content-Ids and transfer encodings it is written with.
pub fn digest(row: &MessageRow, raw: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut add = |piece: &[u8]| {
        hasher.update(blake3::hash(piece).as_bytes());
    };
    for part in &row.parts {
        add(part.media_type.as_bytes());
        add(part.name.as_deref().unwrap_or_default().as_bytes());
        add(part.children.len().to_string().as_bytes());
        if part.children.is_empty() {
            add(&decode(part, raw));
        }
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    /// A message from a tree: `(multipart/…; label child child)` nests, anything else is a leaf
    /// whose fields stand on one line, parted by `|`.
    fn leaf(fields: &str, text: &str) -> String {
        format!("Content-Type: {}\r\n\r\n{text}", fields.replace('|', "\r\n"))
    }

    fn multipart(kind: &str, boundary: &str, children: &[String]) -> String {
        let mut out = format!("Content-Type: multipart/{kind}; boundary={boundary}\r\n\r\n");
        for child in children {
            out.push_str(&format!("--{boundary}\r\n{child}\r\n"));
        }
        out + &format!("--{boundary}--")
    }

    /// The lists as the texts of their parts.
    fn named(raw: &str) -> [String; 3] {
        let row = parse(raw.as_bytes());
        let found = lists(&row);
        [found.text, found.html, found.attachments].map(|list| {
            let texts = list.iter().map(|at| decode(&row.parts[*at as usize], raw.as_bytes()));
            texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn the_example_of_rfc_8621_is_taken_apart_as_it_says() {
        let inline = |text: &str| leaf("text/plain|Content-Disposition: inline", text);
        let mixed = [inline("B"), leaf("image/jpeg|Content-Disposition: inline", "C"), inline("D")];
        let related = [leaf("text/html", "E"), leaf("image/jpeg", "F")];
        let alternative = [multipart("mixed", "m3", &mixed), multipart("related", "r", &related)];
        let second = [
            multipart("alternative", "a", &alternative),
            leaf("image/jpeg|Content-Disposition: attachment", "G"),
            leaf("application/x-excel", "H"),
            leaf("message/rfc822", "J"),
        ];
        let raw = multipart("mixed", "m1", &[inline("A"), multipart("mixed", "m2", &second), inline("K")]);
        assert_eq!(named(&raw), ["A B C D K", "A E K", "C F G H J"]);
        assert!(has_attachment(&parse(raw.as_bytes())));
    }

    #[test]
    fn bodies_are_taken_apart_for_every_common_shape() {
        let (plain, html) = (|t: &str| leaf("text/plain", t), |t: &str| leaf("text/html", t));
        let image = || leaf("image/png|Content-Id: <i@x>", "I");
        let named_text = || leaf("text/plain; name=n.txt", "N");
        let cases = [
            (plain("P"), ["P", "P", ""]),
            (html("H"), ["H", "H", ""]),
            (multipart("alternative", "a", &[plain("P"), html("H")]), ["P", "H", ""]),
            (multipart("alternative", "a", &[html("H")]), ["H", "H", ""]),
            (multipart("alternative", "a", &[plain("P")]), ["P", "P", ""]),
            (
                multipart("alternative", "a", &[plain("P"), html("H"), leaf("text/calendar", "C")]),
                ["P", "H", "C"],
            ),
            (multipart("related", "r", &[html("H"), image()]), ["H", "H", "I"]),
            (multipart("mixed", "m", &[plain("P"), image(), plain("Q")]), ["P I Q", "P I Q", ""]),
            (multipart("mixed", "m", &[named_text(), named_text()]), ["N", "N", "N"]),
            (multipart("mixed", "m", &[leaf("application/pdf", "A")]), ["", "", "A"]),
            (
                multipart(
                    "alternative",
                    "a",
                    &[plain("P"), multipart("related", "r", &[html("H"), image()])],
                ),
                ["P", "H", "I"],
            ),
            (
                multipart("alternative", "a", &[multipart("mixed", "m", &[plain("P"), html("H")])]),
                ["P", "P", "H"],
            ),
            (leaf("application/pdf", "A"), ["", "", "A"]),
        ];
        for (raw, expected) in cases {
            assert_eq!(named(&raw), expected, "{raw}");
        }
    }

    #[test]
    fn an_embedded_or_inline_image_is_no_attachment_to_offer() {
        let html = || leaf("text/html", "H");
        for (fields, expected) in [
            ("image/png|Content-Id: <i@x>", false),
            ("image/png", true),
            ("image/png|Content-Disposition: inline", false),
            ("image/png|Content-Id: <i@x>|Content-Disposition: attachment", true),
            ("application/pdf|Content-Id: <i@x>", true),
        ] {
            let raw = multipart("related", "r", &[html(), leaf(fields, "I")]);
            assert_eq!(has_attachment(&parse(raw.as_bytes())), expected, "{fields}");
        }
    }

    #[test]
    fn a_body_value_is_decoded_and_cut_where_rfc_8621_allows() {
        type Case = (&'static str, &'static [u8], usize, &'static str, bool, bool);
        let cases: &[Case] = &[
            ("text/plain; charset=utf-8", "a\r\nä\n\rb".as_bytes(), 0, "a\nä\n\rb", false, false),
            ("text/plain; charset=utf-8", "aäb".as_bytes(), 2, "a", false, true),
            ("text/plain; charset=utf-8", "aäb".as_bytes(), 4, "aäb", false, false),
            ("text/plain; charset=utf-8", b"a\xff", 0, "a\u{fffd}", true, false),
            ("text/plain; charset=nobody", b"a\xe4", 0, "aä", true, false),
            ("text/plain", b"plain", 3, "pla", false, true),
            ("text/html", b"<p>x <a href=\"a>b\">y</a>", 15, "<p>x ", false, true),
            ("text/html", b"<p>x <a href=\"a>b\">y</a>", 20, "<p>x <a href=\"a>b\">y", false, true),
            ("text/html", b"1 < 2 and more", 5, "1 < 2", false, true),
            ("text/plain; charset=utf-8|Content-Transfer-Encoding: base64", b"w6Q=", 0, "ä", false, false),
            ("text/plain; charset=utf-8|Content-Transfer-Encoding: nobody", b"x", 0, "x", true, false),
        ];
        for (fields, content, max, value, problem, truncated) in cases {
            let mut raw = leaf(fields, "").into_bytes();
            raw.extend_from_slice(content);
            let expected = BodyValue {
                value: (*value).to_owned(),
                is_encoding_problem: *problem,
                is_truncated: *truncated,
            };
            assert_eq!(body_value(&parse(&raw).parts[0], &raw, *max), expected, "{fields} {max}");
        }
    }

    #[test]
    fn the_preview_is_short_plain_and_not_the_quote() {
        let long = "word ".repeat(200);
        let cases = [
            (leaf("text/plain", "Hello\r\n\r\n  you\t there\r\n> quoted\r\n"), "Hello you there".to_owned()),
            (leaf("text/plain", "> only\r\n> quoted\r\n"), "only quoted".to_owned()),
            (leaf("text/html", "<style>x</style><p>Hi &amp; <b>bye</b></p>"), "Hi & bye".to_owned()),
            (leaf("application/pdf", "x"), String::new()),
            (leaf("text/plain", &long), long.trim_end()[..254].to_owned()),
        ];
        for (raw, expected) in cases {
            let found = preview(&parse(raw.as_bytes()), raw.as_bytes());
            assert!(found.chars().count() <= PREVIEW_CHARS_MAX);
            assert!(found == expected || (expected.len() == 254 && found.starts_with(&expected)), "{found}");
        }
    }

    #[test]
    fn search_reads_every_text_part_once() {
        let parts = [
            multipart("alternative", "a", &[leaf("text/plain", "P"), leaf("text/html", "<b>H</b>")]),
            leaf("text/csv|Content-Disposition: attachment", "C"),
            leaf("application/pdf", "A"),
        ];
        let raw = multipart("mixed", "m", &parts);
        assert_eq!(indexed_text(&parse(raw.as_bytes()), raw.as_bytes()), "P\nH\nC");
        let big = leaf("text/plain", &"ä".repeat(INDEXED_TEXT_BYTES_MAX));
        assert!(indexed_text(&parse(big.as_bytes()), big.as_bytes()).len() <= INDEXED_TEXT_BYTES_MAX);
    }
}
