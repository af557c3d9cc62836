//! Conversation/query and /queryChanges.
//!
//! What a team looks at all day (everything, one status, one owner, nobody's, each by last
//! activity) comes from the store's lists: any page of them costs the same, and their changes are
//! exact. Every other question is answered by looking at the conversations of the narrowest list
//! that it allows, as many as `FILTER_SCAN_CONVERSATIONS_MAX`; its changes can't be told.
//! Conversations that went into another one are in no results.

use super::conversation::Conversation;
use super::team;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::object::{Object, Query, QueryObject, Since};
use crate::jmap::query::{Comparator, Filter, Materialised, QueryResult, Results};
use crate::jmap::query_changes::{QueryDelta, Removed};
use crate::jmap::session::Account;
use crate::store::rows::team::{ConversationRow, Priority, Status};
use crate::store::{List, Place, Read, changes, list};
use crate::types::limits::{CHANGES_MAX, FILTER_SCAN_CONVERSATIONS_MAX};
use crate::types::{AccountId, ConversationId, PrincipalId, ThreadId, UtcDate};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// One test; the tests of a FilterCondition must all hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    Status(Status),
    Owner(Option<PrincipalId>),
    HasOwner(bool),
    Team(Option<PrincipalId>),
    Watcher(PrincipalId),
    Tag(String),
    Category(Option<String>),
    Resolution(Option<String>),
    Priority(Priority),
    /// In the customer's address or name, in small letters.
    Customer(String),
    /// In the subject, in small letters.
    Text(String),
    Thread(ThreadId),
    WaitingBefore(UtcDate),
    CreatedBefore(UtcDate),
    CreatedAfter(UtcDate),
    UpdatedBefore(UtcDate),
    UpdatedAfter(UtcDate),
    /// It names something that there is not.
    Never,
}

