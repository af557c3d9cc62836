//! Who hears of changes: for each account a watch on the states of its types. Only the flusher
//! publishes, and only what is durable.

use super::changes::TypeStates;
use crate::types::AccountId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The watches of all accounts that somebody listens to.
#[derive(Default)]
pub struct Hub {
    watches: Mutex<HashMap<AccountId, watch::Sender<TypeStates>>>,
}

impl Hub {
    /// Listens to an account. The present value may be older than the store's: compare after
    /// subscribing with what the store says.
    pub fn subscribe(&self, account: AccountId) -> watch::Receiver<TypeStates> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.entry(account).or_insert_with(|| watch::Sender::new(TypeStates::default())).subscribe()
    }

    /// Tells listeners the account's states.
    pub(super) fn publish(&self, account: AccountId, states: TypeStates) {
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
