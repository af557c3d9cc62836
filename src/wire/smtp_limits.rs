//! How many SMTP connections and message octets there may be at one moment, and how fast messages may come.
//!
//! Invariants: a connection and a share of memory are given back when their guard is dropped,
//! however the connection ends.

use crate::types::limits::{
    SMTP_BUDGET_SECONDS_MAX, SMTP_CONNECTIONS_MAX, SMTP_CONNECTIONS_PER_ADDRESS_MAX, SMTP_DELIVERIES_MAX,
    SMTP_DELIVERIES_WAITING_MAX, SMTP_MESSAGES_IN_FLIGHT_BYTES_MAX, SMTP_MESSAGES_PER_MINUTE_DEFAULT,
    SMTP_PACED_ADDRESSES_MAX,
};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A network in CIDR notation (RFC 4632 §3.1); a bare address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpNetwork {
    address: IpAddr,
    prefix_bits: u8,
}

impl IpNetwork {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or an address; `None` where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits: u8 = match prefix {
            None => bits,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= bits)?
            }
            Some(_) => return None,
        };
        match address.to_canonical() {
            // An IPv4 address mapped into IPv6 has 96 bits before its own.
            mapped if mapped.is_ipv4() && bits == 128 => {
                Some(Self { address: mapped, prefix_bits: prefix_bits.checked_sub(96)? })
            }
            _ => Some(Self { address, prefix_bits }),
        }
    }

    /// Both loopback networks.
    pub fn loopback() -> Vec<Self> {
        vec![
            Self { address: Ipv4Addr::new(127, 0, 0, 0).into(), prefix_bits: 8 },
            Self { address: Ipv6Addr::LOCALHOST.into(), prefix_bits: 128 },
        ]
    }

    /// True where `address` is in the network; an IPv4 address mapped into IPv6 counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        let unlike = |a: u128, b: u128, bits: u32| {
            (a ^ b).checked_shr(bits - u32::from(self.prefix_bits)).unwrap_or(0) != 0
        };
        match (self.address, address.to_canonical()) {
            // parse keeps prefix_bits at or below the bits of its kind of address.
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                !unlike(u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => !unlike(ours.to_bits(), theirs.to_bits(), 128),
            _ => false,
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// The figures.
#[derive(Clone, Debug)]
pub struct IntakeLimits {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    /// How many messages an address may send in a minute, in bursts of that size; `None`: as many as it likes.
    pub messages_per_minute: Option<u32>,
    /// From these networks an address may use all connections there are, and send as fast as it likes.
    pub gateways: Vec<IpNetwork>,
    /// Memory for messages being received and delivered.
    pub in_flight_bytes_max: usize,
    /// How long a message waits for its share of that memory, and for its turn to be stored.
    pub budget_wait: Duration,
    /// Messages that are being stored at one moment.
    pub deliveries_max: usize,
    /// Messages that wait for their turn; beyond it no recipient is taken.
    pub deliveries_waiting_max: usize,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        Self {
            connections_max: SMTP_CONNECTIONS_MAX,
            connections_per_address_max: SMTP_CONNECTIONS_PER_ADDRESS_MAX,
            messages_per_minute: Some(SMTP_MESSAGES_PER_MINUTE_DEFAULT),
            gateways: IpNetwork::loopback(),
            in_flight_bytes_max: SMTP_MESSAGES_IN_FLIGHT_BYTES_MAX,
            budget_wait: Duration::from_secs(SMTP_BUDGET_SECONDS_MAX),
            deliveries_max: SMTP_DELIVERIES_MAX,
            deliveries_waiting_max: SMTP_DELIVERIES_WAITING_MAX,
        }
    }
}

/// Turns to store a message: fair, since a semaphore serves in order, and each connection waits with
/// one message at most.
#[derive(Debug)]
pub struct Turns {
    free: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
    wait: Duration,
}

impl Turns {
    /// All turns are free.
    pub fn new(limits: &IntakeLimits) -> Self {
        Self {
            free: Semaphore::new(limits.deliveries_max),
            waiting: AtomicUsize::new(0),
            waiting_max: limits.deliveries_waiting_max,
            wait: limits.budget_wait,
        }
    }

    /// So many wait that no further work should be begun.
    pub fn are_many_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.waiting_max
    }

    /// Waits for a turn, which lasts until it is dropped; `None` where it didn't come in time.
    pub async fn take(&self) -> Option<SemaphorePermit<'_>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = tokio::time::timeout(self.wait, self.free.acquire()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn.ok()?.ok()
    }
}

/// Counts connections.
#[derive(Debug)]
pub struct ConnectionCount {
    limits: IntakeLimits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection.
#[derive(Debug)]
pub struct ConnectionGuard {
    count: Arc<ConnectionCount>,
    /// The address that it counts for, where it counts for one.
    address: Option<IpAddr>,
}

/// Which limit a connection would break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TooMany {
    InAll,
    FromAddress,
}

impl ConnectionCount {
    /// Nothing is open yet.
    pub fn new(limits: IntakeLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }

