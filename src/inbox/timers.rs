//! Timers: snoozed conversations come back, reply locks end, scheduled mail goes out, siblings hear of
//! a reply, the work of who left is released, what is closed goes where a new setting has it, and notes get
//! or lose their memos. A timer is a row keyed by its time, written and removed with what it is for, so that
//! a restart loses none and fires none twice.

use super::desk::{Desk, DeskError, DeskResult, Staff, TimerKind};
use super::machine::{Actor, Event};
use super::membership;
use super::scheduling;
use super::siblings;
use crate::mail::outbound;
use crate::store::rows::team::{Cause, ReplyLockRow};
use crate::store::{Read, StoreResult, Txn, keys};
use crate::types::*;
use std::ops::ControlFlow;

/// A timer whose time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    pub at: Millis,
    pub account: AccountId,
    pub kind: u8,
    pub id: u32,
}

/// What is due up to `now`, at most `limit`.
pub fn due(read: &dyn Read, now: Millis, limit: usize) -> StoreResult<Vec<Due>> {
    let mut out = Vec::new();
    if limit == 0 {
        return Ok(out);
    }
    read.scan(&keys::due_until(keys::Kind::Timer, now), false, &mut |key, _| {
        if let Some((at, account, kind, id)) = keys::read_due(key) {
            out.push(Due { at, account, kind, id });
        }
        if out.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(out)
}

/// The accounts under whose locks a timer is fired.
pub fn accounts(read: &dyn Read, timer: Due) -> StoreResult<Vec<AccountId>> {
    let mut accounts = vec![timer.account];
    if timer.kind == TimerKind::Release as u8
        && let Some((row, _)) = outbound::load(read, timer.account, SubmissionId(timer.id))?
    {
        accounts.extend(siblings::beside(read, timer.account, row.email)?);
    }
    Ok(accounts)
}

/// Whether a timer of that kind that is due at once waits for its turn.
pub(super) fn is_waiting(read: &dyn Read, account: AccountId, kind: TimerKind) -> StoreResult<bool> {
    let mut found = false;
    read.scan(&keys::due_until(keys::Kind::Timer, Millis(0)), false, &mut |key, _| {
        found |= keys::read_due(key).is_some_and(|(_, of, sort, _)| of == account && sort == kind as u8);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// Does what a timer is for. One that was moved or removed meanwhile does nothing.
pub fn fire(txn: &mut Txn<'_>, staff: &Staff, timer: Due) -> DeskResult<()> {
    let key = keys::due(keys::Kind::Timer, timer.at, timer.account, timer.kind, timer.id);
    if !(txn as &dyn Read).has(&key)? {
        return Ok(());
    }
    if timer.kind == TimerKind::Release as u8 {
        txn.delete_at(key);
        return scheduling::release(txn, staff, timer.account, SubmissionId(timer.id));
    }
    if timer.kind == TimerKind::MemberRelease as u8 {
        return membership::go_on(txn, staff, timer.account, PrincipalId(timer.id));
    }
    let mut desk = Desk::open(txn, timer.account, Actor::System(Cause::Timer), staff)?;
    if timer.kind == TimerKind::SiblingReplied as u8 {
        return siblings::take_in(&mut desk, timer.at, ConversationId(timer.id));
    }
    desk.txn.delete_at(key);
    if timer.kind == TimerKind::Place as u8 {
        return Ok(desk.place_closed(timer.id)?);
    }
    if timer.kind == TimerKind::Memos as u8 {
        return Ok(desk.bring_memos(timer.id)?);
    }
    if timer.kind == TimerKind::Snooze as u8 {
        match desk.apply(ConversationId(timer.id), &Event::SnoozeReached, Vec::new()) {
            // A conversation that went into another one, or isn't there any more.
            Err(DeskError::Refused(_)) | Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let row: Option<ReplyLockRow> = desk.read().row(timer.account, LockId(timer.id))?;
    if let Some(row) = row
        && row.expires_at <= desk.now
    {
        desk.drop_lock(LockId(timer.id), &row)?;
    }
    Ok(())
}
