//! The form mbox: messages one after another, each behind a line `From SENDER DATE` and before an empty line
//! (RFC 4155, quoted as in mboxrd).
//!
//! What is written here is read again octet for octet, but for its line ends, which are those of Unix. Flags
//! stand in the fields `Status` and `X-Status`, as many programs have them: ours before all other fields and
//! always both, so that a message's own ones stay its own. Other keywords have no place there. Lengths that
//! some programs write (`Content-Length`) are not looked at.

use crate::types::limits::{MBOX_SEPARATOR_BYTES_MAX, UPLOAD_SIZE_BYTES_MAX};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::io::{self, BufRead, Read, Write};

/// An mbox that is read from its beginning.
pub struct Mbox<'r> {
    reader: &'r mut dyn BufRead,
    /// When the next message came, by the line before it, which was read already.
    next: Option<i64>,
}

/// One of its messages.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// Without the mailbox's own fields; cut where it is larger than any message may be.
    pub content: Vec<u8>,
    pub keywords: Vec<String>,
    /// Seconds since 1970.
    pub received_at: i64,
}

impl<'r> Mbox<'r> {
    /// `None` where it doesn't begin as an mbox does; an empty one has no messages.
    pub fn open(reader: &'r mut dyn BufRead) -> io::Result<Option<Self>> {
        let first = read_line(reader)?;
        let next = separator(&first);
        Ok((first.is_empty() || next.is_some()).then_some(Self { reader, next }))
    }

    /// The next message.
    pub fn message(&mut self) -> io::Result<Option<Found>> {
        let Some(received_at) = self.next.take() else { return Ok(None) };
        let (mut content, mut is_behind_empty) = (Vec::new(), false);
        loop {
            let line = read_line(self.reader)?;
            if is_behind_empty {
                self.next = separator(&line);
            }
            if line.is_empty() || self.next.is_some() {
                break;
            }
            is_behind_empty = is_empty(&line);
            // Read on where it is too large, and keep no more than shows that it is.
            if content.len() <= UPLOAD_SIZE_BYTES_MAX {
                content.extend_from_slice(line.get(usize::from(is_quoted(&line))..).unwrap_or_default());
            }
        }
        // The empty line before the next one is no part of the message.
        let message = content.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
        if let Some(message) = message.filter(|rest| rest.is_empty() || rest.ends_with(b"\n")) {
            content.truncate(message.len());
        }
        let (content, keywords) = take_status(content);
        Ok(Some(Found { content, keywords, received_at }))
    }
}

/// Writes a message behind those that are there.
pub fn write(out: &mut dyn Write, content: &[u8], keywords: &[String], received_at: i64) -> io::Result<()> {
    let at = jiff::Timestamp::from_second(received_at).unwrap_or_default();
    let date = Offset::UTC.to_datetime(at).strftime("%a %b %e %H:%M:%S %Y");
    writeln!(out, "From MAILER-DAEMON {date}")?;
    let has = |keyword: &str| keywords.iter().any(|one| one == keyword);
    let flags = |known: &[(&str, char)]| -> String {
        known.iter().filter(|(keyword, _)| has(keyword)).map(|(_, flag)| *flag).collect()
    };
    writeln!(out, "Status: {}O", flags(&[("$seen", 'R')]))?;
    writeln!(out, "X-Status: {}", flags(&[("$answered", 'A'), ("$flagged", 'F'), ("$draft", 'T')]))?;
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    for line in content.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"From ") || is_quoted(line) {
            out.write_all(b">")?;
        }
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    out.write_all(b"\n")
}

