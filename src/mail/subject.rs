//! The base subject: what of a subject is the same in a message and in the answers to it
//! (RFC 5256 §2.1, as RFC 8621 §3 uses it). Linear in the length.

/// The base subject of a Subject in Text form.
pub fn base_subject(text: &str) -> String {
    // Step 1: every run of white space is one space. (Encoded words are decoded already.)
    let clean = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = clean.as_str();
    loop {
        // Steps 2 to 5.
        rest = without_leaders(without_trailers(rest));
        // Step 6.
        match strip_prefix_ascii(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => rest = inner.trim(),
            None => return rest.to_owned(),
        }
    }
}

/// What two subjects are compared by: the base subject without white space (RFC 8621 §3) and
/// without case (RFC 5256 §2.1).
pub fn thread_subject(text: &str) -> String {
    base_subject(text).chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// Step 2: `subj-trailer = "(fwd)" / WSP`.
fn without_trailers(mut text: &str) -> &str {
    loop {
        text = text.trim_end();
        let cut = text.len().saturating_sub(5);
        match text.get(cut..) {
            Some(end) if end.eq_ignore_ascii_case("(fwd)") => text = &text[..cut],
            _ => return text,
        }
    }
}

/// Steps 3 to 5: `re:` and `fwd:`, with or without blobs around; then blobs alone, as long as
/// something remains after them.
fn without_leaders(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let mut after_blobs = rest;
        let mut kept = rest;
        while let Some(after) = after_blob(after_blobs) {
            if !after.is_empty() {
                kept = after;
            }
            after_blobs = after;
        }
        match after_refwd(after_blobs) {
            // Whatever came before belongs to the leader.
            Some(after) => rest = after.trim_start(),
            // No leader after all blobs means none after some of them: the blobs alone go.
            None => return kept,
        }
    }
}

/// `subj-blob = "[" *BLOBCHAR "]" *WSP`; BLOBCHAR is anything but brackets.
fn after_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let after = inner[end..].strip_prefix(']')?;
    // What step 6 takes away as a whole isn't a blob.
    let forward = strip_prefix_ascii(text, "[fwd:").is_some() && after.is_empty();
    (!forward).then(|| after.trim_start())
}

/// `subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"`.
fn after_refwd(text: &str) -> Option<&str> {
    ["re", "fwd", "fw"].iter().find_map(|word| {
        let rest = strip_prefix_ascii(text, word)?.trim_start();
        after_blob(rest).unwrap_or(rest).strip_prefix(':')
    })
}

fn strip_prefix_ascii<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_subject_is_what_remains_of_rfc_5256() {
        let cases = [
            ("Hello", "Hello"),
            ("Re: Hello", "Hello"),
            ("RE: re : FWD: Fw: Hello", "Hello"),
            ("Re[2]: Hello", "Hello"),
            ("Re [x] : Hello", "Hello"),
            ("[list] Re: [list] Hello", "Hello"),
            ("[a] [b] Hello", "Hello"),
            ("[a] [b]", "[b]"),
            ("[only]", "[only]"),
            ("Hello (fwd) (FWD) ", "Hello"),
            ("[Fwd: Re: Hello]", "Hello"),
            ("[fwd: [Fwd: Hello] (fwd)]", "Hello"),
            ("Re: ", ""),
            ("Rehearsal: x", "Rehearsal: x"),
            ("Re Hello", "Re Hello"),
            ("  a \t b  ", "a b"),
            ("Hello [x]", "Hello [x]"),
            ("[unclosed Re: x", "[unclosed Re: x"),
            ("é: x", "é: x"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(base_subject(text), expected, "{text}");
        }
        assert_eq!(
            thread_subject("Re: Grüße  an ALLE"),
            thread_subject("GRÜSSE an alle".replace("SS", "ß").as_str())
        );
        assert_eq!(thread_subject("Re: a b"), thread_subject("[x] AB"));
    }

    #[test]
    fn a_long_row_of_blobs_takes_linear_time() {
        let text = "[a]".repeat(80_000);
        assert_eq!(base_subject(&text), "[a]");
        assert_eq!(base_subject(&"re:".repeat(80_000)), "");
        assert_eq!(base_subject(&format!("{}x", "[".repeat(80_000))), format!("{}x", "[".repeat(80_000)));
    }
}
