//! RocksDB: the durable engine, and the only file that names it.
//!
//! Every write goes through the write-ahead log, which makes it atomic over column families;
//! recovery is point-in-time, so that a torn tail is cut and nothing before it is lost.

use super::{Batch, Cf, Visit};
use crate::store::StoreOptions;
use crate::store::error::{StoreError, StoreResult};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily,
    ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType, DBRecoveryMode, FlushOptions,
    LruCacheOptions, Options, ReadOptions, WriteBatch, WriteBufferManager,
};
use std::path::Path;

/// The part of the blob files, the oldest, out of which a compaction moves what is left.
const BLOB_GC_AGE_CUTOFF: f64 = 0.25;
const BLOB_GC_AGE: &str = "blob_garbage_collection_age_cutoff";

/// The block cache has 2 to the power of this many shards, each with a lock.
const BLOCK_CACHE_SHARD_BITS: i32 = 2;
/// A part of an index or a filter.
const METADATA_BLOCK_BYTES: usize = 8 * 1024;

pub struct Rocks {
    db: DB,
}

impl Rocks {
    pub fn open(dir: &Path, options: &StoreOptions) -> StoreResult<Self> {
        let cache = block_cache(options.block_cache_bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager(options.write_buffer_bytes, false);
        let mut db_options = Options::default();
        db_options.create_if_missing(true);
        db_options.create_missing_column_families(true);
        db_options.set_write_buffer_manager(&buffers);
        db_options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        db_options.set_max_total_wal_size(128 * 1024 * 1024);
        db_options.set_max_background_jobs(2);
        db_options.set_max_open_files(1024);
        db_options.set_keep_log_file_num(4);
        db_options.set_max_log_file_size(4 * 1024 * 1024);
        db_options.set_bytes_per_sync(1024 * 1024);
        db_options.set_atomic_flush(false);
        let families = Cf::ALL
            .into_iter()
            .map(|cf| ColumnFamilyDescriptor::new(cf.name(), family_options(cf, &cache, options)))
            .chain([ColumnFamilyDescriptor::new("default", Options::default())]);
        if dir.is_dir() {
            super::wal_tail::cut(dir).map_err(|error| StoreError::file("the write-ahead log", &error))?;
        }
        let db = DB::open_cf_descriptors(&db_options, dir, families).map_err(engine_error)?;
        Ok(Self { db })
    }

    pub fn write(&self, batch: Batch) -> StoreResult<()> {
        let mut out = WriteBatch::default();
        for (cf, key, value) in batch.ops {
            let family = self.family(cf)?;
            match value {
                Some(value) => out.put_cf(family, key, value),
                None => out.delete_cf(family, key),
            }
        }
        self.db.write(out).map_err(engine_error)
    }

    pub fn sync(&self) -> StoreResult<()> {
        self.db.flush_wal(true).map_err(engine_error)
    }

    pub fn snapshot(&self) -> RocksSnapshot<'_> {
        RocksSnapshot { rocks: self, snapshot: self.db.snapshot() }
    }

    pub fn checkpoint(&self, to: &Path) -> StoreResult<()> {
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(to))
            .map_err(engine_error)
    }

    pub fn flush(&self) {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        for cf in Cf::ALL {
            if let Ok(family) = self.family(cf)
                && let Err(error) = self.db.flush_cf_opt(family, &options)
            {
                // Nothing is lost: the next start replays the log instead.
                tracing::warn!(%error, "memory could not be written to files at the end");
            }
        }
    }

    /// A log whose rows are all in files is deleted; a compaction down to the last level drops what was
    /// deleted, and moves the blobs that are left out of every file that has others.
    pub fn rewrite(&self) -> StoreResult<()> {
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        for cf in Cf::ALL {
            self.db.flush_cf_opt(self.family(cf)?, &flush).map_err(engine_error)?;
        }
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        let all: Option<&[u8]> = None;
        for cf in Cf::ALL {
            let family = self.family(cf)?;
            if cf == Cf::Blobs {
                self.db.set_options_cf(family, &[(BLOB_GC_AGE, "1.0")]).map_err(engine_error)?;
            }
            self.db.compact_range_cf_opt(family, all, all, &options);
            if cf == Cf::Blobs {
                let usual = BLOB_GC_AGE_CUTOFF.to_string();
                self.db.set_options_cf(family, &[(BLOB_GC_AGE, &usual)]).map_err(engine_error)?;
            }
        }
        Ok(())
    }

    pub fn figures(&self) -> Vec<(&'static str, u64)> {
        [
            ("memtable_bytes", "rocksdb.cur-size-all-mem-tables"),
            ("table_reader_bytes", "rocksdb.estimate-table-readers-mem"),
            ("sst_bytes", "rocksdb.total-sst-files-size"),
        ]
        .into_iter()
        .map(|(name, property)| {
            let sum = Cf::ALL
                .into_iter()
                .filter_map(|cf| {
                    let family = self.family(cf).ok()?;
                    self.db.property_int_value_cf(family, property).ok()?
                })
                .sum();
            (name, sum)
        })
        .collect()
    }

    fn family(&self, cf: Cf) -> StoreResult<&ColumnFamily> {
        self.db
            .cf_handle(cf.name())
            .ok_or_else(|| StoreError::Engine(format!("column family {} is missing", cf.name())))
    }
}

