//! Blobs without a round trip of their own: Blob/copy (RFC 8620 §6.3) and Blob/upload (RFC 9404
//! §4.1). What a blob holds and who refers to it is told by `blob_get.rs`.
//!
//! Invariants: each object of a call is made or refused by itself; a blob that the account may not
//! read and one that doesn't exist can't be told apart; what one call makes is bounded in all.

use super::{blob_get, quota, team};
use crate::jmap::args::{Args, as_int};
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::session::Account;
use crate::jmap::set;
use crate::mail::blob;
use crate::store::{PreparedBlob, Read, Txn, blobs, uploads};
use crate::types::limits::{
    BLOB_SOURCES_MAX, BLOBS_MADE_SIZE_BYTES_MAX, OBJECTS_IN_SET_MAX, UPLOAD_SIZE_BYTES_MAX,
};
use crate::types::{AccountId, BlobId, BlobRoot, MemberRole};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

pub static METHODS: &[Method] = &[
    // RFC 9404 §4: Blob/copy belongs to the core.
    write("Blob/copy", Capability::Core, copy),
    write("Blob/upload", Capability::Blob, upload),
    read("Blob/get", Capability::Blob, blob_get::get),
    read("Blob/lookup", Capability::Blob, blob_get::lookup),
];

/// The type of a blob whose maker names none.
const UNNAMED_TYPE: &str = "application/octet-stream";

/// RFC 8620 §6.3.
fn copy(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let from_id = args.required_string("fromAccountId")?;
    let account_id = args.required_string("accountId")?;
    let required = || MethodError::argument("blobIds", "is required");
    let blob_ids = args.strings("blobIds")?.ok_or_else(required)?;
    args.finish()?;
    if from_id == account_id {
        return Err(MethodError::argument("fromAccountId", "must differ from accountId"));
    }
    let account = ctx.writable(&account_id, method.capability, MemberRole::Observer)?;
    let from = ctx.account(&from_id, method.capability).map_err(|_| MethodErrorKind::FromAccountNotFound)?;
    if blob_ids.len() > OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let (mut copied, mut not_copied) = (Map::new(), Vec::new());
    ctx.write_to(&[account.id, from.id], |ctx, txn| {
        let mut room = BLOBS_MADE_SIZE_BYTES_MAX;
        for id in &blob_ids {
            if copied.contains_key(id) || not_copied.iter().any(|(known, _)| known == id) {
                continue;
            }
            match copy_one(ctx, txn, from, account.id, id, &mut room) {
                Ok(copy) => {
                    copied.insert(id.clone(), copy.to_string().into());
                }
                Err(Refusal::Object(error) | Refusal::Remembered(error, _)) => {
                    not_copied.push((id.clone(), error));
                }
                Err(Refusal::Call(error)) => return Err(error),
            }
        }
        Ok(())
    })?;
    let mut response = Map::with_capacity(4);
    response.insert("fromAccountId".into(), from_id.into());
    response.insert("accountId".into(), account_id.into());
    response.insert("copied".into(), set::or_null(copied));
    response.insert("notCopied".into(), set::refusals(ctx, &not_copied));
    ctx.respond(method.name, response);
    Ok(())
}

/// Stored content gets one more reference; a message or a part is stored as content of its own.
fn copy_one(
    ctx: &Ctx<'_>,
    txn: &mut Txn<'_>,
    from: &Account,
    to: AccountId,
    id: &str,
    room: &mut usize,
) -> Result<BlobId, Refusal> {
    let known = ctx.resolve_id(id).and_then(|id| BlobId::parse(&id));
    let known = known.ok_or_else(|| missing([id]))?;
    if let BlobId { root: BlobRoot::Content(hash), part: None } = known
        && blobs::is_visible(ctx.reader(), from.id, Some(ctx.session.principal), &hash)?
        && let Some(info) = blobs::info(ctx.reader(), &hash)?
    {
        uploads::add(txn, to, ctx.session.principal, &hash, info.size)?;
        return Ok(known);
    }
    let content = blob::fetch(ctx.reader(), from.id, Some(ctx.session.principal), &known)?
        .ok_or_else(|| missing([id]))?;
    *room = room.checked_sub(content.len()).ok_or_else(too_large)?;
    if let BlobRoot::Message(email) = known.root {
        team::copied_out(ctx, txn, from, email, to)?;
    }
    store(ctx, txn, to, &content)
}

