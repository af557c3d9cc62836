//! The data types whose changes are logged and pushed.

use serde::{Deserialize, Serialize};

/// A JMAP data type with a state of its own. The number is stored: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum DataType {
    Mailbox = 1,
    Thread = 2,
    Email = 3,
    /// Pushed only: moves when a message arrives (RFC 8621 §1.5).
    EmailDelivery = 4,
    Identity = 5,
    EmailSubmission = 6,
    Conversation = 7,
    Note = 8,
    ReplyLock = 9,
    Activity = 10,
    InboxSettings = 11,
    Principal = 12,
    /// RFC 9670.
    ShareNotification = 13,
    /// RFC 9425.
    Quota = 14,
    VacationResponse = 15,
}

impl DataType {
    /// One more than the highest number: the length of a table indexed by type.
    pub const COUNT: usize = 16;

    /// Every type, in the order of its number.
    pub const ALL: [DataType; 15] = [
        DataType::Mailbox,
        DataType::Thread,
        DataType::Email,
        DataType::EmailDelivery,
        DataType::Identity,
        DataType::EmailSubmission,
        DataType::Conversation,
        DataType::Note,
        DataType::ReplyLock,
        DataType::Activity,
        DataType::InboxSettings,
        DataType::Principal,
        DataType::ShareNotification,
        DataType::Quota,
        DataType::VacationResponse,
    ];

    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            DataType::Mailbox => "Mailbox",
            DataType::Thread => "Thread",
            DataType::Email => "Email",
            DataType::EmailDelivery => "EmailDelivery",
            DataType::Identity => "Identity",
            DataType::EmailSubmission => "EmailSubmission",
            DataType::Conversation => "Conversation",
            DataType::Note => "Note",
            DataType::ReplyLock => "ReplyLock",
            DataType::Activity => "Activity",
            DataType::InboxSettings => "InboxSettings",
            DataType::Principal => "Principal",
            DataType::ShareNotification => "ShareNotification",
            DataType::Quota => "Quota",
            DataType::VacationResponse => "VacationResponse",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.name() == name)
    }

    /// True where something of its objects is each member's own in an inbox (`$seen`, the counts of
    /// what is unread, subscriptions), and with it the state.
    pub fn has_own(self) -> bool {
        matches!(self, DataType::Email | DataType::Mailbox)
    }

    /// True for types of registered capabilities; the others are pushed only where named, since
    /// strict clients fail on names that they don't know.
    pub fn is_registered(self) -> bool {
        !matches!(
            self,
            DataType::Conversation
                | DataType::Note
                | DataType::ReplyLock
                | DataType::Activity
                | DataType::InboxSettings
        )
    }
}
