//! One file a data type: its table of properties and its hooks.

pub mod activity;
pub mod blob;
pub mod blob_get;
pub mod blob_parse;
pub mod conversation;
pub mod conversation_counts;
pub mod conversation_erase;
pub mod conversation_filter;
pub mod conversation_query;
pub mod conversation_set;
pub mod email;
pub mod email_body;
pub mod email_copy;
pub mod email_create;
pub mod email_evidence;
pub mod email_header;
pub mod email_import;
pub mod email_parse;
pub mod email_query;
pub mod email_query_changes;
pub mod email_set;
#[cfg(test)]
mod email_set_tests;
#[cfg(test)]
mod email_tests;
pub mod email_view;
pub mod identity;
pub mod inbox_settings;
pub mod mailbox;
pub mod mailbox_query;
pub mod mdn;
pub mod mdn_parse;
pub mod note;
pub mod presence;
pub mod principal;
pub mod push_subscription;
pub mod quota;
pub mod reply_lock;
pub mod search_snippet;
pub mod share_notification;
pub mod submission;
pub mod submission_dsn;
pub mod submission_envelope;
pub mod submission_set;
pub mod team;

#[cfg(test)]
mod blob_tests;
#[cfg(test)]
mod mailbox_tests;
#[cfg(test)]
mod robust_tests;
#[cfg(test)]
mod team_tests;
pub mod thread;
pub mod vacation;
#[cfg(test)]
mod world;
