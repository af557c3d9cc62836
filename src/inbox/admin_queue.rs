//! The relay queue at the command line: what waits and why, have it tried now, take it out, stop
//! and go on.

use super::admin::{self, AdminError, Office};
use super::handover::{self, Postmaster};
use crate::mail::outbound::{self, QueueRules};
use crate::mail::relays::{RelayHealth, RelayRule, Relays};
use crate::store::Read;
use crate::store::rows::mail::EmailRow;
use crate::store::rows::submission::{Delivered, RelayState, SubmissionRow};
use crate::types::{AccountId, Address, Millis, SubmissionId};
use serde::{Deserialize, Serialize};

/// What is asked about the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QueueRequest {
    List,
    Show(String),
    /// One submission, or all that wait.
    Retry(Option<String>),
    Cancel(String),
    Pause,
    Resume,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueReport {
    pub paused: bool,
    /// Those of the running server; none where none runs.
    pub relays: Vec<RelayLine>,
    /// The longest waiting first.
    pub entries: Vec<QueueEntry>,
}

/// One relay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayLine {
    /// Without its password.
    pub name: String,
    /// The domains whose mail it takes; empty: those that no relay names.
    pub senders: Vec<String>,
    pub priority: u32,
    /// `up` or `down`.
    pub state: String,
    /// Failures one after another.
    pub failures: u32,
    /// Until when others are preferred.
    pub down_until: Option<String>,
    /// What it last failed of.
    pub error: Option<String>,
}

/// One submission on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueEntry {
    /// Account and submission, as `show`, `retry` and `cancel` take it.
    pub id: String,
    /// The account's first address.
    pub account: String,
    pub from: String,
    pub subject: String,
    /// `waiting`, `contacting` or `handing`.
    pub state: String,
    pub queued_at: String,
    /// When it is next tried, or when its lease ends.
    pub next_at: String,
    pub attempts: u32,
    /// Handovers of which nobody knows whether the relay took the message.
    pub uncertain: u32,
    /// The relay that perhaps took it. No other is given it.
    pub perhaps_at: Option<String>,
    pub recipients: Vec<QueueRecipient>,
}

/// One recipient of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueRecipient {
    pub email: String,
    /// `waiting`, `relayed`, `perhaps relayed`, `delivered` or `failed`.
    pub state: String,
    pub reply: Option<String>,
}

/// Does what is asked; gives the queue, or the one submission that it was about.
pub fn run(office: Office<'_>, request: &QueueRequest) -> Result<QueueReport, AdminError> {
    match request {
        QueueRequest::List => report(office, None),
        QueueRequest::Show(id) => report(office, Some(find(office, id)?)),
        QueueRequest::Retry(Some(id)) => {
            let (account, submission) = find(office, id)?;
            retry(office, account, submission)?;
            report(office, Some((account, submission)))
        }
        QueueRequest::Retry(None) => {
            for due in outbound::all(&office.store.snapshot())? {
                // One that was taken up meanwhile needs no retry.
                let _ = retry(office, due.account, due.submission);
            }
            report(office, None)
        }
        QueueRequest::Cancel(id) => {
            let (account, submission) = find(office, id)?;
            cancel(office, account, submission)?;
            report(office, Some((account, submission)))
        }
        QueueRequest::Pause => pause(office, true),
        QueueRequest::Resume => pause(office, false),
    }
}

fn pause(office: Office<'_>, paused: bool) -> Result<QueueReport, AdminError> {
    admin::change(office, &[], |txn| Ok(outbound::set_paused(txn, paused)?))?;
    report(office, None)
}

fn retry(office: Office<'_>, account: AccountId, id: SubmissionId) -> Result<(), AdminError> {
    let locked = office.store.lock_blocking(&[account]);
    let mut txn = office.store.begin(&locked);
    if !outbound::retry(&mut txn, account, id)? {
        return Err(AdminError::Rule("it is being handed over at this moment".to_owned()));
    }
    let committed = txn.commit()?;
    drop(locked);
    Ok(office.store.durable_blocking(committed.ticket)?)
}

fn cancel(office: Office<'_>, account: AccountId, id: SubmissionId) -> Result<(), AdminError> {
    let postmaster = Postmaster { hostname: office.hostname.to_owned(), rules: QueueRules::default() };
    let locked = office.store.lock_blocking(&[account]);
    let mut txn = office.store.begin(&locked);
    let Some(finished) = outbound::cancel(&mut txn, account, id)? else {
        return Err(AdminError::Rule("it is being handed over at this moment".to_owned()));
    };
    handover::tell(&postmaster, &office.directory.current(), &mut txn, account, id, &finished)?;
    let committed = txn.commit()?;
    drop(locked);
    Ok(office.store.durable_blocking(committed.ticket)?)
}

