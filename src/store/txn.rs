//! The one write path.
//!
//! A transaction reads its own writes: an ordered overlay over one snapshot, taken after the
//! accounts' locks. Writing a row writes its change-log entry too, so nobody can forget one.
//! [`Txn::commit`] is one batch: rows, change logs, list logs, positions, all or nothing.
//!
//! A commit takes one modseq an account; after [`Txn::correct`] a second one, for what the server
//! corrects behind what a client asked.

use super::Store;
use super::blobs::{Held, PreparedBlob};
use super::changes::{self, Change, TypeStates};
use super::durable::{News, Ticket};
use super::engine::{Batch, Cf, Snapshot, Visit};
use super::error::{StoreError, StoreResult};
use super::hub::AccountNews;
use super::keys::{self, Key, KeyRange};
use super::list::{List, Place};
use super::locks::Locked;
use super::read::Read;
use super::rows::account::{AccountState, NextIds};
use super::rows::viewer::ViewerStateRow;
use super::rows::{self, Row};
use crate::types::{AccountId, BlobHash, DataType, PrincipalId, limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

type Overlay = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A transaction on one account, or on several that are locked together.
pub struct Txn<'s> {
    store: &'s Store,
    locked: &'s Locked,
    snapshot: Snapshot<'s>,
    overlay: [Overlay; Cf::ALL.len()],
    /// The octets of keys and values in each of them.
    written: [usize; Cf::ALL.len()],
    accounts: BTreeMap<AccountId, Work>,
    undo: Vec<Undo>,
    savepoints: usize,
    blobs: Held<'s>,
}

/// What a transaction does in one account.
#[derive(Clone)]
struct Work {
    state: AccountState,
    /// The modseq that was read; the commit holds only if the account is still there.
    base: u64,
    /// The modseq of the changes written now.
    modseq: u64,
    log: BTreeMap<(u64, DataType), BTreeMap<u32, Change>>,
    /// What changed for one member alone.
    own: BTreeMap<(u64, PrincipalId, DataType), BTreeMap<u32, Change>>,
    lists: BTreeMap<(u64, List), Vec<(Place, bool)>>,
    /// The states of the types before corrections began.
    asked: Option<TypeStates>,
}

/// How to take one step back.
enum Undo {
    Row(Cf, Vec<u8>, Option<Option<Vec<u8>>>),
    Log(AccountId, (u64, DataType), u32, Option<Change>),
    Own(AccountId, (u64, PrincipalId, DataType), u32, Option<Change>),
    List(AccountId, (u64, List)),
    Ids(AccountId, Box<NextIds>),
    Correct(AccountId),
}

/// A point to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint(usize);

/// A finished commit. Whatever tells of it must wait for the ticket.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    pub ticket: Ticket,
    /// The states of each written account, before the server's own corrections.
    pub asked: BTreeMap<AccountId, TypeStates>,
    /// The states after all.
    pub settled: BTreeMap<AccountId, TypeStates>,
    /// The states of what changed for single members alone, before the server's own corrections.
    pub own: BTreeMap<(AccountId, PrincipalId), TypeStates>,
}

impl<'s> Txn<'s> {
    pub(super) fn new(store: &'s Store, locked: &'s Locked) -> Self {
        Self {
            store,
            locked,
            snapshot: store.snapshot(),
            overlay: Default::default(),
            written: Default::default(),
            accounts: BTreeMap::new(),
            undo: Vec::new(),
            savepoints: 0,
            blobs: Held::none(&store.blobs_in_use),
        }
    }

    /// The store that this transaction writes.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// Writes a new object.
    pub fn insert<R: Row>(&mut self, account: AccountId, id: R::Id, row: &R) -> StoreResult<()> {
        self.put(account, id, row, Change::Created)
    }

    /// Writes a changed object.
    pub fn update<R: Row>(&mut self, account: AccountId, id: R::Id, row: &R) -> StoreResult<()> {
        self.put(account, id, row, Change::Updated)
    }

    /// Takes an object away.
    pub fn remove<R: Row>(&mut self, account: AccountId, id: R::Id) -> StoreResult<()> {
        self.delete_bytes(R::key(account, id));
        match R::LOGGED {
            Some((data_type, number)) => self.log(account, data_type, number(id), Change::Destroyed),
            None => Ok(()),
        }
    }

