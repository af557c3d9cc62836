//! Foo/get (RFC 8620 §5.1), once for all types.
//!
//! Invariants: each id of the request is once in `list` or once in `notFound`; an object has
//! exactly the properties asked for and `id`; a property of a capability that isn't in use doesn't
//! exist.

use super::args::Args;
use super::capability::Capability;
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind};
use super::methods::Method;
use super::object::{Object, Props, TextList};
use super::session::Account;
use crate::types::limits::OBJECTS_IN_GET_MAX;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Runs Foo/get.
pub fn run<T: Object>(
    ctx: &mut Ctx,
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = if T::IN_ACCOUNTS { Some(args.required_string("accountId")?) } else { None };
    let ids = args.strings("ids")?;
    let props = props::<T>(ctx, args.property_names("properties")?)?;
    let own = T::get_args(ctx, &mut args, &props)?;
    args.finish()?;
    let of_nobody = Account::of_nobody();
    let account = match &account_id {
        Some(id) => ctx.account(id, method.capability)?,
        None => ctx.outside_accounts(&of_nobody),
    };
    let reader = ctx.reader();
    let too_large = || MethodError::from(MethodErrorKind::RequestTooLarge);
    let ids = match ids {
        Some(ids) if ids.len() > OBJECTS_IN_GET_MAX => return Err(too_large()),
        Some(ids) => ids,
        None => T::all_ids(ctx, reader, account, OBJECTS_IN_GET_MAX)?.ok_or_else(too_large)?,
    };
    let distinct = distinct(&ids);
    let told =
        account_id.map(|id| Ok::<_, MethodError>((id, T::state(ctx, reader, account)?))).transpose()?;
    let response = |list: Value, missing: Vec<Value>| {
        let mut response = Map::with_capacity(4);
        if let Some((account_id, state)) = told {
            response.insert("accountId".into(), account_id.into());
            response.insert("state".into(), state.into());
        }
        response.insert("list".into(), list);
        response.insert("notFound".into(), missing.into());
        response
    };
    if let Some(TextList { text, missing }) = T::get_text(ctx, reader, account, &distinct, &props, &own)? {
        let missing = missing.into_iter().map(Value::from).collect();
        ctx.respond_with_list(method.name, response(Value::Null, missing), text);
        return Ok(());
    }
    let found = T::get_many(ctx, reader, account, &distinct, &props, &own)?;
    let (mut list, mut missing) = (Vec::with_capacity(found.len()), Vec::new());
    for (id, object) in distinct.into_iter().zip(found) {
        match object {
            Some(object) => list.push(Value::Object(object)),
            None => missing.push(Value::from(id)),
        }
    }
    ctx.respond(method.name, response(list.into(), missing));
    Ok(())
}

/// The properties asked for, all of which must exist for this client.
pub(super) fn props<T: Object>(ctx: &Ctx, names: Option<Vec<String>>) -> Result<Props, MethodError> {
    let Some(names) = names else { return Ok(Props::by_default(T::table(), ctx.using)) };
    let unknown = |name: &&String| !T::property(name).is_some_and(|one| one.visible(ctx.using));
    match names.iter().find(unknown) {
        Some(name) => {
            let needs = T::property(name).and_then(|one| one.capability).map(Capability::uri);
            let needs = needs.map(|uri| format!(" unless \"using\" names '{uri}'")).unwrap_or_default();
            Err(MethodError::argument("properties", &format!("there is no property '{name}'{needs}")))
        }
        None => Ok(Props::of(names)),
    }
}

fn distinct(ids: &[String]) -> Vec<&str> {
    let mut seen = HashSet::with_capacity(ids.len());
    ids.iter().map(String::as_str).filter(|id| seen.insert(*id)).collect()
}
