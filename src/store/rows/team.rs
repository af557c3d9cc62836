//! What is stored of team work: conversations, reply locks, notes, an inbox's settings,
//! and what the send gate remembers.
//!
//! Plain data. What may become of a row is decided in `inbox/` (the state machine, the lock rules,
//! the gate); nothing here checks anything. Enums are stored by their position or their number:
//! never reorder one, only append. Presence isn't here: it is never stored.

pub use super::activity::*;
use super::row;
use crate::types::limits::{LOCK_SECONDS_DEFAULT, REOPEN_WITHIN_DAYS_DEFAULT};
use crate::types::{
    AccountId, Address, BlobId, ConversationId, EmailId, Millis, NoteId, PrincipalId, SubmissionId, ThreadId,
};
use serde::{Deserialize, Serialize};

/// Where a conversation stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Status {
    /// There is something to do.
    Open,
    /// We wait for the customer.
    Pending,
    /// Out of sight until a time.
    Snoozed,
    /// Done.
    Closed,
}

impl Status {
    pub const ALL: [Status; 4] = [Status::Open, Status::Pending, Status::Snoozed, Status::Closed];

    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Pending => "pending",
            Status::Snoozed => "snoozed",
            Status::Closed => "closed",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// How pressing a conversation is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

impl Priority {
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent];

    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        }
    }

    /// The priority of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

/// A name and an address, as a message gives them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Participant {
    pub name: Option<String>,
    pub address: Address,
}

/// Somebody who takes part in a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParticipantRow {
    pub address: Address,
    pub name: Option<String>,
    pub first_seen_at: Millis,
    /// From outside: neither a member nor an address of the inbox. A message to such a participant
    /// is a reply.
    pub outside: bool,
}

/// Who set a state and when; a full replacement of `mailboxIds` from a stale copy may not undo it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetBy {
    /// Null where no member did it: mail, a timer, a rule.
    pub principal: Option<PrincipalId>,
    pub at: Millis,
}

/// A conversation in another inbox that shares an inbound Message-ID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Sibling {
    pub account: AccountId,
    pub conversation: ConversationId,
}

/// The unit of team work in an inbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConversationRow {
    pub thread_ids: Vec<ThreadId>,
    pub subject: String,
    pub customer: Option<Participant>,
    pub participants: Vec<ParticipantRow>,
    /// Always an individual.
    pub owner: Option<PrincipalId>,
    pub owner_set: Option<SetBy>,
    /// Always a group.
    pub team: Option<PrincipalId>,
    pub status: Status,
    pub status_set: Option<SetBy>,
    /// Set exactly while snoozed.
    pub snoozed_until: Option<Millis>,
    pub resolution: Option<String>,
    pub category: Option<String>,
    /// Sorted, each once.
    pub tags: Vec<String>,
    pub priority: Priority,
    /// Sorted, each once.
    pub watchers: Vec<PrincipalId>,
    pub created_at: Millis,
    /// The first inbound message from a person; the first reply is measured from it.
    pub first_inbound_at: Option<Millis>,
    pub last_inbound_at: Option<Millis>,
    pub last_outbound_at: Option<Millis>,
    pub last_activity_at: Millis,
    /// The oldest unanswered inbound message while the conversation isn't closed.
    pub waiting_since: Option<Millis>,
    /// The same whatever the status, so that a close that is taken back brings the wait back.
    pub unanswered_since: Option<Millis>,
    pub first_reply_at: Option<Millis>,
    /// Set exactly while closed.
    pub closed_at: Option<Millis>,
    pub closed_by: Option<PrincipalId>,
    pub reopen_count: u32,
    pub previous: Option<ConversationId>,
    pub merged_into: Option<ConversationId>,
    pub siblings: Vec<Sibling>,
    pub note_count: u32,
    pub message_count: u32,
    /// A position in the inbox's log (a modseq).
    pub version: u64,
    /// The highest token that a reply lock of this conversation ever had.
    pub last_lock_token: u64,
    /// Who set the category, and when.
    pub category_set: Option<SetBy>,
}
row!(ConversationRow, ConversationId, Conversation, Conversation);

