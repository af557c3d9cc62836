//! Foo/queryChanges (RFC 8620 §5.6), once for all types.
//!
//! Invariants: `added` is in order of index; with `upToId`, where filter and sort are immutable,
//! changes beyond it are left out, and only what is left counts against `maxChanges`.

use super::args::Args;
use super::changes::ChangedIds;
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind};
use super::methods::Method;
use super::object::{QueryObject, Since};
use super::query::query_args;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// An id that left the results, or may have moved in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removed {
    pub id: String,
    /// It stood behind `upToId`; false where that isn't known.
    pub beyond: bool,
}

/// What changed in the results of a query.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueryDelta {
    pub removed: Vec<Removed>,
    /// Id and index in the new results, in any order; with everything of the results that is in
    /// `removed` because it may have moved.
    pub added: Vec<(String, u64)>,
    pub new_query_state: String,
    /// How many results there are now, where that was asked.
    pub total: Option<u64>,
    /// The index of `upToId` in the new results; `None` where filter or sort is on a property that
    /// can change, where no id was given, or where it isn't in the results.
    pub up_to_index: Option<u64>,
}

impl QueryDelta {
    /// For a type whose results are found anew: everything that changed may have left, and is there
    /// anew where it is among the results now (RFC 8620 §5.6).
    pub fn of_changes(changed: ChangedIds, results: impl Iterator<Item = String>) -> Self {
        let touched: HashSet<&String> = changed.created.iter().chain(&changed.updated).collect();
        let mut total = 0;
        let mut added = Vec::new();
        for (id, at) in results.zip(0..) {
            total = at + 1;
            if touched.contains(&id) {
                added.push((id, at));
            }
        }
        let gone = changed.updated.into_iter().chain(changed.destroyed);
        Self {
            removed: gone.map(|id| Removed { id, beyond: false }).collect(),
            added,
            new_query_state: changed.new_state,
            total: Some(total),
            up_to_index: None,
        }
    }
}

/// Runs Foo/queryChanges.
pub fn run<T: QueryObject>(
    ctx: &mut Ctx,
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let query_state = args.required_string("sinceQueryState")?;
    let max_changes = args.unsigned("maxChanges")?;
    let up_to_id = args.string("upToId")?;
    let calculate_total = args.flag("calculateTotal")?;
    let query = query_args::<T>(ctx, &mut args)?;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    let since =
        Since { query_state: &query_state, up_to_id: up_to_id.as_deref(), max_changes, calculate_total };
    let delta = settle(T::query_changes(ctx, account, &query, &since)?, max_changes)?;
    let added = delta.added.into_iter().map(|(id, index)| json!({"id": id, "index": index}));
    let removed = delta.removed.into_iter().map(|removed| Value::from(removed.id));
    let mut response = Map::with_capacity(6);
    response.insert("accountId".into(), account_id.into());
    response.insert("oldQueryState".into(), query_state.into());
    response.insert("newQueryState".into(), delta.new_query_state.into());
    if let Some(total) = delta.total.filter(|_| calculate_total) {
        response.insert("total".into(), total.into());
    }
    response.insert("removed".into(), removed.collect());
    response.insert("added".into(), added.collect());
    ctx.respond(method.name, response);
    Ok(())
}

/// Leaves out what is beyond `upToId`, sorts, and counts.
fn settle(mut delta: QueryDelta, max_changes: Option<u64>) -> Result<QueryDelta, MethodError> {
    if let Some(last) = delta.up_to_index {
        delta.added.retain(|(_, index)| *index <= last);
        delta.removed.retain(|removed| !removed.beyond);
    }
    let changes = (delta.removed.len() + delta.added.len()) as u64;
    if max_changes.is_some_and(|max| changes > max) {
        return Err(MethodErrorKind::TooManyChanges.into());
    }
    delta.added.sort_by_key(|(_, index)| *index);
    Ok(delta)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(up_to_index: Option<u64>) -> QueryDelta {
        QueryDelta {
            removed: vec![
                Removed { id: "a".into(), beyond: false },
                Removed { id: "b".into(), beyond: true },
            ],
            added: vec![("d".into(), 7), ("c".into(), 2), ("e".into(), 3)],
            up_to_index,
            ..QueryDelta::default()
        }
    }

    #[test]
    fn what_is_beyond_the_last_known_id_is_left_out_and_not_counted() {
        let all = settle(delta(None), Some(5)).unwrap();
        assert_eq!(all.added, [("c".into(), 2), ("e".into(), 3), ("d".into(), 7)]);
        assert_eq!(all.removed.len(), 2);
        assert_eq!(settle(delta(None), Some(4)).unwrap_err().kind, MethodErrorKind::TooManyChanges);
        let near = settle(delta(Some(3)), Some(3)).unwrap();
        assert_eq!(near.added, [("c".into(), 2), ("e".into(), 3)]);
        assert_eq!(near.removed, [Removed { id: "a".into(), beyond: false }]);
        assert_eq!(settle(delta(Some(3)), Some(2)).unwrap_err().kind, MethodErrorKind::TooManyChanges);
    }
}
