//! The relay queue's worker: takes what is due, hands it over, writes down what became of it.
//!
//! The begin of a handover is durable before the relay is contacted, and a second mark is durable
//! before the message's last octets go out (`mail::outbound`). At start everything that an ended
//! process left in the middle is taken up again.

use super::smtp_out::{self, RelayConfig};
use crate::inbox::server::{ReturnPath, Server};
use crate::inbox::{handover, lists};
use crate::mail::compose;
use crate::mail::keyed::WireKeys;
use crate::mail::outbound::{self, Due, Handover, Verdict};
use crate::smtp::client::{RelayEnvelope, RelayRecipient};
use crate::store::blobs;
use crate::store::rows::submission::SubmissionRow;
use crate::store::{Locked, Read, StoreResult, Ticket};
use crate::types::metrics::count;
use crate::types::{AccountId, Address, Millis, limits};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// The longest that the worker sleeps, so that a moved clock is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// The handovers that are going on, by submission, with the domain that each is for.
type Running = Arc<Mutex<BTreeMap<(AccountId, u32), String>>>;

/// What goes out now, with the domain that each is for.
type Picked = Vec<(Due, String)>;

/// Works on the queue until `stopping` says true; handovers that were begun end first.
pub async fn run(server: Arc<Server>, config: RelayConfig, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = reclaim(&server).await {
        tracing::error!(%error, "the relay queue could not be taken up");
    }
    let bell = server.store.hub().bell();
    let config = Arc::new(config);
    let running = Running::default();
    let ended = Arc::new(Notify::new());
    let mut handovers = JoinSet::new();
    while !*stopping.borrow() {
        let looking = Arc::clone(&running);
        let found = server.blocking(move |server| pick(server, &looking)).await;
        let (picked, next) = found.unwrap_or_else(|error| {
            tracing::error!(%error, "the relay queue could not be read");
            (Vec::new(), None)
        });
        for (due, domain) in picked {
            let key = (due.account, due.submission.0);
            running.lock().unwrap_or_else(PoisonError::into_inner).insert(key, domain);
            let (server, config, running) = (Arc::clone(&server), Arc::clone(&config), Arc::clone(&running));
            let ended = Arc::clone(&ended);
            handovers.spawn(async move {
                if let Err(error) = hand_over(&server, &config, due).await {
                    tracing::error!(%error, submission = %due.submission, "a handover could not be written down");
                }
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                ended.notify_one();
            });
        }
        while handovers.try_join_next().is_some() {}
        let sleep = next.map_or(SLEEP_MAX, |next| server.store.clock.now().until(next).min(SLEEP_MAX));
        tokio::select! {
            _ = bell.rung() => {}
            () = ended.notified() => {}
            () = tokio::time::sleep(sleep.max(Duration::from_millis(5))) => {}
            () = super::http::stopped(&mut stopping) => {}
        }
    }
    while handovers.join_next().await.is_some() {}
}

/// What goes out now, longest waiting first, with the domain that it is for, and when the next is
/// due. No domain has more than its share of the handovers, so that a slow one holds up nobody.
fn pick(server: &Server, running: &Running) -> StoreResult<(Picked, Option<Millis>)> {
    let snapshot = server.store.snapshot();
    let read: &dyn Read = &snapshot;
    if outbound::is_paused(read)? {
        return Ok((Vec::new(), None));
    }
    let now = server.store.clock.now();
    let mut taken = running.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut picked = Vec::new();
    for due in outbound::due(read, now, limits::RELAY_LOOK_AHEAD_MAX)? {
        if taken.len() >= limits::RELAY_HANDOVERS_MAX {
            break;
        }
        let key = (due.account, due.submission.0);
        if taken.contains_key(&key) {
            continue;
        }
        let domain = outbound::domain(read, due.account, due.submission)?;
        let busy = taken.values().filter(|other| **other == domain).count();
        if busy < limits::RELAY_HANDOVERS_PER_DOMAIN_MAX {
            taken.insert(key, domain.clone());
            picked.push((due, domain));
        }
    }
    Ok((picked, outbound::next_due(read, now)?))
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
async fn hand_over(server: &Arc<Server>, config: &RelayConfig, due: Due) -> StoreResult<()> {
    let begun = step(server, due, move |server, locked| {
        let mut txn = server.store.begin(&locked);
        let row = outbound::begin(&mut txn, due.account, due.submission, server.store.clock.now())?;
        let raw = match &row {
            // What a client made has no trace headers of ours: the content is the message.
            Some(row) => blobs::content(&txn, &row.blob)?,
            None => None,
        };
        Ok((row.zip(raw), txn.commit()?.ticket))
    })
    .await?;
    let Some((row, raw)) = begun else { return Ok(()) };
    let raw = compose::strip_bcc(&raw);
    let envelope = envelope(server, due, &row);
    let mark = || async {
        let marked = step(server, due, move |server, locked| {
            let mut txn = server.store.begin(&locked);
            let mine = outbound::handing(&mut txn, due.account, due.submission, server.store.clock.now())?;
            Ok((mine, txn.commit()?.ticket))
        });
        match marked.await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the lease is lost".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let begun = Instant::now();
    let outcome = smtp_out::hand_over(config, &envelope, &raw, mark).await;
    server.store.metrics.relay_seconds.observe(begun.elapsed().as_secs_f64());
    tracing::info!(submission = %due.submission, account = %due.account, outcome = ?outcome.verdict, "handed over");
    let handover = outcome.handover();
    note(server, &handover);
    step(server, due, move |server, locked| finish(server, &locked, due, &handover)).await
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
