//! Tickets: how a browser opens a WebSocket, which it can't give an Authorization header.
//!
//! `POST /jmap/ws/ticket`, with credentials, gives a value that opens one channel, once and soon:
//! `GET /jmap/ws?ticket=VALUE`. The channel then holds as long as the login that made the ticket does.
//!
//! Invariants: a ticket is random, kept as a hash, in memory alone, and gone with its first use; what is
//! kept is bounded.

use super::http::{Peer, Web};
use super::http_auth::{Caller, unauthorized};
use super::http_jmap;
use super::problem::Problem;
use crate::auth::Login;
use crate::types::limits::{WEBSOCKET_TICKET_SECONDS, WEBSOCKET_TICKETS_PER_PRINCIPAL_MAX};
use crate::types::{Millis, Random};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tickets that wait to be used.
#[derive(Default)]
pub struct Tickets(Mutex<HashMap<[u8; 32], Ticket>>);

struct Ticket {
    login: Login,
    until: Millis,
}

impl Tickets {
    /// A new ticket; `None` where the principal has too many.
    fn add(&self, login: Login, now: Millis, random: &Random) -> Option<(String, Millis)> {
        let mut tickets = self.lock();
        tickets.retain(|_, ticket| ticket.until > now);
        let own = tickets.values().filter(|ticket| ticket.login.principal == login.principal);
        if own.count() >= WEBSOCKET_TICKETS_PER_PRINCIPAL_MAX {
            return None;
        }
        let value = BASE64_URL_SAFE_NO_PAD.encode(random.bytes::<32>());
        let until = now.after(Duration::from_secs(WEBSOCKET_TICKET_SECONDS));
        tickets.insert(hash(&value), Ticket { login, until });
        Some((value, until))
    }

    /// Uses a ticket up.
    fn take(&self, value: &str, now: Millis) -> Option<Login> {
        self.lock().remove(&hash(value)).filter(|ticket| ticket.until > now).map(|ticket| ticket.login)
    }

    /// Takes back a ticket of one's own.
    fn revoke(&self, value: &str, login: &Login) {
        let (mut tickets, key) = (self.lock(), hash(value));
        if tickets.get(&key).is_some_and(|ticket| ticket.login == *login) {
            tickets.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(value: &str) -> [u8; 32] {
    *blake3::hash(value.as_bytes()).as_bytes()
}

/// `POST /jmap/ws/ticket`.
pub async fn create(
    State(web): State<Web>,
    Extension(peer): Extension<Peer>,
    caller: Caller,
) -> Result<Response, Problem> {
    let username = caller.session(&web)?.username.clone();
    let store = &web.server.store;
    let now = store.clock.now();
    let (value, until) = web.tickets.add(caller.login, now, &store.random).ok_or_else(|| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many tickets wait to be used.")
            .retry_after(WEBSOCKET_TICKET_SECONDS)
    })?;
    let answer = json!({
        "value": value,
        "clientAddress": peer.ip.to_string(),
        "generatedOn": now.date().to_string(),
        "validUntil": until.date().to_string(),
        "username": username
    });
    Ok(http_jmap::json(StatusCode::OK, &answer))
}

/// `DELETE /jmap/ws/ticket/{value}`: it opens nothing any more.
pub async fn revoke(
    State(web): State<Web>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(value) = path?;
    web.tickets.revoke(&value, &caller.login);
    Ok(StatusCode::NO_CONTENT)
}

/// Who made the ticket, which is used up by this.
pub fn redeem(web: &Web, value: &str) -> Result<Login, Problem> {
    web.tickets.take(value, web.server.store.clock.now()).ok_or_else(unauthorized)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credentials;
    use crate::auth::support::House;
    use std::net::IpAddr;

    fn login(house: &House, email: &str) -> Login {
        house.person(email);
        let (user, password) = (email.to_owned(), format!("secret of {email}"));
        let credentials = Credentials::Basic { user, password };
        house.authenticator.login(&credentials, IpAddr::from([127, 0, 0, 1])).unwrap()
    }

    #[test]
    fn a_ticket_opens_once_and_not_after_its_time() {
        let house = House::new();
        let (ada, bob) = (login(&house, "ada@example.com"), login(&house, "bob@example.com"));
        let (tickets, random, now) = (Tickets::default(), Random::seeded(1), Millis(0));
        let (value, until) = tickets.add(ada.clone(), now, &random).unwrap();
        tickets.revoke(&value, &bob);
        assert_eq!(tickets.take(&value, Millis(until.0 - 1)), Some(ada.clone()));
        assert_eq!(tickets.take(&value, now), None);
        let (value, until) = tickets.add(ada.clone(), now, &random).unwrap();
        assert_eq!(tickets.take(&value, until), None);
        let (value, _) = tickets.add(ada.clone(), now, &random).unwrap();
        tickets.revoke(&value, &ada);
        assert_eq!(tickets.take(&value, now), None);
        assert_eq!(tickets.take("", now), None);
    }

    #[test]
    fn one_person_can_only_have_so_many() {
        let house = House::new();
        let (ada, bob) = (login(&house, "ada@example.com"), login(&house, "bob@example.com"));
        let (tickets, random, now) = (Tickets::default(), Random::seeded(1), Millis(0));
        for _ in 0..WEBSOCKET_TICKETS_PER_PRINCIPAL_MAX {
            assert!(tickets.add(ada.clone(), now, &random).is_some());
        }
        assert_eq!(tickets.add(ada.clone(), now, &random), None);
        assert!(tickets.add(bob, now, &random).is_some());
        let later = now.after(Duration::from_secs(WEBSOCKET_TICKET_SECONDS));
        assert!(tickets.add(ada, later, &random).is_some());
    }
}
