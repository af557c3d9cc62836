//! The work that goes on beside requests: timers, and feeding full text.

use crate::inbox::server::{self, Server};
use crate::inbox::{erase, sweep, timers};
use crate::mail::indexer;
use crate::store::sweep::Retention;
use crate::store::{Read, StoreError, StoreResult};
use crate::types::AccountId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often timers are looked at: the most that a snooze or a lock ends late.
const TIMER_INTERVAL: Duration = Duration::from_millis(200);
/// Timers fired in one go.
const TIMERS_AT_ONCE_MAX: usize = 256;
/// How often blobs that nothing refers to are collected.
const COLLECT_INTERVAL: Duration = Duration::from_secs(600);

/// How often what is kept for a time only is swept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(crate::types::limits::SWEEP_INTERVAL_SECONDS);

/// How often it is looked whether something was erased: its octets are in files so much longer.
const PURGE_INTERVAL: Duration = Duration::from_secs(2);

/// How long full text rests between two feedings, which is the most that it lags behind.
const FEED_REST: Duration = Duration::from_millis(10);

/// How long content that nothing refers to is kept.
const GRACE: Duration = Duration::from_secs(crate::types::limits::BLOB_GRACE_SECONDS);

/// Ends presence that nobody renewed, or whose member left, until `stopping` says true.
pub async fn presence(server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let is_member = |account, principal| server.staff(account).roster.members.contains_key(&principal);
        server.presences.sweep(server.store.clock.now(), is_member);
        tokio::select! {
            () = tokio::time::sleep(TIMER_INTERVAL) => {}
            () = super::http::stopped(&mut stopping) => {}
        }
    }
}

/// Fires timers until `stopping` says true.
pub async fn timers(server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let found = server
            .blocking(|server| {
                let snapshot = server.store.snapshot();
                let read: &dyn Read = &snapshot;
                let found = timers::due(read, server.store.clock.now(), TIMERS_AT_ONCE_MAX)?;
                found
                    .into_iter()
                    .map(|due| Ok((due, timers::accounts(read, due)?)))
                    .collect::<StoreResult<Vec<_>>>()
            })
            .await;
        for (due, accounts) in found.unwrap_or_default() {
            let locked = server.store.lock(&accounts).await;
            let fired = server
                .blocking(move |server| {
                    let staff = server::staff(&server.directory.current(), due.account);
                    let mut txn = server.store.begin(&locked);
                    timers::fire(&mut txn, &staff, due).map_err(|error| error.to_string())?;
                    txn.commit().map(|_| ()).map_err(|error| error.to_string())
                })
                .await;
            if let Err(error) = fired {
                tracing::error!(%error, account = %due.account, "a timer could not be fired");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TIMER_INTERVAL) => {}
            () = super::http::stopped(&mut stopping) => {}
        }
    }
}

/// Feeds full text: first what it missed, then what changes, until `stopping` says true.
pub async fn index(server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    let bell = server.store.hub().bell();
    let all: Vec<AccountId> = server.directory.current().accounts().map(|(id, _)| id).collect();
    let count = all.len();
    for (done, account) in all.into_iter().enumerate() {
        if *stopping.borrow() {
            return;
        }
        let fed = feed(&server, account).await;
        if fed > 0 {
            tracing::info!(%account, messages = fed, accounts_done = done + 1, accounts = count, "full text caught up");
        }
    }
    loop {
        let accounts = tokio::select! {
            accounts = bell.rung() => accounts,
            () = super::http::stopped(&mut stopping) => return,
        };
        for account in accounts {
            feed(&server, account).await;
        }
        // The first change is fed at once; a stream of them is fed in batches.
        tokio::time::sleep(FEED_REST).await;
    }
}

async fn feed(server: &Arc<Server>, account: AccountId) -> usize {
    let fed = server
        .blocking(move |server| match &server.search {
            Some(search) => indexer::catch_up(&server.store, search, account),
            None => Ok(0),
        })
        .await;
    fed.unwrap_or_else(|error| {
        tracing::error!(%error, %account, "full text could not be fed");
        0
    })
}

/// Collects blobs that nothing refers to, until `stopping` says true.
pub async fn collect(server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(COLLECT_INTERVAL) => {}
            () = super::http::stopped(&mut stopping) => return,
        }
        let done: Result<_, StoreError> =
            server.blocking(|server| crate::store::blobs::collect(&server.store, GRACE)).await;
        if let Err(error) = done {
            tracing::error!(%error, "unused blobs could not be collected");
        }
    }
}

/// Sweeps what is kept for a time only, until `stopping` says true.
pub async fn sweep(server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            () = super::http::stopped(&mut stopping) => return,
        }
        let done = server
            .blocking(|server| sweep::run(&server.store, &server.directory.current(), Retention::default()));
        match done.await {
            Ok(swept) => tracing::debug!(swept.remembered, swept.log_entries, "swept"),
            Err(error) => tracing::error!(%error, "what is old could not be swept"),
        }
    }
}

/// Rewrites the files that have what was erased, until `stopping` says true.
pub async fn purge(server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PURGE_INTERVAL) => {}
            () = super::http::stopped(&mut stopping) => return,
        }
        let done: Result<(), erase::PurgeError> = server
            .blocking(|server| {
                for (account, _) in server.directory.current().accounts() {
                    if erase::is_to_be_purged(&server.store.snapshot(), account)? {
                        erase::purge(&server.store, server.search.as_ref(), account)?;
                        tracing::info!(%account, "what was erased has left the files");
                    }
                }
                Ok(())
            })
            .await;
        if let Err(error) = done {
            tracing::error!(%error, "what was erased is in files still; it is tried again");
        }
    }
}
