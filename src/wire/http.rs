//! HTTP: the listener, its limits, and the routes. What a route does is in a file of its own.
//!
//! Invariants: a connection that sends nothing is closed; connections are bounded in all; a stop
//! accepts no new ones, and lets running requests end within a bounded time.

use super::http_auth::{Gate, Sessions};
use super::websocket_ticket::{self, Tickets};
use super::{blobs, documents, eventsource, http_jmap, push, websocket};
use crate::inbox::server::Server;
use crate::jmap::webpush::Vapid;
use crate::types::limits;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::{delete, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::cors::{AllowOrigin, CorsLayer};

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

/// Serves until `stopping` says true, then lets running requests end.
pub async fn serve(listener: TcpListener, server: Arc<Server>, stopping: watch::Receiver<bool>) {
    let web = Web {
        gate: Arc::default(),
        sessions: Arc::default(),
        tickets: Arc::default(),
        vapid: Arc::new(push::vapid(&server)),
        server,
        stopping: stopping.clone(),
    };
    let routes = routes(web);
    let slots = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS_MAX));
    let mut stop = stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                tokio::spawn(connection(stream, peer, routes.clone(), stopping.clone(), slot));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must end before anybody is let in.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(limits::HTTP_CONNECTIONS_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(SHUTDOWN_WAIT, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some HTTP requests did not end in time");
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    mut stopping: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::HTTP_HEADER_SECONDS_MAX))
        .max_buf_size(limits::HTTP_HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(limits::HTTP2_STREAMS_MAX);
    let slot = Slot { _permit: Arc::new(permit) };
    let peer_is = Peer { ip: peer.ip(), secure: false };
    let routes = routes.layer(axum::Extension(peer_is)).layer(axum::Extension(slot));
    let served =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stopped(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "an HTTP connection ended early");
    }
}

fn routes(web: Web) -> Router {
    let cors = cors(&web.server.settings.cors_origins);
    Router::new()
        .route("/.well-known/jmap", get(http_jmap::session))
        .route("/jmap", post(http_jmap::api))
        .route("/jmap/upload/{account}", post(blobs::upload))
        .route("/jmap/upload/{account}/", post(blobs::upload))
        .route("/jmap/download/{account}/{blob}/{name}", get(blobs::download))
        .route("/jmap/eventsource", get(eventsource::open))
        .route("/jmap/ws", get(websocket::open))
        .route("/jmap/ws/ticket", post(websocket_ticket::create))
        .route("/jmap/ws/ticket/{value}", delete(websocket_ticket::revoke))
        .route("/jmap/", get(documents::list))
        .route("/jmap/{document}", get(documents::text))
        .route("/jmap/schema/{document}", get(documents::schema))
        .route("/jmap/examples/{document}", get(documents::example))
        .fallback(documents::nothing)
        .with_state(web)
        .layer(cors)
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
            HeaderName::from_static("last-event-id"),
        ])
        .max_age(Duration::from_secs(3600))
}