    /// Counts a connection from `peer` (`None`: a unix socket, or a proxy that has yet to say for whom it
    /// speaks) or says why it is one too many.
    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<ConnectionGuard, TooMany> {
        let address = peer.and_then(|peer| counted(&self.limits.gateways, peer));
        let mut open = self.lock();
        if open.all >= self.limits.connections_max {
            return Err(TooMany::InAll);
        }
        open.enter(address, self.limits.connections_per_address_max)?;
        open.all += 1;
        Ok(ConnectionGuard { count: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn enter(&mut self, address: Option<IpAddr>, max: usize) -> Result<(), TooMany> {
        let Some(address) = address else { return Ok(()) };
        let of_address = self.by_address.entry(address).or_default();
        if *of_address >= max {
            return Err(TooMany::FromAddress);
        }
        *of_address += 1;
        Ok(())
    }

    fn leave(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let left = self.by_address.get(&address).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.by_address.remove(&address);
        } else {
            self.by_address.insert(address, left);
        }
    }
}

/// The address that limits count for; `None` of a gateway.
fn counted(gateways: &[IpNetwork], peer: IpAddr) -> Option<IpAddr> {
    Some(peer.to_canonical()).filter(|peer| !gateways.iter().any(|network| network.contains(*peer)))
}

impl ConnectionGuard {
    /// Counts the connection for the address that its peer speaks for, or says that it is one too many there;
    /// then it counts as before.
    pub fn speaks_for(&mut self, address: IpAddr) -> Result<(), TooMany> {
        let address = counted(&self.count.limits.gateways, address);
        if address != self.address {
            let mut open = self.count.lock();
            open.enter(address, self.count.limits.connections_per_address_max)?;
            open.leave(self.address);
            drop(open);
            self.address = address;
        }
        Ok(())
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut open = self.count.lock();
        open.all = open.all.saturating_sub(1);
        open.leave(self.address);
    }
}

/// How fast messages come, by address; of IPv6 by the /64, which one host has to itself.
#[derive(Debug)]
pub struct Pace {
    gateways: Vec<IpNetwork>,
    a_minute: Option<u32>,
    /// When all that an address sent so far would be through at the steady rate.
    paid_until: Mutex<HashMap<IpAddr, Instant>>,
}

impl Pace {
    /// Nobody has sent anything yet.
    pub fn new(limits: &IntakeLimits) -> Self {
        let (gateways, a_minute) = (limits.gateways.clone(), limits.messages_per_minute);
        Self { gateways, a_minute, paid_until: Mutex::default() }
    }

    /// Counts one message from `peer` (`None`: a unix socket); false where it is one too many.
    pub fn allows(&self, peer: Option<IpAddr>, now: Instant) -> bool {
        let host = peer.and_then(|peer| counted(&self.gateways, peer)).map(host);
        let (Some(host), Some(a_minute)) = (host, self.a_minute) else { return true };
        let minute = Duration::from_secs(60);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid_until.get(&host).map_or(now, |until| now.max(*until)) + minute / a_minute.max(1);
        if until - now > minute {
            return false;
        }
        if paid_until.len() >= SMTP_PACED_ADDRESSES_MAX && !paid_until.contains_key(&host) {
            paid_until.retain(|_, until| *until > now);
            if paid_until.len() >= SMTP_PACED_ADDRESSES_MAX {
                paid_until.clear();
            }
        }
        paid_until.insert(host, until);
        true
    }
}

fn host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The memory that all messages in flight share, in steps of a kibibyte.
#[derive(Clone, Debug)]
pub struct MessageBudget {
    steps: Arc<Semaphore>,
    wait: Duration,
}

/// One message's share of the budget.
#[derive(Debug)]
pub struct BudgetShare {
    budget: MessageBudget,
    held: Option<OwnedSemaphorePermit>,
}

const STEP_BYTES: usize = 1024;

impl MessageBudget {
    /// The whole budget, unused.
    pub fn new(limits: &IntakeLimits) -> Self {
        let steps = (limits.in_flight_bytes_max / STEP_BYTES).min(Semaphore::MAX_PERMITS);
        Self { steps: Arc::new(Semaphore::new(steps)), wait: limits.budget_wait }
    }

    /// A share of nothing yet.
    pub fn share(&self) -> BudgetShare {
        BudgetShare { budget: self.clone(), held: None }
    }
}

impl BudgetShare {
    /// Grows or shrinks the share to `bytes`; waits where others hold the rest. False where it
    /// couldn't grow in time; then it holds what it held.
    pub async fn resize(&mut self, bytes: usize) -> bool {
        let wanted = bytes.div_ceil(STEP_BYTES);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted <= held {
            drop(self.held.as_mut().and_then(|permit| permit.split(held - wanted)));
            return true;
        }
        let Ok(more) = u32::try_from(wanted - held) else { return false };
        let steps = Arc::clone(&self.budget.steps);
        match tokio::time::timeout(self.budget.wait, steps.acquire_many_owned(more)).await {
            Ok(Ok(permit)) => {
                match &mut self.held {
                    Some(held) => held.merge(permit),
                    None => self.held = Some(permit),
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_contain_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/31", "192.0.2.6", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("::1", "::1", "127.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
        ] {
            let network = IpNetwork::parse(network).unwrap();
            assert!(network.contains(ip(inside)) && !network.contains(ip(outside)), "{network}");
        }
        assert!(IpNetwork::parse("0.0.0.0/0").unwrap().contains(ip("8.8.8.8")));
        assert!(IpNetwork::parse("::/0").unwrap().contains(ip("2001:db8::1")));
        for wrong in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/8",
        ] {
            assert_eq!(IpNetwork::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address_and_given_back() {
        let limits =
            IntakeLimits { connections_max: 4, connections_per_address_max: 2, ..IntakeLimits::default() };
        let count = ConnectionCount::new(limits);
        let one = count.enter(Some(ip("192.0.2.1"))).unwrap();
        let _two = count.enter(Some(ip("::ffff:192.0.2.1"))).unwrap();
        assert_eq!(count.enter(Some(ip("192.0.2.1"))).unwrap_err(), TooMany::FromAddress);
        let _gateway = count.enter(Some(ip("127.0.0.1"))).unwrap();
        let _unix = count.enter(None).unwrap();
        assert_eq!(count.enter(Some(ip("127.0.0.1"))).unwrap_err(), TooMany::InAll);
        drop(one);
        let _again = count.enter(Some(ip("192.0.2.1"))).unwrap();
    }

    #[test]
    fn a_connection_counts_for_whom_its_peer_speaks() {
        let limits = IntakeLimits { connections_per_address_max: 1, ..IntakeLimits::default() };
        let count = ConnectionCount::new(limits);
        let (mut one, mut two) = (count.enter(None).unwrap(), count.enter(None).unwrap());
        one.speaks_for(ip("192.0.2.1")).unwrap();
        one.speaks_for(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(two.speaks_for(ip("192.0.2.1")), Err(TooMany::FromAddress));
        assert_eq!(count.enter(Some(ip("192.0.2.1"))).unwrap_err(), TooMany::FromAddress);
        two.speaks_for(ip("192.0.2.2")).unwrap();
        one.speaks_for(ip("127.0.0.1")).unwrap();
        two.speaks_for(ip("192.0.2.1")).unwrap();
        drop(count.enter(Some(ip("192.0.2.2"))).unwrap());
        drop((one, two));
        drop(count.enter(Some(ip("192.0.2.1"))).unwrap());
    }

    #[test]
    fn an_address_sends_so_many_messages_a_minute_in_bursts_and_a_gateway_as_many_as_it_likes() {
        let pace = Pace::new(&IntakeLimits { messages_per_minute: Some(3), ..IntakeLimits::default() });
        let begun = Instant::now();
        let sends =
            |peer: &str, seconds: u64| pace.allows(Some(ip(peer)), begun + Duration::from_secs(seconds));
        assert_eq!([0; 4].map(|at| sends("192.0.2.1", at)), [true, true, true, false]);
        assert_eq!([19, 20, 20].map(|at| sends("192.0.2.1", at)), [false, true, false]);
        assert!(sends("192.0.2.2", 20), "each for itself");
        assert_eq!([200; 4].map(|at| sends("192.0.2.1", at)), [true, true, true, false]);
        let hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8:0:1::1"];
        assert_eq!(hosts.map(|peer| sends(peer, 0)), [true, true, true, false, true]);
        assert!([0; 9].iter().all(|at| sends("127.0.0.1", *at) && pace.allows(None, begun)));
        let free = Pace::new(&IntakeLimits { messages_per_minute: None, ..IntakeLimits::default() });
        assert!([(); 9].iter().all(|()| free.allows(Some(ip("192.0.2.1")), begun)));
    }

    #[tokio::test]
    async fn turns_are_given_in_order_and_not_to_too_many() {
        let limits = IntakeLimits {
            deliveries_max: 1,
            deliveries_waiting_max: 1,
            budget_wait: Duration::from_millis(20),
            ..IntakeLimits::default()
        };
        let turns = Arc::new(Turns::new(&limits));
        let one = turns.take().await.unwrap();
        assert!(!turns.are_many_waiting());
        let waiting = Arc::clone(&turns);
        let second = tokio::spawn(async move { waiting.take().await.is_some() });
        while !turns.are_many_waiting() {
            tokio::task::yield_now().await;
        }
        assert!(!second.await.unwrap(), "its turn didn't come in time");
        assert!(!turns.are_many_waiting());
        drop(one);
        assert!(turns.take().await.is_some());
    }

    #[tokio::test]
    async fn memory_is_shared_and_given_back() {
        let limits = IntakeLimits {
            in_flight_bytes_max: 10 * STEP_BYTES,
            budget_wait: Duration::from_millis(10),
            ..IntakeLimits::default()
        };
        let budget = MessageBudget::new(&limits);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.resize(6 * STEP_BYTES).await);
        assert!(!two.resize(5 * STEP_BYTES).await);
        assert!(one.resize(1).await);
        assert!(two.resize(9 * STEP_BYTES).await);
        drop(two);
        assert!(one.resize(10 * STEP_BYTES).await);
        assert!(!one.resize(11 * STEP_BYTES).await);
    }
}
