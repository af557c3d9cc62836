//! What the mail types need of the team's rules: who acts, and a rule's no as a SetError.
//!
//! Invariant: the description of every SetError makes sense to a client that knows nothing of our
//! capabilities; the machinery leaves the vendor type out for such a client.

use crate::inbox::desk::{DeskError, Staff};
use crate::inbox::machine::Actor;
use crate::inbox::refusal::Refusal as Rule;
use crate::jmap::context::Ctx;
use crate::jmap::error::{Refusal, SetError, SetErrorKind, VendorError};
use crate::jmap::session::Account;
use crate::types::{EmailId, MemberRole, PrincipalId};
use serde_json::{Map, Value, json};

/// The principal of the request as an actor in an inbox.
pub fn actor(ctx: &Ctx, account: &Account) -> Actor {
    // Only an inbox has roles, and only an inbox has a desk.
    let role = account.role.unwrap_or(MemberRole::Observer);
    Actor::Member { principal: ctx.session.principal, role }
}

/// A rule's no, or the store's failure, as the machinery wants it. `property` is what a standard
/// client changed, where the rule spoke of a property that such a client doesn't know.
pub fn refused(error: DeskError, staff: &Staff, property: &str) -> Refusal {
    match error {
        DeskError::Store(error) => error.into(),
        DeskError::Refused(rule) => set_error(&rule, staff, property).into(),
    }
}

/// A rule's no as a SetError.
pub fn set_error(rule: &Rule, staff: &Staff, property: &str) -> SetError {
    let text = rule.plain_description(&|principal| staff.name_of(principal));
    let changed = SetErrorKind::InvalidProperties { properties: vec![property.to_owned()] };
    match rule {
        Rule::Forbidden(_) | Rule::Merged { .. } => SetError::forbidden(text),
        Rule::InvalidProperties { properties, .. } => SetError::properties(properties.iter().copied(), text),
        Rule::PlainCollision { .. } => SetError::new(SetErrorKind::ForbiddenToSend, text),
        Rule::VersionMismatch { version } => {
            let extra = object(json!({"version": version.to_string()}));
            SetError::vendor(VendorError::VersionMismatch, extra, text)
        }
        Rule::OwnerMismatch { owner, version } => {
            let extra = object(json!({"ownerId": spell(*owner), "version": version.to_string()}));
            SetError::vendor(VendorError::OwnerMismatch, extra, text)
        }
        Rule::NotDone { missing } => {
            let extra = object(json!({"missing": missing}));
            SetError::vendor(VendorError::NotDone, extra, text).or_plain(changed)
        }
        Rule::LockHeld { holder, expires_at } => {
            let extra = object(json!({
                "holderId": holder.to_string(), "expiresAt": expires_at.date().to_string()
            }));
            SetError::vendor(VendorError::LockHeld, extra, text)
        }
        Rule::LockLost { holder, expires_at } => {
            let extra = object(json!({
                "holderId": spell(*holder), "expiresAt": expires_at.map(|at| at.date().to_string())
            }));
            SetError::vendor(VendorError::LockLost, extra, text)
        }
        Rule::ConversationChanged { level, version, emails, reasons, .. } => {
            let emails: Vec<String> = emails.iter().map(EmailId::to_string).collect();
            let extra = object(json!({
                "level": level.name(), "version": version.to_string(), "emailIds": emails, "reasons": reasons
            }));
            SetError::vendor(VendorError::ConversationChanged, extra, text)
        }
    }
}

fn spell(principal: Option<PrincipalId>) -> Option<String> {
    principal.map(|principal| principal.to_string())
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value { members } else { Map::new() }
}