/// RFC 9404 §4.1.
fn upload(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let required = || MethodError::argument("create", "is required");
    let create = args.creates("create")?.ok_or_else(required)?;
    args.finish()?;
    let account = ctx.writable(&account_id, method.capability, MemberRole::Observer)?;
    if create.len() > OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let (mut created, mut not_created) = (Map::new(), Vec::new());
    ctx.write(account.id, |ctx, txn| {
        let mut room = BLOBS_MADE_SIZE_BYTES_MAX;
        for (creation_id, object) in &create {
            match upload_one(ctx, txn, account.id, object, &mut room) {
                Ok(blob) => {
                    let id = blob.get("id").and_then(Value::as_str).unwrap_or_default();
                    ctx.stage_created(creation_id, id);
                    created.insert(creation_id.clone(), blob.into());
                }
                Err(Refusal::Object(error) | Refusal::Remembered(error, _)) => {
                    not_created.push((creation_id.clone(), error));
                }
                Err(Refusal::Call(error)) => return Err(error),
            }
        }
        Ok(())
    })?;
    let mut response = Map::with_capacity(3);
    response.insert("accountId".into(), account_id.into());
    response.insert("created".into(), set::or_null(created));
    response.insert("notCreated".into(), set::refusals(ctx, &not_created));
    ctx.respond(method.name, response);
    Ok(())
}

fn upload_one(
    ctx: &Ctx<'_>,
    txn: &mut Txn<'_>,
    account: AccountId,
    object: &Value,
    room: &mut usize,
) -> Result<Map<String, Value>, Refusal> {
    let no_members = Map::new();
    let object = object.as_object().unwrap_or(&no_members);
    let mut wrong: Vec<&str> =
        object.keys().map(String::as_str).filter(|name| !matches!(*name, "data" | "type")).collect();
    let media_type = match object.get("type") {
        None | Some(Value::Null) => UNNAMED_TYPE,
        Some(Value::String(media_type)) => media_type,
        Some(_) => {
            wrong.push("type");
            UNNAMED_TYPE
        }
    };
    let sources = object.get("data").and_then(Value::as_array);
    let Some(sources) = sources.filter(|sources| sources.len() <= BLOB_SOURCES_MAX && wrong.is_empty())
    else {
        if sources.is_none_or(|sources| sources.len() > BLOB_SOURCES_MAX) {
            wrong.push("data");
        }
        let why = format!("A blob has a list of at most {BLOB_SOURCES_MAX} data sources, and a type.");
        return Err(SetError::properties(wrong, why).into());
    };
    let content = assemble(ctx, txn, account, sources, *room)?;
    *room -= content.len().min(*room);
    let id = store(ctx, txn, account, &content)?;
    let mut blob = Map::with_capacity(3);
    blob.insert("id".into(), id.to_string().into());
    blob.insert("type".into(), media_type.into());
    blob.insert("size".into(), content.len().into());
    Ok(blob)
}

/// The octets of all sources, one after the other.
fn assemble(
    ctx: &Ctx<'_>,
    read: &dyn Read,
    account: AccountId,
    sources: &[Value],
    room: usize,
) -> Result<Vec<u8>, Refusal> {
    let viewer = Some(ctx.session.principal);
    let bytes_max = room.min(UPLOAD_SIZE_BYTES_MAX);
    let mut content = Vec::new();
    let mut not_found: Vec<&str> = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let wrong = |why: &'static str| SetError::properties([format!("data/{at}")], why);
        match DataSource::parse(source).map_err(wrong)? {
            DataSource::Octets(octets) => content.extend_from_slice(&octets),
            DataSource::Blob { id, offset, length } => {
                let known = ctx.resolve_id(id).and_then(|id| BlobId::parse(&id));
                let fetched =
                    known.map(|known| blob::fetch(read, account, viewer, &known)).transpose()?.flatten();
                let Some(fetched) = fetched else {
                    not_found.push(id);
                    continue;
                };
                let end = length.map_or(Some(fetched.len()), |length| offset.checked_add(length));
                let range = end.and_then(|end| fetched.get(offset..end));
                content.extend_from_slice(range.ok_or_else(|| wrong("The range is not within the blob."))?);
            }
        }
        if content.len() > bytes_max {
            return Err(too_large().into());
        }
    }
    if not_found.is_empty() { Ok(content) } else { Err(missing(not_found).into()) }
}

