//! PushSubscription (RFC 8620 §7.2): what a login wants to be pushed, and where to. Who pushes is
//! `wire/push`, which hears of every change here.
//!
//! Invariants: a login sees and changes only what it made; `url` and `keys` are never told; the code is
//! told to the URL alone, until the client has sent it back.

use crate::auth::Login;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::{Core, EmailPush};
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::types::email::Email;
use crate::jmap::webpush::{ReceiverKeys, Target};
use crate::jmap::{get, query, set};
use crate::store::rows::push::{EmailPushRow, PushCreationsRow, PushSubscriptionRow};
use crate::store::{Read, StoreResult, changes, keys};
use crate::types::limits::*;
use crate::types::{AccountId, MemberRole, Millis, Position, PrincipalId, PushSubscriptionId, UtcDate};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// One line a method. RFC 8620 §7.2 defines no /changes and no /query.
pub static METHODS: &[Method] = &[
    read("PushSubscription/get", Core, get::run::<PushSubscription>),
    write("PushSubscription/set", Core, set::run::<PushSubscription>),
];

/// The type.
pub struct PushSubscription;

static TABLE: TypeTable = TypeTable {
    name: "PushSubscription",
    data_type: None,
    capability: Core,
    id: |id| PushSubscriptionId(id).to_string(),
    properties: &[
        Property::ID,
        Property::immutable("deviceClientId", Kind::String, Initial::Required),
        Property::immutable("url", Kind::String, Initial::Required).on_request(),
        Property::immutable("keys", Kind::Object, Initial::Null).or_null().on_request(),
        Property::mutable("verificationCode", Kind::String, Initial::Null).or_null(),
        Property::mutable("expires", Kind::UtcDate, Initial::Computed).or_null(),
        Property::mutable("types", Kind::Strings, Initial::Null).or_null(),
        Property::mutable("emailPush", Kind::Object, Initial::Null).or_null().of(EmailPush),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

type Id = (PrincipalId, PushSubscriptionId);

impl Object for PushSubscription {
    const IN_ACCOUNTS: bool = false;

    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_args(_ctx: &Ctx, _args: &mut Args, props: &Props) -> Result<(), MethodError> {
        // RFC 8620 §7.2.1: they are private to the device.
        if props.has("url") || props.has("keys") {
            return Err(MethodError::new(MethodErrorKind::Forbidden, "url and keys are never told."));
        }
        Ok(())
    }

    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        _account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let one = |id: &&str| Ok(find(ctx, reader, id)?.map(|(id, row)| to_json(id, &row, props)));
        ids.iter().map(one).collect()
    }

    fn all_ids(
        ctx: &Ctx,
        reader: &dyn Read,
        _account: &Account,
        _max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let Some(login) = &ctx.session.login else { return Ok(Some(Vec::new())) };
        let now = ctx.store.clock.now();
        let own = rows_of(reader, login.principal)?;
        let own = own.into_iter().filter(|(_, row)| is_live(row, login, now));
        Ok(Some(own.map(|(id, _)| PushSubscriptionId(id).to_string()).collect()))
    }
}

/// All subscriptions of a principal, whichever login made them: as many as the limit allows.
fn rows_of(reader: &dyn Read, principal: PrincipalId) -> StoreResult<Vec<(u32, PushSubscriptionRow)>> {
    reader.collect_rows(&keys::all_of(AccountId::DIRECTORY, keys::Kind::PushSubscription, principal.0))
}

fn is_live(row: &PushSubscriptionRow, login: &Login, now: Millis) -> bool {
    row.login == login.to_row() && row.expires > now.date()
}

/// The subscription, if this login made it.
fn find(ctx: &Ctx, reader: &dyn Read, id: &str) -> StoreResult<Option<(Id, PushSubscriptionRow)>> {
    let (Some(login), Some(id)) = (&ctx.session.login, PushSubscriptionId::parse(id)) else {
        return Ok(None);
    };
    let key = (login.principal, id);
    let row: Option<PushSubscriptionRow> = reader.row(AccountId::DIRECTORY, key)?;
    Ok(row.filter(|row| is_live(row, login, ctx.store.clock.now())).map(|row| (key, row)))
}

fn to_json((_, id): Id, row: &PushSubscriptionRow, props: &Props) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id.to_string()),
        "deviceClientId" => json!(row.device_client_id),
        "url" => json!(row.url),
        "keys" => {
            row.keys.as_ref().map_or(Value::Null, |(p256dh, auth)| json!({"p256dh": p256dh, "auth": auth}))
        }
        "verificationCode" => json!(row.verified.then_some(&row.code)),
        "expires" => json!(row.expires.to_string()),
        "types" => json!(row.types),
        "emailPush" => email_push_json(row),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

