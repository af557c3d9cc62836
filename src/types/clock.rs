//! The one clock and the one source of randomness. Both are passed in, so that a test sets the
//! time and a failure replays from its seed. This is the only file that may read the real ones.

use super::date::UtcDate;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Millis(pub i64);

impl Millis {
    /// This moment cut to the second.
    pub fn date(self) -> UtcDate {
        UtcDate(self.0.div_euclid(1000))
    }

    /// The moment `duration` later.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(self, later: Millis) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// Where every "now" comes from.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until [`Clock::advance`] or [`Clock::set`] moves it.
    pub fn manual(start: Millis) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.0))))
    }

    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Millis {
        match &self.0 {
            Some(set) => Millis(set.load(Ordering::SeqCst)),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// Sets a manual clock, backwards too, as somebody steps a machine's.
    pub fn set(&self, now: Millis) {
        if let Some(set) = &self.0 {
            set.store(now.0, Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward; a system clock can't be moved.
    pub fn advance(&self, duration: Duration) {
        if let Some(set) = &self.0 {
            set.fetch_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

/// Where every random octet comes from.
#[derive(Clone)]
pub struct Random(Option<Arc<Mutex<blake3::OutputReader>>>);

impl Random {
    /// The operating system's generator.
    pub fn system() -> Self {
        Self(None)
    }

    /// The same octets for the same seed, for tests that replay.
    pub fn seeded(seed: u64) -> Self {
        let stream = blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof();
        Self(Some(Arc::new(Mutex::new(stream))))
    }

    /// `N` random octets.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's randomness")]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0u8; N];
        match &self.0 {
            Some(stream) => {
                stream.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut out);
            }
            // The generator fails only on a kernel without getrandom; there is nothing safe to do then.
            None => getrandom::fill(&mut out).expect("the operating system gives random octets"),
        }
        out
    }
}
