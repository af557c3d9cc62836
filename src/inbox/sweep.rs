//! Sweeps what is remembered for a time only, account by account and in small commits: deliveries by
//! which a gateway's retry is known, submissions by which the same again is known, refusals that a
//! second attempt would confirm, senders who had an automatic answer, what notes said before edits where
//! the inbox doesn't keep it for ever; and the logs ([`sweep`]).
//!
//! Nothing depends on it: whoever reads such a row looks at its time. It only keeps them few.

use super::intake::SeenRow;
use super::{desk, notes};
use crate::auth::View;
use crate::mail::outbound;
use crate::store::keys::Kind;
use crate::store::rows::submission::ReturnPathRow;
use crate::store::rows::team::{EarlierSubmissionRow, RefusalRow};
use crate::store::rows::vacation::VacationAnsweredRow;
use crate::store::sweep::{self, Retention};
use crate::store::{Read, Store, StoreResult, keys, rows};
use crate::types::limits::*;
use crate::types::{AccountId, Millis, SubmissionId};
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
            RefusalRow::Block(block) | RefusalRow::Both(_, block) => {
                after(block.at, BLOCK_REMEMBERED_SECONDS_MAX)
            }
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
    /// What notes said before edits, after the inbox's `retention`.
    pub note_versions: u64,
    pub log_entries: u64,
}

/// Sweeps every account, the directory's logs too. Blocks.
pub fn run(store: &Store, view: &View, keep: Retention) -> StoreResult<Swept> {
    let mut swept = Swept::default();
    for account in view.accounts().map(|(id, _)| id).chain([AccountId::DIRECTORY]) {
        for remembered in REMEMBERED {
            swept.remembered += sweep_kind(store, account, remembered)?;
        }
        swept.note_versions += sweep_notes(store, account)?;
        swept.remembered += sweep_destroyed(store, account)?;
        swept.log_entries += sweep::logs(store, account, keep)?;
    }
    Ok(swept)
}

/// Destroyed submissions are known as long as the same again isn't sent; then only where a bounce belongs.
fn sweep_destroyed(store: &Store, account: AccountId) -> StoreResult<u64> {
    let now = store.clock.now();
    let mut old: Vec<SubmissionId> = Vec::new();
    (&store.snapshot() as &dyn Read).scan(
        &keys::all(account, Kind::ReturnPath),
        false,
        &mut |key, value| {
            let known = rows::decode::<ReturnPathRow>(value).ok().and_then(|row| row.submission);
            if known.is_some_and(|row| after(row.created_at, DUPLICATE_SEND_SECONDS_MAX) <= now) {
                old.extend(keys::last_id(key).map(SubmissionId));
            }
            ControlFlow::Continue(())
        },
    )?;
    for some in old.chunks(SWEEP_ROWS_MAX) {
        let locked = store.lock_blocking(&[account]);
        let mut txn = store.begin(&locked);
        some.iter().try_for_each(|id| outbound::forget_destroyed(&mut txn, account, *id))?;
        txn.commit()?;
    }
    Ok(old.len() as u64)
}

fn sweep_notes(store: &Store, account: AccountId) -> StoreResult<u64> {
    let Some(days) = desk::settings(&store.snapshot(), account)?.retention_days else { return Ok(0) };
    let keep = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let (mut gone, mut after) = (0, Some(0));
    while let Some(at) = after {
        let locked = store.lock_blocking(&[account]);
        let mut txn = store.begin(&locked);
        let (went, last) = notes::forget_earlier(&mut txn, account, keep, at, NOTES_SWEPT_AT_ONCE_MAX)?;
        txn.commit()?;
        gone += went;
        after = last;
    }
    Ok(gone)
}

/// Notes with earlier versions that are looked at under one lock.
const NOTES_SWEPT_AT_ONCE_MAX: usize = 50;

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
    use crate::inbox::notes::Text;
    use crate::inbox::support::House;
    use crate::store::blobs::{self, Referrer};
    use crate::store::rows::team::{InboxSettingsRow, NoteAttachment, NoteRow};
    use crate::store::{PreparedBlob, uploads};
    use crate::types::{BlobId, ConversationId, MemberRole};

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

    #[test]
    fn what_a_note_said_before_an_edit_goes_after_the_retention_with_its_files() {
        let house = House::new();
        house.deliver(&["support@x.example"], "first", "");
        let (store, view) = (&house.server.store, house.server.directory.current());
        let file = PreparedBlob::of(b"a file").unwrap();
        let blob = BlobId::content(file.hash);
        let attachments = vec![NoteAttachment { blob, name: None, media_type: "text/plain".into() }];
        let text =
            |body: &str| Text { body: body.to_owned(), mentions: vec![house.ann], attachments: vec![] };
        let bob = MemberRole::Agent;
        let id = house.at_desk(house.bob, bob, |desk| {
            desk.txn.put_blob(&file)?;
            uploads::add(desk.txn, desk.account, house.bob, &file.hash, file.size)?;
            Ok(desk.create_note(ConversationId(1), None, Text { attachments, ..text("one") })?.0)
        });
        let day = Duration::from_secs(24 * 60 * 60);
        for body in ["two", "three"] {
            store.clock.advance(day);
            house.at_desk(house.bob, bob, |desk| desk.update_note(id, text(body)));
        }
        let said = || {
            let row: NoteRow = (&store.snapshot() as &dyn Read).row(house.inbox, id).unwrap().unwrap();
            row.earlier.iter().map(|version| version.body.clone()).collect::<Vec<_>>()
        };
        let sweep = || {
            let swept = run(store, &view, Retention::default()).unwrap().note_versions;
            let checked = crate::inbox::check::run(store, None, &view, &mut |_| {}).unwrap();
            assert_eq!(checked.report.faults, Vec::<String>::new());
            swept
        };
        let is_kept = || {
            !blobs::referrers(&store.snapshot(), house.inbox, &file.hash, Referrer::Note).unwrap().is_empty()
        };
        store.clock.advance(day * 40);
        assert_eq!((sweep(), said()), (0, vec!["one".to_owned(), "two".to_owned()]), "for ever by default");
        house.at_desk(house.ann, MemberRole::Admin, |desk| {
            let settings = InboxSettingsRow { retention_days: Some(41), ..desk.settings.clone() };
            desk.set_settings(settings, "retention")
        });
        assert!(is_kept());
        assert_eq!((sweep(), said()), (1, vec!["two".to_owned()]), "an edit 41 days ago ended it");
        assert!(!is_kept());
        store.clock.advance(day);
        assert_eq!((sweep(), said(), sweep()), (1, vec![], 0));
        let mentions = notes::that_mention(&store.snapshot(), house.inbox, house.ann, 9).unwrap();
        assert_eq!(mentions, [id], "what it says now stays");
    }
}
