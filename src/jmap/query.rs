//! Foo/query (RFC 8620 §5.5), once for all types: filters and comparators read, the window taken.
//!
//! Invariants: a filter has at most `FILTER_NODES_MAX` nodes; the window asks for a total only
//! where the answer needs it; a limit that this server sets is told.

use super::args::{Args, INT_MAX};
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind};
use super::methods::Method;
use super::object::{Query, QueryObject};
pub use crate::mail::collation::Collation;
use crate::types::limits::{COMPARATORS_MAX, FILTER_NODES_MAX, QUERY_IDS_MAX};
use serde_json::{Map, Value};

/// A filter as a tree of a type's conditions. An empty `And` or `Not` matches all, an empty `Or`
/// nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter<C> {
    Condition(C),
    And(Vec<Filter<C>>),
    Or(Vec<Filter<C>>),
    /// None of them matches.
    Not(Vec<Filter<C>>),
}

impl<C> Filter<C> {
    /// Does it match, given what each condition says?
    pub fn matches(&self, condition: &mut impl FnMut(&C) -> bool) -> bool {
        match self {
            Self::Condition(one) => condition(one),
            Self::And(all) => all.iter().all(|one| one.matches(condition)),
            Self::Or(any) => any.iter().any(|one| one.matches(condition)),
            Self::Not(none) => !none.iter().any(|one| one.matches(condition)),
        }
    }

    /// Visits every condition.
    pub fn for_each<'f>(&'f self, visit: &mut impl FnMut(&'f C)) {
        match self {
            Self::Condition(one) => visit(one),
            Self::And(all) | Self::Or(all) | Self::Not(all) => {
                all.iter().for_each(|one| one.for_each(visit));
            }
        }
    }
}

/// One Comparator, before the type has read it.
#[derive(Debug)]
pub struct Comparator {
    pub property: String,
    pub is_ascending: bool,
    /// `None`: the server's default, which is `i;unicode-casemap`.
    pub collation: Option<Collation>,
    /// Members of the type's own, such as `keyword` (RFC 8621 §4.4.2). Unknown ones are ignored.
    pub extra: Args,
}

/// An ordered list of ids, of which a page can be had without the rest.
pub trait Results {
    /// How many there are.
    fn total(&mut self) -> Result<u64, MethodError>;
    /// At most `limit` ids from `offset` on.
    fn page(&mut self, offset: u64, limit: u64) -> Result<Vec<String>, MethodError>;
    /// Where the id is, if it is there.
    fn position_of(&mut self, id: &str) -> Result<Option<u64>, MethodError>;
}

/// Results that are all in memory, with how an id is spelled.
pub struct Materialised<I> {
    pub ids: Vec<I>,
    pub spell: fn(&I) -> String,
}

impl<I> Results for Materialised<I> {
    fn total(&mut self) -> Result<u64, MethodError> {
        Ok(self.ids.len() as u64)
    }

    fn page(&mut self, offset: u64, limit: u64) -> Result<Vec<String>, MethodError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.ids.iter().skip(offset).take(limit).map(self.spell).collect())
    }

    fn position_of(&mut self, id: &str) -> Result<Option<u64>, MethodError> {
        Ok(self.ids.iter().position(|one| (self.spell)(one) == id).map(|at| at as u64))
    }
}

/// What a type gives for a query.
pub struct QueryResult<'q> {
    pub results: Box<dyn Results + 'q>,
    pub query_state: String,
    pub can_calculate_changes: bool,
}

impl<'q> QueryResult<'q> {
    /// All ids in order, of a query whose changes can be told.
    pub fn whole<I: 'q>(ids: Vec<I>, spell: fn(&I) -> String, query_state: String) -> Self {
        Self { results: Box::new(Materialised { ids, spell }), query_state, can_calculate_changes: true }
    }
}

/// Which part of the results is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Window {
    pub position: i64,
    pub anchor: Option<String>,
    pub anchor_offset: i64,
    pub limit: Option<u64>,
    pub calculate_total: bool,
}

/// The part, with what the response says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub position: u64,
    pub ids: Vec<String>,
    pub total: Option<u64>,
    /// The limit that the server set.
    pub limit: Option<u64>,
}

