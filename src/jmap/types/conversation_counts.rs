//! Conversation/counts: how many conversations stand in the usual queues, in one cheap call. Each
//! figure is the root of a list's tree of counts: nothing is counted here.

use super::conversation::Conversation;
use super::team;
use crate::jmap::args::Args;
use crate::jmap::capability::Capability::{Ownership, Status as StatusCapability};
use crate::jmap::context::Ctx;
use crate::jmap::error::{MethodError, MethodErrorKind};
use crate::jmap::methods::{Method, read};
use crate::jmap::object::Object;
use crate::store::rows::team::Status;
use crate::store::{List, list};
use crate::types::PrincipalId;
use serde_json::{Map, Value, json};

/// One line a method. It needs both capabilities: it speaks of owners and of statuses.
pub static METHODS: &[Method] = &[read("Conversation/counts", Ownership, run)];

/// Runs Conversation/counts.
fn run(ctx: &mut Ctx<'_>, method: &Method, arguments: Map<String, Value>) -> Result<(), MethodError> {
    let mut args = Args::new(arguments);
    let account_id = args.required_string("accountId")?;
    args.finish()?;
    let account = ctx.account(&account_id, method.capability)?;
    if !ctx.using.contains(StatusCapability) {
        let why =
            format!("The capability '{}' must be in \"using\" for this method.", StatusCapability.uri());
        return Err(MethodError::new(MethodErrorKind::UnknownMethod, why));
    }
    let state = Conversation::state(ctx, ctx.reader(), account)?;
    let reader = ctx.reader();
    let total = |list| list::total(reader, account.id, list);
    let queues = |owner: Option<PrincipalId>| -> Result<Value, MethodError> {
        let mut counts = Map::new();
        for status in [Status::Open, Status::Pending, Status::Snoozed] {
            counts.insert(status.name().into(), total(List::ConversationsOf(status as u8, owner))?.into());
        }
        counts.insert("waiting".into(), total(List::ConversationsWaitingFor(owner))?.into());
        Ok(counts.into())
    };
    let mut all = Map::new();
    for status in Status::ALL {
        all.insert(status.name().into(), total(List::ConversationsWithStatus(status as u8))?.into());
    }
    all.insert("waiting".into(), total(List::ConversationsWaiting)?.into());
    let mut of_owners = Map::new();
    for owner in team::staff(ctx, account).roster.members.keys() {
        of_owners.insert(owner.to_string(), queues(Some(*owner))?);
    }
    let unowned = queues(None)?;
    let response = json!({
        "accountId": account_id, "state": state, "all": all, "unowned": unowned, "ofOwners": of_owners
    });
    if let Value::Object(response) = response {
        ctx.respond(method.name, response);
    }
    Ok(())
}
