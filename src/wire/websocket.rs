//! JMAP over WebSocket (RFC 8887): the socket. What is said on it is read and made in
//! `jmap/websocket.rs`; what is pushed is the feed's affair ([`super::feed`]).
//!
//! A channel is two tasks: one reads, and begins requests, which run side by side; one writes what they
//! and the feed put into a short queue. A client that doesn't read stops the queue, then its requests,
//! and is given up after a while; what it would have been told is told as one StateChange later.
//!
//! Invariants: a channel closes at once when its login is revoked; a page of another origin opens none.

use super::feed::{Ended, Feed, Types};
use super::http::{Slot, Web, stopped};
use super::http_auth::{self, Caller, Pass, Use, unauthorized};
use super::problem::Problem;
use super::{http_jmap, websocket_ticket};
use crate::jmap::request::Request;
use crate::jmap::websocket::{self as ws, Message, Refused, RequestId};
use crate::types::metrics::Raised;
use crate::types::{Position, limits};
use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{
    CloseCode, CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
};
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// RFC 8887 §4.2: the name of the subprotocol.
const PROTOCOL: &str = "jmap";
/// Messages beyond the limit are read so far, so that the client hears why; longer ones close the channel.
const MESSAGE_BYTES_MAX: usize = limits::REQUEST_SIZE_BYTES_MAX * 2;

/// How a browser logs in.
#[derive(Deserialize)]
struct Asked {
    ticket: Option<String>,
}

/// Who opens the channel: by a ticket, else by credentials.
pub struct Opener(Caller);

impl FromRequestParts<Web> for Opener {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let asked = Query::<Asked>::try_from_uri(&parts.uri).ok();
        let caller = match asked.and_then(|asked| asked.0.ticket) {
            Some(ticket) => {
                let login = websocket_ticket::redeem(web, &ticket)?;
                Caller { login, base: http_auth::base(web, parts, http_auth::peer(parts)) }
            }
            None => Caller::from_request_parts(parts, web).await?,
        };
        Ok(Self(caller))
    }
}

/// `GET /jmap/ws`: the handshake.
pub async fn open(
    State(web): State<Web>,
    Opener(caller): Opener,
    Extension(slot): Extension<Slot>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !is_ours(&web, &caller, &headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "Pages of this origin may not call."));
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(rejection) => {
            let status = rejection.into_response().status();
            return Err(Problem::new(status, "This is a WebSocket: upgrade to it (RFC 6455).")
                .with(header::UPGRADE, "websocket"));
        }
    };
    // RFC 8887 §4.2: a client that doesn't ask for the subprotocol would get what it can't read.
    if upgrade.selected_protocol().is_none() {
        let why = "The client must ask for the WebSocket subprotocol \"jmap\".";
        return Err(Problem::new(StatusCode::BAD_REQUEST, why));
    }
    let pass = web
        .gate
        .enter(caller.login.principal, Use::Channel, limits::CHANNELS_MAX)
        .ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many channels are open."))?;
    let feed = Feed::open(Arc::clone(&web.server), caller.login.clone(), Types::Nothing, None).await;
    let feed = feed.map_err(|_| unauthorized())?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| run(socket, web, caller, feed, (pass, slot))))
}

/// Browsers say which page opens a WebSocket, and add credentials that they know: it must be one of the
/// configured origins, or our own. RFC 6455 §10.2.
fn is_ours(web: &Web, caller: &Caller, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.as_bytes();
    origin == caller.base.as_bytes()
        || web.server.settings.cors_origins.iter().any(|known| known.as_bytes() == origin)
}

/// A channel from its handshake to its end.
async fn run(socket: WebSocket, web: Web, caller: Caller, feed: Feed, held: (Pass, Slot)) {
    let _open = Raised::new(&web.server.store.metrics.channels.get_or_create_owned(&[("kind", "websocket")]));
    let (sink, frames) = socket.split();
    let (out, queue) = mpsc::channel(limits::WEBSOCKET_QUEUE_MAX);
    let writer = tokio::spawn(write(sink, queue));
    let mut ping = interval(Duration::from_secs(limits::WEBSOCKET_PING_SECONDS));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut channel = Channel { web, caller, feed, frames, out, ping, silent: 0 };
    let (code, reason) = channel.read().await;
    let close = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
    // Where the queue is full, the writer is stuck, and gives up by itself.
    let _ = channel.out.try_send(close);
    let Channel { frames, web, .. } = channel;
    let sink = writer.await;
    if is_the_clients_fault(code) {
        // What was sent and isn't read makes the system reset a connection that closes, and the client
        // would never hear why.
        let mut stopping = web.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(limits::WEBSOCKET_CLOSE_SECONDS_MAX)) => {}
            () = stopped(&mut stopping) => {}
        }
    }
    drop((frames, sink, held));
}

