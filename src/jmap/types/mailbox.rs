//! Mailbox (RFC 8621 §2). The tree's rules are `mail::mailbox`'s; who may do what is said here, by
//! the role in the account and by what the server keeps a mailbox true to.
//!
//! Deliberately absent: filters and sorts, which are in `mailbox_query.rs`.

use crate::inbox::desk::Desk;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability;
use crate::jmap::changes::ChangedIds;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::object::{
    Created, Initial, Kind, Object, Property, Props, SetCall, SetObject, Target, TypeTable, Update,
};
use crate::jmap::session::Account;
use crate::jmap::set::{self, Outcome};
use crate::mail::mailbox::{MailboxError, MailboxRefusal, Tree};
use crate::mail::{mailbox, message, viewer, words};
use crate::store::rows::mail::{EmailRow, Kept, MailboxCountsRow, MailboxRow};
use crate::store::{List, Read, StoreResult, Txn, list};
use crate::types::{DataType, EmailId, MailboxId, MailboxRole, MemberRole, PrincipalId, limits};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// The type.
pub struct Mailbox;

static TABLE: TypeTable = TypeTable {
    name: "Mailbox",
    data_type: Some(DataType::Mailbox),
    capability: Capability::Mail,
    id: |number| MailboxId(number).to_string(),
    properties: &[
        Property::ID,
        Property::mutable("name", Kind::String, Initial::Required),
        Property::mutable("parentId", Kind::Id, Initial::Null).or_null(),
        Property::mutable("role", Kind::String, Initial::Null).or_null(),
        Property::mutable("sortOrder", Kind::UnsignedInt, Initial::Number(0)),
        Property::server("totalEmails", Kind::UnsignedInt),
        Property::server("unreadEmails", Kind::UnsignedInt),
        Property::server("totalThreads", Kind::UnsignedInt),
        Property::server("unreadThreads", Kind::UnsignedInt),
        Property::server("myRights", Kind::Object),
        Property::mutable("isSubscribed", Kind::Boolean, Initial::Bool(true)),
        Property::server("shareWith", Kind::Object).or_null().of(Capability::Principals),
    ],
    // An observer may say what they want to see; the hooks ask more for everything else.
    write_role: MemberRole::Observer,
    singleton: false,
    if_version: None,
    if_owner: None,
};

/// What /changes names where nothing else changed (RFC 8621 §2.2).
const COUNTS: [&str; 4] = ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"];

impl Object for Mailbox {
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
        let known: Vec<MailboxId> =
            ids.iter().map(|id| MailboxId::parse(id).unwrap_or(MailboxId(0))).collect();
        let rows = reader.rows::<MailboxRow>(account.id, known.iter().copied())?;
        let counts = if COUNTS.iter().any(|name| props.has(name)) {
            viewer::counts(reader, account.id, ctx.member(account), &known)?
        } else {
            vec![MailboxCountsRow::default(); ids.len()]
        };
        let me = ctx.session.principal;
        let found = ids.iter().zip(rows).zip(counts);
        Ok(found
            .map(|((id, row), counts)| {
                let mut object = row.as_ref().map(|row| to_json(id, row, &counts, account, me, props));
                if let (Some(object), Some(row), true) = (&mut object, &row, props.has("shareWith")) {
                    object.insert("shareWith".into(), share_with(ctx, account, row));
                }
                object
            })
            .collect())
    }

    fn all_ids(
        _ctx: &Ctx,
        reader: &dyn Read,
        account: &Account,
        max: usize,
    ) -> Result<Option<Vec<String>>, MethodError> {
        let all = mailbox::all(reader, account.id)?;
        // RFC 8621 §2.1 wants them all; the account's own limit bounds them.
        let fits = all.len() <= max.max(limits::MAILBOXES_MAX);
        Ok(fits.then(|| all.into_iter().map(|(id, _)| id.to_string()).collect()))
    }

    /// RFC 8621 §2.2.
    fn changes_extra(
        _ctx: &Ctx,
        changes: &ChangedIds,
        response: &mut Map<String, Value>,
    ) -> Result<(), MethodError> {
        let updated = if changes.only_counts { json!(COUNTS) } else { Value::Null };
        response.insert("updatedProperties".into(), updated);
        Ok(())
    }
}

