//! An inbox's history: how an activity is encoded, chained and checked, and how the texts that it
//! speaks of are kept out of it.
//!
//! `hash = BLAKE3(previous hash ‖ encoded entry)`. The encoding is written out by hand, each field
//! with a fixed place or a number of its own, because it must never change: a chain outlives the
//! way in which rows are stored. An entry holds ids and codes; a text appears as the digest of a
//! random salt and the text, which are stored apart, so that erasing them leaves the chain whole
//! and the digest without meaning.

use super::machine::{Actor, Entry, Value};
use crate::store::rows::team::{
    ActivityRow, ActivityTextRow, ActivityValue, Cause, Explain, Priority, SaltedText, Status,
};
use crate::types::{AccountId, ActivityId, ConversationId, Millis, Random};

/// The first octet of an encoded entry; a new layout gets a new one.
const LAYOUT: u8 = 1;
/// The same with what explains the entry at its end.
const LAYOUT_EXPLAINED: u8 = 2;

/// Where a chain stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The number that the next entry gets.
    pub next: ActivityId,
    pub hash: [u8; 32],
}

/// An activity ready to be stored with the texts that it refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    pub id: ActivityId,
    pub row: ActivityRow,
    /// Null where the entry speaks of no text.
    pub texts: Option<ActivityTextRow>,
}

/// The first entry that doesn't fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the activity chain is broken at {at}: {how:?}")]
pub struct BrokenAt {
    pub at: ActivityId,
    pub how: Broken,
}

/// How an entry doesn't fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// An entry is missing or there twice.
    Number,
    /// It follows another entry than the one before it.
    Previous,
    /// It doesn't say what was hashed.
    Hash,
    /// The chain ends elsewhere than the inbox says.
    End,
}

/// The start of an inbox's chain; no two inboxes share one, so that no entry fits elsewhere.
pub fn genesis(inbox: AccountId) -> Head {
    let hash = blake3::Hasher::new().update(b"postroom activity").update(&inbox.0.to_be_bytes()).finalize();
    Head { next: ActivityId(0), hash: *hash.as_bytes() }
}

/// Chains an entry onto `head`, and moves `head` on.
pub fn seal(
    head: &mut Head,
    conversation: Option<ConversationId>,
    at: Millis,
    actor: Actor,
    entry: &Entry,
    random: &Random,
) -> Sealed {
    let (before, before_text) = digest_value(&entry.before, random);
    let (after, after_text) = digest_value(&entry.after, random);
    let mut row = ActivityRow {
        conversation,
        at,
        actor: actor.principal(),
        cause: actor.cause(),
        kind: entry.kind,
        before,
        after,
        previous_hash: head.hash,
        hash: [0; 32],
        explain: entry.explain,
    };
    row.hash = hash(&row);
    let id = head.next;
    *head = Head { next: ActivityId(id.0.saturating_add(1)), hash: row.hash };
    let texts = (before_text.is_some() || after_text.is_some())
        .then_some(ActivityTextRow { before: before_text, after: after_text });
    Sealed { id, row, texts }
}

/// A chain that is followed entry by entry.
pub struct Chain(Head);

impl From<Head> for Chain {
    /// From an inbox's genesis, or from the head before the first entry that follows.
    fn from(start: Head) -> Self {
        Self(start)
    }
}

impl Chain {
    /// Takes the next entry, which must fit.
    pub fn follow(&mut self, id: ActivityId, row: &ActivityRow) -> Result<(), BrokenAt> {
        let head = self.0;
        let how = if id != head.next {
            Some(Broken::Number)
        } else if row.previous_hash != head.hash {
            Some(Broken::Previous)
        } else if row.hash != hash(row) {
            Some(Broken::Hash)
        } else {
            None
        };
        if let Some(how) = how {
            return Err(BrokenAt { at: head.next, how });
        }
        self.0 = Head { next: ActivityId(id.0.saturating_add(1)), hash: row.hash };
        Ok(())
    }

