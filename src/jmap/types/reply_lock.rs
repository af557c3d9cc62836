//! ReplyLock: "I am answering this", a lease with a fencing token.
//!
//! What can be got is live by the one clock, whether or not a timer has swept the others away. A
//! lock that ended in whatever way (its time, a newer one, a takeover, a reply) is `lockLost` to
//! who renews or releases it: numbers aren't reused, so one that was given out tells that there
//! was a lock. The token is shown to the lock's holder alone.

use super::team::{self, date_json, principal_json};
use crate::inbox::lock::{self, Ask};
use crate::inbox::refusal;
use crate::jmap::args::{Args, as_int};
use crate::jmap::capability::Capability::Locks;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::query::{Comparator, QueryResult};
use crate::jmap::query_changes::QueryDelta;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, query, query_changes, set};
use crate::store::keys::{self, Kind as RowKind};
use crate::store::rows::account::AccountState;
use crate::store::rows::team::{ConversationRow, ReplyLockRow};
use crate::store::{Read, StoreResult};
use crate::types::{ConversationId, DataType, LockId, MemberRole, Millis, PrincipalId};
use serde_json::{Map, Value, json};

/// One line a method.
pub static METHODS: &[Method] = &[
    read("ReplyLock/get", Locks, get::run::<ReplyLock>),
    read("ReplyLock/changes", Locks, changes::run::<ReplyLock>),
    write("ReplyLock/set", Locks, set::run::<ReplyLock>),
    read("ReplyLock/query", Locks, query::run::<ReplyLock>),
    read("ReplyLock/queryChanges", Locks, query_changes::run::<ReplyLock>),
];

/// The type.
pub struct ReplyLock;

static TABLE: TypeTable = TypeTable {
    name: "ReplyLock",
    data_type: Some(DataType::ReplyLock),
    capability: Locks,
    id: |number| LockId(number).to_string(),
    properties: &[
        Property::ID,
        Property::immutable("conversationId", Kind::Id, Initial::Required),
        Property::server("holderId", Kind::Id),
        Property::server("expiresAt", Kind::UtcDate),
        Property::server("token", Kind::UnsignedInt).or_null(),
        // What is asked for rather than what is: how long from now, and over another's lock.
        Property::mutable("seconds", Kind::UnsignedInt, Initial::Computed).or_null().on_request(),
        Property::immutable("force", Kind::Boolean, Initial::Computed).on_request(),
    ],
    // An observer is refused by the rules, in words.
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: Some(Locks),
    if_owner: None,
};

/// Which locks are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum There {
    /// For /get: the live ones.
    Live,
    /// For /set on its way: every one that ever was, so that an end is told as `lockLost`.
    #[default]
    Ever,
}

impl Object for ReplyLock {
    type GetArgs = There;

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_args(_ctx: &Ctx, _args: &mut Args, _props: &Props) -> Result<There, MethodError> {
        Ok(There::Live)
    }

    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        there: &There,
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let now = ctx.store.clock.now();
        let mut found = Vec::with_capacity(ids.len());
        for text in ids {
            let id = LockId::parse(text);
            let row: Option<ReplyLockRow> = match id {
                Some(id) => reader.row(account.id, id)?,
                None => None,
            };
            found.push(match (id, row) {
                (_, Some(row)) if *there == There::Ever || lock::live(Some(&row), now).is_some() => {
                    Some(to_json(ctx, text, &row, props, now))
                }
                (Some(id), None) if *there == There::Ever && was_given(reader, account, id)? => {
                    Some(props.iter().map(|name| (name.to_owned(), Value::Null)).collect())
                }
                _ => None,
            });
        }
        Ok(found)
    }

    fn all_ids(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let rows = live(ctx, reader, account)?;
        let ids = || rows.iter().map(|(id, _)| id.to_string());
        Ok((rows.len() <= max).then(|| ids().collect()))
    }
}

/// The live locks, as many as there are conversations being answered.
fn live(ctx: &Ctx, reader: &dyn Read, account: &Account) -> StoreResult<Vec<(LockId, ReplyLockRow)>> {
    let now = ctx.store.clock.now();
    // With a few that nobody swept yet.
    let rows = reader.collect_rows::<ReplyLockRow>(&keys::all(account.id, RowKind::Lock))?;
    let live = rows.into_iter().filter(|(_, row)| lock::live(Some(row), now).is_some());
    Ok(live.map(|(id, row)| (LockId(id), row)).collect())
}

/// Was there ever a lock of that number?
fn was_given(reader: &dyn Read, account: &Account, id: LockId) -> Result<bool, MethodError> {
    let state = reader.row::<AccountState>(account.id, ())?.unwrap_or_default();
    Ok(id.0 > 0 && id.0 <= state.next.lock)
}