/// Runs Foo/query.
pub fn run<T: QueryObject>(
    ctx: &mut Ctx,
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let window = window_args(&mut args)?;
    let query = query_args::<T>(ctx, &mut args)?;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    let QueryResult { mut results, query_state, can_calculate_changes } = T::query(ctx, account, &query)?;
    let page = take(results.as_mut(), &window, QUERY_IDS_MAX as u64)?;
    drop(results);
    let mut response = Map::with_capacity(7);
    response.insert("accountId".into(), account_id.into());
    response.insert("queryState".into(), query_state.into());
    response.insert("canCalculateChanges".into(), can_calculate_changes.into());
    response.insert("position".into(), page.position.into());
    response.insert("ids".into(), page.ids.into());
    if let Some(total) = page.total {
        response.insert("total".into(), total.into());
    }
    if let Some(limit) = page.limit {
        response.insert("limit".into(), limit.into());
    }
    ctx.respond(method.name, response);
    Ok(())
}

fn window_args(args: &mut Args) -> Result<Window, MethodError> {
    Ok(Window {
        position: args.int("position", 0)?,
        anchor: args.string("anchor")?,
        anchor_offset: args.int("anchorOffset", 0)?,
        limit: args.unsigned("limit")?,
        calculate_total: args.flag("calculateTotal")?,
    })
}

/// Takes the window; `limit_max` is the most ids that one response gives.
pub fn take(results: &mut dyn Results, window: &Window, limit_max: u64) -> Result<Page, MethodError> {
    let mut total = None;
    if window.calculate_total || (window.anchor.is_none() && window.position < 0) {
        total = Some(results.total()?);
    }
    let position = match (&window.anchor, u64::try_from(window.position)) {
        (Some(anchor), _) => {
            let at = results.position_of(anchor)?.ok_or(MethodErrorKind::AnchorNotFound)?;
            at.saturating_add_signed(window.anchor_offset)
        }
        (None, Ok(position)) => position,
        (None, Err(_)) => total.unwrap_or_default().saturating_add_signed(window.position),
    };
    // An offset behind the largest UnsignedInt is behind every result all the same (RFC 8620 §1.3).
    let position = position.min(INT_MAX as u64);
    let limit = window.limit.unwrap_or(limit_max).min(limit_max);
    let ids = if limit == 0 { Vec::new() } else { results.page(position, limit)? };
    // A limit that nobody asked for is told where it may have cut something off.
    let cut = match window.limit {
        Some(wanted) => wanted > limit_max,
        None => ids.len() as u64 == limit_max,
    };
    Ok(Page {
        position,
        ids,
        total: total.filter(|_| window.calculate_total),
        limit: cut.then_some(limit_max),
    })
}

/// Reads filter, sort and the type's own arguments, the same for /query and /queryChanges.
pub(super) fn query_args<T: QueryObject>(ctx: &Ctx, args: &mut Args) -> Result<Query<T>, MethodError> {
    let filter = args.object("filter")?;
    let mut nodes = 0;
    let filter = filter.map(|filter| read_filter::<T>(ctx, filter, &mut nodes)).transpose()?;
    let comparators = match args.any("sort") {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(MethodError::argument("sort", "must be an array of comparators")),
    };
    if comparators.len() > COMPARATORS_MAX {
        return Err(MethodError::new(MethodErrorKind::UnsupportedSort, "There are too many comparators."));
    }
    let mut sort = Vec::with_capacity(comparators.len());
    for comparator in comparators {
        sort.push(T::sort(ctx, read_comparator(comparator)?)?);
    }
    Ok(Query { filter, sort, args: T::query_args(ctx, args)? })
}

fn read_filter<T: QueryObject>(
    ctx: &Ctx,
    mut members: Map<String, Value>,
    nodes: &mut usize,
) -> Result<Filter<T::Condition>, MethodError> {
    let unsupported = |why: String| MethodError::new(MethodErrorKind::UnsupportedFilter, why);
    *nodes += 1;
    if *nodes > FILTER_NODES_MAX {
        return Err(unsupported("The filter has too many conditions.".into()));
    }
    let Some(operator) = members.remove("operator") else {
        let mut args = Args::new(members);
        let condition = T::condition(ctx, &mut args)?;
        return match args.left_over() {
            None => Ok(Filter::Condition(condition)),
            Some(name) => Err(unsupported(format!(
                "There is no condition '{name}', or it needs a capability that isn't in \"using\"."
            ))),
        };
    };
    let wrong = || MethodError::argument("filter", "an operator has an array of conditions, each an object");
    let Some(Value::Array(conditions)) = members.remove("conditions") else { return Err(wrong()) };
    if !members.is_empty() {
        return Err(MethodError::argument("filter", "an operator has no other members than conditions"));
    }
    let mut out = Vec::with_capacity(conditions.len().min(FILTER_NODES_MAX));
    for condition in conditions {
        let Value::Object(condition) = condition else { return Err(wrong()) };
        out.push(read_filter::<T>(ctx, condition, nodes)?);
    }
    match operator.as_str() {
        Some("AND") => Ok(Filter::And(out)),
        Some("OR") => Ok(Filter::Or(out)),
        Some("NOT") => Ok(Filter::Not(out)),
        _ => Err(MethodError::argument("filter", "an operator is AND, OR or NOT")),
    }
}

