//! EmailSubmission/set (RFC 8621 §7.5): who may send what to whom, and the way to the send gate.
//!
//! The rules about addresses are here; whether a reply may go out now, and everything that sending
//! does, is `inbox/sending.rs`. A submission that was made before is given back as created.

use super::submission::{EmailSubmission, to_json};
use super::team;
use crate::inbox::desk::DeskError;
use crate::inbox::sending::{self, Order, SendRefusal, Submitted, TeamOrder};
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::set::Outcome;
use crate::mail::{headers, outbound};
use crate::store::rows::mail::{EmailRow, IdentityRow, MailAddress, StoredMessage};
use crate::store::rows::submission::{Delivered, Recipient, RelayState, SubmissionRow};
use crate::store::rows::team::Status;
use crate::types::*;
use serde_json::{Map, Value, json};

/// What is done to the Email once it was sent (RFC 8621 §7.5).
#[derive(Default)]
pub struct OnSuccess {
    update: Map<String, Value>,
    destroy: Vec<String>,
}

type Call<'c, 't> = SetCall<'c, 't, OnSuccess>;

/// Parameters of the envelope's addresses.
type Parameters = Vec<(String, Option<String>)>;

/// Who it goes from and to.
struct Envelope {
    mail_from: Address,
    mail_from_parameters: Parameters,
    recipients: Vec<Recipient>,
}

impl SetObject for EmailSubmission {
    type SetArgs = OnSuccess;

    fn set_args(_ctx: &Ctx, args: &mut Args) -> Result<OnSuccess, MethodError> {
        let update = args.object("onSuccessUpdateEmail")?.unwrap_or_default();
        if update.values().any(|patch| !patch.is_object()) {
            return Err(MethodError::argument("onSuccessUpdateEmail", "must map ids to patches"));
        }
        Ok(OnSuccess { update, destroy: args.strings("onSuccessDestroyEmail")?.unwrap_or_default() })
    }

    fn create(set: &mut Call<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let identity = IdentityId::parse(text(&properties, "identityId")).unwrap_or(IdentityId(0));
        let identity_row: Option<IdentityRow> = set.reader().row(set.account.id, identity)?;
        let identity_row =
            identity_row.ok_or_else(|| SetError::properties(["identityId"], "There is no such Identity."))?;
        let email = EmailId::parse(text(&properties, "emailId")).unwrap_or(EmailId(0));
        let envelope = checked_envelope(set, email, &identity_row, properties.get("envelope"))?;
        let key = properties.get("idempotencyKey").and_then(Value::as_str);
        let order = Order {
            email,
            identity,
            mail_from: Some(envelope.mail_from),
            mail_from_parameters: envelope.mail_from_parameters,
            recipients: envelope.recipients,
            sender: set.ctx.session.principal,
            idempotency_key: key,
        };
        let submitted = if set.account.is_inbox() {
            submit_inbox(set, &order, &properties)?
        } else {
            let account = set.account.id;
            sending::submit_personal(set.txn, account, &order)?.ok_or_else(no_email)?
        };
        Ok(created(&submitted, properties.get("envelope").is_none_or(Value::is_null)))
    }

    fn update(set: &mut Call<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = SubmissionId::parse(update.id).ok_or(SetErrorKind::NotFound)?;
        let row: Option<SubmissionRow> = set.reader().row(set.account.id, id)?;
        let mut row = row.ok_or(SetErrorKind::NotFound)?;
        match update.new.get("undoStatus") {
            wanted if wanted == update.old.get("undoStatus") => Ok(None),
            Some(wanted) if wanted == "canceled" => {
                if row.author != set.ctx.session.principal && set.account.is_inbox() {
                    return Err(SetError::forbidden("Only its sender may take a message back.").into());
                }
                let account = set.account.id;
                if !outbound::cancel(set.txn, account, id, &mut row) {
                    return Err(SetErrorKind::CannotUnsend.into());
                }
                set.txn.update(account, id, &row)?;
                Ok(None)
            }
            _ => Err(SetError::properties(["undoStatus"], "It can only be set to \"canceled\".").into()),
        }
    }

