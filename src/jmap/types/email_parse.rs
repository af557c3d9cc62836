//! Email/parse (RFC 8621 §4.9): blobs as Emails, without a place in the store.
//!
//! Invariants: each blob id of the request is once in `parsed`, `notParsable` or `notFound`; what
//! has a header field is a message, however imperfect, and nothing else is.

use super::email::{self, Email};
use super::email_body::{Body, BodyArgs, PartBlobs};
use super::email_view::{EmailProperty, Message, Shape};
use crate::jmap::args::Args;
use crate::jmap::context::{Budget, Ctx};
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::methods::Method;
use crate::jmap::object::Object;
use crate::mail::blob::Fetcher;
use crate::mail::{body, parse};
use crate::store::rows::message::MessageRow;
use crate::types::BlobId;
use crate::types::limits::OBJECTS_IN_GET_MAX;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// RFC 8621 §4.9, the default of `properties`.
const DEFAULT: &[&str] = &[
    "messageId",
    "inReplyTo",
    "references",
    "sender",
    "from",
    "to",
    "cc",
    "bcc",
    "replyTo",
    "subject",
    "sentAt",
    "hasAttachment",
    "preview",
    "bodyValues",
    "textBody",
    "htmlBody",
    "attachments",
];

/// Runs Email/parse.
pub fn run(ctx: &mut Ctx, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let required = || MethodError::argument("blobIds", "is required");
    let blob_ids = args.strings("blobIds")?.ok_or_else(required)?;
    let properties = properties(ctx, args.property_names("properties")?)?;
    let body = BodyArgs::read(&mut args)?;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    if blob_ids.len() > OBJECTS_IN_GET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let shape = Shape::new(properties.iter().map(String::as_str), &body);
    let mut seen = HashSet::new();
    let (mut parsed, mut not_parsable, mut not_found) = (Map::new(), Vec::new(), Vec::new());
    let mut blobs = Fetcher::new(ctx.reader(), account.id, Some(ctx.session.principal));
    for id in &blob_ids {
        if !seen.insert(id.as_str()) {
            continue;
        }
        let known = BlobId::parse(id);
        let raw = known.map(|known| blobs.fetch(&known)).transpose()?.flatten();
        ctx.budget.spend(blobs.take_loaded())?;
        let (Some(known), Some(raw)) = (known, raw) else {
            not_found.push(Value::from(id.as_str()));
            continue;
        };
        let message = parse::parse(&raw);
        if message.fields().is_empty() {
            not_parsable.push(Value::from(id.as_str()));
            continue;
        }
        parsed.insert(id.clone(), Value::Object(object(&shape, known, &message, &raw, &ctx.budget)?));
    }
    let or_null = |list: Vec<Value>| if list.is_empty() { Value::Null } else { Value::Array(list) };
    let mut response = Map::with_capacity(4);
    response.insert("accountId".into(), account_id.into());
    response.insert("parsed".into(), if parsed.is_empty() { Value::Null } else { Value::Object(parsed) });
    response.insert("notParsable".into(), or_null(not_parsable));
    response.insert("notFound".into(), or_null(not_found));
    ctx.respond(method.name, response);
    Ok(())
}

/// The properties asked for, all of which an Email must have; unlike in a /get, `id` isn't added.
fn properties(ctx: &Ctx, names: Option<Vec<String>>) -> Result<Vec<String>, MethodError> {
    let Some(names) = names else { return Ok(DEFAULT.iter().map(|name| (*name).to_owned()).collect()) };
    email::check_visible(ctx, names.iter().map(String::as_str))?;
    match names.iter().find(|name| Email::property(name).is_none()) {
        Some(name) => Err(MethodError::argument("properties", &format!("there is no property '{name}'"))),
        None => Ok(names),
    }
}

fn object(
    shape: &Shape<'_>,
    id: BlobId,
    message: &MessageRow,
    raw: &[u8],
    budget: &Budget,
) -> Result<Map<String, Value>, MethodError> {
    let known = |property: &EmailProperty| match property {
        EmailProperty::BlobId => Some(id.to_string().into()),
        EmailProperty::Size => Some(raw.len().into()),
        EmailProperty::HasAttachment => Some(body::has_attachment(message).into()),
        EmailProperty::Preview => Some(body::preview(message, raw).into()),
        // The others of §4.1.1 are null by themselves: a message has no value for them.
        _ => None,
    };
    let body = Body::of_message(message, PartBlobs::within(id, 0), raw);
    shape.object(&known, Some(&Message::new(body)), budget)
}
