//! Activity: one immutable entry in an inbox's history. Nothing sets or destroys one.
//!
//! Entries are numbered without gaps from 0, in the order of time, so that the history of the whole
//! inbox can be paged without reading it. A text that an entry speaks of (a tag, a category) is
//! stored apart and is null once it was erased.

use super::team::{self, date_json, principal_json};
use crate::inbox::desk::activity_head;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::Activity as Shown;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::methods::{Method, read};
use crate::jmap::object::*;
use crate::jmap::query::{Comparator, Filter, Materialised, QueryResult, Results};
use crate::jmap::query_changes::QueryDelta;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, query, query_changes};
use crate::store::Read;
use crate::store::keys::{self, Key, Kind as RowKind};
use crate::store::rows;
use crate::store::rows::team::{
    ActivityKind, ActivityRow, ActivityTextRow, ActivityValue, Cause, Explain, SaltedText,
};
use crate::types::limits::{CHANGES_MAX, FILTER_SCAN_ACTIVITIES_MAX};
use crate::types::{AccountId, ActivityId, ConversationId, DataType, MemberRole, PrincipalId, UtcDate};
use serde_json::{Map, Value, json};

/// One line a method.
pub static METHODS: &[Method] = &[
    read("Activity/get", Shown, get::run::<Activity>),
    read("Activity/changes", Shown, changes::run::<Activity>),
    read("Activity/query", Shown, query::run::<Activity>),
    read("Activity/queryChanges", Shown, query_changes::run::<Activity>),
];

/// The type.
pub struct Activity;

static TABLE: TypeTable = TypeTable {
    name: "Activity",
    data_type: Some(DataType::Activity),
    capability: Shown,
    id: |number| ActivityId(number).to_string(),
    properties: &[
        Property::ID,
        Property::server("conversationId", Kind::Id).or_null(),
        Property::server("at", Kind::UtcDate),
        Property::server("actorId", Kind::Id).or_null(),
        Property::server("cause", Kind::String),
        Property::server("type", Kind::String),
        Property::server("before", Kind::Any).or_null(),
        Property::server("after", Kind::Any).or_null(),
        Property::server("explain", Kind::Object).or_null(),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

impl Object for Activity {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let known: Vec<Option<ActivityId>> = ids.iter().map(|id| ActivityId::parse(id)).collect();
        let numbers: Vec<ActivityId> = known.iter().flatten().copied().collect();
        let texts: Vec<Key> =
            numbers.iter().map(|id| keys::row(account.id, RowKind::ActivityText, id.0)).collect();
        let rows = reader.rows::<ActivityRow>(account.id, numbers)?;
        let texts = reader.bytes_many(&texts)?;
        let mut found = rows.into_iter().zip(texts);
        let mut out = Vec::with_capacity(ids.len());
        for (text, id) in ids.iter().zip(known) {
            // What was asked for and is spelled right has a row or none, in the same order.
            let row = id.and_then(|_| found.next());
            out.push(match row {
                Some((Some(row), words)) => {
                    let words = words.map(|bytes| rows::decode::<ActivityTextRow>(&bytes)).transpose()?;
                    Some(to_json(text, &row, words.as_ref(), props))
                }
                _ => None,
            });
        }
        Ok(out)
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let next = activity_head(reader, account.id)?.next.0;
        Ok((next as usize <= max).then(|| (0..next).map(|id| ActivityId(id).to_string()).collect()))
    }
}

fn to_json(
    id: &str,
    row: &ActivityRow,
    texts: Option<&ActivityTextRow>,
    props: &Props,
) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id),
        "conversationId" => json!(row.conversation.map(|id| id.to_string())),
        "at" => date_json(row.at),
        "actorId" => principal_json(row.actor),
        "cause" => json!(row.cause.name()),
        "type" => json!(row.kind.name()),
        "before" => value_json(&row.before, texts.and_then(|texts| texts.before.as_ref())),
        "after" => value_json(&row.after, texts.and_then(|texts| texts.after.as_ref())),
        "explain" => row.explain.as_ref().map_or(Value::Null, explain_json),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// The reason, and what it is of under the name that such an id has elsewhere.
fn explain_json(explain: &Explain) -> Value {
    let of = match explain.of {
        ActivityValue::Email(_) => "emailId",
        ActivityValue::Submission(_) => "submissionId",
        ActivityValue::Note(_) => "noteId",
        ActivityValue::Principal(_) => "principalId",
        ActivityValue::Conversation(_) => "conversationId",
        ActivityValue::Moment(_) => "until",
        _ => return json!({"reason": explain.reason.name()}),
    };
    json!({"reason": explain.reason.name(), of: value_json(&explain.of, None)})
}

