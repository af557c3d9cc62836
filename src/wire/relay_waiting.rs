//! What waits in the relay queue, by the ways that it may go: read from the store when something new is due, and
//! taken from memory at the end of each handover.
//!
//! Invariants: of each way those that wait longest go first; no way that has no room, however much waits there,
//! keeps the worker from another one's. What stands here decides nothing but the order: a handover begins by the
//! row of the submission, under its account's lock.

use crate::inbox::server::Server;
use crate::mail::identity;
use crate::mail::outbound::{self, Due};
use crate::store::rows::mail::IdentityRow;
use crate::store::rows::submission::SubmissionRow;
use crate::store::{Read, StoreResult};
use crate::types::{AccountId, Address, Millis, SubmissionId, limits};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// While very many wait, the queue is read for new ones at most this often.
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// So many are no matter.
const FEW: usize = 512;
/// Submissions of which the way is read in one look; of others it is at the next.
const READ_AT_ONCE: usize = 2048;

/// A submission, by its account.
pub type Key = (AccountId, u32);

/// Which way one handover goes.
#[derive(Clone)]
pub struct Going {
    /// The domain of the recipient.
    pub domain: String,
    /// The relays that are asked, by number, one after another.
    pub route: Vec<usize>,
}

/// The handovers that are going on.
pub type Taken = BTreeMap<Key, Going>;

/// What decides which way a submission goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Way {
    /// The domain that it is sent from.
    sender: String,
    /// The relay that may have it already, and so is the only one to ask.
    only: Option<String>,
    /// The domain of the recipient.
    domain: String,
}

/// At most [`limits::RELAY_WAITING_MAX`] submissions that are due; later ones are seen when these are fewer.
#[derive(Default)]
pub struct Waiting {
    /// By their way; `None` for those that are gone.
    ways: BTreeMap<Option<Way>, BTreeSet<(Millis, Key)>>,
    known: HashMap<Key, (Millis, Option<Way>)>,
    /// When the queue was read.
    read_at: Option<Instant>,
    /// Whether there is more to read than is here.
    is_partial: bool,
    /// When the next thing is due that wasn't yet.
    next: Option<Millis>,
}

impl Waiting {
    /// What goes out now beside `taken`, and whether to look again soon. The queue is read where something in it may
    /// be new.
    pub fn pick(
        &mut self,
        server: &Server,
        taken: &mut Taken,
        may_be_new: bool,
    ) -> StoreResult<(Vec<(Due, Going)>, bool)> {
        let now = server.store.clock.now();
        let rested = self.read_at.is_none_or(|at| at.elapsed() >= READ_INTERVAL);
        let wanted = may_be_new || self.is_partial || self.next.is_some_and(|next| next <= now);
        let reads = wanted && (rested || self.known.len() < FEW);
        if reads {
            self.read(&server.store.snapshot(), now, taken)?;
        }
        let going = |way: &Option<Way>, taken: &Taken| going(server, way.as_ref(), taken);
        let picked = self.take(taken, going, |going, taken| has_room(server, going, taken));
        Ok((picked, (wanted && !reads) || self.is_partial))
    }

    /// When the next thing is due that isn't yet.
    pub fn next(&self) -> Option<Millis> {
        self.next
    }

    fn read(&mut self, read: &dyn Read, now: Millis, taken: &Taken) -> StoreResult<()> {
        let mut before = std::mem::take(&mut self.known);
        self.ways.clear();
        let (due, mut fresh) = (outbound::due(read, now, limits::RELAY_WAITING_MAX)?, 0);
        self.is_partial = false;
        for Due { at, account, submission } in due {
            let key = (account, submission.0);
            if taken.contains_key(&key) {
                continue;
            }
            let way = match before.remove(&key) {
                Some((known_at, way)) if known_at == at => way,
                _ if fresh == READ_AT_ONCE => {
                    self.is_partial = true;
                    continue;
                }
                _ => {
                    fresh += 1;
                    way(read, account, submission)?
                }
            };
            self.ways.entry(way.clone()).or_default().insert((at, key));
            self.known.insert(key, (at, way));
        }
        self.next = outbound::next_due(read, now)?;
        self.read_at = Some(Instant::now());
        Ok(())
    }

    /// Takes from each way as many as have room, beginning with the one in which somebody waits longest.
    fn take(
        &mut self,
        taken: &mut Taken,
        going: impl Fn(&Option<Way>, &Taken) -> Going,
        has_room: impl Fn(&Going, &Taken) -> bool,
    ) -> Vec<(Due, Going)> {
        let mut order: Vec<_> =
            self.ways.iter().filter_map(|(way, all)| Some((*all.first()?, way.clone()))).collect();
        order.sort_unstable();
        let mut picked = Vec::new();
        for (_, way) in order {
            let Some(all) = self.ways.get_mut(&way) else { continue };
            while taken.len() < limits::RELAY_HANDOVERS_MAX {
                let goes = going(&way, taken);
                if !has_room(&goes, taken) {
                    break;
                }
                let Some((at, key)) = all.pop_first() else { break };
                self.known.remove(&key);
                taken.insert(key, goes.clone());
                picked.push((Due { at, account: key.0, submission: SubmissionId(key.1) }, goes));
            }
            if all.is_empty() {
                self.ways.remove(&way);
            }
        }
        picked
    }
}

