//! Writes the message of an Email/set create (RFC 8621 §4.6): typed values in, RFC 5322 octets
//! out. What goes in comes back from the parser: header values in their form, text, and the octets
//! of blobs exactly.
//!
//! Invariants: CR LF line ends; no value can end its field or begin another; the same input gives
//! the same octets. Deliberately absent: JSON and its rules (the caller's), and judging whether
//! addresses are fit for sending, since drafts may be half-written.

use super::addresses::{EmailAddressGroup, MailAddress};
use super::compose_headers::HeaderWriter;
use super::compose_parts;
use super::date::MailDate;
use super::fields;
use super::headers::is_field_name;
use thiserror::Error;

/// A message to write.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Draft {
    /// Fields of the message without Content-*, in order.
    pub headers: Vec<DraftHeader>,
    /// None: an empty text/plain.
    pub body: Option<DraftPart>,
}

/// A header field to write.
#[derive(Clone, PartialEq, Debug)]
pub struct DraftHeader {
    pub name: String,
    pub value: DraftValue,
}

/// A header field value in the form in which it was given.
#[derive(Clone, PartialEq, Debug)]
pub enum DraftValue {
    /// What follows the colon, exactly; it may be folded.
    Raw(String),
    Text(String),
    Addresses(Vec<MailAddress>),
    GroupedAddresses(Vec<EmailAddressGroup>),
    MessageIds(Vec<String>),
    Date(MailDate),
    Urls(Vec<String>),
}

/// A body part to write.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DraftPart {
    /// `None`: text/plain for text, multipart/mixed for parts, else application/octet-stream.
    pub media_type: Option<String>,
    /// Of content given as octets; text is always written as UTF-8.
    pub charset: Option<String>,
    pub name: Option<String>,
    pub disposition: Option<String>,
    pub cid: Option<String>,
    pub language: Vec<String>,
    pub location: Option<String>,
    /// Further fields. A Content-Type here takes the place of `media_type` and `charset`; any
    /// other Content-* takes the place of the property that it stands for.
    pub headers: Vec<DraftHeader>,
    pub content: DraftContent,
}

/// What a part holds.
#[derive(Clone, PartialEq, Debug)]
pub enum DraftContent {
    Text(String),
    /// The octets of a blob.
    Bytes(Vec<u8>),
    Parts(Vec<DraftPart>),
}

impl Default for DraftContent {
    fn default() -> Self {
        DraftContent::Text(String::new())
    }
}

/// What is written where the draft doesn't say it.
#[derive(Clone, PartialEq, Debug)]
pub struct ComposeDefaults {
    /// Without angle brackets.
    pub message_id: String,
    pub date: MailDate,
    /// Makes boundaries differ between equal contents; may be anything.
    pub boundary_seed: [u8; 16],
}

/// Why a draft can't be written. `0` is the field or property at fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ComposeError {
    #[error("\"{0}\" is not a header field name")]
    FieldName(String),
    #[error("{0} holds a control character or a line end")]
    Control(String),
    #[error("{0} has a line longer than 998 octets")]
    LineTooLong(String),
    #[error("{0} can't hold this value")]
    Value(String),
    #[error("{0} may stand on a body part only")]
    ContentOnMessage(String),
    #[error("{0} is set by the server")]
    ServerSet(String),
    #[error("body parts nest too deep or are too many")]
    Structure,
}

impl ComposeError {
    /// The field or property at fault.
    pub fn culprit(&self) -> &str {
        match self {
            Self::FieldName(name)
            | Self::Control(name)
            | Self::LineTooLong(name)
            | Self::Value(name)
            | Self::ContentOnMessage(name)
            | Self::ServerSet(name) => name,
            Self::Structure => "subParts",
        }
    }
}

