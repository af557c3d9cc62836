//! Erasing: what a conversation says is destroyed, and its history stays verifiable.
//!
//! Messages, notes with their earlier versions, submissions, subject, customer, participants and tags
//! go, and so do the texts and salts that activities refer to. What stays are ids and codes: the row of
//! the conversation, closed and empty, and the chain, with an activity that says so. What went into the
//! conversation by a merge goes with it.
//!
//! Rows that are deleted leave their octets in files until the engine rewrites them. So each erasing
//! leaves a mark in its own commit, and [`purge`] has content without references, the store's files and
//! the index rewritten before it takes the mark away: after a crash, too.

use super::desk::{Desk, DeskResult};
use super::machine::{Draft, Event, Value};
use super::refusal::Refusal;
use super::{notes, status};
use crate::mail::search::{SearchError, SearchIndex};
use crate::mail::{message, outbound};
use crate::store::blobs;
use crate::store::keys::Kind;
use crate::store::rows::mail::EmailRow;
use crate::store::rows::submission::{RelayState, ReturnPathRow, SubmissionRow};
use crate::store::rows::team::*;
use crate::store::{Read, Store, StoreError, StoreResult, keys, rows, uploads};
use crate::types::*;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

/// What one step of an erasing took away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Erased {
    pub emails: usize,
    pub notes: usize,
    /// Nothing of the conversation is left to be erased.
    pub done: bool,
}

/// Why what was erased is in files still.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error("full text is too far behind")]
    Behind,
}

/// The longest wait for full text to hear of what was erased.
const FEED_WAIT: Duration = Duration::from_secs(60);

impl Desk<'_, '_> {
    /// Erases a conversation, or as much of it as `max` messages and notes are; where it isn't done then,
    /// erasing goes on with the next call.
    pub fn erase(&mut self, id: ConversationId, max: usize) -> DeskResult<Erased> {
        if !self.actor.is_at_least(MemberRole::Admin) {
            return Err(Refusal::Forbidden("Erasing needs an admin of the inbox.").into());
        }
        let row = self.conversation(id)?.ok_or(Refusal::Forbidden("There is no such conversation."))?;
        if let Some(into) = row.merged_into {
            return Err(Refusal::Merged { into }.into());
        }
        let all = self.with_what_was_merged(id)?;
        let emails: Vec<EmailId> = self.emails(id)?.into_iter().map(|(email, _)| email).collect();
        if self.is_being_sent(id, &emails)? {
            let why = "A message of the conversation waits to be sent: cancel it, or let it go out first.";
            return Err(Refusal::Forbidden(why).into());
        }
        let notes = notes::of_conversation(self.read(), self.account, id, max)?;
        let mut gone = BTreeSet::new();
        let mut erased = Erased::default();
        for note in notes {
            self.erase_note(note, &mut gone)?;
            erased.notes += 1;
        }
        for email in emails.iter().take(max - erased.notes) {
            self.erase_email(id, *email, &mut gone)?;
            erased.emails += 1;
        }
        erased.done = erased.emails == emails.len() && erased.notes + erased.emails < max;
        if erased.done {
            for one in all {
                self.erase_record(one)?;
            }
        }
        self.forget_destroyed(id, &emails)?;
        // What was uploaded to be a part of it is the same content.
        for hash in &gone {
            uploads::end_all(self.txn, self.account, hash)?;
        }
        let version = self.txn.modseq(self.account)?;
        let key = keys::versioned(self.account, Kind::Purge, id.0, version);
        self.txn.put_at(key, &gone.into_iter().collect::<Vec<BlobHash>>())?;
        Ok(erased)
    }

