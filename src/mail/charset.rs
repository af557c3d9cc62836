//! Charsets to Unicode, as the WHATWG table names them, which is how mail really uses the names:
//! `iso-8859-1` is read as windows-1252, `ks_c_5601-1987` as what Korean senders mean by it. The
//! few that the web dropped (UTF-7, IBM850) come from mail-parser's decoders.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, WINDOWS_1252};
use std::panic::catch_unwind;

/// Text, and whether something in it couldn't be read as the charset says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    pub text: String,
    pub problem: bool,
}

/// Decodes `bytes`; `None` where the charset isn't known.
pub fn decode_known(charset: &str, bytes: &[u8]) -> Option<Decoded> {
    let label = charset.trim();
    if label.eq_ignore_ascii_case("utf-16") {
        // RFC 2781 §4.3: the byte order mark, else big-endian.
        let (text, _, problem) = UTF_16BE.decode(bytes);
        return Some(Decoded { text: text.into_owned(), problem });
    }
    if let Some(encoding) = Encoding::for_label_no_replacement(label.as_bytes()) {
        let (text, problem) = encoding.decode_with_bom_removal(bytes);
        return Some(Decoded { text: text.into_owned(), problem });
    }
    let old = ["utf-7", "ibm850", "cp850"].iter().any(|old| label.eq_ignore_ascii_case(old));
    let decoder = mail_parser::decoders::charsets::map::charset_decoder(label.as_bytes()).filter(|_| old)?;
    // Not our code and rarely run: a panic in it must not cost the message.
    let text = catch_unwind(|| decoder(bytes)).ok()?;
    let problem = text.contains('\u{fffd}');
    Some(Decoded { text, problem })
}

/// Decodes `bytes` by the charset if it is known, else by what they look like: UTF-8 where they
/// are valid UTF-8, else windows-1252. Never fails.
pub fn decode_or_guess(charset: Option<&str>, bytes: &[u8]) -> Decoded {
    let charset = charset.unwrap_or("us-ascii");
    if ["us-ascii", "ascii"].iter().any(|ascii| charset.trim().eq_ignore_ascii_case(ascii)) {
        return Decoded { problem: !bytes.is_ascii(), ..guess(bytes) };
    }
    decode_known(charset, bytes).unwrap_or_else(|| Decoded { problem: true, ..guess(bytes) })
}

fn guess(bytes: &[u8]) -> Decoded {
    let encoding = if std::str::from_utf8(bytes).is_ok() { UTF_8 } else { WINDOWS_1252 };
    let (text, problem) = encoding.decode_with_bom_removal(bytes);
    Decoded { text: text.into_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_are_decoded_or_guessed() {
        let cases: &[(Option<&str>, &[u8], &str, bool)] = &[
            (Some("utf-8"), "ä€".as_bytes(), "ä€", false),
            (Some("UTF8"), b"a\xffb", "a\u{fffd}b", true),
            (Some("iso-8859-1"), b"\xe4\x80", "ä€", false),
            (Some("us-ascii"), b"abc", "abc", false),
            (Some("us-ascii"), "ä".as_bytes(), "ä", true),
            (None, b"\xe4", "ä", true),
            (Some("x-nobody-knows"), "ä".as_bytes(), "ä", true),
            (Some("utf-16"), b"\xfe\xff\0a", "a", false),
            (Some("utf-16"), b"\xff\xfea\0", "a", false),
            (Some("utf-16"), b"\0a", "a", false),
            (Some("utf-7"), b"+AOQ-b", "äb", false),
            (Some("iso-2022-jp"), b"\x1b$B%O%m\x1b(B", "ハロ", false),
            (Some("gb2312"), b"\xc4\xe3", "你", false),
            (Some("utf-8"), b"\xef\xbb\xbfa", "a", false),
        ];
        for (charset, bytes, text, problem) in cases {
            let expected = Decoded { text: (*text).to_owned(), problem: *problem };
            assert_eq!(decode_or_guess(*charset, bytes), expected, "{charset:?} {}", bytes.escape_ascii());
        }
    }
}
