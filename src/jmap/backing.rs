//! The one seam between the machinery and the floors below: what a method call reads from, and
//! the transaction that it writes through. The types' hooks use these same values.
//!
//! Invariants: a call reads from one snapshot (`Reader::Snapshot`), and inside a /set from its own
//! transaction (`Reader::Txn`), so that it sees what it has written. A `Txn` that is dropped
//! changes nothing.
//!
//! This is an ordered map in memory that stands in until the store is wired in; nothing outside
//! this file knows that.

use super::error::MethodError;
use crate::types::{AccountId, DataType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type Key = (AccountId, DataType, String);

/// What changed at one modseq.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Created,
    Updated,
    Destroyed,
}

#[derive(Clone, Default, Debug)]
struct Memory {
    rows: BTreeMap<Key, Value>,
    log: Vec<(u64, Key, Change)>,
    modseq: u64,
}

/// The server as a request sees it.
#[derive(Default, Debug)]
pub struct Server(Mutex<Arc<Memory>>);

/// A moment of the server; it never changes.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Memory>);

/// All that one method call changes in one account: applied by `commit`, or not at all.
#[derive(Debug)]
pub struct Txn {
    account: AccountId,
    memory: Memory,
    changed: Vec<(Key, Change)>,
}

/// A place in a transaction to which it can go back.
#[derive(Debug)]
pub struct Savepoint(BTreeMap<Key, Value>, usize);

/// What a commit says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// The modseq that the changes took; the account's last one where nothing changed.
    pub modseq: u64,
}

/// Where a hook reads: the request's snapshot, or the transaction that it is part of.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'r> {
    Snapshot(&'r Snapshot),
    Txn(&'r Txn),
}

/// The ids that changed since a modseq.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChangedIds {
    pub created: Vec<String>,
    pub updated: Vec<String>,
    pub destroyed: Vec<String>,
    pub new_modseq: u64,
    pub has_more: bool,
}

/// The log doesn't reach back to that modseq, or never gave it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotCalculate;

impl Server {
    /// The present moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// A transaction on `account`, whose lock the caller holds.
    pub fn begin(&self, account: AccountId) -> Result<Txn, MethodError> {
        let memory = self.snapshot().0.as_ref().clone();
        Ok(Txn { account, memory, changed: Vec::new() })
    }

    /// Applies all of it.
    pub fn commit(&self, mut txn: Txn) -> Result<Commit, MethodError> {
        if !txn.changed.is_empty() {
            txn.memory.modseq += 1;
            let modseq = txn.memory.modseq;
            txn.memory.log.extend(txn.changed.into_iter().map(|(key, change)| (modseq, key, change)));
        }
        let modseq = txn.memory.modseq;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(txn.memory);
        Ok(Commit { modseq })
    }
}

impl Txn {
    /// The account that it writes.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Remembers this place.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.memory.rows.clone(), self.changed.len())
    }

    /// Undoes what was written since.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        self.memory.rows = savepoint.0;
        self.changed.truncate(savepoint.1);
    }

    /// Writes a row with its change.
    pub fn put(&mut self, data_type: DataType, id: &str, row: Value) {
        let key = (self.account, data_type, id.to_owned());
        let known = self.memory.rows.insert(key.clone(), row).is_some();
        self.changed.push((key, if known { Change::Updated } else { Change::Created }));
    }

    /// Removes a row with its change.
    pub fn remove(&mut self, data_type: DataType, id: &str) {
        let key = (self.account, data_type, id.to_owned());
        self.memory.rows.remove(&key);
        self.changed.push((key, Change::Destroyed));
    }
}

impl<'r> Reader<'r> {
    fn memory(self) -> &'r Memory {
        match self {
            Self::Snapshot(snapshot) => &snapshot.0,
            Self::Txn(txn) => &txn.memory,
        }
    }

    /// A row.
    pub fn get(self, account: AccountId, data_type: DataType, id: &str) -> Option<&'r Value> {
        self.memory().rows.get(&(account, data_type, id.to_owned()))
    }

    /// All ids of a type.
    pub fn ids(self, account: AccountId, data_type: DataType) -> impl Iterator<Item = &'r str> {
        self.memory()
            .rows
            .keys()
            .filter(move |key| key.0 == account && key.1 == data_type)
            .map(|key| key.2.as_str())
    }

    /// The last modseq at which the type changed in the account.
    pub fn modseq(self, account: AccountId, data_type: DataType) -> u64 {
        let mut log = self.memory().log.iter().rev();
        log.find(|(_, key, _)| key.0 == account && key.1 == data_type).map_or(0, |entry| entry.0)
    }

    /// What changed since `since`, at most `max` ids, oldest first.
    pub fn changes(
        self,
        account: AccountId,
        data_type: DataType,
        since: u64,
        max: usize,
    ) -> Result<ChangedIds, CannotCalculate> {
        let current = self.modseq(account, data_type);
        if since > current {
            return Err(CannotCalculate);
        }
        let mut seen: BTreeMap<&str, (Change, Change)> = BTreeMap::new();
        let (mut new_modseq, mut has_more) = (current, false);
        let log = self.memory().log.iter().filter(|entry| entry.0 > since);
        for (modseq, key, change) in log.filter(|(_, key, _)| key.0 == account && key.1 == data_type) {
            if seen.len() == max && !seen.contains_key(key.2.as_str()) {
                has_more = true;
                break;
            }
            new_modseq = *modseq;
            seen.entry(&key.2).and_modify(|both| both.1 = *change).or_insert((*change, *change));
        }
        let mut out = ChangedIds { new_modseq, has_more, ..ChangedIds::default() };
        for (id, (first, last)) in seen {
            match (first, last) {
                (Change::Created, Change::Destroyed) => {}
                (Change::Created, _) => out.created.push(id.to_owned()),
                (_, Change::Destroyed) => out.destroyed.push(id.to_owned()),
                _ => out.updated.push(id.to_owned()),
            }
        }
        Ok(out)
    }
}
