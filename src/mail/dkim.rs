//! Signatures of DomainKeys Identified Mail (RFC 6376): the message in, the message with its signatures
//! out.
//!
//! Invariants: what is signed are the octets that the relay gets, so line ends are made CR LF before
//! (`smtp::data` would do the same), and other octets than 7-bit ones are encoded (`smtp::client` would do the
//! same for a relay that takes no others); the result is handed over as it is. No key is ever shown.
//!
//! Absent on purpose: verifying, which is the gateway's; `l=`, by which anybody could append to a
//! message; `i=`, which says nothing that `d=` doesn't.

use super::addresses::parse_addresses;
use super::fields::{self, FieldSpan};
use super::{seven_bit, words};
use crate::types::{Address, UtcDate, limits};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use std::collections::BTreeMap;
use std::fmt;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Fields that are signed, and once more than they are there, so that nobody adds one that is shown
/// instead (RFC 6376 §5.4.2, §8.15).
const NEVER_ADDED: [&str; 4] = ["from", "subject", "cc", "reply-to"];
/// The same where they are there at all. Relays may write them where they are missing.
const NEVER_DOUBLED: [&str; 8] = [
    "to",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];
/// Signed as they are; lists on the way may add theirs.
const AS_THEY_ARE: [&str; 5] = ["sender", "auto-submitted", "list-id", "list-post", "list-unsubscribe"];

/// Octets of a signature in one line.
const SIGNATURE_LINE_BYTES: usize = 72;

/// Who signs for a domain.
pub struct Signer {
    /// The domain as domains compare.
    domain: String,
    /// The domain as DNS has it.
    dns_domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a key can't sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFault {
    #[error("it holds no private key in PEM")]
    NoKey,
    #[error("its key is no RSA key of 2048 to 4096 bits and no Ed25519 key")]
    Unfit,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signer({}, {}, {})", self.domain, self.selector, self.algorithm())
    }
}

impl Signer {
    /// Reads a private key in PEM: PKCS #8, or PKCS #1 for RSA.
    pub fn new(domain: &str, selector: &str, pem: &[u8]) -> Result<Self, KeyFault> {
        let key = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyFault::NoKey)? {
            PrivateKeyDer::Pkcs1(der) => {
                Key::Rsa(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(unfit)?)
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                    Ok(key) => Key::Ed25519(key),
                    Err(_) => Key::Rsa(RsaKeyPair::from_pkcs8(der).map_err(unfit)?),
                }
            }
            _ => return Err(KeyFault::Unfit),
        };
        let dns_domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
        Ok(Self { domain: domain.to_owned(), dns_domain, selector: selector.to_owned(), key })
    }

    /// RFC 6376 §3.3.1, RFC 8463 §3.
    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// The signature of these octets; `None` where the system has no randomness.
    fn signature(&self, octets: &[u8]) -> Option<Vec<u8>> {
        match &self.key {
            Key::Rsa(key) => {
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut out).ok()?;
                Some(out)
            }
            // RFC 8463 §3: it signs the digest.
            Key::Ed25519(key) => Some(key.sign(digest(&SHA256, octets).as_ref()).as_ref().to_vec()),
        }
    }
}

fn unfit(_: ring::error::KeyRejected) -> KeyFault {
    KeyFault::Unfit
}