impl SetObject for PushSubscription {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(set: &mut SetCall<'_, '_, ()>, new: Map<String, Value>) -> Result<Created, Refusal> {
        let Some(login) = &set.ctx.session.login else { return Err(SetErrorKind::Forbidden.into()) };
        let now = set.ctx.store.clock.now();
        let mut row = PushSubscriptionRow {
            login: login.to_row(),
            device_client_id: text(&new, "deviceClientId"),
            url: text(&new, "url"),
            keys: keys_of(&new)?,
            code: BASE64_URL_SAFE_NO_PAD.encode(set.ctx.store.random.bytes::<32>()),
            asked: false,
            verified: false,
            expires: expiry(new.get("expires"), now),
            types: None,
            position: None,
            created_at: now,
            email_push: Vec::new(),
            mail_position: None,
        };
        check(&row, &new)?;
        row.types = types(&new)?;
        row.email_push = email_push(set.ctx, &row, &new)?;
        count(set, login.principal, now)?;
        let id = free_id(set, login.principal)?;
        set.txn.insert(AccountId::DIRECTORY, (login.principal, id), &row)?;
        let properties = Map::from_iter([("expires".to_owned(), json!(row.expires.to_string()))]);
        Ok(Created { id: id.to_string(), properties })
    }

    fn update(
        set: &mut SetCall<'_, '_, ()>,
        update: Update<'_>,
    ) -> Result<Option<Map<String, Value>>, Refusal> {
        let (key, before) = find(set.ctx, set.reader(), update.id)?.ok_or(SetErrorKind::NotFound)?;
        let mut row = before.clone();
        let mut told = Map::new();
        if let Some(code) = update.new.get("verificationCode") {
            // RFC 8620 §7.2.2. A code that was given back isn't taken back either.
            if code.as_str() != Some(&row.code) && (row.verified || !code.is_null()) {
                return Err(SetError::properties(["verificationCode"], "This is not the code.").into());
            }
            row.verified = code.is_string();
            if row.verified && !before.verified {
                // What changes from now on is pushed, however late whoever pushes hears of this.
                row.position = Some(position(set.ctx)?.to_string());
                row.mail_position.clone_from(&row.position);
            }
        }
        if let Some(expires) = update.new.get("expires") {
            row.expires = expiry(Some(expires), set.ctx.store.clock.now());
            if json!(row.expires.to_string()) != *expires {
                told.insert("expires".to_owned(), json!(row.expires.to_string()));
            }
        }
        if update.new.contains_key("types") {
            row.types = types(update.new)?;
        }
        if update.new.contains_key("emailPush") {
            row.email_push = email_push(set.ctx, &row, update.new)?;
            if before.email_push.is_empty() && !row.email_push.is_empty() {
                row.mail_position = Some(position(set.ctx)?.to_string());
            }
        }
        if row != before {
            set.txn.update(AccountId::DIRECTORY, key, &row)?;
        }
        Ok((!told.is_empty()).then_some(told))
    }

    fn destroy(set: &mut SetCall<'_, '_, ()>, id: &str) -> Result<(), Refusal> {
        let (key, _) = find(set.ctx, set.reader(), id)?.ok_or(SetErrorKind::NotFound)?;
        set.txn.remove::<PushSubscriptionRow>(AccountId::DIRECTORY, key)?;
        Ok(())
    }

    fn after_commit(ctx: &mut Ctx, _account: &Account, _args: (), _outcome: &set::Outcome) {
        ctx.store.hub().subscriptions_changed();
    }
}