/// The submission on its way that an id names.
fn find(office: Office<'_>, id: &str) -> Result<(AccountId, SubmissionId), AdminError> {
    let unknown =
        || AdminError::Rule(format!("nothing in the queue is called {id:?}; see `postroom queue list`"));
    let (account, submission) = id.split_once('-').ok_or_else(unknown)?;
    let account = AccountId::parse(account).ok_or_else(unknown)?;
    let submission = SubmissionId::parse(submission).ok_or_else(unknown)?;
    let snapshot = office.store.snapshot();
    let row = outbound::load(&snapshot, account, submission)?.map(|(row, _)| row);
    let waits = row.is_some_and(|row| outbound::due_at(&row.relay).is_some());
    if waits { Ok((account, submission)) } else { Err(unknown()) }
}

/// All of the queue, or one submission whether or not it is in the queue any more.
fn report(office: Office<'_>, only: Option<(AccountId, SubmissionId)>) -> Result<QueueReport, AdminError> {
    let snapshot = office.store.snapshot();
    let read: &dyn Read = &snapshot;
    let ids = match only {
        Some(one) => vec![one],
        None => outbound::all(read)?.into_iter().map(|due| (due.account, due.submission)).collect(),
    };
    let mut entries = Vec::with_capacity(ids.len());
    for (account, id) in ids {
        if let Some((row, _)) = outbound::load(read, account, id)? {
            entries.push(entry(office, read, account, id, &row)?);
        }
    }
    let relays = office.relays.map(Relays::states).unwrap_or_default().into_iter().map(relay_line);
    Ok(QueueReport { paused: outbound::is_paused(read)?, relays: relays.collect(), entries })
}

fn relay_line((rule, health): (RelayRule, RelayHealth)) -> RelayLine {
    RelayLine {
        name: rule.name,
        senders: rule.senders,
        priority: rule.priority,
        state: if health.down_until.is_some() { "down" } else { "up" }.to_owned(),
        failures: health.failures,
        down_until: health.down_until.map(|until| until.date().to_string()),
        error: health.error,
    }
}

fn entry(
    office: Office<'_>,
    read: &dyn Read,
    account: AccountId,
    id: SubmissionId,
    row: &SubmissionRow,
) -> Result<QueueEntry, AdminError> {
    let email: Option<EmailRow> = read.row(account, row.email)?;
    let view = office.directory.current();
    let own = view.account(account).and_then(|row| row.addresses.first()).map(Address::to_string);
    let state = match row.relay {
        RelayState::Queued { .. } => "waiting",
        RelayState::Contacting { .. } => "contacting",
        RelayState::Handing { .. } => "handing",
        RelayState::Done => "done",
        RelayState::Scheduled { .. } => "scheduled",
    };
    let note = outbound::note(read, account, id)?;
    let shown = |at: Option<Millis>| at.map(|at| at.date().to_string()).unwrap_or_default();
    let recipients = row.recipients.iter().map(|one| QueueRecipient {
        email: one.address.to_string(),
        state: match (one.settled, one.delivered) {
            (false, _) => "waiting",
            (true, Delivered::Yes) => "delivered",
            (true, Delivered::No) => "failed",
            (true, Delivered::Queued | Delivered::Unknown) => {
                // What was left to people has another last word than the relay's "yes".
                let is_taken = one.smtp_reply.as_deref().is_none_or(|reply| reply.starts_with('2'));
                if is_taken { "relayed" } else { "perhaps relayed" }
            }
        }
        .to_owned(),
        reply: one.smtp_reply.clone(),
    });
    Ok(QueueEntry {
        id: format!("{account}-{id}"),
        account: own.unwrap_or_default(),
        from: row.mail_from.as_ref().map(Address::to_string).unwrap_or_default(),
        subject: email.map(|email| email.subject).unwrap_or_default(),
        state: state.to_owned(),
        queued_at: shown(Some(row.created_at)),
        next_at: shown(outbound::due_at(&row.relay)),
        attempts: row.attempts,
        uncertain: note.uncertain,
        perhaps_at: note.handed_to.clone().filter(|_| note.is_unsure()),
        recipients: recipients.collect(),
    })
}
