//! Inboxes at the command line: what they are called, which addresses they have, who is in them.

use super::admin::{self, AdminError, AdminReply, Office};
use crate::auth::View;
use crate::auth::accounts::{self, Naming, NewInbox};
use crate::inbox::machine::Actor;
use crate::inbox::{membership, naming};
use crate::mail::mailbox;
use crate::store::keys;
use crate::store::rows::directory::{AccountKind, AccountRow};
use crate::store::rows::team::{Cause, InboxSettingsRow};
use crate::types::*;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum InboxRequest {
    Add { email: String, name: String, aliases: Vec<String>, members: Vec<(String, String)> },
    List,
    Set(InboxChange),
}

/// What is changed of an inbox; what is `None` or empty stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxChange {
    pub inbox: String,
    pub name: Option<String>,
    /// Its own address from now on; the one of before is an alias then.
    pub email: Option<String>,
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

/// One inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxLine {
    pub account_id: String,
    pub email: String,
    pub name: String,
    pub aliases: Vec<String>,
    /// Address and role.
    pub members: Vec<(String, String)>,
}

/// Does what is asked.
pub fn run(office: Office<'_>, request: InboxRequest) -> Result<AdminReply, AdminError> {
    match request {
        InboxRequest::Add { email, name, aliases, members } => add(office, &email, name, &aliases, &members),
        InboxRequest::List => Ok(list(&office.directory.current())),
        InboxRequest::Set(change) => set(office, change),
    }
}

fn add(
    office: Office<'_>,
    email: &str,
    name: String,
    aliases: &[String],
    members: &[(String, String)],
) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let email = admin::address(email)?;
    let aliases = aliases.iter().map(|alias| admin::address(alias)).collect::<Result<Vec<_>, _>>()?;
    let members = members
        .iter()
        .map(|(person, word)| Ok((admin::find_person(&view, person)?, admin::role(word)?)))
        .collect::<Result<Vec<_>, AdminError>>()?;
    let own: Vec<AccountId> =
        members.iter().filter_map(|(person, _)| view.principal(*person)?.account).collect();
    let account = admin::change_with_account(office, &own, |txn, account| {
        let new = NewInbox {
            email: email.clone(),
            name: name.clone(),
            aliases: aliases.clone(),
            members: members.clone(),
        };
        accounts::add_inbox(txn, account, new)?;
        mailbox::create_defaults(txn, account, true)?;
        let mut addresses = vec![email.clone()];
        addresses.extend(aliases.iter().cloned());
        let settings = InboxSettingsRow { name: name.clone(), addresses, ..InboxSettingsRow::default() };
        txn.put_at(keys::row(account, keys::Kind::InboxSettings, 0), &settings)?;
        members.iter().try_for_each(|(person, role)| {
            let (person, role) = (*person, Some(*role));
            let joined = membership::Change { inbox: account, person, role, by: membership::operator() };
            membership::begin(txn, &joined)
        })?;
        Ok(account)
    })?;
    Ok(AdminReply::Inbox { email: email.to_string(), name, account_id: account.to_string() })
}

fn set(office: Office<'_>, change: InboxChange) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let inbox = admin::find_inbox(&view, &change.inbox)?;
    admin::change(office, &[inbox], |txn| {
        let mut addresses = accounts::inbox(txn, inbox)?.addresses;
        for text in &change.add {
            let address = admin::address(text)?;
            // Said again, it is what it was.
            if addresses.iter().all(|known| known.key() != address.key()) {
                addresses.push(address);
            }
        }
        for text in &change.remove {
            let key = admin::address(text)?.key();
            if addresses.iter().all(|known| known.key() != key) {
                return Err(AdminError::Rule(format!("{text} is no address of this inbox")));
            }
            addresses.retain(|known| known.key() != key);
        }
        if let Some(own) = &change.email {
            let own = admin::address(own)?;
            addresses.retain(|known| known.key() != own.key());
            addresses.insert(0, own);
        }
        let new = Naming { name: change.name.clone(), addresses: Some(addresses) };
        naming::change(txn, inbox, Actor::System(Cause::User), &new)
    })?;
    let view = office.directory.current();
    let lines = view.accounts().filter(|(id, _)| *id == inbox).filter_map(|one| line(&view, one));
    Ok(AdminReply::Inboxes { inboxes: lines.collect() })
}

fn list(view: &View) -> AdminReply {
    AdminReply::Inboxes { inboxes: view.accounts().filter_map(|one| line(view, one)).collect() }
}

fn line(view: &View, (id, row): (AccountId, &AccountRow)) -> Option<InboxLine> {
    let AccountKind::Inbox(members) = &row.kind else { return None };
    let mut addresses = row.addresses.iter().map(Address::to_string);
    Some(InboxLine {
        account_id: id.to_string(),
        email: addresses.next().unwrap_or_default(),
        name: row.name.clone(),
        aliases: addresses.collect(),
        members: members
            .iter()
            .filter_map(|member| {
                let person = view.principal(member.principal)?;
                Some((person.email.to_string(), member.role.name().to_owned()))
            })
            .collect(),
    })
}
