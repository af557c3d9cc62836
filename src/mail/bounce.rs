//! Bounces that don't have the form of RFC 3464: what old and odd mail systems write when they
//! can't deliver. They are read only where they came to a keyed return path, so the recipients that
//! can be meant are known, and what is asked of the text is little: is it about one of them, and
//! did it fail or is it late?
//!
//! An answer by an absent person comes to the same address. It is none: it is neither from a mail
//! system, nor does it name what its form of bounce names.

use super::reports::{Reported, Word};
use super::{body, headers};
use crate::store::rows::message::MessageRow;
use crate::types::{Address, limits};
use std::collections::BTreeSet;
use std::ops::Range;

/// What a mail system wrote, as far as it may be a bounce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Exim names who didn't get it in a field of the header.
    failed: Vec<Address>,
    /// The text up to the copy of our message.
    text: String,
    /// The same in lower case, octet for octet.
    lower: String,
}

/// The local parts that mail systems write bounces as.
const SYSTEMS: [&str; 8] = [
    "mailer-daemon",
    "postmaster",
    "mail-daemon",
    "mailerdaemon",
    "mdaemon",
    "maildelivery",
    "mail.delivery.subsystem",
    "microsoftexchange",
];

/// Where the copy of our message begins, which must not be searched: it names all recipients.
const COPY_BEGINS: [&str; 10] = [
    "--- below this line is a copy of the message",
    "------ this is a copy of the message",
    "--- the headers of the original message follow",
    "--- the body of the message is",
    "original message follows",
    "-----original message",
    "----- original message",
    "--- original message",
    "--- message header follows",
    "unsent message below",
];

/// What says that a message is late, not lost.
const LATE: [&str; 11] = [
    "not yet been delivered",
    "delayed",
    "will be retried",
    "will keep trying",
    "will continue to try",
    "still being retried",
    "delivery attempts will continue",
    "warning message only",
    "do not need to resend",
    "no action is required",
    "temporarily deferred",
];

/// What says that it is lost, whatever else is said.
const LOST: [&str; 6] = [
    "permanent error",
    "given up",
    "giving up",
    "permanent fatal error",
    "fatal errors",
    "could not be delivered",
];

/// What a mail system wrote, if this message looks as if one wrote it. `null_path` says that its
/// envelope sender is `<>`.
pub fn notice(message: &MessageRow, content: &[u8], null_path: bool) -> Option<Notice> {
    let failed: Vec<Address> = headers::addresses(message, "x-failed-recipients")
        .iter()
        .filter_map(|one| Address::parse(&one.email))
        .collect();
    let from = headers::addresses(message, "from").into_iter().next();
    let local = from.map(|one| one.email.to_lowercase()).unwrap_or_default();
    let local = local.split('@').next().unwrap_or_default();
    let by_system = SYSTEMS.iter().any(|system| local.starts_with(system)) || (local.is_empty() && null_path);
    let replied = headers::text(message, "auto-submitted")
        .is_some_and(|value| value.trim().to_ascii_lowercase().starts_with("auto-replied"));
    if failed.is_empty() && (!by_system || (replied && !null_path)) {
        return None;
    }
    let mut text = body::indexed_text(message, content);
    text.truncate(text.floor_char_boundary(limits::BOUNCE_TEXT_BYTES_MAX));
    let mut lower = text.to_ascii_lowercase();
    let end = COPY_BEGINS.iter().filter_map(|mark| lower.find(mark)).min();
    lower.truncate(end.unwrap_or(lower.len()));
    text.truncate(lower.len());
    Some(Notice { failed, text, lower })
}

impl Notice {
    /// It speaks of a message that is lost, not of one that is late.
    pub fn is_lost(&self) -> bool {
        LOST.iter().any(|mark| self.lower.contains(mark))
            || !LATE.iter().any(|mark| self.lower.contains(mark))
    }

    /// What it says of these recipients; of nobody where it names none of them.
    pub fn of(&self, recipients: &[&Address]) -> Vec<Reported> {
        let lost = LOST.iter().any(|mark| self.lower.contains(mark));
        let late = !lost && LATE.iter().any(|mark| self.lower.contains(mark));
        let failed: BTreeSet<String> = self.failed.iter().map(Address::key).collect();
        let places: Vec<Option<Range<usize>>> = recipients.iter().map(|one| find(&self.lower, one)).collect();
        let mut starts: Vec<usize> = places.iter().flatten().map(|place| place.start).collect();
        starts.sort_unstable();
        let all = || recipients.iter().zip(&places);
        let named: Vec<_> =
            all().filter(|(one, place)| place.is_some() || failed.contains(&one.key())).collect();
        // One recipient is who is meant, though systems leave out or mask whom they speak of.
        let meant = if named.is_empty() && recipients.len() == 1 { all().collect() } else { named };
        let reported = |(address, place): (&&Address, &Option<Range<usize>>)| {
            let reply = self.reply_about(place.as_ref(), &starts);
            let word = match reply.as_bytes().first() {
                _ if late => Word::Other,
                Some(b'4') if !lost => Word::Other,
                _ => Word::Failed,
            };
            Reported { addresses: vec![(*address).clone()], word, reply }
        };
        meant.into_iter().map(reported).collect()
    }

