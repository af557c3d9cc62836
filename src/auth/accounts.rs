//! Changes of accounts, their addresses and members, within a transaction that holds the directory
//! and the accounts concerned.
//!
//! Invariant: an address leads to one account and belongs to nobody else; an inbox that has an
//! admin and other members keeps an admin.

use super::error::{AuthError, AuthResult};
use super::people::{self, checked_name, touch};
use crate::store::rows::directory::*;
use crate::store::rows::mail::IdentityRow;
use crate::store::{Read, Txn, keys};
use crate::types::limits::INBOX_ADDRESSES_MAX;
use crate::types::{AccountId, Address, IdentityId, MemberRole, PrincipalId};

/// An inbox to be.
#[derive(Clone, Debug)]
pub struct NewInbox {
    pub email: Address,
    pub name: String,
    pub aliases: Vec<Address>,
    pub members: Vec<(PrincipalId, MemberRole)>,
}

pub(super) struct NewAccount {
    pub kind: AccountKind,
    pub name: String,
    pub addresses: Vec<Address>,
}

/// Takes the next account number; its lock must be held before the account is written.
pub fn allot(txn: &mut Txn<'_>) -> AuthResult<AccountId> {
    Ok(AccountId(txn.allot(AccountId::DIRECTORY, |next| &mut next.account)?))
}

/// Adds an inbox at an allotted number.
pub fn add_inbox(txn: &mut Txn<'_>, id: AccountId, new: NewInbox) -> AuthResult<()> {
    let name = checked_name(&new.name)?;
    let since = txn.store().clock.now();
    let mut members: Vec<Member> = Vec::with_capacity(new.members.len());
    for (principal, role) in new.members {
        let person = active(txn, principal)?;
        if members.iter().any(|member| member.principal == principal) {
            return Err(AuthError::MemberTwice(person.email));
        }
        members.push(Member { principal, role, since });
    }
    for member in &members {
        touch(txn, member.principal)?;
    }
    let mut addresses = vec![new.email];
    addresses.extend(new.aliases);
    write_new(txn, id, NewAccount { kind: AccountKind::Inbox(members), name, addresses })
}

/// What an inbox is called, and which addresses its mail comes in by, its own one first; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    pub name: Option<String>,
    pub addresses: Option<Vec<Address>>,
}

/// Gives an inbox another name, or other addresses. Gives what it is then; the Identities and the settings,
/// which say it too, are the caller's.
pub fn rename_inbox(txn: &mut Txn<'_>, inbox: AccountId, new: &Naming) -> AuthResult<AccountRow> {
    let (before, members) = inbox_row(txn, inbox)?;
    let mut after = before.clone();
    if let Some(name) = &new.name {
        after.name = checked_name(name)?;
    }
    if let Some(addresses) = &new.addresses {
        after.addresses.clone_from(addresses);
        must_be_once(addresses)?;
        if addresses.first().is_none_or(Address::is_catch_all) {
            return Err(AuthError::NoOwnAddress);
        }
        if addresses.len() > INBOX_ADDRESSES_MAX {
            return Err(AuthError::TooManyAddresses { max: INBOX_ADDRESSES_MAX });
        }
    }
    let has =
        |row: &AccountRow, address: &Address| row.addresses.iter().any(|one| one.key() == address.key());
    for address in before.addresses.iter().filter(|address| !has(&after, address)) {
        txn.delete_at(address_key(address));
    }
    for address in after.addresses.iter().filter(|address| !has(&before, address)) {
        must_be_free(txn, address)?;
        txn.put_at(address_key(address), &inbox)?;
    }
    if before != after {
        txn.update(AccountId::DIRECTORY, inbox, &after)?;
        mark(txn)?;
        for member in &members {
            touch(txn, member.principal)?;
        }
    }
    Ok(after)
}

/// An inbox as the directory has it.
pub fn inbox(read: &dyn Read, id: AccountId) -> AuthResult<AccountRow> {
    Ok(inbox_row(read, id)?.0)
}

fn must_be_once(addresses: &[Address]) -> AuthResult<()> {
    for address in addresses {
        if addresses.iter().filter(|other| other.key() == address.key()).count() > 1 {
            return Err(AuthError::AddressTwice(address.clone()));
        }
    }
    Ok(())
}

