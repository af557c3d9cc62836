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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::change::Change;
    use crate::inbox::machine::Expect;
    use crate::inbox::support::{House, START};
    use crate::store::rows::team::{ConversationRow, Status};
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A conversation that Bob snoozed for an hour.
    fn snoozed() -> House {
        let house = House::new();
        house.deliver(&["support@x.example"], "one", "");
        let (id, _) = house.conversation_of(house.email("one@c.example"));
        let until = Some(Some(START.after(HOUR)));
        let change = Change { status: Some(Status::Snoozed), snoozed_until: until, ..Change::default() };
        let event = Event::Set { change, expect: Expect::default() };
        house.at_desk(house.bob, MemberRole::Agent, |desk| desk.apply(id, &event, Vec::new()));
        house
    }

    fn seen(house: &House) -> (Status, Option<Millis>, bool) {
        let email = house.email("one@c.example");
        let (_, row): (_, ConversationRow) = house.conversation_of(email);
        let is_new = house.email_row(email).keywords.iter().any(|keyword| keyword.as_str() == Keyword::NEW);
        (row.status, row.snoozed_until, is_new)
    }

    #[test]
    fn a_snooze_ends_once_at_its_time_however_the_clock_is_stepped() {
        let house = snoozed();
        let clock = &house.server.store.clock;
        let waits = (Status::Snoozed, Some(START.after(HOUR)), false);
        let step = |to: Millis| {
            clock.set(to);
            house.fire_due()
        };
        // Back by a day, to the moment before, back again.
        for to in [Millis(START.0 - 86_400_000), Millis(START.after(HOUR).0 - 1), START] {
            assert_eq!((step(to), seen(&house)), (0, waits));
        }
        // A leap over its time ends it, by however much.
        assert_eq!(step(START.after(1000 * HOUR)), 1);
        assert_eq!(seen(&house), (Status::Open, None, true));
        // Back before its time it isn't snoozed again, and there again it doesn't end a second time.
        for to in [START, START.after(HOUR), START.after(2000 * HOUR)] {
            assert_eq!(step(to), 0);
            assert_eq!(seen(&house), (Status::Open, None, true));
        }
    }

    #[test]
    fn a_timer_that_was_read_and_then_moved_does_nothing() {
        let house = snoozed();
        let clock = &house.server.store.clock;
        clock.set(START.after(HOUR));
        let due = due(&house.server.store.snapshot(), clock.now(), 10).unwrap();
        assert_eq!(due.len(), 1);
        // Bob snoozes it for longer in between.
        let (id, _) = house.conversation_of(house.email("one@c.example"));
        let later = START.after(2 * HOUR);
        let change = Change { snoozed_until: Some(Some(later)), ..Change::default() };
        let event = Event::Set { change, expect: Expect::default() };
        house.at_desk(house.bob, MemberRole::Agent, |desk| desk.apply(id, &event, Vec::new()));
        let staff = crate::inbox::server::staff(&house.server.directory.current(), house.inbox);
        house.write(house.inbox, |txn| fire(txn, &staff, due[0]).unwrap());
        assert_eq!(seen(&house), (Status::Snoozed, Some(later), false));
        clock.set(later);
        assert_eq!((house.fire_due(), seen(&house)), (1, (Status::Open, None, true)));
    }
}
