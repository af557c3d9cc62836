//! What of ours on the wire can be told from what somebody made up: the return path of a
//! submission, the Message-IDs that we make, and the mark of a memo. Each carries a hash that only
//! this server's secret gives, so that a bounce or a reference proves that its maker has seen our
//! message, and a memo is known by its mark wherever it turns up.
//!
//! ```text
//! return path   bounce+TOKEN@domain     TOKEN = account, submission, keyed hash of both
//! Message-ID    <TOKEN.pr@hostname>     TOKEN = random octets, keyed hash of them
//! memo          TOKEN@memo.invalid      TOKEN = account, note, keyed hash of both
//! ```
//!
//! A token is 20 octets in 32 digits of lower case: local parts lose their case on the way.

use crate::auth::View;
use crate::store::rows::directory::SecretRow;
use crate::store::{Read, StoreError, StoreResult};
use crate::types::{AccountId, Address, NoteId, Random, SubmissionId};
use memchr::memmem;
use subtle::ConstantTimeEq;

const RETURN_PATH_CONTEXT: &str = "postroom.dev 2026-11 return path";
const MESSAGE_ID_CONTEXT: &str = "postroom.dev 2026-11 message id";
const MEMO_CONTEXT: &str = "postroom.dev 2026-11 memo";
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const TOKEN_BYTES: usize = 20;
const TOKEN_DIGITS: usize = 32;
/// What every return path of ours begins with.
const RETURN_PATH_START: &str = "bounce+";
const MESSAGE_ID_END: &str = ".pr";
/// Where no mail can go (RFC 2606 §2).
const MEMO_DOMAIN: &str = "memo.invalid";
/// What parts the token of a memo from its domain: as it is, and as URLs, quoted-printable and HTML have it.
const ATS: [&str; 6] = ["@", "%40", "=40", "&#64;", "&#x40;", "&commat;"];

/// The keys, made of the server's secret.
#[derive(Clone)]
pub struct WireKeys {
    return_path: [u8; 32],
    message_id: [u8; 32],
    memo: [u8; 32],
}

/// Who made a Message-ID, as far as its form tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// This server.
    Us,
    /// It looks like one of ours and isn't.
    Forger,
    /// Somebody else: a mail client of ours or of theirs.
    Other,
}

impl WireKeys {
    /// The keys of a server whose directory is at hand.
    pub fn of(view: &View) -> Self {
        Self {
            return_path: view.key(RETURN_PATH_CONTEXT),
            message_id: view.key(MESSAGE_ID_CONTEXT),
            memo: view.key(MEMO_CONTEXT),
        }
    }

    /// The same where only the store is.
    pub fn load(read: &dyn Read) -> StoreResult<Self> {
        let secret: Option<SecretRow> = read.row(AccountId::DIRECTORY, ())?;
        let secret =
            secret.ok_or_else(|| StoreError::Corrupt("the server's secret is missing".to_owned()))?;
        Ok(Self {
            return_path: blake3::derive_key(RETURN_PATH_CONTEXT, &secret.0),
            message_id: blake3::derive_key(MESSAGE_ID_CONTEXT, &secret.0),
            memo: blake3::derive_key(MEMO_CONTEXT, &secret.0),
        })
    }

    /// Where what becomes of a submission is to be reported; `None` where the domain can't have it.
    pub fn return_path(&self, account: AccountId, id: SubmissionId, domain: &str) -> Option<Address> {
        let token = write(&sealed(&self.return_path, &pair(account, id.0)));
        Address::parse(&format!("{RETURN_PATH_START}{token}@{domain}"))
    }

    /// The submission that a return path of ours is of. `None` where it is none, or is forged.
    pub fn read_return_path(&self, address: &Address) -> Option<(AccountId, SubmissionId)> {
        let key = address.key();
        let (local, _domain) = key.rsplit_once('@')?;
        let token = read(local.strip_prefix(RETURN_PATH_START)?)?;
        let (account, id) = opened(&self.return_path, &token).and_then(unpair)?;
        Some((account, SubmissionId(id)))
    }

    /// The mark of a note's memo: its address, and its Message-ID without angle brackets.
    pub fn memo(&self, account: AccountId, note: NoteId) -> String {
        format!("{}@{MEMO_DOMAIN}", write(&sealed(&self.memo, &pair(account, note.0))))
    }

