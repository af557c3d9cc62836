//! Retention: takes away what the logs tell of longer than they must, in small commits.
//!
//! Where entries of a log were, the newest of them leaves a mark at its position, which says: what
//! was here and before is gone. So a state as old as the mark or newer is told of exactly, and an
//! older one can't be told of; and a log's newest entry is always where its type's state says.
//!
//! Entries carry no time: once a day the account's position is written down, and an entry is as old
//! as the newest position before it.

use super::changes::{self, Change};
use super::keys::{self, KeyRange, LogOf};
use super::list::Logged;
use super::read::Read;
use super::rows::account::{AccountState, LogMarksRow};
use super::rows::{self, Row};
use super::{Store, StoreError, StoreResult};
use crate::types::{AccountId, Millis, limits};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long logs are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    pub age: Duration,
    pub commits: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(limits::LOG_KEPT_SECONDS), commits: limits::LOG_COMMITS_MAX }
    }
}

/// Sweeps the logs of an account. Blocks; gives how many entries went.
pub fn logs(store: &Store, account: AccountId, keep: Retention) -> StoreResult<u64> {
    let upto = mark(store, account, keep)?;
    if upto == 0 {
        return Ok(0);
    }
    let mut range = keys::account_logs(account);
    let mut gone = 0;
    loop {
        let mut found = None;
        (&store.snapshot() as &dyn Read).scan(&range, false, &mut |key, _| {
            found = Some((keys::log_up_to(key, upto), keys::logs_after(account, key)));
            ControlFlow::Break(())
        })?;
        let Some((old, next)) = found else { break };
        loop {
            let went = step(store, account, &old)?;
            gone += went as u64;
            if went < limits::SWEEP_ROWS_MAX {
                break;
            }
        }
        range = next;
    }
    Ok(gone)
}

/// Writes down where the log is, where that is to be done, and says up to where it may go.
fn mark(store: &Store, account: AccountId, keep: Retention) -> StoreResult<u64> {
    let now = store.clock.now();
    let locked = store.lock_blocking(&[account]);
    let mut txn = store.begin(&locked);
    let read: &dyn Read = &txn;
    let at = read.row::<AccountState>(account, ())?.unwrap_or_default().modseq;
    let before: LogMarksRow = read.row(account, ())?.unwrap_or_default();
    let mut marks = before.clone();
    let is_old = |moment: Millis| moment.after(keep.age) <= now;
    let old = marks.0.iter().rposition(|(moment, _)| is_old(*moment));
    // Of those that are old enough the newest says all.
    marks.0.drain(..old.unwrap_or(0));
    let interval = Duration::from_secs(limits::LOG_MARK_SECONDS);
    let due = marks.0.last().is_none_or(|(moment, modseq)| moment.after(interval) <= now && *modseq < at);
    if due && at > 0 {
        marks.0.push((now, at));
    }
    let aged = marks.0.first().filter(|(moment, _)| is_old(*moment)).map_or(0, |(_, modseq)| *modseq);
    if marks != before {
        txn.put_at(LogMarksRow::key(account, ()), &marks)?;
        txn.commit()?;
    }
    Ok(aged.max(at.saturating_sub(keep.commits)))
}

