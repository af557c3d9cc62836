//! Message disposition notifications (RFC 8098), written and read: what somebody's client tells the sender who
//! asked for it. Who may send one, and when, is the caller's: nothing here sends by itself.
//!
//! Invariants: what is written has the null return path's fields (RFC 3834), asks for no receipt of its own, and
//! reads as what it was made of; no value can begin a field of its own.

use super::compose::{
    self, ComposeDefaults, ComposeError, Draft, DraftContent, DraftHeader, DraftPart, DraftValue,
};
use super::{body, fields, headers, words};
use crate::store::rows::mail::MailAddress;
use crate::store::rows::message::{MessageRow, PartRow};
use crate::types::{Address, limits};

/// What a notification says beside its text (RFC 8098 §3.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub reporting_ua: Option<String>,
    pub gateway: Option<String>,
    /// With their type: `rfc822; a@b`.
    pub original_recipient: Option<String>,
    pub final_recipient: Option<String>,
    /// With angle brackets, as it stands in the message.
    pub original_message_id: Option<String>,
    pub disposition: Disposition,
    pub errors: Vec<String>,
    /// Fields that RFC 8098 doesn't know, in order.
    pub extensions: Vec<(String, String)>,
}

/// RFC 8098 §3.2.6, in lower case: one word of each of the lists here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Disposition {
    pub action: String,
    pub sending: String,
    pub kind: String,
}

pub const ACTIONS: [&str; 2] = ["manual-action", "automatic-action"];
pub const SENDINGS: [&str; 2] = ["mdn-sent-manually", "mdn-sent-automatically"];
pub const KINDS: [&str; 4] = ["deleted", "dispatched", "displayed", "processed"];

impl Disposition {
    /// Whether each word is one that there is.
    pub fn is_known(&self) -> bool {
        ACTIONS.contains(&self.action.as_str())
            && SENDINGS.contains(&self.sending.as_str())
            && KINDS.contains(&self.kind.as_str())
    }
}

/// The fields that RFC 8098 §3.1 knows. No extension has one of these names.
const FIELDS: [&str; 8] = [
    "reporting-ua",
    "mdn-gateway",
    "original-recipient",
    "final-recipient",
    "original-message-id",
    "disposition",
    "error",
    "failure",
];

/// Whether an extension field may have that name and value.
pub fn is_extension(name: &str, value: &str) -> bool {
    let known = FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name));
    !known && name.len() <= limits::MDN_FIELD_BYTES_MAX && headers::is_field_name(name) && is_value(value)
}

/// Whether a field may have that value: one line of ASCII.
pub fn is_value(value: &str) -> bool {
    let fits = !value.trim().is_empty() && value.len() <= limits::MDN_FIELD_BYTES_MAX;
    fits && value.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ')
}

/// Whom a message asks to send the notification to (RFC 8098 §2.1); empty where it asks nobody, or not in one
/// way that can be told.
pub fn asked_for(message: &MessageRow) -> Vec<Address> {
    let name = "Disposition-Notification-To";
    if message.fields().iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count() != 1 {
        return Vec::new();
    }
    let mut out: Vec<Address> = Vec::new();
    for one in headers::addresses(message, name) {
        match Address::parse(&one.email) {
            Some(address) if out.iter().any(|known| known.key() == address.key()) => {}
            Some(address) => out.push(address),
            None => return Vec::new(),
        }
    }
    // Nobody's click writes to a crowd.
    if out.len() > limits::MDN_RECIPIENTS_MAX { Vec::new() } else { out }
}

/// What a notification is made of.
#[derive(Clone, Debug)]
pub struct Notification<'a> {
    pub from: MailAddress,
    pub to: &'a [Address],
    pub subject: &'a str,
    pub text: &'a str,
    pub report: &'a Report,
    /// The message that it is about.
    pub about: &'a MessageRow,
    /// That message whole, where it is sent back (RFC 8098 §3).
    pub original: Option<Vec<u8>>,
}

