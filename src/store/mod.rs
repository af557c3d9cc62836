//! Floor 1: rows, transactions, change logs, blobs, and the only user of the engine.
//!
//! Invariants: every write goes through a [`Txn`], which writes the change log in the same batch;
//! nothing is published before it is durable; above this floor nobody knows the engine or a key.

pub mod backup;
pub mod blobs;
pub mod changes;
pub mod check;
pub mod durable;
pub mod engine;
pub mod error;
pub mod folder;
pub mod hub;
pub mod keys;
pub mod list;
pub mod locks;
mod migrate;
pub mod read;
pub mod rows;
pub mod sets;
pub mod sweep;
pub mod txn;
pub mod uploads;

pub use blobs::PreparedBlob;
pub use changes::{Change, Changes, TypeStates};
pub use durable::Ticket;
pub use error::{StoreError, StoreResult};
pub use list::{List, Place};
pub use locks::Locked;
pub use read::Read;
pub use rows::Row;
pub use txn::{Savepoint, Txn};

#[cfg(all(test, feature = "rocksdb"))]
mod crash_tests;

use crate::types::{AccountId, Clock, Metrics, Random};
use engine::{Engine, Snapshot};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// Memory for writes not yet in files, in octets.
    pub write_buffer_bytes: usize,
    /// Memory for blocks read from files, in octets.
    pub block_cache_bytes: usize,
    /// Writes are refused below this much free disk.
    pub disk_free_bytes_min: u64,
    /// What accounts without limits of their own may hold.
    pub quotas: rows::quota::Quotas,
    /// What happens at the engine's choke points; only tests set it.
    pub hook: Option<engine::Hook>,
    /// What happens when a write or a sync failed. The default ends the process: what the disk
    /// lacks must not be answered from memory, and a failed sync can't be repeated.
    pub on_fatal: fn(&StoreError),
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 32 * 1024 * 1024,
            block_cache_bytes: 32 * 1024 * 1024,
            disk_free_bytes_min: crate::types::limits::DISK_FREE_BYTES_MIN,
            quotas: rows::quota::Quotas::default(),
            hook: None,
            on_fatal: end_process,
        }
    }
}

fn end_process(error: &StoreError) {
    tracing::error!(%error, "the store failed; ending the process so that nothing undurable is answered");
    std::process::abort();
}

/// The open store of one data folder (or of memory). Shared by all; cheap to clone as `Arc`.
pub struct Store {
    engine: Arc<Engine>,
    locks: locks::AccountLocks,
    flusher: durable::Flusher,
    hub: Arc<hub::Hub>,
    blobs_in_use: blobs::InUse,
    options: StoreOptions,
    folder: Option<folder::Folder>,
    store_id: [u8; 16],
    /// The one clock.
    pub clock: Clock,
    /// The one source of randomness.
    pub random: Random,
    /// What is counted of all that goes on.
    pub metrics: Arc<Metrics>,
}

impl Store {
    /// Opens the data folder, making it where it doesn't exist.
    ///
    /// Errors: [`StoreError::InUse`] where another process has it, [`StoreError::Newer`] where a
    /// later version wrote it.
    #[cfg(feature = "rocksdb")]
    pub fn open(dir: &Path, options: StoreOptions, clock: Clock, random: Random) -> StoreResult<Arc<Self>> {
        let folder = folder::Folder::claim(dir)?;
        let engine = Engine::rocks(&folder.store_dir(), &options)?;
        Self::start(engine, Some(folder), options, clock, random)
    }

    /// Built without an engine for folders: there is none to open.
    #[cfg(not(feature = "rocksdb"))]
    pub fn open(dir: &Path, _: StoreOptions, _: Clock, _: Random) -> StoreResult<Arc<Self>> {
        let why = format!("{} can't be opened: this build has no RocksDB", dir.display());
        Err(StoreError::Engine(why))
    }

