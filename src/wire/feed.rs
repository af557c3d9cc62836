//! What changed, for whoever listens: EventSource, WebSocket and push subscriptions.
//!
//! A feed watches every account that its login sees, and knows what its listener was told last. It
//! keeps no queue: whoever takes late gets all that is new as one StateChange (RFC 8620 §7.1).
//!
//! Invariants: only what is durable is told; nothing is told of an account that the login doesn't
//! see at that moment, and nothing at all to a login that no longer holds. [`read_states`] and
//! [`subscribe`] are the only places where states come from, [`state_text`] the only one where they
//! become text.

use crate::auth::{Login, Session};
use crate::inbox::server::Server;
use crate::store::changes::{self, Since};
use crate::store::{Read, StoreResult, TypeStates};
use crate::types::{AccountId, DataType, Position, PrincipalId};
use futures_util::future::select_all;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The name of the one type that is told and never stored.
const PRESENCE: &str = "Presence";

/// Which types a listener hears of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Types {
    /// None yet.
    Nothing,
    /// All registered ones: strict clients fail on names that they don't know, so ours are told only
    /// where they are named.
    Registered,
    Named {
        stored: Vec<DataType>,
        /// Presence is no stored type: it has no modseq and no place in a position.
        presence: bool,
    },
}

impl Types {
    /// The types of these names; a name that isn't known never changes.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut presence = false;
        let stored = names.into_iter().filter_map(|name| {
            presence |= name == PRESENCE;
            DataType::parse(name)
        });
        Types::Named { stored: stored.collect(), presence }
    }

    /// Whether nothing is told.
    pub fn are_none(&self) -> bool {
        match self {
            Types::Nothing => true,
            Types::Registered => false,
            Types::Named { stored, presence } => stored.is_empty() && !presence,
        }
    }

    fn has(&self, data_type: DataType) -> bool {
        match self {
            Types::Nothing => false,
            Types::Registered => data_type.is_registered(),
            Types::Named { stored, .. } => stored.contains(&data_type),
        }
    }

    fn has_presence(&self) -> bool {
        matches!(self, Types::Named { presence: true, .. })
    }
}

/// What changed, as one StateChange object.
#[derive(Clone, PartialEq, Debug)]
pub struct StateChange {
    changed: Map<String, Value>,
    /// Where the listener is after it: [`Feed::want`] goes on from there.
    pub position: Position,
}

impl StateChange {
    /// RFC 8620 §7.1.
    pub fn to_json(&self) -> Value {
        json!({"@type": "StateChange", "changed": self.changed})
    }

    /// The same as several objects, none of them longer than `max` unless one account alone is.
    pub fn pieces(&self, max: usize) -> Vec<String> {
        let mut pieces = Vec::new();
        let mut some = Map::new();
        for (account, states) in &self.changed {
            let mut more = some.clone();
            more.insert(account.clone(), states.clone());
            if !some.is_empty() && text_of(&more).len() > max {
                pieces.push(text_of(&some));
                some = Map::from_iter([(account.clone(), states.clone())]);
            } else {
                some = more;
            }
        }
        if !some.is_empty() {
            pieces.push(text_of(&some));
        }
        pieces
    }
}

fn text_of(changed: &Map<String, Value>) -> String {
    json!({"@type": "StateChange", "changed": changed}).to_string()
}

/// One listener's view of all accounts of a login.
pub struct Feed {
    server: Arc<Server>,
    login: Login,
    types: Types,
    accounts: BTreeMap<AccountId, Heard>,
    directory: watch::Receiver<u64>,
    /// Accounts that the login sees and that aren't listened to yet.
    unknown: Vec<AccountId>,
}

/// An account of a feed.
struct Heard {
    /// What the listener was told, types that it doesn't want included.
    told: TypeStates,
    latest: TypeStates,
    news: watch::Receiver<TypeStates>,
    /// The version of the inbox's presence, and the last one that the listener was told.
    presence: watch::Receiver<u64>,
    told_presence: u64,
}

