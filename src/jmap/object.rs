//! A data type as the machinery sees it: a table of properties, and hooks.
//!
//! A type is one file in `types/`: a unit struct that implements [`Object`] (for /get and
//! /changes), and [`SetObject`], [`QueryObject`], [`CopyObject`] where it has those methods, and
//! a line for each method in `methods.rs`. What the tables say the machinery checks, so that no
//! hook does: capabilities, rights, unknown and server-set and immutable properties, the kinds of
//! values, defaults, creation ids, patches, limits, states. `example.rs` is a complete type.

use super::args::{Args, as_int};
use super::capability::{Capability, CapabilitySet};
use super::changes::ChangedIds;
use super::context::Ctx;
use super::error::{MethodError, Refusal, SetError};
use super::query::{Comparator, Filter, QueryResult};
use super::query_changes::QueryDelta;
use super::session::Account;
use super::{changes, set};
use crate::store::txn::Committed;
use crate::store::{Read, Txn};
use crate::types::{AccountId, DataType, MemberRole, UtcDate};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What a value may be (RFC 8620 §1). Whether an id names something is the hook's to check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `#creationId` is replaced before the hook sees it.
    Id,
    /// Id[], with `#creationId` replaced.
    Ids,
    /// Id[Boolean] where every value is true, with `#creationId` replaced in the keys.
    IdSet,
    String,
    Strings,
    /// String[Boolean] where every value is true.
    StringSet,
    /// The same with keywords (RFC 8621 §4.1.1), in lower case when they are told.
    KeywordSet,
    Boolean,
    Int,
    UnsignedInt,
    UtcDate,
    /// RFC 3339 with any offset; the hook reads it.
    Date,
    /// An object that the hook checks.
    Object,
    /// An array that the hook checks.
    Array,
    /// Anything; the hook checks it.
    Any,
}

/// Who may set a property, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only the server.
    ServerSet,
    /// The client, when it creates the object.
    Immutable,
    /// The client, at any time.
    Mutable,
}

/// What a property is where a create doesn't name it, or an update sets it to null.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Initial {
    /// A create must name it.
    Required,
    /// The create hook decides.
    Computed,
    Null,
    Bool(bool),
    Number(u64),
    Text(&'static str),
    EmptyObject,
    EmptyArray,
}

impl Initial {
    /// The value; `None` where there is none to know beforehand.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Required | Self::Computed => None,
            Self::Null => Some(Value::Null),
            Self::Bool(flag) => Some(flag.into()),
            Self::Number(number) => Some(number.into()),
            Self::Text(text) => Some(text.into()),
            Self::EmptyObject => Some(Value::Object(Map::new())),
            Self::EmptyArray => Some(Value::Array(Vec::new())),
        }
    }
}

/// One property of a type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Property {
    pub name: &'static str,
    pub kind: Kind,
    pub access: Access,
    pub nullable: bool,
    pub default: Initial,
    /// Without this capability in `using` the property doesn't exist.
    pub capability: Option<Capability>,
    /// Given where /get has `properties: null`.
    pub by_default: bool,
}

impl Property {
    const fn new(name: &'static str, kind: Kind, access: Access, default: Initial) -> Self {
        Self { name, kind, access, nullable: false, default, capability: None, by_default: true }
    }

    /// `id: Id (immutable; server-set)`, which every type has.
    pub const ID: Property = Property::server("id", Kind::Id);

    /// A property that only the server sets.
    pub const fn server(name: &'static str, kind: Kind) -> Self {
        Self::new(name, kind, Access::ServerSet, Initial::Computed)
    }

    /// A property that is set at creation, then never again.
    pub const fn immutable(name: &'static str, kind: Kind, default: Initial) -> Self {
        Self::new(name, kind, Access::Immutable, default)
    }

    /// A property that the client may set at any time.
    pub const fn mutable(name: &'static str, kind: Kind, default: Initial) -> Self {
        Self::new(name, kind, Access::Mutable, default)
    }

