//! Administration: what the command line asks, done by a running server or on the folder itself,
//! by the same code.

use crate::auth::accounts;
use crate::auth::people::{self, NewPerson};
use crate::auth::{AuthError, Directory, View, credentials, password};
use crate::inbox::admin_check::{self, CheckLine};
use crate::inbox::admin_erase::{self, EraseRequest, ErasedReport};
use crate::inbox::admin_import::{self, ExportPage, ExportRequest, ImportReport, ImportRequest};
use crate::inbox::admin_inbox::{self, InboxLine, InboxRequest};
use crate::inbox::admin_list::{self, ListLine, ListRequest};
use crate::inbox::admin_member;
use crate::inbox::admin_queue::{self, QueueReport, QueueRequest};
use crate::inbox::admin_quota::{self, QuotaChange, QuotaReport};
use crate::inbox::admin_team::{self, TeamLine, TeamRequest};
use crate::inbox::desk::DeskError;
use crate::inbox::refusal::Refusal;
use crate::inbox::{membership, server};
use crate::mail::mailbox;
use crate::mail::relays::Relays;
use crate::mail::search::SearchIndex;
use crate::store::rows::account::AccountState;
use crate::store::rows::directory::AccountKind;
use crate::store::{Locked, Read, Store, StoreError, Txn, backup};
use crate::types::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub enum AdminRequest {
    #[serde(rename_all = "camelCase")]
    PersonAdd {
        email: String,
        name: String,
        password: Option<String>,
        mailbox: bool,
    },
    PersonList,
    PersonDisable {
        email: String,
    },
    PersonPassword {
        email: String,
        password: Option<String>,
    },
    Inbox(InboxRequest),
    MemberAdd {
        inbox: String,
        email: String,
        role: String,
    },
    MemberRemove {
        inbox: String,
        email: String,
    },
    AppPasswordAdd {
        email: String,
        inbox: Option<String>,
        label: String,
    },
    AppPasswordList {
        email: Option<String>,
    },
    AppPasswordRevoke {
        id: String,
    },
    Backup {
        to: PathBuf,
    },
    Import(ImportRequest),
    Export(ExportRequest),
    Queue(QueueRequest),
    QuotaSet(QuotaChange),
    QuotaShow {
        email: String,
    },
    Team(TeamRequest),
    List(ListRequest),
    Erase(EraseRequest),
    Check,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "camelCase")]
pub enum AdminReply {
    #[serde(rename_all = "camelCase")]
    Person {
        email: String,
        name: String,
        id: String,
        account_id: Option<String>,
        password: Option<String>,
    },
    People {
        people: Vec<PersonLine>,
    },
    #[serde(rename_all = "camelCase")]
    Inbox {
        email: String,
        name: String,
        account_id: String,
    },
    Inboxes {
        inboxes: Vec<InboxLine>,
    },
    /// The secret is told this once.
    AppPassword {
        id: String,
        secret: String,
    },
    AppPasswords {
        passwords: Vec<PasswordLine>,
    },
    Imported(ImportReport),
    Exported(ExportPage),
    Queue(QueueReport),
    Quota(QuotaReport),
    Teams {
        teams: Vec<TeamLine>,
    },
    Lists {
        lists: Vec<ListLine>,
    },
    Erased(ErasedReport),
    Checked(CheckLine),
    Done,
}

/// One person.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonLine {
    pub id: String,
    pub email: String,
    pub name: String,
    pub disabled: bool,
    pub account_id: Option<String>,
}

/// One app password, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordLine {
    pub id: String,
    pub email: String,
    pub inbox: Option<String>,
    pub label: String,
}

/// Why it isn't done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0:?} is no mail address")]
    Address(String),
    #[error("{0:?} is no role; the roles are observer, agent, lead, admin")]
    Role(String),
    #[error("there is no app password {0:?}")]
    NoCredential(String),
    #[error("{0}")]
    Rule(String),
    #[error("{}", .0.plain_description(&|_| "A colleague".to_owned()))]
    Refused(Box<Refusal>),
}

impl From<DeskError> for AdminError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Store(error) => Self::Store(error),
            DeskError::Refused(refusal) => Self::Refused(Box::new(refusal)),
        }
    }
}

/// What administration works on.
#[derive(Clone, Copy)]
pub struct Office<'a> {
    pub store: &'a Arc<Store>,
    pub directory: &'a Arc<Directory>,
    pub search: Option<&'a SearchIndex>,
    /// Those of a running server.
    pub relays: Option<&'a Relays>,
    /// Our name in what is sent.
    pub hostname: &'a str,
}

