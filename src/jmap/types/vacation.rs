//! VacationResponse (RFC 8621 §8): the singleton of a person's own account. When it answers is in
//! `mail/vacation.rs`.

use crate::jmap::args::Args;
use crate::jmap::capability::Capability::Vacation;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::{get, set};
use crate::mail::vacation;
use crate::store::Read;
use crate::store::rows::vacation::VacationRow;
use crate::types::{DataType, MemberRole, UtcDate, limits};
use serde_json::{Map, Value, json};

/// One line a method. RFC 8621 §8 defines no /changes.
pub static METHODS: &[Method] = &[
    read("VacationResponse/get", Vacation, get::run::<VacationResponse>),
    write("VacationResponse/set", Vacation, set::run::<VacationResponse>),
];

/// The type.
pub struct VacationResponse;

/// RFC 8621 §8: "There is only ever one VacationResponse object, and its id is 'singleton'".
const ID: &str = "singleton";

static TABLE: TypeTable = TypeTable {
    name: "VacationResponse",
    data_type: Some(DataType::VacationResponse),
    capability: Vacation,
    id: |_| ID.to_owned(),
    properties: &[
        Property::ID,
        Property::mutable("isEnabled", Kind::Boolean, Initial::Required),
        Property::mutable("fromDate", Kind::UtcDate, Initial::Null).or_null(),
        Property::mutable("toDate", Kind::UtcDate, Initial::Null).or_null(),
        Property::mutable("subject", Kind::String, Initial::Null).or_null(),
        Property::mutable("textBody", Kind::String, Initial::Null).or_null(),
        Property::mutable("htmlBody", Kind::String, Initial::Null).or_null(),
    ],
    write_role: MemberRole::Lead,
    singleton: true,
    if_version: None,
    if_owner: None,
};

impl Object for VacationResponse {
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
        let row = vacation::row(reader, account.id)?;
        Ok(ids.iter().map(|id| (*id == ID).then(|| to_json(&row, props))).collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        _reader: &dyn Read,
        _account: &Account,
        _max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        Ok(Some(vec![ID.to_owned()]))
    }
}

fn to_json(row: &VacationRow, props: &Props) -> Map<String, Value> {
    let date = |date: Option<UtcDate>| json!(date.map(|date| date.to_string()));
    let value = |name: &str| match name {
        "id" => json!(ID),
        "isEnabled" => json!(row.is_enabled),
        "fromDate" => date(row.from),
        "toDate" => date(row.to),
        "subject" => json!(row.subject),
        "textBody" => json!(row.text),
        "htmlBody" => json!(row.html),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

impl SetObject for VacationResponse {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(_set: &mut SetCall<'_, '_, ()>, _new: Map<String, Value>) -> Result<Created, Refusal> {
        Err(SetErrorKind::Singleton.into())
    }

    fn update(
        set: &mut SetCall<'_, '_, ()>,
        update: Update<'_>,
    ) -> Result<Option<Map<String, Value>>, Refusal> {
        let before = vacation::row(set.reader(), set.account.id)?;
        let after = changed(&before, update.new)?;
        if after != before {
            set.txn.update(set.account.id, (), &after)?;
        }
        Ok(None)
    }

    fn destroy(_set: &mut SetCall<'_, '_, ()>, _id: &str) -> Result<(), Refusal> {
        Err(SetErrorKind::Singleton.into())
    }
}

/// The row with these properties, whose kinds the machinery has checked.
fn changed(before: &VacationRow, properties: &Map<String, Value>) -> Result<VacationRow, SetError> {
    let mut row = before.clone();
    let mut wrong = Vec::new();
    for (name, value) in properties {
        let text = value.as_str().map(str::to_owned);
        let max = if name == "subject" { limits::NAME_BYTES_MAX } else { limits::VACATION_BODY_BYTES_MAX };
        // The subject is one line of a header.
        let fits =
            |text: &String| text.len() <= max && !(name == "subject" && text.contains(char::is_control));
        if !text.as_ref().is_none_or(fits) {
            wrong.push(name.clone());
        }
        match name.as_str() {
            "isEnabled" => row.is_enabled = value.as_bool().unwrap_or_default(),
            "fromDate" => row.from = text.as_deref().and_then(UtcDate::parse),
            "toDate" => row.to = text.as_deref().and_then(UtcDate::parse),
            "subject" => row.subject = text,
            "textBody" => row.text = text,
            "htmlBody" => row.html = text,
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(row);
    }
    Err(SetError::properties(wrong, "These are too long, or have more than one line where there is one."))
}
