//! What each member of an inbox has seen, muted and follows: these keywords are a member's own
//! (spec/decisions/002), and everything that is told of them is told per member.
//!
//! A member is a *viewer* from the first mark of their own, or from joining, on. What they have seen
//! is kept as what differs from the rule: an Email is seen where it has `$seen` for all, or where it
//! came before they joined. So an Email that nobody has opened costs nothing, whoever is a member.

use super::Row;
use crate::store::changes::TypeStates;
use crate::store::keys::{self, Key, Kind};
use crate::types::*;
use serde::{Deserialize, Serialize};

/// The viewers of an inbox; none in a person's own account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ViewersRow {
    /// `$seen` is one for all: the inbox setting `sharedSeen`.
    pub shared_seen: bool,
    /// The last number that was given.
    pub last: u32,
    pub viewers: Vec<Viewer>,
}

/// A member as a viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Viewer {
    pub principal: PrincipalId,
    /// Names their marks. Never given again: what is left of an earlier membership is nobody's.
    pub number: u32,
    /// The newest Email when they joined: it and all older ones count as seen.
    pub floor: EmailId,
}

impl Row for ViewersRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::Viewers)
    }
}

/// The modseq at which each type last changed for one member alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ViewerStateRow {
    pub types: TypeStates,
}

impl Row for ViewerStateRow {
    type Id = PrincipalId;
    const LOGGED: Option<(DataType, fn(PrincipalId) -> u32)> = None;
    fn key(account: AccountId, id: PrincipalId) -> Key {
        keys::row(account, Kind::ViewerState, id.0)
    }
}

/// How many fewer Emails and Threads of a mailbox are unread for a member than the mailbox's own
/// counts say. No row: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ViewerCountsRow {
    pub emails: i32,
    pub threads: i32,
}

impl Row for ViewerCountsRow {
    type Id = (PrincipalId, MailboxId);
    const LOGGED: Option<(DataType, fn(Self::Id) -> u32)> = None;
    fn key(account: AccountId, (member, mailbox): Self::Id) -> Key {
        keys::pair(account, Kind::ViewerCounts, member.0, mailbox.0)
    }
}

/// One viewer's marks on an Email.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnMarks {
    /// [`Viewer::number`].
    pub viewer: u32,
    pub marks: Marks,
}

/// Marks as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Marks(pub u8);

/// One kind of mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mark {
    /// `$seen` is the other way than the rule has it.
    Seen = 1,
    Muted = 2,
    Followed = 4,
}

impl Mark {
    /// Every kind.
    pub const ALL: [Mark; 3] = [Mark::Seen, Mark::Muted, Mark::Followed];

    /// What the keyword is in an inbox; `None` for those that belong to all.
    pub fn of(keyword: &str) -> Option<Self> {
        match keyword {
            Keyword::SEEN => Some(Mark::Seen),
            Keyword::MUTED => Some(Mark::Muted),
            Keyword::FOLLOWED => Some(Mark::Followed),
            _ => None,
        }
    }

    /// The keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Mark::Seen => Keyword::SEEN,
            Mark::Muted => Keyword::MUTED,
            Mark::Followed => Keyword::FOLLOWED,
        }
    }
}

impl Marks {
    pub fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    pub fn set(&mut self, mark: Mark, on: bool) {
        if on {
            self.0 |= mark as u8;
        } else {
            self.0 &= !(mark as u8);
        }
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
