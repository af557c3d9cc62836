//! Identity (RFC 8621 §6). Every account writes as its own addresses only; the default Identity of
//! an address stays, others come and go. In an inbox they are each member's own (`mail::identity`):
//! a name and a signature that one member sets are no other's.

use crate::inbox::desk;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::changes::{self, ChangedIds};
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::object::{
    Created, Initial, Kind, Object, Property, Props, SetCall, SetObject, TypeTable, Update,
};
use crate::jmap::session::Account;
use crate::mail::identity;
use crate::store::rows::mail::{IdentityRow, MailAddress};
use crate::store::{Read, StoreResult};
use crate::types::{Address, DataType, IdentityId, MemberRole, PrincipalId, limits};
use serde_json::{Map, Value, json};

/// The type.
pub struct Identity;

static TABLE: TypeTable = TypeTable {
    name: "Identity",
    data_type: Some(DataType::Identity),
    capability: Capability::Submission,
    id: |number| IdentityId(number).to_string(),
    properties: &[
        Property::ID,
        Property::mutable("name", Kind::String, Initial::Text("")),
        Property::immutable("email", Kind::String, Initial::Required),
        Property::mutable("replyTo", Kind::Array, Initial::Null).or_null(),
        Property::mutable("bcc", Kind::Array, Initial::Null).or_null(),
        Property::mutable("textSignature", Kind::String, Initial::Text("")),
        Property::mutable("htmlSignature", Kind::String, Initial::Text("")),
        Property::server("mayDelete", Kind::Boolean),
    ],
    write_role: MemberRole::Agent,
    singleton: false,
    if_version: None,
    if_owner: None,
};

/// The addresses that the account writes as, its own one first.
pub fn own_addresses(ctx: &Ctx, reader: &dyn Read, account: &Account) -> StoreResult<Vec<Address>> {
    let addresses = identity::addresses(reader, account.id)?;
    if addresses.is_empty() && account.is_inbox() {
        return Ok((ctx.host.staff)(account.id).addresses.clone());
    }
    Ok(addresses)
}

/// Whether an address is among these, as addresses compare.
pub fn is_among(addresses: &[Address], email: &Address) -> bool {
    addresses.iter().any(|own| own.key() == email.key())
}

impl Object for Identity {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        let all = identity::all(reader, account.id)?;
        let seen = seen(ctx, reader, account)?;
        let found = ids.iter().map(|id| {
            let known = IdentityId::parse(id)?;
            let (_, row) = seen.iter().find(|(other, _)| *other == known)?;
            let may_delete =
                account.allows(MemberRole::Agent) && !identity::is_default(&all, known, &row.email);
            Some(to_json(id, row, may_delete, props))
        });
        Ok(found.collect())
    }

    fn all_ids(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let seen = seen(ctx, reader, account)?;
        Ok((seen.len() <= max).then(|| seen.iter().map(|(id, _)| id.to_string()).collect()))
    }

    /// What other members have for themselves isn't told.
    fn changes(ctx: &Ctx, account: &Account, since: &str, max: usize) -> Result<ChangedIds, MethodError> {
        let mut changed = changes::from_log(ctx, account, &TABLE, since, max)?;
        let seen = seen(ctx, ctx.reader(), account)?;
        let is_seen = |id: &String| seen.iter().any(|(known, _)| known.to_string() == *id);
        changed.created.retain(is_seen);
        changed.updated.retain(is_seen);
        Ok(changed)
    }
}

/// The Identities that the principal has in the account. An address that the account has lost can't
/// be written as any more.
fn seen(
    ctx: &Ctx,
    reader: &dyn Read,
    account: &Account,
) -> Result<Vec<(IdentityId, IdentityRow)>, MethodError> {
    let own = own_addresses(ctx, reader, account)?;
    let mut seen = identity::seen_by(reader, account.id, member(ctx, account))?;
    seen.retain(|(_, row)| is_among(&own, &row.email));
    if let Some(name) = patterned(ctx, reader, account)? {
        identity::name_by_pattern(&identity::all(reader, account.id)?, &mut seen, &name);
    }
    Ok(seen)
}

/// What the inbox's pattern calls the member.
fn patterned(ctx: &Ctx, reader: &dyn Read, account: &Account) -> StoreResult<Option<String>> {
    if !account.is_inbox() {
        return Ok(None);
    }
    let Some(pattern) = desk::settings(reader, account.id)?.identity_name else { return Ok(None) };
    let staff = (ctx.host.staff)(account.id);
    let member = staff.names.get(&ctx.session.principal).map_or("", |person| &person.name);
    Ok(Some(identity::pattern_filled(&pattern, member, &account.name)))
}

/// The Identity as the principal has it; `None` where they have none of that id.
pub fn of_member(
    ctx: &Ctx,
    reader: &dyn Read,
    account: &Account,
    id: IdentityId,
) -> Result<Option<IdentityRow>, MethodError> {
    let seen = seen(ctx, reader, account)?;
    Ok(seen.into_iter().find(|(known, _)| *known == id).map(|(_, row)| row))
}

/// Who asks, where Identities are each member's own.
fn member(ctx: &Ctx, account: &Account) -> Option<PrincipalId> {
    account.is_inbox().then_some(ctx.session.principal)
}

