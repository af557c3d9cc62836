//! The store under test as a whole: durability under parallel commits, death at every write and
//! sync, ranked lists against a sorted vector, blobs and backup.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test is to fail the test")]

use super::blobs::{self, Referrer};
use super::engine::{Hook, Point};
use super::list::{self, Entry};
use super::*;
use crate::types::{Millis, UtcDate};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn options(hook: Option<Hook>) -> StoreOptions {
    StoreOptions { hook, on_fatal: |_| {}, disk_free_bytes_min: 0, ..StoreOptions::default() }
}

fn open(dir: &Path, hook: Option<Hook>) -> StoreResult<Arc<Store>> {
    Store::open(dir, options(hook), Clock::manual(Millis(0)), Random::seeded(1))
}

fn memory() -> Arc<Store> {
    Store::in_memory(options(None), Clock::manual(Millis(0)), Random::seeded(1)).unwrap()
}

const LIST: List = List::Conversations;

/// One commit: the next number goes into the account's list. Gives its ticket.
fn add_one(store: &Store, account: AccountId) -> StoreResult<(u32, Ticket)> {
    let locked = store.lock_blocking(&[account]);
    let mut txn = store.begin(&locked);
    let id = txn.allot(account, |next| &mut next.note)?;
    let place = Place { at: UtcDate(i64::from(id % 7)), id };
    list::insert(&mut txn, account, LIST, Entry { place, with: id })?;
    txn.log(account, crate::types::DataType::Note, id, Change::Created)?;
    Ok((id, txn.commit()?.ticket))
}

/// Commits on `accounts` until the store dies or `rounds` are done; gives what was acknowledged.
fn work(store: &Store, accounts: u32, rounds: u32) -> Vec<(AccountId, u32)> {
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let account = AccountId(1 + round % accounts);
        let Ok((id, ticket)) = add_one(store, account) else { break };
        if store.durable_blocking(ticket).is_err() {
            break;
        }
        acknowledged.push((account, id));
    }
    acknowledged
}

/// Everything acknowledged is there, and what is there is a prefix without gaps.
fn verify(dir: &Path, acknowledged: &[(AccountId, u32)]) {
    let store = open(dir, None).unwrap();
    let snapshot = store.snapshot();
    for account in (1..=3).map(AccountId) {
        let state: rows::account::AccountState =
            (&snapshot as &dyn Read).row(account, ()).unwrap().unwrap_or_default();
        assert_eq!(list::check(&snapshot, account, LIST).unwrap(), Vec::<String>::new());
        assert_eq!(list::total(&snapshot, account, LIST).unwrap(), state.next.note);
        let last = acknowledged.iter().filter(|(own, _)| *own == account).map(|(_, id)| *id).max();
        assert!(state.next.note >= last.unwrap_or(0), "{account} lost {last:?}, has {}", state.next.note);
    }
    assert_eq!(check::check(&store, &[], &mut |_| {}).unwrap().faults, Vec::<String>::new());
}

#[test]
fn whoever_was_told_that_a_commit_is_durable_finds_it_after_a_death_at_any_write_or_sync() {
    for point in [Point::BeforeWrite, Point::AfterWrite, Point::BeforeSync, Point::AfterSync] {
        for nth in [1, 2, 3, 4, 7] {
            let dir = tempfile::tempdir().unwrap();
            drop(open(dir.path(), None).unwrap());
            let count = AtomicUsize::new(0);
            let hook =
                Hook(Arc::new(move |at| at != point || count.fetch_add(1, Ordering::SeqCst) + 1 < nth));
            let store = open(dir.path(), Some(hook)).unwrap();
            let acknowledged = work(&store, 3, 10);
            assert!(acknowledged.len() < 10, "the store must have died at {point:?} {nth}");
            drop(store);
            verify(dir.path(), &acknowledged);
        }
    }
}

