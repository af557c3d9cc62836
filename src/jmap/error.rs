//! Every error that JMAP knows, as values: of a request (RFC 8620 §3.6.1), of a method call
//! (§3.6.2) and of one object in a /set (§5.3), with the properties that each must carry.
//!
//! Invariants: a description never tells anything of the server's inside; an error of ours reaches
//! only a client that names a capability of ours, every other client gets the registered error
//! that stands in for it (strict clients fail on unknown types). The store's errors are turned
//! into these here and nowhere else.

use super::capability::{Capability, CapabilitySet};
use crate::inbox::sending::Remember;
use crate::store::StoreError;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

type Text = Cow<'static, str>;

/// Why a whole request was refused. It becomes a problem details object (RFC 7807).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// A capability in `using` that this server doesn't have.
    UnknownCapability(String),
    /// Not `application/json`, or not I-JSON; the text says where.
    NotJson(String),
    /// JSON, but not a Request object; the text says why.
    NotRequest(Text),
    /// Over the named limit.
    Limit(&'static str),
}

impl RequestError {
    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        400
    }

    /// The problem details object.
    pub fn to_json(&self) -> Value {
        let (name, detail) = match self {
            Self::UnknownCapability(uri) => {
                ("unknownCapability", format!("The capability '{uri}' is not supported by this server."))
            }
            Self::NotJson(why) => ("notJSON", format!("The request is not I-JSON: {why}")),
            Self::NotRequest(why) => ("notRequest", format!("The JSON is not a Request object: {why}")),
            Self::Limit(limit) => ("limit", format!("The request exceeds the limit {limit}.")),
        };
        let mut problem = Map::new();
        problem.insert("type".into(), format!("urn:ietf:params:jmap:error:{name}").into());
        if let Self::Limit(limit) = self {
            problem.insert("limit".into(), (*limit).into());
        }
        problem.insert("status".into(), self.status().into());
        problem.insert("detail".into(), detail.into());
        Value::Object(problem)
    }
}

/// The registered types of method-level errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodErrorKind {
    ServerUnavailable,
    ServerFail,
    ServerPartialFail,
    UnknownMethod,
    InvalidArguments,
    InvalidResultReference,
    Forbidden,
    AccountNotFound,
    AccountNotSupportedByMethod,
    AccountReadOnly,
    RequestTooLarge,
    StateMismatch,
    CannotCalculateChanges,
    TooManyChanges,
    AnchorNotFound,
    UnsupportedSort,
    UnsupportedFilter,
    FromAccountNotFound,
    FromAccountNotSupportedByMethod,
    /// RFC 9404 §4.3.
    UnknownDataType,
}

impl MethodErrorKind {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerUnavailable => "serverUnavailable",
            Self::ServerFail => "serverFail",
            Self::ServerPartialFail => "serverPartialFail",
            Self::UnknownMethod => "unknownMethod",
            Self::InvalidArguments => "invalidArguments",
            Self::InvalidResultReference => "invalidResultReference",
            Self::Forbidden => "forbidden",
            Self::AccountNotFound => "accountNotFound",
            Self::AccountNotSupportedByMethod => "accountNotSupportedByMethod",
            Self::AccountReadOnly => "accountReadOnly",
            Self::RequestTooLarge => "requestTooLarge",
            Self::StateMismatch => "stateMismatch",
            Self::CannotCalculateChanges => "cannotCalculateChanges",
            Self::TooManyChanges => "tooManyChanges",
            Self::AnchorNotFound => "anchorNotFound",
            Self::UnsupportedSort => "unsupportedSort",
            Self::UnsupportedFilter => "unsupportedFilter",
            Self::FromAccountNotFound => "fromAccountNotFound",
            Self::FromAccountNotSupportedByMethod => "fromAccountNotSupportedByMethod",
            Self::UnknownDataType => "unknownDataType",
        }
    }
}

/// Why a method call was refused as a whole; nothing of it was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MethodError {
    pub kind: MethodErrorKind,
    pub description: Option<Text>,
}

impl MethodError {
    /// The error with an explanation for a developer.
    pub fn new(kind: MethodErrorKind, description: impl Into<Text>) -> Self {
        Self { kind, description: Some(description.into()) }
    }

