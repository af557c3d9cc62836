//! What a person is told of changes of what they may do (RFC 9670 §3); in their own account.

use super::row;
use crate::types::*;
use serde::{Deserialize, Serialize};

/// A change of what a person may do in an inbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShareNotificationRow {
    pub created: Millis,
    pub changed_by: Entity,
    pub inbox: AccountId,
    /// The mailbox that stands for the whole of it: its Inbox.
    pub mailbox: MailboxId,
    /// What the inbox was called.
    pub name: String,
    /// `None`: no member.
    pub old_role: Option<MemberRole>,
    pub new_role: Option<MemberRole>,
}
row!(ShareNotificationRow, ShareNotificationId, ShareNotification, ShareNotification);

/// Who changed it, as they were called then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entity {
    pub name: String,
    pub email: Option<Address>,
    pub principal: Option<PrincipalId>,
}