    /// The reply that it cites behind the place where it names somebody, else anywhere, in the form of an
    /// SMTP reply. What follows the next one who is named, in the order of `starts`, is about that one.
    fn reply_about(&self, place: Option<&Range<usize>>, starts: &[usize]) -> String {
        let after = place.map(|place| {
            let next = starts.get(starts.partition_point(|start| *start < place.end));
            self.text.get(place.end..next.copied().unwrap_or(self.text.len())).unwrap_or_default()
        });
        after
            .and_then(cited)
            .or_else(|| cited(&self.text))
            .unwrap_or_else(|| "550 5.0.0 was reported as failed".to_owned())
    }
}

/// Where a text in lower case names an address, in A-labels or as we have it. Within a longer address it names
/// somebody else.
fn find(lower: &str, address: &Address) -> Option<Range<usize>> {
    let spellings = [address.key(), address.as_str().to_lowercase()];
    let places = spellings.iter().flat_map(|one| lower.match_indices(one.as_str()));
    let mut whole = places.filter(|(at, found)| {
        let before = lower.get(..*at).unwrap_or_default();
        let after = lower.get(at + found.len()..).unwrap_or_default();
        !ends_in_local_part(before) && !continues_domain(after)
    });
    whole.next().map(|(at, found)| at..at + found.len())
}

/// Whether what follows this text goes on with a local part (RFC 5322 §3.2.3, RFC 6531 §3.3). A quotation mark
/// that quotes belongs to none, though an atom may have one.
fn ends_in_local_part(text: &str) -> bool {
    let is_atom = |c: char| c.is_alphanumeric() || "!#$%&*+-/=?^_{|}~.".contains(c);
    text.trim_end_matches(['\'', '`']).ends_with(is_atom)
}

/// Whether this text goes on with the domain that stands before it.
fn continues_domain(text: &str) -> bool {
    let is_label = |c: char| c.is_alphanumeric() || c == '-';
    text.strip_prefix('.').unwrap_or(text).starts_with(is_label)
}

/// The first line with a status code or a reply code of SMTP, as a reply.
fn cited(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let words = line.split(|c: char| c.is_whitespace() || "():;,[]<>\"'".contains(c));
        let mut at = words.filter(|word| !word.is_empty());
        let code = at.find(|word| is_reply_code(word) || is_status(word.trim_start_matches('#')))?;
        let from = line.find(code)?;
        let said = line.get(from..)?.trim().trim_end_matches(')');
        let bare = code.trim_start_matches('#');
        let reply = match is_reply_code(code) {
            true => said.to_owned(),
            // RFC 3463: the class of a status is that of the reply.
            false => format!("{}50 {}", &bare[..1], said.trim_start_matches('#')),
        };
        // A bare CR ends no line here, and would be one to whoever reads the reply.
        let shown = reply.chars().map(|c| if c.is_control() { ' ' } else { c });
        Some(shown.take(limits::SMTP_REPLY_TEXT_BYTES_MAX / 4).collect())
    })
}

fn is_reply_code(word: &str) -> bool {
    let first = word.split('-').next().unwrap_or_default();
    first.len() == 3 && first.starts_with(['4', '5']) && first.bytes().all(|octet| octet.is_ascii_digit())
}

