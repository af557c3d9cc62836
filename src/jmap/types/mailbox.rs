//! Mailbox (RFC 8621 §2). The tree's rules are `mail::mailbox`'s; who may do what is said here, by
//! the role in the account and by what the server keeps a mailbox true to.
//!
//! A query's state is that of the type. Its changes are read from the type's log: an account has
//! few mailboxes, so that the results are made anew and what can't have moved is left out.

use crate::inbox::desk::Desk;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::changes::ChangedIds;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::object::{
    Created, Initial, Kind, Object, Property, Props, Query, QueryObject, SetCall, SetObject, Since,
    TypeTable, Update,
};
use crate::jmap::query::{Collation, Comparator, Materialised, QueryResult};
use crate::jmap::query_changes::{QueryDelta, Removed};
use crate::jmap::session::Account;
use crate::mail::mailbox::{MailboxError, MailboxRefusal};
use crate::mail::{ingest, mailbox, message, words};
use crate::store::rows::mail::{EmailRow, Kept, MailboxCountsRow, MailboxRow, StoredMessage};
use crate::store::{List, Read, StoreResult, list};
use crate::types::{DataType, EmailId, MailboxId, MailboxRole, MemberRole, PrincipalId, limits};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

/// The type.
pub struct Mailbox;

static TABLE: TypeTable = TypeTable {
    name: "Mailbox",
    data_type: Some(DataType::Mailbox),
    capability: Capability::Mail,
    id: |number| MailboxId(number).to_string(),
    properties: &[
        Property::ID,
        Property::mutable("name", Kind::String, Initial::Required),
        Property::mutable("parentId", Kind::Id, Initial::Null).or_null(),
        Property::mutable("role", Kind::String, Initial::Null).or_null(),
        Property::mutable("sortOrder", Kind::UnsignedInt, Initial::Number(0)),
        Property::server("totalEmails", Kind::UnsignedInt),
        Property::server("unreadEmails", Kind::UnsignedInt),
        Property::server("totalThreads", Kind::UnsignedInt),
        Property::server("unreadThreads", Kind::UnsignedInt),
        Property::server("myRights", Kind::Object),
        Property::mutable("isSubscribed", Kind::Boolean, Initial::Bool(true)),
    ],
    // An observer may say what they want to see; the hooks ask more for everything else.
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

/// What /changes names where nothing else changed (RFC 8621 §2.2).
const COUNTS: [&str; 4] = ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"];

impl Object for Mailbox {
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
        let known: Vec<MailboxId> =
            ids.iter().map(|id| MailboxId::parse(id).unwrap_or(MailboxId(0))).collect();
        let rows = reader.rows::<MailboxRow>(account.id, known.iter().copied())?;
        let counts = if COUNTS.iter().any(|name| props.has(name)) {
            reader.rows::<MailboxCountsRow>(account.id, known)?
        } else {
            vec![None; ids.len()]
        };
        let me = ctx.session.principal;
        let found = ids.iter().zip(rows).zip(counts);
        Ok(found
            .map(|((id, row), counts)| {
                row.map(|row| to_json(id, &row, &counts.unwrap_or_default(), account, me, props))
            })
            .collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let all = mailbox::all(reader, account.id)?;
        // RFC 8621 §2.1 wants them all; the account's own limit bounds them.
        let fits = all.len() <= max.max(limits::MAILBOXES_MAX);
        Ok(fits.then(|| all.into_iter().map(|(id, _)| id.to_string()).collect()))
    }

    /// RFC 8621 §2.2.
    fn changes_extra(
        _ctx: &Ctx,
        changes: &ChangedIds,
        response: &mut Map<String, Value>,
    ) -> Result<(), MethodError> {
        let updated = if changes.only_counts { json!(COUNTS) } else { Value::Null };
        response.insert("updatedProperties".into(), updated);
        Ok(())
    }
}

fn to_json(
    id: &str,
    row: &MailboxRow,
    counts: &MailboxCountsRow,
    account: &Account,
    me: PrincipalId,
    props: &Props,
) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id),
        "name" => json!(row.name),
        "parentId" => json!(row.parent.map(|parent| parent.to_string())),
        "role" => json!(row.role.map(MailboxRole::name)),
        "sortOrder" => json!(row.sort_order),
        "totalEmails" => json!(counts.total_emails),
        "unreadEmails" => json!(counts.unread_emails),
        "totalThreads" => json!(counts.total_threads),
        "unreadThreads" => json!(counts.unread_threads),
        "myRights" => rights(row, account),
        "isSubscribed" => json!(!row.unsubscribed.contains(&me)),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// RFC 8621 §2, `myRights`.
