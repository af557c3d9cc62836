//! Sets of Emails as bitmaps in chunks of 4,096 docnums (at most 512 octets each), so that adding
//! one Email writes one small row and an intersection reads only what it needs.

use super::error::StoreResult;
use super::keys;
use super::read::Read;
use super::rows::viewer::Mark;
use super::txn::Txn;
use crate::types::{AccountId, EmailId, Keyword, MailboxId};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const CHUNK_BITS: u32 = 12;
const WORDS: usize = 1 << (CHUNK_BITS - 6);

/// Which set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EmailSet {
    /// Emails with a keyword.
    Keyword(Keyword),
    /// Emails in a mailbox.
    Mailbox(MailboxId),
    /// Emails with an attachment.
    Attachment,
    /// Emails that a viewer, by number, has marked for themself.
    Own(u32, Mark),
    /// All Emails: what NOT is taken from.
    All,
}

impl EmailSet {
    /// The number that stands for the set in keys.
    pub fn code(&self) -> u64 {
        let name = match self {
            EmailSet::Keyword(keyword) => format!("k{keyword}"),
            EmailSet::Mailbox(mailbox) => format!("m{mailbox}"),
            EmailSet::Attachment => "a".to_owned(),
            EmailSet::Own(viewer, mark) => format!("o{viewer}.{}", *mark as u8),
            EmailSet::All => "*".to_owned(),
        };
        let hash = blake3::hash(name.as_bytes());
        let mut code = [0u8; 8];
        code.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(code)
    }
}

/// A set in memory: chunk number → bits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bitmap {
    chunks: BTreeMap<u32, Box<[u64; WORDS]>>,
}

impl Bitmap {
    /// Whether the Email is in the set.
    pub fn contains(&self, email: EmailId) -> bool {
        let (chunk, word, bit) = place(email);
        self.chunks.get(&chunk).is_some_and(|words| words[word] & bit != 0)
    }

    /// Puts the Email in; true if it wasn't.
    pub fn insert(&mut self, email: EmailId) -> bool {
        let (chunk, word, bit) = place(email);
        let words = self.chunks.entry(chunk).or_insert_with(|| Box::new([0; WORDS]));
        let fresh = words[word] & bit == 0;
        words[word] |= bit;
        fresh
    }

