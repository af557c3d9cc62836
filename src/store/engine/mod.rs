//! The ordered key-value engine underneath: RocksDB, or ordered memory for tests and fuzzing.
//!
//! It knows nothing of accounts or rows. It has two choke points, [`Engine::write`] and
//! [`Engine::sync`], where a hook may watch or stop it. Once one of them failed the engine is
//! dead: it neither reads nor writes, so that nothing is answered that the disk doesn't have.

mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
mod wal_tail;

use super::StoreOptions;
use super::error::{StoreError, StoreResult};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The column families: what is iterated together, cached together and compacted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cf {
    /// One row a thing.
    Rows,
    /// Ordered lists and their ranks.
    Lists,
    /// Change logs.
    Log,
    /// What is known of blobs, and who refers to them.
    BlobInfo,
    /// The blobs' content.
    Blobs,
}

impl Cf {
    /// All of them.
    pub const ALL: [Cf; 5] = [Cf::Rows, Cf::Lists, Cf::Log, Cf::BlobInfo, Cf::Blobs];

    /// The name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Cf::Rows => "rows",
            Cf::Lists => "lists",
            Cf::Log => "log",
            Cf::BlobInfo => "blobinfo",
            Cf::Blobs => "blobs",
        }
    }
}

/// One atomic write.
#[derive(Default, Debug)]
pub struct Batch {
    /// Puts (`Some`) and deletions (`None`).
    pub ops: Vec<(Cf, Vec<u8>, Option<Vec<u8>>)>,
}

/// Where a hook is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    BeforeWrite,
    AfterWrite,
    BeforeSync,
    AfterSync,
}

/// Watches the choke points: `false` means that the process "dies" there.
#[derive(Clone)]
pub struct Hook(pub Arc<dyn Fn(Point) -> bool + Send + Sync>);

/// What a scan calls for each entry, in order; it stops at `Break`.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// The engine.
pub struct Engine {
    kind: Kind,
    hook: Option<Hook>,
    dead: AtomicBool,
}

enum Kind {
    #[cfg(feature = "rocksdb")]
    Rocks(Box<rocks::Rocks>),
    Memory(memory::Memory),
}

impl Engine {
    /// RocksDB in a folder.
    #[cfg(feature = "rocksdb")]
    pub fn rocks(dir: &Path, options: &StoreOptions) -> StoreResult<Self> {
        let kind = Kind::Rocks(Box::new(rocks::Rocks::open(dir, options)?));
        Ok(Self { kind, hook: options.hook.clone(), dead: AtomicBool::new(false) })
    }

    /// Ordered memory.
    pub fn memory(options: &StoreOptions) -> Self {
        let kind = Kind::Memory(memory::Memory::default());
        Self { kind, hook: options.hook.clone(), dead: AtomicBool::new(false) }
    }

    /// Writes the batch to the log of the operating system: it survives the process, not yet a
    /// loss of power.
    pub fn write(&self, batch: Batch) -> StoreResult<()> {
        self.at(Point::BeforeWrite)?;
        let done = match &self.kind {
            #[cfg(feature = "rocksdb")]
            Kind::Rocks(rocks) => rocks.write(batch),
            Kind::Memory(memory) => {
                memory.write(batch);
                Ok(())
            }
        };
        self.settle(done)?;
        self.at(Point::AfterWrite)
    }

    /// Makes all written batches survive a loss of power.
    pub fn sync(&self) -> StoreResult<()> {
        self.at(Point::BeforeSync)?;
        let done = match &self.kind {
            #[cfg(feature = "rocksdb")]
            Kind::Rocks(rocks) => rocks.sync(),
            Kind::Memory(_) => Ok(()),
        };
        self.settle(done)?;
        self.at(Point::AfterSync)
    }

