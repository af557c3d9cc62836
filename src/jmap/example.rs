//! A complete type as a model: the Todo of RFC 8620 §5.7, with a few more properties, so that each
//! kind of rule is met once. It exists in tests only; `example_tests.rs` drives the machinery by it.

use super::args::Args;
use super::capability::Capability::{Mail, Ownership};
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind, VendorError};
use super::methods::{self, Method, read, write};
use super::object::*;
use super::query::{Comparator, QueryResult};
use super::query_changes::{QueryDelta, Removed};
use super::session::Account;
use super::{changes, copy, get, query, query_changes, set};
use crate::store::keys::{self, Key, Kind as RowKind};
use crate::store::{Read, Row};
use crate::types::{AccountId, DataType, MemberRole, NoteId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One line a method.
pub static METHODS: &[Method] = &[
    read("Todo/get", Mail, get::run::<Todo>),
    read("Todo/changes", Mail, changes::run::<Todo>),
    write("Todo/set", Mail, set::run::<Todo>),
    read("Todo/query", Mail, query::run::<Todo>),
    read("Todo/queryChanges", Mail, query_changes::run::<Todo>),
    methods::write("Todo/copy", Mail, copy::run::<Todo>),
];

/// The stored form. It borrows the keys and the change log of notes, since there are no todos.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct TodoRow {
    title: String,
    keywords: Vec<String>,
    parent: Option<u32>,
    related: Vec<u32>,
    owner: Option<String>,
    version: u64,
}

impl Row for TodoRow {
    type Id = NoteId;
    const LOGGED: Option<(DataType, fn(NoteId) -> u32)> = Some((DataType::Note, |id| id.0));
    fn key(account: AccountId, id: NoteId) -> Key {
        keys::row(account, RowKind::Note, id.0)
    }
}

/// The type.
pub struct Todo;

static TABLE: TypeTable = TypeTable {
    name: "Todo",
    data_type: Some(DataType::Note),
    capability: Mail,
    id: |number| NoteId(number).to_string(),
    properties: &[
        Property::ID,
        Property::mutable("title", Kind::String, Initial::Required),
        Property::mutable("keywords", Kind::KeywordSet, Initial::EmptyObject),
        Property::immutable("parentId", Kind::Id, Initial::Null).or_null(),
        Property::mutable("relatedIds", Kind::IdSet, Initial::EmptyObject),
        Property::server("estimate", Kind::UnsignedInt),
        Property::mutable("ownerId", Kind::String, Initial::Null).or_null().of(Ownership),
        Property::server("version", Kind::String).of(Ownership),
        Property::server("shout", Kind::String).on_request(),
    ],
    write_role: MemberRole::Agent,
    singleton: false,
    if_version: Some(Ownership),
    if_owner: Some(Ownership),
};

impl Object for Todo {
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
        let known = ids.iter().map(|id| NoteId::parse(id).unwrap_or(NoteId(0)));
        let rows = reader.rows::<TodoRow>(account.id, known)?;
        Ok(ids.iter().zip(rows).map(|(id, row)| row.map(|row| to_json(id, &row, props))).collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let ids = reader.ids(&keys::all(account.id, RowKind::Note), false, max + 1)?;
        Ok((ids.len() <= max).then(|| ids.into_iter().map(|id| NoteId(id).to_string()).collect()))
    }
}

