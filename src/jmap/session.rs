//! The Session object (RFC 8620 §2), made from plain data: who asks, and what they may see.
//!
//! Invariants: every field of every capability object is there, since clients fail on a missing
//! one; the state is a digest of all the rest, so that it changes exactly when something else
//! does. An account that isn't in here doesn't exist for the request.

use super::capability::{Capability, CapabilitySet, PRINCIPALS_OWNER};
use super::query::Collation;
use super::types::blob_get;
use crate::auth::Login;
use crate::types::limits::{self, *};
use crate::types::{AccountId, MemberRole, PrincipalId};
use serde_json::{Map, Value, json};

/// An account as one principal sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub is_personal: bool,
    /// Nothing in it can be changed by this principal.
    pub is_read_only: bool,
    /// The principal's role, where the account is an inbox; `None` in an account of their own.
    pub role: Option<MemberRole>,
    /// What has methods here. Core is always meant.
    pub capabilities: CapabilitySet,
    /// Who owns it, where a principal does (RFC 9670 §1.5.2).
    pub owner: Option<Owner>,
    /// The principal that asks, as an object of this account (RFC 9670 §1.5.1).
    pub current_user_principal_id: Option<PrincipalId>,
    /// RFC 8621 §1.3.1.
    pub may_create_top_level_mailbox: bool,
}

impl Account {
    /// What stands for the account of objects that are in none.
    pub fn of_nobody() -> Self {
        Self {
            id: AccountId::DIRECTORY,
            name: String::new(),
            is_personal: true,
            is_read_only: false,
            role: None,
            capabilities: CapabilitySet::default(),
            owner: None,
            current_user_principal_id: None,
            may_create_top_level_mailbox: false,
        }
    }

    /// May the principal do what needs this role? In an account of their own, everything.
    pub fn allows(&self, role: MemberRole) -> bool {
        self.role.is_none_or(|own| own >= role)
    }

    /// Is it an inbox?
    pub fn is_inbox(&self) -> bool {
        self.role.is_some()
    }
}

/// The owner of an account, and where that principal is an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub account_id_for_principal: AccountId,
    pub principal_id: PrincipalId,
}

/// The URLs of a session; templates of RFC 6570, level 1, except for `api`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Urls {
    pub api: String,
    pub download: String,
    pub upload: String,
    pub event_source: String,
    /// RFC 8887 §3.
    pub websocket: String,
    /// Where a ticket for it is made.
    pub websocket_ticket: String,
}

/// One principal's session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionData {
    /// What the request is made with; `None` where nothing can be bound to it.
    pub login: Option<Login>,
    pub principal: PrincipalId,
    pub username: String,
    /// In the order in which they are shown.
    accounts: Vec<Account>,
    /// The default account, for each capability that it has.
    primary: Option<AccountId>,
    urls: Urls,
    /// RFC 8621 §1.3.1, `emailQuerySortOptions`.
    sort_options: &'static [&'static str],
    /// RFC 9749 §3.
    application_server_key: String,
    state: String,
}

