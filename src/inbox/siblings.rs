//! Siblings: conversations in several inboxes that share an inbound Message-ID know each other, and
//! a reply in one makes the gates of the others ask.
//!
//! Each inbox is written under its own lock; who sends takes those of the siblings as well ([`beside`]), so that
//! of two replies at the same moment one comes first. Who shares a message is found once all its
//! accounts have it, whichever delivery came last. A reply leaves word for each sibling in the
//! transaction that sends it: a timer that is due at once, in the sibling's name, with what to tell.
//! So a crash loses no word, and the sibling's gate takes what is due in before it decides. Word
//! carries inbox and time and nothing else that a member of the other inbox could read.

use super::desk::{self, ConversationEmailRow, Desk, DeskError, DeskResult, TimerKind};
use super::intake;
use super::machine::{Actor, Event};
use super::sending;
use super::server::{self, Server};
use crate::auth::View;
use crate::mail::ingest::Prepared;
use crate::mail::thread;
use crate::store::rows::directory::{AccountKind, AccountRow};
use crate::store::rows::mail::{EmailRow, Origin};
use crate::store::rows::team::{
    ActivityKind, ActivityRow, ActivityValue, Cause, ConversationEvent, ConversationRow, OutboundState,
    Sibling, ToldSibling, What,
};
use crate::store::{Locked, Read, StoreResult, Ticket, keys, rows};
use crate::types::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a timer of [`TimerKind::SiblingReplied`] carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Word {
    told: ToldSibling,
    /// Who replied: their own gate needn't ask them.
    author: PrincipalId,
}

/// The inboxes whose replies the gate of an Email's conversation must not miss: their locks are taken with its own.
pub fn beside(read: &dyn Read, account: AccountId, email: EmailId) -> StoreResult<Vec<AccountId>> {
    let row: Option<EmailRow> = read.row(account, email)?;
    let found = intake::follow(read, account, row.and_then(|row| row.conversation))?;
    let siblings = found.map(|(_, row)| row.siblings).unwrap_or_default();
    Ok(siblings.into_iter().map(|sibling| sibling.account).collect())
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
    let others = |one: &Sibling| all.iter().copied().filter(|other| other != one).collect::<Vec<_>>();
    let mut is_new = false;
    for one in &all {
        let (one, others) = (*one, others(one));
        let locked = server.store.lock(&[one.account]).await;
        let (met, ticket) = server.blocking(move |server| introduce(server, &locked, one, others)).await?;
        is_new |= met;
        last = last.max(ticket);
    }
    // Whoever has it only now hears of replies that went out before: all know each other by this time, so
    // that every later one leaves word by itself.
    for one in all.iter().filter(|_| is_new) {
        let (one, others, message) = (*one, others(one), Arc::clone(prepared));
        let locked = server.store.lock(&[one.account]).await;
        let told = server.blocking(move |server| catch_up(server, &locked, one, &others, &message)).await?;
        last = last.max(told);
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
        if let Some((conversation, _)) = carrier(read, account, &prepared.summary.thread_keys.own)? {
            out.push(Sibling { account, conversation });
        }
    }
    Ok(out)
}

/// The conversation with that message, and the message.
fn carrier(
    read: &dyn Read,
    account: AccountId,
    ids: &[String],
) -> StoreResult<Option<(ConversationId, EmailId)>> {
    for id in ids.iter().take(1) {
        for email in thread::emails_with_message_id(read, account, id)? {
            let row: Option<EmailRow> = read.row(account, email)?;
            let inbound = row.filter(|row| matches!(row.origin, Origin::Inbound | Origin::Automatic));
            let of = inbound.and_then(|row| row.conversation);
            if let Some((conversation, _)) = intake::follow(read, account, of)? {
                return Ok(Some((conversation, email)));
            }
        }
    }
    Ok(None)
}

/// The newest reply that went out in a sibling since it has the shared message, and who wrote it.
fn newest_reply(
    read: &dyn Read,
    sibling: Sibling,
    ids: &[String],
) -> StoreResult<Option<(ToldSibling, PrincipalId)>> {
    let Sibling { account, conversation } = sibling;
    let Some((_, email)) = carrier(read, account, ids)? else { return Ok(None) };
    let at = keys::pair(account, keys::Kind::ConversationEmail, conversation.0, email.0);
    let since = match read.bytes(&at)? {
        Some(bytes) => rows::decode::<ConversationEmailRow>(&bytes)?.version,
        None => return Ok(None),
    };
    let events = sending::events_since(read, account, conversation, since)?;
    let newest_first = events.iter().rev().flat_map(|(_, row)| row.events.iter().rev());
    let mut sent = newest_first.filter_map(|event| match &event.what {
        What::Outbound(row) if row.reply && row.state == OutboundState::Sent => Some(row),
        _ => None,
    });
    let inbox_name = desk::settings(read, account)?.name;
    Ok(sent.next().map(|row| (ToldSibling { account, inbox_name, at: row.at }, row.author)))
}