/// Writes the message.
pub fn compose(draft: &Draft, defaults: &ComposeDefaults) -> Result<Vec<u8>, ComposeError> {
    let mut writer = HeaderWriter::default();
    let empty = DraftPart::default();
    let body = draft.body.as_ref().unwrap_or(&empty);
    // The root part's fields stand in the same block.
    let given = |name: &str| {
        draft.headers.iter().chain(&body.headers).any(|header| header.name.eq_ignore_ascii_case(name))
    };
    if !given("Date") {
        writer.field("Date", &DraftValue::Date(defaults.date))?;
    }
    if !given("Message-ID") {
        writer.field("Message-ID", &DraftValue::MessageIds(vec![defaults.message_id.clone()]))?;
    }
    for header in &draft.headers {
        if header.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-")) {
            return Err(ComposeError::ContentOnMessage(header.name.clone()));
        }
        if !is_field_name(&header.name) {
            return Err(ComposeError::FieldName(header.name.clone()));
        }
        writer.field(&header.name, &header.value)?;
    }
    if !given("MIME-Version") {
        writer.field("MIME-Version", &DraftValue::Raw(" 1.0".to_owned()))?;
    }
    let mut out = writer.into_bytes();
    compose_parts::write(body, &defaults.boundary_seed, &mut out)?;
    Ok(out)
}

/// The body structure for `textBody`, `htmlBody` and `attachments` (RFC 8621 §4.6): text and HTML
/// as alternatives, inline attachments with a Content-Id beside the HTML as multipart/related,
/// the others after it in multipart/mixed.
pub fn arrange(
    text: Option<DraftPart>,
    html: Option<DraftPart>,
    attachments: Vec<DraftPart>,
) -> Option<DraftPart> {
    let multipart = |kind: &str, parts: Vec<DraftPart>| DraftPart {
        media_type: Some(format!("multipart/{kind}")),
        content: DraftContent::Parts(parts),
        ..DraftPart::default()
    };
    let embeds = |part: &DraftPart| part.cid.is_some() && part.disposition.as_deref() == Some("inline");
    let has_html = html.is_some();
    let (embedded, others): (Vec<_>, Vec<_>) = attachments.into_iter().partition(|p| has_html && embeds(p));
    let html = html.map(|html| {
        if embedded.is_empty() {
            return html;
        }
        multipart("related", std::iter::once(html).chain(embedded).collect())
    });
    let body = match (text, html) {
        (Some(text), Some(html)) => Some(multipart("alternative", vec![text, html])),
        (text, html) => text.or(html),
    };
    if others.is_empty() {
        return body;
    }
    Some(multipart("mixed", body.into_iter().chain(others).collect()))
}

