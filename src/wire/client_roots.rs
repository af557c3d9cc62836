//! Which clients of SMTP intake show a certificate that an authority of the operator's signed.
//!
//! Every client is asked for one and none needs it. A certificate of anybody else is taken for none, since mail
//! servers show theirs to whoever asks: such a client goes on as its address or its login allows. So the
//! handshake only proves that the key is the client's, and whether the certificate counts is asked after it, for
//! each connection anew, also where a session is resumed. The authorities are those that the file holds now
//! ([`super::fresh`]); so none are named in the handshake, which lets a client show what it has.

use super::fresh::{self, Fresh, Said, Unreadable};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

/// A file of authorities that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{} holds no usable certificate of an authority of clients: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
}

const SAID: Said = Said {
    anew: "the authorities of clients were read anew",
    kept: "the old authorities of clients stay in use",
};

/// The authorities, and what they have signed.
#[derive(Clone, Debug)]
pub struct ClientRoots(Arc<Fresh<Arc<dyn ClientCertVerifier>, RootsError>>);

impl ClientRoots {
    /// Reads the file's certificates in PEM, or says why they are no authorities.
    pub fn open(file: &Path) -> Result<Self, RootsError> {
        let path = file.to_owned();
        Ok(Self(Arc::new(Fresh::of(SAID, vec![path.clone()], move || load(&path))?)))
    }

    /// Reads the file anew whenever it changes, until `stopping` says true.
    pub async fn keep(&self, stopping: watch::Receiver<bool>) {
        self.0.keep(stopping).await;
    }

    /// Whether one of them vouches, now, for the client that showed these in a handshake.
    pub fn vouch_for(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some((own, between)) = chain.and_then(<[_]>::split_first) else { return false };
        self.0.current().verify_client_cert(own, between, UnixTime::now()).is_ok()
    }

    /// What asks clients for a certificate.
    pub fn asking(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Asking(self.clone()))
    }
}

fn load(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, RootsError> {
    let unusable = |why: String| RootsError::Unusable { path: path.to_owned(), why };
    let pem = fresh::read(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| unusable(error.to_string()))
}

#[derive(Debug)]
struct Asking(ClientRoots);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.0.current().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.0.current().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.0.current().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &[u8] = include_bytes!("../../tests/support/relay_tls/client-ca.pem");
    const CLIENT: &[u8] = include_bytes!("../../tests/support/relay_tls/client.pem");
    const ANOTHER_CA: &[u8] = include_bytes!("../../tests/support/relay_tls/ca.pem");
    const STRANGER: &[u8] = include_bytes!("../../tests/support/relay_tls/other.pem");

    #[test]
    fn only_what_the_authority_signed_counts_and_always_that_of_the_file_as_it_is_now() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), CA).unwrap();
        let roots = ClientRoots::open(file.path()).unwrap();
        let one = |pem: &[u8]| CertificateDer::from_pem_slice(pem).unwrap();
        assert!(roots.vouch_for(Some(&[one(CLIENT)])));
        assert!(!roots.vouch_for(Some(&[one(STRANGER)])));
        assert!(!roots.vouch_for(Some(&[one(STRANGER), one(CLIENT)])));
        assert!(!roots.vouch_for(Some(&[])) && !roots.vouch_for(None));
        for wrong in [&b""[..], b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            std::fs::write(file.path(), wrong).unwrap();
            assert!(ClientRoots::open(file.path()).is_err(), "{}", wrong.escape_ascii());
            assert!(roots.0.has_changed() && roots.0.reload().is_err());
            assert!(roots.vouch_for(Some(&[one(CLIENT)])), "{}", wrong.escape_ascii());
        }
        std::fs::write(file.path(), ANOTHER_CA).unwrap();
        roots.0.reload().unwrap();
        assert!(!roots.vouch_for(Some(&[one(CLIENT)])));
    }
}
