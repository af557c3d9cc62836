//! A message as a distribution list passes it on: its content as it came, under the fields of the list
//! (RFC 2369, RFC 2919) in place of those of another one.
//!
//! Nothing that a signature covers is changed, so that an author's DKIM signature holds, and with it DMARC
//! for the author's address in From. Where there is no such signature, only the author's own servers would
//! pass for the author: then From names the list, and Reply-To the author.

use super::addresses::MailAddress;
use super::compose::{ComposeError, DraftValue};
use super::compose_headers::HeaderWriter;
use super::{fields, headers, words};
use crate::store::rows::message::MessageRow;
use crate::types::Address;

/// Fields that only the list through which a message came last may set (RFC 2369 §4, RFC 2919 §6), and those
/// of one delivery (RFC 5321 §4.4; RFC 5322 §3.6.3: Bcc).
const TAKEN_OUT: [&str; 11] = [
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Precedence",
    "Return-Path",
    "Bcc",
];

/// What a list says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ListFields<'a> {
    pub name: &'a str,
    pub address: &'a Address,
    pub owner: Option<&'a Address>,
}

/// The message with the list's fields in its header, behind `trace`.
pub fn passed_on(
    content: &[u8],
    message: &MessageRow,
    trace: &[u8],
    list: ListFields<'_>,
) -> Result<Vec<u8>, ComposeError> {
    let mut header = HeaderWriter::default();
    header.field("List-Id", &DraftValue::Raw(format!(" {}", identifier_field(list)?)))?;
    header.field("List-Post", &DraftValue::Urls(vec![mailto(list.address, "")]))?;
    if let Some(owner) = list.owner {
        header.field("List-Owner", &DraftValue::Urls(vec![mailto(owner, "")]))?;
        header.field("List-Unsubscribe", &DraftValue::Urls(vec![mailto(owner, "?subject=unsubscribe")]))?;
    }
    header.field("Precedence", &DraftValue::Text("list".to_owned()))?;
    // A list in between takes List-Id out, and leaves this.
    header.field("X-Loop", &DraftValue::Raw(format!(" {}", list.address.key())))?;
    let from = headers::addresses(message, "from");
    let speaks_for = from.first().filter(|_| !is_signed(message, &from, list.address));
    if let Some(author) = speaks_for {
        let known = plain(author.name.as_deref().unwrap_or(author.email.as_str()));
        let by = |name| MailAddress { name, email: list.address.to_string() };
        let named = by(Some(format!("{known} via {}", list.name)));
        // An author may be called anything: what can't be written is left out, and the mail goes on.
        if header.field("From", &DraftValue::Addresses(vec![named])).is_err() {
            header.field("From", &DraftValue::Addresses(vec![by(None)]))?;
        }
        let answerable = from.iter().filter(|one| Address::parse(&one.email).is_some());
        let answerable: Vec<MailAddress> = answerable
            .map(|one| MailAddress { name: one.name.as_deref().map(plain), email: one.email.clone() })
            .collect();
        if message.field("Reply-To").is_none()
            && !answerable.is_empty()
            && let Err(error) = header.field("Reply-To", &DraftValue::Addresses(answerable))
        {
            tracing::debug!(%error, "a list can't say where its author is answered");
        }
    }
    let mut out = [trace, &header.into_bytes()].concat();
    let taken_out = |name: &[u8]| {
        TAKEN_OUT.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
            || (speaks_for.is_some() && name.eq_ignore_ascii_case(b"From"))
    };
    let body = fields::split(
        content,
        0,
        |_| false,
        |field| {
            if !taken_out(&content[field.name]) {
                out.extend_from_slice(&content[field.whole]);
            }
        },
    );
    // The last field of a message without a body may lack its end.
    if !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(content.get(body..).unwrap_or_default());
    Ok(out)
}

/// A name on one line, and no longer than a name is.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NAME_CHARS_MAX).collect()
}

/// What is told of an author's name.
const NAME_CHARS_MAX: usize = 100;

/// Whether the message came through this list before.
pub fn came_through(message: &MessageRow, address: &Address) -> bool {
    let own = format!("<{}>", identifier(address));
    message.fields().iter().any(|field| {
        let value = || words::unfold(&field.value.0).trim().to_lowercase();
        field.name.eq_ignore_ascii_case("List-Id") && value().contains(&own)
            || field.name.eq_ignore_ascii_case("X-Loop") && value() == address.key()
    })
}

