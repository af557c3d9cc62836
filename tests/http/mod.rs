//! HTTP itself: TLS, patience, and what every answer has.

mod answers;
mod compression;
mod logs;
mod operators;
mod patience;
mod tls;
