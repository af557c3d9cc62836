//! The directory in memory: an immutable view of account 0, replaced as a whole.
//!
//! Invariants:
//! - A view holds what one commit left, nothing later: it is read from the transaction itself.
//! - A view is installed only after its commit is durable, and never over a newer one.
//! - Every commit to the directory moves account 0's modseq, which is the view's number.

use crate::store::rows::account::AccountState;
use crate::store::rows::directory::*;
use crate::store::rows::{self, Row};
use crate::store::txn::Committed;
use crate::store::{Read, Store, StoreError, StoreResult, Txn, keys};
use crate::types::{AccountId, Address, CredentialId, DataType, MemberRole, PrincipalId};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// The directory as one commit left it.
pub struct View {
    modseq: u64,
    secret: [u8; 32],
    principals: BTreeMap<PrincipalId, PrincipalRow>,
    teams: BTreeMap<PrincipalId, TeamRow>,
    accounts: BTreeMap<AccountId, AccountRow>,
    credentials: BTreeMap<CredentialId, CredentialRow>,
    by_email: HashMap<String, PrincipalId>,
    by_address: HashMap<String, AccountId>,
    by_hash: HashMap<[u8; 32], CredentialId>,
    memberships: HashMap<PrincipalId, Vec<(AccountId, MemberRole)>>,
}

impl View {
    /// Reads account 0, from a snapshot or from a transaction with its own writes.
    pub fn load(read: &dyn Read) -> StoreResult<Self> {
        let directory = AccountId::DIRECTORY;
        let state: AccountState = read.row(directory, ())?.unwrap_or_default();
        let secret: Option<SecretRow> = read.row(directory, ())?;
        let secret =
            secret.ok_or_else(|| StoreError::Corrupt("the server's secret is missing".to_owned()))?;
        let mut view = Self {
            modseq: state.modseq,
            secret: secret.0,
            principals: BTreeMap::new(),
            teams: BTreeMap::new(),
            accounts: BTreeMap::new(),
            credentials: BTreeMap::new(),
            by_email: HashMap::new(),
            by_address: addresses(read)?,
            by_hash: HashMap::new(),
            memberships: HashMap::new(),
        };
        for (id, row) in read.collect_rows::<PrincipalRow>(&keys::all(directory, keys::Kind::Principal))? {
            view.by_email.insert(row.email.key(), PrincipalId(id));
            view.principals.insert(PrincipalId(id), row);
        }
        for (id, row) in read.collect_rows::<TeamRow>(&keys::all(directory, keys::Kind::Team))? {
            view.teams.insert(PrincipalId(id), row);
        }
        for (id, row) in read.collect_rows::<AccountRow>(&keys::all(directory, keys::Kind::Account))? {
            view.add_memberships(AccountId(id), &row);
            view.accounts.insert(AccountId(id), row);
        }
        for (id, row) in read.collect_rows::<CredentialRow>(&keys::all(directory, keys::Kind::Credential))? {
            view.by_hash.insert(row.hash, CredentialId(id));
            view.credentials.insert(CredentialId(id), row);
        }
        Ok(view)
    }

    fn add_memberships(&mut self, id: AccountId, row: &AccountRow) {
        if let AccountKind::Inbox(members) = &row.kind {
            for member in members {
                self.memberships.entry(member.principal).or_default().push((id, member.role));
            }
        }
    }

    /// The directory's position: grows with every commit to it.
    pub fn modseq(&self) -> u64 {
        self.modseq
    }

    /// A key for one purpose, derived from the server's secret. The context is a constant of the
    /// code that says the purpose in full (BLAKE3's rule for `derive_key`).
    pub fn key(&self, context: &'static str) -> [u8; 32] {
        blake3::derive_key(context, &self.secret)
    }

    pub fn principal(&self, id: PrincipalId) -> Option<&PrincipalRow> {
        self.principals.get(&id)
    }

    /// Everybody, disabled ones too, by id.
    pub fn principals(&self) -> impl Iterator<Item = (PrincipalId, &PrincipalRow)> {
        self.principals.iter().map(|(id, row)| (*id, row))
    }

    pub fn team(&self, id: PrincipalId) -> Option<&TeamRow> {
        self.teams.get(&id)
    }

    /// All teams, disabled ones too, by id.
    pub fn teams(&self) -> impl Iterator<Item = (PrincipalId, &TeamRow)> {
        self.teams.iter().map(|(id, row)| (*id, row))
    }