/// Whether DATA carries the octets as they are: it has no bare CR or LF, and no NUL (RFC 5321 §2.3.8, §4.5.2;
/// RFC 3030 §3).
pub fn goes_by_data(content: &[u8]) -> bool {
    let mut before = 0;
    let fits = |octet: u8| {
        let after_cr = std::mem::replace(&mut before, octet) == b'\r';
        octet != 0 && after_cr == (octet == b'\n')
    };
    content.iter().copied().all(fits) && content.last() != Some(&b'\r')
}

/// RFC 2919 §2: the list's address with a point for the `@`, as addresses compare.
fn identifier(address: &Address) -> String {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '=');
    let dotted = address.key().replacen('"', "", 2).replace('@', ".");
    dotted.chars().map(|c| if fits(c) { c } else { '-' }).collect()
}

/// RFC 2919 §3: a phrase and the identifier. The phrase is written as that of a mailbox, which it is like.
fn identifier_field(list: ListFields<'_>) -> Result<String, ComposeError> {
    let named = MailAddress { name: Some(list.name.to_owned()), email: "l@l".to_owned() };
    let mut writer = HeaderWriter::default();
    writer.field("L", &DraftValue::Addresses(vec![named]))?;
    let written = String::from_utf8_lossy(&writer.into_bytes()).into_owned();
    let phrase = written.trim_start_matches("L:").trim().trim_end_matches("<l@l>").trim_end();
    Ok(format!("{phrase}\r\n <{}>", identifier(list.address)))
}

/// RFC 6068 §2.
fn mailto(address: &Address, query: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~@+!$'*".contains(&b);
    let mut url = "mailto:".to_owned();
    for byte in address.as_str().bytes() {
        if plain(byte) {
            url.push(char::from(byte));
        } else {
            url += &format!("%{byte:02X}");
        }
    }
    url + query
}

/// Whether DMARC can pass for From though the list sends it: by a signature of its domain, or because the
/// list's domain is the same. Domains are aligned where one is the other or below it (RFC 7489 §3.1.1).
fn is_signed(message: &MessageRow, from: &[MailAddress], list: &Address) -> bool {
    let [author] = from else { return from.is_empty() };
    let Some(author) = Address::parse(&author.email).map(|address| address.domain_key()) else {
        return false;
    };
    let below = |one: &str, other: &str| one == other || one.ends_with(&format!(".{other}"));
    let aligned = |domain: &str| below(domain, &author) || below(&author, domain);
    let mut signatures =
        message.fields().iter().filter(|field| field.name.eq_ignore_ascii_case("DKIM-Signature"));
    aligned(&list.domain_key())
        || signatures.any(|field| signing_domain(&words::unfold(&field.value.0)).is_some_and(|d| aligned(&d)))
}

