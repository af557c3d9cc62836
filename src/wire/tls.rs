//! TLS for what listens: one certificate with its key, read again without a restart ([`super::fresh`]).
//!
//! Invariants: a pair that doesn't fit is never used. Connections that are open keep what they began with.

use super::client_roots::ClientRoots;
use super::fresh::{self, Fresh, Said, Unreadable};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate or key that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{} holds no certificate in PEM", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key in PEM", path.display())]
    NoKey { path: PathBuf },
    #[error("the certificate and its key can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificate that is shown now, with its key.
pub type Certificate = Fresh<CertifiedKey, TlsError>;

const SAID: Said =
    Said { anew: "the TLS certificate was read anew", kept: "the old TLS certificate stays in use" };

impl Certificate {
    /// Reads both files, or says why the server can't start with them.
    pub fn open(chain: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let (chain, key) = (chain.to_owned(), key.to_owned());
        let files = vec![chain.clone(), key.clone()];
        Ok(Arc::new(Fresh::of(SAID, files, move || load(&chain, &key))?))
    }

    /// Accepts TLS with it, and agrees to these protocols in their order (RFC 7301).
    pub fn acceptor(self: &Arc<Self>, protocols: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
        Ok(TlsAcceptor::from(self.server_config(protocols, None)?))
    }

    /// How a server shows it: always what the files hold now. Clients are asked for theirs where some count.
    pub fn server_config(
        self: &Arc<Self>,
        protocols: &[&[u8]],
        clients: Option<&ClientRoots>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients.asking()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Shown(Arc::clone(self))));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// What rustls asks for the certificate.
#[derive(Debug)]
struct Shown(Arc<Certificate>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }
}

fn load(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&fresh::read(chain)?).collect();
    let certificates = certificates.ok().filter(|all| !all.is_empty());
    let certificates = certificates.ok_or_else(|| TlsError::NoCertificate { path: chain.to_owned() })?;
    let private = PrivateKeyDer::from_pem_slice(&fresh::read(key)?);
    let private = private.map_err(|_| TlsError::NoKey { path: key.to_owned() })?;
    let pair = CertifiedKey::new(certificates, ring::sign::any_supported_type(&private)?);
    pair.keys_match()?;
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &[u8] = include_bytes!("../../tests/support/relay_tls/relay.pem");
    const KEY: &[u8] = include_bytes!("../../tests/support/relay_tls/relay-key.pem");
    const OTHER: &[u8] = include_bytes!("../../tests/support/relay_tls/ca.pem");

    #[test]
    fn a_pair_that_does_not_fit_is_refused_at_start_and_not_taken_later() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let refused = |chain: &[u8], private: &[u8]| {
            std::fs::write(folder.path().join("chain.pem"), chain).unwrap();
            std::fs::write(folder.path().join("key.pem"), private).unwrap();
            Certificate::open(&folder.path().join("chain.pem"), &key).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refused(b"", KEY).ends_with("chain.pem holds no certificate in PEM"));
        assert!(refused(CHAIN, b"nonsense").ends_with("key.pem holds no private key in PEM"));
        assert!(refused(OTHER, KEY).starts_with("the certificate and its key can't be used: "));
        std::fs::write(&chain, CHAIN).unwrap();
        let certificate = Certificate::open(&chain, &key).unwrap();
        let before = certificate.current();
        assert!(!certificate.has_changed());
        std::fs::write(&chain, OTHER).unwrap();
        assert!(certificate.has_changed() && certificate.reload().is_err() && certificate.has_changed());
        assert!(Arc::ptr_eq(&before, &certificate.current()));
        std::fs::write(&chain, CHAIN).unwrap();
        certificate.reload().unwrap();
        assert!(!certificate.has_changed() && !Arc::ptr_eq(&before, &certificate.current()));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let error = Certificate::open(&chain, &key).unwrap_err().to_string();
        assert!(error.starts_with("can't read ") && error.contains("chain.pem"), "{error}");
    }
}
