//! Conversations with their lists, Emails, notes, locks and timers, and what the gate remembers.

use crate::inbox::desk::{ConversationEmailRow, TimerKind};
use crate::inbox::{notes, scheduling, timers};
use crate::store::blobs::Referrer;
use crate::store::check::Check;
use crate::store::keys::{self, Kind};
use crate::store::list::{self, List, Place};
use crate::store::rows::account::AccountState;
use crate::store::rows::directory::{PrincipalRow, TeamRow};
use crate::store::rows::mail::{EmailRow, Origin};
use crate::store::rows::team::*;
use crate::store::{Row, StoreResult};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};

/// How many entries each list of conversations should have.
type Entries = BTreeMap<List, u32>;

pub(super) fn check(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    let state: AccountState = check.row(account, ())?.unwrap_or_default();
    let mut entries = Entries::new();
    check.each::<ConversationRow>(account, Kind::Conversation, |check, key, row| {
        let id = ConversationId(keys::last_id(key).unwrap_or_default());
        check.report.conversations += 1;
        if id.0 > state.next.conversation || row.version > state.modseq {
            check.fault(account, format_args!("{id} or its version is beyond the last one that was given"));
        }
        by_itself(check, account, id, &row)?;
        others(check, account, id, &row)?;
        listed(check, account, id, &row, &mut entries)
    })?;
    lists(check, account, &entries)?;
    let (messages, memos) = emails(check, account)?;
    let notes = notes_of(check, account, &state, memos)?;
    counts(check, account, &messages, &notes)?;
    locks(check, account, &state)?;
    gate(check, account, &state)
}

/// What the row says by itself, and the timer that it needs.
fn by_itself(
    check: &mut Check<'_>,
    account: AccountId,
    id: ConversationId,
    row: &ConversationRow,
) -> StoreResult<()> {
    if (row.status == Status::Snoozed) != row.snoozed_until.is_some() {
        check.fault(account, format_args!("{id} is snoozed without a time, or has a time and isn't snoozed"));
    }
    if (row.status == Status::Closed) != row.closed_at.is_some() {
        check.fault(account, format_args!("{id} is closed without a time, or has a time and isn't closed"));
    }
    // What went into another one keeps its snooze for an undo, and nothing wakes it.
    if let Some(until) = row.snoozed_until.filter(|_| row.merged_into.is_none())
        && !check.read.has(&keys::due(Kind::Timer, until, account, TimerKind::Snooze as u8, id.0))?
    {
        check.fault(account, format_args!("{id} is snoozed, and no timer wakes it"));
    }
    Ok(())
}

/// What it names.
fn others(
    check: &mut Check<'_>,
    account: AccountId,
    id: ConversationId,
    row: &ConversationRow,
) -> StoreResult<()> {
    for other in row.merged_into.iter().chain(&row.previous) {
        if !check.read.has(&ConversationRow::key(account, *other))? {
            check.fault(account, format_args!("{id} names {other}, which doesn't exist"));
        }
    }
    if let Some(team) = row.team
        && !check.read.has(&TeamRow::key(AccountId::DIRECTORY, team))?
    {
        check.fault(account, format_args!("{id} is of team {team}, which doesn't exist"));
    }
    for person in row.owner.iter().chain(&row.watchers) {
        if !check.read.has(&PrincipalRow::key(AccountId::DIRECTORY, *person))? {
            check.fault(account, format_args!("{id} names {person}, who doesn't exist"));
        }
    }
    Ok(())
}