fn to_json(
    id: &str,
    row: &MailboxRow,
    counts: &MailboxCountsRow,
    account: &Account,
    me: PrincipalId,
    props: &Props,
) -> Map<String, Value> {
    let value = |name: &str| match name {
        "id" => json!(id),
        "name" => json!(row.name),
        "parentId" => json!(row.parent.map(|parent| parent.to_string())),
        "role" => json!(row.role.map(MailboxRole::name)),
        "sortOrder" => json!(row.sort_order),
        "totalEmails" => json!(counts.total_emails),
        "unreadEmails" => json!(counts.unread_emails),
        "totalThreads" => json!(counts.total_threads),
        "unreadThreads" => json!(counts.unread_threads),
        "myRights" => rights(row.kept.as_ref(), account.role),
        "isSubscribed" => json!(row.is_subscribed(account.is_inbox(), me)),
        _ => Value::Null,
    };
    props.iter().map(|name| (name.to_owned(), value(name))).collect()
}

/// RFC 9670 §4: whom it is shared with, the one who asks among them, and with which rights. In an
/// inbox that is who its members are, and nobody sets it here.
fn share_with(ctx: &Ctx, account: &Account, row: &MailboxRow) -> Value {
    if !account.is_inbox() {
        return Value::Null;
    }
    let staff = super::team::staff(ctx, account);
    let shared = staff.roster.members.iter();
    shared.map(|(member, role)| (member.to_string(), rights(row.kept.as_ref(), Some(*role)))).collect()
}

/// RFC 8621 §2, `myRights`, with a role in an inbox, or in an account of one's own.
pub(super) fn rights(kept: Option<&Kept>, role: Option<MemberRole>) -> Value {
    let works = role.is_none_or(|role| role >= MemberRole::Agent);
    let own = works && kept.is_none();
    json!({
        "mayReadItems": true,
        "mayAddItems": works && kept.is_none_or(Kept::may_add),
        "mayRemoveItems": works,
        "maySetSeen": true,
        "maySetKeywords": works,
        "mayCreateChild": works && kept != Some(&Kept::AssignedParent),
        "mayRename": own,
        "mayDelete": own,
        "maySubmit": works
    })
}

/// RFC 8621 §2.5.
pub struct MailboxSetArgs {
    on_destroy_remove_emails: bool,
    /// The mailboxes before the call.
    before: OnceCell<Tree>,
}

type Set<'c, 't> = SetCall<'c, 't, MailboxSetArgs>;

impl SetObject for Mailbox {
    type SetArgs = MailboxSetArgs;

    fn set_args(_ctx: &Ctx, args: &mut Args) -> Result<MailboxSetArgs, MethodError> {
        let on_destroy_remove_emails = args.flag("onDestroyRemoveEmails")?;
        Ok(MailboxSetArgs { on_destroy_remove_emails, before: OnceCell::new() })
    }

    fn prepare(
        ctx: &mut Ctx,
        account: &Account,
        (if_in_state, destroy): (Option<&str>, &[String]),
        args: &MailboxSetArgs,
    ) -> Result<Option<String>, MethodError> {
        let doomed: Vec<MailboxId> = destroy.iter().filter_map(|id| MailboxId::parse(id)).collect();
        if !args.on_destroy_remove_emails || !account.allows(MemberRole::Agent) {
            return Ok(None);
        }
        let all = mailbox::all(ctx.reader(), account.id)?;
        let mut large = Vec::new();
        for (id, _) in all.iter().filter(|(id, row)| doomed.contains(id) && row.kept.is_none()) {
            let stays = |below: MailboxId| !doomed.contains(&below);
            let blocked = all.iter().any(|(other, row)| row.parent == Some(*id) && stays(*other));
            if !blocked && list::total(ctx.reader(), account.id, List::Mailbox(*id))? as usize > STEP_EMAILS {
                large.push(*id);
            }
        }
        if large.is_empty() {
            return Ok(None);
        }
        let state = Self::state(ctx, ctx.reader(), account)?;
        if if_in_state.is_some_and(|wanted| wanted != state) {
            return Err(MethodErrorKind::StateMismatch.into());
        }
        for id in large {
            empty_in_steps(ctx, account, id)?;
        }
        Ok(Some(state))
    }

