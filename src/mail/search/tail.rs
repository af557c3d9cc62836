//! Messages that the index hasn't committed: the log of what the writer has still to make durable,
//! and, for each account, what a search must add and hide.
//!
//! A pure state without threads: `index.rs` holds it under a lock, and the writer asks it for the
//! next step.
//!
//! Invariants: the log holds every entry since the last commit, in the order it came, those that
//! the writer has taken included, so that a failed writer starts over from it; an account's tail
//! is exactly what the log says about it; a position moves only when the writer takes its entry.

use super::engine::Positions;
use super::hits::{Hidden, Hit};
use super::query::{Bound, TextQuery};
use super::terms::Terms;
use crate::types::limits::{
    SEARCH_COMMIT_MESSAGES, SEARCH_COMMIT_SECONDS_MAX, SEARCH_COMMIT_SIZE_BYTES,
    SEARCH_POSITIONS_SECONDS_MAX, TAIL_ENTRIES_MAX, TAIL_MESSAGES_MAX, TAIL_SIZE_BYTES_MAX,
};
use crate::types::{AccountId, EmailId, Millis, UtcDate};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// One thing that the writer does.
#[derive(Clone, Debug)]
pub enum Op {
    Add {
        account: AccountId,
        email: EmailId,
        received_at: UtcDate,
        terms: Arc<Terms>,
    },
    Remove {
        account: AccountId,
        email: EmailId,
    },
    RemoveAccount {
        account: AccountId,
    },
    /// Everything of the account up to this modseq is before this entry.
    Advance {
        account: AccountId,
        modseq: u64,
    },
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Grows by one an entry.
    pub seq: u64,
    pub op: Op,
}

/// What one account has in the tail.
#[derive(Clone, Default)]
pub(super) struct AccountTail {
    messages: Vec<Message>,
    /// Removed since the last commit, with the entry that did it.
    removed: Arc<BTreeMap<EmailId, u64>>,
    /// The entry that removed the whole account.
    emptied: Option<u64>,
}

#[derive(Clone)]
struct Message {
    seq: u64,
    hit: Hit,
    terms: Arc<Terms>,
}

impl AccountTail {
    /// The messages that may match.
    pub fn hits(&self, query: &TextQuery) -> Vec<Hit> {
        let matching = self.messages.iter().filter(|message| query.accepts(&message.terms, Bound::Upper));
        matching.map(|message| message.hit).collect()
    }

    /// What of the committed index isn't there any more.
    pub fn hidden(&self) -> Hidden {
        if self.emptied.is_some() {
            Hidden::All
        } else if self.removed.is_empty() {
            Hidden::None
        } else {
            Hidden::Emails(Arc::clone(&self.removed))
        }
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.removed.is_empty() && self.emptied.is_none()
    }
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Write these.
    Write(Vec<Entry>),
    /// Make everything taken so far durable.
    Commit,
    /// Nothing to do before this much time, or at all.
    Wait(Option<Duration>),
}

/// Entries that the writer takes at once.
const WRITE_ENTRIES_MAX: usize = 32;

/// The whole tail.
#[derive(Default)]
pub(super) struct Tail {
    log: VecDeque<Entry>,
    /// How many of the log the writer has taken.
    taken: usize,
    next_seq: u64,
    committed_seq: u64,
    accounts: HashMap<AccountId, Arc<AccountTail>>,
    /// Positions of what can be searched.
    searchable: Positions,
    /// Positions of what the writer has taken: those of the next commit.
    written: Positions,
    /// Positions of the last commit.
    committed: Positions,
    messages: usize,
    size_bytes: usize,
    /// Messages and octets among the entries that the writer has taken.
    taken_messages: usize,
    taken_size_bytes: usize,
    /// When the oldest entry that isn't committed came, and the oldest that changes documents.
    oldest: Option<Millis>,
    oldest_message: Option<Millis>,
    /// Commit as soon as everything up to here is taken.
    pub flush_seq: u64,
}

impl Tail {
    /// An empty tail over an index with these positions.
    pub fn new(positions: Positions) -> Self {
        let (searchable, written) = (positions.clone(), positions.clone());
        Self { next_seq: 1, searchable, written, committed: positions, ..Self::default() }
    }

    /// Whether an entry may be added now.
    pub fn has_room(&self) -> bool {
        self.messages < TAIL_MESSAGES_MAX
            && self.size_bytes < TAIL_SIZE_BYTES_MAX
            && self.log.len() < TAIL_ENTRIES_MAX
    }

    /// Adds an entry; what it says can be searched at once.
    pub fn push(&mut self, op: Op, now: Millis) {
        let seq = self.next_seq;
        match &op {
            Op::Add { account, email, received_at, terms } => {
                let tail = self.account(*account);
                let hit = Hit { received_at: *received_at, email: *email };
                tail.messages.retain(|message| message.hit.email != *email);
                tail.messages.push(Message { seq, hit, terms: Arc::clone(terms) });
            }
            Op::Remove { account, email } => {
                let tail = self.account(*account);
                tail.messages.retain(|message| message.hit.email != *email);
                Arc::make_mut(&mut tail.removed).insert(*email, seq);
            }
            Op::RemoveAccount { account } => {
                let tail = self.account(*account);
                *tail = AccountTail { emptied: Some(seq), ..AccountTail::default() };
                self.searchable.remove(account);
            }
            Op::Advance { account, modseq } => {
                let position = self.searchable.entry(*account).or_default();
                *position = (*position).max(*modseq);
                if self.replaced_last(*account, *modseq) {
                    return;
                }
            }
        }
        self.next_seq += 1;
        self.oldest.get_or_insert(now);
        let (messages, size_bytes) = weight(&op);
        if messages > 0 {
            self.oldest_message.get_or_insert(now);
        }
        self.messages += messages;
        self.size_bytes += size_bytes;
        self.log.push_back(Entry { seq, op });
    }

