//! Conversation: the unit of team work in an inbox. The type, its properties, how they look.
//!
//! Two capabilities show it, each half of it: `ownership` the owner, the team and the watchers,
//! `status` the status and what goes with it. The type exists for a client that uses either, so its
//! methods are listed under ownership *or* status (`methods.rs`), what both need is a property of
//! no capability, and the rest of each capability's own. Its accounts have all of ours or none.
//!
//! What a /set may change is in `conversation_set.rs`, how conversations are found in
//! `conversation_query.rs`.

use super::team::{self, date_json, maybe_date, principal_json, set_json};
use crate::inbox::desk;
use crate::jmap::capability::Capability::{self, Ownership, Status};
use crate::jmap::context::Ctx;
use crate::jmap::error::MethodError;
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, query, query_changes, set};
use crate::store::rows::team::{ConversationRow, Participant, ParticipantRow, Sibling};
use crate::store::{List, Read, list};
use crate::types::{ConversationId, DataType, MemberRole, PrincipalId};
use serde_json::{Map, Value, json};

const OR_STATUS: &[Capability] = &[Status];

/// One line a method.
pub static METHODS: &[Method] = &[
    read("Conversation/get", Ownership, get::run::<Conversation>).or(OR_STATUS),
    read("Conversation/changes", Ownership, changes::run::<Conversation>).or(OR_STATUS),
    write("Conversation/set", Ownership, set::run::<Conversation>).or(OR_STATUS),
    read("Conversation/query", Ownership, query::run::<Conversation>).or(OR_STATUS),
    read("Conversation/queryChanges", Ownership, query_changes::run::<Conversation>).or(OR_STATUS),
];

/// The type.
pub struct Conversation;

static TABLE: TypeTable = TypeTable {
    name: "Conversation",
    data_type: Some(DataType::Conversation),
    capability: Ownership,
    id: |number| ConversationId(number).to_string(),
    properties: &[
        Property::ID,
        Property::server("threadIds", Kind::Ids),
        Property::immutable("subject", Kind::String, Initial::Computed),
        Property::immutable("emailIds", Kind::Ids, Initial::Required).on_request(),
        Property::server("customer", Kind::Object).or_null(),
        Property::server("participants", Kind::Array),
        Property::mutable("ownerId", Kind::Id, Initial::Null).or_null().of(Ownership),
        Property::mutable("teamId", Kind::Id, Initial::Null).or_null().of(Ownership),
        Property::mutable("watcherIds", Kind::IdSet, Initial::EmptyObject).of(Ownership),
        Property::mutable("status", Kind::String, Initial::Text("open")).of(Status),
        Property::mutable("snoozedUntil", Kind::UtcDate, Initial::Null).or_null().of(Status),
        Property::mutable("resolution", Kind::String, Initial::Null).or_null().of(Status),
        Property::mutable("category", Kind::String, Initial::Null).or_null().of(Status),
        Property::mutable("tags", Kind::StringSet, Initial::EmptyObject).of(Status),
        Property::mutable("priority", Kind::String, Initial::Text("normal")).of(Status),
        Property::server("closedAt", Kind::UtcDate).or_null().of(Status),
        Property::server("closedById", Kind::Id).or_null().of(Status),
        Property::server("reopenCount", Kind::UnsignedInt).of(Status),
        Property::server("createdAt", Kind::UtcDate),
        Property::server("lastInboundAt", Kind::UtcDate).or_null(),
        Property::server("lastOutboundAt", Kind::UtcDate).or_null(),
        Property::server("lastActivityAt", Kind::UtcDate),
        Property::server("waitingSince", Kind::UtcDate).or_null(),
        Property::server("firstReplyAt", Kind::UtcDate).or_null(),
        Property::server("previousId", Kind::Id).or_null(),
        Property::mutable("mergedIntoId", Kind::Id, Initial::Null).or_null(),
        Property::server("siblings", Kind::Array),
        Property::server("noteCount", Kind::UnsignedInt),
        Property::server("messageCount", Kind::UnsignedInt),
        Property::server("version", Kind::String),
    ],
    // An observer may watch; what needs more the rules refuse, object by object and in words.
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: Some(Ownership),
    if_owner: Some(Ownership),
};

impl Object for Conversation {
    type GetArgs = ();

