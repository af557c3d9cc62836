//! What is in a blob and who refers to it: Blob/get and Blob/lookup (RFC 9404 §4.2, §4.3).
//!
//! Invariants: `size` is that of the whole blob, everything else is about the range asked for; a
//! flag stands in the answer only where it is true; what one call reads is bounded in all.

use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::ijson;
use crate::jmap::methods::Method;
use crate::mail::blob::Fetcher;
use crate::store::blobs::{self, Referrer};
use crate::store::rows::mail::EmailRow;
use crate::store::{Read, StoreResult};
use crate::types::limits::OBJECTS_IN_GET_MAX;
use crate::types::{AccountId, BlobId, BlobRoot, EmailId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashSet};

/// `supportedDigestAlgorithms` (RFC 9404 §3.1): names of the HTTP digest registry, the preferred one first.
pub static DIGESTS: [(&str, &digest::Algorithm); 3] =
    [("sha-256", &digest::SHA256), ("sha-512", &digest::SHA512), ("sha", &digest::SHA1_FOR_LEGACY_USE_ONLY)];

/// `supportedTypeNames`: the types whose objects Blob/lookup finds.
pub const TYPE_NAMES: [&str; 3] = ["Email", "Mailbox", "Thread"];

/// A property of a blob.
#[derive(Clone, Copy)]
enum BlobProperty {
    Id,
    Data,
    Text,
    Base64,
    Size,
    Digest(&'static str, &'static digest::Algorithm),
}

impl BlobProperty {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "data" => Self::Data,
            "data:asText" => Self::Text,
            "data:asBase64" => Self::Base64,
            "size" => Self::Size,
            other => {
                let wanted = other.strip_prefix("digest:")?;
                let (name, algorithm) = DIGESTS.iter().find(|(name, _)| *name == wanted)?;
                Self::Digest(name, algorithm)
            }
        })
    }
}

/// The part of each blob that is asked for.
struct Range {
    offset: usize,
    length: Option<usize>,
}

/// RFC 9404 §4.2.
pub fn get(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let required = || MethodError::argument("ids", "is required");
    let ids = args.strings("ids")?.ok_or_else(required)?;
    let names = args.property_names("properties")?.unwrap_or_else(|| vec!["data".into(), "size".into()]);
    let size = |number: Option<u64>| number.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    let range =
        Range { offset: size(args.unsigned("offset")?).unwrap_or(0), length: size(args.unsigned("length")?) };
    args.finish()?;
    let mut properties = Vec::with_capacity(names.len());
    for name in &names {
        let unknown = || MethodError::argument("properties", &format!("there is no property '{name}'"));
        properties.push(BlobProperty::parse(name).ok_or_else(unknown)?);
    }
    let only_size = properties.iter().all(|one| matches!(one, BlobProperty::Id | BlobProperty::Size))
        && properties.iter().any(|one| matches!(one, BlobProperty::Size));
    let account = ctx.account(&account_id, method.capability)?;
    if ids.len() > OBJECTS_IN_GET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let mut fetcher = Fetcher::new(ctx.reader(), account.id, Some(ctx.session.principal));
    let (mut list, mut not_found) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        let known = ctx.resolve_id(id).and_then(|id| BlobId::parse(&id));
        let whole = known.filter(|known| only_size && known.part.is_none());
        if let Some(size) = whole.map(|known| size_of(ctx, account.id, &known)).transpose()?.flatten() {
            list.push(json!({"id": known.map(|known| known.to_string()), "size": size}));
            continue;
        }
        let content = known.map(|known| fetcher.fetch(&known)).transpose()?.flatten();
        ctx.budget.spend(fetcher.take_loaded())?;
        let (Some(known), Some(content)) = (known, content) else {
            not_found.push(Value::from(id.as_str()));
            continue;
        };
        list.push(Value::Object(object(&known.to_string(), &content, &properties, &range)));
    }
    let mut response = Map::with_capacity(3);
    response.insert("accountId".into(), account_id.into());
    response.insert("list".into(), list.into());
    response.insert("notFound".into(), not_found.into());
    ctx.respond(method.name, response);
    Ok(())
}

/// The size of a whole blob without its content (RFC 9404 §4.2); `None` where there is none to be seen.
fn size_of(ctx: &Ctx<'_>, account: AccountId, id: &BlobId) -> StoreResult<Option<u32>> {
    let read = ctx.reader();
    match id.root {
        BlobRoot::Message(email) => Ok(read.row::<EmailRow>(account, email)?.map(|row| row.size)),
        BlobRoot::Content(hash) => {
            let visible = blobs::is_visible(read, account, Some(ctx.session.principal), &hash)?;
            Ok(blobs::info(read, &hash)?.filter(|_| visible).map(|info| info.size))
        }
    }
}

