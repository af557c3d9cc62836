//! What is made of files and read again without a restart: the certificate, and the DKIM keys.
//!
//! Invariant: what can't be read, or isn't fit, never takes the place of what is in use; it is tried again
//! until it is, since several files are rarely replaced at one moment.

use super::http::stopped;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// By what a changed file is known: its time and size.
type Look = Option<(SystemTime, u64)>;

/// A file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}: {error}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

/// What a file holds.
pub fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    std::fs::read(path).map_err(|error| Unreadable { path: path.to_owned(), error })
}

type Load<T, E> = Box<dyn Fn() -> Result<T, E> + Send + Sync>;

/// What the log says.
#[derive(Clone, Copy)]
pub struct Said {
    /// The files were read again.
    pub anew: &'static str,
    /// They can't be used.
    pub kept: &'static str,
}

/// A value of files, as they are now.
pub struct Fresh<T, E> {
    said: Said,
    files: Vec<PathBuf>,
    load: Load<T, E>,
    current: RwLock<Arc<T>>,
    /// The files as they were when they were read last.
    read: Mutex<Vec<Look>>,
}

impl<T, E: fmt::Display> Fresh<T, E> {
    /// Reads the files, or says why the server can't start with them.
    pub fn of(
        said: Said,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let read = Mutex::new(looks(&files));
        let current = RwLock::new(Arc::new(load()?));
        Ok(Self { said, files, load: Box::new(load), current, read })
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files anew: all of them, or none.
    pub fn reload(&self) -> Result<(), E> {
        let looks = looks(&self.files);
        let fresh = Arc::new((self.load)()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = looks;
        Ok(())
    }

    pub fn has_changed(&self) -> bool {
        looks(&self.files) != *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files anew whenever they change, and when SIGHUP asks for it, until `stopping` says true.
    pub async fn keep(&self, mut stopping: watch::Receiver<bool>) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP can't be awaited; files are not read again");
                return;
            }
        };
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                () = stopped(&mut stopping) => return,
            };
            // A few small files: no thread of its own is needed.
            if asked || self.has_changed() {
                match self.reload() {
                    Ok(()) => tracing::info!("{}", self.said.anew),
                    Err(error) => tracing::warn!(%error, "{}", self.said.kept),
                }
            }
        }
    }
}

impl<T, E> fmt::Debug for Fresh<T, E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fresh").field("files", &self.files).finish_non_exhaustive()
    }
}

fn looks(files: &[PathBuf]) -> Vec<Look> {
    let look = |file: &PathBuf| {
        let about = std::fs::metadata(file).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    files.iter().map(look).collect()
}
