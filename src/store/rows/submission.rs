//! EmailSubmissions and the relay queue.

use super::row;
use super::team::Status;
use crate::types::*;
use serde::{Deserialize, Serialize};

/// An EmailSubmission (RFC 8621 §7) with the state of its way to the relay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SubmissionRow {
    pub identity: IdentityId,
    pub email: EmailId,
    pub thread: ThreadId,
    /// What goes to the relay; referred to until it is done, so that destroying the Email stops
    /// nothing (RFC 8621 §7.5).
    pub blob: BlobHash,
    /// `None` is the null path.
    pub mail_from: Option<Address>,
    pub mail_from_parameters: Vec<(String, Option<String>)>,
    pub recipients: Vec<Recipient>,
    pub send_at: UtcDate,
    pub undo_status: UndoStatus,
    pub author: PrincipalId,
    pub conversation: Option<ConversationId>,
    pub created_at: Millis,
    pub relay: RelayState,
    /// Handovers that were begun.
    pub attempts: u32,
    /// A client's own name for this submission: the same key never sends twice.
    pub idempotency_key: Option<String>,
}
row!(SubmissionRow, SubmissionId, Submission, EmailSubmission);

/// RFC 8621 §7, `undoStatus`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum UndoStatus {
    Pending,
    Final,
    Canceled,
}

/// Where a submission is on its way to the relay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RelayState {
    /// Waits for its turn.
    Queued { next: Millis },
    /// An attempt has begun and the message's octets have not been sent: safe to begin again.
    Contacting { since: Millis },
    /// The octets are on their way: if the process ends here, nobody knows whether the relay took them.
    Handing { since: Millis },
    /// Nothing more is to be done.
    Done,
    /// Not to be handed over before that moment; a timer brings it into the queue (RFC 4865).
    Scheduled { until: Millis },
}

/// One envelope recipient and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recipient {
    pub address: Address,
    pub parameters: Vec<(String, Option<String>)>,
    /// The last reply (RFC 8621 §7, `smtpReply`).
    pub smtp_reply: Option<String>,
    pub delivered: Delivered,
    /// No further attempt for this recipient.
    pub settled: bool,
}

/// RFC 8621 §7, `delivered`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Delivered {
    Queued,
    Yes,
    No,
    Unknown,
}

/// A row of the relay queue: when it is due stands in the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueRow;

/// The kind of timer that releases a scheduled submission; the number is stored in its key.
pub const RELEASE_TIMER: u8 = 3;

/// What the release of a scheduled submission needs to know, by (Email, submission).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScheduledSendRow {
    /// The position in the account's log at which it was scheduled: what happened before it was judged then.
    pub version: u64,
    /// Its client named what it knew (`lockToken`, `ifVersion`): it is judged so at its release, too.
    pub named: bool,
    /// Colleagues' messages that it goes out over knowingly.
    pub acknowledged: Vec<EmailId>,
    pub then_status: Option<Status>,
    pub then_owner: Option<Option<PrincipalId>>,
}

/// The reports that came for a submission (RFC 8621 §7), oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReportsRow {
    pub dsns: Vec<EmailId>,
    pub mdns: Vec<EmailId>,
    /// Recipients whose system says that the message was displayed, as addresses compare.
    pub displayed: Vec<String>,
}

/// What a destroyed submission leaves behind, so that a bounce still finds its conversation, and the same
/// message isn't sent again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReturnPathRow {
    pub email: EmailId,
    pub conversation: Option<ConversationId>,
    /// As it was then.
    pub submission: Option<SubmissionRow>,
}

/// What the queue notes of a submission until it is done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueMarkRow {
    /// Its sender was told that it is late.
    pub warned: bool,
    /// Handovers of which nobody knows whether the relay took the message.
    pub uncertain: u32,
    /// The relay that was given the message's octets and may have it. No other gets them.
    pub handed_to: Option<String>,
    /// For each recipient, in their order, how many of those handovers may have reached them. In rows of earlier
    /// versions it is empty: all that wait may have it.
    pub perhaps: Vec<u32>,
}

impl QueueMarkRow {
    /// Whether somebody who waits may have the message already.
    pub fn is_unsure(&self) -> bool {
        self.uncertain > 0 && (self.perhaps.is_empty() || self.perhaps.iter().any(|count| *count > 0))
    }
}
