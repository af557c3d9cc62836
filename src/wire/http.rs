//! HTTP: the listener, its limits, and the routes. What a route does is in a file of its own.
//!
//! Invariants: a connection that sends nothing is closed; connections are bounded in all; a stop
//! accepts no new ones, and lets running requests end within a bounded time.

use super::http_auth::{Gate, Sessions};
use super::problem::Problem;
use super::tls::{Certificate, TlsError};
use super::websocket_ticket::{self, Tickets};
use super::{blobs, documents, eventsource, http_jmap, metrics, push, websocket};
use crate::inbox::server::Server;
use crate::jmap::webpush::Vapid;
use crate::types::limits;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::Service;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

/// How long a stop waits for running requests.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// What every route gets.
#[derive(Clone)]
pub struct Web {
    pub server: Arc<Server>,
    /// Who is let in, and how much at once.
    pub gate: Arc<Gate>,
    pub sessions: Arc<Sessions>,
    pub tickets: Arc<Tickets>,
    /// By what push services know us.
    pub vapid: Arc<Vapid>,
    /// Rings when the server stops, so that open channels end.
    pub stopping: watch::Receiver<bool>,
}

/// Waits until the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` gives must not live across an await of the caller's.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

/// The other end of the connection, put into each request by the listener.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub ip: IpAddr,
    /// The connection is ours from end to end: TLS without a proxy.
    pub secure: bool,
}

/// One of the connections that there may be at once; whoever takes over a connection keeps it.
#[derive(Clone)]
pub struct Slot {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Default for Peer {
    fn default() -> Self {
        Self { ip: IpAddr::from([0, 0, 0, 0]), secure: false }
    }
}

/// A socket that HTTP listens on.
pub struct Door {
    listener: TcpListener,
    /// `None`: HTTP without TLS.
    tls: Option<TlsAcceptor>,
    /// Figures and health, and nothing else.
    for_operators: bool,
}

/// Where HTTP comes in. By TLS, the client chooses between HTTP/2 and HTTP/1.1 (RFC 7301).
pub fn doors(
    http: TcpListener,
    https: Option<TcpListener>,
    metrics: Option<TcpListener>,
    certificate: Option<&Arc<Certificate>>,
) -> Result<Vec<Door>, TlsError> {
    let mut doors = vec![Door { listener: http, tls: None, for_operators: false }];
    doors.extend(metrics.map(|listener| Door { listener, tls: None, for_operators: true }));
    if let (Some(listener), Some(certificate)) = (https, certificate) {
        let tls = Some(certificate.acceptor(&[b"h2", b"http/1.1"])?);
        doors.push(Door { listener, tls, for_operators: false });
    }
    Ok(doors)
}

/// What connections need.
#[derive(Clone)]
struct House {
    routes: Router,
    slots: Arc<Semaphore>,
    /// The patience with a client that sends nothing.
    wait: Duration,
    stopping: watch::Receiver<bool>,
}

/// Serves until `stopping` says true, then lets running requests end.
pub async fn serve(doors: Vec<Door>, server: Arc<Server>, stopping: watch::Receiver<bool>) {
    let wait = server.settings.http_wait;
    let web = Web {
        gate: Arc::default(),
        sessions: Arc::default(),
        tickets: Arc::default(),
        vapid: Arc::new(push::vapid(&server)),
        server,
        stopping: stopping.clone(),
    };
    let slots = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
    // Whoever watches the server gets in however many clients there are.
    let kept = Arc::new(Semaphore::new(limits::METRICS_CONNECTIONS_MAX));
    let for_operators =
        House { routes: metrics::routes(web.clone()), slots: kept, wait, stopping: stopping.clone() };
    let house = House { routes: routes(web), slots: Arc::clone(&slots), wait, stopping };
    let houses = doors.into_iter().map(|door| {
        let house = if door.for_operators { &for_operators } else { &house };
        let_in(door, house.clone())
    });
    join_all(houses).await;
    let all = u32::try_from(limits::HTTP_CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(SHUTDOWN_WAIT, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some HTTP requests did not end in time");
    }
}

/// Accepts connections until the server stops.
async fn let_in(door: Door, house: House) {
    let mut stop = house.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&door.listener, &house.slots) => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let slot = Slot { _permit: Arc::new(permit) };
                tokio::spawn(meet(stream, peer, door.tls.clone(), house.clone(), slot));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must end before anybody is let in.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, slot))
}

/// A connection from its first octet.
async fn meet(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, house: House, slot: Slot) {
    let Some(tls) = tls else {
        let peer = Peer { ip: peer.ip(), secure: false };
        return connection(stream, peer, house, slot).await;
    };
    match tokio::time::timeout(house.wait, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, Peer { ip: peer.ip(), secure: true }, house, slot).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
    }
}

async fn connection<S>(stream: S, peer: Peer, house: House, slot: Slot)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = house.routes.layer(Extension(peer)).layer(Extension(slot));
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let mut routes = routes.clone();
        async move { routes.call(request).await }
    });
    let builder = builder(house.wait);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(served);
    let mut stopping = house.stopping;
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = nothing_came(&begun, house.wait) => {
            tracing::debug!(peer = %peer.ip, "a client connected and asked nothing");
            return;
        }
        () = stopped(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %peer.ip, "an HTTP connection ended early");
    }
}

