//! The handle that callers have: feed, search, wait, close.
//!
//! Whoever feeds it does so in the order of each account's modseqs, only with what is durable in
//! the store, and says with [`SearchIndex::advance`] when a modseq is complete. After a crash
//! [`SearchIndex::indexed_modseq`] tells where to go on; what is fed twice is found once.
//!
//! Invariant: the searcher and the tail change together under one lock, so a search sees each
//! message in exactly one of the two.
//! Deliberately absent: async. Calls may wait (for room, for a flush), so they belong on threads
//! that may block.

use super::SearchError;
use super::engine::{Engine, Positions};
use super::hits::Hits;
use super::plan::plan;
use super::query::TextQuery;
use super::tail::{Op, Tail};
use super::terms::{IndexedText, Terms};
use super::writer;
use crate::types::{AccountId, Clock, EmailId, UtcDate};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tantivy::Searcher;
use tantivy::query::EnableScoring;

/// The full-text index of the server.
pub struct SearchIndex {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What [`SearchIndex::open`] gives.
pub struct Opened {
    pub index: SearchIndex,
    /// The index is new and empty: everything has to be fed.
    pub rebuild: bool,
}

/// Figures for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Messages in the last commit.
    pub committed_messages: u64,
    pub segments: usize,
    /// Messages added or removed since.
    pub tail_messages: usize,
    pub tail_size_bytes: usize,
    /// How long the oldest of them has waited.
    pub lag: Duration,
    /// Nothing more is indexed; open it again to rebuild.
    pub failed: bool,
}

/// What the handle and the writer share.
pub(super) struct Shared {
    pub engine: Engine,
    pub dir: PathBuf,
    pub clock: Clock,
    pub state: Mutex<State>,
    /// The writer has something to do.
    pub work: Condvar,
    /// There is room, something is committed or searchable, or all is over.
    pub progress: Condvar,
}

pub(super) struct State {
    pub tail: Tail,
    pub searcher: Searcher,
    pub phase: Phase,
    /// How often a rewriting of what was removed was asked for, and up to which one it is done.
    pub purges: (u64, u64),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Running,
    Closing,
    Closed,
    Failed(String),
}

impl Shared {
    /// The state is whole between any two statements that could panic, so a poisoned lock is good.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn usable(&self) -> Result<(), SearchError> {
        match &self.phase {
            Phase::Running | Phase::Closing => Ok(()),
            Phase::Closed => Err(SearchError::Closed),
            Phase::Failed(why) => Err(SearchError::Failed(why.clone())),
        }
    }
}

/// A file in the index's folder that says: don't trust this at the next start.
pub(super) const DISTRUST: &str = "postroom-rebuild";

