//! What mail's rows mean to each other, for `postroom check`: mailboxes and their tree, Emails with
//! their Threads, lists, sets, counts and Message-IDs, Identities, submissions with the queue and
//! their timers, and what quotas count.
//!
//! Deliberately absent: what a conversation makes of an Email, which `inbox::check` knows.

mod emails;
mod mailboxes;
mod submissions;
mod threads;
mod viewers;

use super::quota;
use super::search::{SearchIndex, TextQuery};
use crate::store::blobs::Referrer;
use crate::store::check::{Check, Floor, Reference};
use crate::store::keys::Kind;
use crate::store::list::{self, List, Place};
use crate::store::rows::account::AccountState;
use crate::store::rows::directory::{AccountKind, AccountRow, PrincipalRow};
use crate::store::rows::mail::{EmailRow, IdentityRow};
use crate::store::rows::quota::{QuotaLimitsRow, UsageRow};
use crate::store::rows::submission::{RelayState, SubmissionRow};
use crate::store::rows::vacation::{VacationAnsweredRow, VacationRow};
use crate::store::rows::viewer::Viewer;
use crate::store::sets::Bitmap;
use crate::store::{Read, Store, StoreResult, keys};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};

/// This floor's part of the check.
pub const FLOOR: Floor = Floor {
    kinds: &[
        Kind::Mailbox,
        Kind::MailboxCounts,
        Kind::MailboxRoles,
        Kind::Email,
        Kind::Message,
        Kind::Thread,
        Kind::MessageId,
        Kind::OwnMessageId,
        Kind::Set,
        Kind::Identity,
        Kind::IdentityOfMember,
        Kind::Submission,
        Kind::DetachedSubmission,
        Kind::SubmissionOfEmail,
        Kind::SubmissionReports,
        Kind::ScheduledSend,
        Kind::Vacation,
        Kind::VacationAnswered,
        Kind::Usage,
        Kind::QuotaLimits,
        Kind::ReturnPath,
        Kind::QueueMark,
        Kind::QueuePaused,
        Kind::Evidence,
        Kind::Viewers,
        Kind::ViewerState,
        Kind::ViewerCounts,
        Kind::Queue,
    ],
    account,
    server: submissions::queue,
    refers,
    referrers: &[Referrer::Email, Referrer::Submission],
};

/// What is known of an account's mail while it is looked at.
struct Mail {
    account: AccountId,
    state: AccountState,
    mailboxes: BTreeSet<MailboxId>,
    trash: Option<MailboxId>,
    viewers: Vec<Viewer>,
    emails: Bitmap,
    /// How many entries each list of Emails should have.
    entries: BTreeMap<List, u32>,
    usage: UsageRow,
}

fn account(check: &mut Check<'_>, account: AccountId) -> StoreResult<()> {
    if account == AccountId::DIRECTORY {
        return Ok(());
    }
    let state = check.row(account, ())?.unwrap_or_default();
    let mut mail = Mail {
        account,
        state,
        mailboxes: BTreeSet::new(),
        trash: None,
        viewers: Vec::new(),
        emails: Bitmap::default(),
        entries: BTreeMap::new(),
        usage: UsageRow::default(),
    };
    mailboxes::check(check, &mut mail)?;
    viewers::check(check, &mut mail)?;
    emails::check(check, &mut mail)?;
    threads::check(check, &mut mail)?;
    lists(check, &mail)?;
    identities(check, &mail)?;
    submissions::check(check, &mail)?;
    small_rows(check, &mail)
}

impl Mail {
    /// An entry that a list must have, with what it keeps beside.
    fn expect(
        &mut self,
        check: &mut Check<'_>,
        list: List,
        place: Place,
        thread: ThreadId,
    ) -> StoreResult<()> {
        *self.entries.entry(list).or_default() += 1;
        let entry: Option<u32> = check.at(&keys::list_entry(self.account, list, place))?;
        match entry {
            Some(with) if with == thread.0 => {}
            Some(_) => {
                let email = EmailId(place.id);
                check.fault(
                    self.account,
                    format_args!("{list:?} has {email} in another Thread than {thread}"),
                );
            }
            None => check.fault(self.account, format_args!("{list:?} lacks {}", EmailId(place.id))),
        }
        Ok(())
    }
}

fn is_of_emails(list: List) -> bool {
    matches!(list, List::AllEmails | List::AllHeads | List::Mailbox(_) | List::MailboxHeads(_))
}

/// No list has an entry too many. Whether it has too few was looked at with each Email and Thread.
fn lists(check: &mut Check<'_>, mail: &Mail) -> StoreResult<()> {
    for list in list::all(check.read, mail.account)?.into_iter().flatten().filter(|list| is_of_emails(*list))
    {
        let truth = mail.entries.get(&list).copied().unwrap_or_default();
        let count = list::count_entries(check.read, mail.account, list)?;
        if count > truth {
            check.fault(mail.account, format_args!("{list:?} has {count} entries and should have {truth}"));
        }
    }
    Ok(())
}

