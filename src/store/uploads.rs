//! Uploads (RFC 8620 §6): whose they are, how much there may be, and that they end.
//!
//! Each person has in each account an allowance of uploads of their own, beside the account's quota.
//! Who goes over it loses their oldest. An upload's reference opens the blob to its uploader alone; what
//! uses the blob then (an Email, a note) has a reference that opens it to whoever sees the account.
//!
//! Invariant: each row has its reference, and each such reference its row.

use super::blobs::{self, Referrer};
use super::error::StoreResult;
use super::keys::{self, Key, Kind};
use super::read::Read;
use super::rows::Row;
use super::txn::Txn;
use crate::types::limits::{UPLOADS_OF_ONE_BYTES_MAX, UPLOADS_OF_ONE_MAX};
use crate::types::{AccountId, BlobHash, DataType, PrincipalId};
use serde::{Deserialize, Serialize};

/// One upload. Its number grows with each one of the account's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UploadRow {
    pub blob: BlobHash,
    /// Octets.
    pub size: u32,
}

impl Row for UploadRow {
    type Id = (PrincipalId, u32);
    const LOGGED: Option<(DataType, fn(Self::Id) -> u32)> = None;
    fn key(account: AccountId, (uploader, number): Self::Id) -> Key {
        keys::pair(account, Kind::Upload, uploader.0, number)
    }
}

/// Writes down that somebody has uploaded a blob, which must be stored already or by this transaction.
/// The same content again begins its time anew. What is over the uploader's allowance goes, oldest first.
pub fn add(
    txn: &mut Txn<'_>,
    account: AccountId,
    uploader: PrincipalId,
    hash: &BlobHash,
    size: u32,
) -> StoreResult<()> {
    let mut others = of(txn, account, uploader)?;
    if let Some(at) = others.iter().position(|(_, row)| row.blob == *hash) {
        let (number, _) = others.remove(at);
        txn.delete_at(UploadRow::key(account, (uploader, number)));
    }
    let mut octets: u64 = others.iter().map(|(_, row)| u64::from(row.size)).sum();
    let mut count = others.len();
    for (number, row) in others {
        if count < UPLOADS_OF_ONE_MAX && octets + u64::from(size) <= UPLOADS_OF_ONE_BYTES_MAX {
            break;
        }
        forget(txn, account, uploader, (number, &row));
        count -= 1;
        octets -= u64::from(row.size);
    }
    let number = txn.allot(account, |next| &mut next.upload)?;
    txn.put_at(UploadRow::key(account, (uploader, number)), &UploadRow { blob: *hash, size })?;
    blobs::refer(txn, account, hash, Referrer::Upload, uploader.0)
}

/// Ends an upload: its uploader sees the blob no more, unless something uses it.
pub(super) fn end(
    txn: &mut Txn<'_>,
    account: AccountId,
    uploader: PrincipalId,
    hash: &BlobHash,
) -> StoreResult<()> {
    for (number, row) in of(txn, account, uploader)?.iter().filter(|(_, row)| row.blob == *hash) {
        forget(txn, account, uploader, (*number, row));
    }
    Ok(())
}

/// Ends every upload of a blob, whoever's it is.
pub fn end_all(txn: &mut Txn<'_>, account: AccountId, hash: &BlobHash) -> StoreResult<()> {
    for uploader in blobs::referrers(txn, account, hash, Referrer::Upload)? {
        end(txn, account, PrincipalId(uploader), hash)?;
    }
    Ok(())
}

/// Whether a reference by [`Referrer::Upload`] has its row.
pub(super) fn is_known(
    read: &dyn Read,
    account: AccountId,
    uploader: PrincipalId,
    hash: &BlobHash,
) -> StoreResult<bool> {
    Ok(of(read, account, uploader)?.iter().any(|(_, row)| row.blob == *hash))
}

