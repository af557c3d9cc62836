//! What import and export share.

use crate::inbox::admin::{AdminReply, AdminRequest};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Has one request done, by a running server or on the folder.
pub type Ask<'a> = &'a dyn Fn(AdminRequest) -> Result<AdminReply, String>;

/// How often people hear how far it is.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells on standard error how far it is, where a person looks on.
pub struct Progress {
    what: &'static str,
    count: u64,
    told: Instant,
    watched: bool,
}

impl Progress {
    /// Begins to count.
    pub fn new(what: &'static str) -> Self {
        Self { what, count: 0, told: Instant::now(), watched: std::io::stderr().is_terminal() }
    }

    /// One more.
    pub fn step(&mut self) {
        self.count += 1;
        if self.watched && self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            eprint!("\r{} {}", self.count, self.what);
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.watched {
            eprint!("\r\x1b[K");
        }
    }
}
