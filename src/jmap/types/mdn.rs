//! MDN/send (RFC 9007 §2.1). What a notification is, and who gets it, is in `inbox/dispositions.rs`;
//! MDN/parse is in `mdn_parse.rs`.
//!
//! Invariants: nothing is sent but by this call; a call after which an Email would lack `$mdnsent` sends nothing
//! about it. The keyword is written together with the notification, so that no failure in between lets it go out
//! twice; the implicit Email/set then finds it there.

use super::{identity, mdn_parse, team};
use crate::inbox::dispositions::{self, NotSent, Order, Sent};
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::session::Account;
use crate::jmap::set;
use crate::mail::mdn::{self, Disposition, Report};
use crate::store::Txn;
use crate::store::rows::mail::{IdentityRow, MailAddress};
use crate::types::*;
use serde_json::{Map, Value, json};

/// One line a method.
pub static METHODS: &[Method] =
    &[write("MDN/send", Capability::Mdn, run), read("MDN/parse", Capability::Mdn, mdn_parse::run)];

/// The arguments.
struct Call {
    identity: IdentityId,
    identity_row: IdentityRow,
    /// What is done to the Emails, by their ids or by `#` and the creation id of the notification.
    update: Map<String, Value>,
}

/// Runs MDN/send.
pub fn run(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    // RFC 9007 §2.1: its client uses Email/set, too.
    if !ctx.using.contains(Capability::Mail) {
        return Err(MethodErrorKind::UnknownMethod.into());
    }
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let identity_id = args.required_string("identityId")?;
    let send = args.creates("send")?.ok_or_else(|| MethodError::argument("send", "is required"))?;
    let update = args.object("onSuccessUpdateEmail")?.unwrap_or_default();
    args.finish()?;
    if update.values().any(|patch| !patch.is_object()) {
        return Err(MethodError::argument("onSuccessUpdateEmail", "must map ids to patches"));
    }
    if send.len() > limits::OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let account = ctx.writable(&account_id, method.capability, MemberRole::Agent).map_err(no_account)?;
    let identity =
        ctx.resolve_id(&identity_id).and_then(|id| IdentityId::parse(&id)).unwrap_or(IdentityId(0));
    let identity_row = identity::of_member(ctx, ctx.reader(), account, identity)?;
    let identity_row =
        identity_row.ok_or_else(|| MethodError::argument("identityId", "there is no such Identity"))?;
    let call = Call { identity, identity_row, update };
    let ((sent, not_sent, emails), _) =
        ctx.write(account.id, |ctx, txn| send_all(ctx, txn, account, &call, &send))?;
    let or_null = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { Value::Object(map) };
    let mut response = Map::new();
    response.insert("accountId".into(), account_id.clone().into());
    response.insert("sent".into(), or_null(sent));
    response.insert("notSent".into(), or_null(not_sent));
    ctx.respond(method.name, response);
    if !emails.is_empty() {
        let mut arguments = Map::new();
        arguments.insert("accountId".into(), account_id.into());
        arguments.insert("update".into(), Value::Object(emails));
        ctx.implicit("Email/set", arguments);
    }
    Ok(())
}

/// RFC 9007 §2.1, §2.2: an account that isn't there is `invalidArguments` here.
pub fn no_account(error: MethodError) -> MethodError {
    match error.kind {
        MethodErrorKind::AccountNotFound => MethodError::argument("accountId", "there is no such account"),
        _ => error,
    }
}

/// What was sent, what wasn't, and what Email/set is then asked to do.
type Done = (Map<String, Value>, Map<String, Value>, Map<String, Value>);

fn send_all(
    ctx: &mut Ctx<'_>,
    txn: &mut Txn<'_>,
    account: &Account,
    call: &Call,
    send: &Map<String, Value>,
) -> Result<Done, MethodError> {
    let (mut sent, mut not_sent, mut emails) = (Map::new(), Map::new(), Map::new());
    for (creation_id, given) in send {
        if !txn.has_room() {
            not_sent.insert(creation_id.clone(), set::too_much_at_once().into_json(ctx.using));
            continue;
        }
        let savepoint = txn.savepoint();
        match send_one(ctx, txn, account, call, (creation_id, given)) {
            Ok((email, patch, told)) => {
                sent.insert(creation_id.clone(), told);
                emails.insert(email.to_string(), patch);
            }
            Err(Refusal::Call(error)) => return Err(error),
            Err(Refusal::Object(error) | Refusal::Remembered(error, _)) => {
                txn.rollback(savepoint);
                not_sent.insert(creation_id.clone(), error.into_json(ctx.using));
            }
        }
    }
    Ok((sent, not_sent, emails))
}

