//! HTTP itself: TLS, patience, and what every answer has.

mod answers;
mod patience;
mod tls;
