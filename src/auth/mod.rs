//! Floor 2: who may do what. Principals, accounts, roles, addresses, credentials, and
//! [`access::Access`], the proof of a right on an account.
//!
//! Invariants: the directory is written only through [`people`], [`teams`], [`lists`],
//! [`accounts`] and [`credentials`], each of which moves the directory's modseq; what they wrote is seen by logins and sessions only
//! when it is durable ([`directory::Directory::install`]); membership is checked only in [`access`].

pub mod access;
pub mod accounts;
pub mod check;
pub mod credentials;
pub mod directory;
pub mod error;
pub mod lists;
pub mod login;
pub mod password;
pub mod people;
#[cfg(test)]
pub(crate) mod support;
pub mod teams;
pub mod throttle;

pub use access::{Access, Right, Session};
pub use directory::{Directory, View};
pub use error::{AuthError, AuthResult};
pub use login::{Authenticator, Credentials, Login, LoginError};
