//! Foo/copy (RFC 8620 §5.4), once for all types.
//!
//! Invariants: the two accounts differ; an account that the session doesn't show is
//! `fromAccountNotFound` whether it exists or not; the originals are destroyed by a Foo/set of its
//! own, only where their copies succeeded.

use super::args::Args;
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind, Refusal, SetError};
use super::methods::Method;
use super::object::{CopyObject, Expected, SetCall};
use super::session::Account;
use super::{set, set_check};
use crate::store::Txn;
use crate::types::limits::OBJECTS_IN_SET_MAX;
use serde_json::{Map, Value};

/// What a call asks for.
struct Plan {
    from_id: String,
    account_id: String,
    if_from_in_state: Option<String>,
    if_in_state: Option<String>,
    create: Map<String, Value>,
    destroy_originals: bool,
    destroy_if_in_state: Option<String>,
}

/// What became of it; of the originals those that were copied.
#[derive(Default)]
struct Outcome {
    created: Map<String, Value>,
    not_created: Vec<(String, SetError)>,
    originals: Vec<Value>,
}

/// Runs Foo/copy.
pub fn run<T: CopyObject>(
    ctx: &mut Ctx,
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<(), MethodError> {
    let plan = plan(Args::new(arguments))?;
    let account = ctx.writable(&plan.account_id, method.capability, T::table().write_role)?;
    let from = ctx.account(&plan.from_id, method.capability).map_err(|error| match error.kind {
        MethodErrorKind::AccountNotFound => MethodErrorKind::FromAccountNotFound.into(),
        _ => MethodError::from(MethodErrorKind::FromAccountNotSupportedByMethod),
    })?;
    if plan.create.len() > OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let ((outcome, old_state), committed) =
        ctx.write_to(&[account.id, from.id], |ctx, txn| in_txn::<T>(ctx, txn, account, from, &plan))?;
    let mut response = Map::with_capacity(6);
    response.insert("fromAccountId".into(), plan.from_id.as_str().into());
    response.insert("accountId".into(), plan.account_id.into());
    let new_state = T::state_after_set(ctx, account, &committed, &old_state)?;
    response.insert("oldState".into(), old_state.into());
    response.insert("newState".into(), new_state.into());
    response.insert("created".into(), set::or_null(outcome.created));
    response.insert("notCreated".into(), set::refusals(ctx, &outcome.not_created));
    ctx.respond(method.name, response);
    if plan.destroy_originals && !outcome.originals.is_empty() {
        let mut implicit = Map::new();
        implicit.insert("accountId".into(), plan.from_id.into());
        implicit.insert("ifInState".into(), plan.destroy_if_in_state.into());
        implicit.insert("destroy".into(), outcome.originals.into());
        ctx.implicit(&format!("{}/set", T::table().name), implicit);
    }
    Ok(())
}

fn plan(mut args: Args) -> Result<Plan, MethodError> {
    let plan = Plan {
        from_id: args.required_string("fromAccountId")?,
        account_id: args.required_string("accountId")?,
        if_from_in_state: args.string("ifFromInState")?,
        if_in_state: args.string("ifInState")?,
        create: args.creates("create")?.ok_or_else(|| MethodError::argument("create", "is required"))?,
        destroy_originals: args.flag("onSuccessDestroyOriginal")?,
        destroy_if_in_state: args.string("destroyFromIfInState")?,
    };
    args.finish()?;
    if plan.from_id == plan.account_id {
        return Err(MethodError::argument("fromAccountId", "must differ from accountId"));
    }
    Ok(plan)
}

fn in_txn<T: CopyObject>(
    ctx: &mut Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    from: &Account,
    plan: &Plan,
) -> Result<(Outcome, String), MethodError> {
    let old_state = T::state(ctx, txn, account)?;
    let from_state = T::state(ctx, ctx.reader(), from)?;
    if plan.if_in_state.as_ref().is_some_and(|wanted| *wanted != old_state)
        || plan.if_from_in_state.as_ref().is_some_and(|wanted| *wanted != from_state)
    {
        return Err(MethodErrorKind::StateMismatch.into());
    }
    let mut outcome = Outcome::default();
    for (creation_id, object) in &plan.create {
        if !txn.has_room() {
            outcome.not_created.push((creation_id.clone(), set::too_much_at_once()));
            continue;
        }
        let savepoint = txn.savepoint();
        match copy_one::<T>(ctx, txn, account, from, object) {
            Ok((original, copy)) => {
                let id = copy.get("id").and_then(Value::as_str).unwrap_or_default();
                ctx.stage_created(creation_id, id);
                outcome.created.insert(creation_id.clone(), copy.into());
                outcome.originals.push(original.into());
            }
            Err(Refusal::Object(error) | Refusal::Remembered(error, _)) => {
                txn.rollback(savepoint);
                outcome.not_created.push((creation_id.clone(), error));
            }
            Err(Refusal::Call(error)) => return Err(error),
        }
    }
    Ok((outcome, old_state))
}

/// The id of the original, and what the response tells of the copy.
fn copy_one<T: CopyObject>(
    ctx: &Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    from: &Account,
    object: &Value,
) -> Result<(String, Map<String, Value>), Refusal> {
    let (mut id, mut properties, mut wrong) = (None, Map::new(), Vec::new());
    for (name, value) in object.as_object().into_iter().flatten() {
        let allowed = T::COPY_PROPERTIES.contains(&name.as_str());
        match set_check::property::<T>(ctx, name) {
            _ if name == "id" => id = value.as_str().and_then(|id| ctx.resolve_id(id)),
            Some(property) if allowed => {
                let mut value = value.clone();
                if set_check::settle(ctx, property, &mut value).is_err() {
                    wrong.push(name.clone());
                }
                properties.insert(name.clone(), value);
            }
            _ => wrong.push(name.clone()),
        }
    }
    if id.is_none() {
        wrong.push("id".into());
    }
    let (Some(id), true) = (id, wrong.is_empty()) else {
        return Err(SetError::properties(wrong, "These can't be given so in a copy.").into());
    };
    let mut call = SetCall { ctx, txn, account, args: &(), expected: &Expected::default() };
    let created = T::copy(&mut call, from, &id, properties)?;
    Ok((id.into_owned(), set::created_object(created, Map::new())))
}
