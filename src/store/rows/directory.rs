//! The directory: who there is, which accounts, which addresses lead where. All in account 0.

use super::{Row, row};
use crate::store::keys::{self, Key, Kind};
use crate::types::{AccountId, Address, CredentialId, DataType, MemberRole, Millis, PrincipalId};
use serde::{Deserialize, Serialize};

/// A person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrincipalRow {
    /// The address that they log in with.
    pub email: Address,
    pub name: String,
    /// An Argon2id hash in PHC form; `None` where no password is set.
    pub password: Option<String>,
    /// A disabled person logs in nowhere and is no active member of anything.
    pub disabled: bool,
    /// Their own mail, where they have a mailbox.
    pub account: Option<AccountId>,
    pub created_at: Millis,
}
row!(PrincipalRow, PrincipalId, Principal, Principal);

/// A team: a group of people, as a principal of its own. Its number is of the same kind as theirs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TeamRow {
    pub name: String,
    /// In order, each once.
    pub members: Vec<PrincipalId>,
    /// It gets no new work; what names it still has its name.
    pub disabled: bool,
    pub created_at: Millis,
}

impl Row for TeamRow {
    type Id = PrincipalId;
    const LOGGED: Option<(DataType, fn(PrincipalId) -> u32)> = Some((DataType::Principal, |id| id.0));
    fn key(account: AccountId, id: PrincipalId) -> Key {
        keys::row(account, Kind::Team, id.0)
    }
}

/// What an account is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountKind {
    /// One person's own mail.
    Personal(PrincipalId),
    /// A shared address with its members.
    Inbox(Vec<Member>),
    /// An address whose mail is passed on. It keeps none, and nobody sees it as an account.
    List(ListTerms),
}

/// What a distribution list is: who may write to it, and who gets what was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListTerms {
    pub posting: Posting,
    /// Whom its members turn to (RFC 2369 §3.5).
    pub owner: Option<Address>,
    /// By number, each address once.
    pub subscribers: Vec<Subscriber>,
    /// The last number that was given; none is given again.
    pub last: u32,
}

/// Whoever gets what is written to a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subscriber {
    /// The return path of what goes to them names it.
    pub number: u32,
    pub address: Address,
    pub since: Millis,
}

/// Who may write to a list, by From.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Posting {
    Anyone,
    /// Its own subscribers.
    Members,
    /// The people of this server, and its inboxes.
    Staff,
    /// It is closed.
    Nobody,
}

impl Posting {
    /// All, with the words for them.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Anyone, "anyone"),
        (Self::Members, "members"),
        (Self::Staff, "staff"),
        (Self::Nobody, "nobody"),
    ];

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(posting, _)| *posting)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(posting, _)| *posting == self).map_or("", |(_, name)| name)
    }
}

/// What came back from a subscriber of a list, or perhaps never reached them, by (list, number).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListBounceRow {
    pub count: u32,
    pub last_at: Millis,
    /// What the last report said, in the form of RFC 8621 §7, `smtpReply`.
    pub last_reply: String,
    /// How often nobody knows whether the relay took their mail, and nothing more is tried.
    pub unsure: u32,
}

/// A person's place in an inbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    pub principal: PrincipalId,
    pub role: MemberRole,
    pub since: Millis,
}

/// A JMAP account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRow {
    pub kind: AccountKind,
    pub name: String,
    /// The first address is the account's own, the others are aliases.
    pub addresses: Vec<Address>,
    pub created_at: Millis,
}

impl Row for AccountRow {
    type Id = AccountId;
    const LOGGED: Option<(DataType, fn(AccountId) -> u32)> = None;
    fn key(account: AccountId, id: AccountId) -> Key {
        keys::row(account, Kind::Account, id.0)
    }
}

/// An app password: at least 128 random bits, kept as a keyed hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialRow {
    pub principal: PrincipalId,
    /// The one inbox that it opens; `None` opens all that the person may see.
    pub inbox: Option<AccountId>,
    pub label: String,
    /// BLAKE3 of the secret under the server's key.
    pub hash: [u8; 32],
    pub created_at: Millis,
}

impl Row for CredentialRow {
    type Id = CredentialId;
    const LOGGED: Option<(DataType, fn(CredentialId) -> u32)> = None;
    fn key(account: AccountId, id: CredentialId) -> Key {
        keys::row(account, Kind::Credential, id.0)
    }
}

/// The server's own key, from which all keyed hashes derive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecretRow(pub [u8; 32]);

impl Row for SecretRow {
    type Id = ();
    const LOGGED: Option<(DataType, fn(()) -> u32)> = None;
    fn key(account: AccountId, (): ()) -> Key {
        keys::single(account, Kind::Secret)
    }
}
