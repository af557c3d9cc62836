//! EventSource (RFC 8620 §7.3): StateChange events of everything that the login sees.
//!
//! A channel hears only what is durable. It ends at once when its login is revoked, and forgets an
//! account at once when the login doesn't see it any more.

use super::http::{Peer, Web};
use super::http_auth::{self, Pass, Use};
use super::problem::Problem;
use crate::auth::Login;
use crate::store::changes::{self, Since};
use crate::store::{Read, StoreResult, TypeStates};
use crate::types::{AccountId, DataType, limits};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::future::select_all;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// The variables of `eventSourceUrl`.
#[derive(Deserialize)]
pub struct Wanted {
    types: Option<String>,
    closeafter: Option<String>,
    ping: Option<u64>,
}

/// Which types a channel tells of.
enum Types {
    /// `*`: the registered ones, since strict clients fail on names that they don't know.
    Registered,
    Named(Vec<DataType>),
}

impl Types {
    fn has(&self, data_type: DataType) -> bool {
        match self {
            Types::Registered => data_type.is_registered(),
            Types::Named(named) => named.contains(&data_type),
        }
    }
}

/// `GET /jmap/eventsource?types=…&closeafter=…&ping=…`.
pub async fn open(
    State(web): State<Web>,
    Extension(peer): Extension<Peer>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let login = http_auth::login(&web, &headers, peer).await?;
    let types = types(wanted.types.as_deref().unwrap_or("*"));
    let close_after_state = match wanted.closeafter.as_deref().unwrap_or("no") {
        "state" => true,
        "no" => false,
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "closeafter is \"state\" or \"no\".")),
    };
    let ping = match wanted.ping.unwrap_or(0) {
        0 => None,
        seconds => Some(seconds.clamp(limits::EVENTSOURCE_PING_SECONDS_MIN, limits::EVENTSOURCE_PING_SECONDS_MAX)),
    };
    let pass = web
        .gate
        .enter(login.principal, Use::Channel, limits::EVENTSOURCE_CHANNELS_MAX)
        .ok_or_else(|| Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many channels are open."))?;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let mut channel = Channel {
        directory: web.server.directory.watch(),
        stopping: web.stopping.clone(),
        web,
        login,
        headers,
        types,
        close_after_state,
        ping,
        accounts: BTreeMap::new(),
        resume: last_id,
        ended: false,
        begun: false,
        _pass: pass,
    };
    channel.look_again().await?;
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
    Types::Named(text.split(',').filter_map(|name| DataType::parse(name.trim())).collect())
}

/// One open channel.
struct Channel {
    web: Web,
    login: Login,
    headers: HeaderMap,
    types: Types,
    close_after_state: bool,
    /// Seconds.
    ping: Option<u64>,
    /// What the client was told last of each account, and where news of it comes from.
    accounts: BTreeMap<AccountId, (TypeStates, watch::Receiver<TypeStates>)>,
    directory: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// The id of the last event that the client has from an earlier channel.
    resume: Option<String>,
    ended: bool,
    begun: bool,
    _pass: Pass,
}

/// What a channel woke up for.
enum Woken {
    Changed,
    Directory,
    Ping,
    Stop,
}