/// The notification as a message.
pub fn compose(of: Notification<'_>, defaults: &ComposeDefaults) -> Result<Vec<u8>, ComposeError> {
    let header = |name: &str, value: DraftValue| DraftHeader { name: name.to_owned(), value };
    let to = of.to.iter().map(|one| MailAddress { name: None, email: one.to_string() }).collect();
    let mut headers = vec![
        header("From", DraftValue::Addresses(vec![of.from])),
        header("To", DraftValue::Addresses(to)),
        header("Subject", DraftValue::Text(of.subject.to_owned())),
        // RFC 3834 §5; RFC 8098 §2.1 has the null return path beside it.
        header("Auto-Submitted", DraftValue::Raw(" auto-replied".to_owned())),
    ];
    let id = headers::message_ids(of.about, "message-id").into_iter().next();
    if let Some(id) = id.filter(|id| !id.chars().any(char::is_control)) {
        headers.push(header("In-Reply-To", DraftValue::MessageIds(vec![id.clone()])));
        headers.push(header("References", DraftValue::MessageIds(vec![id])));
    }
    let part = |media_type: &str, content: DraftContent| DraftPart {
        media_type: Some(media_type.to_owned()),
        content,
        ..DraftPart::default()
    };
    let report = fields_of(of.report);
    // RFC 6533 §5: UTF-8 has a type of its own.
    let kind = if report.is_ascii() { "disposition-notification" } else { "global-disposition-notification" };
    let mut parts = vec![
        part("text/plain", DraftContent::Text(of.text.to_owned())),
        part(&format!("message/{kind}"), DraftContent::Text(report)),
    ];
    if let Some(original) = of.original {
        let end = fields::split(&original, 0, |_| false, |_| {});
        let ascii = original.get(..end).is_none_or(<[u8]>::is_ascii);
        parts.push(part(
            if ascii { "message/rfc822" } else { "message/global" },
            DraftContent::Bytes(original),
        ));
    }
    let kind = " multipart/report; report-type=disposition-notification".to_owned();
    let body = DraftPart {
        headers: vec![header("Content-Type", DraftValue::Raw(kind))],
        content: DraftContent::Parts(parts),
        ..DraftPart::default()
    };
    compose::compose(&Draft { headers, body: Some(body) }, defaults)
}

/// RFC 8098 §3.1, in its order.
fn fields_of(report: &Report) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        out += &format!("{name}: {}\r\n", value.trim());
    };
    let one = [
        ("Reporting-UA", &report.reporting_ua),
        ("MDN-Gateway", &report.gateway),
        ("Original-Recipient", &report.original_recipient),
        ("Final-Recipient", &report.final_recipient),
        ("Original-Message-ID", &report.original_message_id),
    ];
    for (name, value) in one.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        field(name, value);
    }
    let said = &report.disposition;
    field("Disposition", &format!("{}/{}; {}", said.action, said.sending, said.kind));
    report.errors.iter().for_each(|error| field("Error", error));
    report.extensions.iter().for_each(|(name, value)| field(name, value));
    out
}

/// A notification that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    pub report: Report,
    pub subject: Option<String>,
    pub text: Option<String>,
    /// It brings the message that it is about.
    pub has_original: bool,
}

/// The notification that a message is; `None` where it is none, or says nothing that is known.
pub fn read(message: &MessageRow, content: &[u8]) -> Option<Received> {
    let top = message.parts.first().filter(|part| part.media_type == "multipart/report")?;
    let children = || top.children.iter().filter_map(|child| message.parts.get(*child as usize));
    let is = |part: &&PartRow| {
        ["message/disposition-notification", "message/global-disposition-notification"]
            .contains(&part.media_type.as_str())
    };
    let report = read_report(&body::decode(children().find(is)?, content))?;
    let text = children().find(|part| part.media_type == "text/plain");
    Some(Received {
        report,
        subject: headers::text(message, "subject"),
        text: text.map(|part| body::body_value(part, content, limits::MDN_TEXT_BYTES_MAX).value),
        has_original: children()
            .any(|part| ["message/rfc822", "message/global"].contains(&part.media_type.as_str())),
    })
}

