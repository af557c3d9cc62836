//! Notes as clients see them that know only mail (setting `notesAsMemos`): each is a message with the
//! keyword `$memo` in the mailbox with role `memos`, in the Thread of what it is about. Such a message that a
//! client makes becomes a note.
//!
//! Invariants: a memo is written, replaced and taken away in the transaction of its note; while the setting
//! is on, each note has one memo, but for those that a change of the setting hasn't come to yet; a memo is in
//! no conversation, so that nothing that counts, answers or moves messages meets it. Its text is in an Email
//! all the same: `mail/memo.rs` finds it in what is to be sent, and the submission is refused.

use super::desk::{Desk, DeskResult, TimerKind};
use super::intake;
use super::moves;
use super::notes::Text;
use super::refusal::Refusal;
use crate::mail::compose::ComposeDefaults;
use crate::mail::date::MailDate;
use crate::mail::ingest::{self, Prepared};
use crate::mail::keyed::WireKeys;
use crate::mail::memo::{self, Memo};
use crate::mail::message::{self, Added};
use crate::mail::{headers, mailbox, thread};
use crate::store::rows::mail::{EmailRow, Origin, StoredMessage};
use crate::store::rows::team::{MemoRow, NoteAttachment, NoteRow};
use crate::store::{PreparedBlob, Row, StoreError, StoreResult, keys};
use crate::types::*;
use std::collections::BTreeSet;

/// Notes that are looked at in one commit when the setting changes.
const BROUGHT_AT_ONCE: usize = 50;

/// Whether colleagues have read what a memo says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// A new note, or a new text of one: seen by its author alone.
    News,
    /// It was there before the setting: seen by all.
    Known,
}

impl Desk<'_, '_> {
    /// Writes the memo of a note, in place of the one that it has; where the inbox wants none, nothing.
    pub(super) fn show_memo(&mut self, id: NoteId, note: &NoteRow, reading: Reading) -> StoreResult<()> {
        if !self.settings.notes_as_memos {
            return Ok(());
        }
        let had: Option<MemoRow> = self.read().row(self.account, id)?;
        let about = match had {
            Some(row) => row.about,
            None => self.commented(note)?,
        };
        if let Some(had) = had {
            self.destroy_memo(had.email)?;
        }
        let prepared = self.memo_message(id, note, about)?;
        let memos = mailbox::ensure_memos(self.txn, self.account)?;
        let mut keywords: BTreeSet<Keyword> = Keyword::parse(Keyword::MEMO).into_iter().collect();
        if reading == Reading::Known {
            keywords.extend(Keyword::parse(Keyword::SEEN));
        }
        let thread = self.thread_of(note, about)?;
        let (mailboxes, at) = (BTreeSet::from([memos]), note.created_at.date());
        let new =
            prepared.email(Vec::new(), mailboxes, keywords.clone(), at, Origin::Memo, Some(note.author));
        let added = message::add(self.txn, self.account, message::NewEmail { thread, ..new })?;
        if reading == Reading::News && !self.settings.shared_seen {
            keywords.extend(Keyword::parse(Keyword::SEEN));
            intake::mark(self.txn, self.account, added.email, note.author, &keywords)?;
        }
        self.txn.put_at(MemoRow::key(self.account, id), &MemoRow { email: added.email, about })?;
        match about {
            Some(about) => self.mark_commented(about, true),
            None => Ok(()),
        }
    }

    /// Takes the memo of a note away, if it has one. Gives its content.
    pub(super) fn hide_memo(&mut self, id: NoteId, of: ConversationId) -> StoreResult<Option<BlobHash>> {
        let Some(memo) = self.read().row::<MemoRow>(self.account, id)? else { return Ok(None) };
        self.txn.delete_at(MemoRow::key(self.account, id));
        let had = self.destroy_memo(memo.email)?;
        if let Some(about) = memo.about
            && !self.is_commented(of, about)?
        {
            self.mark_commented(about, false)?;
        }
        Ok(had)
    }