fn rights(row: &MailboxRow, account: &Account) -> Value {
    let works = !account.is_read_only && account.allows(MemberRole::Agent);
    let kept = row.kept.as_ref();
    let own = works && kept.is_none();
    json!({
        "mayReadItems": true,
        "mayAddItems": works && kept.is_none_or(Kept::may_add),
        "mayRemoveItems": works,
        "maySetSeen": true,
        "maySetKeywords": works,
        "mayCreateChild": works && kept != Some(&Kept::AssignedParent),
        "mayRename": own,
        "mayDelete": own,
        "maySubmit": works
    })
}

/// RFC 8621 §2.5.
pub struct MailboxSetArgs {
    on_destroy_remove_emails: bool,
}

type Set<'c, 't> = SetCall<'c, 't, MailboxSetArgs>;

impl SetObject for Mailbox {
    type SetArgs = MailboxSetArgs;

    fn set_args(_ctx: &Ctx, args: &mut Args) -> Result<MailboxSetArgs, MethodError> {
        Ok(MailboxSetArgs { on_destroy_remove_emails: args.flag("onDestroyRemoveEmails")? })
    }

    fn create(set: &mut Set<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        must_work(set)?;
        let mut row = MailboxRow {
            name: String::new(),
            parent: None,
            role: None,
            sort_order: 0,
            unsubscribed: Vec::new(),
            kept: None,
        };
        fill(set, &mut row, &properties)?;
        if row.parent.is_none() && !set.account.may_create_top_level_mailbox {
            return Err(SetError::forbidden("Mailboxes can't be created at the top level here.").into());
        }
        may_have_children(set, row.parent)?;
        let id = mailbox::create(set.txn, set.account.id, row.clone()).map_err(refused)?;
        let mut told = vec!["totalEmails", "unreadEmails", "totalThreads", "unreadThreads", "myRights"];
        told.extend(renamed(&properties, &row).then_some("name"));
        let id = id.to_string();
        let me = set.ctx.session.principal;
        let mut properties =
            to_json(&id, &row, &MailboxCountsRow::default(), set.account, me, &Props::of(told));
        properties.shift_remove("id");
        Ok(Created { id, properties })
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let (id, before) = found(set, update.id)?;
        let mut after = before.clone();
        fill(set, &mut after, update.new)?;
        let unsubscribed = MailboxRow { unsubscribed: after.unsubscribed.clone(), ..before.clone() };
        if after != unsubscribed {
            must_work(set)?;
        }
        if after.parent != before.parent {
            may_have_children(set, after.parent)?;
        }
        mailbox::update(set.txn, set.account.id, id, &before, &after).map_err(refused)?;
        let told = renamed(update.new, &after);
        Ok(told.then(|| Map::from_iter([("name".to_owned(), Value::from(after.name))])))
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let (id, row) = found(set, id)?;
        must_work(set)?;
        let has_child =
            mailbox::all(set.reader(), set.account.id)?.iter().any(|(_, other)| other.parent == Some(id));
        if set.args.on_destroy_remove_emails && row.kept.is_none() && !has_child {
            remove_emails(set, id)?;
        }
        mailbox::destroy(set.txn, set.account.id, id, &row).map_err(refused)?;
        Ok(())
    }
}

fn found(set: &Set<'_, '_>, id: &str) -> Result<(MailboxId, MailboxRow), Refusal> {
    let id = MailboxId::parse(id).ok_or(SetErrorKind::NotFound)?;
    let row = set.reader().row::<MailboxRow>(set.account.id, id)?.ok_or(SetErrorKind::NotFound)?;
    Ok((id, row))
}

fn must_work(set: &Set<'_, '_>) -> Result<(), Refusal> {
    if set.account.allows(MemberRole::Agent) {
        return Ok(());
    }
    Err(SetError::forbidden("An observer may not change mailboxes.").into())
}

fn may_have_children(set: &Set<'_, '_>, parent: Option<MailboxId>) -> Result<(), Refusal> {
    let Some(parent) = parent else { return Ok(()) };
    let row = set.reader().row::<MailboxRow>(set.account.id, parent)?;
    if row.is_some_and(|row| row.kept == Some(Kept::AssignedParent)) {
        return Err(SetError::forbidden("The server alone makes mailboxes below this one.").into());
    }
    Ok(())
}

