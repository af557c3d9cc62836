//! Conversation/erase: destroys what conversations say, for an admin; their histories stay verifiable
//! (`inbox/erase.rs` has the rules). One call is one transaction, in which each conversation is erased
//! as a whole or not at all.

use super::conversation::Conversation;
use super::team;
use crate::inbox::desk::Desk;
use crate::inbox::erase;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::Activity;
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind, Refusal, SetError, SetErrorKind};
use crate::jmap::methods::{Method, write};
use crate::jmap::object::{Object, SetObject};
use crate::jmap::session::Account;
use crate::store::rows::team::ConversationRow;
use crate::store::{Read, Txn};
use crate::types::limits::{ERASE_MESSAGES_MAX, OBJECTS_IN_SET_MAX};
use crate::types::{Address, ConversationId, MemberRole};
use serde_json::{Map, Value};

/// One line a method.
pub static METHODS: &[Method] = &[write("Conversation/erase", Activity, run)];

/// Runs Conversation/erase.
fn run(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    let ids = args.strings("ids")?;
    let customer = args.string("customer")?;
    args.finish()?;
    let account = ctx.writable(&account_id, method.capability, MemberRole::Admin)?;
    let wanted = match (ids, customer) {
        (Some(ids), None) => ids,
        (None, Some(customer)) => of_customer(ctx, account, &customer)?,
        _ => return Err(MethodError::argument("ids", "goes without customer, and one of them is there")),
    };
    if wanted.len() > OBJECTS_IN_SET_MAX {
        return Err(MethodErrorKind::RequestTooLarge.into());
    }
    let ((old_state, erased, not_erased), committed) = ctx.write(account.id, |ctx, txn| {
        let old_state = Conversation::state(ctx, txn, account)?;
        let (mut erased, mut not_erased) = (Vec::new(), Map::new());
        let mut left = ERASE_MESSAGES_MAX;
        for text in wanted {
            let savepoint = txn.savepoint();
            match erase_one(ctx, txn, account, &text, left) {
                Ok(messages) => {
                    left -= messages;
                    erased.push(Value::from(text));
                }
                Err(Refusal::Call(error)) => return Err(error),
                Err(Refusal::Object(error) | Refusal::Remembered(error, _)) => {
                    txn.rollback(savepoint);
                    not_erased.insert(text, error.into_json(ctx.using));
                }
            }
        }
        Ok((old_state, erased, not_erased))
    })?;
    let new_state = Conversation::state_after_set(ctx, account, &committed, &old_state)?;
    let mut response = Map::new();
    response.insert("accountId".into(), account_id.into());
    response.insert("oldState".into(), old_state.into());
    response.insert("newState".into(), new_state.into());
    response.insert("erased".into(), erased.into());
    let refused = if not_erased.is_empty() { Value::Null } else { not_erased.into() };
    response.insert("notErased".into(), refused);
    ctx.respond(method.name, response);
    Ok(())
}

fn of_customer(ctx: &Ctx, account: &Account, customer: &str) -> Result<Vec<String>, MethodError> {
    let address =
        Address::parse(customer).ok_or_else(|| MethodError::argument("customer", "is no mail address"))?;
    let found = erase::of_customer(ctx.reader(), account.id, &address, OBJECTS_IN_SET_MAX + 1)?;
    Ok(found.iter().map(ConversationId::to_string).collect())
}

/// Erases one, and says how many messages and notes that were.
fn erase_one(
    ctx: &Ctx,
    txn: &mut Txn<'_>,
    account: &Account,
    text: &str,
    left: usize,
) -> Result<usize, Refusal> {
    let id = ConversationId::parse(text).ok_or(SetErrorKind::NotFound)?;
    (txn as &dyn Read).row::<ConversationRow>(account.id, id)?.ok_or(SetErrorKind::NotFound)?;
    let staff = team::staff(ctx, account);
    let mut desk: Desk<'_, '_> = team::desk(ctx, account, txn, &staff)?;
    let done = desk.erase(id, left).map_err(|error| team::refused(error, &staff))?;
    if !done.done {
        let why = "These are too many messages for one call: name fewer, or have an operator erase them.";
        return Err(SetError::forbidden(why).into());
    }
    Ok(done.emails + done.notes)
}