impl SessionData {
    pub fn new(
        principal: PrincipalId,
        username: String,
        accounts: Vec<Account>,
        primary: Option<AccountId>,
        urls: Urls,
        sort_options: &'static [&'static str],
        application_server_key: String,
    ) -> Self {
        let mut session = Self {
            login: None,
            principal,
            username,
            accounts,
            primary,
            urls,
            sort_options,
            application_server_key,
            state: String::new(),
        };
        let digest = blake3::hash(Value::Object(session.members()).to_string().as_bytes());
        session.state = digest.to_hex().chars().take(16).collect();
        session
    }

    /// The session of a login that objects can be bound to.
    pub fn of_login(mut self, login: Login) -> Self {
        self.login = Some(login);
        self
    }

    /// The account, if the principal sees it.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// All accounts that the principal sees.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// `sessionState` of a response, `state` of the session.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The Session object.
    pub fn to_json(&self) -> Value {
        let mut members = self.members();
        members.insert("state".into(), self.state.as_str().into());
        Value::Object(members)
    }

    fn members(&self) -> Map<String, Value> {
        let accounts = self.accounts.iter().map(|one| (one.id.to_string(), self.account_json(one)));
        let primary = self.primary.and_then(|id| self.account(id));
        let primary_accounts = primary.into_iter().flat_map(|account| {
            // RFC 8620 §2 advises against core here; clients fail without it, none with it.
            let known = Capability::ALL.into_iter().filter(|&one| has(account, one));
            known.map(|one| (one.uri().to_owned(), Value::from(account.id.to_string())))
        });
        let mut out = Map::new();
        out.insert("capabilities".into(), self.capabilities());
        out.insert("accounts".into(), Value::Object(accounts.collect()));
        out.insert("primaryAccounts".into(), Value::Object(primary_accounts.collect()));
        out.insert("username".into(), self.username.as_str().into());
        out.insert("apiUrl".into(), self.urls.api.as_str().into());
        out.insert("downloadUrl".into(), self.urls.download.as_str().into());
        out.insert("uploadUrl".into(), self.urls.upload.as_str().into());
        out.insert("eventSourceUrl".into(), self.urls.event_source.as_str().into());
        out
    }

    /// The `capabilities` of the session: what the server can do at all.
    fn capabilities(&self) -> Value {
        let urls = &self.urls;
        let collations: Vec<&str> = Collation::ALL.into_iter().map(Collation::name).collect();
        let core = json!({
            "maxSizeUpload": limits::UPLOAD_SIZE_BYTES_MAX,
            "maxConcurrentUpload": limits::UPLOADS_CONCURRENT_MAX,
            "maxSizeRequest": limits::REQUEST_SIZE_BYTES_MAX,
            "maxConcurrentRequests": limits::REQUESTS_CONCURRENT_MAX,
            "maxCallsInRequest": limits::CALLS_IN_REQUEST_MAX,
            "maxObjectsInGet": limits::OBJECTS_IN_GET_MAX,
            "maxObjectsInSet": limits::OBJECTS_IN_SET_MAX,
            "collationAlgorithms": collations
        });
        let object = |one| match one {
            Capability::Core => core.clone(),
            Capability::WebSocket => json!({"url": urls.websocket, "supportsPush": true}),
            Capability::WebSocketTicket => json!({
                "generationEndpoint": urls.websocket_ticket,
                "revocationEndpoint": urls.websocket_ticket
            }),
            Capability::WebPushVapid => json!({"applicationServerKey": self.application_server_key}),
            _ => json!({}),
        };
        Value::Object(Capability::ALL.into_iter().map(|one| (one.uri().to_owned(), object(one))).collect())
    }

    /// The Account object, as in the session.
    pub fn account_json(&self, account: &Account) -> Value {
        let known = Capability::ALL.into_iter().filter(|&one| has(account, one));
        let mut objects: Map<String, Value> =
            known.map(|one| (one.uri().to_owned(), self.account_capability(account, one))).collect();
        if let Some(owner) = account.owner {
            let owner = json!({
                "accountIdForPrincipal": owner.account_id_for_principal.to_string(),
                "principalId": owner.principal_id.to_string()
            });
            objects.insert(PRINCIPALS_OWNER.into(), owner);
        }
        json!({
            "name": account.name,
            "isPersonal": account.is_personal,
            "isReadOnly": account.is_read_only,
            "accountCapabilities": objects
        })
    }

    fn account_capability(&self, account: &Account, capability: Capability) -> Value {
        match capability {
            Capability::Core
            | Capability::Vacation
            | Capability::Quota
            | Capability::Mdn
            | Capability::EmailPush
            | Capability::Activity => json!({}),
            // Of the session alone: no account has these.
            Capability::WebSocket | Capability::WebSocketTicket | Capability::WebPushVapid => json!({}),
            Capability::Mail => json!({
                "maxMailboxesPerEmail": MAILBOXES_PER_EMAIL_MAX,
                "maxMailboxDepth": MAILBOX_DEPTH_MAX,
                "maxSizeMailboxName": MAILBOX_NAME_BYTES_MAX,
                "maxSizeAttachmentsPerEmail": ATTACHMENTS_SIZE_BYTES_MAX,
                "emailQuerySortOptions": self.sort_options,
                "mayCreateTopLevelMailbox": account.may_create_top_level_mailbox
            }),
            Capability::Submission => json!({
                "maxDelayedSend": DELAYED_SEND_SECONDS_MAX,
                "submissionExtensions": submission_extensions()
            }),
            Capability::Principals => json!({
                "currentUserPrincipalId": account.current_user_principal_id.map(|id| id.to_string())
            }),
            Capability::Blob => json!({
                "maxSizeBlobSet": UPLOAD_SIZE_BYTES_MAX,
                "maxDataSources": BLOB_SOURCES_MAX,
                "supportedTypeNames": blob_get::TYPE_NAMES,
                "supportedDigestAlgorithms": blob_get::DIGESTS.map(|(name, _)| name)
            }),
            Capability::Ownership => json!({"myRole": account.role.map(MemberRole::name)}),
            Capability::Status => json!({"maxTags": TAGS_MAX, "maxSizeTag": TAG_BYTES_MAX}),
            Capability::Notes => json!({
                "maxSizeNote": NOTE_BYTES_MAX,
                "maxMentionsPerNote": NOTE_MENTIONS_MAX,
                "maxAttachmentsPerNote": NOTE_ATTACHMENTS_MAX
            }),
            Capability::Locks => json!({
                "minLockSeconds": LOCK_SECONDS_MIN,
                "maxLockSeconds": LOCK_SECONDS_MAX,
                "defaultLockSeconds": LOCK_SECONDS_DEFAULT
            }),
        }
    }
}

/// RFC 8621 §1.3.2: the extensions that a client may use, with their EHLO arguments. RFC 4865 §4
/// gives FUTURERELEASE an interval and a date; only the interval limits here.
fn submission_extensions() -> Value {
    json!({
        "DSN": [],
        "FUTURERELEASE": [DELAYED_SEND_SECONDS_MAX.to_string(), "9999-12-31T23:59:59Z"],
        "SIZE": [UPLOAD_SIZE_BYTES_MAX.to_string()]
    })
}