fn to_json(id: &str, row: &TodoRow, props: &Props) -> Map<String, Value> {
    let set = |names: Vec<String>| names.into_iter().map(|name| (name, Value::Bool(true))).collect();
    let value = |name: &str| match name {
        "id" => json!(id),
        "title" => json!(row.title),
        "keywords" => Value::Object(set(row.keywords.clone())),
        "parentId" => json!(row.parent.map(|id| NoteId(id).to_string())),
        "relatedIds" => Value::Object(set(row.related.iter().map(|id| NoteId(*id).to_string()).collect())),
        "estimate" => json!(row.title.len()),
        "ownerId" => json!(row.owner),
        "version" => json!(row.version.to_string()),
        "shout" => json!(row.title.to_uppercase()),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// Writes what is in `properties` into the row. The machinery has checked the kinds.
fn fill(row: &mut TodoRow, properties: &Map<String, Value>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let keys = |value: &Value| value.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
    let number = |id: &str| NoteId::parse(id).map(|id| id.0);
    for (name, value) in properties {
        match name.as_str() {
            "title" => row.title = text(value).unwrap_or_default(),
            "keywords" => row.keywords = keys(value),
            "parentId" => row.parent = value.as_str().and_then(number),
            "relatedIds" => row.related = keys(value).iter().filter_map(|id| number(id)).collect(),
            "ownerId" => row.owner = text(value),
            _ => {}
        }
    }
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

fn row(set: &Set<'_, '_>, id: &str) -> Result<(NoteId, TodoRow), Refusal> {
    let id = NoteId::parse(id).ok_or(SetErrorKind::NotFound)?;
    let row = set.reader().row::<TodoRow>(set.account.id, id)?.ok_or(SetErrorKind::NotFound)?;
    Ok((id, row))
}

impl SetObject for Todo {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(set: &mut Set<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let mut new = TodoRow { version: set.txn.modseq(set.account.id)?, ..TodoRow::default() };
        fill(&mut new, &properties);
        let number = set.txn.allot(set.account.id, |next| &mut next.note)?;
        set.txn.insert(set.account.id, NoteId(number), &new)?;
        match new.title.as_str() {
            // Refused after it was written: the machinery takes it back.
            "refused" => return Err(SetError::forbidden("Not this one.").into()),
            "panic" => panic!("a panic that a test asked for"),
            _ => {}
        }
        let id = NoteId(number).to_string();
        let properties = to_json(&id, &new, &Props::of(["estimate"]));
        Ok(Created { id, properties })
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let (id, mut changed) = row(set, update.id)?;
        fill(&mut changed, update.new);
        changed.version = set.txn.modseq(set.account.id)?;
        set.txn.update(set.account.id, id, &changed)?;
        let tells = update.new.contains_key("title");
        Ok(tells.then(|| {
            let mut told = Map::new();
            told.insert("estimate".into(), changed.title.len().into());
            told
        }))
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let (id, _) = row(set, id)?;
        Ok(set.txn.remove::<TodoRow>(set.account.id, id)?)
    }

    fn check_expected(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let (_, row) = row(set, id)?;
        let version = row.version.to_string();
        let mut extra = Map::new();
        extra.insert("version".into(), version.as_str().into());
        if set.expected.version(id).is_some_and(|wanted| wanted != version) {
            return Err(SetError::vendor(VendorError::VersionMismatch, extra, "It has changed.").into());
        }
        if set.expected.owner(id).is_some_and(|wanted| wanted != row.owner.as_deref()) {
            extra.insert("ownerId".into(), row.owner.into());
            return Err(SetError::vendor(VendorError::OwnerMismatch, extra, "It is another's.").into());
        }
        Ok(())
    }

    /// Titles are unique in the end, whatever they were in between.
    fn after_set(
        set: &mut Set<'_, '_>,
        outcome: &set::Outcome,
    ) -> Result<Vec<(Target, SetError)>, MethodError> {
        let mut titles: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (id, row) in set.reader().collect_rows::<TodoRow>(&keys::all(set.account.id, RowKind::Note))? {
            titles.entry(row.title).or_default().push(NoteId(id).to_string());
        }
        let mut wrong = Vec::new();
        for ids in titles.into_values().filter(|ids| ids.len() > 1) {
            let error = SetError::from(SetErrorKind::AlreadyExists { existing_id: ids[0].clone() });
            let updated = outcome.updated.keys().filter(|id| ids.contains(id)).cloned().map(Target::Update);
            let created = outcome.created.iter().filter(|(_, new)| ids.iter().any(|id| new["id"] == **id));
            let created = created.map(|(creation_id, _)| Target::Create(creation_id.clone()));
            wrong.extend(updated.chain(created).map(|target| (target, error.clone())));
        }
        Ok(wrong)
    }
}

impl QueryObject for Todo {
    /// The keyword that it must have.
    type Condition = String;
    /// By title; true: ascending.
    type Sort = bool;
    type QueryArgs = ();

    fn condition(_ctx: &Ctx, args: &mut Args) -> Result<String, MethodError> {
        args.required_string("hasKeyword")
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<bool, MethodError> {
        match comparator.property.as_str() {
            "title" => Ok(comparator.is_ascending),
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
        Ok(QueryResult::whole(ids, NoteId::to_string, state))
    }

    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changed = Self::changes(ctx, account, since.query_state, usize::MAX)?;
        let ids: Vec<String> = matching(ctx, account, query)?.iter().map(NoteId::to_string).collect();
        let gone = changed.updated.iter().chain(&changed.destroyed);
        let touched = |id: &String| changed.created.contains(id) || changed.updated.contains(id);
        let added = ids.iter().zip(0..).filter(|(id, _)| touched(id)).map(|(id, at)| (id.clone(), at));
        Ok(QueryDelta {
            removed: gone.map(|id| Removed { id: id.clone(), beyond: false }).collect(),
            added: added.collect(),
            new_query_state: changed.new_state,
            total: Some(ids.len() as u64),
            up_to_index: None,
        })
    }
}

fn matching(ctx: &Ctx, account: &Account, query: &Query<Todo>) -> Result<Vec<NoteId>, MethodError> {
    let mut rows = ctx.reader().collect_rows::<TodoRow>(&keys::all(account.id, RowKind::Note))?;
    rows.retain(|(_, row)| {
        let filter = query.filter.as_ref();
        filter.is_none_or(|filter| filter.matches(&mut |keyword| row.keywords.contains(keyword)))
    });
    match query.sort.first() {
        Some(true) => rows.sort_by(|a, b| a.1.title.cmp(&b.1.title)),
        Some(false) => rows.sort_by(|a, b| b.1.title.cmp(&a.1.title)),
        None => {}
    }
    Ok(rows.into_iter().map(|(id, _)| NoteId(id)).collect())
}

impl CopyObject for Todo {
    const COPY_PROPERTIES: &'static [&'static str] = &["keywords"];

    fn copy(
        set: &mut Set<'_, '_>,
        from: &Account,
        id: &str,
        properties: Map<String, Value>,
    ) -> Result<Created, Refusal> {
        let known = NoteId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let original = set.ctx.reader().row::<TodoRow>(from.id, known)?;
        let mut copy = original.ok_or(SetErrorKind::NotFound)?;
        fill(&mut copy, &properties);
        let number = set.txn.allot(set.account.id, |next| &mut next.note)?;
        set.txn.insert(set.account.id, NoteId(number), &copy)?;
        Ok(Created { id: NoteId(number).to_string(), properties: Map::new() })
    }
}
