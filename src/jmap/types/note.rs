//! Note: private text on a conversation. Every member of the inbox reads and writes notes; only the
//! author changes one, the author or a lead destroys it (`inbox/notes.rs` has the rules).
//!
//! A note is its own type in its own keyspace: nothing here makes a message or is known to what does.

use super::team::{self, date_json, principal_json};
use crate::inbox::notes::{self, Text};
use crate::inbox::refusal;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::Notes;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, read, write};
use crate::jmap::object::*;
use crate::jmap::query::{Comparator, Filter, QueryResult};
use crate::jmap::query_changes::QueryDelta;
use crate::jmap::session::Account;
use crate::jmap::{changes, get, query, query_changes, set};
use crate::store::keys::{self, Kind as RowKind};
use crate::store::rows::team::{NoteAttachment, NoteRow, NoteVersion};
use crate::store::{Read, StoreResult};
use crate::types::limits::FILTER_SCAN_NOTES_MAX;
use crate::types::{
    AccountId, BlobId, ConversationId, DataType, EmailId, MemberRole, NoteId, PrincipalId, UtcDate,
};
use serde_json::{Map, Value, json};

/// One line a method.
pub static METHODS: &[Method] = &[
    read("Note/get", Notes, get::run::<Note>),
    read("Note/changes", Notes, changes::run::<Note>),
    write("Note/set", Notes, set::run::<Note>),
    read("Note/query", Notes, query::run::<Note>),
    read("Note/queryChanges", Notes, query_changes::run::<Note>),
];

/// The type.
pub struct Note;

static TABLE: TypeTable = TypeTable {
    name: "Note",
    data_type: Some(DataType::Note),
    capability: Notes,
    id: |number| NoteId(number).to_string(),
    properties: &[
        Property::ID,
        Property::immutable("conversationId", Kind::Id, Initial::Required),
        Property::immutable("emailId", Kind::Id, Initial::Null).or_null(),
        Property::server("authorId", Kind::Id),
        Property::mutable("body", Kind::String, Initial::Required),
        Property::mutable("mentions", Kind::Ids, Initial::EmptyArray),
        Property::mutable("attachments", Kind::Array, Initial::EmptyArray),
        Property::server("createdAt", Kind::UtcDate),
        Property::server("updatedAt", Kind::UtcDate),
        Property::server("version", Kind::String),
        Property::server("earlierVersions", Kind::Array).on_request(),
    ],
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: Some(Notes),
    if_owner: None,
};

impl Object for Note {
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
        // 0 is no note's number.
        let known = ids.iter().map(|id| NoteId::parse(id).unwrap_or(NoteId(0)));
        let rows = reader.rows::<NoteRow>(account.id, known)?;
        Ok(ids.iter().zip(rows).map(|(id, row)| row.map(|row| to_json(id, &row, props))).collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let ids = reader.ids(&keys::all(account.id, RowKind::Note), false, max + 1)?;
        Ok((ids.len() <= max).then(|| ids.into_iter().map(|id| NoteId(id).to_string()).collect()))
    }
}

fn to_json(id: &str, row: &NoteRow, props: &Props) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id),
        "conversationId" => json!(row.conversation.to_string()),
        "emailId" => json!(row.email.map(|id| id.to_string())),
        "authorId" => principal_json(Some(row.author)),
        "body" => json!(row.body),
        "mentions" => row.mentions.iter().map(|&one| principal_json(Some(one))).collect(),
        "attachments" => row.attachments.iter().map(attachment_json).collect(),
        "createdAt" => date_json(row.created_at),
        "updatedAt" => date_json(row.updated_at),
        "version" => json!(row.version.to_string()),
        "earlierVersions" => row.earlier.iter().map(version_json).collect(),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// What the note said before an edit.
fn version_json(earlier: &NoteVersion) -> Value {
    json!({
        "body": earlier.body,
        "mentions": earlier.mentions.iter().map(|&one| principal_json(Some(one))).collect::<Value>(),
        "attachments": earlier.attachments.iter().map(attachment_json).collect::<Value>(),
        "updatedAt": date_json(earlier.at),
        "version": earlier.version.to_string(),
    })
}

fn attachment_json(attachment: &NoteAttachment) -> Value {
    json!({
        "blobId": attachment.blob.to_string(), "name": attachment.name, "type": attachment.media_type
    })
}

fn read_attachment(value: &Value) -> Option<NoteAttachment> {
    let members = value.as_object()?;
    let known = |name: &String| matches!(name.as_str(), "blobId" | "name" | "type");
    let name = match members.get("name") {
        None | Some(Value::Null) => None,
        Some(name) => Some(name.as_str()?.to_owned()),
    };
    let blob = BlobId::parse(members.get("blobId")?.as_str()?)?;
    let media_type = members.get("type")?.as_str()?.to_owned();
    members.keys().all(known).then_some(NoteAttachment { blob, name, media_type })
}

