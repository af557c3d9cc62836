//! `make fuzz TARGET=patch`; what is checked is in drive/patch.rs.
#![no_main]

#[path = "../drive/patch.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
