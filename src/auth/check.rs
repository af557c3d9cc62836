//! What the directory's rows mean to each other, for `postroom check`: people, accounts, the
//! addresses that lead to them, members, and app passwords.

use super::accounts::address_key;
use crate::store::check::{Check, Floor};
use crate::store::keys::{self, Kind};
use crate::store::rows::account::NextIds;
use crate::store::rows::directory::*;
use crate::store::rows::push::{PushCreationsRow, PushSubscriptionRow};
use crate::store::rows::sharing::ShareNotificationRow;
use crate::store::{Row, StoreResult};
use crate::types::{AccountId, CredentialId, PrincipalId};
use std::collections::BTreeSet;

/// This floor's part of the check.
pub const FLOOR: Floor = Floor {
    kinds: &[
        Kind::Principal,
        Kind::Account,
        Kind::Address,
        Kind::Credential,
        Kind::Secret,
        Kind::Team,
        Kind::PushSubscription,
        Kind::PushCreations,
        Kind::ShareNotification,
    ],
    account,
    server: |_| Ok(()),
    refers: |_, _| Ok(true),
    referrers: &[],
};

const HERE: AccountId = AccountId::DIRECTORY;

fn account(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    if account != HERE {
        if check.row::<AccountRow>(HERE, account)?.is_none() {
            check.fault(account, "there are rows of it, and the directory doesn't know it");
        }
        return check.each::<ShareNotificationRow>(account, Kind::ShareNotification, |_, _, _| Ok(()));
    }
    if check.at::<SecretRow>(&SecretRow::key(HERE, ()))?.is_none() {
        check.fault(HERE, "the server's secret is missing or can't be read");
    }
    let next = check.row::<crate::store::rows::account::AccountState>(HERE, ())?.unwrap_or_default().next;
    people(check, &next)?;
    accounts(check, &next)?;
    addresses(check)?;
    teams(check, &next)?;
    push(check)?;
    credentials(check, &next)
}

fn people(check: &mut Check<'_>, next: &NextIds) -> StoreResult<()> {
    let mut emails = BTreeSet::new();
    check.each::<PrincipalRow>(HERE, Kind::Principal, |check, key, row| {
        let id = PrincipalId(keys::last_id(key).unwrap_or_default());
        if id.0 > next.principal {
            check.fault(HERE, format_args!("{id} is beyond the last id that was given"));
        }
        if !emails.insert(row.email.key()) {
            check.fault(HERE, format_args!("{} is the address of two people", row.email));
        }
        if let Some(own) = row.account {
            let kind = check.row::<AccountRow>(HERE, own)?.map(|account| account.kind);
            if kind != Some(AccountKind::Personal(id)) {
                check.fault(HERE, format_args!("{id} has account {own}, which isn't theirs"));
            }
        }
        Ok(())
    })
}

fn accounts(check: &mut Check<'_>, next: &NextIds) -> StoreResult<()> {
    check.each::<AccountRow>(HERE, Kind::Account, |check, key, row| {
        let id = AccountId(keys::last_id(key).unwrap_or_default());
        if id.0 > next.account {
            check.fault(HERE, format_args!("account {id} is beyond the last id that was given"));
        }
        if row.addresses.is_empty() {
            check.fault(HERE, format_args!("account {id} has no address"));
        }
        for address in &row.addresses {
            let leads_to: Option<AccountId> = check.at(&address_key(address))?;
            if leads_to != Some(id) {
                check.fault(HERE, format_args!("{address} of account {id} doesn't lead to it"));
            }
        }
        owners(check, id, &row.kind)
    })
}

fn owners(check: &mut Check<'_>, id: AccountId, kind: &AccountKind) -> StoreResult<()> {
    match kind {
        AccountKind::Personal(owner) => {
            let person: Option<PrincipalRow> = check.row(HERE, *owner)?;
            if person.is_none_or(|person| person.account != Some(id)) {
                check.fault(
                    HERE,
                    format_args!("account {id} is of {owner}, who has another one or doesn't exist"),
                );
            }
        }
        AccountKind::List(terms) => list(check, id, terms),
        AccountKind::Inbox(members) => {
            let mut seen = BTreeSet::new();
            for member in members {
                let person = member.principal;
                if !seen.insert(person) {
                    check.fault(HERE, format_args!("{person} is a member of account {id} twice"));
                }
                if check.row::<PrincipalRow>(HERE, person)?.is_none() {
                    check.fault(HERE, format_args!("{person} is a member of account {id} and doesn't exist"));
                }
            }
        }
    }
    Ok(())
}