fn listed(
    check: &mut Check<'_>,
    account: AccountId,
    id: ConversationId,
    row: &ConversationRow,
    entries: &mut Entries,
) -> StoreResult<()> {
    if row.merged_into.is_some() {
        return Ok(());
    }
    let place = Place { at: row.last_activity_at.date(), id: id.0 };
    let mut lists = vec![
        (List::Conversations, place),
        (List::ConversationsWithStatus(row.status as u8), place),
        (List::ConversationsOfOwner(row.owner), place),
        (List::ConversationsOf(row.status as u8, row.owner), place),
    ];
    if let Some(since) = row.waiting_since {
        let place = Place { at: since.date(), id: id.0 };
        lists.extend(
            [List::ConversationsWaiting, List::ConversationsWaitingFor(row.owner)].map(|list| (list, place)),
        );
    }
    for (list, place) in lists {
        *entries.entry(list).or_default() += 1;
        if !list::contains(check.read, account, list, place)? {
            check.fault(account, format_args!("{list:?} lacks {id}"));
        }
    }
    Ok(())
}

fn lists(check: &mut Check<'_>, account: AccountId, entries: &Entries) -> StoreResult<()> {
    let ours = |list: &List| match list {
        List::AllEmails | List::AllHeads | List::Mailbox(_) | List::MailboxHeads(_) => false,
        List::Conversations
        | List::ConversationsWithStatus(_)
        | List::ConversationsOfOwner(_)
        | List::ConversationsOf(..)
        | List::ConversationsWaiting
        | List::ConversationsWaitingFor(_) => true,
    };
    for list in list::all(check.read, account)?.into_iter().flatten().filter(ours) {
        let truth = entries.get(&list).copied().unwrap_or_default();
        let count = list::count_entries(check.read, account, list)?;
        if count > truth {
            check.fault(account, format_args!("{list:?} has {count} entries and should have {truth}"));
        }
    }
    Ok(())
}

/// How many of something each conversation has.
type Had = BTreeMap<ConversationId, u32>;

/// What a conversation says of how much it has.
fn counts(check: &mut Check<'_>, account: AccountId, messages: &Had, notes: &Had) -> StoreResult<()> {
    check.each::<ConversationRow>(account, Kind::Conversation, |check, key, row| {
        let id = ConversationId(keys::last_id(key).unwrap_or_default());
        for (what, said, had) in [("messages", row.message_count, messages), ("notes", row.note_count, notes)]
        {
            let truth = had.get(&id).copied().unwrap_or_default();
            if said != truth {
                check.fault(account, format_args!("{id} counts {said} {what} and has {truth}"));
            }
        }
        Ok(())
    })
}

/// Conversations ↔ Emails, and the Threads that lead to conversations. Gives how many messages each
/// has, drafts and what waits to be sent not among them, and which Emails are memos.
fn emails(check: &mut Check<'_>, account: AccountId) -> StoreResult<(Had, BTreeSet<EmailId>)> {
    let (mut had, mut memos) = (Had::new(), BTreeSet::new());
    check.each::<ConversationEmailRow>(account, Kind::ConversationEmail, |check, key, _| {
        let id = ConversationId(keys::first_id(key).unwrap_or_default());
        let email = EmailId(keys::last_id(key).unwrap_or_default());
        match check.row::<EmailRow>(account, email)? {
            Some(row) if row.conversation == Some(id) => {
                let draft = row.origin == Origin::Client
                    && row.keywords.iter().any(|keyword| keyword.as_str() == Keyword::DRAFT);
                let waits = scheduling::is_waiting(check.read, account, email)?;
                *had.entry(id).or_default() += u32::from(!draft && !waits);
            }
            _ => check.fault(account, format_args!("{id} has {email}, which is elsewhere or doesn't exist")),
        }
        Ok(())
    })?;
    check.each::<EmailRow>(account, Kind::Email, |check, key, row| {
        let email = EmailId(keys::last_id(key).unwrap_or_default());
        if row.origin == Origin::Memo {
            memos.insert(email);
            if row.conversation.is_some() {
                check.fault(account, format_args!("{email} is a memo, and in a conversation"));
            }
        }
        let Some(id) = row.conversation else { return Ok(()) };
        if !check.read.has(&keys::pair(account, Kind::ConversationEmail, id.0, email.0))? {
            check.fault(account, format_args!("{email} is in {id}, which hasn't got it"));
        }
        if !check.read.has(&ConversationRow::key(account, id))? {
            check.fault(account, format_args!("{email} is in {id}, which doesn't exist"));
        }
        Ok(())
    })?;
    check.each::<MergeRow>(account, Kind::Merge, |check, key, _| {
        let id = ConversationId(keys::last_id(key).unwrap_or_default());
        let row: Option<ConversationRow> = check.row(account, id)?;
        if row.is_none_or(|row| row.merged_into.is_none()) {
            check.fault(account, format_args!("{id} gave something to another one, and isn't merged"));
        }
        Ok(())
    })?;
    check.each::<ConversationId>(account, Kind::ThreadConversation, |check, key, id| {
        let thread = ThreadId(keys::last_id(key).unwrap_or_default());
        if !check.read.has(&ConversationRow::key(account, id))? {
            check.fault(account, format_args!("{thread} leads to {id}, which doesn't exist"));
        }
        Ok(())
    })?;
    Ok((had, memos))
}

