//! Notes: private text on a conversation, brought to the store.
//!
//! Invariants: a note, its place in its conversation, its activity and the conversation's count and
//! version are written together or not at all; what a note said before an edit stays in it, with
//! its attachments, until the note goes or the inbox's `retention` is over; a note's blobs are ones that the account could read.
//! Nothing that composes or sends mail imports this file, and nothing here makes a message; what plain
//! clients see of notes, where an inbox wants that, is made in `memos.rs`.

use super::desk::{Desk, DeskResult};
use super::machine::Event;
use super::memos::Reading;
use super::refusal::Refusal;
use crate::mail::blob;
use crate::store::blobs::{self, Referrer};
use crate::store::rows::mail::EmailRow;
use crate::store::rows::team::{NoteAttachment, NoteRow, NoteVersion};
use crate::store::{Read, StoreResult, Txn, keys};
use crate::types::limits::{
    NOTE_ATTACHMENTS_MAX, NOTE_BYTES_MAX, NOTE_MENTIONS_MAX, NOTE_VERSIONS_BYTES_MAX, NOTE_VERSIONS_MAX,
};
use crate::types::{AccountId, BlobHash, BlobRoot, ConversationId, EmailId, NoteId, PrincipalId};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a member writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Text {
    /// Markdown.
    pub body: String,
    pub mentions: Vec<PrincipalId>,
    pub attachments: Vec<NoteAttachment>,
}

impl Desk<'_, '_> {
    /// Writes a note on a conversation. Every member may.
    pub fn create_note(
        &mut self,
        conversation: ConversationId,
        email: Option<EmailId>,
        text: Text,
    ) -> DeskResult<(NoteId, NoteRow)> {
        self.check_attached(&text)?;
        self.write_note(conversation, email, text)
    }

    /// The same where what is attached comes with the note and is stored already.
    pub(super) fn write_note(
        &mut self,
        conversation: ConversationId,
        email: Option<EmailId>,
        text: Text,
    ) -> DeskResult<(NoteId, NoteRow)> {
        let author = self.actor.principal().ok_or(Refusal::Forbidden("Only a person writes notes."))?;
        if self.conversation(conversation)?.is_none() {
            return Err(invalid("conversationId", "There is no such conversation.").into());
        }
        if let Some(email) = email {
            let row: Option<EmailRow> = self.read().row(self.account, email)?;
            if row.is_none_or(|row| row.conversation != Some(conversation)) {
                return Err(invalid("emailId", "That is no message of the conversation.").into());
            }
        }
        self.check_text(&text)?;
        let id = NoteId(self.txn.allot(self.account, |next| &mut next.note)?);
        let version = self.txn.modseq(self.account)?;
        let event = Event::NoteCreated { note: id, mentions: text.mentions.clone() };
        self.apply(conversation, &event, Vec::new())?;
        let row = NoteRow {
            conversation,
            email,
            author,
            body: text.body,
            mentions: text.mentions,
            attachments: text.attachments,
            created_at: self.now,
            updated_at: self.now,
            version,
            earlier: Vec::new(),
        };
        self.refer_blobs(id, &row)?;
        self.txn.insert(self.account, id, &row)?;
        let key = keys::pair(self.account, keys::Kind::ConversationNote, conversation.0, id.0);
        self.txn.put_at(key, &())?;
        self.make_findable(id, &[], &row)?;
        self.show_memo(id, &row, Reading::News)?;
        Ok((id, row))
    }

    /// Changes a note, which only its author may; what it said before is kept.
    pub fn update_note(&mut self, id: NoteId, text: Text) -> DeskResult<NoteRow> {
        let mut row = self.note(id)?;
        self.check_text(&text)?;
        self.check_attached(&text)?;
        let new: Vec<_> = text.mentions.iter().copied().filter(|one| !row.mentions.contains(one)).collect();
        let event = Event::NoteUpdated { note: id, author: row.author, mentions: new };
        self.apply(row.conversation, &event, Vec::new())?;
        let version = self.txn.modseq(self.account)?;
        let earlier = NoteVersion {
            body: std::mem::replace(&mut row.body, text.body),
            mentions: std::mem::replace(&mut row.mentions, text.mentions),
            attachments: std::mem::replace(&mut row.attachments, text.attachments),
            at: row.updated_at,
            version: row.version,
        };
        // Two edits in one commit are one: nobody saw what stood between them.
        let mentioned = earlier.mentions.clone();
        let had = contents(&row).into_iter().chain(hashes(&earlier.attachments)).collect();
        if earlier.version != version {
            row.earlier.push(earlier);
        }
        cut_to_limits(&mut row.earlier);
        row.updated_at = self.now;
        row.version = version;
        self.refer_blobs(id, &row)?;
        release(self.txn, self.account, id, had, &row);
        self.txn.update(self.account, id, &row)?;
        self.make_findable(id, &mentioned, &row)?;
        self.show_memo(id, &row, Reading::News)?;
        Ok(row)
    }