fn forget(txn: &mut Txn<'_>, account: AccountId, uploader: PrincipalId, (number, row): (u32, &UploadRow)) {
    txn.delete_at(UploadRow::key(account, (uploader, number)));
    blobs::unrefer(txn, account, &row.blob, Referrer::Upload, uploader.0);
}

/// Somebody's uploads, oldest first, each with its number.
fn of(read: &dyn Read, account: AccountId, uploader: PrincipalId) -> StoreResult<Vec<(u32, UploadRow)>> {
    read.collect_rows(&keys::all_of(account, Kind::Upload, uploader.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blobs::{collect, is_visible};
    use crate::store::{PreparedBlob, Store, StoreOptions};
    use crate::types::{Clock, Millis, Random};
    use std::sync::Arc;
    use std::time::Duration;

    const ACCOUNT: AccountId = AccountId(1);
    const ANN: PrincipalId = PrincipalId(2);
    const BOB: PrincipalId = PrincipalId(3);
    const GRACE: Duration = Duration::from_secs(3600);

    struct World(Arc<Store>);

    impl World {
        fn new() -> Self {
            let clock = Clock::manual(Millis(1_000_000));
            Self(Store::in_memory(StoreOptions::default(), clock, Random::seeded(1)).unwrap())
        }

        /// Uploads content that is said to have this size.
        fn upload(&self, uploader: PrincipalId, content: &str, size: u32) -> BlobHash {
            let blob = PreparedBlob::of(content.as_bytes()).unwrap();
            let locked = self.0.lock_blocking(&[ACCOUNT]);
            let mut txn = self.0.begin(&locked);
            txn.put_blob(&blob).unwrap();
            add(&mut txn, ACCOUNT, uploader, &blob.hash, size).unwrap();
            txn.commit().unwrap();
            blob.hash
        }

        fn sees(&self, viewer: PrincipalId, hash: &BlobHash) -> bool {
            is_visible(&self.0.snapshot(), ACCOUNT, Some(viewer), hash).unwrap()
        }
    }

    #[test]
    fn who_goes_over_the_allowance_loses_their_oldest_and_nobody_elses() {
        let world = World::new();
        let others = world.upload(BOB, "bob's", 1);
        let half = u32::try_from(UPLOADS_OF_ONE_BYTES_MAX / 2).unwrap();
        let (one, two) = (world.upload(ANN, "one", half), world.upload(ANN, "two", half));
        assert!(world.sees(ANN, &one) && world.sees(ANN, &two));
        // What comes again is the newest.
        world.upload(ANN, "one", half);
        let three = world.upload(ANN, "three", 1);
        assert_eq!([one, two, three].map(|hash| world.sees(ANN, &hash)), [true, false, true]);
        assert!(world.sees(BOB, &others) && !world.sees(ANN, &others) && !world.sees(BOB, &one));
        for number in 0..UPLOADS_OF_ONE_MAX {
            world.upload(ANN, &number.to_string(), 1);
        }
        let left = of(&world.0.snapshot(), ACCOUNT, ANN).unwrap();
        assert_eq!((left.len(), world.sees(ANN, &one)), (UPLOADS_OF_ONE_MAX, false));
        assert!(world.sees(BOB, &others));
    }

    #[test]
    fn an_upload_ends_after_its_time_and_an_upload_again_begins_it_anew() {
        let world = World::new();
        let hash = world.upload(ANN, "content", 7);
        world.0.clock.advance(GRACE / 2);
        world.upload(ANN, "content", 7);
        world.0.clock.advance(GRACE / 2);
        assert_eq!(collect(&world.0, GRACE).unwrap().uploads, 0, "an hour since the last time");
        assert!(world.sees(ANN, &hash));
        world.0.clock.advance(GRACE / 2);
        assert_eq!(collect(&world.0, GRACE).unwrap().uploads, 1);
        assert!(!world.sees(ANN, &hash) && of(&world.0.snapshot(), ACCOUNT, ANN).unwrap().is_empty());
        world.0.clock.advance(GRACE);
        assert_eq!(collect(&world.0, GRACE).unwrap().blobs, 1);
    }
}
