//! `make fuzz TARGET=keys`; what is checked is in drive/keys.rs.
#![no_main]

#[path = "../drive/keys.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
