//! Foo/set (RFC 8620 §5.3), once for all types.
//!
//! One transaction, committed at the end; only what is too large for one is begun before, in steps
//! (decision 013). Each object is applied under a savepoint of it: first the
//! creates, each after those that it refers to, then the updates, then the destroys. Invariants: an
//! object that is refused leaves nothing behind; every object of the request is in exactly one
//! member of the response; a refusal of the call changes nothing. What the properties may be is
//! checked in `set_check.rs`, so that hooks see only what their tables allow.

use super::args::Args;
use super::context::Ctx;
use super::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use super::methods::Method;
use super::object::{Created, Expected, Props, SetCall, SetObject, Target, Update};
use super::session::Account;
use super::{patch, set_check};
use crate::store::Txn;
use crate::types::limits::{OBJECTS_IN_SET_MAX, SET_ROUNDS_MAX};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What became of the objects of a call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outcome {
    /// Creation id → the object as the response tells it, with `id`.
    pub created: Map<String, Value>,
    /// Id → what changed otherwise than asked, or null.
    pub updated: Map<String, Value>,
    pub destroyed: Vec<String>,
    pub not_created: Vec<(String, SetError)>,
    pub not_updated: Vec<(String, SetError)>,
    pub not_destroyed: Vec<(String, SetError)>,
}

impl Outcome {
    /// The id that a create of this call got.
    pub fn created_id(&self, creation_id: &str) -> Option<&str> {
        self.created.get(creation_id)?.get("id")?.as_str()
    }
}

/// What a call asks for.
struct Plan {
    /// `None` for a type that is in no account.
    account_id: Option<String>,
    if_in_state: Option<String>,
    create: Map<String, Value>,
    update: Map<String, Value>,
    destroy: Vec<String>,
    expected: Expected,
}

/// Runs Foo/set.
pub fn run<T: SetObject>(
    ctx: &mut Ctx,
    method: &Method,
    arguments: Map<String, Value>,
) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let mut plan = plan::<T>(ctx, method, &mut args)?;
    let own = T::set_args(ctx, &mut args)?;
    args.finish()?;
    let of_nobody = Account::of_nobody();
    let account = match &plan.account_id {
        Some(id) => ctx.writable(id, method.capability, T::table().write_role)?,
        None => ctx.outside_accounts(&of_nobody),
    };
    if plan.create.len() + plan.update.len() + plan.destroy.len() > OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let begun_at = T::prepare(ctx, account, (plan.if_in_state.as_deref(), &plan.destroy), &own)?;
    let has_begun = begun_at.is_some();
    if has_begun {
        // What was to be compared with it has been.
        plan.if_in_state = None;
    }
    let mut accounts = T::locked_beside(ctx, account, &plan.create)?;
    accounts.push(account.id);
    let done = ctx.write_to(&accounts, |ctx, txn| in_txn::<T>(ctx, txn, account, &plan, &own));
    let ((outcome, old_state), committed) =
        done.map_err(|error| if has_begun { partly_done(&error) } else { error })?;
    let old_state = begun_at.unwrap_or(old_state);
    let new_state = match T::IN_ACCOUNTS {
        true => T::state_after_set(ctx, account, &committed, &old_state)?,
        false => String::new(),
    };
    let response = response(ctx, plan.account_id.map(|id| (id, old_state, new_state)), &outcome);
    ctx.respond(method.name, response);
    T::after_commit(ctx, account, own, &outcome);
    Ok(())
}

/// What is said of an object for which a call has no room any more: the others are made, and it is in another
/// call (RFC 8620 §5.3, `rateLimit`).
pub fn too_much_at_once() -> SetError {
    SetError::new(
        SetErrorKind::RateLimit,
        "This call writes very much already; send this one again in another.",
    )
}

/// RFC 8620 §3.6.2: what is said of a call of which something was done already.
pub fn partly_done(error: &MethodError) -> MethodError {
    let why = format!("A part was done before this came up: {}. Sync again.", error.kind.name());
    MethodError::new(MethodErrorKind::ServerPartialFail, why)
}

