//! When a subscription may be pushed to, by what the push service said before. Pure: times are given.
//!
//! RFC 8620 §7.2 asks for a reasonable answer to each response, and for fewer pushes after a 429. What
//! waits isn't lost: it is told as one StateChange later.

use crate::types::Millis;
use crate::types::limits::{
    PUSH_GIVE_UP_SECONDS, PUSH_REST_MILLISECONDS, PUSH_RETRY_SECONDS_MAX, PUSH_RETRY_SECONDS_MIN,
    PUSH_THROTTLED_REST_SECONDS_MAX,
};
use std::time::Duration;

/// What came of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A response with this status, and its Retry-After in seconds.
    Status { status: u16, retry_after: Option<u64> },
    /// No response: no address, no connection, no TLS, too slow.
    Unreachable,
    /// An address that the guard forbids, or a URL that can't be used: it will not get better.
    Forbidden,
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It arrived, or it never can: go on with what comes next.
    Done,
    /// Tell it again, later.
    Again,
    /// The subscription is over.
    Over,
}

/// The pace of one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Nothing goes out before.
    next: Millis,
    /// Between two pushes that arrive; grows with every 429, and shrinks again.
    rest: Duration,
    failures: u32,
    failing_since: Option<Millis>,
}

impl Default for Pace {
    fn default() -> Self {
        let rest = Duration::from_millis(PUSH_REST_MILLISECONDS);
        Self { next: Millis(0), rest, failures: 0, failing_since: None }
    }
}

impl Pace {
    /// How long to wait before the next push.
    pub fn wait(&self, now: Millis) -> Duration {
        now.until(self.next)
    }

    /// Did the last push arrive, or was there none?
    pub fn is_kept(&self) -> bool {
        self.failures == 0
    }

    /// Takes an answer into account.
    pub fn note(&mut self, answer: Answer, now: Millis) -> Verdict {
        match answer {
            Answer::Status { status: 200..=299, .. } => self.arrived(now),
            // RFC 8030 §7.3: the push service doesn't know the subscription any more.
            Answer::Status { status: 404 | 410, .. } | Answer::Forbidden => Verdict::Over,
            // Too large: the same again would be, too.
            Answer::Status { status: 413, .. } => self.arrived(now),
            Answer::Status { status: 429, retry_after } => {
                let most = Duration::from_secs(PUSH_THROTTLED_REST_SECONDS_MAX);
                self.rest = (self.rest * 2).min(most);
                self.failed(retry_after, now)
            }
            // 5xx, and whatever else: redirects, which aren't followed, and refusals of our proof.
            Answer::Status { retry_after, .. } => self.failed(retry_after, now),
            Answer::Unreachable => self.failed(None, now),
        }
    }

    fn arrived(&mut self, now: Millis) -> Verdict {
        self.next = now.after(self.rest);
        self.rest = (self.rest * 3 / 4).max(Duration::from_millis(PUSH_REST_MILLISECONDS));
        (self.failures, self.failing_since) = (0, None);
        Verdict::Done
    }

    fn failed(&mut self, retry_after: Option<u64>, now: Millis) -> Verdict {
        let since = *self.failing_since.get_or_insert(now);
        if since.until(now) >= Duration::from_secs(PUSH_GIVE_UP_SECONDS) {
            return Verdict::Over;
        }
        let wait = PUSH_RETRY_SECONDS_MIN.saturating_mul(1 << self.failures.min(16));
        let wait = wait.min(PUSH_RETRY_SECONDS_MAX);
        // A push service may ask for more, within reason.
        let wait = wait.max(retry_after.unwrap_or_default().min(PUSH_GIVE_UP_SECONDS));
        self.failures += 1;
        self.next = now.after(Duration::from_secs(wait).max(self.rest));
        Verdict::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> Answer {
        Answer::Status { status, retry_after: None }
    }

    fn seconds(pace: &Pace, now: Millis) -> u64 {
        pace.wait(now).as_secs()
    }

    #[test]
    fn each_answer_has_its_consequence() {
        for (answer, verdict) in [
            (status(200), Verdict::Done),
            (status(201), Verdict::Done),
            (status(204), Verdict::Done),
            (status(413), Verdict::Done),
            (status(404), Verdict::Over),
            (status(410), Verdict::Over),
            (Answer::Forbidden, Verdict::Over),
            (status(301), Verdict::Again),
            (status(400), Verdict::Again),
            (status(403), Verdict::Again),
            (status(429), Verdict::Again),
            (status(500), Verdict::Again),
            (status(503), Verdict::Again),
            (Answer::Unreachable, Verdict::Again),
        ] {
            assert_eq!(Pace::default().note(answer, Millis(0)), verdict, "{answer:?}");
        }
    }

    #[test]
    fn failures_wait_longer_each_time_and_are_given_up_in_the_end() {
        let (mut pace, mut now) = (Pace::default(), Millis(0));
        let mut waits = Vec::new();
        while pace.note(status(503), now) == Verdict::Again {
            waits.push(seconds(&pace, now));
            now = now.after(pace.wait(now));
        }
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits.iter().max(), Some(&PUSH_RETRY_SECONDS_MAX));
        assert!(now >= Millis(PUSH_GIVE_UP_SECONDS as i64 * 1000));
        assert_eq!(pace.note(status(201), now), Verdict::Done);
        assert_eq!(pace.note(status(503), now), Verdict::Again, "success forgives");
        assert_eq!(seconds(&pace, now), 5);
    }

    #[test]
    fn a_push_service_that_asks_for_patience_gets_it() {
        let mut pace = Pace::default();
        pace.note(Answer::Status { status: 503, retry_after: Some(120) }, Millis(0));
        assert_eq!(seconds(&pace, Millis(0)), 120);
        pace.note(Answer::Status { status: 429, retry_after: Some(u64::MAX) }, Millis(0));
        assert_eq!(seconds(&pace, Millis(0)), PUSH_GIVE_UP_SECONDS);
    }

    #[test]
    fn a_429_makes_pushes_rarer_also_when_they_arrive_again() {
        let (mut pace, now) = (Pace::default(), Millis(0));
        pace.note(status(201), now);
        let usual = pace.wait(now);
        for _ in 0..6 {
            pace.note(status(429), now);
        }
        pace.note(status(201), now);
        let rarer = pace.wait(now);
        assert!(rarer > usual * 10, "{rarer:?}");
        for _ in 0..40 {
            pace.note(status(201), now);
        }
        assert_eq!(pace.wait(now), usual);
    }
}