    /// The conversation, and those that went into it, however many merges ago.
    fn with_what_was_merged(&self, id: ConversationId) -> StoreResult<Vec<ConversationId>> {
        let mut all = vec![id];
        let mut at = 0;
        while let Some(of) = all.get(at).copied() {
            at += 1;
            for activity in self.activities_of(of)? {
                let row: Option<ActivityRow> = self.read().row(self.account, activity)?;
                if let Some(ActivityRow { kind: ActivityKind::Merged, before, .. }) = row
                    && let ActivityValue::Conversation(source) = before
                    && !all.contains(&source)
                    && self.conversation(source)?.is_some_and(|row| row.merged_into == Some(of))
                {
                    all.push(source);
                }
            }
        }
        Ok(all)
    }

    fn activities_of(&self, id: ConversationId) -> StoreResult<Vec<ActivityId>> {
        let range = keys::all_of(self.account, Kind::ConversationActivity, id.0);
        Ok(self.read().ids(&range, false, usize::MAX)?.into_iter().map(ActivityId).collect())
    }

    fn submissions_of(&self, email: EmailId) -> StoreResult<Vec<(SubmissionId, SubmissionRow)>> {
        let range = keys::all_of(self.account, Kind::SubmissionOfEmail, email.0);
        let ids = self.read().ids(&range, false, usize::MAX)?.into_iter().map(SubmissionId);
        let with_row = |id| Ok(self.read().row::<SubmissionRow>(self.account, id)?.map(|row| (id, row)));
        ids.filter_map(|id| with_row(id).transpose()).collect()
    }

    /// Submissions that are no objects any more say to whom they went, and lead bounces to the conversation.
    fn forget_destroyed(&mut self, id: ConversationId, emails: &[EmailId]) -> StoreResult<()> {
        let mut found: Vec<u32> = Vec::new();
        let mut broken = None;
        let range = keys::all(self.account, Kind::ReturnPath);
        self.read().scan(&range, false, &mut |key, value| {
            match rows::decode::<ReturnPathRow>(value) {
                Ok(row) if row.conversation == Some(id) || emails.contains(&row.email) => {
                    found.extend(keys::last_id(key));
                }
                Ok(_) => {}
                Err(error) => broken = Some(error),
            }
            ControlFlow::Continue(())
        })?;
        for number in found {
            self.txn.delete_at(keys::row(self.account, Kind::ReturnPath, number));
        }
        broken.map_or(Ok(()), Err)
    }

    fn is_being_sent(&self, id: ConversationId, emails: &[EmailId]) -> StoreResult<bool> {
        for email in emails {
            if self.submissions_of(*email)?.iter().any(|(_, row)| row.relay != RelayState::Done) {
                return Ok(true);
            }
        }
        // What is on its way and no object any more: few, and not for long.
        let detached = keys::all(self.account, Kind::DetachedSubmission);
        let rows: Vec<(u32, SubmissionRow)> = self.read().collect_rows(&detached)?;
        Ok(rows.iter().any(|(_, row)| row.conversation == Some(id) || emails.contains(&row.email)))
    }

    fn erase_note(&mut self, id: NoteId, gone: &mut BTreeSet<BlobHash>) -> StoreResult<()> {
        let Some(row) = self.read().row::<NoteRow>(self.account, id)? else { return Ok(()) };
        gone.extend(self.take_note_away(id, &row)?);
        Ok(())
    }

    fn erase_email(
        &mut self,
        id: ConversationId,
        email: EmailId,
        gone: &mut BTreeSet<BlobHash>,
    ) -> StoreResult<()> {
        let Some(row) = self.read().row::<EmailRow>(self.account, email)? else { return Ok(()) };
        for (submission, sent) in self.submissions_of(email)? {
            outbound::destroy(self.txn, self.account, submission, &sent)?;
            // A bounce that comes yet would bring the conversation back.
            self.txn.delete_at(keys::row(self.account, Kind::ReturnPath, submission.0));
            gone.insert(sent.blob);
        }
        gone.insert(row.blob);
        self.leave(id, email);
        message::destroy(self.txn, self.account, email, &row)
    }

