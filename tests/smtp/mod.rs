//! SMTP and LMTP over real sockets: `inbound.rs` in, `relay.rs` out.

mod inbound;
mod relay;