    /// Writes a row and tells the change log what happened to the object.
    pub fn put<R: Row>(&mut self, account: AccountId, id: R::Id, row: &R, change: Change) -> StoreResult<()> {
        self.put_bytes(R::key(account, id), rows::encode(row)?);
        match R::LOGGED {
            Some((data_type, number)) => self.log(account, data_type, number(id), change),
            None => Ok(()),
        }
    }

    /// Writes a row of an index or of a table of the whole server, which no client sees as an object.
    pub fn put_at<T: Serialize>(&mut self, key: Key, row: &T) -> StoreResult<()> {
        self.put_bytes(key, rows::encode(row)?);
        Ok(())
    }

    /// Takes such a row away.
    pub fn delete_at(&mut self, key: Key) {
        self.delete_bytes(key);
    }

    /// Tells the change log of something that isn't a row of its own.
    pub fn log(
        &mut self,
        account: AccountId,
        data_type: DataType,
        id: u32,
        change: Change,
    ) -> StoreResult<()> {
        let work = self.work(account)?;
        let at = (work.modseq, data_type);
        let before = tell(work.log.entry(at).or_default(), id, change);
        self.remember(Undo::Log(account, at, id, before));
        Ok(())
    }

    /// Whether this transaction tells the log of a type in an account.
    pub fn logs(&self, account: AccountId, data_type: DataType) -> bool {
        let work = self.accounts.get(&account);
        work.is_some_and(|work| work.log.iter().any(|((_, of), entry)| *of == data_type && !entry.is_empty()))
    }

    /// Tells the log of one member's own changes.
    pub fn log_own(
        &mut self,
        account: AccountId,
        member: PrincipalId,
        data_type: DataType,
        id: u32,
        change: Change,
    ) -> StoreResult<()> {
        let work = self.work(account)?;
        let at = (work.modseq, member, data_type);
        let before = tell(work.own.entry(at).or_default(), id, change);
        self.remember(Undo::Own(account, at, id, before));
        Ok(())
    }

    /// The modseq that changes of this account get now: a conversation's version, for one.
    pub fn modseq(&mut self, account: AccountId) -> StoreResult<u64> {
        Ok(self.work(account)?.modseq)
    }

    /// From here on changes of the account are corrections by the server, under a second modseq.
    pub fn correct(&mut self, account: AccountId) -> StoreResult<()> {
        let work = self.work(account)?;
        let asked = || work.log.iter().filter(|(_, entry)| !entry.is_empty());
        let own = work.own.values().any(|entry| !entry.is_empty());
        if work.asked.is_some() || (asked().next().is_none() && !own) {
            return Ok(());
        }
        let mut states = work.state.types;
        for ((modseq, data_type), _) in asked() {
            states.set(*data_type, *modseq);
        }
        work.asked = Some(states);
        work.modseq += 1;
        self.remember(Undo::Correct(account));
        Ok(())
    }

    /// Takes the next free number: `txn.allot(account, |next| &mut next.email)`.
    pub fn allot(&mut self, account: AccountId, which: fn(&mut NextIds) -> &mut u32) -> StoreResult<u32> {
        let work = self.work(account)?;
        let before = work.state.next.clone();
        let slot = which(&mut work.state.next);
        // Numbers start at 1: 0 is free to mean nothing.
        *slot =
            slot.checked_add(1).ok_or_else(|| StoreError::Corrupt("an account ran out of ids".to_owned()))?;
        let number = *slot;
        self.remember(Undo::Ids(account, Box::new(before)));
        Ok(number)
    }

    /// Stores content, once for all accounts. Refer to it in the same transaction.
    pub fn put_blob(&mut self, blob: &PreparedBlob) -> StoreResult<()> {
        super::blobs::put(self, blob)
    }

    /// A point that [`Txn::rollback`] can go back to.
    pub fn savepoint(&mut self) -> Savepoint {
        self.savepoints += 1;
        Savepoint(self.undo.len())
    }

