//! `make fuzz TARGET=smtp_session`; what is checked is in drive/smtp_session.rs.
#![no_main]

#[path = "../drive/smtp_session.rs"]
mod drive;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| drive::drive(octets));
