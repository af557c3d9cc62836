//! The reply lock: a lease on answering a conversation, with a fencing token.
//!
//! Invariants: at most one live lock per conversation; the token only grows per conversation (the
//! highest one is `ConversationRow::last_lock_token`, which outlives the lock); a lock whose time
//! came is dead, whether or not anything has swept it away. Each function takes the stored row,
//! live or not, and the one clock's time.

use super::machine::Actor;
use super::refusal::Refusal;
use crate::store::rows::team::{ConversationRow, ReplyLockRow};
use crate::types::limits::{LOCK_SECONDS_MAX, LOCK_SECONDS_MIN};
use crate::types::{ConversationId, MemberRole, Millis, PrincipalId};
use std::time::Duration;

/// How a lock that is replaced ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Its time came before anybody swept it away.
    Expired,
    /// Its holder got a newer one.
    Superseded,
    /// A lead took over: also an event for the state machine (`LockTakenOver`).
    TakenOver,
}

/// A new lock. The caller stores `row`, sets the conversation's `last_lock_token` to its token, and
/// lets the lock in `ended` show as destroyed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    pub row: ReplyLockRow,
    pub ended: Option<(ReplyLockRow, Ending)>,
}

/// What `ReplyLock/set create` asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    pub conversation: ConversationId,
    /// How long; null takes the inbox's `lockSeconds`. Brought within the limits.
    pub seconds: Option<u64>,
    pub force: bool,
}

/// The lock if it is live.
pub fn live(row: Option<&ReplyLockRow>, now: Millis) -> Option<&ReplyLockRow> {
    row.filter(|row| now < row.expires_at)
}

/// Grants a lock where no other principal has a live one.
pub fn acquire(
    existing: Option<&ReplyLockRow>,
    conversation: &ConversationRow,
    ask: Ask,
    lock_seconds: u64,
    actor: Actor,
    now: Millis,
) -> Result<Granted, Refusal> {
    actor.must_be_agent()?;
    let Some(holder) = actor.principal() else {
        return Err(Refusal::Forbidden("Only a person holds a reply lock."));
    };
    let ended = match existing {
        None => None,
        Some(lock) if live(existing, now).is_none() => Some((lock.clone(), Ending::Expired)),
        Some(lock) if lock.holder == holder => Some((lock.clone(), Ending::Superseded)),
        Some(lock) if !ask.force => return Err(held(lock)),
        Some(_) if !actor.is_at_least(MemberRole::Lead) => {
            return Err(Refusal::Forbidden("Taking over a reply lock needs a lead."));
        }
        Some(lock) => Some((lock.clone(), Ending::TakenOver)),
    };
    let last = conversation.last_lock_token;
    let highest = existing.map_or(last, |lock| lock.token.max(last));
    let row = ReplyLockRow {
        conversation: ask.conversation,
        holder,
        token: highest.saturating_add(1),
        created_at: now,
        expires_at: expiry(ask.seconds.unwrap_or(lock_seconds), now),
        taken_at: conversation.version,
    };
    Ok(Granted { row, ended })
}

/// Renews a lock; the token stays.
pub fn renew(
    existing: Option<&ReplyLockRow>,
    token: u64,
    seconds: u64,
    by: PrincipalId,
    now: Millis,
) -> Result<ReplyLockRow, Refusal> {
    let lock = owned(existing, token, by, now)?;
    Ok(ReplyLockRow { expires_at: expiry(seconds, now), ..lock.clone() })
}

/// Gives a lock back. A release that loses against expiry is `lockLost`.
pub fn release(
    existing: Option<&ReplyLockRow>,
    token: u64,
    by: PrincipalId,
    now: Millis,
) -> Result<(), Refusal> {
    owned(existing, token, by, now).map(|_| ())
}

/// The live lock, if it is the one with that token and that holder.
pub fn owned(
    existing: Option<&ReplyLockRow>,
    token: u64,
    by: PrincipalId,
    now: Millis,
) -> Result<&ReplyLockRow, Refusal> {
    match live(existing, now) {
        Some(lock) if lock.token == token && lock.holder == by => Ok(lock),
        Some(lock) if lock.token == token => Err(Refusal::Forbidden("Only its holder has that lock.")),
        Some(lock) => Err(Refusal::LockLost { holder: Some(lock.holder), expires_at: Some(lock.expires_at) }),
        None => Err(Refusal::LockLost { holder: None, expires_at: None }),
    }
}

/// `lockHeld` with holder and expiry.
pub fn held(lock: &ReplyLockRow) -> Refusal {
    Refusal::LockHeld { holder: lock.holder, expires_at: lock.expires_at }
}

