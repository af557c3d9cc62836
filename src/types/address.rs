//! Mail addresses: the addr-spec of RFC 5322 §3.4.1 and the Mailbox of RFC 5321 §4.1.2, with
//! UTF-8 where RFC 6531 allows it.

use super::limits::LOCAL_PART_BYTES_MAX;
use icu_normalizer::ComposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An address `local@domain`: each side non-empty and of at most 255 octets (RFC 5321 §4.5.3.1.1
/// asks for 64 on the left, and real return paths are longer), no white space or
/// control character outside a quoted local part. Kept as given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Address(String);

impl Address {
    /// Reads an address; `None` where it can't be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, domain) = text.rsplit_once('@')?;
        let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
        let local_fits = if quoted { quoted_fits(&local[1..local.len() - 1]) } else { dot_atom_fits(local) };
        let domain_fits = match domain.strip_prefix('[') {
            Some(literal) => literal.strip_suffix(']').is_some_and(|literal| {
                !literal.is_empty()
                    && literal.bytes().all(|b| {
                        b.is_ascii_graphic()
                            && !matches!(
                                b,
                                b'[' | b']' | b'\\' | b'<' | b'>' | b',' | b';' | b'"' | b'(' | b')' | b'@'
                            )
                    })
            }),
            None => dot_atom_fits(domain) && !domain.starts_with('-'),
        };
        (local.len() <= LOCAL_PART_BYTES_MAX && domain.len() <= 255 && local_fits && domain_fits)
            .then(|| Self(text.to_owned()))
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which addresses are compared: the local part composed (NFC, as RFC 6531 §3.7.1 has
    /// it) and in lower case, the domain as [`Address::domain_key`] gives it. RFC 5321 §2.4 lets only the
    /// owner of the domain fold the local part; for our own addresses we are that owner, and for
    /// customers' no known host tells them apart by case.
    pub fn key(&self) -> String {
        let local = self.0.rsplit_once('@').map_or(self.0.as_str(), |(local, _)| local);
        let local = match local.is_ascii() {
            true => local.to_ascii_lowercase(),
            // A letter in lower case may be another sequence: composed last.
            false => ComposingNormalizerBorrowed::new_nfc().normalize(&local.to_lowercase()).into_owned(),
        };
        format!("{local}@{}", self.domain_key())
    }

    /// The key of what may be an address, such as a login name: in lower case where it is none.
    pub fn key_of(text: &str) -> String {
        Self::parse(text).map_or_else(|| text.to_lowercase(), |address| address.key())
    }

    /// The form in which domains are compared: A-labels (RFC 5890), by the mapping of UTS 46, so that
    /// `MÜLLER.example`, `müller.example` and `xn--mller-kva.example` are one domain. What is no
    /// internationalised name (an address literal, a broken A-label) is only in lower case.
    pub fn domain_key(&self) -> String {
        let domain = self.domain();
        let lower = domain.to_ascii_lowercase();
        // Most names have nothing to map.
        let plain = lower.is_ascii() && !lower.split('.').any(|label| label.starts_with("xn--"));
        if plain || domain.starts_with('[') {
            return lower;
        }
        idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_lowercase())
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// True for `*@domain`, which stands for all of the domain that is nobody else's.
    pub fn is_catch_all(&self) -> bool {
        self.0.starts_with("*@")
    }

    /// True where RFC 6531 (SMTPUTF8) is needed to carry it.
    pub fn needs_smtputf8(&self) -> bool {
        !self.0.is_ascii()
    }
}

fn dot_atom_fits(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|atom| !atom.is_empty())
        && text.chars().all(|c| {
            !c.is_whitespace()
                && !c.is_control()
                && !matches!(c, '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '"')
        })
}

fn quoted_fits(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = c == '\\';
        let c = if escaped { chars.next() } else { Some(c) };
        match c {
            Some('"') if !escaped => return false,
            Some(c) if !c.is_control() => {}
            _ => return false,
        }
    }
    true
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        for good in [
            "a@b",
            "support@example.com",
            "jürgen@müller.example",
            "\"a b\"@c.example",
            "a+b@[127.0.0.1]",
            "o'neil@x.example",
        ] {
            assert!(Address::parse(good).is_some(), "{good}");
        }
        for wrong in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b c",
            "a@b\r\n",
            "<a@b>",
            "a@@b",
            "a..b@c",
            ".a@c",
            "a@c.",
            "\"a\"b\"@c",
            "a@-c",
            "\"a\\\"@c",
        ] {
            assert!(Address::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn one_address_in_any_spelling_has_one_key() {
        let key = |text: &str| Address::parse(text).unwrap_or_else(|| panic!("{text}")).key();
        for (spellings, expected) in [
            (&["Support@Example.COM", "SUPPORT@example.com"][..], "support@example.com"),
            (
                &[
                    "a@müller.example",
                    "A@MÜLLER.Example",
                    "a@mu\u{308}ller.example",
                    "a@XN--MLLER-KVA.example",
                ],
                "a@xn--mller-kva.example",
            ),
            // UTS 46 maps full width letters and the ideographic full stop.
            (&["a@ｅｘａｍｐｌｅ。com", "a@example.com"], "a@example.com"),
            (&["a@straße.example", "a@xn--strae-oqa.example"], "a@xn--strae-oqa.example"),
            (&["jürgen@x.example", "JU\u{308}RGEN@X.example"], "jürgen@x.example"),
            (&["*@bücher.example", "*@xn--bcher-kva.example"], "*@xn--bcher-kva.example"),
            // What is no such name is left as it is, in lower case.
            (&["a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"], "a@[ipv6:2001:db8::1]"),
            (&["a@XN--zzzzzzzz99999.example"], "a@xn--zzzzzzzz99999.example"),
            (&["a@under_score.example"], "a@under_score.example"),
        ] {
            for spelling in spellings {
                assert_eq!(key(spelling), expected, "{spelling}");
            }
        }
        assert_ne!(key("a@strasse.example"), key("a@straße.example"), "two domains since IDNA 2008");
        assert_eq!(Address::key_of("Ann"), "ann");
        assert_eq!(Address::key_of("Ann@MÜLLER.example"), "ann@xn--mller-kva.example");
    }
}