    /// `invalidArguments` about the argument `name`.
    pub fn argument(name: &str, why: &str) -> Self {
        Self::new(MethodErrorKind::InvalidArguments, format!("{name}: {why}"))
    }

    /// `serverFail`. The cause goes to the log; the client learns only that it happened.
    pub fn server_fail(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a method call failed");
        Self::new(MethodErrorKind::ServerFail, "An unexpected error occurred; nothing was changed.")
    }

    /// The arguments of the `error` response.
    pub fn into_json(self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("type".into(), self.kind.name().into());
        if let Some(description) = self.description {
            out.insert("description".into(), description.into());
        }
        out
    }
}

impl From<MethodErrorKind> for MethodError {
    fn from(kind: MethodErrorKind) -> Self {
        Self { kind, description: None }
    }
}

impl From<StoreError> for MethodError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskLow { .. } | StoreError::Conflict | StoreError::Dead => {
                tracing::warn!(%error, "a method call is refused for now");
                Self::from(MethodErrorKind::ServerUnavailable)
            }
            StoreError::CommitTooLarge { .. } => Self::new(
                MethodErrorKind::RequestTooLarge,
                "These changes are too large for one call; send fewer objects.",
            ),
            error => Self::server_fail(&error),
        }
    }
}

/// The types of SetErrors, each with the properties that its specification demands.
#[derive(Clone, PartialEq, Debug)]
pub enum SetErrorKind {
    // RFC 8620 §5.3
    Forbidden,
    OverQuota,
    /// `maxSize` in octets where RFC 8621 §7.5 demands it.
    TooLarge {
        max_size: Option<u64>,
    },
    RateLimit,
    NotFound,
    InvalidPatch,
    WillDestroy,
    InvalidProperties {
        properties: Vec<String>,
    },
    Singleton,
    // RFC 8620 §5.4
    AlreadyExists {
        existing_id: String,
    },
    // RFC 8621 §2.5
    MailboxHasChild,
    MailboxHasEmail,
    // RFC 8621 §4.6
    BlobNotFound {
        not_found: Vec<String>,
    },
    TooManyKeywords,
    TooManyMailboxes,
    InvalidEmail {
        properties: Vec<String>,
    },
    // RFC 8621 §7.5
    TooManyRecipients {
        max_recipients: u64,
    },
    NoRecipients,
    InvalidRecipients {
        invalid_recipients: Vec<String>,
    },
    ForbiddenMailFrom,
    ForbiddenFrom,
    ForbiddenToSend,
    CannotUnsend,
    // RFC 9007 §2.1
    MdnAlreadySent,
    /// One of ours, with its properties and what a client gets that doesn't know us.
    Vendor {
        error: VendorError,
        extra: Map<String, Value>,
        fallback: Box<SetErrorKind>,
    },
}

impl SetErrorKind {
    /// Is it another object that stands in the way, and may it go in the same call?
    pub fn is_by_another(&self) -> bool {
        matches!(self, Self::MailboxHasChild)
    }

    /// The name in the protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::OverQuota => "overQuota",
            Self::TooLarge { .. } => "tooLarge",
            Self::RateLimit => "rateLimit",
            Self::NotFound => "notFound",
            Self::InvalidPatch => "invalidPatch",
            Self::WillDestroy => "willDestroy",
            Self::InvalidProperties { .. } => "invalidProperties",
            Self::Singleton => "singleton",
            Self::AlreadyExists { .. } => "alreadyExists",
            Self::MailboxHasChild => "mailboxHasChild",
            Self::MailboxHasEmail => "mailboxHasEmail",
            Self::BlobNotFound { .. } => "blobNotFound",
            Self::TooManyKeywords => "tooManyKeywords",
            Self::TooManyMailboxes => "tooManyMailboxes",
            Self::InvalidEmail { .. } => "invalidEmail",
            Self::TooManyRecipients { .. } => "tooManyRecipients",
            Self::NoRecipients => "noRecipients",
            Self::InvalidRecipients { .. } => "invalidRecipients",
            Self::ForbiddenMailFrom => "forbiddenMailFrom",
            Self::ForbiddenFrom => "forbiddenFrom",
            Self::ForbiddenToSend => "forbiddenToSend",
            Self::CannotUnsend => "cannotUnsend",
            Self::MdnAlreadySent => "mdnAlreadySent",
            Self::Vendor { error, .. } => error.name(),
        }
    }
}

