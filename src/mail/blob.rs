//! From a blob id to octets, with the account's right to read them (RFC 8620 §6.2).

use super::message;
use crate::store::rows::mail::{EmailRow, StoredMessage};
use crate::store::rows::message::HeaderField;
use crate::store::{Read, StoreResult, blobs};
use crate::types::*;

/// Fetches blobs one after another for one viewer, and keeps the content that the last one was a part of:
/// the parts of a message are asked for together.
pub struct Fetcher<'r> {
    read: &'r dyn Read,
    account: AccountId,
    viewer: Option<PrincipalId>,
    last: Option<(BlobRoot, Vec<u8>)>,
    loaded: usize,
}

impl<'r> Fetcher<'r> {
    pub fn new(read: &'r dyn Read, account: AccountId, viewer: Option<PrincipalId>) -> Self {
        Self { read, account, viewer, last: None, loaded: 0 }
    }

    /// As [`fetch`].
    pub fn fetch(&mut self, id: &BlobId) -> StoreResult<Option<Vec<u8>>> {
        if self.last.as_ref().is_none_or(|(root, _)| *root != id.root) {
            self.last = None;
            let Some(whole) = fetch_root(self.read, self.account, self.viewer, &id.root)? else {
                return Ok(None);
            };
            self.loaded = self.loaded.saturating_add(whole.len());
            self.last = Some((id.root, whole));
        }
        let Some((_, whole)) = &self.last else { return Ok(None) };
        let found = match id.part {
            None => Some(whole.clone()),
            Some(part) => part_of(whole, part),
        };
        self.loaded = self.loaded.saturating_add(found.as_ref().map_or(0, Vec::len));
        Ok(found)
    }

    /// The octets that were read from the store and given since this was asked last.
    pub fn take_loaded(&mut self) -> usize {
        std::mem::take(&mut self.loaded)
    }
}

/// The octets of a blob as `viewer` may read them in the account: `None` where it doesn't exist, isn't
/// the account's, or is somebody else's upload, which can't be told apart.
pub fn fetch(
    read: &dyn Read,
    account: AccountId,
    viewer: Option<PrincipalId>,
    id: &BlobId,
) -> StoreResult<Option<Vec<u8>>> {
    let Some(whole) = fetch_root(read, account, viewer, &id.root)? else { return Ok(None) };
    Ok(match id.part {
        None => Some(whole),
        Some(part) => part_of(&whole, part),
    })
}

/// The decoded octets of a part; `None` where there is none at that place.
fn part_of(whole: &[u8], (offset, size, encoding): (u32, u32, TransferEncoding)) -> Option<Vec<u8>> {
    let (offset, size) = (offset as usize, size as usize);
    let encoded = offset.checked_add(size).and_then(|end| whole.get(offset..end))?;
    Some(super::transfer::decode(encoding, encoded))
}

/// Whether `viewer` may read a blob in the account, without reading it.
pub fn exists(
    read: &dyn Read,
    account: AccountId,
    viewer: Option<PrincipalId>,
    id: &BlobId,
) -> StoreResult<bool> {
    match id.root {
        BlobRoot::Content(hash) => blobs::is_visible(read, account, viewer, &hash),
        BlobRoot::Message(email) => Ok(read.row::<EmailRow>(account, email)?.is_some()),
    }
}

fn fetch_root(
    read: &dyn Read,
    account: AccountId,
    viewer: Option<PrincipalId>,
    root: &BlobRoot,
) -> StoreResult<Option<Vec<u8>>> {
    match root {
        BlobRoot::Content(hash) if blobs::is_visible(read, account, viewer, hash)? => {
            blobs::content(read, hash)
        }
        BlobRoot::Content(_) => Ok(None),
        BlobRoot::Message(email) => message::raw(read, account, *email),
    }
}

/// All header fields of a message: those of its trace, then its own.
pub fn header_fields(stored: &StoredMessage) -> Vec<HeaderField> {
    let trace = super::parse::parse(&stored.prefix);
    trace.fields().iter().chain(stored.message.fields()).cloned().collect()
}

/// The size of a message's trace headers, by which offsets in its content are moved.
pub fn prefix_size(stored: &StoredMessage) -> u32 {
    u32::try_from(stored.prefix.len()).unwrap_or(u32::MAX)
}
