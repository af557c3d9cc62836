//! `make agents`: a hundred agents work ten thousand conversations through real HTTP for two minutes, and
//! then it is counted whether anything went wrong: a customer who got two replies, an update that was
//! acknowledged and is gone, a claim that two won, a message that the relay got twice or never, a store
//! that isn't in order. It fails where one did, and prints what was done and how long it took.
//!
//! Agents are of two kinds. Knowing ones use our capabilities: they claim, lock, and send through the gate
//! with what they have read. Plain ones use mailboxes and submissions alone, as any mail client does. Both
//! crowd around the head of the same queue, lose races, die holding locks, and ask again as if they had
//! heard no answer. Customers write by SMTP, and answer what they get.
//!
//! `AGENTS=100 CONVERSATIONS=10000 SECONDS=120 SEED=1` are the defaults.

mod agent;
mod customers;
mod figures;
mod http;
mod ledger;
mod plain;
mod relay;
mod server;
mod verdict;

use agent::Agent;
use customers::Customers;
use figures::Figures;
use ledger::Ledger;
use relay::Relay;
use server::Server;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What goes wrong ends the program with its reason.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Every third agent knows nothing of our capabilities.
const PLAIN_EVERY: usize = 3;
/// The last replies must be at the relay by then.
const DRAIN_SECONDS_MAX: u64 = 60;

fn setting(name: &str, default: usize) -> Outcome<usize> {
    Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
}

/// Numbers that look random, the same for the same seed (xorshift).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: usize, of: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((of as u64 + 7) << 17) | 1)
    }

    /// One of `0..below`; 0 where that is nothing.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if below == 0 { 0 } else { (self.0 >> 11) as usize % below }
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

fn main() -> Outcome<()> {
    let (agents, conversations) = (setting("AGENTS", 100)?, setting("CONVERSATIONS", 10_000)?);
    let (seconds, seed) = (setting("SECONDS", 120)?, setting("SEED", 1)?);
    let stop = Arc::new(AtomicBool::new(false));
    let ledger = Arc::new(Ledger::default());
    let relay = Relay::start(Arc::clone(&ledger))?;
    let server = Server::start(relay.address, agents)?;
    let customers = Customers::new(server.smtp, Arc::clone(&ledger), seed);
    let began = Instant::now();
    customers.write_first(conversations)?;
    println!(
        "{conversations} conversations begun by SMTP in {:.1} s ({:.0}/s)",
        began.elapsed().as_secs_f64(),
        conversations as f64 / began.elapsed().as_secs_f64()
    );
    server.wait_until_idle()?;
    let mut team = Vec::new();
    for number in 0..agents {
        team.push(Agent::log_in(&server, number, Arc::clone(&ledger), Dice::new(seed, number))?);
    }
    let cpu_before = server.cpu_seconds()?;
    let began = Instant::now();
    let answering = customers.answer(Arc::clone(&stop));
    let figures = work(team, Duration::from_secs(seconds as u64), &stop)?;
    answering.join().map_err(|_| "the customers panicked")??;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), server.cpu_seconds()? - cpu_before);
    figures.print(agents, wall, cpu);
    drain(&ledger)?;
    let faults = verdict::of(&server, &ledger)?;
    for fault in faults.iter().take(50) {
        println!("  ✗ {fault}");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{} faults", faults.len()).into()) }
}

/// Everybody works until the time is over.
fn work(team: Vec<Agent>, time: Duration, stop: &Arc<AtomicBool>) -> Outcome<Figures> {
    let mut threads = Vec::new();
    for (number, mut agent) in team.into_iter().enumerate() {
        let stop = Arc::clone(stop);
        threads.push(std::thread::spawn(move || -> Outcome<Figures> {
            while !stop.load(Ordering::Relaxed) {
                if number % PLAIN_EVERY == PLAIN_EVERY - 1 { agent.work_plainly()? } else { agent.work()? }
            }
            Ok(agent.figures)
        }));
    }
    std::thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let mut all = Figures::default();
    for thread in threads {
        all.add(thread.join().map_err(|_| "an agent panicked")??);
    }
    Ok(all)
}

/// Waits until the relay has what was acknowledged.
fn drain(ledger: &Ledger) -> Outcome<()> {
    let began = Instant::now();
    while ledger.waits_for_the_relay() > 0 {
        if began.elapsed() > Duration::from_secs(DRAIN_SECONDS_MAX) {
            // The verdict says which ones are missing.
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // Whatever would come twice comes now.
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}