#[test]
fn a_loss_of_power_that_cuts_the_log_anywhere_behind_the_last_sync_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), None).unwrap());
    let synced: Arc<std::sync::Mutex<Vec<(PathBuf, u64)>>> = Arc::default();
    let (lengths, store_dir, syncs) = (Arc::clone(&synced), dir.path().join("store"), AtomicUsize::new(0));
    let hook = Hook(Arc::new(move |at| match at {
        // The sixth sync never happens: what was written since the fifth is at risk.
        Point::BeforeSync if syncs.fetch_add(1, Ordering::SeqCst) < 5 => {
            *lengths.lock().unwrap() = logs(&store_dir);
            true
        }
        Point::BeforeSync => false,
        _ => true,
    }));
    let store = open(dir.path(), Some(hook)).unwrap();
    let acknowledged = work(&store, 3, 10);
    assert_eq!(acknowledged.len(), 5);
    let ends = logs(&dir.path().join("store"));
    let (log, end) = ends.iter().max().unwrap().clone();
    let safe = synced.lock().unwrap().iter().find(|(path, _)| *path == log).map_or(0, |(_, length)| *length);
    assert!(safe < end);
    for cut in (safe..=end).step_by(((end - safe) as usize / 6).max(1)) {
        for behind in [&[][..], &[0; 700], &[0xa5; 700]] {
            let copy = tempfile::tempdir().unwrap();
            std::fs::create_dir(copy.path().join("store")).unwrap();
            for entry in std::fs::read_dir(dir.path().join("store")).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.path().join("store").join(entry.file_name())).unwrap();
            }
            let copied = copy.path().join("store").join(log.file_name().unwrap());
            let mut bytes = std::fs::read(&copied).unwrap();
            bytes.truncate(cut as usize);
            bytes.extend_from_slice(behind);
            std::fs::write(&copied, bytes).unwrap();
            verify(copy.path(), &acknowledged);
        }
    }
}

fn logs(dir: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| (path.clone(), path.metadata().unwrap().len())).collect()
}

#[test]
fn parallel_commits_all_become_durable_and_the_end_of_the_store_leaves_nobody_waiting() {
    let store = memory();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || assert_eq!(work(store, 3, 100 + thread).len() as u32, 100 + thread));
        }
    });
    assert_eq!(check::check(&store, &[], &mut |_| {}).unwrap().faults, Vec::<String>::new());
    store.close();
    assert!(matches!(add_one(&store, AccountId(1)), Err(StoreError::Dead)));
    assert!(store.durable_blocking(store.ticket_of(AccountId(1))).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_ranked_list_agrees_with_a_sorted_vector(
        steps in proptest::collection::vec((0u8..4, prop_oneof![Just(5i64), 0i64..40, -1_000_000_000i64..1_000_000_000], 0u32..600), 900),
    ) {
        let store = memory();
        let account = AccountId(1);
        let mut model = std::collections::BTreeSet::new();
        for batch in steps.chunks(300) {
            let before = model.clone();
            let modseq = (&store.snapshot() as &dyn Read).row::<rows::account::AccountState>(account, ()).unwrap().map_or(0, |s| s.modseq);
            let locked = store.lock_blocking(&[account]);
            let mut txn = store.begin(&locked);
            let point = txn.savepoint();
            list::insert(&mut txn, account, LIST, Entry { place: Place { at: UtcDate(77), id: 9999 }, with: 1 }).unwrap();
            txn.rollback(point);
            for (what, at, id) in batch {
                let place = Place { at: UtcDate(*at), id: *id };
                if *what == 0 {
                    let gone = model.iter().nth(*id as usize % model.len().max(1)).copied().unwrap_or(place);
                    list::remove(&mut txn, account, LIST, gone).unwrap();
                    model.remove(&gone);
                } else {
                    list::insert(&mut txn, account, LIST, Entry { place, with: *id }).unwrap();
                    model.insert(place);
                }
            }
            txn.commit().unwrap();
            let view = store.snapshot();
            prop_assert_eq!(list::check(&view, account, LIST).unwrap(), Vec::<String>::new());
            let all: Vec<Place> = model.iter().copied().collect();
            prop_assert_eq!(list::total(&view, account, LIST).unwrap() as usize, all.len());
            for (rank, place) in all.iter().enumerate().step_by(17) {
                prop_assert_eq!(list::rank(&view, account, LIST, *place).unwrap() as usize, rank);
                let page = |back| list::page(&view, account, LIST, rank as u32, 5, back).unwrap().into_iter().map(|e| e.place).collect::<Vec<_>>();
                prop_assert_eq!(page(false), all.iter().skip(rank).take(5).copied().collect::<Vec<_>>());
                prop_assert_eq!(page(true), all.iter().rev().skip(rank).take(5).copied().collect::<Vec<_>>());
            }
            let changed = list::changes(&view, account, LIST, modseq).unwrap().unwrap();
            prop_assert_eq!(changed.added, model.difference(&before).copied().collect::<Vec<_>>());
            prop_assert_eq!(changed.removed, before.difference(&model).copied().collect::<Vec<_>>());
        }
    }
}

