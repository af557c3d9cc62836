//! Any octets as a message: reading them never panics, and gives the same twice.

pub fn drive(octets: &[u8]) {
    let first = postroom::mail::parse::parse(octets);
    let second = postroom::mail::parse::parse(octets);
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
}