/// Notes, their places in conversations, and the content that they keep. Gives how many each has.
fn notes_of(
    check: &mut Check<'_>,
    account: AccountId,
    state: &AccountState,
    memos: BTreeSet<EmailId>,
) -> StoreResult<Had> {
    let mut had = Had::new();
    let settings: Option<InboxSettingsRow> = check.at(&keys::row(account, Kind::InboxSettings, 0))?;
    let shown = settings.unwrap_or_default().notes_as_memos;
    // While a change of the setting is on its way, some have one and some haven't.
    let settled = !timers::is_waiting(check.read, account, TimerKind::Memos)?;
    memos_of(check, account, memos)?;
    check.each::<NoteRow>(account, Kind::Note, |check, key, row| {
        let id = NoteId(keys::last_id(key).unwrap_or_default());
        if id.0 > state.next.note {
            check.fault(account, format_args!("{id} is beyond the last id that was given"));
        }
        if !check.read.has(&keys::pair(account, Kind::ConversationNote, row.conversation.0, id.0))? {
            check.fault(account, format_args!("{id} is on {}, which hasn't got it", row.conversation));
        }
        for mentioned in &row.mentions {
            if !check.read.has(&keys::pair(account, Kind::NoteMention, mentioned.0, id.0))? {
                check.fault(account, format_args!("{id} mentions {mentioned}, who can't find it"));
            }
        }
        if row.earlier.is_empty() == check.read.has(&keys::row(account, Kind::NoteEdited, id.0))? {
            check.fault(account, format_args!("{id} has earlier versions, or has none, against its mark"));
        }
        if settled && check.read.has(&MemoRow::key(account, id))? != shown {
            let how = if shown { "has no memo" } else { "has a memo" };
            check.fault(account, format_args!("{id} {how}, against the setting notesAsMemos"));
        }
        for hash in notes::contents(&row) {
            if !check.read.has(&keys::blob_reference(&hash, account, Referrer::Note as u8, id.0))? {
                check.fault(account, format_args!("{id} has no reference to blob {hash:?}"));
            }
        }
        Ok(())
    })?;
    check.each::<()>(account, Kind::NoteMention, |check, key, ()| {
        let of = PrincipalId(keys::first_id(key).unwrap_or_default());
        let id = NoteId(keys::last_id(key).unwrap_or_default());
        if !check.row::<NoteRow>(account, id)?.is_some_and(|row| row.mentions.contains(&of)) {
            check
                .fault(account, format_args!("{of} finds {id}, which doesn't mention them or doesn't exist"));
        }
        Ok(())
    })?;
    check.each::<()>(account, Kind::NoteEdited, |check, key, ()| {
        let id = NoteId(keys::last_id(key).unwrap_or_default());
        if !check.read.has(&NoteRow::key(account, id))? {
            check.fault(account, format_args!("{id} is marked as edited, and doesn't exist"));
        }
        Ok(())
    })?;
    check.each::<()>(account, Kind::ConversationNote, |check, key, ()| {
        let of = ConversationId(keys::first_id(key).unwrap_or_default());
        let id = NoteId(keys::last_id(key).unwrap_or_default());
        let row: Option<NoteRow> = check.row(account, id)?;
        match row.is_some_and(|row| row.conversation == of) {
            true => *had.entry(of).or_default() += 1,
            false => check.fault(account, format_args!("{of} has {id}, which is elsewhere or doesn't exist")),
        }
        if !check.read.has(&ConversationRow::key(account, of))? {
            check.fault(account, format_args!("{id} is on {of}, which doesn't exist"));
        }
        Ok(())
    })?;
    Ok(had)
}

