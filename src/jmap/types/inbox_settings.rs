//! InboxSettings: how a team works, one object per inbox. Every member sees it, a lead changes it.
//!
//! It exists for a client that uses any of our capabilities. The name and the addresses are the
//! directory's: what changes them is one transaction with it.

use super::team;
use crate::auth::AuthError;
use crate::auth::accounts::Naming;
use crate::inbox::admin::AdminError;
use crate::inbox::desk;
use crate::inbox::naming;
use crate::inbox::settings::SINGLETON;
use crate::jmap::args::{Args, as_int};
use crate::jmap::capability::Capability::{self, Ownership};
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, set};
use crate::store::rows::directory::AccountRow;
use crate::store::rows::team::{InboxSettingsRow, PlainCollision, Status};
use crate::store::{Read, StoreResult};
use crate::types::{AccountId, Address, DataType, MemberRole};
use serde_json::{Map, Value, json};

const OURS: &[Capability] = Capability::VENDOR;

/// One line a method.
pub static METHODS: &[Method] = &[
    read("InboxSettings/get", Ownership, get::run::<InboxSettings>).or(OURS),
    read("InboxSettings/changes", Ownership, changes::run::<InboxSettings>).or(OURS),
    write("InboxSettings/set", Ownership, set::run::<InboxSettings>).or(OURS),
];

/// The type.
pub struct InboxSettings;

/// The id of the only object (RFC 8620 §5.3 lets a type have one).
const ID: &str = "singleton";

static TABLE: TypeTable = TypeTable {
    name: "InboxSettings",
    data_type: Some(DataType::InboxSettings),
    capability: Ownership,
    id: |_| ID.to_owned(),
    properties: &[
        Property::ID,
        Property::mutable("name", Kind::String, Initial::Required),
        Property::mutable("addresses", Kind::Strings, Initial::Required),
        Property::mutable("statusAfterReply", Kind::String, Initial::Text("pending")),
        Property::mutable("ownOnReply", Kind::Boolean, Initial::Bool(true)),
        Property::mutable("reopenWithin", Kind::UnsignedInt, Initial::Required),
        Property::mutable("requireCategory", Kind::Boolean, Initial::Bool(false)),
        Property::mutable("requireResolution", Kind::Boolean, Initial::Bool(false)),
        Property::mutable("requireOwner", Kind::Boolean, Initial::Bool(false)),
        Property::mutable("categories", Kind::Strings, Initial::EmptyArray),
        Property::mutable("resolutions", Kind::Strings, Initial::EmptyArray),
        Property::mutable("plainCollision", Kind::String, Initial::Text("confirm")),
        Property::mutable("lockSeconds", Kind::UnsignedInt, Initial::Required),
        Property::mutable("sharedSeen", Kind::Boolean, Initial::Bool(false)),
        Property::mutable("notesAsMemos", Kind::Boolean, Initial::Bool(false)),
        Property::mutable("trustedAutomatic", Kind::Strings, Initial::EmptyArray),
        Property::mutable("acknowledgement", Kind::String, Initial::Null).or_null(),
        Property::mutable("retention", Kind::UnsignedInt, Initial::Null).or_null(),
        Property::mutable("guide", Kind::String, Initial::Text("")),
        Property::mutable("signature", Kind::String, Initial::Text("")),
        Property::mutable("identityName", Kind::String, Initial::Null).or_null(),
        Property::mutable("automaticBcc", Kind::Strings, Initial::EmptyArray),
    ],
    write_role: MemberRole::Observer,
    singleton: true,
    if_version: None,
    if_owner: None,
};

impl Object for InboxSettings {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let row = current(reader, account)?;
        Ok(ids.iter().map(|id| (*id == ID).then(|| to_json(&row, props))).collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        _reader: &dyn Read,
        _account: &Account,
        _max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        debug_assert_eq!((TABLE.id)(SINGLETON), ID);
        Ok(Some(vec![ID.to_owned()]))
    }
}

/// The settings, with what the directory says.
fn current(reader: &dyn Read, account: &Account) -> StoreResult<InboxSettingsRow> {
    let row = desk::settings(reader, account.id)?;
    let directory: Option<AccountRow> = reader.row(AccountId::DIRECTORY, account.id)?;
    Ok(match directory {
        Some(directory) => InboxSettingsRow { name: directory.name, addresses: directory.addresses, ..row },
        None => row,
    })
}

