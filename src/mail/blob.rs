//! From a blob id to octets, with the account's right to read them (RFC 8620 §6.2).

use super::message;
use crate::store::rows::mail::{EmailRow, StoredMessage};
use crate::store::rows::message::HeaderField;
use crate::store::{Read, StoreResult, blobs};
use crate::types::*;

/// The octets of a blob as `viewer` may read them in the account: `None` where it doesn't exist, isn't
/// the account's, or is somebody else's upload, which can't be told apart.
pub fn fetch(
    read: &dyn Read,
    account: AccountId,
    viewer: Option<PrincipalId>,
    id: &BlobId,
) -> StoreResult<Option<Vec<u8>>> {
    let Some(whole) = fetch_root(read, account, viewer, &id.root)? else { return Ok(None) };
    let Some((offset, size, encoding)) = id.part else { return Ok(Some(whole)) };
    let (offset, size) = (offset as usize, size as usize);
    let Some(encoded) = offset.checked_add(size).and_then(|end| whole.get(offset..end)) else {
        return Ok(None);
    };
    Ok(Some(super::transfer::decode(encoding, encoded)))
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