    /// Takes back everything since the savepoint.
    pub fn rollback(&mut self, to: Savepoint) {
        while self.undo.len() > to.0 {
            match self.undo.pop() {
                Some(Undo::Row(cf, key, before)) => {
                    self.set_overlay(cf, key, before);
                }
                Some(Undo::Log(account, at, id, before)) => {
                    if let Some(work) = self.accounts.get_mut(&account) {
                        take_back(work.log.get_mut(&at), id, before);
                    }
                }
                Some(Undo::Own(account, at, id, before)) => {
                    if let Some(work) = self.accounts.get_mut(&account) {
                        take_back(work.own.get_mut(&at), id, before);
                    }
                }
                Some(Undo::List(account, at)) => self.undo_list(account, at),
                Some(Undo::Ids(account, before)) => {
                    if let Some(work) = self.accounts.get_mut(&account) {
                        work.state.next = *before;
                    }
                }
                Some(Undo::Correct(account)) => {
                    if let Some(work) = self.accounts.get_mut(&account) {
                        work.asked = None;
                        work.modseq -= 1;
                    }
                }
                None => {}
            }
        }
    }

    /// Whether there is room for another object of some size: beyond [`limits::COMMIT_BYTES_MAX`] of rows a
    /// commit is refused as a whole, and content waits for it in memory.
    pub fn has_room(&self) -> bool {
        self.has_room_for(limits::COMMIT_BYTES_MAX / 4)
            && self.written(|cf| cf == Cf::Blobs) < limits::BLOBS_MADE_SIZE_BYTES_MAX
    }