    /// May be null.
    pub const fn or_null(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Is there only for clients that use this capability, and only where they name it.
    pub const fn of(mut self, capability: Capability) -> Self {
        self.capability = Some(capability);
        self
    }

    /// Is given only where it is named.
    pub const fn on_request(mut self) -> Self {
        self.by_default = false;
        self
    }

    /// Does the property exist for this client?
    pub fn visible(&self, using: CapabilitySet) -> bool {
        self.capability.is_none_or(|capability| using.contains(capability))
    }

    /// Is the value one that the property may have? Says why not.
    pub fn check(&self, value: &Value) -> Result<(), &'static str> {
        if value.is_null() {
            return if self.nullable { Ok(()) } else { Err("must not be null") };
        }
        let strings = |value: &Value| value.as_array().is_some_and(|a| a.iter().all(Value::is_string));
        let set =
            |value: &Value| value.as_object().is_some_and(|o| o.values().all(|v| *v == Value::Bool(true)));
        let (fits, why) = match self.kind {
            Kind::Id => (value.is_string(), "must be an id"),
            Kind::Ids => (strings(value), "must be an array of ids"),
            Kind::IdSet => (set(value), "must map ids to true"),
            Kind::String => (value.is_string(), "must be a string"),
            Kind::Strings => (strings(value), "must be an array of strings"),
            Kind::StringSet | Kind::KeywordSet => (set(value), "must map strings to true"),
            Kind::Boolean => (value.is_boolean(), "must be true or false"),
            Kind::Int => (as_int(value).is_some(), "must be an integer"),
            Kind::UnsignedInt => (as_int(value).is_some_and(|n| n >= 0), "must be an integer of 0 or more"),
            Kind::UtcDate => (value.as_str().and_then(UtcDate::parse).is_some(), "must be a UTC date"),
            Kind::Date => (value.is_string(), "must be a date"),
            Kind::Object => (value.is_object(), "must be an object"),
            Kind::Array => (value.is_array(), "must be an array"),
            Kind::Any => (true, ""),
        };
        if fits { Ok(()) } else { Err(why) }
    }
}

/// What the machinery must know of a type.
#[derive(Clone, Copy, Debug)]
pub struct TypeTable {
    /// The name before the slash of its methods.
    pub name: &'static str,
    /// The change log that it has; a type without one overrides `state` and `changes`.
    pub data_type: Option<DataType>,
    pub capability: Capability,
    /// How the number in the change log is spelled as an id.
    pub id: fn(u32) -> String,
    pub properties: &'static [Property],
    /// A member needs this role for /set to be tried at all; hooks may ask more of an object.
    pub write_role: MemberRole,
    /// There is exactly one object: create and destroy are refused.
    pub singleton: bool,
    /// /set takes `ifVersion` where this capability is in use.
    pub if_version: Option<Capability>,
    /// /set takes `ifOwner` where this capability is in use.
    pub if_owner: Option<Capability>,
}

impl TypeTable {
    /// The property of that name.
    pub fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties.iter().find(|property| property.name == name)
    }
}

/// The properties that a /get, or a /set on its way, wants of each object. `id` is always one.
#[derive(Clone, Debug)]
pub struct Props(Vec<String>);

impl Props {
    /// Exactly these and `id`, each once.
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut seen = HashSet::from(["id".to_owned()]);
        let names = names.into_iter().map(Into::into).filter(|name: &String| seen.insert(name.clone()));
        let mut wanted = vec!["id".to_owned()];
        wanted.extend(names.collect::<Vec<_>>());
        Self(wanted)
    }

    /// What `properties: null` means.
    pub fn by_default(table: &TypeTable, using: CapabilitySet) -> Self {
        let wanted = table.properties.iter().filter(|one| one.by_default && one.visible(using));
        Self::of(wanted.map(|property| property.name))
    }

    /// Is this property wanted?
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|wanted| wanted == name)
    }

    /// The wanted names, `id` first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The objects of a /get as a JSON array, and the ids for which there is none.
pub struct TextList {
    pub text: String,
    pub missing: Vec<String>,
}

/// A type that can be fetched.
pub trait Object {
    /// Arguments of /get beside the standard ones; `()` where there are none.
    type GetArgs: Default;

    /// Is an object one of an account? Of the others (PushSubscription alone, RFC 8620 §7.2) the methods
    /// take and give no `accountId` and no state.
    const IN_ACCOUNTS: bool = true;

    fn table() -> &'static TypeTable;

