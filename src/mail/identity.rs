//! Identities (RFC 8621 §6): who an account may write as.
//!
//! Every address of an account has one default Identity, made with the account (`auth::accounts`);
//! it can be changed and stays. Others may be added for the same addresses.

use crate::store::rows::directory::AccountRow;
use crate::store::rows::mail::IdentityRow;
use crate::store::{Read, StoreResult, Txn, keys};
use crate::types::{AccountId, Address, IdentityId};

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

/// Whether it is the default Identity of its address: the first one that there was.
pub fn is_default(all: &[(IdentityId, IdentityRow)], id: IdentityId, email: &Address) -> bool {
    all.iter().all(|(other, row)| *other >= id || row.email.key() != email.key())
}

/// The addresses that an account may write as, its own one first.
pub fn addresses(read: &dyn Read, account: AccountId) -> StoreResult<Vec<Address>> {
    let row: Option<AccountRow> = read.row(AccountId::DIRECTORY, account)?;
    Ok(row.map(|row| row.addresses).unwrap_or_default())
}