/// The `d=` of a signature (RFC 6376 §3.5).
fn signing_domain(signature: &str) -> Option<String> {
    let mut tags = signature.split(';').filter_map(|tag| tag.split_once('='));
    let (_, domain) = tags.find(|(name, _)| name.trim() == "d")?;
    // A top-level domain signs for nobody.
    Some(domain.trim().to_ascii_lowercase()).filter(|domain| domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    fn passed(content: &str, owner: Option<&str>) -> String {
        let address = Address::parse("All@Example.com").unwrap();
        let owner = owner.map(|owner| Address::parse(owner).unwrap());
        let list = ListFields { name: "All of us", address: &address, owner: owner.as_ref() };
        let content = content.replace('\n', "\r\n");
        let message = parse(content.as_bytes());
        let out = passed_on(content.as_bytes(), &message, b"Received: trace\r\n", list).unwrap();
        String::from_utf8(out).unwrap().replace("\r\n", "\n")
    }

    const OWN: &str =
        "Received: trace\nList-Id: All of us\n <all.example.com>\nList-Post: <mailto:All@Example.com>\n";

    #[test]
    fn data_carries_no_bare_line_break_and_no_nul() {
        for fits in [&b""[..], b"a", b"a\r\n", b"\r\n\r\nb\x7f\xff"] {
            assert!(goes_by_data(fits), "{}", fits.escape_ascii());
        }
        for binary in [&b"\n"[..], b"a\nb", b"\r", b"a\rb", b"a\r\r\nb", b"a\r\n\n", b"a\0b", b"\r\n\r"] {
            assert!(!goes_by_data(binary), "{}", binary.escape_ascii());
        }
    }

    #[test]
    fn a_signed_message_keeps_all_that_is_signed_and_loses_another_lists_fields() {
        let content = "DKIM-Signature: v=1; a=rsa-sha256; d=Customer.example; h=from:subject;\n b=abc\n\
                       From: Marta <marta@mail.customer.example>\nlist-id: <other.list>\nList-Post: NO\n\
                       Bcc: secret@x.example\nReturn-Path: <x@y>\nSubject: Hi\n\nBody: no field\n";
        assert_eq!(
            passed(content, None).replace(OWN, "OWN\n"),
            "OWN\nPrecedence: list\nX-Loop: all@example.com\n\
            DKIM-Signature: v=1; a=rsa-sha256; d=Customer.example; h=from:subject;\n b=abc\n\
            From: Marta <marta@mail.customer.example>\nSubject: Hi\n\nBody: no field\n"
        );
        let with_owner = passed(content, Some("\"ann\\\"\"@x.example"));
        assert!(with_owner.starts_with(OWN), "{with_owner}");
        let owner = "\nList-Owner: <mailto:%22ann%5C%22%22@x.example>\n\
                     List-Unsubscribe: <mailto:%22ann%5C%22%22@x.example?subject=unsubscribe>\n";
        assert!(with_owner.contains(owner), "{with_owner}");
    }

    #[test]
    fn from_names_the_list_where_nothing_else_could_pass_for_the_author() {
        let plain = "From: Marta Ä <marta@customer.example>\nSubject: Hi\n\nHello\n";
        let text = passed(plain, None);
        assert!(text.contains("\nReply-To: "), "{text}");
        let message = parse(text.replace('\n', "\r\n").as_bytes());
        let one = |name: &str| headers::addresses(&message, name);
        let address = |name: &str, email: &str| MailAddress { name: Some(name.into()), email: email.into() };
        assert_eq!(one("from"), [address("Marta Ä via All of us", "All@Example.com")]);
        assert_eq!(one("reply-to"), [address("Marta Ä", "marta@customer.example")]);
        let asked = "From: m@customer.example\nReply-To: desk@customer.example\n\nHello\n";
        let text = passed(asked, None);
        assert_eq!(text.matches("Reply-To:").count(), 1, "{text}");
        assert!(text.contains("From: \"m@customer.example via All of us\" <All@Example.com>\n"), "{text}");
        for kept in [
            "From: ann@example.com\n\nx",
            "From: ann@dept.example.com\n\nx",
            "DKIM-Signature: d=customer.example; b=x\nFrom: m@customer.example\n\nx",
            "Subject: nobody's\n\nx",
        ] {
            assert!(!passed(kept, None).contains(" via "), "{kept}");
        }
        for foreign in ["d=other.example; b=x", "d=example; b=x", "b=d=customer.example"] {
            let text = format!("DKIM-Signature: {foreign}\nFrom: m@customer.example\n\nx");
            assert!(passed(&text, None).contains(" via All of us"), "{foreign}");
        }
    }

    #[test]
    fn octets_without_a_header_are_a_body_and_a_header_without_a_body_is_ended() {
        assert_eq!(
            passed("no header\nat all", None),
            format!("{OWN}Precedence: list\nX-Loop: all@example.com\n\nno header\nat all")
        );
        assert_eq!(
            passed("Subject: x", None),
            format!("{OWN}Precedence: list\nX-Loop: all@example.com\nSubject: x\n\n")
        );
    }

    #[test]
    fn a_message_that_came_through_the_list_is_known_by_its_identifier() {
        let all = Address::parse("all@Bücher.example").unwrap();
        for (field, came) in [
            ("List-Id: All <all.xn--bcher-kva.example>", true),
            ("LIST-ID:\r\n <ALL.XN--BCHER-KVA.example>", true),
            ("List-Id: <all.other.example>", false),
            ("X-Loop: all@xn--bcher-kva.example", true),
            ("X-Loop: other@xn--bcher-kva.example", false),
            ("Subject: <all.xn--bcher-kva.example>", false),
        ] {
            assert_eq!(came_through(&parse(format!("{field}\r\n\r\n").as_bytes()), &all), came, "{field}");
        }
        assert_eq!(identifier(&Address::parse("\"a b\"@X.example").unwrap()), "a-b.x.example");
    }

    #[test]
    fn whatever_an_author_is_called_the_mail_goes_on() {
        for name in ["\"Very long\n\tname\"", "=?utf-8?q?a=0Ab?=", "\"a\\\u{1}b\"", &"n".repeat(3000)] {
            let text = format!("From: {name} <marta@c.example>\nSubject: x\n\nText\n");
            let out = passed(&text, None);
            assert!(out.contains("<All@Example.com>") && out.contains("\nReply-To: "), "{out}");
            assert!(out.ends_with("\n\nText\n"), "{out}");
        }
    }
}