/// Tells a conversation of replies that its siblings sent before they knew each other.
fn catch_up(
    server: &Arc<Server>,
    locked: &Locked,
    one: Sibling,
    others: &[Sibling],
    prepared: &Prepared,
) -> StoreResult<Ticket> {
    let mut words = Vec::new();
    let snapshot = server.store.snapshot();
    for other in others {
        words.extend(newest_reply(&snapshot, *other, &prepared.summary.thread_keys.own)?);
    }
    if words.is_empty() {
        return Ok(Ticket::default());
    }
    let mut txn = server.store.begin(locked);
    let staff = server::staff(&server.directory.current(), one.account);
    let mut desk = Desk::open(&mut txn, one.account, Actor::System(Cause::Mail), &staff)?;
    for (told, author) in words {
        // Where it waits as well, it is known when its timer comes.
        match pass_on(&mut desk, one.conversation, Word { told, author }) {
            Ok(()) | Err(DeskError::Refused(_)) => {}
            Err(DeskError::Store(error)) => return Err(error),
        }
    }
    Ok(txn.commit()?.ticket)
}

/// Writes down who the others are. False where that was known.
fn introduce(
    server: &Arc<Server>,
    locked: &Locked,
    one: Sibling,
    others: Vec<Sibling>,
) -> StoreResult<(bool, Ticket)> {
    let mut txn = server.store.begin(locked);
    let row: Option<ConversationRow> = (&txn as &dyn Read).row(one.account, one.conversation)?;
    if row.is_none_or(|row| others.iter().all(|other| row.siblings.contains(other))) {
        // Known already: what was told of it may still be on its way to the disk.
        return Ok((false, server.store.ticket_of(one.account)));
    }
    let staff = server::staff(&server.directory.current(), one.account);
    let mut desk = Desk::open(&mut txn, one.account, Actor::System(Cause::Mail), &staff)?;
    match desk.apply(one.conversation, &Event::SiblingsFound(others), Vec::new()) {
        // One that went into another meanwhile is found there when the next message comes.
        Ok(_) | Err(DeskError::Refused(_)) => {}
        Err(DeskError::Store(error)) => return Err(error),
    }
    Ok((true, txn.commit()?.ticket))
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
        let key = free_key(desk, sibling)?;
        desk.txn.put_at(key, &Word { told, author })?;
    }
    Ok(())
}

/// Where word for a sibling is written down: at this moment or, where word of another inbox stands there, at the
/// last one before that is free. All of them are due.
fn free_key(desk: &Desk<'_, '_>, sibling: Sibling) -> StoreResult<keys::Key> {
    let mut at = desk.now;
    loop {
        let key = timer_key(at, sibling);
        if !desk.read().has(&key)? {
            return Ok(key);
        }
        at = Millis(at.0 - 1);
    }
}

/// Takes in the word that waits for a conversation, before its gate decides.
pub(super) fn hear(desk: &mut Desk<'_, '_>, id: ConversationId) -> DeskResult<()> {
    let mut waiting = Vec::new();
    // What was split off hears what was meant for what it was a part of.
    let of = origins(desk, id)?;
    desk.read().scan(&keys::due_until(keys::Kind::Timer, desk.now), false, &mut |key, _| {
        if let Some((at, account, kind, number)) = keys::read_due(key)
            && (account, kind) == (desk.account, TimerKind::SiblingReplied as u8)
            && of.contains(&ConversationId(number))
        {
            waiting.push((at, ConversationId(number)));
        }
        ControlFlow::Continue(())
    })?;
    for (at, id) in waiting {
        take_in(desk, at, id)?;
    }
    Ok(())
}

/// A conversation, and those that it was split off from.
fn origins(desk: &Desk<'_, '_>, id: ConversationId) -> StoreResult<Vec<ConversationId>> {
    let mut all = vec![id];
    while let Some(last) = all.last().filter(|_| all.len() < limits::MERGE_HOPS_MAX) {
        let range = keys::all_of(desk.account, keys::Kind::ConversationActivity, last.0);
        let first = desk.read().ids(&range, false, 1)?.first().map(|id| ActivityId(*id));
        let first: Option<ActivityRow> = match first {
            Some(first) => desk.read().row(desk.account, first)?,
            None => None,
        };
        match first.map(|row| (row.kind, row.before)) {
            Some((ActivityKind::Created, ActivityValue::Conversation(of))) if !all.contains(&of) => {
                all.push(of)
            }
            _ => break,
        }
    }
    Ok(all)
}

/// A conversation, and those that were split off from it.
fn with_split_offs(desk: &Desk<'_, '_>, id: ConversationId) -> StoreResult<Vec<ConversationId>> {
    let (mut all, mut at) = (vec![id], 0);
    while let Some(of) = all.get(at).copied().filter(|_| all.len() < limits::MERGE_HOPS_MAX) {
        at += 1;
        let range = keys::all_of(desk.account, keys::Kind::ConversationActivity, of.0);
        let ids = desk.read().ids(&range, false, usize::MAX)?;
        for row in desk.read().rows::<ActivityRow>(desk.account, ids.into_iter().map(ActivityId))? {
            if let Some(ActivityRow { kind: ActivityKind::SplitOff, after, .. }) = row
                && let ActivityValue::Conversation(new) = after
                && !all.contains(&new)
            {
                all.push(new);
            }
        }
    }
    Ok(all)
}

