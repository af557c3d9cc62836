//! Erasing at the command line: conversations of an inbox by their ids or by their customer, which were
//! erased, and the same again after a restore from an older backup.

use super::admin::{self, AdminError, AdminReply, Office};
use super::desk::Desk;
use super::erase::{self, PurgeError};
use super::machine::Actor;
use super::server;
use crate::auth::View;
use crate::store::Read;
use crate::store::keys::{self, Kind};
use crate::store::rows::team::{ActivityKind, ActivityRow, Cause, ConversationRow};
use crate::types::limits::ERASE_MESSAGES_MAX;
use crate::types::{AccountId, Address, ConversationId};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum EraseRequest {
    /// Conversations by their ids, and all of a customer.
    Now { inbox: String, conversations: Vec<String>, customer: Option<String> },
    /// Which were erased.
    List,
    /// Those of a list, as far as they are there: after a restore.
    Again { erased: Vec<ErasedLine> },
}

/// What is answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasedReport {
    pub erased: Vec<ErasedLine>,
    pub emails: usize,
    pub notes: usize,
}

/// One conversation. Numbers may be given again after a restore: the moment tells the two apart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasedLine {
    /// The inbox's account.
    pub account_id: String,
    pub conversation_id: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// Does what is asked.
pub fn run(office: Office<'_>, request: &EraseRequest) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let report = match request {
        EraseRequest::List => list(office, &view)?,
        EraseRequest::Now { inbox, conversations, customer } => {
            let account = admin::find_inbox(&view, inbox)?;
            let mut ids = Vec::new();
            for id in conversations {
                ids.push(ConversationId::parse(id).ok_or_else(|| unknown(id))?);
            }
            if let Some(customer) = customer {
                let address =
                    Address::parse(customer).ok_or_else(|| AdminError::Address(customer.clone()))?;
                ids.extend(erase::of_customer(&office.store.snapshot(), account, &address, usize::MAX)?);
            }
            all(office, account, &ids)?
        }
        EraseRequest::Again { erased } => again(office, &view, erased)?,
    };
    Ok(AdminReply::Erased(report))
}

fn unknown(id: &str) -> AdminError {
    AdminError::Rule(format!("there is no conversation {id:?} in that inbox"))
}

fn line(account: AccountId, id: ConversationId, row: &ConversationRow) -> ErasedLine {
    ErasedLine {
        account_id: account.to_string(),
        conversation_id: id.to_string(),
        created_at: row.created_at.0,
    }
}

/// Erases one after the other, each in commits of a bounded size, and rewrites the files once.
fn all(office: Office<'_>, account: AccountId, ids: &[ConversationId]) -> Result<ErasedReport, AdminError> {
    let mut report = ErasedReport::default();
    for id in ids {
        let row: Option<ConversationRow> = (&office.store.snapshot() as &dyn Read).row(account, *id)?;
        report.erased.push(line(account, *id, &row.ok_or_else(|| unknown(&id.to_string()))?));
    }
    for id in ids {
        loop {
            let locked = office.store.lock_blocking(&[account]);
            let mut txn = office.store.begin(&locked);
            let staff = server::staff(&office.directory.current(), account);
            let mut desk = Desk::open(&mut txn, account, Actor::System(Cause::User), &staff)?;
            let step = desk.erase(*id, ERASE_MESSAGES_MAX)?;
            let committed = txn.commit()?;
            drop(locked);
            office.store.durable_blocking(committed.ticket)?;
            report.emails += step.emails;
            report.notes += step.notes;
            if step.done {
                break;
            }
        }
    }
    erase::purge(office.store, office.search, account).map_err(|error| match error {
        PurgeError::Store(error) => AdminError::Store(error),
        other => AdminError::Rule(format!("it is erased, and in files still: {other}")),
    })?;
    Ok(report)
}

fn list(office: Office<'_>, view: &View) -> Result<ErasedReport, AdminError> {
    let snapshot = office.store.snapshot();
    let read: &dyn Read = &snapshot;
    let mut report = ErasedReport::default();
    for (account, _) in view.accounts() {
        let mut ids = Vec::new();
        read.scan_rows::<ActivityRow>(&keys::all(account, Kind::Activity), |_, row| {
            ids.extend(row.conversation.filter(|_| row.kind == ActivityKind::Erased));
            ControlFlow::Continue(())
        })?;
        for id in ids {
            let row: Option<ConversationRow> = read.row(account, id)?;
            report.erased.extend(row.map(|row| line(account, id, &row)));
        }
    }
    Ok(report)
}

fn again(office: Office<'_>, view: &View, wanted: &[ErasedLine]) -> Result<ErasedReport, AdminError> {
    let mut report = ErasedReport::default();
    for (account, _) in view.accounts() {
        let mut ids = Vec::new();
        for one in wanted.iter().filter(|one| one.account_id == account.to_string()) {
            let Some(id) = ConversationId::parse(&one.conversation_id) else { continue };
            let row: Option<ConversationRow> = (&office.store.snapshot() as &dyn Read).row(account, id)?;
            let is_it = |row: &ConversationRow| line(account, id, row) == *one && row.merged_into.is_none();
            if row.is_some_and(|row| is_it(&row)) {
                ids.push(id);
            }
        }
        if !ids.is_empty() {
            let done = all(office, account, &ids)?;
            report.erased.extend(done.erased);
            report.emails += done.emails;
            report.notes += done.notes;
        }
    }
    Ok(report)
}
