//! The session resource and the API (RFC 8620 §2, §3).

use super::http::Web;
use super::http_auth::{Caller, Pass, Use};
use super::problem::Problem;
use crate::auth::{Login, Session};
use crate::inbox::server::Server;
use crate::jmap::context::{Ctx, Host};
use crate::jmap::error::{MethodErrorKind, RequestError};
use crate::jmap::ijson;
use crate::jmap::methods;
use crate::jmap::process;
use crate::jmap::request::{self, Request};
use crate::jmap::session::{Account, SessionData};
use crate::jmap::websocket as ws;
use crate::store::{Locked, Ticket};
use crate::types::{AccountId, limits};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// `GET /.well-known/jmap`: the Session object, without a redirect.
pub async fn session(State(web): State<Web>, caller: Caller) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &caller.session(&web)?.to_json()))
}

/// `POST /jmap`: a request (RFC 8620 §3.3).
pub async fn api(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // RFC 8620 §3.1, §3.6.1: the client MUST say application/json; parameters don't matter.
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let error = RequestError::NotJson("its Content-Type is not application/json".into());
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let mut problem = error.to_json();
        problem["status"] = status.as_u16().into();
        return Err(Problem::jmap(status, problem));
    }
    let _pass = enter(&web, &caller)?;
    let body = read_body(body, limits::REQUEST_SIZE_BYTES_MAX, web.server.settings.http_wait)
        .await?
        .ok_or_else(|| Problem::limit(StatusCode::BAD_REQUEST, "maxSizeRequest"))?;
    let request = parse(&web, body).await.map_err(problem)?;
    Ok(json_text(StatusCode::OK, answer(&web, &caller, request, None).await?))
}

/// One of the requests that the caller may have in the making (RFC 8620 §2, `maxConcurrentRequests`), and as
/// fast as the operator lets one person ask.
pub fn enter(web: &Web, caller: &Caller) -> Result<Pass, Problem> {
    if let Some(a_minute) = web.server.settings.requests_per_minute {
        let now = web.server.store.clock.now();
        web.gate.pace(caller.login.principal, a_minute, now).map_err(|wait| {
            let detail = "You ask faster than this server allows one person to.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait.as_secs() + 1)
        })?;
    }
    let pass = web.gate.enter(caller.login.principal, Use::Request, limits::REQUESTS_CONCURRENT_MAX);
    pass.ok_or_else(|| Problem::limit(StatusCode::BAD_REQUEST, "maxConcurrentRequests"))
}

/// The text of the Response, durable as far as it tells; with the members of a WebSocket's where it
/// goes there.
pub async fn answer(
    web: &Web,
    caller: &Caller,
    request: Request,
    to: Option<ws::RequestId>,
) -> Result<String, Problem> {
    // Seen after the locks are held, so that a right that was taken away is gone here too.
    let written = methods::accounts_written(&request);
    let before = caller.session(web)?;
    let visible: Vec<AccountId> = written.into_iter().filter(|id| before.account(*id).is_some()).collect();
    let locked = web.server.store.lock(&visible).await;
    let session = caller.session(web)?;
    let login = caller.login.clone();
    // A hop to a thread that may block costs more than a call that never does.
    let (ticket, text) = match methods::may_block(&request) {
        true => web.server.blocking(move |server| run(server, (&login, &session), request, locked, to)).await,
        false => run(&web.server, (&login, &session), request, locked, to),
    };
    web.server.store.durable(ticket).await.map_err(|error| {
        tracing::error!(%error, "a response could not be made durable");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The store has failed.")
    })?;
    Ok(text)
}

/// The response's text, and what must be durable before it is sent.
fn run(
    server: &Arc<Server>,
    who: (&Login, &SessionData),
    request: Request,
    locked: Locked,
    to: Option<ws::RequestId>,
) -> (Ticket, String) {
    let response = respond(server, who, request, locked);
    let ticket = response.ticket;
    let text = match to {
        Some(id) => ws::response(response, id),
        None => response.into_text(),
    };
    (ticket, text)
}

/// Runs a request as the login. May block.
pub(super) fn respond(
    server: &Arc<Server>,
    (login, session): (&Login, &SessionData),
    request: Request,
    locked: Locked,
) -> process::Response {
    let staff = |account| server.staff(account);
    let still = |account: &Account| {
        let now = Session::of(server.directory.current(), login.clone());
        let access = now.and_then(|now| now.access(account.id));
        match access.ok_or(MethodErrorKind::AccountNotFound)?.role() == account.role {
            true => Ok(()),
            // With the role that it is now the request may mean something else.
            false => Err(MethodErrorKind::ServerUnavailable),
        }
    };
    let host = Host {
        store: &server.store,
        search: server.search.as_ref(),
        staff: &staff,
        still: &still,
        commit: &|txn| server.directory.commit(txn),
        presences: &server.presences,
        hostname: &server.settings.hostname,
    };
    process::process(Ctx::new(host, session, request.using, locked), request)
}

/// Parsing a small request is quicker than going to another thread.
pub const PARSE_INLINE_BYTES_MAX: usize = 64 * 1024;

async fn parse(web: &Web, body: Bytes) -> Result<Request, RequestError> {
    if body.len() <= PARSE_INLINE_BYTES_MAX {
        return request::parse(&body);
    }
    web.server.blocking(move |_| request::parse(&body)).await
}

fn problem(error: RequestError) -> Problem {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    Problem::jmap(status, error.to_json())
}

/// Reads a body of at most `max` octets; `None` where it is larger. What is too much is read on and
/// thrown away, within a limit, since most clients read no answer before they have sent all. A
/// client that sends nothing for `wait`, or drips, is given up.
pub async fn read_body(body: Body, max: usize, wait: Duration) -> Result<Option<Bytes>, Problem> {
    let whole = Duration::from_secs(limits::HTTP_BODY_SECONDS_MAX);
    match tokio::time::timeout(whole, read_frames(body, max, wait)).await {
        Ok(read) => read,
        Err(_) => Err(too_slow()),
    }
}

/// The client must not take the connection, with what it still sends, for one that goes on.
fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "The body came too slowly.").with(header::CONNECTION, "close")
}

async fn read_frames(body: Body, max: usize, wait: Duration) -> Result<Option<Bytes>, Problem> {
    let mut body = body;
    let mut read: Vec<u8> = Vec::new();
    let mut size = 0;
    loop {
        let frame = match tokio::time::timeout(wait, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok((size <= max).then(|| read.into())),
            Ok(Some(Err(_))) => return Err(Problem::new(StatusCode::BAD_REQUEST, "The body ended early.")),
            Err(_) => return Err(too_slow()),
        };
        if let Ok(data) = frame.into_data() {
            size += data.len();
            if size > max.saturating_add(limits::HTTP_DISCARDED_BYTES_MAX) {
                return Ok(None);
            }
            if size > max {
                read = Vec::new();
            } else {
                read.extend_from_slice(&data);
            }
        }
    }
}

/// A JSON response that nobody keeps.
pub fn json(status: StatusCode, value: &Value) -> Response {
    json_text(status, ijson::cleaned(value.to_string()))
}

fn json_text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    // RFC 8620 §3.8: there is one language of what people read.
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    response
}
