//! The data folder: claimed by one process, with room to write.
//!
//! ```text
//! DIR/lock             held as long as a process has the folder
//! DIR/store/           the engine's files
//! DIR/index/           full text, which can always be rebuilt
//! DIR/admin.sock       where a running server takes commands
//! DIR/addresses.json   the addresses in use
//! ```

use super::engine::{Batch, Engine};
use super::error::{StoreError, StoreResult};
use super::keys;
use super::migrate::{self, FORMAT};
use super::read::Read;
use super::rows;
use crate::types::Random;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A folder that this process has to itself.
pub struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it doesn't exist, readable by its owner only, and claims it.
    pub fn claim(dir: &Path) -> StoreResult<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
            StoreError::file(format!("can't make the data folder {}", dir.display()), &error)
        })?;
        let path = dir.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::file(format!("can't open {}", path.display()), &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(StoreError::InUse { dir: dir.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::file(format!("can't lock {}", path.display()), &error));
            }
        }
        let named = lock.set_len(0).and_then(|()| lock.rewind());
        named
            .and_then(|()| write!(lock, "process {}", std::process::id()))
            .map_err(|error| StoreError::file(format!("can't write {}", path.display()), &error))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Where the engine's files are.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Errors with [`StoreError::DiskLow`] below `min` free octets.
    pub fn check_space(&self, min: u64) -> StoreResult<()> {
        let free = self.free_bytes()?;
        if free < min { Err(StoreError::DiskLow { free, min }) } else { Ok(()) }
    }

    /// What is free for us on the folder's disk.
    pub fn free_bytes(&self) -> StoreResult<u64> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| StoreError::File { what: "free disk".to_owned(), error: error.to_string() })?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// What names the store and its format.
#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
    store_id: [u8; 16],
}

/// Reads the format and gives the store's id; `None` for a new store.
pub(super) fn read_format(engine: &Engine) -> StoreResult<Option<[u8; 16]>> {
    Ok(known_format(engine)?.map(|format| format.store_id))
}

fn known_format(engine: &Engine) -> StoreResult<Option<Format>> {
    let Some(bytes) = engine.snapshot().bytes(&keys::format())? else { return Ok(None) };
    let format: Format = rows::decode(&bytes)?;
    if format.version > FORMAT {
        return Err(StoreError::Newer { found: format.version, known: FORMAT });
    }
    Ok(Some(format))
}

/// Reads the format, or writes it to a new store; a store of an earlier one is brought to this one. Gives
/// the store's id.
pub(super) fn settle_format(engine: &Engine, random: &Random) -> StoreResult<[u8; 16]> {
    if let Some(Format { version, store_id }) = known_format(engine)? {
        migrate::run(engine, version, |version| write_format(engine, &Format { version, store_id }))?;
        return Ok(store_id);
    }
    let format = Format { version: FORMAT, store_id: random.bytes() };
    write_format(engine, &format)?;
    Ok(format.store_id)
}

fn write_format(engine: &Engine, format: &Format) -> StoreResult<()> {
    let key = keys::format();
    engine.write(Batch { ops: vec![(key.cf, key.bytes, Some(rows::encode(format)?))] })?;
    engine.sync()
}