    /// Takes the Email out.
    pub fn remove(&mut self, email: EmailId) {
        let (chunk, word, bit) = place(email);
        if let Some(words) = self.chunks.get_mut(&chunk) {
            words[word] &= !bit;
            if words.iter().all(|word| *word == 0) {
                self.chunks.remove(&chunk);
            }
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.chunks.values().flat_map(|words| words.iter()).map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Puts in every number from 1 to this one, whether there is such an Email or not.
    pub fn insert_up_to(&mut self, last: EmailId) {
        for chunk in 0..=last.0 >> CHUNK_BITS {
            let words = self.chunks.entry(chunk).or_insert_with(|| Box::new([0; WORDS]));
            for (at, word) in words.iter_mut().enumerate() {
                let first = (chunk << CHUNK_BITS) | ((at as u32) << 6);
                *word |= match last.0.checked_sub(first) {
                    None => 0,
                    Some(behind @ 0..63) => (2 << behind) - 1,
                    Some(_) => u64::MAX,
                };
            }
        }
        self.remove(EmailId(0));
    }

    /// Puts in what is only in the other one, and takes out what is in both.
    pub fn toggle(&mut self, other: &Bitmap) {
        for (chunk, theirs) in &other.chunks {
            let words = self.chunks.entry(*chunk).or_insert_with(|| Box::new([0; WORDS]));
            words.iter_mut().zip(theirs.iter()).for_each(|(word, their)| *word ^= their);
        }
        self.chunks.retain(|_, words| words.iter().any(|word| *word != 0));
    }

    /// Those in both.
    pub fn intersect(&mut self, other: &Bitmap) {
        self.chunks.retain(|chunk, words| match other.chunks.get(chunk) {
            Some(theirs) => {
                words.iter_mut().zip(theirs.iter()).for_each(|(word, their)| *word &= their);
                words.iter().any(|word| *word != 0)
            }
            None => false,
        });
    }

    /// Those in either.
    pub fn unite(&mut self, other: &Bitmap) {
        for (chunk, theirs) in &other.chunks {
            let words = self.chunks.entry(*chunk).or_insert_with(|| Box::new([0; WORDS]));
            words.iter_mut().zip(theirs.iter()).for_each(|(word, their)| *word |= their);
        }
    }

    /// Those in this and not in the other.
    pub fn subtract(&mut self, other: &Bitmap) {
        self.chunks.retain(|chunk, words| {
            if let Some(theirs) = other.chunks.get(chunk) {
                words.iter_mut().zip(theirs.iter()).for_each(|(word, their)| *word &= !their);
            }
            words.iter().any(|word| *word != 0)
        });
    }

    /// All, in the order of their docnums.
    pub fn iter(&self) -> impl Iterator<Item = EmailId> + '_ {
        self.chunks.iter().flat_map(|(chunk, words)| {
            words.iter().enumerate().flat_map(move |(at, word)| {
                let mut rest = *word;
                std::iter::from_fn(move || {
                    let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                    rest &= rest - 1;
                    Some(EmailId((chunk << CHUNK_BITS) | ((at as u32) << 6) | bit))
                })
            })
        })
    }
}

impl FromIterator<EmailId> for Bitmap {
    fn from_iter<T: IntoIterator<Item = EmailId>>(emails: T) -> Self {
        let mut out = Self::default();
        for email in emails {
            out.insert(email);
        }
        out
    }
}

/// Reads a whole set.
pub fn load(read: &dyn Read, account: AccountId, set: &EmailSet) -> StoreResult<Bitmap> {
    let mut out = Bitmap::default();
    let mut broken = None;
    read.scan(&keys::set_chunks(account, set.code()), false, &mut |key, value| match (
        keys::last_id(key),
        read_chunk(value),
    ) {
        (Some(chunk), Ok(words)) => {
            out.chunks.insert(chunk, words);
            ControlFlow::Continue(())
        }
        (_, Err(error)) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
        (None, _) => ControlFlow::Continue(()),
    })?;
    broken.map_or(Ok(out), Err)
}

/// The codes of all sets of an account and what they hold, for the check.
pub fn load_all(read: &dyn Read, account: AccountId) -> StoreResult<BTreeMap<u64, Bitmap>> {
    let mut out: BTreeMap<u64, Bitmap> = BTreeMap::new();
    let mut broken = None;
    read.scan(&keys::all(account, keys::Kind::Set), false, &mut |key, value| match read_chunk(value) {
        Ok(words) => {
            if let Some((code, chunk)) = keys::read_set_chunk(key) {
                out.entry(code).or_default().chunks.insert(chunk, words);
            }
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(out), Err)
}

/// Puts an Email in a set or takes it out; nothing is written where it was so already.
pub fn write(
    txn: &mut Txn<'_>,
    account: AccountId,
    set: &EmailSet,
    email: EmailId,
    within: bool,
) -> StoreResult<()> {
    let (chunk, word, bit) = place(email);
    let key = keys::set_chunk(account, set.code(), chunk);
    let mut words = match txn.bytes(&key)? {
        Some(bytes) => read_chunk(&bytes)?,
        None => Box::new([0; WORDS]),
    };
    if (words[word] & bit != 0) == within {
        return Ok(());
    }
    words[word] ^= bit;
    if words.iter().all(|word| *word == 0) {
        txn.delete_bytes(key);
    } else {
        txn.put_bytes(key, write_chunk(&words)?);
    }
    Ok(())
}

/// Empties a set.
pub fn clear(txn: &mut Txn<'_>, account: AccountId, set: &EmailSet) -> StoreResult<()> {
    for chunk in (txn as &dyn Read).ids(&keys::set_chunks(account, set.code()), false, usize::MAX)? {
        txn.delete_bytes(keys::set_chunk(account, set.code(), chunk));
    }
    Ok(())
}

fn place(email: EmailId) -> (u32, usize, u64) {
    (email.0 >> CHUNK_BITS, ((email.0 >> 6) as usize) % WORDS, 1 << (email.0 & 63))
}

/// A chunk is stored as its non-empty words: most sets are sparse.
fn write_chunk(words: &[u64; WORDS]) -> StoreResult<Vec<u8>> {
    let sparse: Vec<(u8, u64)> = words
        .iter()
        .enumerate()
        .filter(|(_, word)| **word != 0)
        .map(|(at, word)| (at as u8, *word))
        .collect();
    super::rows::encode(&sparse)
}

fn read_chunk(bytes: &[u8]) -> StoreResult<Box<[u64; WORDS]>> {
    let sparse: Vec<(u8, u64)> = super::rows::decode(bytes)?;
    let mut words = Box::new([0; WORDS]);
    for (at, word) in sparse {
        if let Some(slot) = words.get_mut(usize::from(at)) {
            *slot = word;
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn bitmaps_agree_with_sets(
            a in proptest::collection::btree_set(0u32..20_000, 0..200),
            b in proptest::collection::btree_set(0u32..20_000, 0..200),
        ) {
            let make = |set: &BTreeSet<u32>| set.iter().map(|id| EmailId(*id)).collect::<Bitmap>();
            let list = |bitmap: &Bitmap| bitmap.iter().map(|id| id.0).collect::<Vec<_>>();
            let mut both = make(&a);
            both.intersect(&make(&b));
            prop_assert_eq!(list(&both), a.intersection(&b).copied().collect::<Vec<_>>());
            let mut either = make(&a);
            either.unite(&make(&b));
            prop_assert_eq!(list(&either), a.union(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(either.len(), a.union(&b).count());
            let mut rest = make(&a);
            rest.subtract(&make(&b));
            prop_assert_eq!(list(&rest), a.difference(&b).copied().collect::<Vec<_>>());
            let mut none = make(&a);
            a.iter().for_each(|id| none.remove(EmailId(*id)));
            prop_assert!(none.is_empty());
            let mut other = make(&a);
            other.toggle(&make(&b));
            prop_assert_eq!(list(&other), a.symmetric_difference(&b).copied().collect::<Vec<_>>());
        }

        #[test]
        fn all_up_to_a_number_are_those_from_1_to_it(last in 0u32..20_000) {
            let mut all = Bitmap::default();
            all.insert_up_to(EmailId(last));
            prop_assert_eq!(all.iter().map(|id| id.0).collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
        }
    }
}
