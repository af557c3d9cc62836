//! The durability watermark: one thread syncs the log for everybody, and publishes in order.
//!
//! A commit takes its ticket before its write and settles it after. The flusher takes all settled
//! tickets, syncs once, and moves the watermark up to just below the oldest ticket that is still
//! being written. Nothing that depends on a ticket leaves the process before the watermark has
//! passed it. A failed write or sync ends the process: see [`super::StoreOptions::on_fatal`].
//!
//! The watermark never moves again once it is over, for whatever reason the thread has ended:
//! whoever waits for a later ticket gets an error and never hangs.

use super::engine::Engine;
use super::error::{StoreError, StoreResult};
use super::hub::{AccountNews, Hub};
use crate::types::{AccountId, Metrics};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::watch;

/// A commit's number. Everything up to the watermark is on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticket(pub(super) u64);

/// What listeners are told once a commit is durable.
pub(super) type News = Vec<(AccountId, AccountNews)>;

pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Rung when the watermark moved, for those who wait on a thread of their own.
    moved: Condvar,
    durable: watch::Sender<Mark>,
}

/// The watermark.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// Every ticket up to this one is on disk.
    upto: u64,
    /// Nothing more becomes durable.
    over: bool,
}

impl Mark {
    /// Whether the ticket is on disk; `None` where that isn't settled yet.
    fn judge(self, ticket: Ticket) -> Option<StoreResult<()>> {
        if self.upto >= ticket.0 { Some(Ok(())) } else { self.over.then_some(Err(StoreError::Dead)) }
    }
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
    pub fn start(
        engine: Arc<Engine>,
        hub: Arc<Hub>,
        on_fatal: fn(&StoreError),
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            moved: Condvar::new(),
            durable: watch::Sender::new(Mark::default()),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("flusher".to_owned())
                .spawn(move || {
                    // Dropped however the thread ends, by a panic too.
                    let _over = Over(&shared);
                    shared.run(&engine, &hub, on_fatal, &metrics);
                })
                // Without this thread nothing can be acknowledged; there is no store without it.
                .expect("the flusher's thread starts")
        };
        Self { shared, thread: Mutex::new(Some(thread)) }
    }

    /// Takes a ticket for a write that begins now. Readers of these accounts wait for it from
    /// here on, which is before they can see the write.
    ///
    /// Errors with [`StoreError::Dead`] where nothing becomes durable any more.
    pub fn begin(&self, accounts: &[AccountId]) -> StoreResult<Writing<'_>> {
        let mut state = self.shared.lock();
        if state.stopping || self.shared.durable.borrow().over {
            return Err(StoreError::Dead);
        }
        state.last += 1;
        let ticket = state.last;
        state.writing.insert(ticket);
        for account in accounts {
            state.of_account.insert(*account, ticket);
        }
        Ok(Writing { shared: &self.shared, ticket, settled: false })
    }

    /// The last ticket of these accounts that isn't durable yet.
    pub fn ticket_of(&self, accounts: &[AccountId]) -> Ticket {
        let state = self.shared.lock();
        Ticket(
            accounts.iter().filter_map(|account| state.of_account.get(account)).copied().max().unwrap_or(0),
        )
    }

    pub async fn wait(&self, ticket: Ticket) -> StoreResult<()> {
        let mut watermark = self.shared.durable.subscribe();
        let mark =
            watermark.wait_for(|mark| mark.judge(ticket).is_some()).await.map_err(|_| StoreError::Dead)?;
        mark.judge(ticket).unwrap_or(Err(StoreError::Dead))
    }

    pub fn wait_blocking(&self, ticket: Ticket) -> StoreResult<()> {
        let mut state = self.shared.lock();
        loop {
            // The watermark moves only under the state's lock, so that no move is missed.
            if let Some(judged) = self.shared.durable.borrow().judge(ticket) {
                return judged;
            }
            state = self.shared.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread once every begun write is durable; no further write begins.
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

    /// Nothing becomes durable any more.
    fn end(&self) {
        let _state = self.lock();
        self.durable.send_modify(|mark| mark.over = true);
        self.moved.notify_all();
        self.wake.notify_all();
    }

    fn run(&self, engine: &Engine, hub: &Hub, on_fatal: fn(&StoreError), metrics: &Metrics) {
        let mut synced: BTreeMap<u64, News> = BTreeMap::new();
        loop {
            let mut state = self.lock();
            while state.settled.is_empty() {
                if self.durable.borrow().over || (state.stopping && state.writing.is_empty()) {
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            synced.append(&mut state.settled);
            drop(state);
            let begun = Instant::now();
            if let Err(error) = engine.sync() {
                self.end();
                on_fatal(&error);
                return;
            }
            metrics.store_sync_seconds.observe(begun.elapsed().as_secs_f64());
            let before = synced.len();
            self.publish(&mut synced, hub);
            metrics.store_commits.inc_by((before - synced.len()) as u64);
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
        let Some(upto) = ready.keys().next_back().copied() else { return };
        state.of_account.retain(|_, ticket| *ticket > upto);
        // The directory is account 0, and so comes first in each commit.
        for (account, news) in ready.into_values().flatten() {
            hub.publish(account, &news);
        }
        self.durable.send_modify(|mark| mark.upto = upto);
        drop(state);
        self.moved.notify_all();
    }
}

/// A write that has begun. Dropped without [`Writing::settle`] it has failed, and nothing becomes
/// durable any more: what it left behind is unknown.
pub(super) struct Writing<'f> {
    shared: &'f Shared,
    ticket: u64,
    settled: bool,
}

impl Writing<'_> {
    /// Says that the write is done and may be synced.
    pub fn settle(mut self, news: News) -> Ticket {
        self.settled = true;
        let mut state = self.shared.lock();
        state.writing.remove(&self.ticket);
        state.settled.insert(self.ticket, news);
        drop(state);
        self.shared.wake.notify_one();
        Ticket(self.ticket)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.shared.end();
        }
    }
}

/// Says at the end of the thread that nothing more becomes durable.
struct Over<'s>(&'s Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
