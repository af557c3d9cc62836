//! The relay queue's worker: takes what is due, hands it over, writes down what became of it.
//!
//! The begin of a handover is durable before the relay is contacted, and a second mark is durable
//! before the message's last octets go out (`mail::outbound`). At start everything that an ended
//! process left in the middle is taken up again.
//!
//! A relay that can't be reached passes the message on to the next one that may carry it, as long as
//! no octet of it was sent. Once it was, no other relay gets it before it is known that this one
//! hasn't taken it.

use super::dkim_keys::DkimKeys;
use super::smtp_out::RelayLink;
use crate::inbox::server::{ReturnPath, Server};
use crate::inbox::{handover, lists};
use crate::mail::identity;
use crate::mail::keyed::WireKeys;
use crate::mail::outbound::{self, Due, Handover, Verdict};
use crate::mail::{compose, dkim};
use crate::smtp::client::{self, Outcome, RelayEnvelope, RelayRecipient};
use crate::store::blobs;
use crate::store::rows::mail::IdentityRow;
use crate::store::rows::submission::SubmissionRow;
use crate::store::{Locked, Read, StoreResult, Ticket};
use crate::types::metrics::count;
use crate::types::{AccountId, Address, Millis, limits};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// The longest that the worker sleeps, so that a moved clock is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// The handovers that are going on, by submission.
type Running = Arc<Mutex<BTreeMap<(AccountId, u32), Going>>>;

/// Which way one handover goes.
#[derive(Clone)]
struct Going {
    /// The domain of the recipient.
    domain: String,
    /// The relays that are asked, by number, one after another.
    route: Vec<usize>,
}

/// What decides which way a submission goes.
struct Way {
    /// The domain that it is sent from.
    sender: String,
    /// The relay that may have it already, and so is the only one to ask.
    only: Option<String>,
    /// The domain of the recipient.
    domain: String,
}

/// Those that were due and found no room, with when they were due: what was read of them holds until that
/// changes, so that a long queue isn't read again at the end of each handover. At most as many as are
/// looked at ahead.
type Waiting = Arc<Mutex<BTreeMap<(AccountId, u32), (Millis, Option<Way>)>>>;

/// What goes out now.
type Picked = Vec<(Due, Going)>;

/// Works on the queue until `stopping` says true; handovers that were begun end first. The links are
/// those of the server's relays, in the same order; the keys sign what goes out.
pub async fn run(
    server: Arc<Server>,
    links: Vec<RelayLink>,
    keys: Arc<DkimKeys>,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = reclaim(&server).await {
        tracing::error!(%error, "the relay queue could not be taken up");
    }
    let links = Arc::new(links);
    let running = Running::default();
    let waiting = Waiting::default();
    let ended = Arc::new(Notify::new());
    let mut handovers = JoinSet::new();
    while !*stopping.borrow() {
        let (looking, known) = (Arc::clone(&running), Arc::clone(&waiting));
        let found = server.blocking(move |server| pick(server, &looking, &known)).await;
        let (picked, next) = found.unwrap_or_else(|error| {
            tracing::error!(%error, "the relay queue could not be read");
            (Vec::new(), None)
        });
        links.iter().for_each(|link| link.close_idle(false));
        for (due, going) in picked {
            let key = (due.account, due.submission.0);
            let route = going.route.clone();
            running.lock().unwrap_or_else(PoisonError::into_inner).insert(key, going);
            let (server, links, running) = (Arc::clone(&server), Arc::clone(&links), Arc::clone(&running));
            let (ended, keys) = (Arc::clone(&ended), Arc::clone(&keys));
            handovers.spawn(async move {
                let _place = Place { running, key, ended };
                if let Err(error) = hand_over(&server, &links, &keys, &route, due).await {
                    tracing::error!(%error, submission = %due.submission, "a handover could not be written down");
                }
            });
        }
        while handovers.try_join_next().is_some() {}
        let sleep = next.map_or(SLEEP_MAX, |next| server.store.clock.now().until(next).min(SLEEP_MAX));
        tokio::select! {
            () = server.store.hub().queue_changes() => {}
            () = ended.notified() => {}
            () = tokio::time::sleep(sleep.max(Duration::from_millis(5))) => {}
            () = super::http::stopped(&mut stopping) => {}
        }
    }
    while handovers.join_next().await.is_some() {}
    links.iter().for_each(|link| link.close_idle(true));
}

/// A handover's place among those that run, given back however it ends.
struct Place {
    running: Running,
    key: (AccountId, u32),
    ended: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.ended.notify_one();
    }
}