    fn before_set(set: &mut Set<'_, '_>) -> Result<(), MethodError> {
        if set.args.before.get().is_none() {
            let all = mailbox::all(set.reader(), set.account.id)?;
            // Only the first attempt finds the cell empty, and each begins with the same state.
            let _ = set.args.before.set(all);
        }
        Ok(())
    }

    /// Names, roles and the tree are judged when all is done, so that two mailboxes can swap what they
    /// have, and a new one can take what another leaves (RFC 8620 §5.3).
    fn after_set(set: &mut Set<'_, '_>, outcome: &Outcome) -> Result<Vec<(Target, SetError)>, MethodError> {
        let nothing = Tree::new();
        let before = set.args.before.get().unwrap_or(&nothing);
        let after = mailbox::all(set.reader(), set.account.id)?;
        let target = |id: MailboxId| {
            let id = id.to_string();
            let made = outcome.created.iter().find(|(_, object)| object["id"] == id.as_str());
            made.map_or(Target::Update(id), |(creation_id, _)| Target::Create(creation_id.clone()))
        };
        let found = mailbox::misfits(before, &after);
        let mut refused: Vec<_> = found.into_iter().map(|(id, why)| (target(id), unfit(why))).collect();
        // Mail comes in all the time, and has to go somewhere.
        let inbox_of = |tree: &Tree| {
            tree.iter().find(|(_, row)| row.role == Some(MailboxRole::Inbox)).map(|(id, _)| *id)
        };
        if let (Some(inbox), None) = (inbox_of(before), inbox_of(&after)) {
            let is_there = after.iter().any(|(id, _)| *id == inbox);
            let of = if is_there { target(inbox) } else { Target::Destroy(inbox.to_string()) };
            let why = "New mail is put into the mailbox with the role inbox: give another one the role, too.";
            refused.push((of, SetError::forbidden(why)));
        }
        Ok(refused)
    }

    fn create(set: &mut Set<'_, '_>, properties: Map<String, Value>) -> Result<Created, Refusal> {
        must_work(set)?;
        let mut row = MailboxRow {
            name: String::new(),
            parent: None,
            role: None,
            sort_order: 0,
            unsubscribed: Vec::new(),
            kept: None,
            subscribed: Vec::new(),
        };
        // RFC 8621 §2: one is subscribed to what one makes oneself.
        row.subscribe(set.account.is_inbox(), set.ctx.session.principal, true);
        fill(set, &mut row, &properties)?;
        if row.parent.is_none() && !set.account.may_create_top_level_mailbox {
            return Err(SetError::forbidden("Mailboxes can't be created at the top level here.").into());
        }
        may_have_children(set, row.parent)?;
        let id = mailbox::create(set.txn, set.account.id, row.clone()).map_err(refused)?;
        let mut told = vec!["totalEmails", "unreadEmails", "totalThreads", "unreadThreads", "myRights"];
        told.extend(renamed(&properties, &row).then_some("name"));
        let id = id.to_string();
        let me = set.ctx.session.principal;
        let mut properties =
            to_json(&id, &row, &MailboxCountsRow::default(), set.account, me, &Props::of(told));
        properties.shift_remove("id");
        Ok(Created { id, properties })
    }

    fn update(set: &mut Set<'_, '_>, update: Update<'_>) -> Result<Option<Map<String, Value>>, Refusal> {
        let (id, before) = found(set, update.id)?;
        let mut after = before.clone();
        fill(set, &mut after, update.new)?;
        let subscribed = MailboxRow {
            unsubscribed: after.unsubscribed.clone(),
            subscribed: after.subscribed.clone(),
            ..before.clone()
        };
        if after != subscribed {
            must_work(set)?;
        }
        if after.kept == Some(Kept::Inbox) && !after.is_subscribed(true, set.ctx.session.principal) {
            // RFC 9670 §1.4: an account without a subscription would leave the session.
            return Err(
                SetError::forbidden("A member sees the Inbox; leave the team to see it no more.").into()
            );
        }
        if after.parent != before.parent {
            may_have_children(set, after.parent)?;
        }
        let member = set.ctx.member(set.account);
        mailbox::update(set.txn, set.account.id, id, (&before, &after), member).map_err(refused)?;
        let told = renamed(update.new, &after);
        Ok(told.then(|| Map::from_iter([("name".to_owned(), Value::from(after.name))])))
    }