/// Writes what is in `properties` over a text.
fn fill(text: &mut Text, properties: &Map<String, Value>) -> Result<(), SetError> {
    let wrong = |name: &str, why: &'static str| SetError::properties([name], why);
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for (name, value) in properties {
        match name.as_str() {
            "body" => text.body = value.as_str().unwrap_or_default().to_owned(),
            "mentions" => {
                let mut mentions = Vec::new();
                for item in items(value) {
                    let principal = item.as_str().and_then(PrincipalId::parse);
                    let principal = principal.ok_or_else(|| wrong(name, "There is no such principal."))?;
                    if !mentions.contains(&principal) {
                        mentions.push(principal);
                    }
                }
                text.mentions = mentions;
            }
            "attachments" => {
                let attachments: Option<Vec<_>> = items(value).iter().map(read_attachment).collect();
                let why = "An attachment has a blobId, a type, and a name or null.";
                text.attachments = attachments.ok_or_else(|| wrong(name, why))?;
            }
            _ => {}
        }
    }
    Ok(())
}

type Set<'c, 't> = SetCall<'c, 't, ()>;

fn row(set: &Set<'_, '_>, id: &str) -> Result<(NoteId, NoteRow), Refusal> {
    let id = NoteId::parse(id).ok_or(SetErrorKind::NotFound)?;
    let row = set.reader().row::<NoteRow>(set.account.id, id)?.ok_or(SetErrorKind::NotFound)?;
    Ok((id, row))
}

impl SetObject for Note {
    type SetArgs = ();

    fn set_args(_ctx: &Ctx, _args: &mut Args) -> Result<(), MethodError> {
        Ok(())
    }

    fn create(set: &mut Set<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        let staff = team::staff(set.ctx, set.account);
        let text_of = |name: &str| properties.get(name).and_then(Value::as_str);
        let conversation = text_of("conversationId").and_then(ConversationId::parse);
        let no_conversation = || SetError::properties(["conversationId"], "There is no such conversation.");
        let conversation = conversation.ok_or_else(no_conversation)?;
        let no_email = || SetError::properties(["emailId"], "That is no message of the conversation.");
        let email = text_of("emailId").map(|id| EmailId::parse(id).ok_or_else(no_email)).transpose()?;
        let mut text = Text::default();
        fill(&mut text, &properties)?;
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        let created = desk.create_note(conversation, email, text);
        let (id, row) = created.map_err(|error| team::refused(error, &staff))?;
        let id = id.to_string();
        let properties = to_json(&id, &row, &Props::of(["authorId", "createdAt", "updatedAt", "version"]));
        Ok(Created { id, properties })
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let (id, before) = row(set, update.id)?;
        if update.new == update.old {
            return Ok(None);
        }
        let mut text = Text { body: before.body, mentions: before.mentions, attachments: before.attachments };
        fill(&mut text, update.new)?;
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        let after = desk.update_note(id, text).map_err(|error| team::refused(error, &staff))?;
        let mut told = to_json(update.id, &after, &Props::of(["mentions", "updatedAt", "version"]));
        // Mentions differ from what was asked where one was named twice.
        let asked = update.new.get("mentions").or(update.old.get("mentions"));
        if asked.is_none_or(|asked| told.get("mentions") == Some(asked)) {
            told.shift_remove("mentions");
        }
        told.shift_remove("id");
        Ok(Some(told))
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let (id, _) = row(set, id)?;
        let staff = team::staff(set.ctx, set.account);
        let mut desk = team::desk(set.ctx, set.account, set.txn, &staff)?;
        desk.destroy_note(id).map_err(|error| team::refused(error, &staff))
    }

    fn check_expected(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let (_, row) = row(set, id)?;
        let version = row.version;
        if set.expected.version(id).is_some_and(|wanted| wanted != version.to_string()) {
            let mut error = team::set_error(
                &refusal::Refusal::VersionMismatch { version },
                &team::staff(set.ctx, set.account),
            );
            error.description = Some("The note changed since you read it. Read it again.".into());
            return Err(error.into());
        }
        Ok(())
    }
}

/// One test; the tests of a FilterCondition must all hold. An id that names nothing is `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    Conversation(Option<ConversationId>),
    Mentions(Option<PrincipalId>),
    Author(Option<PrincipalId>),
    Text(String),
    After(UtcDate),
    Before(UtcDate),
}