/// Where the login's accounts are now.
fn position(ctx: &Ctx) -> StoreResult<Position> {
    let snapshot = ctx.store.snapshot();
    let now =
        |id: AccountId| Ok((id, changes::states_of(&snapshot, id, Some(ctx.session.principal))?.moment()));
    ctx.session.accounts().iter().map(|account| now(account.id)).collect()
}

fn text(new: &Map<String, Value>, name: &str) -> String {
    new.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn keys_of(new: &Map<String, Value>) -> Result<Option<(String, String)>, SetError> {
    let keys = match new.get("keys") {
        Some(Value::Object(keys)) => keys,
        _ => return Ok(None),
    };
    let (p256dh, auth) = (text(keys, "p256dh"), text(keys, "auth"));
    if ReceiverKeys::parse(&p256dh, &auth).is_none() {
        let why = "keys must be a point of P-256 and 16 octets, in URL-safe base64 (RFC 8291).";
        return Err(SetError::properties(["keys"], why));
    }
    Ok(Some((p256dh, auth)))
}

fn check(row: &PushSubscriptionRow, new: &Map<String, Value>) -> Result<(), SetError> {
    let mut wrong = Vec::new();
    if row.url.len() > PUSH_URL_BYTES_MAX || Target::parse(&row.url).is_none() {
        wrong.push("url");
    }
    if row.device_client_id.is_empty() || row.device_client_id.len() > PUSH_DEVICE_ID_BYTES_MAX {
        wrong.push("deviceClientId");
    }
    // RFC 8620 §7.2: "This MUST be null (or omitted) when the subscription is created."
    if new.get("verificationCode").is_some_and(|code| !code.is_null()) {
        wrong.push("verificationCode");
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let why = "url must begin with https:// and be no longer than 2048 octets, deviceClientId must have 1 to 255 \
               octets, verificationCode must not be given.";
    Err(SetError::properties(wrong, why))
}

fn types(new: &Map<String, Value>) -> Result<Option<Vec<String>>, SetError> {
    let Some(Value::Array(names)) = new.get("types") else { return Ok(None) };
    let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if names.len() > PUSH_TYPES_MAX || names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(SetError::properties(["types"], "There are too many types, or one is too long."));
    }
    Ok(Some(names))
}

/// draft-ietf-jmap-emailpush-03 §4: for each account the filter, the properties and the urgency with
/// which new messages are pushed. Filters and properties are held to what Email/query and Email/get take.
fn email_push(
    ctx: &Ctx,
    row: &PushSubscriptionRow,
    new: &Map<String, Value>,
) -> Result<Vec<(AccountId, EmailPushRow)>, SetError> {
    let Some(Value::Object(wanted)) = new.get("emailPush") else { return Ok(Vec::new()) };
    let wrong = |path: &str, why: &str| SetError::properties([format!("emailPush{path}")], why.to_owned());
    if row.keys.is_none() && !wanted.is_empty() {
        // §6: what is pushed is somebody's mail.
        return Err(wrong("", "A subscription without keys is pushed no mail: it would not be encrypted."));
    }
    let mut out = Vec::new();
    for (id, config) in wanted {
        let account = AccountId::parse(id).and_then(|id| ctx.session.account(id));
        let account = account.ok_or_else(|| wrong(&format!("/{id}"), "There is no such account."))?;
        let at = |name: &str| format!("/{id}/{name}");
        let Value::Object(config) = config else {
            return Err(wrong(&format!("/{id}"), "An EmailPushConfig is an object."));
        };
        let unknown =
            config.keys().find(|name| !matches!(name.as_str(), "filter" | "properties" | "urgency"));
        if let Some(unknown) = unknown {
            return Err(wrong(&at(unknown), "An EmailPushConfig has filter, properties and urgency."));
        }
        out.push((account.id, email_push_config(ctx, config).map_err(|(name, why)| wrong(&at(name), &why))?));
    }
    Ok(out)
}

/// One EmailPushConfig, or which of its members is wrong and why.
fn email_push_config(ctx: &Ctx, config: &Map<String, Value>) -> Result<EmailPushRow, (&'static str, String)> {
    let told = |name| {
        move |error: MethodError| (name, error.description.map(|why| why.to_string()).unwrap_or_default())
    };
    let filter = config.get("filter").filter(|filter| !filter.is_null());
    let mut args =
        Args::new(filter.map(|filter| ("filter".to_owned(), filter.clone())).into_iter().collect());
    query::query_args::<Email>(ctx, &mut args).map_err(told("filter"))?;
    let filter = filter.map(Value::to_string);
    if filter.as_ref().is_some_and(|filter| filter.len() > EMAIL_PUSH_FILTER_BYTES_MAX) {
        return Err(("filter", "The filter is too long.".to_owned()));
    }
    let properties = config.get("properties").and_then(Value::as_array);
    let properties: Option<Vec<String>> = properties
        .filter(|all| all.len() <= EMAIL_PUSH_PROPERTIES_MAX)
        .and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    let properties =
        properties.ok_or_else(|| ("properties", "A list of properties of Email is needed.".to_owned()))?;
    let props = get::props::<Email>(ctx, Some(properties.clone())).map_err(told("properties"))?;
    Email::get_args(ctx, &mut Args::new(Map::new()), &props).map_err(told("properties"))?;
    let urgency = match config.get("urgency") {
        None => "normal",
        Some(Value::String(word)) if matches!(word.as_str(), "very-low" | "low" | "normal" | "high") => word,
        Some(_) => return Err(("urgency", "It is very-low, low, normal or high.".to_owned())),
    };
    Ok(EmailPushRow { filter, properties, urgency: urgency.to_owned() })
}

fn email_push_json(row: &PushSubscriptionRow) -> Value {
    if row.email_push.is_empty() {
        return Value::Null;
    }
    let config = |row: &EmailPushRow| {
        let filter: Value =
            row.filter.as_deref().map_or(Value::Null, |text| text.parse().unwrap_or_default());
        json!({"filter": filter, "properties": row.properties, "urgency": row.urgency})
    };
    row.email_push.iter().map(|(account, row)| (account.to_string(), config(row))).collect()
}

/// RFC 8620 §7.2: passwords have no end of their own, so every subscription gets one, not too far off.
fn expiry(wanted: Option<&Value>, now: Millis) -> UtcDate {
    let most = now.after(Duration::from_secs(PUSH_EXPIRES_SECONDS_MAX)).date();
    let wanted = wanted.and_then(Value::as_str).and_then(UtcDate::parse);
    wanted.map_or(most, |wanted| wanted.min(most))
}

/// Counts a creation, which posts to a URL that nobody has verified.
fn count(set: &mut SetCall<'_, '_, ()>, principal: PrincipalId, now: Millis) -> Result<(), Refusal> {
    if rows_of(set.reader(), principal)?.len() >= PUSH_SUBSCRIPTIONS_PER_PRINCIPAL_MAX {
        let why = "You have as many push subscriptions as one can have; destroy one first.";
        return Err(SetError::new(SetErrorKind::OverQuota, why).into());
    }
    let known: Option<PushCreationsRow> = set.reader().row(AccountId::DIRECTORY, principal)?;
    let hour = Duration::from_secs(60 * 60);
    let row = known.filter(|row| row.since.until(now) < hour);
    let mut row = row.unwrap_or(PushCreationsRow { since: now, count: 0 });
    if row.count as usize >= PUSH_CREATIONS_PER_HOUR_MAX {
        return Err(SetError::new(SetErrorKind::RateLimit, "Too many subscriptions within an hour.").into());
    }
    row.count += 1;
    set.txn.update(AccountId::DIRECTORY, principal, &row)?;
    Ok(())
}

/// An id that none of the principal's subscriptions has. It says nothing of others' subscriptions.
fn free_id(set: &mut SetCall<'_, '_, ()>, principal: PrincipalId) -> StoreResult<PushSubscriptionId> {
    loop {
        let id = PushSubscriptionId(u32::from_le_bytes(set.ctx.store.random.bytes()));
        let taken: Option<PushSubscriptionRow> = set.reader().row(AccountId::DIRECTORY, (principal, id))?;
        if taken.is_none() {
            return Ok(id);
        }
    }
}
