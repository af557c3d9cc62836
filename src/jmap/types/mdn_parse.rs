//! MDN/parse (RFC 9007 §2.2): blobs as disposition notifications.

use super::blob_parse;
use super::mdn::no_account;
use crate::jmap::args::Args;
use crate::jmap::context::Ctx;
use crate::jmap::error::MethodError;
use crate::jmap::methods::Method;
use crate::mail::mdn::{self, Report};
use crate::mail::{parse, thread};
use crate::store::{Read, StoreResult};
use crate::types::{AccountId, EmailId};
use serde_json::{Map, Value, json};

/// Runs MDN/parse.
pub fn run(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let required = || MethodError::argument("blobIds", "is required");
    let blob_ids = args.strings("blobIds")?.ok_or_else(required)?;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability).map_err(no_account)?;
    blob_parse::respond(ctx, method, account.id, &blob_ids, |ctx, _, raw| {
        let Some(received) = mdn::read(&parse::parse(raw), raw) else { return Ok(None) };
        let email = about(ctx.reader(), account.id, &received.report)?;
        let words = (received.subject.as_deref(), received.text.as_deref());
        Ok(Some(to_json(email, &received.report, words, received.has_original)))
    })
}

/// The message that a notification is about, where there is just one of that Message-ID.
fn about(read: &dyn Read, account: AccountId, report: &Report) -> StoreResult<Option<EmailId>> {
    let Some(id) = &report.original_message_id else { return Ok(None) };
    let found = thread::emails_with_message_id(read, account, id.trim().trim_matches(['<', '>']))?;
    Ok(if let [email] = found.as_slice() { Some(*email) } else { None })
}

/// The MDN object (RFC 9007 §2), with all its properties. `words` are its subject and its text.
pub fn to_json(
    email: Option<EmailId>,
    report: &Report,
    words: (Option<&str>, Option<&str>),
    has_original: bool,
) -> Map<String, Value> {
    let said = &report.disposition;
    let errors = Some(&report.errors).filter(|errors| !errors.is_empty());
    let extensions: Map<String, Value> =
        report.extensions.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let extensions = if extensions.is_empty() { Value::Null } else { Value::Object(extensions) };
    [
        ("forEmailId", json!(email.map(|email| email.to_string()))),
        ("subject", json!(words.0)),
        ("textBody", json!(words.1)),
        ("includeOriginalMessage", json!(has_original)),
        ("reportingUA", json!(report.reporting_ua)),
        ("disposition", json!({"actionMode": said.action, "sendingMode": said.sending, "type": said.kind})),
        ("mdnGateway", json!(report.gateway)),
        ("originalRecipient", json!(report.original_recipient)),
        ("finalRecipient", json!(report.final_recipient)),
        ("originalMessageId", json!(report.original_message_id)),
        ("error", json!(errors)),
        ("extensionFields", extensions),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
