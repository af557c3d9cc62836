//! Email/parse (RFC 8621 §4.9): blobs as Emails, without a place in the store.
//!
//! Invariant: what has a header field is a message, however imperfect, and nothing else is.

use super::blob_parse;
use super::email::{self, Email};
use super::email_body::{Body, BodyArgs, PartBlobs};
use super::email_view::{EmailProperty, Message, Shape};
use crate::jmap::args::Args;
use crate::jmap::context::{Budget, Ctx};
use crate::jmap::error::MethodError;
use crate::jmap::methods::Method;
use crate::jmap::object::Object;
use crate::mail::{body, parse};
use crate::store::rows::message::MessageRow;
use crate::types::BlobId;
use serde_json::{Map, Value};

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
    let shape = Shape::new(properties.iter().map(String::as_str), &body);
    blob_parse::respond(ctx, method, account.id, &blob_ids, |ctx, id, raw| {
        let message = parse::parse(raw);
        if message.fields().is_empty() {
            return Ok(None);
        }
        object(&shape, id, &message, raw, &ctx.budget).map(Some)
    })
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
