//! Distribution lists at the command line.

use super::admin::{self, AdminError, AdminReply, Office};
use super::lists;
use crate::auth::lists::{self as terms, NewList};
use crate::auth::{AuthError, View};
use crate::store::Read;
use crate::store::rows::directory::{AccountRow, ListTerms, Posting};
use crate::types::{AccountId, Address};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum ListRequest {
    Add { email: String, name: String, posting: String, owner: Option<String>, members: Vec<String> },
    List,
    Show { email: String },
    Set { email: String, posting: Option<String>, owner: Option<String> },
    MemberAdd { email: String, members: Vec<String> },
    MemberRemove { email: String, member: String },
}

/// One distribution list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListLine {
    pub account_id: String,
    pub email: String,
    pub name: String,
    /// `anyone`, `members`, `staff` or `nobody`.
    pub posting: String,
    pub owner: Option<String>,
    pub members: Vec<SubscriberLine>,
}

/// Whoever gets its mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriberLine {
    pub email: String,
    /// How often their mail came back, or was refused.
    pub bounces: u32,
    /// How often nobody knows whether the relay took it: perhaps it wasn't delivered.
    pub unsure: u32,
    /// When either was so last (RFC 3339).
    pub last_bounce_at: Option<String>,
    pub last_reply: Option<String>,
}

/// Does what is asked, and tells of the list, or of all.
pub fn run(office: Office<'_>, request: ListRequest) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let only = match request {
        ListRequest::List => None,
        ListRequest::Show { email } => Some(find(&view, &email)?),
        ListRequest::Add { email, name, posting, owner, members } => {
            let (email, owner) = (admin::address(&email)?, owner.as_deref().map(admin::address).transpose()?);
            let (posting, members) = (parse_posting(&posting)?, addresses(&members)?);
            Some(admin::change_with_account(office, &[], |txn, id| {
                let new = NewList { email: email.clone(), name: name.clone(), posting, owner: owner.clone() };
                terms::add(txn, id, new)?;
                terms::subscribe(txn, id, &members)?;
                Ok(id)
            })?)
        }
        ListRequest::Set { email, posting, owner } => {
            let id = find(&view, &email)?;
            let posting = posting.as_deref().map(parse_posting).transpose()?;
            let owner = owner.as_deref().map(admin::address).transpose()?;
            admin::change(office, &[id], |txn| Ok(terms::set(txn, id, posting, owner)?))?;
            Some(id)
        }
        ListRequest::MemberAdd { email, members } => {
            let (id, members) = (find(&view, &email)?, addresses(&members)?);
            admin::change(office, &[id], |txn| Ok(terms::subscribe(txn, id, &members)?))?;
            Some(id)
        }
        ListRequest::MemberRemove { email, member } => {
            let (id, member) = (find(&view, &email)?, admin::address(&member)?);
            admin::change(office, &[id], |txn| Ok(terms::unsubscribe(txn, id, &member)?))?;
            Some(id)
        }
    };
    let view = office.directory.current();
    let mut told = Vec::new();
    for (id, row) in view.accounts().filter(|(id, _)| only.is_none_or(|only| only == *id)) {
        if let Some(terms) = view.list(id) {
            told.push(line(office, id, row, terms)?);
        }
    }
    Ok(AdminReply::Lists { lists: told })
}

fn find(view: &View, email: &str) -> Result<AccountId, AdminError> {
    let account = view.account_by_address(&admin::address(email)?);
    let list = account.filter(|id| view.list(*id).is_some());
    list.ok_or_else(|| AuthError::UnknownList(email.to_owned()).into())
}

fn parse_posting(text: &str) -> Result<Posting, AdminError> {
    let words = Posting::ALL.map(|(_, name)| name).join(", ");
    Posting::parse(text)
        .ok_or_else(|| AdminError::Rule(format!("{text:?} is nobody who could write; there are {words}")))
}

fn addresses(texts: &[String]) -> Result<Vec<Address>, AdminError> {
    texts.iter().map(|text| admin::address(text)).collect()
}

fn line(
    office: Office<'_>,
    id: AccountId,
    row: &AccountRow,
    terms: &ListTerms,
) -> Result<ListLine, AdminError> {
    let snapshot = office.store.snapshot();
    let mut members = Vec::with_capacity(terms.subscribers.len());
    for one in &terms.subscribers {
        let bounces = lists::bounces(&snapshot as &dyn Read, id, one.number)?;
        members.push(SubscriberLine {
            email: one.address.to_string(),
            bounces: bounces.as_ref().map_or(0, |row| row.count),
            unsure: bounces.as_ref().map_or(0, |row| row.unsure),
            last_bounce_at: bounces.as_ref().map(|row| row.last_at.date().to_string()),
            last_reply: bounces.map(|row| row.last_reply),
        });
    }
    Ok(ListLine {
        account_id: id.to_string(),
        email: row.addresses.first().map(Address::to_string).unwrap_or_default(),
        name: row.name.clone(),
        posting: terms.posting.name().to_owned(),
        owner: terms.owner.as_ref().map(Address::to_string),
        members,
    })
}
