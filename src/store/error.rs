//! What can go wrong on this floor.

use std::path::PathBuf;

/// The result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// A failure of the store. None is caused by a peer's input, so none is shown to a peer in words.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The engine failed.
    #[error("the storage engine failed: {0}")]
    Engine(String),
    /// A write or a sync failed before: nothing is written or read any more.
    #[error("the store has stopped after a failed write")]
    Dead,
    /// A row isn't what this version can read.
    #[error("a stored row can't be read: {0}")]
    Corrupt(String),
    /// Another process has the folder.
    #[error("the data folder {} is in use by another process ({holder}); stop it, or use another folder", dir.display())]
    InUse { dir: PathBuf, holder: String },
    /// A later version of Postroom wrote the folder.
    #[error(
        "the data folder has format {found}, and this version of postroom reads up to {known}; use a newer postroom"
    )]
    Newer { found: u32, known: u32 },
    /// Too little disk to begin a write.
    #[error("only {free} bytes of disk are free, and {min} are needed to write safely")]
    DiskLow { free: u64, min: u64 },
    /// One commit with more rows than [`crate::types::limits::COMMIT_BYTES_MAX`].
    #[error("one change of {bytes} bytes of rows is larger than the largest commit")]
    CommitTooLarge { bytes: usize },
    /// The account moved on between a transaction's read and its commit. The account's lock makes
    /// this impossible in one process; it guards engines that several processes share.
    #[error("the account was changed by another writer")]
    Conflict,
    /// A file operation beside the engine failed.
    #[error("{what}: {error}")]
    File { what: String, error: String },
}

impl StoreError {
    /// A failed file operation, named.
    pub fn file(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::File { what: what.into(), error: error.to_string() }
    }
}
