//! Ownership: claim, hand-off, release.
//!
//! Of N parallel claims exactly one wins. A claim sets the owner to oneself; a hand-off sets it to
//! somebody else or to nobody. A change that names no expectation implies "the owner is null or
//! myself". Excepted is a hand-off by the owner (who is "myself" anyway) or by a lead. A lead's
//! *claim* isn't excepted, or two leads would both win one; a lead who takes for themselves says
//! from whom (`ifOwner`, `ifVersion`, or by taking the message out of Assigned/⟨owner⟩).

use super::machine::{Actor, Draft, Expect, Value};
use super::refusal::Refusal;
use crate::store::rows::team::{ActivityKind, ActivityValue, ConversationRow, Reason, Status};
use crate::types::{MemberRole, PrincipalId};

/// Whether `actor` may set the owner to `to`.
pub(super) fn check(
    row: &ConversationRow,
    to: Option<PrincipalId>,
    expect: Expect,
    actor: Actor,
) -> Result<(), Refusal> {
    let Actor::Member { principal, role } = actor else {
        return Ok(());
    };
    let free = row.owner.is_none_or(|owner| owner == principal);
    if free || row.owner == to {
        return Ok(());
    }
    let named = expect.if_version.is_some() || expect.if_owner.is_some();
    let is_hand_off = to != Some(principal);
    let lead = role >= MemberRole::Lead;
    let excepted = lead && is_hand_off;
    if !named && !excepted {
        return Err(Refusal::OwnerMismatch { owner: row.owner, version: row.version });
    }
    if !lead {
        return Err(Refusal::Forbidden("Somebody else owns this conversation; taking it needs a lead."));
    }
    Ok(())
}

/// Sets the owner; whether it is allowed was asked before.
pub(super) fn set_owner(draft: &mut Draft<'_>, to: Option<PrincipalId>) {
    let before = draft.row.owner;
    if before == to {
        return;
    }
    draft.row.owner = to;
    draft.row.owner_set = draft.set_by();
    draft.bump();
    draft.log(ActivityKind::OwnerChanged, Value::principal(before), Value::principal(to));
}

/// Reopened with an owner who is no longer an active member: unowned.
pub(super) fn drop_departed(draft: &mut Draft<'_>) {
    if let Some(owner) = draft.row.owner.filter(|owner| !draft.context.roster.can_own(*owner)) {
        let owner = ActivityValue::Principal(owner);
        draft.while_because(Reason::OwnerInactive, owner, |draft| set_owner(draft, None));
    }
}

/// A member left: their open work becomes visibly unowned. Closed work keeps who did it.
pub(super) fn member_left(draft: &mut Draft<'_>, principal: PrincipalId) {
    draft.because(Reason::MemberLeft, ActivityValue::Principal(principal));
    if draft.row.owner == Some(principal) && draft.row.status != Status::Closed {
        set_owner(draft, None);
    }
    // Whoever may still read here may watch.
    if !draft.context.roster.members.contains_key(&principal) {
        super::change::unwatch(draft, principal);
    }
    draft.effects.push(super::machine::Effect::EndLock { of: Some(principal) });
}
