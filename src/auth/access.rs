//! What a login may do. The one place where membership is checked: everything else asks for an
//! [`Access`], which can be made only here.

use super::directory::View;
use super::login::Login;
use crate::store::rows::directory::PrincipalRow;
use crate::types::{AccountId, MemberRole, PrincipalId};
use std::sync::Arc;

/// Why somebody may use an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// It is their own mail.
    Owner,
    /// They are a member of the inbox.
    Member(MemberRole),
}

/// The proof of a right on an account, as one view of the directory gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    account: AccountId,
    principal: PrincipalId,
    right: Right,
}

impl Access {
    pub fn account(&self) -> AccountId {
        self.account
    }

    pub fn principal(&self) -> PrincipalId {
        self.principal
    }

    pub fn right(&self) -> Right {
        self.right
    }

    /// The role in an inbox; `None` in one's own account.
    pub fn role(&self) -> Option<MemberRole> {
        match self.right {
            Right::Owner => None,
            Right::Member(role) => Some(role),
        }
    }

    pub fn is_inbox(&self) -> bool {
        self.role().is_some()
    }

    /// Every right reads.
    pub fn may_read(&self) -> bool {
        self.at_least(MemberRole::Observer)
    }

    /// Work conversations, draft, send.
    pub fn may_work(&self) -> bool {
        self.at_least(MemberRole::Agent)
    }

    /// Take over from others, and what else a lead does.
    pub fn may_lead(&self) -> bool {
        self.at_least(MemberRole::Lead)
    }

    /// Change the inbox itself.
    pub fn may_administer(&self) -> bool {
        self.at_least(MemberRole::Admin)
    }

    fn at_least(&self, wanted: MemberRole) -> bool {
        self.role().is_none_or(|role| role >= wanted)
    }
}

/// An account as a session shows it (RFC 8620 §2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionAccount {
    pub access: Access,
    pub name: String,
    pub is_personal: bool,
}

/// What a login may see now.
#[derive(Clone)]
pub struct Session {
    view: Arc<View>,
    login: Login,
    accounts: Vec<SessionAccount>,
}

impl Session {
    /// The session of a login; `None` where it no longer holds: disabled, password changed, app
    /// password revoked, or no longer a member of the inbox that it is bound to.
    pub fn of(view: Arc<View>, login: Login) -> Option<Self> {
        let person = view.principal(login.principal)?;
        let fingerprint = || person.password.as_ref().map(|phc| *blake3::hash(phc.as_bytes()).as_bytes());
        let proof_holds = match login.credential {
            Some(id) => view
                .credential(id)
                .is_some_and(|row| row.principal == login.principal && row.inbox == login.inbox),
            None => login.password.is_some() && login.password == fingerprint(),
        };
        if person.disabled || !proof_holds {
            return None;
        }
        let mut accounts = accounts_of(&view, login.principal, person);
        if let Some(inbox) = login.inbox {
            accounts.retain(|account| account.access.account == inbox);
            // Recorded deviation (RFC 8620 §2): some clients take only personal accounts.
            accounts.first_mut()?.is_personal = true;
        }
        Some(Self { view, login, accounts })
    }

    pub fn login(&self) -> &Login {
        &self.login
    }

    pub fn principal(&self) -> PrincipalId {
        self.login.principal
    }

    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The person's address.
    pub fn username(&self) -> &str {
        self.view.principal(self.login.principal).map_or("", |row| row.email.as_str())
    }

    /// The accounts, the person's own first.
    pub fn accounts(&self) -> &[SessionAccount] {
        &self.accounts
    }

    /// The person's own account, else the first inbox.
    pub fn primary(&self) -> Option<AccountId> {
        self.accounts.first().map(|account| account.access.account)
    }

    /// The right on an account; `None` answers `accountNotFound`.
    pub fn access(&self, account: AccountId) -> Option<Access> {
        let found = self.accounts.iter().find(|known| known.access.account == account);
        found.map(|known| known.access)
    }

    /// A text that changes with everything that the Session object shows (RFC 8620 §2).
    pub fn state(&self) -> String {
        let shown: Vec<_> = self
            .accounts
            .iter()
            .map(|account| {
                (account.access.account.0, &account.name, account.is_personal, account.access.right)
            })
            .collect();
        let version = env!("CARGO_PKG_VERSION");
        let whole = format!("{version}{:?}", (self.login.principal.0, self.username(), shown));
        blake3::hash(whole.as_bytes()).to_hex().as_str().chars().take(16).collect()
    }
}

fn accounts_of(view: &View, principal: PrincipalId, person: &PrincipalRow) -> Vec<SessionAccount> {
    let own = person.account.map(|account| (account, Right::Owner));
    let inboxes = view.inboxes_of(principal).iter().map(|(account, role)| (*account, Right::Member(*role)));
    own.into_iter()
        .chain(inboxes)
        .filter_map(|(account, right)| {
            let row = view.account(account)?;
            let address = row.addresses.first().map(ToString::to_string).unwrap_or_default();
            let name = if row.name.is_empty() { address } else { row.name.clone() };
            let is_personal = right == Right::Owner;
            Some(SessionAccount { access: Access { account, principal, right }, name, is_personal })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::House;
    use crate::auth::{Credentials, accounts, credentials};

    #[test]
    fn a_bound_app_password_sees_its_inbox_only_and_as_primary() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let inbox = house.inbox("support@example.com", &[], &[(ada, MemberRole::Agent)]);
        let (id, token) = house.app_password(ada, Some(inbox));
        let login = house.authenticator.try_cached(&Credentials::Bearer { token }).unwrap();
        let session = Session::of(house.directory.current(), login.clone()).unwrap();
        assert_eq!(session.primary(), Some(inbox));
        assert_eq!(session.accounts().len(), 1);
        assert!(session.accounts()[0].is_personal);
        let access = session.access(inbox).unwrap();
        assert!(access.is_inbox() && access.may_work() && !access.may_lead());
        house.change(|txn| credentials::revoke(txn, id)).unwrap();
        assert!(Session::of(house.directory.current(), login).is_none());
    }

    #[test]
    fn a_grant_and_a_revocation_change_the_session_and_its_state() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let inbox = house.inbox("support@example.com", &[], &[]);
        let (_, token) = house.app_password(ada, None);
        let login = house.authenticator.try_cached(&Credentials::Bearer { token }).unwrap();
        let session = || Session::of(house.directory.current(), login.clone()).unwrap();
        let before = session();
        assert_eq!(before.access(inbox), None);
        house.change(|txn| accounts::set_member(txn, inbox, ada, MemberRole::Observer)).unwrap();
        assert!(session().access(inbox).is_some_and(|access| access.may_read() && !access.may_work()));
        assert_ne!(session().state(), before.state());
        house.change(|txn| accounts::remove_member(txn, inbox, ada)).unwrap();
        assert_eq!(session().access(inbox), None);
        assert_eq!(session().state(), before.state());
    }
}