impl Channel {
    /// The next event's text; `None` ends the channel.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            if let Some(event) = self.resumed() {
                return Some(event);
            }
            // The header goes out at once with this comment, so that the client knows it's connected.
            return Some(Bytes::from_static(b": connected\n\n"));
        }
        loop {
            match self.wait().await {
                Woken::Changed => {
                    if let Some(event) = self.changed() {
                        self.ended = self.close_after_state;
                        return Some(event);
                    }
                }
                Woken::Directory => {
                    if self.look_again().await.is_err() {
                        return None;
                    }
                }
                Woken::Ping => {
                    let data = json!({"interval": self.ping.unwrap_or_default()});
                    return Some(Bytes::from(format!("event: ping\ndata: {data}\n\n")));
                }
                Woken::Stop => return None,
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let ping = self.ping.map(Duration::from_secs);
        let ping = async {
            match ping {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        let mut listening: Vec<_> =
            self.accounts.values_mut().map(|(_, news)| Box::pin(news.changed())).collect();
        let news = async {
            if listening.is_empty() {
                std::future::pending::<()>().await;
            }
            select_all(listening.drain(..)).await;
        };
        tokio::select! {
            () = news => Woken::Changed,
            _ = self.directory.changed() => Woken::Directory,
            () = ping => Woken::Ping,
            _ = self.stopping.wait_for(|stopping| *stopping) => Woken::Stop,
        }
    }

    /// Listens to the accounts that the login sees now. An error where it sees nothing any more.
    async fn look_again(&mut self) -> Result<(), Problem> {
        self.directory.mark_unchanged();
        let session = http_auth::session(&self.web, &self.login, &self.headers)?;
        self.accounts.retain(|id, _| session.account(*id).is_some());
        let fresh: Vec<AccountId> =
            session.accounts().iter().map(|one| one.id).filter(|id| !self.accounts.contains_key(id)).collect();
        for id in fresh {
            let news = self.web.server.store.hub().subscribe(id);
            let states = self.web.server.blocking(move |server| durable_states(server, id)).await;
            let states = states.map_err(|error| {
                tracing::error!(%error, "a channel could not be opened");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The store has failed.")
            })?;
            self.accounts.insert(id, (states, news));
        }
        Ok(())
    }

    /// Everything, where the client's last event doesn't tell of the present.
    fn resumed(&mut self) -> Option<Bytes> {
        let last = self.resume.take()?;
        if last == self.event_id() {
            return None;
        }
        let all = self.accounts.iter().map(|(id, (states, _))| (*id, self.tell(*states, None)));
        let all: Vec<_> = all.filter(|(_, told)| !told.is_empty()).collect();
        let event = self.event(all)?;
        self.ended = self.close_after_state;
        Some(event)
    }

    fn changed(&mut self) -> Option<Bytes> {
        let mut moved = Vec::new();
        for (id, (_, news)) in &mut self.accounts {
            moved.push((*id, *news.borrow_and_update()));
        }
        let mut told = Vec::new();
        for (id, states) in moved {
            let Some(known) = self.accounts.get(&id).map(|(known, _)| *known) else { continue };
            let changes = self.tell(states, Some(known));
            if let Some((known, _)) = self.accounts.get_mut(&id) {
                *known = newer(*known, states);
            }
            if !changes.is_empty() {
                told.push((id, changes));
            }
        }
        self.event(told)
    }

    /// The wanted types whose state is newer than `known`, with their states.
    fn tell(&self, states: TypeStates, known: Option<TypeStates>) -> Map<String, Value> {
        let fresh = |data_type: &DataType| {
            self.types.has(*data_type) && known.is_none_or(|known| states.of(*data_type) > known.of(*data_type))
        };
        let state = |data_type: DataType| {
            (data_type.name().to_owned(), Value::from(Since::modseq(states.of(data_type)).state()))
        };
        DataType::ALL.into_iter().filter(fresh).map(state).collect()
    }

    fn event(&self, told: Vec<(AccountId, Map<String, Value>)>) -> Option<Bytes> {
        if told.is_empty() {
            return None;
        }
        let changed: Map<String, Value> =
            told.into_iter().map(|(id, states)| (id.to_string(), Value::Object(states))).collect();
        let data = json!({"@type": "StateChange", "changed": changed});
        Some(Bytes::from(format!("event: state\nid: {}\ndata: {data}\n\n", self.event_id())))
    }

    /// Names all that the channel would tell at this moment.
    fn event_id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (id, (states, _)) in &self.accounts {
            hasher.update(id.to_string().as_bytes());
            for data_type in DataType::ALL.into_iter().filter(|data_type| self.types.has(*data_type)) {
                hasher.update(data_type.name().as_bytes());
                hasher.update(&states.of(data_type).to_be_bytes());
            }
        }
        hasher.finalize().to_hex().chars().take(24).collect()
    }
}

/// The account's states once they are durable.
fn durable_states(server: &crate::inbox::server::Server, account: AccountId) -> StoreResult<TypeStates> {
    let snapshot = server.store.snapshot();
    server.store.durable_blocking(server.store.ticket_of(account))?;
    changes::states(&snapshot as &dyn Read, account)
}

/// News may be older than what was read at the begin.
fn newer(one: TypeStates, other: TypeStates) -> TypeStates {
    let mut out = one;
    for (mine, theirs) in out.0.iter_mut().zip(other.0) {
        *mine = (*mine).max(theirs);
    }
    out
}
