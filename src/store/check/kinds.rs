//! What each kind of row is called in a finding, and how long its keys are.

use crate::store::keys::Kind;

/// The octets of a key behind account and kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// None: the account has one such row.
    One,
    /// As many as that.
    Octets(usize),
    /// A name of any length.
    Name,
}

use Shape::{Name, Octets, One};

macro_rules! kinds {
    ($($kind:ident $name:literal $shape:expr;)*) => {
        /// Every kind.
        pub const ALL: &[Kind] = &[$(Kind::$kind,)*];

        fn of(kind: Kind) -> (&'static str, Shape) {
            match kind {
                $(Kind::$kind => ($name, $shape),)*
            }
        }
    };
}

kinds! {
    AccountState "account state" One;
    Mailbox "Mailbox" Octets(4);
    MailboxCounts "mailbox counts" Octets(4);
    Email "Email" Octets(4);
    Message "message" Octets(4);
    Thread "Thread" Octets(4);
    MessageId "Message-ID entry" Octets(12);
    OwnMessageId "own Message-ID entry" Octets(12);
    Identity "Identity" Octets(4);
    Submission "EmailSubmission" Octets(4);
    Conversation "Conversation" Octets(4);
    ConversationEmail "Email of a conversation" Octets(8);
    Note "Note" Octets(4);
    ConversationNote "note of a conversation" Octets(8);
    Lock "ReplyLock" Octets(4);
    ConversationLock "lock of a conversation" Octets(4);
    Activity "Activity" Octets(4);
    ConversationActivity "activity of a conversation" Octets(8);
    InboxSettings "inbox settings" Octets(4);
    Set "set of Emails" Octets(12);
    DeliverySeen "delivery seen" Octets(16);
    SubmissionSeen "submission seen" Octets(16);
    PlainRefusal "refusal" Octets(8);
    ThreadConversation "conversation of a Thread" Octets(4);
    ConversationEvent "events of a conversation" Octets(12);
    ActivityText "text of an activity" Octets(4);
    MailboxRoles "mailboxes by role" One;
    ActivityHead "head of the activity" One;
    Merge "merge" Octets(4);
    NoteMention "mention" Octets(8);
    NoteEdited "note with earlier versions" Octets(4);
    Memo "memo" Octets(4);
    Principal "Principal" Octets(4);
    Account "account" Octets(4);
    Address "address" Name;
    Credential "app password" Octets(4);
    Secret "server secret" One;
    Team "team" Octets(4);
    ScheduledSend "scheduled sending" Octets(8);
    DetachedSubmission "detached submission" Octets(4);
    Upload "upload" Octets(8);
    IdentityOfMember "member's Identity" Octets(8);
    Vacation "vacation response" One;
    VacationAnswered "vacation answer" Octets(16);
    Usage "usage" One;
    QuotaLimits "quota limits" One;
    SubmissionReports "reports of a submission" Octets(4);
    SubmissionOfEmail "submission of an Email" Octets(8);
    Viewers "viewers" One;
    ViewerState "viewer's states" Octets(4);
    ViewerCounts "viewer's counts" Octets(8);
    PushSubscription "PushSubscription" Octets(8);
    PushCreations "push creations" Octets(4);
    ReturnPath "return path" Octets(4);
    QueueMark "queue mark" Octets(4);
    QueuePaused "queue paused" One;
    Evidence "evidence" Octets(4);
    Purge "purge" Octets(12);
    ShareNotification "ShareNotification" Octets(4);
    ListBounce "bounces of a subscriber" Octets(4);
    LogMarks "log marks" One;
    Timer "timer" Octets(17);
    Queue "place in the relay queue" Octets(17);
    Format "format" One;
}

/// Whether a key of that kind is as long as it must be.
pub fn has_shape(kind: Kind, key: &[u8]) -> bool {
    let rest = key.len().saturating_sub(5);
    match of(kind).1 {
        One => rest == 0,
        Octets(octets) => rest == octets,
        Name => rest > 0,
    }
}

/// What a row is called in a finding: its kind, and what its key names it by.
pub fn describe(kind: Kind, key: &[u8]) -> String {
    let (name, shape) = of(kind);
    let rest = key.get(5..).unwrap_or_default();
    match (shape, <[u8; 4]>::try_from(rest)) {
        (One, _) => name.to_owned(),
        (Name, _) => format!("{name} {}", String::from_utf8_lossy(rest)),
        (Octets(4), Ok(_)) => format!("{name} {}", crate::store::keys::last_id(key).unwrap_or_default()),
        _ => {
            let hex: String = rest.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{name} {hex}")
        }
    }
}