    /// The note whose memo's mark stands in a text; the first, where there are several.
    pub fn find_memo(&self, text: &[u8]) -> Option<(AccountId, NoteId)> {
        // Nearly no text has the domain, and this is asked of everything that is sent.
        let lower = text.to_ascii_lowercase();
        let token_before = |end: usize| {
            let head = lower.get(..end)?;
            let head = ATS.iter().find_map(|at| head.strip_suffix(at.as_bytes()))?;
            read(std::str::from_utf8(head.get(head.len().checked_sub(TOKEN_DIGITS)?..)?).ok()?)
        };
        let tokens = memmem::find_iter(&lower, MEMO_DOMAIN).filter_map(token_before);
        let mut found = tokens.filter_map(|token| opened(&self.memo, &token).and_then(unpair));
        found.next().map(|(account, note)| (account, NoteId(note)))
    }

    /// A new Message-ID, without angle brackets.
    pub fn message_id(&self, random: &Random, hostname: &str) -> String {
        let token = write(&sealed(&self.message_id, &random.bytes::<10>()));
        format!("{token}{MESSAGE_ID_END}@{hostname}")
    }

    /// Who made a Message-ID, given without angle brackets.
    pub fn maker(&self, message_id: &str) -> Maker {
        let Some(token) = message_id_token(message_id) else { return Maker::Other };
        match opened::<10>(&self.message_id, &token) {
            Some(_) => Maker::Us,
            None => Maker::Forger,
        }
    }
}

impl WireKeys {
    /// Whether a Message-ID has the form of ours, forged ones too.
    pub fn looks_ours(message_id: &str) -> bool {
        message_id_token(message_id).is_some()
    }

    /// Whether a Message-ID has the form of a memo's mark, a forged one too.
    pub fn looks_like_memo(message_id: &str) -> bool {
        let token =
            message_id.rsplit_once('@').filter(|(_, domain)| domain.eq_ignore_ascii_case(MEMO_DOMAIN));
        token.is_some_and(|(token, _)| read(token).is_some())
    }
}

/// Whether an address has the form of our return paths, forged ones too.
pub fn is_return_path(address: &Address) -> bool {
    address.key().strip_prefix(RETURN_PATH_START).is_some_and(|rest| {
        rest.rsplit_once('@').is_some_and(|(token, _)| token.len() == TOKEN_DIGITS && read(token).is_some())
    })
}

/// The token of a Message-ID that has the form of ours.
fn message_id_token(message_id: &str) -> Option<[u8; TOKEN_BYTES]> {
    let (local, _host) = message_id.rsplit_once('@')?;
    read(local.strip_suffix(MESSAGE_ID_END)?)
}

/// An account and a number in it.
fn pair(account: AccountId, number: u32) -> [u8; 8] {
    let mut ids = [0u8; 8];
    ids[..4].copy_from_slice(&account.0.to_le_bytes());
    ids[4..].copy_from_slice(&number.to_le_bytes());
    ids
}

fn unpair(ids: [u8; 8]) -> Option<(AccountId, u32)> {
    let number = |at: usize| Some(u32::from_le_bytes(ids.get(at..at + 4)?.try_into().ok()?));
    Some((AccountId(number(0)?), number(4)?))
}

/// What is to be said, then its keyed hash.
fn sealed(key: &[u8; 32], said: &[u8]) -> [u8; TOKEN_BYTES] {
    let hash = blake3::keyed_hash(key, said);
    let mut token = [0u8; TOKEN_BYTES];
    let (front, back) = token.split_at_mut(said.len());
    front.copy_from_slice(said);
    back.copy_from_slice(&hash.as_bytes()[..TOKEN_BYTES - said.len()]);
    token
}

/// What a token says, if its hash is ours.
fn opened<const N: usize>(key: &[u8; 32], token: &[u8; TOKEN_BYTES]) -> Option<[u8; N]> {
    let said: [u8; N] = token.get(..N)?.try_into().ok()?;
    bool::from(sealed(key, &said).ct_eq(token)).then_some(said)
}

/// Five bits a digit.
fn write(token: &[u8; TOKEN_BYTES]) -> String {
    let mut out = String::with_capacity(TOKEN_DIGITS);
    let (mut held, mut bits) = (0u32, 0);
    for octet in token {
        held = (held << 8) | u32::from(*octet);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            // Five bits are less than 32.
            out.push(char::from(DIGITS[(held >> bits) as usize & 31]));
        }
    }
    out
}

