//! `make fuzz TARGET=jmap_request`; what is checked is in drive/jmap_request.rs.
#![no_main]

#[path = "../drive/jmap_request.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
