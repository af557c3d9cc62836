//! What is counted and written down of mail that comes in: a span for each session, a line for each message.
//!
//! Invariant: no line has an address of a person's or anything that a message says.

use crate::smtp::session::DeliveryAnswer;
use crate::types::metrics::{Metrics, count};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;
use tracing::Span;

/// The span of a new session: its number since the start, who is at the other end (nobody, of a unix socket),
/// and for whom that one speaks, which is found out later.
pub fn session(peer: Option<IpAddr>) -> Span {
    static SESSIONS: AtomicU64 = AtomicU64::new(1);
    let id = format!("s{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
    let peer = peer.map(tracing::field::display);
    tracing::info_span!("smtp", id, peer, speaks_for = tracing::field::Empty)
}

/// A proxy has told for whom it speaks.
pub fn speaks_for(address: IpAddr) {
    Span::current().record("speaks_for", tracing::field::display(address));
}

/// A message was taken in or not, by recipient.
pub fn message(metrics: &Metrics, size_bytes: usize, answers: &[DeliveryAnswer], begun: Instant) {
    let took = begun.elapsed();
    metrics.smtp_delivery_seconds.observe(took.as_secs_f64());
    let mut results: BTreeMap<&'static str, usize> = BTreeMap::new();
    for answer in answers {
        count(&metrics.smtp_deliveries, "result", result(answer));
        *results.entry(result(answer)).or_default() += 1;
    }
    let results: Vec<String> = results.iter().map(|(result, count)| format!("{result} {count}")).collect();
    let kept = answers.iter().filter_map(|answer| match answer {
        DeliveryAnswer::Accepted { id } => Some(id.as_str()),
        _ => None,
    });
    let kept: Vec<&str> = kept.collect();
    let (result, kept) = (results.join(", "), kept.join(" "));
    tracing::info!(result, size_bytes, kept, millis = took.as_millis() as u64, "a message came in");
}

fn result(answer: &DeliveryAnswer) -> &'static str {
    match answer {
        DeliveryAnswer::Accepted { .. } => "accepted",
        DeliveryAnswer::Refused(_) | DeliveryAnswer::Told(_) => "refused",
        DeliveryAnswer::OverQuota => "over quota",
        DeliveryAnswer::NoSpace => "no space",
        DeliveryAnswer::TryLater(_) => "try later",
    }
}
