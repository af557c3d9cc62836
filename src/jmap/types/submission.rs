//! EmailSubmission (RFC 8621 §7): the table, /get, /changes and /query. What a create does is in
//! `submission_set.rs`, what happens to it at the relay in `inbox/sending.rs`.

use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::object::*;
use crate::jmap::query::{Comparator, Filter, QueryResult};
use crate::jmap::query_changes::QueryDelta;
use crate::jmap::session::Account;
use crate::mail::reports;
use crate::store::rows::submission::{Delivered, RelayState, ReportsRow, SubmissionRow, UndoStatus};
use crate::store::{Read, keys};
use crate::types::*;
use serde_json::{Map, Value, json};

/// The type.
pub struct EmailSubmission;

static TABLE: TypeTable = TypeTable {
    name: "EmailSubmission",
    data_type: Some(DataType::EmailSubmission),
    capability: Capability::Submission,
    id: |number| SubmissionId(number).to_string(),
    properties: &[
        Property::ID,
        Property::immutable("identityId", Kind::Id, Initial::Required),
        Property::immutable("emailId", Kind::Id, Initial::Required),
        Property::server("threadId", Kind::Id),
        Property::immutable("envelope", Kind::Object, Initial::Null).or_null(),
        Property::server("sendAt", Kind::UtcDate),
        Property::mutable("undoStatus", Kind::String, Initial::Computed),
        Property::server("deliveryStatus", Kind::Object).or_null(),
        Property::server("dsnBlobIds", Kind::Array),
        Property::server("mdnBlobIds", Kind::Array),
        // The send gate, for clients that know it. Given at creation, and not kept.
        Property::immutable("lockToken", Kind::UnsignedInt, Initial::Null)
            .or_null()
            .of(Capability::Locks)
            .on_request(),
        Property::immutable("ifVersion", Kind::String, Initial::Null)
            .or_null()
            .of(Capability::Locks)
            .on_request(),
        Property::immutable("acknowledge", Kind::Ids, Initial::EmptyArray).of(Capability::Locks).on_request(),
        Property::immutable("thenStatus", Kind::String, Initial::Null)
            .or_null()
            .of(Capability::Locks)
            .on_request(),
        // Any value: an absent one and null say different things here.
        Property::immutable("thenOwnerId", Kind::Any, Initial::Computed)
            .or_null()
            .of(Capability::Locks)
            .on_request(),
        Property::immutable("idempotencyKey", Kind::String, Initial::Null)
            .or_null()
            .of(Capability::Locks)
            .on_request(),
        Property::server("conversationId", Kind::Id).or_null().of(Capability::Locks).on_request(),
    ],
    write_role: MemberRole::Agent,
    singleton: false,
    if_version: None,
    if_owner: None,
};

impl Object for EmailSubmission {
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
        let known = ids.iter().map(|id| SubmissionId::parse(id).unwrap_or(SubmissionId(0)));
        let rows = reader.rows::<SubmissionRow>(account.id, known)?;
        let mut found = Vec::with_capacity(ids.len());
        for (id, row) in ids.iter().zip(rows) {
            let known = SubmissionId::parse(id);
            let reports = known.map(|id| reports::of_submission(reader, account.id, id)).transpose()?;
            found.push(row.map(|row| to_json(id, &row, &reports.unwrap_or_default(), props)));
        }
        Ok(found)
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let ids = reader.ids(&keys::all(account.id, keys::Kind::Submission), false, max + 1)?;
        Ok((ids.len() <= max).then(|| ids.into_iter().map(|id| SubmissionId(id).to_string()).collect()))
    }
}

/// The object as a client sees it.
pub fn to_json(id: &str, row: &SubmissionRow, reports: &ReportsRow, props: &Props) -> Map<String, Value> {
    props.iter().map(|name| (name.to_owned(), property(id, row, reports, name))).collect()
}