/// The SetErrors of our own capabilities (PRODUCT: Semantics).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VendorError {
    VersionMismatch,
    OwnerMismatch,
    NotDone,
    LockHeld,
    LockLost,
    ConversationChanged,
}

impl VendorError {
    pub const ALL: [VendorError; 6] = [
        Self::VersionMismatch,
        Self::OwnerMismatch,
        Self::NotDone,
        Self::LockHeld,
        Self::LockLost,
        Self::ConversationChanged,
    ];

    /// The name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::VersionMismatch => "versionMismatch",
            Self::OwnerMismatch => "ownerMismatch",
            Self::NotDone => "notDone",
            Self::LockHeld => "lockHeld",
            Self::LockLost => "lockLost",
            Self::ConversationChanged => "conversationChanged",
        }
    }

    /// The capabilities that tell of this error; one of them in `using` is enough.
    pub fn capabilities(self) -> &'static [Capability] {
        match self {
            Self::VersionMismatch => Capability::VENDOR,
            Self::OwnerMismatch => &[Capability::Ownership],
            Self::NotDone => &[Capability::Status],
            Self::LockHeld | Self::LockLost | Self::ConversationChanged => &[Capability::Locks],
        }
    }

    /// The registered type that stands in for it where no other is named.
    fn fallback(self) -> SetErrorKind {
        match self {
            Self::VersionMismatch | Self::OwnerMismatch => SetErrorKind::Forbidden,
            Self::NotDone => SetErrorKind::InvalidProperties { properties: vec!["status".into()] },
            Self::LockHeld | Self::LockLost | Self::ConversationChanged => SetErrorKind::ForbiddenToSend,
        }
    }
}

/// Why one create, update or destroy was refused; the others of the call go on.
#[derive(Clone, PartialEq, Debug)]
pub struct SetError {
    pub kind: SetErrorKind,
    pub description: Option<Text>,
}

impl SetError {
    /// The error with a description.
    pub fn new(kind: SetErrorKind, description: impl Into<Text>) -> Self {
        Self { kind, description: Some(description.into()) }
    }

    /// `invalidProperties` about these properties.
    pub fn properties<S: Into<String>>(
        properties: impl IntoIterator<Item = S>,
        description: impl Into<Text>,
    ) -> Self {
        let properties = properties.into_iter().map(Into::into).collect();
        Self::new(SetErrorKind::InvalidProperties { properties }, description)
    }

    /// `notFound`.
    pub fn not_found() -> Self {
        Self::from(SetErrorKind::NotFound)
    }

    /// `forbidden`, with the reason in plain words.
    pub fn forbidden(description: impl Into<Text>) -> Self {
        Self::new(SetErrorKind::Forbidden, description)
    }

    /// One of ours with its properties. The description must make sense to a client that knows
    /// nothing of our capabilities, since it is all that such a client gets.
    pub fn vendor(error: VendorError, extra: Map<String, Value>, description: impl Into<Text>) -> Self {
        let fallback = Box::new(error.fallback());
        Self::new(SetErrorKind::Vendor { error, extra, fallback }, description)
    }

    /// Names another registered type to stand in for a vendor error.
    pub fn or_plain(mut self, plain: SetErrorKind) -> Self {
        if let SetErrorKind::Vendor { fallback, .. } = &mut self.kind {
            **fallback = plain;
        }
        self
    }

    /// The SetError object as a client with these capabilities may see it.
    pub fn into_json(self, using: CapabilitySet) -> Value {
        let kind = match self.kind {
            SetErrorKind::Vendor { error, fallback, .. }
                if !error.capabilities().iter().any(|&one| using.contains(one)) =>
            {
                *fallback
            }
            kind => kind,
        };
        let mut out = Map::new();
        out.insert("type".into(), kind.name().into());
        if let Some(description) = self.description {
            out.insert("description".into(), description.into());
        }
        push_extra(&mut out, kind);
        Value::Object(out)
    }
}

impl From<SetErrorKind> for SetError {
    fn from(kind: SetErrorKind) -> Self {
        Self { kind, description: None }
    }
}

