//! Reading, the same from a snapshot and from a transaction that sees its own writes.

use super::engine::{Cf, Snapshot, Visit};
use super::error::StoreResult;
use super::keys::{Key, KeyRange};
use super::rows::{self, Row};
use crate::types::AccountId;
use std::ops::ControlFlow;

/// What can be read: a [`Snapshot`] or a [`super::Txn`]. Use it as `&dyn Read`.
pub trait Read {
    /// The octets at a key.
    fn bytes(&self, key: &Key) -> StoreResult<Option<Vec<u8>>>;
    /// The octets at several keys of one family, in their order.
    fn bytes_many(&self, keys: &[Key]) -> StoreResult<Vec<Option<Vec<u8>>>>;
    /// Visits a range in key order, or backwards.
    fn scan(&self, range: &KeyRange, backwards: bool, visit: Visit<'_>) -> StoreResult<()>;
}

impl dyn Read + '_ {
    /// A row, if it is there.
    pub fn row<R: Row>(&self, account: AccountId, id: R::Id) -> StoreResult<Option<R>> {
        self.bytes(&R::key(account, id))?.map(|bytes| rows::decode(&bytes)).transpose()
    }

    /// Several rows, in the order of their ids.
    pub fn rows<R: Row>(
        &self,
        account: AccountId,
        ids: impl IntoIterator<Item = R::Id>,
    ) -> StoreResult<Vec<Option<R>>> {
        let keys: Vec<Key> = ids.into_iter().map(|id| R::key(account, id)).collect();
        self.bytes_many(&keys)?
            .into_iter()
            .map(|bytes| bytes.map(|bytes| rows::decode(&bytes)).transpose())
            .collect()
    }

    /// Whether a key is there.
    pub fn has(&self, key: &Key) -> StoreResult<bool> {
        Ok(self.bytes(key)?.is_some())
    }

    /// Visits the rows of a range: the key's octets and the row.
    pub fn scan_rows<R: Row>(
        &self,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8], R) -> ControlFlow<()>,
    ) -> StoreResult<()> {
        let mut broken = None;
        self.scan(range, false, &mut |key, value| match rows::decode(value) {
            Ok(row) => visit(key, row),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        })?;
        broken.map_or(Ok(()), Err)
    }

    /// All rows of a range with the id that ends their keys; for ranges with a named limit only.
    pub fn collect_rows<R: Row>(&self, range: &KeyRange) -> StoreResult<Vec<(u32, R)>> {
        let mut out = Vec::new();
        self.scan_rows(range, |key, row| {
            out.push((super::keys::last_id(key).unwrap_or_default(), row));
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }

    /// The ids that end the keys of a range, at most `limit`.
    pub fn ids(&self, range: &KeyRange, backwards: bool, limit: usize) -> StoreResult<Vec<u32>> {
        let mut out = Vec::new();
        if limit == 0 {
            return Ok(out);
        }
        self.scan(range, backwards, &mut |key, _| {
            out.extend(super::keys::last_id(key));
            if out.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(out)
    }
}

impl Read for Snapshot<'_> {
    fn bytes(&self, key: &Key) -> StoreResult<Option<Vec<u8>>> {
        self.get(key.cf, &key.bytes)
    }

    fn bytes_many(&self, keys: &[Key]) -> StoreResult<Vec<Option<Vec<u8>>>> {
        let cf = keys.first().map_or(Cf::Rows, |key| key.cf);
        debug_assert!(keys.iter().all(|key| key.cf == cf), "one family at a time");
        let bytes: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes.clone()).collect();
        self.get_many(cf, &bytes)
    }

    fn scan(&self, range: &KeyRange, backwards: bool, visit: Visit<'_>) -> StoreResult<()> {
        Snapshot::scan(self, range.cf, &range.from, &range.to, backwards, visit)
    }
}