/// A line with its end, cut where it is longer than any message may be; empty at the end of the file.
fn read_line(reader: &mut dyn BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(UPLOAD_SIZE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// `>From `, with any number of `>`.
fn is_quoted(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|octet| **octet == b'>').count();
    quotes > 0 && line.get(quotes..).is_some_and(|rest| rest.starts_with(b"From "))
}

/// The time, in seconds since 1970, on the line before a message: `From sender Thu Nov 26 13:20:11 2026`, or
/// with the date of a header field. `None` where it is no such line, such as one of a letter.
fn separator(line: &[u8]) -> Option<i64> {
    let begin = line.strip_prefix(b"From ").filter(|_| line.len() <= MBOX_SEPARATOR_BYTES_MAX)?;
    let text = String::from_utf8_lossy(begin).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    // What the sender is called may have spaces, too.
    (0..words.len()).find_map(|at| date(words.get(at..)?))
}

/// `Thu Nov 26 13:20:11 2026` or `Thu, 26 Nov 2026 13:20:11`, with or without seconds, with a zone anywhere
/// behind the day; nothing else may follow but the note of where it came from.
fn date(words: &[&str]) -> Option<i64> {
    const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let [weekday, first, second, rest @ ..] = words else { return None };
    WEEKDAYS.contains(&weekday.trim_end_matches(',').to_lowercase().as_str()).then_some(())?;
    let day = |word: &str| word.parse::<i8>().ok();
    let (month, day) = month(first).zip(day(second)).or_else(|| Some((month(second)?, day(first)?)))?;
    let (mut clock, mut year, mut offset) = (None, None, None);
    for word in rest {
        if clock.is_none() && word.contains(':') && !word.starts_with(['+', '-']) {
            clock = Some(time(word)?);
        } else if year.is_none() && word.len() == 4 && word.bytes().all(|octet| octet.is_ascii_digit()) {
            year = word.parse::<i16>().ok();
        } else if let Some(east) = zone(word) {
            offset.get_or_insert(east);
        } else if *word == "remote" && clock.is_some() && year.is_some() {
            break;
        } else {
            return None;
        }
    }
    let (hour, minute, second) = clock?;
    let civil = DateTime::new(year?, month, day, hour, minute, second, 0).ok()?;
    Some(Offset::UTC.to_timestamp(civil).ok()?.as_second() - offset.unwrap_or(0))
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let word = word.to_lowercase();
    (1..).zip(MONTHS).find(|(_, name)| *name == word).map(|(number, _)| number)
}

/// Hour, minute and second; a leap second is the one before it.
fn time(word: &str) -> Option<(i8, i8, i8)> {
    let mut parts = word.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then_some((hour, minute, second.min(59)))
}

/// How far east of UTC a zone is, in seconds: `+0100`, `-05:00`, or letters, of which those that aren't known
/// mean UTC.
fn zone(word: &str) -> Option<i64> {
    let name = word.trim_start_matches('(').trim_end_matches(')');
    if let Some(digits) = name.strip_prefix(['+', '-']) {
        let digits = digits.replace(':', "");
        let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
        let seconds = (number / 100 * 60 + number % 100) * 60;
        return Some(if name.starts_with('-') { -seconds } else { seconds });
    }
    let is_name = (1..=5).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_uppercase());
    let hours = match name {
        "CET" | "MET" | "BST" => 1,
        "CEST" | "MEST" | "EET" => 2,
        "EEST" => 3,
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        _ => 0,
    };
    is_name.then_some(hours * 60 * 60)
}

/// Takes the fields away that tell the flags of a message in an mbox; gives the keywords that they mean. Where
/// they stand as [`write`] has them, only these; where another program wrote them, wherever they are.
fn take_status(content: Vec<u8>) -> (Vec<u8>, Vec<String>) {
    let mut rest = content.as_slice();
    let is_ours = [&b"Status:"[..], b"X-Status:"].iter().all(|name| {
        let line = first_line(rest);
        rest = rest.get(line.len()..).unwrap_or_default();
        line.starts_with(name) && status(line).is_some()
    });
    let (mut kept, mut flags) = (Vec::new(), String::new());
    rest = content.as_slice();
    for number in 0.. {
        let line = first_line(rest);
        if line.is_empty() || is_empty(line) || (is_ours && number == 2) {
            break;
        }
        match status(line) {
            Some(said) => flags += &said,
            None => kept.extend_from_slice(line),
        }
        rest = rest.get(line.len()..).unwrap_or_default();
    }
    kept.extend_from_slice(rest);
    let known = [('R', "$seen"), ('A', "$answered"), ('F', "$flagged"), ('T', "$draft")];
    let keywords = known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| (*word).to_owned());
    (kept, keywords.collect())
}