    fn destroy(set: &mut Set<'_, '_>, id: &str) -> Result<(), Refusal> {
        let (id, row) = found(set, id)?;
        must_work(set)?;
        let has_child =
            mailbox::all(set.reader(), set.account.id)?.iter().any(|(_, other)| other.parent == Some(id));
        if set.args.on_destroy_remove_emails && row.kept.is_none() && !has_child {
            remove_emails(set.ctx, set.txn, set.account, id, usize::MAX)?;
        }
        mailbox::destroy(set.txn, set.account.id, id, &row).map_err(refused)?;
        Ok(())
    }
}

fn found(set: &Set<'_, '_>, id: &str) -> Result<(MailboxId, MailboxRow), Refusal> {
    let id = MailboxId::parse(id).ok_or(SetErrorKind::NotFound)?;
    let row = set.reader().row::<MailboxRow>(set.account.id, id)?.ok_or(SetErrorKind::NotFound)?;
    Ok((id, row))
}

fn must_work(set: &Set<'_, '_>) -> Result<(), Refusal> {
    if set.account.allows(MemberRole::Agent) {
        return Ok(());
    }
    Err(SetError::forbidden("An observer may not change mailboxes.").into())
}

fn may_have_children(set: &Set<'_, '_>, parent: Option<MailboxId>) -> Result<(), Refusal> {
    let Some(parent) = parent else { return Ok(()) };
    let row = set.reader().row::<MailboxRow>(set.account.id, parent)?;
    if row.is_some_and(|row| row.kept == Some(Kept::AssignedParent)) {
        return Err(SetError::forbidden("The server alone makes mailboxes below this one.").into());
    }
    Ok(())
}

/// Is the name another one than the client gave?
fn renamed(given: &Map<String, Value>, row: &MailboxRow) -> bool {
    given.get("name").and_then(Value::as_str).is_some_and(|name| name != row.name)
}

