//! What the team's types share: the way to an inbox's desk, how the rules' no becomes a SetError,
//! and how dates, ids and words are read and written.

use crate::inbox::desk::{Desk, DeskError, PersonName, Staff};
use crate::inbox::machine::{Actor, Entry};
use crate::inbox::refusal;
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind, VendorError};
use crate::jmap::session::Account;
use crate::store::rows::mail::EmailRow;
use crate::store::rows::team::{ActivityKind, ActivityValue};
use crate::store::{StoreResult, Txn};
use crate::types::{AccountId, EmailId, MemberRole, Millis, PrincipalId, UtcDate};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The principal that asks, as the rules see them. Accounts without a role have no team methods.
pub fn actor(ctx: &Ctx, account: &Account) -> Actor {
    Actor::Member { principal: ctx.session.principal, role: account.role.unwrap_or(MemberRole::Observer) }
}

/// Who works in the inbox.
pub fn staff(ctx: &Ctx, account: &Account) -> Arc<Staff> {
    (ctx.host.staff)(account.id)
}

/// Sits down in the inbox as the principal that asks.
pub fn desk<'t, 's>(
    ctx: &Ctx,
    account: &Account,
    txn: &'t mut Txn<'s>,
    staff: &'t Staff,
) -> StoreResult<Desk<'t, 's>> {
    Desk::open(txn, account.id, actor(ctx, account), staff)
}

/// Puts on an inbox's record that one of its messages was copied to another account.
pub fn copied_out(
    ctx: &Ctx,
    txn: &mut Txn<'_>,
    from: &Account,
    email: EmailId,
    to: AccountId,
) -> StoreResult<()> {
    if !from.is_inbox() {
        return Ok(());
    }
    let staff = staff(ctx, from);
    let mut desk = desk(ctx, from, txn, &staff)?;
    let Some(row) = desk.read().row::<EmailRow>(from.id, email)? else { return Ok(()) };
    let (email, to) = (ActivityValue::Email(email), ActivityValue::Account(to));
    desk.record(row.conversation, &Entry::new(ActivityKind::CopiedOut, email.into(), to.into()))
}

/// What came of an action at the desk, as a hook says it.
pub fn refused(error: DeskError, staff: &Staff) -> Refusal {
    match error {
        DeskError::Store(error) => error.into(),
        DeskError::Refused(refusal) => set_error(&refusal, staff).into(),
    }
}

/// The rules' no as a SetError: with all that a client of ours must show, and in plain words for
/// every other one.
pub fn set_error(no: &refusal::Refusal, staff: &Staff) -> SetError {
    use refusal::Refusal as No;
    let description = no.plain_description(&|principal| staff.name_of(principal));
    let vendor = |error, extra: Value| {
        let extra = if let Value::Object(extra) = extra { extra } else { Map::new() };
        SetError::vendor(error, extra, description.clone())
    };
    match no {
        No::Forbidden(_) | No::Merged { .. } => SetError::forbidden(description),
        No::InvalidProperties { properties, .. } => {
            SetError::properties(properties.iter().copied(), description)
        }
        No::VersionMismatch { version } => {
            vendor(VendorError::VersionMismatch, json!({"version": version.to_string()}))
        }
        No::OwnerMismatch { owner, version } => vendor(
            VendorError::OwnerMismatch,
            json!({"ownerId": principal_json(*owner), "version": version.to_string()}),
        ),
        No::NotDone { missing } => vendor(VendorError::NotDone, json!({"missing": missing}))
            .or_plain(SetErrorKind::InvalidProperties { properties: vec!["mailboxIds".into()] }),
        No::LockHeld { holder, expires_at } => vendor(
            VendorError::LockHeld,
            json!({"holderId": holder.to_string(), "expiresAt": date_json(*expires_at)}),
        ),
        No::LockLost { holder, expires_at } => vendor(
            VendorError::LockLost,
            json!({"holderId": principal_json(*holder), "expiresAt": expires_at.map(date_json)}),
        ),
        No::ConversationChanged { level, version, emails, reasons, .. } => {
            let ids: Vec<String> = emails.iter().map(EmailId::to_string).collect();
            vendor(
                VendorError::ConversationChanged,
                json!({
                    "level": level.name(), "version": version.to_string(), "emailIds": ids,
                    "reasons": reasons
                }),
            )
        }
        No::PlainCollision { .. } => SetError::new(SetErrorKind::ForbiddenToSend, description),
    }
}

/// A moment as a UTCDate.
pub fn date_json(at: Millis) -> Value {
    at.date().to_string().into()
}

/// A moment or null.
pub fn maybe_date(at: Option<Millis>) -> Value {
    at.map_or(Value::Null, date_json)
}

/// A principal's id or null.
pub fn principal_json(principal: Option<PrincipalId>) -> Value {
    principal.map_or(Value::Null, |principal| principal.to_string().into())
}

/// Names as the keys of an object, each `true`: so that a patch can add or remove one.
pub fn set_json(names: impl IntoIterator<Item = String>) -> Value {
    Value::Object(names.into_iter().map(|name| (name, Value::Bool(true))).collect())
}

/// The keys of such an object.
pub fn set_names(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(Map::keys)
}

/// What to call everybody who may be named.
pub fn person(staff: &Staff, principal: PrincipalId) -> Option<&PersonName> {
    staff.names.get(&principal)
}

/// A principal in a filter: an id, or `"me"`. One that names nobody matches nothing.
pub fn principal_argument(
    ctx: &Ctx,
    args: &mut Args,
    name: &str,
) -> Result<Option<Option<PrincipalId>>, MethodError> {
    let Some(text) = args.string(name)? else { return Ok(None) };
    if text == "me" {
        return Ok(Some(Some(ctx.session.principal)));
    }
    Ok(Some(PrincipalId::parse(&text)))
}

/// A UTCDate in a filter.
pub fn date_argument(args: &mut Args, name: &str) -> Result<Option<UtcDate>, MethodError> {
    let Some(text) = args.string(name)? else { return Ok(None) };
    UtcDate::parse(&text).map(Some).ok_or_else(|| MethodError::argument(name, "must be a UTC date"))
}

/// A filter that would look at more objects than this server is ready to.
pub fn too_many() -> MethodError {
    MethodError::new(
        MethodErrorKind::UnsupportedFilter,
        "Too many objects would have to be looked at one by one; narrow the filter.",
    )
}
