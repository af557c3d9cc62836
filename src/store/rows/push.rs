//! Push subscriptions (RFC 8620 §7.2): in account 0, since they belong to a login and to no account.

use super::Row;
use crate::store::keys::{self, Key, Kind};
use crate::types::{AccountId, CredentialId, DataType, Millis, PrincipalId, PushSubscriptionId, UtcDate};
use serde::{Deserialize, Serialize};

/// The credentials that a row is bound to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoginRow {
    pub principal: PrincipalId,
    pub inbox: Option<AccountId>,
    /// The app password; `None` for the person's own password.
    pub credential: Option<CredentialId>,
    /// The hash of that password's hash, so that another password is another login.
    pub password: Option<[u8; 32]>,
}

/// One subscription.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PushSubscriptionRow {
    pub login: LoginRow,
    pub device_client_id: String,
    pub url: String,
    /// `p256dh` and `auth`, as the client gave them.
    pub keys: Option<(String, String)>,
    /// What the client must send back.
    pub code: String,
    /// The push service took the code: it isn't sent again.
    pub asked: bool,
    /// The client sent it back.
    pub verified: bool,
    pub expires: UtcDate,
    /// `None`: all registered types.
    pub types: Option<Vec<String>>,
    /// Up to where changes were pushed when this was last written down: a `types::Position`.
    pub position: Option<String>,
    pub created_at: Millis,
    /// What of new messages is pushed, by account.
    pub email_push: Vec<(AccountId, EmailPushRow)>,
    /// The same as `position` for new messages.
    pub mail_position: Option<String>,
}

/// How new messages of an account are pushed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmailPushRow {
    /// A filter as JSON.
    pub filter: Option<String>,
    pub properties: Vec<String>,
    /// RFC 8030 §5.3.
    pub urgency: String,
}

impl Row for PushSubscriptionRow {
    type Id = (PrincipalId, PushSubscriptionId);
    const LOGGED: Option<(DataType, fn(Self::Id) -> u32)> = None;
    fn key(account: AccountId, (principal, id): Self::Id) -> Key {
        keys::pair(account, Kind::PushSubscription, principal.0, id.0)
    }
}

/// How many subscriptions a principal made since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PushCreationsRow {
    pub since: Millis,
    pub count: u32,
}

impl Row for PushCreationsRow {
    type Id = PrincipalId;
    const LOGGED: Option<(DataType, fn(PrincipalId) -> u32)> = None;
    fn key(account: AccountId, id: PrincipalId) -> Key {
        keys::row(account, Kind::PushCreations, id.0)
    }
}
