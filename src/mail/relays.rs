//! The relays: whose mail each takes, which of them answers, and which is asked first.
//!
//! A sender's domain that some relay names goes through these alone; any other goes through the
//! relays that name none. Of those that may carry a message, the ones that answer come first, by
//! priority and then by who has least to do; the ones that don't answer come last, soonest due
//! first. So a relay that is down costs nobody a wait while there is another, and where there is
//! none it is tried as each message's own turn comes.
//!
//! Health lives in memory: after a start every relay is thought well of.

use crate::types::limits::{RELAY_DOWN_SECONDS_MAX, RELAY_DOWN_SECONDS_MIN, RELAY_PROBE_SECONDS};
use crate::types::{Address, Millis};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an operator says of one relay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayRule {
    /// `HOST:PORT`, with `USER@` before it where there is a login.
    pub name: String,
    /// The domains of senders that it is for, as domains compare; empty: those that no relay names.
    pub senders: Vec<String>,
    /// The lower the sooner.
    pub priority: u32,
    /// Handovers at once.
    pub connections_max: usize,
    /// Of these, to recipients in one domain.
    pub connections_per_destination_max: usize,
}

/// Whether a relay answers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RelayHealth {
    /// Failures one after another.
    pub failures: u32,
    /// Until when others are preferred; it answers where this is `None`.
    pub down_until: Option<Millis>,
    /// What it last failed of.
    pub error: Option<String>,
}

/// All relays of a server, in the order of the configuration.
#[derive(Default, Debug)]
pub struct Relays {
    rules: Vec<RelayRule>,
    health: Mutex<Vec<RelayHealth>>,
}

impl Relays {
    /// Relays of which nothing is known yet.
    pub fn new(rules: Vec<RelayRule>) -> Self {
        let health = Mutex::new(vec![RelayHealth::default(); rules.len()]);
        Self { rules, health }
    }

    /// The rule of the relay of this number.
    pub fn rule(&self, number: usize) -> Option<&RelayRule> {
        self.rules.get(number)
    }

    /// Every relay and how it is.
    pub fn states(&self) -> Vec<(RelayRule, RelayHealth)> {
        self.rules.iter().cloned().zip(self.health().iter().cloned()).collect()
    }

    /// The numbers of the relays that may carry a message of this sender's domain, the first to ask
    /// at the head. `only` names the one relay that may: it perhaps has the message already.
    pub fn route(
        &self,
        domain: &str,
        only: Option<&str>,
        now: Millis,
        busy: impl Fn(usize) -> usize,
    ) -> Vec<usize> {
        let names = |rule: &RelayRule| rule.senders.iter().any(|one| one == domain);
        let is_named = self.rules.iter().any(names);
        let may = |rule: &RelayRule| match only {
            Some(name) => rule.name == name,
            None if is_named => names(rule),
            None => rule.senders.is_empty(),
        };
        let health = self.health();
        let down = |number: usize| {
            health.get(number).and_then(|health| health.down_until).filter(|until| *until > now)
        };
        let mut found: Vec<_> = self
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| may(rule))
            .map(|(number, rule)| (down(number), rule.priority, busy(number), number))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(.., number)| number).collect()
    }

    /// A relay is about to be asked. One that failed gets a single message to show itself by: until
    /// that has ended, others are preferred.
    pub fn asked(&self, number: usize, now: Millis) {
        if let Some(health) = self.health().get_mut(number).filter(|health| health.down_until.is_some()) {
            health.down_until = Some(now.after(Duration::from_secs(RELAY_PROBE_SECONDS)));
        }
    }

    /// A relay answered, whatever it said of the message.
    pub fn answered(&self, number: usize) {
        if let Some(health) = self.health().get_mut(number) {
            *health = RelayHealth::default();
        }
    }

    /// A relay couldn't be reached, or wouldn't talk. The wait doubles with each failure.
    pub fn failed(&self, number: usize, now: Millis, why: String) {
        if let Some(health) = self.health().get_mut(number) {
            let doubled = RELAY_DOWN_SECONDS_MIN.saturating_mul(1 << health.failures.min(20));
            health.failures = health.failures.saturating_add(1);
            health.down_until = Some(now.after(Duration::from_secs(doubled.min(RELAY_DOWN_SECONDS_MAX))));
            health.error = Some(why);
        }
    }

    fn health(&self) -> MutexGuard<'_, Vec<RelayHealth>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A domain as domains compare; `None` where it is none.
pub fn domain_key(text: &str) -> Option<String> {
    Address::parse(&format!("x@{text}")).map(|address| address.domain_key())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, senders: &[&str], priority: u32) -> RelayRule {
        RelayRule {
            name: name.to_owned(),
            senders: senders.iter().map(|one| (*one).to_owned()).collect(),
            priority,
            connections_max: 8,
            connections_per_destination_max: 4,
        }
    }

    fn at(seconds: u64) -> Millis {
        Millis(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_domain_that_relays_name_goes_through_these_alone() {
        let all =
            [rule("a", &[], 0), rule("b", &["x.example"], 9), rule("c", &["x.example", "y.example"], 1)];
        let relays = Relays::new(all.to_vec());
        let route = |domain: &str, only| relays.route(domain, only, at(0), |_| 0);
        assert_eq!(route("x.example", None), [2, 1]);
        assert_eq!(route("y.example", None), [2]);
        assert_eq!(route("z.example", None), [0]);
        assert_eq!(route("x.example", Some("a")), [0]);
        assert_eq!(route("x.example", Some("gone")), [0; 0]);
        assert_eq!(domain_key("X.Example").as_deref(), Some("x.example"));
        assert_eq!(domain_key("no domain"), None);
    }

    #[test]
    fn of_equal_relays_the_one_with_less_to_do_comes_first() {
        let relays = Relays::new(vec![rule("a", &[], 1), rule("b", &[], 1), rule("c", &[], 0)]);
        assert_eq!(relays.route("x", None, at(0), |number| [5, 2, 7][number]), [2, 1, 0]);
    }

    #[test]
    fn one_that_fails_comes_last_for_longer_and_longer_until_one_message_shows_that_it_answers() {
        let relays = Relays::new(vec![rule("a", &[], 0), rule("b", &[], 1)]);
        let route = |seconds| relays.route("x", None, at(seconds), |_| 0);
        relays.failed(0, at(0), "refused".to_owned());
        assert_eq!((route(0), route(RELAY_DOWN_SECONDS_MIN)), (vec![1, 0], vec![0, 1]));
        // Its turn to show itself, by one message at a time.
        let now = RELAY_DOWN_SECONDS_MIN;
        relays.asked(0, at(now));
        assert_eq!(route(now), [1, 0]);
        relays.failed(0, at(now), "refused".to_owned());
        assert_eq!(route(now + RELAY_DOWN_SECONDS_MIN), [1, 0]);
        assert_eq!(route(now + 2 * RELAY_DOWN_SECONDS_MIN), [0, 1]);
        for _ in 0..40 {
            relays.failed(0, at(now), "refused".to_owned());
        }
        assert_eq!(route(now + RELAY_DOWN_SECONDS_MAX), [0, 1]);
        let told = &relays.states()[0].1;
        assert_eq!((told.failures, told.error.as_deref()), (42, Some("refused")));
        relays.answered(0);
        assert_eq!((route(0), relays.states()[0].1.clone()), (vec![0, 1], RelayHealth::default()));
        // Where none answers the soonest comes first.
        relays.failed(1, at(0), "refused".to_owned());
        relays.failed(0, at(1), "refused".to_owned());
        assert_eq!(route(2), [1, 0]);
    }
}
