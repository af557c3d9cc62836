//! Structured MIME fields: a value with parameters (RFC 2045 §5.1), and the parameter extensions
//! of RFC 2231: charsets, languages and continuations. Best effort: what can't be read is left out.

use super::addresses::{Scan, Token};
use super::transfer::hex_value;
use super::{charset, words};

/// A value with its parameters, e.g. of Content-Type.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Structured {
    /// What stands before the first `;`, without comments and white space, as it is spelled.
    pub value: String,
    /// Names in lower case with values that are not yet decoded, in order.
    params: Vec<(String, String)>,
}

impl Structured {
    /// Reads the raw octets of a field value.
    pub fn parse(raw: &[u8]) -> Self {
        let unfolded = words::unfold(raw);
        let mut out = Self::default();
        for (at, piece) in pieces(&unfolded).iter().enumerate() {
            if at == 0 {
                out.value = spelled(piece);
            } else if let Some(param) = parameter(piece) {
                out.params.push(param);
            }
        }
        out
    }

    /// The parameter as it was given, unquoted but not decoded: for boundaries and charsets.
    pub fn plain(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Every parameter that isn't split or encoded (RFC 2231).
    pub fn plain_params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().filter(|(name, _)| !name.contains('*')).map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The decoded parameter: extended and split forms of RFC 2231 first, else the plain one with
    /// its encoded words decoded, which RFC 2047 §5 forbids and much of the world writes.
    pub fn decoded(&self, name: &str) -> Option<String> {
        let text = match self.extended(name) {
            Some(text) => text,
            None => words::decode_words(self.plain(name)?),
        };
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        Some(words::nfc(&clean)).filter(|text| !text.is_empty())
    }

    /// RFC 2231 §3 and §4.
    fn extended(&self, name: &str) -> Option<String> {
        // (section, encoded, value)
        let mut sections: Vec<(u32, bool, &str)> = Vec::new();
        for (given, value) in &self.params {
            let Some(rest) = given.strip_prefix(name).and_then(|rest| rest.strip_prefix('*')) else {
                continue;
            };
            let (number, encoded) = match rest.strip_suffix('*') {
                Some(number) => (number, true),
                None => (rest, rest.is_empty()),
            };
            match if number.is_empty() { Ok(0) } else { number.parse() } {
                Ok(section) => sections.push((section, encoded, value)),
                Err(_) => continue,
            }
        }
        sections.sort_by_key(|(section, ..)| *section);
        sections.dedup_by_key(|(section, ..)| *section);
        let mut charset_name = None;
        let mut bytes = Vec::new();
        for (expected, (section, encoded, value)) in (0..).zip(sections.iter()) {
            // A section that is missing ends the value.
            if *section != expected {
                break;
            }
            let mut text = *value;
            if *encoded && expected == 0 {
                let mut fields = text.splitn(3, '\'');
                if let (Some(name), Some(_), Some(rest)) = (fields.next(), fields.next(), fields.next()) {
                    charset_name = Some(name.to_owned()).filter(|name| !name.is_empty());
                    text = rest;
                }
            }
            if *encoded {
                percent_decode(text, &mut bytes);
            } else {
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        (!bytes.is_empty()).then(|| charset::decode_or_guess(charset_name.as_deref(), &bytes).text)
    }
}

/// Cuts at the `;` outside quotes and comments.
fn pieces(text: &str) -> Vec<Vec<Token<'_>>> {
    let mut out = vec![Vec::new()];
    let mut scan = Scan { text, at: 0 };
    while let Some(token) = scan.token() {
        if token == Token::Special(';') {
            out.push(Vec::new());
        } else if let Some(last) = out.last_mut() {
            last.push(token);
        }
    }
    out
}

/// Tokens without comments and white space.
fn spelled(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    for token in tokens {
        match token {
            Token::Atom(text) | Token::Literal(text) => out.push_str(text),
            Token::Quoted(_, content) => out.push_str(content),
            Token::Special(c) => out.push(*c),
            Token::White | Token::Comment(_) => {}
        }
    }
    out
}

/// `name=value`, the value quoted or not. Unquoted values keep their inner spaces: senders forget
/// the quotes around file names.
fn parameter(tokens: &[Token<'_>]) -> Option<(String, String)> {
    let mut name = String::new();
    let mut tokens = tokens.iter();
    let mut value = String::new();
    loop {
        match tokens.next()? {
            Token::Atom(text) => match text.split_once('=') {
                Some((before, after)) => {
                    name.push_str(before);
                    value.push_str(after);
                    break;
                }
                None => name.push_str(text),
            },
            Token::White | Token::Comment(_) => {}
            _ => return None,
        }
    }
    for token in tokens {
        match token {
            Token::White => {
                if !value.is_empty() {
                    value.push(' ');
                }
            }
            Token::Comment(_) => {}
            Token::Quoted(_, content) => value.push_str(content),
            Token::Atom(text) | Token::Literal(text) => value.push_str(text),
            Token::Special(c) => value.push(*c),
        }
    }
    let value = value.trim_end().to_owned();
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

fn percent_decode(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |place: usize| bytes.get(place).and_then(hex_value);
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_in_every_spelling() {
        let cases: &[(&[u8], &str, Option<&str>)] = &[
            (b" attachment; filename=a.txt", "attachment", Some("a.txt")),
            (b" attachment; filename=\"a \\\"b\\\".txt\"", "attachment", Some("a \"b\".txt")),
            (b"attachment;filename=a b.txt ; x=y", "attachment", Some("a b.txt")),
            (b"attachment (x;y); filename (z) = \"a\"", "attachment", Some("a")),
            (b"a; filename=\"long\r\n name.txt\"", "a", Some("long name.txt")),
            (b"a; filename*=utf-8'en'%C3%A4.txt; filename=ae.txt", "a", Some("ä.txt")),
            (b"a; filename*=iso-8859-1''%E4.txt", "a", Some("ä.txt")),
            (b"a; filename*0=ab; filename*2=ef; filename*1=cd", "a", Some("abcdef")),
            (b"a; filename*0*=utf-8''%C3; filename*1*=%A4; filename*2=%41", "a", Some("ä%41")),
            (b"a; filename*0=ab; filename*2=ef", "a", Some("ab")),
            (b"a; filename*1=ab; filename=x", "a", Some("x")),
            (b"a; filename*=nobody''%FF", "a", Some("ÿ")),
            (b"a; filename=\"=?utf-8?q?=C3=A4?=.txt\"", "a", Some("=?utf-8?q?=C3=A4?=.txt")),
            (b"a; filename=\"=?utf-8?q?=C3=A4.txt?=\"", "a", Some("ä.txt")),
            ("a; filename=\"ä.txt\"".as_bytes(), "a", Some("ä.txt")),
            (b"a; FileName=A", "a", Some("A")),
            (b"a; filename=", "a", None),
            (b"a; filename", "a", None),
            (b"a; filename*99999999999=x", "a", None),
            (b"; filename=b", "", Some("b")),
            (b"Text / Plain", "Text/Plain", None),
            (b"", "", None),
        ];
        for (raw, value, name) in cases {
            let read = Structured::parse(raw);
            let got = (read.value.as_str(), read.decoded("filename"));
            assert_eq!(got, (*value, name.map(str::to_owned)), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn a_boundary_is_taken_as_it_is() {
        let read = Structured::parse(b"multipart/mixed; boundary=\"a'()+_,-./:=? b\"; charset=x");
        assert_eq!(read.plain("boundary"), Some("a'()+_,-./:=? b"));
        let read = Structured::parse(b"multipart/mixed; boundary=----=_Part:1/2=3");
        assert_eq!(read.plain("boundary"), Some("----=_Part:1/2=3"));
    }
}
