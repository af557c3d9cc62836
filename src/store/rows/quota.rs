//! What an account may hold and what it holds (RFC 9425).

use super::Row;
use crate::store::keys::{self, Key, Kind};
use crate::types::{AccountId, DataType, limits};
use serde::{Deserialize, Serialize};

/// What an account holds; kept with every Email that comes or goes, never counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UsageRow {
    /// The sizes of all Emails.
    pub octets: u64,
    /// Emails.
    pub messages: u64,
}

impl Row for UsageRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::Usage)
    }
}

/// One quota's limits. At `soft` clients add nothing more; at `hard` nothing more comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuotaLimit {
    pub hard: u64,
    pub soft: Option<u64>,
    pub warn: Option<u64>,
}

impl QuotaLimit {
    /// A limit that stops everything, and warns of nothing before.
    pub const fn hard(hard: u64) -> Self {
        Self { hard, soft: None, warn: None }
    }
}

/// The limits of an account, or those that hold where an account has none of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quotas {
    pub octets: QuotaLimit,
    pub messages: QuotaLimit,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            octets: QuotaLimit::hard(limits::QUOTA_OCTETS_DEFAULT),
            messages: QuotaLimit::hard(limits::QUOTA_MESSAGES_DEFAULT),
        }
    }
}

/// An account's own limits, where it has any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QuotaLimitsRow {
    pub octets: Option<QuotaLimit>,
    pub messages: Option<QuotaLimit>,
}

impl Row for QuotaLimitsRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::QuotaLimits)
    }
}
