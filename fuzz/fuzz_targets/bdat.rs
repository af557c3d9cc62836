//! `make fuzz TARGET=bdat`; what is checked is in drive/bdat.rs.
#![no_main]

#[path = "../drive/bdat.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