    /// Whether rows of so many octets can be written, too.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.written(|cf| cf != Cf::Blobs).saturating_add(bytes) < limits::COMMIT_BYTES_MAX
    }

    /// Whether it can be committed with what a commit itself adds.
    pub fn fits(&self) -> bool {
        self.has_room_for(limits::COMMIT_BYTES_MAX / 16)
    }

    /// The octets of keys and values so far.
    fn written(&self, wanted: impl Fn(Cf) -> bool) -> usize {
        Cf::ALL.into_iter().zip(self.written).filter(|(cf, _)| wanted(*cf)).map(|(_, bytes)| bytes).sum()
    }

    /// Writes everything, or nothing. The locks may be dropped when this returns; whatever tells of
    /// the commit must wait for its ticket.
    pub fn commit(mut self) -> StoreResult<Committed> {
        let mut committed = Committed::default();
        let mut news = self.finish_accounts(&mut committed)?;
        let mut batch = Batch::default();
        let bytes = self.written(|cf| cf != Cf::Blobs);
        let mut queue = false;
        let soon = self.store.clock.now().after(limits::RELAY_SLEEP_MAX);
        for (cf, overlay) in Cf::ALL.into_iter().zip(std::mem::take(&mut self.overlay)) {
            for (key, value) in overlay {
                queue |= cf == Cf::Rows && keys::wakes_queue(&key, value.is_some(), soon);
                batch.ops.push((cf, key, value));
            }
        }
        if let Some(account) = self.locked.accounts().first().filter(|_| queue) {
            news.push((*account, AccountNews { queue, ..AccountNews::default() }));
        }
        if batch.ops.is_empty() {
            // Nothing was written, but what was read may be another's commit that isn't durable yet.
            committed.ticket = self.store.flusher.ticket_of(self.locked.accounts());
            return Ok(committed);
        }
        if bytes > limits::COMMIT_BYTES_MAX {
            return Err(StoreError::CommitTooLarge { bytes });
        }
        committed.ticket = self.write(batch, news)?;
        Ok(committed)
    }

    fn write(&self, batch: Batch, news: News) -> StoreResult<Ticket> {
        let writing = self.store.flusher.begin(self.locked.accounts())?;
        match self.store.engine.write(batch) {
            Ok(()) => Ok(writing.settle(news)),
            Err(error) => {
                drop(writing);
                (self.store.options.on_fatal)(&error);
                Err(error)
            }
        }
    }

    /// Turns each account's work into rows, and says what listeners are to hear.
    fn finish_accounts(&mut self, committed: &mut Committed) -> StoreResult<News> {
        let mut news = News::new();
        for (account, mut work) in std::mem::take(&mut self.accounts) {
            work.log.retain(|_, entry| !entry.is_empty());
            work.own.retain(|_, entry| !entry.is_empty());
            work.lists.retain(|_, entry| !entry.is_empty());
            let before = self.account_state(account)?;
            if before.modseq != work.base {
                return Err(StoreError::Conflict);
            }
            let newest = work.log.keys().map(|(modseq, _)| *modseq);
            let newest = newest.chain(work.own.keys().map(|(modseq, ..)| *modseq));
            let newest = newest.chain(work.lists.keys().map(|(modseq, _)| *modseq)).max();
            if newest.is_none() && work.state == before {
                committed.asked.insert(account, before.types);
                committed.settled.insert(account, before.types);
                continue;
            }
            work.state.modseq = newest.unwrap_or(work.base);
            for ((modseq, data_type), entry) in &work.log {
                work.state.types.set(*data_type, *modseq);
                self.put_bytes(keys::change(account, *data_type, *modseq), changes::encode(entry)?);
            }
            for ((modseq, list), entry) in &work.lists {
                self.put_bytes(keys::list_change(account, *list, *modseq), rows::encode(entry)?);
            }
            self.put_bytes(AccountState::key(account, ()), rows::encode(&work.state)?);
            committed.asked.insert(account, work.asked.unwrap_or(work.state.types));
            committed.settled.insert(account, work.state.types);
            let own = self.finish_own(account, &work, committed)?;
            let only_own = !own.is_empty() && work.log.is_empty() && work.lists.is_empty();
            news.push((
                account,
                AccountNews { shared: (!only_own).then_some(work.state.types), own, queue: false },
            ));
        }
        Ok(news)
    }

    /// Writes the logs of what changed for single members alone. Gives their states.
    fn finish_own(
        &mut self,
        account: AccountId,
        work: &Work,
        committed: &mut Committed,
    ) -> StoreResult<Vec<(PrincipalId, TypeStates)>> {
        let mut states: BTreeMap<PrincipalId, TypeStates> = BTreeMap::new();
        for ((modseq, member, data_type), entry) in &work.own {
            let known = match states.get(member) {
                Some(known) => *known,
                None => {
                    (self as &dyn Read).row::<ViewerStateRow>(account, *member)?.unwrap_or_default().types
                }
            };
            let mut known = known;
            known.set(*data_type, *modseq);
            states.insert(*member, known);
            if *modseq == work.base + 1 {
                let asked = committed.own.entry((account, *member)).or_default();
                *asked = asked.latest(known);
            }
            let key = keys::own_change(account, *member, *data_type, *modseq);
            self.put_bytes(key, changes::encode(entry)?);
        }
        for (member, types) in &states {
            let key = ViewerStateRow::key(account, *member);
            self.put_bytes(key, rows::encode(&ViewerStateRow { types: *types })?);
        }
        Ok(states.into_iter().collect())
    }

    /// Keeps the collector off a blob until this transaction has ended.
    pub(super) fn hold_blob(&mut self, hash: BlobHash) {
        self.blobs.hold(hash);
    }

    /// Whether this transaction puts something at the key.
    pub(super) fn has_written(&self, key: &Key) -> bool {
        matches!(self.overlay[key.cf as usize].get(&key.bytes), Some(Some(_)))
    }

    pub(super) fn put_bytes(&mut self, key: Key, value: Vec<u8>) {
        self.write_overlay(key, Some(value));
    }

    pub(super) fn delete_bytes(&mut self, key: Key) {
        self.write_overlay(key, None);
    }

    fn write_overlay(&mut self, key: Key, value: Option<Vec<u8>>) {
        let before = self.set_overlay(key.cf, key.bytes.clone(), Some(value));
        self.remember(Undo::Row(key.cf, key.bytes, before));
    }

    /// What the overlay has at the key from now on; `None` for nothing. Gives what it had.
    fn set_overlay(
        &mut self,
        cf: Cf,
        key: Vec<u8>,
        entry: Option<Option<Vec<u8>>>,
    ) -> Option<Option<Vec<u8>>> {
        let (overlay, written) = (&mut self.overlay[cf as usize], &mut self.written[cf as usize]);
        let key_bytes = key.len();
        let bytes = |value: &Option<Vec<u8>>| key_bytes + value.as_ref().map_or(0, Vec::len);
        *written += entry.as_ref().map_or(0, bytes);
        let before = match entry {
            Some(value) => overlay.insert(key, value),
            None => overlay.remove(&key),
        };
        *written -= before.as_ref().map_or(0, bytes);
        before
    }

    pub(super) fn log_list(
        &mut self,
        account: AccountId,
        list: List,
        place: Place,
        added: bool,
    ) -> StoreResult<()> {
        let work = self.work(account)?;
        let at = (work.modseq, list);
        work.lists.entry(at).or_default().push((place, added));
        self.remember(Undo::List(account, at));
        Ok(())
    }

    fn remember(&mut self, undo: Undo) {
        if self.savepoints > 0 {
            self.undo.push(undo);
        }
    }

    fn undo_list(&mut self, account: AccountId, at: (u64, List)) {
        if let Some(entry) = self.accounts.get_mut(&account).and_then(|work| work.lists.get_mut(&at)) {
            entry.pop();
        }
    }

    fn account_state(&self, account: AccountId) -> StoreResult<AccountState> {
        Ok((self as &dyn Read).row(account, ())?.unwrap_or_default())
    }

    fn work(&mut self, account: AccountId) -> StoreResult<&mut Work> {
        debug_assert!(self.locked.holds(account), "account {account} is written without its lock");
        if !self.accounts.contains_key(&account) {
            let state = self.account_state(account)?;
            let work = Work {
                base: state.modseq,
                modseq: state.modseq + 1,
                state,
                log: BTreeMap::new(),
                own: BTreeMap::new(),
                lists: BTreeMap::new(),
                asked: None,
            };
            self.accounts.insert(account, work);
        }
        self.accounts.get_mut(&account).ok_or(StoreError::Conflict)
    }
}