/// Does what is asked. Blocks.
pub fn run(office: Office<'_>, request: AdminRequest) -> Result<AdminReply, AdminError> {
    match request {
        AdminRequest::PersonAdd { email, name, password, mailbox } => {
            person_add(office, &email, name, password, mailbox)
        }
        AdminRequest::PersonList => Ok(person_list(&office.directory.current())),
        AdminRequest::PersonDisable { email } => person_disable(office, &email),
        AdminRequest::PersonPassword { email, password } => person_password(office, &email, password),
        AdminRequest::Inbox(request) => admin_inbox::run(office, request),
        AdminRequest::MemberAdd { inbox, email, role } => admin_member::add(office, &inbox, &email, &role),
        AdminRequest::MemberRemove { inbox, email } => admin_member::remove(office, &inbox, &email),
        AdminRequest::AppPasswordAdd { email, inbox, label } => {
            app_password_add(office, &email, inbox.as_deref(), &label)
        }
        AdminRequest::AppPasswordList { email } => app_password_list(office, email.as_deref()),
        AdminRequest::AppPasswordRevoke { id } => app_password_revoke(office, &id),
        AdminRequest::Backup { to } => {
            make_backup(office, &to)?;
            Ok(AdminReply::Done)
        }
        AdminRequest::Import(request) => admin_import::import(office, &request).map(AdminReply::Imported),
        AdminRequest::Export(request) => admin_import::export(office, &request).map(AdminReply::Exported),
        AdminRequest::Queue(request) => admin_queue::run(office, &request).map(AdminReply::Queue),
        AdminRequest::QuotaSet(wanted) => admin_quota::set(office, &wanted).map(AdminReply::Quota),
        AdminRequest::QuotaShow { email } => admin_quota::show(office, &email).map(AdminReply::Quota),
        AdminRequest::Team(request) => admin_team::run(office, request),
        AdminRequest::List(request) => admin_list::run(office, request),
        AdminRequest::Erase(request) => admin_erase::run(office, &request),
        AdminRequest::Check => admin_check::checked(office),
    }
}

pub(super) fn address(text: &str) -> Result<Address, AdminError> {
    Address::parse(text).ok_or_else(|| AdminError::Address(text.to_owned()))
}

pub(super) fn role(text: &str) -> Result<MemberRole, AdminError> {
    MemberRole::parse(text).ok_or_else(|| AdminError::Role(text.to_owned()))
}