/// The letters of a `Status` or `X-Status` field; `None` of any other line, and where the value is no letters.
fn status(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let is_status = name.eq_ignore_ascii_case(b"status") || name.eq_ignore_ascii_case(b"x-status");
    let value = std::str::from_utf8(value.get(1..)?).ok().filter(|_| is_status)?.trim();
    value.bytes().all(|octet| octet.is_ascii_uppercase()).then(|| value.to_owned())
}

/// With its end.
fn first_line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).map_or(text.len(), |end| end + 1);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mbox: &str) -> Vec<(String, Vec<String>, i64)> {
        let mut reader = mbox.as_bytes();
        let mut mbox = Mbox::open(&mut reader).unwrap().unwrap();
        let mut all = Vec::new();
        while let Some(Found { content, keywords, received_at }) = mbox.message().unwrap() {
            all.push((String::from_utf8(content).unwrap(), keywords, received_at));
        }
        all
    }

    #[test]
    fn the_line_before_a_message_tells_its_time_and_a_line_of_a_letter_none() {
        // 2020-01-03T04:05:06Z.
        const AT: i64 = 1_578_024_306;
        for (line, at) in [
            ("From a@b.example Fri Jan  3 04:05:06 2020", Some(AT)),
            ("From a@b.example Fri Jan  3 04:05:06 2020\r\n", Some(AT)),
            ("From MAILER-DAEMON Fri Jan 03 04:05:06 2020\n", Some(AT)),
            ("From - Fri Jan 03 04:05:06 2020\n", Some(AT)),
            ("From ann at b.example  Fri Jan  3 04:05:06 2020\n", Some(AT)),
            ("From \"Ann Mon\"@b.example Fri Jan  3 04:05:06 2020\n", Some(AT)),
            ("From a@b Fri Jan  3 04:05 2020\n", Some(AT - 6)),
            ("From a@b Fri Jan  3 4:05:06 2020\n", Some(AT)),
            ("From a@b Fri Jan  3 04:05:06 2020 +0100\n", Some(AT - 3600)),
            ("From a@b Fri Jan  3 04:05:06 -05:30 2020\n", Some(AT + 5 * 3600 + 1800)),
            ("From 1655@xxx Fri Jan 03 04:05:06 +0000 2020\n", Some(AT)),
            ("From a@b Fri Jan  3 04:05:06 EST 2020\n", Some(AT + 5 * 3600)),
            ("From a@b Fri Jan  3 04:05:06 XYZ 2020\n", Some(AT)),
            ("From a@b Fri Jan  3 04:05:06 2020 +0100 (CET)\n", Some(AT - 3600)),
            ("From a@b Fri, 3 Jan 2020 04:05:06 +0100\n", Some(AT - 3600)),
            ("From a!b Fri Jan  3 04:05:06 2020 remote from c\n", Some(AT)),
            ("From a@b Tue Dec 31 23:59:60 2019\n", Some(1_577_836_799)),
            ("From now on we meet on Friday\n", None),
            ("From Fri Jan 3 on we meet at 04:05:06\n", None),
            ("From a@b Fri Jan  3 04:05:06 2020 we meet\n", None),
            ("From a@b Fri Jan 33 04:05:06 2020\n", None),
            ("From a@b Fri Jan  3 24:05:06 2020\n", None),
            ("From a@b Fri Jan  3 2020\n", None),
            ("From a@b Fri Jan  3 04:05:06\n", None),
            ("From a@b 3 Jan 2020\n", None),
            ("From MAILER-DAEMON sometime\n", None),
            ("From \n", None),
            ("From: a@b.example Fri Jan  3 04:05:06 2020\n", None),
            (">From a@b Fri Jan  3 04:05:06 2020\n", None),
            ("", None),
        ] {
            assert_eq!(separator(line.as_bytes()), at, "{line:?}");
        }
    }

    #[test]
    fn a_message_begins_behind_an_empty_line_and_with_a_date_only() {
        const LINE: &str = "From a@b Thu Jan  1 00:01:00 1970";
        let one = |content: &str| (content.to_owned(), Vec::new(), 60);
        for (mbox, expected) in [
            (
                format!("{LINE}\nA: b\n\none\n\n{LINE}\nA: b\n\ntwo\n\n"),
                vec!["A: b\n\none\n", "A: b\n\ntwo\n"],
            ),
            (format!("{LINE}\nA: b\n\none\n\n{LINE}\nA: b\n\ntwo\n"), vec!["A: b\n\none\n", "A: b\n\ntwo\n"]),
            (
                format!("{LINE}\r\nA: b\r\n\r\n1\r\n\r\n{LINE}\r\nC: d\r\n"),
                vec!["A: b\r\n\r\n1\r\n", "C: d\r\n"],
            ),
            (
                format!("{LINE}\nA: b\n\none\n{LINE}\nof it\n\n"),
                vec![&*format!("A: b\n\none\n{LINE}\nof it\n")],
            ),
            (
                format!("{LINE}\nA: b\n\nFrom now on\n\nFrom here\n"),
                vec!["A: b\n\nFrom now on\n\nFrom here\n"],
            ),
            (
                format!("{LINE}\nA: b\n\n>From a\n>>From b\n>Frog\n\n"),
                vec!["A: b\n\nFrom a\n>From b\n>Frog\n"],
            ),
            (format!("{LINE}\nA: b\n\none\n\n\n\n{LINE}\n\n"), vec!["A: b\n\none\n\n\n", ""]),
            (String::new(), vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(one).collect();
            assert_eq!(read(&mbox), expected, "{mbox:?}");
        }
        for text in ["Subject: x\n\nFrom a@b\n", "From now on we meet on Friday\n", "\n"] {
            assert!(Mbox::open(&mut text.as_bytes()).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn flags_are_read_and_what_told_them_is_no_part_of_the_message() {
        for (header, kept, keywords) in [
            ("A: b\nStatus: RO\nX-Status: AF\n", "A: b\n", vec!["$seen", "$answered", "$flagged"]),
            ("Status: O\nA: b\nx-status: T\n", "A: b\n", vec!["$draft"]),
            (
                "Status: RO\nX-Status: \nStatus: RO\nX-Status: F\nA: b\n",
                "Status: RO\nX-Status: F\nA: b\n",
                vec!["$seen"],
            ),
            ("Status: Ready for review\nA: b\n", "Status: Ready for review\nA: b\n", vec![]),
            ("A: b\n", "A: b\n", vec![]),
        ] {
            let (content, told) = take_status(format!("{header}\nStatus: RO\n").into_bytes());
            assert_eq!(String::from_utf8(content).unwrap(), format!("{kept}\nStatus: RO\n"), "{header:?}");
            assert_eq!(told, keywords, "{header:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back_octet_for_octet() {
        let own = "Status: RO\nX-Status: F\nA: b\n\nFrom here\n>From there\n\n";
        let messages = [
            ("A: b\n\ntext\n", &["$seen", "$answered"][..]),
            (own, &["$flagged", "$draft"]),
            ("no header\n", &[]),
            ("\nonly a body\n", &["$seen", "$flagged"]),
        ];
        let mut mbox = Vec::new();
        let mut expected = Vec::new();
        for (content, keywords) in messages {
            let keywords: Vec<String> = keywords.iter().map(|one| (*one).to_owned()).collect();
            write(&mut mbox, content.replace('\n', "\r\n").as_bytes(), &keywords, 60).unwrap();
            expected.push((content.to_owned(), keywords, 60));
        }
        assert_eq!(read(&String::from_utf8(mbox).unwrap()), expected);
    }
}
