//! A conversation's events brought to the store: load, apply, write, and do what follows.
//!
//! A [`Desk`] is one actor at work in one inbox within one transaction. Whatever happens to a
//! conversation, by JMAP, a moved message, delivery, a timer or a submission, happens by
//! [`Desk::apply`]: it loads the row, asks the state machine, and writes the row, the lists, the
//! activity with its chain, what the gate will ask about, the kept mailboxes and the timers. So
//! nothing can be half told.

use super::activity::{self, Head, Sealed};
use super::gate;
use super::lock;
use super::machine::{self, Actor, Applied, Context, Effect, Entry, Event, Roster};
use super::messages::{self, First};
use super::projection::{self, KeptMailboxes};
use super::refusal::Refusal;
use crate::mail::{mailbox, message};
use crate::store::changes::Change;
use crate::store::list::{self, Entry as ListEntry};
use crate::store::rows::mail::{EmailRow, Origin};
use crate::store::rows::submission::RELEASE_TIMER;
use crate::store::rows::team::*;
use crate::store::{List, Place, Read, Row, StoreError, StoreResult, Txn, keys};
use crate::types::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What can come of an action: the rules said no, or the store failed.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of an action.
pub type DeskResult<T> = Result<T, DeskError>;

/// Who works in an inbox, and under which addresses: from the directory, loaded by the caller.
#[derive(Clone, Debug, Default)]
pub struct Staff {
    pub roster: Roster,
    /// Every principal that may be named, with what to call them.
    pub names: BTreeMap<PrincipalId, PersonName>,
    /// The teams that have somebody in the inbox, disabled ones too.
    pub teams: BTreeMap<PrincipalId, TeamName>,
    /// The inbox's own addresses, the first one first.
    pub addresses: Vec<Address>,
}

/// What to call a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PersonName {
    pub name: String,
    pub email: Address,
}

/// A team as an inbox sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TeamName {
    pub name: String,
    /// Those of its people who are active members of the inbox.
    pub members: Vec<PrincipalId>,
    pub disabled: bool,
}

impl Staff {
    /// The name to show for a principal.
    pub fn name_of(&self, principal: PrincipalId) -> String {
        self.names.get(&principal).map_or_else(|| "A colleague".to_owned(), |person| person.name.clone())
    }
}

/// What a timer is for; the number is stored in its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TimerKind {
    /// A snoozed conversation comes back.
    Snooze = 1,
    /// A reply lock ends.
    Lock = 2,
    /// A scheduled submission is released.
    Release = RELEASE_TIMER,
    /// A sibling of the conversation was answered ([`super::siblings`]); due at once.
    SiblingReplied = 4,
    /// The open work of somebody who left is released further ([`super::membership`]); due at once.
    MemberRelease = 5,
    /// Closed conversations go where a changed setting has them ([`super::settings`]); due at once. Its
    /// number is the last conversation that was looked at.
    Place = 6,
    /// Notes get their memos, or lose them, as a changed setting has it ([`super::memos`]); due at once. Its
    /// number is the last note that was looked at.
    Memos = 7,
}

/// What stands beside an Email in its conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConversationEmailRow {
    /// The position at which the message came or went; a draft's creation.
    pub version: u64,
}

/// One actor at work in one inbox, within one transaction.
pub struct Desk<'t, 's> {
    pub txn: &'t mut Txn<'s>,
    pub account: AccountId,
    pub actor: Actor,
    pub settings: InboxSettingsRow,
    pub staff: &'t Staff,
    pub now: Millis,
}

impl<'t, 's> Desk<'t, 's> {
    /// Sits down in an inbox.
    pub fn open(
        txn: &'t mut Txn<'s>,
        account: AccountId,
        actor: Actor,
        staff: &'t Staff,
    ) -> StoreResult<Self> {
        let settings = settings(txn, account)?;
        let now = txn.store().clock.now();
        Ok(Self { txn, account, actor, settings, staff, now })
    }

    /// A conversation, or what [`Refusal::Forbidden`] says where there is none.
    pub fn conversation(&self, id: ConversationId) -> StoreResult<Option<ConversationRow>> {
        self.read().row(self.account, id)
    }

