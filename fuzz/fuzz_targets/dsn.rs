//! `make fuzz TARGET=dsn`; what is checked is in drive/dsn.rs.
#![no_main]

#[path = "../drive/dsn.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
