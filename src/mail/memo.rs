//! Memos: how a text that stays in the house looks as mail (keyword `$memo`), and how such a message is
//! known again in whatever somebody is about to send.
//!
//! A memo has its mark (`keyed.rs`) as From, Reply-To and Message-ID and at the end of its text, and
//! nobody's address: an answer goes nowhere, and what quotes, forwards or attaches it carries the mark.
//! Deliberately absent: what memos are of, and when there is one.

use super::addresses::MailAddress;
use super::body;
use super::compose::{
    ComposeDefaults, ComposeError, Draft, DraftContent, DraftHeader, DraftPart, DraftValue,
};
use super::compose_headers::is_writable_id;
use super::headers;
use super::keyed::WireKeys;
use super::{compose, parse};
use crate::store::rows::message::{MessageRow, PartRow};
use crate::types::{Keyword, TransferEncoding, limits};
use std::borrow::Cow;

/// What begins the footer, in a line of its own. No signature's separator stands before it: clients leave out
/// what follows one when they quote.
const FOOTER: &str = "This is an internal note. It is never sent to anybody.";

/// Messages within messages that are looked into.
const DEPTH_MAX: usize = 16;

/// Whether keywords make a message of an inbox a memo.
pub fn is_memo<'k>(mut keywords: impl Iterator<Item = &'k Keyword>) -> bool {
    keywords.any(|keyword| keyword.as_str() == Keyword::MEMO)
}

/// A memo to write.
pub struct Memo<'a> {
    /// Its address and Message-ID.
    pub mark: &'a str,
    /// Whose text it is.
    pub author: &'a str,
    /// The subject of what it is about.
    pub subject: &'a str,
    /// Message-IDs of what it is about, the message itself last.
    pub references: Vec<String>,
    pub text: &'a str,
    /// The names of files that belong to the text. The files are not in the memo.
    pub files: Vec<&'a str>,
}

/// Writes the message.
pub fn compose(memo: &Memo<'_>, defaults: &ComposeDefaults) -> Result<Vec<u8>, ComposeError> {
    let header = |name: &str, value: DraftValue| DraftHeader { name: name.to_owned(), value };
    let shown = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let itself = MailAddress { name: Some(shown(memo.author)), email: memo.mark.to_owned() };
    let mut fields = vec![
        header("From", DraftValue::Addresses(vec![itself.clone()])),
        header("Reply-To", DraftValue::Addresses(vec![itself])),
        header("Subject", DraftValue::Text(shown(memo.subject))),
    ];
    let references: Vec<String> = memo.references.iter().filter(|id| is_writable_id(id)).cloned().collect();
    if let Some(about) = references.last().cloned() {
        fields.push(header("In-Reply-To", DraftValue::MessageIds(vec![about])));
        fields.push(header("References", DraftValue::MessageIds(references)));
    }
    let mut text = memo.text.trim_end().to_owned();
    if !memo.files.is_empty() {
        let names: Vec<String> = memo.files.iter().map(|name| shown(name)).collect();
        text.push_str(&format!("\n\nAttached: {}", names.join(", ")));
    }
    text.push_str(&format!("\n\n{FOOTER}\n{}\n", memo.mark));
    let part = DraftPart {
        media_type: Some("text/plain".to_owned()),
        content: DraftContent::Text(text),
        ..DraftPart::default()
    };
    compose::compose(
        &Draft { headers: fields, body: compose::arrange(Some(part), None, Vec::new()) },
        defaults,
    )
}

/// The text of a memo that somebody else wrote, without a footer of ours that an edit took along. What is
/// quoted stays, and what is written below it.
pub fn text(message: &MessageRow, raw: &[u8]) -> String {
    let text = body::text(message, raw, limits::NOTE_BYTES_MAX + 1);
    let mut lines = text.lines().peekable();
    let mut own: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim_end() != FOOTER {
            own.push(line);
            continue;
        }
        lines.next_if(|line| WireKeys::looks_like_memo(line.trim()));
    }
    own.join("\n").trim().to_owned()
}

