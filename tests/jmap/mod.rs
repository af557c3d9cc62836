//! JMAP over HTTP.

mod app_password;
mod automatic_bcc;
mod blobs;
mod bounces;
mod core;
mod delivery;
mod documents;
mod email_push;
mod eventsource;
mod identity;
mod low_disk;
mod mdn;
mod push;
mod queue;
mod quota;
mod request;
mod scheduled;
mod search;
mod session;
mod set_errors;
mod submission;
mod trust;
mod twice;
mod vacation;
mod websocket;
