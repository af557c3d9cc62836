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
    /// These fields are missing, can't be read, or say more than one thing.
    Invalid(Vec<&'static str>),
    /// An originator isn't among the account's addresses.
    NotOurs,
}

/// Whether an address is among these, as addresses compare.
pub fn is_own(own: &[Address], email: &str) -> bool {
    Address::parse(email).is_some_and(|address| own.iter().any(|one| one.key() == address.key()))
}

/// Checks From and Sender. A message has one From field; where that names several people, one
/// Sender says who sent it (RFC 5322 §3.6.2); where it is unclear whom a message is from, RFC 8621
/// §7 has it refused.
pub fn check(message: &MessageRow, own: &[Address]) -> Result<(), SenderFault> {
    let count =
        |name: &str| message.fields().iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    let (from, senders) = (headers::addresses(message, "from"), headers::addresses(message, "sender"));
    let has_sender = count("sender") > 0;
    let mut invalid = Vec::new();
    if from.is_empty() || count("from") > 1 || (from.len() > 1 && !has_sender) {
        invalid.push("from");
    }
    if count("sender") > 1 || (has_sender && senders.len() != 1) {
        invalid.push("sender");
    }
    if !invalid.is_empty() {
        return Err(SenderFault::Invalid(invalid));
    }
    if from.iter().chain(&senders).all(|one| is_own(own, &one.email)) {
        Ok(())
    } else {
        Err(SenderFault::NotOurs)
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
            ("From: nobody\r\nSender: a@x, b@x\r\n", invalid(&["sender"])),
            ("Sender: a@x, b@x\r\n", invalid(&["from", "sender"])),
            ("From: c@y\r\n", Err(SenderFault::NotOurs)),
            ("From: a@x\r\nSender: c@y\r\n", Err(SenderFault::NotOurs)),
        ] {
            assert_eq!(check(&parse(format!("{header}\r\n").as_bytes()), &own), expected, "{header}");
        }
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