fn read(digits: &str) -> Option<[u8; TOKEN_BYTES]> {
    if digits.len() != TOKEN_DIGITS {
        return None;
    }
    let mut token = [0u8; TOKEN_BYTES];
    let (mut held, mut bits, mut at) = (0u32, 0, 0);
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit.to_ascii_lowercase())?;
        held = (held << 5) | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *token.get_mut(at)? = (held >> bits) as u8;
            at += 1;
        }
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl WireKeys {
        /// Keys of no server.
        pub fn seeded(seed: u8) -> Self {
            Self { return_path: [seed; 32], message_id: [seed + 1; 32], memo: [seed + 2; 32] }
        }
    }

    fn keys(seed: u8) -> WireKeys {
        WireKeys::seeded(seed)
    }

    #[test]
    fn a_return_path_names_its_submission_whatever_happens_to_its_case() {
        let path = keys(1).return_path(AccountId(7), SubmissionId(300), "x.example").unwrap();
        assert_eq!(path.as_str().len(), "bounce+".len() + 32 + "@x.example".len());
        let found = Some((AccountId(7), SubmissionId(300)));
        assert_eq!(keys(1).read_return_path(&path), found);
        let loud = Address::parse(&path.as_str().to_uppercase()).unwrap();
        assert_eq!(keys(1).read_return_path(&loud), found);
        assert!(is_return_path(&path) && is_return_path(&loud));
    }

    #[test]
    fn what_another_server_made_or_somebody_made_up_is_none_of_ours() {
        let path = keys(1).return_path(AccountId(7), SubmissionId(300), "x.example").unwrap();
        assert_eq!(keys(2).read_return_path(&path), None);
        let text = path.as_str();
        let changed = format!("{}b{}", &text[..7], &text[8..]);
        for forged in [changed.as_str(), "bounce+@x.example", "bounce@x.example", "bounce+abc@x.example"] {
            assert_eq!(keys(1).read_return_path(&Address::parse(forged).unwrap()), None, "{forged}");
        }
        assert!(!is_return_path(&Address::parse("bounce+abc@x.example").unwrap()));
    }

    #[test]
    fn a_message_id_of_ours_is_told_from_a_forged_one_and_from_anybodys() {
        let id = keys(1).message_id(&Random::seeded(1), "mail.example");
        assert!(id.ends_with(".pr@mail.example"), "{id}");
        assert_eq!(keys(1).maker(&id), Maker::Us);
        assert_eq!(keys(2).maker(&id), Maker::Forger);
        assert_eq!(keys(1).maker(&id.replace("mail.example", "other.example")), Maker::Us);
        for other in ["a@b", "x.pr@mail.example", "", "no at sign", &id[1..]] {
            assert_eq!(keys(1).maker(other), Maker::Other, "{other}");
        }
    }

    #[test]
    fn the_mark_of_a_memo_is_found_wherever_and_however_it_is_written() {
        let (account, note) = (AccountId(7), NoteId(300));
        let mark = keys(1).memo(account, note);
        assert_eq!(mark.len(), TOKEN_DIGITS + "@memo.invalid".len());
        assert!(WireKeys::looks_like_memo(&mark) && !WireKeys::looks_like_memo("a@memo.invalid"));
        for at in ATS {
            let written = mark.replace('@', at);
            for text in [
                format!("<{written}>"),
                format!("a@memo.invalid, {}: yes", written.to_uppercase()),
                format!("> on it: {written}\u{e9}"),
            ] {
                assert_eq!(keys(1).find_memo(text.as_bytes()), Some((account, note)), "{text}");
                assert_eq!(keys(2).find_memo(text.as_bytes()), None, "{text}");
            }
        }
        for other in ["", "memo.invalid", "@memo.invalid", &mark[1..], &mark[..mark.len() - 1]] {
            assert_eq!(keys(1).find_memo(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn tokens_come_back(token: [u8; TOKEN_BYTES]) {
            prop_assert_eq!(read(&write(&token)), Some(token));
        }

        #[test]
        fn one_changed_digit_is_found(seed: u64, at in 0..TOKEN_DIGITS, to in 0..32usize) {
            let keys = keys(3);
            let id = keys.message_id(&Random::seeded(seed), "h");
            let mut changed = id.clone().into_bytes();
            changed[at] = DIGITS[to];
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(keys.maker(&changed), if changed == id { Maker::Us } else { Maker::Forger });
        }
    }
}
