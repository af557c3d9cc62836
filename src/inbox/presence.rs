//! Presence: who is looking at or typing in a conversation right now. Leases in memory, in no log
//! and no stored state: they are gone with the process.
//!
//! Invariants: a lease is live for [`PRESENCE_SECONDS`] after its last sign of life, by the one
//! clock; how many there are is bounded, for each person and each inbox; the version of an inbox's
//! presence moves with every change that somebody can see, and never with a renewal. Whether a
//! principal may see an inbox is asked of the directory by the caller, whenever leases are told.

use crate::types::limits::{PRESENCE_SECONDS, PRESENCES_PER_INBOX_MAX, PRESENCES_PER_MEMBER_MAX};
use crate::types::{AccountId, ConversationId, Millis, PrincipalId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What somebody does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    Viewing,
    Composing,
}

impl Doing {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Viewing => "viewing",
            Doing::Composing => "composing",
        }
    }

    /// What the word means.
    pub fn parse(name: &str) -> Option<Self> {
        [Doing::Viewing, Doing::Composing].into_iter().find(|doing| doing.name() == name)
    }
}

/// The digits of ids.
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
/// An id has the run above the number.
const RUN_SHIFT: u32 = 32;
const NUMBER_MASK: u64 = u32::MAX as u64;

/// One lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    pub principal: PrincipalId,
    pub conversation: ConversationId,
    pub doing: Doing,
    pub until: Millis,
}

/// There are too many leases already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The leases of one inbox.
struct Room {
    leases: BTreeMap<u64, Lease>,
    version: watch::Sender<u64>,
}

impl Room {
    fn new() -> Self {
        Self { leases: BTreeMap::new(), version: watch::Sender::new(0) }
    }

