//! Who hears of changes: for each account and listener a watch on the states of its types, as that
//! principal has them. Only the flusher publishes, and only what is durable.

use super::changes::TypeStates;
use crate::types::{AccountId, PrincipalId};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, watch};

/// The watches of all accounts that somebody listens to.
#[derive(Default)]
pub struct Hub {
    before_directory: OnceLock<BeforeDirectory>,
    watches: Mutex<HashMap<AccountId, HashMap<PrincipalId, watch::Sender<TypeStates>>>>,
    bells: Mutex<Vec<Arc<Bell>>>,
    subscriptions: Notify,
    queue: Notify,
}

/// What happens with a durable commit to the directory before anybody hears of anything in it.
pub type BeforeDirectory = Box<dyn Fn(&TypeStates) + Send + Sync>;

/// Rings for every account that changed, for those who work on all of them: full text. It remembers each account once, so it grows with the accounts and not with the changes.
#[derive(Default)]
pub struct Bell {
    accounts: Mutex<BTreeSet<AccountId>>,
    ring: Notify,
}

impl Bell {
    /// Waits until something changed, and gives the accounts in which it did.
    pub async fn rung(&self) -> BTreeSet<AccountId> {
        loop {
            let accounts = std::mem::take(&mut *self.accounts.lock().unwrap_or_else(PoisonError::into_inner));
            if !accounts.is_empty() {
                return accounts;
            }
            self.ring.notified().await;
        }
    }

    fn ring(&self, account: AccountId) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).insert(account);
        self.ring.notify_one();
    }
}

impl Hub {
    /// Listens to an account for a principal. The present value may be older than the store's:
    /// compare after subscribing with what the store says.
    pub fn subscribe(&self, account: AccountId, principal: PrincipalId) -> watch::Receiver<TypeStates> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let own = watches.entry(account).or_default().entry(principal);
        own.or_insert_with(|| watch::Sender::new(TypeStates::default())).subscribe()
    }

    /// Says what happens once a commit to the directory is durable, before anybody hears of it or of
    /// what else it wrote: whoever lost a right by it hears nothing of it.
    pub fn before_directory(&self, what: BeforeDirectory) {
        // A store has one directory, which says it once.
        let _ = self.before_directory.set(what);
    }

    /// A bell that rings for every account from now on.
    pub fn bell(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&bell));
        bell
    }

    /// Push subscriptions changed, which no change log tells of (RFC 8620 §7.2 gives them no state). It
    /// may be told before the change is durable.
    pub fn subscriptions_changed(&self) {
        self.subscriptions.notify_one();
    }

    /// Waits until they did; one listener hears it.
    pub async fn subscriptions_change(&self) {
        self.subscriptions.notified().await;
    }

    /// Waits until something in the relay queue is due now or soon that wasn't, or the queue runs again; one
    /// listener hears it.
    pub async fn queue_changes(&self) {
        self.queue.notified().await;
    }

    /// Tells listeners the account's states, or a member's own.
    pub(super) fn publish(&self, account: AccountId, news: &AccountNews) {
        if account == AccountId::DIRECTORY
            && let (Some(before), Some(states)) = (self.before_directory.get(), &news.shared)
        {
            before(states);
        }
        if news.queue {
            self.queue.notify_one();
        }
        if news.shared.is_some() {
            self.bells
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .for_each(|bell| bell.ring(account));
        }
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listeners) = watches.get_mut(&account) else { return };
        listeners.retain(|_, sender| sender.receiver_count() > 0);
        for (principal, sender) in listeners.iter() {
            let own = news.own.iter().find(|(member, _)| member == principal).map(|(_, states)| *states);
            for states in news.shared.into_iter().chain(own) {
                sender.send_modify(|known| *known = known.latest(states));
            }
        }
        if listeners.is_empty() {
            watches.remove(&account);
        }
    }
}

/// What a commit tells of an account.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountNews {
    /// The states for all, where something changed for all.
    pub shared: Option<TypeStates>,
    /// Of members for whom alone something changed.
    pub own: Vec<(PrincipalId, TypeStates)>,
    /// Something is to be done in the relay queue, of whichever accounts.
    pub queue: bool,
}
