//! I-JSON (RFC 7493), where it asks for more than JSON does: a string has no code points that stand for
//! no character. Lone surrogates can't be in a `str`; what is left are Unicode's 66 noncharacters.
//!
//! A request that has one is refused. Mail may hold anything, so a response has U+FFFD in their place.

/// Is every code point of the text one that I-JSON allows in a string?
pub fn allows(text: &str) -> bool {
    !may_hold_nonchars(text) || !text.chars().any(is_nonchar)
}

/// The text of a response as I-JSON.
pub fn cleaned(text: String) -> String {
    if allows(&text) {
        return text;
    }
    text.chars().map(|c| if is_nonchar(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The first of them is U+FDD0, which begins with the octet 0xEF; most text has no such octet.
fn may_hold_nonchars(text: &str) -> bool {
    text.bytes().max().is_some_and(|highest| highest >= 0xEF)
}

/// Unicode §23.7: U+FDD0 to U+FDEF, and the last two code points of each plane.
fn is_nonchar(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noncharacters_are_known_and_replaced_and_nothing_else_is() {
        for fine in ["", "plain", "é漢字", "\u{FDCF}\u{FDF0}\u{FFFD}", "😀\u{10FFFD}\u{1FFFD}", "\u{0}"]
        {
            assert!(allows(fine), "{fine:?}");
            assert_eq!(cleaned(fine.to_owned()), fine);
        }
        for (wrong, wanted) in [
            ("a\u{FDD0}b", "a\u{FFFD}b"),
            ("\u{FDEF}", "\u{FFFD}"),
            ("\u{FFFE}\u{FFFF}", "\u{FFFD}\u{FFFD}"),
            ("é\u{1FFFE}", "é\u{FFFD}"),
            ("\u{10FFFF}", "\u{FFFD}"),
        ] {
            assert!(!allows(wrong), "{wrong:?}");
            assert_eq!(cleaned(wrong.to_owned()), wanted);
        }
    }
}
