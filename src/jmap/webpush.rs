//! What Web Push needs of cryptography: a message that only its subscriber can read (RFC 8291, with the
//! content coding of RFC 8188), and the proof of who sends it (VAPID, RFC 8292). Pure: keys, salts and
//! times are given.

use crate::types::Millis;
use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::Uri;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey};
use ring::{aead, hkdf};

/// Octets of an uncompressed point of P-256.
const POINT_BYTES: usize = 65;
/// RFC 8188 §2.1: salt, record size, length of the key id, key id.
const HEADER_BYTES: usize = 16 + 4 + 1 + POINT_BYTES;
/// Its delimiter and the tag of AES-GCM.
const RECORD_BYTES: usize = 1 + 16;
/// RFC 8291 §4: a push service need not take more than 4096 octets, all in one record.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The same as RFC 8188 §2.1 writes a record size.
const RECORD_SIZE: [u8; 4] = [0, 0, 0x10, 0];
/// The longest text that a message can carry.
pub const TEXT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - HEADER_BYTES - RECORD_BYTES;

/// RFC 8620 §7.2 says URL-safe base64 and not whether it is padded.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The subscriber's side: `p256dh` and `auth` of RFC 8620 §7.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiverKeys {
    public: PublicKey,
    auth: [u8; 16],
}

impl ReceiverKeys {
    /// Reads them from base64; `None` where they are no point of the curve and no 16 octets.
    pub fn parse(p256dh: &str, auth: &str) -> Option<Self> {
        let public = BASE64.decode(p256dh).ok().filter(|point| point.len() == POINT_BYTES)?;
        let auth = BASE64.decode(auth).ok()?;
        Some(Self { public: PublicKey::from_sec1_bytes(&public).ok()?, auth: auth.try_into().ok()? })
    }

    /// The body of a message in `aes128gcm`. `private` and `salt` are random, made for this message
    /// alone. `None` for a text that is too long, and for a `private` that is no key, which one of 2^32
    /// isn't.
    pub fn encrypt(&self, text: &[u8], private: [u8; 32], salt: [u8; 16]) -> Option<Vec<u8>> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let private = SecretKey::from_slice(&private).ok()?;
        let public = point(&private.public_key());
        let shared = p256::ecdh::diffie_hellman(private.to_nonzero_scalar(), self.public.as_affine());
        // RFC 8291 §3.4.
        let theirs = point(&self.public);
        let info: [&[u8]; 3] = [b"WebPush: info\0", &theirs, &public];
        let secret: [u8; 32] = derive(&self.auth, shared.raw_secret_bytes(), &info)?;
        let key: [u8; 16] = derive(&salt, &secret, &[b"Content-Encoding: aes128gcm\0"])?;
        let nonce: [u8; 12] = derive(&salt, &secret, &[b"Content-Encoding: nonce\0"])?;
        let mut record = Vec::with_capacity(text.len() + RECORD_BYTES);
        record.extend_from_slice(text);
        // RFC 8188 §2: the delimiter of the last record.
        record.push(2);
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut record).ok()?;
        let mut body = Vec::with_capacity(HEADER_BYTES + record.len());
        body.extend_from_slice(&salt);
        body.extend_from_slice(&RECORD_SIZE);
        body.push(POINT_BYTES as u8);
        body.extend_from_slice(&public);
        body.extend_from_slice(&record);
        Some(body)
    }
}

fn point(key: &PublicKey) -> Vec<u8> {
    key.to_encoded_point(false).as_bytes().to_vec()
}