/// What results are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    LastActivityAt,
    WaitingSince,
    CreatedAt,
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
        let mut tests = Vec::new();
        if ctx.using.contains(Capability::Ownership) {
            ownership_tests(ctx, args, &mut tests)?;
        }
        if ctx.using.contains(Capability::Status) {
            status_tests(args, &mut tests)?;
        }
        tests.extend(args.string("customer")?.map(|text| Test::Customer(text.to_lowercase())));
        tests.extend(args.string("text")?.map(|text| Test::Text(text.to_lowercase())));
        let thread = args.string("threadId")?;
        tests.extend(thread.map(|id| ThreadId::parse(&id).map_or(Test::Never, Test::Thread)));
        tests.extend(team::date_argument(args, "waitingBefore")?.map(Test::WaitingBefore));
        tests.extend(team::date_argument(args, "createdBefore")?.map(Test::CreatedBefore));
        tests.extend(team::date_argument(args, "createdAfter")?.map(Test::CreatedAfter));
        tests.extend(team::date_argument(args, "updatedBefore")?.map(Test::UpdatedBefore));
        tests.extend(team::date_argument(args, "updatedAfter")?.map(Test::UpdatedAfter));
        Ok(tests)
    }

    fn sort(ctx: &Ctx, comparator: Comparator) -> Result<Sort, MethodError> {
        let by = match comparator.property.as_str() {
            "lastActivityAt" => Order::LastActivityAt,
            "waitingSince" => Order::WaitingSince,
            "createdAt" => Order::CreatedAt,
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
        let plan = plan(query);
        let results: Box<dyn Results + 'q> = match plan {
            Some((list, backwards)) => {
                Box::new(ListResults { reader: ctx.reader(), account: account.id, list, backwards })
            }
            None => Box::new(Materialised { ids: scan(ctx.reader(), account.id, query)?, spell }),
        };
        Ok(QueryResult {
            results,
            query_state: Self::state(ctx, ctx.reader(), account)?,
            can_calculate_changes: plan.is_some(),
        })
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
        let (list, backwards) = plan(query).ok_or_else(cannot)?;
        let state = Self::state(ctx, ctx.reader(), account)?;
        let old = changes::Since::parse(since.query_state).filter(|old| old.told == 0).ok_or_else(cannot)?;
        let new = changes::Since::parse(&state).filter(|new| *new >= old).ok_or_else(cannot)?;
        let reader = ctx.reader();
        let mut changed = list::ListChanges::default();
        if new != old {
            changed = list::changes(reader, account.id, list, old.modseq)?;
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

fn ownership_tests(ctx: &Ctx, args: &mut Args, tests: &mut Vec<Test>) -> Result<(), MethodError> {
    for (name, test) in [("ownerId", Test::Owner as fn(Option<PrincipalId>) -> Test), ("teamId", Test::Team)]
    {
        match args.given(name) {
            None => {}
            Some(serde_json::Value::Null) => tests.push(test(None)),
            Some(serde_json::Value::String(text)) if text == "me" => {
                tests.push(test(Some(ctx.session.principal)))
            }
            Some(serde_json::Value::String(text)) => {
                tests.push(PrincipalId::parse(&text).map_or(Test::Never, |id| test(Some(id))));
            }
            Some(_) => return Err(MethodError::argument(name, "must be an id or null")),
        }
    }
    if args.left_has("hasOwner") {
        tests.push(Test::HasOwner(args.flag("hasOwner")?));
    }
    let watcher = team::principal_argument(ctx, args, "watcherId")?;
    tests.extend(watcher.map(|id| id.map_or(Test::Never, Test::Watcher)));
    Ok(())
}

fn status_tests(args: &mut Args, tests: &mut Vec<Test>) -> Result<(), MethodError> {
    let unknown = |name: &str| MethodError::argument(name, "there is no such word");
    if let Some(name) = args.string("status")? {
        tests.push(Test::Status(Status::parse(&name).ok_or_else(|| unknown("status"))?));
    }
    if let Some(name) = args.string("priority")? {
        tests.push(Test::Priority(Priority::parse(&name).ok_or_else(|| unknown("priority"))?));
    }
    tests.extend(args.string("tag")?.map(Test::Tag));
    for (name, test) in
        [("category", Test::Category as fn(Option<String>) -> Test), ("resolution", Test::Resolution)]
    {
        match args.given(name) {
            None => {}
            Some(serde_json::Value::Null) => tests.push(test(None)),
            Some(serde_json::Value::String(text)) => tests.push(test(Some(text))),
            Some(_) => return Err(MethodError::argument(name, "must be a string or null")),
        }
    }
    Ok(())
}

impl Test {
    fn holds(&self, row: &ConversationRow) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(part);
        match self {
            Self::Status(status) => row.status == *status,
            Self::Owner(owner) => row.owner == *owner,
            Self::HasOwner(has) => row.owner.is_some() == *has,
            Self::Team(team) => row.team == *team,
            Self::Watcher(watcher) => row.watchers.contains(watcher),
            Self::Tag(tag) => row.tags.contains(tag),
            Self::Category(category) => row.category == *category,
            Self::Resolution(resolution) => row.resolution == *resolution,
            Self::Priority(priority) => row.priority == *priority,
            Self::Customer(part) => row.customer.as_ref().is_some_and(|customer| {
                let name = customer.name.as_deref().unwrap_or_default();
                contains(customer.address.as_str(), part) || contains(name, part)
            }),
            Self::Text(part) => contains(&row.subject, part),
            Self::Thread(thread) => row.thread_ids.contains(thread),
            Self::WaitingBefore(date) => row.waiting_since.is_some_and(|since| since.date() < *date),
            Self::CreatedBefore(date) => row.created_at.date() < *date,
            Self::CreatedAfter(date) => row.created_at.date() >= *date,
            Self::UpdatedBefore(date) => row.last_activity_at.date() < *date,
            Self::UpdatedAfter(date) => row.last_activity_at.date() >= *date,
            Self::Never => false,
        }
    }

    /// The list of exactly those for which the test holds.
    fn list(&self) -> Option<List> {
        match self {
            Self::Status(status) => Some(List::ConversationsWithStatus(*status as u8)),
            Self::Owner(owner) => Some(List::ConversationsOfOwner(*owner)),
            Self::HasOwner(false) => Some(List::ConversationsOfOwner(None)),
            _ => None,
        }
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
    let backwards = match query.sort.as_slice() {
        [] => false,
        // Places end with the id, so that nothing is left for further comparators.
        [Sort { by: Order::LastActivityAt, ascending }] => *ascending,
        _ => return None,
    };
    let mut tests = Vec::new();
    if let Some(filter) = &query.filter {
        if !is_plain(filter) {
            return None;
        }
        demanded(filter, &mut tests);
    }
    match tests.as_slice() {
        [] => Some((List::Conversations, backwards)),
        [one] => one.list().map(|list| (list, backwards)),
        _ => None,
    }
}

/// All results, in order, from the shortest list that has them all.
fn scan(
    reader: &dyn Read,
    account: AccountId,
    query: &Query<Conversation>,
) -> Result<Vec<ConversationId>, MethodError> {
    let mut tests = Vec::new();
    if let Some(filter) = &query.filter {
        demanded(filter, &mut tests);
    }
    let (mut from, mut total) = (List::Conversations, list::total(reader, account, List::Conversations)?);
    for narrower in tests.iter().filter_map(|test| test.list()) {
        let count = list::total(reader, account, narrower)?;
        if count < total {
            (from, total) = (narrower, count);
        }
    }
    let total = total as usize;
    if total > FILTER_SCAN_CONVERSATIONS_MAX {
        return Err(team::too_many());
    }
    let entries = list::page(reader, account, from, 0, total, false)?;
    let mut found = Vec::new();
    for some in entries.chunks(ROWS_AT_ONCE) {
        let ids = some.iter().map(|entry| ConversationId(entry.place.id));
        let rows = reader.rows::<ConversationRow>(account, ids.clone())?;
        found.extend(ids.zip(rows).filter_map(|(id, row)| {
            let row = row.filter(|row| fits(query.filter.as_ref(), row))?;
            Some((keys_of(&row, &query.sort), row.last_activity_at.date(), id))
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

/// Rows read at once while scanning.
const ROWS_AT_ONCE: usize = 512;

fn fits(filter: Option<&Filter<Vec<Test>>>, row: &ConversationRow) -> bool {
    filter.is_none_or(|filter| {
        filter.matches(&mut |tests: &Vec<Test>| tests.iter().all(|test| test.holds(row)))
    })
}

/// What a row is ordered by; null stands behind everything, in either direction.
fn keys_of(row: &ConversationRow, sort: &[Sort]) -> Vec<Option<i64>> {
    let key = |sort: &Sort| match sort.by {
        Order::LastActivityAt => Some(row.last_activity_at.date().0),
        Order::WaitingSince => row.waiting_since.map(|since| since.date().0),
        Order::CreatedAt => Some(row.created_at.date().0),
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
        let place = Place { at: row.last_activity_at.date(), id: id.0 };
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