/// Notes a change in a log entry. Gives what it had of the object.
fn tell(entry: &mut BTreeMap<u32, Change>, id: u32, change: Change) -> Option<Change> {
    let before = entry.get(&id).copied();
    match changes::combine(before, change) {
        Some(change) => entry.insert(id, change),
        None => entry.remove(&id),
    };
    before
}

/// Brings a log entry back to what it had of the object.
fn take_back(entry: Option<&mut BTreeMap<u32, Change>>, id: u32, before: Option<Change>) {
    let Some(entry) = entry else { return };
    match before {
        Some(before) => entry.insert(id, before),
        None => entry.remove(&id),
    };
}

impl Read for Txn<'_> {
    fn bytes(&self, key: &Key) -> StoreResult<Option<Vec<u8>>> {
        match self.overlay[key.cf as usize].get(&key.bytes) {
            Some(value) => Ok(value.clone()),
            None => self.snapshot.bytes(key),
        }
    }

    fn bytes_many(&self, keys: &[Key]) -> StoreResult<Vec<Option<Vec<u8>>>> {
        let mut values = self.snapshot.bytes_many(keys)?;
        for (key, value) in keys.iter().zip(&mut values) {
            if let Some(own) = self.overlay[key.cf as usize].get(&key.bytes) {
                value.clone_from(own);
            }
        }
        Ok(values)
    }

    fn scan(&self, range: &KeyRange, backwards: bool, visit: Visit<'_>) -> StoreResult<()> {
        if range.from >= range.to {
            return Ok(());
        }
        let bounds = (Bound::Included(range.from.as_slice()), Bound::Excluded(range.to.as_slice()));
        let own = self.overlay[range.cf as usize].range::<[u8], _>(bounds);
        let own: Vec<(&Vec<u8>, &Option<Vec<u8>>)> =
            if backwards { own.rev().collect() } else { own.collect() };
        let mut own = own.into_iter().peekable();
        let mut stopped = false;
        self.snapshot.scan(range.cf, &range.from, &range.to, backwards, &mut |key, value| {
            while let Some((mine, change)) = own.peek() {
                let order = mine.as_slice().cmp(key);
                let comes_first = if backwards { order.is_gt() } else { order.is_lt() };
                if !comes_first && order.is_ne() {
                    break;
                }
                if let Some(value) = change
                    && visit(mine, value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
                own.next();
                if order.is_eq() {
                    return ControlFlow::Continue(());
                }
            }
            let flow = visit(key, value);
            stopped = flow.is_break();
            flow
        })?;
        for (key, change) in own {
            if stopped {
                break;
            }
            if let Some(value) = change {
                stopped = visit(key, value).is_break();
            }
        }
        Ok(())
    }
}
