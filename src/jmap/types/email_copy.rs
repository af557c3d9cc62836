//! Email/copy (RFC 8621 §4.7): a message from one account in another, octet for octet. As with an
//! import, a Message-ID that the account has already is `alreadyExists`, and nothing of it is
//! inbound.

use super::email::Email;
use super::email_import;
use super::email_set::{self, Call};
use super::team;
use crate::inbox::intake::Brought;
use crate::jmap::error::{Refusal, SetError, SetErrorKind};
use crate::jmap::object::{CopyObject, Created};
use crate::jmap::session::Account;
use crate::mail::{ingest, viewer};
use crate::store::blobs;
use crate::store::rows::mail::{EmailRow, Origin, StoredMessage};
use crate::types::{EmailId, Keyword, MemberRole, UtcDate};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

impl CopyObject for Email {
    const COPY_PROPERTIES: &'static [&'static str] = &["mailboxIds", "keywords", "receivedAt"];

    fn copy(
        set: &mut Call<'_, '_>,
        from: &Account,
        id: &str,
        properties: Map<String, Value>,
    ) -> Result<Created, Refusal> {
        if !set.account.allows(MemberRole::Agent) {
            return Err(SetError::forbidden("An observer can't make messages.").into());
        }
        let email = EmailId::parse(id).ok_or(SetErrorKind::NotFound)?;
        let source = set.ctx.reader();
        let row: EmailRow = source.row(from.id, email)?.ok_or(SetErrorKind::NotFound)?;
        if row.origin == Origin::Memo {
            return Err(SetError::forbidden("A memo is a note of its inbox, and stays there.").into());
        }
        let stored: StoredMessage = source.row(from.id, email)?.ok_or(SetErrorKind::NotFound)?;
        let content = blobs::content(source, &row.blob)?.ok_or(SetErrorKind::NotFound)?;
        let given = properties.get("mailboxIds").unwrap_or(&Value::Null);
        let keywords = match properties.get("keywords") {
            Some(given) => email_set::keywords(given)?,
            None => seen_by_the_copier(set, from, email, &row)?,
        };
        let brought = Brought {
            mailboxes: email_set::mailboxes(set, given, &BTreeSet::new(), &keywords)?,
            keywords,
            received_at: match properties.get("receivedAt").and_then(Value::as_str) {
                Some(text) => UtcDate::parse(text).unwrap_or(row.received_at),
                None => row.received_at,
            },
            trace: stored.prefix,
        };
        let prepared = ingest::prepare(&content, false)?;
        email_import::refuse_known(set.txn, set.account.id, &prepared)?;
        let added = email_set::bring(set.ctx, set.txn, set.account, &prepared, brought)?;
        team::copied_out(set.ctx, set.txn, from, email, set.account.id)?;
        Ok(Created { id: added.email.to_string(), properties: email_set::told(&added) })
    }
}

/// The keywords of the original as the one who copies it has them.
fn seen_by_the_copier(
    set: &Call<'_, '_>,
    from: &Account,
    email: EmailId,
    row: &EmailRow,
) -> Result<BTreeSet<Keyword>, Refusal> {
    Ok(match viewer::eyes(set.ctx.reader(), from.id, set.ctx.member(from))? {
        Some(eyes) => eyes.keywords(email, row).into_iter().filter_map(Keyword::parse).collect(),
        None => row.keywords.iter().cloned().collect(),
    })
}