/// A DataSourceObject (RFC 9404 §4.1), read.
#[derive(PartialEq, Debug)]
enum DataSource<'s> {
    Octets(Vec<u8>),
    Blob { id: &'s str, offset: usize, length: Option<usize> },
}

impl<'s> DataSource<'s> {
    /// Exactly one of its three kinds; a member that is null is one that isn't given.
    fn parse(source: &'s Value) -> Result<Self, &'static str> {
        let object = source.as_object().ok_or("A data source is an object.")?;
        let given = |name: &str| object.get(name).filter(|value| !value.is_null());
        let is_blob = given("blobId").is_some();
        let known = |name: &str| match name {
            "data:asText" | "data:asBase64" | "blobId" => true,
            "offset" | "length" => is_blob,
            _ => false,
        };
        if object.iter().any(|(name, value)| !known(name) && !value.is_null()) {
            return Err("There is a member that this data source doesn't have.");
        }
        match (given("data:asText"), given("data:asBase64"), given("blobId")) {
            (Some(Value::String(text)), None, None) => Ok(Self::Octets(text.as_bytes().to_vec())),
            (None, Some(Value::String(text)), None) => {
                STANDARD.decode(text).map(Self::Octets).map_err(|_| "This is not base64.")
            }
            (None, None, Some(Value::String(id))) => {
                let number = |name: &str| {
                    let number =
                        |value: &Value| as_int(value).and_then(|number| usize::try_from(number).ok());
                    given(name)
                        .map(|value| number(value).ok_or("A range has integers of 0 or more."))
                        .transpose()
                };
                Ok(Self::Blob { id, offset: number("offset")?.unwrap_or(0), length: number("length")? })
            }
            _ => Err("A data source has one of data:asText, data:asBase64 and blobId."),
        }
    }
}

/// Stores content as an upload of whoever asks.
fn store(ctx: &Ctx, txn: &mut Txn<'_>, account: AccountId, content: &[u8]) -> Result<BlobId, Refusal> {
    quota::ensure_room(ctx, txn, account, content.len() as u64)?;
    let prepared = PreparedBlob::of(content)?;
    txn.put_blob(&prepared)?;
    uploads::add(txn, account, ctx.session.principal, &prepared.hash, prepared.size)?;
    Ok(BlobId::content(prepared.hash))
}

/// `blobNotFound`. RFC 8620 §6.3 has `notFound` for a copy as something that may be said; this one
/// is registered too, and says which (decision 032).
fn missing<'i>(ids: impl IntoIterator<Item = &'i str>) -> SetError {
    SetErrorKind::BlobNotFound { not_found: ids.into_iter().map(str::to_owned).collect() }.into()
}

fn too_large() -> SetError {
    SetErrorKind::TooLarge { max_size: Some(UPLOAD_SIZE_BYTES_MAX as u64) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_data_source_is_exactly_one_of_its_kinds() {
        let octets = |text: &str| Some(DataSource::Octets(text.as_bytes().to_vec()));
        for (source, wanted) in [
            (json!({"data:asText": "é"}), octets("é")),
            (json!({"data:asText": "", "blobId": null}), octets("")),
            (json!({"data:asBase64": "YWI="}), octets("ab")),
            (json!({"data:asBase64": "YWI"}), None),
            (json!({"data:asBase64": "not*base64!"}), None),
            (json!({"data:asText": "a", "data:asBase64": "YQ=="}), None),
            (json!({"data:asText": "a", "offset": 1}), None),
            (json!({"data:asText": 5}), None),
            (
                json!({"blobId": "b", "offset": 3}),
                Some(DataSource::Blob { id: "b", offset: 3, length: None }),
            ),
            (
                json!({"blobId": "b", "offset": null, "length": 2}),
                Some(DataSource::Blob { id: "b", offset: 0, length: Some(2) }),
            ),
            (json!({"blobId": "b", "offset": -1}), None),
            (json!({"blobId": "b", "x": 1}), None),
            (json!({}), None),
            (json!("text"), None),
        ] {
            assert_eq!(DataSource::parse(&source).ok(), wanted, "{source}");
        }
    }
}
