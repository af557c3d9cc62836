//! Changes of people, within a transaction that holds the directory and the accounts concerned.
//!
//! Nothing here hashes a password, makes a mailbox or ends a lock: the first is slow and comes
//! before the transaction, the others belong to `mail` and `inbox`, called in the same transaction.

use super::accounts::{self, NewAccount};
use super::error::{AuthError, AuthResult};
use crate::store::rows::directory::*;
use crate::store::{Change, Read, Txn, keys};
use crate::types::limits::NAME_BYTES_MAX;
use crate::types::{AccountId, Address, CredentialId, DataType, PrincipalId};

/// A person to be.
#[derive(Clone, Debug)]
pub struct NewPerson {
    pub email: Address,
    pub name: String,
    /// An Argon2id hash in PHC form.
    pub password: Option<String>,
    /// The account for their own mail: allotted, locked, and not yet written.
    pub account: Option<AccountId>,
}

/// Adds a person, with a mail account of their own where one is given.
pub fn add(txn: &mut Txn<'_>, new: NewPerson) -> AuthResult<PrincipalId> {
    let name = checked_name(&new.name)?;
    accounts::must_be_free(txn, &new.email)?;
    let id = PrincipalId(txn.allot(AccountId::DIRECTORY, |next| &mut next.principal)?);
    let created_at = txn.store().clock.now();
    let email = new.email;
    let password = new.password;
    let account = new.account;
    if let Some(account) = account {
        let kind = AccountKind::Personal(id);
        let addresses = vec![email.clone()];
        accounts::write_new(txn, account, NewAccount { kind, name: name.clone(), addresses })?;
    }
    let row = PrincipalRow { email, name, password, disabled: false, account, created_at };
    txn.insert(AccountId::DIRECTORY, id, &row)?;
    Ok(id)
}

/// Shuts a person out: no login, no app password, no active membership. Their mail stays.
pub fn disable(txn: &mut Txn<'_>, id: PrincipalId) -> AuthResult<()> {
    let mut row = get(txn, id)?;
    row.disabled = true;
    txn.update(AccountId::DIRECTORY, id, &row)?;
    revoke_credentials(txn, id, |_| true)
}

/// Sets the hash that the person's password is verified against.
pub fn set_password(txn: &mut Txn<'_>, id: PrincipalId, phc: String) -> AuthResult<()> {
    let mut row = get(txn, id)?;
    if row.disabled {
        return Err(AuthError::Disabled(row.email));
    }
    row.password = Some(phc);
    txn.update(AccountId::DIRECTORY, id, &row)?;
    Ok(())
}

/// The person's row.
pub fn get(read: &dyn Read, id: PrincipalId) -> AuthResult<PrincipalRow> {
    read.row(AccountId::DIRECTORY, id)?.ok_or(AuthError::Inconsistent(id))
}

/// The person with this address.
pub fn find(read: &dyn Read, email: &Address) -> AuthResult<(PrincipalId, PrincipalRow)> {
    let range = keys::all(AccountId::DIRECTORY, keys::Kind::Principal);
    let people: Vec<(u32, PrincipalRow)> = read.collect_rows(&range)?;
    let found = people.into_iter().find(|(_, row)| row.email.key() == email.key());
    let (id, row) = found.ok_or_else(|| AuthError::UnknownPerson(email.to_string()))?;
    Ok((PrincipalId(id), row))
}

/// Takes away a person's app passwords that `which` picks.
pub(super) fn revoke_credentials(
    txn: &mut Txn<'_>,
    person: PrincipalId,
    which: impl Fn(&CredentialRow) -> bool,
) -> AuthResult<()> {
    let range = keys::all(AccountId::DIRECTORY, keys::Kind::Credential);
    let rows: Vec<(u32, CredentialRow)> = (txn as &dyn Read).collect_rows(&range)?;
    for (id, row) in rows {
        if row.principal == person && which(&row) {
            txn.remove::<CredentialRow>(AccountId::DIRECTORY, CredentialId(id))?;
        }
    }
    touch(txn, person)
}

/// Moves the directory's modseq for a change that concerns a person but isn't in their row.
pub(super) fn touch(txn: &mut Txn<'_>, person: PrincipalId) -> AuthResult<()> {
    txn.log(AccountId::DIRECTORY, DataType::Principal, person.0, Change::Updated)?;
    Ok(())
}

/// A name without surrounding space, if it can be shown on one line.
pub(super) fn checked_name(name: &str) -> AuthResult<String> {
    let name = name.trim();
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(AuthError::Name { max: NAME_BYTES_MAX });
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::{House, address};

    #[test]
    fn an_address_is_given_once_to_a_person_or_an_inbox() {
        let house = House::new();
        house.inbox("support@example.com", &["help@example.com"], &[]);
        house.person("ada@example.com");
        for taken in ["support@example.com", "HELP@example.com", "Ada@Example.com"] {
            let refused = house.change(|txn| {
                let new =
                    NewPerson { email: address(taken), name: String::new(), password: None, account: None };
                add(txn, new)
            });
            assert!(matches!(refused, Err(AuthError::AddressTaken(_))), "{taken}");
        }
    }

    #[test]
    fn disabling_a_person_takes_the_app_passwords_along() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let bob = house.person("bob@example.com");
        house.app_password(ada, None);
        let (kept, _) = house.app_password(bob, None);
        house.change(|txn| disable(txn, ada)).unwrap();
        let view = house.directory.current();
        assert!(view.principal(ada).unwrap().disabled);
        assert_eq!(view.credentials().map(|(id, _)| id).collect::<Vec<_>>(), [kept]);
        let refused = house.change(|txn| set_password(txn, ada, "x".to_owned()));
        assert!(matches!(refused, Err(AuthError::Disabled(_))));
    }

    #[test]
    fn a_name_with_a_line_break_is_refused() {
        assert!(matches!(checked_name("a\nb"), Err(AuthError::Name { .. })));
        assert_eq!(checked_name("  Ada  ").unwrap(), "Ada");
    }
}
