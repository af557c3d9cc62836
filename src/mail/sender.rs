//! Who a message is from and to, as far as sending it goes (RFC 8621 §7): what its header must say
//! so that it may be sent, and the envelope where a client gives none.

use super::addresses::parse_addresses;
use super::{headers, words};
use crate::store::rows::mail::{MailAddress, StoredMessage};
use crate::store::rows::message::MessageRow;
use crate::types::Address;

/// What is wrong with the originators of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SenderFault {
    /// These properties of the Email are missing, can't be read, or say more than one thing.
    Invalid(Vec<&'static str>),
    /// An address in From isn't among the account's.
    NotOurs,
}

/// Whether an address is among these, as addresses compare.
pub fn is_own(own: &[Address], email: &str) -> bool {
    Address::parse(email).is_some_and(|address| own.iter().any(|one| one.key() == address.key()))
}

/// The fields of which a message has one at most (RFC 5322 §3.6), as properties of an Email.
const ONCE: [(&str, &str); 10] = [
    ("date", "sentAt"),
    ("from", "from"),
    ("sender", "sender"),
    ("reply-to", "replyTo"),
    ("to", "to"),
    ("cc", "cc"),
    ("bcc", "bcc"),
    ("message-id", "messageId"),
    ("in-reply-to", "inReplyTo"),
    ("subject", "subject"),
];

/// Checks what a message that is sent must have (RFC 8621 §4.6, §7.5): one From, and one Sender where that
/// names several people (RFC 5322 §3.6.2); a Date; addresses where there are fields of addresses; and no
/// field twice. From must be ours. Whom Sender names is only looked at for the envelope ([`mail_from`]).
pub fn check(message: &MessageRow, own: &[Address]) -> Result<(), SenderFault> {
    let count =
        |name: &str| message.fields().iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    let from = headers::addresses(message, "from");
    let is_wrong = |name: &str| {
        let addresses = || headers::addresses(message, name);
        // An address that can't be sent to is the envelope's to refuse, where it is one of its recipients.
        let unreadable = || addresses().is_empty() || addresses().iter().any(|one| !one.email.contains('@'));
        match name {
            "date" => headers::mail_date(message, "date").is_none(),
            "from" => unreadable() || (from.len() > 1 && count("sender") == 0),
            "sender" => count("sender") > 0 && addresses().len() != 1,
            "reply-to" => count(name) > 0 && unreadable(),
            _ => false,
        }
    };
    let wrong = ONCE.iter().filter(|(name, _)| count(name) > 1 || is_wrong(name));
    let invalid: Vec<&'static str> = wrong.map(|(_, property)| *property).collect();
    if !invalid.is_empty() {
        return Err(SenderFault::Invalid(invalid));
    }
    match from.iter().all(|one| is_own(own, &one.email)) {
        true => Ok(()),
        false => Err(SenderFault::NotOurs),
    }
}

/// Whether a header block can be sent as it stands: a CR or NUL within a line would be a line end, or
/// nothing, to whoever reads it next, and fields that nobody looked at would begin there (RFC 5322 §2.2,
/// RFC 5321 §2.3.8).
pub fn has_plain_lines(header: &[u8]) -> bool {
    let mut pairs = header.iter().zip(header.iter().skip(1).chain(std::iter::once(&0)));
    !pairs.any(|(octet, next)| *octet == 0 || (*octet == b'\r' && *next != b'\n'))
}

/// The envelope sender of a message that passed [`check`]: Sender, else From; where the Identity
/// is of another address, the Identity's.
pub fn mail_from(message: &MessageRow, identity: &Address) -> Address {
    let senders = headers::addresses(message, "sender");
    let from = headers::addresses(message, "from");
    let found = senders.first().or(from.first()).and_then(|one| Address::parse(&one.email));
    found.filter(|found| found.key() == identity.key()).unwrap_or_else(|| identity.clone())
}

/// The recipients in To, Cc and Bcc, each once, and what stands there and can't be sent to.
pub fn recipients(stored: &StoredMessage) -> (Vec<Address>, Vec<String>) {
    let (mut valid, mut invalid): (Vec<Address>, Vec<String>) = (Vec::new(), Vec::new());
    for name in ["to", "cc", "bcc"] {
        for one in all_addresses(&stored.message, name) {
            match Address::parse(&one.email) {
                Some(address) if valid.iter().any(|known| known.key() == address.key()) => {}
                Some(address) => valid.push(address),
                None if invalid.contains(&one.email) => {}
                None => invalid.push(one.email),
            }
        }
    }
    (valid, invalid)
}