#[test]
fn content_goes_once_nothing_has_referred_to_it_for_the_grace_and_not_while_a_transaction_holds_it() {
    let store = memory();
    let (account, grace) = (AccountId(1), Duration::from_secs(60));
    let blob = PreparedBlob::of(b"hello").unwrap();
    let locked = store.lock_blocking(&[account]);
    let mut txn = store.begin(&locked);
    txn.put_blob(&blob).unwrap();
    blobs::refer(&mut txn, account, &blob.hash, Referrer::Note, 1).unwrap();
    txn.commit().unwrap();
    store.clock.advance(grace);
    assert_eq!(blobs::collect(&store, grace).unwrap().blobs, 0, "it is referred to");
    let mut txn = store.begin(&locked);
    blobs::unrefer(&mut txn, account, &blob.hash, Referrer::Note, 1);
    txn.commit().unwrap();
    assert_eq!(blobs::collect(&store, grace).unwrap().blobs, 0, "it was released just now");
    store.clock.advance(grace);
    let mut txn = store.begin(&locked);
    blobs::refer(&mut txn, account, &blob.hash, Referrer::Note, 2).unwrap();
    assert_eq!(blobs::collect(&store, grace).unwrap().blobs, 0, "a transaction holds it");
    drop(txn);
    let mut early = store.begin(&locked);
    assert_eq!(blobs::collect(&store, grace).unwrap().blobs, 1);
    early.put_blob(&blob).unwrap();
    blobs::refer(&mut early, account, &blob.hash, Referrer::Note, 3).unwrap();
    early.commit().unwrap();
    assert_eq!(blobs::content(&store.snapshot(), &blob.hash).unwrap().as_deref(), Some(&b"hello"[..]));
}

#[test]
fn a_backup_of_a_running_store_restores_into_an_empty_folder_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"), None).unwrap();
    let acknowledged = work(&store, 3, 10);
    let (copy, back) = (dir.path().join("copy"), dir.path().join("back"));
    backup::backup(&store, &copy, &mut |_| Ok(())).unwrap();
    assert!(backup::backup(&store, &copy, &mut |_| Ok(())).is_err(), "the folder isn't empty");
    backup::restore(&copy, &back, &mut |_| Ok(())).unwrap();
    assert!(backup::restore(&copy, &back, &mut |_| Ok(())).is_err(), "the folder isn't empty");
    verify(&back, &acknowledged);
    assert_eq!(open(&back, None).unwrap().id(), store.id());
}

/// Keys of the overlay's test: few, so that steps meet.
fn overlay_key(account: AccountId, id: u8) -> keys::Key {
    keys::row(account, keys::Kind::Note, u32::from(id))
}

