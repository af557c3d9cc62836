//! The parsed forms of header fields (RFC 8621 §4.1.2) and the convenience properties of an Email
//! that come from them (§4.1.3). A value that is `None` here is `null` there.

use super::addresses::{EmailAddressGroup, MailAddress, Scan, Token, parse_addresses, parse_groups};
use super::date::MailDate;
use super::words;
use crate::store::rows::message::{HeaderField, MessageRow};
use crate::types::UtcDate;

/// A form that a header field can be fetched or set in (RFC 8621 §4.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HeaderForm {
    Raw,
    Text,
    Addresses,
    GroupedAddresses,
    MessageIds,
    Date,
    Urls,
}

impl HeaderForm {
    /// The form named after `:as` in a property, e.g. `asURLs`; names are case-sensitive.
    pub fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "asRaw" => HeaderForm::Raw,
            "asText" => HeaderForm::Text,
            "asAddresses" => HeaderForm::Addresses,
            "asGroupedAddresses" => HeaderForm::GroupedAddresses,
            "asMessageIds" => HeaderForm::MessageIds,
            "asDate" => HeaderForm::Date,
            "asURLs" => HeaderForm::Urls,
            _ => return None,
        })
    }
}

/// A header field value in one of the forms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderValue {
    Raw(String),
    Text(String),
    Addresses(Vec<MailAddress>),
    GroupedAddresses(Vec<EmailAddressGroup>),
    MessageIds(Option<Vec<String>>),
    Date(Option<MailDate>),
    Urls(Option<Vec<String>>),
}

/// The fields defined in RFC 5322 and RFC 2369, each with its one form besides Raw, if it has one
/// (RFC 8621 §4.1.2.2 to §4.1.2.7). GroupedAddresses goes wherever Addresses goes.
const DEFINED_FIELDS: &[(&str, Option<HeaderForm>)] = &[
    ("subject", Some(HeaderForm::Text)),
    ("comments", Some(HeaderForm::Text)),
    ("keywords", Some(HeaderForm::Text)),
    ("from", Some(HeaderForm::Addresses)),
    ("sender", Some(HeaderForm::Addresses)),
    ("reply-to", Some(HeaderForm::Addresses)),
    ("to", Some(HeaderForm::Addresses)),
    ("cc", Some(HeaderForm::Addresses)),
    ("bcc", Some(HeaderForm::Addresses)),
    ("resent-from", Some(HeaderForm::Addresses)),
    ("resent-sender", Some(HeaderForm::Addresses)),
    ("resent-reply-to", Some(HeaderForm::Addresses)),
    ("resent-to", Some(HeaderForm::Addresses)),
    ("resent-cc", Some(HeaderForm::Addresses)),
    ("resent-bcc", Some(HeaderForm::Addresses)),
    ("message-id", Some(HeaderForm::MessageIds)),
    ("in-reply-to", Some(HeaderForm::MessageIds)),
    ("references", Some(HeaderForm::MessageIds)),
    ("resent-message-id", Some(HeaderForm::MessageIds)),
    ("date", Some(HeaderForm::Date)),
    ("resent-date", Some(HeaderForm::Date)),
    ("list-help", Some(HeaderForm::Urls)),
    ("list-unsubscribe", Some(HeaderForm::Urls)),
    ("list-subscribe", Some(HeaderForm::Urls)),
    ("list-post", Some(HeaderForm::Urls)),
    ("list-owner", Some(HeaderForm::Urls)),
    ("list-archive", Some(HeaderForm::Urls)),
    ("return-path", None),
    ("received", None),
];

/// Whether the field may be fetched or set in that form. Names compare without case.
pub fn form_allowed(name: &str, form: HeaderForm) -> bool {
    let wanted = if form == HeaderForm::GroupedAddresses { HeaderForm::Addresses } else { form };
    form == HeaderForm::Raw
        || DEFINED_FIELDS
            .iter()
            .find(|(defined, _)| defined.eq_ignore_ascii_case(name))
            .is_none_or(|(_, allowed)| *allowed == Some(wanted))
}

/// Whether `name` can name a header field: printable ASCII without a colon (RFC 8621 §4.1.3).
pub fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (33..=126).contains(&b) && b != b':')
}

/// The value of a field in that form; whether the form is allowed is the caller's question.
pub fn value_in_form(raw: &[u8], form: HeaderForm) -> HeaderValue {
    match form {
        HeaderForm::Raw => HeaderValue::Raw(raw_form(raw)),
        HeaderForm::Text => HeaderValue::Text(words::text_form(&words::unfold(raw))),
        HeaderForm::Addresses => HeaderValue::Addresses(parse_addresses(&words::unfold(raw))),
        HeaderForm::GroupedAddresses => HeaderValue::GroupedAddresses(parse_groups(&words::unfold(raw))),
        HeaderForm::MessageIds => HeaderValue::MessageIds(ids_of(raw)),
        HeaderForm::Date => HeaderValue::Date(MailDate::parse_rfc5322(&words::unfold(raw))),
        HeaderForm::Urls => HeaderValue::Urls(urls_of(raw)),
    }
}

