//! Ids: numbers inside, short strings outside (RFC 8620 §1.2).
//!
//! A JMAP id is one letter for its kind and the number in lower-case base 32, so that no two ids
//! differ only in case, none starts with a digit, and each number has exactly one spelling. An id
//! that isn't spelled that way parses to `None`: it names nothing, which is `notFound`, never an
//! error (RFC 8620 §5.1).

use super::limits::ID_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Appends `number` in base 32, most significant digit first, no leading zeros (`a`).
pub fn push_base32(out: &mut String, number: u64) {
    let mut digits = [0u8; 13];
    let mut rest = number;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
        if rest == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|&digit| digit as char));
}

/// The number that `text` spells, if it is its only spelling.
pub fn parse_base32(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 13 || (bytes.len() > 1 && bytes[0] == b'a') {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in bytes {
        let digit = digit_value(byte)?;
        number = number.checked_mul(32)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// The value of one base-32 digit.
pub(crate) fn digit_value(byte: u8) -> Option<u8> {
    match byte {
        b'a'..=b'z' => Some(byte - b'a'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    }
}

/// The digit for a value below 32.
pub(crate) fn digit(value: u8) -> char {
    ALPHABET[usize::from(value & 31)] as char
}

/// Is the text an Id at all (RFC 8620 §1.2): 1 to 255 octets of letters, digits, `-` and `_`? Ids that
/// clients make, such as creation ids, may be any of these.
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The letter that every id of this kind starts with.
            pub const LETTER: char = $letter;

            /// Reads the id; `None` where it isn't spelled as this kind is.
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.strip_prefix($letter)?;
                u32::try_from(parse_base32(digits)?).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = String::with_capacity(8);
                text.push($letter);
                push_base32(&mut text, u64::from(self.0));
                f.write_str(&text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(/// A JMAP account: a person's own mail, or an inbox. 0 is the directory, which no client sees.
    AccountId, 'a');
id!(/// A person or a team (RFC 9670 §2).
    PrincipalId, 'p');
id!(/// An Email. The number is its docnum: dense in the account and never reused.
    EmailId, 'e');
id!(/// A Thread.
    ThreadId, 't');
id!(/// A Mailbox.
    MailboxId, 'm');
id!(/// An Identity: one address that a member may send as.
    IdentityId, 'i');
id!(/// An EmailSubmission.
    SubmissionId, 's');
id!(/// A conversation of an inbox.
    ConversationId, 'c');
id!(/// A note on a conversation.
    NoteId, 'n');
id!(/// A reply lock. A conversation has at most one live lock, but each grant is an object of its own.
    LockId, 'l');
id!(/// One entry in an inbox's history, numbered without gaps.
    ActivityId, 'y');
id!(/// A quota of an account (RFC 9425).
    QuotaId, 'q');
id!(/// What a person is told of a change of what they may do (RFC 9670 §3).
    ShareNotificationId, 'h');
id!(/// An app password.
    CredentialId, 'k');
id!(/// A push subscription (RFC 8620 §7.2), unique among those of one principal.
    PushSubscriptionId, 'w');

impl AccountId {
    /// The keyspace of principals, accounts and addresses. No session ever contains it.
    pub const DIRECTORY: AccountId = AccountId(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_one_spelling_only() {
        assert_eq!(MailboxId(0).to_string(), "ma");
        assert_eq!(MailboxId(32).to_string(), "mba");
        assert_eq!(MailboxId::parse("mba"), Some(MailboxId(32)));
        for wrong in ["", "m", "maba", "mBA", "eba", "m0", "m1", "mzzzzzzzzzzzzzz", "m7777777"] {
            assert_eq!(MailboxId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_has_1_to_255_octets_of_the_safe_alphabet() {
        for fine in ["a", "-", "_", "0", "Az09-_", &"x".repeat(255)] {
            assert!(is_id(fine), "{fine}");
        }
        for wrong in ["", "a b", "a.b", "a/b", "#a", "a=", "é", "a\n", &"x".repeat(256)] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_id_of_ours_is_an_id_as_the_rfc_defines_it(number: u32) {
            for id in [EmailId(number).to_string(), AccountId(number).to_string(), MailboxId(number).to_string()] {
                prop_assert!(is_id(&id) && id.as_bytes()[0].is_ascii_lowercase());
                prop_assert_eq!(id.to_ascii_lowercase(), id);
            }
        }

        #[test]
        fn ids_come_back_as_they_went(number: u32) {
            prop_assert_eq!(EmailId::parse(&EmailId(number).to_string()), Some(EmailId(number)));
        }

        #[test]
        fn any_text_parses_to_an_id_that_prints_as_it_or_to_nothing(text in "[a-z2-7]{0,15}") {
            if let Some(id) = EmailId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
