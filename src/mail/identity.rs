//! Identities (RFC 8621 §6): who an account may write as.
//!
//! Every address of an account has one default Identity, made with the account (`auth::accounts`);
//! it can be changed and stays. Others may be added for the same addresses.
//!
//! In an inbox an Identity is each member's own: what a member changes of a default, and what a
//! member adds, holds for that member alone. A row beside the Identity says so, by (identity,
//! principal); one without any is everybody's. Where the inbox has a pattern of names, a default that the
//! member hasn't named has the name that the pattern makes.

use crate::store::changes::Change;
use crate::store::rows::directory::AccountRow;
use crate::store::rows::mail::IdentityRow;
use crate::store::{Read, StoreResult, Txn, keys, rows};
use crate::types::{AccountId, Address, DataType, IdentityId, PrincipalId, limits};

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

/// The Identities of an account as somebody sees them: the defaults first, in the order of the account's addresses;
/// `member` is `None` in a
/// person's own account.
pub fn seen_by(
    read: &dyn Read,
    account: AccountId,
    member: Option<PrincipalId>,
) -> StoreResult<Vec<(IdentityId, IdentityRow)>> {
    let all = all(read, account)?;
    let Some(member) = member else { return Ok(all) };
    let addresses = addresses(read, account)?;
    let place = |email: &Address| addresses.iter().position(|own| own.key() == email.key());
    let mut seen = Vec::with_capacity(all.len());
    for (id, row) in &all {
        let own: Option<IdentityRow> = match read.bytes(&member_key(account, *id, member))? {
            Some(bytes) => Some(rows::decode(&bytes)?),
            None => None,
        };
        let range = keys::all_of(account, keys::Kind::IdentityOfMember, id.0);
        let is_default = is_default(&all, *id, &row.email);
        match own {
            Some(own) => seen.push(((!is_default, place(&own.email)), *id, own)),
            None if is_default || read.ids(&range, false, 1)?.is_empty() => {
                seen.push(((!is_default, place(&row.email)), *id, row.clone()));
            }
            None => {}
        }
    }
    seen.sort_by_key(|(rank, id, _)| (*rank, *id));
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

/// Takes an Identity away from everybody.
pub fn destroy_for_all(txn: &mut Txn<'_>, account: AccountId, id: IdentityId) -> StoreResult<()> {
    for member in members_with(txn, account, id)? {
        txn.delete_at(member_key(account, id, member));
    }
    txn.remove::<IdentityRow>(account, id)
}

/// Gives a default Identity the new name of its account, for everybody who hasn't named it.
pub fn rename_default(
    txn: &mut Txn<'_>,
    account: AccountId,
    (id, row): (IdentityId, &IdentityRow),
    old: &str,
    new: &str,
) -> StoreResult<()> {
    let renamed = |row: &IdentityRow| -> Option<IdentityRow> {
        let follows = !row.named && row.name == old;
        follows.then(|| IdentityRow { name: new.to_owned(), ..row.clone() })
    };
    if let Some(renamed) = renamed(row) {
        txn.update(account, id, &renamed)?;
    }
    for member in members_with(txn, account, id)? {
        let key = member_key(account, id, member);
        let Some(bytes) = txn.bytes(&key)? else { continue };
        if let Some(renamed) = renamed(&rows::decode(&bytes)?) {
            txn.put_at(key, &renamed)?;
            txn.log(account, DataType::Identity, id.0, Change::Updated)?;
        }
    }
    Ok(())
}

/// Those to whom an Identity is something of their own.
fn members_with(read: &dyn Read, account: AccountId, id: IdentityId) -> StoreResult<Vec<PrincipalId>> {
    let range = keys::all_of(account, keys::Kind::IdentityOfMember, id.0);
    Ok(read.ids(&range, false, usize::MAX)?.into_iter().map(PrincipalId).collect())
}

fn member_key(account: AccountId, id: IdentityId, member: PrincipalId) -> keys::Key {
    keys::pair(account, keys::Kind::IdentityOfMember, id.0, member.0)
}

/// Whether it is the default Identity of its address: the first one that there was.
pub fn is_default(all: &[(IdentityId, IdentityRow)], id: IdentityId, email: &Address) -> bool {
    all.iter().all(|(other, row)| *other >= id || row.email.key() != email.key())
}

/// Gives the default Identities the name that a pattern makes, where the member hasn't named them.
pub fn name_by_pattern(
    all: &[(IdentityId, IdentityRow)],
    seen: &mut [(IdentityId, IdentityRow)],
    name: &str,
) {
    for (id, row) in seen {
        if follows_pattern(all, *id, row) {
            name.clone_into(&mut row.name);
        }
    }
}

/// Whether a default Identity still has the name that it was made with.
fn follows_pattern(all: &[(IdentityId, IdentityRow)], id: IdentityId, row: &IdentityRow) -> bool {
    let made_with = all.iter().find(|(other, _)| *other == id);
    !row.named && is_default(all, id, &row.email) && made_with.is_some_and(|(_, made)| made.name == row.name)
}

/// A pattern of names with the names in it, cut to what a name may have.
pub fn pattern_filled(pattern: &str, member: &str, inbox: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = [("{member}", member), ("{inbox}", inbox)];
        match known.into_iter().find_map(|(word, name)| Some((name, from.strip_prefix(word)?))) {
            Some((name, after)) => {
                out.push_str(name);
                rest = after;
            }
            None => {
                out.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out.truncate(out.floor_char_boundary(limits::NAME_BYTES_MAX));
    out
}

/// The addresses that an account may write as, its own one first.
pub fn addresses(read: &dyn Read, account: AccountId) -> StoreResult<Vec<Address>> {
    let row: Option<AccountRow> = read.row(AccountId::DIRECTORY, account)?;
    let mut addresses = row.map(|row| row.addresses).unwrap_or_default();
    addresses.retain(|address| !address.is_catch_all());
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::pattern_filled;

    #[test]
    fn a_pattern_has_each_name_put_in_once_and_other_braces_stay() {
        let filled = |pattern: &str| pattern_filled(pattern, "Alice {inbox}", "Example");
        assert_eq!(filled("{member} at {inbox}"), "Alice {inbox} at Example");
        assert_eq!(filled("{inbox}"), "Example");
        assert_eq!(filled("Us {who} {member"), "Us {who} {member");
        assert_eq!(pattern_filled("{member}", &"é".repeat(200), "").len(), 254);
    }
}
