//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463): ours to clients, and
//! the relay's to us.
//!
//! Invariants: a reply of ours is one or more lines of printable ASCII, none longer than
//! `SMTP_REPLY_TEXT_BYTES_MAX`, whatever text it was made from; each line carries the same code. A reply of the relay is read whatever its
//! charset, and nothing longer than `RELAY_REPLY_BYTES_MAX` is kept of it.

use crate::types::limits::{RELAY_REPLY_BYTES_MAX, SMTP_REPLY_TEXT_BYTES_MAX};

/// One reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// Class, subject and detail, such as `5.1.1`; empty for the greeting and for EHLO, which
    /// carry none (RFC 2034 §4).
    pub enhanced: &'static str,
    /// The text of each line.
    pub lines: Vec<String>,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<String>) -> Self {
        Self { code, enhanced, lines: vec![text.into()] }
    }

    /// A reply without an enhanced code, one line for each text.
    pub fn lines(code: u16, lines: Vec<String>) -> Self {
        Self { code, enhanced: "", lines }
    }

    /// Appends the octets that go over the wire.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (number, line) in self.lines.iter().enumerate() {
            let separator = if number == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{}{separator}", self.code).as_bytes());
            if !self.enhanced.is_empty() {
                out.extend_from_slice(self.enhanced.as_bytes());
                out.push(b' ');
            }
            out.extend(printable(line));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A reply of the relay, or what we say in its place (then the text says so).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayReply {
    pub code: u16,
    /// Such as `5.1.1` (RFC 2034), where the reply begins with one.
    pub enhanced: Option<String>,
    /// The lines without the codes, joined by LF.
    pub text: String,
}

impl RelayReply {
    /// The `smtpReply` of RFC 8621 §7: the lines as one.
    pub fn smtp_reply(&self) -> String {
        let mut out = self.code.to_string();
        for word in self.enhanced.iter().map(String::as_str).chain(self.text.split('\n')) {
            if !word.is_empty() {
                out.push(' ');
                out += word;
            }
        }
        out
    }
}

/// Reads replies from octets (RFC 5321 §4.2): tolerant of a missing text and of any charset.
#[derive(Debug, Default)]
pub struct ReplyReader {
    input: Vec<u8>,
    lines: Vec<String>,
    size_bytes: usize,
}

impl ReplyReader {
    /// True where octets came that no command asked for.
    pub fn holds_octets(&self) -> bool {
        !self.input.is_empty()
    }

    /// Takes octets and gives a reply when one is whole; `Err` when this is no SMTP. Lines of the
    /// text are joined by LF, so that the lines of EHLO can be told apart.
    pub fn receive(&mut self, octets: &[u8]) -> Result<Option<RelayReply>, String> {
        self.input.extend_from_slice(octets);
        self.size_bytes += octets.len();
        if self.size_bytes > RELAY_REPLY_BYTES_MAX {
            return Err("the relay's reply is too long".to_owned());
        }
        while let Some(end) = memchr::memchr(b'\n', &self.input) {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (code, last, text) = reply_line(line)?;
            self.lines.push(text);
            if last {
                self.size_bytes = self.input.len();
                return Ok(Some(reply_of(code, std::mem::take(&mut self.lines))));
            }
        }
        Ok(None)
    }
}

/// The text with everything but printable ASCII as `?`: a reason that somebody else wrote must
/// not end the line, and a client without SMTPUTF8 must not get UTF-8.
fn printable(text: &str) -> impl Iterator<Item = u8> {
    text.chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c as u8 } else { b'?' })
        .take(SMTP_REPLY_TEXT_BYTES_MAX)
}

fn reply_line(line: &[u8]) -> Result<(u16, bool, String), String> {
    let nonsense =
        || format!("the relay answered {:?}", String::from_utf8_lossy(line.get(..80).unwrap_or(line)));
    let (code, rest) = line.split_at_checked(3).ok_or_else(nonsense)?;
    let code = std::str::from_utf8(code).ok().and_then(|digits| digits.parse::<u16>().ok());
    let code = code.filter(|code| (200..600).contains(code)).ok_or_else(nonsense)?;
    let (last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return Err(nonsense()),
    };
    Ok((code, last, String::from_utf8_lossy(text).into_owned()))
}

/// The enhanced code may be repeated on each line (RFC 2034 §4); it is taken off all.
fn reply_of(code: u16, lines: Vec<String>) -> RelayReply {
    let first = lines.first().map(String::as_str).unwrap_or_default();
    let word = first.split(' ').next().unwrap_or_default();
    let class = word.split('.').next().unwrap_or_default();
    let is_enhanced = word.split('.').count() == 3
        && word
            .split('.')
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
        && class.parse::<u16>() == Ok(code / 100);
    let enhanced = is_enhanced.then(|| word.to_owned());
    let text: Vec<&str> = lines
        .iter()
        .map(|line| match enhanced.as_deref().and_then(|word| line.strip_prefix(word)) {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest.trim_start(),
            _ => line.as_str(),
        })
        .collect();
    RelayReply { code, enhanced, text: text.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_carries_the_code_and_the_enhanced_code() {
        assert_eq!(written(&Reply::new(250, "2.0.0", "Ok")), "250 2.0.0 Ok\r\n");
        let lines = Reply::lines(250, vec!["mx.example".into(), "PIPELINING".into()]);
        assert_eq!(written(&lines), "250-mx.example\r\n250 PIPELINING\r\n");
    }

    #[test]
    fn no_text_can_break_out_of_its_line() {
        assert_eq!(written(&Reply::new(451, "4.3.0", "a\r\n250 ü\t")), "451 4.3.0 a??250 ??\r\n");
        let long = written(&Reply::new(451, "4.3.0", "x".repeat(10_000)));
        assert!(long.len() <= 512);
    }

    #[test]
    fn replies_are_read_in_any_pieces_and_nonsense_is_told() {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for octet in b"250-a\r\n250 \xfc\r\n554\n" {
            replies.extend(reader.receive(&[*octet]).expect("a reply"));
        }
        let texts: Vec<String> = replies.iter().map(RelayReply::smtp_reply).collect();
        assert_eq!(texts, ["250 a \u{fffd}", "554"]);
        for nonsense in [&b"hello\r\n"[..], b"\r\n", b"25\r\n", b"999 x\r\n", b"2500\r\n"] {
            assert!(ReplyReader::default().receive(nonsense).is_err());
        }
        assert!(ReplyReader::default().receive(&vec![b'2'; RELAY_REPLY_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_reply_makes_the_reader_panic(octets: Vec<u8>) {
            let _ = ReplyReader::default().receive(&octets);
        }
    }
}