    /// The property of that name. A type with names that aren't in the table, such as
    /// `header:Subject:asText`, finds them here.
    fn property(name: &str) -> Option<&'static Property> {
        Self::table().property(name)
    }

    /// Takes the type's own arguments of /get.
    fn get_args(_ctx: &Ctx, _args: &mut Args, _props: &Props) -> Result<Self::GetArgs, MethodError> {
        Ok(Self::GetArgs::default())
    }

    /// For each id, in order, an object with `id` and the wanted properties, or `None` where there
    /// is none that this principal may see. The ids are distinct and may be spelled wrong.
    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        args: &Self::GetArgs,
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError>;

    /// The same as text, by a type of which lists are asked for all the time; `None` where it has no
    /// better way.
    fn get_text(
        _ctx: &Ctx,
        _reader: &dyn Read,
        _account: &Account,
        _ids: &[&str],
        _props: &Props,
        _args: &Self::GetArgs,
    ) -> Result<Option<TextList>, MethodError> {
        Ok(None)
    }

    /// The ids of all objects, or `None` where there are more than `max`.
    fn all_ids(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError>;

    /// The state of the type in the account, for this principal.
    fn state(ctx: &Ctx, reader: &dyn Read, account: &Account) -> Result<String, MethodError> {
        changes::state_of(ctx, reader, account, Self::table())
    }

    /// What changed since a state, at most `max` ids.
    fn changes(ctx: &Ctx, account: &Account, since: &str, max: usize) -> Result<ChangedIds, MethodError> {
        changes::from_log(ctx, account, Self::table(), since, max)
    }

    /// Adds members to the /changes response, such as Mailbox's `updatedProperties`.
    fn changes_extra(
        _ctx: &Ctx,
        _changes: &ChangedIds,
        _response: &mut Map<String, Value>,
    ) -> Result<(), MethodError> {
        Ok(())
    }
}

/// What every hook of a /set gets: the request, the transaction, the account, the arguments.
pub struct SetCall<'c, 't, A> {
    pub ctx: &'c Ctx<'c>,
    pub txn: &'c mut Txn<'t>,
    pub account: &'c Account,
    pub args: &'c A,
    pub expected: &'c Expected,
}

impl<A> SetCall<'_, '_, A> {
    /// Where a hook of a /set reads: what was written before it in this call is there.
    pub fn reader(&self) -> &dyn Read {
        self.txn
    }
}

/// The `ifVersion` and `ifOwner` maps of a /set; empty where they aren't given.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Expected {
    pub versions: Map<String, Value>,
    pub owners: Map<String, Value>,
}

impl Expected {
    /// The version that the client expects of the object.
    pub fn version(&self, id: &str) -> Option<&str> {
        self.versions.get(id).and_then(Value::as_str)
    }

    /// The owner that the client expects: `Some(None)` is "nobody".
    pub fn owner(&self, id: &str) -> Option<Option<&str>> {
        self.owners.get(id).map(Value::as_str)
    }
}

/// An object as it was made.
#[derive(Clone, PartialEq, Debug)]
pub struct Created {
    pub id: String,
    /// What the client must know and didn't send: server-set and changed values. Defaults from
    /// the table are added by the machinery.
    pub properties: Map<String, Value>,
}

/// An update that passed the table's checks.
#[derive(Debug)]
pub struct Update<'u> {
    pub id: &'u str,
    /// The PatchObject, creation ids replaced: whether a value came whole or by path is seen here.
    pub patch: &'u Map<String, Value>,
    /// The touched properties that the client may set, with their values before.
    pub old: &'u Map<String, Value>,
    /// The same properties with their values after the whole patch.
    pub new: &'u Map<String, Value>,
}

/// Which object of a /set call is meant: a create by its creation id, the others by their id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    Create(String),
    Update(String),
    Destroy(String),
}

/// A type that can be changed.
pub trait SetObject: Object {
    /// Arguments of /set beside the standard ones.
    type SetArgs;

    /// Has what a create leaves out the property's default, which `created` tells (RFC 8620 §5.3)? Else
    /// [`SetObject::create`] knows what it has instead.
    const HAS_DEFAULTS: bool = true;

    /// Takes the type's own arguments of /set.
    fn set_args(ctx: &Ctx, args: &mut Args) -> Result<Self::SetArgs, MethodError>;

    /// Does, in transactions of its own, what the call asks for and one transaction can't hold, after it
    /// has compared `ifInState`. Gives the state before; `None` where there was nothing to do.
    fn prepare(
        _ctx: &mut Ctx,
        _account: &Account,
        (_if_in_state, _destroy): (Option<&str>, &[String]),
        _args: &Self::SetArgs,
    ) -> Result<Option<String>, MethodError> {
        Ok(None)
    }

    /// Accounts whose locks are held beside the account's own while these are created.
    fn locked_beside(
        _ctx: &Ctx,
        _account: &Account,
        _create: &Map<String, Value>,
    ) -> Result<Vec<AccountId>, MethodError> {
        Ok(Vec::new())
    }

    /// Before the first object; an error refuses the whole call.
    fn before_set(_set: &mut SetCall<'_, '_, Self::SetArgs>) -> Result<(), MethodError> {
        Ok(())
    }

