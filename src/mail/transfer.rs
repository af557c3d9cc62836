//! Content-Transfer-Encoding (RFC 2045 §6): decoding that takes whatever comes, and the two
//! encoders. Linear in the input; nothing is an error.

use crate::types::TransferEncoding;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The longest encoded line (RFC 2045 §6.7, §6.8), in characters.
const LINE_CHARS: usize = 76;

/// What a Content-Transfer-Encoding value means, and whether it is a known one.
pub fn encoding_named(value: &str) -> (TransferEncoding, bool) {
    match value.to_ascii_lowercase().as_str() {
        "base64" => (TransferEncoding::Base64, true),
        "quoted-printable" => (TransferEncoding::QuotedPrintable, true),
        "" | "7bit" | "8bit" | "binary" => (TransferEncoding::Identity, true),
        _ => (TransferEncoding::Identity, false),
    }
}

/// The content of encoded octets.
pub fn decode(encoding: TransferEncoding, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        TransferEncoding::Identity => out.extend_from_slice(input),
        TransferEncoding::Base64 => {
            out.reserve(input.len() / 4 * 3);
            each_base64(input, |byte| out.push(byte));
        }
        TransferEncoding::QuotedPrintable => {
            out.reserve(input.len());
            each_quoted_printable(input, |byte| out.push(byte));
        }
    }
    out
}

/// How long [`decode`] would be, without keeping it.
pub fn decoded_length(encoding: TransferEncoding, input: &[u8]) -> usize {
    let mut count = 0;
    match encoding {
        TransferEncoding::Identity => count = input.len(),
        TransferEncoding::Base64 => each_base64(input, |_| count += 1),
        TransferEncoding::QuotedPrintable => each_quoted_printable(input, |_| count += 1),
    }
    count
}

/// Octets that aren't of the alphabet are skipped (RFC 2045 §6.8); padding ends a run, and another
/// may follow, since some senders join encoded pieces.
fn each_base64(input: &[u8], mut emit: impl FnMut(u8)) {
    let (mut bits, mut count) = (0u32, 0u8);
    for &byte in input {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            emit((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
}

/// White space at the end of a line was added on the way and goes; an `=` that begins nothing
/// stays as it is (RFC 2045 §6.7 rules 2 and 3).
fn each_quoted_printable(input: &[u8], mut emit: impl FnMut(u8)) {
    let mut at = 0;
    while at < input.len() {
        let end = memchr::memchr(b'\n', &input[at..]).map_or(input.len(), |length| at + length + 1);
        let line = &input[at..end];
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let line_end = if body.len() == line.len() {
            &line[line.len()..]
        } else {
            &line[body.strip_suffix(b"\r").unwrap_or(body).len()..]
        };
        let body = trim_white_end(&line[..line.len() - line_end.len()]);
        let soft = body.last() == Some(&b'=');
        let body = if soft { &body[..body.len() - 1] } else { body };
        each_of_line(body, &mut emit);
        if !soft {
            line_end.iter().for_each(|&byte| emit(byte));
        }
        at = end;
    }
}

fn each_of_line(line: &[u8], emit: &mut impl FnMut(u8)) {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        let pair = (line.get(at + 1).and_then(hex_value), line.get(at + 2).and_then(hex_value));
        match (byte, pair) {
            (b'=', (Some(high), Some(low))) => {
                emit(high << 4 | low);
                at += 3;
            }
            _ => {
                emit(byte);
                at += 1;
            }
        }
    }
}

fn trim_white_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

/// The value of a hexadecimal digit.
pub fn hex_value(digit: &u8) -> Option<u8> {
    (*digit as char).to_digit(16).map(|value| value as u8)
}

/// Base64 in lines.
pub fn encode_base64(input: &[u8], out: &mut Vec<u8>) {
    for chunk in input.chunks(LINE_CHARS / 4 * 3) {
        out.extend_from_slice(STANDARD.encode(chunk).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Quoted-printable of text whose line ends are CR LF; any other CR or LF is encoded.
pub fn encode_quoted_printable(input: &[u8], out: &mut Vec<u8>) {
    let mut width = 0;
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        if input[at..].starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            (width, at) = (0, at + 2);
            continue;
        }
        let at_line_end = at + 1 == input.len() || input[at + 1..].starts_with(b"\r\n");
        // "From " and "." alone at the start of a line are changed by old mail programs.
        let fragile = width == 0 && (byte == b'.' || input[at..].starts_with(b"From "));
        let plain = match byte {
            b' ' | b'\t' => !at_line_end,
            b'=' => false,
            _ => byte.is_ascii_graphic() && !fragile,
        };
        let needed = if plain { 1 } else { 3 };
        // The last column is kept for the `=` of a soft line break.
        if width + needed > LINE_CHARS - 1 {
            out.extend_from_slice(b"=\r\n");
            width = 0;
        }
        if plain {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("={byte:02X}").as_bytes());
        }
        width += needed;
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_encodings_decode_to_what_can_be_saved() {
        let cases: &[(TransferEncoding, &[u8], &[u8])] = &[
            (TransferEncoding::Base64, b"aGVsbG8=", b"hello"),
            (TransferEncoding::Base64, b"aGVs\r\nbG8", b"hello"),
            (TransferEncoding::Base64, b"aGV!sbG8=aGVsbG8=", b"hellohello"),
            (TransferEncoding::Base64, b"====", b""),
            (TransferEncoding::Base64, b"a", b""),
            (TransferEncoding::QuotedPrintable, b"a=C3=A4b  \r\nc=\r\nd", "aäb\r\ncd".as_bytes()),
            (TransferEncoding::QuotedPrintable, b"a=c3=a4= \r\nb", "aäb".as_bytes()),
            (TransferEncoding::QuotedPrintable, b"a=ZZ = b\nc=", b"a=ZZ = b\nc"),
            (TransferEncoding::QuotedPrintable, b"=\n=4", b"=4"),
            (TransferEncoding::Identity, b"a=\r\n", b"a=\r\n"),
        ];
        for (encoding, input, expected) in cases {
            assert_eq!(decode(*encoding, input), *expected, "{}", input.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back_in_short_lines(text in "[ -~\t\u{a0}-\u{ff}.=F\r]{0,200}(\r\n[ -~]{0,99}){0,3}") {
            for quoted in [true, false] {
                let mut out = Vec::new();
                let encoding = if quoted {
                    encode_quoted_printable(text.as_bytes(), &mut out);
                    TransferEncoding::QuotedPrintable
                } else {
                    encode_base64(text.as_bytes(), &mut out);
                    TransferEncoding::Base64
                };
                prop_assert_eq!(decode(encoding, &out), text.as_bytes());
                prop_assert_eq!(decoded_length(encoding, &out), text.len());
                prop_assert!(out.is_ascii() && out.split(|&b| b == b'\n').all(|line| line.len() <= 77));
            }
        }
    }
}