    /// Takes a note away, which its author and a lead may; the activity stays.
    pub fn destroy_note(&mut self, id: NoteId) -> DeskResult<()> {
        let row = self.note(id)?;
        let event = Event::NoteDestroyed { note: id, author: row.author };
        self.apply(row.conversation, &event, Vec::new())?;
        self.take_note_away(id, &row)?;
        Ok(())
    }

    /// The row, and everything that leads to it. Gives the content that it had.
    pub(super) fn take_note_away(&mut self, id: NoteId, row: &NoteRow) -> StoreResult<BTreeSet<BlobHash>> {
        let mut had = contents(row);
        for hash in &had {
            blobs::unrefer(self.txn, self.account, hash, Referrer::Note, id.0);
        }
        had.extend(self.hide_memo(id, row.conversation)?);
        for mentioned in &row.mentions {
            self.txn.delete_at(keys::pair(self.account, keys::Kind::NoteMention, mentioned.0, id.0));
        }
        self.txn.delete_at(keys::row(self.account, keys::Kind::NoteEdited, id.0));
        self.txn.delete_at(keys::pair(self.account, keys::Kind::ConversationNote, row.conversation.0, id.0));
        self.txn.remove::<NoteRow>(self.account, id)?;
        Ok(had)
    }

    /// Writes whom it mentions, and that it has a past, where that can be looked up.
    fn make_findable(&mut self, id: NoteId, mentioned: &[PrincipalId], row: &NoteRow) -> StoreResult<()> {
        let key = |who: &PrincipalId| keys::pair(self.account, keys::Kind::NoteMention, who.0, id.0);
        for gone in mentioned.iter().filter(|one| !row.mentions.contains(one)) {
            self.txn.delete_at(key(gone));
        }
        for new in row.mentions.iter().filter(|one| !mentioned.contains(one)) {
            self.txn.put_at(key(new), &())?;
        }
        if !row.earlier.is_empty() {
            self.txn.put_at(keys::row(self.account, keys::Kind::NoteEdited, id.0), &())?;
        }
        Ok(())
    }

    fn note(&self, id: NoteId) -> DeskResult<NoteRow> {
        let row = self.read().row(self.account, id)?;
        Ok(row.ok_or(Refusal::Forbidden("There is no such note."))?)
    }

    fn check_text(&self, text: &Text) -> DeskResult<()> {
        if text.body.len() > NOTE_BYTES_MAX {
            return Err(invalid("body", "The note is too long.").into());
        }
        if text.body.trim().is_empty() && text.attachments.is_empty() {
            return Err(invalid("body", "A note says something or has something attached.").into());
        }
        if text.mentions.len() > NOTE_MENTIONS_MAX {
            return Err(invalid("mentions", "The note mentions too many people.").into());
        }
        let members = &self.staff.roster.members;
        if text.mentions.iter().any(|mentioned| !members.contains_key(mentioned)) {
            return Err(invalid("mentions", "Only members of the inbox can be mentioned.").into());
        }
        if text.attachments.len() > NOTE_ATTACHMENTS_MAX {
            return Err(invalid("attachments", "The note has too many attachments.").into());
        }
        Ok(())
    }

    /// What is attached to a note is something that its author can read.
    fn check_attached(&self, text: &Text) -> DeskResult<()> {
        for attachment in &text.attachments {
            if !blob::exists(self.read(), self.account, self.actor.principal(), &attachment.blob)? {
                return Err(invalid("attachments", "There is no such blob in this account.").into());
            }
        }
        Ok(())
    }

