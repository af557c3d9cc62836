//! Email/queryChanges (RFC 8621 §4.5) where the results aren't an ordered list of the store.
//!
//! The results are made anew. An Email that didn't change, and of whose Thread no other did where
//! Threads matter, is in them as it was before, in the same order: everything else is told as removed,
//! and as added where it is in them now (RFC 8620 §5.6).

use super::email::Email;
use super::email_query;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::object::{Object, Since};
use crate::jmap::query_changes::{QueryDelta, Removed};
use crate::jmap::session::Account;
use crate::mail::query::{EmailCondition, EmailFilter, EmailSort};
use crate::store::Read;
use crate::store::changes::{self, Since as State};
use crate::store::rows::mail::{EmailRow, ThreadRow};
use crate::types::limits::CHANGES_MAX;
use crate::types::{AccountId, DataType, EmailId, ThreadId};
use std::collections::{BTreeSet, HashSet};

/// What is searched for.
pub struct Wanted<'q> {
    pub filter: Option<&'q EmailFilter>,
    pub sort: &'q [EmailSort],
    pub collapse: bool,
}

impl Wanted<'_> {
    /// Can an Email enter, leave or move by what happens to another one of its Thread?
    fn is_by_thread(&self) -> bool {
        self.collapse
            || self.filter.is_some_and(|filter| filter.any(&EmailCondition::is_of_thread))
            || self.sort.iter().any(|sort| sort.by.is_of_thread())
    }

    fn is_mutable(&self) -> bool {
        self.filter.is_some_and(|filter| filter.any(&EmailCondition::is_mutable))
            || self.sort.iter().any(|sort| sort.by.is_mutable())
    }
}

/// Are all changes of such results told by the Emails' log? The conversation of an Email changes
/// without it.
pub fn are_told(filter: Option<&EmailFilter>) -> bool {
    !filter.is_some_and(|filter| filter.any(&|one| matches!(one, EmailCondition::InConversation(_))))
}

/// What changed since a state.
pub fn of_set(
    ctx: &Ctx,
    account: &Account,
    wanted: &Wanted<'_>,
    since: &Since<'_>,
) -> Result<QueryDelta, MethodError> {
    let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
    let state = State::parse(since.query_state).filter(|state| state.told == 0).ok_or_else(cannot)?;
    if !are_told(wanted.filter) {
        return Err(cannot());
    }
    let changed = Email::changes(ctx, account, since.query_state, CHANGES_MAX)?;
    if changed.has_more {
        return Err(cannot());
    }
    let parse = |ids: &[String]| ids.iter().filter_map(|id| EmailId::parse(id)).collect::<BTreeSet<_>>();
    let created = parse(&changed.created);
    let mut touched = parse(&changed.updated);
    touched.extend(&created);
    if wanted.is_by_thread() {
        touched = with_threads(ctx.reader(), account.id, touched, state)?.ok_or_else(cannot)?;
    }
    let results = email_query::made(ctx, account, wanted)?;
    let moved = touched.difference(&created).map(EmailId::to_string);
    let removed = changed.destroyed.iter().cloned().chain(moved);
    let places = results.iter().zip(0..).filter(|(email, _)| touched.contains(email));
    let last = since.up_to_id.and_then(EmailId::parse).filter(|_| !wanted.is_mutable() && !wanted.collapse);
    Ok(QueryDelta {
        removed: removed.map(|id| Removed { id, beyond: false }).collect(),
        added: places.map(|(email, index)| (email.to_string(), index)).collect(),
        new_query_state: changed.new_state,
        total: Some(results.len() as u64),
        up_to_index: last
            .and_then(|last| results.iter().zip(0..).find(|(one, _)| **one == last))
            .map(|(_, at)| at),
    })
}

/// With all Emails of the Threads of these, and of the Threads that lost one; `None` where that is
/// too much to tell.
fn with_threads(
    read: &dyn Read,
    account: AccountId,
    emails: BTreeSet<EmailId>,
    since: State,
) -> Result<Option<BTreeSet<EmailId>>, MethodError> {
    // The Threads' state may be older than that of the Emails: then none of them changed since.
    let known = changes::states(read, account)?.of(DataType::Thread);
    let since = State::modseq(since.modseq.min(known));
    let Some(changed) = changes::changes(read, account, None, DataType::Thread, since, CHANGES_MAX)? else {
        return Ok(None);
    };
    if changed.has_more {
        return Ok(None);
    }
    let mut threads: HashSet<ThreadId> = changed.updated.into_iter().map(ThreadId).collect();
    let rows = read.rows::<EmailRow>(account, emails.iter().copied())?;
    threads.extend(rows.into_iter().flatten().map(|row| row.thread));
    let mut all = emails;
    for row in read.rows::<ThreadRow>(account, threads)?.into_iter().flatten() {
        all.extend(row.emails.iter().map(|entry| entry.email));
    }
    Ok((all.len() <= CHANGES_MAX).then_some(all))
}
