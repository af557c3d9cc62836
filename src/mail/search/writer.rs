//! The one thread that writes the index: takes entries of the tail, commits, rests.
//!
//! Invariants: the engine's writer, with its memory and threads, exists only while there is work
//! and a little longer, and is never given back while what it has taken waits for a commit; after a failure it is made again and the log starts over, since the tail
//! still has everything; after `SEARCH_COMMIT_ATTEMPTS_MAX` failures the index is given up and
//! marked, so that the next start rebuilds it.

use super::SearchError;
use super::engine::Writer;
use super::index::{DISTRUST, Phase, Shared, State};
use super::tail::{Entry, Op, Step};
use crate::types::limits::{SEARCH_COMMIT_ATTEMPTS_MAX, SEARCH_WRITER_IDLE_SECONDS};
use crate::types::{AccountId, Millis};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest wait without a look at the clock, which a test may have moved.
const TICK: Duration = Duration::from_millis(500);
/// The first pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts the thread. `fresh`: the index is empty, nothing can be in it twice.
pub(super) fn spawn(shared: Arc<Shared>, fresh: bool) -> Result<JoinHandle<()>, SearchError> {
    let last_work = shared.clock.now();
    let settled = HashSet::new();
    let worker = Worker { shared, writer: None, fresh, settled, failures: 0, last_work };
    Ok(std::thread::Builder::new().name("search-writer".to_owned()).spawn(|| worker.run())?)
}

struct Worker {
    shared: Arc<Shared>,
    writer: Option<Writer>,
    /// Nothing that comes can be in the index already.
    fresh: bool,
    /// Accounts whose position has moved since the start. What comes before that may be in the index.
    settled: HashSet<AccountId>,
    failures: u32,
    last_work: Millis,
}

enum Task {
    Write(Vec<Entry>),
    Commit,
    Purge(u64),
    Rest,
}

impl Worker {
    fn run(mut self) {
        while let Some(task) = self.next_task() {
            let done = catch_unwind(AssertUnwindSafe(|| self.perform(task)))
                .unwrap_or_else(|_| Err(SearchError::Engine("the engine panicked".to_owned())));
            if let Err(error) = done
                && !self.recover(&error)
            {
                break;
            }
        }
        self.drop_writer();
        let mut state = self.shared.lock();
        if !matches!(state.phase, Phase::Failed(_)) {
            state.phase = Phase::Closed;
        }
        drop(state);
        self.shared.progress.notify_all();
    }

    /// Waits for something to do; `None` when closing and all is done.
    fn next_task(&mut self) -> Option<Task> {
        let mut state = self.shared.lock();
        loop {
            let now = self.shared.clock.now();
            let left = match state.tail.step(now) {
                Step::Write(entries) => return Some(Task::Write(entries)),
                Step::Commit => return Some(Task::Commit),
                Step::Wait(_) if state.phase == Phase::Running && state.purges.1 < state.purges.0 => {
                    return Some(Task::Purge(state.purges.0));
                }
                Step::Wait(_) if state.phase != Phase::Running => return None,
                Step::Wait(left) => left,
            };
            // What it was given and hasn't committed goes with it: it rests when nothing is left.
            let rest = (self.writer.is_some() && !state.tail.has_changes())
                .then(|| now.until(self.last_work.after(Duration::from_secs(SEARCH_WRITER_IDLE_SECONDS))));
            if rest.is_some_and(|rest| rest.is_zero()) {
                return Some(Task::Rest);
            }
            state = self.wait(state, left.into_iter().chain(rest).min());
        }
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, left: Option<Duration>) -> MutexGuard<'a, State> {
        let work = &self.shared.work;
        match left {
            None => work.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) => work.wait_timeout(state, left.min(TICK)).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    fn perform(&mut self, task: Task) -> Result<(), SearchError> {
        match task {
            Task::Write(entries) => self.write(&entries)?,
            Task::Commit => self.commit()?,
            Task::Purge(up_to) => self.purge(up_to)?,
            Task::Rest => return self.rest(),
        }
        self.last_work = self.shared.clock.now();
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), SearchError> {
        for Entry { op, .. } in entries {
            match op {
                Op::Add { account, email, received_at, terms } => {
                    let twice = !self.fresh && !self.settled.contains(account);
                    let writer = self.writer()?;
                    if twice {
                        writer.remove(*account, *email);
                    }
                    writer.add(*account, *email, *received_at, terms)?;
                }
                Op::Remove { account, email } => self.writer()?.remove(*account, *email),
                Op::RemoveAccount { account } => self.writer()?.remove_account(*account),
                Op::Advance { account, .. } => {
                    self.settled.insert(*account);
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SearchError> {
        let positions = self.shared.lock().tail.positions().clone();
        self.writer()?.commit(&positions)?;
        let searcher = self.shared.engine.reload()?;
        let mut state = self.shared.lock();
        state.searcher = searcher;
        state.tail.committed(self.shared.clock.now());
        drop(state);
        self.shared.progress.notify_all();
        self.failures = 0;
        Ok(())
    }

    fn purge(&mut self, up_to: u64) -> Result<(), SearchError> {
        if self.shared.lock().tail.has_changes() {
            self.commit()?;
        }
        if let Some(writer) = self.writer.take() {
            writer.close()?;
        }
        self.shared.engine.purge()?;
        let searcher = self.shared.engine.reload()?;
        let mut state = self.shared.lock();
        let old = std::mem::replace(&mut state.searcher, searcher);
        state.purges.1 = up_to;
        drop(state);
        drop(old);
        self.shared.progress.notify_all();
        Ok(())
    }

    /// Gives the writer's memory back, and looks at what its merges left. Nothing waits for its commit.
    fn rest(&mut self) -> Result<(), SearchError> {
        if let Some(writer) = self.writer.take() {
            writer.close()?;
        }
        let searcher = self.shared.engine.reload()?;
        // The old one is dropped outside the lock: it closes files.
        let old = std::mem::replace(&mut self.shared.lock().searcher, searcher);
        drop(old);
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut Writer, SearchError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.shared.engine.writer()?,
        };
        Ok(self.writer.insert(writer))
    }

    /// After a failure: start over from the log, or give up. Whether to go on.
    fn recover(&mut self, error: &SearchError) -> bool {
        self.failures += 1;
        self.drop_writer();
        // The failed commit may have reached the disk, so everything may be there already.
        self.fresh = false;
        self.settled.clear();
        let mut state = self.shared.lock();
        state.tail.start_over();
        if self.failures < SEARCH_COMMIT_ATTEMPTS_MAX && state.phase == Phase::Running {
            tracing::warn!(%error, attempt = self.failures, "the search index starts over from its tail");
            let pause = PAUSE.saturating_mul(1 << self.failures);
            drop(self.shared.work.wait_timeout_while(state, pause, |state| state.phase == Phase::Running));
            return true;
        }
        if state.phase != Phase::Running {
            // The last commit is good; the next start feeds what came after it.
            tracing::warn!(%error, "the search index closes without its tail");
            return false;
        }
        tracing::error!(%error, "the search index is given up; the next start rebuilds it");
        state.phase = Phase::Failed(error.to_string());
        drop(state);
        if let Err(error) = std::fs::write(self.shared.dir.join(DISTRUST), error.to_string()) {
            tracing::error!(%error, "the search index can't be marked for a rebuild");
        }
        false
    }

    /// The engine's writer joins threads that may have panicked.
    fn drop_writer(&mut self) {
        if let Some(writer) = self.writer.take()
            && catch_unwind(AssertUnwindSafe(|| writer.close())).is_err()
        {
            tracing::error!("the engine panicked while it was closed");
        }
    }
}