    /// A store in memory, for model tests and fuzzing; it syncs nothing.
    pub fn in_memory(options: StoreOptions, clock: Clock, random: Random) -> StoreResult<Arc<Self>> {
        Self::start(Engine::memory(&options), None, options, clock, random)
    }

    fn start(
        engine: Engine,
        folder: Option<folder::Folder>,
        options: StoreOptions,
        clock: Clock,
        random: Random,
    ) -> StoreResult<Arc<Self>> {
        let engine = Arc::new(engine);
        let store_id = folder::settle_format(&engine, &random)?;
        let hub = Arc::new(hub::Hub::default());
        let metrics = Arc::new(Metrics::default());
        let (flushed, told) = (Arc::clone(&engine), Arc::clone(&hub));
        let flusher = durable::Flusher::start(flushed, told, options.on_fatal, Arc::clone(&metrics));
        let locks = locks::AccountLocks::default();
        Ok(Arc::new(Self {
            engine,
            locks,
            flusher,
            hub,
            blobs_in_use: blobs::InUse::default(),
            options,
            folder,
            store_id,
            clock,
            random,
            metrics,
        }))
    }

    /// What names this store for ever; copies by backup keep it.
    pub fn id(&self) -> [u8; 16] {
        self.store_id
    }

    /// The data folder, where there is one.
    pub fn dir(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(folder::Folder::dir)
    }

    /// A view of everything written up to now, durable or not: see [`Store::ticket_of`].
    pub fn snapshot(&self) -> Snapshot<'_> {
        self.engine.snapshot()
    }

    /// Waits for the accounts' locks, in order, and holds them until the result is dropped.
    pub async fn lock(&self, accounts: &[AccountId]) -> Locked {
        self.locks.lock(accounts).await
    }

    /// The same on a thread that may block.
    pub fn lock_blocking(&self, accounts: &[AccountId]) -> Locked {
        self.locks.lock_blocking(accounts)
    }

    /// Begins a transaction on the locked accounts.
    pub fn begin<'s>(&'s self, locked: &'s Locked) -> Txn<'s> {
        Txn::new(self, locked)
    }

    /// The ticket that covers all that a snapshot taken before this call shows of the account. A
    /// response that tells of the account must wait for it.
    pub fn ticket_of(&self, account: AccountId) -> Ticket {
        self.flusher.ticket_of(&[account])
    }

    /// Waits until the ticket's commit is on disk.
    pub async fn durable(&self, ticket: Ticket) -> StoreResult<()> {
        self.flusher.wait(ticket).await
    }

    /// The same on a thread that may block.
    pub fn durable_blocking(&self, ticket: Ticket) -> StoreResult<()> {
        self.flusher.wait_blocking(ticket)
    }

    /// The states that push tells of, durable ones only.
    pub fn hub(&self) -> &hub::Hub {
        &self.hub
    }

    /// Errors with [`StoreError::DiskLow`] where there is too little disk to begin a write.
    pub fn check_space(&self) -> StoreResult<()> {
        match &self.folder {
            Some(folder) => folder.check_space(self.options.disk_free_bytes_min),
            None => Ok(()),
        }
    }

    /// Rewrites the engine's files, so that nothing that was deleted is in them any more. Reads and writes
    /// everything once, beside the work that goes on. Blocks.
    pub fn rewrite_files(&self) -> StoreResult<()> {
        self.engine.rewrite()
    }

    /// What the engine holds, for operators: name and octets.
    pub fn figures(&self) -> Vec<(&'static str, u64)> {
        self.engine.figures()
    }

    /// Octets of disk that are free; `None` of a store in memory.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        self.folder.as_ref().and_then(|folder| folder.free_bytes().ok())
    }

    /// What accounts without limits of their own may hold (RFC 9425).
    pub fn quotas(&self) -> &rows::quota::Quotas {
        &self.options.quotas
    }

    /// Ends the flusher after all queued commits are durable, and writes memory to files so that
    /// the next start has nothing to replay.
    pub fn close(&self) {
        self.flusher.stop();
        self.engine.close();
    }
}
