//! Changes of distribution lists, within a transaction that holds the directory and the list's account.
//!
//! A list is an account that keeps no mail and that nobody sees: it has the address and the queue of what is
//! passed on. Whoever gets its mail is an address and no principal. A list is never taken away, since its mail
//! may be on its way: it is closed ([`Posting::Nobody`]).

use super::accounts;
use super::error::{AuthError, AuthResult};
use super::people::checked_name;
use crate::store::rows::directory::{AccountKind, AccountRow, ListTerms, Posting, Subscriber};
use crate::store::{Read, Txn, keys};
use crate::types::limits::LIST_SUBSCRIBERS_MAX;
use crate::types::{AccountId, Address};

/// A list to be.
#[derive(Clone, Debug)]
pub struct NewList {
    pub email: Address,
    pub name: String,
    pub posting: Posting,
    pub owner: Option<Address>,
}

/// Adds a list without members at an allotted number.
pub fn add(txn: &mut Txn<'_>, id: AccountId, new: NewList) -> AuthResult<()> {
    accounts::must_be_free(txn, &new.email)?;
    let name = checked_name(&new.name)?;
    let terms = ListTerms { posting: new.posting, owner: new.owner, subscribers: Vec::new(), last: 0 };
    txn.put_at(accounts::address_key(&new.email), &id)?;
    let kind = AccountKind::List(terms);
    let created_at = txn.store().clock.now();
    txn.insert(AccountId::DIRECTORY, id, &AccountRow { kind, name, addresses: vec![new.email], created_at })?;
    accounts::mark(txn)
}

/// Has the list pass its mail on to these, too. Who is a member already stays one.
pub fn subscribe(txn: &mut Txn<'_>, id: AccountId, addresses: &[Address]) -> AuthResult<()> {
    let since = txn.store().clock.now();
    change(txn, id, |row, terms| {
        for address in addresses {
            let key = address.key();
            if row.addresses.iter().any(|own| own.key() == key) {
                return Err(AuthError::ListInItself(address.clone()));
            }
            if terms.subscribers.iter().all(|one| one.address.key() != key) {
                terms.last += 1;
                terms.subscribers.push(Subscriber { number: terms.last, address: address.clone(), since });
            }
        }
        let max = LIST_SUBSCRIBERS_MAX;
        if terms.subscribers.len() > max { Err(AuthError::ListTooLarge { max }) } else { Ok(()) }
    })
}

/// Takes somebody off the list, and forgets what came back from them.
pub fn unsubscribe(txn: &mut Txn<'_>, id: AccountId, address: &Address) -> AuthResult<()> {
    let mut number = 0;
    change(txn, id, |_, terms| {
        let found = terms.subscribers.iter().position(|one| one.address.key() == address.key());
        let at = found.ok_or_else(|| AuthError::NotSubscribed(address.clone()))?;
        number = terms.subscribers.remove(at).number;
        Ok(())
    })?;
    txn.delete_at(keys::row(id, keys::Kind::ListBounce, number));
    Ok(())
}

/// Sets who may write to the list, and who answers for it; `None` leaves it.
pub fn set(
    txn: &mut Txn<'_>,
    id: AccountId,
    posting: Option<Posting>,
    owner: Option<Address>,
) -> AuthResult<()> {
    change(txn, id, |_, terms| {
        terms.posting = posting.unwrap_or(terms.posting);
        terms.owner = owner.or(terms.owner.take());
        Ok(())
    })
}

fn change(
    txn: &mut Txn<'_>,
    id: AccountId,
    how: impl FnOnce(&AccountRow, &mut ListTerms) -> AuthResult<()>,
) -> AuthResult<()> {
    let unknown = || AuthError::UnknownList(id.to_string());
    let row: Option<AccountRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, id)?;
    let mut row = row.ok_or_else(unknown)?;
    let AccountKind::List(mut terms) = row.kind.clone() else { return Err(unknown()) };
    how(&row, &mut terms)?;
    row.kind = AccountKind::List(terms);
    txn.update(AccountId::DIRECTORY, id, &row)?;
    accounts::mark(txn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::{House, address};

    fn list(house: &House, email: &str) -> AuthResult<AccountId> {
        house.change(|txn| {
            let id = accounts::allot(txn)?;
            let (email, name) = (address(email), "All".to_owned());
            add(txn, id, NewList { email, name, posting: Posting::Anyone, owner: None })?;
            Ok(id)
        })
    }

    #[test]
    fn a_list_has_each_address_once_under_a_number_that_is_never_given_again() {
        let house = House::new();
        let id = list(&house, "all@example.com").unwrap();
        let all = ["a@b.example", "A@B.example", "c@müller.example", "c@xn--mller-kva.example"].map(address);
        house.change(|txn| subscribe(txn, id, &all)).unwrap();
        house.change(|txn| unsubscribe(txn, id, &address("c@MÜLLER.example"))).unwrap();
        house.change(|txn| subscribe(txn, id, &[address("d@b.example")])).unwrap();
        let view = house.directory.current();
        let members: Vec<(u32, &str)> = view
            .list(id)
            .map(|terms| terms.subscribers.iter().map(|one| (one.number, one.address.as_str())).collect())
            .unwrap();
        assert_eq!(members, [(1, "a@b.example"), (3, "d@b.example")]);
        let gone = house.change(|txn| unsubscribe(txn, id, &address("c@x.example"))).unwrap_err();
        assert_eq!(gone.to_string(), "c@x.example is no member of the list");
    }

    #[test]
    fn a_list_has_an_address_of_its_own_and_is_not_its_own_member() {
        let house = House::new();
        house.person("ada@example.com");
        let taken = list(&house, "ADA@example.com").unwrap_err();
        assert_eq!(taken.to_string(), "the address ADA@example.com is taken");
        let id = list(&house, "all@example.com").unwrap();
        let own = house.change(|txn| subscribe(txn, id, &[address("All@Example.com")])).unwrap_err();
        assert_eq!(own.to_string(), "All@Example.com is the list itself");
        let many: Vec<Address> =
            (0..=LIST_SUBSCRIBERS_MAX).map(|n| address(&format!("m{n}@b.example"))).collect();
        let refused = house.change(|txn| subscribe(txn, id, &many)).unwrap_err();
        assert_eq!(refused.to_string(), "a distribution list has at most 1000 members");
        assert_eq!(house.directory.current().list(id).map(|terms| terms.subscribers.len()), Some(0));
        house.change(|txn| set(txn, id, Some(Posting::Nobody), Some(address("ada@example.com")))).unwrap();
        house.change(|txn| set(txn, id, None, None)).unwrap();
        let view = house.directory.current();
        let terms = view.list(id).unwrap();
        assert_eq!(
            (terms.posting, terms.owner.as_ref()),
            (Posting::Nobody, Some(&address("ada@example.com")))
        );
        let inbox = house.inbox("support@example.com", &[], &[]);
        let none = house.change(|txn| subscribe(txn, inbox, &[])).unwrap_err();
        assert_eq!(none.to_string(), format!("there is no distribution list {inbox}"));
    }
}