    fn table() -> &'static TypeTable {
        &TABLE
    }

    fn get_many(
        ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        ids: &[&str],
        props: &Props,
        _args: &(),
    ) -> Result<Vec<Option<Map<String, Value>>>, MethodError> {
        // 0 is no conversation's number.
        let known = ids.iter().map(|id| ConversationId::parse(id).unwrap_or(ConversationId(0)));
        let rows = reader.rows::<ConversationRow>(account.id, known)?;
        let mut found: Vec<Option<Map<String, Value>>> = ids
            .iter()
            .zip(rows)
            .map(|(id, row)| row.map(|row| to_json(ctx, account, id, &row, props)))
            .collect();
        if props.has("emailIds") {
            for (id, object) in ids.iter().zip(&mut found) {
                if let (Some(object), Some(id)) = (object, ConversationId::parse(id)) {
                    let emails = desk::emails_of(reader, account.id, id)?;
                    let emails = emails.iter().map(|(email, _)| Value::from(email.to_string()));
                    object.insert("emailIds".to_owned(), emails.collect());
                }
            }
        }
        Ok(found)
    }

    /// Those that went into another one are got by their ids only.
    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let entries = list::page(reader, account.id, List::Conversations, 0, max + 1, false)?;
        let ids = || entries.iter().map(|entry| ConversationId(entry.place.id).to_string());
        Ok((entries.len() <= max).then(|| ids().collect()))
    }
}

/// The wanted properties of a conversation.
pub fn to_json(
    ctx: &Ctx,
    account: &Account,
    id: &str,
    row: &ConversationRow,
    props: &Props,
) -> Map<String, Value> {
    props.iter().map(|name| (name.to_owned(), property(ctx, account, id, row, name))).collect()
}

/// Those who watch and are members still: who left is taken out of what they owned only.
fn watchers(ctx: &Ctx, account: &Account, row: &ConversationRow) -> Value {
    if row.watchers.is_empty() {
        return json!({});
    }
    let staff = team::staff(ctx, account);
    let is_member = |watcher: &&PrincipalId| staff.roster.members.contains_key(watcher);
    set_json(row.watchers.iter().filter(is_member).map(PrincipalId::to_string))
}

fn property(ctx: &Ctx, account: &Account, id: &str, row: &ConversationRow, name: &str) -> Value {
    let conversation = |id: Option<ConversationId>| json!(id.map(|id| id.to_string()));
    match name {
        "id" => json!(id),
        "threadIds" => row.thread_ids.iter().map(|id| Value::from(id.to_string())).collect(),
        "subject" => json!(row.subject),
        "customer" => row.customer.as_ref().map_or(Value::Null, customer_json),
        "participants" => row.participants.iter().map(participant_json).collect(),
        "ownerId" => principal_json(row.owner),
        "teamId" => principal_json(row.team),
        "watcherIds" => watchers(ctx, account, row),
        "status" => json!(row.status.name()),
        "snoozedUntil" => maybe_date(row.snoozed_until),
        "resolution" => json!(row.resolution),
        "category" => json!(row.category),
        "tags" => set_json(row.tags.iter().cloned()),
        "priority" => json!(row.priority.name()),
        "closedAt" => maybe_date(row.closed_at),
        "closedById" => principal_json(row.closed_by),
        "reopenCount" => json!(row.reopen_count),
        "createdAt" => date_json(row.created_at),
        "lastInboundAt" => maybe_date(row.last_inbound_at),
        "lastOutboundAt" => maybe_date(row.last_outbound_at),
        "lastActivityAt" => date_json(row.last_activity_at),
        "waitingSince" => maybe_date(row.waiting_since),
        "firstReplyAt" => maybe_date(row.first_reply_at),
        "previousId" => conversation(row.previous),
        "mergedIntoId" => conversation(row.merged_into),
        "siblings" => row.siblings.iter().map(|sibling| sibling_json(ctx, sibling)).collect(),
        "noteCount" => json!(row.note_count),
        "messageCount" => json!(row.message_count),
        "version" => json!(row.version.to_string()),
        _ => Value::Null,
    }
}

fn customer_json(customer: &Participant) -> Value {
    json!({"name": customer.name, "address": customer.address.as_str()})
}

fn participant_json(participant: &ParticipantRow) -> Value {
    json!({
        "address": participant.address.as_str(),
        "name": participant.name,
        "firstSeenAt": date_json(participant.first_seen_at)
    })
}

/// A sibling is named by its account; its conversation only to who sees that account.
fn sibling_json(ctx: &Ctx, sibling: &Sibling) -> Value {
    let seen = ctx.session.account(sibling.account).is_some();
    json!({
        "accountId": sibling.account.to_string(),
        "conversationId": seen.then(|| sibling.conversation.to_string())
    })
}
