//! Brings a folder that an earlier version wrote to the format of this one.
//!
//! Each step may run again: the format's number is written after it, so that a death on the way repeats
//! the step and loses nothing. Rows that grew at their end need no step ([`rows`]).

use super::engine::{Batch, Cf, Engine};
use super::error::StoreResult;
use super::keys::{self, Key, Kind};
use super::read::Read;
use super::rows;
use super::rows::mail::MessageIdRow;
use super::rows::team::NoteRow;
use crate::types::AccountId;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// One step: from the format with its place in [`STEPS`], counted from 1, to the next.
type Step = fn(&Engine) -> StoreResult<()>;

const STEPS: &[Step] = &[notes_are_found_by_who_is_mentioned, messages_are_found_by_their_own_id];

/// The format that this version writes; it reads all up to it.
pub const FORMAT: u32 = 1 + STEPS.len() as u32;

/// Rows written at once.
const BATCH_ROWS: usize = 4096;

/// Takes the steps that a store of format `from` lacks, telling `done` each format that is reached.
pub fn run(engine: &Engine, from: u32, mut done: impl FnMut(u32) -> StoreResult<()>) -> StoreResult<()> {
    for (reached, step) in (2..).zip(STEPS).skip(from.saturating_sub(1) as usize) {
        tracing::info!(format = reached, "the data folder is brought to a newer format");
        step(engine)?;
        done(reached)?;
    }
    Ok(())
}

/// Format 2: mentions, and notes with earlier versions, have keys of their own.
fn notes_are_found_by_who_is_mentioned(engine: &Engine) -> StoreResult<()> {
    index(engine, Kind::Note, |account, key, row: NoteRow| {
        let id = keys::last_id(key).unwrap_or_default();
        let mentions = row.mentions.iter().map(|who| keys::pair(account, Kind::NoteMention, who.0, id));
        let edited = (!row.earlier.is_empty()).then(|| keys::row(account, Kind::NoteEdited, id));
        mentions.chain(edited).collect()
    })
}

/// Format 3: Emails that have a Message-ID stand apart from those that refer to it.
fn messages_are_found_by_their_own_id(engine: &Engine) -> StoreResult<()> {
    index(engine, Kind::MessageId, |account, key, row: MessageIdRow| {
        let found = keys::read_hashed(key).filter(|_| row.own);
        found.into_iter().map(|(hash, id)| keys::hashed(account, Kind::OwnMessageId, hash, id)).collect()
    })
}

/// Writes the empty rows by which the rows of a kind are found, in every account.
fn index<T: DeserializeOwned>(
    engine: &Engine,
    kind: Kind,
    by: impl Fn(AccountId, &[u8], T) -> Vec<Key>,
) -> StoreResult<()> {
    let snapshot = engine.snapshot();
    let read: &dyn Read = &snapshot;
    let mut batch = Rows { engine, ops: Vec::new() };
    for account in accounts(read)? {
        let mut failed = Ok(());
        read.scan(&keys::all(account, kind), false, &mut |key, value| {
            failed = rows::decode(value)
                .and_then(|row| by(account, key, row).into_iter().try_for_each(|key| batch.put(key)));
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed?;
    }
    batch.write()
}

/// Every account that the directory knows.
fn accounts(read: &dyn Read) -> StoreResult<Vec<AccountId>> {
    let ids = read.ids(&keys::all(AccountId::DIRECTORY, Kind::Account), false, usize::MAX)?;
    Ok(ids.into_iter().map(AccountId).collect())
}

/// Empty rows on their way into the engine.
struct Rows<'e> {
    engine: &'e Engine,
    ops: Vec<(Cf, Vec<u8>, Option<Vec<u8>>)>,
}

impl Rows<'_> {
    fn put(&mut self, key: Key) -> StoreResult<()> {
        self.ops.push((key.cf, key.bytes, Some(rows::encode(&())?)));
        if self.ops.len() < BATCH_ROWS { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> StoreResult<()> {
        self.engine.write(Batch { ops: std::mem::take(&mut self.ops) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::team::{NoteAttachment, NoteVersion};
    use crate::store::{Row, StoreOptions};
    use crate::types::{ConversationId, Millis, NoteId, PrincipalId, ThreadId};

    fn note(mentions: &[u32], edited: bool) -> NoteRow {
        let earlier = NoteVersion {
            body: "before".to_owned(),
            mentions: Vec::new(),
            attachments: Vec::<NoteAttachment>::new(),
            at: Millis(1),
            version: 1,
        };
        NoteRow {
            conversation: ConversationId(1),
            email: None,
            author: PrincipalId(1),
            body: "text".to_owned(),
            mentions: mentions.iter().map(|id| PrincipalId(*id)).collect(),
            attachments: Vec::new(),
            created_at: Millis(1),
            updated_at: Millis(2),
            version: 2,
            earlier: edited.then_some(earlier).into_iter().collect(),
        }
    }

    #[test]
    fn a_store_of_the_first_format_gets_what_it_lacks_and_the_steps_may_run_again() {
        let engine = Engine::memory(&StoreOptions::default());
        let put = |key: Key, value: Vec<u8>| {
            engine.write(Batch { ops: vec![(key.cf, key.bytes, Some(value))] }).unwrap();
        };
        let account = AccountId(7);
        put(keys::row(AccountId::DIRECTORY, Kind::Account, account.0), Vec::new());
        put(NoteRow::key(account, NoteId(1)), rows::encode(&note(&[3, 4], false)).unwrap());
        put(NoteRow::key(account, NoteId(2)), rows::encode(&note(&[3], true)).unwrap());
        for (hash, email, own) in [(5, 1, true), (5, 2, false), (u64::MAX, 3, true)] {
            let row = MessageIdRow { thread: ThreadId(1), subject: 0, own };
            put(keys::hashed(account, Kind::MessageId, hash, email), rows::encode(&row).unwrap());
        }
        let mut reached = Vec::new();
        for _ in 0..2 {
            run(&engine, 1, |format| {
                reached.push(format);
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(reached, [2, 3, 2, 3]);
        let snapshot = engine.snapshot();
        let read: &dyn Read = &snapshot;
        let found = |range| read.ids(&range, false, 9).unwrap();
        assert_eq!(found(keys::all_of(account, Kind::NoteMention, 3)), [1, 2]);
        assert_eq!(found(keys::all_of(account, Kind::NoteMention, 4)), [1]);
        assert_eq!(found(keys::all(account, Kind::NoteEdited)), [2]);
        assert_eq!(found(keys::all_hashed(account, Kind::OwnMessageId, 5)), [1]);
        assert_eq!(found(keys::all_hashed(account, Kind::OwnMessageId, u64::MAX)), [3]);
        run(&engine, FORMAT, |_| panic!("there is nothing to do")).unwrap();
    }
}
