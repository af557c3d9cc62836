//! Any octets as a key, and any numbers in one: reading never panics, and keys stand in the order of
//! what they are made of.

use postroom::store::{List, Place, keys};
use postroom::types::{AccountId, MailboxId, Millis, PrincipalId, UtcDate};

/// What the times of a [`Place`] are kept in: 40 bits around 1970.
const SECONDS: i64 = 1 << 38;

pub fn drive(octets: &[u8]) {
    let _ = (keys::read_due(octets), keys::last_id(octets), keys::last_version(octets));
    let _ = (keys::last_name(octets), keys::first_id(octets), keys::read_set_chunk(octets));
    let _ = (keys::account_of(octets), keys::read_place(octets), keys::read_list(octets));
    let _ = (keys::read_list_node(octets), keys::read_log(octets).is_some(), keys::read_blob(octets));
    let _ = (keys::read_blob_info(octets), keys::is_blob_info(octets));
    let mut numbers = octets.chunks_exact(8).map(|eight| u64::from_be_bytes(eight.try_into().unwrap()));
    while let (Some(a), Some(b), Some(c), Some(d)) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    {
        in_order((a, b as u32), (c, d as u32));
    }
}

fn in_order(one: (u64, u32), other: (u64, u32)) {
    let account = AccountId(7);
    let due = |(at, id): (u64, u32)| {
        let sort = (id >> 24) as u8;
        (
            (Millis(at as i64), account, sort, id),
            keys::due(keys::Kind::Timer, Millis(at as i64), account, sort, id),
        )
    };
    let ((a, first), (b, second)) = (due(one), due(other));
    assert_eq!(a.cmp(&b), first.cmp(&second), "{a:?} {b:?}");

    let row = |(_, id): (u64, u32)| keys::row(account, keys::Kind::Email, id);
    assert_eq!(one.1.cmp(&other.1), row(one).cmp(&row(other)));
    let versioned = |(version, id): (u64, u32)| {
        ((id, version), keys::versioned(account, keys::Kind::ConversationEvent, id, version))
    };
    let ((a, first), (b, second)) = (versioned(one), versioned(other));
    assert_eq!(a.cmp(&b), first.cmp(&second));

    // Newest first: a later date stands before an earlier one.
    let place = |(at, id): (u64, u32)| Place { at: UtcDate((at as i64) % SECONDS), id };
    let entry = |list, which| keys::list_entry(account, list, place(which));
    let lists = [
        List::Mailbox(MailboxId(one.1)),
        List::MailboxHeads(MailboxId(other.1)),
        List::ConversationsOfOwner(Some(PrincipalId(one.1))),
        List::ConversationsOfOwner(None),
    ];
    for list in lists {
        let (a, b) = (place(one), place(other));
        let newer = (b.at, b.id).cmp(&(a.at, a.id));
        assert_eq!(newer, entry(list, one).cmp(&entry(list, other)), "{a:?} {b:?}");
    }
}
