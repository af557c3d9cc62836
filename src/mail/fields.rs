//! Splits a header block into its fields (RFC 5322 §2.2), by octets and exactly: nothing is
//! decoded, trimmed or put together. Everybody who asks what a header field is asks here, so that
//! what is parsed, what is shown and what is removed before sending never differ.
//!
//! Tolerated: lines that end in a bare LF, white space before the colon (RFC 5322 §4.5), an mbox
//! "From " line at the start, and lines that are no field among those that are (they are skipped).
//! A block whose first line is no field has no fields: it is all body.

use std::ops::Range;

/// Where one field stands in the octets that were split.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldSpan {
    pub name: Range<usize>,
    /// After the colon, up to the line end that ends the field.
    pub value: Range<usize>,
    /// The whole field with its last line end.
    pub whole: Range<usize>,
}

/// Calls `each` for every field of the block that begins at `start`, and gives where the body
/// begins. The block ends after an empty line, before a line for which `ends` is true, or with
/// the octets.
pub fn split(
    raw: &[u8],
    start: usize,
    ends: impl Fn(&[u8]) -> bool,
    mut each: impl FnMut(FieldSpan),
) -> usize {
    let mut at = start;
    let mut open: Option<FieldSpan> = None;
    let mut any = false;
    while at < raw.len() {
        let (line, next) = line_at(raw, at);
        if line.is_empty() || ends(line) {
            if let Some(field) = open.take() {
                each(field);
            }
            return if line.is_empty() { next } else { at };
        }
        let folded = matches!(line[0], b' ' | b'\t');
        match (&mut open, folded) {
            (Some(field), true) => {
                field.value.end = at + line.len();
                field.whole.end = next;
            }
            _ => {
                if let Some(field) = open.take() {
                    each(field);
                }
                open = name_length(line).map(|(name, colon)| FieldSpan {
                    name: at..at + name,
                    value: at + colon + 1..at + line.len(),
                    whole: at..next,
                });
                let mbox = at == start && line.starts_with(b"From ");
                if open.is_none() && !any && !mbox {
                    return start;
                }
                any |= open.is_some();
            }
        }
        at = next;
    }
    if let Some(field) = open {
        each(field);
    }
    raw.len()
}

/// The line at `at` without its end, and where the next one begins.
pub fn line_at(raw: &[u8], at: usize) -> (&[u8], usize) {
    let rest = raw.get(at..).unwrap_or_default();
    match memchr::memchr(b'\n', rest) {
        Some(end) => (rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), at + end + 1),
        None => (rest, raw.len()),
    }
}

/// The length of the name and the place of the colon, if the line begins a field.
fn name_length(line: &[u8]) -> Option<(usize, usize)> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let fits = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b));
    fits.then_some((name.len(), colon))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(raw: &[u8]) -> (Vec<(String, String)>, usize) {
        let mut out = Vec::new();
        let text = |range: Range<usize>| String::from_utf8_lossy(&raw[range]).into_owned();
        let body = split(raw, 0, |_| false, |f| out.push((text(f.name), text(f.value))));
        (out, body)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn fields_are_split_exactly_and_bad_lines_are_skipped() {
        type Case = (&'static [u8], &'static [(&'static str, &'static str)], usize);
        let cases: &[Case] = &[
            (b"A: b\r\n\r\nbody", &[("A", " b")], 8),
            (b"A: b\n\nbody", &[("A", " b")], 6),
            (b"A:b\r\n c\r\n\td\r\nE: f\r\n\r\n", &[("A", "b\r\n c\r\n\td"), ("E", " f")], 21),
            (b"A : b\r\n\r\n", &[("A", " b")], 9),
            (b"From x Mon\r\nA: b\r\n\r\n", &[("A", " b")], 20),
            (b"A: b\r\njunk\r\n more junk\r\nC: d\r\n\r\n", &[("A", " b"), ("C", " d")], 32),
            (b"no header at all\r\nA: b\r\n\r\n", &[], 0),
            (b" folded first\r\n\r\n", &[], 0),
            (b"\r\nbody", &[], 2),
            (b"", &[], 0),
            (b"A:", &[("A", "")], 2),
            (b"A: b\r", &[("A", " b\r")], 5),
            (b"A: b\r\n  \r\n c\r\n\r\n", &[("A", " b\r\n  \r\n c")], 16),
            (b": x\r\n\r\n", &[], 0),
        ];
        for (raw, expected, body) in cases {
            assert_eq!(fields(raw), (pairs(expected), *body), "{}", raw.escape_ascii());
        }
    }
}