/// Sends what is queued, until a Close or until the client takes no more; gives the socket's half back.
async fn write(
    mut sink: SplitSink<WebSocket, Frame>,
    mut queue: mpsc::Receiver<Frame>,
) -> SplitSink<WebSocket, Frame> {
    let wait = Duration::from_secs(limits::WEBSOCKET_SEND_SECONDS_MAX);
    while let Some(frame) = queue.recv().await {
        let last = matches!(frame, Frame::Close(_));
        let sent = tokio::time::timeout(wait, sink.send(frame)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    sink
}

/// The reading half.
struct Channel {
    web: Web,
    caller: Caller,
    feed: Feed,
    frames: SplitStream<WebSocket>,
    out: mpsc::Sender<Frame>,
    ping: Interval,
    /// Pings since the client was heard last.
    silent: u32,
}

/// Why a channel ends: the close code of RFC 6455 §7.4.1, and words.
type End = (CloseCode, &'static str);

const REVOKED: End = (close_code::POLICY, "the login does not hold any more");
const GONE: End = (close_code::NORMAL, "");

/// What ends a channel whose frames can't be read.
fn unreadable(error: axum::Error) -> End {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => (close_code::SIZE, "the message is too long"),
        Some(tungstenite::Error::Utf8(_)) => (close_code::INVALID, "text must be UTF-8"),
        Some(tungstenite::Error::Protocol(_)) => (close_code::PROTOCOL, "this is no frame of RFC 6455"),
        _ => GONE,
    }
}

fn is_the_clients_fault(code: CloseCode) -> bool {
    [close_code::SIZE, close_code::INVALID, close_code::PROTOCOL, close_code::UNSUPPORTED].contains(&code)
}

impl Channel {
    async fn read(&mut self) -> End {
        let mut stopping = self.web.stopping.clone();
        loop {
            tokio::select! {
                () = stopped(&mut stopping) => return (close_code::AWAY, "the server stops"),
                // A client that takes nothing hears nothing, and is given up by the writer.
                pushed = push(&mut self.feed, &self.out) => match pushed {
                    Ok(()) => {}
                    Err(Ended) => return REVOKED,
                },
                () = self.out.closed() => return GONE,
                _ = self.ping.tick() => {
                    if self.silent >= limits::WEBSOCKET_PINGS_UNANSWERED_MAX {
                        return (close_code::AWAY, "nothing was heard for too long");
                    }
                    self.silent += 1;
                    // Where the queue is full, the client has enough to read.
                    let _ = self.out.try_send(Frame::Ping(Default::default()));
                }
                frame = self.frames.next() => {
                    self.silent = 0;
                    match frame {
                        Some(Ok(Frame::Text(text))) => {
                            if self.hear(text).await.is_err() {
                                return GONE;
                            }
                        }
                        // RFC 8887 §4.3: data frames are text.
                        Some(Ok(Frame::Binary(_))) => {
                            return (close_code::UNSUPPORTED, "messages must be text");
                        }
                        Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                        Some(Err(error)) => return unreadable(error),
                        Some(Ok(Frame::Close(_))) | None => return GONE,
                    }
                }
            }
        }
    }

    /// Acts on a message. An error where nothing can be said any more.
    async fn hear(&mut self, text: Utf8Bytes) -> Result<(), mpsc::error::SendError<Frame>> {
        let message = match text.len() <= http_jmap::PARSE_INLINE_BYTES_MAX {
            true => ws::read(text.as_bytes()),
            false => self.web.server.blocking(move |_| ws::read(text.as_bytes())).await,
        };
        match message {
            Ok(Message::Request { id, request }) => self.begin(id, request).await,
            Ok(Message::PushEnable { data_types, push_state }) => {
                let types = data_types
                    .map_or(Types::Registered, |names| Types::named(names.iter().map(String::as_str)));
                self.feed.want(types, push_state.as_deref().map(Position::parse).as_ref());
                Ok(())
            }
            Ok(Message::PushDisable) => {
                self.feed.want(Types::Nothing, None);
                Ok(())
            }
            Err(Refused { id, error }) => {
                self.out.send(Frame::Text(ws::request_error(error.to_json(), id).into())).await
            }
        }
    }

    /// Runs a request beside the others. RFC 8887 §4.3.2: answers may come in another order.
    async fn begin(&self, id: RequestId, request: Request) -> Result<(), mpsc::error::SendError<Frame>> {
        let pass = match http_jmap::enter(&self.web, &self.caller) {
            Ok(pass) => pass,
            Err(problem) => {
                return self.out.send(Frame::Text(ws::request_error(problem.into_json(), id).into())).await;
            }
        };
        let (web, caller, out) = (self.web.clone(), self.caller.clone(), self.out.clone());
        tokio::spawn(async move {
            let text = match http_jmap::answer(&web, &caller, request, Some(id.clone())).await {
                Ok(text) => text,
                Err(problem) => ws::request_error(problem.into_json(), id),
            };
            // The client may be gone.
            let _ = out.send(Frame::Text(text.into())).await;
            drop(pass);
        });
        Ok(())
    }
}

/// Puts what is new into the queue, once there is room for it.
async fn push(feed: &mut Feed, out: &mpsc::Sender<Frame>) -> Result<(), Ended> {
    feed.ready().await?;
    // A closed queue ends the channel elsewhere.
    let Ok(room) = out.reserve().await else { return std::future::pending().await };
    if let Some(change) = feed.take()? {
        room.send(Frame::Text(ws::state_change(change.to_json(), &change.position.to_string()).into()));
    }
    Ok(())
}