    /// What is left when messages and notes are gone: the words in the row and those of the history.
    fn erase_record(&mut self, id: ConversationId) -> DeskResult<()> {
        for activity in self.activities_of(id)? {
            self.txn.delete_at(keys::row(self.account, Kind::ActivityText, activity.0));
        }
        let row = self.conversation(id)?;
        for thread in row.iter().flat_map(|row| &row.thread_ids) {
            let key = keys::row(self.account, Kind::ThreadConversation, thread.0);
            let of = self.txn.bytes(&key)?.map(|bytes| rows::decode::<ConversationId>(&bytes)).transpose()?;
            if of == Some(id) {
                self.txn.delete_at(key);
            }
        }
        self.txn.delete_at(keys::row(self.account, Kind::Merge, id.0));
        self.apply(id, &Event::Erased, Vec::new())?;
        Ok(())
    }
}

/// What erasing makes of the row: closed, and without a word that a person wrote.
pub(super) fn erased(draft: &mut Draft<'_>) {
    status::enter(draft, Status::Closed, None);
    let settings = draft.context.settings;
    let row = &mut draft.row;
    row.subject.clear();
    row.customer = None;
    row.participants.clear();
    row.tags.clear();
    row.thread_ids.clear();
    // A word of the inbox's own list is a code.
    row.category.take_if(|word| !settings.categories.contains(word));
    row.resolution.take_if(|word| !settings.resolutions.contains(word));
    row.unanswered_since = None;
    row.note_count = 0;
    row.message_count = 0;
    draft.bump();
    draft.log(ActivityKind::Erased, Value::NONE, Value::NONE);
}

/// The conversations whose customer has that address, oldest first, at most `limit`. Looks at every
/// conversation of the inbox.
pub fn of_customer(
    read: &dyn Read,
    account: AccountId,
    customer: &Address,
    limit: usize,
) -> StoreResult<Vec<ConversationId>> {
    let wanted = customer.key();
    let mut found = Vec::new();
    read.scan_rows::<ConversationRow>(&keys::all(account, Kind::Conversation), |key, row| {
        let is_theirs = row.customer.is_some_and(|known| known.address.key() == wanted);
        if is_theirs && row.merged_into.is_none() {
            found.extend(keys::last_id(key).map(ConversationId));
        }
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(found)
}

/// Whether something that was erased in the account may be in files still.
pub fn is_to_be_purged(read: &dyn Read, account: AccountId) -> StoreResult<bool> {
    Ok(!read.ids(&keys::all(account, Kind::Purge), false, 1)?.is_empty())
}

/// Rewrites the files, so that what was erased in the account isn't in them any more. Reads and writes
/// the whole store once, however much was erased. Blocks.
pub fn purge(store: &Store, search: Option<&SearchIndex>, account: AccountId) -> Result<(), PurgeError> {
    let mut marks: Vec<(Vec<u8>, Vec<BlobHash>)> = Vec::new();
    let mut broken = None;
    let snapshot = store.snapshot();
    let read: &dyn Read = &snapshot;
    read.scan(&keys::all(account, Kind::Purge), false, &mut |key, value| {
        match rows::decode(value) {
            Ok(hashes) => marks.push((keys::last_name(key).to_vec(), hashes)),
            Err(error) => broken = Some(error),
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    let modseq = crate::store::changes::states(read, account)?.of(DataType::Email);
    // What a view keeps is what files keep, too.
    drop(snapshot);
    if marks.is_empty() {
        return Ok(());
    }
    for (_, hashes) in &marks {
        blobs::delete_unreferenced(store, hashes)?;
    }
    if let Some(search) = search {
        if !search.wait_until_searchable(account, modseq, FEED_WAIT) {
            return Err(PurgeError::Behind);
        }
        search.purge()?;
    }
    store.rewrite_files()?;
    let locked = store.lock_blocking(&[account]);
    let mut txn = store.begin(&locked);
    for (name, _) in &marks {
        txn.delete_at(keys::named(account, Kind::Purge, name));
    }
    txn.commit()?;
    Ok(())
}
