//! What is stored of an inbox's history: activities with what explains them, and the texts that they speak of,
//! apart.
//!
//! Enums are stored by their position or their number, and numbers are hashed into the chain: never reorder
//! or reuse one, only append.

use super::row;
use super::team::{Priority, Status};
use crate::types::{
    AccountId, ConversationId, EmailId, MemberRole, Millis, NoteId, PrincipalId, SubmissionId,
};
use serde::{Deserialize, Serialize};

/// Why something happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Cause {
    User,
    Rule,
    Timer,
    Mail,
}

impl Cause {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Cause::User => "user",
            Cause::Rule => "rule",
            Cause::Timer => "timer",
            Cause::Mail => "mail",
        }
    }
}

macro_rules! activity_kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal $name:literal,)*) => {
        /// What an activity tells. The number is hashed into the chain: never change or reuse one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum ActivityKind {
            $($(#[$doc])* $kind,)*
        }

        impl ActivityKind {
            pub const ALL: &[ActivityKind] = &[$(ActivityKind::$kind,)*];

            /// The number in the hash chain.
            pub fn code(self) -> u16 {
                match self {
                    $(ActivityKind::$kind => $code,)*
                }
            }

            /// The `type` in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(ActivityKind::$kind => $name,)*
                }
            }

            /// The kind of that name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

activity_kinds! {
    Created = 1 "created",
    OwnerChanged = 2 "ownerChanged",
    TeamChanged = 3 "teamChanged",
    StatusChanged = 4 "statusChanged",
    SnoozedUntilChanged = 5 "snoozedUntilChanged",
    ResolutionChanged = 6 "resolutionChanged",
    CategoryChanged = 7 "categoryChanged",
    TagAdded = 8 "tagAdded",
    TagRemoved = 9 "tagRemoved",
    PriorityChanged = 10 "priorityChanged",
    WatcherAdded = 11 "watcherAdded",
    WatcherRemoved = 12 "watcherRemoved",
    LockTakenOver = 13 "lockTakenOver",
    NoteCreated = 14 "noteCreated",
    NoteUpdated = 15 "noteUpdated",
    NoteDestroyed = 16 "noteDestroyed",
    /// On the conversation that went into another one: `after` is the other one.
    MergedInto = 17 "mergedInto",
    /// On the conversation that took another one in: `before` is the other one.
    Merged = 18 "merged",
    MergeUndone = 19 "mergeUndone",
    SplitOff = 20 "splitOff",
    InboundReceived = 21 "inboundReceived",
    AutomaticReceived = 22 "automaticReceived",
    InternalReceived = 23 "internalReceived",
    Imported = 24 "imported",
    ReplySent = 25 "replySent",
    OtherSent = 26 "otherSent",
    AutomaticSent = 27 "automaticSent",
    SendScheduled = 28 "sendScheduled",
    SendCanceled = 29 "sendCanceled",
    SendHeld = 30 "sendHeld",
    DeliveryFailed = 31 "deliveryFailed",
    SiblingReplied = 32 "siblingReplied",
    MemberJoined = 33 "memberJoined",
    MemberLeft = 34 "memberLeft",
    RoleChanged = 35 "roleChanged",
    SettingsChanged = 36 "settingsChanged",
    EmailDestroyed = 37 "emailDestroyed",
    CopiedOut = 38 "copiedOut",
    Erased = 39 "erased",
    /// A plain client's yes sent over another's reply or lock.
    SentOver = 40 "sentOver",
    /// Nobody knows whether the relay took the message: `before` is the submission, `after` the Email.
    SendUncertain = 41 "sendUncertain",
}

/// The value before or after: an id or a code, never text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ActivityValue {
    None,
    Principal(PrincipalId),
    Status(Status),
    Priority(Priority),
    Role(MemberRole),
    Moment(Millis),
    Number(u64),
    Account(AccountId),
    Conversation(ConversationId),
    Note(NoteId),
    Email(EmailId),
    Submission(SubmissionId),
    /// The salted digest of a text that is stored apart in an [`ActivityTextRow`].
    Text([u8; 32]),
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $code:literal $name:literal,)*) => {
        /// What made the server do something that nobody asked for in so many words. The number is hashed
        /// into the chain: never change or reuse one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$reason,)*];

            /// The number in the hash chain.
            pub fn code(self) -> u8 {
                match self {
                    $(Reason::$reason => $code,)*
                }
            }

            /// The `reason` in JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Reason::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// A person from outside wrote: of the Email.
    InboundReceived = 1 "inboundReceived",
    /// Our mail came back or wasn't taken: of the Email that says so, or the submission.
    DeliveryFailed = 2 "deliveryFailed",
    /// The sender named it with the submission: of that.
    AskedWithSend = 3 "askedWithSend",
    /// The inbox's setting: of the submission.
    StatusAfterReply = 4 "statusAfterReply",
    /// The inbox's setting: of the submission.
    OwnOnReply = 5 "ownOnReply",
    /// The time of a snooze came: of that moment.
    SnoozedUntil = 6 "snoozedUntil",
    /// A scheduled submission was held at its release: of it.
    SendHeld = 7 "sendHeld",
    /// The conversation opened again, and its owner may not work it any more: of the owner.
    OwnerInactive = 8 "ownerInactive",
    /// Somebody left, or was disabled: of them.
    MemberLeft = 9 "memberLeft",
    /// A note mentions them: of the note.
    Mentioned = 10 "mentioned",
    /// A client put the Email into a mailbox, or took it out: of the Email.
    MailboxMove = 11 "mailboxMove",
    /// No message from outside is left outside Junk and Trash.
    NoInboundLeft = 12 "noInboundLeft",
    /// Another conversation came in or went out: of that.
    Merge = 13 "merge",
    /// Whose role it is: of them.
    Member = 14 "member",
    /// What was brought in from elsewhere begins closed: of the Email.
    Imported = 15 "imported",
}

/// Why the server did something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explain {
    pub reason: Reason,
    pub of: ActivityValue,
}

/// One immutable entry in an inbox's history. Its number is its key, without gaps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActivityRow {
    /// Null for what concerns the inbox and no conversation: membership, settings.
    pub conversation: Option<ConversationId>,
    pub at: Millis,
    pub actor: Option<PrincipalId>,
    pub cause: Cause,
    pub kind: ActivityKind,
    pub before: ActivityValue,
    pub after: ActivityValue,
    /// The hash of the entry before this one.
    pub previous_hash: [u8; 32],
    pub hash: [u8; 32],
    /// Null where somebody did just this, or nothing explains it.
    pub explain: Option<Explain>,
}
row!(ActivityRow, ActivityId, Activity, Activity);

/// A text that an activity refers to, and its salt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SaltedText {
    pub salt: [u8; 16],
    pub text: String,
}

/// The texts of one activity, by its number. Erasing destroys this row and leaves the chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActivityTextRow {
    pub before: Option<SaltedText>,
    pub after: Option<SaltedText>,
}