/// Each memo that a note has is one, and each that there is belongs to a note.
fn memos_of(check: &mut Check<'_>, account: AccountId, mut there: BTreeSet<EmailId>) -> StoreResult<()> {
    check.each::<MemoRow>(account, Kind::Memo, |check, key, memo| {
        let id = NoteId(keys::last_id(key).unwrap_or_default());
        if !there.remove(&memo.email) {
            check.fault(account, format_args!("{id} has the memo {}, which is none", memo.email));
        }
        if !check.read.has(&NoteRow::key(account, id))? {
            check.fault(account, format_args!("{} is the memo of {id}, which doesn't exist", memo.email));
        }
        Ok(())
    })?;
    for email in there {
        check.fault(account, format_args!("{email} is a memo of no note"));
    }
    Ok(())
}

fn locks(check: &mut Check<'_>, account: AccountId, state: &AccountState) -> StoreResult<()> {
    check.each::<ReplyLockRow>(account, Kind::Lock, |check, key, row| {
        let id = LockId(keys::last_id(key).unwrap_or_default());
        let of: Option<LockId> = check.at(&keys::row(account, Kind::ConversationLock, row.conversation.0))?;
        if of != Some(id) || id.0 > state.next.lock {
            check.fault(account, format_args!("{id} is a lock of {}, which hasn't got it", row.conversation));
        }
        let timer = keys::due(Kind::Timer, row.expires_at, account, TimerKind::Lock as u8, id.0);
        if !check.read.has(&timer)? {
            check.fault(account, format_args!("{id} has a time, and no timer ends it"));
        }
        let conversation: Option<ConversationRow> = check.row(account, row.conversation)?;
        if conversation.is_none_or(|of| of.last_lock_token < row.token) {
            check.fault(account, format_args!("{id} has a token that {} never gave", row.conversation));
        }
        Ok(())
    })?;
    check.each::<LockId>(account, Kind::ConversationLock, |check, key, lock| {
        let id = ConversationId(keys::last_id(key).unwrap_or_default());
        if check.row::<ReplyLockRow>(account, lock)?.is_none_or(|row| row.conversation != id) {
            check.fault(
                account,
                format_args!("{id} has the lock {lock}, which is another's or doesn't exist"),
            );
        }
        Ok(())
    })
}

/// What the gate asks about and remembers.
fn gate(check: &mut Check<'_>, account: AccountId, state: &AccountState) -> StoreResult<()> {
    check.each::<ConversationEventsRow>(account, Kind::ConversationEvent, |check, key, _| {
        let id = ConversationId(keys::first_id(key).unwrap_or_default());
        let version = keys::last_version(key).unwrap_or_default();
        if !check.read.has(&ConversationRow::key(account, id))? || version > state.modseq {
            check.fault(account, format_args!("there are events of {id} at {version}, which never was"));
        }
        Ok(())
    })?;
    check.each::<RefusalRow>(account, Kind::PlainRefusal, |check, key, _| {
        let id = ConversationId(keys::first_id(key).unwrap_or_default());
        if !check.read.has(&ConversationRow::key(account, id))? {
            check.fault(account, format_args!("a refusal is remembered for {id}, which doesn't exist"));
        }
        Ok(())
    })?;
    check.each::<EarlierSubmissionRow>(account, Kind::SubmissionSeen, |check, _, row| {
        if row.submission.0 > state.next.submission {
            check.fault(account, format_args!("{} is remembered and never was", row.submission));
        }
        Ok(())
    })
}
