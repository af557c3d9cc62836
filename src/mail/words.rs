//! Encoded words (RFC 2047) and unfolding: raw header octets to text.
//!
//! An encoded word counts only where it stands alone between white space (§5, §6.1), as RFC 8621
//! §4.1.2.2 demands. Words of one charset that follow each other are put together before the
//! charset is decoded, since many senders cut characters in half. Words that are longer than §2
//! allows are decoded all the same.

use super::{charset, transfer};
use crate::types::TransferEncoding;
use icu_normalizer::ComposingNormalizerBorrowed;

/// The text, cut between characters where it is longer than `max` octets.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// A header value as text without line ends: NUL dropped, octets that aren't UTF-8 replaced,
/// unfolded (RFC 5322 §2.2.3). A line end that folds nothing becomes a space.
pub fn unfold(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\0' => {}
            '\r' | '\n' => {
                if c == '\r' && chars.peek() == Some(&'\n') {
                    chars.next();
                }
                if !matches!(chars.peek(), Some(' ' | '\t') | None) {
                    out.push(' ');
                }
            }
            _ => out.push(c),
        }
    }
    out
}

/// The Text form (RFC 8621 §4.1.2.2) of unfolded text.
pub fn text_form(unfolded: &str) -> String {
    nfc(&decode_words(unfolded.trim_start_matches(' ')))
}

/// Normalization Form C.
pub fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Decodes the encoded words of unstructured text; everything else stays as it is.
pub fn decode_words(text: &str) -> String {
    if !text.contains("=?") {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut run: Option<Run<'_>> = None;
    let mut gap = "";
    for piece in pieces(text) {
        if piece.starts_with([' ', '\t']) {
            gap = piece;
            continue;
        }
        let word = Word::parse(piece);
        // White space between two encoded words isn't shown (RFC 2047 §6.2).
        if word.is_none() || run.is_none() {
            Run::flush(run.take(), &mut out);
            out.push_str(gap);
        }
        gap = "";
        match word {
            Some(word) => run = Some(Run::add(run.take(), word, &mut out)),
            None => out.push_str(piece),
        }
    }
    Run::flush(run.take(), &mut out);
    out.push_str(gap);
    out
}

/// True where the text holds an encoded word that decoding would change.
pub fn has_encoded_word(text: &str) -> bool {
    pieces(text).any(|piece| Word::parse(piece).is_some())
}

/// Text cut into runs of white space and runs of everything else.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let white = |c: char| c == ' ' || c == '\t';
        let first = rest.chars().next()?;
        let end = rest.find(|c| white(c) != white(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// `=?charset?encoding?text?=`, its text decoded to octets.
struct Word<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Word<'a> {
    fn parse(piece: &'a str) -> Option<Self> {
        let inner = piece.strip_prefix("=?")?.strip_suffix("?=")?;
        let mut fields = inner.splitn(3, '?');
        let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
        // RFC 2231 §5: a language may follow the charset.
        let charset = charset.split('*').next()?;
        if charset.is_empty() || text.contains('?') || !text.is_ascii() {
            return None;
        }
        let bytes = match encoding {
            "B" | "b" => transfer::decode(TransferEncoding::Base64, text.as_bytes()),
            "Q" | "q" => decode_q(text),
            _ => return None,
        };
        charset::decode_known(charset, b"")?;
        Some(Self { charset, bytes })
    }
}

/// The "Q" encoding (RFC 2047 §4.2).
fn decode_q(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |place: usize| bytes.get(place).and_then(transfer::hex_value);
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'=', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'_', ..) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    out
}

/// Encoded words of one charset that follow each other.
struct Run<'a> {
    charset: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Run<'a> {
    fn add(run: Option<Self>, word: Word<'a>, out: &mut String) -> Self {
        match run {
            Some(mut run) if run.charset.eq_ignore_ascii_case(word.charset) => {
                run.bytes.extend_from_slice(&word.bytes);
                run
            }
            run => {
                Self::flush(run, out);
                Self { charset: word.charset, bytes: word.bytes }
            }
        }
    }

    fn flush(run: Option<Self>, out: &mut String) {
        if let Some(run) = run
            && let Some(decoded) = charset::decode_known(run.charset, &run.bytes)
        {
            out.extend(decoded.text.chars().filter(|c| !c.is_control()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded_where_rfc_2047_allows_them_and_nowhere_else() {
        let cases: &[(&[u8], &str)] = &[
            (b" Hello", "Hello"),
            (b"   Hello  world ", "Hello  world "),
            (b"\tHello", "\tHello"),
            (b" a\r\n b\n\tc", "a b\tc"),
            (b" =?UTF-8?Q?John_Sm=C3=AEth?=", "John Smîth"),
            (b" =?utf-8?b?w6Q=?= =?utf-8?b?w7Y=?= x", "äö x"),
            (b" =?utf-8?q?a=C3?=\r\n =?utf-8?q?=A4b?=", "aäb"),
            (b" =?utf-8?b?w?= =?UTF-8?q?x?=", "x"),
            (b" =?iso-8859-1?q?=E4?= =?utf-8?q?=C3=B6?= c", "äö c"),
            (b" a=?utf-8?q?x?=", "a=?utf-8?q?x?="),
            (b" =?utf-8?q?x?=b", "=?utf-8?q?x?=b"),
            (b" =?utf-8?q?x?==?utf-8?q?y?=", "=?utf-8?q?x?==?utf-8?q?y?="),
            (b" =?utf-8?q?x y?=", "=?utf-8?q?x y?="),
            (b" =?nobody?q?x?= =?utf-8?q?y?=", "=?nobody?q?x?= y"),
            (b" =?utf-8?x?x?=", "=?utf-8?x?x?="),
            (b" =?utf-8*en?q?x?=", "x"),
            (b" =?utf-8?q?a=00=0D=0A=09b?=", "ab"),
            (b" =?utf-8?q?=FF?=", "\u{fffd}"),
            (b" a\0b", "ab"),
            ("  für".as_bytes(), "für"),
            (b" f\xfcr", "f\u{fffd}r"),
            ("e\u{301}".as_bytes(), "é"),
            (b" =?utf-8?q?e=CC=81?=", "é"),
            (b"=?utf-8?q??=", ""),
            (b"=??q?x?=", "=??q?x?="),
            (b"=?utf-8?q?x?= ", "x "),
            (b"", ""),
        ];
        for (raw, expected) in cases {
            assert_eq!(text_form(&unfold(raw)), *expected, "{}", raw.escape_ascii());
        }
    }
}