/// The message with the signatures of all that sign for the domain in From, or of the nearest domain above
/// it. Without any, with more than [`limits::HEADER_FIELDS_MAX`] fields, or where it isn't clear whom the
/// message is from, it stays as it is.
pub fn sign(signers: &[Signer], raw: Vec<u8>, now: UtcDate) -> Vec<u8> {
    let Some(domain) = from_domain(&raw) else { return raw };
    let of = |signer: &&Signer| {
        let above = domain.strip_suffix(signer.domain.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    };
    let nearest = signers.iter().filter(of).map(|signer| signer.domain.len()).max();
    let chosen = signers.iter().filter(of).filter(|signer| Some(signer.domain.len()) == nearest);
    let chosen: Vec<&Signer> = chosen.collect();
    if chosen.is_empty() {
        return raw;
    }
    // §5.3. What has no such form needs a relay that takes it as it is.
    let seven_bit = if raw.is_ascii() { None } else { seven_bit::convert(&raw).ok() };
    let message = with_line_ends(seven_bit.as_deref().unwrap_or(&raw));
    let mut out = Vec::with_capacity(message.len() + 1024 * chosen.len());
    for signer in chosen {
        match field(signer, &message, now) {
            Some(field) => out.extend_from_slice(&field),
            None => tracing::error!(?signer, "a message could not be signed"),
        }
    }
    out.extend_from_slice(&message);
    out
}

/// The DKIM-Signature field, which goes before the message.
fn field(signer: &Signer, message: &[u8], now: UtcDate) -> Option<Vec<u8>> {
    let mut spans = Vec::new();
    let body = fields::split(message, 0, |_| false, |span| spans.push(span));
    let named = by_name(message, &spans);
    let names = signed_names(&named);
    let hash = digest(&SHA256, &relaxed_body(message.get(body..).unwrap_or_default()));
    let unsigned = format!(
        "DKIM-Signature: v=1; a={}; c=relaxed/relaxed;\r\n\td={}; s={}; t={};\r\n\th={};\r\n\tbh={};\r\n\tb=",
        signer.algorithm(),
        signer.dns_domain,
        signer.selector,
        now.0,
        names.join(":\r\n\t "),
        STANDARD.encode(hash),
    );
    let signature = signer.signature(&signed_octets(message, named, &names, unsigned.as_bytes()))?;
    let mut field = unsigned.into_bytes();
    for (number, line) in STANDARD.encode(signature).as_bytes().chunks(SIGNATURE_LINE_BYTES).enumerate() {
        if number > 0 {
            field.extend_from_slice(b"\r\n\t ");
        }
        field.extend_from_slice(line);
    }
    field.extend_from_slice(b"\r\n");
    Some(field)
}

/// The domain that the message is from, as domains compare (RFC 6376 §3.5, `d=`; RFC 7489 §3.1.1); `None` too
/// where it has more fields than are read elsewhere.
fn from_domain(raw: &[u8]) -> Option<String> {
    let (mut count, mut froms, mut value) = (0usize, 0usize, 0..0);
    fields::split(
        raw,
        0,
        |_| false,
        |span| {
            count += 1;
            if raw.get(span.name).is_some_and(|name| name.eq_ignore_ascii_case(b"from")) {
                froms += 1;
                value = span.value;
            }
        },
    );
    if count > limits::HEADER_FIELDS_MAX || froms != 1 {
        return None;
    }
    let from = parse_addresses(&words::unfold(raw.get(value)?));
    from.first().and_then(|one| Address::parse(&one.email)).map(|address| address.domain_key())
}

/// The fields by their names in lower case, those of one name in their order.
type Named<'s> = BTreeMap<Vec<u8>, Vec<&'s FieldSpan>>;

fn by_name<'s>(message: &[u8], spans: &'s [FieldSpan]) -> Named<'s> {
    let mut named = Named::new();
    for span in spans {
        let name = message.get(span.name.clone()).unwrap_or_default().to_ascii_lowercase();
        named.entry(name).or_default().push(span);
    }
    named
}

/// What `h=` lists.
fn signed_names(named: &Named<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    let count = |name: &str| named.get(name.as_bytes()).map_or(0, Vec::len);
    let always = NEVER_ADDED.into_iter().map(|name| (name, 1));
    let again = NEVER_DOUBLED.into_iter().map(|name| (name, count(name).min(1)));
    for (name, more) in always.chain(again).chain(AS_THEY_ARE.map(|name| (name, 0))) {
        names.extend(std::iter::repeat_n(name, count(name) + more));
    }
    names
}

/// What the key signs: the fields of these names, from the last one up where a name is there again, and
/// the signature's own field without a signature (RFC 6376 §3.7, §5.4.2). The names are in lower case.
fn signed_octets(message: &[u8], mut named: Named<'_>, names: &[&str], own: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        if let Some(span) = named.get_mut(name.as_bytes()).and_then(Vec::pop) {
            let name = message.get(span.name.clone()).unwrap_or_default();
            relaxed_field(name, message.get(span.value.clone()).unwrap_or_default(), &mut out);
            out.extend_from_slice(b"\r\n");
        }
    }
    let colon = own.iter().position(|octet| *octet == b':').unwrap_or_default();
    let (name, value) = own.split_at(colon);
    relaxed_field(name, value.get(1..).unwrap_or_default(), &mut out);
    out
}

/// RFC 6376 §3.4.2, without the line end.
fn relaxed_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.to_ascii_lowercase());
    out.push(b':');
    let unfolded: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let start = unfolded.iter().position(|octet| !matches!(octet, b' ' | b'\t')).unwrap_or_default();
    relaxed_line(unfolded.get(start..).unwrap_or_default(), out);
}

