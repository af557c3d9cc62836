//! The durability watermark: one thread syncs the log for everybody, and publishes in order.
//!
//! A commit takes its ticket before its write and settles it after. The flusher takes all settled
//! tickets, syncs once, and moves the watermark up to just below the oldest ticket that is still
//! being written. Nothing that depends on a ticket leaves the process before the watermark has
//! passed it. A failed write or sync ends the process: see [`super::StoreOptions::on_fatal`].

use super::changes::TypeStates;
use super::engine::Engine;
use super::error::{StoreError, StoreResult};
use super::hub::Hub;
use crate::types::AccountId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// A commit's number. Everything up to the watermark is on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticket(pub(super) u64);

/// What listeners are told once a commit is durable.
pub(super) type News = Vec<(AccountId, TypeStates)>;

pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Rung when the watermark moved, for those who wait on a thread of their own.
    moved: Condvar,
    /// The watermark; `None` once the store has failed.
    durable: watch::Sender<Option<u64>>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Tickets whose write isn't done.
    writing: BTreeSet<u64>,
    /// Tickets that are written and not yet published.
    settled: BTreeMap<u64, News>,
    /// The last ticket of each account that isn't durable yet.
    of_account: HashMap<AccountId, u64>,
    stopping: bool,
}

impl Flusher {
    pub fn start(engine: Arc<Engine>, hub: Arc<Hub>, on_fatal: fn(&StoreError)) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            moved: Condvar::new(),
            durable: watch::Sender::new(Some(0)),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("flusher".to_owned())
                .spawn(move || shared.run(&engine, &hub, on_fatal))
                // Without this thread nothing can be acknowledged; there is no store without it.
                .expect("the flusher's thread starts")
        };
        Self { shared, thread: Mutex::new(Some(thread)) }
    }

    /// Takes a ticket for a write that begins now. Readers of these accounts wait for it from
    /// here on, which is before they can see the write.
    pub fn begin(&self, accounts: impl Iterator<Item = AccountId>) -> Ticket {
        let mut state = self.shared.lock();
        state.last += 1;
        let ticket = state.last;
        state.writing.insert(ticket);
        for account in accounts {
            state.of_account.insert(account, ticket);
        }
        Ticket(ticket)
    }

    /// Says that the write is done and may be synced.
    pub fn settle(&self, ticket: Ticket, news: News) {
        let mut state = self.shared.lock();
        state.writing.remove(&ticket.0);
        state.settled.insert(ticket.0, news);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Says that the write failed: nothing becomes durable any more.
    pub fn fail(&self) {
        self.shared.fail();
    }

    pub fn ticket_of(&self, account: AccountId) -> Ticket {
        Ticket(self.shared.lock().of_account.get(&account).copied().unwrap_or(0))
    }

    pub async fn wait(&self, ticket: Ticket) -> StoreResult<()> {
        let mut watermark = self.shared.durable.subscribe();
        let reached = watermark
            .wait_for(|durable| durable.is_none_or(|durable| durable >= ticket.0))
            .await
            .map_err(|_| StoreError::Dead)?;
        reached.map(|_| ()).ok_or(StoreError::Dead)
    }

    pub fn wait_blocking(&self, ticket: Ticket) -> StoreResult<()> {
        let mut state = self.shared.lock();
        loop {
            match *self.shared.durable.borrow() {
                None => return Err(StoreError::Dead),
                Some(durable) if durable >= ticket.0 => return Ok(()),
                Some(_) => {}
            }
            state = self.shared.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the flusher panicked");
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self) {
        let _state = self.lock();
        self.durable.send_replace(None);
        self.moved.notify_all();
    }

    fn run(&self, engine: &Engine, hub: &Hub, on_fatal: fn(&StoreError)) {
        let mut synced: BTreeMap<u64, News> = BTreeMap::new();
        loop {
            let mut state = self.lock();
            while state.settled.is_empty() && !state.stopping {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.settled.is_empty() {
                return;
            }
            synced.append(&mut state.settled);
            drop(state);
            if let Err(error) = engine.sync() {
                self.fail();
                on_fatal(&error);
                return;
            }
            self.publish(&mut synced, hub);
        }
    }

    /// Publishes in ticket order, up to the oldest write that isn't done.
    fn publish(&self, synced: &mut BTreeMap<u64, News>, hub: &Hub) {
        let mut state = self.lock();
        let barrier = state.writing.first().copied().unwrap_or(u64::MAX);
        // A ticket that was settled after the sync began is not in `synced`, and stops the mark too.
        let barrier = state.settled.keys().next().copied().unwrap_or(u64::MAX).min(barrier);
        let later = synced.split_off(&barrier);
        let ready = std::mem::replace(synced, later);
        let Some(mark) = ready.keys().next_back().copied() else { return };
        state.of_account.retain(|_, ticket| *ticket > mark);
        for (account, states) in ready.into_values().flatten() {
            hub.publish(account, states);
        }
        self.durable.send_if_modified(|durable| match durable {
            Some(before) => {
                *before = mark;
                true
            }
            None => false,
        });
        drop(state);
        self.moved.notify_all();
    }
}
