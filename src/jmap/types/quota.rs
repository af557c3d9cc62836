//! Quota (RFC 9425): what an account may hold and holds, in octets and in messages. Who sets the
//! limits is the operator; clients only read.

use crate::jmap::args::Args;
use crate::jmap::capability::Capability::{self, Quota as QuotaCapability};
use crate::jmap::changes::{self, ChangedIds};
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read};
use crate::jmap::object::*;
use crate::jmap::query::{Comparator, Filter, QueryResult};
use crate::jmap::query_changes::{self, QueryDelta};
use crate::jmap::session::Account;
use crate::jmap::{get, query};
use crate::mail::quota::{self, MESSAGES, OCTETS, Room};
use crate::store::Read;
use crate::store::rows::quota::QuotaLimit;
use crate::types::{AccountId, DataType, MemberRole, QuotaId};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// One line a method.
pub static METHODS: &[Method] = &[
    read("Quota/get", QuotaCapability, get::run::<Quota>),
    read("Quota/changes", QuotaCapability, changes::run::<Quota>),
    read("Quota/query", QuotaCapability, query::run::<Quota>),
    read("Quota/queryChanges", QuotaCapability, query_changes::run::<Quota>),
];

/// The type.
pub struct Quota;

static TABLE: TypeTable = TypeTable {
    name: "Quota",
    data_type: Some(DataType::Quota),
    capability: QuotaCapability,
    id: |number| QuotaId(number).to_string(),
    properties: &[
        Property::ID,
        Property::server("resourceType", Kind::String),
        Property::server("used", Kind::UnsignedInt),
        Property::server("hardLimit", Kind::UnsignedInt),
        Property::server("scope", Kind::String),
        Property::server("name", Kind::String),
        Property::server("types", Kind::Strings),
        Property::server("warnLimit", Kind::UnsignedInt).or_null(),
        Property::server("softLimit", Kind::UnsignedInt).or_null(),
        Property::server("description", Kind::String).or_null(),
    ],
    write_role: MemberRole::Admin,
    singleton: false,
    if_version: None,
    if_owner: None,
};

/// One quota of an account.
struct One {
    number: u32,
    resource_type: &'static str,
    name: &'static str,
    used: u64,
    limit: QuotaLimit,
    description: &'static str,
}

/// All that there are for this client: RFC 9425 §4 leaves out those of types that it doesn't use.
fn all(ctx: &Ctx, reader: &dyn Read, account: &Account) -> Result<Vec<One>, MethodError> {
    if !ctx.using.contains(Capability::Mail) {
        return Ok(Vec::new());
    }
    let usage = quota::usage(reader, account.id)?;
    let limits = quota::limits(reader, account.id, ctx.store.quotas())?;
    Ok(vec![
        One {
            number: OCTETS,
            resource_type: "octets",
            name: "Storage",
            used: usage.octets,
            limit: limits.octets,
            description: "The size of all messages in this account.",
        },
        One {
            number: MESSAGES,
            resource_type: "count",
            name: "Messages",
            used: usage.messages,
            limit: limits.messages,
            description: "The number of messages in this account.",
        },
    ])
}

/// Refuses what a client would add to an account that has no room for it (RFC 8620 §5.3,
/// `overQuota`).
pub fn ensure_room(ctx: &Ctx, reader: &dyn Read, account: AccountId, octets: u64) -> Result<(), Refusal> {
    match quota::room(reader, account, ctx.store.quotas(), octets)? {
        Room::Enough => Ok(()),
        Room::OnlyForMail | Room::None => {
            Err(SetError::new(SetErrorKind::OverQuota, "The account has no room for it.").into())
        }
    }
}

