//! Content-addressed blobs: hashed and compressed before any lock, stored once for all accounts,
//! kept alive by references.
//!
//! Whoever may read a blob has a reference to it in their account; the hash alone opens nothing.

use super::error::{StoreError, StoreResult};
use super::keys;
use super::read::Read;
use super::rows;
use super::txn::Txn;
use crate::types::{AccountId, BlobHash, Millis};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Why an account has a blob. The number is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Referrer {
    /// The content of an Email.
    Email = 1,
    /// An upload that nothing uses yet; the id is a running number.
    Upload = 2,
    /// An attachment of a note.
    Note = 3,
}

/// What is known of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Octets, uncompressed.
    pub size: u32,
    /// When it was stored first.
    pub stored_at: Millis,
}

/// Content that is ready to be stored.
#[derive(Clone, Debug)]
pub struct PreparedBlob {
    pub hash: BlobHash,
    pub size: u32,
    stored: Vec<u8>,
}

const RAW: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 3;

impl PreparedBlob {
    /// Hashes and compresses; do this before taking a lock.
    pub fn of(content: &[u8]) -> StoreResult<Self> {
        let size = u32::try_from(content.len())
            .map_err(|_| StoreError::Engine("content of 4 GiB or more can't be stored".to_owned()))?;
        let mut stored = match zstd::bulk::compress(content, ZSTD_LEVEL) {
            Ok(small) if small.len() < content.len() => {
                let mut stored = Vec::with_capacity(small.len() + 1);
                stored.push(ZSTD);
                stored.extend_from_slice(&small);
                stored
            }
            _ => Vec::new(),
        };
        if stored.is_empty() {
            stored.reserve_exact(content.len() + 1);
            stored.push(RAW);
            stored.extend_from_slice(content);
        }
        Ok(Self { hash: BlobHash::of(content), size, stored })
    }
}

pub(super) fn put(txn: &mut Txn<'_>, blob: &PreparedBlob) -> StoreResult<()> {
    if info(txn, &blob.hash)?.is_some() {
        return Ok(());
    }
    let stored_at = txn.store().clock.now();
    txn.put_bytes(keys::blob(&blob.hash), blob.stored.clone());
    txn.put_bytes(keys::blob_info(&blob.hash), rows::encode(&BlobInfo { size: blob.size, stored_at })?);
    Ok(())
}

/// What is known of a blob, whoever may see it.
pub fn info(read: &dyn Read, hash: &BlobHash) -> StoreResult<Option<BlobInfo>> {
    read.bytes(&keys::blob_info(hash))?.map(|bytes| rows::decode(&bytes)).transpose()
}

/// The content of a blob, whoever may see it: ask [`is_visible`] first.
pub fn content(read: &dyn Read, hash: &BlobHash) -> StoreResult<Option<Vec<u8>>> {
    let Some(stored) = read.bytes(&keys::blob(hash))? else { return Ok(None) };
    let Some(info) = info(read, hash)? else { return Ok(None) };
    match stored.split_first() {
        Some((&RAW, raw)) => Ok(Some(raw.to_vec())),
        Some((&ZSTD, small)) => zstd::bulk::decompress(small, info.size as usize)
            .map(Some)
            .map_err(|error| StoreError::Corrupt(format!("blob {hash:?}: {error}"))),
        _ => Err(StoreError::Corrupt(format!("blob {hash:?} has no known format"))),
    }
}

/// Whether the account has a reference to the blob.
pub fn is_visible(read: &dyn Read, account: AccountId, hash: &BlobHash) -> StoreResult<bool> {
    let mut visible = false;
    read.scan(&keys::blob_references_of(hash, account), false, &mut |_, _| {
        visible = true;
        ControlFlow::Break(())
    })?;
    Ok(visible)
}

/// Gives the account a reference to a blob.
pub fn refer(
    txn: &mut Txn<'_>,
    account: AccountId,
    hash: &BlobHash,
    why: Referrer,
    id: u32,
) -> StoreResult<()> {
    txn.put_bytes(
        keys::blob_reference(hash, account, why as u8, id),
        rows::encode(&txn.store().clock.now())?,
    );
    Ok(())
}

/// Takes a reference away. The content goes once nothing has referred to it for a while.
pub fn unrefer(txn: &mut Txn<'_>, account: AccountId, hash: &BlobHash, why: Referrer, id: u32) {
    txn.delete_bytes(keys::blob_reference(hash, account, why as u8, id));
}
