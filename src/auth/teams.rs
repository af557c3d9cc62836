//! Changes of teams, within a transaction that holds the directory.
//!
//! A team is a principal (`group`) that conversations can be given to; its people keep their own roles in
//! each inbox. An inbox knows a team by the members that both have. A team is never taken away, since
//! conversations and their history name it: it is disabled.

use super::error::{AuthError, AuthResult};
use super::people;
use crate::store::rows::directory::TeamRow;
use crate::store::{Read, Txn, keys};
use crate::types::limits::TEAM_MEMBERS_MAX;
use crate::types::{AccountId, PrincipalId};

/// Adds a team.
pub fn add(txn: &mut Txn<'_>, name: &str, members: &[PrincipalId]) -> AuthResult<PrincipalId> {
    let name = people::checked_name(name)?;
    if name.is_empty() || find(txn, &name)?.is_some() {
        return Err(AuthError::TeamTaken(name));
    }
    let id = PrincipalId(txn.allot(AccountId::DIRECTORY, |next| &mut next.principal)?);
    let created_at = txn.store().clock.now();
    let row = TeamRow { name, members: checked(txn, members)?, disabled: false, created_at };
    txn.insert(AccountId::DIRECTORY, id, &row)?;
    Ok(id)
}

/// Puts somebody into a team, or takes them out.
pub fn set_member(txn: &mut Txn<'_>, team: &str, person: PrincipalId, is_member: bool) -> AuthResult<()> {
    let (id, mut row) = get(txn, team)?;
    row.members.retain(|member| *member != person);
    if is_member {
        row.members.push(person);
        row.members = checked(txn, &row.members)?;
    }
    Ok(txn.update(AccountId::DIRECTORY, id, &row)?)
}

/// From now on nothing new is given to the team.
pub fn disable(txn: &mut Txn<'_>, team: &str) -> AuthResult<()> {
    let (id, mut row) = get(txn, team)?;
    row.disabled = true;
    Ok(txn.update(AccountId::DIRECTORY, id, &row)?)
}

fn get(read: &dyn Read, name: &str) -> AuthResult<(PrincipalId, TeamRow)> {
    find(read, name)?.ok_or_else(|| AuthError::UnknownTeam(name.to_owned()))
}

/// The team of that name, in any case of letters, unless it is disabled.
fn find(read: &dyn Read, name: &str) -> AuthResult<Option<(PrincipalId, TeamRow)>> {
    let range = keys::all(AccountId::DIRECTORY, keys::Kind::Team);
    let teams: Vec<(u32, TeamRow)> = read.collect_rows(&range)?;
    let same = |row: &TeamRow| !row.disabled && row.name.to_lowercase() == name.trim().to_lowercase();
    Ok(teams.into_iter().find(|(_, row)| same(row)).map(|(id, row)| (PrincipalId(id), row)))
}

fn checked(read: &dyn Read, members: &[PrincipalId]) -> AuthResult<Vec<PrincipalId>> {
    let mut members = members.to_vec();
    members.sort_unstable();
    members.dedup();
    if members.len() > TEAM_MEMBERS_MAX {
        return Err(AuthError::TeamTooLarge { max: TEAM_MEMBERS_MAX });
    }
    for member in &members {
        let row = people::get(read, *member)?;
        if row.disabled {
            return Err(AuthError::Disabled(row.email));
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::House;

    #[test]
    fn a_team_has_people_once_each_and_a_name_of_its_own() {
        let house = House::new();
        let (ada, bob) = (house.person("ada@example.com"), house.person("bob@example.com"));
        let id = house.change(|txn| add(txn, " Billing ", &[bob, ada, bob])).unwrap();
        let team = house.directory.current().team(id).cloned().unwrap();
        assert_eq!((team.name.as_str(), team.members, team.disabled), ("Billing", vec![ada, bob], false));
        let taken = house.change(|txn| add(txn, "BILLING", &[])).unwrap_err();
        assert_eq!(taken.to_string(), "there is a team \"BILLING\" already, or the name is empty");
        house.change(|txn| set_member(txn, "billing", ada, false)).unwrap();
        house.change(|txn| set_member(txn, "billing", bob, true)).unwrap();
        assert_eq!(house.directory.current().team(id).unwrap().members, [bob]);
        house.change(|txn| disable(txn, "Billing")).unwrap();
        let gone = house.change(|txn| set_member(txn, "Billing", ada, true)).unwrap_err();
        assert_eq!(gone.to_string(), "there is no team \"Billing\"");
        assert!(house.change(|txn| add(txn, "Billing", &[ada])).is_ok(), "its name is free again");
    }
}
