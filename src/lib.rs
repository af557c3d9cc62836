//! Postroom: a JMAP mail server for teams that answer mail together.
//!
//! # Layout
//!
//! The tree is the architecture: a file imports only from lower floors.
//!
//! | floor | module | what it is for |
//! |---|---|---|
//! | 0 | [`types`] | pure values: ids, addresses, dates, keywords, limits, the clock |
//! | 1 | [`store`] | rows, transactions, change logs, blobs; the only user of the engine |
//! | 2 | [`auth`] | who may do what: principals, accounts, roles, credentials |
//! | 2 | [`mail`] | messages: parse, thread, mailboxes, deliver, search, outbound queue |
//! | 2 | [`inbox`] | team work: conversations, notes, locks, the send gate, activity |
//! | 3 | [`jmap`] | JSON in, JSON out, no sockets |
//! | 3 | [`smtp`] | bytes in, actions out, no sockets |
//! | 4 | [`wire`] | sockets, timeouts, HTTP, SMTP |
//! | 5 | [`config`], [`cli`], [`app`] | commands, start order, shutdown |
//!
//! `tests/tidy.rs` keeps this.

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod inbox;
pub mod jmap;
pub mod mail;
pub mod smtp;
pub mod store;
pub mod types;
pub mod wire;
