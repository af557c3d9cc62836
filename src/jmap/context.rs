//! What a method call knows of its request: who asks, what is in use, what was answered before.
//!
//! Invariants: an account that isn't in the session doesn't exist; a creation id is known to later
//! calls only after the call that made it has committed; a call's responses are pushed only after
//! its commit, so that a failure never takes back what a client was told.

use super::capability::{Capability, CapabilitySet};
use super::error::{MethodError, MethodErrorKind};
use super::methods;
use super::reply::Reply;
use super::session::{Account, SessionData};
use crate::inbox::desk::Staff;
use crate::inbox::presence::Presences;
use crate::mail::search::SearchIndex;
use crate::store::engine::Snapshot;
use crate::store::txn::Committed;
use crate::store::{Locked, Read, Store, StoreResult, Ticket, Txn};
use crate::types::limits::REQUEST_TELLS_BYTES_MAX;
use crate::types::{AccountId, MemberRole, PrincipalId};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a request works with beside the store.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    pub store: &'a Store,
    /// Full text; `None` where there is none (tests, fuzzing).
    pub search: Option<&'a SearchIndex>,
    /// Who works in an inbox, by the directory of now.
    pub staff: &'a (dyn Fn(AccountId) -> Arc<Staff> + Sync),
    /// Says no where an account isn't any more, to the one who asks, what the session says. Asked
    /// where its lock was taken after the session was made.
    pub still: &'a (dyn Fn(&Account) -> Result<(), MethodErrorKind> + Sync),
    /// Commits, so that what changes the directory is seen by everybody from then on.
    pub commit: &'a (dyn Fn(Txn<'_>) -> StoreResult<Committed> + Sync),
    /// Who is looking at what.
    pub presences: &'a Presences,
    /// The part after the `@` of the Message-IDs that we make.
    pub hostname: &'a str,
}

/// One request in progress.
pub struct Ctx<'a> {
    pub host: Host<'a>,
    pub store: &'a Store,
    pub session: &'a SessionData,
    pub using: CapabilitySet,
    /// What this request reads; a commit of its own moves it on.
    pub snapshot: Snapshot<'a>,
    created_ids: Map<String, Value>,
    /// Creation ids of the call in progress.
    staged_ids: HashMap<String, String>,
    responses: Vec<Reply>,
    call_id: String,
    locked: Option<Locked>,
    /// The accounts that were told of, so that the response waits until that is durable.
    told: RefCell<BTreeSet<AccountId>>,
    /// What this request may still tell of messages and blobs.
    pub budget: Budget,
}

/// How many octets of messages and blobs one request has read and told, over all its calls.
#[derive(Default, Debug)]
pub struct Budget(Cell<usize>);

impl Budget {
    /// Counts them; `requestTooLarge` beyond what one request gets.
    pub fn spend(&self, octets: usize) -> Result<(), MethodError> {
        let spent = self.0.get().saturating_add(octets);
        self.0.set(spent);
        if spent <= REQUEST_TELLS_BYTES_MAX {
            return Ok(());
        }
        let why = "This is too much for one request: ask for fewer, or in several requests; maxBodyValueBytes cuts bodies.";
        Err(MethodError::new(MethodErrorKind::RequestTooLarge, why))
    }
}

impl<'a> Ctx<'a> {
    /// A request that is about to run; `locked` holds `methods::accounts_written` as far as the
    /// session shows them.
    pub fn new(host: Host<'a>, session: &'a SessionData, using: CapabilitySet, locked: Locked) -> Self {
        let store = host.store;
        Self {
            host,
            store,
            session,
            using,
            snapshot: store.snapshot(),
            created_ids: Map::new(),
            staged_ids: HashMap::new(),
            responses: Vec::new(),
            call_id: String::new(),
            locked: Some(locked),
            told: RefCell::default(),
            budget: Budget::default(),
        }
    }

    /// Where a call that writes nothing reads.
    pub fn reader(&self) -> &dyn Read {
        &self.snapshot
    }