    /// Applies an event, and does all that follows from it. `extra` is what the gate must know and
    /// no activity says. True where the conversation moved; false where the message came too late
    /// and a new conversation has to begin.
    pub fn apply(
        &mut self,
        id: ConversationId,
        event: &Event,
        extra: Vec<ConversationEvent>,
    ) -> DeskResult<bool> {
        let before = self.conversation(id)?.ok_or(Refusal::Forbidden("There is no such conversation."))?;
        let applied = self.with_context(|context| machine::apply(&before, event, context))?;
        if applied.effects.contains(&Effect::BeginNew) {
            return Ok(false);
        }
        self.settle(id, Some(&before), applied, extra)?;
        Ok(true)
    }

    /// Begins a conversation with a message that is in the store already.
    pub fn begin(
        &mut self,
        subject: &str,
        previous: Option<ConversationId>,
        first: &First,
        thread: ThreadId,
        extra: Vec<ConversationEvent>,
    ) -> DeskResult<ConversationId> {
        let mut applied =
            self.with_context(|context| messages::begin(subject.to_owned(), previous, first, context))?;
        applied.conversation.thread_ids.push(thread);
        let id = ConversationId(self.txn.allot(self.account, |next| &mut next.conversation)?);
        let email = match first {
            First::Inbound(inbound) => inbound.email,
            First::Outbound(outbound) => outbound.email,
            First::Internal(email) | First::Imported { email, .. } => *email,
        };
        self.enter(id, email, thread)?;
        self.settle(id, None, applied, extra)?;
        Ok(id)
    }

    /// Makes an Email part of a conversation, at this position.
    pub fn enter(&mut self, id: ConversationId, email: EmailId, thread: ThreadId) -> StoreResult<()> {
        let version = self.txn.modseq(self.account)?;
        let key = keys::pair(self.account, keys::Kind::ConversationEmail, id.0, email.0);
        self.txn.put_at(key, &ConversationEmailRow { version })?;
        self.txn.put_at(keys::row(self.account, keys::Kind::ThreadConversation, thread.0), &id)?;
        if let Some(mut row) = self.read().row::<EmailRow>(self.account, email)?
            && row.conversation != Some(id)
        {
            row.conversation = Some(id);
            message::annotate(self.txn, self.account, email, &row)?;
        }
        if let Some(mut row) = self.conversation(id)?
            && !row.thread_ids.contains(&thread)
        {
            row.thread_ids.push(thread);
            self.txn.update(self.account, id, &row)?;
        }
        Ok(())
    }

    /// Takes a destroyed Email out of its conversation.
    pub fn leave(&mut self, id: ConversationId, email: EmailId) {
        self.txn.delete_at(keys::pair(self.account, keys::Kind::ConversationEmail, id.0, email.0));
    }

    /// The Emails of a conversation with the positions at which they came or went.
    pub fn emails(&self, id: ConversationId) -> StoreResult<Vec<(EmailId, ConversationEmailRow)>> {
        emails_of(self.read(), self.account, id)
    }

    /// Writes an activity that no event made.
    pub fn record(&mut self, id: Option<ConversationId>, entry: &Entry) -> StoreResult<()> {
        let head_key = keys::single(self.account, keys::Kind::ActivityHead);
        let mut head = activity_head(self.read(), self.account)?;
        let random = self.txn.store().random.clone();
        let sealed = activity::seal(&mut head, id, self.now, self.actor, entry, &random);
        self.txn.put_at(head_key, &(head.next, head.hash))?;
        self.write_activity(id, &sealed)
    }

    /// Ends the live or stored lock of a conversation, of anybody or of one principal.
    pub fn end_lock(&mut self, id: ConversationId, of: Option<PrincipalId>) -> StoreResult<()> {
        let Some((lock_id, row)) = lock_of(self.read(), self.account, id)? else { return Ok(()) };
        if of.is_none_or(|of| row.holder == of) {
            self.drop_lock(lock_id, &row)?;
        }
        Ok(())
    }

    /// Takes a stored lock away.
    pub fn drop_lock(&mut self, lock_id: LockId, row: &ReplyLockRow) -> StoreResult<()> {
        let timer =
            keys::due(keys::Kind::Timer, row.expires_at, self.account, TimerKind::Lock as u8, lock_id.0);
        self.txn.delete_at(timer);
        self.txn.delete_at(keys::row(self.account, keys::Kind::ConversationLock, row.conversation.0));
        self.txn.remove::<ReplyLockRow>(self.account, lock_id)
    }

    /// Ends every lock that a principal has in this inbox.
    pub fn end_locks_of(&mut self, principal: PrincipalId) -> StoreResult<()> {
        let range = keys::all(self.account, keys::Kind::Lock);
        let locks: Vec<(u32, ReplyLockRow)> = self.read().collect_rows(&range)?;
        for (id, row) in locks.into_iter().filter(|(_, row)| row.holder == principal) {
            self.drop_lock(LockId(id), &row)?;
        }
        Ok(())
    }