/// A reply lock. Stored, survives a restart, and never outlives `expires_at`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyLockRow {
    pub conversation: ConversationId,
    pub holder: PrincipalId,
    /// Only grows per conversation.
    pub token: u64,
    pub created_at: Millis,
    pub expires_at: Millis,
    /// The version of the conversation when it was taken: its holder saw what was closed or merged before.
    /// 0 in rows of earlier versions.
    pub taken_at: u64,
}
row!(ReplyLockRow, LockId, Lock, ReplyLock);

/// A file on a note.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NoteAttachment {
    pub blob: BlobId,
    pub name: Option<String>,
    pub media_type: String,
}

/// What a note said before an edit; kept until the inbox's `retention`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NoteVersion {
    pub body: String,
    pub mentions: Vec<PrincipalId>,
    pub attachments: Vec<NoteAttachment>,
    pub at: Millis,
    pub version: u64,
}

/// Private text on a conversation; never mail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NoteRow {
    pub conversation: ConversationId,
    pub email: Option<EmailId>,
    pub author: PrincipalId,
    /// Markdown.
    pub body: String,
    pub mentions: Vec<PrincipalId>,
    pub attachments: Vec<NoteAttachment>,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub version: u64,
    /// Oldest first.
    pub earlier: Vec<NoteVersion>,
}
row!(NoteRow, NoteId, Note, Note);

/// The Email by which clients that know only mail see a note, by the note's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemoRow {
    pub email: EmailId,
    /// The message that it is filed with, which has `$hasmemo`; null where the conversation had none.
    pub about: Option<EmailId>,
}
row!(MemoRow, NoteId, Memo);

/// What the gate does with a plain client's reply that collides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum PlainCollision {
    /// Refuse once; the same person sending again is a yes.
    #[default]
    Confirm,
    /// Refuse always.
    Reject,
    /// Never refuse.
    Allow,
}

impl PlainCollision {
    pub const ALL: [PlainCollision; 3] =
        [PlainCollision::Confirm, PlainCollision::Reject, PlainCollision::Allow];

    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            PlainCollision::Confirm => "confirm",
            PlainCollision::Reject => "reject",
            PlainCollision::Allow => "allow",
        }
    }

    /// The setting of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.name() == name)
    }
}

/// `InboxSettings`, one object per inbox account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InboxSettingsRow {
    pub name: String,
    pub addresses: Vec<Address>,
    /// Open, pending or closed; a snooze needs a time that nobody named.
    pub status_after_reply: Status,
    pub own_on_reply: bool,
    /// Days after a close within which a customer's answer reopens.
    pub reopen_within_days: u32,
    pub require_category: bool,
    pub require_resolution: bool,
    pub require_owner: bool,
    /// Categories that may be set; empty: any.
    pub categories: Vec<String>,
    /// Resolutions that may be set; empty: any.
    pub resolutions: Vec<String>,
    pub plain_collision: PlainCollision,
    /// A reply lock where the client doesn't say.
    pub lock_seconds: u64,
    pub shared_seen: bool,
    pub notes_as_memos: bool,
    /// Automatic senders that are treated as a person (web forms).
    pub trusted_automatic: Vec<Address>,
    /// Days that earlier versions of notes are kept; null: for ever.
    pub retention_days: Option<u32>,
    /// The automatic answer to the first message of a conversation; null: none.
    pub acknowledgement: Option<String>,
    /// The team's etiquette, Markdown.
    pub guide: String,
    pub signature: String,
    /// What members are called in their Identities, `{member}` and `{inbox}` filled in; null: as the inbox.
    pub identity_name: Option<String>,
    /// Addresses that get a copy of everything that members send.
    pub automatic_bcc: Vec<Address>,
}

