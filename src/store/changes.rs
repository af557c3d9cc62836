//! Change logs: what was created, updated and destroyed in an account, type by type.
//!
//! A transaction writes one entry a type and modseq; `/changes` merges the entries after a state.
//! What changes for one member of an inbox alone (what they have seen) has a log of its own. Both
//! count in the modseqs of the account, so that a member's state is one position in the two logs
//! together: another's reading moves neither it nor what it leads to.
//!
//! An object created and destroyed in between isn't told of; one destroyed and never seen as
//! created was there before.

use super::error::StoreResult;
use super::keys;
use super::read::Read;
use super::rows::account::AccountState;
use super::rows::viewer::ViewerStateRow;
use crate::types::{AccountId, DataType, PrincipalId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

/// What happened to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    Created,
    Updated,
    /// Updated in nothing but counts (RFC 8621 §2.2, `updatedProperties`).
    Counted,
    Destroyed,
    /// Everything may be another now (number 0 stands for it): no change from before can be told.
    Reset,
    /// What stood here and before was swept away ([`super::sweep`]): no change from before can be told.
    Swept,
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

    /// The modseq up to which these states tell everything.
    pub fn moment(&self) -> u64 {
        self.0.into_iter().max().unwrap_or_default()
    }

    /// For each type the later one.
    pub fn latest(mut self, other: TypeStates) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = (*mine).max(theirs);
        }
        self
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

/// The states as a member of the inbox has them; those of all where no member is named.
pub fn states_of(
    read: &dyn Read,
    account: AccountId,
    member: Option<PrincipalId>,
) -> StoreResult<TypeStates> {
    let shared = states(read, account)?;
    let Some(member) = member else { return Ok(shared) };
    let own = read.row::<ViewerStateRow>(account, member)?.unwrap_or_default();
    Ok(shared.latest(own.types))
}

/// What changed after `since` for all and for that member, at most `max` ids; `None` where that
/// can't be told: a state that never was, or one older than the log.
pub fn changes(
    read: &dyn Read,
    account: AccountId,
    member: Option<PrincipalId>,
    data_type: DataType,
    since: Since,
    max: usize,
) -> StoreResult<Option<Changes>> {
    if since.modseq > states_of(read, account, member)?.of(data_type) {
        return Ok(None);
    }
    tell(read, account, member, data_type, Merge { since, max, new_state: since, ..Merge::default() })
}

/// The same for what follows the objects and not how somebody sees them: a reset says nothing to it.
pub fn objects(
    read: &dyn Read,
    account: AccountId,
    data_type: DataType,
    since: Since,
    max: usize,
) -> StoreResult<Option<Changes>> {
    let merge = Merge { since, max, new_state: since, past_resets: true, ..Merge::default() };
    tell(read, account, None, data_type, merge)
}

fn tell(
    read: &dyn Read,
    account: AccountId,
    member: Option<PrincipalId>,
    data_type: DataType,
    mut merge: Merge,
) -> StoreResult<Option<Changes>> {
    let since = merge.since;
    let log = |member| Log {
        read,
        account,
        member,
        data_type,
        ended: false,
        ahead: VecDeque::new(),
        at: since.modseq,
    };
    let (mut shared, mut own) = (log(None), member.map(|member| log(Some(member))));
    loop {
        let next = match &mut own {
            Some(own) => earlier(&mut shared, own)?,
            None => shared.take()?,
        };
        let Some((modseq, entry)) = next else { break };
        if merge.entry(modseq, entry).is_break() {
            break;
        }
    }
    // A position inside an entry that isn't there, or isn't that long, never was.
    let never_was = merge.beyond || (since.told > 0 && merge.new_state == since && !merge.has_more);
    Ok((!never_was && !merge.reset).then(|| merge.answer()))
}

/// An entry of a log, by its number.
type Entry = (u64, Vec<(u32, Change)>);

/// The entries of one log, read some at a time.
struct Log<'r> {
    read: &'r dyn Read,
    account: AccountId,
    /// Whose own log; `None` for the log of all.
    member: Option<PrincipalId>,
    data_type: DataType,
    at: u64,
    ahead: VecDeque<Entry>,
    ended: bool,
}

/// Entries that are read at once.
const ENTRIES_READ: usize = 64;

impl Log<'_> {
    fn peek(&mut self) -> StoreResult<Option<u64>> {
        if self.ahead.is_empty() && !self.ended {
            self.fill()?;
        }
        Ok(self.ahead.front().map(|(modseq, _)| *modseq))
    }

    fn take(&mut self) -> StoreResult<Option<Entry>> {
        self.peek()?;
        Ok(self.ahead.pop_front())
    }

    fn fill(&mut self) -> StoreResult<()> {
        let range = match self.member {
            Some(member) => keys::own_changes_after(self.account, member, self.data_type, self.at),
            None => keys::changes_after(self.account, self.data_type, self.at),
        };
        let mut broken = None;
        self.read.scan(&range, false, &mut |key, value| {
            let modseq = keys::last_version(key).unwrap_or_default();
            match super::rows::decode(value) {
                Ok(entry) => self.ahead.push_back((modseq, entry)),
                Err(error) => broken = Some(error),
            }
            let goes_on = broken.is_none() && self.ahead.len() < ENTRIES_READ;
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.ended = self.ahead.len() < ENTRIES_READ;
        self.at = self.ahead.back().map_or(self.at, |(modseq, _)| *modseq);
        broken.map_or(Ok(()), Err)
    }
}

/// The next entry of either log; of both as one, where one commit wrote both.
fn earlier(shared: &mut Log<'_>, own: &mut Log<'_>) -> StoreResult<Option<Entry>> {
    match (shared.peek()?, own.peek()?) {
        (Some(one), Some(other)) if one == other => {
            let entries = [shared.take()?, own.take()?];
            let mut both = BTreeMap::new();
            for (id, change) in entries.into_iter().flatten().flat_map(|(_, entry)| entry) {
                merge(&mut both, id, change);
            }
            Ok(Some((one, both.into_iter().collect())))
        }
        (Some(one), Some(other)) if one < other => shared.take(),
        (Some(_), None) => shared.take(),
        _ => own.take(),
    }
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
    /// What was before can't be told.
    reset: bool,
    /// Resets don't matter.
    past_resets: bool,
}

impl Merge {
    fn entry(&mut self, modseq: u64, entry: Vec<(u32, Change)>) -> ControlFlow<()> {
        // `told` counts within the first entry after the state, whichever modseq that has.
        let told = if self.new_state == self.since { self.since.told as usize } else { 0 };
        if told > 0 && told >= entry.len() {
            self.beyond = true;
            return ControlFlow::Break(());
        }
        let ends = |change| change == Change::Swept || (change == Change::Reset && !self.past_resets);
        if entry.iter().any(|(_, change)| ends(*change)) {
            self.reset = true;
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
                Some(Change::Reset | Change::Swept) | None => {}
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