fn plan<T: SetObject>(ctx: &Ctx, method: &Method, args: &mut Args) -> Result<Plan, MethodError> {
    let table = T::table();
    let mut expected = Expected::default();
    // Where it is the method's own capability, one that shows the method as well shows it too.
    let shown = |capability| capability == method.capability || ctx.using.contains(capability);
    if table.if_version.is_some_and(shown) {
        expected.versions = args.object("ifVersion")?.unwrap_or_default();
    }
    if table.if_owner.is_some_and(|capability| ctx.using.contains(capability)) {
        expected.owners = args.object("ifOwner")?.unwrap_or_default();
    }
    if !expected.versions.values().all(Value::is_string) {
        return Err(MethodError::argument("ifVersion", "must map ids to strings"));
    }
    if !expected.owners.values().all(|owner| owner.is_string() || owner.is_null()) {
        return Err(MethodError::argument("ifOwner", "must map ids to ids or null"));
    }
    Ok(Plan {
        account_id: if T::IN_ACCOUNTS { Some(args.required_string("accountId")?) } else { None },
        if_in_state: if T::IN_ACCOUNTS { args.string("ifInState")? } else { None },
        create: args.creates("create")?.unwrap_or_default(),
        update: args.objects("update")?.unwrap_or_default(),
        destroy: args.strings("destroy")?.unwrap_or_default(),
        expected,
    })
}

/// Applies the plan to a transaction. Gives what became of it, and the state before.
fn in_txn<T: SetObject>(
    ctx: &mut Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    plan: &Plan,
    own: &T::SetArgs,
) -> Result<(Outcome, String), MethodError> {
    let old_state = if T::IN_ACCOUNTS { T::state(ctx, txn, account)? } else { String::new() };
    if plan.if_in_state.as_ref().is_some_and(|wanted| *wanted != old_state) {
        return Err(MethodErrorKind::StateMismatch.into());
    }
    let mut refused = Refused::default();
    for round in 0..=SET_ROUNDS_MAX {
        let start = txn.savepoint();
        let mut attempt = Round::<T> { ctx, txn, account, plan, own, refused: &refused };
        let outcome = attempt.apply()?;
        let offenders = T::after_set(&mut attempt.call(), &outcome)?;
        let Some((_, last)) = offenders.last() else { return Ok((outcome, old_state)) };
        let last = last.clone();
        txn.rollback(start);
        ctx.drop_staged();
        let known = refused.targets.len();
        refused.targets.extend(offenders);
        if round + 1 == SET_ROUNDS_MAX || refused.targets.len() == known {
            // Too entangled to find out who is to blame: nothing of it is applied.
            refused.rest = Some(last);
        }
    }
    Err(MethodError::server_fail(&"a type refuses a /set that changes nothing"))
}

/// What the rounds before have shown to be impossible in the final state.
#[derive(Default)]
struct Refused {
    targets: HashMap<Target, SetError>,
    /// All others, too.
    rest: Option<SetError>,
}

/// One attempt to apply all objects of a plan.
struct Round<'r, 'c, 't, T: SetObject> {
    ctx: &'r mut Ctx<'c>,
    txn: &'r mut Txn<'t>,
    account: &'r Account,
    plan: &'r Plan,
    own: &'r T::SetArgs,
    refused: &'r Refused,
}

impl<'t, T: SetObject> Round<'_, '_, 't, T> {
    fn call(&mut self) -> SetCall<'_, 't, T::SetArgs> {
        let expected = &self.plan.expected;
        SetCall { ctx: self.ctx, txn: self.txn, account: self.account, args: self.own, expected }
    }

