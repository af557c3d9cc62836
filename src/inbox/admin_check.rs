//! `postroom check`: what is kept twice agrees, and every inbox's history is whole.

use super::admin::{AdminError, AdminReply, Office};
use super::{activity, desk};
use crate::store::rows::directory::AccountKind;
use crate::store::rows::team::ActivityRow;
use crate::store::{Read, check, keys};
use crate::types::ActivityId;
use serde::{Deserialize, Serialize};

/// What `check` found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckLine {
    pub accounts: u64,
    pub emails: u64,
    pub threads: u64,
    pub blobs: u64,
    pub activities: u64,
    pub faults: Vec<String>,
}

/// Checks the store and every inbox's activity chain.
pub fn checked(office: Office<'_>) -> Result<AdminReply, AdminError> {
    let mut told = 0;
    let report = check::check(office.store, &mut |report| {
        if report.accounts >= told + 100 {
            told = report.accounts;
            tracing::info!(accounts = report.accounts, emails = report.emails, "checking");
        }
    })?;
    let mut faults = report.faults;
    let mut activities = 0;
    let snapshot = office.store.snapshot();
    let read: &dyn Read = &snapshot;
    for (inbox, row) in office.directory.current().accounts() {
        if matches!(row.kind, AccountKind::Inbox(_)) {
            let rows: Vec<(u32, ActivityRow)> = read.collect_rows(&keys::all(inbox, keys::Kind::Activity))?;
            activities += rows.len() as u64;
            let end = desk::activity_head(read, inbox)?;
            let entries = rows.iter().map(|(id, row)| (ActivityId(*id), row));
            if let Err(broken) = activity::verify(activity::genesis(inbox), entries, end) {
                faults.push(format!("account {inbox}: {broken}"));
            }
        }
    }
    Ok(AdminReply::Checked(CheckLine {
        accounts: report.accounts,
        emails: report.emails,
        threads: report.threads,
        blobs: report.blobs,
        activities,
        faults,
    }))
}