    /// Whether the chain ends there.
    pub fn ends_at(&self, end: Head) -> Result<(), BrokenAt> {
        if self.0 == end { Ok(()) } else { Err(BrokenAt { at: self.0.next, how: Broken::End }) }
    }
}

/// True where `text` is what the digest stands for.
pub fn text_fits(digest: &[u8; 32], text: &SaltedText) -> bool {
    *digest == text_digest(text)
}

/// BLAKE3 of salt and text.
pub fn text_digest(text: &SaltedText) -> [u8; 32] {
    *blake3::Hasher::new().update(&text.salt).update(text.text.as_bytes()).finalize().as_bytes()
}

fn digest_value(value: &Value, random: &Random) -> (ActivityValue, Option<SaltedText>) {
    match value {
        Value::Plain(value) => (*value, None),
        Value::Text(text) => {
            let row = SaltedText { salt: random.bytes(), text: text.clone() };
            (ActivityValue::Text(text_digest(&row)), Some(row))
        }
    }
}

fn hash(row: &ActivityRow) -> [u8; 32] {
    *blake3::Hasher::new().update(&row.previous_hash).update(&encode(row)).finalize().as_bytes()
}

/// The entry without its hashes. Every field has a fixed length or is led by its number, so no two
/// entries encode alike.
fn encode(row: &ActivityRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.push(if row.explain.is_some() { LAYOUT_EXPLAINED } else { LAYOUT });
    push_optional(&mut out, row.conversation.map(|id| id.0));
    out.extend(row.at.0.to_be_bytes());
    push_optional(&mut out, row.actor.map(|id| id.0));
    out.push(match row.cause {
        Cause::User => 0,
        Cause::Rule => 1,
        Cause::Timer => 2,
        Cause::Mail => 3,
    });
    out.extend(row.kind.code().to_be_bytes());
    push_value(&mut out, &row.before);
    push_value(&mut out, &row.after);
    if let Some(Explain { reason, of }) = &row.explain {
        out.push(reason.code());
        push_value(&mut out, of);
    }
    out
}

fn push_optional(out: &mut Vec<u8>, id: Option<u32>) {
    out.push(u8::from(id.is_some()));
    out.extend(id.unwrap_or(0).to_be_bytes());
}

fn push_value(out: &mut Vec<u8>, value: &ActivityValue) {
    let (tag, number) = match value {
        ActivityValue::None => (0, 0),
        ActivityValue::Principal(id) => (1, u64::from(id.0)),
        ActivityValue::Status(status) => (2, status_code(*status)),
        ActivityValue::Priority(priority) => (3, priority_code(*priority)),
        ActivityValue::Role(role) => (4, *role as u64),
        ActivityValue::Moment(at) => (5, at.0.cast_unsigned()),
        ActivityValue::Number(number) => (6, *number),
        ActivityValue::Account(id) => (7, u64::from(id.0)),
        ActivityValue::Conversation(id) => (8, u64::from(id.0)),
        ActivityValue::Note(id) => (9, u64::from(id.0)),
        ActivityValue::Email(id) => (10, u64::from(id.0)),
        ActivityValue::Submission(id) => (11, u64::from(id.0)),
        ActivityValue::Text(digest) => {
            out.push(12);
            out.extend(digest);
            return;
        }
    };
    out.push(tag);
    out.extend(number.to_be_bytes());
}

fn status_code(status: Status) -> u64 {
    match status {
        Status::Open => 0,
        Status::Pending => 1,
        Status::Snoozed => 2,
        Status::Closed => 3,
    }
}