/// Takes in one word and its timer; what isn't there any more was taken in before.
pub(super) fn take_in(desk: &mut Desk<'_, '_>, at: Millis, id: ConversationId) -> DeskResult<()> {
    let key = timer_key(at, Sibling { account: desk.account, conversation: id });
    let Some(bytes) = desk.read().bytes(&key)? else { return Ok(()) };
    let word: Word = rows::decode(&bytes)?;
    desk.txn.delete_at(key);
    pass_on(desk, id, word)
}

/// Tells a conversation, and what was split off from it, unless they know. The other inbox's mail does that, whoever
/// is at work here.
fn pass_on(desk: &mut Desk<'_, '_>, id: ConversationId, word: Word) -> DeskResult<()> {
    let at_work = std::mem::replace(&mut desk.actor, Actor::System(Cause::Mail));
    let passed = tell_all(desk, id, word);
    desk.actor = at_work;
    passed
}

fn tell_all(desk: &mut Desk<'_, '_>, id: ConversationId, word: Word) -> DeskResult<()> {
    let mut told = BTreeSet::new();
    for id in with_split_offs(desk, id)? {
        // One that went into another hears it there.
        let Some((id, _)) = intake::follow(desk.read(), desk.account, Some(id))? else { continue };
        let events = sending::events_since(desk.read(), desk.account, id, 0)?;
        let is_it = |event: &ConversationEvent| {
            matches!(&event.what, What::SiblingReplied(known)
                if (known.account, known.at) == (word.told.account, word.told.at))
        };
        if !told.insert(id) || events.iter().any(|(_, row)| row.events.iter().any(is_it)) {
            continue;
        }
        let event = Event::SiblingReplied { account: word.told.account };
        let what = What::SiblingReplied(word.told.clone());
        desk.apply(id, &event, vec![ConversationEvent { actor: Some(word.author), what }])?;
    }
    Ok(())
}

fn timer_key(at: Millis, sibling: Sibling) -> keys::Key {
    let kind = TimerKind::SiblingReplied as u8;
    keys::due(keys::Kind::Timer, at, sibling.account, kind, sibling.conversation.0)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::inbox::support::House;

    /// Word for a conversation that waits for its gate, or for its timer.
    pub fn leave(desk: &mut Desk<'_, '_>, id: ConversationId, from: (AccountId, &str), author: PrincipalId) {
        let told = ToldSibling { account: from.0, inbox_name: from.1.to_owned(), at: desk.now };
        let own = Sibling { account: desk.account, conversation: id };
        let key = free_key(desk, own).unwrap();
        desk.txn.put_at(key, &Word { told, author }).unwrap();
    }

    #[test]
    fn word_of_a_sibling_is_not_the_doing_of_who_hears_it() {
        let house = House::new();
        house.deliver(&["support@x.example"], "first", "");
        let (id, _) = house.conversation_of(house.email("first@c.example"));
        house.at_desk(house.bob, MemberRole::Agent, |desk| {
            leave(desk, id, (AccountId(99), "Billing"), house.ann);
            hear(desk, id)?;
            assert_eq!(desk.actor.principal(), Some(house.bob));
            Ok(())
        });
        let snapshot = house.server.store.snapshot();
        let read: &dyn Read = &snapshot;
        let range = keys::all_of(house.inbox, keys::Kind::ConversationActivity, id.0);
        let newest = read.ids(&range, true, 1).unwrap()[0];
        let row: ActivityRow = read.row(house.inbox, ActivityId(newest)).unwrap().unwrap();
        assert_eq!((row.kind, row.actor, row.cause), (ActivityKind::SiblingReplied, None, Cause::Mail));
    }

    #[test]
    fn words_of_two_siblings_in_the_same_moment_are_both_heard() {
        let house = House::new();
        house.deliver(&["support@x.example"], "first", "");
        let (id, _) = house.conversation_of(house.email("first@c.example"));
        house.at_desk(house.bob, MemberRole::Agent, |desk| {
            leave(desk, id, (AccountId(98), "Billing"), house.ann);
            leave(desk, id, (AccountId(99), "Sales"), house.ann);
            hear(desk, id)
        });
        let snapshot = house.server.store.snapshot();
        let heard = sending::events_since(&snapshot, house.inbox, id, 0).unwrap();
        let heard = heard.iter().flat_map(|(_, row)| &row.events).filter_map(|event| match &event.what {
            What::SiblingReplied(told) => Some(told.inbox_name.as_str()),
            _ => None,
        });
        assert_eq!(heard.collect::<BTreeSet<_>>(), BTreeSet::from(["Billing", "Sales"]));
        assert_eq!(house.fire_due(), 0);
    }
}
