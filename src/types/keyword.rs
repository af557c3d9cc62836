//! Email keywords (RFC 8621 §4.1.1).

use serde::{Deserialize, Serialize};
use std::fmt;

/// A keyword: 1 to 255 characters, %x21–%x7e without `( ) { ] % * " \`, kept in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Keyword(String);

impl Keyword {
    pub const SEEN: &'static str = "$seen";
    pub const DRAFT: &'static str = "$draft";
    pub const FLAGGED: &'static str = "$flagged";
    pub const ANSWERED: &'static str = "$answered";
    pub const FORWARDED: &'static str = "$forwarded";
    pub const NEW: &'static str = "$new";
    pub const MEMO: &'static str = "$memo";
    pub const HAS_MEMO: &'static str = "$hasmemo";
    pub const MUTED: &'static str = "$muted";
    pub const FOLLOWED: &'static str = "$followed";
    /// RFC 3503 §3.1: a disposition notification was sent.
    pub const MDN_SENT: &'static str = "$mdnsent";

    /// Reads a keyword; `None` where RFC 8621 §4.1.1 doesn't allow it.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty()
            && text.len() <= 255
            && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && !b"(){]%*\"\\".contains(&byte));
        fits.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The keyword in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_kept_in_lower_case_and_refused_where_the_rfc_refuses_them() {
        assert_eq!(Keyword::parse("$Seen").map(|k| k.to_string()), Some("$seen".to_owned()));
        for wrong in ["", "a b", "a(b", "a)b", "a{b", "a]b", "a%b", "a*b", "a\"b", "a\\b", "ä", "\u{7f}"] {
            assert_eq!(Keyword::parse(wrong), None, "{wrong:?}");
        }
        assert!(Keyword::parse(&"x".repeat(255)).is_some());
        assert!(Keyword::parse(&"x".repeat(256)).is_none());
    }
}
