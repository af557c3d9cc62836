//! HTTP itself: TLS, patience, and what every answer has.

mod answers;
mod compression;
mod patience;
mod tls;
