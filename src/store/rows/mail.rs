//! Mailboxes, Emails, Threads, Identities.

use super::message::MessageRow;
use super::viewer::OwnMarks;
use super::{Row, row};
use crate::store::keys::{self, Key, Kind};
use crate::types::*;
use serde::{Deserialize, Serialize};

/// A mailbox (RFC 8621 §2), counts apart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailboxRow {
    pub name: String,
    pub parent: Option<MailboxId>,
    pub role: Option<MailboxRole>,
    pub sort_order: u32,
    /// Who has said that they don't want to see it (RFC 8621 §2: kept for each user).
    pub unsubscribed: Vec<PrincipalId>,
    /// What the server keeps it true to; `None` for people's own.
    pub kept: Option<Kept>,
    /// Who wants to see it, where that isn't what goes without saying: people's own in an inbox.
    pub subscribed: Vec<PrincipalId>,
}
row!(MailboxRow, MailboxId, Mailbox, Mailbox);

impl MailboxRow {
    /// RFC 8621 §2, `isSubscribed`: at first true, but for a folder that a colleague has made.
    pub fn is_subscribed(&self, is_inbox: bool, principal: PrincipalId) -> bool {
        match is_inbox && self.kept.is_none() {
            true => self.subscribed.contains(&principal),
            false => !self.unsubscribed.contains(&principal),
        }
    }

    /// Sets `isSubscribed` for a principal.
    pub fn subscribe(&mut self, is_inbox: bool, principal: PrincipalId, wanted: bool) {
        let by_exception = is_inbox && self.kept.is_none();
        let list = if by_exception { &mut self.subscribed } else { &mut self.unsubscribed };
        list.retain(|other| *other != principal);
        if wanted == by_exception {
            list.push(principal);
        }
    }
}

/// A mailbox of an inbox that the server keeps, by what it means.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kept {
    /// Open conversations.
    Inbox,
    Pending,
    Snoozed,
    /// Closed conversations.
    Archive,
    /// Closed conversations of a category, below Archive.
    ArchiveCategory(String),
    /// Conversations without an owner.
    Unassigned,
    /// An owner's conversations.
    Assigned(PrincipalId),
    /// The parent of the owners' mailboxes; nothing is in it.
    AssignedParent,
    Sent,
    Drafts,
    Scheduled,
    Memos,
    Junk,
    Trash,
}

impl Kept {
    /// True for those that a status or an owner puts Emails in.
    pub fn is_projected(&self) -> bool {
        !matches!(self, Kept::Sent | Kept::Drafts | Kept::Scheduled | Kept::Memos | Kept::Junk | Kept::Trash)
    }

    /// `mayAddItems` for whoever may work conversations.
    pub fn may_add(&self) -> bool {
        !matches!(self, Kept::Snoozed | Kept::Scheduled | Kept::Memos | Kept::AssignedParent)
    }
}

/// Which mailbox has which role, and which are kept: found without reading all mailboxes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MailboxRolesRow {
    pub roles: Vec<(MailboxRole, MailboxId)>,
    pub kept: Vec<(Kept, MailboxId)>,
}

impl Row for MailboxRolesRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::MailboxRoles)
    }
}

impl MailboxRolesRow {
    /// The mailbox with a role.
    pub fn with_role(&self, role: MailboxRole) -> Option<MailboxId> {
        self.roles.iter().find(|(own, _)| *own == role).map(|(_, mailbox)| *mailbox)
    }

    /// The mailbox that is kept true to something.
    pub fn keeping(&self, kept: &Kept) -> Option<MailboxId> {
        self.kept.iter().find(|(own, _)| own == kept).map(|(_, mailbox)| *mailbox)
    }
}

/// The counts of a mailbox; kept, never counted (RFC 8621 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MailboxCountsRow {
    pub total_emails: u32,
    pub unread_emails: u32,
    pub total_threads: u32,
    pub unread_threads: u32,
}
row!(MailboxCountsRow, MailboxId, MailboxCounts, Mailbox);

/// What a list view shows of an Email, in one small row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmailRow {
    pub thread: ThreadId,
    /// In order, each once.
    pub mailboxes: Vec<MailboxId>,
    /// In order, each once.
    pub keywords: Vec<Keyword>,
    pub received_at: UtcDate,
    /// Octets of the raw message, trace headers included.
    pub size: u32,
    /// Content without trace headers.
    pub blob: BlobHash,
    pub has_attachment: bool,
    pub from: Vec<MailAddress>,
    pub to: Vec<MailAddress>,
    pub subject: String,
    pub preview: String,
    /// The Date field in RFC 3339 with its own offset; `None` where it can't be read.
    pub sent_at: Option<String>,
    /// In an inbox, the conversation.
    pub conversation: Option<ConversationId>,
    /// In an inbox, who wrote this draft or sent this message.
    pub author: Option<PrincipalId>,
    /// Where the message came from.
    pub origin: Origin,
    /// In an inbox, what members have marked for themselves; by number, each once.
    pub own: Vec<OwnMarks>,
}
row!(EmailRow, EmailId, Email, Email);

