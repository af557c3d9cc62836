//! The parameters of DSN (RFC 3461) that a client may name in an envelope, and what their values may be.
//! JMAP carries them decoded (RFC 8621 §7); the client towards the relay encodes them as xtext.

use crate::types::limits::{DSN_ENVID_CHARS_MAX, DSN_ORCPT_CHARS_MAX};

/// Those of MAIL.
pub const OF_MAIL: [&str; 2] = ["RET", "ENVID"];
/// Those of RCPT.
pub const OF_RCPT: [&str; 2] = ["NOTIFY", "ORCPT"];

/// Whether DSN has a parameter of that name, in any case of letters.
pub fn is_known(name: &str) -> bool {
    OF_MAIL.iter().chain(&OF_RCPT).any(|known| known.eq_ignore_ascii_case(name))
}

/// What is wrong with the value of one of them, its name in capital letters.
pub fn check(name: &str, value: &str) -> Result<(), &'static str> {
    let (fits, why) = match name {
        // RFC 3461 §4.3.
        "RET" => (["FULL", "HDRS"].iter().any(|one| one.eq_ignore_ascii_case(value)), "RET is FULL or HDRS."),
        // RFC 3461 §4.4: printable before it is encoded.
        "ENVID" => {
            let why = "ENVID has printable ASCII, in xtext 100 characters at most.";
            (is_printable(value) && xtext_chars(value) <= DSN_ENVID_CHARS_MAX, why)
        }
        "NOTIFY" => {
            (is_notify(value), "NOTIFY is NEVER, or each of SUCCESS, FAILURE and DELAY at most once.")
        }
        "ORCPT" => (is_original(value), "ORCPT is a type of address, a semicolon and an address in ASCII."),
        _ => (false, "It is no parameter of DSN."),
    };
    if fits { Ok(()) } else { Err(why) }
}

/// RFC 3461 §4.1: NEVER alone, or a list.
fn is_notify(value: &str) -> bool {
    let words: Vec<String> = value.split(',').map(str::to_ascii_uppercase).collect();
    let known = |word: &String| ["SUCCESS", "FAILURE", "DELAY"].contains(&word.as_str());
    let once = |word: &String| words.iter().filter(|other| *other == word).count() == 1;
    words == ["NEVER"] || words.iter().all(|word| known(word) && once(word))
}

/// RFC 3461 §4.2: `rfc822;bob@example.com`, printable before it is encoded.
fn is_original(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    let is_atom =
        !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    is_atom && is_printable(address) && kind.len() + 1 + xtext_chars(address) <= DSN_ORCPT_CHARS_MAX
}

fn is_printable(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ')
}

/// How long a value is as xtext (RFC 3461 §4).
fn xtext_chars(value: &str) -> usize {
    let plain = |octet: u8| octet.is_ascii_graphic() && octet != b'+' && octet != b'=';
    value.bytes().map(|octet| if plain(octet) { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dsn_is_asked_for_is_held_to_its_grammar() {
        let long = |count: usize| "x".repeat(count);
        let address = |count: usize| format!("rfc822;{}", long(count));
        for (name, good) in [
            ("RET", vec!["FULL".to_owned(), "hdrs".into()]),
            ("ENVID", vec!["QQ=31 4+159".into(), long(100)]),
            ("NOTIFY", vec!["NEVER".into(), "success".into(), "DELAY,FAILURE,SUCCESS".into()]),
            ("ORCPT", vec!["rfc822;Bob+x@y.example".into(), "x-type;a b".into(), address(493)]),
        ] {
            for value in good {
                assert_eq!(check(name, &value), Ok(()), "{name}={value}");
            }
        }
        for (name, bad) in [
            ("RET", vec![String::new(), "BODY".into()]),
            ("ENVID", vec![String::new(), "a\r\nDATA".into(), "\u{fc}".into(), long(101), "+".repeat(34)]),
            ("NOTIFY", vec![String::new(), "NEVER,SUCCESS".into(), "DELAY,DELAY".into(), "ALWAYS".into()]),
            ("ORCPT", vec!["a@b".into(), ";a@b".into(), "rfc 822;a".into(), "rfc822;".into(), address(494)]),
            ("SIZE", vec!["5".into()]),
        ] {
            for value in bad {
                assert!(check(name, &value).is_err(), "{name}={value}");
            }
        }
        assert!(is_known("envid") && is_known("NOTIFY") && !is_known("SIZE"));
    }
}
