//! Change logs: what was created, updated and destroyed in an account, type by type.
//!
//! A transaction writes one entry a type and modseq; `/changes` merges the entries after a state.
//! An object created and destroyed in between isn't told of; one destroyed and never seen as
//! created was there before.

use super::error::StoreResult;
use super::keys;
use super::read::Read;
use super::rows::account::AccountState;
use crate::types::{AccountId, DataType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What happened to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    Created,
    Updated,
    /// Updated in nothing but counts (RFC 8621 §2.2, `updatedProperties`).
    Counted,
    Destroyed,
}

/// The modseq at which each type last changed, indexed by the type's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TypeStates(pub [u64; DataType::COUNT]);

impl TypeStates {
    /// The modseq at which the type last changed; 0 when it never did.
    pub fn of(&self, data_type: DataType) -> u64 {
        self.0[data_type as usize]
    }

    pub(super) fn set(&mut self, data_type: DataType, modseq: u64) {
        self.0[data_type as usize] = modseq;
    }
}

/// A position in a type's change log: all entries up to `modseq`, and of the entry after it the
/// first `told` ids. Only /changes with a `maxChanges` smaller than one commit makes the latter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Since {
    pub modseq: u64,
    pub told: u32,
}

impl Since {
    /// Everything up to a modseq.
    pub fn modseq(modseq: u64) -> Self {
        Self { modseq, told: 0 }
    }

    /// The state as a client sees it.
    pub fn state(self) -> String {
        if self.told == 0 { format!("s{}", self.modseq) } else { format!("s{}-{}", self.modseq, self.told) }
    }

    /// Reads a state back; `None` where it isn't one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix('s')?;
        let (modseq, told) = body.split_once('-').unwrap_or((body, "0"));
        let since = Self { modseq: modseq.parse().ok()?, told: told.parse().ok()? };
        (since.state() == text).then_some(since)
    }
}

/// The answer to /changes (RFC 8620 §5.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    pub created: Vec<u32>,
    pub updated: Vec<u32>,
    pub destroyed: Vec<u32>,
    /// Every update was one of counts only, and there was at least one.
    pub only_counts: bool,
    /// The position that the answer leads to.
    pub new_state: Since,
    /// There is more after `new_state`.
    pub has_more: bool,
}

/// The states of an account's types.
pub fn states(read: &dyn Read, account: AccountId) -> StoreResult<TypeStates> {
    Ok(read.row::<AccountState>(account, ())?.unwrap_or_default().types)
}

/// What changed after `since`, at most `max` ids; `None` where that can't be told: a state that
/// never was, or one older than the log.
pub fn changes(
    read: &dyn Read,
    account: AccountId,
    data_type: DataType,
    since: Since,
    max: usize,
) -> StoreResult<Option<Changes>> {
    if since.modseq > states(read, account)?.of(data_type) {
        return Ok(None);
    }
    let mut merge = Merge { since, max, ..Merge::default() };
    merge.new_state = since;
    let mut broken = None;
    read.scan(&keys::changes_after(account, data_type, since.modseq), false, &mut |key, value| {
        let modseq = keys::last_version(key).unwrap_or_default();
        match super::rows::decode(value) {
            Ok(entry) => merge.entry(modseq, entry),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    // A position inside an entry that isn't there, or isn't that long, never was.
    let beyond = merge.beyond || (since.told > 0 && merge.new_state == since && !merge.has_more);
    Ok((!beyond).then(|| merge.answer()))
}

/// The merge of log entries on the way.
#[derive(Default)]
struct Merge {
    since: Since,
    max: usize,
    merged: BTreeMap<u32, Change>,
    order: Vec<u32>,
    /// What is in `order`: an object that went may come back.
    told: BTreeSet<u32>,
    new_state: Since,
    has_more: bool,
    /// The position is behind the end of its entry.
    beyond: bool,
}

impl Merge {
    fn entry(&mut self, modseq: u64, entry: Vec<(u32, Change)>) -> ControlFlow<()> {
        // `told` counts within the first entry after the state, whichever modseq that has.
        let told = if self.new_state == self.since { self.since.told as usize } else { 0 };
        if told > 0 && told >= entry.len() {
            self.beyond = true;
            return ControlFlow::Break(());
        }
        for (at, (id, change)) in entry.into_iter().enumerate().skip(told) {
            if !self.merged.contains_key(&id) {
                if self.merged.len() >= self.max {
                    self.has_more = true;
                    // The ids before `at` of this entry are told; those of all earlier entries too.
                    self.new_state.told = at as u32;
                    return ControlFlow::Break(());
                }
                if self.told.insert(id) {
                    self.order.push(id);
                }
            }
            merge(&mut self.merged, id, change);
        }
        self.new_state = Since::modseq(modseq);
        ControlFlow::Continue(())
    }

    fn answer(self) -> Changes {
        let mut answer = Changes { new_state: self.new_state, has_more: self.has_more, ..Changes::default() };
        let mut counted = 0;
        for id in self.order {
            match self.merged.get(&id) {
                Some(Change::Created) => answer.created.push(id),
                Some(Change::Updated) => answer.updated.push(id),
                Some(Change::Counted) => {
                    counted += 1;
                    answer.updated.push(id);
                }
                Some(Change::Destroyed) => answer.destroyed.push(id),
                None => {}
            }
        }
        answer.only_counts = counted > 0 && counted == answer.updated.len();
        answer
    }
}

/// Merges a later change of an object into what is known of it. An object that was created and
/// destroyed isn't told of: it leaves the map.
fn merge(merged: &mut BTreeMap<u32, Change>, id: u32, later: Change) {
    let now = match (merged.get(&id), later) {
        (Some(Change::Created), Change::Destroyed) => {
            merged.remove(&id);
            return;
        }
        (Some(Change::Created), _) => Change::Created,
        // Ids are never reused, but an object can leave a member's sight and come back.
        (Some(Change::Destroyed), Change::Created) => Change::Updated,
        (Some(Change::Updated), Change::Counted) => Change::Updated,
        (_, later) => later,
    };
    merged.insert(id, now);
}

/// Merges two changes of one object within one commit; `None` when they cancel out.
pub(super) fn combine(earlier: Option<Change>, later: Change) -> Option<Change> {
    let mut merged = BTreeMap::new();
    if let Some(earlier) = earlier {
        merged.insert(0, earlier);
    }
    merge(&mut merged, 0, later);
    merged.remove(&0)
}

/// Makes the octets of one log entry.
pub(super) fn encode(entry: &BTreeMap<u32, Change>) -> StoreResult<Vec<u8>> {
    let list: Vec<(u32, Change)> = entry.iter().map(|(id, change)| (*id, *change)).collect();
    super::rows::encode(&list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_object_merge_to_what_a_client_needs() {
        use Change::*;
        for (earlier, later, merged) in [
            (None, Created, Some(Created)),
            (Some(Created), Updated, Some(Created)),
            (Some(Created), Counted, Some(Created)),
            (Some(Created), Destroyed, None),
            (Some(Updated), Counted, Some(Updated)),
            (Some(Counted), Updated, Some(Updated)),
            (Some(Counted), Counted, Some(Counted)),
            (Some(Updated), Destroyed, Some(Destroyed)),
            (Some(Destroyed), Created, Some(Updated)),
        ] {
            assert_eq!(combine(earlier, later), merged, "{earlier:?} then {later:?}");
        }
    }
}