/// Takes away the oldest entries of a log's range, and leaves the mark. Gives how many went.
fn step(store: &Store, account: AccountId, old: &KeyRange) -> StoreResult<usize> {
    let locked = store.lock_blocking(&[account]);
    let mut txn = store.begin(&locked);
    let mut found = Vec::new();
    let mut is_mark = false;
    (&txn as &dyn Read).scan(old, false, &mut |key, value| {
        is_mark = found.is_empty() && is_swept(key, value);
        found.push(key.to_vec());
        if found.len() <= limits::SWEEP_ROWS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let Some(last) = found.pop().filter(|_| !is_mark) else { return Ok(0) };
    for key in &found {
        txn.delete_bytes(keys::log_entry(key));
    }
    txn.put_bytes(keys::log_entry(&last), swept(&last)?);
    txn.commit()?;
    Ok(found.len())
}

fn is_swept(key: &[u8], value: &[u8]) -> bool {
    swept(key).is_ok_and(|mark| mark == value)
}

/// The mark that a log of that kind has.
fn swept(key: &[u8]) -> StoreResult<Vec<u8>> {
    match keys::read_log(key) {
        Some((LogOf::Type(_) | LogOf::Own(..), _)) => changes::encode(&BTreeMap::from([(0, Change::Swept)])),
        Some((LogOf::List, _)) => rows::encode(&Logged::new()),
        None => Err(StoreError::Corrupt("a log's key".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use crate::store::changes::Since;
    use crate::store::list::{self, Entry, List, ListChanges, Place};
    use crate::types::{Clock, DataType, PrincipalId, Random, UtcDate};
    use std::sync::Arc;

    const ACCOUNT: AccountId = AccountId(1);
    const LIST: List = List::Conversations;
    const ANN: PrincipalId = PrincipalId(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn store() -> Arc<Store> {
        let options = StoreOptions { disk_free_bytes_min: 0, ..StoreOptions::default() };
        Store::in_memory(options, Clock::manual(Millis(0)), Random::seeded(1)).unwrap()
    }

    fn place(id: u32) -> Place {
        Place { at: UtcDate(7), id }
    }

    /// One commit: a Note, an entry of a list, and what is one member's own.
    fn add(store: &Store, id: u32) -> u64 {
        let locked = store.lock_blocking(&[ACCOUNT]);
        let mut txn = store.begin(&locked);
        txn.log(ACCOUNT, DataType::Note, id, Change::Created).unwrap();
        txn.log_own(ACCOUNT, ANN, DataType::Email, id, Change::Updated).unwrap();
        list::insert(&mut txn, ACCOUNT, LIST, Entry { place: place(id), with: 0 }).unwrap();
        txn.commit().unwrap().settled[&ACCOUNT].of(DataType::Note)
    }

    fn notes(store: &Store, since: u64) -> Option<Vec<u32>> {
        let since = Since::modseq(since);
        let told = changes::changes(&store.snapshot(), ACCOUNT, None, DataType::Note, since, 99).unwrap();
        told.map(|told| told.created)
    }

    fn own(store: &Store, since: u64) -> Option<Vec<u32>> {
        let since = Since::modseq(since);
        let member = Some(ANN);
        let told = changes::changes(&store.snapshot(), ACCOUNT, member, DataType::Email, since, 99).unwrap();
        told.map(|told| told.updated)
    }

    fn listed(store: &Store, since: u64) -> Option<Vec<u32>> {
        let told = list::changes(&store.snapshot(), ACCOUNT, LIST, since).unwrap();
        let ids = |told: ListChanges| {
            let mut ids: Vec<u32> = told.added.iter().map(|place| place.id).collect();
            ids.sort_unstable();
            ids
        };
        told.map(ids)
    }

    #[test]
    fn states_older_than_what_was_swept_cant_be_told_of_and_newer_ones_exactly() {
        let store = store();
        let keep = Retention { age: DAY * 30, commits: 1_000 };
        let states: Vec<u64> = (1..=5).map(|id| add(&store, id)).collect();
        assert_eq!(logs(&store, ACCOUNT, keep).unwrap(), 0, "nothing is old");
        store.clock.advance(DAY * 10);
        let later: Vec<u64> = (6..=8).map(|id| add(&store, id)).collect();
        assert_eq!(logs(&store, ACCOUNT, keep).unwrap(), 0);
        store.clock.advance(DAY * 21);
        assert_eq!(logs(&store, ACCOUNT, keep).unwrap(), 12, "of each of three logs the mark is left");
        for told in [notes, own, listed] {
            for state in states.iter().take(4).chain([&0]) {
                assert_eq!(told(&store, *state), None, "state {state}");
            }
            assert_eq!(told(&store, states[4]), Some(vec![6, 7, 8]));
            assert_eq!(told(&store, later[0]), Some(vec![7, 8]));
            assert_eq!(told(&store, later[2]), Some(vec![]));
        }
        assert_eq!(logs(&store, ACCOUNT, keep).unwrap(), 0, "twice is once");
        let faults = crate::store::check::check(&store, &[], &mut |_| {}).unwrap().faults;
        assert_eq!(faults, Vec::<String>::new());
        // What stands still for long is told of as it is.
        store.clock.advance(DAY * 400);
        logs(&store, ACCOUNT, keep).unwrap();
        logs(&store, ACCOUNT, keep).unwrap();
        assert_eq!(notes(&store, later[2]), Some(vec![]));
        assert_eq!(notes(&store, later[1]), None);
    }

    #[test]
    fn a_busy_account_keeps_so_many_commits_in_steps_that_each_leave_the_truth() {
        let store = store();
        let keep = Retention { age: DAY * 30, commits: 10 };
        let count = limits::SWEEP_ROWS_MAX as u32 * 2 + 15;
        let states: Vec<u64> = (1..=count).map(|id| add(&store, id)).collect();
        let upto = mark(&store, ACCOUNT, keep).unwrap();
        let log = keys::change(ACCOUNT, DataType::Note, 1);
        let old = keys::log_up_to(&log.bytes, upto);
        assert_eq!(step(&store, ACCOUNT, &old).unwrap(), limits::SWEEP_ROWS_MAX);
        let at = limits::SWEEP_ROWS_MAX;
        assert_eq!(notes(&store, states[at - 1]), None);
        assert_eq!(notes(&store, states[at]).map(|ids| ids.len()), Some(99));
        logs(&store, ACCOUNT, keep).unwrap();
        let last = count as usize - 11;
        for told in [notes, own, listed] {
            assert_eq!(told(&store, states[last - 1]), None);
            assert_eq!(told(&store, states[last]), Some((count - 9..=count).collect()));
        }
    }
}