/// Is the name another one than the client gave?
fn renamed(given: &Map<String, Value>, row: &MailboxRow) -> bool {
    given.get("name").and_then(Value::as_str).is_some_and(|name| name != row.name)
}

/// Writes what is in `properties` into the row. The machinery has checked the kinds.
fn fill(set: &Set<'_, '_>, row: &mut MailboxRow, properties: &Map<String, Value>) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    for (name, value) in properties {
        match name.as_str() {
            // RFC 8621 §2 wants Net-Unicode, whose normal form is C (RFC 5198 §2).
            "name" => row.name = words::nfc(value.as_str().unwrap_or_default()),
            "parentId" => {
                row.parent = value.as_str().and_then(MailboxId::parse);
                if row.parent.is_none() && !value.is_null() {
                    wrong.push("parentId");
                }
            }
            "role" => {
                row.role = value.as_str().and_then(MailboxRole::parse);
                if row.role.is_none() && !value.is_null() {
                    wrong.push("role");
                }
            }
            "sortOrder" => match value.as_f64() {
                // RFC 8621 §2: below 2^31.
                Some(order) if order < f64::from(1_u32 << 31) => row.sort_order = order as u32,
                _ => wrong.push("sortOrder"),
            },
            "isSubscribed" => {
                let me = set.ctx.session.principal;
                row.unsubscribed.retain(|other| *other != me);
                if value.as_bool() == Some(false) {
                    row.unsubscribed.push(me);
                }
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(SetError::properties(wrong, "These can't have the given values.").into())
}

/// Takes all Emails out of a mailbox that is about to go; those that were in no other are
/// destroyed (RFC 8621 §2.5), in an inbox moved to the Trash, where only a lead destroys.
fn remove_emails(set: &mut Set<'_, '_>, id: MailboxId) -> Result<(), Refusal> {
    let account = set.account.id;
    let trash = mailbox::roles(set.txn, account)?.with_role(MailboxRole::Trash);
    for entry in list::page(set.txn, account, List::Mailbox(id), 0, usize::MAX, false)? {
        let email = EmailId(entry.place.id);
        let Some(before) = set.reader().row::<EmailRow>(account, email)? else { continue };
        let mut rest: BTreeSet<MailboxId> = before.mailboxes.iter().copied().collect();
        rest.remove(&id);
        if rest.is_empty() && set.account.is_inbox() {
            rest = refuge(set, &before)?.or(trash.map(|trash| BTreeSet::from([trash]))).unwrap_or_default();
        }
        if rest.is_empty() {
            let stored = set.reader().row::<StoredMessage>(account, email)?;
            let keys = stored.map(|stored| ingest::thread_keys(&stored.message)).unwrap_or_default();
            message::destroy(set.txn, account, email, &before, &keys)?;
        } else {
            let after = EmailRow { mailboxes: rest.into_iter().collect(), ..before.clone() };
            message::change(set.txn, account, email, &before, &after)?;
        }
    }
    Ok(())
}

/// Where an Email of an inbox stands by its conversation, when its last folder goes.
fn refuge(set: &mut Set<'_, '_>, row: &EmailRow) -> Result<Option<BTreeSet<MailboxId>>, Refusal> {
    let Some(conversation) = row.conversation else { return Ok(None) };
    let staff = (set.ctx.host.staff)(set.account.id);
    let actor = super::team::actor(set.ctx, set.account);
    let mut desk = Desk::open(set.txn, set.account.id, actor, &staff)?;
    let Some(row) = desk.conversation(conversation)? else { return Ok(None) };
    let placed: StoreResult<BTreeSet<MailboxId>> = desk.place(&BTreeSet::new(), &row);
    Ok(Some(placed?))
}

fn refused(error: MailboxError) -> Refusal {
    let refusal = match error {
        MailboxError::Store(error) => return error.into(),
        MailboxError::Refused(refusal) => refusal,
    };
    match refusal {
        MailboxRefusal::Name => SetError::properties(
            ["name"],
            format!("A name has 1 to {} octets and no control characters.", limits::MAILBOX_NAME_BYTES_MAX),
        ),
        MailboxRefusal::NameTaken(existing) => SetError::new(
            SetErrorKind::AlreadyExists { existing_id: existing.to_string() },
            "A mailbox with this name is there already.",
        ),
        MailboxRefusal::Parent => SetError::properties(
            ["parentId"],
            "The parent isn't there, is below this mailbox, or the tree would get too deep.",
        ),
        MailboxRefusal::RoleTaken(other) => {
            SetError::properties(["role"], format!("The mailbox {other} has this role already."))
        }
        MailboxRefusal::TooMany => {
            SetError::new(SetErrorKind::OverQuota, "The account has as many mailboxes as it may have.")
        }
        MailboxRefusal::Kept => {
            SetError::forbidden("The server keeps this mailbox: it can't be renamed, moved or destroyed.")
        }
        MailboxRefusal::HasChild => SetErrorKind::MailboxHasChild.into(),
        MailboxRefusal::HasEmail => SetErrorKind::MailboxHasEmail.into(),
    }
    .into()
}

/// A FilterCondition (RFC 8621 §2.3); what isn't given matches all.
pub struct MailboxCondition {
    parent: Option<Option<MailboxId>>,
    /// In lower case.
    name: Option<String>,
    role: Option<Option<String>>,
    has_any_role: Option<bool>,
    is_subscribed: Option<bool>,
}

/// A property to sort by (RFC 8621 §2.3), and whether ascending.
#[derive(Clone, Copy)]
pub struct MailboxSort {
    by: MailboxOrder,
    ascending: bool,
    collation: Collation,
}

#[derive(Clone, Copy)]
enum MailboxOrder {
    SortOrder,
    Name,
    Parent,
}

/// RFC 8621 §2.3.
pub struct MailboxQueryArgs {
    sort_as_tree: bool,
    filter_as_tree: bool,
}

impl QueryObject for Mailbox {
    type Condition = MailboxCondition;
    type Sort = MailboxSort;
    type QueryArgs = MailboxQueryArgs;

    fn condition(_ctx: &Ctx, args: &mut Args) -> Result<MailboxCondition, MethodError> {
        // A null is a value here: "no parent", "no role".
        let text_or_null = |name: &str, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(_) => Err(MethodError::argument(name, "must be a string or null")),
        };
        let flag = |name: &str, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(MethodError::argument(name, "must be true or false")),
        };
        let parent = text_or_null("parentId", args.given("parentId"))?;
        Ok(MailboxCondition {
            // What no mailbox is called matches none.
            parent: parent.map(|id| id.map(|id| MailboxId::parse(&id).unwrap_or(MailboxId(0)))),
            name: args.string("name")?.map(|name| name.to_lowercase()),
            role: text_or_null("role", args.given("role"))?,
            has_any_role: flag("hasAnyRole", args.given("hasAnyRole"))?,
            is_subscribed: flag("isSubscribed", args.given("isSubscribed"))?,
        })
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<MailboxSort, MethodError> {
        let by = match comparator.property.as_str() {
            "sortOrder" => MailboxOrder::SortOrder,
            "name" => MailboxOrder::Name,
            "parentId" => MailboxOrder::Parent,
            _ => return Err(MethodErrorKind::UnsupportedSort.into()),
        };
        let collation = comparator.collation.unwrap_or_default();
        Ok(MailboxSort { by, ascending: comparator.is_ascending, collation })
    }

    fn query_args(_ctx: &Ctx, args: &mut Args) -> Result<MailboxQueryArgs, MethodError> {
        Ok(MailboxQueryArgs {
            sort_as_tree: args.flag("sortAsTree")?,
            filter_as_tree: args.flag("filterAsTree")?,
        })
    }

    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError> {
        let all = mailbox::all(ctx.reader(), account.id)?;
        let ids = matching(ctx.session.principal, all, query);
        Ok(QueryResult {
            results: Box::new(Materialised { ids, spell: MailboxId::to_string }),
            query_state: Self::state(ctx, ctx.reader(), account)?,
            can_calculate_changes: true,
        })
    }

    /// Filter and sort are on properties that can change, so that `upToId` doesn't count (RFC 8620
    /// §5.6), and what may have moved is both removed and added.
    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changes = Self::changes(ctx, account, since.query_state, limits::CHANGES_MAX)?;
        if changes.has_more {
            return Err(MethodErrorKind::CannotCalculateChanges.into());
        }
        let all = mailbox::all(ctx.reader(), account.id)?;
        let parse = |ids: &[String]| ids.iter().filter_map(|id| MailboxId::parse(id)).collect::<HashSet<_>>();
        let mut changed = parse(&changes.created);
        // No filter and no sort is on a count.
        if !changes.only_counts {
            changed.extend(parse(&changes.updated));
        }
        if query.args.filter_as_tree || query.args.sort_as_tree {
            with_descendants(&mut changed, &all);
        }
        let created = parse(&changes.created);
        let gone = changes.destroyed.iter().cloned();
        let moved = changed.iter().filter(|id| !created.contains(id)).map(ToString::to_string);
        let removed = gone.chain(moved).map(|id| Removed { id, beyond: false }).collect();
        let results = matching(ctx.session.principal, all, query);
        let total = Some(results.len() as u64);
        let places = results.iter().zip(0..).filter(|(id, _)| changed.contains(id));
        Ok(QueryDelta {
            removed,
            added: places.map(|(id, index)| (id.to_string(), index)).collect(),
            new_query_state: changes.new_state,
            total,
            up_to_index: None,
        })
    }
}

