//! `postroom check`: what is kept twice agrees, and every inbox's history is whole.

use super::admin::{AdminError, AdminReply, Office};
use crate::store::check::Report;
use serde::{Deserialize, Serialize};

/// What `check` found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckLine {
    pub accounts: u64,
    pub emails: u64,
    pub threads: u64,
    pub conversations: u64,
    pub activities: u64,
    pub blobs: u64,
    /// Positions that full text is behind; null where no server runs, which has the index.
    pub search_lag: Option<u64>,
    pub faults: Vec<String>,
}

/// Checks everything that is kept twice.
pub fn checked(office: Office<'_>) -> Result<AdminReply, AdminError> {
    let mut progress = |report: &Report| {
        tracing::info!(
            accounts = report.accounts,
            emails = report.emails,
            blobs = report.blobs,
            faults = report.faults.len(),
            "checking"
        );
    };
    let view = office.directory.current();
    let checked = super::check::run(office.store, office.search, &view, &mut progress)?;
    let mut report = checked.report;
    if report.faults_untold > 0 {
        report.faults.push(format!("and {} more", report.faults_untold));
    }
    Ok(AdminReply::Checked(CheckLine {
        accounts: report.accounts,
        emails: report.emails,
        threads: report.threads,
        conversations: report.conversations,
        activities: report.activities,
        blobs: report.blobs,
        search_lag: checked.search_lag,
        faults: report.faults,
    }))
}
