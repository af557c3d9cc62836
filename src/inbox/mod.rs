//! Floor 2: team work. The rules here are pure: rows and events in, rows and effects out. They
//! read no store, no clock and no JSON; whoever calls them holds the transaction.
//!
//! Every path (JMAP, a moved message, SMTP intake, a timer, a rule) becomes the same few events,
//! applied by [`machine::apply`].

pub mod activity;
pub mod addressing;
pub mod admin;
pub mod admin_check;
pub mod admin_erase;
pub mod admin_import;
pub mod admin_inbox;
pub mod admin_list;
mod admin_member;
pub mod admin_queue;
pub mod admin_quota;
pub mod admin_restore;
pub mod admin_team;
pub mod change;
pub mod check;
pub mod combine;
pub mod delivery;
pub mod desk;
pub mod dispositions;
pub mod erase;
pub mod gate;
pub mod handover;
pub mod intake;
pub mod kept;
pub mod lists;
pub mod lock;
pub mod machine;
pub mod membership;
pub mod memos;
pub mod merge;
pub mod messages;
pub mod moves;
pub mod naming;
pub mod notes;
pub mod ownership;
pub mod presence;
pub mod projection;
pub mod receipts;
pub mod refusal;
mod repeats;
pub mod returned;
pub mod scheduling;
pub mod sending;
pub mod server;
pub mod settings;
pub mod siblings;
pub mod status;
pub mod sweep;
pub mod threading;
pub mod timers;

#[cfg(all(test, feature = "rocksdb"))]
mod crash_tests;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod support;
#[cfg(test)]
mod threading_tests;
