//! What operators ask: is the server alive, does it want work, what does it do.
//!
//! Health is told to everybody, in a word. Figures are on a listener of their own, since they tell of
//! all inboxes at once.

use super::http::Web;
use crate::inbox::server::Server;
use crate::mail::outbound;
use crate::store::{Read, StoreResult};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;

/// What the operators' listener serves.
pub fn routes(web: Web) -> Router {
    Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(web)
}

/// `GET /healthz`: 200 as long as the process answers. A store that has failed ends the process.
pub async fn alive() -> Response {
    text(StatusCode::OK, "text/plain; charset=utf-8", "alive\n".to_owned())
}

/// `GET /readyz`: 200 where requests and mail are taken, else 503 with why not.
pub async fn ready(State(web): State<Web>) -> Response {
    let stopping = *web.stopping.borrow();
    // A question to the file system may block.
    let space = web.server.blocking(|server| server.store.check_space()).await;
    let (status, word) = match (stopping, space) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        (false, Err(_)) => (StatusCode::SERVICE_UNAVAILABLE, "too little disk\n"),
        (false, Ok(())) => (StatusCode::OK, "ready\n"),
    };
    text(status, "text/plain; charset=utf-8", word.to_owned())
}

/// `GET /metrics`: OpenMetrics, which Prometheus reads.
async fn figures(State(web): State<Web>) -> Response {
    let looked = web.server.blocking(|server| look(server)).await;
    if let Err(error) = looked {
        tracing::error!(%error, "the present figures can't be looked up");
        return text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "failed\n".to_owned());
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    text(StatusCode::OK, kind, web.server.store.metrics.text())
}

/// Brings up to date what isn't counted as it happens.
fn look(server: &Server) -> StoreResult<()> {
    let store = &server.store;
    let set = |what: &'static str, value: u64| {
        let gauge = store.metrics.present.get_or_create_owned(&[("what", what)]);
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    };
    let snapshot = store.snapshot();
    let read: &dyn Read = &snapshot;
    let now = store.clock.now();
    let queue = outbound::all(read)?;
    let due: Vec<_> = queue.iter().filter(|one| one.at <= now).collect();
    let waited = due.iter().map(|one| one.at.until(now).as_secs()).max();
    set("queue_messages", queue.len() as u64);
    set("queue_due_messages", due.len() as u64);
    set("queue_overdue_seconds", waited.unwrap_or(0));
    set("queue_paused", outbound::is_paused(read)?.into());
    for (what, value) in store.figures() {
        set(what, value);
    }
    if let Some(free) = store.disk_free_bytes() {
        set("disk_free_bytes", free);
    }
    let view = server.directory.current();
    set("people", view.principals().filter(|(_, row)| !row.disabled).count() as u64);
    set("accounts", view.accounts().count() as u64);
    Ok(())
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
