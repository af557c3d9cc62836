//! Conversation/query and /queryChanges.
//!
//! What a team looks at all day (everything, one status, one owner, nobody's, both at once, each by
//! last activity; who waits, by how long) comes from the store's lists: any page of them costs the
//! same, and their changes are exact. Every other question is answered by looking at the
//! conversations of the narrowest list or set that it allows, as many as
//! `FILTER_SCAN_CONVERSATIONS_MAX`; its changes are told from the Conversations' log, except where
//! it asks for what only the Emails' log tells. Conversations that went into another one are in no
//! results.

use super::conversation::Conversation;
use super::conversation_filter::{self as filter, Sets, Test};
use super::team;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::object::{Object, Query, QueryObject, Since};
use crate::jmap::query::{Comparator, Filter, Materialised, QueryResult, Results};
use crate::jmap::query_changes::{QueryDelta, Removed};
use crate::jmap::session::Account;
use crate::store::rows::team::ConversationRow;
use crate::store::{List, Place, Read, changes, list};
use crate::types::limits::{CHANGES_MAX, FILTER_SCAN_CONVERSATIONS_MAX};
use crate::types::{AccountId, ConversationId, UtcDate};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// What results are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    LastActivityAt,
    LastInboundAt,
    WaitingSince,
    CreatedAt,
    SnoozedUntil,
    Priority,
}

/// One Comparator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sort {
    pub by: Order,
    pub ascending: bool,
}

impl QueryObject for Conversation {
    type Condition = Vec<Test>;
    type Sort = Sort;
    type QueryArgs = ();

    fn condition(ctx: &Ctx, args: &mut Args) -> Result<Vec<Test>, MethodError> {
        filter::read(ctx, args)
    }

    fn sort(ctx: &Ctx, comparator: Comparator) -> Result<Sort, MethodError> {
        let by = match comparator.property.as_str() {
            "lastActivityAt" => Order::LastActivityAt,
            "lastInboundAt" => Order::LastInboundAt,
            "waitingSince" => Order::WaitingSince,
            "createdAt" => Order::CreatedAt,
            "snoozedUntil" if ctx.using.contains(Capability::Status) => Order::SnoozedUntil,
            "priority" if ctx.using.contains(Capability::Status) => Order::Priority,
            _ => return Err(MethodErrorKind::UnsupportedSort.into()),
        };
        Ok(Sort { by, ascending: comparator.is_ascending })
    }

    fn query_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError> {
        let query_state = Self::state(ctx, ctx.reader(), account)?;
        if let Some((list, backwards)) = plan(query) {
            let results = ListResults { reader: ctx.reader(), account: account.id, list, backwards };
            return Ok(QueryResult { results: Box::new(results), query_state, can_calculate_changes: true });
        }
        let results = Materialised { ids: scan(ctx, account, query)?, spell };
        let can_calculate_changes = are_told(query);
        Ok(QueryResult { results: Box::new(results), query_state, can_calculate_changes })
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
        let Some((list, backwards)) = plan(query) else { return changes_of_scan(ctx, account, query, since) };
        let state = Self::state(ctx, ctx.reader(), account)?;
        let old = changes::Since::parse(since.query_state).filter(|old| old.told == 0).ok_or_else(cannot)?;
        let new = changes::Since::parse(&state).filter(|new| *new >= old).ok_or_else(cannot)?;
        let reader = ctx.reader();
        let mut changed = list::ListChanges::default();
        if new != old {
            changed = list::changes(reader, account.id, list, old.modseq)?.ok_or_else(cannot)?;
        }
        // One that moved left a place and has another; each id is told once on either side.
        let removed: BTreeSet<u32> = changed.removed.iter().map(|place| place.id).collect();
        let told = (removed.len() + changed.added.len()) as u64;
        if since.max_changes.is_some_and(|max| told > max) {
            return Err(MethodErrorKind::TooManyChanges.into());
        }
        if told > CHANGES_MAX as u64 {
            return Err(cannot());
        }
        let results = ListResults { reader, account: account.id, list, backwards };
        let total = list::total(reader, account.id, list)?;
        let index = |place: &Place| Ok::<_, MethodError>((spell_id(place.id), results.index(*place, total)?));
        Ok(QueryDelta {
            removed: removed.into_iter().map(|id| Removed { id: spell_id(id), beyond: false }).collect(),
            added: changed.added.iter().map(index).collect::<Result<_, _>>()?,
            new_query_state: state,
            total: Some(u64::from(total)),
            // Last activity can change, so that `upToId` doesn't count (RFC 8620 §5.6).
            up_to_index: None,
        })
    }
}

/// The tests that every result passes: those of a condition, or of the conditions under AND.
fn demanded<'f>(filter: &'f Filter<Vec<Test>>, out: &mut Vec<&'f Test>) {
    match filter {
        Filter::Condition(tests) => out.extend(tests),
        Filter::And(all) => all.iter().for_each(|one| demanded(one, out)),
        Filter::Or(any) => {
            if let [one] = any.as_slice() {
                demanded(one, out);
            }
        }
        Filter::Not(_) => {}
    }
}

