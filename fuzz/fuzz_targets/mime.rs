//! `make fuzz TARGET=mime`; what is checked is in drive/mime.rs.
#![no_main]

#[path = "../drive/mime.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
