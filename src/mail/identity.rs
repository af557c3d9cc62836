//! Identities (RFC 8621 §6): who an account may write as.
//!
//! Every address of an account has one default Identity, made with the account (`auth::accounts`);
//! it can be changed and stays. Others may be added for the same addresses.
//!
//! In an inbox an Identity is each member's own: what a member changes of a default, and what a
//! member adds, holds for that member alone. A row beside the Identity says so, by (identity,
//! principal); one without any is everybody's.

use crate::store::changes::Change;
use crate::store::rows::directory::AccountRow;
use crate::store::rows::mail::IdentityRow;
use crate::store::{Read, StoreResult, Txn, keys, rows};
use crate::types::{AccountId, Address, DataType, IdentityId, PrincipalId};

/// Makes one.
pub fn create(txn: &mut Txn<'_>, account: AccountId, row: &IdentityRow) -> StoreResult<IdentityId> {
    let id = IdentityId(txn.allot(account, |next| &mut next.identity)?);
    txn.insert(account, id, row)?;
    Ok(id)
}

/// All Identities of an account, the defaults first.
pub fn all(read: &dyn Read, account: AccountId) -> StoreResult<Vec<(IdentityId, IdentityRow)>> {
    let rows = read.collect_rows(&keys::all(account, keys::Kind::Identity))?;
    Ok(rows.into_iter().map(|(id, row)| (IdentityId(id), row)).collect())
}

/// The Identities of an account as somebody sees them, the defaults first; `member` is `None` in a
/// person's own account.
pub fn seen_by(
    read: &dyn Read,
    account: AccountId,
    member: Option<PrincipalId>,
) -> StoreResult<Vec<(IdentityId, IdentityRow)>> {
    let all = all(read, account)?;
    let Some(member) = member else { return Ok(all) };
    let mut seen = Vec::with_capacity(all.len());
    for (id, row) in &all {
        let own: Option<IdentityRow> = match read.bytes(&member_key(account, *id, member))? {
            Some(bytes) => Some(rows::decode(&bytes)?),
            None => None,
        };
        let range = keys::all_of(account, keys::Kind::IdentityOfMember, id.0);
        let is_default = is_default(&all, *id, &row.email);
        match own {
            Some(own) => seen.push((!is_default, *id, own)),
            None if is_default || read.ids(&range, false, 1)?.is_empty() => {
                seen.push((!is_default, *id, row.clone()));
            }
            None => {}
        }
    }
    seen.sort_by_key(|(added, id, _)| (*added, *id));
    Ok(seen.into_iter().map(|(_, id, row)| (id, row)).collect())
}

/// Writes what an Identity is for a member from now on.
pub fn write_for(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: IdentityId,
    member: PrincipalId,
    row: &IdentityRow,
) -> StoreResult<()> {
    txn.put_at(member_key(account, id, member), row)?;
    txn.log(account, DataType::Identity, id.0, Change::Updated)
}

/// Takes an Identity away, with what it was for a member.
pub fn destroy(
    txn: &mut Txn<'_>,
    account: AccountId,
    id: IdentityId,
    member: Option<PrincipalId>,
) -> StoreResult<()> {
    if let Some(member) = member {
        txn.delete_at(member_key(account, id, member));
    }
    txn.remove::<IdentityRow>(account, id)
}

fn member_key(account: AccountId, id: IdentityId, member: PrincipalId) -> keys::Key {
    keys::pair(account, keys::Kind::IdentityOfMember, id.0, member.0)
}

/// Whether it is the default Identity of its address: the first one that there was.
pub fn is_default(all: &[(IdentityId, IdentityRow)], id: IdentityId, email: &Address) -> bool {
    all.iter().all(|(other, row)| *other >= id || row.email.key() != email.key())
}

/// The addresses that an account may write as, its own one first.
pub fn addresses(read: &dyn Read, account: AccountId) -> StoreResult<Vec<Address>> {
    let row: Option<AccountRow> = read.row(AccountId::DIRECTORY, account)?;
    let mut addresses = row.map(|row| row.addresses).unwrap_or_default();
    addresses.retain(|address| !address.is_catch_all());
    Ok(addresses)
}