fn priority_code(priority: Priority) -> u64 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Urgent => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::team::{ActivityKind, Reason};
    use crate::types::{EmailId, MemberRole, PrincipalId};
    use proptest::prelude::*;

    const INBOX: AccountId = AccountId(3);

    fn chain(length: u32) -> (Vec<Sealed>, Head) {
        let random = Random::seeded(1);
        let mut head = genesis(INBOX);
        let actor = Actor::Member { principal: PrincipalId(1), role: MemberRole::Agent };
        let sealed = (0..length)
            .map(|n| {
                let text = Value::Text(format!("tag {n}"));
                let plain = Value::Plain(ActivityValue::Status(Status::Pending));
                let before = if n % 2 == 0 { text } else { plain };
                let kind = ActivityKind::ALL[n as usize % ActivityKind::ALL.len()];
                let explain = (n % 4 == 0).then_some(Explain {
                    reason: Reason::ALL[n as usize % Reason::ALL.len()],
                    of: ActivityValue::Email(EmailId(n)),
                });
                let entry = Entry { kind, before, after: Value::NONE, explain };
                let conversation = (n % 3 > 0).then_some(ConversationId(n));
                seal(&mut head, conversation, Millis(i64::from(n)), actor, &entry, &random)
            })
            .collect();
        (sealed, head)
    }

    fn verify(start: Head, sealed: &[Sealed], end: Head) -> Result<(), BrokenAt> {
        let mut chain = Chain::from(start);
        sealed.iter().try_for_each(|sealed| chain.follow(sealed.id, &sealed.row))?;
        chain.ends_at(end)
    }

    fn check(sealed: &[Sealed], end: Head) -> Result<(), BrokenAt> {
        verify(genesis(INBOX), sealed, end)
    }

    #[test]
    fn a_chain_is_whole_until_an_entry_is_missing_moved_or_cut_off() {
        let (sealed, end) = chain(50);
        assert_eq!(check(&sealed, end), Ok(()));
        let at = |n| ActivityId(n);
        let mut missing = sealed.clone();
        missing.remove(20);
        assert_eq!(check(&missing, end), Err(BrokenAt { at: at(20), how: Broken::Number }));
        let mut swapped = sealed.clone();
        let (one, other) = (swapped[7].row.clone(), swapped[8].row.clone());
        (swapped[7].row, swapped[8].row) = (other, one);
        assert_eq!(check(&swapped, end), Err(BrokenAt { at: at(7), how: Broken::Previous }));
        assert_eq!(check(&sealed[..49], end), Err(BrokenAt { at: at(49), how: Broken::End }));
        let broken = BrokenAt { at: at(0), how: Broken::Previous };
        assert_eq!(verify(genesis(AccountId(4)), &sealed, end), Err(broken));
    }

    #[test]
    fn a_text_is_told_by_its_salt_and_erasing_it_leaves_the_chain_whole() {
        let (mut sealed, end) = chain(2);
        let text = sealed[0].texts.take().and_then(|texts| texts.before).unwrap();
        let ActivityValue::Text(digest) = sealed[0].row.before else { panic!("a text") };
        assert!(text_fits(&digest, &text));
        assert!(!text_fits(&digest, &SaltedText { salt: [0; 16], ..text }));
        assert_eq!(check(&sealed, end), Ok(()));
    }

    #[test]
    fn every_kind_of_activity_has_a_number_and_a_name_of_its_own() {
        for (n, kind) in ActivityKind::ALL.iter().enumerate() {
            assert_eq!(usize::from(kind.code()), n + 1);
            assert_eq!(ActivityKind::parse(kind.name()), Some(*kind));
        }
        for (n, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(usize::from(reason.code()), n + 1);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_stored_entry_is_found(entry in 0..50usize, octet in 0..512usize, bit in 0..8u32) {
            let (mut sealed, end) = chain(50);
            let mut stored = postcard::to_allocvec(&sealed[entry].row).unwrap();
            let octet = octet % stored.len();
            stored[octet] ^= 1 << bit;
            // What no longer decodes is found by decoding.
            if let Ok(row) = postcard::from_bytes::<ActivityRow>(&stored)
                && row != sealed[entry].row
            {
                sealed[entry].row = row;
                let broken = check(&sealed, end).unwrap_err();
                prop_assert_eq!(broken.at, ActivityId(entry as u32));
            }
        }
    }
}
