//! EmailSubmission/set (RFC 8621 §7.5): who may send what to whom, and the way to the send gate.
//!
//! The rules about addresses are in `submission_envelope.rs`; whether a reply may go out now, and everything that sending
//! does, is `inbox/sending.rs`. A submission that was made before is given back as created.

use super::submission::{EmailSubmission, to_json};
use super::{identity, submission_envelope as envelope, team};
use crate::inbox::desk::DeskError;
use crate::inbox::refusal as rules;
use crate::inbox::scheduling;
use crate::inbox::sending::{self, Order, SendRefusal, Submitted, TeamOrder};
use crate::inbox::siblings;
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::set::Outcome;
use crate::mail::outbound;
use crate::store::rows::submission::{ReportsRow, SubmissionRow, UndoStatus};
use crate::store::rows::team::Status;
use crate::types::*;
use serde_json::{Map, Value, json};
use std::cell::RefCell;

/// What is done to the Email once it was sent (RFC 8621 §7.5).
#[derive(Default)]
pub struct OnSuccess {
    update: Map<String, Value>,
    destroy: Vec<String>,
    /// The Emails of the submissions that the call destroyed, which tell nothing any more.
    gone: RefCell<Vec<(String, EmailId)>>,
}

type Call<'c, 't> = SetCall<'c, 't, OnSuccess>;

impl SetObject for EmailSubmission {
    type SetArgs = OnSuccess;

    fn set_args(_ctx: &Ctx, args: &mut Args) -> Result<OnSuccess, MethodError> {
        let update = args.object("onSuccessUpdateEmail")?.unwrap_or_default();
        if update.values().any(|patch| !patch.is_object()) {
            return Err(MethodError::argument("onSuccessUpdateEmail", "must map ids to patches"));
        }
        Ok(OnSuccess {
            update,
            destroy: args.strings("onSuccessDestroyEmail")?.unwrap_or_default(),
            gone: RefCell::default(),
        })
    }

    fn locked_beside(
        ctx: &Ctx,
        account: &Account,
        create: &Map<String, Value>,
    ) -> Result<Vec<AccountId>, MethodError> {
        let mut accounts = Vec::new();
        for object in create.values().filter(|_| account.is_inbox()) {
            if let Some(email) = email_named(ctx, object) {
                accounts.extend(siblings::beside(ctx.reader(), account.id, email)?);
            }
        }
        Ok(accounts)
    }

    fn before_create(set: &mut Call<'_, '_>, object: &Value) -> Result<(), MethodError> {
        let Some(email) = email_named(set.ctx, object).filter(|_| set.account.is_inbox()) else {
            return Ok(());
        };
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        match sending::hear_siblings(&mut desk, email) {
            Ok(()) | Err(DeskError::Refused(_)) => Ok(()),
            Err(DeskError::Store(error)) => Err(error.into()),
        }
    }

    fn create(set: &mut Call<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let identity = IdentityId::parse(text(&properties, "identityId")).unwrap_or(IdentityId(0));
        let identity_row = identity::of_member(set.ctx, set.reader(), set.account, identity)?;
        let identity_row =
            identity_row.ok_or_else(|| SetError::properties(["identityId"], "There is no such Identity."))?;
        let email = EmailId::parse(text(&properties, "emailId")).unwrap_or(EmailId(0));
        let envelope = envelope::checked(set, email, &identity_row, properties.get("envelope"))?;
        // RFC 8621 §7: it is server-set on create. A client may name what it will be anyway (RFC 8620 §5.3).
        let undo_status = if envelope.release_at.is_some() { "pending" } else { "final" };
        if properties.get("undoStatus").is_some_and(|given| given != undo_status) {
            return Err(SetError::properties(["undoStatus"], "The server sets it on create.").into());
        }
        let key = properties.get("idempotencyKey").and_then(Value::as_str);
        let order = Order {
            email,
            identity,
            mail_from: Some(envelope.mail_from),
            mail_from_parameters: envelope.mail_from_parameters,
            recipients: envelope.recipients,
            sender: set.ctx.session.principal,
            idempotency_key: key,
            release_at: envelope.release_at,
        };
        let submitted = if set.account.is_inbox() {
            submit_inbox(set, &order, &properties)?
        } else {
            let account = set.account.id;
            sending::submit_personal(set.txn, account, &order)?.ok_or_else(envelope::no_email)?
        };
        Ok(created(&submitted, properties.get("envelope")))
    }

