//! The integration tests: one binary, each test with a server of its own, over real sockets. The path
//! of a test is what it tests, its name is a sentence.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::large_futures, reason = "a test may panic and wait")]

mod corpus;
mod crash;
mod cli;
mod jmap;
mod model;
mod smtp;
mod story;
mod support;