impl Heard {
    fn look(&mut self) {
        // The hub may know less than was read at the begin.
        self.latest = self.latest.latest(*self.news.borrow_and_update());
    }

    /// Waits for news. The hub and the presences keep their senders as long as somebody listens.
    async fn moved(&mut self, with_presence: bool) {
        tokio::select! {
            _ = self.news.changed() => {}
            _ = self.presence.changed(), if with_presence => {}
        }
    }
}

/// The login doesn't hold any more, or the store has failed: there is nothing more to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended;

impl Feed {
    /// Listens from now on, or from a position that an earlier feed gave.
    pub async fn open(
        server: Arc<Server>,
        login: Login,
        types: Types,
        since: Option<&Position>,
    ) -> Result<Self, Ended> {
        let directory = server.directory.watch();
        let mut feed = Self {
            server,
            login,
            types: Types::Nothing,
            accounts: BTreeMap::new(),
            directory,
            unknown: Vec::new(),
        };
        feed.look_at_directory()?;
        feed.meet().await?;
        feed.want(types, since);
        Ok(feed)
    }

    /// Tells of these types: from now on, or what changed since a position, too.
    pub fn want(&mut self, types: Types, since: Option<&Position>) {
        self.types = types;
        for (id, heard) in &mut self.accounts {
            heard.look();
            // Whoever comes back asks anew who is there, where somebody ever was.
            let present = *heard.presence.borrow_and_update();
            heard.told_presence = if since.is_some() { 0 } else { present };
            heard.told = match since {
                None => heard.latest,
                // A position that the account never had comes from before a restore: tell all.
                Some(known) => match known.of(*id).filter(|modseq| *modseq <= heard.latest.moment()) {
                    Some(modseq) => TypeStates([modseq; DataType::COUNT]),
                    None => TypeStates::default(),
                },
            };
        }
    }

    /// Waits until [`Feed::take`] may have something. Dropping it loses nothing.
    pub async fn ready(&mut self) -> Result<(), Ended> {
        loop {
            if self.directory.has_changed().unwrap_or(false) {
                self.look_at_directory()?;
            }
            self.meet().await?;
            self.accounts.values_mut().for_each(Heard::look);
            if self.accounts.values().any(|heard| self.is_news(heard)) {
                return Ok(());
            }
            self.moved().await;
        }
    }

    /// All that is new, once. `None` where there is nothing, or nothing any more.
    pub fn take(&mut self) -> Result<Option<StateChange>, Ended> {
        if self.directory.has_changed().unwrap_or(false) {
            self.look_at_directory()?;
        }
        let mut changed = Map::new();
        for (id, heard) in &mut self.accounts {
            heard.look();
            let mut states: Map<String, Value> = DataType::ALL
                .into_iter()
                .filter(|data_type| self.types.has(*data_type))
                .filter(|data_type| heard.latest.of(*data_type) > heard.told.of(*data_type))
                .map(|data_type| (data_type.name().to_owned(), state_text(&heard.latest, data_type).into()))
                .collect();
            heard.told = heard.latest;
            let present = *heard.presence.borrow_and_update();
            if self.types.has_presence() && present != heard.told_presence {
                states.insert(PRESENCE.to_owned(), self.server.presences.state(present).into());
            }
            heard.told_presence = present;
            if !states.is_empty() {
                changed.insert(id.to_string(), Value::Object(states));
            }
        }
        Ok((!changed.is_empty()).then(|| StateChange { changed, position: self.position() }))
    }

    /// Where the listener is: for each account the modseq up to which it was told everything.
    pub fn position(&self) -> Position {
        self.accounts.iter().map(|(id, heard)| (*id, heard.told.moment())).collect()
    }

    fn is_news(&self, heard: &Heard) -> bool {
        let new = |data_type: &DataType| heard.latest.of(*data_type) > heard.told.of(*data_type);
        DataType::ALL.into_iter().filter(new).any(|data_type| self.types.has(data_type))
            || (self.types.has_presence() && *heard.presence.borrow() != heard.told_presence)
    }