    /// Positions of one account that follow each other without anything between are one entry.
    fn replaced_last(&mut self, account: AccountId, modseq: u64) -> bool {
        if self.taken == self.log.len() {
            return false;
        }
        match self.log.back_mut() {
            Some(Entry { op: Op::Advance { account: last, modseq: at }, .. }) if *last == account => {
                *at = (*at).max(modseq);
                true
            }
            _ => false,
        }
    }

    fn account(&mut self, account: AccountId) -> &mut AccountTail {
        Arc::make_mut(self.accounts.entry(account).or_default())
    }

    /// The tail of an account, as it is now.
    pub fn of(&self, account: AccountId) -> Arc<AccountTail> {
        self.accounts.get(&account).cloned().unwrap_or_default()
    }

    /// The modseq up to which an account can be searched.
    pub fn searchable(&self, account: AccountId) -> u64 {
        self.searchable.get(&account).copied().unwrap_or(0)
    }

    /// Whether everything up to `seq` is committed.
    pub fn is_committed(&self, seq: u64) -> bool {
        self.committed_seq >= seq
    }

    /// The last entry that was added.
    pub fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// How many messages, and how many octets of terms, aren't committed.
    pub fn size(&self) -> (usize, usize) {
        (self.messages, self.size_bytes)
    }

    /// Whether something that changes documents isn't committed.
    pub fn has_changes(&self) -> bool {
        self.messages > 0
    }

    /// How long the oldest uncommitted message has waited.
    pub fn lag(&self, now: Millis) -> Duration {
        self.oldest_message.map_or(Duration::ZERO, |since| since.until(now))
    }

    /// What the writer does next. The entries of [`Step::Write`] count as taken.
    pub fn step(&mut self, now: Millis) -> Step {
        let full = self.taken_messages >= SEARCH_COMMIT_MESSAGES
            || self.taken_size_bytes >= SEARCH_COMMIT_SIZE_BYTES
            || self.taken >= TAIL_ENTRIES_MAX;
        if !full && self.taken < self.log.len() {
            return Step::Write(self.take());
        }
        if self.log.is_empty() {
            return Step::Wait(None);
        }
        let left = self.commit_in(now);
        if full || self.flush_seq > self.committed_seq || left.is_zero() {
            return Step::Commit;
        }
        Step::Wait(Some(left))
    }

    fn take(&mut self) -> Vec<Entry> {
        let batch: Vec<Entry> = self.log.iter().skip(self.taken).take(WRITE_ENTRIES_MAX).cloned().collect();
        self.taken += batch.len();
        for entry in &batch {
            let (messages, size_bytes) = weight(&entry.op);
            self.taken_messages += messages;
            self.taken_size_bytes += size_bytes;
            match &entry.op {
                Op::Advance { account, modseq } => {
                    let position = self.written.entry(*account).or_default();
                    *position = (*position).max(*modseq);
                }
                Op::RemoveAccount { account } => {
                    self.written.remove(account);
                }
                Op::Add { .. } | Op::Remove { .. } => {}
            }
        }
        batch
    }

    fn commit_in(&self, now: Millis) -> Duration {
        let left = |since: Option<Millis>, seconds| {
            since.map_or(Duration::MAX, |since| now.until(since.after(Duration::from_secs(seconds))))
        };
        left(self.oldest_message, SEARCH_COMMIT_SECONDS_MAX)
            .min(left(self.oldest, SEARCH_POSITIONS_SECONDS_MAX))
    }

    /// The positions that the commit of everything taken so far carries.
    pub fn positions(&self) -> &Positions {
        &self.written
    }

    /// Forgets what is committed now: everything that was taken.
    pub fn committed(&mut self, now: Millis) {
        let Some(last) = self.log.iter().take(self.taken).next_back().map(|entry| entry.seq) else { return };
        for entry in self.log.drain(..self.taken) {
            let (messages, size_bytes) = weight(&entry.op);
            self.messages -= messages;
            self.size_bytes -= size_bytes;
        }
        self.committed.clone_from(&self.written);
        self.start_over();
        self.committed_seq = last;
        // What is left came during the commit: its time starts again, at most a commit too late.
        self.oldest = (!self.log.is_empty()).then_some(now);
        self.oldest_message = (self.messages > 0).then_some(now);
        self.accounts.retain(|_, tail| {
            let tail = Arc::make_mut(tail);
            tail.messages.retain(|message| message.seq > last);
            if !tail.removed.is_empty() {
                Arc::make_mut(&mut tail.removed).retain(|_, seq| *seq > last);
            }
            tail.emptied = tail.emptied.filter(|&seq| seq > last);
            !tail.is_empty()
        });
    }

    /// The writer was lost with what it had taken, or has committed it: it begins at the log's start.
    pub fn start_over(&mut self) {
        self.taken = 0;
        self.taken_messages = 0;
        self.taken_size_bytes = 0;
        self.written.clone_from(&self.committed);
    }
}

/// Messages that an entry changes, and memory that it holds.
fn weight(op: &Op) -> (usize, usize) {
    match op {
        Op::Add { terms, .. } => (1, terms.size_bytes()),
        Op::Remove { .. } | Op::RemoveAccount { .. } => (1, 0),
        Op::Advance { .. } => (0, 0),
    }
}
