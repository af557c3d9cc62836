//! Failed logins make the next ones wait, by remote address and by name, in bounded memory. They
//! fade: every [`LOGIN_FAILURES_HALVE`] their count is halved.

use crate::types::Millis;
use crate::types::limits::{
    LOGIN_DELAY_SECONDS_MAX, LOGIN_FAILURES_FREE_MAX, LOGIN_FAILURES_HALVE, LOGIN_FAILURES_TRACKED_MAX,
};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whose failures are counted. Of IPv6 the /64, which one host has to itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Who {
    V4(u32),
    V6(u64),
    Name([u8; 32]),
}

#[derive(Clone, Copy)]
struct Failures {
    /// As of `last`.
    count: u32,
    last: Millis,
}

impl Failures {
    /// What is left of them.
    fn at(self, now: Millis) -> u32 {
        let halvings = self.last.until(now).as_secs() / LOGIN_FAILURES_HALVE.as_secs();
        u32::try_from(halvings).ok().and_then(|by| self.count.checked_shr(by)).unwrap_or(0)
    }
}

/// The failures of late.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<Who, Failures>>);

impl Throttle {
    /// How long this attempt must wait; `None` where it may go on.
    pub fn wait(&self, remote: IpAddr, name: &str, now: Millis) -> Option<Duration> {
        let failures = self.lock();
        let waits = keys(remote, name).into_iter().filter_map(|who| {
            let found = failures.get(&who)?;
            let wait = now.until(found.last.after(delay(found.at(now))));
            (!wait.is_zero()).then_some(wait)
        });
        waits.max()
    }

    /// Remembers a failed attempt.
    pub fn failed(&self, remote: IpAddr, name: &str, now: Millis) {
        let mut failures = self.lock();
        for who in keys(remote, name) {
            if failures.len() >= LOGIN_FAILURES_TRACKED_MAX && !failures.contains_key(&who) {
                drop_older_half(&mut failures);
            }
            let entry = failures.entry(who).or_insert(Failures { count: 0, last: now });
            entry.count = entry.at(now).saturating_add(1);
            entry.last = now;
        }
    }

    /// Forgets the failures of who has just logged in.
    pub fn succeeded(&self, remote: IpAddr, name: &str) {
        let mut failures = self.lock();
        for who in keys(remote, name) {
            failures.remove(&who);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(remote: IpAddr, name: &str) -> [Who; 2] {
    let remote = match remote.to_canonical() {
        IpAddr::V4(address) => Who::V4(address.to_bits()),
        IpAddr::V6(address) => Who::V6((address.to_bits() >> 64) as u64),
    };
    [remote, Who::Name(*blake3::hash(name.to_lowercase().as_bytes()).as_bytes())]
}

/// Nothing for the first few, then 1, 2, 4 … seconds.
fn delay(count: u32) -> Duration {
    match count.checked_sub(LOGIN_FAILURES_FREE_MAX) {
        Some(over) => Duration::from_secs((1u64 << over.min(32)).min(LOGIN_DELAY_SECONDS_MAX)),
        None => Duration::ZERO,
    }
}

fn drop_older_half(failures: &mut HashMap<Who, Failures>) {
    let mut times: Vec<Millis> = failures.values().map(|entry| entry.last).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    failures.retain(|_, entry| entry.last > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_begins_after_a_few_failures_doubles_and_ends_with_a_success() {
        let (throttle, here) = (Throttle::default(), IpAddr::from([192, 0, 2, 1]));
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        let now = Millis(0);
        for _ in 0..LOGIN_FAILURES_FREE_MAX {
            assert_eq!(throttle.wait(here, "ada", now), None);
            throttle.failed(here, "ada", now);
        }
        assert_eq!(throttle.wait(here, "bob", now), Some(Duration::from_secs(1)), "by address");
        assert_eq!(throttle.wait(elsewhere, "Ada", now), Some(Duration::from_secs(1)), "by name");
        assert_eq!(throttle.wait(here, "ada", Millis(1000)), None);
        throttle.failed(here, "ada", Millis(1000));
        assert_eq!(throttle.wait(here, "ada", Millis(1000)), Some(Duration::from_secs(2)));
        throttle.succeeded(here, "ada");
        assert_eq!(throttle.wait(here, "ada", Millis(1000)), None);
    }

    #[test]
    fn failures_fade_with_the_time() {
        let (throttle, here) = (Throttle::default(), IpAddr::from([192, 0, 2, 1]));
        let minutes = |count: i64| Millis(count * 60_000);
        for _ in 0..LOGIN_FAILURES_FREE_MAX * 2 {
            throttle.failed(here, "ada", minutes(0));
        }
        throttle.failed(here, "ada", minutes(10));
        assert_eq!(
            throttle.wait(here, "ada", minutes(10)),
            Some(Duration::from_secs(2)),
            "half of them and one count as that many in a row"
        );
        throttle.failed(here, "ada", minutes(40));
        assert_eq!(throttle.wait(here, "ada", minutes(40)), None, "few are left");
        throttle.failed(here, "ada", minutes(60 * 24 * 365));
        assert_eq!(throttle.wait(here, "ada", minutes(60 * 24 * 365)), None, "none is left");
    }
}