fn to_json(row: &InboxSettingsRow, props: &Props) -> Map<String, Value> {
    let addresses = |all: &[Address]| all.iter().map(|one| Value::from(one.as_str())).collect::<Value>();
    let value = |name: &str| match name {
        "id" => json!(ID),
        "name" => json!(row.name),
        "addresses" => addresses(&row.addresses),
        "statusAfterReply" => json!(row.status_after_reply.name()),
        "ownOnReply" => json!(row.own_on_reply),
        "reopenWithin" => json!(row.reopen_within_days),
        "requireCategory" => json!(row.require_category),
        "requireResolution" => json!(row.require_resolution),
        "requireOwner" => json!(row.require_owner),
        "categories" => json!(row.categories),
        "resolutions" => json!(row.resolutions),
        "plainCollision" => json!(row.plain_collision.name()),
        "lockSeconds" => json!(row.lock_seconds),
        "sharedSeen" => json!(row.shared_seen),
        "notesAsMemos" => json!(row.notes_as_memos),
        "trustedAutomatic" => addresses(&row.trusted_automatic),
        "acknowledgement" => json!(row.acknowledgement),
        "retention" => json!(row.retention_days),
        "guide" => json!(row.guide),
        "signature" => json!(row.signature),
        "identityName" => json!(row.identity_name),
        "automaticBcc" => addresses(&row.automatic_bcc),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// Writes one property into the row; `None` where the value is none that it can have.
fn fill(row: &mut InboxSettingsRow, name: &str, value: &Value) -> Option<()> {
    let text = || value.as_str();
    let number = || as_int(value).and_then(|number| u64::try_from(number).ok());
    let words = || -> Option<Vec<String>> {
        let mut out: Vec<String> = Vec::new();
        for item in value.as_array()? {
            let word = item.as_str()?.to_owned();
            if !out.contains(&word) {
                out.push(word);
            }
        }
        Some(out)
    };
    let addresses = || -> Option<Vec<Address>> { words()?.iter().map(|word| Address::parse(word)).collect() };
    match name {
        "name" => row.name = text()?.to_owned(),
        "addresses" => row.addresses = addresses()?,
        "statusAfterReply" => row.status_after_reply = Status::parse(text()?)?,
        "ownOnReply" => row.own_on_reply = value.as_bool()?,
        "reopenWithin" => row.reopen_within_days = u32::try_from(number()?).ok()?,
        "requireCategory" => row.require_category = value.as_bool()?,
        "requireResolution" => row.require_resolution = value.as_bool()?,
        "requireOwner" => row.require_owner = value.as_bool()?,
        "categories" => row.categories = words()?,
        "resolutions" => row.resolutions = words()?,
        "plainCollision" => row.plain_collision = PlainCollision::parse(text()?)?,
        "lockSeconds" => row.lock_seconds = number()?,
        "sharedSeen" => row.shared_seen = value.as_bool()?,
        "notesAsMemos" => row.notes_as_memos = value.as_bool()?,
        "trustedAutomatic" => row.trusted_automatic = addresses()?,
        "automaticBcc" => row.automatic_bcc = addresses()?,
        "identityName" if value.is_null() => row.identity_name = None,
        "identityName" => row.identity_name = Some(text()?.to_owned()),
        "acknowledgement" if value.is_null() => row.acknowledgement = None,
        "acknowledgement" => row.acknowledgement = Some(text()?.to_owned()),
        "retention" if value.is_null() => row.retention_days = None,
        "retention" => row.retention_days = Some(u32::try_from(number()?).ok()?),
        "guide" => row.guide = text()?.to_owned(),
        "signature" => row.signature = text()?.to_owned(),
        _ => {}
    }
    Some(())
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

impl SetObject for InboxSettings {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    /// The directory, which has the name and the addresses.
    fn locked_beside(
        _ctx: &Ctx,
        _account: &Account,
        _create: &Map<String, Value>,
    ) -> Result<Vec<AccountId>, MethodError> {
        Ok(vec![AccountId::DIRECTORY])
    }

    fn create(_set: &mut Set<'_, '_>, _properties: Map<String, Value>) -> Result<Created, Refusal> {
        Err(SetErrorKind::Singleton.into())
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let mut row = current(set.txn, set.account)?;
        let differ = |name: &&String| update.old.get(*name) != update.new.get(*name);
        let names: Vec<&str> = update.new.keys().filter(differ).map(String::as_str).collect();
        for &name in &names {
            let value = update.new.get(name).unwrap_or(&Value::Null);
            fill(&mut row, name, value)
                .ok_or_else(|| SetError::properties([name], "It can't have that value."))?;
        }
        let (itself, team): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| matches!(**name, "name" | "addresses"));
        if !itself.is_empty() {
            let name = itself.contains(&"name").then(|| row.name.clone());
            let addresses = itself.contains(&"addresses").then(|| row.addresses.clone());
            rename(set, &Naming { name, addresses })?;
            row.name = current(set.txn, set.account)?.name;
        }
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        desk.set_settings(row.clone(), &team.join(" ")).map_err(|error| team::refused(error, &staff))?;
        let mut told = to_json(&row, &Props::of(names));
        told.retain(|name, value| name != "id" && update.new.get(name) != Some(value));
        Ok((!told.is_empty()).then_some(told))
    }

    fn destroy(_set: &mut Set<'_, '_>, _id: &str) -> Result<(), Refusal> {
        Err(SetErrorKind::Singleton.into())
    }
}

/// Changes what the inbox is called, and where its mail comes in.
fn rename(set: &mut Set<'_, '_>, new: &Naming) -> Result<(), Refusal> {
    let by = team::actor(set.ctx, set.account);
    naming::change(set.txn, set.account.id, by, new).map_err(|error| match error {
        AdminError::Store(error) => error.into(),
        AdminError::Refused(no) => team::set_error(&no, &team::staff(set.ctx, set.account)).into(),
        // Whose address it is, is nothing that an inbox learns.
        AdminError::Auth(AuthError::AddressTaken(_)) => {
            SetError::properties(["addresses"], "One of the addresses can't be had.").into()
        }
        AdminError::Auth(error @ AuthError::Name { .. }) => {
            SetError::properties(["name"], error.to_string()).into()
        }
        error => SetError::properties(["addresses"], error.to_string()).into(),
    })
}
