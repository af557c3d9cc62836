//! Roles: of a mailbox (RFC 8621 §2, the IANA registry) and of a member in an inbox.

use serde::{Deserialize, Serialize};

/// What a mailbox is for. Unique in an account where it is set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum MailboxRole {
    Inbox,
    Archive,
    Drafts,
    Sent,
    Junk,
    Trash,
    Snoozed,
    Scheduled,
    Memos,
    Important,
    Flagged,
    All,
    Subscribed,
}

impl MailboxRole {
    pub const ALL: [MailboxRole; 13] = [
        MailboxRole::Inbox,
        MailboxRole::Archive,
        MailboxRole::Drafts,
        MailboxRole::Sent,
        MailboxRole::Junk,
        MailboxRole::Trash,
        MailboxRole::Snoozed,
        MailboxRole::Scheduled,
        MailboxRole::Memos,
        MailboxRole::Important,
        MailboxRole::Flagged,
        MailboxRole::All,
        MailboxRole::Subscribed,
    ];

    /// The registered name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            MailboxRole::Inbox => "inbox",
            MailboxRole::Archive => "archive",
            MailboxRole::Drafts => "drafts",
            MailboxRole::Sent => "sent",
            MailboxRole::Junk => "junk",
            MailboxRole::Trash => "trash",
            MailboxRole::Snoozed => "snoozed",
            MailboxRole::Scheduled => "scheduled",
            MailboxRole::Memos => "memos",
            MailboxRole::Important => "important",
            MailboxRole::Flagged => "flagged",
            MailboxRole::All => "all",
            MailboxRole::Subscribed => "subscribed",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A member's place in an inbox; each role may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Reads, has its own `$seen`, watches, writes notes.
    Observer,
    /// Works conversations, drafts, sends.
    Agent,
    /// Also rules, rotas, templates, reports, members; takes over from others.
    Lead,
    /// Also the inbox itself.
    Admin,
}

impl MemberRole {
    pub const ALL: [MemberRole; 4] =
        [MemberRole::Observer, MemberRole::Agent, MemberRole::Lead, MemberRole::Admin];

    /// The word in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            MemberRole::Observer => "observer",
            MemberRole::Agent => "agent",
            MemberRole::Lead => "lead",
            MemberRole::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}