/// A line with its white space as single spaces, and none at its end.
fn relaxed_line(line: &[u8], out: &mut Vec<u8>) {
    let is_space = |octet: &u8| matches!(octet, b' ' | b'\t');
    let end = line.iter().rposition(|octet| !is_space(octet)).map_or(0, |last| last + 1);
    let mut after_space = false;
    for octet in line.iter().take(end) {
        match is_space(octet) {
            true if after_space => {}
            true => out.push(b' '),
            false => out.push(*octet),
        }
        after_space = is_space(octet);
    }
}

/// RFC 6376 §3.4.4.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let (mut at, mut end) = (0, 0);
    while at < body.len() {
        let (line, next) = fields::line_at(body, at);
        let before = out.len();
        relaxed_line(line, &mut out);
        let is_empty = out.len() == before;
        out.extend_from_slice(b"\r\n");
        if !is_empty {
            end = out.len();
        }
        at = next;
    }
    out.truncate(end);
    out
}

/// The message with each line ended by CR LF, as it goes over SMTP (RFC 5321 §2.3.8).
fn with_line_ends(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 2);
    let mut after_cr = false;
    for &octet in raw {
        match octet {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => out.extend_from_slice(b"\r\n"),
            _ => out.push(octet),
        }
        after_cr = octet == b'\r';
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, KeyPair, UnparsedPublicKey};

    const RSA: &[u8] = include_bytes!("../../tests/support/dkim/rsa.pem");
    const ED25519_PEM: &[u8] = include_bytes!("../../tests/support/dkim/ed25519.pem");
    const NOW: UtcDate = UtcDate(1_800_000_000);

    /// The message of RFC 8463, appendix A.
    const DINNER: &str = "From: Joe SixPack <joe@football.example.com>\r\n\
        To: Suzie Q <suzie@shopping.example.net>\r\n\
        Subject: Is dinner ready?\r\n\
        Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
        Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
        \r\n\
        Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

    fn octets(text: &str) -> Vec<u8> {
        STANDARD.decode(text).unwrap()
    }

    /// 6376-3.3-3
    #[test]
    fn the_example_of_rfc_8463_is_hashed_as_its_signature_says() {
        let own = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
            d=football.example.com; i=@football.example.com;\r\n \
            q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
            subject : date : message-id : from : subject : date;\r\n \
            bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
        let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
        let mut spans = Vec::new();
        let body = fields::split(DINNER.as_bytes(), 0, |_| false, |span| spans.push(span));
        let hash = digest(&SHA256, &relaxed_body(&DINNER.as_bytes()[body..]));
        assert_eq!(STANDARD.encode(hash), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
        let signed =
            signed_octets(DINNER.as_bytes(), by_name(DINNER.as_bytes(), &spans), &names, own.as_bytes());
        let key = UnparsedPublicKey::new(&ED25519, octets("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="));
        let signature =
            "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
        key.verify(digest(&SHA256, &signed).as_ref(), &octets(signature)).unwrap();
    }

    /// 6376-3.4.4-1
    #[test]
    fn bodies_are_relaxed_as_the_rfc_has_it() {
        for (body, relaxed) in [
            ("", ""),
            ("\r\n\r\n", ""),
            (" \t\r\n", ""),
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            ("no end", "no end\r\n"),
            (".\r\n..\r\n\r\n.", ".\r\n..\r\n\r\n.\r\n"),
        ] {
            assert_eq!(
                relaxed_body(body.as_bytes()).escape_ascii().to_string(),
                relaxed.escape_default().to_string()
            );
        }
    }

    /// 6376-3.4.2-1
    #[test]
    fn fields_are_relaxed_as_the_rfc_has_it() {
        for (name, value, relaxed) in [
            ("A", " X", "a:X"),
            ("B ", " Y\t\r\n\tZ  ", "b:Y Z"),
            ("Empty", " \r\n ", "empty:"),
            ("C", "é \t é", "c:é é"),
        ] {
            let mut out = Vec::new();
            relaxed_field(name.trim_end().as_bytes(), value.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), relaxed);
        }
    }

    /// 6376-5.4-1
    #[test]
    fn what_is_shown_is_signed_once_more_than_it_is_there() {
        let text = "From: a@x\r\nTo: b@y\r\nReceived: x\r\nTO: c@y\r\nList-Id: <l>\r\n\r\n";
        let mut spans = Vec::new();
        fields::split(text.as_bytes(), 0, |_| false, |span| spans.push(span));
        let names = signed_names(&by_name(text.as_bytes(), &spans)).join(":");
        assert_eq!(names, "from:from:subject:cc:reply-to:to:to:to:list-id");
    }

    /// So many that it would be noticed if each were searched for.
    #[test]
    fn each_of_many_fields_of_one_name_is_signed_once_from_the_last_one_up() {
        const MANY: usize = 50_000;
        let text: String = (0..MANY).map(|n| format!("{}: {n}\r\n", ["To", "TO"][n % 2])).collect();
        let mut spans = Vec::new();
        fields::split(text.as_bytes(), 0, |_| false, |span| spans.push(span));
        let named = by_name(text.as_bytes(), &spans);
        let names = signed_names(&named);
        assert_eq!(names.iter().filter(|name| **name == "to").count(), MANY + 1);
        let signed = String::from_utf8(signed_octets(text.as_bytes(), named, &names, b"own:")).unwrap();
        let upward: String = (0..MANY).rev().map(|n| format!("to:{n}\r\n")).collect();
        assert!(signed == format!("{upward}own:"), "{}", &signed[..100]);
    }

    #[test]
    fn a_message_with_more_fields_than_are_read_is_not_signed() {
        let signers = [Signer::new("x.example", "s", ED25519_PEM).unwrap()];
        let of =
            |fields: usize| format!("From: a@x.example\r\n{}\r\nb\r\n", "To: b@y\r\n".repeat(fields - 1));
        let most = of(limits::HEADER_FIELDS_MAX);
        let signed = sign(&signers, most.clone().into_bytes(), NOW);
        assert!(signed.starts_with(b"DKIM-Signature: ") && signed.ends_with(most.as_bytes()));
        let more = of(limits::HEADER_FIELDS_MAX + 1);
        assert!(sign(&signers, more.clone().into_bytes(), NOW) == more.as_bytes());
    }

    #[test]
    fn the_nearest_domain_of_the_from_field_signs_with_all_its_keys() {
        let signer = |domain: &str, pem| Signer::new(domain, "s", pem).unwrap();
        let all = [
            signer("x.example", RSA),
            signer("x.example", ED25519_PEM),
            signer("mail.x.example", RSA),
            signer("other.example", RSA),
        ];
        let domains = |from: &str| {
            let raw = format!("{from}Subject: s\r\n\r\nb\r\n").into_bytes();
            let signed = sign(&all, raw.clone(), NOW);
            assert!(signed.ends_with(&raw));
            let text = String::from_utf8(signed).unwrap();
            let found = text.lines().filter_map(|line| line.trim_start().strip_prefix("d="));
            found.filter_map(|line| Some(line.split_once(';')?.0.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(domains("From: A <a@X.example>\r\n"), ["x.example", "x.example"]);
        assert_eq!(domains("From: a@mail.x.example\r\n"), ["mail.x.example"]);
        assert_eq!(domains("From: a@deep.mail.x.example\r\n"), ["mail.x.example"]);
        for unsigned in
            ["From: a@notx.example\r\n", "From: a@x.example\r\nFrom: a@x.example\r\n", "From: nobody\r\n", ""]
        {
            assert!(domains(unsigned).is_empty(), "{unsigned}");
        }
    }

    #[test]
    fn a_message_is_signed_with_the_line_ends_that_it_goes_out_with() {
        let signers = [Signer::new("x.example", "s", ED25519_PEM).unwrap()];
        let signed = |raw: &str| sign(&signers, raw.as_bytes().to_vec(), NOW);
        let clean = signed("From: a@x.example\r\n\r\n.\r\nb\r\n");
        assert_eq!(signed("From: a@x.example\n\n.\nb"), clean);
        assert_eq!(signed("From: a@x.example\r\n\r\n.\rb\r"), clean);
        assert!(clean.ends_with(b"From: a@x.example\r\n\r\n.\r\nb\r\n"));
        let lines = clean.split(|octet| *octet == b'\n');
        assert!(lines.clone().all(|line| line.len() <= 80), "{}", clean.escape_ascii());
        assert_eq!(signed("no header"), b"no header");
    }

    /// 6376-3.3-2
    #[test]
    fn keys_that_cannot_sign_are_refused_and_none_is_shown() {
        let fault = |pem: &[u8]| Signer::new("x.example", "s", pem).err();
        assert_eq!(fault(b""), Some(KeyFault::NoKey));
        assert_eq!(fault(include_bytes!("../../tests/support/relay_tls/ca.pem")), Some(KeyFault::NoKey));
        assert_eq!(fault(include_bytes!("../../tests/support/dkim/rsa1024.pem")), Some(KeyFault::Unfit));
        assert_eq!(fault(include_bytes!("../../tests/support/dkim/p256.pem")), Some(KeyFault::Unfit));
        let signer = Signer::new("x.example", "s", ED25519_PEM).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer(x.example, s, ed25519-sha256)");
        let Key::Ed25519(key) = &signer.key else { panic!("no Ed25519 key") };
        assert_eq!(key.public_key().as_ref().len(), 32);
    }
}
