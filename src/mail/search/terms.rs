//! The terms of one message: each once, under the field it stands in, in one buffer.
//!
//! The same value is looked up while the message is in the tail, read by the writer, and asked when
//! a phrase is verified, so that the three can't disagree.
//!
//! Invariants: entries are sorted by place and the first octets of their term, so that a word and the
//! start of a word are both found by bisection; a lookup compares the term itself.
//! Deliberately absent: positions and counts; phrases are verified on the text.

use super::words;
use crate::types::limits::INDEXED_TEXT_BYTES_MAX;

/// Where a term stands in a message. The octet is what the index stores; changing one needs a new
/// `FORMAT` in index.rs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Place {
    /// Any part of the body.
    Body = b'b',
    Cc = b'c',
    From = b'f',
    /// Any header that `text` looks into, and the attachments' names. `text` is Body or Head.
    Head = b'h',
    Bcc = b'k',
    Subject = b's',
    To = b't',
}

/// The text of one message, decoded. A field with several addresses is one text, names included.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct IndexedText<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub cc: &'a str,
    pub bcc: &'a str,
    pub subject: &'a str,
    /// What a reader sees of the text parts: no markup.
    pub body: &'a str,
    pub attachment_names: &'a str,
}

impl<'a> IndexedText<'a> {
    /// The fields with their places, cut together at `INDEXED_TEXT_BYTES_MAX`, body last.
    pub fn fields(&self) -> [(Place, &'a str); 7] {
        let mut rest = INDEXED_TEXT_BYTES_MAX;
        [
            (Place::Subject, self.subject),
            (Place::From, self.from),
            (Place::To, self.to),
            (Place::Cc, self.cc),
            (Place::Bcc, self.bcc),
            (Place::Head, self.attachment_names),
            (Place::Body, self.body),
        ]
        .map(|(place, text)| {
            let text = words::cut(text, rest);
            rest -= text.len();
            (place, text)
        })
    }
}

/// The distinct terms of one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Place, first four octets of the term, offset of its entry in three octets; sorted.
    sorted: Box<[u64]>,
    /// Entries: one octet with the length of what follows, the place, the term.
    buffer: Box<[u8]>,
}

impl Terms {
    /// Reads the terms of a message.
    pub fn of(text: &IndexedText<'_>) -> Self {
        let mut set = TermSet::new();
        for (place, text) in text.fields() {
            words::terms(text, &mut |term| {
                set.insert(place, term);
                if !matches!(place, Place::Body | Place::Head) {
                    set.insert(Place::Head, term);
                }
            });
        }
        set.finish()
    }

    /// Whether the term stands at the place.
    pub fn contains(&self, place: Place, term: &str) -> bool {
        self.near(place, term, u8::MIN).any(|entry| entry == term.as_bytes())
    }

    /// Whether a term that starts so stands at the place.
    pub fn contains_prefix(&self, place: Place, prefix: &str) -> bool {
        self.near(place, prefix, u8::MAX).any(|entry| entry.starts_with(prefix.as_bytes()))
    }

    /// The terms at the place whose first octets are those of `term`, which counts as filled up
    /// with anything up to `fill` where it is shorter.
    fn near(&self, place: Place, term: &str, fill: u8) -> impl Iterator<Item = &[u8]> {
        let first = key(place, term.as_bytes(), u8::MIN);
        let last = key(place, term.as_bytes(), fill) | OFFSET;
        let from = self.sorted.partition_point(|&entry| entry < first);
        self.sorted[from..]
            .iter()
            .take_while(move |&&entry| entry <= last)
            .filter_map(|&entry| entry_at(&self.buffer, (entry & OFFSET) as u32).get(1..))
    }

    /// Each term: the place's octet, then the term.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = 0u32;
        std::iter::from_fn(move || {
            let entry = entry_at(&self.buffer, at);
            at += 1 + entry.len() as u32;
            (!entry.is_empty()).then_some(entry)
        })
    }

    /// Memory that it holds.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len() + self.sorted.len() * size_of::<u64>()
    }
}

/// The bits of a sorted entry that are its offset.
const OFFSET: u64 = 0xff_ffff;

fn key(place: Place, term: &[u8], fill: u8) -> u64 {
    let octet = |at: usize| u64::from(term.get(at).copied().unwrap_or(fill));
    (place as u64) << 56 | octet(0) << 48 | octet(1) << 40 | octet(2) << 32 | octet(3) << 24
}

fn entry_at(buffer: &[u8], offset: u32) -> &[u8] {
    let rest = buffer.get(offset as usize..).unwrap_or_default();
    match rest.split_first() {
        Some((&len, rest)) => rest.get(..usize::from(len)).unwrap_or_default(),
        None => &[],
    }
}

fn is_term(entry: &[u8], place: Place, term: &str) -> bool {
    entry.split_first().is_some_and(|(&first, rest)| first == place as u8 && rest == term.as_bytes())
}

/// A hash set of entries, open addressing, that doubles when half full. The standard one would
/// hash each word with a keyed function at several times the cost; whoever makes words collide
/// here slows the indexing of their own message, bounded by `PROBES_MAX`.
struct TermSet {
    slots: Vec<u32>,
    /// Hash in the upper half, offset of the entry in the lower.
    hashes: Vec<u64>,
    sorted: Vec<u64>,
    buffer: Vec<u8>,
}

