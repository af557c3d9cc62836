//! Mailbox/query and Mailbox/queryChanges (RFC 8621 §2.3, §2.4).
//!
//! A query's state is that of the type. Its changes are read from the type's log: an account has
//! few mailboxes, so that the results are made anew and what can't have moved is left out.

use super::mailbox::Mailbox;
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::object::{Object, Query, QueryObject, Since};
use crate::jmap::query::{Collation, Comparator, QueryResult};
use crate::jmap::query_changes::{QueryDelta, Removed};
use crate::jmap::session::Account;
use crate::mail::mailbox;
use crate::store::rows::mail::MailboxRow;
use crate::types::{MailboxId, MailboxRole, PrincipalId, limits};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

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
        args.no_null(&["name"])?;
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
        let ids = matching((account.is_inbox(), ctx.session.principal), all, query);
        let state = Self::state(ctx, ctx.reader(), account)?;
        Ok(QueryResult::whole(ids, MailboxId::to_string, state))
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
        let results = matching((account.is_inbox(), ctx.session.principal), all, query);
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

/// `me` says whether the account is an inbox, and who asks.
fn matching(
    me: (bool, PrincipalId),
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

fn fits(condition: &MailboxCondition, row: &MailboxRow, (is_inbox, me): (bool, PrincipalId)) -> bool {
    condition.parent.is_none_or(|parent| row.parent == parent)
        && condition.name.as_ref().is_none_or(|name| row.name.to_lowercase().contains(name))
        && condition.role.as_ref().is_none_or(|role| row.role.map(MailboxRole::name) == role.as_deref())
        && condition.has_any_role.is_none_or(|has| row.role.is_some() == has)
        && condition.is_subscribed.is_none_or(|is| row.is_subscribed(is_inbox, me) == is)
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
