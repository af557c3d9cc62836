//! VacationResponse (RFC 8621 §8), and who was answered.

use super::Row;
use crate::store::keys::{self, Key, Kind};
use crate::types::{AccountId, DataType, Millis, UtcDate};
use serde::{Deserialize, Serialize};

/// What an account answers by itself, and when.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VacationRow {
    pub is_enabled: bool,
    /// From then on; null: at once.
    pub from: Option<UtcDate>,
    /// Before then; null: for ever.
    pub to: Option<UtcDate>,
    pub subject: Option<String>,
    pub text: Option<String>,
    pub html: Option<String>,
}

impl Row for VacationRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = Some((DataType::VacationResponse, |()| 0));
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::Vacation)
    }
}

/// When a sender last had an answer, by the hash of their address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VacationAnsweredRow {
    pub at: Millis,
}