/// The files that somebody put into a memo: name, media type, content.
pub fn files(message: &MessageRow, raw: &[u8]) -> Vec<(Option<String>, String, Vec<u8>)> {
    let parts = body::lists(message).attachments.into_iter().filter_map(|at| message.parts.get(at as usize));
    parts.map(|part| (part.name.clone(), part.media_type.clone(), body::decode(part, raw))).collect()
}

/// Whether a memo's mark is anywhere in a message: in its header, in a text however it is encoded, in a
/// message that is attached to it. What somebody typed anew, or packed into an archive, can't be known.
pub fn is_in(keys: &WireKeys, message: &MessageRow, raw: &[u8]) -> bool {
    keys.find_memo(raw).is_some() || holds(keys, message, raw, 0)
}

fn holds(keys: &WireKeys, message: &MessageRow, raw: &[u8], depth: usize) -> bool {
    let marked = |text: &[u8]| keys.find_memo(text).is_some();
    let in_fields =
        |part: &PartRow| part.fields.iter().any(|field| marked(headers::shown_text(field).as_bytes()));
    let in_part = |part: &PartRow| {
        if in_fields(part) {
            return true;
        }
        if !part.children.is_empty() {
            return false;
        }
        let is_text = part.media_type.starts_with("text/");
        if is_text && marked(body::body_value(part, raw, 0).value.as_bytes()) {
            return true;
        }
        // What isn't encoded was looked at with the whole, and isn't copied again at each depth.
        let is_plain = part.encoding == TransferEncoding::Identity;
        let content = match is_plain {
            true => Cow::Borrowed(body::encoded(part, raw)),
            false => Cow::Owned(body::decode(part, raw)),
        };
        let is_message = part.media_type == "message/rfc822" || part.media_type == "message/global";
        let goes_on = is_message && depth < DEPTH_MAX;
        (!is_plain && marked(&content))
            || (goes_on && holds(keys, &parse::parse(&content), &content, depth + 1))
    };
    message.parts.iter().any(in_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::date::MailDate;
    use crate::types::{AccountId, Millis, NoteId};
    use proptest::prelude::*;

    fn keys() -> WireKeys {
        WireKeys::seeded(7)
    }

    fn memo(mark: &str, text: &str) -> Vec<u8> {
        written(&Memo {
            mark,
            author: "Änn",
            subject: "Re: Broken",
            references: vec!["a@c.example".to_owned(), "b@c.example".to_owned()],
            text,
            files: vec!["plan.pdf", "two.png"],
        })
    }

    fn written(memo: &Memo<'_>) -> Vec<u8> {
        let mark = memo.mark;
        let defaults = ComposeDefaults {
            message_id: mark.to_owned(),
            date: MailDate::utc(Millis(0)),
            boundary_seed: [0; 16],
        };
        compose(memo, &defaults).unwrap()
    }

    proptest! {
        /// What a stranger's message is called and refers to keeps nobody from writing a note on it.
        #[test]
        fn a_memo_can_be_written_of_whatever_it_is_about(
            author in any::<String>(), subject in any::<String>(), text in any::<String>(), file in any::<String>(),
            references in prop::collection::vec(any::<String>(), 0..4), long in 800usize..2000,
        ) {
            let references = references.into_iter().chain(["x".repeat(long)]).collect();
            let files = vec![file.as_str()];
            let (mark, author, subject, text) = ("mark@memo.invalid", author.as_str(), subject.as_str(), text.as_str());
            let raw = written(&Memo { mark, author, subject, references, text, files });
            prop_assert_eq!(headers::message_ids(&parse::parse(&raw), "message-id"), ["mark@memo.invalid"]);
        }
    }

    fn is_in_text(raw: &[u8]) -> bool {
        is_in(&keys(), &parse::parse(raw), raw)
    }

    #[test]
    fn a_memo_names_nobody_and_what_it_is_about() {
        let raw = memo("mark@memo.invalid", "Don't tell them.\nÜber");
        let text = String::from_utf8(raw.clone()).unwrap();
        let row = parse::parse(&raw);
        let ids = |name: &str| headers::message_ids(&row, name);
        assert_eq!(ids("message-id"), ["mark@memo.invalid"]);
        assert_eq!(ids("in-reply-to"), ["b@c.example"]);
        assert_eq!(ids("references"), ["a@c.example", "b@c.example"]);
        assert!(text.contains("<mark@memo.invalid>") && !text.contains("\r\nTo:"), "{text}");
        let body = body::text(&row, &raw, usize::MAX);
        assert_eq!(
            body,
            format!("Don't tell them.\nÜber\n\nAttached: plan.pdf, two.png\n\n{FOOTER}\nmark@memo.invalid\n")
        );
    }

    #[test]
    fn the_text_of_an_edited_memo_has_no_footer() {
        let mark = keys().memo(AccountId(3), NoteId(9));
        let raw = memo(&mark, "Once");
        assert_eq!(text(&parse::parse(&raw), &raw), "Once\n\nAttached: plan.pdf, two.png");
        let raw = format!("Subject: x\r\n\r\n> Once\r\n> {FOOTER}\r\n> {mark}\r\n\r\nMy answer\r\n");
        let raw = raw.as_bytes();
        assert_eq!(text(&parse::parse(raw), raw), format!("> Once\n> {FOOTER}\n> {mark}\n\nMy answer"));
        let raw = b"Content-Type: text/html\r\n\r\n<p>Two <b>words</b></p>";
        assert_eq!(text(&parse::parse(raw), raw), "Two words");
        let raw = b"Subject: x\r\n\r\nOne\r\n-- \r\nmine";
        assert_eq!(text(&parse::parse(raw), raw), "One\n-- \nmine");
    }

    #[test]
    fn a_memo_is_known_in_whatever_holds_it() {
        let mark = keys().memo(AccountId(3), NoteId(9));
        let raw = memo(&mark, "Don't tell them.");
        assert!(is_in_text(&raw), "itself");
        let coded = |media: &str, content: &[u8]| {
            let mut out =
                format!("Content-Type: {media}\r\nContent-Transfer-Encoding: base64\r\n\r\n").into_bytes();
            crate::mail::transfer::encode_base64(content, &mut out);
            out
        };
        let quoted = format!("> Don't tell\n> {mark}\n");
        let utf16: Vec<u8> = quoted.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let within = coded("message/rfc822", &coded("text/plain", quoted.as_bytes()));
        for (what, text) in [
            ("a quote", format!("Subject: x\r\n\r\n{quoted}").into_bytes()),
            ("a quote in base64", coded("text/plain", quoted.as_bytes())),
            ("a quote in UTF-16", coded("text/plain; charset=utf-16le", &utf16)),
            (
                "a link",
                coded("text/html", format!("<a href='mailto:{}'>", mark.replace('@', "%40")).as_bytes()),
            ),
            ("attached", coded("message/rfc822", &raw)),
            ("attached as a file", coded("application/octet-stream", &raw)),
            ("a quote in what is attached", within),
            ("an answer", format!("References: <x@y>\r\n <{mark}>\r\n\r\nok").into_bytes()),
            ("a recipient", format!("To: {}\r\n\r\nok", mark.to_uppercase()).into_bytes()),
        ] {
            assert!(is_in_text(&text), "{what}");
        }
        let strange = format!("Subject: x\r\n\r\n{}", mark.replacen(&mark[..1], "?", 1));
        for text in ["Subject: x\r\n\r\nhello", "To: a@memo.invalid\r\n\r\nhello", &strange] {
            assert!(!is_in_text(text.as_bytes()), "{text}");
        }
    }
}