    fn update(set: &mut Call<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = SubmissionId::parse(update.id).ok_or(SetErrorKind::NotFound)?;
        let row: Option<SubmissionRow> = set.reader().row(set.account.id, id)?;
        let row = row.ok_or(SetErrorKind::NotFound)?;
        match update.new.get("undoStatus") {
            wanted if wanted == update.old.get("undoStatus") => Ok(None),
            Some(wanted) if wanted == "canceled" => {
                if row.author != set.ctx.session.principal && set.account.is_inbox() {
                    return Err(SetError::forbidden("Only its sender may take a message back.").into());
                }
                if cancel(set, id)? { Ok(None) } else { Err(SetErrorKind::CannotUnsend.into()) }
            }
            _ => Err(SetError::properties(["undoStatus"], "It can only be set to \"canceled\".").into()),
        }
    }

    fn destroy(set: &mut Call<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = SubmissionId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let row: Option<SubmissionRow> = set.reader().row(set.account.id, id)?;
        let row = row.ok_or(SetErrorKind::NotFound)?;
        let pending = row.undo_status == UndoStatus::Pending && set.account.is_inbox();
        if pending && row.author != set.ctx.session.principal && !set.account.allows(MemberRole::Lead) {
            let why = "It waits to be sent, and only its sender or a lead may remove it: they couldn't take it back.";
            return Err(SetError::forbidden(why).into());
        }
        // RFC 8621 §7.5: it purely removes the record; what is on its way stays on it.
        outbound::destroy(set.txn, set.account.id, id, &row)?;
        set.args.gone.borrow_mut().push((id.to_string(), row.email));
        Ok(())
    }

    fn after_commit(ctx: &mut Ctx, account: &Account, args: OnSuccess, outcome: &Outcome) {
        let mut update = Map::new();
        let gone = args.gone.into_inner();
        for (key, patch) in args.update {
            if let Some(email) = email_of(ctx, account, &key, outcome, &gone) {
                update.insert(email, patch);
            }
        }
        let mut destroy: Vec<String> = Vec::new();
        for key in args.destroy {
            destroy.extend(email_of(ctx, account, &key, outcome, &gone));
        }
        if update.is_empty() && destroy.is_empty() {
            return;
        }
        let mut arguments = Map::new();
        arguments.insert("accountId".into(), account.id.to_string().into());
        arguments.insert("update".into(), Value::Object(update));
        arguments.insert("destroy".into(), json!(destroy));
        ctx.implicit("Email/set", arguments);
    }
}

/// The Email that a create names.
fn email_named(ctx: &Ctx, object: &Value) -> Option<EmailId> {
    let id = object.get("emailId").and_then(Value::as_str).and_then(|id| ctx.resolve_id(id));
    id.and_then(|id| EmailId::parse(&id))
}

/// The Email of a submission that this call made (`#creationId`), changed or destroyed.
fn email_of(
    ctx: &Ctx,
    account: &Account,
    key: &str,
    outcome: &Outcome,
    gone: &[(String, EmailId)],
) -> Option<String> {
    let made = key.strip_prefix('#').and_then(|creation_id| outcome.created_id(creation_id));
    let id = match made {
        Some(id) => id.to_owned(),
        None => ctx.resolve_id(key)?.into_owned(),
    };
    if outcome.destroyed.contains(&id) {
        return gone.iter().find(|(known, _)| *known == id).map(|(_, email)| email.to_string());
    }
    if made.is_none() && !outcome.updated.contains_key(&id) {
        return None;
    }
    let row: Option<SubmissionRow> = ctx.reader().row(account.id, SubmissionId::parse(&id)?).ok()?;
    row.map(|row| row.email.to_string())
}