    /// Gives notes their memos, or takes them away, as the setting has it: of the notes after that number,
    /// some in this commit and the others by a timer.
    pub(super) fn bring_memos(&mut self, after: u32) -> StoreResult<()> {
        let range = keys::rows_after(self.account, keys::Kind::Note, after);
        let ids = self.read().ids(&range, false, BROUGHT_AT_ONCE)?;
        let (mut last, mut is_done) = (after, ids.len() < BROUGHT_AT_ONCE);
        for id in ids.into_iter().map(NoteId) {
            if !self.txn.has_room() {
                is_done = false;
                break;
            }
            last = id.0;
            let Some(note) = self.read().row::<NoteRow>(self.account, id)? else { continue };
            let has_one = self.read().has(&MemoRow::key(self.account, id))?;
            if self.settings.notes_as_memos && !has_one {
                self.show_memo(id, &note, Reading::Known)?;
            } else if !self.settings.notes_as_memos {
                self.hide_memo(id, note.conversation)?;
            }
        }
        if is_done {
            return Ok(());
        }
        let kind = TimerKind::Memos as u8;
        self.txn.put_at(keys::due(keys::Kind::Timer, Millis(0), self.account, kind, last), &())
    }

    /// A memo that a client made: it becomes a note on the message that it answers. What is in the account
    /// then is the note's own memo.
    pub(super) fn take_memo(&mut self, prepared: &Prepared, is_draft: bool) -> DeskResult<Added> {
        if !self.settings.notes_as_memos {
            let why = "This inbox shows no notes as mail: its setting notesAsMemos is off.";
            return Err(Refusal::Forbidden(why).into());
        }
        if is_draft {
            let why = "A memo is no draft: colleagues see it at once.";
            return Err(Refusal::InvalidProperties { properties: vec!["keywords"], why }.into());
        }
        let Some((conversation, email)) = self.answered(prepared)? else {
            let why =
                "A memo names the message that it is about: by In-Reply-To, one of a conversation here.";
            return Err(Refusal::InvalidProperties { properties: vec!["inReplyTo"], why }.into());
        };
        let raw = prepared.content.content()?;
        let mut attachments = Vec::new();
        for (name, media_type, content) in memo::files(&prepared.message, &raw) {
            let blob = PreparedBlob::of(&content)?;
            self.txn.put_blob(&blob)?;
            attachments.push(NoteAttachment { blob: BlobId::content(blob.hash), name, media_type });
        }
        let body = memo::text(&prepared.message, &raw);
        let text = Text { body, mentions: Vec::new(), attachments };
        let (note, _) = self.write_note(conversation, email, text)?;
        let memo: Option<MemoRow> = self.read().row(self.account, note)?;
        let gone = || StoreError::Corrupt(format!("{note} has no memo"));
        let email = memo.ok_or_else(gone)?.email;
        let row: EmailRow = self.read().row(self.account, email)?.ok_or_else(gone)?;
        Ok(Added { email, thread: row.thread, size: row.size })
    }

    /// The note whose memo an Email is.
    pub(super) fn note_of_memo(&self, email: EmailId) -> StoreResult<Option<NoteId>> {
        let Some(stored) = self.read().row::<StoredMessage>(self.account, email)? else { return Ok(None) };
        let keys = WireKeys::load(self.read())?;
        let own = headers::message_ids(&stored.message, "message-id");
        let found = own.first().and_then(|id| keys.find_memo(id.as_bytes()));
        Ok(found.filter(|(account, _)| *account == self.account).map(|(_, note)| note))
    }

    /// The message that a note is about: the one that it names, else the newest of its conversation.
    fn commented(&self, note: &NoteRow) -> StoreResult<Option<EmailId>> {
        if note.email.is_some() {
            return Ok(note.email);
        }
        let mut newest: Option<(UtcDate, EmailId)> = None;
        for (email, _) in self.emails(note.conversation)? {
            let Some(row) = self.read().row::<EmailRow>(self.account, email)? else { continue };
            if !moves::is_draft(&row) {
                newest = newest.max(Some((row.received_at, email)));
            }
        }
        Ok(newest.map(|(_, email)| email))
    }

    /// The Thread of what it is about, else the conversation's last; none where that is gone or full.
    fn thread_of(&self, note: &NoteRow, about: Option<EmailId>) -> StoreResult<Option<ThreadId>> {
        let email = match about {
            Some(about) => self.read().row::<EmailRow>(self.account, about)?,
            None => None,
        };
        let last = || -> StoreResult<Option<ThreadId>> {
            Ok(self.conversation(note.conversation)?.and_then(|row| row.thread_ids.last().copied()))
        };
        let found = match email {
            Some(email) => Some(email.thread),
            None => last()?,
        };
        match found {
            Some(thread) if thread::has_room(self.read(), self.account, thread)? => Ok(Some(thread)),
            _ => Ok(None),
        }
    }

