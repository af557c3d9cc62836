//! Quotas at the command line: what an account holds and may hold.

use super::admin::{self, AdminError, Office};
use crate::mail::quota;
use crate::store::Read;
use crate::store::rows::quota::{QuotaLimit, QuotaLimitsRow};
use serde::{Deserialize, Serialize};

/// Limits to set on the account that an address leads to; what isn't named stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaChange {
    pub email: String,
    pub octets: Option<Limit>,
    pub messages: Option<Limit>,
    /// The server's limits hold again, but for those named.
    pub reset: bool,
}

/// One quota's limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limit {
    pub hard: u64,
    pub soft: Option<u64>,
    pub warn: Option<u64>,
}

/// What an account holds and may hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaReport {
    pub email: String,
    pub account_id: String,
    pub octets_used: u64,
    pub octets: Limit,
    pub messages_used: u64,
    pub messages: Limit,
}

/// Sets limits, and tells what holds then.
pub fn set(office: Office<'_>, wanted: &QuotaChange) -> Result<QuotaReport, AdminError> {
    let account = admin::find_account(office, &wanted.email)?;
    let octets = wanted.octets.map(|limit| checked("octets", limit)).transpose()?;
    let messages = wanted.messages.map(|limit| checked("messages", limit)).transpose()?;
    admin::change(office, &[account], |txn| {
        let own: QuotaLimitsRow = match wanted.reset {
            true => QuotaLimitsRow::default(),
            false => (txn as &dyn Read).row(account, ())?.unwrap_or_default(),
        };
        let after = QuotaLimitsRow { octets: octets.or(own.octets), messages: messages.or(own.messages) };
        Ok(quota::set_limits(txn, account, &after)?)
    })?;
    show(office, &wanted.email)
}

/// Tells what holds.
pub fn show(office: Office<'_>, email: &str) -> Result<QuotaReport, AdminError> {
    let account = admin::find_account(office, email)?;
    let snapshot = office.store.snapshot();
    let usage = quota::usage(&snapshot, account)?;
    let limits = quota::limits(&snapshot, account, office.store.quotas())?;
    let told = |limit: QuotaLimit| Limit { hard: limit.hard, soft: limit.soft, warn: limit.warn };
    Ok(QuotaReport {
        email: email.to_owned(),
        account_id: account.to_string(),
        octets_used: usage.octets,
        octets: told(limits.octets),
        messages_used: usage.messages,
        messages: told(limits.messages),
    })
}

/// RFC 9425 §4: warn before soft before hard; JSON has room for 2^53-1.
fn checked(name: &str, limit: Limit) -> Result<QuotaLimit, AdminError> {
    let Limit { hard, soft, warn } = limit;
    let ordered = soft.is_none_or(|soft| soft <= hard)
        && warn.is_none_or(|warn| warn <= soft.unwrap_or(hard))
        && hard < (1 << 53);
    if ordered {
        return Ok(QuotaLimit { hard, soft, warn });
    }
    Err(AdminError::Rule(format!(
        "the limits of {name} don't fit: the one that warns is the lowest, the hard one the highest, below 2^53"
    )))
}