impl Test {
    fn holds(&self, row: &NoteRow) -> bool {
        match self {
            Self::Conversation(id) => *id == Some(row.conversation),
            Self::Mentions(id) => id.is_some_and(|id| row.mentions.contains(&id)),
            Self::Author(id) => *id == Some(row.author),
            Self::Text(part) => row.body.to_lowercase().contains(part),
            Self::After(date) => row.created_at.date() >= *date,
            Self::Before(date) => row.created_at.date() < *date,
        }
    }
}

impl QueryObject for Note {
    type Condition = Vec<Test>;
    /// By creation; true: oldest first.
    type Sort = bool;
    type QueryArgs = ();

    fn condition(ctx: &Ctx, args: &mut Args) -> Result<Vec<Test>, MethodError> {
        let mut tests = Vec::new();
        let conversation = args.string("conversationId")?;
        tests.extend(conversation.map(|id| Test::Conversation(ConversationId::parse(&id))));
        tests.extend(team::principal_argument(ctx, args, "mentions")?.map(Test::Mentions));
        tests.extend(team::principal_argument(ctx, args, "authorId")?.map(Test::Author));
        tests.extend(args.string("text")?.map(|text| Test::Text(text.to_lowercase())));
        tests.extend(team::date_argument(args, "after")?.map(Test::After));
        tests.extend(team::date_argument(args, "before")?.map(Test::Before));
        Ok(tests)
    }

    fn sort(_ctx: &Ctx, comparator: Comparator) -> Result<bool, MethodError> {
        match comparator.property.as_str() {
            "createdAt" => Ok(comparator.is_ascending),
            _ => Err(MethodErrorKind::UnsupportedSort.into()),
        }
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
        Ok(QueryResult::whole(matching(ctx, account, query)?, NoteId::to_string, state))
    }

    /// An edit can change whether a note matches, so that every edited one may have left, and is
    /// there anew where it matches now (RFC 8620 §5.6).
    fn query_changes(
        ctx: &Ctx,
        account: &Account,
        query: &Query<Self>,
        since: &Since<'_>,
    ) -> Result<QueryDelta, MethodError> {
        let changed = Self::changes(ctx, account, since.query_state, usize::MAX)?;
        let ids = matching(ctx, account, query)?;
        Ok(QueryDelta::of_changes(changed, ids.iter().map(NoteId::to_string)))
    }
}

/// What every result is found by, if the filter says so.
fn found_by<T>(filter: &Filter<Vec<Test>>, of: &impl Fn(&Test) -> Option<T>) -> Option<T> {
    match filter {
        Filter::Condition(tests) => tests.iter().find_map(of),
        Filter::And(all) => all.iter().find_map(|one| found_by(one, of)),
        _ => None,
    }
}

/// The notes among which those that match are, oldest first.
fn candidates(reader: &dyn Read, account: AccountId, query: &Query<Note>) -> StoreResult<Vec<NoteId>> {
    let limit = FILTER_SCAN_NOTES_MAX + 1;
    let filter = query.filter.as_ref();
    let conversation = filter.and_then(|filter| {
        found_by(filter, &|test| match test {
            Test::Conversation(id) => Some(*id),
            _ => None,
        })
    });
    let mentioned = filter.and_then(|filter| {
        found_by(filter, &|test| match test {
            Test::Mentions(id) => Some(*id),
            _ => None,
        })
    });
    match (conversation, mentioned) {
        (Some(None), _) | (_, Some(None)) => Ok(Vec::new()),
        (Some(Some(id)), _) => notes::of_conversation(reader, account, id, limit),
        (None, Some(Some(id))) => notes::that_mention(reader, account, id, limit),
        (None, None) => {
            let all = reader.ids(&keys::all(account, RowKind::Note), false, limit)?;
            Ok(all.into_iter().map(NoteId).collect())
        }
    }
}

fn matching(ctx: &Ctx, account: &Account, query: &Query<Note>) -> Result<Vec<NoteId>, MethodError> {
    let reader = ctx.reader();
    let mut ids = candidates(reader, account.id, query)?;
    if ids.len() > FILTER_SCAN_NOTES_MAX {
        return Err(team::too_many());
    }
    if let Some(filter) = &query.filter {
        let mut found = Vec::new();
        for some in ids.chunks(ROWS_AT_ONCE) {
            let rows = reader.rows::<NoteRow>(account.id, some.iter().copied())?;
            let fits = |row: &NoteRow| {
                filter.matches(&mut |tests: &Vec<Test>| tests.iter().all(|test| test.holds(row)))
            };
            let fitting = some.iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(fits));
            found.extend(fitting.map(|(id, _)| *id));
        }
        ids = found;
    }
    // Numbers are given in the order of creation.
    if !query.sort.first().copied().unwrap_or_default() {
        ids.reverse();
    }
    Ok(ids)
}

/// Rows read at once while scanning.
const ROWS_AT_ONCE: usize = 512;