    fn memo_message(&self, id: NoteId, note: &NoteRow, about: Option<EmailId>) -> StoreResult<Prepared> {
        let stored = match about {
            Some(about) => self.read().row::<StoredMessage>(self.account, about)?,
            None => None,
        };
        let references = stored.map(|stored| {
            let mut all = headers::message_ids(&stored.message, "references");
            all.extend(headers::message_ids(&stored.message, "message-id").into_iter().next());
            let surplus = all.len().saturating_sub(limits::THREAD_REFERENCES_MAX);
            all.split_off(surplus)
        });
        let subject = self.conversation(note.conversation)?.map(|row| row.subject).unwrap_or_default();
        let author = self.staff.name_of(note.author);
        let mark = WireKeys::load(self.read())?.memo(self.account, id);
        let unnamed = "a file without a name";
        let files = note.attachments.iter().map(|file| file.name.as_deref().unwrap_or(unnamed)).collect();
        let references = references.unwrap_or_default();
        let memo =
            Memo { mark: &mark, author: &author, subject: &subject, references, text: &note.body, files };
        let defaults = ComposeDefaults {
            message_id: mark.clone(),
            date: MailDate::utc(note.updated_at),
            boundary_seed: self.txn.store().random.bytes(),
        };
        let raw = memo::compose(&memo, &defaults)
            .map_err(|error| StoreError::Corrupt(format!("the memo of {id} can't be written: {error}")))?;
        ingest::prepare(&raw, false)
    }

    /// What a memo of a client answers: a message of a conversation, or another memo, and then what that one's
    /// note is about.
    fn answered(&self, prepared: &Prepared) -> StoreResult<Option<(ConversationId, Option<EmailId>)>> {
        let ids = |name| headers::message_ids(&prepared.message, name).into_iter();
        let references: Vec<String> = ids("in-reply-to").chain(ids("references").rev()).collect();
        let keys = WireKeys::load(self.read())?;
        for reference in references.iter().take(limits::THREAD_REFERENCES_MAX) {
            if let Some((account, note)) = keys.find_memo(reference.as_bytes())
                && account == self.account
                && let Some(note) = self.read().row::<NoteRow>(self.account, note)?
            {
                return Ok(Some((note.conversation, note.email)));
            }
            for email in thread::emails_with_message_id(self.read(), self.account, reference)? {
                let Some(row) = self.read().row::<EmailRow>(self.account, email)? else { continue };
                // Of one that went into another conversation, its messages are there.
                if let Some(conversation) = row.conversation {
                    return Ok(Some((conversation, Some(email))));
                }
            }
        }
        Ok(None)
    }

    /// Whether a note of the conversation has its memo with that message.
    fn is_commented(&self, of: ConversationId, about: EmailId) -> StoreResult<bool> {
        for note in super::notes::of_conversation(self.read(), self.account, of, usize::MAX)? {
            let memo: Option<MemoRow> = self.read().row(self.account, note)?;
            if memo.is_some_and(|memo| memo.about == Some(about)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sets or clears `$hasmemo`.
    fn mark_commented(&mut self, email: EmailId, has_memo: bool) -> StoreResult<()> {
        let Some(before) = self.read().row::<EmailRow>(self.account, email)? else { return Ok(()) };
        let mut keywords: BTreeSet<Keyword> = before.keywords.iter().cloned().collect();
        match has_memo {
            true => keywords.extend(Keyword::parse(Keyword::HAS_MEMO)),
            false => keywords.retain(|keyword| keyword.as_str() != Keyword::HAS_MEMO),
        }
        let after = EmailRow { keywords: keywords.into_iter().collect(), ..before.clone() };
        message::change(self.txn, self.account, email, &before, &after)
    }

    fn destroy_memo(&mut self, email: EmailId) -> StoreResult<Option<BlobHash>> {
        let Some(row) = self.read().row::<EmailRow>(self.account, email)? else { return Ok(None) };
        message::destroy(self.txn, self.account, email, &row)?;
        Ok(Some(row.blob))
    }
}