impl Default for InboxSettingsRow {
    fn default() -> Self {
        Self {
            name: String::new(),
            addresses: Vec::new(),
            status_after_reply: Status::Pending,
            own_on_reply: true,
            reopen_within_days: REOPEN_WITHIN_DAYS_DEFAULT,
            require_category: false,
            require_resolution: false,
            require_owner: false,
            categories: Vec::new(),
            resolutions: Vec::new(),
            plain_collision: PlainCollision::Confirm,
            lock_seconds: LOCK_SECONDS_DEFAULT,
            shared_seen: false,
            notes_as_memos: false,
            trusted_automatic: Vec::new(),
            retention_days: None,
            acknowledgement: None,
            guide: String::new(),
            signature: String::new(),
            identity_name: None,
            automatic_bcc: Vec::new(),
        }
    }
}

/// How far a submission in a conversation came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OutboundState {
    /// Waits for its time; colleagues' gates see it.
    Scheduled,
    Sent,
    /// Undone by its author, or held at release: the gate no longer sees it.
    Canceled,
}

/// A message that a member sent, or is about to send, in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutboundRow {
    pub email: EmailId,
    pub author: PrincipalId,
    pub submission: SubmissionId,
    pub at: Millis,
    pub state: OutboundState,
    /// A participant from outside was among its envelope recipients.
    pub reply: bool,
}

/// A live lock of another that a plain client was told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToldLock {
    pub holder: PrincipalId,
    pub token: u64,
    pub expires_at: Millis,
}

/// A reply in a sibling that somebody was told of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToldSibling {
    pub account: AccountId,
    pub inbox_name: String,
    pub at: Millis,
}

/// A colleague's reply that somebody was told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToldReply {
    pub email: EmailId,
    pub author: PrincipalId,
    pub at: Millis,
    pub scheduled: bool,
}

/// What a refusal told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    pub replies: Vec<ToldReply>,
    pub lock: Option<ToldLock>,
    pub siblings: Vec<ToldSibling>,
}

/// What a plain client was refused and told: its next submission may be the yes to exactly that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlainRefusal {
    pub at: Millis,
    /// The position in the inbox's log up to which the refusal tells.
    pub version: u64,
    pub told: Told,
}

/// A `conversationChanged` of level block: sending again needs the ids in `acknowledge`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Block {
    pub at: Millis,
    pub emails: Vec<EmailId>,
}

/// The last refusal of the gate, by (conversation, principal).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RefusalRow {
    Plain(PlainRefusal),
    Block(Block),
    /// A plain attempt after a block, which it doesn't settle.
    Both(PlainRefusal, Block),
}

impl RefusalRow {
    /// What a plain client was told.
    pub fn plain(&self) -> Option<&PlainRefusal> {
        match self {
            Self::Plain(plain) | Self::Both(plain, _) => Some(plain),
            Self::Block(_) => None,
        }
    }

    /// What must be acknowledged.
    pub fn block(&self) -> Option<&Block> {
        match self {
            Self::Block(block) | Self::Both(_, block) => Some(block),
            Self::Plain(_) => None,
        }
    }
}

/// What the gate asks about a conversation, by (conversation, version): everything that one commit did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConversationEventsRow {
    pub events: Vec<ConversationEvent>,
}

/// One thing that happened in a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConversationEvent {
    /// Null where no member did it.
    pub actor: Option<PrincipalId>,
    pub what: What,
}

/// What happened, as far as the gate cares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What {
    Closed,
    Merged,
    Inbound(EmailId),
    OwnerChanged,
    /// A message of ours; its state is kept true here until it is sent or canceled.
    Outbound(OutboundRow),
    SiblingReplied(ToldSibling),
}

/// What a conversation gave when it went into another one, by its number; gone with the undo.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MergeRow {
    /// The position of the merge.
    pub version: u64,
    pub emails: Vec<EmailId>,
    pub notes: Vec<NoteId>,
}

/// An earlier submission of a principal, by the digest of its Message-ID, its content or its
/// `idempotencyKey`: the same again sends nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EarlierSubmissionRow {
    pub submission: SubmissionId,
    pub at: Millis,
    /// One before it that can't be canceled any more: it counts where this one is canceled.
    pub before: Option<(SubmissionId, Millis)>,
}
