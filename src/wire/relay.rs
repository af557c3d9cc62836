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
use super::relay_waiting::{Going, Taken, Waiting};
use super::smtp_out::RelayLink;
use crate::inbox::server::{ReturnPath, Server};
use crate::inbox::{handover, lists};
use crate::mail::keyed::WireKeys;
use crate::mail::outbound::{self, Due, Handover, Verdict};
use crate::mail::{compose, dkim};
use crate::smtp::client::{self, Outcome, RelayEnvelope, RelayRecipient};
use crate::store::blobs;
use crate::store::rows::submission::SubmissionRow;
use crate::store::{Locked, Read, StoreResult, Ticket};
use crate::types::metrics::count;
use crate::types::{AccountId, Address, limits};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// The handovers that are going on.
type Running = Arc<Mutex<Taken>>;

/// While there is more to read of the queue than was read.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const SLEEP_MIN: Duration = Duration::from_millis(5);

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
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let ended = Arc::new(Notify::new());
    let mut handovers = JoinSet::new();
    let mut may_be_new = true;
    while !*stopping.borrow() {
        let (looking, known) = (Arc::clone(&running), Arc::clone(&waiting));
        let found = server.blocking(move |server| look(server, &looking, &known, may_be_new)).await;
        let Look { picked, sleep, again } = found.unwrap_or_else(|error| {
            tracing::error!(%error, "the relay queue could not be read");
            Look { picked: Vec::new(), sleep: limits::RELAY_SLEEP_MAX, again: true }
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
        may_be_new = tokio::select! {
            () = server.store.hub().queue_changes() => true,
            () = ended.notified() => again,
            () = tokio::time::sleep(sleep) => true,
            () = super::http::stopped(&mut stopping) => again,
        };
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

/// What goes out now, how long the worker sleeps then, and whether it looks for new things whatever wakes it.
struct Look {
    picked: Vec<(Due, Going)>,
    sleep: Duration,
    again: bool,
}

/// No relay has more than its share of the handovers, and no domain more than its share of a relay's, so that a
/// slow one holds up nobody else.
fn look(server: &Server, running: &Running, waiting: &Mutex<Waiting>, may_be_new: bool) -> StoreResult<Look> {
    if outbound::is_paused(&server.store.snapshot() as &dyn Read)? {
        return Ok(Look { picked: Vec::new(), sleep: limits::RELAY_SLEEP_MAX, again: true });
    }
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = running.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (picked, again) = waiting.pick(server, &mut taken, may_be_new)?;
    let until = waiting.next().map_or(limits::RELAY_SLEEP_MAX, |next| server.store.clock.now().until(next));
    let sleep = if again { LOOK_AGAIN } else { until.min(limits::RELAY_SLEEP_MAX) };
    Ok(Look { picked, sleep: sleep.max(SLEEP_MIN), again })
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
        Ok((row.map(|row| (row, raw)), txn.commit()?.ticket))
    })
    .await?;
    let Some((row, raw)) = begun else { return Ok(()) };
    let envelope = envelope(server, due, &row);
    let begun = Instant::now();
    let (outcome, relay) = match raw {
        Some(raw) => {
            let raw = fit_to_send(server, keys, raw).await;
            carry(server, links, route, due, &envelope, &raw).await
        }
        None => {
            // A damaged store: it is tried again, and given up in its time as everything is.
            tracing::error!(submission = %due.submission, account = %due.account, "the message's content is missing");
            (Outcome::unasked(&envelope, "the message's content is missing"), "")
        }
    };
    server.store.metrics.relay_seconds.observe(begun.elapsed().as_secs_f64());
    tracing::info!(submission = %due.submission, account = %due.account, relay, outcome = ?outcome.verdict, "handed over");
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

/// Asks the relays of a route one after another, until one has said something of the message; the last one's
/// name goes with it.
async fn carry<'s>(
    server: &'s Arc<Server>,
    links: &[RelayLink],
    route: &[usize],
    due: Due,
    envelope: &RelayEnvelope,
    raw: &[u8],
) -> (Outcome, &'s str) {
    let ends = tokio::time::Instant::now() + Duration::from_secs(limits::RELAY_HANDOVER_SECONDS_MAX);
    let relays = &server.relays;
    let now = || server.store.clock.now();
    let mut last = None;
    for &number in route {
        let (Some(link), Some(rule)) = (links.get(number), relays.rule(number)) else { continue };
        // The time that is left is none of the next one's failure.
        if last.is_some() && tokio::time::Instant::now() >= ends {
            break;
        }
        relays.asked(number, now());
        let handed = AtomicBool::new(false);
        let mark = || {
            handed.store(true, Ordering::Relaxed);
            mark(server, due, rule.name.clone())
        };
        let outcome = link.hand_over(ends, envelope, raw, mark).await;
        // One that falls silent at the end of a message isn't given the next one before the others are.
        if outcome.relay_failed || outcome.verdict == client::Verdict::Unknown {
            tracing::warn!(relay = rule.name, reason = outcome.reply.text, "a relay failed");
            relays.failed(number, now(), outcome.reply.smtp_reply());
        } else {
            relays.answered(number);
        }
        // Once its octets are on their way the message goes nowhere else in this handover.
        let goes_on = outcome.relay_failed && !handed.load(Ordering::Relaxed);
        last = Some((outcome, rule.name.as_str()));
        if !goes_on {
            break;
        }
    }
    let none = "no relay that is configured may carry this message";
    last.unwrap_or_else(|| (Outcome::unasked(envelope, none), ""))
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
            Verdict::Unknown => "unknown",
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
