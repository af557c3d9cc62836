//! Floor 3: SMTP and LMTP without sockets (RFC 5321, RFC 2033): octets in, actions out. Who a
//! recipient is and what becomes of a message is asked of the caller; time, limits on connections
//! and TLS are the business of `wire/`.
//!
//! | file | what it is for |
//! |---|---|
//! | [`command`] | one line of a client, read by the grammar of RFC 5321 §4.1 |
//! | [`data`] | the octets after DATA: where they end, dots, size; the same for what we send |
//! | [`reply`] | our replies with enhanced codes (RFC 2034), and reading the relay's |
//! | [`session`] | one connection of a client to us |
//! | [`client`] | one message from us to the relay |
//! | [`proxy`] | the header of the PROXY protocol, by which a proxy names its client |
//!
//! Deliberately absent: VRFY and EXPN that tell anything.

pub mod client;
pub mod command;
pub mod data;
pub mod proxy;
pub mod reply;
pub mod session;
