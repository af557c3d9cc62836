//! What was done, how often, and how long each took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Requests by what they were for, and outcomes by their names.
#[derive(Default)]
pub struct Figures {
    requests: BTreeMap<&'static str, Vec<Duration>>,
    outcomes: BTreeMap<String, usize>,
}

impl Figures {
    pub fn request(&mut self, what: &'static str, began: Instant) {
        self.requests.entry(what).or_default().push(began.elapsed());
    }

    pub fn outcome(&mut self, what: &str) {
        *self.outcomes.entry(what.to_owned()).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        for (what, times) in other.requests {
            self.requests.entry(what).or_default().extend(times);
        }
        for (what, count) in other.outcomes {
            *self.outcomes.entry(what).or_default() += count;
        }
    }

    pub fn print(mut self, agents: usize, wall: f64, cpu: f64) {
        let all: usize = self.requests.values().map(Vec::len).sum();
        println!(
            "{agents} agents, {wall:.0} s: {all} requests ({:.0}/s), server CPU {:.2} ms a request\n",
            all as f64 / wall,
            cpu * 1e3 / all.max(1) as f64
        );
        println!("{:<44} {:>8} {:>10} {:>10} {:>10}", "request", "count", "p50 ms", "p99 ms", "max ms");
        for (what, times) in &mut self.requests {
            times.sort_unstable();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
            println!("{what:<44} {:>8} {:>10.2} {:>10.2} {:>10.2}", times.len(), at(0.5), at(0.99), at(1.0));
        }
        println!();
        for (what, count) in &self.outcomes {
            println!("{what:<44} {count:>8}");
        }
        println!();
    }
}