impl Object for Quota {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let all = all(ctx, reader, account)?;
        let found = |id: &&str| {
            let number = QuotaId::parse(id)?.0;
            all.iter().find(|one| one.number == number).map(|one| to_json(id, one, props))
        };
        Ok(ids.iter().map(found).collect())
    }

    fn all_ids(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        _max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        Ok(Some(all(ctx, reader, account)?.iter().map(|one| QuotaId(one.number).to_string()).collect()))
    }

    /// A client that doesn't use mail has no quotas, so none of them change.
    fn changes(ctx: &Ctx, account: &Account, since: &str, max: usize) -> Result<ChangedIds, MethodError> {
        let mut changed = changes::from_log(ctx, account, &TABLE, since, max)?;
        if !ctx.using.contains(Capability::Mail) {
            changed.updated.clear();
        }
        Ok(changed)
    }

    /// RFC 9425 §4.3: only `used` moves by itself.
    fn changes_extra(
        _ctx: &Ctx,
        changes: &ChangedIds,
        response: &mut Map<String, Value>,
    ) -> Result<(), MethodError> {
        let only_used = changes.only_counts && !changes.updated.is_empty();
        let updated = if only_used { json!(["used"]) } else { Value::Null };
        response.insert("updatedProperties".into(), updated);
        Ok(())
    }
}

fn to_json(id: &str, one: &One, props: &Props) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id),
        "resourceType" => json!(one.resource_type),
        "used" => json!(one.used),
        "hardLimit" => json!(one.limit.hard),
        "scope" => json!("account"),
        "name" => json!(one.name),
        "types" => json!(["Email"]),
        "warnLimit" => json!(one.limit.warn),
        "softLimit" => json!(one.limit.soft),
        "description" => json!(one.description),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// RFC 9425 §4.4; several properties are an AND.
#[derive(Default)]
pub struct Condition {
    /// Contained in the name.
    name: Option<String>,
    scope: Option<String>,
    resource_type: Option<String>,
    data_type: Option<String>,
}

impl Condition {
    fn fits(&self, one: &One) -> bool {
        self.name.as_ref().is_none_or(|name| one.name.contains(name.as_str()))
            && self.scope.as_ref().is_none_or(|scope| scope == "account")
            && self.resource_type.as_ref().is_none_or(|wanted| wanted == one.resource_type)
            && self.data_type.as_ref().is_none_or(|wanted| wanted == "Email")
    }
}

/// One Comparator.
pub struct Sort {
    by_used: bool,
    ascending: bool,
}

impl QueryObject for Quota {
    type Condition = Condition;
    type Sort = Sort;
    type QueryArgs = ();

    fn condition(_ctx: &Ctx, args: &mut Args) -> Result<Condition, MethodError> {
        Ok(Condition {
            name: args.string("name")?,
            scope: args.string("scope")?,
            resource_type: args.string("resourceType")?,
            data_type: args.string("type")?,
        })
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<Sort, MethodError> {
        let by_used = match comparator.property.as_str() {
            "name" => false,
            "used" => true,
            _ => return Err(MethodErrorKind::UnsupportedSort.into()),
        };
        Ok(Sort { by_used, ascending: comparator.is_ascending })
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
        Ok(QueryResult::whole(matching(ctx, account, query)?, QuotaId::to_string, state))
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changed = Self::changes(ctx, account, since.query_state, usize::MAX)?;
        let ids = matching(ctx, account, query)?;
        Ok(QueryDelta::of_changes(changed, ids.iter().map(QuotaId::to_string)))
    }
}

fn matching(ctx: &Ctx, account: &Account, query: &Query<Quota>) -> Result<Vec<QuotaId>, MethodError> {
    let passes = |one: &One| {
        let fits = |filter: &Filter<Condition>| filter.matches(&mut |condition| condition.fits(one));
        query.filter.as_ref().is_none_or(fits)
    };
    let mut found: Vec<One> = all(ctx, ctx.reader(), account)?.into_iter().filter(passes).collect();
    found.sort_by(|a, b| {
        let mut order = Ordering::Equal;
        for sort in &query.sort {
            let one = if sort.by_used { a.used.cmp(&b.used) } else { a.name.cmp(b.name) };
            order = order.then(if sort.ascending { one } else { one.reverse() });
        }
        order.then(a.number.cmp(&b.number))
    });
    Ok(found.into_iter().map(|one| QuotaId(one.number)).collect())
}
