//! One lock an account: whoever writes an account holds it from its first read to the write of
//! its batch. It is fair, taken before a task enters the blocking pool and moved into it, so that
//! waiting costs no thread.

use crate::types::AccountId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Held locks; dropping it releases them.
pub struct Locked {
    accounts: Vec<AccountId>,
    _guards: Vec<OwnedMutexGuard<()>>,
}

impl Locked {
    /// Whether the account is among them.
    pub fn holds(&self, account: AccountId) -> bool {
        self.accounts.contains(&account)
    }

    /// The accounts, in order.
    pub fn accounts(&self) -> &[AccountId] {
        &self.accounts
    }
}

#[derive(Default)]
pub(super) struct AccountLocks {
    /// A lock lives as long as somebody holds or awaits it.
    table: Mutex<HashMap<AccountId, Weak<AsyncMutex<()>>>>,
}

impl AccountLocks {
    pub async fn lock(&self, accounts: &[AccountId]) -> Locked {
        let accounts = ordered(accounts);
        let mut guards = Vec::with_capacity(accounts.len());
        for account in &accounts {
            let lock = self.of(*account);
            guards.push(lock.lock_owned().await);
        }
        Locked { accounts, _guards: guards }
    }

    pub fn lock_blocking(&self, accounts: &[AccountId]) -> Locked {
        let accounts = ordered(accounts);
        let guards = accounts.iter().map(|account| self.of(*account).blocking_lock_owned()).collect();
        Locked { accounts, _guards: guards }
    }

    fn of(&self, account: AccountId) -> Arc<AsyncMutex<()>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = table.get(&account).and_then(Weak::upgrade) {
            return lock;
        }
        if table.len() > 1024 {
            table.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(AsyncMutex::new(()));
        table.insert(account, Arc::downgrade(&lock));
        lock
    }
}

/// Each once and in one order, so that two who want the same accounts can't wait for each other.
fn ordered(accounts: &[AccountId]) -> Vec<AccountId> {
    accounts.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}
