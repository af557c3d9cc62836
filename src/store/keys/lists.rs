//! Keys of the ordered lists: entries by their place, and the nodes of the rank trees.

use super::{Build, Key, KeyRange, after_prefix, read_u32};
use crate::store::engine::Cf;
use crate::store::list::{List, Place};
use crate::types::AccountId;

fn list_base(account: AccountId, list: List, what: u8) -> Build {
    let (sort, number) = list.code();
    Build(account.0.to_be_bytes().to_vec()).u8(sort).u32(number).u8(what)
}

/// An entry of a list.
pub fn list_entry(account: AccountId, list: List, place: Place) -> Key {
    list_base(account, list, 0).bytes(&place.bytes()).key(Cf::Lists)
}

/// All entries of a list.
pub fn list_entries(account: AccountId, list: List) -> KeyRange {
    list_base(account, list, 0).prefix(Cf::Lists)
}

/// The entries of a list from a place on, itself included.
pub fn list_entries_from(account: AccountId, list: List, place: Place) -> KeyRange {
    let mut range = list_entries(account, list);
    range.from = list_entry(account, list, place).bytes;
    range
}

/// A range cut before a key.
pub fn until(mut range: KeyRange, end: &Key) -> KeyRange {
    range.to = range.to.min(end.bytes.clone());
    range
}

/// The entries whose place starts with a prefix of `nibbles` half octets.
pub fn list_entries_with(account: AccountId, list: List, place: &[u8; 9], nibbles: usize) -> KeyRange {
    let base = list_base(account, list, 0).0;
    let whole = nibbles / 2;
    let mut from = base.clone();
    from.extend_from_slice(&place[..whole]);
    let mut last = from.clone();
    if nibbles % 2 == 1 {
        from.push(place[whole] & 0xf0);
        last.push(place[whole] | 0x0f);
    }
    KeyRange { cf: Cf::Lists, from, to: after_prefix(&last) }
}

/// Reads the place that ends a list entry's key.
pub fn read_place(key: &[u8]) -> Option<Place> {
    let bytes: [u8; 9] = key.get(10..19)?.try_into().ok()?;
    Some(Place::from_bytes(bytes))
}

/// A node of a list's rank tree: the prefix of `nibbles` half octets of `place`.
pub fn list_node(account: AccountId, list: List, place: &[u8; 9], nibbles: usize) -> Key {
    let mut build = list_base(account, list, 1).u8(nibbles as u8).bytes(&place[..nibbles / 2]);
    if nibbles % 2 == 1 {
        build = build.u8(place[nibbles / 2] & 0xf0);
    }
    build.key(Cf::Lists)
}

/// All lists of an account, entries and nodes.
pub fn account_lists(account: AccountId) -> KeyRange {
    let from = account.0.to_be_bytes().to_vec();
    KeyRange { cf: Cf::Lists, to: after_prefix(&from), from }
}

/// What is behind everything that has the start of this key of [`account_lists`], the list's number.
pub(in crate::store) fn lists_after(account: AccountId, key: &[u8]) -> KeyRange {
    let mut range = account_lists(account);
    range.from = after_prefix(key.get(..9).unwrap_or(key));
    range
}

/// The list that a key of [`account_lists`] belongs to.
pub fn read_list(key: &[u8]) -> Option<List> {
    List::from_code(*key.get(4)?, read_u32(key, 5)?)
}

/// All nodes of a list's rank tree.
pub(in crate::store) fn list_nodes(account: AccountId, list: List) -> KeyRange {
    list_base(account, list, 1).prefix(Cf::Lists)
}

/// Reads a key of [`list_node`]: how many half octets its prefix has, and a place with that prefix.
pub fn read_list_node(key: &[u8]) -> Option<(usize, [u8; 9])> {
    let nibbles = usize::from(*key.get(10)?);
    let prefix = key.get(11..)?;
    let mut place = [0; 9];
    place.get_mut(..prefix.len())?.copy_from_slice(prefix);
    (prefix.len() == nibbles.div_ceil(2)).then_some((nibbles, place))
}