    /// The account with that id, if the session shows it and it has the capability; the checks of
    /// RFC 8620 §3.6.2, in the order in which they tell least.
    pub fn account(&self, id: &str, capability: Capability) -> Result<&'a Account, MethodError> {
        let id = AccountId::parse(id);
        let account = id.and_then(|id| self.session.account(id)).ok_or(MethodErrorKind::AccountNotFound)?;
        if capability != Capability::Core && !account.capabilities.contains(capability) {
            return Err(MethodErrorKind::AccountNotSupportedByMethod.into());
        }
        self.told.borrow_mut().insert(account.id);
        Ok(account)
    }

    /// Who asks, where something of the account is each member's own: in an inbox.
    pub fn member(&self, account: &Account) -> Option<PrincipalId> {
        account.is_inbox().then_some(self.session.principal)
    }

    /// The account, if the principal may write objects that need `role`.
    pub fn writable(
        &self,
        id: &str,
        capability: Capability,
        role: MemberRole,
    ) -> Result<&'a Account, MethodError> {
        let account = self.account(id, capability)?;
        // `accountReadOnly` is only what the Account object says of the whole account; a role that may
        // write some types has no right to others.
        if account.is_read_only {
            return Err(MethodErrorKind::AccountReadOnly.into());
        }
        if !account.allows(role) {
            let why = "Your role in this account does not allow it.";
            return Err(MethodError::new(MethodErrorKind::Forbidden, why));
        }
        Ok(account)
    }

    /// Where objects are that are in no account: the directory, which no session shows.
    pub fn outside_accounts<'n>(&self, of_nobody: &'n Account) -> &'n Account {
        self.told.borrow_mut().insert(of_nobody.id);
        of_nobody
    }

    /// Runs `work` in a transaction on the account, and commits it. After an error nothing has
    /// changed, and no creation id of it is known. The caller has checked the rights.
    /// `work` must not call `write` or `implicit`: the locks are held until it returns.
    pub fn write<R>(
        &mut self,
        account: AccountId,
        work: impl FnOnce(&mut Self, &mut Txn<'_>) -> Result<R, MethodError>,
    ) -> Result<(R, Committed), MethodError> {
        self.write_to(&[account], work)
    }

    /// The same where one transaction is over several accounts.
    pub fn write_to<R>(
        &mut self,
        accounts: &[AccountId],
        work: impl FnOnce(&mut Self, &mut Txn<'_>) -> Result<R, MethodError>,
    ) -> Result<(R, Committed), MethodError> {
        self.store.check_space()?;
        let (locks, anew) = self.take_locks(accounts);
        // A right may have ended before the lock was taken.
        let mut known = accounts.iter().filter(|_| anew).filter_map(|id| self.session.account(*id));
        let known = known.try_for_each(self.host.still);
        let result = match known {
            Ok(()) => self.write_locked(&locks, work),
            Err(kind) => Err(kind.into()),
        };
        // The transaction is gone. After a panic the locks are, too, and are taken anew.
        self.locked = Some(locks);
        if result.is_err() {
            self.staged_ids.clear();
        }
        result
    }

    /// Lets others at the accounts before the next write, which takes their locks anew.
    pub fn let_go(&mut self) {
        self.locked = None;
    }

    fn write_locked<R>(
        &mut self,
        locks: &Locked,
        work: impl FnOnce(&mut Self, &mut Txn<'_>) -> Result<R, MethodError>,
    ) -> Result<(R, Committed), MethodError> {
        let mut txn = self.store.begin(locks);
        let done = work(self, &mut txn)?;
        let committed = (self.host.commit)(txn)?;
        self.snapshot = self.store.snapshot();
        for (creation_id, id) in self.staged_ids.drain() {
            self.created_ids.insert(creation_id, id.into());
        }
        Ok((done, committed))
    }

    /// The locks of the request, with those of the accounts. An account that wasn't foreseen (its id
    /// came by reference) is locked now: all locks are let go and taken anew in their order, so
    /// that two requests can't wait for each other. Nothing is lost by it, since no transaction
    /// outlives its call (RFC 8620 §3.10). Says whether the locks were taken anew.
    fn take_locks(&mut self, accounts: &[AccountId]) -> (Locked, bool) {
        match self.locked.take() {
            Some(locked) if accounts.iter().all(|account| locked.holds(*account)) => (locked, false),
            held => {
                let mut wanted = held.as_ref().map_or_else(Vec::new, |locked| locked.accounts().to_vec());
                drop(held);
                wanted.extend(accounts);
                (self.store.lock_blocking(&wanted), true)
            }
        }
    }

    /// Notes what a creation id of the call in progress stands for.
    pub fn stage_created(&mut self, creation_id: &str, id: &str) {
        self.staged_ids.insert(creation_id.to_owned(), id.to_owned());
    }

    /// Forgets the creation ids of the call in progress, which begins anew.
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
        self.responses.push(Reply::new(name.to_owned(), arguments, call_id));
    }

    /// The same, with a JSON array as text in place of the argument `list`.
    pub fn respond_with_list(&mut self, name: &str, arguments: Map<String, Value>, list: String) {
        let call_id = self.call_id.clone();
        self.responses.push(Reply::new(name.to_owned(), arguments, call_id).with_list(list));
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
            self.respond("error", error.into_json());
        }
    }

    pub(super) fn start(&mut self, call_id: String) {
        self.call_id = call_id;
        self.staged_ids.clear();
    }

    pub(super) fn responses(&self) -> &[Reply] {
        &self.responses
    }

    pub(super) fn set_created_ids(&mut self, created_ids: Map<String, Value>) {
        self.created_ids = created_ids;
    }

    pub(super) fn finish(self) -> (Vec<Reply>, Map<String, Value>, Ticket) {
        // Asked after the last snapshot was taken, a ticket covers all that was told.
        let told = self.told.into_inner();
        let ticket = told.into_iter().map(|account| self.store.ticket_of(account)).max();
        (self.responses, self.created_ids, ticket.unwrap_or_default())
    }
}
