//! A small directory in memory for the tests of this floor.

use super::accounts::{self, NewInbox};
use super::directory::Directory;
use super::error::{AuthError, AuthResult};
use super::people::{self, NewPerson};
use super::{Authenticator, credentials, password};
use crate::store::{Store, StoreOptions, Txn};
use crate::types::*;
use std::sync::Arc;

pub struct House {
    pub store: Arc<Store>,
    pub directory: Arc<Directory>,
    pub authenticator: Authenticator,
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

impl House {
    pub fn new() -> Self {
        let clock = Clock::manual(Millis(1_000_000));
        let store = Store::in_memory(StoreOptions::default(), clock, Random::seeded(1)).unwrap();
        let directory = Directory::open(&store).unwrap();
        let authenticator =
            Authenticator::new(Arc::clone(&directory), store.clock.clone(), store.random.clone());
        Self { store, directory, authenticator }
    }

    /// A change of the directory, with every account that a test uses locked.
    pub fn change<T>(&self, work: impl FnOnce(&mut Txn<'_>) -> AuthResult<T>) -> AuthResult<T> {
        let accounts: Vec<AccountId> = (0..10).map(AccountId).collect();
        let locked = self.store.lock_blocking(&accounts);
        let mut txn = self.store.begin(&locked);
        let done = work(&mut txn)?;
        self.directory.commit(txn).map_err(AuthError::from)?;
        Ok(done)
    }

    /// A person with a mailbox and the password "secret of ⟨email⟩".
    pub fn person(&self, email: &str) -> PrincipalId {
        let hash = password::hash(&format!("secret of {email}"), &self.store.random).unwrap();
        self.change(|txn| {
            let account = Some(accounts::allot(txn)?);
            let email = address(email);
            people::add(txn, NewPerson { email, name: "A Person".to_owned(), password: Some(hash), account })
        })
        .unwrap()
    }

    pub fn inbox(&self, email: &str, aliases: &[&str], members: &[(PrincipalId, MemberRole)]) -> AccountId {
        self.change(|txn| {
            let id = accounts::allot(txn)?;
            let aliases = aliases.iter().map(|alias| address(alias)).collect();
            let (email, members) = (address(email), members.to_vec());
            accounts::add_inbox(txn, id, NewInbox { email, name: "Support".to_owned(), aliases, members })?;
            Ok(id)
        })
        .unwrap()
    }

    pub fn app_password(&self, person: PrincipalId, inbox: Option<AccountId>) -> (CredentialId, String) {
        let secret = credentials::new_secret(&self.store.random);
        let hash = credentials::hash(&self.directory.current(), &secret).unwrap();
        (self.change(|txn| credentials::add(txn, person, inbox, "test", hash)).unwrap(), secret)
    }
}