    async fn moved(&mut self) {
        let with_presence = self.types.has_presence();
        let mut news: Vec<_> =
            self.accounts.values_mut().map(|heard| Box::pin(heard.moved(with_presence))).collect();
        let news = async {
            if news.is_empty() {
                std::future::pending::<()>().await;
            }
            let _ = select_all(news.drain(..)).await;
        };
        tokio::select! {
            () = news => {}
            moved = self.directory.changed() => {
                // What was seen must be seen again by `ready`, which may not be waiting any more.
                if moved.is_ok() {
                    self.directory.mark_changed();
                }
            }
        }
    }

    /// Forgets the accounts that the login doesn't see any more, and notes those that it sees anew.
    fn look_at_directory(&mut self) -> Result<(), Ended> {
        self.directory.mark_unchanged();
        let session = Session::of(self.server.directory.current(), self.login.clone()).ok_or(Ended)?;
        self.accounts.retain(|id, _| session.access(*id).is_some());
        let seen = session.accounts().iter().map(|account| account.access.account());
        self.unknown = seen.filter(|id| !self.accounts.contains_key(id)).collect();
        Ok(())
    }

    /// Begins to listen to new accounts. Their whole state is news to the listener.
    async fn meet(&mut self) -> Result<(), Ended> {
        while let Some(id) = self.unknown.last().copied() {
            let principal = self.login.principal;
            let news = subscribe(&self.server, id, principal);
            let latest = self.server.blocking(move |server| read_states(server, id, principal)).await;
            let latest = latest.map_err(|error| {
                tracing::error!(%error, "the states of an account can't be read");
                Ended
            })?;
            let presence = self.server.presences.subscribe(id);
            let heard = Heard { told: TypeStates::default(), latest, news, presence, told_presence: 0 };
            self.accounts.insert(id, heard);
            self.unknown.pop();
        }
        Ok(())
    }
}

/// Where news of an account come from, as the principal sees it.
fn subscribe(server: &Server, account: AccountId, principal: PrincipalId) -> watch::Receiver<TypeStates> {
    server.store.hub().subscribe(account, principal)
}

/// The account's states as the principal has them, once they are durable. Blocks.
fn read_states(server: &Server, account: AccountId, principal: PrincipalId) -> StoreResult<TypeStates> {
    let snapshot = server.store.snapshot();
    server.store.durable_blocking(server.store.ticket_of(account))?;
    changes::states_of(&snapshot as &dyn Read, account, Some(principal))
}

/// The state that /get gives.
fn state_text(states: &TypeStates, data_type: DataType) -> String {
    Since::modseq(states.of(data_type)).state()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_change_that_is_too_long_goes_in_pieces_by_account() {
        let states = |id: &str| (id.to_owned(), json!({"Email": "s1", "Mailbox": "s2"}));
        let whole = StateChange {
            changed: ["ab", "ac", "ad"].map(states).into_iter().collect(),
            position: Position::default(),
        };
        assert_eq!(whole.pieces(1000), [whole.to_json().to_string()]);
        let two = r#"{"@type":"StateChange","changed":{"ab":{"Email":"s1","Mailbox":"s2"},"ac":{"Email":"s1","Mailbox":"s2"}}}"#;
        let one = r#"{"@type":"StateChange","changed":{"ad":{"Email":"s1","Mailbox":"s2"}}}"#;
        assert_eq!(whole.pieces(two.len()), [two, one]);
        assert_eq!(whole.pieces(1).len(), 3);
    }

    #[test]
    fn nothing_of_ours_is_told_unless_it_is_named() {
        assert!(Types::Registered.has(DataType::Email) && !Types::Registered.has(DataType::Note));
        let named = Types::named(["Note", "Email ", "Nothing"]);
        assert_eq!(named, Types::Named { stored: vec![DataType::Note], presence: false });
        assert!(Types::named(["Presence"]).has_presence() && !Types::Registered.has_presence());
        assert!(!Types::Nothing.has(DataType::Email));
    }
}