/// Makes a change of the directory, and lets everybody see it once it is durable.
pub(super) fn change<T>(
    office: Office<'_>,
    accounts: &[AccountId],
    work: impl FnOnce(&mut Txn<'_>) -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    office.store.check_space()?;
    let mut all = vec![AccountId::DIRECTORY];
    all.extend_from_slice(accounts);
    let locked = office.store.lock_blocking(&all);
    commit(office, &locked, work)
}

fn commit<T>(
    office: Office<'_>,
    locked: &Locked,
    work: impl FnOnce(&mut Txn<'_>) -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    let mut txn = office.store.begin(locked);
    let done = work(&mut txn)?;
    office.directory.commit(txn)?;
    Ok(done)
}

/// Makes a change that adds an account, whose lock has to be held before its number is known, and
/// that writes these other ones.
pub(super) fn change_with_account<T>(
    office: Office<'_>,
    others: &[AccountId],
    work: impl FnOnce(&mut Txn<'_>, AccountId) -> Result<T, AdminError>,
) -> Result<T, AdminError> {
    office.store.check_space()?;
    loop {
        let state: Option<AccountState> =
            (&office.store.snapshot() as &dyn Read).row(AccountId::DIRECTORY, ())?;
        let next = AccountId(state.unwrap_or_default().next.account + 1);
        let all: Vec<AccountId> = [AccountId::DIRECTORY, next].iter().chain(others).copied().collect();
        let locked = office.store.lock_blocking(&all);
        let mut txn = office.store.begin(&locked);
        if accounts::allot(&mut txn)? != next {
            // Somebody was quicker: the number is another one now.
            continue;
        }
        let done = work(&mut txn, next)?;
        office.directory.commit(txn)?;
        return Ok(done);
    }
}

fn new_password(office: Office<'_>, given: Option<String>) -> Result<(String, Option<String>), AdminError> {
    match given {
        Some(given) => Ok((password::hash(&given, &office.store.random)?, None)),
        None => {
            let made = credentials::new_secret(&office.store.random);
            Ok((password::hash(&made, &office.store.random)?, Some(made)))
        }
    }
}

fn person_add(
    office: Office<'_>,
    email: &str,
    name: String,
    given: Option<String>,
    with_mailbox: bool,
) -> Result<AdminReply, AdminError> {
    let email = address(email)?;
    // Found out before the slow hash; the transaction looks again.
    if office.directory.current().is_taken(&email) {
        return Err(AuthError::AddressTaken(email).into());
    }
    let (hash, made) = new_password(office, given)?;
    let new = |account| NewPerson {
        email: email.clone(),
        name: name.clone(),
        password: Some(hash.clone()),
        account,
    };
    let (id, account) = if with_mailbox {
        change_with_account(office, &[], |txn, account| {
            let id = people::add(txn, new(Some(account)))?;
            mailbox::create_defaults(txn, account, false)?;
            Ok((id, Some(account)))
        })?
    } else {
        (change(office, &[], |txn| Ok(people::add(txn, new(None))?))?, None)
    };
    Ok(AdminReply::Person {
        email: email.to_string(),
        name,
        id: id.to_string(),
        account_id: account.map(|account| account.to_string()),
        password: made,
    })
}

fn person_list(view: &View) -> AdminReply {
    let people = view.principals().map(|(id, row)| PersonLine {
        id: id.to_string(),
        email: row.email.to_string(),
        name: row.name.clone(),
        disabled: row.disabled,
        account_id: row.account.map(|account| account.to_string()),
    });
    AdminReply::People { people: people.collect() }
}

pub(super) fn find_person(view: &View, email: &str) -> Result<PrincipalId, AdminError> {
    address(email)?;
    view.principal_by_email(email).ok_or_else(|| AuthError::UnknownPerson(email.to_owned()).into())
}

/// The account that keeps the mail of an address: a person's or an inbox.
pub(super) fn find_account(office: Office<'_>, email: &str) -> Result<AccountId, AdminError> {
    let view = office.directory.current();
    let account = view.account_by_address(&address(email)?).filter(|id| view.list(*id).is_none());
    account.ok_or_else(|| AuthError::UnknownInbox(email.to_owned()).into())
}

pub(super) fn find_inbox(view: &View, email: &str) -> Result<AccountId, AdminError> {
    let account = view.account_by_address(&address(email)?);
    let inbox =
        account.filter(|id| view.account(*id).is_some_and(|row| matches!(row.kind, AccountKind::Inbox(_))));
    inbox.ok_or_else(|| AuthError::UnknownInbox(email.to_owned()).into())
}

fn person_disable(office: Office<'_>, email: &str) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let person = find_person(&view, email)?;
    let inboxes: Vec<AccountId> = view.inboxes_of(person).iter().map(|(inbox, _)| *inbox).collect();
    change(office, &inboxes, |txn| {
        people::disable(txn, person)?;
        let view = View::load(txn)?;
        inboxes
            .iter()
            .try_for_each(|inbox| {
                membership::release(txn, &server::staff(&view, *inbox), *inbox, person).map(|_| ())
            })
            .map_err(AdminError::from)
    })?;
    for inbox in &inboxes {
        admin_member::release_work(office, *inbox, person)?;
    }
    Ok(AdminReply::Done)
}

fn person_password(office: Office<'_>, email: &str, given: Option<String>) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let person = find_person(&view, email)?;
    let (hash, made) = new_password(office, given)?;
    change(office, &[], |txn| Ok(people::set_password(txn, person, hash)?))?;
    let row = view.principal(person);
    Ok(AdminReply::Person {
        email: email.to_owned(),
        name: row.map(|row| row.name.clone()).unwrap_or_default(),
        id: person.to_string(),
        account_id: row.and_then(|row| row.account).map(|account| account.to_string()),
        password: made,
    })
}

fn app_password_add(
    office: Office<'_>,
    email: &str,
    inbox: Option<&str>,
    label: &str,
) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let person = find_person(&view, email)?;
    let inbox = inbox.map(|inbox| find_inbox(&view, inbox)).transpose()?;
    let secret = credentials::new_secret(&office.store.random);
    let hash = credentials::hash(&view, &secret)
        .ok_or_else(|| StoreError::Corrupt("a new app password could not be hashed".to_owned()))?;
    let id = change(office, &[], |txn| Ok(credentials::add(txn, person, inbox, label, hash)?))?;
    Ok(AdminReply::AppPassword { id: id.to_string(), secret })
}

fn app_password_list(office: Office<'_>, email: Option<&str>) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let person = email.map(|email| find_person(&view, email)).transpose()?;
    let own = |account: AccountId| view.account(account)?.addresses.first().map(Address::to_string);
    let passwords = view
        .credentials()
        .filter(|(_, row)| person.is_none_or(|person| row.principal == person))
        .map(|(id, row)| PasswordLine {
            id: id.to_string(),
            email: view.principal(row.principal).map(|person| person.email.to_string()).unwrap_or_default(),
            inbox: row.inbox.and_then(own),
            label: row.label.clone(),
        });
    Ok(AdminReply::AppPasswords { passwords: passwords.collect() })
}

fn app_password_revoke(office: Office<'_>, id: &str) -> Result<AdminReply, AdminError> {
    let parsed = CredentialId::parse(id).ok_or_else(|| AdminError::NoCredential(id.to_owned()))?;
    change(office, &[], |txn| Ok(credentials::revoke(txn, parsed)?))?;
    Ok(AdminReply::Done)
}

fn make_backup(office: Office<'_>, to: &Path) -> Result<(), AdminError> {
    let search = office.search;
    backup::backup(office.store, to, &mut |part| match search {
        // The index must never be ahead of the store: its files come first.
        Some(search) => {
            let index = part.join("index");
            std::fs::create_dir(&index)?;
            search.link_committed_files(&index).map(|_| ()).map_err(std::io::Error::other)
        }
        None => Ok(()),
    })?;
    Ok(())
}