/// Where an address leads to its account.
pub(super) fn address_key(address: &Address) -> keys::Key {
    keys::named(AccountId::DIRECTORY, keys::Kind::Address, address.key().as_bytes())
}

/// Writes an account, its addresses, and an Identity for each of them, the account's own first.
pub(super) fn write_new(txn: &mut Txn<'_>, id: AccountId, new: NewAccount) -> AuthResult<()> {
    must_be_once(&new.addresses)?;
    for address in &new.addresses {
        must_be_free(txn, address)?;
        txn.put_at(address_key(address), &id)?;
        // Nobody writes as all of a domain.
        if !address.is_catch_all() {
            add_identity(txn, id, &new.name, address)?;
        }
    }
    let created_at = txn.store().clock.now();
    let row = AccountRow { kind: new.kind, name: new.name, addresses: new.addresses, created_at };
    txn.insert(AccountId::DIRECTORY, id, &row)?;
    mark(txn)
}

/// Makes the default Identity of an address (RFC 8621 §6).
pub fn add_identity(txn: &mut Txn<'_>, id: AccountId, name: &str, address: &Address) -> AuthResult<()> {
    let number = txn.allot(id, |next| &mut next.identity)?;
    let identity = IdentityRow {
        name: name.to_owned(),
        email: address.clone(),
        reply_to: None,
        bcc: None,
        text_signature: String::new(),
        html_signature: String::new(),
        named: false,
    };
    Ok(txn.insert(id, IdentityId(number), &identity)?)
}

/// Moves the directory's modseq where no person is concerned. Number 0 is nobody's, so the entry
/// is dropped again by whoever reads the log: it names a Principal that doesn't exist.
pub(super) fn mark(txn: &mut Txn<'_>) -> AuthResult<()> {
    touch(txn, PrincipalId(0))
}

/// Makes somebody a member, or gives a member another role.
pub fn set_member(
    txn: &mut Txn<'_>,
    inbox: AccountId,
    principal: PrincipalId,
    role: MemberRole,
) -> AuthResult<()> {
    active(txn, principal)?;
    let (mut row, mut members) = inbox_row(txn, inbox)?;
    match members.iter().position(|member| member.principal == principal) {
        Some(at) => {
            if role != MemberRole::Admin {
                must_not_be_last_admin(txn, &row, &members, principal)?;
            }
            if let Some(member) = members.get_mut(at) {
                member.role = role;
            }
        }
        None => members.push(Member { principal, role, since: txn.store().clock.now() }),
    }
    row.kind = AccountKind::Inbox(members);
    txn.update(AccountId::DIRECTORY, inbox, &row)?;
    touch(txn, principal)
}

/// The role of a member; `None` for whoever is none.
pub fn role_of(read: &dyn Read, inbox: AccountId, principal: PrincipalId) -> AuthResult<Option<MemberRole>> {
    let (_, members) = inbox_row(read, inbox)?;
    Ok(members.iter().find(|member| member.principal == principal).map(|member| member.role))
}

/// Ends a membership, and revokes the person's app passwords that open this inbox only.
pub fn remove_member(txn: &mut Txn<'_>, inbox: AccountId, principal: PrincipalId) -> AuthResult<()> {
    let (mut row, mut members) = inbox_row(txn, inbox)?;
    if !members.iter().any(|member| member.principal == principal) {
        let person = people::get(txn, principal)?.email;
        return Err(AuthError::NotMember { person, inbox: own_address(&row)? });
    }
    must_not_be_last_admin(txn, &row, &members, principal)?;
    members.retain(|member| member.principal != principal);
    row.kind = AccountKind::Inbox(members);
    txn.update(AccountId::DIRECTORY, inbox, &row)?;
    people::revoke_credentials(txn, principal, |credential| credential.inbox == Some(inbox))
}

/// Refuses an address that leads to an account, or that somebody logs in with.
pub(super) fn must_be_free(read: &dyn Read, address: &Address) -> AuthResult<()> {
    let person = match people::find(read, address) {
        Ok(_) => true,
        Err(AuthError::UnknownPerson(_)) => false,
        Err(error) => return Err(error),
    };
    if person || read.has(&address_key(address))? {
        Err(AuthError::AddressTaken(address.clone()))
    } else {
        Ok(())
    }
}