fn value_json(value: &ActivityValue, text: Option<&SaltedText>) -> Value {
    match value {
        ActivityValue::None => Value::Null,
        ActivityValue::Principal(id) => json!(id.to_string()),
        ActivityValue::Status(status) => json!(status.name()),
        ActivityValue::Priority(priority) => json!(priority.name()),
        ActivityValue::Role(role) => json!(role.name()),
        ActivityValue::Moment(at) => date_json(*at),
        ActivityValue::Number(number) => json!(number),
        ActivityValue::Account(id) => json!(id.to_string()),
        ActivityValue::Conversation(id) => json!(id.to_string()),
        ActivityValue::Note(id) => json!(id.to_string()),
        ActivityValue::Email(id) => json!(id.to_string()),
        ActivityValue::Submission(id) => json!(id.to_string()),
        ActivityValue::Text(_) => json!(text.map(|text| text.text.as_str())),
    }
}

/// One test; the tests of a FilterCondition must all hold. An id or a word that names nothing is
/// an inner `None` that matches nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    Conversation(Option<ConversationId>),
    /// No conversation: what concerns the inbox.
    Inbox,
    Type(Option<ActivityKind>),
    Actor(Option<PrincipalId>),
    Cause(Option<Cause>),
    After(UtcDate),
    Before(UtcDate),
}

impl Test {
    fn holds(&self, row: &ActivityRow) -> bool {
        match self {
            Self::Conversation(id) => id.is_some() && *id == row.conversation,
            Self::Inbox => row.conversation.is_none(),
            Self::Type(kind) => *kind == Some(row.kind),
            Self::Actor(actor) => actor.is_some() && *actor == row.actor,
            Self::Cause(cause) => *cause == Some(row.cause),
            Self::After(date) => row.at.date() >= *date,
            Self::Before(date) => row.at.date() < *date,
        }
    }
}

impl QueryObject for Activity {
    type Condition = Vec<Test>;
    /// By time; true: oldest first.
    type Sort = bool;
    type QueryArgs = ();

    fn condition(ctx: &Ctx, args: &mut Args) -> Result<Vec<Test>, MethodError> {
        let mut tests = Vec::new();
        match args.given("conversationId") {
            None => {}
            Some(Value::Null) => tests.push(Test::Inbox),
            Some(Value::String(id)) => tests.push(Test::Conversation(ConversationId::parse(&id))),
            Some(_) => return Err(MethodError::argument("conversationId", "must be an id or null")),
        }
        tests.extend(args.string("type")?.map(|name| Test::Type(ActivityKind::parse(&name))));
        tests.extend(team::principal_argument(ctx, args, "actorId")?.map(Test::Actor));
        let causes = [Cause::User, Cause::Rule, Cause::Timer, Cause::Mail];
        let cause = args.string("cause")?;
        tests.extend(cause.map(|name| Test::Cause(causes.into_iter().find(|one| one.name() == name))));
        tests.extend(team::date_argument(args, "after")?.map(Test::After));
        tests.extend(team::date_argument(args, "before")?.map(Test::Before));
        Ok(tests)
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<bool, MethodError> {
        match comparator.property.as_str() {
            "at" => Ok(comparator.is_ascending),
            _ => Err(MethodErrorKind::UnsupportedSort.into()),
        }
    }

    fn query_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError> {
        let next = activity_head(ctx.reader(), account.id)?.next.0;
        Ok(QueryResult {
            results: results(ctx.reader(), account.id, next, query)?,
            query_state: query_state(next),
            can_calculate_changes: true,
        })
    }

    /// Entries never change, and are only added at the end: what is new are the numbers since, and nothing
    /// was removed.
    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
        let reader = ctx.reader();
        let next = activity_head(reader, account.id)?.next.0;
        let old = since.query_state.strip_prefix('y').and_then(|number| number.parse().ok());
        let old: u32 =
            old.filter(|old| *old <= next && query_state(*old) == since.query_state).ok_or_else(cannot)?;
        if (next - old) as usize > CHANGES_MAX {
            return Err(cannot());
        }
        let mut fresh: Vec<ActivityId> = (old..next).map(ActivityId).collect();
        if let Some(filter) = &query.filter {
            fresh = fitting(reader, account.id, &fresh, filter)?;
        }
        let mut delta = QueryDelta { new_query_state: query_state(next), ..QueryDelta::default() };
        let oldest_first = query.sort.first().copied().unwrap_or_default();
        let mut before = 0;
        if oldest_first || since.calculate_total || since.up_to_id.is_some() {
            let mut results = results(reader, account.id, next, query)?;
            let total = results.total()?;
            delta.total = Some(total);
            delta.up_to_index = match since.up_to_id {
                Some(id) => results.position_of(id)?,
                None => None,
            };
            before = total.saturating_sub(fresh.len() as u64);
        }
        if !oldest_first {
            fresh.reverse();
            before = 0;
        }
        delta.added = fresh.iter().map(ActivityId::to_string).zip(before..).collect();
        Ok(delta)
    }
}

