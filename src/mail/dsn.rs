//! Delivery status notifications that we write ourselves (RFC 3464 in the form of RFC 6522): to the
//! sender of a message that failed at the relay, that is late, or of which nobody knows.
//!
//! Those are put into the sender's account as they are and never go over a wire, so UTF-8 stands
//! in their parts as it is (RFC 6533 §3). What goes out is that a message was delivered here, to a sender who
//! asked for that.
//!
//! Invariants: the header is ASCII but for an address that isn't, so that no relay needs SMTPUTF8 for a
//! subject (RFC 6531 §3.4); nothing that was written before a notification has its boundary.

use super::compose::DraftValue;
use super::compose_headers::HeaderWriter;
use super::date::MailDate;
use crate::store::rows::submission::{Recipient, SubmissionRow};
use crate::types::{Address, Millis};
use std::fmt::Write;

/// What is told of the recipients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// They will never get it.
    Failed,
    /// It is still tried.
    Late,
    /// They may have it or not, and nothing more is tried.
    Unsure,
    /// They have it: told to those alone who asked for it.
    Delivered,
    /// They went on to a relay that tells nothing of them (RFC 3461 §5.2.2): the same.
    Relayed,
}

/// What a notification is made of.
#[derive(Clone, Debug)]
pub struct Notification<'a> {
    pub what: What,
    pub submission: &'a SubmissionRow,
    /// Those of its recipients that it is about.
    pub about: &'a [Address],
    /// The header of the message.
    pub header: &'a [u8],
    pub subject: &'a str,
    pub hostname: &'a str,
    /// The notification's own, without angle brackets. It is random: the boundary is made of it.
    pub message_id: &'a str,
    pub now: Millis,
    /// Until when it is tried.
    pub retried_until: Millis,
}

impl What {
    /// RFC 3464 §2.3.3; there is no word for what nobody knows.
    fn action(self) -> &'static str {
        match self {
            What::Failed => "failed",
            What::Late | What::Unsure => "delayed",
            What::Delivered => "delivered",
            What::Relayed => "relayed",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            What::Failed => "Not delivered",
            What::Late => "Not delivered yet",
            What::Unsure => "Perhaps not delivered",
            What::Delivered => "Delivered",
            What::Relayed => "Passed on",
        }
    }

    fn words(self) -> &'static str {
        match self {
            What::Failed => {
                "Your message could not be delivered to these recipients, and nothing more is tried:"
            }
            What::Late => {
                "Your message could not be delivered to these recipients yet. It is tried again; you need not do anything:"
            }
            What::Unsure => {
                "Nobody knows whether your message was delivered to these recipients: the connection was lost twice\n\
                 after it had been sent. It isn't sent again. Ask the recipient before you send it anew:"
            }
            What::Delivered => "As you asked to be told: your message was delivered to these recipients:",
            What::Relayed => {
                "Your message was passed on for these recipients. The system that took it doesn't tell\n\
                 whether it arrives, as you asked; you hear of it only if it doesn't:"
            }
        }
    }
}