/// Adds what is below: in a tree it moves and is shown with its ancestors.
fn with_descendants(ids: &mut HashSet<MailboxId>, all: &[(MailboxId, MailboxRow)]) {
    loop {
        let known = ids.len();
        let below = all.iter().filter(|(_, row)| row.parent.is_some_and(|parent| ids.contains(&parent)));
        let below: Vec<MailboxId> = below.map(|(id, _)| *id).collect();
        ids.extend(below);
        if ids.len() == known {
            return;
        }
    }
}

fn matching(
    me: PrincipalId,
    mut all: Vec<(MailboxId, MailboxRow)>,
    query: &Query<Mailbox>,
) -> Vec<MailboxId> {
    let passes = |row: &MailboxRow| {
        query.filter.as_ref().is_none_or(|filter| filter.matches(&mut |condition| fits(condition, row, me)))
    };
    let mut passing: HashSet<MailboxId> =
        all.iter().filter(|(_, row)| passes(row)).map(|(id, _)| *id).collect();
    if query.args.filter_as_tree {
        let parents: HashMap<MailboxId, Option<MailboxId>> =
            all.iter().map(|(id, row)| (*id, row.parent)).collect();
        let shown = |id: &MailboxId| {
            let mut next = Some(*id);
            // The depth is limited, so that this ends.
            while let Some(id) = next {
                if !passing.contains(&id) {
                    return false;
                }
                next = parents.get(&id).copied().flatten();
            }
            true
        };
        passing = passing.iter().filter(|id| shown(id)).copied().collect();
    }
    all.sort_by(|a, b| compare(a, b, &query.sort));
    if query.args.sort_as_tree {
        all = as_tree(all);
    }
    all.into_iter().map(|(id, _)| id).filter(|id| passing.contains(id)).collect()
}