fn property(id: &str, row: &SubmissionRow, reports: &ReportsRow, name: &str) -> Value {
    let blobs = |emails: &[EmailId]| -> Value {
        emails.iter().map(|email| Value::from(BlobId::message(*email).to_string())).collect()
    };
    match name {
        "id" => json!(id),
        "identityId" => json!(row.identity.to_string()),
        "emailId" => json!(row.email.to_string()),
        "threadId" => json!(row.thread.to_string()),
        "envelope" => envelope(row),
        "sendAt" => json!(row.send_at.to_string()),
        "undoStatus" => json!(undo_status(row.undo_status)),
        "deliveryStatus" => delivery_status(row, reports),
        "dsnBlobIds" => blobs(&reports.dsns),
        "mdnBlobIds" => blobs(&reports.mdns),
        "acknowledge" => json!([]),
        "idempotencyKey" => json!(row.idempotency_key),
        "conversationId" => json!(row.conversation.map(|id| id.to_string())),
        _ => Value::Null,
    }
}

fn envelope(row: &SubmissionRow) -> Value {
    let parameters = |list: &[(String, Option<String>)]| {
        if list.is_empty() {
            return Value::Null;
        }
        Value::Object(list.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
    };
    let rcpt_to: Vec<Value> = row
        .recipients
        .iter()
        .map(|one| json!({"email": one.address.as_str(), "parameters": parameters(&one.parameters)}))
        .collect();
    let mail_from = row.mail_from.as_ref().map(Address::as_str).unwrap_or_default();
    json!({
        "mailFrom": {"email": mail_from, "parameters": parameters(&row.mail_from_parameters)},
        "rcptTo": rcpt_to
    })
}

/// RFC 8621 §7, `deliveryStatus`: by recipient; the reply before there is one is ours.
/// Of what was canceled there is no delivery to tell of.
fn delivery_status(row: &SubmissionRow, reports: &ReportsRow) -> Value {
    if row.undo_status == UndoStatus::Canceled {
        return Value::Null;
    }
    let status = |one: &crate::store::rows::submission::Recipient| {
        let delivered = match one.delivered {
            Delivered::Queued => "queued",
            Delivered::Yes => "yes",
            Delivered::No => "no",
            Delivered::Unknown => "unknown",
        };
        let shown = reports.displayed.contains(&one.address.key());
        let displayed = if shown { "yes" } else { "unknown" };
        let reply = one.smtp_reply.as_deref().unwrap_or(match row.relay {
            RelayState::Scheduled { .. } => "250 2.0.0 waits for its time",
            _ => "250 2.0.0 waits for the relay",
        });
        (one.address.to_string(), json!({"smtpReply": reply, "delivered": delivered, "displayed": displayed}))
    };
    Value::Object(row.recipients.iter().map(status).collect())
}

fn undo_status(status: UndoStatus) -> &'static str {
    match status {
        UndoStatus::Pending => "pending",
        UndoStatus::Final => "final",
        UndoStatus::Canceled => "canceled",
    }
}

/// One property of a FilterCondition (RFC 8621 §7.3); several are an AND.
#[derive(Default)]
pub struct Condition {
    identities: Option<Vec<String>>,
    emails: Option<Vec<String>>,
    threads: Option<Vec<String>>,
    undo_status: Option<String>,
    before: Option<UtcDate>,
    after: Option<UtcDate>,
}

impl Condition {
    fn fits(&self, row: &SubmissionRow) -> bool {
        let within = |wanted: &Option<Vec<String>>, id: String| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&id))
        };
        within(&self.identities, row.identity.to_string())
            && within(&self.emails, row.email.to_string())
            && within(&self.threads, row.thread.to_string())
            && self.undo_status.as_deref().is_none_or(|wanted| wanted == undo_status(row.undo_status))
            && self.before.is_none_or(|date| row.send_at < date)
            && self.after.is_none_or(|date| row.send_at >= date)
    }
}

/// RFC 8621 §7.3.
pub struct Sort {
    by: SortBy,
    ascending: bool,
}

enum SortBy {
    EmailId,
    ThreadId,
    SentAt,
}

impl QueryObject for EmailSubmission {
    type Condition = Condition;
    type Sort = Sort;
    type QueryArgs = ();

