//! Who asks: HTTP Basic and Bearer credentials to a session, and how much one may do at once.
//!
//! A login that was verified before costs a lookup; others go to a blocking thread. Whatever is
//! wrong with credentials gets the same 401 (RFC 9110 §11.6.1). A handler that takes a [`Caller`]
//! can't forget to ask.

use super::http::{Peer, Web};
use super::problem::Problem;
use crate::auth::{self, Credentials, Login, LoginError, View};
use crate::inbox::server::Server;
use crate::jmap::capability::{Capability, CapabilitySet};
use crate::jmap::session::{Account, Owner, SessionData, Urls};
use crate::jmap::types::email_query::SORT_OPTIONS;
use crate::types::limits::{BASE_URL_BYTES_MAX, SESSIONS_KEPT_MAX};
use crate::types::metrics::count;
use crate::types::{MemberRole, Millis, PrincipalId};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What one principal does at once, kind by kind, and how fast they ask.
#[derive(Default)]
pub struct Gate {
    uses: Mutex<HashMap<(PrincipalId, Use), usize>>,
    /// When all that a principal asked so far would be through at the steady rate.
    paid_until: Mutex<HashMap<PrincipalId, Millis>>,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Use {
    Request,
    Upload,
    Channel,
}

/// One use in progress; dropping it gives it back.
pub struct Pass {
    gate: Arc<Gate>,
    key: (PrincipalId, Use),
}

impl Gate {
    /// Begins a use; `None` where there are `max` already.
    pub fn enter(self: &Arc<Self>, principal: PrincipalId, kind: Use, max: usize) -> Option<Pass> {
        let key = (principal, kind);
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = uses.entry(key).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Pass { gate: Arc::clone(self), key })
    }

    /// Counts one request of a principal who may make so many in a minute, in bursts of that size; the time
    /// to wait where it is one too many. It grows with the people that there are.
    pub fn pace(&self, principal: PrincipalId, a_minute: u32, now: Millis) -> Result<(), Duration> {
        let minute = Duration::from_secs(60);
        let cost = minute / a_minute.max(1);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid_until.get(&principal).copied().unwrap_or(now).max(now).after(cost);
        let ahead = now.until(until);
        if ahead > minute {
            return Err(ahead - minute);
        }
        paid_until.insert(principal, until);
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut uses = self.gate.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = uses.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                uses.remove(&self.key);
            }
        }
    }
}

/// Who asks, and where they reach us. Extracting it answers 401 where that can't be told.
#[derive(Clone, Debug)]
pub struct Caller {
    pub login: Login,
    /// The beginning of every URL that the caller is given, without a slash at the end.
    pub base: String,
}

impl FromRequestParts<Web> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let peer = peer(parts);
        let login = login(web, &parts.headers, peer).await?;
        Ok(Self { login, base: base(web, parts, peer) })
    }
}

impl Caller {
    /// What the caller sees now; 401 where the login was revoked meanwhile.
    pub fn session(&self, web: &Web) -> Result<Arc<SessionData>, Problem> {
        session(web, self)
    }
}

/// Who is at the other end; the listener put it there.
pub fn peer(parts: &Parts) -> Peer {
    parts.extensions.get::<Peer>().copied().unwrap_or_default()
}

async fn login(web: &Web, headers: &HeaderMap, peer: Peer) -> Result<Login, Problem> {
    let credentials = credentials(headers).ok_or_else(unauthorized)?;
    if let Some(login) = web.server.authenticator.try_cached(&credentials) {
        return Ok(login);
    }
    let done = web.server.blocking(move |server| server.authenticator.login(&credentials, peer.ip)).await;
    done.inspect_err(|_| count(&web.server.store.metrics.logins, "where", "http")).map_err(
        |error| match error {
            LoginError::TooSoon { retry_after } => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many failed logins; wait, then try again.")
                    .retry_after(retry_after.as_secs().max(1))
            }
            LoginError::Refused => unauthorized(),
        },
    )
}

/// Sessions as they were made from one view of the directory: making one, with its state, costs more
/// than most requests. Another view empties it, so that no right outlives its end.
#[derive(Default)]
pub struct Sessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    view: Option<Arc<View>>,
    /// By login and by the base of the URLs.
    sessions: HashMap<(Login, String), Arc<SessionData>>,
}