fn read_comparator(value: Value) -> Result<Comparator, MethodError> {
    let wrong = |why| MethodError::argument("sort", why);
    let Value::Object(members) = value else { return Err(wrong("a comparator must be an object")) };
    let mut extra = Args::new(members);
    let Some(Value::String(property)) = extra.given("property") else {
        return Err(wrong("a comparator must have a property"));
    };
    let is_ascending = match extra.given("isAscending") {
        None => true,
        Some(Value::Bool(is_ascending)) => is_ascending,
        Some(_) => return Err(wrong("isAscending must be true or false")),
    };
    let collation = match extra.any("collation") {
        None => None,
        Some(Value::String(name)) => {
            let known = Collation::ALL.into_iter().find(|collation| collation.name() == name);
            let unknown =
                || MethodError::new(MethodErrorKind::UnsupportedSort, "The collation is not known.");
            Some(known.ok_or_else(unknown)?)
        }
        Some(_) => return Err(wrong("collation must be a string")),
    };
    Ok(Comparator { property, is_ascending, collation, extra })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn results(count: usize) -> Materialised<usize> {
        Materialised { ids: (0..count).collect(), spell: |id| format!("e{id}") }
    }

    /// The words of RFC 8620 §5.5, over a list of known length.
    fn naive(count: usize, window: &Window, max: u64) -> Option<Page> {
        let ids: Vec<String> = (0..count).map(|id| format!("e{id}")).collect();
        let mut index = i128::from(window.position);
        if let Some(anchor) = &window.anchor {
            index = ids.iter().position(|id| id == anchor)? as i128 + i128::from(window.anchor_offset);
        } else if index < 0 {
            index += count as i128;
        }
        let index = (index.max(0) as u64).min(INT_MAX as u64);
        let limit = window.limit.unwrap_or(u64::MAX).min(max);
        let page: Vec<String> = ids.into_iter().skip(index as usize).take(limit as usize).collect();
        let told = match window.limit {
            Some(wanted) => wanted > max,
            None => page.len() as u64 == max,
        };
        Some(Page {
            position: index,
            ids: page,
            total: window.calculate_total.then_some(count as u64),
            limit: told.then_some(max),
        })
    }

    proptest! {
        #[test]
        fn a_window_is_what_slicing_the_whole_list_gives(
            count in 0usize..12,
            position in prop_oneof![-15i64..15, Just(i64::MIN), Just(i64::MAX)],
            anchor in prop::option::of((0usize..14).prop_map(|id| format!("e{id}"))),
            anchor_offset in prop_oneof![-15i64..15, Just(i64::MIN), Just(i64::MAX)],
            limit in prop::option::of(prop_oneof![0u64..15, Just(u64::MAX)]),
            calculate_total: bool,
            max in 1u64..9,
        ) {
            let window = Window { position, anchor, anchor_offset, limit, calculate_total };
            prop_assert_eq!(take(&mut results(count), &window, max).ok(), naive(count, &window, max));
        }
    }

    /// Counts what it is asked, and knows nothing.
    #[derive(Default)]
    struct Counting {
        totals: usize,
        pages: usize,
    }

    impl Results for Counting {
        fn total(&mut self) -> Result<u64, MethodError> {
            self.totals += 1;
            Ok(0)
        }

        fn page(&mut self, _offset: u64, _limit: u64) -> Result<Vec<String>, MethodError> {
            self.pages += 1;
            Ok(Vec::new())
        }

        fn position_of(&mut self, _id: &str) -> Result<Option<u64>, MethodError> {
            Ok(Some(0))
        }
    }

    #[test]
    fn totals_and_pages_are_asked_for_only_where_needed() {
        for (window, totals, pages) in [
            (Window::default(), 0, 1),
            (Window { position: -1, ..Window::default() }, 1, 1),
            (Window { position: -1, anchor: Some("x".into()), ..Window::default() }, 0, 1),
            (Window { limit: Some(0), calculate_total: true, ..Window::default() }, 1, 0),
        ] {
            let mut counting = Counting::default();
            take(&mut counting, &window, 10).unwrap();
            assert_eq!((counting.totals, counting.pages), (totals, pages), "{window:?}");
        }
    }
}