    pub fn account(&self, id: AccountId) -> Option<&AccountRow> {
        self.accounts.get(&id)
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &AccountRow)> {
        self.accounts.iter().map(|(id, row)| (*id, row))
    }

    /// The distribution list that an account is.
    pub fn list(&self, id: AccountId) -> Option<&ListTerms> {
        match &self.accounts.get(&id)?.kind {
            AccountKind::List(terms) => Some(terms),
            AccountKind::Personal(_) | AccountKind::Inbox(_) => None,
        }
    }

    pub fn credential(&self, id: CredentialId) -> Option<&CredentialRow> {
        self.credentials.get(&id)
    }

    /// All app passwords, by id.
    pub fn credentials(&self) -> impl Iterator<Item = (CredentialId, &CredentialRow)> {
        self.credentials.iter().map(|(id, row)| (*id, row))
    }

    /// Who logs in with this address, in any spelling.
    pub fn principal_by_email(&self, email: &str) -> Option<PrincipalId> {
        self.by_email.get(&Address::key_of(email)).copied()
    }

    /// The account that mail to this address goes to.
    pub fn account_by_address(&self, address: &Address) -> Option<AccountId> {
        self.route(address).map(|(account, _)| account)
    }

    /// The account that mail to this address goes to, and RFC 5233's detail where it was needed: the
    /// address itself or an alias, else what is before the first `+` of its local part, else whoever
    /// takes all that is left of the domain (the alias `*@domain`).
    pub fn route(&self, address: &Address) -> Option<(AccountId, Option<String>)> {
        let key = address.key();
        if let Some(account) = self.by_address.get(&key) {
            return Some((*account, None));
        }
        let (local, domain) = key.rsplit_once('@')?;
        if let Some((base, detail)) = local.split_once('+')
            && let Some(account) = self.by_address.get(&format!("{base}@{domain}"))
        {
            return Some((*account, Some(detail.to_owned()).filter(|detail| !detail.is_empty())));
        }
        Some((*self.by_address.get(&format!("*@{domain}"))?, None))
    }

    /// Whether a person or an account has exactly this address.
    pub fn is_taken(&self, address: &Address) -> bool {
        let key = address.key();
        self.by_address.contains_key(&key) || self.by_email.contains_key(&key)
    }

    /// The members of an inbox, disabled people too; none of any other account.
    pub fn members(&self, inbox: AccountId) -> &[Member] {
        match self.accounts.get(&inbox).map(|row| &row.kind) {
            Some(AccountKind::Inbox(members)) => members,
            _ => &[],
        }
    }

    /// The people who may act in an inbox now.
    pub fn active_members(&self, inbox: AccountId) -> impl Iterator<Item = (PrincipalId, MemberRole)> {
        let members = self.members(inbox).iter().map(|member| (member.principal, member.role));
        members.filter(|(id, _)| self.principal(*id).is_some_and(|row| !row.disabled))
    }

    /// The inboxes that a person is a member of, by id, with their role.
    pub fn inboxes_of(&self, principal: PrincipalId) -> &[(AccountId, MemberRole)] {
        self.memberships.get(&principal).map_or(&[], Vec::as_slice)
    }

    /// The app password with this keyed hash.
    pub fn credential_by_hash(&self, hash: &[u8; 32]) -> Option<(CredentialId, &CredentialRow)> {
        let id = *self.by_hash.get(hash)?;
        let row = self.credentials.get(&id)?;
        bool::from(row.hash.ct_eq(hash)).then_some((id, row))
    }
}

