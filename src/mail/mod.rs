//! Floor 2: messages. What a message is, which Thread it belongs to, which mailboxes show it, what
//! the lists and counts of a mailbox are.
//!
//! Invariant: an Email enters, changes and leaves only by [`message`], which keeps its Thread, the
//! lists, the counts and the sets true in the same transaction. Team rules are one module up, in
//! `inbox`; nothing here knows them.

pub mod addresses;
pub mod authentication;
pub mod automatic;
pub mod blob;
pub mod body;
pub mod bounce;
pub mod charset;
pub mod check;
pub mod collation;
pub mod compose;
pub mod compose_headers;
pub mod compose_parts;
pub mod date;
pub mod dkim;
pub mod dsn;
pub mod envelope;
pub mod fields;
pub mod headers;
pub mod html;
pub mod identity;
pub mod indexer;
pub mod ingest;
pub mod keyed;
pub mod list;
pub mod mailbox;
pub mod mdn;
pub mod memo;
pub mod message;
pub mod outbound;
pub mod params;
pub mod parse;
pub mod query;
pub mod quota;
pub mod relays;
pub mod reports;
pub mod search;
pub mod sender;
pub mod seven_bit;
pub mod subject;
pub mod thread;
pub mod transfer;
pub mod vacation;
pub mod viewer;
pub mod words;