/// What the client must learn of its submission: the envelope, too, where it gave another one.
fn created(submitted: &Submitted, envelope: Option<&Value>) -> Created {
    let id = submitted.id.to_string();
    let told = ["threadId", "sendAt", "undoStatus", "deliveryStatus", "dsnBlobIds", "mdnBlobIds", "envelope"];
    let mut properties = to_json(&id, &submitted.row, &ReportsRow::default(), &Props::of(told));
    properties.remove("id");
    if properties.get("envelope") == envelope {
        properties.remove("envelope");
    }
    Created { id, properties }
}

/// Takes a message back before its time; false where it is too late.
fn cancel(set: &mut Call<'_, '_>, id: SubmissionId) -> Result<bool, Refusal> {
    if !set.account.is_inbox() {
        return Ok(scheduling::cancel_personal(set.txn, set.account.id, id)?);
    }
    let staff = team::staff(set.ctx, set.account);
    let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
    scheduling::cancel(&mut desk, id).map_err(|error| team::refused(error, &staff))
}

fn submit_inbox(
    set: &mut Call<'_, '_>,
    order: &Order<'_>,
    properties: &Map<String, Value>,
) -> Result<Submitted, Refusal> {
    let wanted = team_order(properties)?;
    let staff = team::staff(set.ctx, set.account);
    let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
    match sending::submit_inbox(&mut desk, order, &wanted) {
        Ok(submitted) => Ok(submitted),
        Err(SendRefusal::Desk(error @ DeskError::Store(_))) => Err(team::refused(error, &staff)),
        Err(SendRefusal::Desk(DeskError::Refused(no))) => {
            // What a submission may not do is `forbiddenToSend` here (RFC 8621 §7.5).
            let mut error = team::set_error(&no, &staff);
            if matches!(no, rules::Refusal::NotDone { .. }) {
                error =
                    error.or_plain(SetErrorKind::InvalidProperties { properties: vec!["thenStatus".into()] });
            }
            Err(match error.kind {
                SetErrorKind::Forbidden => SetError { kind: SetErrorKind::ForbiddenToSend, ..error }.into(),
                _ => error.into(),
            })
        }
        Err(SendRefusal::Gate { refusal, remember }) => {
            let error = team::set_error(&refusal, &staff);
            Err(match remember {
                Some(remember) => Refusal::Remembered(error, remember),
                None => error.into(),
            })
        }
    }
}

/// What a client that knows the send gate names beside.
fn team_order(properties: &Map<String, Value>) -> Result<TeamOrder, Refusal> {
    let wrong = |name: &'static str| SetError::properties([name], "It names nothing of this inbox.");
    let if_version = match properties.get("ifVersion").and_then(Value::as_str) {
        Some(text) => Some(text.parse().map_err(|_| wrong("ifVersion"))?),
        None => None,
    };
    let then_status = match properties.get("thenStatus").and_then(Value::as_str) {
        Some(text) => Some(Status::parse(text).ok_or_else(|| wrong("thenStatus"))?),
        None => None,
    };
    let then_owner = match properties.get("thenOwnerId") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(text)) => {
            Some(Some(PrincipalId::parse(text).ok_or_else(|| wrong("thenOwnerId"))?))
        }
        Some(_) => return Err(wrong("thenOwnerId").into()),
    };
    let named = properties.get("acknowledge").and_then(Value::as_array);
    let ids = named.into_iter().flatten().filter_map(Value::as_str);
    Ok(TeamOrder {
        lock_token: properties.get("lockToken").and_then(Value::as_u64),
        if_version,
        acknowledge: ids.filter_map(EmailId::parse).collect(),
        then_status,
        then_owner,
    })
}

fn text<'m>(object: &'m Map<String, Value>, name: &str) -> &'m str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}
