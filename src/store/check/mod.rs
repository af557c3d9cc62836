//! Says whether everything that is kept twice agrees, on one snapshot, on a live server too.
//!
//! This floor checks what it gives a meaning to: that every key and row can be read, logs, the
//! ranks of lists, and blobs. What rows mean to each other the floors above know: each gives a
//! [`Floor`], and is called with the same snapshot.
//!
//! Reads row by row; in memory are one account's sets and counts. The rules are written here and
//! in the floors' checks a second time on purpose: a check that called the code that writes the
//! rows would agree with its faults.

mod blobs;
pub mod kinds;
mod lists;
mod logs;

use super::blobs::Referrer;
use super::keys::{self, Key, Kind};
use super::read::Read;
use super::rows::account::LogMarksRow;
use super::rows::{self, Row};
use super::{Store, StoreError, StoreResult};
use crate::types::{AccountId, BlobHash};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::ops::ControlFlow;

/// What was looked at, and what is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub accounts: u64,
    pub emails: u64,
    pub threads: u64,
    pub conversations: u64,
    pub activities: u64,
    pub blobs: u64,
    /// One sentence a fault; none where all is well.
    pub faults: Vec<String>,
    /// Faults beyond [`FAULTS_MAX`], which are only counted.
    pub faults_untold: u64,
}

/// Faults that are told; a broken store has very many.
pub const FAULTS_MAX: usize = 1000;

/// Rows between two calls of `progress`.
const PROGRESS_ROWS: u64 = 100_000;

/// What a floor knows of its rows.
pub struct Floor {
    /// The kinds of row that it checks.
    pub kinds: &'static [Kind],
    /// Checks what an account has; called for every account that has any row, the directory first.
    pub account: fn(&mut Check<'_>, AccountId) -> StoreResult<()>,
    /// Checks the tables of the whole server; called once, at the end.
    pub server: fn(&mut Check<'_>) -> StoreResult<()>,
    /// Whether something that the floor knows really refers to a blob.
    pub refers: fn(&Check<'_>, Reference) -> StoreResult<bool>,
    /// The reasons for references that the floor knows.
    pub referrers: &'static [Referrer],
}

/// A stored reference to a blob.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    pub blob: BlobHash,
    pub account: AccountId,
    pub why: Referrer,
    pub id: u32,
}

/// The kinds that this floor checks by itself.
pub const OWN_KINDS: &[Kind] = &[Kind::AccountState, Kind::LogMarks, Kind::Format, Kind::Upload];

/// A run of the check: the one snapshot, and what was found so far.
pub struct Check<'a> {
    pub read: &'a dyn Read,
    pub report: Report,
    progress: &'a mut dyn FnMut(&Report),
    rows: u64,
}

/// Checks the whole store, each floor its rows. `progress` is called now and then.
pub fn check(store: &Store, floors: &[Floor], progress: &mut dyn FnMut(&Report)) -> StoreResult<Report> {
    view(&store.snapshot(), floors, progress)
}

/// Checks what one view of the store shows.
pub fn view(read: &dyn Read, floors: &[Floor], progress: &mut dyn FnMut(&Report)) -> StoreResult<Report> {
    let mut check = Check { read, report: Report::default(), progress, rows: 0 };
    let mut next = Some(0);
    while let Some(from) = next {
        let Some(account) = first_account(check.read, from)? else { break };
        check.kinds(account, floors)?;
        logs::check(&mut check, account)?;
        check.each::<LogMarksRow>(account, Kind::LogMarks, |_, _, _| Ok(()))?;
        lists::check(&mut check, account)?;
        blobs::uploads(&mut check, account)?;
        for floor in floors {
            (floor.account)(&mut check, account)?;
        }
        check.report.accounts += u64::from(account != AccountId::DIRECTORY);
        next = account.0.checked_add(1);
    }
    for floor in floors {
        (floor.server)(&mut check)?;
    }
    blobs::check(&mut check, floors)?;
    Ok(check.report)
}

/// The first account from a number on that has any row.
fn first_account(read: &dyn Read, from: u32) -> StoreResult<Option<AccountId>> {
    let mut found = None;
    read.scan(&keys::accounts_from(from), false, &mut |key, _| {
        found = keys::account_of(key);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

impl Check<'_> {
    /// Writes down that something is wrong in an account, in a sentence that names it.
    pub fn fault(&mut self, account: AccountId, what: impl Display) {
        let whose = if account == AccountId::DIRECTORY {
            "the directory".to_owned()
        } else {
            format!("account {account}")
        };
        self.tell(format!("{whose}: {what}"));
    }

    /// Writes down that something is wrong that is no account's.
    pub fn tell(&mut self, fault: String) {
        if self.report.faults.len() < FAULTS_MAX {
            self.report.faults.push(fault);
        } else {
            self.report.faults_untold += 1;
        }
    }

    /// Counts a row that was looked at.
    pub fn step(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(PROGRESS_ROWS) {
            (self.progress)(&self.report);
        }
    }

    /// Visits the rows of a kind in an account: the key's octets and the row. One that can't be read
    /// is a fault of its own.
    pub fn each<T: DeserializeOwned>(
        &mut self,
        account: AccountId,
        kind: Kind,
        mut visit: impl FnMut(&mut Self, &[u8], T) -> StoreResult<()>,
    ) -> StoreResult<()> {
        let mut broken = Ok(());
        let read = self.read;
        read.scan(&keys::all(account, kind), false, &mut |key, value| {
            self.step();
            broken = match rows::decode(value) {
                Ok(row) if kinds::has_shape(kind, key) => visit(self, key, row),
                _ => {
                    self.fault(account, format_args!("{} can't be read", kinds::describe(kind, key)));
                    Ok(())
                }
            };
            if broken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        broken
    }

    /// A row, if it is there and can be read; one that can't is a fault where its kind is visited.
    pub fn row<R: Row>(&self, account: AccountId, id: R::Id) -> StoreResult<Option<R>> {
        self.at(&R::key(account, id))
    }

    /// What stands at a key, if it is there and can be read.
    pub fn at<T: DeserializeOwned>(&self, key: &Key) -> StoreResult<Option<T>> {
        match self.read.bytes(key)?.map(|bytes| rows::decode(&bytes)) {
            Some(Err(StoreError::Corrupt(_))) | None => Ok(None),
            Some(row) => row.map(Some),
        }
    }

    /// Every kind of row is one that somebody checks. Reads one key a kind.
    fn kinds(&mut self, account: AccountId, floors: &[Floor]) -> StoreResult<()> {
        let mut next = Some(0);
        while let Some(from) = next {
            let mut found = None;
            self.read.scan(&keys::rows_from(account, from), false, &mut |key, _| {
                found = keys::kind_code(key);
                ControlFlow::Break(())
            })?;
            let Some(code) = found else { break };
            let checked = |kind: &Kind| *kind as u8 == code;
            let known = floors.is_empty()
                || OWN_KINDS.iter().chain(floors.iter().flat_map(|floor| floor.kinds)).any(checked);
            if !known {
                self.fault(account, format_args!("there are rows of an unknown kind, {code:#04x}"));
            }
            next = code.checked_add(1);
        }
        Ok(())
    }
}