    fn condition(_ctx: &Ctx, args: &mut Args) -> Result<Condition, MethodError> {
        args.no_null(&["before", "after", "identityIds", "emailIds", "threadIds", "undoStatus"])?;
        let mut date = |name: &str| match args.string(name)? {
            Some(text) => UtcDate::parse(&text)
                .map(Some)
                .ok_or_else(|| MethodError::argument(name, "must be a UTC date")),
            None => Ok(None),
        };
        let (before, after) = (date("before")?, date("after")?);
        Ok(Condition {
            before,
            after,
            identities: args.strings("identityIds")?,
            emails: args.strings("emailIds")?,
            threads: args.strings("threadIds")?,
            undo_status: args.string("undoStatus")?,
        })
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<Sort, MethodError> {
        let by = match comparator.property.as_str() {
            "emailId" => SortBy::EmailId,
            "threadId" => SortBy::ThreadId,
            "sentAt" | "sendAt" => SortBy::SentAt,
            _ => return Err(MethodErrorKind::UnsupportedSort.into()),
        };
        Ok(Sort { by, ascending: comparator.is_ascending })
    }

    fn query_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn query<'q>(
        ctx: &'q Ctx,
        account: &'q Account,
        query: &'q Query<Self>,
    ) -> Result<QueryResult<'q>, MethodError> {
        let state = Self::state(ctx, ctx.reader(), account)?;
        Ok(QueryResult::whole(matching(ctx, account, query)?, SubmissionId::to_string, state))
    }

    /// `undoStatus` can change, so that every changed one may have left, and is there anew where it
    /// matches now (RFC 8620 §5.6).
    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changed = Self::changes(ctx, account, since.query_state, usize::MAX)?;
        let ids = matching(ctx, account, query)?;
        Ok(QueryDelta::of_changes(changed, ids.iter().map(SubmissionId::to_string)))
    }
}

/// What results are sorted by. Ids are strings, which `i;ascii-casemap` compares (RFC 8620 §5.5).
struct SortKeys {
    email: String,
    thread: String,
    sent_at: UtcDate,
}

impl SortKeys {
    fn of(row: &SubmissionRow) -> Self {
        Self { email: row.email.to_string(), thread: row.thread.to_string(), sent_at: row.send_at }
    }
}

/// The results in their order.
fn matching(
    ctx: &Ctx,
    account: &Account,
    query: &Query<EmailSubmission>,
) -> Result<Vec<SubmissionId>, MethodError> {
    let range = keys::all(account.id, keys::Kind::Submission);
    let mut rows: Vec<(u32, SortKeys)> = Vec::new();
    let mut seen = 0;
    ctx.reader().scan_rows::<SubmissionRow>(&range, |key, row| {
        seen += 1;
        let passes = |filter: &Filter<Condition>| filter.matches(&mut |condition| condition.fits(&row));
        if query.filter.as_ref().is_none_or(passes) {
            rows.push((keys::last_id(key).unwrap_or_default(), SortKeys::of(&row)));
        }
        if seen <= limits::QUERY_IDS_MAX {
            std::ops::ControlFlow::Continue(())
        } else {
            std::ops::ControlFlow::Break(())
        }
    })?;
    if seen > limits::QUERY_IDS_MAX {
        return Err(super::team::too_many());
    }
    rows.sort_by(|a, b| {
        let mut order = std::cmp::Ordering::Equal;
        for sort in &query.sort {
            let one = match sort.by {
                SortBy::EmailId => a.1.email.cmp(&b.1.email),
                SortBy::ThreadId => a.1.thread.cmp(&b.1.thread),
                SortBy::SentAt => a.1.sent_at.cmp(&b.1.sent_at),
            };
            order = order.then(if sort.ascending { one } else { one.reverse() });
        }
        // What the comparators leave open: the newest first.
        order.then(b.0.cmp(&a.0))
    });
    Ok(rows.into_iter().map(|(id, _)| SubmissionId(id)).collect())
}