/// The message without its Bcc and Resent-Bcc fields, for sending (RFC 5322 §3.6.3, §3.6.6); all
/// other octets are as they were.
pub fn strip_bcc(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut kept = 0;
    fields::split(
        raw,
        0,
        |_| false,
        |span| {
            let name = raw.get(span.name.clone()).unwrap_or_default();
            if name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc") {
                out.extend_from_slice(raw.get(kept..span.whole.start).unwrap_or_default());
                kept = span.whole.end;
            }
        },
    );
    out.extend_from_slice(raw.get(kept..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::headers::{HeaderForm, HeaderValue, last_value};
    use crate::mail::{body, parse::parse};
    use crate::store::rows::message::MessageRow;
    use crate::types::Millis;
    use proptest::prelude::*;

    fn defaults() -> ComposeDefaults {
        let date = MailDate::utc(Millis(1_531_177_391_000));
        ComposeDefaults { message_id: "i@j".to_owned(), date, boundary_seed: [7; 16] }
    }

    fn headers(list: Vec<(&str, DraftValue)>) -> Draft {
        let headers = list.into_iter().map(|(name, value)| DraftHeader { name: name.to_owned(), value });
        Draft { headers: headers.collect(), body: None }
    }

    fn text_part(media_type: &str, text: &str) -> DraftPart {
        let content = DraftContent::Text(text.to_owned());
        DraftPart { media_type: Some(media_type.to_owned()), content, ..DraftPart::default() }
    }

    fn get(row: &MessageRow, name: &str, form: HeaderForm) -> Option<HeaderValue> {
        last_value(row.fields(), name, form)
    }

    /// Every line ends in CR LF and is at most 998 octets long; header lines of ASCII words stay short.
    fn well_formed(raw: &[u8]) {
        let text = String::from_utf8_lossy(raw);
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() <= 998), "{text}");
    }

    #[test]
    fn a_message_is_written_octet_for_octet() {
        let ann = MailAddress { name: Some("Änn, B".to_owned()), email: "a@b".to_owned() };
        let bob =
            MailAddress { name: Some("Bob \"B\" C".to_owned()), email: "jürgen@müller.example".to_owned() };
        let mut draft = headers(vec![
            ("From", DraftValue::Addresses(vec![ann])),
            (
                "To",
                DraftValue::GroupedAddresses(vec![EmailAddressGroup {
                    name: Some("G".to_owned()),
                    addresses: vec![bob],
                }]),
            ),
            ("Subject", DraftValue::Text("Grüße".to_owned())),
        ]);
        draft.body = Some(text_part("text/plain", "Hällo\n"));
        let raw = compose(&draft, &defaults()).expect("it can be written");
        assert_eq!(
            String::from_utf8_lossy(&raw),
            "Date: Mon, 09 Jul 2018 23:03:11 +0000\r\nMessage-ID: <i@j>\r\n\
             From: =?utf-8?b?w4RubiwgQg==?= <a@b>\r\nTo: G: \"Bob \\\"B\\\" C\" <jürgen@müller.example>;\r\n\
             Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             H=C3=A4llo\r\n"
        );
    }

    #[test]
    fn no_value_leaves_its_field() {
        let address = |email: &str, name: &str| {
            DraftValue::Addresses(vec![MailAddress { name: Some(name.to_owned()), email: email.to_owned() }])
        };
        for (name, value) in [
            ("Subject", DraftValue::Text("a\r\nBcc: x@y".to_owned())),
            ("Subject", DraftValue::Text("a\0".to_owned())),
            ("X-A", DraftValue::Raw(" a\r\nBcc: x@y".to_owned())),
            ("X-A", DraftValue::Raw(" a\nb".to_owned())),
            ("X-A", DraftValue::Raw(" a\r\n \r\n b".to_owned())),
            ("X-A", DraftValue::Raw(" a\r\n".to_owned())),
            ("X-A", DraftValue::Raw("x".repeat(2000))),
            ("To", address("a@b\r\nBcc: x@y", "")),
            ("To", address("a@b", "x\r\ny")),
            ("To", address("a@b>, <x@y", "n")),
            ("Message-ID", DraftValue::MessageIds(vec!["a> <b".to_owned()])),
            ("List-Help", DraftValue::Urls(vec!["a\r\nb".to_owned()])),
            ("Bad Name", DraftValue::Raw(" x".to_owned())),
            ("X:Y", DraftValue::Raw(" x".to_owned())),
            ("Content-Type", DraftValue::Raw(" text/plain".to_owned())),
        ] {
            assert!(compose(&headers(vec![(name, value.clone())]), &defaults()).is_err(), "{name} {value:?}");
        }
        for part in [
            DraftPart { disposition: Some("a\r\nb".to_owned()), ..DraftPart::default() },
            DraftPart { name: Some("a\r\nb".to_owned()), ..DraftPart::default() },
            DraftPart { media_type: Some("text/plain\r\nX: y".to_owned()), ..DraftPart::default() },
            DraftPart { media_type: Some("multipart/mixed".to_owned()), ..DraftPart::default() },
            DraftPart { location: Some("a b".to_owned()), ..DraftPart::default() },
            DraftPart { content: DraftContent::Parts(vec![]), ..DraftPart::default() },
        ] {
            let draft = Draft { headers: vec![], body: Some(part.clone()) };
            assert!(compose(&draft, &defaults()).is_err(), "{part:?}");
        }
    }

    #[test]
    fn text_html_and_attachments_come_back_as_such() {
        let image = DraftPart {
            media_type: Some("image/png".to_owned()),
            disposition: Some("inline".to_owned()),
            cid: Some("c@d".to_owned()),
            content: DraftContent::Bytes(vec![0, 1, 2, 255]),
            ..DraftPart::default()
        };
        let file = DraftPart {
            name: Some("Übersicht \"neu\" und ein sehr langer Name, der gefaltet werden muss.pdf".to_owned()),
            disposition: Some("attachment".to_owned()),
            language: vec!["de".to_owned(), "en-GB".to_owned()],
            content: DraftContent::Bytes(b"%PDF".to_vec()),
            ..DraftPart::default()
        };
        let (plain, html) = (text_part("text/plain", "P"), text_part("text/html", "<b>H</b>"));
        let body = arrange(Some(plain), Some(html), vec![image, file.clone()]);
        let raw = compose(&Draft { headers: vec![], body }, &defaults()).expect("it can be written");
        well_formed(&raw);
        let row = parse(&raw);
        let types: Vec<&str> = row.parts.iter().map(|part| part.media_type.as_str()).collect();
        assert_eq!(
            types,
            [
                "multipart/mixed",
                "multipart/alternative",
                "text/plain",
                "multipart/related",
                "text/html",
                "image/png",
                "application/octet-stream"
            ]
        );
        let lists = body::lists(&row);
        assert_eq!((lists.text, lists.html, lists.attachments), (vec![2], vec![4], vec![5, 6]));
        assert_eq!(body::decode(&row.parts[5], &raw), [0, 1, 2, 255]);
        assert_eq!((&row.parts[6].name, &row.parts[6].language), (&file.name, &Some(file.language)));
        assert_eq!(row.parts[5].cid.as_deref(), Some("c@d"));
    }

    #[test]
    fn bcc_is_taken_out_and_nothing_else_changes() {
        let raw = b"A: b\r\nBcc: x@y,\r\n z@q\r\nbcc : k\nTo: t\r\nResent-Bcc: r\r\n\r\nBcc: body\r\n";
        assert_eq!(strip_bcc(raw), b"A: b\r\nTo: t\r\n\r\nBcc: body\r\n");
        assert_eq!(strip_bcc(b"Bcc: x"), b"");
        assert_eq!(strip_bcc(b"no header"), b"no header");
    }

    #[test]
    fn a_tab_stays_where_it_can_be_written_and_is_a_space_elsewhere() {
        for (subject, read) in [("a\tb", "a\tb"), ("\u{e4}\tb", "\u{e4} b")] {
            let draft = headers(vec![("Subject", DraftValue::Text(subject.to_owned()))]);
            let row = parse(&compose(&draft, &defaults()).expect("it can be written"));
            let found = get(&row, "Subject", HeaderForm::Text);
            assert_eq!(found, Some(HeaderValue::Text(read.to_owned())), "{subject}");
        }
    }

    proptest! {
        #[test]
        fn what_is_composed_is_parsed_again(
            subject in "[ -~\u{e4}\u{20ac}\u{1f600}]{0,120}",
            name in "[ -~\u{e4}\u{20ac}]{0,90}",
            group in "[ -~\u{e4}]{1,30}",
            text in "[ -~\t\u{e4}\u{20ac}\n]{0,300}",
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            file in "[ -~\u{e4}\u{20ac}]{0,80}",
            ids in proptest::collection::vec("[a-z]{1,40}@[a-z]{1,40}", 1..8),
            copies in 1usize..8,
        ) {
            let trimmed = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
            let person = MailAddress { name: trimmed(&name), email: "a.b@c.example".to_owned() };
            let people = vec![person.clone(); copies];
            let grouped = vec![EmailAddressGroup { name: Some(group.trim().to_owned()), addresses: people.clone() }];
            let mut draft = headers(vec![
                ("Subject", DraftValue::Text(subject.clone())),
                ("To", DraftValue::Addresses(people.clone())),
                ("Cc", DraftValue::GroupedAddresses(grouped.clone())),
                ("References", DraftValue::MessageIds(ids.clone())),
            ]);
            let attached = DraftPart {
                name: trimmed(&file),
                disposition: Some("attachment".to_owned()),
                content: DraftContent::Bytes(bytes.clone()),
                ..DraftPart::default()
            };
            draft.body = arrange(Some(text_part("text/plain", &text)), None, vec![attached]);
            let raw = compose(&draft, &defaults()).expect("it can be written");
            well_formed(&raw);
            let row = parse(&raw);
            let shown = String::from_utf8_lossy(&raw).into_owned();
            prop_assert_eq!(get(&row, "Subject", HeaderForm::Text), Some(HeaderValue::Text(subject)), "{}", shown);
            prop_assert_eq!(get(&row, "To", HeaderForm::Addresses), Some(HeaderValue::Addresses(people)), "{}", shown);
            prop_assert_eq!(get(&row, "Cc", HeaderForm::GroupedAddresses), Some(HeaderValue::GroupedAddresses(grouped)), "{}", shown);
            prop_assert_eq!(get(&row, "References", HeaderForm::MessageIds), Some(HeaderValue::MessageIds(Some(ids))));
            prop_assert_eq!(body::body_value(&row.parts[1], &raw, 0).value, text);
            prop_assert_eq!(body::decode(&row.parts[2], &raw), bytes);
            prop_assert_eq!(&row.parts[2].name, &trimmed(&file), "{}", shown);
        }
    }
}
