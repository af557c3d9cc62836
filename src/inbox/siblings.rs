//! Siblings: conversations in several inboxes that share an inbound Message-ID know each other, and
//! a reply in one makes the gates of the others ask.
//!
//! Each inbox is written under its own lock only. Who shares a message is found once all its
//! accounts have it, whichever delivery came last. A reply leaves word for each sibling in the
//! transaction that sends it: a timer that is due at once, in the sibling's name, with what to tell.
//! So a crash loses no word, and the sibling's gate takes what is due in before it decides. Word
//! carries inbox and time and nothing else that a member of the other inbox could read.

use super::desk::{Desk, DeskError, DeskResult, TimerKind};
use super::intake;
use super::machine::{Actor, Event};
use super::server::{self, Server};
use crate::auth::View;
use crate::mail::ingest::Prepared;
use crate::mail::thread;
use crate::store::rows::directory::{AccountKind, AccountRow};
use crate::store::rows::mail::{EmailRow, Origin};
use crate::store::rows::team::{Cause, ConversationEvent, ConversationRow, Sibling, ToldSibling, What};
use crate::store::{Locked, Read, StoreResult, Ticket, keys, rows};
use crate::types::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a timer of [`TimerKind::SiblingReplied`] carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Word {
    told: ToldSibling,
    /// Who replied: their own gate needn't ask them.
    author: PrincipalId,
}

/// Makes the conversations that got this message known to each other. Gives the ticket to wait for.
pub async fn meet(server: &Arc<Server>, prepared: &Arc<Prepared>) -> StoreResult<Ticket> {
    let inboxes = inboxes(&server.directory.current());
    let mut last = Ticket::default();
    if inboxes.len() < 2 || prepared.summary.thread_keys.own.is_empty() {
        return Ok(last);
    }
    let message = Arc::clone(prepared);
    let all = server.blocking(move |server| sharing(&server.store.snapshot(), &inboxes, &message)).await?;
    if all.len() < 2 {
        return Ok(last);
    }
    for one in &all {
        let others: Vec<Sibling> = all.iter().copied().filter(|other| other != one).collect();
        let locked = server.store.lock(&[one.account]).await;
        let one = *one;
        last = last.max(server.blocking(move |server| introduce(server, &locked, one, others)).await?);
    }
    Ok(last)
}

fn inboxes(view: &View) -> Vec<AccountId> {
    let inbox = |(id, row): (AccountId, &AccountRow)| matches!(row.kind, AccountKind::Inbox(_)).then_some(id);
    view.accounts().filter_map(inbox).collect()
}

/// The conversations that have an inbound message with the same Message-ID, one an inbox.
fn sharing(read: &dyn Read, inboxes: &[AccountId], prepared: &Prepared) -> StoreResult<Vec<Sibling>> {
    let mut out = Vec::new();
    for &account in inboxes {
        if let Some(conversation) = carrier(read, account, &prepared.summary.thread_keys.own)? {
            out.push(Sibling { account, conversation });
        }
    }
    Ok(out)
}

fn carrier(read: &dyn Read, account: AccountId, ids: &[String]) -> StoreResult<Option<ConversationId>> {
    for id in ids.iter().take(1) {
        for email in thread::emails_with_message_id(read, account, id)? {
            let row: Option<EmailRow> = read.row(account, email)?;
            let inbound = row.filter(|row| matches!(row.origin, Origin::Inbound | Origin::Automatic));
            let of = inbound.and_then(|row| row.conversation);
            if let Some((conversation, _)) = intake::follow(read, account, of)? {
                return Ok(Some(conversation));
            }
        }
    }
    Ok(None)
}

fn introduce(
    server: &Arc<Server>,
    locked: &Locked,
    one: Sibling,
    others: Vec<Sibling>,
) -> StoreResult<Ticket> {
    let mut txn = server.store.begin(locked);
    let row: Option<ConversationRow> = (&txn as &dyn Read).row(one.account, one.conversation)?;
    if row.is_none_or(|row| others.iter().all(|other| row.siblings.contains(other))) {
        // Known already: what was told of it may still be on its way to the disk.
        return Ok(server.store.ticket_of(one.account));
    }
    let staff = server::staff(&server.directory.current(), one.account);
    let mut desk = Desk::open(&mut txn, one.account, Actor::System(Cause::Mail), &staff)?;
    match desk.apply(one.conversation, &Event::SiblingsFound(others), Vec::new()) {
        // One that went into another meanwhile is found there when the next message comes.
        Ok(_) | Err(DeskError::Refused(_)) => {}
        Err(DeskError::Store(error)) => return Err(error),
    }
    Ok(txn.commit()?.ticket)
}

/// Leaves word of a reply for the siblings of its conversation.
pub(super) fn leave_word(
    desk: &mut Desk<'_, '_>,
    id: ConversationId,
    author: PrincipalId,
) -> StoreResult<()> {
    let Some(row) = desk.conversation(id)? else { return Ok(()) };
    for sibling in row.siblings {
        let told =
            ToldSibling { account: desk.account, inbox_name: desk.settings.name.clone(), at: desk.now };
        desk.txn.put_at(timer_key(desk.now, sibling), &Word { told, author })?;
    }
    Ok(())
}

/// Takes in the word that waits for a conversation, before its gate decides.
pub(super) fn hear(desk: &mut Desk<'_, '_>, id: ConversationId) -> DeskResult<()> {
    let mut waiting = Vec::new();
    desk.read().scan(&keys::due_until(keys::Kind::Timer, desk.now), false, &mut |key, _| {
        if let Some((at, account, kind, number)) = keys::read_due(key)
            && (account, kind, number) == (desk.account, TimerKind::SiblingReplied as u8, id.0)
        {
            waiting.push(at);
        }
        ControlFlow::Continue(())
    })?;
    for at in waiting {
        take_in(desk, at, id)?;
    }
    Ok(())
}

/// Takes in one word and its timer; what isn't there any more was taken in before.
pub(super) fn take_in(desk: &mut Desk<'_, '_>, at: Millis, id: ConversationId) -> DeskResult<()> {
    let key = timer_key(at, Sibling { account: desk.account, conversation: id });
    let Some(bytes) = desk.read().bytes(&key)? else { return Ok(()) };
    let word: Word = rows::decode(&bytes)?;
    desk.txn.delete_at(key);
    // One that went into another hears it there.
    let Some((id, _)) = intake::follow(desk.read(), desk.account, Some(id))? else { return Ok(()) };
    let event = Event::SiblingReplied { account: word.told.account };
    let told = ConversationEvent { actor: Some(word.author), what: What::SiblingReplied(word.told) };
    desk.apply(id, &event, vec![told]).map(|_| ())
}

fn timer_key(at: Millis, sibling: Sibling) -> keys::Key {
    let kind = TimerKind::SiblingReplied as u8;
    keys::due(keys::Kind::Timer, at, sibling.account, kind, sibling.conversation.0)
}