    /// Before an object is made of what a client sent. What it writes stays, though the object is refused.
    fn before_create(_set: &mut SetCall<'_, '_, Self::SetArgs>, _object: &Value) -> Result<(), MethodError> {
        Ok(())
    }

    /// Makes an object of properties that passed the table's checks, defaults filled in.
    fn create(
        set: &mut SetCall<'_, '_, Self::SetArgs>,
        properties: Map<String, Value>,
    ) -> Result<Created, Refusal>;

    /// Changes an object that is there; returns what changed otherwise than asked, or `None`.
    fn update(
        set: &mut SetCall<'_, '_, Self::SetArgs>,
        update: Update<'_>,
    ) -> Result<Option<Map<String, Value>>, Refusal>;

    /// Destroys an object, or says `notFound`.
    fn destroy(set: &mut SetCall<'_, '_, Self::SetArgs>, id: &str) -> Result<(), Refusal>;

    /// Compares the object's version and owner with what the client expects, before an update or
    /// destroy of it. Called only where one of them is given.
    fn check_expected(_set: &mut SetCall<'_, '_, Self::SetArgs>, _id: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// The same before a create, which the client calls `#creationId` there. Most types have nothing to compare
    /// before there is an object.
    fn check_expected_of_create(
        _set: &mut SetCall<'_, '_, Self::SetArgs>,
        _key: &str,
        _properties: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// After the last object, before the commit: rules that only the final state must keep, such
    /// as unique names (RFC 8620 §5.3 lets a call swap two). The call is undone and repeated
    /// without the objects named here.
    fn after_set(
        _set: &mut SetCall<'_, '_, Self::SetArgs>,
        _outcome: &set::Outcome,
    ) -> Result<Vec<(Target, SetError)>, MethodError> {
        Ok(Vec::new())
    }

    /// The `newState` of the response; the snapshot is the one after the commit.
    /// What the server corrected behind the client's wish comes after it, so that /changes and
    /// push tell of it. `before` is the state that the transaction began with.
    fn state_after_set(
        ctx: &Ctx,
        account: &Account,
        done: &Committed,
        before: &str,
    ) -> Result<String, MethodError> {
        let data_type = Self::table().data_type;
        match data_type.and_then(|one| changes::state_after(ctx, account, one, done, before)) {
            Some(state) => Ok(state),
            None => Self::state(ctx, ctx.reader(), account),
        }
    }

    /// After the commit, when the response is there: implicit calls ([`Ctx::implicit`]).
    fn after_commit(_ctx: &mut Ctx, _account: &Account, _args: Self::SetArgs, _outcome: &set::Outcome) {}
}

/// A type that can be searched.
pub trait QueryObject: Object {
    /// One FilterCondition.
    type Condition;
    /// One Comparator.
    type Sort;
    /// Arguments of /query and /queryChanges beside the standard ones.
    type QueryArgs;

    /// Reads a FilterCondition; what is left in `args` is refused as `unsupportedFilter`.
    fn condition(ctx: &Ctx, args: &mut Args) -> Result<Self::Condition, MethodError>;

    /// Reads a Comparator, or says `unsupportedSort`.
    fn sort(ctx: &Ctx, comparator: Comparator) -> Result<Self::Sort, MethodError>;

    /// Takes the type's own arguments.
    fn query_args(ctx: &Ctx, args: &mut Args) -> Result<Self::QueryArgs, MethodError>;

    /// The ordered results, of which the machinery takes the window.
    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError>;

    /// What changed in the results since a query state.
    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError>;
}

/// What is searched for, and in which order.
pub struct Query<T: QueryObject + ?Sized> {
    pub filter: Option<Filter<T::Condition>>,
    pub sort: Vec<T::Sort>,
    pub args: T::QueryArgs,
}

/// From where on a /queryChanges wants the changes.
#[derive(Clone, Copy, Debug)]
pub struct Since<'s> {
    pub query_state: &'s str,
    pub up_to_id: Option<&'s str>,
    /// More changes than this are refused anyway: a hook may stop counting there.
    pub max_changes: Option<u64>,
    pub calculate_total: bool,
}

/// A type whose objects can be copied from one account to another.
pub trait CopyObject: SetObject {
    /// The properties that a copy may change; others are refused.
    const COPY_PROPERTIES: &'static [&'static str];

    /// Copies the object `id` of account `from`, with these properties in place of its own.
    fn copy(
        set: &mut SetCall<'_, '_, ()>,
        from: &Account,
        id: &str,
        properties: Map<String, Value>,
    ) -> Result<Created, Refusal>;
}
