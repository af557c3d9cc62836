//! Presence: who is looking at or typing in a conversation right now. Leases of 30 seconds, in memory
//! alone: /get gives the live ones, /set begins, renews and ends one's own, and /changes can tell
//! nothing, since there is no log. A push of the type says that it's time for a /get.
//!
//! /set isn't the machinery's, which opens a transaction: a sign of life writes nothing.

use super::team::{self, date_json, principal_json};
use crate::inbox::presence::{Doing, Lease};
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::Locks;
use crate::jmap::changes::{self, ChangedIds};
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, SetError, SetErrorKind};
use crate::jmap::get;
use crate::jmap::methods::{Method, read};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::set::{or_null, refusals};
use crate::store::Read;
use crate::store::rows::team::ConversationRow;
use crate::types::limits::OBJECTS_IN_SET_MAX;
use crate::types::{ConversationId, MemberRole};
use serde_json::{Map, Value, json};

/// One line a method. None of them writes the account.
pub static METHODS: &[Method] = &[
    read("Presence/get", Locks, get::run::<Presence>),
    read("Presence/changes", Locks, changes::run::<Presence>),
    read("Presence/set", Locks, set),
];

/// The type.
pub struct Presence;

static TABLE: TypeTable = TypeTable {
    name: "Presence",
    data_type: None,
    capability: Locks,
    id: |number| number.to_string(),
    properties: &[
        Property::ID,
        Property::immutable("conversationId", Kind::Id, Initial::Required),
        Property::server("principalId", Kind::Id),
        Property::mutable("doing", Kind::String, Initial::Text("viewing")),
        Property::server("expiresAt", Kind::UtcDate),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

impl Object for Presence {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        ctx: &Ctx,
        _reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let live = live(ctx, account);
        let found = |id: &&str| {
            let (_, lease) = live.iter().find(|(known, _)| known == id)?;
            Some(to_json(id, lease, props))
        };
        Ok(ids.iter().map(found).collect())
    }

    fn all_ids(
        ctx: &Ctx,
        _reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let live = live(ctx, account);
        Ok((live.len() <= max).then(|| live.into_iter().map(|(id, _)| id).collect()))
    }

    fn state(ctx: &Ctx, _reader: &dyn Read, account: &Account) -> Result<String, MethodError> {
        let presences = ctx.host.presences;
        Ok(presences.state(presences.version(account.id)))
    }

    fn changes(ctx: &Ctx, account: &Account, since: &str, _max: usize) -> Result<ChangedIds, MethodError> {
        let state = Self::state(ctx, ctx.reader(), account)?;
        if since != state {
            return Err(MethodErrorKind::CannotCalculateChanges.into());
        }
        Ok(ChangedIds { new_state: state, ..ChangedIds::default() })
    }
}

/// The leases of those who are members now.
fn live(ctx: &Ctx, account: &Account) -> Vec<(String, Lease)> {
    let presences = ctx.host.presences;
    let staff = team::staff(ctx, account);
    let all = presences.live(account.id, ctx.store.clock.now());
    let known = all.into_iter().filter(|(_, lease)| staff.roster.members.contains_key(&lease.principal));
    known.map(|(number, lease)| (presences.spell(number), lease)).collect()
}

fn to_json(id: &str, lease: &Lease, props: &Props) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id),
        "conversationId" => json!(lease.conversation.to_string()),
        "principalId" => principal_json(Some(lease.principal)),
        "doing" => json!(lease.doing.name()),
        "expiresAt" => date_json(lease.until),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// Runs Presence/set.