/// The notification as a message.
pub fn compose(of: &Notification<'_>) -> Vec<u8> {
    let to = of.submission.mail_from.as_ref().map(Address::as_str).unwrap_or_default();
    let hostname = of.hostname;
    let boundary = boundary(of.message_id);
    let about: Vec<&Recipient> =
        of.submission.recipients.iter().filter(|one| of.about.contains(&one.address)).collect();
    let mut out = format!(
        "From: Mail delivery <mailer-daemon@{hostname}>\r\nTo: <{to}>\r\n{}Date: {}\r\n\
         Message-ID: <{}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}\r\n",
        subject_field(of),
        MailDate::utc(of.now).rfc5322(),
        of.message_id,
        of.what.words().replace('\n', "\r\n"),
    );
    for recipient in &about {
        let reply = recipient.smtp_reply.as_deref().unwrap_or_default();
        // Writing to a String never fails.
        let _ = write!(out, "\r\n  {}\r\n    {}\r\n", recipient.address, one_line(reply));
    }
    out += &status(of, &about, &boundary);
    let mut out = out.into_bytes();
    let kind = if of.header.is_ascii() { "text/rfc822-headers" } else { "message/global-headers" };
    let part = format!("--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    out.extend_from_slice(part.as_bytes());
    out.extend_from_slice(of.header);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// The Subject field, in encoded words where it isn't ASCII (RFC 2047).
fn subject_field(of: &Notification<'_>) -> String {
    let subject: String = of.subject.chars().filter(|c| !c.is_control()).take(150).collect();
    let mut header = HeaderWriter::default();
    let text = format!("{}: {subject}", of.what.subject());
    // What is refused in a text are control characters; it would be told without the message's own subject.
    match header.field("Subject", &DraftValue::Text(text.trim_end().to_owned())) {
        Ok(()) => String::from_utf8_lossy(&header.into_bytes()).into_owned(),
        Err(_) => format!("Subject: {}\r\n", of.what.subject()),
    }
}

/// What no included text has at the start of a line (RFC 2046 §5.1.1): made of the random octets of the
/// notification's Message-ID, which nobody knew when that text was written.
fn boundary(message_id: &str) -> String {
    let hash = blake3::derive_key("postroom 2026 boundary of a delivery report", message_id.as_bytes());
    hash.iter().take(16).fold("=_report_".to_owned(), |out, octet| format!("{out}{octet:02x}"))
}

/// The part for programs (RFC 3464 §2.1): fields of the message, then a group for each recipient.
fn status(of: &Notification<'_>, about: &[&Recipient], boundary: &str) -> String {
    let utf8 = about.iter().any(|one| one.address.needs_smtputf8());
    let kind = if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    let arrived = MailDate::utc(of.submission.created_at).rfc5322();
    let mut out = format!(
        "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
         Reporting-MTA: dns; {}\r\nArrival-Date: {arrived}\r\n",
        of.hostname
    );
    if let Some(id) = parameter(&of.submission.mail_from_parameters, "ENVID") {
        out += &format!("Original-Envelope-Id: {}\r\n", one_line(id));
    }
    for recipient in about {
        let reply = one_line(recipient.smtp_reply.as_deref().unwrap_or_default());
        out += "\r\n";
        if let Some(original) = parameter(&recipient.parameters, "ORCPT") {
            out += &format!("Original-Recipient: {}\r\n", one_line(original));
        }
        let form = if recipient.address.needs_smtputf8() { "utf-8" } else { "rfc822" };
        out += &format!(
            "Final-Recipient: {form}; {}\r\nAction: {}\r\nStatus: {}\r\nDiagnostic-Code: smtp; {reply}\r\n\
             Last-Attempt-Date: {}\r\n",
            recipient.address,
            of.what.action(),
            status_code(of.what, &reply),
            MailDate::utc(of.now).rfc5322(),
        );
        if of.what == What::Late {
            out += &format!("Will-Retry-Until: {}\r\n", MailDate::utc(of.retried_until).rfc5322());
        }
    }
    out + "\r\n"
}

/// The enhanced code of a reply, in the class that what is told has (RFC 3464 §2.3.4).
fn status_code(what: What, reply: &str) -> String {
    let class = match what {
        What::Failed => '5',
        What::Late | What::Unsure => '4',
        What::Delivered | What::Relayed => '2',
    };
    let found = reply.split_whitespace().find(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 3
            && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()))
    });
    match found.and_then(|word| word.split_once('.')) {
        Some((_, rest)) => format!("{class}.{rest}"),
        // RFC 3463 §3.5: expired.
        None if what == What::Failed && !reply.starts_with('5') => "5.4.7".to_owned(),
        None => format!("{class}.0.0"),
    }
}

