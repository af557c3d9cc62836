//! What a method call knows of its request: who asks, what is in use, what was answered before.
//!
//! Invariants: an account that isn't in the session doesn't exist; a creation id is known to later
//! calls only after the call that made it has committed; a call's responses are pushed only after
//! its commit, so that a failure never takes back what a client was told.

use super::backing::{Commit, Reader, Server, Snapshot, Txn};
use super::capability::{Capability, CapabilitySet};
use super::error::{MethodError, MethodErrorKind};
use super::methods;
use super::request::Invocation;
use super::session::{Account, SessionData};
use crate::types::{AccountId, MemberRole};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// Gets the lock of an account that wasn't foreseen by `methods::accounts_written`; false where
/// it can't be had in time, and the call answers `serverUnavailable`. It must not wait without
/// bound: the request holds other locks already.
pub type LockHook<'a> = Box<dyn FnMut(AccountId) -> bool + 'a>;

/// One request in progress.
pub struct Ctx<'a> {
    pub server: &'a Server,
    pub session: &'a SessionData,
    pub using: CapabilitySet,
    /// What this request reads; a commit of its own moves it on.
    pub snapshot: Snapshot,
    created_ids: Map<String, Value>,
    /// Creation ids of the call in progress.
    staged_ids: HashMap<String, String>,
    responses: Vec<Invocation>,
    call_id: String,
    locked: Vec<AccountId>,
    lock: LockHook<'a>,
}

impl<'a> Ctx<'a> {
    /// A request that is about to run. `locked` are the accounts whose locks the caller holds.
    pub fn new(
        server: &'a Server,
        session: &'a SessionData,
        using: CapabilitySet,
        locked: Vec<AccountId>,
        lock: LockHook<'a>,
    ) -> Self {
        Self {
            server,
            session,
            using,
            snapshot: server.snapshot(),
            created_ids: Map::new(),
            staged_ids: HashMap::new(),
            responses: Vec::new(),
            call_id: String::new(),
            locked,
            lock,
        }
    }

    /// Where a call that writes nothing reads.
    pub fn reader(&self) -> Reader<'_> {
        Reader::Snapshot(&self.snapshot)
    }

    /// The account with that id, if the session shows it and it has the capability; the checks of
    /// RFC 8620 §3.6.2, in the order in which they tell least.
    pub fn account(&self, id: &str, capability: Capability) -> Result<&'a Account, MethodError> {
        let id = AccountId::parse(id);
        let account = id.and_then(|id| self.session.account(id)).ok_or(MethodErrorKind::AccountNotFound)?;
        if capability != Capability::Core && !account.capabilities.contains(capability) {
            return Err(MethodErrorKind::AccountNotSupportedByMethod.into());
        }
        Ok(account)
    }

    /// The account, if the principal may write objects that need `role`.
    pub fn writable(
        &self,
        id: &str,
        capability: Capability,
        role: MemberRole,
    ) -> Result<&'a Account, MethodError> {
        let account = self.account(id, capability)?;
        if account.is_read_only || !account.allows(role) {
            return Err(MethodErrorKind::AccountReadOnly.into());
        }
        Ok(account)
    }

    /// A transaction on the account, with its lock.
    pub fn begin(&mut self, account: AccountId) -> Result<Txn, MethodError> {
        if !self.locked.contains(&account) {
            if !(self.lock)(account) {
                return Err(MethodErrorKind::ServerUnavailable.into());
            }
            self.locked.push(account);
        }
        self.server.begin(account)
    }

    /// Commits, makes the staged creation ids known, and reads from after the commit from now on.
    pub fn commit(&mut self, txn: Txn) -> Result<Commit, MethodError> {
        let commit = self.server.commit(txn)?;
        self.snapshot = self.server.snapshot();
        for (creation_id, id) in self.staged_ids.drain() {
            self.created_ids.insert(creation_id, id.into());
        }
        Ok(commit)
    }

    /// Notes what a creation id of the call in progress stands for.
    pub fn stage_created(&mut self, creation_id: &str, id: &str) {
        self.staged_ids.insert(creation_id.to_owned(), id.to_owned());
    }

    /// Forgets the creation ids of a call that did not commit.
    pub fn drop_staged(&mut self) {
        self.staged_ids.clear();
    }

    /// The id that `text` stands for: itself, or what `#creationId` was created as (RFC 8620
    /// §5.3); `None` where that is not known.
    pub fn resolve_id<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let Some(creation_id) = text.strip_prefix('#') else {
            return Some(Cow::Borrowed(text));
        };
        let staged = self.staged_ids.get(creation_id).map(String::as_str);
        let known = staged.or_else(|| self.created_ids.get(creation_id).and_then(Value::as_str))?;
        Some(Cow::Owned(known.to_owned()))
    }

    /// Adds a response to the call in progress. A method may add more than one.
    pub fn respond(&mut self, name: &str, arguments: Map<String, Value>) {
        let call_id = self.call_id.clone();
        self.responses.push(Invocation { name: name.to_owned(), arguments, call_id });
    }

    /// Runs a method as a part of the call in progress, such as the Email/set that follows an
    /// EmailSubmission/set (RFC 8621 §7.5). Its response, or its error, follows with the same
    /// call id; the capabilities in use don't matter.
    pub fn implicit(&mut self, name: &str, arguments: Map<String, Value>) {
        let result = match methods::find(name) {
            Some(method) => (method.run)(self, method, arguments),
            None => Err(MethodErrorKind::UnknownMethod.into()),
        };
        if let Err(error) = result {
            self.drop_staged();
            self.respond("error", error.into_json());
        }
    }

    pub(super) fn start(&mut self, call_id: String) {
        self.call_id = call_id;
        self.staged_ids.clear();
    }

    pub(super) fn responses(&self) -> &[Invocation] {
        &self.responses
    }

    pub(super) fn set_created_ids(&mut self, created_ids: Map<String, Value>) {
        self.created_ids = created_ids;
    }

    pub(super) fn finish(&mut self) -> (Vec<Invocation>, Map<String, Value>) {
        (std::mem::take(&mut self.responses), std::mem::take(&mut self.created_ids))
    }
}
