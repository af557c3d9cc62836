//! Push to subscriptions (RFC 8620 §7.2) by Web Push (RFC 8030).
//!
//! A manager hears when subscriptions, which are rows of the directory, change, and keeps one task for
//! each. A task first sends the code, then waits until the client has sent it back, then posts what its
//! feed gives, at the pace that the push service sets. Nothing is queued: what waits is told as one
//! StateChange when it goes out, to whoever may still hear it.
//!
//! Invariants: only what is durable is posted; one URL gets one POST at a time; a subscription ends with
//! its login, its time, or when the push service says so, and its row goes with it. What is told begins
//! where the row says: the verification writes that down, then the manager, every so often and at a stop.
//! So nothing is missed while a task is on its way, and after a crash more is told, never less.

pub mod guard;
mod mail;
pub mod pace;
pub mod post;

use super::feed::{Feed, Types};
use super::http::stopped;
use crate::auth::{Login, Session};
use crate::inbox::server::Server;
use crate::jmap::webpush::{ReceiverKeys, TEXT_BYTES_MAX, Target, Vapid};
use crate::store::rows::push::PushSubscriptionRow;
use crate::store::{Read, StoreResult, keys};
use crate::types::metrics::count;
use crate::types::{AccountId, DataType, Position, PrincipalId, PushSubscriptionId, limits};
use guard::Guard;
use pace::{Answer, Pace, Verdict};
use post::Message;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;

/// What the server's key for push services derives from (RFC 8292): the same as long as the data folder
/// is, and in its backups.
const KEY_CONTEXT: &str = "postroom.dev 2026-11 web push VAPID key";

/// Where pushes may go, and what they say of us.
pub struct PushConfig {
    pub guard: Guard,
    pub tls: Arc<ClientConfig>,
    /// How a push service reaches whoever runs this server: a mailto or https URL.
    pub subject: String,
}

/// The server's key.
pub fn vapid(server: &Server) -> Vapid {
    Vapid::of(server.directory.current().key(KEY_CONTEXT))
}

type Key = (PrincipalId, PushSubscriptionId);

/// What all tasks share.
struct Shared {
    server: Arc<Server>,
    config: PushConfig,
    vapid: Vapid,
    slots: Semaphore,
}

/// One subscription's task.
struct Running {
    row: watch::Sender<PushSubscriptionRow>,
    told: watch::Receiver<Option<Told>>,
    task: JoinHandle<()>,
}

/// Up to where a subscription was told.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Told {
    changes: Position,
    /// Of new messages; `None` where it isn't told of them.
    mail: Option<Position>,
}

/// Pushes until `stopping` says true.
pub async fn run(server: Arc<Server>, config: PushConfig, mut stopping: watch::Receiver<bool>) {
    let mut logins_moved = server.directory.watch();
    let vapid = vapid(&server);
    let slots = Semaphore::new(limits::PUSHES_CONCURRENT_MAX);
    let shared = Arc::new(Shared { server, config, vapid, slots });
    let mut running: HashMap<Key, Running> = HashMap::new();
    let mut positions = tokio::time::interval(Duration::from_secs(limits::PUSH_POSITIONS_SECONDS));
    while !*stopping.borrow() {
        logins_moved.mark_unchanged();
        match shared.server.blocking(|server| subscriptions(server)).await {
            Ok(mut rows) => {
                for key in over(&shared.server, &mut rows) {
                    destroy(&shared.server, key).await;
                }
                keep_up(&shared, &mut running, rows, &stopping);
            }
            Err(error) => tracing::error!(%error, "the push subscriptions can't be read"),
        }
        tokio::select! {
            () = shared.server.store.hub().subscriptions_change() => {}
            _ = logins_moved.changed() => {}
            _ = positions.tick() => write_down(&shared.server, &mut running).await,
            () = stopped(&mut stopping) => {}
        }
    }
    for one in running.values_mut() {
        // A task that panicked told nothing more.
        let _ = (&mut one.task).await;
    }
    write_down(&shared.server, &mut running).await;
}

/// Writes down what was told since it was done last.
async fn write_down(server: &Arc<Server>, running: &mut HashMap<Key, Running>) {
    let moved = running.iter_mut().filter(|(_, one)| one.told.has_changed().unwrap_or(true));
    let moved: Vec<(Key, Told)> =
        moved.filter_map(|(key, one)| Some((*key, one.told.borrow_and_update().clone()?))).collect();
    for some in moved.chunks(100) {
        let some = some.to_vec();
        change(server, move |row_of| {
            for (key, told) in some {
                row_of(key, &mut |row| {
                    row.position = Some(told.changes.to_string());
                    if let Some(mail) = &told.mail {
                        row.mail_position = Some(mail.to_string());
                    }
                })?;
            }
            Ok(())
        })
        .await;
    }
}