fn fits(condition: &MailboxCondition, row: &MailboxRow, me: PrincipalId) -> bool {
    condition.parent.is_none_or(|parent| row.parent == parent)
        && condition.name.as_ref().is_none_or(|name| row.name.to_lowercase().contains(name))
        && condition.role.as_ref().is_none_or(|role| row.role.map(MailboxRole::name) == role.as_deref())
        && condition.has_any_role.is_none_or(|has| row.role.is_some() == has)
        && condition.is_subscribed.is_none_or(|is| row.unsubscribed.contains(&me) != is)
}

fn compare(a: &(MailboxId, MailboxRow), b: &(MailboxId, MailboxRow), sort: &[MailboxSort]) -> Ordering {
    let mut order = Ordering::Equal;
    for sort in sort {
        let one = match sort.by {
            MailboxOrder::SortOrder => a.1.sort_order.cmp(&b.1.sort_order),
            MailboxOrder::Name => sort.collation.key(&a.1.name).cmp(&sort.collation.key(&b.1.name)),
            MailboxOrder::Parent => a.1.parent.cmp(&b.1.parent),
        };
        order = order.then(if sort.ascending { one } else { one.reverse() });
    }
    order.then(a.0.cmp(&b.0))
}

/// Each mailbox right before what is below it, siblings in the order that they have.
fn as_tree(sorted: Vec<(MailboxId, MailboxRow)>) -> Vec<(MailboxId, MailboxRow)> {
    let mut below: HashMap<Option<MailboxId>, Vec<(MailboxId, MailboxRow)>> = HashMap::new();
    let total = sorted.len();
    for entry in sorted.into_iter().rev() {
        below.entry(entry.1.parent).or_default().push(entry);
    }
    let mut out = Vec::with_capacity(total);
    let mut waiting = below.remove(&None).unwrap_or_default();
    while let Some(entry) = waiting.pop() {
        waiting.extend(below.remove(&Some(entry.0)).unwrap_or_default());
        out.push(entry);
    }
    out
}
