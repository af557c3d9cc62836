//! The engine in memory: one ordered map a family, copied on the first write after a snapshot.

use super::{Batch, Cf, Visit};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

type Map = Arc<BTreeMap<Vec<u8>, Vec<u8>>>;

#[derive(Default)]
pub struct Memory(Mutex<[Map; Cf::ALL.len()]>);

impl Memory {
    pub fn write(&self, batch: Batch) {
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (cf, key, value) in batch.ops {
            let map = Arc::make_mut(&mut maps[cf as usize]);
            match value {
                Some(value) => {
                    map.insert(key, value);
                }
                None => {
                    map.remove(&key);
                }
            }
        }
    }

    pub fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

pub struct MemorySnapshot([Map; Cf::ALL.len()]);

impl MemorySnapshot {
    pub fn get(&self, cf: Cf, key: &[u8]) -> Option<Vec<u8>> {
        self.0[cf as usize].get(key).cloned()
    }

    pub fn scan(&self, cf: Cf, from: &[u8], to: &[u8], backwards: bool, visit: Visit<'_>) {
        if from >= to {
            return;
        }
        let mut range = self.0[cf as usize].range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        while let Some((key, value)) = if backwards { range.next_back() } else { range.next() } {
            if visit(key, value).is_break() {
                return;
            }
        }
    }
}