fn object(id: &str, content: &[u8], properties: &[BlobProperty], range: &Range) -> Map<String, Value> {
    let wanted_end = range.length.map_or(content.len(), |length| range.offset.saturating_add(length));
    let start = range.offset.min(content.len());
    let octets = content.get(start..wanted_end.clamp(start, content.len())).unwrap_or_default();
    // What a JSON string can't hold as it is goes as octets.
    let text = std::str::from_utf8(octets).ok().filter(|text| ijson::allows(text));
    let base64 = || Value::from(STANDARD.encode(octets));
    let mut out = Map::with_capacity(properties.len() + 3);
    out.insert("id".into(), id.into());
    let (mut asks_text, mut asks_octets) = (false, false);
    for property in properties {
        match property {
            BlobProperty::Id => {}
            BlobProperty::Size => {
                out.insert("size".into(), content.len().into());
            }
            BlobProperty::Digest(name, algorithm) => {
                asks_octets = true;
                let digest = STANDARD.encode(digest::digest(algorithm, octets));
                out.insert(format!("digest:{name}"), digest.into());
            }
            BlobProperty::Text => {
                (asks_text, asks_octets) = (true, true);
                out.insert("data:asText".into(), text.into());
            }
            BlobProperty::Base64 => {
                asks_octets = true;
                out.insert("data:asBase64".into(), base64());
            }
            BlobProperty::Data => {
                (asks_text, asks_octets) = (true, true);
                match text {
                    Some(text) => out.insert("data:asText".into(), text.into()),
                    None => out.insert("data:asBase64".into(), base64()),
                };
            }
        }
    }
    if asks_text && text.is_none() {
        out.insert("isEncodingProblem".into(), true.into());
    }
    // Without a length everything from the offset on was asked for, so that only an offset beyond
    // the end leaves something out.
    if asks_octets && (wanted_end > content.len() || range.offset > content.len()) {
        out.insert("isTruncated".into(), true.into());
    }
    out
}

/// RFC 9404 §4.3.
pub fn lookup(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let required = |name: &str| MethodError::argument(name, "is required");
    let type_names = args.strings("typeNames")?.ok_or_else(|| required("typeNames"))?;
    let ids = args.strings("ids")?.ok_or_else(|| required("ids"))?;
    args.finish()?;
    // All types are those of mail: without that capability they don't exist.
    let unknown =
        |name: &&String| !TYPE_NAMES.contains(&name.as_str()) || !ctx.using.contains(Capability::Mail);
    if let Some(name) = type_names.iter().find(unknown) {
        let why = format!("'{name}' is no data type that blobs can be looked up in.");
        return Err(MethodError::new(MethodErrorKind::UnknownDataType, why));
    }
    let account = ctx.account(&account_id, method.capability)?;
    if ids.len() > OBJECTS_IN_GET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let mut list = Vec::with_capacity(ids.len());
    let mut seen = HashSet::new();
    for id in ids.iter().filter(|id| seen.insert(id.as_str())) {
        let known = ctx.resolve_id(id).and_then(|id| BlobId::parse(&id));
        let emails = match known {
            Some(known) => emails_with(ctx.reader(), account.id, &known)?,
            None => Vec::new(),
        };
        // A blob that isn't there has empty lists, so that nothing is told of other accounts'.
        let matched: Map<String, Value> =
            type_names.iter().map(|name| (name.clone(), ids_of(name, &emails))).collect();
        list.push(json!({"id": id, "matchedIds": matched}));
    }
    let mut response = Map::with_capacity(2);
    response.insert("accountId".into(), account_id.into());
    response.insert("list".into(), list.into());
    ctx.respond(method.name, response);
    Ok(())
}

/// The Emails that are this blob, or that it is a part of.
fn emails_with(read: &dyn Read, account: AccountId, id: &BlobId) -> StoreResult<Vec<(EmailId, EmailRow)>> {
    let emails = match id.root {
        BlobRoot::Message(email) => vec![email],
        BlobRoot::Content(hash) => {
            blobs::referrers(read, account, &hash, Referrer::Email)?.into_iter().map(EmailId).collect()
        }
    };
    let rows = read.rows::<EmailRow>(account, emails.iter().copied())?;
    Ok(emails.into_iter().zip(rows).filter_map(|(email, row)| Some((email, row?))).collect())
}

fn ids_of(type_name: &str, emails: &[(EmailId, EmailRow)]) -> Value {
    let ids: BTreeSet<String> = match type_name {
        "Email" => emails.iter().map(|(email, _)| email.to_string()).collect(),
        "Thread" => emails.iter().map(|(_, row)| row.thread.to_string()).collect(),
        "Mailbox" => emails.iter().flat_map(|(_, row)| &row.mailboxes).map(ToString::to_string).collect(),
        _ => BTreeSet::new(),
    };
    ids.into_iter().map(Value::from).collect()
}