/// All subscriptions, once they are durable. Blocks.
fn subscriptions(server: &Server) -> StoreResult<HashMap<Key, PushSubscriptionRow>> {
    let snapshot = server.store.snapshot();
    server.store.durable_blocking(server.store.ticket_of(AccountId::DIRECTORY))?;
    let range = keys::all(AccountId::DIRECTORY, keys::Kind::PushSubscription);
    let rows = (&snapshot as &dyn Read).collect_rows::<PushSubscriptionRow>(&range)?;
    Ok(rows.into_iter().map(|(id, row)| ((row.login.principal, PushSubscriptionId(id)), row)).collect())
}

/// Takes out the subscriptions whose login doesn't hold any more, and gives their keys.
fn over(server: &Server, rows: &mut HashMap<Key, PushSubscriptionRow>) -> Vec<Key> {
    let view = server.directory.current();
    let holds =
        |row: &PushSubscriptionRow| Session::of(Arc::clone(&view), Login::from_row(&row.login)).is_some();
    let over: Vec<Key> = rows.iter().filter(|(_, row)| !holds(row)).map(|(key, _)| *key).collect();
    rows.retain(|key, _| !over.contains(key));
    over
}

/// Ends the tasks of subscriptions that are gone, begins those of new ones, and tells the others.
fn keep_up(
    shared: &Arc<Shared>,
    running: &mut HashMap<Key, Running>,
    rows: HashMap<Key, PushSubscriptionRow>,
    stopping: &watch::Receiver<bool>,
) {
    // A task ends by itself when its row's sender is dropped.
    running.retain(|key, _| rows.contains_key(key));
    for (key, row) in rows {
        match running.get(&key) {
            Some(known) => {
                known.row.send_if_modified(|mine| {
                    let changed = *mine != row;
                    *mine = row;
                    changed
                });
            }
            None => {
                let (sender, receiver) = watch::channel(row);
                let (told, to_write) = watch::channel(None);
                let one = Subscription {
                    shared: Arc::clone(shared),
                    key,
                    row: receiver,
                    told,
                    stopping: stopping.clone(),
                    pace: Pace::default(),
                };
                let task = tokio::spawn(one.work());
                running.insert(key, Running { row: sender, told: to_write, task });
            }
        }
    }
}

/// Changes rows of subscriptions that are still there.
async fn change<F>(server: &Arc<Server>, work: F)
where
    F: FnOnce(&mut ChangeRow<'_>) -> StoreResult<()> + Send + 'static,
{
    let locked = server.store.lock(&[AccountId::DIRECTORY]).await;
    let done = server.blocking(move |server| {
        let mut txn = server.store.begin(&locked);
        work(&mut |key, change| {
            let row: Option<PushSubscriptionRow> = (&txn as &dyn Read).row(AccountId::DIRECTORY, key)?;
            if let Some(mut row) = row {
                change(&mut row);
                txn.update(AccountId::DIRECTORY, key, &row)?;
            }
            Ok(())
        })?;
        txn.commit().map(|_| ())
    });
    match done.await {
        Ok(()) => server.store.hub().subscriptions_changed(),
        Err(error) => tracing::error!(%error, "a push subscription could not be written"),
    }
}

/// Takes a subscription away for good.
async fn destroy(server: &Arc<Server>, key: Key) {
    let locked = server.store.lock(&[AccountId::DIRECTORY]).await;
    let done = server.blocking(move |server| {
        let mut txn = server.store.begin(&locked);
        let row: Option<PushSubscriptionRow> = (&txn as &dyn Read).row(AccountId::DIRECTORY, key)?;
        if row.is_some() {
            txn.remove::<PushSubscriptionRow>(AccountId::DIRECTORY, key)?;
        }
        txn.commit().map(|_| row.is_some())
    });
    match done.await {
        Ok(true) => {
            server.store.hub().subscriptions_changed();
            tracing::info!(subscription = %key.1, principal = %key.0, "a push subscription has ended");
        }
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "a push subscription could not be removed"),
    }
}

type ChangeRow<'c> = dyn FnMut(Key, &mut dyn FnMut(&mut PushSubscriptionRow)) -> StoreResult<()> + 'c;

/// One subscription at work.
struct Subscription {
    shared: Arc<Shared>,
    key: Key,
    row: watch::Receiver<PushSubscriptionRow>,
    told: watch::Sender<Option<Told>>,
    stopping: watch::Receiver<bool>,
    pace: Pace,
}