/// RFC 8621 §4.1.2.1: NUL dropped, what isn't UTF-8 replaced.
pub fn raw_form(raw: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(raw).into_owned();
    text.retain(|c| c != '\0');
    text
}

/// RFC 8621 §4.1.2.5. Phrases between the ids are passed over (RFC 5322 §4.5.4); a value without
/// any id in angle brackets doesn't parse.
fn ids_of(raw: &[u8]) -> Option<Vec<String>> {
    let ids = angles(&words::unfold(raw));
    (!ids.is_empty()).then_some(ids)
}

/// RFC 8621 §4.1.2.7, RFC 2369 §2.
fn urls_of(raw: &[u8]) -> Option<Vec<String>> {
    let urls = angles(&words::unfold(raw));
    (!urls.is_empty()).then_some(urls)
}

/// What stands in angle brackets, without white space; comments and everything else outside of
/// them is passed over. Parentheses inside belong to the value, since URLs have them.
fn angles(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut scan = Scan { text, at: 0 };
    while let Some(token) = scan.token() {
        if token != Token::Special('<') {
            continue;
        }
        let rest = text.get(scan.at..).unwrap_or_default();
        let Some(end) = rest.find('>') else { break };
        // An opened bracket within is where the value really begins: the first was never closed.
        let start = rest[..end].rfind('<').map_or(0, |at| at + 1);
        let inner: String = rest[start..end].chars().filter(|c| !c.is_whitespace()).collect();
        if !inner.is_empty() {
            out.push(inner);
        }
        scan.at += end + 1;
    }
    out
}

/// A field as text to look into, whatever its name: unfolded and decoded.
pub fn shown_text(field: &HeaderField) -> String {
    match value_in_form(&field.value.0, HeaderForm::Text) {
        HeaderValue::Text(text) => text,
        _ => String::new(),
    }
}

/// The octets of a message's header, of the content that it was parsed from.
pub fn block<'c>(message: &MessageRow, content: &'c [u8]) -> &'c [u8] {
    let end = message.parts.first().map_or(0, |part| part.header_offset + part.header_size);
    content.get(..(end as usize).min(content.len())).unwrap_or_default()
}

/// The last field of that name as an address list; empty where there is none.
pub fn addresses(row: &MessageRow, name: &str) -> Vec<MailAddress> {
    row.field(name).map(|field| parse_addresses(&words::unfold(&field.value.0))).unwrap_or_default()
}

/// The last field of that name as message-ids; empty where there is none or it doesn't parse.
pub fn message_ids(row: &MessageRow, name: &str) -> Vec<String> {
    row.field(name).and_then(|field| ids_of(&field.value.0)).unwrap_or_default()
}

/// The last field of that name in Text form.
pub fn text(row: &MessageRow, name: &str) -> Option<String> {
    row.field(name).map(|field| words::text_form(&words::unfold(&field.value.0)))
}

/// The last field of that name as a Date of RFC 8620.
pub fn date(row: &MessageRow, name: &str) -> Option<String> {
    mail_date(row, name).map(|date| date.to_string())
}

/// The last field of that name as a date.
pub fn mail_date(row: &MessageRow, name: &str) -> Option<MailDate> {
    MailDate::parse_rfc5322(&words::unfold(&row.field(name)?.value.0))
}

/// When the message was last received: the date of its newest Received field, which stands first
/// (RFC 5321 §4.4), after the last semicolon.
pub fn received_at(row: &MessageRow) -> Option<UtcDate> {
    let field = fields_named(row.fields(), "Received").next()?;
    let text = words::unfold(&field.value.0);
    let (_, date) = text.rsplit_once(';')?;
    MailDate::parse_rfc5322(date).map(MailDate::date)
}

/// A convenience property of an Email (RFC 8621 §4.1.3): the header field that it stands for and
/// the form that it has.
pub fn convenience(property: &str) -> Option<(&'static str, HeaderForm)> {
    CONVENIENCE.iter().find(|(name, ..)| *name == property).map(|(_, field, form)| (*field, *form))
}

const CONVENIENCE: &[(&str, &str, HeaderForm)] = &[
    ("messageId", "Message-ID", HeaderForm::MessageIds),
    ("inReplyTo", "In-Reply-To", HeaderForm::MessageIds),
    ("references", "References", HeaderForm::MessageIds),
    ("sender", "Sender", HeaderForm::Addresses),
    ("from", "From", HeaderForm::Addresses),
    ("to", "To", HeaderForm::Addresses),
    ("cc", "Cc", HeaderForm::Addresses),
    ("bcc", "Bcc", HeaderForm::Addresses),
    ("replyTo", "Reply-To", HeaderForm::Addresses),
    ("subject", "Subject", HeaderForm::Text),
    ("sentAt", "Date", HeaderForm::Date),
];