fn send_one(
    ctx: &Ctx<'_>,
    txn: &mut Txn<'_>,
    account: &Account,
    call: &Call,
    (creation_id, given): (&str, &Value),
) -> Result<(EmailId, Value, Value), Refusal> {
    let Value::Object(given) = given else {
        return Err(SetError::properties(Vec::<String>::new(), "An MDN is an object.").into());
    };
    let mut report = read_report(given)?;
    report.final_recipient = Some(final_recipient(ctx, txn, account, call, given)?);
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    let email = text("forEmailId").and_then(|id| ctx.resolve_id(id)).and_then(|id| EmailId::parse(&id));
    let email = email.ok_or_else(SetError::not_found)?;
    let name = Some(call.identity_row.name.clone()).filter(|name| !name.is_empty());
    let order = Order {
        email,
        identity: call.identity,
        from: MailAddress { name, email: call.identity_row.email.to_string() },
        sender: ctx.session.principal,
        subject: text("subject"),
        text: text("textBody"),
        with_original: given.get("includeOriginalMessage") == Some(&Value::Bool(true)),
        report,
    };
    let (sent, row) = dispositions::send(txn, account.id, order, ctx.host.hostname).map_err(refusal)?;
    let patch = patch_of(ctx, call, creation_id, email)?;
    if account.is_inbox() {
        let staff = team::staff(ctx, account);
        let mut desk = team::desk(ctx, account, txn, &staff)?;
        dispositions::mark_inbox(&mut desk, email, &row, &sent)
            .map_err(|error| team::refused(error, &staff))?;
    } else {
        dispositions::mark_personal(txn, account.id, email, &row)?;
    }
    Ok((email, patch, told(given, &sent)))
}

fn refusal(no: NotSent) -> Refusal {
    let why = no.to_string();
    let kind = match no {
        NotSent::Store(error) => return error.into(),
        NotSent::NoEmail | NotSent::NotAsked => SetErrorKind::NotFound,
        NotSent::AlreadySent => SetErrorKind::MdnAlreadySent,
        NotSent::Forbidden(_) => SetErrorKind::Forbidden,
        NotSent::TooLarge => SetErrorKind::TooLarge { max_size: Some(limits::UPLOAD_SIZE_BYTES_MAX as u64) },
        NotSent::Unwritable(field) => {
            let property = if field == "Subject" { "subject" } else { "textBody" };
            SetErrorKind::InvalidProperties { properties: vec![property.to_owned()] }
        }
    };
    SetError::new(kind, why).into()
}

/// What Email/set is asked to do to the Email; it must set `$mdnsent` (RFC 9007 §2.1).
fn patch_of(ctx: &Ctx<'_>, call: &Call, creation_id: &str, email: EmailId) -> Result<Value, SetError> {
    let names = |key: &str| match key.strip_prefix('#') {
        Some(other) if other == creation_id => true,
        _ => ctx.resolve_id(key).is_some_and(|id| EmailId::parse(&id) == Some(email)),
    };
    let sets = |patch: &Value| {
        let whole = patch.get("keywords").and_then(|keywords| keywords.get(Keyword::MDN_SENT));
        let single = patch.get(format!("keywords/{}", Keyword::MDN_SENT));
        single.or(whole) == Some(&Value::Bool(true))
    };
    let found = call.update.iter().find(|(key, patch)| names(key) && sets(patch));
    let why = "onSuccessUpdateEmail must set \"keywords/$mdnsent\" of the Email to true.";
    found.map(|(_, patch)| patch.clone()).ok_or_else(|| SetError::properties(["forEmailId"], why))
}