    /// Grants a reply lock, if the rules allow it.
    pub fn acquire_lock(&mut self, ask: lock::Ask) -> DeskResult<(LockId, ReplyLockRow)> {
        let mut row = self
            .conversation(ask.conversation)?
            .ok_or(Refusal::Forbidden("There is no such conversation."))?;
        if let Some(into) = row.merged_into {
            return Err(Refusal::Merged { into }.into());
        }
        let existing = lock_of(self.read(), self.account, ask.conversation)?;
        let stored = existing.as_ref().map(|(_, row)| row);
        let seconds = self.settings.lock_seconds;
        let granted = lock::acquire(stored, &row, ask, seconds, self.actor, self.now)?;
        if let Some((lock_id, old)) = &existing {
            self.drop_lock(*lock_id, old)?;
        }
        if let Some((old, lock::Ending::TakenOver)) = &granted.ended {
            self.apply(ask.conversation, &Event::LockTakenOver { from: old.holder }, Vec::new())?;
            row = self.conversation(ask.conversation)?.unwrap_or(row);
        }
        row.last_lock_token = granted.row.token;
        // The token is nothing that a client sees on the conversation.
        self.txn.put_at(ConversationRow::key(self.account, ask.conversation), &row)?;
        let lock_id = LockId(self.txn.allot(self.account, |next| &mut next.lock)?);
        self.write_lock(lock_id, &granted.row, Change::Created)?;
        Ok((lock_id, granted.row))
    }

    /// Renews a lock; its token stays.
    pub fn renew_lock(&mut self, lock_id: LockId, seconds: u64) -> DeskResult<ReplyLockRow> {
        let (stored, principal) = self.lock_and_principal(lock_id)?;
        let row = lock::renew(Some(&stored), stored.token, seconds, principal, self.now)?;
        let timer =
            keys::due(keys::Kind::Timer, stored.expires_at, self.account, TimerKind::Lock as u8, lock_id.0);
        self.txn.delete_at(timer);
        self.write_lock(lock_id, &row, Change::Updated)?;
        Ok(row)
    }

    /// Gives a lock back.
    pub fn release_lock(&mut self, lock_id: LockId) -> DeskResult<()> {
        let (stored, principal) = self.lock_and_principal(lock_id)?;
        lock::release(Some(&stored), stored.token, principal, self.now)?;
        Ok(self.drop_lock(lock_id, &stored)?)
    }

    /// Whether all messages of a conversation can be moved in this commit, too.
    pub fn has_room_for(&self, id: ConversationId) -> StoreResult<bool> {
        let messages = self.conversation(id)?.map_or(0, |row| row.message_count as usize);
        Ok(self.txn.has_room_for(messages * limits::MOVED_EMAIL_BYTES + limits::COMMIT_BYTES_MAX / 8))
    }

    /// Brings the kept mailboxes of a conversation's Emails to what they must be.
    pub fn project(&mut self, id: ConversationId) -> StoreResult<()> {
        let Some(row) = self.conversation(id)? else { return Ok(()) };
        for (email, _) in self.emails(id)? {
            let Some(before) = self.read().row::<EmailRow>(self.account, email)? else { continue };
            let current: BTreeSet<MailboxId> = before.mailboxes.iter().copied().collect();
            let placed = self.place(&current, &row)?;
            let after = EmailRow { mailboxes: placed.into_iter().collect(), ..before.clone() };
            message::change(self.txn, self.account, email, &before, &after)?;
        }
        Ok(())
    }

    /// The mailboxes that an Email of the conversation must be in; missing kept ones are made.
    pub fn place(
        &mut self,
        current: &BTreeSet<MailboxId>,
        row: &ConversationRow,
    ) -> StoreResult<BTreeSet<MailboxId>> {
        loop {
            let kept = self.kept()?;
            match projection::place(current, row, &self.settings, &kept) {
                Ok(placed) => return Ok(placed),
                Err(missing) => self.make_kept(&missing, &kept)?,
            }
        }
    }

    /// The kept mailboxes.
    pub fn kept(&self) -> StoreResult<KeptMailboxes> {
        let roles = mailbox::roles(self.read(), self.account)?;
        Ok(roles.kept.into_iter().map(|(kept, id)| (id, kept)).collect())
    }