    fn apply(&mut self) -> Result<Outcome, MethodError> {
        let mut outcome = Outcome::default();
        T::before_set(&mut self.call())?;
        let plan = self.plan;
        for (creation_id, object) in set_check::in_order::<T>(&plan.create) {
            if !self.txn.has_room() {
                outcome.not_created.push((creation_id.clone(), too_much_at_once()));
                continue;
            }
            T::before_create(&mut self.call(), object)?;
            let created =
                self.guarded(Target::Create(creation_id.clone()), |round| round.create(creation_id, object))?;
            match created {
                Ok(object) => {
                    let id = object.get("id").and_then(Value::as_str).unwrap_or_default();
                    self.ctx.stage_created(creation_id, id);
                    outcome.created.insert(creation_id.clone(), object.into());
                }
                Err(error) => outcome.not_created.push((creation_id.clone(), error)),
            }
        }
        let doomed: HashSet<String> = plan.destroy.iter().filter_map(|key| self.id_of(key)).collect();
        for (key, patch) in &plan.update {
            let id = self.id_of(key).unwrap_or_else(|| key.clone());
            let updated = if doomed.contains(&id) {
                let there = T::table().singleton || self.current(&id, &Props::of([""; 0]))?.is_some();
                let kind = if there { SetErrorKind::WillDestroy } else { SetErrorKind::NotFound };
                Err(kind.into())
            } else if !self.txn.has_room() {
                Err(too_much_at_once())
            } else {
                self.guarded(Target::Update(id.clone()), |round| round.update(&id, patch))?
            };
            match updated {
                Ok(changed) => {
                    outcome.updated.insert(id, changed.map_or(Value::Null, Value::Object));
                }
                Err(error) => outcome.not_updated.push((id, error)),
            }
        }
        self.destroy_all(&mut outcome)?;
        Ok(outcome)
    }

    /// Destroys in the order given. What can't go because another object is in its way is tried again
    /// as long as others go, since only the final state must be valid (RFC 8620 §5.3).
    fn destroy_all(&mut self, outcome: &mut Outcome) -> Result<(), MethodError> {
        let mut seen = HashSet::new();
        let mut waiting: Vec<String> =
            self.plan.destroy.iter().map(|key| self.id_of(key).unwrap_or_else(|| key.clone())).collect();
        waiting.retain(|id| seen.insert(id.clone()));
        loop {
            let gone = outcome.destroyed.len();
            let mut blocked = Vec::new();
            for id in waiting {
                match self.guarded(Target::Destroy(id.clone()), |round| round.destroy(&id))? {
                    Ok(()) => outcome.destroyed.push(id),
                    Err(error) if error.kind.is_by_another() => blocked.push((id, error)),
                    Err(error) => outcome.not_destroyed.push((id, error)),
                }
            }
            if blocked.is_empty() || outcome.destroyed.len() == gone {
                outcome.not_destroyed.extend(blocked);
                return Ok(());
            }
            waiting = blocked.into_iter().map(|(id, _)| id).collect();
        }
    }

    fn id_of(&self, key: &str) -> Option<String> {
        self.ctx.resolve_id(key).map(|id| id.into_owned())
    }

    /// Runs one object's change under a savepoint; a refusal of it takes back what it wrote.
    fn guarded<R>(
        &mut self,
        target: Target,
        change: impl FnOnce(&mut Self) -> Result<R, Refusal>,
    ) -> Result<Result<R, SetError>, MethodError> {
        if let Some(error) = self.refused.targets.get(&target).or(self.refused.rest.as_ref()) {
            return Ok(Err(error.clone()));
        }
        let savepoint = self.txn.savepoint();
        match change(self) {
            // One that moves very much may leave no room for itself behind others.
            Ok(_) if !self.txn.fits() => {
                self.txn.rollback(savepoint);
                Ok(Err(too_much_at_once()))
            }
            Ok(done) => Ok(Ok(done)),
            Err(Refusal::Call(error)) => Err(error),
            Err(Refusal::Object(error)) => {
                self.txn.rollback(savepoint);
                Ok(Err(error))
            }
            Err(Refusal::Remembered(error, remember)) => {
                self.txn.rollback(savepoint);
                remember.write(self.txn)?;
                Ok(Err(error))
            }
        }
    }