fn all_of(read: &dyn Read, account: AccountId, from: u8, to: u8, backwards: bool) -> Vec<(u32, Vec<u8>)> {
    let mut range = keys::all(account, keys::Kind::Note);
    range.from = overlay_key(account, from).bytes;
    range.to = overlay_key(account, to).bytes;
    let mut out = Vec::new();
    read.scan(&range, backwards, &mut |key, value| {
        out.push((keys::last_id(key).unwrap(), value.to_vec()));
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    out
}

/// One random transaction after another; every read must agree with an ordered map.
fn overlay_agrees(store: &Store, steps: &[(u8, u8, u8)]) {
    let account = AccountId(1);
    let mut base = std::collections::BTreeMap::<u32, Vec<u8>>::new();
    for txn_steps in steps.chunks(25) {
        let locked = store.lock_blocking(&[account]);
        let mut txn = store.begin(&locked);
        let mut model = base.clone();
        let mut points = Vec::new();
        for &(what, id, other) in txn_steps {
            match what {
                0..=3 => {
                    txn.put_bytes(overlay_key(account, id), vec![other]);
                    model.insert(u32::from(id), vec![other]);
                }
                4..=5 => {
                    txn.delete_bytes(overlay_key(account, id));
                    model.remove(&u32::from(id));
                }
                6 => points.push((txn.savepoint(), model.clone())),
                7 => {
                    if let Some((point, before)) = points.pop() {
                        txn.rollback(point);
                        model = before;
                    }
                }
                _ => {
                    let (from, to) = (id.min(other), id.max(other));
                    let mut truth: Vec<_> = model
                        .range(u32::from(from)..u32::from(to))
                        .map(|(id, value)| (*id, value.clone()))
                        .collect();
                    assert_eq!(all_of(&txn, account, from, to, false), truth);
                    truth.reverse();
                    assert_eq!(all_of(&txn, account, from, to, true), truth);
                    assert_eq!(
                        txn.bytes(&overlay_key(account, id)).unwrap(),
                        model.get(&u32::from(id)).cloned()
                    );
                }
            }
        }
        if txn_steps.len() % 2 == 1 {
            txn.commit().unwrap();
            base = model;
        }
        let committed: Vec<_> = base.clone().into_iter().collect();
        assert_eq!(all_of(&store.snapshot(), account, 0, u8::MAX, false), committed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_transaction_reads_its_own_writes_as_an_ordered_map_would(
        steps in proptest::collection::vec((0u8..12, 0u8..24, 0u8..24), 0..140),
    ) {
        overlay_agrees(&memory(), &steps);
    }

    #[test]
    fn changes_from_any_earlier_state_lead_to_the_present_whatever_their_maximum(
        commits in proptest::collection::vec(proptest::collection::vec((0u8..4, 1u32..12), 1..8), 1..12),
        max in 1usize..6,
    ) {
        let (store, account) = (memory(), AccountId(1));
        let data_type = crate::types::DataType::Note;
        let mut alive = std::collections::BTreeSet::new();
        let mut history = vec![(0, alive.clone())];
        for commit in &commits {
            let locked = store.lock_blocking(&[account]);
            let mut txn = store.begin(&locked);
            for (what, id) in commit {
                let change = match (what, alive.contains(id)) {
                    (_, false) => Change::Created,
                    (0, true) => Change::Destroyed,
                    (1, true) => Change::Counted,
                    (_, true) => Change::Updated,
                };
                if change == Change::Destroyed { alive.remove(id); } else { alive.insert(*id); }
                txn.log(account, data_type, *id, change).unwrap();
            }
            txn.commit().unwrap();
            history.push((changes::states(&store.snapshot(), account).unwrap().of(data_type), alive.clone()));
        }
        let view = store.snapshot();
        for (modseq, mut known) in history {
            let mut since = changes::Since::modseq(modseq);
            loop {
                let told = changes::changes(&view, account, None, data_type, since, max).unwrap().unwrap();
                prop_assert!(told.created.len() + told.updated.len() + told.destroyed.len() <= max);
                known.extend(&told.created);
                told.destroyed.iter().for_each(|id| { known.remove(id); });
                prop_assert!(told.updated.iter().all(|id| !told.created.contains(id) && !told.destroyed.contains(id)));
                since = changes::Since::parse(&told.new_state.state()).unwrap();
                if !told.has_more { break; }
            }
            prop_assert_eq!(&known, &alive);
            prop_assert_eq!(since, changes::Since::modseq(changes::states(&view, account).unwrap().of(data_type)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn the_durable_engine_reads_as_the_one_in_memory_does(
        steps in proptest::collection::vec((0u8..12, 0u8..24, 0u8..24), 100..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        overlay_agrees(&open(dir.path(), None).unwrap(), &steps);
    }
}

#[test]
fn taking_back_the_begin_of_corrections_leaves_one_modseq() {
    let (store, account) = (memory(), AccountId(1));
    let data_type = crate::types::DataType::Note;
    let locked = store.lock_blocking(&[account]);
    let mut txn = store.begin(&locked);
    txn.log(account, data_type, 1, Change::Created).unwrap();
    let point = txn.savepoint();
    txn.correct(account).unwrap();
    txn.log(account, data_type, 1, Change::Updated).unwrap();
    txn.rollback(point);
    let committed = txn.commit().unwrap();
    assert_eq!(committed.asked, committed.settled);
    assert_eq!(committed.settled[&account].of(data_type), 1);
}