    fn moved(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// The presence in all inboxes.
#[derive(Default)]
pub struct Presences {
    /// Tells the states of this run from those of another.
    run: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rooms: HashMap<AccountId, Room>,
    next: u64,
}

impl Presences {
    /// Nobody is anywhere; `run` is a number that no other run of the server has.
    pub fn new(run: u64) -> Self {
        Self { run, inner: Mutex::default() }
    }

    /// Somebody comes. Gives the lease's number.
    pub fn begin(
        &self,
        account: AccountId,
        principal: PrincipalId,
        conversation: ConversationId,
        doing: Doing,
        now: Millis,
    ) -> Result<(u64, Lease), Full> {
        let mut inner = self.lock();
        let number = inner.next;
        let room = inner.rooms.entry(account).or_insert_with(Room::new);
        room.leases.retain(|_, lease| now < lease.until);
        let own = room.leases.values().filter(|lease| lease.principal == principal).count();
        if own >= PRESENCES_PER_MEMBER_MAX || room.leases.len() >= PRESENCES_PER_INBOX_MAX {
            return Err(Full);
        }
        let lease = Lease { principal, conversation, doing, until: until(now) };
        room.leases.insert(number, lease);
        room.moved();
        inner.next += 1;
        Ok((number, lease))
    }

    /// A sign of life, perhaps of another doing. `None` where the principal has no such lease any more.
    pub fn renew(
        &self,
        account: AccountId,
        principal: PrincipalId,
        number: u64,
        doing: Option<Doing>,
        now: Millis,
    ) -> Option<Lease> {
        let mut inner = self.lock();
        let room = inner.rooms.get_mut(&account)?;
        let lease = room.leases.get_mut(&number)?;
        if lease.principal != principal || lease.until <= now {
            return None;
        }
        lease.until = until(now);
        let before = lease.doing;
        lease.doing = doing.unwrap_or(before);
        let after = *lease;
        if before != after.doing {
            room.moved();
        }
        Some(after)
    }

    /// Somebody goes. False where the principal has no such lease any more.
    pub fn end(&self, account: AccountId, principal: PrincipalId, number: u64, now: Millis) -> bool {
        let mut inner = self.lock();
        let Some(room) = inner.rooms.get_mut(&account) else { return false };
        let own =
            room.leases.get(&number).is_some_and(|lease| lease.principal == principal && now < lease.until);
        if own {
            room.leases.remove(&number);
            room.moved();
        }
        own
    }

    /// Who is there, by the numbers of their leases.
    pub fn live(&self, account: AccountId, now: Millis) -> Vec<(u64, Lease)> {
        let inner = self.lock();
        let Some(room) = inner.rooms.get(&account) else { return Vec::new() };
        room.leases.iter().filter(|(_, lease)| now < lease.until).map(|(id, lease)| (*id, *lease)).collect()
    }

    /// Takes away the leases that are over, and those of whom `is_member` denies.
    pub fn sweep(&self, now: Millis, is_member: impl Fn(AccountId, PrincipalId) -> bool) {
        let mut inner = self.lock();
        for (account, room) in &mut inner.rooms {
            let before = room.leases.len();
            room.leases.retain(|_, lease| now < lease.until && is_member(*account, lease.principal));
            if room.leases.len() < before {
                room.moved();
            }
        }
    }

    /// Rings with the version of an inbox's presence.
    pub fn subscribe(&self, account: AccountId) -> watch::Receiver<u64> {
        self.lock().rooms.entry(account).or_insert_with(Room::new).version.subscribe()
    }

    /// The version of an inbox's presence.
    pub fn version(&self, account: AccountId) -> u64 {
        self.lock().rooms.get(&account).map_or(0, |room| *room.version.borrow())
    }

    /// A version as a state.
    pub fn state(&self, version: u64) -> String {
        format!("r{:x}-{version}", self.run)
    }

    /// How a lease's number is spelled as an id: in letters, with the run, so that a lease of an
    /// earlier one is never taken for another.
    pub fn spell(&self, number: u64) -> String {
        let mut rest = self.run << RUN_SHIFT | number & NUMBER_MASK;
        let mut id = String::from("w");
        loop {
            id.push(char::from(LETTERS[(rest % 26) as usize]));
            rest /= 26;
            if rest == 0 {
                return id;
            }
        }
    }

    /// The number that an id of this run spells.
    pub fn parse(&self, id: &str) -> Option<u64> {
        let mut value: u64 = 0;
        for letter in id.strip_prefix('w')?.bytes().rev() {
            let digit = LETTERS.iter().position(|known| *known == letter)? as u64;
            value = value.checked_mul(26)?.checked_add(digit)?;
        }
        let number = value & NUMBER_MASK;
        (self.spell(number) == id).then_some(number)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until(now: Millis) -> Millis {
    now.after(Duration::from_secs(PRESENCE_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INBOX: AccountId = AccountId(2);
    const ANN: PrincipalId = PrincipalId(1);
    const BOB: PrincipalId = PrincipalId(2);
    const TALK: ConversationId = ConversationId(7);

    fn at(seconds: i64) -> Millis {
        Millis(seconds * 1000)
    }

    #[test]
    fn a_lease_lives_thirty_seconds_after_its_last_sign_of_life() {
        let all = Presences::new(9);
        let (id, lease) = all.begin(INBOX, ANN, TALK, Doing::Viewing, at(0)).unwrap();
        assert_eq!(lease.until, at(30));
        assert_eq!(all.live(INBOX, at(29)), [(id, lease)]);
        let version = all.version(INBOX);
        assert_eq!(all.renew(INBOX, ANN, id, None, at(20)).unwrap().until, at(50));
        assert_eq!(all.version(INBOX), version, "nobody sees a renewal");
        let composing = all.renew(INBOX, ANN, id, Some(Doing::Composing), at(20)).unwrap();
        assert_eq!((composing.doing, all.version(INBOX)), (Doing::Composing, version + 1));
        assert_eq!(all.live(INBOX, at(50)), []);
        assert_eq!(all.renew(INBOX, ANN, id, None, at(50)), None);
        all.sweep(at(50), |_, _| true);
        assert_eq!(all.version(INBOX), version + 2, "its end is seen");
        all.sweep(at(51), |_, _| true);
        assert_eq!(all.version(INBOX), version + 2);
    }

    #[test]
    fn only_its_holder_renews_or_ends_a_lease_and_a_member_who_left_has_none() {
        let all = Presences::new(9);
        let (id, _) = all.begin(INBOX, ANN, TALK, Doing::Viewing, at(0)).unwrap();
        assert_eq!(all.renew(INBOX, BOB, id, None, at(1)), None);
        assert!(!all.end(INBOX, BOB, id, at(1)) && !all.end(AccountId(3), ANN, id, at(1)));
        all.begin(INBOX, BOB, TALK, Doing::Viewing, at(1)).unwrap();
        assert!(all.end(INBOX, ANN, id, at(1)));
        assert!(!all.end(INBOX, ANN, id, at(1)));
        all.sweep(at(2), |_, who| who != BOB);
        assert_eq!(all.live(INBOX, at(2)), []);
    }

    #[test]
    fn how_many_there_are_is_bounded_and_those_that_are_over_make_room() {
        let all = Presences::new(9);
        for _ in 0..PRESENCES_PER_MEMBER_MAX {
            all.begin(INBOX, ANN, TALK, Doing::Viewing, at(0)).unwrap();
        }
        assert_eq!(all.begin(INBOX, ANN, TALK, Doing::Viewing, at(29)), Err(Full));
        assert!(all.begin(INBOX, BOB, TALK, Doing::Viewing, at(29)).is_ok());
        assert!(all.begin(INBOX, ANN, TALK, Doing::Viewing, at(30)).is_ok());
        assert_eq!(all.live(INBOX, at(30)).len(), 2);
    }

    #[test]
    fn an_id_of_another_run_names_nothing() {
        let all = Presences::new(9);
        assert_eq!(all.parse(&all.spell(3)), Some(3));
        let earlier = Presences::new(8).spell(3);
        for wrong in [earlier.as_str(), "", "w", "wA", "zzzz", "wzzzzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(all.parse(wrong), None, "{wrong}");
        }
    }
}