/// How an Email got here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// Delivered from outside.
    Inbound,
    /// Delivered, and written by a machine (RFC 3834).
    Automatic,
    /// Delivered from a member's own address.
    Internal,
    /// Made or imported by a client.
    Client,
    /// Sent by us.
    Outbound,
    /// A note of an inbox, shown to clients that know only mail. It is never sent.
    Memo,
}

/// A name and an address as they stand in a header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailAddress {
    pub name: Option<String>,
    pub email: String,
}

/// The parsed message, beside its summary.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredMessage {
    /// The trace header fields that stand before the content.
    pub prefix: Vec<u8>,
    pub message: MessageRow,
}
row!(StoredMessage, EmailId, Message);

/// A Thread (RFC 8621 §3): its Emails by receivedAt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ThreadRow {
    pub emails: Vec<ThreadEmail>,
    /// Of those that aren't drafts, which [`Viewer`](super::viewer::Viewer) has set `$seen` the other
    /// way than the rule has it.
    pub flipped: Vec<(EmailId, u32)>,
}
row!(ThreadRow, ThreadId, Thread, Thread);

/// What a Thread knows of an Email: enough to keep counts and heads without reading the Email.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ThreadEmail {
    pub email: EmailId,
    pub received_at: UtcDate,
    pub mailboxes: Vec<MailboxId>,
    /// Neither `$seen` nor `$draft`.
    pub unread: bool,
}

/// An index row: a Message-ID that an Email has or refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageIdRow {
    pub thread: ThreadId,
    /// A hash of the base subject (RFC 5256 §2.1).
    pub subject: u64,
    /// The Email's own Message-ID, not one that it refers to.
    pub own: bool,
}

/// An Identity (RFC 8621 §6).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentityRow {
    pub name: String,
    pub email: Address,
    pub reply_to: Option<Vec<MailAddress>>,
    pub bcc: Option<Vec<MailAddress>>,
    pub text_signature: String,
    pub html_signature: String,
    /// A member gave it this name: the pattern of the inbox doesn't.
    pub named: bool,
}
row!(IdentityRow, IdentityId, Identity, Identity);

/// What the gateway says of a message (RFC 8601), as it said it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuthenticationRow {
    pub authserv_id: String,
    /// Methods and results, in lower case.
    pub results: Vec<(String, String)>,
}

/// Why a message is in its conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum DecidedBy {
    /// Nothing that it says joins it to another.
    #[default]
    Nothing,
    /// It refers to an Email.
    Reference,
    /// It shares an id, the subject and somebody with another.
    SharedId,
    /// It came back to the return path of a submission.
    ReturnPath,
    /// It answers a message of ours that went to many.
    Broadcast,
}

impl DecidedBy {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            DecidedBy::Nothing => "nothing",
            DecidedBy::Reference => "reference",
            DecidedBy::SharedId => "sharedId",
            DecidedBy::ReturnPath => "returnPath",
            DecidedBy::Broadcast => "broadcast",
        }
    }
}

/// What is known of an Email of an inbox beyond what it says: how it came, where it was delivered or came back, and
/// what it was before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EvidenceRow {
    pub authentication: Option<AuthenticationRow>,
    pub decided_by: DecidedBy,
    /// The Email that decided.
    pub matched: Option<EmailId>,
    /// Ids that it refers to, and that only look like ours.
    pub forged: Vec<String>,
    /// Its sender took no part in the conversation before.
    pub stranger: bool,
    /// The gateway found that it isn't from who it says.
    pub failed_authentication: bool,
    /// A message of ours came back to the inbox that sent it.
    pub came_back_at: Option<Millis>,
    /// At its last sending, whether so many got it that each answer is a request of its own; `None` where too few
    /// got it for that, or it was sent before this was noted.
    pub went_to_many: Option<bool>,
    /// It was a draft, and has lost `$draft`.
    pub was_draft: bool,
    /// Where it bridges conversations: the others that its references lead to.
    pub also: Vec<ConversationId>,
}

impl Row for EvidenceRow {
    type Id = EmailId;
    const LOGGED: Option<(DataType, fn(EmailId) -> u32)> = None;
    fn key(account: AccountId, id: EmailId) -> Key {
        keys::row(account, Kind::Evidence, id.0)
    }
}