    /// A view of all that was written before.
    pub fn snapshot(&self) -> Snapshot<'_> {
        let kind = match &self.kind {
            #[cfg(feature = "rocksdb")]
            Kind::Rocks(rocks) => SnapshotKind::Rocks(rocks.snapshot()),
            Kind::Memory(memory) => SnapshotKind::Memory(memory.snapshot(), PhantomData),
        };
        Snapshot { kind, dead: &self.dead }
    }

    /// Copies the present state to a folder that doesn't exist yet, by hard links where it can.
    /// Memory can't be copied.
    pub fn checkpoint(&self, to: &Path) -> StoreResult<()> {
        match &self.kind {
            #[cfg(feature = "rocksdb")]
            Kind::Rocks(rocks) => rocks.checkpoint(to),
            Kind::Memory(_) => Err(StoreError::Engine(format!("memory can't be copied to {}", to.display()))),
        }
    }

    /// Rewrites all files, so that what was deleted leaves them.
    pub fn rewrite(&self) -> StoreResult<()> {
        match &self.kind {
            #[cfg(feature = "rocksdb")]
            Kind::Rocks(rocks) => rocks.rewrite(),
            Kind::Memory(_) => Ok(()),
        }
    }

    /// Writes what is in memory to files.
    pub fn close(&self) {
        #[cfg(feature = "rocksdb")]
        if let Kind::Rocks(rocks) = &self.kind
            && !self.dead.load(Ordering::SeqCst)
        {
            rocks.flush();
        }
    }

    /// Figures for operators: name and value.
    pub fn figures(&self) -> Vec<(&'static str, u64)> {
        match &self.kind {
            #[cfg(feature = "rocksdb")]
            Kind::Rocks(rocks) => rocks.figures(),
            Kind::Memory(_) => Vec::new(),
        }
    }

    fn at(&self, point: Point) -> StoreResult<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(StoreError::Dead);
        }
        match &self.hook {
            Some(hook) if !(hook.0)(point) => {
                self.dead.store(true, Ordering::SeqCst);
                Err(StoreError::Dead)
            }
            _ => Ok(()),
        }
    }

    fn settle(&self, done: StoreResult<()>) -> StoreResult<()> {
        if done.is_err() {
            self.dead.store(true, Ordering::SeqCst);
        }
        done
    }
}

/// A view of the engine that doesn't change.
pub struct Snapshot<'e> {
    kind: SnapshotKind<'e>,
    dead: &'e AtomicBool,
}

enum SnapshotKind<'e> {
    #[cfg(feature = "rocksdb")]
    Rocks(rocks::RocksSnapshot<'e>),
    /// Marked with the life of the engine, which the other kind borrows.
    Memory(memory::MemorySnapshot, PhantomData<&'e ()>),
}

impl Snapshot<'_> {
    /// The value of a key.
    pub fn get(&self, cf: Cf, key: &[u8]) -> StoreResult<Option<Vec<u8>>> {
        self.alive()?;
        match &self.kind {
            #[cfg(feature = "rocksdb")]
            SnapshotKind::Rocks(snapshot) => snapshot.get(cf, key),
            SnapshotKind::Memory(snapshot, _) => Ok(snapshot.get(cf, key)),
        }
    }

    /// The values of several keys of one family, in their order.
    pub fn get_many(&self, cf: Cf, keys: &[Vec<u8>]) -> StoreResult<Vec<Option<Vec<u8>>>> {
        self.alive()?;
        match &self.kind {
            #[cfg(feature = "rocksdb")]
            SnapshotKind::Rocks(snapshot) => snapshot.get_many(cf, keys),
            SnapshotKind::Memory(snapshot, _) => Ok(keys.iter().map(|key| snapshot.get(cf, key)).collect()),
        }
    }

    /// Visits the entries of `from..to`, upwards or downwards.
    pub fn scan(&self, cf: Cf, from: &[u8], to: &[u8], backwards: bool, visit: Visit<'_>) -> StoreResult<()> {
        self.alive()?;
        match &self.kind {
            #[cfg(feature = "rocksdb")]
            SnapshotKind::Rocks(snapshot) => snapshot.scan(cf, from, to, backwards, visit),
            SnapshotKind::Memory(snapshot, _) => {
                snapshot.scan(cf, from, to, backwards, visit);
                Ok(())
            }
        }
    }

    fn alive(&self) -> StoreResult<()> {
        if self.dead.load(Ordering::Relaxed) { Err(StoreError::Dead) } else { Ok(()) }
    }
}
