//! What tells our Message-IDs and return paths from everybody's, and one address from another: nothing that
//! is made up is ours, what is ours stays ours until an octet changes, and a key is its own key.

use postroom::auth::Directory;
use postroom::mail::ingest::thread_keys;
use postroom::mail::keyed::{Maker, WireKeys, is_return_path};
use postroom::mail::parse::parse;
use postroom::store::{Store, StoreOptions};
use postroom::types::{AccountId, Address, Clock, Millis, Random, SubmissionId};
use std::sync::OnceLock;

fn keys() -> &'static WireKeys {
    static KEYS: OnceLock<WireKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let (clock, random) = (Clock::manual(Millis(1_000_000)), Random::seeded(1));
        let store = Store::in_memory(StoreOptions::default(), clock, random).expect("a store in memory");
        let directory = Directory::open(&store).expect("a directory");
        WireKeys::of(&directory.current())
    })
}

pub fn drive(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    made_up(&text);
    let message = parse(&[b"Message-ID: ".as_slice(), octets, b"\r\n\r\n"].concat());
    for id in thread_keys(&message).own {
        made_up(&id);
    }
    address(&text);
    let Some((seed, rest)) = octets.split_first_chunk::<8>() else { return };
    ours(u64::from_be_bytes(*seed), rest);
}

/// Nobody finds a hash by chance.
fn made_up(id: &str) {
    let maker = keys().maker(id);
    assert_ne!(maker, Maker::Us, "{id:?} is nobody's");
    assert_eq!(maker == Maker::Forger, WireKeys::looks_ours(id), "{id:?}");
}

fn address(text: &str) {
    let Some(address) = Address::parse(text) else { return };
    let key = address.key();
    let again = Address::parse(&key).map(|again| again.key());
    assert!(again.is_none_or(|again| again == key), "{text:?} has the key {key:?}, and that another one");
    assert_eq!(keys().read_return_path(&address), None, "{text:?} is nobody's");
}

/// What is made for this seed, with octets of it changed as `changes` says: where, and to what.
fn ours(seed: u64, changes: &[u8]) {
    let id = keys().message_id(&Random::seeded(seed), "mail.example");
    assert_eq!(keys().maker(&id), Maker::Us, "{id}");
    let (account, submission) = (AccountId(seed as u32), SubmissionId((seed >> 32) as u32));
    let path = keys().return_path(account, submission, "x.example").expect("a return path");
    assert_eq!(keys().read_return_path(&path), Some((account, submission)), "{path}");
    assert!(is_return_path(&path), "{path}");
    for change in changes.chunks_exact(2) {
        let mut changed = id.clone().into_bytes();
        let at = usize::from(change[0]) % 32;
        changed[at] = change[1] & 0x7f;
        let changed = String::from_utf8_lossy(&changed).into_owned();
        let same = changed.eq_ignore_ascii_case(&id);
        assert_eq!(keys().maker(&changed) == Maker::Us, same, "{id} became {changed}");
    }
}