/// True where a filter says nothing but what `demanded` found in it.
fn is_plain(filter: &Filter<Vec<Test>>) -> bool {
    match filter {
        Filter::Condition(_) => true,
        Filter::And(all) => all.iter().all(is_plain),
        Filter::Or(any) => any.len() == 1 && any.iter().all(is_plain),
        Filter::Not(none) => none.is_empty(),
    }
}

/// The list whose order the results are in, and whether from its end; `None` where there is none.
fn plan(query: &Query<Conversation>) -> Option<(List, bool)> {
    let (by, backwards) = match query.sort.as_slice() {
        [] => (Order::LastActivityAt, false),
        // Places end with the id, so that nothing is left for further comparators.
        [Sort { by, ascending }] => (*by, *ascending),
        _ => return None,
    };
    let mut tests = Vec::new();
    if let Some(filter) = &query.filter {
        if !is_plain(filter) {
            return None;
        }
        demanded(filter, &mut tests);
    }
    let list = match (by, tests.as_slice()) {
        (Order::LastActivityAt, []) => List::Conversations,
        (Order::LastActivityAt, [one]) => one.list()?,
        (Order::LastActivityAt, [one, other]) => match (one, other) {
            (Test::Status(status), Test::Owner(owner)) | (Test::Owner(owner), Test::Status(status)) => {
                List::ConversationsOf(*status as u8, *owner)
            }
            _ => return None,
        },
        (Order::WaitingSince, [Test::Waiting(true)]) => List::ConversationsWaiting,
        (Order::WaitingSince, [Test::Waiting(true), Test::Owner(owner)])
        | (Order::WaitingSince, [Test::Owner(owner), Test::Waiting(true)]) => {
            List::ConversationsWaitingFor(*owner)
        }
        _ => return None,
    };
    Some((list, backwards))
}

/// Are all changes of such results told by the Conversations' log?
fn are_told(query: &Query<Conversation>) -> bool {
    let mut told = true;
    if let Some(filter) = &query.filter {
        filter.for_each(&mut |tests: &Vec<Test>| told &= !tests.iter().any(Test::is_by_emails));
    }
    told
}

/// What changed in results that are no list: each conversation that changed may have left, and is
/// there anew where it fits now (RFC 8620 §5.6).
fn changes_of_scan(
    ctx: &Ctx,
    account: &Account,
    query: &Query<Conversation>,
    since: &Since<'_>,
) -> Result<QueryDelta, MethodError> {
    let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
    if !are_told(query) {
        return Err(cannot());
    }
    let changed = Conversation::changes(ctx, account, since.query_state, CHANGES_MAX)?;
    if changed.has_more {
        return Err(cannot());
    }
    let ids: Vec<String> = scan(ctx, account, query)?.iter().map(spell).collect();
    let touched: BTreeSet<&String> = changed.created.iter().chain(&changed.updated).collect();
    let added = ids.iter().zip(0..).filter(|(id, _)| touched.contains(id));
    let added = added.map(|(id, at)| (id.clone(), at)).collect();
    let gone = changed.updated.iter().chain(&changed.destroyed);
    Ok(QueryDelta {
        removed: gone.map(|id| Removed { id: id.clone(), beyond: false }).collect(),
        added,
        new_query_state: changed.new_state.clone(),
        total: Some(ids.len() as u64),
        up_to_index: None,
    })
}

/// All results, in order, from the shortest list or set that has them all.
fn scan(
    ctx: &Ctx,
    account: &Account,
    query: &Query<Conversation>,
) -> Result<Vec<ConversationId>, MethodError> {
    let reader = ctx.reader();
    let sets = Sets::of(ctx, account, query.filter.as_ref())?;
    let ids = candidates(reader, account.id, query, &sets)?;
    let mut found = Vec::new();
    for some in ids.chunks(ROWS_AT_ONCE) {
        let rows = reader.rows::<ConversationRow>(account.id, some.iter().copied())?;
        found.extend(some.iter().zip(rows).filter_map(|(id, row)| {
            let row = row.filter(|row| row.merged_into.is_none())?;
            let fits = query.filter.as_ref().is_none_or(|filter| {
                filter.matches(&mut |tests: &Vec<Test>| tests.iter().all(|test| test.holds(*id, &row, &sets)))
            });
            fits.then(|| (keys_of(&row, &query.sort), row.last_activity_at.date(), *id))
        }));
    }
    found.sort_by(|(a, a_at, a_id), (b, b_at, b_id)| {
        let own = a.iter().zip(b).zip(&query.sort).map(|((a, b), sort)| sort.compare(a, b));
        let own = own.fold(Ordering::Equal, Ordering::then);
        // As the lists do: later first, and at equal times the higher number.
        own.then(b_at.cmp(a_at)).then(b_id.0.cmp(&a_id.0))
    });
    Ok(found.into_iter().map(|(_, _, id)| id).collect())
}

