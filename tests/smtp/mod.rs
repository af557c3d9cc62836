//! SMTP and LMTP over real sockets: `inbound.rs` in, `relay.rs` and `relays.rs` out, `lists.rs` through.

mod inbound;
mod lists;
mod relay;
mod relays;
