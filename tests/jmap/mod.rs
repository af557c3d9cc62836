//! JMAP over HTTP.

mod app_password;
mod blobs;
mod core;
mod delivery;
mod eventsource;
mod low_disk;
mod request;
mod search;
mod session;
