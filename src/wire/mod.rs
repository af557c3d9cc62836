//! (in work)

pub mod smtp_in;
pub mod smtp_limits;
pub mod smtp_out;
