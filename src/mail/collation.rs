//! How strings compare (RFC 8620 §5.5): the three collations that the session names, each as a key
//! that is made once for a string and then compared by its octets.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// A collation of the registry of RFC 4790.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Collation {
    /// RFC 5051; the default where a comparator names none.
    #[default]
    UnicodeCasemap,
    /// RFC 4790 §9.2.
    AsciiCasemap,
    /// RFC 4790 §9.1.
    AsciiNumeric,
}

/// What a string is compared by, among keys of the same collation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CollationKey {
    Text(String),
    /// The number that the string begins with: how many digits it has without leading zeros, then
    /// the digits. So numbers of any length compare as what they are.
    Number(usize, String),
    /// No digit at the beginning: behind all numbers, all equal (RFC 4790 §9.1.1).
    NoNumber,
}

impl Collation {
    pub const ALL: [Collation; 3] = [Self::AsciiNumeric, Self::AsciiCasemap, Self::UnicodeCasemap];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsciiNumeric => "i;ascii-numeric",
            Self::AsciiCasemap => "i;ascii-casemap",
            Self::UnicodeCasemap => "i;unicode-casemap",
        }
    }

    /// The key of a string.
    pub fn key(self, text: &str) -> CollationKey {
        match self {
            Self::UnicodeCasemap => {
                let titled: String = text.chars().map(titlecase).collect();
                let normalizer = DecomposingNormalizerBorrowed::new_nfkd();
                CollationKey::Text(normalizer.normalize(&titled).into_owned())
            }
            Self::AsciiCasemap => CollationKey::Text(text.to_ascii_uppercase()),
            Self::AsciiNumeric => {
                let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
                if end == 0 {
                    return CollationKey::NoNumber;
                }
                let digits = text[..end].trim_start_matches('0');
                CollationKey::Number(digits.len(), digits.to_owned())
            }
        }
    }
}

/// The simple titlecase mapping of Unicode (RFC 5051 §2): of one character to one character, so
/// that `ß`, which has none, stays.
fn titlecase(c: char) -> char {
    match c {
        // The letters whose titlecase isn't their uppercase, and those whose uppercase is two letters.
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => c,
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => after(c, 8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => after(c, 9),
        c => {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        }
    }
}

fn after(c: char, distance: u32) -> char {
    char::from_u32(u32::from(c) + distance).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn strings_compare_as_their_collation_says() {
        use Collation::*;
        use Ordering::*;
        for (collation, one, other, order) in [
            (UnicodeCasemap, "ärger", "ÄRGER", Equal),
            (UnicodeCasemap, "a\u{308}", "Ä", Equal),
            (UnicodeCasemap, "ǆ", "Ǆ", Equal),
            (UnicodeCasemap, "ﬁn", "FIN", Greater),
            (UnicodeCasemap, "ῼ", "ῳ", Equal),
            (UnicodeCasemap, "a", "B", Less),
            (UnicodeCasemap, "_", "a", Greater),
            (UnicodeCasemap, "straße", "STRASSE", Greater),
            (AsciiCasemap, "abc", "ABC", Equal),
            (AsciiCasemap, "ä", "Ä", Greater),
            (AsciiCasemap, "_", "a", Greater),
            (AsciiNumeric, "9 lives", "10", Less),
            (AsciiNumeric, "007", "7", Equal),
            (AsciiNumeric, "0", "000x", Equal),
            (AsciiNumeric, "99999999999999999999999999999999999999999999", "1", Greater),
            (AsciiNumeric, "none", "1", Greater),
            (AsciiNumeric, "none", "", Equal),
            (AsciiNumeric, "-1", "zero", Equal),
        ] {
            assert_eq!(collation.key(one).cmp(&collation.key(other)), order, "{collation:?} {one} {other}");
        }
    }
}
