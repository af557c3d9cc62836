//! What all requests share: the store, the directory, full text, and the way to a blocking thread.

use super::desk::{PersonName, Staff, TeamName};
use super::handover::Postmaster;
use super::machine::Roster;
use super::presence::Presences;
use crate::auth::{Authenticator, Directory, View};
use crate::mail::authentication::TrustRules;
use crate::mail::outbound::QueueRules;
use crate::mail::relays::{RelayRule, Relays};
use crate::mail::search::SearchIndex;
use crate::store::Store;
use crate::types::{AccountId, MemberRole, PrincipalId};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What an operator sets that requests ask for.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Our name in `Received`, in the greeting, and in the Message-IDs that we make.
    pub hostname: String,
    /// Where clients reach us, without a slash at the end; `None`: as the request says.
    pub base_url: Option<String>,
    /// Origins that browsers may call us from.
    pub cors_origins: Vec<String>,
    pub return_path: ReturnPath,
    pub queue: QueueRules,
    /// In the order of the configuration.
    pub relays: Vec<RelayRule>,
    /// The patience with a client that sends nothing.
    pub http_wait: Duration,
    /// JMAP requests of one person; `None`: as many as they like.
    pub requests_per_minute: Option<u32>,
    pub trust: TrustRules,
}

/// What our messages name as the address that bounces go to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnPath {
    /// An address of the submission's own, `bounce+…@` the sender's domain, which nobody can forge:
    /// a bounce to it is believed.
    #[default]
    Keyed,
    /// The sender's address, for relays that take nothing else. Bounces are tied to submissions by
    /// the Message-ID that they return, and never open a conversation.
    Sender,
}

/// The running server.
pub struct Server {
    pub store: Arc<Store>,
    pub directory: Arc<Directory>,
    pub authenticator: Authenticator,
    pub search: Option<SearchIndex>,
    pub settings: ServerSettings,
    /// Who is looking at what, in memory alone.
    pub presences: Presences,
    /// Which relays there are, and which of them answer.
    pub relays: Relays,
    blocking: Semaphore,
    /// Who works in which inbox, with the position of the directory that said so.
    staff: Mutex<HashMap<AccountId, (u64, Arc<Staff>)>>,
}

/// Blocking operations at once; more wait their turn without a thread.
const BLOCKING_MAX: usize = 16;

impl Server {
    /// Puts the parts together.
    pub fn new(
        store: Arc<Store>,
        directory: Arc<Directory>,
        authenticator: Authenticator,
        search: Option<SearchIndex>,
        settings: ServerSettings,
    ) -> Arc<Self> {
        let blocking = Semaphore::new(BLOCKING_MAX);
        let presences = Presences::new(store.clock.now().0.unsigned_abs());
        let relays = Relays::new(settings.relays.clone());
        Arc::new(Self {
            store,
            directory,
            authenticator,
            search,
            settings,
            presences,
            relays,
            blocking,
            staff: Mutex::default(),
        })
    }

    /// Runs `work` on a thread that may block, one of a bounded number. Locks of accounts are
    /// taken before, so that waiting for them holds no thread.
    pub async fn blocking<T, F>(self: &Arc<Self>, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Server>) -> T + Send + 'static,
    {
        // The semaphore is never closed.
        let _permit = self.blocking.acquire().await;
        let server = Arc::clone(self);
        // Log lines of the thread belong to the request, too.
        let span = tracing::Span::current();
        match tokio::task::spawn_blocking(move || span.in_scope(|| work(&server))).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Who tells senders what became of their messages.
    pub fn postmaster(&self) -> Postmaster {
        Postmaster { hostname: self.settings.hostname.clone(), rules: self.settings.queue }
    }

    /// Who works in an inbox now.
    pub fn staff(&self, account: AccountId) -> Arc<Staff> {
        let view = self.directory.current();
        let mut known = self.staff.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&account) {
            Some((modseq, staff)) if *modseq == view.modseq() => Arc::clone(staff),
            _ => {
                let staff = Arc::new(staff(&view, account));
                known.insert(account, (view.modseq(), Arc::clone(&staff)));
                staff
            }
        }
    }
}

/// Who works in an inbox, by a view of the directory.
pub fn staff(view: &View, account: AccountId) -> Staff {
    let members: BTreeMap<PrincipalId, MemberRole> = view.active_members(account).collect();
    let names = view
        .principals()
        .map(|(id, row)| (id, PersonName { name: row.name.clone(), email: row.email.clone() }))
        .collect();
    // An inbox knows the teams that have somebody in it.
    let known = view.teams().filter(|(_, row)| row.members.iter().any(|one| members.contains_key(one)));
    let teams: BTreeMap<PrincipalId, TeamName> = known
        .map(|(id, row)| {
            let here = row.members.iter().copied().filter(|one| members.contains_key(one)).collect();
            (id, TeamName { name: row.name.clone(), members: here, disabled: row.disabled })
        })
        .collect();
    let open = teams.iter().filter(|(_, team)| !team.disabled).map(|(id, _)| *id).collect();
    let addresses = view.account(account).map(|row| row.addresses.clone()).unwrap_or_default();
    Staff { roster: Roster { members, teams: open }, names, teams, addresses }
}
