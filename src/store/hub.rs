//! Who hears of changes: for each account a watch on the states of its types. Only the flusher
//! publishes, and only what is durable.

use super::changes::TypeStates;
use crate::types::AccountId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// The watches of all accounts that somebody listens to.
#[derive(Default)]
pub struct Hub {
    watches: Mutex<HashMap<AccountId, watch::Sender<TypeStates>>>,
    bells: Mutex<Vec<Arc<Bell>>>,
}

/// Rings for every account that changed, for those who work on all of them: full text, the relay
/// queue. It remembers each account once, so it grows with the accounts and not with the changes.
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
    /// Listens to an account. The present value may be older than the store's: compare after
    /// subscribing with what the store says.
    pub fn subscribe(&self, account: AccountId) -> watch::Receiver<TypeStates> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.entry(account).or_insert_with(|| watch::Sender::new(TypeStates::default())).subscribe()
    }

    /// A bell that rings for every account from now on.
    pub fn bell(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&bell));
        bell
    }

    /// Tells listeners the account's states.
    pub(super) fn publish(&self, account: AccountId, states: TypeStates) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|bell| bell.ring(account));
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watches.get(&account) {
            if sender.receiver_count() == 0 {
                watches.remove(&account);
            } else {
                sender.send_replace(states);
            }
        }
    }
}