fn to_json(ctx: &Ctx, id: &str, row: &ReplyLockRow, props: &Props, now: Millis) -> Map<String, Value> {
    let own = row.holder == ctx.session.principal;
    let value = |name: &str| match name {
        "id" => json!(id),
        "conversationId" => json!(row.conversation.to_string()),
        "holderId" => principal_json(Some(row.holder)),
        "expiresAt" => date_json(row.expires_at),
        "token" => json!(own.then_some(row.token)),
        "seconds" => json!(now.until(row.expires_at).as_secs()),
        "force" => json!(false),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

fn seconds(properties: &Map<String, Value>) -> Option<u64> {
    properties.get("seconds").and_then(as_int).and_then(|seconds| u64::try_from(seconds).ok())
}

/// The lock's number, or `notFound` where there never was one.
fn lock_id(set: &Set<'_, '_>, text: &str) -> Result<LockId, Refusal> {
    let id = LockId::parse(text).ok_or(SetErrorKind::NotFound)?;
    if was_given(set.reader(), set.account, id)? { Ok(id) } else { Err(SetErrorKind::NotFound.into()) }
}

impl SetObject for ReplyLock {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(set: &mut Set<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let (conversation, _) = conversation_of(set, &properties)?;
        let force = properties.get("force").and_then(Value::as_bool).unwrap_or_default();
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        let now = desk.now;
        let granted = desk.acquire_lock(Ask { conversation, seconds: seconds(&properties), force });
        let (id, row) = granted.map_err(|error| team::refused(error, &staff))?;
        let id = id.to_string();
        let properties = to_json(set.ctx, &id, &row, &Props::of(["holderId", "expiresAt", "token"]), now);
        Ok(Created { id, properties })
    }

    /// Renews, for `seconds` or for as long as the inbox says.
    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = lock_id(set, update.id)?;
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        let (now, seconds) = (desk.now, seconds(update.new).unwrap_or(desk.settings.lock_seconds));
        let renewed = desk.renew_lock(id, seconds).map_err(|error| team::refused(error, &staff))?;
        let mut told = to_json(set.ctx, update.id, &renewed, &Props::of(["expiresAt"]), now);
        told.shift_remove("id");
        Ok(Some(told))
    }

    fn check_expected(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let row: Option<ReplyLockRow> = set.reader().row(set.account.id, lock_id(set, id)?)?;
        // One that has ended is told so.
        let Some(lock) = row else { return Ok(()) };
        let conversation: Option<ConversationRow> = set.reader().row(set.account.id, lock.conversation)?;
        must_be_at(set, id, conversation.map(|row| row.version).unwrap_or_default())
    }

    fn check_expected_of_create(
        set: &mut Set<'_, '_>,
        key: &str,
        properties: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let (_, row) = conversation_of(set, properties)?;
        must_be_at(set, key, row.version)
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = lock_id(set, id)?;
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        match desk.read().row::<ReplyLockRow>(set.account.id, id)? {
            Some(_) => desk.release_lock(id).map_err(|error| team::refused(error, &staff)),
            None => {
                let lost = refusal::Refusal::LockLost { holder: None, expires_at: None };
                Err(team::set_error(&lost, &staff).into())
            }
        }
    }
}

/// The conversation that a lock is asked for.
fn conversation_of(
    set: &Set<'_, '_>,
    properties: &Map<String, Value>,
) -> Result<(ConversationId, ConversationRow), Refusal> {
    let id = properties.get("conversationId").and_then(Value::as_str).and_then(ConversationId::parse);
    let missing = || SetError::properties(["conversationId"], "There is no such conversation.");
    let id = id.ok_or_else(missing)?;
    let row = set.reader().row::<ConversationRow>(set.account.id, id)?.ok_or_else(missing)?;
    Ok((id, row))
}

/// A lock has no version of its own: it is taken, kept and given back by who has read the conversation.
fn must_be_at(set: &mut Set<'_, '_>, key: &str, version: u64) -> Result<(), Refusal> {
    if set.expected.version(key).is_some_and(|wanted| wanted != version.to_string()) {
        let no = refusal::Refusal::VersionMismatch { version };
        return Err(team::set_error(&no, &team::staff(set.ctx, set.account)).into());
    }
    Ok(())
}

/// One test; the tests of a FilterCondition must all hold. An id that names nothing is `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    Conversation(Option<ConversationId>),
    Holder(Option<PrincipalId>),
}

impl Test {
    fn holds(&self, row: &ReplyLockRow) -> bool {
        match self {
            Self::Conversation(id) => *id == Some(row.conversation),
            Self::Holder(id) => *id == Some(row.holder),
        }
    }
}

impl QueryObject for ReplyLock {
    type Condition = Vec<Test>;
    /// By when they end; true: the first one to end first.
    type Sort = bool;
    type QueryArgs = ();

    fn condition(ctx: &Ctx, args: &mut Args) -> Result<Vec<Test>, MethodError> {
        let conversation = args.string("conversationId")?;
        let conversation = conversation.map(|id| Test::Conversation(ConversationId::parse(&id)));
        let holder = team::principal_argument(ctx, args, "holderId")?.map(Test::Holder);
        Ok(conversation.into_iter().chain(holder).collect())
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<bool, MethodError> {
        match comparator.property.as_str() {
            "expiresAt" => Ok(comparator.is_ascending),
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
        let state = Self::state(ctx, ctx.reader(), account)?;
        Ok(QueryResult::whole(matching(ctx, account, query)?, LockId::to_string, state))
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changed = Self::changes(ctx, account, since.query_state, usize::MAX)?;
        let ids = matching(ctx, account, query)?;
        Ok(QueryDelta::of_changes(changed, ids.iter().map(LockId::to_string)))
    }
}

fn matching(ctx: &Ctx, account: &Account, query: &Query<ReplyLock>) -> Result<Vec<LockId>, MethodError> {
    let mut found = live(ctx, ctx.reader(), account)?;
    if let Some(filter) = &query.filter {
        let holds = |row: &ReplyLockRow| {
            filter.matches(&mut |tests: &Vec<Test>| tests.iter().all(|test| test.holds(row)))
        };
        found.retain(|(_, row)| holds(row));
    }
    found.sort_by_key(|(id, row)| (row.expires_at, *id));
    if query.sort.first() == Some(&false) {
        found.reverse();
    }
    Ok(found.into_iter().map(|(id, _)| id).collect())
}