/// Waits until it is clear that no request begins: the version of HTTP is found out before any of the
/// timeouts below begins to run.
async fn nothing_came(begun: &AtomicBool, wait: Duration) {
    // The header has its own time after the first octets.
    tokio::time::sleep(wait * 2).await;
    if begun.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn builder(wait: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(wait)
        .max_buf_size(limits::HTTP_HEADER_BYTES_MAX);
    // Resets of streams that aren't accepted yet are bounded by hyper itself (CVE-2023-44487).
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(limits::HTTP_HEADER_BYTES_MAX as u32)
        .max_send_buf_size(limits::HTTP2_SEND_BYTES_MAX)
        .keep_alive_interval(wait)
        .keep_alive_timeout(wait);
    builder
}

fn routes(web: Web) -> Router {
    let cors = cors(&web.server.settings.cors_origins);
    // What is text and made for one answer. Blobs go as they are, so that ranges and ETags mean the
    // same octets for everybody (RFC 9110 §8.8.3.3); channels must not wait for a full buffer; and a
    // ticket is a secret, whose length must not depend on what else is said.
    let texts = Router::new()
        .route("/.well-known/jmap", get(http_jmap::session))
        .route("/jmap", post(http_jmap::api))
        .route("/jmap/", get(documents::list))
        .route("/jmap/{document}", get(documents::text))
        .route("/jmap/schema/{document}", get(documents::schema))
        .route("/jmap/examples/{document}", get(documents::example))
        .layer(compression());
    Router::new()
        .merge(texts)
        .route("/jmap/upload/{account}", post(blobs::upload))
        .route("/jmap/upload/{account}/", post(blobs::upload))
        .route("/jmap/download/{account}/{blob}/{name}", get(blobs::download))
        .route("/jmap/download/{account}/{blob}/", get(blobs::download))
        .route("/jmap/eventsource", get(eventsource::open))
        .route("/jmap/ws", get(websocket::open))
        .route("/jmap/ws/ticket", post(websocket_ticket::create))
        .route("/jmap/ws/ticket/{value}", delete(websocket_ticket::revoke))
        .route("/healthz", get(metrics::alive))
        .route("/readyz", get(metrics::ready))
        .fallback(documents::nothing)
        .method_not_allowed_fallback(documents::not_so)
        .with_state(web.clone())
        .layer(from_fn(as_it_is))
        .layer(cors)
        .layer(from_fn_with_state(web, known_by_id))
}

/// gzip, br and zstd as the client likes (RFC 9110 §12.5.3), at their quickest: what is gained on the
/// way mustn't be lost in the making.
fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(limits::HTTP_COMPRESSED_BYTES_MIN))
}

/// Refuses a body that comes coded: none of ours is so large that it would need to be, and one that
/// unfolds in memory has no size that could be judged before (RFC 9110 §15.5.16).
async fn as_it_is(request: Request, next: Next) -> Response {
    let codings = request.headers().get_all(header::CONTENT_ENCODING);
    if codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return next.run(request).await;
    }
    let detail = "A body is taken without a Content-Encoding only.";
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    problem.with(header::ACCEPT_ENCODING, "identity").into_response()
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request an id, which its log lines have and its answer tells; a proxy's own is kept.
async fn known_by_id(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
    let id = given.cloned().unwrap_or_else(next_request_id);
    request.headers_mut().remove(&REQUEST_ID);
    let (method, path) = (request.method().clone(), shown(request.uri().path()));
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default(), %method, path);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    web.server.store.metrics.http_answers.get_or_create(&[("status", status.into())]).inc();
    span.in_scope(|| tracing::debug!(peer = %peer.ip, status, "answered"));
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if peer.secure {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

/// What log lines show of a path: enough to tell what was asked. A ticket and a file's name stand at the
/// end of theirs and are told to nobody, as is the query.
fn shown(path: &str) -> String {
    let segments = if path.starts_with("/jmap/download/") { 4 } else { 3 };
    let (end, more) = match path.match_indices('/').nth(segments) {
        Some((end, _)) => (end, true),
        None => (path.len(), false),
    };
    let bound = path.floor_char_boundary(end.min(limits::LOGGED_PATH_BYTES_MAX));
    format!("{}{}", &path[..bound], if more || bound < end { "/…" } else { "" })
}

fn is_request_id(id: &[u8]) -> bool {
    (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Unlike all others of this process, and told apart from a proxy's by its look.
fn next_request_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    HeaderValue::from_str(&format!("r{number}")).unwrap_or_else(|_| HeaderValue::from_static("r"))
}

/// Browsers may call from the configured origins only.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::RANGE,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            header::CONTENT_DISPOSITION,
            header::CONTENT_RANGE,
            header::ETAG,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            REQUEST_ID,
        ])
        .max_age(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_show_no_ticket_and_no_name_of_a_file() {
        for (path, wanted) in [
            ("/jmap", "/jmap"),
            ("/", "/"),
            ("*", "*"),
            ("/.well-known/jmap", "/.well-known/jmap"),
            ("/jmap/upload/ab", "/jmap/upload/ab"),
            ("/jmap/upload/ab/", "/jmap/upload/ab/…"),
            ("/jmap/download/ab/blob/salaries.pdf", "/jmap/download/ab/blob/…"),
            ("/jmap/ws/ticket", "/jmap/ws/ticket"),
            ("/jmap/ws/ticket/secret", "/jmap/ws/ticket/…"),
        ] {
            assert_eq!(shown(path), wanted);
        }
        let long = shown(&format!("/{}", "ä".repeat(1000)));
        assert!(long.len() <= limits::LOGGED_PATH_BYTES_MAX + "/…".len(), "{long}");
    }
}
