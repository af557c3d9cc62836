//! ShareNotification (RFC 9670 §3): what a person was told of changes of what they may do. They are
//! in the person's own account, beside the Principal that they are.
//!
//! The object whose rights changed is always a Mailbox: the Inbox of a shared address stands for all
//! of it, since membership gives the same rights to every Mailbox there.

use super::mailbox;
use super::team::date_json;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::Principals;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::query::{Comparator, QueryResult};
use crate::jmap::query_changes::QueryDelta;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, query, query_changes, set};
use crate::store::Read;
use crate::store::keys::{self, Kind as RowKind};
use crate::store::rows::mail::Kept;
use crate::store::rows::sharing::ShareNotificationRow;
use crate::types::*;
use serde_json::{Map, Value, json};

/// One line a method.
pub static METHODS: &[Method] = &[
    read("ShareNotification/get", Principals, get::run::<ShareNotification>),
    read("ShareNotification/changes", Principals, changes::run::<ShareNotification>),
    read("ShareNotification/query", Principals, query::run::<ShareNotification>),
    read("ShareNotification/queryChanges", Principals, query_changes::run::<ShareNotification>),
    write("ShareNotification/set", Principals, set::run::<ShareNotification>),
];

/// The type.
pub struct ShareNotification;

/// `objectType`.
const OBJECT_TYPE: &str = "Mailbox";

static TABLE: TypeTable = TypeTable {
    name: "ShareNotification",
    data_type: Some(DataType::ShareNotification),
    capability: Principals,
    id: |number| ShareNotificationId(number).to_string(),
    // A client that sends one of these is refused by `create` and `update`, as RFC 9670 §3.3 wants.
    properties: &[
        Property::ID,
        Property::mutable("created", Kind::Any, Initial::Computed),
        Property::mutable("changedBy", Kind::Any, Initial::Computed),
        Property::mutable("objectType", Kind::Any, Initial::Computed),
        Property::mutable("objectAccountId", Kind::Any, Initial::Computed),
        Property::mutable("objectId", Kind::Any, Initial::Computed),
        Property::mutable("oldRights", Kind::Any, Initial::Computed).or_null(),
        Property::mutable("newRights", Kind::Any, Initial::Computed).or_null(),
        Property::mutable("name", Kind::Any, Initial::Computed),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

impl Object for ShareNotification {
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
        let known = ids.iter().map(|id| ShareNotificationId::parse(id).unwrap_or(ShareNotificationId(0)));
        let rows = reader.rows::<ShareNotificationRow>(account.id, known)?;
        Ok(ids.iter().zip(rows).map(|(id, row)| row.map(|row| to_json(id, &row, props))).collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let all = reader.ids(&keys::all(account.id, RowKind::ShareNotification), false, max + 1)?;
        Ok((all.len() <= max).then(|| all.into_iter().map(TABLE.id).collect()))
    }
}

fn to_json(id: &str, row: &ShareNotificationRow, props: &Props) -> Map<String, Value> {
    let rights = |role: Option<MemberRole>| role.map(|role| mailbox::rights(Some(&Kept::Inbox), Some(role)));
    let value = |name: &str| match name {
        "id" => json!(id),
        "created" => date_json(row.created),
        "changedBy" => json!({
            "name": row.changed_by.name,
            "email": row.changed_by.email.as_ref().map(Address::to_string),
            "principalId": row.changed_by.principal.map(|id| id.to_string())
        }),
        "objectType" => json!(OBJECT_TYPE),
        "objectAccountId" => json!(row.inbox.to_string()),
        "objectId" => json!(row.mailbox.to_string()),
        "oldRights" => json!(rights(row.old_role)),
        "newRights" => json!(rights(row.new_role)),
        "name" => json!(row.name),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

/// RFC 9670 §3.3: only destroy is supported.
impl SetObject for ShareNotification {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(_set: &mut Set<'_, '_>, _properties: Map<String, Value>) -> Result<Created, Refusal> {
        Err(SetError::forbidden("Only the server makes notifications.").into())
    }

    fn update(_set: &mut Set<'_, '_>, _update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        Err(SetError::forbidden("A notification can only be destroyed.").into())
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = ShareNotificationId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let row: Option<ShareNotificationRow> = set.reader().row(set.account.id, id)?;
        row.ok_or(SetErrorKind::NotFound)?;
        Ok(set.txn.remove::<ShareNotificationRow>(set.account.id, id)?)
    }
}

/// RFC 9670 §3.4.1; several properties are an AND.
#[derive(Default)]
pub struct Condition {
    after: Option<UtcDate>,
    before: Option<UtcDate>,
    object_type: Option<String>,
    object_account: Option<String>,
}

impl Condition {
    fn fits(&self, row: &ShareNotificationRow) -> bool {
        let created = row.created.date();
        self.after.is_none_or(|after| created >= after)
            && self.before.is_none_or(|before| created < before)
            && self.object_type.as_ref().is_none_or(|wanted| wanted == OBJECT_TYPE)
            && self.object_account.as_ref().is_none_or(|wanted| *wanted == row.inbox.to_string())
    }
}

impl QueryObject for ShareNotification {
    type Condition = Condition;
    /// By `created`; true: ascending.
    type Sort = bool;
    type QueryArgs = ();

    fn condition(_ctx: &Ctx, args: &mut Args) -> Result<Condition, MethodError> {
        let date = |name: &str, text: Option<String>| match text.map(|text| UtcDate::parse(&text)) {
            None => Ok(None),
            Some(Some(date)) => Ok(Some(date)),
            Some(None) => Err(MethodError::argument(name, "must be a UTC date")),
        };
        Ok(Condition {
            after: date("after", args.string("after")?)?,
            before: date("before", args.string("before")?)?,
            object_type: args.string("objectType")?,
            object_account: args.string("objectAccountId")?,
        })
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<bool, MethodError> {
        match comparator.property.as_str() {
            "created" => Ok(comparator.is_ascending),
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
        let ids = matching(ctx, account, query)?;
        let state = Self::state(ctx, ctx.reader(), account)?;
        Ok(QueryResult::whole(ids, ShareNotificationId::to_string, state))
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changed = Self::changes(ctx, account, since.query_state, usize::MAX)?;
        let ids = matching(ctx, account, query)?;
        Ok(QueryDelta::of_changes(changed, ids.iter().map(ShareNotificationId::to_string)))
    }
}

fn matching(
    ctx: &Ctx,
    account: &Account,
    query: &Query<ShareNotification>,
) -> Result<Vec<ShareNotificationId>, MethodError> {
    // At most SHARE_NOTIFICATIONS_MAX are kept.
    let all = keys::all(account.id, RowKind::ShareNotification);
    let mut found = ctx.reader().collect_rows::<ShareNotificationRow>(&all)?;
    if let Some(filter) = &query.filter {
        found.retain(|(_, row)| filter.matches(&mut |condition: &Condition| condition.fits(row)));
    }
    found.sort_by_key(|(id, row)| (row.created, *id));
    if query.sort.first() == Some(&false) {
        found.reverse();
    }
    Ok(found.into_iter().map(|(id, _)| ShareNotificationId(id)).collect())
}
