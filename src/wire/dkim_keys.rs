//! The keys that messages are signed with, read again without a restart.
//!
//! Invariants: a key that can't be read or can't sign never takes the place of one that can; no key
//! is ever logged.

use super::http::stopped;
use crate::mail::dkim::{KeyFault, Signer};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Who signs for a domain, and where the key is.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    /// The domain as domains compare.
    pub domain: String,
    pub selector: String,
    pub file: PathBuf,
}

/// A key that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("can't read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{}: {fault}", path.display())]
    Wrong { path: PathBuf, fault: KeyFault },
}

/// By what a changed file is known.
type Look = Option<(SystemTime, u64)>;

/// The keys that are in use now.
#[derive(Debug)]
pub struct DkimKeys {
    entries: Vec<KeyEntry>,
    current: RwLock<Arc<Vec<Signer>>>,
    /// The files as they were when they were read last.
    read: Mutex<Vec<Look>>,
}

impl DkimKeys {
    /// Reads all keys, or says what is wrong with the first that can't be used.
    pub fn open(entries: &[KeyEntry]) -> Result<Arc<Self>, KeyError> {
        let read = Mutex::new(looks(entries));
        let current = RwLock::new(Arc::new(load(entries)?));
        Ok(Arc::new(Self { entries: entries.to_vec(), current, read }))
    }

    /// The keys as they are now.
    pub fn current(&self) -> Arc<Vec<Signer>> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nothing is ever signed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads the files anew: all of them, or none.
    fn reload(&self) -> Result<(), KeyError> {
        let looks = looks(&self.entries);
        let fresh = Arc::new(load(&self.entries)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = looks;
        Ok(())
    }

    fn has_changed(&self) -> bool {
        looks(&self.entries) != *self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn looks(entries: &[KeyEntry]) -> Vec<Look> {
    let look = |entry: &KeyEntry| {
        let about = std::fs::metadata(&entry.file).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    entries.iter().map(look).collect()
}

fn load(entries: &[KeyEntry]) -> Result<Vec<Signer>, KeyError> {
    let one = |entry: &KeyEntry| {
        let path = || entry.file.clone();
        let pem = std::fs::read(&entry.file).map_err(|error| KeyError::Unreadable { path: path(), error })?;
        Signer::new(&entry.domain, &entry.selector, &pem)
            .map_err(|fault| KeyError::Wrong { path: path(), fault })
    };
    entries.iter().map(one).collect()
}

/// Reads the files anew whenever they change, and when SIGHUP asks for it, until `stopping` says true.
pub async fn keep_fresh(keys: Arc<DkimKeys>, mut stopping: watch::Receiver<bool>) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(%error, "SIGHUP can't be awaited; DKIM keys are not read again");
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
        if asked || keys.has_changed() {
            match keys.reload() {
                Ok(()) => tracing::info!("the DKIM keys were read anew"),
                Err(error) => tracing::warn!(%error, "the old DKIM keys stay in use"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_takes_the_old_one_s_place_and_a_wrong_one_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rsa = include_bytes!("../../tests/support/dkim/rsa.pem");
        let ed25519 = include_bytes!("../../tests/support/dkim/ed25519.pem");
        std::fs::write(file.path(), rsa).unwrap();
        let entry = KeyEntry {
            domain: "x.example".to_owned(),
            selector: "s".to_owned(),
            file: file.path().to_owned(),
        };
        let keys = DkimKeys::open(&[entry]).unwrap();
        let shown = || format!("{:?}", keys.current());
        assert!(!keys.has_changed());
        std::fs::write(file.path(), ed25519).unwrap();
        assert!(keys.has_changed());
        keys.reload().unwrap();
        assert_eq!(shown(), "[Signer(x.example, s, ed25519-sha256)]");
        std::fs::write(file.path(), "nonsense").unwrap();
        let error = keys.reload().unwrap_err().to_string();
        assert_eq!(error, format!("{}: it holds no private key in PEM", file.path().display()));
        assert_eq!(shown(), "[Signer(x.example, s, ed25519-sha256)]");
    }
}