    fn destroy(set: &mut Call<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = SubmissionId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let row: Option<SubmissionRow> = set.reader().row(set.account.id, id)?;
        let row = row.ok_or(SetErrorKind::NotFound)?;
        // RFC 8621 §7.5: destroying the object must not stop the delivery, which needs it.
        if row.relay != RelayState::Done {
            return Err(SetError::forbidden("The message is still on its way to the relay.").into());
        }
        set.txn.remove::<SubmissionRow>(set.account.id, id)?;
        Ok(())
    }

    fn after_commit(ctx: &mut Ctx, account: &Account, args: OnSuccess, outcome: &Outcome) {
        let mut update = Map::new();
        for (key, patch) in args.update {
            if let Some(email) = email_of(ctx, account, &key, outcome) {
                update.insert(email, patch);
            }
        }
        let mut destroy: Vec<String> = Vec::new();
        for key in args.destroy {
            destroy.extend(email_of(ctx, account, &key, outcome));
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

/// The Email of a submission that this call made (`#creationId`), changed or destroyed.
fn email_of(ctx: &Ctx, account: &Account, key: &str, outcome: &Outcome) -> Option<String> {
    let id = match key.strip_prefix('#') {
        Some(creation_id) => outcome.created_id(creation_id)?.to_owned(),
        None if outcome.updated.contains_key(key) => key.to_owned(),
        None => return None,
    };
    let row: Option<SubmissionRow> = ctx.reader().row(account.id, SubmissionId::parse(&id)?).ok()?;
    row.map(|row| row.email.to_string())
}

fn created(submitted: &Submitted, tell_envelope: bool) -> Created {
    let id = submitted.id.to_string();
    let mut told = vec!["threadId", "sendAt", "undoStatus", "deliveryStatus", "dsnBlobIds", "mdnBlobIds"];
    if tell_envelope {
        told.push("envelope");
    }
    let mut properties = to_json(&id, &submitted.row, &Props::of(told));
    properties.remove("id");
    Created { id, properties }
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
            let error = team::set_error(&no, &staff);
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

/// The envelope as given or as the message says, once everything about it is allowed.
fn checked_envelope(
    set: &Call<'_, '_>,
    email: EmailId,
    identity: &IdentityRow,
    given: Option<&Value>,
) -> Result<Envelope, Refusal> {
    let reader = set.reader();
    let row: Option<EmailRow> = reader.row(set.account.id, email)?;
    let row = row.ok_or_else(no_email)?;
    let stored: Option<StoredMessage> = reader.row(set.account.id, email)?;
    let stored = stored.ok_or_else(no_email)?;
    if row.size as usize > limits::UPLOAD_SIZE_BYTES_MAX {
        return Err(SetErrorKind::TooLarge { max_size: Some(limits::UPLOAD_SIZE_BYTES_MAX as u64) }.into());
    }
    let own = (set.ctx.host.staff)(set.account.id).addresses.clone();
    check_from(&stored, &own)?;
    let envelope = match given {
        Some(Value::Object(given)) => given_envelope(given)?,
        _ => derived_envelope(&stored, identity)?,
    };
    if !is_own(&own, envelope.mail_from.as_str()) {
        return Err(SetErrorKind::ForbiddenMailFrom.into());
    }
    if envelope.recipients.is_empty() {
        return Err(SetErrorKind::NoRecipients.into());
    }
    if envelope.recipients.len() > limits::SUBMISSION_RECIPIENTS_MAX {
        let max_recipients = limits::SUBMISSION_RECIPIENTS_MAX as u64;
        return Err(SetErrorKind::TooManyRecipients { max_recipients }.into());
    }
    Ok(envelope)
}

fn is_own(own: &[Address], email: &str) -> bool {
    Address::parse(email).is_some_and(|address| own.iter().any(|one| one.key() == address.key()))
}

/// RFC 5322 §3.6.2: a message has one From; each address in it must be the account's.
fn check_from(stored: &StoredMessage, own: &[Address]) -> Result<(), Refusal> {
    let from = headers::addresses(&stored.message, "from");
    if from.is_empty() {
        let kind = SetErrorKind::InvalidEmail { properties: vec!["from".into()] };
        return Err(SetError::new(kind, "The message has no From.").into());
    }
    let senders = headers::addresses(&stored.message, "sender");
    if !from.iter().chain(&senders).all(|one| is_own(own, &one.email)) {
        return Err(SetErrorKind::ForbiddenFrom.into());
    }
    Ok(())
}

/// RFC 8621 §7: Sender or From, and To, Cc, Bcc, each address once.
fn derived_envelope(stored: &StoredMessage, identity: &IdentityRow) -> Result<Envelope, Refusal> {
    let senders = headers::addresses(&stored.message, "sender");
    let from = headers::addresses(&stored.message, "from");
    let sender = senders.first().or(from.first()).and_then(|one| Address::parse(&one.email));
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut invalid = Vec::new();
    for name in ["to", "cc", "bcc"] {
        for MailAddress { email, .. } in headers::addresses(&stored.message, name) {
            match Address::parse(&email) {
                Some(address) if recipients.iter().any(|one| one.address.key() == address.key()) => {}
                Some(address) => recipients.push(recipient(address, Vec::new())),
                None => invalid.push(email),
            }
        }
    }
    if !invalid.is_empty() {
        return Err(SetErrorKind::InvalidRecipients { invalid_recipients: invalid }.into());
    }
    let mail_from = sender.unwrap_or_else(|| identity.email.clone());
    Ok(Envelope { mail_from, mail_from_parameters: Vec::new(), recipients })
}

fn given_envelope(given: &Map<String, Value>) -> Result<Envelope, Refusal> {
    let wrong = |why: &'static str| SetError::properties(["envelope"], why);
    let unknown = given.keys().any(|name| name != "mailFrom" && name != "rcptTo");
    let (Some(Value::Object(from)), Some(Value::Array(to)), false) =
        (given.get("mailFrom"), given.get("rcptTo"), unknown)
    else {
        return Err(wrong("An envelope has mailFrom and rcptTo.").into());
    };
    let mail_from = Address::parse(text(from, "email")).ok_or(SetErrorKind::ForbiddenMailFrom)?;
    let mail_from_parameters = parameters(from)?;
    let held = |name: &str| name.eq_ignore_ascii_case("HOLDFOR") || name.eq_ignore_ascii_case("HOLDUNTIL");
    if mail_from_parameters.iter().any(|(name, _)| held(name)) {
        return Err(wrong("Delayed sending isn't offered: maxDelayedSend is 0.").into());
    }
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut invalid = Vec::new();
    for one in to {
        let Value::Object(one) = one else { return Err(wrong("rcptTo has addresses.").into()) };
        let email = text(one, "email");
        match Address::parse(email) {
            Some(address) if recipients.iter().any(|other| other.address.key() == address.key()) => {}
            Some(address) => recipients.push(recipient(address, parameters(one)?)),
            None => invalid.push(email.to_owned()),
        }
    }
    if !invalid.is_empty() {
        return Err(SetErrorKind::InvalidRecipients { invalid_recipients: invalid }.into());
    }
    Ok(Envelope { mail_from, mail_from_parameters, recipients })
}

/// `parameters` of an address (RFC 8621 §7): keywords of RFC 5321 §4.1.2, with a value or null.
fn parameters(address: &Map<String, Value>) -> Result<Parameters, Refusal> {
    let wrong = || SetError::properties(["envelope"], "The parameters of an address can't be read.");
    let Some(given) = address.get("parameters").filter(|given| !given.is_null()) else {
        return Ok(Vec::new());
    };
    let Value::Object(given) = given else { return Err(wrong().into()) };
    let keyword = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let value_fits = |value: &str| value.bytes().all(|b| (33..=126).contains(&b) && b != b'=');
    let mut out = Vec::new();
    for (name, value) in given {
        match value {
            Value::Null if keyword(name) => out.push((name.clone(), None)),
            Value::String(value) if keyword(name) && value_fits(value) => {
                out.push((name.clone(), Some(value.clone())));
            }
            _ => return Err(wrong().into()),
        }
    }
    Ok(out)
}

fn recipient(address: Address, parameters: Parameters) -> Recipient {
    Recipient { address, parameters, smtp_reply: None, delivered: Delivered::Queued, settled: false }
}

fn text<'m>(object: &'m Map<String, Value>, name: &str) -> &'m str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn no_email() -> Refusal {
    SetError::properties(["emailId"], "There is no such Email.").into()
}