/// The state of every query: how many entries there are.
fn query_state(next: u32) -> String {
    format!("y{next}")
}

fn results<'r>(
    reader: &dyn Read,
    account: AccountId,
    next: u32,
    query: &Query<Activity>,
) -> Result<Box<dyn Results + 'r>, MethodError> {
    let oldest_first = query.sort.first().copied().unwrap_or_default();
    let Some(filter) = &query.filter else { return Ok(Box::new(Whole { next, oldest_first })) };
    let mut ids = matching(reader, account, next, filter)?;
    if !oldest_first {
        ids.reverse();
    }
    Ok(Box::new(Materialised { ids, spell: ActivityId::to_string }))
}

/// The conversation that every result is of, if the filter says so.
fn conversation_of(filter: &Filter<Vec<Test>>) -> Option<Option<ConversationId>> {
    match filter {
        Filter::Condition(tests) => tests.iter().find_map(|test| match test {
            Test::Conversation(id) => Some(*id),
            _ => None,
        }),
        Filter::And(all) => all.iter().find_map(conversation_of),
        _ => None,
    }
}

/// The entries that match, oldest first.
fn matching(
    reader: &dyn Read,
    account: AccountId,
    next: u32,
    filter: &Filter<Vec<Test>>,
) -> Result<Vec<ActivityId>, MethodError> {
    let max = FILTER_SCAN_ACTIVITIES_MAX;
    let ids: Vec<ActivityId> = match conversation_of(filter) {
        Some(None) => return Ok(Vec::new()),
        Some(Some(conversation)) => {
            let range = keys::all_of(account, RowKind::ConversationActivity, conversation.0);
            reader.ids(&range, false, max + 1)?.into_iter().map(ActivityId).collect()
        }
        None if next as usize > max => return Err(team::too_many()),
        None => (0..next).map(ActivityId).collect(),
    };
    if ids.len() > max {
        return Err(team::too_many());
    }
    fitting(reader, account, &ids, filter)
}

/// Those of the entries that match, in the order given.
fn fitting(
    reader: &dyn Read,
    account: AccountId,
    ids: &[ActivityId],
    filter: &Filter<Vec<Test>>,
) -> Result<Vec<ActivityId>, MethodError> {
    let fits =
        |row: &ActivityRow| filter.matches(&mut |tests: &Vec<Test>| tests.iter().all(|test| test.holds(row)));
    let mut found = Vec::new();
    for some in ids.chunks(ROWS_AT_ONCE) {
        let rows = reader.rows::<ActivityRow>(account, some.iter().copied())?;
        let fitting = some.iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(fits));
        found.extend(fitting.map(|(id, _)| *id));
    }
    Ok(found)
}

/// Rows read at once while scanning.
const ROWS_AT_ONCE: usize = 512;

/// The whole history: its numbers are its ids.
struct Whole {
    next: u32,
    oldest_first: bool,
}

impl Results for Whole {
    fn total(&mut self) -> Result<u64, MethodError> {
        Ok(u64::from(self.next))
    }

    fn page(&mut self, offset: u64, limit: u64) -> Result<Vec<String>, MethodError> {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX).min(self.next);
        let end = offset.saturating_add(u32::try_from(limit).unwrap_or(u32::MAX)).min(self.next);
        let number = |at: u32| if self.oldest_first { at } else { self.next - 1 - at };
        Ok((offset..end).map(|at| ActivityId(number(at)).to_string()).collect())
    }

    fn position_of(&mut self, id: &str) -> Result<Option<u64>, MethodError> {
        let id = ActivityId::parse(id).filter(|id| id.0 < self.next);
        Ok(id.map(|id| u64::from(if self.oldest_first { id.0 } else { self.next - 1 - id.0 })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::team::Reason;

    #[test]
    fn the_schema_has_every_type_and_every_reason() {
        let schema: Value = serde_json::from_str(include_str!("../../../spec/schema/Activity.json")).unwrap();
        let names = |place: &str| schema.pointer(place).unwrap().clone();
        let kinds: Vec<&str> = ActivityKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(
            names("/$defs/Properties/properties/type/enum").as_array().unwrap().len(),
            kinds.len(),
            "{kinds:?}"
        );
        for kind in kinds {
            assert!(
                names("/$defs/Properties/properties/type/enum").as_array().unwrap().contains(&json!(kind))
            );
        }
        let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names("/$defs/Explain/properties/reason/enum"), json!(reasons));
    }
}