/// What decides the way of a submission; `None` where it is gone.
fn way(read: &dyn Read, account: AccountId, submission: SubmissionId) -> StoreResult<Option<Way>> {
    let Some((row, _)) = outbound::load(read, account, submission)? else { return Ok(None) };
    let note = outbound::note(read, account, submission)?;
    Ok(Some(Way {
        sender: sender_domain(read, account, &row)?,
        only: note.handed_to.clone().filter(|_| note.is_unsure()),
        domain: outbound::domain(&row),
    }))
}

/// Which relays a submission goes to now, by its sender and by where it may be already.
fn going(server: &Server, way: Option<&Way>, taken: &Taken) -> Going {
    let Some(way) = way else { return Going { domain: String::new(), route: Vec::new() } };
    let busy = |number: usize| taken.values().filter(|one| one.route.first() == Some(&number)).count();
    let route = server.relays.route(&way.sender, way.only.as_deref(), server.store.clock.now(), busy);
    Going { domain: way.domain.clone(), route }
}

/// The domain that decides which relay carries a message: that of the envelope sender, and where it
/// is null that of the Identity, or of the account, that the message speaks for.
fn sender_domain(read: &dyn Read, account: AccountId, row: &SubmissionRow) -> StoreResult<String> {
    if let Some(from) = &row.mail_from {
        return Ok(from.domain_key());
    }
    if let Some(identity) = read.row::<IdentityRow>(account, row.identity)? {
        return Ok(identity.email.domain_key());
    }
    let own = identity::addresses(read, account)?;
    Ok(own.first().map(Address::domain_key).unwrap_or_default())
}

fn has_room(server: &Server, going: &Going, taken: &Taken) -> bool {
    let Some((number, rule)) = going.route.first().and_then(|one| Some((one, server.relays.rule(*one)?)))
    else {
        // It goes nowhere, and takes nobody's place.
        return true;
    };
    let same_relay = || taken.values().filter(|one| one.route.first() == Some(number));
    same_relay().count() < rule.connections_max
        && same_relay().filter(|one| one.domain == going.domain).count()
            < rule.connections_per_destination_max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(domain: &str) -> Option<Way> {
        Some(Way { sender: "x.example".to_owned(), only: None, domain: domain.to_owned() })
    }

    fn waiting(all: &[(i64, u32, &str)]) -> Waiting {
        let mut out = Waiting::default();
        for (at, id, domain) in all {
            let key = (AccountId(1), *id);
            out.ways.entry(way(domain)).or_default().insert((Millis(*at), key));
            out.known.insert(key, (Millis(*at), way(domain)));
        }
        out
    }

    /// Takes with room for so many a domain.
    fn take(waiting: &mut Waiting, taken: &mut Taken, each: usize) -> Vec<u32> {
        let going = |way: &Option<Way>, _: &Taken| Going {
            domain: way.as_ref().map(|way| way.domain.clone()).unwrap_or_default(),
            route: vec![0],
        };
        let has_room = |going: &Going, taken: &Taken| {
            taken.values().filter(|one| one.domain == going.domain).count() < each
        };
        waiting.take(taken, going, has_room).into_iter().map(|(due, _)| due.submission.0).collect()
    }

    #[test]
    fn however_many_wait_for_a_slow_domain_another_one_s_go_out() {
        let mut all: Vec<(i64, u32, &str)> =
            (0..5000).map(|id| (i64::from(id), id, "slow.example")).collect();
        all.push((9000, 9000, "quick.example"));
        let mut waiting = waiting(&all);
        let mut taken = Taken::new();
        assert_eq!(take(&mut waiting, &mut taken, 2), [0, 1, 9000]);
        assert_eq!(take(&mut waiting, &mut taken, 2), Vec::<u32>::new());
        // One ends: the next of its domain has its place.
        taken.remove(&(AccountId(1), 0));
        assert_eq!(take(&mut waiting, &mut taken, 2), [2]);
        assert_eq!((waiting.known.len(), waiting.ways.len()), (4997, 1));
    }

    #[test]
    fn the_longest_waiting_go_first_and_no_more_than_may_go_at_once() {
        let ids = 0..limits::RELAY_HANDOVERS_MAX as u32 + 5;
        let domains = ["a.example", "b.example"];
        let all: Vec<(i64, u32, &str)> =
            ids.map(|id| (100 - i64::from(id % 7), id, domains[id as usize % 2])).collect();
        let mut waiting = waiting(&all);
        let mut taken = Taken::new();
        let picked = take(&mut waiting, &mut taken, 1000);
        assert_eq!(picked.len(), limits::RELAY_HANDOVERS_MAX);
        assert_eq!(picked.first(), Some(&6));
        let of_a: Vec<u32> = picked.iter().copied().filter(|id| id % 2 == 0).collect();
        assert!(of_a.is_sorted_by_key(|id| (100 - i64::from(id % 7), *id)), "{of_a:?}");
    }
}
