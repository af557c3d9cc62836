//! The integration tests: one binary, each test with a server of its own, over real sockets. The path
//! of a test is what it tests, its name is a sentence.
#![allow(clippy::large_futures, reason = "a test may hold what it likes")]
#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test is to fail the test")]

mod cli;
mod corpus;
mod crash;
mod jmap;
mod model;
mod smtp;
mod story;
mod support;
