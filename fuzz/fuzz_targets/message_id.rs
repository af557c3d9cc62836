//! `make fuzz TARGET=message_id`; what is checked is in drive/message_id.rs.
#![no_main]

#[path = "../drive/message_id.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
