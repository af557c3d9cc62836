//! What Email/parse (RFC 8621 §4.9) and MDN/parse (RFC 9007 §2.2) share: blobs in, objects out.
//!
//! Invariant: each blob id of the request is once in `parsed`, `notParsable` or `notFound`.

use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::methods::Method;
use crate::mail::blob::Fetcher;
use crate::types::limits::OBJECTS_IN_GET_MAX;
use crate::types::{AccountId, BlobId};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Responds with what `read` makes of each blob; `None` is not parsable. The ids of things that the request
/// made may be given as `#creationId` (RFC 8620 §5.3).
pub fn respond(
    ctx: &mut Ctx<'_>,
    method: &Method,
    account: AccountId,
    blob_ids: &[String],
    read: impl Fn(&Ctx<'_>, BlobId, &[u8]) -> Result<Option<Map<String, Value>>, MethodError>,
) -> Result<(), MethodError> {
    if blob_ids.len() > OBJECTS_IN_GET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let mut seen = HashSet::new();
    let (mut parsed, mut not_parsable, mut not_found) = (Map::new(), Vec::new(), Vec::new());
    let mut blobs = Fetcher::new(ctx.reader(), account, Some(ctx.session.principal));
    for id in blob_ids.iter().filter(|id| seen.insert(id.as_str())) {
        let known = ctx.resolve_id(id).and_then(|id| BlobId::parse(&id));
        let raw = known.map(|known| blobs.fetch(&known)).transpose()?.flatten();
        ctx.budget.spend(blobs.take_loaded())?;
        let (Some(known), Some(raw)) = (known, raw) else {
            not_found.push(Value::from(id.as_str()));
            continue;
        };
        match read(ctx, known, &raw)? {
            Some(object) => drop(parsed.insert(id.clone(), Value::Object(object))),
            None => not_parsable.push(Value::from(id.as_str())),
        }
    }
    let or_null = |list: Vec<Value>| if list.is_empty() { Value::Null } else { Value::Array(list) };
    let mut response = Map::with_capacity(4);
    response.insert("accountId".into(), account.to_string().into());
    response.insert("parsed".into(), if parsed.is_empty() { Value::Null } else { Value::Object(parsed) });
    response.insert("notParsable".into(), or_null(not_parsable));
    response.insert("notFound".into(), or_null(not_found));
    ctx.respond(method.name, response);
    Ok(())
}