fn expiry(seconds: u64, now: Millis) -> Millis {
    now.after(Duration::from_secs(seconds.clamp(LOCK_SECONDS_MIN, LOCK_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::messages::empty;
    use proptest::prelude::*;

    const ANN: PrincipalId = PrincipalId(1);
    const BOB: PrincipalId = PrincipalId(2);
    const ASK: Ask = Ask { conversation: ConversationId(7), seconds: None, force: false };

    fn conversation(last_lock_token: u64) -> ConversationRow {
        ConversationRow { version: 30, last_lock_token, ..empty(Millis(0), String::new(), None) }
    }

    fn agent(principal: PrincipalId) -> Actor {
        Actor::Member { principal, role: MemberRole::Agent }
    }

    fn lead(principal: PrincipalId) -> Actor {
        Actor::Member { principal, role: MemberRole::Lead }
    }

    fn row(holder: PrincipalId, token: u64, at: i64, until: i64) -> ReplyLockRow {
        let (created_at, expires_at) = (Millis(at), Millis(until));
        ReplyLockRow { conversation: ConversationId(7), holder, token, created_at, expires_at, taken_at: 30 }
    }

    #[test]
    fn a_lock_is_granted_where_nobody_else_has_a_live_one() {
        let granted = acquire(None, &conversation(4), ASK, 120, agent(ANN), Millis(1000));
        assert_eq!(granted, Ok(Granted { row: row(ANN, 5, 1000, 121_000), ended: None }));

        let anns = row(ANN, 5, 1000, 121_000);
        let expires_at = Millis(121_000);
        let last_moment = acquire(Some(&anns), &conversation(5), ASK, 120, agent(BOB), Millis(120_999));
        assert_eq!(last_moment, Err(Refusal::LockHeld { holder: ANN, expires_at }));
        let on_time = acquire(Some(&anns), &conversation(5), ASK, 120, agent(BOB), expires_at);
        let ended = Some((anns.clone(), Ending::Expired));
        assert_eq!(on_time, Ok(Granted { row: row(BOB, 6, 121_000, 241_000), ended }));
    }

    #[test]
    fn creating_again_as_the_holder_supersedes_and_the_old_token_is_lost() {
        let first = row(ANN, 5, 1000, 121_000);
        let granted = acquire(Some(&first), &conversation(5), ASK, 120, agent(ANN), Millis(2000)).unwrap();
        assert_eq!(
            granted,
            Granted { row: row(ANN, 6, 2000, 122_000), ended: Some((first, Ending::Superseded)) }
        );
        let lost = Refusal::LockLost { holder: Some(ANN), expires_at: Some(Millis(122_000)) };
        assert_eq!(release(Some(&granted.row), 5, ANN, Millis(3000)), Err(lost.clone()));
        assert_eq!(renew(Some(&granted.row), 5, 60, ANN, Millis(3000)), Err(lost));
        assert_eq!(release(Some(&granted.row), 6, ANN, Millis(3000)), Ok(()));
    }

    #[test]
    fn only_a_lead_takes_over_and_only_with_force() {
        let anns = row(ANN, 5, 1000, 121_000);
        let force = Ask { force: true, ..ASK };
        let held = Err(Refusal::LockHeld { holder: ANN, expires_at: Millis(121_000) });
        assert_eq!(acquire(Some(&anns), &conversation(5), ASK, 120, lead(BOB), Millis(2000)), held);
        assert!(matches!(
            acquire(Some(&anns), &conversation(5), force, 120, agent(BOB), Millis(2000)),
            Err(Refusal::Forbidden(_))
        ));
        let granted = acquire(Some(&anns), &conversation(5), force, 120, lead(BOB), Millis(2000)).unwrap();
        assert_eq!(granted.ended, Some((anns, Ending::TakenOver)));
        assert_eq!(granted.row.token, 6);
    }

    #[test]
    fn a_renewal_keeps_the_token_and_comes_too_late_at_the_expiry() {
        let lock = row(ANN, 5, 1000, 121_000);
        assert_eq!(renew(Some(&lock), 5, 60, ANN, Millis(100_000)), Ok(row(ANN, 5, 1000, 160_000)));
        let lost = Err(Refusal::LockLost { holder: None, expires_at: None });
        assert_eq!(renew(Some(&lock), 5, 60, ANN, Millis(121_000)), lost);
        assert_eq!(release(Some(&lock), 5, ANN, Millis(121_000)), lost.map(|_| ()));
        assert!(matches!(release(Some(&lock), 5, BOB, Millis(2000)), Err(Refusal::Forbidden(_))));
    }

    #[test]
    fn the_time_of_a_lock_is_brought_within_the_limits_and_observers_get_none() {
        for (asked, given) in [(0, 15), (15, 15), (600, 600), (u64::MAX, 600)] {
            let ask = Ask { seconds: Some(asked), ..ASK };
            let granted = acquire(None, &conversation(0), ask, 120, agent(ANN), Millis(0)).unwrap();
            assert_eq!(granted.row.expires_at, Millis(given * 1000));
        }
        let observer = Actor::Member { principal: ANN, role: MemberRole::Observer };
        assert!(matches!(
            acquire(None, &conversation(0), ASK, 120, observer, Millis(0)),
            Err(Refusal::Forbidden(_))
        ));
    }

    proptest! {
        #[test]
        fn tokens_only_grow_and_two_are_never_live(steps in prop::collection::vec((0..4u8, 1..4u32, 0..200_000i64), 1..60)) {
            let (mut stored, mut last, mut now) = (None::<ReplyLockRow>, 0, Millis(0));
            for (step, who, wait) in steps {
                now = Millis(now.0 + wait);
                let who = PrincipalId(who);
                let other = live(stored.as_ref(), now).filter(|lock| lock.holder != who).cloned();
                match step {
                    0 | 1 => {
                        let ask = Ask { force: step == 1, ..ASK };
                        match acquire(stored.as_ref(), &conversation(last), ask, 120, lead(who), now) {
                            Ok(granted) => {
                                prop_assert!(granted.row.token > last);
                                prop_assert!(other.is_none() || ask.force);
                                last = granted.row.token;
                                stored = Some(granted.row);
                            }
                            Err(_) => prop_assert!(other.is_some()),
                        }
                    }
                    2 => if let Ok(row) = renew(stored.as_ref(), last, 30, who, now) {
                        prop_assert!(other.is_none() && row.token == last && row.expires_at > now);
                        stored = Some(row);
                    },
                    _ => if release(stored.as_ref(), last, who, now).is_ok() {
                        prop_assert!(other.is_none());
                        stored = None;
                    },
                }
            }
        }
    }
}