fn list(check: &mut Check<'_>, id: AccountId, terms: &ListTerms) {
    if !terms.subscribers.is_sorted_by(|a, b| a.number < b.number)
        || terms.subscribers.last().is_some_and(|last| last.number > terms.last)
    {
        check.fault(
            HERE,
            format_args!("the members of list {id} aren't numbered in order, or beyond the last"),
        );
    }
    let keys: BTreeSet<String> = terms.subscribers.iter().map(|one| one.address.key()).collect();
    if keys.len() < terms.subscribers.len() {
        check.fault(HERE, format_args!("an address is a member of list {id} twice"));
    }
}

fn push(check: &mut Check<'_>) -> StoreResult<()> {
    check.each::<PushSubscriptionRow>(HERE, Kind::PushSubscription, |check, key, row| {
        let of = PrincipalId(keys::first_id(key).unwrap_or_default());
        if row.login.principal != of || !check.read.has(&PrincipalRow::key(HERE, of))? {
            check.fault(
                HERE,
                format_args!("a PushSubscription is {of}'s, who isn't its login or doesn't exist"),
            );
        }
        Ok(())
    })?;
    check.each::<PushCreationsRow>(HERE, Kind::PushCreations, |_, _, _| Ok(()))
}

fn teams(check: &mut Check<'_>, next: &NextIds) -> StoreResult<()> {
    check.each::<TeamRow>(HERE, Kind::Team, |check, key, row| {
        let id = PrincipalId(keys::last_id(key).unwrap_or_default());
        if id.0 > next.principal || check.read.has(&PrincipalRow::key(HERE, id))? {
            check.fault(
                HERE,
                format_args!("team {id} is a person, too, or beyond the last id that was given"),
            );
        }
        if !row.members.is_sorted_by(|a, b| a < b) {
            check
                .fault(HERE, format_args!("the members of team {id} aren't in order, or one is there twice"));
        }
        for person in row.members {
            if !check.read.has(&PrincipalRow::key(HERE, person))? {
                check.fault(HERE, format_args!("{person} is in team {id} and doesn't exist"));
            }
        }
        Ok(())
    })
}

fn addresses(check: &mut Check<'_>) -> StoreResult<()> {
    check.each::<AccountId>(HERE, Kind::Address, |check, key, account| {
        let row: Option<AccountRow> = check.row(HERE, account)?;
        if !row.is_some_and(|row| row.addresses.iter().any(|address| address_key(address).is(key))) {
            let address = String::from_utf8_lossy(keys::last_name(key)).into_owned();
            check.fault(HERE, format_args!("{address} leads to account {account}, which hasn't got it"));
        }
        Ok(())
    })
}

fn credentials(check: &mut Check<'_>, next: &NextIds) -> StoreResult<()> {
    check.each::<CredentialRow>(HERE, Kind::Credential, |check, key, row| {
        let id = CredentialId(keys::last_id(key).unwrap_or_default());
        if id.0 > next.credential {
            check.fault(HERE, format_args!("app password {id} is beyond the last id that was given"));
        }
        let person: Option<PrincipalRow> = check.row(HERE, row.principal)?;
        if person.is_none_or(|person| person.disabled) {
            let of = row.principal;
            check.fault(HERE, format_args!("app password {id} is of {of}, who is disabled or doesn't exist"));
        }
        if let Some(inbox) = row.inbox {
            let of: Option<AccountRow> = check.row(HERE, inbox)?;
            let is_member =
                |members: &[Member]| members.iter().any(|member| member.principal == row.principal);
            if !of.is_some_and(|of| matches!(&of.kind, AccountKind::Inbox(members) if is_member(members))) {
                let of = row.principal;
                check.fault(
                    HERE,
                    format_args!("app password {id} opens account {inbox}, and {of} is no member"),
                );
            }
        }
        Ok(())
    })
}
