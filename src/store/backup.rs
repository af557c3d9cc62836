//! Backup of a live store, and its restore.
//!
//! A backup is a folder: `store/` is the engine's checkpoint, `manifest` names format and store,
//! beside them stands what the caller links in first (the full-text index, which must never be
//! ahead of the store). It gets its name by a rename, so that a backup with its name is whole.

use super::Store;
use super::engine::Engine;
use super::error::{StoreError, StoreResult};
use super::folder;
use super::migrate::FORMAT;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest";

/// Copies the store to the folder `to`, which must be empty or not exist. `link_first` gets the
/// folder under its temporary name, before the store is copied.
pub fn backup(
    store: &Store,
    to: &Path,
    link_first: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> StoreResult<()> {
    let part = begin(to)?;
    link_first(&part).map_err(|error| StoreError::file("can't copy what is beside the store", &error))?;
    store.engine.checkpoint(&part.join("store"))?;
    let id: String = store.id().iter().map(|octet| format!("{octet:02x}")).collect();
    let manifest = format!("postroom backup\nformat {FORMAT}\nstore {id}\nat {}\n", store.clock.now().date());
    write_file(&part.join(MANIFEST), manifest.as_bytes())?;
    settle(&part, to)
}

/// Makes a data folder from a backup. `data` must be empty or not exist. `make_ready` gets the folder under its
/// temporary name: what it does to the store is done before anybody can serve it.
pub fn restore(
    from: &Path,
    data: &Path,
    make_ready: &mut dyn FnMut(&Path) -> StoreResult<()>,
) -> StoreResult<()> {
    let manifest = fs::read_to_string(from.join(MANIFEST))
        .map_err(|error| StoreError::file(format!("{} is no backup", from.display()), &error))?;
    let (format, id) = read_manifest(&manifest)
        .ok_or_else(|| StoreError::Corrupt(format!("the manifest of {}", from.display())))?;
    if format > FORMAT {
        return Err(StoreError::Newer { found: format, known: FORMAT });
    }
    let part = begin(data)?;
    copy_folder(from, &part)
        .map_err(|error| StoreError::file(format!("can't copy {}", from.display()), &error))?;
    fs::remove_file(part.join(MANIFEST))
        .map_err(|error| StoreError::file("can't remove the manifest", &error))?;
    let found = open_copy(&part)?;
    if found.iter().map(|octet| format!("{octet:02x}")).collect::<String>() != id {
        return Err(StoreError::Corrupt(
            "the backup's store isn't the one that its manifest names".to_owned(),
        ));
    }
    make_ready(&part)?;
    settle(&part, data)
}

/// Opens the copied store once: what can't be opened isn't put in place.
#[cfg(feature = "rocksdb")]
fn open_copy(part: &Path) -> StoreResult<[u8; 16]> {
    let engine = Engine::rocks(&part.join("store"), &super::StoreOptions::default())?;
    let id = folder::read_format(&engine)?;
    engine.close();
    id.ok_or_else(|| StoreError::Corrupt("the backup's store has no format".to_owned()))
}

#[cfg(not(feature = "rocksdb"))]
fn open_copy(_: &Path) -> StoreResult<[u8; 16]> {
    Err(StoreError::Engine("this build has no durable engine".to_owned()))
}

fn read_manifest(text: &str) -> Option<(u32, String)> {
    let mut lines = text.lines();
    lines.next().filter(|line| *line == "postroom backup")?;
    let format = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    Some((format, lines.next()?.strip_prefix("store ")?.to_owned()))
}

/// Makes the folder under its temporary name beside `to`.
fn begin(to: &Path) -> StoreResult<PathBuf> {
    let failed = |error: io::Error| StoreError::file(format!("can't write to {}", to.display()), &error);
    match fs::read_dir(to) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "the folder isn't empty")));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    if part.exists() {
        // What an interrupted run has left.
        fs::remove_dir_all(&part).map_err(failed)?;
    }
    fs::create_dir_all(&part).map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&part, mode).map_err(failed)?;
    Ok(part)
}

/// Brings all to disk, then gives the folder its name.
fn settle(part: &Path, to: &Path) -> StoreResult<()> {
    let named = sync_folder(part).and_then(|()| fs::rename(part, to)).and_then(|()| {
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    });
    named.map_err(|error| StoreError::file(format!("can't finish {}", to.display()), &error))
}

fn write_file(path: &Path, bytes: &[u8]) -> StoreResult<()> {
    fs::write(path, bytes)
        .map_err(|error| StoreError::file(format!("can't write {}", path.display()), &error))
}

fn sync_folder(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folder(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
