//! What the tests stand on: the real binary as a child process, clients of it, and a relay. Nothing
//! here calls the library, so that what is tested is what ships.

pub mod client;
pub mod gateway;
pub mod push_service;
pub mod relay;
pub mod sending;
pub mod server;
pub mod socket;
pub mod tls_client;

pub use client::{CORE, Client, MAIL, TEAM};
pub use gateway::Gateway;
pub use server::TestServer;

/// What an agent's account is protected by in every test.
pub const PASSWORD: &str = "correct horse battery staple";

/// Waits until `done` gives something; panics after twenty seconds.
pub async fn eventually<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(value) = done().await {
            return value;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{what}: not within a minute");
}

/// A plain message, from and to these, lines ending in CR LF.
pub fn message(id: &str, from: &str, to: &str, subject: &str, body: &str) -> String {
    format!(
        "Date: Tue, 17 Nov 2026 10:00:00 +0000\r\nFrom: {from}\r\nTo: {to}\r\nSubject: {subject}\r\n\
         Message-ID: <{id}>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
    )
}
