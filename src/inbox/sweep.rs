//! Sweeps what is remembered for a time only, account by account and in small commits: deliveries by
//! which a gateway's retry is known, submissions by which the same again is known, refusals that a
//! second attempt would confirm, senders who had an automatic answer; and the logs ([`sweep`]).
//!
//! Nothing depends on it: whoever reads such a row looks at its time. It only keeps them few.

use super::intake::SeenRow;
use crate::auth::View;
use crate::store::keys::Kind;
use crate::store::rows::team::{EarlierSubmissionRow, RefusalRow};
use crate::store::rows::vacation::VacationAnsweredRow;
use crate::store::sweep::{self, Retention};
use crate::store::{Read, Store, StoreResult, keys, rows};
use crate::types::limits::*;
use crate::types::{AccountId, Millis};
use std::ops::ControlFlow;
use std::time::Duration;

/// A kind of row that is kept for a time, and until when one is.
type Remembered = (Kind, fn(&[u8]) -> StoreResult<Millis>);

const REMEMBERED: &[Remembered] = &[
    (Kind::DeliverySeen, |bytes| Ok(after(rows::decode::<SeenRow>(bytes)?.at, DEDUP_SECONDS))),
    (Kind::SubmissionSeen, |bytes| {
        Ok(after(rows::decode::<EarlierSubmissionRow>(bytes)?.at, DUPLICATE_SEND_SECONDS_MAX))
    }),
    (Kind::PlainRefusal, |bytes| {
        Ok(match rows::decode::<RefusalRow>(bytes)? {
            RefusalRow::Plain(refusal) => after(refusal.at, PLAIN_YES_SECONDS_MAX),
            RefusalRow::Block(block) => after(block.at, BLOCK_REMEMBERED_SECONDS_MAX),
        })
    }),
    (Kind::VacationAnswered, |bytes| {
        Ok(after(rows::decode::<VacationAnsweredRow>(bytes)?.at, VACATION_ANSWER_SECONDS))
    }),
];

fn after(at: Millis, seconds: u64) -> Millis {
    at.after(Duration::from_secs(seconds))
}

/// What one run took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    pub remembered: u64,
    pub log_entries: u64,
}

/// Sweeps every account, the directory's logs too. Blocks.
pub fn run(store: &Store, view: &View, keep: Retention) -> StoreResult<Swept> {
    let mut swept = Swept::default();
    for account in view.accounts().map(|(id, _)| id).chain([AccountId::DIRECTORY]) {
        for remembered in REMEMBERED {
            swept.remembered += sweep_kind(store, account, remembered)?;
        }
        swept.log_entries += sweep::logs(store, account, keep)?;
    }
    Ok(swept)
}

fn sweep_kind(store: &Store, account: AccountId, (kind, until): &Remembered) -> StoreResult<u64> {
    let now = store.clock.now();
    let mut gone = 0;
    loop {
        // Found without the lock, and looked at again with it.
        let mut old = Vec::new();
        (&store.snapshot() as &dyn Read).scan(&keys::all(account, *kind), false, &mut |key, value| {
            if until(value).is_ok_and(|until| until <= now) {
                old.push(keys::last_name(key).to_vec());
            }
            if old.len() < SWEEP_ROWS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let locked = store.lock_blocking(&[account]);
        let mut txn = store.begin(&locked);
        for name in &old {
            let key = keys::named(account, *kind, name);
            let still =
                (&txn as &dyn Read).bytes(&key)?.is_some_and(|row| until(&row).is_ok_and(|at| at <= now));
            if still {
                txn.delete_at(key);
                gone += 1;
            }
        }
        txn.commit()?;
        if old.len() < SWEEP_ROWS_MAX {
            return Ok(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::support::House;

    #[test]
    fn what_is_remembered_for_a_time_goes_when_that_is_over() {
        let house = House::new();
        house.deliver(&["support@x.example", "ann@x.example"], "first", "");
        let draft = "From: support@x.example\r\nTo: carl@c.example\r\nSubject: Hi\r\nMessage-ID: <r@x.example>\r\n\r\nHi\r\n";
        house.send(house.draft(draft), None);
        let (store, view) = (&house.server.store, house.server.directory.current());
        let sweep = |seconds: u64| {
            store.clock.advance(Duration::from_secs(seconds));
            run(store, &view, Retention::default()).unwrap().remembered
        };
        assert_eq!(sweep(0), 0);
        assert_eq!(sweep(DUPLICATE_SEND_SECONDS_MAX - 1), 0);
        assert_eq!(sweep(1), 2, "the submission's Message-ID and content");
        assert_eq!(sweep(DEDUP_SECONDS - DUPLICATE_SEND_SECONDS_MAX - 1), 0);
        assert_eq!(sweep(1), 2, "a delivery in each of two accounts");
        assert_eq!(sweep(1 << 20), 0);
        let checked = crate::inbox::check::run(store, None, &view, &mut |_| {}).unwrap();
        assert_eq!(checked.report.faults, Vec::<String>::new());
    }
}