/// What a subscription has to do.
enum Woken {
    Change,
    Mail,
    Row,
}

/// Why a subscription's work ends.
enum End {
    /// It is over: its row goes.
    Over,
    /// The server stops, or the row is gone already.
    Stopped,
}

impl Subscription {
    async fn work(mut self) {
        let end = match self.verify().await {
            Ok(()) => self.deliver().await,
            Err(end) => end,
        };
        if matches!(end, End::Over) {
            destroy(&self.shared.server, self.key).await;
        }
    }

    /// Sends the code, unless that is done, and waits until it has come back.
    async fn verify(&mut self) -> Result<(), End> {
        loop {
            let row = self.row.borrow_and_update().clone();
            if row.verified {
                return Ok(());
            }
            if row.asked {
                self.row_changes().await?;
                continue;
            }
            let text = json!({
                "@type": "PushVerification",
                "pushSubscriptionId": self.key.1.to_string(),
                "verificationCode": row.code
            });
            self.rest().await?;
            if self.post(&row, text.to_string(), "normal").await == Verdict::Over {
                return Err(End::Over);
            }
            if self.pace.is_kept() {
                let key = self.key;
                change(&self.shared.server, move |row_of| row_of(key, &mut |row| row.asked = true)).await;
                // The manager gives it back to us.
                self.row_changes().await?;
            }
        }
    }

