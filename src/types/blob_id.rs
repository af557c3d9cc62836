//! Blob ids (RFC 8620 §6).
//!
//! Three things have a blob id: stored content, named by its BLAKE3 hash (`b…`); the raw message
//! of an Email, which is its trace headers followed by stored content (`r…`, the Email's docnum);
//! and a part inside either of those, named by where its encoded octets stand and how they are
//! encoded (`…-offset-size-encoding`). Ids are scoped to an account: whether the account may read
//! the blob is never told by the id.

use super::ids::{EmailId, digit, digit_value, parse_base32, push_base32};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The BLAKE3 hash of stored content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobHash(pub [u8; 32]);

impl BlobHash {
    /// The hash that names `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// 32 octets as 52 base-32 digits, 5 bits each, the last one padded with zero bits.
    fn push(&self, out: &mut String) {
        let mut bits: u16 = 0;
        let mut count = 0;
        for &byte in &self.0 {
            bits = (bits << 8) | u16::from(byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                out.push(digit((bits >> count) as u8));
            }
            bits &= (1 << count) - 1;
        }
        if count > 0 {
            out.push(digit((bits << (5 - count)) as u8));
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != 52 {
            return None;
        }
        let mut hash = [0u8; 32];
        let (mut bits, mut count, mut at) = (0u16, 0, 0);
        for byte in text.bytes() {
            bits = (bits << 5) | u16::from(digit_value(byte)?);
            count += 5;
            if count >= 8 {
                count -= 8;
                *hash.get_mut(at)? = (bits >> count) as u8;
                at += 1;
            }
            bits &= (1 << count) - 1;
        }
        (at == 32 && bits == 0).then_some(Self(hash))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push(&mut text);
        f.write_str(&text)
    }
}

/// How the octets of a part are encoded in the message (RFC 2045 §6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum TransferEncoding {
    /// 7bit, 8bit, binary, or unknown: the octets are the content.
    Identity,
    Base64,
    QuotedPrintable,
}

/// What a blob, or the message around a part, is kept as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum BlobRoot {
    /// Stored content as it stands.
    Content(BlobHash),
    /// The raw message of an Email of the same account: trace headers, then content.
    Message(EmailId),
}

/// A blob id as a client sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct BlobId {
    pub root: BlobRoot,
    /// The part: offset and size of its *encoded* octets within the root, and their encoding.
    pub part: Option<(u32, u32, TransferEncoding)>,
}

impl BlobId {
    /// Stored content.
    pub fn content(hash: BlobHash) -> Self {
        Self { root: BlobRoot::Content(hash), part: None }
    }

    /// The raw message of an Email.
    pub fn message(email: EmailId) -> Self {
        Self { root: BlobRoot::Message(email), part: None }
    }

    /// A part of this blob; a part of a part can't be named.
    pub fn part(self, offset: u32, size: u32, encoding: TransferEncoding) -> Self {
        Self { root: self.root, part: Some((offset, size, encoding)) }
    }

    /// Reads the id; `None` where no blob is spelled so.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = text.split('-');
        let root = pieces.next()?;
        let root = match root.as_bytes().first()? {
            b'b' => BlobRoot::Content(BlobHash::parse(&root[1..])?),
            b'r' => BlobRoot::Message(EmailId(u32::try_from(parse_base32(&root[1..])?).ok()?)),
            _ => return None,
        };
        let Some(offset) = pieces.next() else {
            return Some(Self { root, part: None });
        };
        let offset = u32::try_from(parse_base32(offset)?).ok()?;
        let size = u32::try_from(parse_base32(pieces.next()?)?).ok()?;
        let encoding = match pieces.next()? {
            "i" => TransferEncoding::Identity,
            "b" => TransferEncoding::Base64,
            "q" => TransferEncoding::QuotedPrintable,
            _ => return None,
        };
        pieces.next().is_none().then_some(Self { root, part: Some((offset, size, encoding)) })
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        match self.root {
            BlobRoot::Content(hash) => {
                text.push('b');
                hash.push(&mut text);
            }
            BlobRoot::Message(email) => {
                text.push('r');
                push_base32(&mut text, u64::from(email.0));
            }
        }
        if let Some((offset, size, encoding)) = self.part {
            text.push('-');
            push_base32(&mut text, u64::from(offset));
            text.push('-');
            push_base32(&mut text, u64::from(size));
            text.push_str(match encoding {
                TransferEncoding::Identity => "-i",
                TransferEncoding::Base64 => "-b",
                TransferEncoding::QuotedPrintable => "-q",
            });
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blob_ids_come_back_as_they_went(hash: [u8; 32], docnum: u32, offset: u32, size: u32, which in 0..6) {
            let root = if which < 3 { BlobId::content(BlobHash(hash)) } else { BlobId::message(EmailId(docnum)) };
            let id = match which % 3 {
                0 => root,
                1 => root.part(offset, size, TransferEncoding::Base64),
                _ => root.part(offset, size, TransferEncoding::Identity),
            };
            prop_assert_eq!(BlobId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = BlobId::parse(&text);
        }
    }
}
