//! What only our capabilities show of an Email: what the gateway found out about its sender, and why
//! it is in its conversation.

use super::email_view::EmailProperty;
use crate::store::rows::mail::{AuthenticationRow, EvidenceRow};
use crate::types::ConversationId;
use serde_json::{Value, json};

/// `authentication` and `threading`; `None` for every other property.
pub fn value(property: &EmailProperty, evidence: Option<&EvidenceRow>) -> Option<Value> {
    match property {
        EmailProperty::Authentication => {
            Some(evidence.and_then(|row| row.authentication.as_ref()).map_or(Value::Null, authentication))
        }
        EmailProperty::Threading => Some(evidence.map_or(Value::Null, threading)),
        _ => None,
    }
}

/// Whether a property is one of these.
pub fn is_evidence(property: &EmailProperty) -> bool {
    matches!(property, EmailProperty::Authentication | EmailProperty::Threading)
}

fn authentication(row: &AuthenticationRow) -> Value {
    json!({
        "authservId": row.authserv_id,
        "spf": row.result("spf"),
        "dkim": row.result("dkim"),
        "dmarc": row.result("dmarc"),
        "hasFailed": crate::mail::authentication::has_failed(row)
    })
}

fn threading(row: &EvidenceRow) -> Value {
    json!({
        "decidedBy": row.decided_by.name(),
        "emailId": row.matched.map(|id| id.to_string()),
        "alsoConversationIds": row.also.iter().map(ConversationId::to_string).collect::<Vec<_>>(),
        "isStranger": row.stranger,
        "hasFailedAuthentication": row.failed_authentication,
        "forgedReferences": row.forged,
        "cameBackAt": row.came_back_at.map(|at| at.date().to_string())
    })
}