fn session(web: &Web, caller: &Caller) -> Result<Arc<SessionData>, Problem> {
    let view = web.server.directory.current();
    let Caller { login, base } = caller;
    let key = (login.clone(), base.clone());
    {
        let mut known = web.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.view.as_ref().is_some_and(|one| Arc::ptr_eq(one, &view)) {
            *known = Known { view: Some(Arc::clone(&view)), sessions: HashMap::new() };
        }
        if let Some(session) = known.sessions.get(&key) {
            return Ok(Arc::clone(session));
        }
    }
    let session = auth::Session::of(Arc::clone(&view), login.clone()).ok_or_else(unauthorized)?;
    let session = session_data(&session, urls(base), web.vapid.public().to_owned());
    let session = Arc::new(session.of_login(login.clone()));
    let mut known = web.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
    if known.view.as_ref().is_some_and(|one| Arc::ptr_eq(one, &view)) && base.len() <= BASE_URL_BYTES_MAX {
        if known.sessions.len() >= SESSIONS_KEPT_MAX {
            known.sessions.clear();
        }
        known.sessions.insert(key, Arc::clone(&session));
    }
    Ok(session)
}

/// The answer to missing or wrong credentials.
pub fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "Give the address and password of a person, or an app password.")
        .with(header::WWW_AUTHENTICATE, "Basic realm=\"Postroom\", charset=\"UTF-8\"")
        .with(header::WWW_AUTHENTICATE, "Bearer realm=\"Postroom\"")
}

/// RFC 7617, RFC 6750. Scheme names have no case.
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(Credentials::Bearer { token: rest.to_owned() })
    } else {
        None
    }
}

/// What a login sees now, for what the server does in its name; `None` where it doesn't hold any more.
pub(super) fn session_of(server: &Server, login: &Login) -> Option<SessionData> {
    let session = auth::Session::of(server.directory.current(), login.clone())?;
    Some(session_data(&session, urls(""), String::new()).of_login(login.clone()))
}

/// The session in the words of JMAP.
fn session_data(session: &auth::Session, urls: Urls, application_server_key: String) -> SessionData {
    let accounts = session.accounts().iter().map(|account| {
        let (id, role) = (account.access.account(), account.access.role());
        let mut capabilities = CapabilitySet::of(&[
            Capability::Mail,
            Capability::Submission,
            Capability::Principals,
            Capability::Blob,
            Capability::Quota,
            Capability::Mdn,
            Capability::EmailPush,
        ]);
        if role.is_some() {
            Capability::VENDOR.iter().for_each(|one| capabilities.insert(*one));
        } else {
            capabilities.insert(Capability::Vacation);
        }
        Account {
            id,
            name: account.name.clone(),
            is_personal: account.is_personal,
            is_read_only: false,
            role,
            capabilities,
            owner: role
                .is_none()
                .then(|| Owner { account_id_for_principal: id, principal_id: session.principal() }),
            current_user_principal_id: Some(session.principal()),
            may_create_top_level_mailbox: role.is_none_or(|role| role >= MemberRole::Agent),
        }
    });
    SessionData::new(
        session.principal(),
        session.username().to_owned(),
        accounts.collect(),
        session.primary(),
        urls,
        SORT_OPTIONS,
        application_server_key,
    )
}

/// Where this client reaches us: as configured, else as it asked (HTTP/2 says it in the URI).
pub fn base(web: &Web, parts: &Parts, peer: Peer) -> String {
    if let Some(base) = &web.server.settings.base_url {
        return base.clone();
    }
    let named = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| parts.uri.authority().map(|one| one.as_str())).unwrap_or("localhost");
    format!("{}://{host}", if peer.secure { "https" } else { "http" })
}

fn urls(base: &str) -> Urls {
    // http becomes ws, and https wss.
    let socket = base.strip_prefix("http").unwrap_or(base);
    Urls {
        api: format!("{base}/jmap"),
        download: format!("{base}/jmap/download/{{accountId}}/{{blobId}}/{{name}}?type={{type}}"),
        upload: format!("{base}/jmap/upload/{{accountId}}/"),
        event_source: format!(
            "{base}/jmap/eventsource?types={{types}}&closeafter={{closeafter}}&ping={{ping}}"
        ),
        websocket: format!("ws{socket}/jmap/ws"),
        websocket_ticket: format!("{base}/jmap/ws/ticket"),
    }
}