/// What goes out now, longest waiting first, and when the next is due. No relay has more than its
/// share of the handovers, and no domain more than its share of a relay's, so that a slow one holds
/// up nobody else.
fn pick(server: &Server, running: &Running, waiting: &Waiting) -> StoreResult<(Picked, Option<Millis>)> {
    let snapshot = server.store.snapshot();
    let read: &dyn Read = &snapshot;
    if outbound::is_paused(read)? {
        return Ok((Vec::new(), None));
    }
    let now = server.store.clock.now();
    let mut taken = running.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut known = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut picked, mut passed_over) = (Vec::new(), BTreeMap::new());
    for due in outbound::due(read, now, limits::RELAY_LOOK_AHEAD_MAX)? {
        if taken.len() >= limits::RELAY_HANDOVERS_MAX {
            break;
        }
        let key = (due.account, due.submission.0);
        if taken.contains_key(&key) {
            continue;
        }
        let way = match known.remove(&key) {
            Some((at, way)) if at == due.at => way,
            _ => way(read, due)?,
        };
        let going = going(server, &way, &taken);
        if has_room(server, &going, &taken) {
            taken.insert(key, going.clone());
            picked.push((due, going));
        } else {
            passed_over.insert(key, (due.at, way));
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = passed_over;
    Ok((picked, outbound::next_due(read, now)?))
}

/// What decides the way of a submission; `None` where it is gone.
fn way(read: &dyn Read, due: Due) -> StoreResult<Option<Way>> {
    let Some((row, _)) = outbound::load(read, due.account, due.submission)? else { return Ok(None) };
    let note = outbound::note(read, due.account, due.submission)?;
    Ok(Some(Way {
        sender: sender_domain(read, due.account, &row)?,
        only: note.handed_to.filter(|_| note.uncertain > 0),
        domain: outbound::domain(&row),
    }))
}

/// Which relays a submission goes to now, by its sender and by where it may be already.
fn going(server: &Server, way: &Option<Way>, taken: &BTreeMap<(AccountId, u32), Going>) -> Going {
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

fn has_room(server: &Server, going: &Going, taken: &BTreeMap<(AccountId, u32), Going>) -> bool {
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

/// Takes up what an ended process left in the middle.
async fn reclaim(server: &Arc<Server>) -> StoreResult<()> {
    let left = server.blocking(|server| outbound::all(&server.store.snapshot() as &dyn Read)).await?;
    for due in left {
        step(server, due, move |server, locked| {
            let mut txn = server.store.begin(&locked);
            handover::reclaim(server, &mut txn, due.account, due.submission)?;
            Ok(((), txn.commit()?.ticket))
        })
        .await?;
    }
    Ok(())
}

/// One handover from its lease to its outcome.
async fn hand_over(
    server: &Arc<Server>,
    links: &[RelayLink],
    keys: &Arc<DkimKeys>,
    route: &[usize],
    due: Due,
) -> StoreResult<()> {
    let begun = step(server, due, move |server, locked| {
        let mut txn = server.store.begin(&locked);
        let now = server.store.clock.now();
        if outbound::is_abandoned(&txn, due.account, due.submission, now)? {
            // It is due now, and the next one goes the way that it may go by then.
            handover::reclaim(server, &mut txn, due.account, due.submission)?;
            return Ok((None, txn.commit()?.ticket));
        }
        let row = outbound::begin(&mut txn, due.account, due.submission, now)?;
        let raw = match &row {
            // What a client made has no trace headers of ours: the content is the message.
            Some(row) => blobs::content(&txn, &row.blob)?,
            None => None,
        };
        Ok((row.zip(raw), txn.commit()?.ticket))
    })
    .await?;
    let Some((row, raw)) = begun else { return Ok(()) };
    let raw = fit_to_send(server, keys, raw).await;
    let envelope = envelope(server, due, &row);
    let begun = Instant::now();
    let outcome = carry(server, links, route, due, &envelope, &raw).await;
    server.store.metrics.relay_seconds.observe(begun.elapsed().as_secs_f64());
    tracing::info!(submission = %due.submission, account = %due.account, outcome = ?outcome.verdict, "handed over");
    let handover = outcome.handover();
    note(server, &handover);
    step(server, due, move |server, locked| finish(server, &locked, due, &handover)).await
}

/// The octets that the relay gets: without Bcc, and signed where somebody signs for the sender's domain,
/// in seven bits then, so that no relay has to change what is signed (RFC 6376 §5.3).
async fn fit_to_send(server: &Arc<Server>, keys: &Arc<DkimKeys>, raw: Vec<u8>) -> Vec<u8> {
    let signers = keys.current();
    let work = move |server: &Arc<Server>| {
        dkim::sign(&signers, compose::strip_bcc(&raw), server.store.clock.now().date())
    };
    server.blocking(work).await
}

/// Asks the relays of a route one after another, until one has said something of the message.
async fn carry(
    server: &Arc<Server>,
    links: &[RelayLink],
    route: &[usize],
    due: Due,
    envelope: &RelayEnvelope,
    raw: &[u8],
) -> Outcome {
    let ends = tokio::time::Instant::now() + Duration::from_secs(limits::RELAY_HANDOVER_SECONDS_MAX);
    let relays = &server.relays;
    let now = || server.store.clock.now();
    let mut last = None;
    for &number in route {
        let (Some(link), Some(rule)) = (links.get(number), relays.rule(number)) else { continue };
        relays.asked(number, now());
        let handed = AtomicBool::new(false);
        let mark = || {
            handed.store(true, Ordering::Relaxed);
            mark(server, due, rule.name.clone())
        };
        let outcome = link.hand_over(ends, envelope, raw, mark).await;
        if outcome.relay_failed {
            tracing::warn!(relay = rule.name, reason = outcome.reply.text, "a relay failed");
            relays.failed(number, now(), outcome.reply.smtp_reply());
        } else if outcome.verdict != client::Verdict::Unknown {
            relays.answered(number);
        }
        // Once its octets are on their way the message goes nowhere else in this handover.
        let goes_on = outcome.relay_failed && !handed.load(Ordering::Relaxed);
        last = Some(outcome);
        if !goes_on {
            break;
        }
    }
    last.unwrap_or_else(|| Outcome::unasked(envelope, "no relay that is configured may carry this message"))
}

/// Puts on record that a message's octets are about to go out to this relay.
async fn mark(server: &Arc<Server>, due: Due, relay: String) -> Result<(), String> {
    let marked = step(server, due, move |server, locked| {
        let mut txn = server.store.begin(&locked);
        let now = server.store.clock.now();
        let mine = outbound::handing(&mut txn, due.account, due.submission, &relay, now)?;
        Ok((mine, txn.commit()?.ticket))
    });
    match marked.await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the lease is lost".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn note(server: &Server, handover: &Handover) {
    for reply in &handover.replies {
        let result = match reply.verdict {
            Verdict::Accepted => "accepted",
            Verdict::TryLater if handover.unknown => "unknown",
            Verdict::TryLater => "try later",
            Verdict::Refused => "refused",
        };
        count(&server.store.metrics.relay_replies, "result", result);
    }
}

fn finish(server: &Arc<Server>, locked: &Locked, due: Due, outcome: &Handover) -> StoreResult<((), Ticket)> {
    let mut txn = server.store.begin(locked);
    handover::finish(server, &mut txn, due.account, due.submission, outcome)?;
    Ok(((), txn.commit()?.ticket))
}

/// A short transaction on the submission's account, durable when it returns.
async fn step<T: Send + 'static>(
    server: &Arc<Server>,
    due: Due,
    work: impl FnOnce(&Arc<Server>, Locked) -> StoreResult<(T, Ticket)> + Send + 'static,
) -> StoreResult<T> {
    let locked = server.store.lock(&[due.account]).await;
    let (done, ticket) = server.blocking(move |server| work(server, locked)).await?;
    server.store.durable(ticket).await?;
    Ok(done)
}

fn envelope(server: &Server, due: Due, row: &SubmissionRow) -> RelayEnvelope {
    let waiting = row.recipients.iter().filter(|recipient| !recipient.settled);
    let view = server.directory.current();
    let of_member =
        row.recipients.first().and_then(|one| lists::returns_to(&view, due.account, &one.address));
    let keyed = |from: &Address| match server.settings.return_path {
        ReturnPath::Keyed => WireKeys::of(&view)
            .return_path(due.account, of_member.unwrap_or(due.submission), from.domain())
            .unwrap_or_else(|| from.clone()),
        ReturnPath::Sender => from.clone(),
    };
    RelayEnvelope {
        mail_from: row.mail_from.as_ref().map(keyed),
        // What was asked for by FUTURERELEASE is done when the message is here.
        params: row.mail_from_parameters.iter().filter(|(name, _)| !is_hold(name)).cloned().collect(),
        rcpts: waiting
            .map(|recipient| RelayRecipient {
                address: recipient.address.clone(),
                params: recipient.parameters.clone(),
            })
            .collect(),
    }
}

/// RFC 4865: a parameter that holds a message back.
fn is_hold(name: &str) -> bool {
    name.eq_ignore_ascii_case("HOLDFOR") || name.eq_ignore_ascii_case("HOLDUNTIL")
}
