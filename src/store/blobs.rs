//! Content-addressed blobs: hashed and compressed before any lock, stored once for all accounts,
//! kept alive by references.
//!
//! Whoever may read a blob has a reference to it in their account; the hash alone opens nothing.
//!
//! [`collect`] takes away what nothing refers to. A transaction that stores or refers to a blob
//! holds its hash in [`InUse`] until it has ended, and asks whether the content is there *after*
//! that, of a fresh view; the collector looks and deletes under the same mutex. So either the
//! collector sees the hash held, or the transaction sees the content gone and stores it again.

use super::Store;
use super::error::{StoreError, StoreResult};
use super::keys;
use super::read::Read;
use super::rows;
use super::txn::Txn;
use super::uploads;
use crate::types::{AccountId, BlobHash, Millis, PrincipalId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Why an account has a blob. The number is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Referrer {
    /// The content of an Email.
    Email = 1,
    /// An upload; the id is its uploader's, to whom alone it opens the blob ([`super::uploads`]).
    Upload = 2,
    /// An attachment of a note.
    Note = 3,
    /// A submission that isn't done.
    Submission = 4,
}

impl Referrer {
    const ALL: [Referrer; 4] = [Referrer::Email, Referrer::Upload, Referrer::Note, Referrer::Submission];

    /// The reason that a stored number means.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|why| *why as u8 == code)
    }
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

    /// What it was made of.
    pub fn content(&self) -> StoreResult<Vec<u8>> {
        unpack(&self.stored, self.size).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}

pub(super) fn put(txn: &mut Txn<'_>, blob: &PreparedBlob) -> StoreResult<()> {
    if is_stored(txn, &blob.hash)? {
        return Ok(());
    }
    let stored_at = txn.store().clock.now();
    txn.put_bytes(keys::blob(&blob.hash), blob.stored.clone());
    txn.put_bytes(keys::blob_info(&blob.hash), rows::encode(&BlobInfo { size: blob.size, stored_at })?);
    Ok(())
}

/// Keeps the collector off the blob, and says whether its content is there.
fn is_stored(txn: &mut Txn<'_>, hash: &BlobHash) -> StoreResult<bool> {
    txn.hold_blob(*hash);
    // The transaction's own snapshot may be older than a collection.
    Ok(txn.has_written(&keys::blob_info(hash)) || info(&txn.store().snapshot(), hash)?.is_some())
}

/// What is known of a blob, whoever may see it.
pub fn info(read: &dyn Read, hash: &BlobHash) -> StoreResult<Option<BlobInfo>> {
    read.bytes(&keys::blob_info(hash))?.map(|bytes| rows::decode(&bytes)).transpose()
}

/// The content of a blob, whoever may see it: ask [`is_visible`] first.
pub fn content(read: &dyn Read, hash: &BlobHash) -> StoreResult<Option<Vec<u8>>> {
    let Some(stored) = read.bytes(&keys::blob(hash))? else { return Ok(None) };
    let Some(info) = info(read, hash)? else { return Ok(None) };
    let content = unpack(&stored, info.size);
    content.map(Some).map_err(|error| StoreError::Corrupt(format!("blob {hash:?}: {error}")))
}

/// The content that is stored so.
pub(super) fn unpack(stored: &[u8], size: u32) -> std::io::Result<Vec<u8>> {
    match stored.split_first() {
        Some((&RAW, raw)) => Ok(raw.to_vec()),
        Some((&ZSTD, small)) => zstd::bulk::decompress(small, size as usize),
        _ => Err(std::io::Error::other("it has no known format")),
    }
}

/// Whether the account has a reference to the blob that opens it to `viewer`: something that uses it,
/// or an upload of their own. What is uploaded and not used is its uploader's alone, in shared accounts
/// too (RFC 8620 §6.1).
pub fn is_visible(
    read: &dyn Read,
    account: AccountId,
    viewer: Option<PrincipalId>,
    hash: &BlobHash,
) -> StoreResult<bool> {
    let mut visible = false;
    read.scan(&keys::blob_references_of(hash, account), false, &mut |key, _| {
        visible = match keys::read_blob_info(key) {
            Some((_, Some((_, sort, id)))) if sort == Referrer::Upload as u8 => {
                viewer.is_some_and(|viewer| viewer.0 == id)
            }
            reference => reference.is_some(),
        };
        if visible { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(visible)
}

/// The ids of what refers to a blob in an account, of one sort.
pub fn referrers(
    read: &dyn Read,
    account: AccountId,
    hash: &BlobHash,
    why: Referrer,
) -> StoreResult<Vec<u32>> {
    let mut out = Vec::new();
    read.scan(&keys::blob_references_of(hash, account), false, &mut |key, _| {
        if let Some((_, Some((_, sort, id)))) = keys::read_blob_info(key)
            && sort == why as u8
        {
            out.push(id);
        }
        ControlFlow::Continue(())
    })?;
    Ok(out)
}

/// Gives the account a reference to a blob, which must be stored already or by this transaction.
pub fn refer(
    txn: &mut Txn<'_>,
    account: AccountId,
    hash: &BlobHash,
    why: Referrer,
    id: u32,
) -> StoreResult<()> {
    if !is_stored(txn, hash)? {
        return Err(StoreError::Corrupt(format!("a reference to blob {hash:?}, which isn't stored")));
    }
    txn.put_bytes(
        keys::blob_reference(hash, account, why as u8, id),
        rows::encode(&txn.store().clock.now())?,
    );
    Ok(())
}

/// Takes a reference away. The content goes once nothing has referred to it for a while.
pub fn unrefer(txn: &mut Txn<'_>, account: AccountId, hash: &BlobHash, why: Referrer, id: u32) {
    txn.delete_bytes(keys::blob_reference(hash, account, why as u8, id));
    if let Ok(now) = rows::encode(&txn.store().clock.now()) {
        txn.put_bytes(keys::blob_released(hash), now);
    }
}

/// The hashes that running transactions store or refer to, and how often.
#[derive(Default)]
pub(super) struct InUse(Mutex<HashMap<BlobHash, u32>>);

impl InUse {
    fn lock(&self) -> MutexGuard<'_, HashMap<BlobHash, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one transaction holds; dropped with it.
pub(super) struct Held<'s> {
    in_use: &'s InUse,
    hashes: Vec<BlobHash>,
}

impl<'s> Held<'s> {
    pub fn none(in_use: &'s InUse) -> Self {
        Self { in_use, hashes: Vec::new() }
    }

    pub fn hold(&mut self, hash: BlobHash) {
        if !self.hashes.contains(&hash) {
            *self.in_use.lock().entry(hash).or_default() += 1;
            self.hashes.push(hash);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.hashes.is_empty() {
            return;
        }
        let mut in_use = self.in_use.lock();
        for hash in &self.hashes {
            if let Some(count) = in_use.get_mut(hash) {
                *count -= 1;
                if *count == 0 {
                    in_use.remove(hash);
                }
            }
        }
    }
}

/// What [`collect`] took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    pub blobs: u64,
    pub uploads: u64,
}

/// One blob as the collector's scan meets it: info, then references, then when it was released.
#[derive(Default)]
struct Candidate {
    hash: Option<BlobHash>,
    newest: Option<Millis>,
    references: u32,
}

/// Hashes that are looked at again and deleted under the mutex at once.
const COLLECT_BATCH: usize = 32;

/// Ends uploads that nothing has used for `grace`, and takes away content that nothing has
/// referred to for as long. Blocks; safe beside running transactions.
pub fn collect(store: &Store, grace: Duration) -> StoreResult<Collected> {
    let now = store.clock.now();
    let is_old = |moment: Millis| moment.after(grace) <= now;
    let mut uploads = Vec::new();
    let mut loose = Vec::new();
    let mut at = Candidate::default();
    let mut broken = None;
    (&store.snapshot() as &dyn Read).scan(&keys::all_blob_info(), false, &mut |key, value| {
        match (keys::read_blob_info(key), moment_of(key, value)) {
            (Some((hash, reference)), Ok(moment)) => {
                if at.hash != Some(hash) {
                    loose.extend(std::mem::take(&mut at).loose(is_old));
                    at.hash = Some(hash);
                }
                match reference {
                    Some((account, sort, id)) => {
                        at.references += 1;
                        if sort == Referrer::Upload as u8 && is_old(moment) {
                            uploads.push((hash, account, id));
                        }
                    }
                    None => at.newest = at.newest.max(Some(moment)),
                }
            }
            (_, Err(error)) => broken = Some(error),
            (None, _) => {}
        }
        if broken.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    loose.extend(at.loose(is_old));
    for (hash, account, id) in &uploads {
        let locked = store.lock_blocking(&[*account]);
        let mut txn = store.begin(&locked);
        uploads::end(&mut txn, *account, PrincipalId(*id), hash)?;
        txn.commit()?;
    }
    let mut collected = Collected { blobs: 0, uploads: uploads.len() as u64 };
    for hashes in loose.chunks(COLLECT_BATCH) {
        collected.blobs += delete_loose(store, hashes)?;
    }
    Ok(collected)
}

impl Candidate {
    fn loose(self, is_old: impl Fn(Millis) -> bool) -> Option<BlobHash> {
        self.hash.filter(|_| self.references == 0 && self.newest.is_some_and(is_old))
    }
}

/// When a row of the blobs' family was written.
fn moment_of(key: &[u8], value: &[u8]) -> StoreResult<Millis> {
    match keys::is_blob_info(key) {
        true => Ok(rows::decode::<BlobInfo>(value)?.stored_at),
        false => rows::decode(value),
    }
}

/// Deletes the content of those blobs that nothing refers to, without the grace that [`collect`] gives.
pub fn delete_unreferenced(store: &Store, hashes: &[BlobHash]) -> StoreResult<u64> {
    hashes.chunks(COLLECT_BATCH).map(|some| delete_loose(store, some)).sum()
}

/// Deletes those that are still loose.
fn delete_loose(store: &Store, hashes: &[BlobHash]) -> StoreResult<u64> {
    let locked = store.lock_blocking(&[]);
    let in_use = store.blobs_in_use.lock();
    let mut txn = store.begin(&locked);
    let mut deleted = 0;
    for hash in hashes.iter().filter(|hash| !in_use.contains_key(hash)) {
        let mut referred = false;
        (&txn as &dyn Read).scan(&keys::blob_references(hash), false, &mut |_, _| {
            referred = true;
            ControlFlow::Break(())
        })?;
        if !referred {
            txn.delete_bytes(keys::blob(hash));
            txn.delete_bytes(keys::blob_info(hash));
            txn.delete_bytes(keys::blob_released(hash));
            deleted += 1;
        }
    }
    // The mutex is held until the write is done.
    txn.commit()?;
    Ok(deleted)
}