    /// Keeps the content of a note's attachments alive. One that is a part of a message of the
    /// inbox lives with that message.
    fn refer_blobs(&mut self, id: NoteId, row: &NoteRow) -> StoreResult<()> {
        for hash in contents(row) {
            blobs::refer(self.txn, self.account, &hash, Referrer::Note, id.0)?;
        }
        Ok(())
    }
}

/// The content that a note's attachments have, those of its earlier versions too.
pub(super) fn contents(row: &NoteRow) -> BTreeSet<BlobHash> {
    let earlier = row.earlier.iter().flat_map(|version| hashes(&version.attachments));
    hashes(&row.attachments).chain(earlier).collect()
}

fn hashes(attachments: &[NoteAttachment]) -> impl Iterator<Item = BlobHash> {
    attachments.iter().filter_map(|attachment| match attachment.blob.root {
        BlobRoot::Content(hash) => Some(hash),
        BlobRoot::Message(_) => None,
    })
}

/// Lets go of the content that a note had and has no more.
fn release(txn: &mut Txn<'_>, account: AccountId, id: NoteId, had: BTreeSet<BlobHash>, row: &NoteRow) {
    for hash in had.difference(&contents(row)) {
        blobs::unrefer(txn, account, hash, Referrer::Note, id.0);
    }
}

/// Keeps what was said last, as much of it as is kept of one note.
fn cut_to_limits(earlier: &mut Vec<NoteVersion>) {
    let mut octets = 0;
    let fits = |version: &&NoteVersion| {
        octets += version.body.len();
        octets <= NOTE_VERSIONS_BYTES_MAX
    };
    let keep = earlier.iter().rev().take(NOTE_VERSIONS_MAX).take_while(fits).count();
    earlier.drain(..earlier.len() - keep);
}

/// Takes away what notes said before edits that are longer ago than the inbox keeps it, of at most
/// `limit` notes with a number after `after`. Gives how many versions went, and the last number looked at.
pub fn forget_earlier(
    txn: &mut Txn<'_>,
    account: AccountId,
    keep: Duration,
    after: u32,
    limit: usize,
) -> StoreResult<(u64, Option<u32>)> {
    let now = txn.store().clock.now();
    let range = keys::rows_after(account, keys::Kind::NoteEdited, after);
    let ids = (txn as &dyn Read).ids(&range, false, limit)?;
    let mut gone = 0;
    for id in ids.iter().map(|id| NoteId(*id)) {
        let Some(mut row) = (txn as &dyn Read).row::<NoteRow>(account, id)? else { continue };
        let had = contents(&row);
        // A version ended when the next one came.
        let ends = row.earlier.iter().skip(1).map(|next| next.at).chain([row.updated_at]);
        let old = ends.take_while(|end| end.after(keep) <= now).count();
        if old == 0 {
            continue;
        }
        row.earlier.drain(..old);
        gone += old as u64;
        release(txn, account, id, had, &row);
        txn.update(account, id, &row)?;
        if row.earlier.is_empty() {
            txn.delete_at(keys::row(account, keys::Kind::NoteEdited, id.0));
        }
    }
    Ok((gone, ids.last().copied()))
}

/// The notes that mention somebody, oldest first, at most `limit`.
pub fn that_mention(
    read: &dyn Read,
    account: AccountId,
    principal: PrincipalId,
    limit: usize,
) -> StoreResult<Vec<NoteId>> {
    let range = keys::all_of(account, keys::Kind::NoteMention, principal.0);
    Ok(read.ids(&range, false, limit)?.into_iter().map(NoteId).collect())
}

/// The notes of a conversation, oldest first, at most `limit`.
pub fn of_conversation(
    read: &dyn Read,
    account: AccountId,
    conversation: ConversationId,
    limit: usize,
) -> StoreResult<Vec<NoteId>> {
    let range = keys::all_of(account, keys::Kind::ConversationNote, conversation.0);
    Ok(read.ids(&range, false, limit)?.into_iter().map(NoteId).collect())
}

fn invalid(property: &'static str, why: &'static str) -> Refusal {
    Refusal::InvalidProperties { properties: vec![property], why }
}