/// Writes what is in `properties` into the row. The machinery has checked the kinds.
fn fill(set: &Set<'_, '_>, row: &mut MailboxRow, properties: &Map<String, Value>) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    for (name, value) in properties {
        match name.as_str() {
            // RFC 8621 §2 wants Net-Unicode, whose normal form is C (RFC 5198 §2).
            "name" => row.name = words::nfc(value.as_str().unwrap_or_default()),
            "parentId" => {
                row.parent = value.as_str().and_then(MailboxId::parse);
                if row.parent.is_none() && !value.is_null() {
                    wrong.push("parentId");
                }
            }
            "role" => {
                row.role = value.as_str().and_then(MailboxRole::parse);
                // An inbox keeps its memos itself.
                let is_taken =
                    row.role == Some(MailboxRole::Memos) && row.kept.is_none() && set.account.is_inbox();
                if (row.role.is_none() && !value.is_null()) || is_taken {
                    wrong.push("role");
                }
            }
            "sortOrder" => match value.as_f64() {
                // RFC 8621 §2: below 2^31.
                Some(order) if order < f64::from(1_u32 << 31) => row.sort_order = order as u32,
                _ => wrong.push("sortOrder"),
            },
            "isSubscribed" => {
                let wanted = value.as_bool() != Some(false);
                row.subscribe(set.account.is_inbox(), set.ctx.session.principal, wanted);
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(SetError::properties(wrong, "These can't have the given values.").into())
}

/// How many Emails go out of a large mailbox in one transaction.
const STEP_EMAILS: usize = 250;

/// Takes Emails out of a large mailbox that is about to go, in transactions of bounded size between which
/// others get their turn. It is itself as long as it has any: a client that syncs meanwhile sees it
/// emptied, and what a crash leaves is a mailbox with fewer Emails, which can be asked away again.
fn empty_in_steps(ctx: &mut Ctx, account: &Account, id: MailboxId) -> Result<(), MethodError> {
    for step in 0.. {
        let left = list::total(ctx.reader(), account.id, List::Mailbox(id))? as usize;
        if left <= STEP_EMAILS {
            return Ok(());
        }
        tracing::debug!(account = %account.id, mailbox = %id, left, "a large mailbox is being emptied");
        let done = ctx.write(account.id, |ctx, txn| {
            match remove_emails(ctx, txn, account, id, STEP_EMAILS) {
                Ok(()) => Ok(()),
                Err(Refusal::Call(error)) => Err(error),
                // The rules that an Email's move obeys hold in the call's own transaction, too.
                Err(_) => Err(MethodErrorKind::Forbidden.into()),
            }
        });
        done.map_err(|error| if step > 0 { set::partly_done(&error) } else { error })?;
        ctx.let_go();
    }
    Ok(())
}

/// Takes Emails, at most so many, out of a mailbox that is about to go; those that were in no other are
/// destroyed (RFC 8621 §2.5), in an inbox moved to the Trash, where only a lead destroys.
fn remove_emails(
    ctx: &Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    id: MailboxId,
    max: usize,
) -> Result<(), Refusal> {
    let trash = mailbox::roles(txn, account.id)?.with_role(MailboxRole::Trash);
    for entry in list::page(txn, account.id, List::Mailbox(id), 0, max, false)? {
        let email = EmailId(entry.place.id);
        let read: &dyn Read = txn;
        let Some(before) = read.row::<EmailRow>(account.id, email)? else { continue };
        let mut rest: BTreeSet<MailboxId> = before.mailboxes.iter().copied().collect();
        rest.remove(&id);
        if rest.is_empty() && account.is_inbox() {
            let placed = refuge(ctx, txn, account, &before)?;
            rest = placed.or(trash.map(|trash| BTreeSet::from([trash]))).unwrap_or_default();
        }
        if rest.is_empty() {
            message::destroy(txn, account.id, email, &before)?;
        } else {
            let after = EmailRow { mailboxes: rest.into_iter().collect(), ..before.clone() };
            message::change(txn, account.id, email, &before, &after)?;
        }
    }
    Ok(())
}

/// Where an Email of an inbox stands by its conversation, when its last folder goes.
fn refuge(
    ctx: &Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    row: &EmailRow,
) -> Result<Option<BTreeSet<MailboxId>>, Refusal> {
    let Some(conversation) = row.conversation else { return Ok(None) };
    let staff = (ctx.host.staff)(account.id);
    let actor = super::team::actor(ctx, account);
    let mut desk = Desk::open(txn, account.id, actor, &staff)?;
    let Some(row) = desk.conversation(conversation)? else { return Ok(None) };
    let placed: StoreResult<BTreeSet<MailboxId>> = desk.place(&BTreeSet::new(), &row);
    Ok(Some(placed?))
}

fn refused(error: MailboxError) -> Refusal {
    match error {
        MailboxError::Store(error) => error.into(),
        MailboxError::Refused(refusal) => unfit(refusal).into(),
    }
}

fn unfit(refusal: MailboxRefusal) -> SetError {
    match refusal {
        MailboxRefusal::Name => SetError::properties(
            ["name"],
            format!("A name has 1 to {} octets and no control characters.", limits::MAILBOX_NAME_BYTES_MAX),
        ),
        MailboxRefusal::NameTaken(None) => SetError::properties(
            ["name"],
            "Another mailbox of this call has the same name in the same place.",
        ),
        MailboxRefusal::NameTaken(Some(existing)) => SetError::new(
            SetErrorKind::AlreadyExists { existing_id: existing.to_string() },
            "A mailbox with this name is there already.",
        ),
        MailboxRefusal::Parent => SetError::properties(
            ["parentId"],
            "The parent isn't there, is below this mailbox, or the tree would get too deep.",
        ),
        MailboxRefusal::RoleTaken(other) => {
            SetError::properties(["role"], format!("The mailbox {other} has this role already."))
        }
        MailboxRefusal::TooMany => {
            SetError::new(SetErrorKind::OverQuota, "The account has as many mailboxes as it may have.")
        }
        MailboxRefusal::Kept => {
            SetError::forbidden("The server keeps this mailbox: it can't be renamed, moved or destroyed.")
        }
        MailboxRefusal::HasChild => SetErrorKind::MailboxHasChild.into(),
        MailboxRefusal::HasEmail => SetErrorKind::MailboxHasEmail.into(),
    }
}
