//! What every account has one of: its position, its next ids, the state of each type.

use super::Row;
use crate::store::changes::TypeStates;
use crate::store::keys::{self, Key, Kind};
use crate::types::{AccountId, DataType, Millis};
use serde::{Deserialize, Serialize};

/// The counters of an account. Ids are allotted from here and never reused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AccountState {
    /// The position in the account's log: grows with every commit.
    pub modseq: u64,
    /// The modseq at which each type last changed.
    pub types: TypeStates,
    /// The next free number of each kind of id.
    pub next: NextIds,
}

/// The next free numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NextIds {
    pub email: u32,
    pub thread: u32,
    pub mailbox: u32,
    pub identity: u32,
    pub submission: u32,
    pub conversation: u32,
    pub note: u32,
    pub lock: u32,
    pub principal: u32,
    pub account: u32,
    pub credential: u32,
    pub upload: u32,
    pub share_notification: u32,
}

impl Row for AccountState {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::AccountState)
    }
}

/// Where the account's log was at some moments, oldest first: by these the age of its entries is
/// known, which carry no time.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogMarksRow(pub Vec<(Millis, u64)>);

impl Row for LogMarksRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::LogMarks)
    }
}