fn addresses(read: &dyn Read) -> StoreResult<HashMap<String, AccountId>> {
    let mut found = HashMap::new();
    let mut broken = None;
    let range = keys::all(AccountId::DIRECTORY, keys::Kind::Address);
    read.scan(&range, false, &mut |key, value| match rows::decode::<AccountId>(value) {
        Ok(account) => {
            found.insert(String::from_utf8_lossy(keys::last_name(key)).into_owned(), account);
            ControlFlow::Continue(())
        }
        Err(error) => {
            broken = Some(error);
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(found), Err)
}

/// The directory that logins, sessions and intake look into.
pub struct Directory {
    current: Mutex<Arc<View>>,
    /// The view that a commit in progress makes; its transaction holds the directory's lock.
    coming: Mutex<Option<Arc<View>>>,
    changed: tokio::sync::watch::Sender<u64>,
}

impl Directory {
    /// Reads the directory of an open store, and gives a new store its secret. Blocks.
    pub fn open(store: &Store) -> StoreResult<Arc<Self>> {
        let locked = store.lock_blocking(&[AccountId::DIRECTORY]);
        let mut txn = store.begin(&locked);
        let secret: Option<SecretRow> = (&txn as &dyn Read).row(AccountId::DIRECTORY, ())?;
        if secret.is_none() {
            let key = SecretRow::key(AccountId::DIRECTORY, ());
            txn.put_at(key, &SecretRow(store.random.bytes()))?;
            store.durable_blocking(txn.commit()?.ticket)?;
        }
        let view = View::load(&store.snapshot())?;
        let changed = tokio::sync::watch::Sender::new(view.modseq);
        let directory =
            Arc::new(Self { current: Mutex::new(Arc::new(view)), coming: Mutex::new(None), changed });
        let weak = Arc::downgrade(&directory);
        store.hub().before_directory(Box::new(move |states| {
            if let Some(directory) = weak.upgrade() {
                directory.settle(states.of(DataType::Principal));
            }
        }));
        Ok(directory)
    }

    /// The newest durable view.
    pub fn current(&self) -> Arc<View> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings with the modseq of each newly installed view, so that open channels look again.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Commits a transaction. Where it writes the directory, waits until it is durable, and lets
    /// everybody see it. The caller holds the locks until this returns: whoever locks one of these
    /// accounts afterwards sees the new rights. Blocks.
    pub fn commit(&self, mut txn: Txn<'_>) -> StoreResult<Committed> {
        if !txn.logs(AccountId::DIRECTORY, DataType::Principal) {
            return txn.commit();
        }
        let store = txn.store();
        let mut view = View::load(&txn)?;
        view.modseq = txn.modseq(AccountId::DIRECTORY)?;
        // The flusher settles it before it tells anybody of the commit.
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
        let done = txn.commit().and_then(|done| store.durable_blocking(done.ticket).map(|()| done));
        match &done {
            Ok(_) => self.settle(u64::MAX),
            Err(_) => *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = None,
        }
        done
    }

    /// What a commit made becomes current, once everything up to that modseq is durable.
    fn settle(&self, upto: u64) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = coming.take_if(|view| view.modseq <= upto) {
            self.install(view);
        }
    }

    /// Makes a durable view the current one, unless a newer one already is.
    fn install(&self, view: Arc<View>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if view.modseq > current.modseq {
            let modseq = view.modseq;
            *current = view;
            self.changed.send_replace(modseq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::{House, address};

    #[test]
    fn mail_finds_its_account_by_address_alias_case_and_detail() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let aliases =
            ["help@example.com", "*@all.example", "hilfe@müller.example", "*@xn--bcher-kva.example"];
        let inbox = house.inbox("support@example.com", &aliases, &[]);
        let view = house.directory.current();
        for (text, account) in [
            ("Support@Example.com", Some(inbox)),
            ("help@example.com", Some(inbox)),
            ("help+billing@example.com", Some(inbox)),
            ("help+a+b@example.com", Some(inbox)),
            ("+help@example.com", None),
            ("nobody@example.com", None),
            ("nobody+x@all.example", Some(inbox)),
            ("ada@all.example", Some(inbox)),
            ("Hilfe+x@xn--mller-kva.example", Some(inbox)),
            ("hilfe@MÜLLER.example", Some(inbox)),
            ("anybody@bücher.example", Some(inbox)),
        ] {
            assert_eq!(view.account_by_address(&address(text)), account, "{text}");
        }
        assert_eq!(view.principal_by_email("ADA@example.com"), Some(ada));
    }

    #[test]
    fn an_older_view_never_replaces_a_newer_one() {
        let house = House::new();
        let old = View::load(&house.store.snapshot()).unwrap();
        house.person("ada@example.com");
        house.directory.install(Arc::new(old));
        assert!(house.directory.current().principal_by_email("ada@example.com").is_some());
    }

    #[test]
    fn a_reopened_directory_is_the_same() {
        let house = House::new();
        house.person("ada@example.com");
        let again = Directory::open(&house.store).unwrap();
        assert_eq!(again.current().modseq(), house.directory.current().modseq());
        assert_eq!(again.current().key("postroom test"), house.directory.current().key("postroom test"));
    }
}
