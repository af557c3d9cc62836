//! The integration tests: one binary, each test with a server of its own, over real sockets. The path
//! of a test is what it tests, its name is a sentence.
#![allow(clippy::unwrap_used, reason = "a test may panic, also outside of its own function")]

mod cli;
mod corpus;
mod crash;
mod exchange;
mod faults;
mod http;
mod jmap;
mod model;
mod smtp;
mod spec;
mod story;
mod support;
mod team;