/// Adds the properties that belong to the type.
fn push_extra(out: &mut Map<String, Value>, kind: SetErrorKind) {
    match kind {
        SetErrorKind::InvalidProperties { properties } | SetErrorKind::InvalidEmail { properties } => {
            out.insert("properties".into(), json!(properties));
        }
        SetErrorKind::AlreadyExists { existing_id } => {
            out.insert("existingId".into(), existing_id.into());
        }
        SetErrorKind::BlobNotFound { not_found } => {
            out.insert("notFound".into(), json!(not_found));
        }
        SetErrorKind::TooLarge { max_size: Some(max_size) } => {
            out.insert("maxSize".into(), max_size.into());
        }
        SetErrorKind::TooManyRecipients { max_recipients } => {
            out.insert("maxRecipients".into(), max_recipients.into());
        }
        SetErrorKind::InvalidRecipients { invalid_recipients } => {
            out.insert("invalidRecipients".into(), json!(invalid_recipients));
        }
        SetErrorKind::Vendor { extra, .. } => out.extend(extra),
        _ => {}
    }
}

/// How a hook of a type says no: to one object, or to the whole call.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    Object(SetError),
    /// The object is refused, and what decides about the next attempt is written all the same.
    Remembered(SetError, Box<Remember>),
    Call(MethodError),
}

impl From<SetError> for Refusal {
    fn from(error: SetError) -> Self {
        Self::Object(error)
    }
}

impl From<SetErrorKind> for Refusal {
    fn from(kind: SetErrorKind) -> Self {
        Self::Object(kind.into())
    }
}

impl From<MethodError> for Refusal {
    fn from(error: MethodError) -> Self {
        Self::Call(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Call(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_error_is_a_problem_details_object() {
        assert_eq!(
            RequestError::Limit("maxSizeRequest").to_json(),
            json!({
                "type": "urn:ietf:params:jmap:error:limit",
                "limit": "maxSizeRequest",
                "status": 400,
                "detail": "The request exceeds the limit maxSizeRequest."
            })
        );
    }

    #[test]
    fn a_client_that_does_not_know_us_gets_registered_set_errors_only() {
        let mut extra = Map::new();
        extra.insert("holderId".into(), "pb".into());
        let error = SetError::vendor(VendorError::LockHeld, extra, "Ann is answering this.");
        let ours = CapabilitySet::of(&[Capability::Core, Capability::Locks]);
        let plain = CapabilitySet::of(&[Capability::Core, Capability::Submission]);
        assert_eq!(
            error.clone().into_json(ours),
            json!({"type": "lockHeld", "description": "Ann is answering this.", "holderId": "pb"})
        );
        assert_eq!(
            error.clone().into_json(plain),
            json!({"type": "forbiddenToSend", "description": "Ann is answering this."})
        );
        let moved = error.or_plain(SetErrorKind::InvalidProperties { properties: vec!["mailboxIds".into()] });
        assert_eq!(
            moved.into_json(plain),
            json!({
                "type": "invalidProperties",
                "description": "Ann is answering this.",
                "properties": ["mailboxIds"]
            })
        );
    }

    #[test]
    fn set_errors_carry_what_their_specification_demands() {
        let using = CapabilitySet::of(&[Capability::Core]);
        for (kind, wanted) in [
            (
                SetErrorKind::AlreadyExists { existing_id: "ma".into() },
                json!({"type": "alreadyExists", "existingId": "ma"}),
            ),
            (
                SetErrorKind::BlobNotFound { not_found: vec!["b1".into()] },
                json!({"type": "blobNotFound", "notFound": ["b1"]}),
            ),
            (SetErrorKind::TooLarge { max_size: Some(7) }, json!({"type": "tooLarge", "maxSize": 7})),
            (SetErrorKind::TooLarge { max_size: None }, json!({"type": "tooLarge"})),
            (
                SetErrorKind::TooManyRecipients { max_recipients: 500 },
                json!({"type": "tooManyRecipients", "maxRecipients": 500}),
            ),
            (
                SetErrorKind::InvalidRecipients { invalid_recipients: vec!["x".into()] },
                json!({"type": "invalidRecipients", "invalidRecipients": ["x"]}),
            ),
            (SetErrorKind::WillDestroy, json!({"type": "willDestroy"})),
        ] {
            assert_eq!(SetError::from(kind).into_json(using), wanted);
        }
    }
}