/// Slots looked at before a term is taken for new; the entry is then there twice, harmlessly.
const PROBES_MAX: usize = 32;
const SLOTS_MIN: usize = 4096;
const FREE: u32 = u32::MAX;

impl TermSet {
    fn new() -> Self {
        let room = SLOTS_MIN / 2;
        Self {
            slots: vec![FREE; SLOTS_MIN],
            hashes: Vec::with_capacity(room),
            sorted: Vec::with_capacity(room),
            buffer: Vec::with_capacity(room * 8),
        }
    }

    fn insert(&mut self, place: Place, term: &str) {
        // An entry's length, place included, is one octet; SEARCH_ADDRESS_BYTES_MAX is below that.
        let Ok(len) = u8::try_from(term.len() + 1) else { return };
        let hash = hash(place, term.as_bytes());
        let Some(slot) = self.free_slot(hash, place, term) else { return };
        // INDEXED_TEXT_BYTES_MAX of text can't give so many terms.
        let Some(offset) =
            u32::try_from(self.buffer.len()).ok().filter(|&offset| u64::from(offset) <= OFFSET)
        else {
            return;
        };
        self.slots[slot] = offset;
        self.hashes.push(u64::from(hash) << 32 | u64::from(offset));
        self.sorted.push(key(place, term.as_bytes(), u8::MIN) | u64::from(offset));
        self.buffer.extend([len, place as u8]);
        self.buffer.extend(term.as_bytes());
        if self.sorted.len() * 2 > self.slots.len() {
            self.grow();
        }
    }

    /// Where the term goes; `None` if it is there already.
    fn free_slot(&self, hash: u32, place: Place, term: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        for _ in 0..PROBES_MAX {
            match self.slots[slot] {
                FREE => return Some(slot),
                offset if is_term(entry_at(&self.buffer, offset), place, term) => return None,
                _ => slot = (slot + 1) & mask,
            }
        }
        Some(hash as usize & mask)
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots = vec![FREE; mask + 1];
        for &entry in &self.hashes {
            let mut slot = (entry >> 32) as usize & mask;
            for _ in 0..PROBES_MAX {
                if self.slots[slot] == FREE {
                    self.slots[slot] = entry as u32;
                    break;
                }
                slot = (slot + 1) & mask;
            }
        }
    }

    fn finish(mut self) -> Terms {
        self.sorted.sort_unstable();
        Terms { sorted: self.sorted.into_boxed_slice(), buffer: self.buffer.into_boxed_slice() }
    }
}

/// Eight octets at a time, multiplied and folded.
fn hash(place: Place, term: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = (place as u64) ^ K.wrapping_mul(term.len() as u64);
    let (chunks, rest) = term.as_chunks::<8>();
    for chunk in chunks {
        state = (state ^ u64::from_le_bytes(*chunk)).wrapping_mul(K).rotate_left(29);
    }
    let mut last = [0u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = (state ^ u64::from_le_bytes(last)).wrapping_mul(K);
    ((state ^ (state >> 32)).wrapping_mul(K) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_header_word_is_found_under_its_field_and_under_head() {
        let text = IndexedText {
            from: "Jo <jo@example.com>",
            subject: "Invoice 42",
            body: "Please pay",
            attachment_names: "scan.pdf",
            ..IndexedText::default()
        };
        let terms = Terms::of(&text);
        for (place, term, expected) in [
            (Place::From, "jo@example.com", true),
            (Place::From, "@example.com", true),
            (Place::Head, "jo", true),
            (Place::Body, "jo", false),
            (Place::Subject, "invoice", true),
            (Place::Subject, "jo", false),
            (Place::Body, "pay", true),
            (Place::Head, "pay", false),
            (Place::Head, "pdf", true),
            (Place::Subject, "pdf", false),
        ] {
            assert_eq!(terms.contains(place, term), expected, "{place:?} {term}");
        }
        assert!(terms.contains_prefix(Place::Subject, "invo"));
        assert!(!terms.contains_prefix(Place::Body, "invo"));
    }

    #[test]
    fn text_beyond_the_limit_is_not_read() {
        let body = format!("{} tail", "x ".repeat(INDEXED_TEXT_BYTES_MAX / 2));
        let terms = Terms::of(&IndexedText { subject: "head", body: &body, ..IndexedText::default() });
        assert!(terms.contains(Place::Body, "x") && terms.contains(Place::Subject, "head"));
        assert!(!terms.contains(Place::Body, "tail"));
    }

    proptest! {
        #[test]
        fn a_term_is_contained_if_and_only_if_it_was_read(body in "[a-c]{1,3}( [a-z]{1,3}){0,300}", other in "[a-z]{1,3}") {
            let terms = Terms::of(&IndexedText { body: &body, ..IndexedText::default() });
            let expected: BTreeSet<&str> = body.split(' ').collect();
            prop_assert_eq!(terms.iter().count(), expected.len());
            for word in &expected {
                prop_assert!(terms.contains(Place::Body, word));
            }
            prop_assert_eq!(terms.contains(Place::Body, &other), expected.contains(other.as_str()));
            let starts = expected.iter().any(|word| word.starts_with(&other));
            prop_assert_eq!(terms.contains_prefix(Place::Body, &other), starts);
        }
    }
}
