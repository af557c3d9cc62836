//! The keys that messages are signed with, read again without a restart ([`super::fresh`]).
//!
//! Invariant: no key is ever logged.

use super::fresh::{self, Fresh, Said, Unreadable};
use crate::mail::dkim::{KeyFault, Signer};
use std::path::PathBuf;
use std::sync::Arc;

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
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{}: {fault}", path.display())]
    Wrong { path: PathBuf, fault: KeyFault },
}

/// The keys that are in use now.
pub type DkimKeys = Fresh<Vec<Signer>, KeyError>;

const SAID: Said = Said { anew: "the DKIM keys were read anew", kept: "the old DKIM keys stay in use" };

/// Reads all keys, or says what is wrong with the first that can't be used.
pub fn open(entries: &[KeyEntry]) -> Result<Arc<DkimKeys>, KeyError> {
    let files = entries.iter().map(|entry| entry.file.clone()).collect();
    let entries = entries.to_vec();
    Ok(Arc::new(Fresh::of(SAID, files, move || load(&entries))?))
}

fn load(entries: &[KeyEntry]) -> Result<Vec<Signer>, KeyError> {
    let one = |entry: &KeyEntry| {
        let pem = fresh::read(&entry.file)?;
        Signer::new(&entry.domain, &entry.selector, &pem)
            .map_err(|fault| KeyError::Wrong { path: entry.file.clone(), fault })
    };
    entries.iter().map(one).collect()
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
        let keys = open(&[entry]).unwrap();
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