/// Every address but a catch-all has an Identity, and what is a member's is beside one (RFC 8621 §6).
fn identities(check: &mut Check<'_>, mail: &Mail) -> StoreResult<()> {
    let account = mail.account;
    let mut known = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    check.each::<IdentityRow>(account, Kind::Identity, |check, key, row| {
        let id = IdentityId(keys::last_id(key).unwrap_or_default());
        known.insert(id);
        addresses.insert(row.email.key());
        if id.0 > mail.state.next.identity {
            check.fault(account, format_args!("{id} is beyond the last id that was given"));
        }
        Ok(())
    })?;
    let directory: Option<AccountRow> = check.row(AccountId::DIRECTORY, account)?;
    // Nobody writes as a distribution list.
    let directory = directory.filter(|row| !matches!(row.kind, AccountKind::List(_)));
    for address in directory.map(|row| row.addresses).unwrap_or_default() {
        if !address.is_catch_all() && !addresses.contains(&address.key()) {
            check.fault(account, format_args!("the address {address} has no Identity"));
        }
    }
    check.each::<IdentityRow>(account, Kind::IdentityOfMember, |check, key, _| {
        let id = IdentityId(keys::first_id(key).unwrap_or_default());
        let member = PrincipalId(keys::last_id(key).unwrap_or_default());
        if !known.contains(&id) {
            check.fault(account, format_args!("{id} is something to {member}, and doesn't exist"));
        }
        if check.row::<PrincipalRow>(AccountId::DIRECTORY, member)?.is_none() {
            check.fault(account, format_args!("{id} is something to {member}, who doesn't exist"));
        }
        Ok(())
    })
}

fn small_rows(check: &mut Check<'_>, mail: &Mail) -> StoreResult<()> {
    let account = mail.account;
    let directory: Option<AccountRow> = check.row(AccountId::DIRECTORY, account)?;
    let is_inbox = directory.is_some_and(|row| matches!(row.kind, AccountKind::Inbox(_)));
    check.each::<VacationRow>(account, Kind::Vacation, |check, _, _| {
        if is_inbox {
            check.fault(account, "an inbox has a vacation response");
        }
        Ok(())
    })?;
    check.each::<VacationAnsweredRow>(account, Kind::VacationAnswered, |_, _, _| Ok(()))?;
    check.each::<QuotaLimitsRow>(account, Kind::QuotaLimits, |_, _, _| Ok(()))?;
    check.each::<UsageRow>(account, Kind::Usage, |check, _, usage| {
        if usage != mail.usage {
            let truth = mail.usage;
            check.fault(account, format_args!("its usage is kept as {usage:?}, and {truth:?} is true"));
        }
        Ok(())
    })
}

/// Whether an Email has a content, or a submission still needs it.
fn refers(check: &Check<'_>, reference: Reference) -> StoreResult<bool> {
    let Reference { account, blob, why, id } = reference;
    if why == Referrer::Email {
        let row: Option<EmailRow> = check.row(account, EmailId(id))?;
        return Ok(row.is_some_and(|row| row.blob == blob));
    }
    let row: Option<SubmissionRow> = submissions::find(check, account, SubmissionId(id))?;
    Ok(row.is_some_and(|row| row.blob == blob && row.relay != RelayState::Done))
}

/// How far full text is behind the store, in positions of the accounts' logs. One that is ahead is
/// a fault: it knows of messages that nobody has.
pub fn search_lag(
    store: &Store,
    index: &SearchIndex,
    accounts: impl Iterator<Item = AccountId>,
    faults: &mut Vec<String>,
) -> StoreResult<u64> {
    if index.stats().failed {
        faults.push("full text has given up; it is built anew at the next start".to_owned());
    }
    let mut behind = 0;
    for account in accounts {
        // In this order: the index goes on while it is looked at, and never past the store.
        let indexed = index.indexed_modseq(account);
        let state: AccountState = (&store.snapshot() as &dyn Read).row(account, ())?.unwrap_or_default();
        if indexed > state.modseq {
            let at = state.modseq;
            faults.push(format!("account {account}: full text is at {indexed}, and the account at {at}"));
        }
        behind += state.types.of(DataType::Email).saturating_sub(indexed);
        if let Some((found, there)) = counts(store, index, account)?
            && found != there
        {
            faults
                .push(format!("account {account}: full text has {found} messages, and the account {there}"));
        }
    }
    Ok(behind)
}

/// How many messages full text has of an account, and how many the account has; `None` where the one
/// isn't where the other is, or something comes meanwhile.
fn counts(store: &Store, index: &SearchIndex, account: AccountId) -> StoreResult<Option<(u64, u64)>> {
    let state = || -> StoreResult<AccountState> {
        Ok((&store.snapshot() as &dyn Read).row(account, ())?.unwrap_or_default())
    };
    let snapshot = store.snapshot();
    let before = state()?;
    if index.indexed_modseq(account) < before.types.of(DataType::Email) {
        return Ok(None);
    }
    // What fails here is told to whoever searches.
    let Ok(hits) = index.search(account, &TextQuery::Not(Vec::new())) else { return Ok(None) };
    let found = hits.filter(Result::is_ok).count() as u64;
    let there = quota::usage(&snapshot, account)?.messages;
    // Without a commit since, nothing is on its way to the index.
    Ok((state()?.modseq == before.modseq).then_some((found, there)))
}
