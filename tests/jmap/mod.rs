//! JMAP over HTTP.

mod app_password;
mod blobs;
mod delivery;
mod eventsource;
mod request;
mod search;
mod session;
