//! `make bench`: a load program that starts the real server on a fresh folder and prints what each kind
//! of work costs, at several sizes of one inbox. It judges nothing: figures go to standard output.
//!
//! Server CPU (user and system time of the server's process) is the figure to trust on shared cores; wall
//! time is what one client at one connection waits. Each figure is measured in rounds, and given as
//! min/median/max of them, which shows the machine's noise.
//!
//! `BENCH_SYNTHETIC=1000000` begins with that many small messages, put into the folder without the network,
//! and measures at that size alone: what must be flat shows there.
//!
//! `BENCH_MESSAGES=1000,10000,100000` gives the sizes, `BENCH_IDLE_SECONDS=60` the wait before memory is
//! looked at, `BENCH_ROUND_MS=300` the length of a round, `BENCH_FILL=whole` fills with messages of
//! 25 KB however long that takes.

mod http;
mod idle;
mod letters;
mod operations;
mod presence;
mod queue;
mod server;
mod smtp;
mod synthetic;
mod table;
mod team;

use letters::Letters;
use server::Server;
use std::error::Error;
use std::time::{Duration, Instant};
use table::{Spread, row, title};

/// What goes wrong ends the program with its reason.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Filling an inbox may take this long; where it would take longer the rest are short messages.
const FILL_SECONDS_MAX: f64 = 150.0;

fn main() -> Outcome<()> {
    let synthetic: usize = std::env::var("BENCH_SYNTHETIC").map_or(Ok(0), |text| text.trim().parse())?;
    let sizes = if synthetic > 0 { vec![synthetic] } else { sizes()? };
    let mut server = Server::start_fresh(synthetic)?;
    let mut load = Load { sent: synthetic, raw_bytes: 0, letters: Letters::usual() };
    println!("{}", title());
    if synthetic > 0 {
        server.wait_until_idle()?;
    }
    for size in &sizes {
        fill(&server, &mut load, *size)?;
        operations::measure(&server, &mut load, *size)?;
    }
    idle::measure(&server, &mut load)?;
    queue::measure(&mut server, &load)?;
    storage(&mut server, &mut load)
}

/// What was delivered so far.
pub struct Load {
    pub sent: usize,
    pub raw_bytes: u64,
    pub letters: Letters,
}

impl Load {
    /// Delivers `count` further messages on `connections`, and gives the seconds until the last 250.
    pub fn deliver(&mut self, server: &Server, connections: usize, count: usize) -> Outcome<f64> {
        let begun = Instant::now();
        let range = self.sent..self.sent + count;
        self.raw_bytes += smtp::deliver(server.smtp, &self.letters, range, connections)?;
        self.sent += count;
        Ok(begun.elapsed().as_secs_f64())
    }
}

fn sizes() -> Outcome<Vec<usize>> {
    let text = std::env::var("BENCH_MESSAGES").unwrap_or_else(|_| "1000,10000,100000".into());
    let mut sizes = text.split(',').map(|one| one.trim().parse()).collect::<Result<Vec<usize>, _>>()?;
    sizes.sort_unstable();
    Ok(sizes)
}

/// Fills the inbox up to `size` messages, and measures intake by the way.
fn fill(server: &Server, load: &mut Load, size: usize) -> Outcome<()> {
    let missing = size.saturating_sub(load.sent);
    let mut rate = f64::INFINITY;
    for (connections, share) in [(1, 0.1), (8, 0.3), (32, 0.6)] {
        let count = ((missing as f64 * share) as usize).min(if connections == 32 { 3000 } else { 1000 });
        if count == 0 {
            continue;
        }
        let mut walls = Vec::new();
        let cpu_before = server.cpu_seconds()?;
        let begun = Instant::now();
        for part in split(count, 5) {
            walls.push(load.deliver(server, connections, part)? / part as f64);
        }
        rate = count as f64 / begun.elapsed().as_secs_f64();
        server.wait_until_idle()?;
        let cpu = (server.cpu_seconds()? - cpu_before) / count as f64;
        let name = format!("SMTP intake until indexed, {connections} conn ({rate:.0}/s)");
        row(&name, size, &Spread::of(walls), &Spread::of(vec![cpu]));
    }
    let rest = size.saturating_sub(load.sent);
    if rest == 0 {
        return Ok(());
    }
    let whole = std::env::var("BENCH_FILL").is_ok_and(|fill| fill == "whole");
    if !whole && rest as f64 / rate > FILL_SECONDS_MAX {
        println!("  (the remaining {rest} are short messages: at {rate:.0}/s whole ones take too long)");
        load.letters = Letters::short();
    }
    let cpu_before = server.cpu_seconds()?;
    let seconds = load.deliver(server, 32, rest)?;
    server.wait_until_idle()?;
    let cpu = (server.cpu_seconds()? - cpu_before) / rest as f64;
    let name = format!("SMTP bulk until indexed, 32 conn ({:.0}/s)", rest as f64 / seconds);
    row(&name, size, &Spread::of(vec![seconds / rest as f64]), &Spread::of(vec![cpu]));
    load.letters = Letters::usual();
    Ok(())
}

fn split(count: usize, parts: usize) -> impl Iterator<Item = usize> {
    (0..parts).map(move |part| count / parts + usize::from(part < count % parts)).filter(|part| *part > 0)
}

/// Restarts, memory and disk.
fn storage(server: &mut Server, load: &mut Load) -> Outcome<()> {
    let size = load.sent;
    let memory = server.memory_bytes()? as f64 / 1_048_576.0;
    println!("\nafter the load: VmRSS {memory:.0} MiB");
    let mut clean = Vec::new();
    for _ in 0..3 {
        let stopped = server.stop()?;
        clean.push(server.start()?);
        println!("clean stop took {:.0} ms", stopped * 1e3);
    }
    println!("start after a clean stop, {size} messages: {} ms", Spread::of(clean).in_ms());
    let mut killed = Vec::new();
    for _ in 0..3 {
        load.deliver(server, 32, 500)?;
        server.kill()?;
        killed.push(server.start()?);
    }
    println!("start after kill -9 in the middle of work: {} ms", Spread::of(killed).in_ms());
    let idle = std::env::var("BENCH_IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    server.wait_until_idle()?;
    let cpu_before = server.cpu_seconds()?;
    std::thread::sleep(Duration::from_secs(idle));
    let cpu = server.cpu_seconds()? - cpu_before;
    let memory = server.memory_bytes()? as f64 / 1_048_576.0;
    println!(
        "idle memory {idle} s after start: {memory:.0} MiB; CPU meanwhile {:.1} ms/s",
        cpu * 1e3 / idle.max(1) as f64
    );
    server.stop()?;
    let disk = server.disk_bytes()? as f64;
    let raw = load.raw_bytes as f64;
    if std::env::var_os("BENCH_SYNTHETIC").is_some() {
        println!("disk: {:.0} MB for {} messages", disk / 1e6, load.sent);
        return Ok(());
    }
    println!(
        "disk: {:.0} MB for {} messages of {:.1} KB, {:.0} MB raw: {:.2} of it",
        disk / 1e6,
        load.sent,
        raw / load.sent as f64 / 1e3,
        raw / 1e6,
        disk / raw
    );
    Ok(())
}