    /// Posts what changes, for as long as the subscription holds.
    async fn deliver(&mut self) -> End {
        let row = self.row.borrow_and_update().clone();
        let since = position(row.position.as_ref());
        let server = Arc::clone(&self.shared.server);
        let mut types = types(&row);
        let login = Login::from_row(&row.login);
        let opened = Feed::open(Arc::clone(&server), login.clone(), types.clone(), Some(&since)).await;
        let Ok(mut feed) = opened else { return End::Over };
        let mut of_mail = mail_types(&row);
        let since = position(row.mail_position.as_ref().or(row.position.as_ref()));
        let opened = Feed::open(server, login, of_mail.clone(), Some(&since)).await;
        let Ok(mut mail) = opened else { return End::Over };
        loop {
            let woken = tokio::select! {
                ready = feed.ready() => ready.map_err(|_| End::Over).map(|()| Woken::Change),
                ready = mail.ready() => ready.map_err(|_| End::Over).map(|()| Woken::Mail),
                changed = self.row_changes() => changed.map(|()| Woken::Row),
            };
            let done = match woken {
                Ok(Woken::Change) => self.tell(&mut feed, &types).await,
                Ok(Woken::Mail) => self.tell_of_mail(&mut mail, &of_mail).await,
                Ok(Woken::Row) => {
                    let (wanted, wanted_of_mail, since) = {
                        let row = self.row.borrow_and_update();
                        (self::types(&row), mail_types(&row), position(row.mail_position.as_ref()))
                    };
                    if wanted != types {
                        types = wanted;
                        feed.want(types.clone(), Some(&feed.position()));
                    }
                    if wanted_of_mail != of_mail {
                        of_mail = wanted_of_mail;
                        // What came before anybody asked for it is no news: asking wrote that down.
                        mail.want(of_mail.clone(), Some(&since));
                    }
                    Ok(())
                }
                Err(end) => Err(end),
            };
            let mail_position = (!of_mail.are_none()).then(|| mail.position());
            let told = Some(Told { changes: feed.position(), mail: mail_position });
            self.told.send_if_modified(|known| {
                let moved = *known != told;
                *known = told;
                moved
            });
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Posts what of new messages was asked for; what wasn't taken is posted again.
    async fn tell_of_mail(&mut self, feed: &mut Feed, types: &Types) -> Result<(), End> {
        self.rest().await?;
        let before = feed.position();
        if feed.take().map_err(|_| End::Over)?.is_none() {
            return Ok(());
        }
        let row = self.row.borrow().clone();
        let (login, since, about) = (Login::from_row(&row.login), before.clone(), row.clone());
        let server = Arc::clone(&self.shared.server);
        let news = server.blocking(move |server| mail::news(server, &login, &about, &since)).await;
        self.post_all(&row, news, feed, (types, &before)).await
    }

    /// Posts what a feed gave; where one isn't taken, the feed goes back to where it was.
    async fn post_all(
        &mut self,
        row: &PushSubscriptionRow,
        pushes: Vec<mail::Push>,
        feed: &mut Feed,
        (types, before): (&Types, &Position),
    ) -> Result<(), End> {
        for (text, urgency) in pushes {
            match self.post(row, text, urgency).await {
                Verdict::Done => {}
                Verdict::Again => {
                    feed.want(types.clone(), Some(before));
                    return Ok(());
                }
                Verdict::Over => return Err(End::Over),
            }
        }
        Ok(())
    }

    /// Posts all that is new, once it may; what wasn't taken is new again.
    async fn tell(&mut self, feed: &mut Feed, types: &Types) -> Result<(), End> {
        self.rest().await?;
        let before = feed.position();
        let Some(change) = feed.take().map_err(|_| End::Over)? else { return Ok(()) };
        let row = self.row.borrow().clone();
        let pushes = change.pieces(TEXT_BYTES_MAX).into_iter().map(|text| (text, "normal")).collect();
        self.post_all(&row, pushes, feed, (types, &before)).await
    }

    /// Waits until the push service may be asked again.
    async fn rest(&mut self) -> Result<(), End> {
        loop {
            let wait = self.pace.wait(self.shared.server.store.clock.now());
            if wait.is_zero() {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = gone(self.row.clone()) => return Err(End::Stopped),
                () = stopped(&mut self.stopping) => return Err(End::Stopped),
            }
        }
    }

    async fn post(&mut self, row: &PushSubscriptionRow, text: String, urgency: &'static str) -> Verdict {
        let server = &self.shared.server;
        let answer = match self.message(row, text, urgency) {
            Some((target, message)) => {
                // Never closed.
                let _slot = self.shared.slots.acquire().await;
                let config = &self.shared.config;
                post::post(&target, message, &config.guard, &config.tls).await
            }
            None => Answer::Forbidden,
        };
        let verdict = self.pace.note(answer, server.store.clock.now());
        let result = match verdict {
            Verdict::Done => "done",
            Verdict::Again => "again",
            Verdict::Over => "over",
        };
        count(&server.store.metrics.pushes, "result", result);
        tracing::debug!(subscription = %self.key.1, ?answer, ?verdict, "pushed");
        verdict
    }

    fn message(
        &self,
        row: &PushSubscriptionRow,
        text: String,
        urgency: &'static str,
    ) -> Option<(Target, Message)> {
        let target = Target::parse(&row.url)?;
        let store = &self.shared.server.store;
        let body = match &row.keys {
            None => text.into_bytes(),
            Some((p256dh, auth)) => {
                let keys = ReceiverKeys::parse(p256dh, auth)?;
                let encrypt = || keys.encrypt(text.as_bytes(), store.random.bytes(), store.random.bytes());
                // One of 2^32 private keys is none.
                encrypt().or_else(encrypt)?
            }
        };
        let authorization =
            self.shared.vapid.authorization(&target.origin(), &self.shared.config.subject, store.clock.now());
        let message = Message { body, encrypted: row.keys.is_some(), authorization, urgency };
        Some((target, message))
    }

    /// Waits until the row changes; an end where its time is over or the server stops.
    async fn row_changes(&mut self) -> Result<(), End> {
        let clock = &self.shared.server.store.clock;
        let left = {
            let row = self.row.borrow();
            let expires = crate::types::Millis(row.expires.0.saturating_mul(1000));
            let until = match row.verified {
                true => expires,
                false => {
                    expires.min(row.created_at.after(Duration::from_secs(limits::PUSH_VERIFY_SECONDS_MAX)))
                }
            };
            clock.now().until(until)
        };
        tokio::select! {
            changed = self.row.changed() => match changed {
                Ok(()) => Ok(()),
                // The manager dropped it: the row is gone.
                Err(_) => Err(End::Stopped),
            },
            () = tokio::time::sleep(left) => Err(End::Over),
            () = stopped(&mut self.stopping) => Err(End::Stopped),
        }
    }
}

/// What a row says. Of changes, nothing known means that all is told; of new messages, that none is.
fn position(written: Option<&String>) -> Position {
    written.map(|text| Position::parse(text)).unwrap_or_default()
}

/// Waits until the manager has dropped the row.
async fn gone(mut row: watch::Receiver<PushSubscriptionRow>) {
    while row.changed().await.is_ok() {}
}

/// What wakes who is pushed new messages.
fn mail_types(row: &PushSubscriptionRow) -> Types {
    match row.email_push.is_empty() {
        true => Types::Nothing,
        false => Types::named([DataType::EmailDelivery.name()]),
    }
}

fn types(row: &PushSubscriptionRow) -> Types {
    match &row.types {
        None => Types::Registered,
        Some(names) => Types::named(names.iter().map(String::as_str)),
    }
}