    fn create(&mut self, creation_id: &str, object: &Value) -> Result<Map<String, Value>, Refusal> {
        if T::table().singleton {
            return Err(SetErrorKind::Singleton.into());
        }
        let Value::Object(object) = object else { return Err(SetErrorKind::Forbidden.into()) };
        let (properties, defaults) = set_check::create::<T>(self.ctx, object, T::HAS_DEFAULTS)?;
        let key = format!("#{creation_id}");
        if self.plan.expected.version(&key).is_some() {
            T::check_expected_of_create(&mut self.call(), &key, &properties)?;
        }
        let created = T::create(&mut self.call(), properties)?;
        Ok(created_object(created, defaults))
    }

    fn update(&mut self, id: &str, patch: &Value) -> Result<Option<Map<String, Value>>, Refusal> {
        let Value::Object(patch) = patch else { return Err(SetErrorKind::InvalidPatch.into()) };
        if id.starts_with('#') {
            return Err(SetErrorKind::NotFound.into());
        }
        let patch = set_check::resolved_patch::<T>(self.ctx, patch);
        let paths = patch::paths(&patch)?;
        let touched = paths.iter().map(patch::Path::property);
        let known = Props::of(touched.filter(|name| set_check::property::<T>(self.ctx, name).is_some()));
        let current = self.current(id, &known)?.ok_or(SetErrorKind::NotFound)?;
        self.check_expected(id)?;
        let (old, new) = set_check::update::<T>(self.ctx, &paths, current)?;
        T::update(&mut self.call(), Update { id, patch: &patch, old: &old, new: &new })
    }

    /// The object as it is, if it is.
    fn current(&self, id: &str, properties: &Props) -> Result<Option<Map<String, Value>>, MethodError> {
        let own = T::GetArgs::default();
        let found = T::get_many(self.ctx, self.txn, self.account, &[id], properties, &own)?;
        Ok(found.into_iter().next().flatten())
    }

    fn destroy(&mut self, id: &str) -> Result<(), Refusal> {
        if id.starts_with('#') {
            return Err(SetErrorKind::NotFound.into());
        }
        if T::table().singleton {
            return Err(SetErrorKind::Singleton.into());
        }
        self.check_expected(id)?;
        T::destroy(&mut self.call(), id)
    }

    fn check_expected(&mut self, id: &str) -> Result<(), Refusal> {
        let expected = &self.plan.expected;
        if expected.version(id).is_some() || expected.owner(id).is_some() {
            T::check_expected(&mut self.call(), id)?;
        }
        Ok(())
    }
}

/// What the response tells of a new object: its id, what the client left to defaults, what the
/// server set.
pub(super) fn created_object(created: Created, defaults: Map<String, Value>) -> Map<String, Value> {
    let mut object = Map::with_capacity(1 + defaults.len() + created.properties.len());
    object.insert("id".into(), created.id.into());
    object.extend(defaults);
    object.extend(created.properties);
    object
}

fn response(
    ctx: &Ctx,
    in_account: Option<(String, String, String)>,
    outcome: &Outcome,
) -> Map<String, Value> {
    let destroyed = (!outcome.destroyed.is_empty()).then(|| outcome.destroyed.clone());
    let mut out = Map::with_capacity(9);
    if let Some((account_id, old_state, new_state)) = in_account {
        out.insert("accountId".into(), account_id.into());
        out.insert("oldState".into(), old_state.into());
        out.insert("newState".into(), new_state.into());
    }
    out.insert("created".into(), or_null(outcome.created.clone()));
    out.insert("updated".into(), or_null(outcome.updated.clone()));
    out.insert("destroyed".into(), destroyed.into());
    out.insert("notCreated".into(), refusals(ctx, &outcome.not_created));
    out.insert("notUpdated".into(), refusals(ctx, &outcome.not_updated));
    out.insert("notDestroyed".into(), refusals(ctx, &outcome.not_destroyed));
    out
}

pub(super) fn or_null(members: Map<String, Value>) -> Value {
    if members.is_empty() { Value::Null } else { Value::Object(members) }
}

pub(super) fn refusals(ctx: &Ctx, errors: &[(String, SetError)]) -> Value {
    let errors = errors.iter().map(|(key, error)| (key.clone(), error.clone().into_json(ctx.using)));
    or_null(errors.collect())
}