/// HKDF with SHA-256 (RFC 5869).
fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Option<[u8; N]> {
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let mut out = [0; N];
    key.expand(info, Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

/// How much key material is wanted.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// How long one proof holds; RFC 8292 §2 allows 24 hours.
const PROOF_SECONDS: i64 = 12 * 60 * 60;

/// The server's own key, by which push services and clients know it (RFC 8292, RFC 9749).
#[derive(Clone)]
pub struct Vapid {
    key: SigningKey,
    public: String,
}

impl Vapid {
    /// The key that a secret of 32 octets stands for, the same for the same secret.
    pub fn of(secret: [u8; 32]) -> Self {
        let mut candidate = secret;
        let key = loop {
            match SigningKey::from_slice(&candidate) {
                Ok(key) => break key,
                // One of 2^32 is no key.
                Err(_) => candidate = *blake3::hash(&candidate).as_bytes(),
            }
        };
        let point = key.verifying_key().to_encoded_point(false);
        let public = BASE64_URL_SAFE_NO_PAD.encode(point.as_bytes());
        Self { key, public }
    }

    /// `applicationServerKey` (RFC 9749 §3): the public key, uncompressed, in URL-safe base64.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The value of `Authorization` for a push to this origin (RFC 8292 §3); `subject` is how the
    /// operator of the server is reached, a mailto or https URL.
    pub fn authorization(&self, origin: &str, subject: &str, now: Millis) -> String {
        let claims = serde_json::json!({
            "aud": origin,
            "exp": now.0.div_euclid(1000) + PROOF_SECONDS,
            "sub": subject
        });
        let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ES256"}"#);
        let signed = format!("{header}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature: Signature = self.key.sign(signed.as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes());
        format!("vapid t={signed}.{signature}, k={}", self.public)
    }
}

/// A URL that pushes can go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// Reads an https URL; `None` where it is none, or has a user in it.
    pub fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host().to_owned();
        let port = authority.port_u16();
        let plain = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        // Neither a user nor a port that is none.
        if uri.scheme_str()? != "https" || host.is_empty() || authority.as_str() != plain {
            return None;
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { host, port: port.unwrap_or(443), path })
    }

    /// RFC 6454 §6.2: what a proof is made for.
    pub fn origin(&self) -> String {
        format!("https://{}", self.authority())
    }

    /// The value of Host.
    pub fn authority(&self) -> String {
        if self.port == 443 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path with its query.
    pub fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier;

    fn octets(text: &str) -> Vec<u8> {
        BASE64.decode(text).unwrap()
    }

    /// The subscriber of RFC 8291 §5.
    fn subscriber() -> ReceiverKeys {
        let p256dh =
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        ReceiverKeys::parse(p256dh, "BTBZMqHH6r4Tts7J_aSIgg").unwrap()
    }

    #[test]
    fn the_example_of_rfc_8291_is_encrypted_as_there() {
        let private = octets("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw").try_into().unwrap();
        let salt = octets("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let body = subscriber().encrypt(b"When I grow up, I want to be a watermelon", private, salt);
        assert_eq!(
            BASE64_URL_SAFE_NO_PAD.encode(body.unwrap()),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w\
             EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn a_message_fills_what_a_push_service_takes_and_no_more() {
        let text = vec![b'x'; TEXT_BYTES_MAX + 1];
        let body = subscriber().encrypt(&text[1..], [7; 32], [1; 16]).unwrap();
        assert_eq!(body.len(), MESSAGE_BYTES_MAX);
        assert_eq!(subscriber().encrypt(&text, [7; 32], [1; 16]), None);
        assert_eq!(subscriber().encrypt(b"", [0; 32], [1; 16]), None, "zero is no private key");
    }

    #[test]
    fn keys_that_are_none_are_not_taken() {
        let good = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
        assert!(ReceiverKeys::parse(&format!("{good}="), "BTBZMqHH6r4Tts7J_aSIgg==").is_some());
        let off_curve = good.replace("BCV", "BCW");
        for (p256dh, auth) in [
            ("", "BTBZMqHH6r4Tts7J_aSIgg"),
            (good, ""),
            (good, "BTBZMqHH6r4Tts7J"),
            (&good[..20], "BTBZMqHH6r4Tts7J_aSIgg"),
            (&off_curve, "BTBZMqHH6r4Tts7J_aSIgg"),
            ("not base64!", "BTBZMqHH6r4Tts7J_aSIgg"),
        ] {
            assert_eq!(ReceiverKeys::parse(p256dh, auth), None, "{p256dh} {auth}");
        }
    }

    #[test]
    fn a_proof_names_the_push_service_its_end_and_who_to_reach_and_is_signed_by_the_key_that_is_told() {
        let vapid = Vapid::of([9; 32]);
        assert_eq!(vapid.public(), Vapid::of([9; 32]).public());
        let header = vapid.authorization("https://push.example", "mailto:ops@x.example", Millis(1_000_500));
        let (token, key) = header.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, vapid.public());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        assert_eq!(octets(head), br#"{"typ":"JWT","alg":"ES256"}"#);
        let claims: serde_json::Value = serde_json::from_slice(&octets(claims)).unwrap();
        let wanted = serde_json::json!({
            "aud": "https://push.example", "exp": 1000 + 43200, "sub": "mailto:ops@x.example"
        });
        assert_eq!(claims, wanted);
        let verifying = VerifyingKey::from_sec1_bytes(&octets(key)).unwrap();
        let signature = Signature::from_slice(&octets(signature)).unwrap();
        assert!(verifying.verify(signed.as_bytes(), &signature).is_ok());
    }

    #[test]
    fn only_https_urls_without_a_user_are_targets() {
        let target = Target::parse("https://push.example/v1/x?device=1").unwrap();
        assert_eq!((target.port, target.path.as_str()), (443, "/v1/x?device=1"));
        assert_eq!(target.origin(), "https://push.example");
        assert_eq!(Target::parse("https://[::1]:8443").unwrap().origin(), "https://[::1]:8443");
        for wrong in [
            "",
            "/path",
            "http://push.example/",
            "https://",
            "https:///x",
            "https://user@push.example/",
            "https://push.example:x/",
            "https://push.example/a b",
            "ftp://push.example/",
        ] {
            assert_eq!(Target::parse(wrong), None, "{wrong}");
        }
    }
}
