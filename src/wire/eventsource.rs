//! EventSource (RFC 8620 §7.3): StateChange events of everything that the login sees.
//!
//! What is told is the feed's affair ([`super::feed`]). A channel ends at once when its login is
//! revoked.

use super::feed::{Feed, Types};
use super::http::{Web, stopped};
use super::http_auth::{Caller, Pass, Use, unauthorized};
use super::problem::Problem;
use crate::types::metrics::Raised;
use crate::types::{Position, limits};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The variables of `eventSourceUrl`.
#[derive(Deserialize)]
pub struct Wanted {
    types: Option<String>,
    closeafter: Option<String>,
    ping: Option<u64>,
}

/// `GET /jmap/eventsource?types=…&closeafter=…&ping=…`.
pub async fn open(
    State(web): State<Web>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted?;
    let close_after_state = match wanted.closeafter.as_deref().unwrap_or("no") {
        "state" => true,
        "no" => false,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "closeafter is \"state\" or \"no\".")),
    };
    let ping = match wanted.ping.unwrap_or(0) {
        0 => None,
        seconds => {
            Some(seconds.clamp(limits::EVENTSOURCE_PING_SECONDS_MIN, limits::EVENTSOURCE_PING_SECONDS_MAX))
        }
    };
    let pass = web
        .gate
        .enter(caller.login.principal, Use::Channel, limits::CHANNELS_MAX)
        .ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many channels are open."))?;
    let since = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(Position::parse);
    let types = types(wanted.types.as_deref().unwrap_or("*"));
    let feed = Feed::open(Arc::clone(&web.server), caller.login, types, since.as_ref()).await;
    let open = web.server.store.metrics.channels.get_or_create_owned(&[("kind", "eventsource")]);
    let channel = Channel {
        _open: Raised::new(&open),
        feed: feed.map_err(|_| unauthorized())?,
        stopping: web.stopping,
        close_after_state,
        ping,
        ended: false,
        begun: false,
        _pass: pass,
    };
    let events = stream::unfold(channel, |mut channel| async move {
        let event = channel.next().await?;
        Some((Ok::<Bytes, Infallible>(event), channel))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn types(text: &str) -> Types {
    if text == "*" || text.is_empty() {
        return Types::Registered;
    }
    Types::named(text.split(',').map(str::trim))
}

/// One open channel.
struct Channel {
    feed: Feed,
    stopping: watch::Receiver<bool>,
    close_after_state: bool,
    /// Seconds.
    ping: Option<u64>,
    ended: bool,
    begun: bool,
    _pass: Pass,
    _open: Raised,
}

impl Channel {
    /// The next event's text; `None` ends the channel.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            // The header goes out at once with this comment, so that the client knows it's connected.
            return Some(Bytes::from_static(b": connected\n\n"));
        }
        // From the last event on: a change that isn't told doesn't put the ping off.
        let ping = wait(self.ping.map(Duration::from_secs));
        tokio::pin!(ping);
        loop {
            tokio::select! {
                ready = self.feed.ready() => ready.ok()?,
                () = &mut ping => {
                    let data = json!({"interval": self.ping});
                    return Some(Bytes::from(format!("event: ping\ndata: {data}\n\n")));
                }
                () = stopped(&mut self.stopping) => return None,
            }
            if let Some(change) = self.feed.take().ok()? {
                self.ended = self.close_after_state;
                let (id, data) = (&change.position, change.to_json());
                return Some(Bytes::from(format!("event: state\nid: {id}\ndata: {data}\n\n")));
            }
        }
    }
}

async fn wait(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}