fn to_json(id: &str, row: &IdentityRow, may_delete: bool, props: &Props) -> Map<String, Value> {
    let list = |addresses: &Option<Vec<MailAddress>>| match addresses {
        None => Value::Null,
        Some(list) => list.iter().map(|one| json!({"name": one.name, "email": one.email})).collect(),
    };
    let value = |name: &str| match name {
        "id" => json!(id),
        "name" => json!(row.name),
        "email" => json!(row.email.as_str()),
        "replyTo" => list(&row.reply_to),
        "bcc" => list(&row.bcc),
        "textSignature" => json!(row.text_signature),
        "htmlSignature" => json!(row.html_signature),
        "mayDelete" => json!(may_delete),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

impl SetObject for Identity {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(set: &mut Set<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let email = properties.get("email").and_then(Value::as_str).and_then(Address::parse);
        let email = email.ok_or_else(|| SetError::properties(["email"], "This is no address."))?;
        let mut row = IdentityRow {
            name: String::new(),
            email,
            reply_to: None,
            bcc: None,
            text_signature: String::new(),
            html_signature: String::new(),
            named: true,
        };
        fill(&mut row, &properties)?;
        let own = own_addresses(set.ctx, set.reader(), set.account)?;
        if !is_among(&own, &row.email) {
            // RFC 8621 §6.3.
            return Err(SetError::new(
                SetErrorKind::ForbiddenFrom,
                format!("This account may not write as {}.", row.email),
            )
            .into());
        }
        let may_delete = identity::all(set.reader(), set.account.id)?
            .iter()
            .any(|(_, other)| other.email.key() == row.email.key());
        if identity::all(set.reader(), set.account.id)?.len() >= limits::IDENTITIES_MAX {
            return Err(SetError::new(SetErrorKind::OverQuota, "There are too many Identities.").into());
        }
        let id = identity::create(set.txn, set.account.id, &row)?;
        if let Some(member) = member(set.ctx, set.account) {
            identity::write_for(set.txn, set.account.id, id, member, &row)?;
        }
        let mut properties = Map::new();
        properties.insert("mayDelete".into(), may_delete.into());
        Ok(Created { id: id.to_string(), properties })
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let id = IdentityId::parse(update.id).ok_or(SetErrorKind::NotFound)?;
        let before = of_member(set.ctx, set.reader(), set.account, id)?.ok_or(SetErrorKind::NotFound)?;
        let mut after = before.clone();
        fill(&mut after, update.new)?;
        match member(set.ctx, set.account) {
            _ if after == before => {}
            Some(member) => {
                let after = unpatterned(set, id, &before, after)?;
                identity::write_for(set.txn, set.account.id, id, member, &after)?;
            }
            None => set.txn.update(set.account.id, id, &after)?,
        }
        Ok(None)
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let id = IdentityId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let row = of_member(set.ctx, set.reader(), set.account, id)?.ok_or(SetErrorKind::NotFound)?;
        let all = identity::all(set.reader(), set.account.id)?;
        if identity::is_default(&all, id, &row.email) {
            return Err(SetError::forbidden("The default Identity of an address stays.").into());
        }
        let member = member(set.ctx, set.account);
        Ok(identity::destroy(set.txn, set.account.id, id, member)?)
    }
}

/// The row as it is kept: a name that the pattern makes isn't written down, so that it changes with it.
fn unpatterned(
    set: &Set<'_, '_>,
    id: IdentityId,
    before: &IdentityRow,
    after: IdentityRow,
) -> StoreResult<IdentityRow> {
    let pattern = patterned(set.ctx, set.reader(), set.account)?;
    let all = identity::all(set.reader(), set.account.id)?;
    let is_default = identity::is_default(&all, id, &before.email);
    match all.into_iter().find(|(other, _)| *other == id) {
        Some((_, made)) if is_default && pattern.as_ref() == Some(&after.name) => {
            Ok(IdentityRow { name: made.name, named: false, ..after })
        }
        _ => Ok(IdentityRow { named: before.named || before.name != after.name, ..after }),
    }
}

/// Writes what is in `properties` into the row. The machinery has checked the kinds.
fn fill(row: &mut IdentityRow, properties: &Map<String, Value>) -> Result<(), SetError> {
    let mut wrong = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (name, value) in properties {
        match name.as_str() {
            "name" if !value.as_str().is_none_or(is_name) => wrong.push("name"),
            "name" => row.name = text(value),
            "textSignature" | "htmlSignature"
                if value.as_str().is_some_and(|text| text.len() > limits::GUIDE_BYTES_MAX) =>
            {
                wrong.push(if name == "textSignature" { "textSignature" } else { "htmlSignature" });
            }
            "textSignature" => row.text_signature = text(value),
            "htmlSignature" => row.html_signature = text(value),
            "replyTo" => match addresses(value) {
                Some(list) => row.reply_to = list,
                None => wrong.push("replyTo"),
            },
            "bcc" => match addresses(value) {
                Some(list) => row.bcc = list,
                None => wrong.push("bcc"),
            },
            _ => {}
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(SetError::properties(wrong, "These can't have the given values."))
    }
}

/// What can stand in a header field as somebody's name.
fn is_name(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES_MAX && !name.contains(char::is_control)
}

/// EmailAddress[]|null; the outer `None` where it is neither.
fn addresses(value: &Value) -> Option<Option<Vec<MailAddress>>> {
    if value.is_null() {
        return Some(None);
    }
    let one = |value: &Value| {
        let name = match value.get("name") {
            None | Some(Value::Null) => None,
            Some(name) => Some(name.as_str().filter(|name| is_name(name))?.to_owned()),
        };
        let email = value.get("email")?.as_str().filter(|email| is_name(email))?.to_owned();
        Some(MailAddress { name, email })
    };
    value.as_array()?.iter().map(one).collect::<Option<Vec<_>>>().map(Some)
}