fn set(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let if_in_state = args.string("ifInState")?;
    let create = args.creates("create")?.unwrap_or_default();
    let update = args.objects("update")?.unwrap_or_default();
    let destroy = args.strings("destroy")?.unwrap_or_default();
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    if create.len() + update.len() + destroy.len() > OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let old_state = Presence::state(ctx, ctx.reader(), account)?;
    if if_in_state.is_some_and(|wanted| wanted != old_state) {
        return Err(MethodErrorKind::StateMismatch.into());
    }
    let (mut created, mut updated, mut destroyed) = (Map::new(), Map::new(), Vec::new());
    let (mut not_created, mut not_updated, mut not_destroyed) = (Vec::new(), Vec::new(), Vec::new());
    for (key, object) in create {
        match begin(ctx, account, &object) {
            Ok(object) => {
                created.insert(key, object.into());
            }
            Err(error) => not_created.push((key, error)),
        }
    }
    for (id, patch) in update {
        match renew(ctx, account, &id, &patch) {
            Ok(told) => {
                updated.insert(id, told.into());
            }
            Err(error) => not_updated.push((id, error)),
        }
    }
    for id in destroy {
        match end(ctx, account, &id) {
            true => destroyed.push(id),
            false => not_destroyed.push((id, SetError::not_found())),
        }
    }
    let response = json!({
        "accountId": account_id,
        "oldState": old_state,
        "newState": Presence::state(ctx, ctx.reader(), account)?,
        "created": or_null(created),
        "updated": or_null(updated),
        "destroyed": (!destroyed.is_empty()).then_some(destroyed),
        "notCreated": refusals(ctx, &not_created),
        "notUpdated": refusals(ctx, &not_updated),
        "notDestroyed": refusals(ctx, &not_destroyed),
    });
    if let Value::Object(response) = response {
        ctx.respond(method.name, response);
    }
    Ok(())
}

fn begin(ctx: &Ctx, account: &Account, object: &Value) -> Result<Map<String, Value>, SetError> {
    let Value::Object(object) = object else { return Err(SetErrorKind::InvalidPatch.into()) };
    let known = |name: &str| matches!(name, "conversationId" | "doing");
    if let Some(unknown) = object.keys().find(|name| !known(name)) {
        return Err(SetError::properties([unknown.as_str()], "It is set by the server, or unknown."));
    }
    let missing = || SetError::properties(["conversationId"], "There is no such conversation.");
    let conversation = object.get("conversationId").and_then(Value::as_str);
    let conversation = conversation.and_then(ConversationId::parse).ok_or_else(missing)?;
    let row = ctx.reader().row::<ConversationRow>(account.id, conversation);
    row.map_err(|_| SetError::from(SetErrorKind::RateLimit))?.ok_or_else(missing)?;
    let doing = match object.get("doing") {
        None => Doing::Viewing,
        Some(word) => read_doing(account, word)?,
    };
    let presences = ctx.host.presences;
    let now = ctx.store.clock.now();
    let begun = presences.begin(account.id, ctx.session.principal, conversation, doing, now);
    let (number, lease) = begun.map_err(|_| {
        SetError::new(SetErrorKind::RateLimit, "There are too many leases; end those that aren't needed.")
    })?;
    let mut told = to_json(&presences.spell(number), &lease, &Props::of(["principalId", "expiresAt"]));
    if !object.contains_key("doing") {
        told.insert("doing".into(), lease.doing.name().into());
    }
    Ok(told)
}

/// A sign of life: an empty patch, or one that says what is done now.
fn renew(ctx: &Ctx, account: &Account, id: &str, patch: &Value) -> Result<Map<String, Value>, SetError> {
    let Value::Object(patch) = patch else { return Err(SetErrorKind::InvalidPatch.into()) };
    if let Some(other) = patch.keys().find(|name| *name != "doing") {
        return Err(SetError::properties([other.as_str()], "Only what is done can be changed."));
    }
    let doing = patch.get("doing").map(|word| read_doing(account, word)).transpose()?;
    let presences = ctx.host.presences;
    let number = presences.parse(id).ok_or_else(SetError::not_found)?;
    let now = ctx.store.clock.now();
    let renewed = presences.renew(account.id, ctx.session.principal, number, doing, now);
    let lease = renewed.ok_or_else(SetError::not_found)?;
    let mut told = to_json(id, &lease, &Props::of(["expiresAt"]));
    told.shift_remove("id");
    Ok(told)
}

fn end(ctx: &Ctx, account: &Account, id: &str) -> bool {
    let presences = ctx.host.presences;
    let number = presences.parse(id);
    number
        .is_some_and(|number| presences.end(account.id, ctx.session.principal, number, ctx.store.clock.now()))
}

fn read_doing(account: &Account, word: &Value) -> Result<Doing, SetError> {
    let doing = word.as_str().and_then(Doing::parse);
    let doing = doing.ok_or_else(|| SetError::properties(["doing"], "It is viewing or composing."))?;
    if doing == Doing::Composing && account.role.is_none_or(|role| role < MemberRole::Agent) {
        return Err(SetError::forbidden("An observer composes no replies."));
    }
    Ok(doing)
}