impl SearchIndex {
    /// Opens the index in `dir`, or makes a new one where there is none, or where the one there is
    /// damaged, of another store or of another format; that one is moved to `⟨dir⟩.damaged`.
    pub fn open(dir: &Path, store_id: [u8; 16], clock: Clock) -> Result<Opened, SearchError> {
        std::fs::create_dir_all(dir)?;
        let (engine, positions, rebuild) = match open_whole(dir, store_id) {
            Ok(Some((engine, positions))) => (engine, positions, false),
            Ok(None) => (Engine::create(dir, store_id)?, Positions::new(), true),
            Err(SearchError::InUse) => return Err(SearchError::InUse),
            Err(error) => {
                tracing::warn!(%error, "the search index is moved aside and built again");
                move_aside(dir)?;
                (Engine::create(dir, store_id)?, Positions::new(), true)
            }
        };
        let searcher = engine.reload()?;
        let state = State { tail: Tail::new(positions), searcher, phase: Phase::Running, purges: (0, 0) };
        let shared = Arc::new(Shared {
            engine,
            dir: dir.to_owned(),
            clock,
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let writer = Mutex::new(Some(writer::spawn(Arc::clone(&shared), rebuild)?));
        Ok(Opened { index: Self { shared, writer }, rebuild })
    }

    /// Adds a message; it is found when this returns. Waits while the tail is full. The terms are
    /// taken here, on the caller's thread.
    pub fn add(
        &self,
        account: AccountId,
        email: EmailId,
        received_at: UtcDate,
        text: &IndexedText<'_>,
    ) -> Result<(), SearchError> {
        let terms = Arc::new(Terms::of(text));
        self.push(Op::Add { account, email, received_at, terms })
    }

    /// Removes a message; it isn't found any more when this returns.
    pub fn remove(&self, account: AccountId, email: EmailId) -> Result<(), SearchError> {
        self.push(Op::Remove { account, email })
    }

    /// Removes an account's messages and its position.
    pub fn remove_account(&self, account: AccountId) -> Result<(), SearchError> {
        self.push(Op::RemoveAccount { account })
    }

    /// Everything of the account up to `modseq` was fed.
    pub fn advance(&self, account: AccountId, modseq: u64) -> Result<(), SearchError> {
        self.push(Op::Advance { account, modseq })?;
        self.shared.progress.notify_all();
        Ok(())
    }

    fn push(&self, op: Op) -> Result<(), SearchError> {
        let shared = &self.shared;
        let mut state = shared
            .progress
            .wait_while(shared.lock(), |state| state.phase == Phase::Running && !state.tail.has_room())
            .unwrap_or_else(PoisonError::into_inner);
        match state.phase {
            Phase::Running => {}
            Phase::Closing => return Err(SearchError::Closed),
            _ => state.usable()?,
        }
        state.tail.push(op, shared.clock.now());
        drop(state);
        shared.work.notify_one();
        Ok(())
    }

    /// The account's messages that match, newest first. They are candidates only where
    /// [`TextQuery::must_verify`] says so. What is read is what somebody takes from the iterator.
    pub fn search(&self, account: AccountId, query: &TextQuery) -> Result<Hits, SearchError> {
        let (searcher, tail) = {
            let state = self.shared.lock();
            state.usable()?;
            (state.searcher.clone(), state.tail.of(account))
        };
        let plan = plan(query, account, &searcher)?;
        let weight = plan.weight(EnableScoring::disabled_from_searcher(&searcher))?;
        Hits::new(searcher, weight, tail.hidden(), tail.hits(query))
    }

    /// The modseq up to which the account can be searched: at start, where feeding goes on.
    pub fn indexed_modseq(&self, account: AccountId) -> u64 {
        self.shared.lock().tail.searchable(account)
    }

    /// Waits until the account can be searched up to `modseq`; false if that takes too long.
    pub fn wait_until_searchable(&self, account: AccountId, modseq: u64, timeout: Duration) -> bool {
        let shared = &self.shared;
        let (state, _) = shared
            .progress
            .wait_timeout_while(shared.lock(), timeout, |state| {
                state.usable().is_ok() && state.tail.searchable(account) < modseq
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.usable().is_ok() && state.tail.searchable(account) >= modseq
    }

    /// Makes everything that was fed durable.
    pub fn flush(&self) -> Result<(), SearchError> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let last = state.tail.last_seq();
        state.tail.flush_seq = last;
        shared.work.notify_one();
        let state = shared
            .progress
            .wait_while(state, |state| state.usable().is_ok() && !state.tail.is_committed(last))
            .unwrap_or_else(PoisonError::into_inner);
        if state.tail.is_committed(last) { Ok(()) } else { state.usable() }
    }

    /// Makes everything durable, and rewrites the files that have words of removed messages.
    pub fn purge(&self) -> Result<(), SearchError> {
        self.flush()?;
        let shared = &self.shared;
        let mut state = shared.lock();
        state.purges.0 += 1;
        let wanted = state.purges.0;
        shared.work.notify_one();
        let state = shared
            .progress
            .wait_while(state, |state| state.usable().is_ok() && state.purges.1 < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        if state.purges.1 >= wanted { Ok(()) } else { state.usable() }
    }

    /// Hard-links the last commit into the empty folder `target`, which must be on the same file
    /// system, and gives the positions of that commit. A backup does this before it copies the
    /// store, so that the index is never ahead.
    pub fn link_committed_files(&self, target: &Path) -> Result<Positions, SearchError> {
        self.shared.engine.link_committed_files(target)
    }

    /// Figures for the metrics.
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        let (tail_messages, tail_size_bytes) = state.tail.size();
        Stats {
            committed_messages: state.searcher.num_docs(),
            segments: state.searcher.segment_readers().len(),
            tail_messages,
            tail_size_bytes,
            lag: state.tail.lag(self.shared.clock.now()),
            failed: matches!(state.phase, Phase::Failed(_)),
        }
    }

    /// Commits what was fed and ends the writer. Also done when it is dropped.
    pub fn close(&self) {
        {
            let mut state = self.shared.lock();
            if state.phase == Phase::Running {
                state.phase = Phase::Closing;
                state.tail.flush_seq = state.tail.last_seq();
            }
        }
        self.shared.work.notify_all();
        self.shared.progress.notify_all();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread of the search index panicked");
        }
    }
}

impl Drop for SearchIndex {
    fn drop(&mut self) {
        self.close();
    }
}

/// The index that is there, if it can be trusted; `None` if there is none.
fn open_whole(dir: &Path, store_id: [u8; 16]) -> Result<Option<(Engine, Positions)>, SearchError> {
    if std::fs::read_dir(dir)?.next().is_none() {
        return Ok(None);
    }
    if dir.join(DISTRUST).exists() {
        return Err(SearchError::Damaged("the writer had given up".to_owned()));
    }
    // The engine asserts things about its files; a damaged one must not end the server.
    catch_unwind(AssertUnwindSafe(|| Engine::open(dir, store_id)))
        .unwrap_or_else(|_| Err(SearchError::Damaged("its files make the engine panic".to_owned())))
        .map(Some)
}

/// Keeps the damaged index for a look at it, in place of the one before.
fn move_aside(dir: &Path) -> Result<(), SearchError> {
    let mut aside = OsString::from(dir);
    aside.push(".damaged");
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::rename(dir, &aside)?;
    std::fs::create_dir_all(dir)?;
    Ok(())
}
