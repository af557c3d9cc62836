//! Floor 3: JMAP. JSON in, JSON out, no sockets.
//!
//! A request's way: [`request`] reads it, the caller locks [`methods::accounts_written`] and makes
//! a [`context::Ctx`], [`process::process`] runs its calls, each by its line in [`methods`]. The
//! standard methods are written once (`get set changes query query_changes copy`) over the tables
//! and hooks of [`object`]; a data type is one file in `types/`, for which `example.rs` is a model.

pub mod args;
pub mod capability;
pub mod changes;
pub mod context;
pub mod copy;
pub mod documents;
pub mod error;
#[cfg(test)]
mod example;
#[cfg(test)]
mod example_tests;
pub mod get;
pub mod ijson;
pub mod methods;
pub mod object;
pub mod patch;
pub mod process;
pub mod query;
pub mod query_changes;
pub mod refs;
pub mod reply;
pub mod request;
pub mod session;
pub mod set;
pub mod set_check;
#[cfg(test)]
mod standard_tests;
pub mod types;
pub mod webpush;
pub mod websocket;
