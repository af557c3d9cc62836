//! The integration tests: one binary, each test with a server of its own, over real sockets. The path
//! of a test is what it tests, its name is a sentence.
<<<<<<< HEAD
#![allow(clippy::large_futures, reason = "a test may hold what it likes")]
#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test is to fail the test")]
=======
#![allow(clippy::unwrap_used, reason = "a test may panic, also outside of its own function")]
>>>>>>> 4bffb3774784b4f2d6741eeb0d8c8e76b1b288ed

mod cli;
mod corpus;
mod crash;
mod jmap;
mod model;
mod smtp;
mod story;
mod support;