/// RFC 3463 §2: class, subject, detail.
fn is_status(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    parts.len() == 3
        && matches!(parts[0], "4" | "5")
        && parts
            .iter()
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    /// What is said of `marta@c.example` and `sven@d.example`, and whether it is a notice at all.
    fn told(from: &str, more: &str, text: &str) -> Option<Vec<(String, Word, String)>> {
        let raw = format!("From: {from}\r\nSubject: x\r\n{more}\r\n{}", text.replace('\n', "\r\n"));
        let notice = notice(&parse(raw.as_bytes()), raw.as_bytes(), true)?;
        let both = ["marta@c.example", "sven@d.example"].map(|text| Address::parse(text).unwrap());
        let reported = notice.of(&both.each_ref());
        Some(reported.into_iter().map(|one| (one.addresses[0].to_string(), one.word, one.reply)).collect())
    }

    type Row =
        (&'static str, &'static str, &'static str, Option<&'static [(&'static str, Word, &'static str)]>);

    #[test]
    fn bounces_of_odd_systems_are_read() {
        use Word::*;
        const MARTA: &str = "marta@c.example";
        let none: &[(&str, Word, &str)] = &[];
        let table: &[Row] = &[
            (
                "MAILER-DAEMON@q.example",
                "",
                "Hi. This is the qmail-send program at q.example.\nThis is a permanent error; I've given up.\n\n\
                 <Marta@c.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n\
                 --- Below this line is a copy of the message.\nTo: sven@d.example\n",
                Some(&[(MARTA, Failed, "550 5.1.1")]),
            ),
            (
                "Mail Delivery System <Mailer-Daemon@e.example>",
                "X-Failed-Recipients: marta@c.example\r\n",
                "This message was created automatically by mail delivery software.\n\nA message that you sent \
                 could not be delivered to one or more of its\nrecipients. This is a permanent error.\n\n  \
                 marta@c.example\n    host mx.c.example [192.0.2.1]\n    SMTP error from remote mail server \
                 after RCPT TO:<marta@c.example>:\n    550 5.1.1 User unknown\n",
                Some(&[(MARTA, Failed, "550 5.1.1 User unknown")]),
            ),
            (
                "Mail Delivery System <Mailer-Daemon@e.example>",
                "",
                "This message was created automatically by mail delivery software.\nA message that you sent \
                 has not yet been delivered to one or more of its\nrecipients after more than 24 hours.\n\n  \
                 marta@c.example\n    Delay reason: Connection timed out\n\nNo action is required on your part.\n",
                Some(&[(MARTA, Other, "550 5.0.0 was reported as failed")]),
            ),
            (
                "postmaster@exchange.example",
                "",
                "Your message did not reach some or all of the intended recipients.\n\n  marta@c.example on \
                 1/2/2026\n    The e-mail account does not exist.\n    <exchange.example #5.1.1>\n  \
                 sven@d.example on 1/2/2026\n    <exchange.example #5.2.2>\n",
                Some(&[(MARTA, Failed, "550 5.1.1>"), ("sven@d.example", Failed, "550 5.2.2>")]),
            ),
            (
                "MAILER-DAEMON@s.example (Mail Delivery Subsystem)",
                "",
                "   ----- The following addresses had permanent fatal errors -----\n<sven@d.example>\n    \
                 (reason: 553 5.3.0 rejected)\n",
                Some(&[("sven@d.example", Failed, "553 5.3.0 rejected")]),
            ),
            (
                "MAILER-DAEMON@p.example",
                "",
                "<marta@c.example>: host mx said: 450 4.2.0 greylisted (in reply to RCPT TO command)\n",
                Some(&[(MARTA, Other, "450 4.2.0 greylisted (in reply to RCPT TO command")]),
            ),
            ("MAILER-DAEMON@p.example", "", "It didn't work out with somebody.\n", Some(none)),
            ("Marta <marta@c.example>", "Auto-Submitted: auto-replied\r\n", "I am away.\n", None),
            ("Marta <marta@c.example>", "", "550 people came to marta@c.example's party.\n", None),
        ];
        for (from, more, text, expected) in table {
            let got = told(from, more, text);
            let expected = expected.map(|all| {
                all.iter().map(|(a, word, reply)| ((*a).to_owned(), *word, (*reply).to_owned())).collect()
            });
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn the_only_recipient_is_meant_though_nobody_is_named() {
        let raw = b"From: MAILER-DAEMON@p\r\n\r\nUser unknown: 550 no\r\n";
        let notice = notice(&parse(raw), raw, true).unwrap();
        let marta = Address::parse("marta@c.example").unwrap();
        assert_eq!(
            notice.of(&[&marta]),
            [Reported { addresses: vec![marta.clone()], word: Word::Failed, reply: "550 no".to_owned() }]
        );
        assert_eq!(notice.of(&[]), []);
    }

    #[test]
    fn an_address_within_a_longer_one_is_not_named() {
        let address = Address::parse("info@c.example").unwrap();
        for (text, named) in [
            ("<info@c.example>: 550 no", true),
            ("info@c.example", true),
            ("'info@c.example', ``info@c.example''", true),
            ("mailto:info@c.example.", true),
            ("to info@c.example. it failed", true),
            ("“info@c.example”", true),
            ("sales-info@c.example", false),
            ("sales.info@c.example", false),
            ("o'info@c.example", false),
            ("üinfo@c.example", false),
            ("info@c.example.au", false),
            ("info@c.example-mail.test", false),
            ("info@c.examples", false),
            ("info@c.example2", false),
            ("sales-info@c.example info@c.example.au info@c.example", true),
        ] {
            let found = find(text, &address);
            assert_eq!(found.is_some(), named, "{text}");
            assert!(found.is_none_or(|place| &text[place] == "info@c.example"), "{text}");
        }
    }

    #[test]
    fn a_reply_is_one_line_whatever_breaks_it_and_an_address_is_found_in_either_spelling() {
        let text = "Hi. This is the qmail-send program at q.example.\r\nI've given up.\r\n\r\n\
                    <sven@müller.example>:\r\n550 5.1.1 no\rsuch\0user\r\n\r\n\
                    <marta@xn--mller-kva.example>:\r\n550 5.2.1 full\r\n";
        let raw = format!("From: MAILER-DAEMON@p\r\n\r\n{text}");
        let notice = notice(&parse(raw.as_bytes()), raw.as_bytes(), true).unwrap();
        let (sven, marta) = ("sven@müller.example", "marta@MÜLLER.example");
        let (sven, marta) = (Address::parse(sven).unwrap(), Address::parse(marta).unwrap());
        let told = notice.of(&[&sven, &marta]);
        let replies: Vec<&str> = told.iter().map(|one| one.reply.as_str()).collect();
        assert_eq!(replies, ["550 5.1.1 no such user", "550 5.2.1 full"]);
    }
}