fn read_report(raw: &[u8]) -> Option<Report> {
    let mut all: Vec<(String, String)> = Vec::new();
    let raw = raw.trim_ascii_start();
    fields::split(
        raw,
        0,
        |_| false,
        |span| {
            let octets = |range: std::ops::Range<usize>| raw.get(range).unwrap_or_default();
            let name = String::from_utf8_lossy(octets(span.name.clone())).into_owned();
            if all.len() < limits::HEADER_FIELDS_MAX {
                all.push((name, words::unfold(octets(span.value.clone())).trim().to_owned()));
            }
        },
    );
    let value = |name: &str| {
        all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let (modes, kind) = value("disposition").and_then(|said| {
        let (modes, kind) = said.split_once(';')?;
        // Modifiers follow the type: `displayed/error` (RFC 8098 §3.2.6.3).
        Some((modes.to_ascii_lowercase(), kind.split('/').next()?.trim().to_ascii_lowercase()))
    })?;
    let (action, sending) = modes.split_once('/')?;
    let disposition =
        Disposition { action: action.trim().to_owned(), sending: sending.trim().to_owned(), kind };
    if !disposition.is_known() {
        return None;
    }
    let is_known = |name: &str| FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name));
    Some(Report {
        reporting_ua: value("reporting-ua"),
        gateway: value("mdn-gateway"),
        original_recipient: value("original-recipient"),
        final_recipient: value("final-recipient"),
        original_message_id: value("original-message-id"),
        disposition,
        errors: all
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("error"))
            .map(|(_, value)| value.clone())
            .collect(),
        extensions: all.iter().filter(|(name, _)| !is_known(name)).cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::automatic::{self, AutomaticReason};
    use crate::mail::date::MailDate;
    use crate::mail::parse::parse;
    use crate::types::Millis;

    fn report() -> Report {
        Report {
            reporting_ua: Some("pc.example; Mail 1".into()),
            gateway: None,
            original_recipient: Some("rfc822;support@x".into()),
            final_recipient: Some("rfc822; bob@x".into()),
            original_message_id: Some("<m@y>".into()),
            disposition: Disposition {
                action: "manual-action".into(),
                sending: "mdn-sent-manually".into(),
                kind: "displayed".into(),
            },
            errors: vec!["it was\r\nX: odd".into()],
            extensions: vec![("X-Room".into(), "4".into())],
        }
    }

    fn written(original: &str, report: &Report, with_original: bool) -> Vec<u8> {
        let about = parse(original.as_bytes());
        let of = Notification {
            from: MailAddress { name: Some("Bob".into()), email: "bob@x".into() },
            to: &asked_for(&about),
            subject: "Seen: \u{fc}",
            text: "I have seen it: \u{fc}.",
            report,
            about: &about,
            original: with_original.then(|| original.as_bytes().to_vec()),
        };
        let defaults = ComposeDefaults {
            message_id: "n@x".into(),
            date: MailDate::utc(Millis(0)),
            boundary_seed: [1; 16],
        };
        compose(of, &defaults).unwrap()
    }

    #[test]
    fn what_is_written_reads_as_what_it_was_made_of_and_is_automatic() {
        let original = "Message-ID: <m@y>\r\nDisposition-Notification-To: Ann <ann@y>\r\n\r\nhi\r\n";
        for with_original in [false, true] {
            let raw = written(original, &report(), with_original);
            let message = parse(&raw);
            assert_eq!(
                automatic::is_automatic(&message, false),
                Some(AutomaticReason::DispositionNotification)
            );
            assert!(asked_for(&message).is_empty());
            let read = read(&message, &raw).unwrap();
            let expected = Report { errors: vec!["it was  X: odd".into()], ..report() };
            assert_eq!((&read.report, read.has_original), (&expected, with_original));
            assert_eq!(read.text.as_deref(), Some("I have seen it: \u{fc}."));
            let text = String::from_utf8(raw).unwrap();
            for line in [
                "From: Bob <bob@x>\r\n",
                "To: ann@y\r\n",
                "In-Reply-To: <m@y>\r\n",
                "Auto-Submitted: auto-replied\r\n",
                "report-type=disposition-notification",
                "Disposition: manual-action/mdn-sent-manually; displayed\r\n",
            ] {
                assert!(text.contains(line), "{line} {text}");
            }
            assert_eq!(text.contains("\r\n\r\nhi\r\n"), with_original, "{text}");
        }
        let utf8 = Report { final_recipient: Some("utf-8; b\u{fc}b@x".into()), ..report() };
        let raw = written(original, &utf8, false);
        assert_eq!(
            read(&parse(&raw), &raw).map(|read| read.report.final_recipient),
            Some(utf8.final_recipient)
        );
        assert!(String::from_utf8(raw).unwrap().contains("message/global-disposition-notification"));
    }

    #[test]
    fn whoever_is_asked_for_must_be_told_in_one_way() {
        let to = |header: &str| {
            let all = asked_for(&parse(format!("{header}\r\n\r\n").as_bytes()));
            all.iter().map(Address::to_string).collect::<Vec<_>>()
        };
        let name = "Disposition-Notification-To";
        assert_eq!(to(&format!("{name}: A <a@x>, A@X, b@y")), ["a@x", "b@y"]);
        for header in [
            "Subject: x".to_owned(),
            format!("{name}: "),
            format!("{name}: nobody"),
            format!("{name}: a@x, nobody"),
            format!("{name}: a@x\r\n{name}: b@y"),
            format!("{name}: a@x, b@x, c@x, d@x, e@x, f@x"),
        ] {
            assert!(to(&header).is_empty(), "{header}");
        }
    }

    #[test]
    fn others_notifications_are_read_and_what_is_none_is_not() {
        let message = |fields: &str| {
            let text = format!(
                "Subject: Read\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nSeen.\r\n--b\r\n\
                 Content-Type: message/disposition-notification\r\n\r\n{fields}\r\n--b--\r\n"
            );
            read(&parse(text.as_bytes()), text.as_bytes())
        };
        let all = message(
            "MDN-Gateway: dns; gate\r\nFinal-Recipient: rfc822;a@y\r\n\
             Disposition: Automatic-Action/MDN-Sent-Manually;\r\n Deleted/error,expired\r\nError: one\r\nERROR: two\r\nX-Y: z",
        );
        let all = all.unwrap();
        assert_eq!(
            (all.subject.as_deref(), all.text.as_deref(), all.has_original),
            (Some("Read"), Some("Seen."), false)
        );
        assert_eq!(
            all.report,
            Report {
                gateway: Some("dns; gate".into()),
                final_recipient: Some("rfc822;a@y".into()),
                disposition: Disposition {
                    action: "automatic-action".into(),
                    sending: "mdn-sent-manually".into(),
                    kind: "deleted".into()
                },
                errors: vec!["one".into(), "two".into()],
                extensions: vec![("X-Y".into(), "z".into())],
                ..Report::default()
            }
        );
        for fields in
            ["Final-Recipient: rfc822;a@y", "Disposition: displayed", "Disposition: a/b; displayed", ""]
        {
            assert_eq!(message(fields), None, "{fields}");
        }
        let plain = b"Subject: x\r\n\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n";
        assert_eq!(read(&parse(plain), plain), None);
    }

    #[test]
    fn a_field_is_one_line_and_no_extension_stands_in_for_a_known_one() {
        assert!(is_extension("X-Room", "4") && is_value("a b"));
        for (name, value) in [("Disposition", "x"), ("a b", "x"), ("X", ""), ("X", "a\r\nb"), ("X", "\u{fc}")]
        {
            assert!(!is_extension(name, value), "{name}: {value}");
        }
    }
}