fn has(account: &Account, capability: Capability) -> bool {
    capability == Capability::Core || account.capabilities.contains(capability)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn account(id: u32, role: Option<MemberRole>) -> Account {
        let mut capabilities = CapabilitySet::of(&[Capability::Mail, Capability::Submission]);
        if role.is_some() {
            Capability::VENDOR.iter().for_each(|&one| capabilities.insert(one));
        }
        Account {
            id: AccountId(id),
            name: format!("account {id}"),
            is_personal: role.is_none(),
            is_read_only: false,
            role,
            capabilities,
            owner: Some(Owner { account_id_for_principal: AccountId(1), principal_id: PrincipalId(2) }),
            current_user_principal_id: Some(PrincipalId(2)),
            may_create_top_level_mailbox: true,
        }
    }

    pub fn session(accounts: Vec<Account>) -> SessionData {
        let urls = Urls {
            api: "https://mail.example/jmap/api".into(),
            download: "https://mail.example/jmap/download/{accountId}/{blobId}/{name}?type={type}".into(),
            upload: "https://mail.example/jmap/upload/{accountId}".into(),
            event_source:
                "https://mail.example/jmap/events?types={types}&closeafter={closeafter}&ping={ping}".into(),
            websocket: "wss://mail.example/jmap/ws".into(),
            websocket_ticket: "https://mail.example/jmap/ws/ticket".into(),
        };
        let primary = accounts.first().map(|account| account.id);
        SessionData::new(
            PrincipalId(2),
            "ann@example.org".into(),
            accounts,
            primary,
            urls,
            &["receivedAt"],
            "key".into(),
        )
    }

    #[test]
    fn the_session_has_every_field_of_every_capability() {
        let session = session(vec![account(1, None), account(2, Some(MemberRole::Agent))]).to_json();
        let core = &session["capabilities"]["urn:ietf:params:jmap:core"];
        for field in [
            "maxSizeUpload",
            "maxConcurrentUpload",
            "maxSizeRequest",
            "maxConcurrentRequests",
            "maxCallsInRequest",
            "maxObjectsInGet",
            "maxObjectsInSet",
        ] {
            assert!(core[field].as_u64().is_some(), "{field}");
        }
        assert_eq!(
            core["collationAlgorithms"],
            json!(["i;ascii-numeric", "i;ascii-casemap", "i;unicode-casemap"])
        );
        assert_eq!(
            session["capabilities"]["urn:ietf:params:jmap:websocket"],
            json!({"url": "wss://mail.example/jmap/ws", "supportsPush": true})
        );
        assert_eq!(
            session["capabilities"]["urn:ietf:params:jmap:webpush-vapid"],
            json!({"applicationServerKey": "key"})
        );
        assert_eq!(
            session["accounts"]["ab"],
            json!({
                "name": "account 1",
                "isPersonal": true,
                "isReadOnly": false,
                "accountCapabilities": {
                    "urn:ietf:params:jmap:core": {},
                    "urn:ietf:params:jmap:mail": {
                        "maxMailboxesPerEmail": MAILBOXES_PER_EMAIL_MAX,
                        "maxMailboxDepth": MAILBOX_DEPTH_MAX,
                        "maxSizeMailboxName": MAILBOX_NAME_BYTES_MAX,
                        "maxSizeAttachmentsPerEmail": ATTACHMENTS_SIZE_BYTES_MAX,
                        "emailQuerySortOptions": ["receivedAt"],
                        "mayCreateTopLevelMailbox": true
                    },
                    "urn:ietf:params:jmap:submission": {
                        "maxDelayedSend": DELAYED_SEND_SECONDS_MAX,
                        "submissionExtensions": {
                            "DSN": [],
                            "FUTURERELEASE": ["31622400", "9999-12-31T23:59:59Z"],
                            "SIZE": ["52428800"]
                        }
                    },
                    "urn:ietf:params:jmap:principals:owner": {
                        "accountIdForPrincipal": "ab",
                        "principalId": "pc"
                    }
                }
            })
        );
        let inbox = &session["accounts"]["ac"]["accountCapabilities"];
        assert_eq!(inbox["https://postroom.dev/jmap/ownership"], json!({"myRole": "agent"}));
        assert_eq!(
            session["primaryAccounts"],
            json!({
                "urn:ietf:params:jmap:core": "ab",
                "urn:ietf:params:jmap:mail": "ab",
                "urn:ietf:params:jmap:submission": "ab"
            })
        );
    }

    #[test]
    fn the_state_changes_when_anything_else_does_and_only_then() {
        let one = session(vec![account(1, None)]);
        assert_eq!(one.state(), session(vec![account(1, None)]).state());
        let mut renamed = account(1, None);
        renamed.name = "another".into();
        assert_ne!(one.state(), session(vec![renamed]).state());
        assert_ne!(one.state(), session(vec![account(1, None), account(2, None)]).state());
    }
}
