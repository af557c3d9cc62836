//! Foo/changes (RFC 8620 §5.2), once for all types.
//!
//! Invariants: a state is opaque and names a position in the type's change log; one that this
//! server never gave out, or whose log is gone, is `cannotCalculateChanges`.

use super::args::Args;
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind};
use super::methods::Method;
use super::object::{Object, TypeTable};
use super::session::Account;
use crate::store::Read;
use crate::store::changes::{self, Since};
use crate::store::txn::Committed;
use crate::types::DataType;
use crate::types::limits::CHANGES_MAX;
use serde_json::{Map, Value};

/// The ids that changed since a state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChangedIds {
    pub created: Vec<String>,
    pub updated: Vec<String>,
    pub destroyed: Vec<String>,
    /// The updates were of counts only (RFC 8621 §2.2).
    pub only_counts: bool,
    pub new_state: String,
    pub has_more: bool,
}

/// The state that a modseq is.
pub fn state_string(modseq: u64) -> String {
    Since::modseq(modseq).state()
}

/// The state of a type for the principal that asks: what of it is each member's own counts as well.
pub fn state_of(
    ctx: &Ctx,
    reader: &dyn Read,
    account: &Account,
    table: &TypeTable,
) -> Result<String, MethodError> {
    let Some(data_type) = table.data_type else { return Ok(state_string(0)) };
    let member = ctx.member(account).filter(|_| data_type.has_own());
    Ok(state_string(changes::states_of(reader, account.id, member)?.of(data_type)))
}

/// The state after a commit, before the server's own corrections, for the principal that asks.
/// `before` is the state that the transaction began with.
pub fn state_after(
    ctx: &Ctx,
    account: &Account,
    data_type: DataType,
    done: &Committed,
    before: &str,
) -> Option<String> {
    let shared = done.asked.get(&account.id)?.of(data_type);
    let own = ctx.member(account).and_then(|member| done.own.get(&(account.id, member)));
    let own = own.map_or(0, |states| states.of(data_type));
    let before = Since::parse(before).map_or(0, |since| since.modseq);
    Some(state_string(shared.max(own).max(before)))
}

/// What a type's change log tells.
pub fn from_log(
    ctx: &Ctx,
    account: &Account,
    table: &TypeTable,
    since: &str,
    max: usize,
) -> Result<ChangedIds, MethodError> {
    let cannot = || MethodError::from(MethodErrorKind::CannotCalculateChanges);
    let data_type = table.data_type.ok_or_else(cannot)?;
    let since = Since::parse(since).ok_or_else(cannot)?;
    let member = ctx.member(account).filter(|_| data_type.has_own());
    let changes = changes::changes(ctx.reader(), account.id, member, data_type, since, max)?;
    let changes = changes.ok_or_else(cannot)?;
    let spell = |ids: Vec<u32>| ids.into_iter().map(table.id).collect();
    Ok(ChangedIds {
        created: spell(changes.created),
        updated: spell(changes.updated),
        destroyed: spell(changes.destroyed),
        only_counts: changes.only_counts,
        new_state: changes.new_state.state(),
        has_more: changes.has_more,
    })
}

/// Runs Foo/changes.
pub fn run<T: Object>(
    ctx: &mut Ctx,
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let since = args.required_string("sinceState")?;
    let max = max_changes(&mut args)?;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    let max = max.map_or(CHANGES_MAX, |max| usize::try_from(max).unwrap_or(CHANGES_MAX).min(CHANGES_MAX));
    let changed = T::changes(ctx, account, &since, max)?;
    let mut response = Map::with_capacity(8);
    response.insert("accountId".into(), account_id.into());
    response.insert("oldState".into(), since.into());
    response.insert("newState".into(), changed.new_state.as_str().into());
    response.insert("hasMoreChanges".into(), changed.has_more.into());
    T::changes_extra(ctx, &changed, &mut response)?;
    response.insert("created".into(), changed.created.into());
    response.insert("updated".into(), changed.updated.into());
    response.insert("destroyed".into(), changed.destroyed.into());
    ctx.respond(method.name, response);
    Ok(())
}

/// `maxChanges` of /changes: null, or more than 0.
fn max_changes(args: &mut Args) -> Result<Option<u64>, MethodError> {
    match args.unsigned("maxChanges")? {
        Some(0) => Err(MethodError::argument("maxChanges", "must be greater than 0")),
        max => Ok(max),
    }
}