/// To, Cc and Bcc where they name something that is no address.
pub fn unreadable_recipients(message: &MessageRow) -> Vec<&'static str> {
    let is_wrong = |name: &&str| all_addresses(message, name).iter().any(|one| !one.email.contains('@'));
    ["to", "cc", "bcc"].into_iter().filter(is_wrong).collect()
}

/// The addresses of every field of that name: RFC 5322 §3.6.3 allows one, and clients write more.
fn all_addresses(message: &MessageRow, name: &str) -> Vec<MailAddress> {
    let fields = message.fields().iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    fields.flat_map(|field| parse_addresses(&words::unfold(&field.value.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::parse::parse;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn stored(text: &str) -> StoredMessage {
        StoredMessage { prefix: Vec::new(), message: parse(text.as_bytes()) }
    }

    #[test]
    fn a_message_is_from_one_of_our_addresses_and_says_so_once() {
        let own = [address("a@x"), address("b@x")];
        let invalid = |fields: &[&'static str]| Err(SenderFault::Invalid(fields.to_vec()));
        for (header, expected) in [
            ("From: A@X\r\n", Ok(())),
            ("From: a@x, b@x\r\nSender: a@x\r\n", Ok(())),
            ("Subject: no From\r\n", invalid(&["from"])),
            ("From: a@x, b@x\r\n", invalid(&["from"])),
            ("From: a@x\r\nFrom: a@x\r\n", invalid(&["from"])),
            ("From: a@x\r\nSender: a@x\r\nSender: a@x\r\n", invalid(&["sender"])),
            ("From: nobody\r\nSender: a@x, b@x\r\n", invalid(&["from", "sender"])),
            ("Sender: a@x, b@x\r\n", invalid(&["from", "sender"])),
            ("From: a@x\r\nReply-To: nobody\r\n", invalid(&["replyTo"])),
            ("From: a@x\r\nTo: c@y\r\nTo: c@y\r\nSubject: 1\r\nSubject: 2\r\n", invalid(&["to", "subject"])),
            ("From: c@y\r\n", Err(SenderFault::NotOurs)),
            ("From: a@x, c@y\r\nSender: a@x\r\n", Err(SenderFault::NotOurs)),
            ("From: a@x\r\nSender: c@y\r\n", Ok(())),
        ] {
            let header = format!("Date: Fri, 27 Nov 2026 10:00:00 +0100\r\n{header}");
            assert_eq!(check(&parse(format!("{header}\r\n").as_bytes()), &own), expected, "{header}");
        }
    }

    #[test]
    fn a_message_without_a_date_that_can_be_read_is_invalid() {
        let own = [address("a@x")];
        for date in ["", "Date: yesterday\r\n"] {
            let message = parse(format!("{date}From: a@x\r\n\r\n").as_bytes());
            assert_eq!(check(&message, &own), Err(SenderFault::Invalid(vec!["sentAt"])), "{date}");
        }
    }

    #[test]
    fn recipient_fields_with_something_else_than_addresses_are_told() {
        let of = |text: &str| unreadable_recipients(&parse(text.as_bytes()));
        assert_eq!(of("To: c@y, A <d@z>\r\nCc: nobody:;\r\n\r\n"), [""; 0]);
        assert_eq!(of("To: nonsense\r\nBcc: c@y, d\r\n\r\n"), ["to", "bcc"]);
    }

    #[test]
    fn the_envelope_follows_from_the_header_and_the_identity() {
        let both = stored("From: a@x\r\nSender: B@x\r\nTo: c@y, A@X\r\nCc: C@Y, bad\r\nBcc: d@z\r\n\r\n");
        assert_eq!(mail_from(&both.message, &address("b@x")), address("B@x"));
        assert_eq!(mail_from(&both.message, &address("a@x")), address("a@x"));
        let (valid, invalid) = recipients(&both);
        assert_eq!(valid, [address("c@y"), address("A@X"), address("d@z")]);
        assert_eq!(invalid, ["bad"]);
    }

    #[test]
    fn a_header_with_line_ends_that_others_see_elsewhere_is_told() {
        for (header, fits) in [
            ("From: a@x\r\nTo: b@y\r\n\r\n", true),
            ("From: a@x\nTo: b@y\n\n", true),
            ("From: a@x\r\nX: y\rFrom: c@y\r\n\r\n", false),
            ("X: y\r\r\n", false),
            ("X: \0\r\n", false),
            ("X: y\r", false),
            ("", true),
        ] {
            assert_eq!(has_plain_lines(header.as_bytes()), fits, "{header:?}");
        }
    }
}
