//! What the server acknowledged, and what came out at the relay: the truth that the verdict goes by.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A message that the relay took.
#[derive(Clone, Debug)]
pub struct Reply {
    pub message_id: String,
    pub in_reply_to: String,
    pub to: String,
    /// The word in its body that no other message has.
    pub token: String,
}

/// Everything that was acknowledged to somebody.
#[derive(Default)]
pub struct Acknowledged {
    /// Token of each message that a submission was created for.
    pub sent: Vec<String>,
    /// (conversation, tag).
    pub tags: Vec<(String, String)>,
    /// (conversation, note, body).
    pub notes: Vec<(String, String, String)>,
    /// Conversation → how often its counter was raised.
    pub counts: HashMap<String, usize>,
    /// (conversation, principal) of claims of what nobody owned.
    pub claims: Vec<(String, String)>,
    /// A submission asked for again that was answered otherwise.
    pub otherwise: Vec<String>,
}

/// Shared by all threads.
#[derive(Default)]
pub struct Ledger {
    acknowledged: Mutex<Acknowledged>,
    relayed: Mutex<Vec<Reply>>,
    /// Those that customers have not looked at.
    unread: Mutex<Vec<Reply>>,
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        open(&self.acknowledged)
    }

    pub fn relayed(&self) -> MutexGuard<'_, Vec<Reply>> {
        open(&self.relayed)
    }

    pub fn take(&self, reply: Reply) {
        open(&self.unread).push(reply.clone());
        self.relayed().push(reply);
    }

    /// What customers got since they looked last.
    pub fn unread(&self) -> Vec<Reply> {
        std::mem::take(&mut *open(&self.unread))
    }

    /// How many acknowledged messages aren't at the relay yet.
    pub fn waits_for_the_relay(&self) -> usize {
        let there: std::collections::HashSet<String> =
            self.relayed().iter().map(|reply| reply.token.clone()).collect();
        self.acknowledged().sent.iter().filter(|token| !there.contains(*token)).count()
    }
}