    /// The transaction, for reading.
    pub fn read(&self) -> &dyn Read {
        self.txn
    }

    fn lock_and_principal(&self, lock_id: LockId) -> DeskResult<(ReplyLockRow, PrincipalId)> {
        let stored: Option<ReplyLockRow> = self.read().row(self.account, lock_id)?;
        let gone = Refusal::LockLost { holder: None, expires_at: None };
        let principal =
            self.actor.principal().ok_or(Refusal::Forbidden("Only a person holds a reply lock."))?;
        Ok((stored.ok_or(gone)?, principal))
    }

    fn write_lock(&mut self, lock_id: LockId, row: &ReplyLockRow, change: Change) -> StoreResult<()> {
        self.txn.put(self.account, lock_id, row, change)?;
        self.txn
            .put_at(keys::row(self.account, keys::Kind::ConversationLock, row.conversation.0), &lock_id)?;
        let timer =
            keys::due(keys::Kind::Timer, row.expires_at, self.account, TimerKind::Lock as u8, lock_id.0);
        self.txn.put_at(timer, &())
    }

    pub(super) fn with_context<T>(
        &mut self,
        run: impl FnOnce(Context<'_>) -> Result<T, Refusal>,
    ) -> DeskResult<T> {
        let modseq = self.txn.modseq(self.account)?;
        let context = Context {
            settings: &self.settings,
            roster: &self.staff.roster,
            actor: self.actor,
            now: self.now,
            modseq,
        };
        Ok(run(context)?)
    }

    /// Writes what the machine made, and does what follows.
    pub(super) fn settle(
        &mut self,
        id: ConversationId,
        before: Option<&ConversationRow>,
        applied: Applied,
        extra: Vec<ConversationEvent>,
    ) -> DeskResult<()> {
        let after = &applied.conversation;
        self.write_conversation(id, before, after)?;
        let mut events = gate::events_of(&applied.effects, self.actor);
        events.extend(extra);
        self.write_events(id, events)?;
        for effect in &applied.effects {
            match effect {
                Effect::Activity(entry) => self.record(Some(id), entry)?,
                Effect::EndLock { of } => self.end_lock(id, *of)?,
                Effect::SetTimer(until) => self.set_snooze_timer(id, before, Some(*until))?,
                Effect::ClearTimer => self.set_snooze_timer(id, before, None)?,
                Effect::MarkNew => self.mark_new(id)?,
                Effect::BeginNew | Effect::Project => {}
            }
        }
        if applied.effects.contains(&Effect::Project) {
            self.project(id)?;
        }
        Ok(())
    }

    fn write_conversation(
        &mut self,
        id: ConversationId,
        before: Option<&ConversationRow>,
        after: &ConversationRow,
    ) -> StoreResult<()> {
        match before {
            None => self.txn.insert(self.account, id, after)?,
            Some(before) if before == after => {}
            Some(_) => self.txn.update(self.account, id, after)?,
        }
        let was = before.map(|row| places(id, row)).unwrap_or_default();
        let is = places(id, after);
        for (list, place) in was.iter().filter(|entry| !is.contains(entry)) {
            list::remove(self.txn, self.account, *list, *place)?;
        }
        for (list, place) in is.iter().filter(|entry| !was.contains(entry)) {
            list::insert(self.txn, self.account, *list, ListEntry { place: *place, with: 0 })?;
        }
        Ok(())
    }

    fn write_events(&mut self, id: ConversationId, events: Vec<ConversationEvent>) -> StoreResult<()> {
        if events.is_empty() {
            return Ok(());
        }
        let modseq = self.txn.modseq(self.account)?;
        let key = keys::versioned(self.account, keys::Kind::ConversationEvent, id.0, modseq);
        let mut row: ConversationEventsRow = match self.txn.bytes(&key)? {
            Some(bytes) => crate::store::rows::decode(&bytes)?,
            None => ConversationEventsRow::default(),
        };
        row.events.extend(events);
        self.txn.put_at(key, &row)
    }

    fn write_activity(&mut self, id: Option<ConversationId>, sealed: &Sealed) -> StoreResult<()> {
        self.txn.insert(self.account, sealed.id, &sealed.row)?;
        if let Some(texts) = &sealed.texts {
            self.txn.put_at(keys::row(self.account, keys::Kind::ActivityText, sealed.id.0), texts)?;
        }
        if let Some(id) = id {
            let key = keys::pair(self.account, keys::Kind::ConversationActivity, id.0, sealed.id.0);
            self.txn.put_at(key, &())?;
        }
        Ok(())
    }

    fn set_snooze_timer(
        &mut self,
        id: ConversationId,
        before: Option<&ConversationRow>,
        until: Option<Millis>,
    ) -> StoreResult<()> {
        let key = |at| keys::due(keys::Kind::Timer, at, self.account, TimerKind::Snooze as u8, id.0);
        let old = before.and_then(|row| row.snoozed_until).map(key);
        let new = until.map(key);
        if let Some(old) = old {
            self.txn.delete_at(old);
        }
        match new {
            Some(new) => self.txn.put_at(new, &()),
            None => Ok(()),
        }
    }

    /// Sets `$new` on the newest message from outside that nobody has thrown away.
    fn mark_new(&mut self, id: ConversationId) -> StoreResult<()> {
        let Some(new) = Keyword::parse(Keyword::NEW) else { return Ok(()) };
        let kept = self.kept()?;
        for (email, _) in self.emails(id)?.into_iter().rev() {
            let Some(before) = self.read().row::<EmailRow>(self.account, email)? else { continue };
            let is_gone = kept.gone(&before.mailboxes.iter().copied().collect()).is_some();
            if matches!(before.origin, Origin::Inbound | Origin::Automatic) && !is_gone {
                let mut keywords: BTreeSet<Keyword> = before.keywords.iter().cloned().collect();
                keywords.insert(new);
                let after = EmailRow { keywords: keywords.into_iter().collect(), ..before.clone() };
                return message::change(self.txn, self.account, email, &before, &after);
            }
        }
        Ok(())
    }
}

/// The lists that a conversation stands in. One that went into another stands in none.
fn places(id: ConversationId, row: &ConversationRow) -> Vec<(List, Place)> {
    if row.merged_into.is_some() {
        return Vec::new();
    }
    let place = Place { at: row.last_activity_at.date(), id: id.0 };
    let mut all = vec![
        (List::Conversations, place),
        (List::ConversationsWithStatus(row.status as u8), place),
        (List::ConversationsOfOwner(row.owner), place),
        (List::ConversationsOf(row.status as u8, row.owner), place),
    ];
    if let Some(since) = row.waiting_since {
        let place = Place { at: since.date(), id: id.0 };
        all.push((List::ConversationsWaiting, place));
        all.push((List::ConversationsWaitingFor(row.owner), place));
    }
    all
}

/// An inbox's settings; the defaults where nobody set any.
pub fn settings(read: &dyn Read, account: AccountId) -> StoreResult<InboxSettingsRow> {
    match read.bytes(&keys::row(account, keys::Kind::InboxSettings, 0))? {
        Some(bytes) => crate::store::rows::decode(&bytes),
        None => Ok(InboxSettingsRow::default()),
    }
}

/// The Emails of a conversation in the order of their numbers.
pub fn emails_of(
    read: &dyn Read,
    account: AccountId,
    id: ConversationId,
) -> StoreResult<Vec<(EmailId, ConversationEmailRow)>> {
    let mut out = Vec::new();
    let mut broken = None;
    let range = keys::all_of(account, keys::Kind::ConversationEmail, id.0);
    read.scan(&range, false, &mut |key, value| {
        match (keys::last_id(key), crate::store::rows::decode(value)) {
            (Some(email), Ok(row)) => out.push((EmailId(email), row)),
            (_, Err(error)) => broken = Some(error),
            (None, _) => {}
        }
        std::ops::ControlFlow::Continue(())
    })?;
    broken.map_or(Ok(out), Err)
}

/// The stored lock of a conversation, live or not.
pub fn lock_of(
    read: &dyn Read,
    account: AccountId,
    id: ConversationId,
) -> StoreResult<Option<(LockId, ReplyLockRow)>> {
    let Some(bytes) = read.bytes(&keys::row(account, keys::Kind::ConversationLock, id.0))? else {
        return Ok(None);
    };
    let lock_id: LockId = crate::store::rows::decode(&bytes)?;
    Ok(read.row(account, lock_id)?.map(|row| (lock_id, row)))
}

/// Where the activity chain of an inbox stands.
pub fn activity_head(read: &dyn Read, account: AccountId) -> StoreResult<Head> {
    match read.bytes(&keys::single(account, keys::Kind::ActivityHead))? {
        Some(bytes) => {
            let (next, hash) = crate::store::rows::decode(&bytes)?;
            Ok(Head { next, hash })
        }
        None => Ok(activity::genesis(account)),
    }
}
