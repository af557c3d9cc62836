//! Why a change of the directory can't be made, in words for whoever asked.

use crate::store::StoreError;
use crate::types::{Address, CredentialId, MemberRole, PrincipalId};

/// The result of a change of the directory.
pub type AuthResult<T> = Result<T, AuthError>;

/// A refused change of the directory, or a failed store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    /// An account, an alias or a person has the address.
    #[error("the address {0} is taken")]
    AddressTaken(Address),
    /// The same address twice in one request.
    #[error("the address {0} is given twice")]
    AddressTwice(Address),
    #[error("an inbox needs an address of its own, which comes first and is no whole domain")]
    NoOwnAddress,
    #[error("an inbox has at most {max} addresses")]
    TooManyAddresses { max: usize },
    #[error("the name is longer than {max} bytes or has control characters")]
    Name { max: usize },
    #[error("the password is empty or longer than {max} bytes")]
    Password { max: usize },
    #[error("there is no person {0}")]
    UnknownPerson(String),
    #[error("there is no inbox {0}")]
    UnknownInbox(String),
    #[error("there is no app password {0}")]
    UnknownCredential(CredentialId),
    #[error("{0} is disabled")]
    Disabled(Address),
    #[error("{person} is no member of {inbox}")]
    NotMember { person: Address, inbox: Address },
    #[error("{0} is named twice among the members")]
    MemberTwice(Address),
    #[error("there is a team {0:?} already, or the name is empty")]
    TeamTaken(String),
    #[error("there is no team {0:?}")]
    UnknownTeam(String),
    #[error("a team has at most {max} members")]
    TeamTooLarge { max: usize },
    #[error("there is no distribution list {0}")]
    UnknownList(String),
    #[error("a distribution list has at most {max} members")]
    ListTooLarge { max: usize },
    #[error("{0} is the list itself")]
    ListInItself(Address),
    #[error("{0} is no member of the list")]
    NotSubscribed(Address),
    /// The inbox has other members and would be left without an admin.
    #[error("{person} is the last admin of {inbox}; make somebody else {admin} first", admin = MemberRole::Admin.name())]
    LastAdmin { person: Address, inbox: Address },
    /// The directory names a principal that it doesn't have.
    #[error("the directory is inconsistent about principal {0}")]
    Inconsistent(PrincipalId),
    #[error(transparent)]
    Store(#[from] StoreError),
}