/// The properties that a client may give.
const GIVEN: [&str; 8] = [
    "forEmailId",
    "subject",
    "textBody",
    "includeOriginalMessage",
    "reportingUA",
    "disposition",
    "finalRecipient",
    "extensionFields",
];

/// Whether a text may be the value of a property.
type Fits = fn(&str) -> bool;

/// What of the notification's report the client says; names in one error all that is wrong.
fn read_report(given: &Map<String, Value>) -> Result<Report, SetError> {
    let mut wrong: Vec<String> = given
        .iter()
        .filter(|(name, _)| !GIVEN.contains(&name.as_str()))
        .map(|(name, _)| name.clone())
        .collect();
    let short: Fits = |text| text.len() <= limits::MDN_TEXT_BYTES_MAX;
    let texts: [(&str, Fits); 5] = [
        ("forEmailId", |_| true),
        ("subject", short),
        ("textBody", short),
        ("finalRecipient", |_| true),
        ("reportingUA", mdn::is_value),
    ];
    for (name, fits) in texts {
        let is_right = match given.get(name) {
            None | Some(Value::Null) => name != "forEmailId",
            Some(value) => value.as_str().is_some_and(fits),
        };
        if !is_right {
            wrong.push(name.to_owned());
        }
    }
    if !matches!(given.get("includeOriginalMessage"), None | Some(Value::Bool(_))) {
        wrong.push("includeOriginalMessage".to_owned());
    }
    let disposition = given.get("disposition").and_then(disposition);
    if disposition.is_none() {
        wrong.push("disposition".to_owned());
    }
    let extensions = extensions(given.get("extensionFields"));
    if extensions.is_none() {
        wrong.push("extensionFields".to_owned());
    }
    if !wrong.is_empty() {
        return Err(SetError::properties(
            wrong,
            "These properties are missing, wrong, or the server's to set.",
        ));
    }
    Ok(Report {
        reporting_ua: given.get("reportingUA").and_then(Value::as_str).map(str::to_owned),
        disposition: disposition.unwrap_or_default(),
        extensions: extensions.unwrap_or_default(),
        ..Report::default()
    })
}

fn disposition(given: &Value) -> Option<Disposition> {
    let object = given.as_object().filter(|object| object.len() == 3)?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let said =
        Disposition { action: text("actionMode")?, sending: text("sendingMode")?, kind: text("type")? };
    said.is_known().then_some(said)
}

fn extensions(given: Option<&Value>) -> Option<Vec<(String, String)>> {
    let given = match given {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(Value::Object(given)) if given.len() <= limits::MDN_EXTENSIONS_MAX => given,
        Some(_) => return None,
    };
    let one = |(name, value): (&String, &Value)| {
        let value = value.as_str().filter(|value| mdn::is_extension(name, value))?;
        Some((name.clone(), value.to_owned()))
    };
    given.iter().map(one).collect()
}

/// RFC 8098 §3.2.4: for whom the notification is sent, with the type of the address. One that the client gives
/// is an address that it may write as (RFC 9007 §5).
fn final_recipient(
    ctx: &Ctx<'_>,
    txn: &Txn<'_>,
    account: &Account,
    call: &Call,
    given: &Map<String, Value>,
) -> Result<String, Refusal> {
    let Some(text) = given.get("finalRecipient").and_then(Value::as_str) else {
        return Ok(with_type(&call.identity_row.email));
    };
    let bare = text.split_once(';').map_or(text, |(_, bare)| bare).trim();
    let own = identity::own_addresses(ctx, txn, account)?;
    match Address::parse(bare).filter(|address| identity::is_among(&own, address)) {
        Some(address) => Ok(with_type(&address)),
        None => Err(SetErrorKind::ForbiddenFrom.into()),
    }
}

fn with_type(address: &Address) -> String {
    format!("{}; {address}", if address.needs_smtputf8() { "utf-8" } else { "rfc822" })
}

/// What the client didn't say itself.
fn told(given: &Map<String, Value>, sent: &Sent) -> Value {
    let mut told = mdn_parse::to_json(None, &sent.report, (Some(&sent.subject), Some(&sent.text)), false);
    told.retain(|name, _| given.get(name).is_none_or(Value::is_null) && name != "forEmailId");
    json!(told)
}
