//! Which clients of SMTP intake show a certificate that an authority of the operator's signed.
//!
//! Every client is asked for one and none needs it. A certificate of anybody else is taken for none, since mail
//! servers show theirs to whoever asks: such a client goes on as its address or its login allows. So the
//! handshake only proves that the key is the client's, and whether the certificate counts is asked after it, for
//! each connection anew, also where a session is resumed.

use std::fmt;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

/// The authorities, and what they have signed.
#[derive(Clone)]
pub struct ClientRoots(Arc<dyn ClientCertVerifier>);

impl ClientRoots {
    /// Reads certificates in PEM, or says why they are no authorities.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self(verifier.map_err(|error| error.to_string())?))
    }

    /// Whether one of them vouches, now, for the client that showed these in a handshake.
    pub fn vouch_for(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some((own, between)) = chain.and_then(<[_]>::split_first) else { return false };
        self.0.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }

    /// What asks clients for a certificate.
    pub fn asking(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Asking(self.clone()))
    }
}

impl fmt::Debug for ClientRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientRoots")
    }
}

#[derive(Debug)]
struct Asking(ClientRoots);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.0.root_hint_subjects()
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
        self.0.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &[u8] = include_bytes!("../../tests/support/relay_tls/client-ca.pem");
    const CLIENT: &[u8] = include_bytes!("../../tests/support/relay_tls/client.pem");
    const STRANGER: &[u8] = include_bytes!("../../tests/support/relay_tls/other.pem");

    #[test]
    fn only_what_the_authority_signed_counts() {
        let roots = ClientRoots::read(CA).unwrap();
        let one = |pem: &[u8]| CertificateDer::from_pem_slice(pem).unwrap();
        assert!(roots.vouch_for(Some(&[one(CLIENT)])));
        assert!(!roots.vouch_for(Some(&[one(STRANGER)])));
        assert!(!roots.vouch_for(Some(&[one(STRANGER), one(CLIENT)])));
        assert!(!roots.vouch_for(Some(&[])) && !roots.vouch_for(None));
        for wrong in [&b""[..], b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(ClientRoots::read(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