/// The value of the last of the fields with that name, in that form; `None` where there is none
/// (RFC 8621 §4.1.3).
pub fn last_value(fields: &[HeaderField], name: &str, form: HeaderForm) -> Option<HeaderValue> {
    fields_named(fields, name).next_back().map(|field| value_in_form(&field.value.0, form))
}

/// The fields of that name, in order, for `:all`.
pub fn fields_named<'a>(
    fields: &'a [HeaderField],
    name: &'a str,
) -> impl DoubleEndedIterator<Item = &'a HeaderField> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    fn ids(list: &[&str]) -> Option<Vec<String>> {
        (!list.is_empty()).then(|| list.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_form_is_allowed_where_rfc_8621_allows_it() {
        use HeaderForm::*;
        let cases: &[(&str, &[HeaderForm])] = &[
            ("Subject", &[Raw, Text]),
            ("List-Id", &[Raw, Text, Addresses, GroupedAddresses, MessageIds, Date, Urls]),
            ("X-Anything", &[Raw, Text, Addresses, GroupedAddresses, MessageIds, Date, Urls]),
            ("from", &[Raw, Addresses, GroupedAddresses]),
            ("RESENT-BCC", &[Raw, Addresses, GroupedAddresses]),
            ("References", &[Raw, MessageIds]),
            ("Date", &[Raw, Date]),
            ("List-Post", &[Raw, Urls]),
            ("Received", &[Raw]),
            ("Return-Path", &[Raw]),
        ];
        for (name, allowed) in cases {
            for form in [Raw, Text, Addresses, GroupedAddresses, MessageIds, Date, Urls] {
                assert_eq!(form_allowed(name, form), allowed.contains(&form), "{name} {form:?}");
            }
        }
    }

    #[test]
    fn message_ids_and_urls_are_read_or_null() {
        let cases: &[(&[u8], &[&str])] = &[
            (b" <a@b>", &["a@b"]),
            (b" <a@b>\r\n <c@d><e@f>", &["a@b", "c@d", "e@f"]),
            (b" (x <no@no>) <a@b> (y)", &["a@b"]),
            (b" Your message of Monday <a@b>", &["a@b"]),
            (b" <a@\r\n b>", &["a@b"]),
            (b" <a <c@d>", &["c@d"]),
            (b" <\"a b\"@c>", &["\"ab\"@c"]),
            (b" <noat>", &["noat"]),
            (b" a@b", &[]),
            (b" <a@b", &[]),
            (b" <>", &[]),
            (b"", &[]),
            (
                b" <mailto:a@b?subject=x,y>, (no) <https://x.y/(z)>",
                &["mailto:a@b?subject=x,y", "https://x.y/(z)"],
            ),
            (b" NO", &[]),
        ];
        for (raw, expected) in cases {
            assert_eq!(ids_of(raw), ids(expected), "{}", raw.escape_ascii());
            assert_eq!(urls_of(raw), ids(expected), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn the_raw_form_is_exact_but_for_nul_and_what_is_not_utf_8() {
        assert_eq!(raw_form(b" a\r\n\tb "), " a\r\n\tb ");
        assert_eq!(raw_form(b" a\0b\xffc\xc3\xa4"), " ab\u{fffd}cä");
    }

    #[test]
    fn convenience_properties_come_from_the_last_field_of_their_name() {
        let row = parse(
            b"From: a@b\r\nSubject: one\r\nsubject: two\r\nTo: x:;\r\nMessage-ID: <i@j>\r\n\
              Date: Tue, 10 Jul 2018 01:03:11 +0200\r\n\r\n",
        );
        let get = |property: &str| {
            let (name, form) = convenience(property).expect("a convenience property");
            last_value(row.fields(), name, form)
        };
        let from = MailAddress { name: None, email: "a@b".to_owned() };
        assert_eq!(get("from"), Some(HeaderValue::Addresses(vec![from.clone()])));
        assert_eq!(get("subject"), Some(HeaderValue::Text("two".to_owned())));
        assert_eq!(get("to"), Some(HeaderValue::Addresses(vec![])));
        assert_eq!(get("cc"), None);
        assert_eq!(get("messageId"), Some(HeaderValue::MessageIds(ids(&["i@j"]))));
        assert_eq!(addresses(&row, "from"), vec![from]);
        assert_eq!(message_ids(&row, "references"), Vec::<String>::new());
        assert_eq!(text(&row, "subject"), Some("two".to_owned()));
        assert_eq!(date(&row, "date"), Some("2018-07-10T01:03:11+02:00".to_owned()));
    }
}
