//! SMTP and LMTP over real sockets: `inbound.rs` in, `relay.rs`, `relays.rs` and `dkim.rs` out, `lists.rs`
//! through.

mod dkim;
mod inbound;
mod lists;
mod relay;
mod relays;
