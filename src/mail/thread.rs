//! Threads (RFC 8621 §3): which Thread a message belongs to.
//!
//! Two messages are in one Thread when they share a Message-ID among their Message-ID, In-Reply-To
//! and References fields and have the same base subject. Threads are never joined later, and a
//! Thread takes [`limits::THREAD_MESSAGES_MAX`] messages at most.

use crate::store::rows::mail::{MessageIdRow, ThreadRow};
use crate::store::{Read, StoreResult, Txn, keys};
use crate::types::{AccountId, EmailId, ThreadId, limits};
use std::ops::ControlFlow;

/// How many Emails that have one Message-ID, and how many that refer to it, are looked at: a forged one may stand
/// in very many.
const SAME_ID_EMAILS_MAX: usize = 32;

/// What decides about a message's Thread.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ThreadKeys {
    /// The message's own ids; one, if it is well-formed.
    pub own: Vec<String>,
    /// The ids that it refers to: In-Reply-To first, then References from the last to the first.
    pub references: Vec<String>,
    /// The base subject (RFC 5256 §2.1).
    pub base_subject: String,
}

impl ThreadKeys {
    fn subject_hash(&self) -> u64 {
        hash(self.base_subject.to_lowercase().as_bytes())
    }

    /// The hashes of all ids, own ones first, each once.
    fn hashes(&self) -> Vec<(u64, bool)> {
        let mut out: Vec<(u64, bool)> = Vec::new();
        let own = self.own.iter().map(|id| (id, true));
        let others = self.references.iter().map(|id| (id, false));
        for (id, is_own) in own.chain(others) {
            let hash = hash(id.as_bytes());
            if out.len() < limits::THREAD_REFERENCES_MAX && !out.iter().any(|(other, _)| *other == hash) {
                out.push((hash, is_own));
            }
        }
        out
    }
}

/// The Emails of the account that have `message_id` as their own, newest first.
pub fn emails_with_message_id(
    read: &dyn Read,
    account: AccountId,
    message_id: &str,
) -> StoreResult<Vec<EmailId>> {
    owners(read, account, hash(message_id.as_bytes()))
}

/// The Emails of the account that refer to `message_id`, newest first.
pub fn emails_referring_to(
    read: &dyn Read,
    account: AccountId,
    message_id: &str,
) -> StoreResult<Vec<EmailId>> {
    Ok(carriers(read, account, hash(message_id.as_bytes()))?
        .into_iter()
        .filter(|(_, row)| !row.own)
        .map(|(email, _)| email)
        .collect())
}

/// What a message shares an id with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carrier {
    pub email: EmailId,
    pub thread: ThreadId,
}

/// The Thread that a message joins: that of the newest message that it refers to, and in which the
/// subject is the same; `None` for a new one.
pub fn find(read: &dyn Read, account: AccountId, keys: &ThreadKeys) -> StoreResult<Option<ThreadId>> {
    Ok(find_carrier(read, account, keys)?.map(|found| found.thread))
}

/// The Email whose Thread a message joins.
pub fn find_carrier(read: &dyn Read, account: AccountId, keys: &ThreadKeys) -> StoreResult<Option<Carrier>> {
    let subject = keys.subject_hash();
    let hashes = keys.hashes();
    // What it refers to says more than who else refers to the same.
    let referred = hashes.iter().filter(|(_, own)| !own);
    let own = hashes.iter().filter(|(_, own)| *own);
    for (hash, _) in referred.chain(own) {
        let best = match owner_of_subject(read, account, *hash, subject)? {
            Some(own) => Some(own),
            None => carriers(read, account, *hash)?.into_iter().find(|(_, row)| row.subject == subject),
        };
        if let Some((email, row)) = best
            && has_room(read, account, row.thread)?
        {
            return Ok(Some(Carrier { email, thread: row.thread }));
        }
    }
    Ok(None)
}

/// Writes the index rows of an Email.
pub(super) fn index(
    txn: &mut Txn<'_>,
    account: AccountId,
    email: EmailId,
    thread: ThreadId,
    keys: &ThreadKeys,
) -> StoreResult<()> {
    for (hash, row) in entries(thread, keys) {
        txn.put_at(keys::hashed(account, keys::Kind::MessageId, hash, email.0), &row)?;
        if row.own {
            txn.put_at(keys::hashed(account, keys::Kind::OwnMessageId, hash, email.0), &())?;
        }
    }
    Ok(())
}

/// The index rows of an Email: the hash of each id, and what stands there.
pub(super) fn entries(thread: ThreadId, keys: &ThreadKeys) -> Vec<(u64, MessageIdRow)> {
    let subject = keys.subject_hash();
    keys.hashes().into_iter().map(|(hash, own)| (hash, MessageIdRow { thread, subject, own })).collect()
}

/// Takes them away.
pub(super) fn unindex(txn: &mut Txn<'_>, account: AccountId, email: EmailId, keys: &ThreadKeys) {
    for (hash, _) in keys.hashes() {
        txn.delete_at(keys::hashed(account, keys::Kind::MessageId, hash, email.0));
        txn.delete_at(keys::hashed(account, keys::Kind::OwnMessageId, hash, email.0));
    }
}

/// The Emails that have an id as their own, newest first, however many refer to it since.
fn owners(read: &dyn Read, account: AccountId, hash: u64) -> StoreResult<Vec<EmailId>> {
    let range = keys::all_hashed(account, keys::Kind::OwnMessageId, hash);
    Ok(read.ids(&range, true, SAME_ID_EMAILS_MAX)?.into_iter().map(EmailId).collect())
}

/// The newest of them that has this base subject.
fn owner_of_subject(
    read: &dyn Read,
    account: AccountId,
    hash: u64,
    subject: u64,
) -> StoreResult<Option<(EmailId, MessageIdRow)>> {
    for email in owners(read, account, hash)? {
        let key = keys::hashed(account, keys::Kind::MessageId, hash, email.0);
        let Some(bytes) = read.bytes(&key)? else { continue };
        let row: MessageIdRow = crate::store::rows::decode(&bytes)?;
        if row.subject == subject {
            return Ok(Some((email, row)));
        }
    }
    Ok(None)
}

/// The Emails that have or refer to an id, newest first.
fn carriers(read: &dyn Read, account: AccountId, hash: u64) -> StoreResult<Vec<(EmailId, MessageIdRow)>> {
    let mut out = Vec::new();
    let mut broken = None;
    read.scan(&keys::all_hashed(account, keys::Kind::MessageId, hash), true, &mut |key, value| {
        match (keys::last_id(key), crate::store::rows::decode(value)) {
            (Some(id), Ok(row)) => out.push((EmailId(id), row)),
            (_, Err(error)) => broken = Some(error),
            (None, _) => {}
        }
        if out.len() < SAME_ID_EMAILS_MAX && broken.is_none() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(out), Err)
}

/// Whether a Thread is there and takes another message.
pub fn has_room(read: &dyn Read, account: AccountId, thread: ThreadId) -> StoreResult<bool> {
    let row: Option<ThreadRow> = read.row(account, thread)?;
    Ok(row.is_some_and(|row| row.emails.len() < limits::THREAD_MESSAGES_MAX))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut out = [0u8; 8];
    out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(out)
}