fn active(read: &dyn Read, principal: PrincipalId) -> AuthResult<PrincipalRow> {
    let row = people::get(read, principal)?;
    if row.disabled { Err(AuthError::Disabled(row.email)) } else { Ok(row) }
}

fn inbox_row(read: &dyn Read, id: AccountId) -> AuthResult<(AccountRow, Vec<Member>)> {
    let row: Option<AccountRow> = read.row(AccountId::DIRECTORY, id)?;
    match row {
        Some(row) => match row.kind.clone() {
            AccountKind::Inbox(members) => Ok((row, members)),
            AccountKind::Personal(_) | AccountKind::List(_) => Err(AuthError::UnknownInbox(id.to_string())),
        },
        None => Err(AuthError::UnknownInbox(id.to_string())),
    }
}

fn own_address(row: &AccountRow) -> AuthResult<Address> {
    row.addresses.first().cloned().ok_or_else(|| AuthError::UnknownInbox(row.name.clone()))
}

/// An inbox without other members may lose its admin: the command line can always give it one.
fn must_not_be_last_admin(
    read: &dyn Read,
    row: &AccountRow,
    members: &[Member],
    leaving: PrincipalId,
) -> AuthResult<()> {
    let is_admin = |member: &&Member| member.role == MemberRole::Admin;
    let leaves_admin = members.iter().filter(is_admin).any(|member| member.principal == leaving);
    let mut others = members.iter().filter(|member| member.principal != leaving);
    if leaves_admin && members.len() > 1 && !others.any(|member| is_admin(&member)) {
        let person = people::get(read, leaving)?.email;
        return Err(AuthError::LastAdmin { person, inbox: own_address(row)? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::{House, address};

    #[test]
    fn the_last_admin_neither_leaves_nor_steps_down_while_others_are_members() {
        let house = House::new();
        let (ada, bob) = (house.person("ada@example.com"), house.person("bob@example.com"));
        let roles = [(ada, MemberRole::Admin), (bob, MemberRole::Agent)];
        let inbox = house.inbox("support@example.com", &[], &roles);
        for refused in [
            house.change(|txn| remove_member(txn, inbox, ada)),
            house.change(|txn| set_member(txn, inbox, ada, MemberRole::Lead)),
        ] {
            assert_eq!(
                refused.unwrap_err().to_string(),
                "ada@example.com is the last admin of support@example.com; make somebody else admin first"
            );
        }
        house.change(|txn| set_member(txn, inbox, bob, MemberRole::Admin)).unwrap();
        house.change(|txn| remove_member(txn, inbox, ada)).unwrap();
        house.change(|txn| remove_member(txn, inbox, bob)).unwrap();
        assert!(house.directory.current().members(inbox).is_empty());
    }

    #[test]
    fn leaving_an_inbox_revokes_the_app_passwords_bound_to_it() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let inbox = house.inbox("support@example.com", &[], &[(ada, MemberRole::Agent)]);
        house.app_password(ada, Some(inbox));
        let (kept, _) = house.app_password(ada, None);
        house.change(|txn| remove_member(txn, inbox, ada)).unwrap();
        let view = house.directory.current();
        assert_eq!(view.credentials().map(|(id, _)| id).collect::<Vec<_>>(), [kept]);
        let refused = house.change(|txn| remove_member(txn, inbox, ada)).unwrap_err();
        assert_eq!(refused.to_string(), "ada@example.com is no member of support@example.com");
    }

    #[test]
    fn a_refused_inbox_leaves_nothing() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let twice = house.change(|txn| {
            let id = allot(txn)?;
            let aliases = vec![address("HELP@example.com"), address("help@example.com")];
            let members = vec![(ada, MemberRole::Agent)];
            let email = address("support@example.com");
            add_inbox(txn, id, NewInbox { email, name: "Support".to_owned(), aliases, members })
        });
        assert!(matches!(twice, Err(AuthError::AddressTwice(_))));
        assert_eq!(house.directory.current().account_by_address(&address("support@example.com")), None);
    }
}