/// Whether the client wants to hear of this (RFC 3461 §4.1); where it doesn't say, of failures and delays.
pub fn is_wanted(recipient: &Recipient, what: What) -> bool {
    let (word, unsaid) = match what {
        What::Late => ("DELAY", true),
        What::Failed | What::Unsure => ("FAILURE", true),
        What::Relayed => ("SUCCESS", false),
        What::Delivered => return false,
    };
    parameter(&recipient.parameters, "NOTIFY")
        .map_or(unsaid, |given| given.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
}

fn parameter<'a>(all: &'a [(String, Option<String>)], name: &str) -> Option<&'a str> {
    all.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_deref()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;
    use crate::mail::reports::{self, Word};
    use crate::mail::{body, headers};
    use crate::store::rows::submission::*;
    use crate::types::*;

    fn row() -> SubmissionRow {
        let recipient = |text: &str, reply: &str, parameters: Vec<(String, Option<String>)>| Recipient {
            address: Address::parse(text).unwrap(),
            parameters,
            smtp_reply: Some(reply.to_owned()),
            delivered: Delivered::No,
            settled: true,
        };
        SubmissionRow {
            identity: IdentityId(1),
            email: EmailId(1),
            thread: ThreadId(1),
            blob: BlobHash([0; 32]),
            mail_from: Address::parse("ann@x.example"),
            mail_from_parameters: vec![("ENVID".into(), Some("QQ314159".into()))],
            recipients: vec![
                recipient(
                    "a@y",
                    "550 5.1.1 no such user\r\nX: y",
                    vec![("NOTIFY".into(), Some("NEVER".into()))],
                ),
                recipient("jürgen@y", "421 busy", vec![("notify".into(), Some("failure,delay".into()))]),
                recipient("c@y", "250 ok", Vec::new()),
            ],
            send_at: UtcDate(0),
            undo_status: UndoStatus::Final,
            author: PrincipalId(1),
            conversation: None,
            created_at: Millis(0),
            relay: RelayState::Done,
            attempts: 1,
            idempotency_key: None,
        }
    }

    fn composed(what: What) -> (String, reports::Report) {
        let raw =
            composed_of(what, "Message-ID: <m@x>\r\nSubject: hi\r\n", "hi\r\nBcc: x@y", "n@mail.example");
        let report = reports::read(&parse(raw.as_bytes()), raw.as_bytes()).unwrap();
        (raw, report)
    }

    fn composed_of(what: What, header: &str, subject: &str, message_id: &str) -> String {
        let row = row();
        let about: Vec<Address> = row.recipients[..2].iter().map(|one| one.address.clone()).collect();
        let raw = compose(&Notification {
            what,
            submission: &row,
            about: &about,
            header: header.as_bytes(),
            subject,
            hostname: "mail.example",
            message_id,
            now: Millis(1_000),
            retried_until: Millis(2_000),
        });
        String::from_utf8(raw).unwrap()
    }

    #[test]
    fn a_subject_in_any_language_leaves_the_header_ascii() {
        let long = "Größe ".repeat(40);
        let cut = long.get(..199).unwrap();
        let cases =
            [("Größe?", "Größe?"), ("hi", "hi"), ("", ""), ("=?utf-8?q?x?=", "=?utf-8?q?x?="), (&long, cut)];
        for (subject, read) in cases {
            let text = composed_of(What::Delivered, "", subject, "n@mail.example");
            let (header, _) = text.split_once("\r\n\r\n").unwrap();
            assert!(header.is_ascii() && header.lines().all(|line| line.len() <= 78 || line.contains('"')));
            let found = headers::text(&parse(text.as_bytes()), "subject");
            assert_eq!(found.as_deref(), Some(format!("Delivered: {read}").trim()), "{header}");
        }
    }

    #[test]
    fn the_boundary_is_one_that_no_included_header_has() {
        let boundary_of = |text: &str| {
            let (_, rest) = text.split_once("boundary=\"").unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let first = composed_of(What::Failed, "", "hi", "first@mail.example");
        let known = boundary_of(&first);
        assert_eq!(boundary_of(&composed_of(What::Failed, "", "hi", "first@mail.example")), known);
        let header = format!(
            "Subject: hi\r\n--{known}\r\nContent-Type: message/delivery-status\r\n\r\nA: b\r\n--{known}--\r\n"
        );
        let second = composed_of(What::Failed, &header, "hi", "second@mail.example");
        assert_ne!(boundary_of(&second), known);
        let message = parse(second.as_bytes());
        assert_eq!(message.parts.len(), 4, "{second}");
        assert_eq!(body::decode(&message.parts[3], second.as_bytes()), header.as_bytes());
    }

    #[test]
    fn a_notification_of_ours_reads_as_the_report_that_it_is() {
        let (text, report) = composed(What::Failed);
        assert_eq!((report.message_id.as_deref(), report.is_disposition), (Some("m@x"), false));
        let told: Vec<(&str, Word)> =
            report.recipients.iter().map(|one| (one.addresses[0].as_str(), one.word)).collect();
        assert_eq!(told, [("a@y", Word::Failed), ("jürgen@y", Word::Failed)]);
        for line in [
            "To: <ann@x.example>\r\nSubject: Not delivered: hiBcc: x@y\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "Original-Envelope-Id: QQ314159\r\n",
            "Final-Recipient: rfc822; a@y\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            "Final-Recipient: utf-8; jürgen@y\r\nAction: failed\r\nStatus: 5.4.7\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user  X: y\r\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("c@y"), "{text}");
    }

    #[test]
    fn what_is_late_or_unknown_is_no_failure() {
        for what in [What::Late, What::Unsure] {
            let (text, report) = composed(what);
            assert!(report.recipients.iter().all(|one| one.word == Word::Other), "{text}");
            assert_eq!(text.contains("Will-Retry-Until: ") && text.contains("00:00:02"), what == What::Late);
        }
    }

    #[test]
    fn a_recipient_for_whom_nobody_wants_to_hear_it_is_left_out() {
        let row = row();
        let wanted = |what| row.recipients.iter().map(|one| is_wanted(one, what)).collect::<Vec<_>>();
        assert_eq!(wanted(What::Failed), [false, true, true]);
        assert_eq!(wanted(What::Late), [false, true, true]);
        assert_eq!(wanted(What::Relayed), [false, false, false]);
        let notify = vec![("NOTIFY".to_owned(), Some("SUCCESS".to_owned()))];
        let asks = Recipient { parameters: notify, ..row.recipients[2].clone() };
        assert!(is_wanted(&asks, What::Relayed) && !is_wanted(&asks, What::Failed));
    }
}
