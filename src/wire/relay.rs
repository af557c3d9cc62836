//! The relay queue's worker: takes what is due, hands it over, writes down what became of it.
//!
//! The begin of a handover is durable before the relay is contacted, and a second mark is durable
//! before the message's last octets go out (`mail::outbound`). At start everything that an ended
//! process left in the middle is taken up again.

use super::smtp_out::{self, RelayConfig};
use crate::inbox::desk::{Desk, DeskError};
use crate::inbox::machine::Actor;
use crate::inbox::sending;
use crate::inbox::server::{self, Server};
use crate::mail::compose;
use crate::mail::outbound::{self, Due, Handover};
use crate::smtp::client::{RelayEnvelope, RelayRecipient};
use crate::store::blobs;
use crate::store::rows::directory::AccountKind;
use crate::store::rows::submission::SubmissionRow;
use crate::store::rows::team::Cause;
use crate::store::{Locked, Read, StoreError, StoreResult, Ticket};
use crate::types::{AccountId, Millis, limits};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The longest that the worker sleeps, so that a moved clock is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Works on the queue until `stopping` says true; handovers that were begun end first.
pub async fn run(server: Arc<Server>, config: RelayConfig, mut stopping: watch::Receiver<bool>) {
    if let Err(error) = reclaim(&server).await {
        tracing::error!(%error, "the relay queue could not be taken up");
    }
    let bell = server.store.hub().bell();
    let config = Arc::new(config);
    let slots = Arc::new(Semaphore::new(limits::RELAY_HANDOVERS_MAX));
    let running: Arc<Mutex<BTreeSet<(AccountId, u32)>>> = Arc::default();
    let mut handovers = JoinSet::new();
    while !*stopping.borrow() {
        let found = server.blocking(|server| waiting(server)).await.unwrap_or_default();
        for due in found.0 {
            let key = (due.account, due.submission.0);
            if !running.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
                continue;
            }
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (server, config, running) = (Arc::clone(&server), Arc::clone(&config), Arc::clone(&running));
            handovers.spawn(async move {
                if let Err(error) = hand_over(&server, &config, due).await {
                    tracing::error!(%error, submission = %due.submission, "a handover could not be written down");
                }
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                drop(slot);
            });
        }
        while handovers.try_join_next().is_some() {}
        let sleep = found.1.map_or(SLEEP_MAX, |next| server.store.clock.now().until(next).min(SLEEP_MAX));
        tokio::select! {
            _ = bell.rung() => {}
            () = tokio::time::sleep(sleep.max(Duration::from_millis(5))) => {}
            () = super::http::stopped(&mut stopping) => {}
        }
    }
    while handovers.join_next().await.is_some() {}
}

/// What is due now, and when the next is.
fn waiting(server: &Server) -> Option<(Vec<Due>, Option<Millis>)> {
    let snapshot = server.store.snapshot();
    let read: &dyn Read = &snapshot;
    let now = server.store.clock.now();
    let due = outbound::due(read, now, limits::RELAY_HANDOVERS_MAX * 4).ok()?;
    let next = outbound::next_due(read).ok()?.filter(|next| *next > now);
    Some((due, next))
}

/// Takes up what an ended process left in the middle.
async fn reclaim(server: &Arc<Server>) -> StoreResult<()> {
    let left = server.blocking(|server| outbound::all(&server.store.snapshot() as &dyn Read)).await?;
    for due in left {
        let locked = server.store.lock(&[due.account]).await;
        let ticket = server
            .blocking(move |server| {
                let mut txn = server.store.begin(&locked);
                outbound::reclaim(&mut txn, due.account, due.submission, server.store.clock.now())?;
                Ok::<Ticket, StoreError>(txn.commit()?.ticket)
            })
            .await?;
        server.store.durable(ticket).await?;
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
    let envelope = envelope(&row);
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
    let outcome = smtp_out::hand_over(config, &envelope, &raw, mark).await;
    tracing::info!(submission = %due.submission, account = %due.account, outcome = ?outcome.verdict, "handed over");
    let handover = outcome.handover();
    step(server, due, move |server, locked| finish(server, &locked, due, &handover)).await
}

fn finish(server: &Arc<Server>, locked: &Locked, due: Due, handover: &Handover) -> StoreResult<((), Ticket)> {
    let mut txn = server.store.begin(locked);
    let view = server.directory.current();
    let inbox = view.account(due.account).is_some_and(|row| matches!(row.kind, AccountKind::Inbox(_)));
    if inbox {
        let staff = server::staff(&view, due.account);
        let mut desk = Desk::open(&mut txn, due.account, Actor::System(Cause::Mail), &staff)?;
        match sending::finish(&mut desk, due.submission, handover) {
            Ok(_) => {}
            Err(DeskError::Store(error)) => return Err(error),
            Err(DeskError::Refused(refusal)) => tracing::warn!(%refusal, "an outcome was refused"),
        }
    } else {
        outbound::finish(&mut txn, due.account, due.submission, handover, server.store.clock.now())?;
    }
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

fn envelope(row: &SubmissionRow) -> RelayEnvelope {
    let waiting = row.recipients.iter().filter(|recipient| !recipient.settled);
    RelayEnvelope {
        mail_from: row.mail_from.clone(),
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