/// A shard takes nothing that is larger than itself, so they are few: one for some threads at once.
fn block_cache(bytes: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(bytes);
    options.set_num_shard_bits(BLOCK_CACHE_SHARD_BITS);
    Cache::new_lru_cache_opts(&options)
}

fn family_options(cf: Cf, cache: &Cache, options: &StoreOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(if cf == Cf::Rows { 8 * 1024 } else { 16 * 1024 });
    // Index and filter of a file are in parts, each cached by itself: one part that covers a whole file has
    // up to some megabytes, finds no room beside others, and is then read from the file at each get.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    if matches!(cf, Cf::Rows | Cf::BlobInfo | Cf::Blobs) {
        table.set_bloom_filter(10.0, false);
    }
    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_write_buffer_size(options.write_buffer_bytes / 2);
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_bottommost_compression_type(DBCompressionType::Zstd);
    if cf == Cf::Blobs {
        // Blobs are compressed before they get here, and stay out of compaction in files of their own.
        family.set_compression_type(DBCompressionType::None);
        family.set_bottommost_compression_type(DBCompressionType::None);
        family.set_enable_blob_files(true);
        family.set_min_blob_size(512);
        family.set_blob_file_size(256 * 1024 * 1024);
        family.set_blob_compression_type(DBCompressionType::None);
        family.set_enable_blob_gc(true);
        family.set_blob_gc_age_cutoff(BLOB_GC_AGE_CUTOFF);
    }
    family
}

pub struct RocksSnapshot<'e> {
    rocks: &'e Rocks,
    snapshot: rocksdb::Snapshot<'e>,
}

impl RocksSnapshot<'_> {
    pub fn get(&self, cf: Cf, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.snapshot.get_cf(self.rocks.family(cf)?, key).map_err(engine_error)
    }

    pub fn get_many(&self, cf: Cf, keys: &[Vec<u8>]) -> StoreResult<Vec<Option<Vec<u8>>>> {
        let family = self.rocks.family(cf)?;
        let mut options = ReadOptions::default();
        options.set_snapshot(&self.snapshot);
        self.rocks
            .db
            .batched_multi_get_cf_opt(family, keys, false, &options)
            .into_iter()
            .map(|value| value.map(|slice| slice.map(|slice| slice.to_vec())).map_err(engine_error))
            .collect()
    }

    pub fn scan(&self, cf: Cf, from: &[u8], to: &[u8], backwards: bool, visit: Visit<'_>) -> StoreResult<()> {
        if from >= to {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        // The raw iterator lends its entries; the plain one copies each.
        let mut entries = self.snapshot.raw_iterator_cf_opt(self.rocks.family(cf)?, options);
        if backwards {
            entries.seek_to_last();
        } else {
            entries.seek_to_first();
        }
        while let Some((key, value)) = entries.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            if backwards {
                entries.prev();
            } else {
                entries.next();
            }
        }
        // The end of the range looks like a failed read but for this.
        entries.status().map_err(engine_error)?;
        Ok(())
    }
}

fn engine_error(error: rocksdb::Error) -> StoreError {
    StoreError::Engine(error.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Random;

    /// The files of a folder that have these octets.
    fn files_with(dir: &Path, octets: &[u8]) -> usize {
        let files = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()));
        files.filter_map(Result::ok).filter(|file| file.windows(octets.len()).any(|at| at == octets)).count()
    }

    #[test]
    fn what_was_deleted_is_in_no_file_after_a_rewrite_and_everything_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(dir.path(), &StoreOptions::default()).unwrap();
        let random = Random::seeded(3);
        // Random octets stay as they are, whatever compresses them.
        let values: Vec<[u8; 2048]> = (0..64).map(|_| random.bytes()).collect();
        let write = |ops: Vec<(Cf, Vec<u8>, Option<Vec<u8>>)>| rocks.write(Batch { ops }).unwrap();
        for cf in [Cf::Rows, Cf::Blobs] {
            write(values.iter().zip(0u8..).map(|(value, at)| (cf, vec![at], Some(value.to_vec()))).collect());
        }
        rocks.flush();
        assert!(values.iter().all(|value| files_with(dir.path(), value) == 2));
        let (gone, kept) = values.split_at(7);
        for cf in [Cf::Rows, Cf::Blobs] {
            write((0..7).map(|at| (cf, vec![at], None)).collect());
        }
        rocks.flush();
        assert!(gone.iter().all(|value| files_with(dir.path(), value) == 2), "deleting alone leaves them");
        rocks.rewrite().unwrap();
        assert_eq!(gone.iter().map(|value| files_with(dir.path(), value)).sum::<usize>(), 0);
        let snapshot = rocks.snapshot();
        for (value, at) in kept.iter().zip(7u8..) {
            for cf in [Cf::Rows, Cf::Blobs] {
                assert_eq!(snapshot.get(cf, &[at]).unwrap().as_deref(), Some(&value[..]));
            }
        }
    }
}
