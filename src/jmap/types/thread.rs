//! Thread (RFC 8621 §3): the Emails of a Thread by receivedAt, oldest first.
//!
//! Invariant: the row has them in that order, so nothing is sorted here. Deliberately absent:
//! Thread/set and Thread/query, which the RFC doesn't have.

use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::MethodError;
use crate::jmap::object::{Kind, Object, Property, Props, TypeTable};
use crate::jmap::session::Account;
use crate::store::Read;
use crate::store::keys::{self, Kind as RowKind};
use crate::store::rows::mail::ThreadRow;
use crate::types::{DataType, MemberRole, ThreadId};
use serde_json::{Map, Value};

/// The type.
pub struct Thread;

static TABLE: TypeTable = TypeTable {
    name: "Thread",
    data_type: Some(DataType::Thread),
    capability: Capability::Mail,
    id: |number| ThreadId(number).to_string(),
    properties: &[Property::ID, Property::server("emailIds", Kind::Ids)],
    write_role: MemberRole::Admin,
    singleton: false,
    if_version: None,
    if_owner: None,
};

impl Object for Thread {
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
        // No Thread has the number 0: it stands for an id that can't be read.
        let known = ids.iter().map(|id| ThreadId::parse(id).unwrap_or(ThreadId(0)));
        let rows = reader.rows::<ThreadRow>(account.id, known)?;
        let object = |(id, row): (&&str, Option<ThreadRow>)| {
            row.map(|row| {
                let mut object = Map::with_capacity(2);
                object.insert("id".into(), (*id).into());
                if props.has("emailIds") {
                    let emails = row.emails.iter().map(|entry| Value::from(entry.email.to_string()));
                    object.insert("emailIds".into(), emails.collect());
                }
                object
            })
        };
        Ok(ids.iter().zip(rows).map(object).collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let ids = reader.ids(&keys::all(account.id, RowKind::Thread), false, max + 1)?;
        Ok((ids.len() <= max).then(|| ids.into_iter().map(|id| ThreadId(id).to_string()).collect()))
    }
}