/// The conversations to look at.
fn candidates(
    reader: &dyn Read,
    account: AccountId,
    query: &Query<Conversation>,
    sets: &Sets,
) -> Result<Vec<ConversationId>, MethodError> {
    let mut tests = Vec::new();
    if let Some(filter) = &query.filter {
        demanded(filter, &mut tests);
    }
    let (mut from, mut total) = (List::Conversations, list::total(reader, account, List::Conversations)?);
    for narrower in lists(&tests) {
        let count = list::total(reader, account, narrower)?;
        if count < total {
            (from, total) = (narrower, count);
        }
    }
    let narrowest = tests.iter().filter_map(|test| sets.get(test)).min_by_key(|set| set.len());
    if let Some(set) = narrowest.filter(|set| set.len() < total as usize) {
        return Ok(set.iter().copied().collect());
    }
    let total = total as usize;
    if total > FILTER_SCAN_CONVERSATIONS_MAX {
        return Err(team::too_many());
    }
    let entries = list::page(reader, account, from, 0, total, false)?;
    Ok(entries.iter().map(|entry| ConversationId(entry.place.id)).collect())
}

/// Lists that have all conversations for which the tests hold.
fn lists(tests: &[&Test]) -> Vec<List> {
    let mut all: Vec<List> = tests.iter().filter_map(|test| test.list()).collect();
    let status =
        tests.iter().find_map(|test| if let Test::Status(status) = test { Some(*status) } else { None });
    let owner = tests.iter().find_map(|test| if let Test::Owner(owner) = test { Some(*owner) } else { None });
    if let (Some(status), Some(owner)) = (status, owner) {
        all.push(List::ConversationsOf(status as u8, owner));
    }
    if tests.contains(&&Test::Waiting(true)) {
        all.push(owner.map_or(List::ConversationsWaiting, List::ConversationsWaitingFor));
    }
    all
}

/// Rows read at once while scanning.
const ROWS_AT_ONCE: usize = 512;

/// What a row is ordered by; null stands behind everything, in either direction.
fn keys_of(row: &ConversationRow, sort: &[Sort]) -> Vec<Option<i64>> {
    let seconds = |at: UtcDate| at.0;
    let key = |sort: &Sort| match sort.by {
        Order::LastActivityAt => Some(seconds(row.last_activity_at.date())),
        Order::LastInboundAt => row.last_inbound_at.map(|at| seconds(at.date())),
        Order::WaitingSince => row.waiting_since.map(|since| seconds(since.date())),
        Order::CreatedAt => Some(seconds(row.created_at.date())),
        Order::SnoozedUntil => row.snoozed_until.map(|until| seconds(until.date())),
        Order::Priority => Some(row.priority as i64),
    };
    sort.iter().map(key).collect()
}

impl Sort {
    fn compare(self, a: &Option<i64>, b: &Option<i64>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.ascending => a.cmp(b),
            (Some(a), Some(b)) => b.cmp(a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// Results that are one of the store's lists, newest first or oldest first.
struct ListResults<'r> {
    reader: &'r dyn Read,
    account: AccountId,
    list: List,
    backwards: bool,
}

impl ListResults<'_> {
    /// The index of a place in a list of `total` entries.
    fn index(&self, place: Place, total: u32) -> Result<u64, MethodError> {
        let rank = list::rank(self.reader, self.account, self.list, place)?;
        Ok(u64::from(if self.backwards { total.saturating_sub(rank + 1) } else { rank }))
    }
}

impl Results for ListResults<'_> {
    fn total(&mut self) -> Result<u64, MethodError> {
        Ok(u64::from(list::total(self.reader, self.account, self.list)?))
    }

    fn page(&mut self, offset: u64, limit: u64) -> Result<Vec<String>, MethodError> {
        let Ok(offset) = u32::try_from(offset) else { return Ok(Vec::new()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let entries = list::page(self.reader, self.account, self.list, offset, limit, self.backwards)?;
        Ok(entries.into_iter().map(|entry| spell_id(entry.place.id)).collect())
    }

    fn position_of(&mut self, id: &str) -> Result<Option<u64>, MethodError> {
        let Some(id) = ConversationId::parse(id) else { return Ok(None) };
        let Some(row) = self.reader.row::<ConversationRow>(self.account, id)? else { return Ok(None) };
        let at = match self.list {
            List::ConversationsWaiting | List::ConversationsWaitingFor(_) => row.waiting_since,
            _ => Some(row.last_activity_at),
        };
        let Some(at) = at else { return Ok(None) };
        let place = Place { at: at.date(), id: id.0 };
        if !list::contains(self.reader, self.account, self.list, place)? {
            return Ok(None);
        }
        let total = list::total(self.reader, self.account, self.list)?;
        self.index(place, total).map(Some)
    }
}

fn spell(id: &ConversationId) -> String {
    id.to_string()
}

fn spell_id(id: u32) -> String {
    ConversationId(id).to_string()
}
