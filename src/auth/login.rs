//! Who is asking: a person's password or an app password.
//!
//! Invariants: a remembered verification holds only for the very hash that it verified, so a
//! password change or a disabling drops it by itself; at most [`ARGON2_PARALLEL_MAX`] guesses are
//! in the making, and the wait is asked again when a guess gets its turn; an unknown name costs what
//! a known one does.

use super::credentials;
use super::directory::{Directory, View};
use super::password;
use super::throttle::Throttle;
use crate::store::rows::push::LoginRow;
use crate::types::limits::{
    ARGON2_PARALLEL_MAX, LOGIN_CACHE_ENTRIES_MAX, LOGIN_WAITING_MAX, PASSWORD_BYTES_MAX,
};
use crate::types::{AccountId, Address, Clock, CredentialId, PrincipalId, Random};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What a request brings (RFC 7617, RFC 6750).
#[derive(Clone)]
pub enum Credentials {
    Basic { user: String, password: String },
    Bearer { token: String },
}

/// What a login proved. It holds as long as [`super::Session::of`] says so.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Login {
    pub principal: PrincipalId,
    /// The one inbox that the app password opens.
    pub inbox: Option<AccountId>,
    /// The app password; `None` for the person's own password.
    pub credential: Option<CredentialId>,
    /// The password hash that was verified, itself hashed; `None` for an app password.
    pub(super) password: Option<[u8; 32]>,
}

impl Login {
    /// The login as a row that is bound to it keeps it.
    pub fn to_row(&self) -> LoginRow {
        let Self { principal, inbox, credential, password } = *self;
        LoginRow { principal, inbox, credential, password }
    }

    /// The login that a row is bound to.
    pub fn from_row(row: &LoginRow) -> Self {
        let LoginRow { principal, inbox, credential, password } = *row;
        Self { principal, inbox, credential, password }
    }
}

/// Why nobody is logged in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoginError {
    #[error("the name or the password is wrong")]
    Refused,
    #[error("too many failed logins; try again in {} s", retry_after.as_secs().max(1))]
    TooSoon { retry_after: Duration },
}

/// Verifies credentials against the current view.
pub struct Authenticator {
    directory: Arc<Directory>,
    clock: Clock,
    random: Random,
    cache_key: [u8; 32],
    /// Keyed hash of (principal, password) → the hash of the PHC string that it fits.
    cache: Mutex<HashMap<[u8; 32], [u8; 32]>>,
    throttle: Throttle,
    turns: Mutex<Turns>,
    turn_ended: Condvar,
    dummy: OnceLock<String>,
}

#[derive(Default)]
struct Turns {
    running: usize,
    waiting: usize,
}

impl Authenticator {
    pub fn new(directory: Arc<Directory>, clock: Clock, random: Random) -> Self {
        Self {
            directory,
            clock,
            cache_key: random.bytes(),
            random,
            cache: Mutex::default(),
            throttle: Throttle::default(),
            turns: Mutex::default(),
            turn_ended: Condvar::new(),
            dummy: OnceLock::new(),
        }
    }

    /// A login that costs no Argon2: an app password, or a password verified before. Never blocks
    /// for long and never counts as an attempt.
    pub fn try_cached(&self, credentials: &Credentials) -> Option<Login> {
        let view = self.directory.current();
        let (user, secret) = match credentials {
            Credentials::Basic { user, password } => (Some(user.as_str()), password),
            Credentials::Bearer { token } => (None, token),
        };
        if let Some(login) = app_password(&view, user, secret) {
            return Some(login);
        }
        let (principal, phc) = password_of(&view, user?)?;
        let fingerprint = *blake3::hash(phc.as_bytes()).as_bytes();
        let known = lock(&self.cache).get(&self.cache_entry(principal, secret)).copied();
        (known == Some(fingerprint)).then(|| own_password(principal, fingerprint))
    }

    /// Logs in, slowly where the password wasn't verified before. Blocks.
    pub fn login(&self, credentials: &Credentials, remote: IpAddr) -> Result<Login, LoginError> {
        if let Some(login) = self.try_cached(credentials) {
            return Ok(login);
        }
        let Credentials::Basic { user, password } = credentials else {
            return self.count_failure("", remote);
        };
        self.check_wait(user, remote)?;
        let _turn = self.take_turn()?;
        if let Some(login) = self.try_cached(credentials) {
            return Ok(login);
        }
        self.check_wait(user, remote)?;
        match self.verify(user, password) {
            Some(login) => {
                self.throttle.succeeded(remote, user);
                Ok(login)
            }
            None => self.count_failure(user, remote),
        }
    }

    fn count_failure(&self, user: &str, remote: IpAddr) -> Result<Login, LoginError> {
        self.check_wait(user, remote)?;
        self.throttle.failed(remote, user, self.clock.now());
        Err(LoginError::Refused)
    }

    fn check_wait(&self, user: &str, remote: IpAddr) -> Result<(), LoginError> {
        match self.throttle.wait(remote, user, self.clock.now()) {
            Some(retry_after) => Err(LoginError::TooSoon { retry_after }),
            None => Ok(()),
        }
    }

    fn verify(&self, user: &str, given: &str) -> Option<Login> {
        let view = self.directory.current();
        let Some((principal, phc)) = password_of(&view, user) else {
            let dummy = || password::hash("nobody's", &self.random).unwrap_or_default();
            password::verify(given, self.dummy.get_or_init(dummy));
            return None;
        };
        if given.len() > PASSWORD_BYTES_MAX || !password::verify(given, phc) {
            return None;
        }
        let fingerprint = *blake3::hash(phc.as_bytes()).as_bytes();
        let mut cache = lock(&self.cache);
        if cache.len() >= LOGIN_CACHE_ENTRIES_MAX {
            cache.clear();
        }
        cache.insert(self.cache_entry(principal, given), fingerprint);
        Some(own_password(principal, fingerprint))
    }

    fn cache_entry(&self, principal: PrincipalId, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.cache_key);
        hasher.update(&principal.0.to_be_bytes()).update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn take_turn(&self) -> Result<Turn<'_>, LoginError> {
        let mut turns = lock(&self.turns);
        if turns.waiting >= LOGIN_WAITING_MAX {
            return Err(LoginError::TooSoon { retry_after: Duration::from_secs(1) });
        }
        turns.waiting += 1;
        while turns.running >= ARGON2_PARALLEL_MAX {
            turns = self.turn_ended.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        turns.waiting -= 1;
        turns.running += 1;
        Ok(Turn(self))
    }
}

/// The right to compute Argon2 now; given back when dropped.
struct Turn<'a>(&'a Authenticator);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.0.turns).running -= 1;
        self.0.turn_ended.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own_password(principal: PrincipalId, fingerprint: [u8; 32]) -> Login {
    Login { principal, inbox: None, credential: None, password: Some(fingerprint) }
}

fn app_password(view: &View, user: Option<&str>, secret: &str) -> Option<Login> {
    let (id, row) = view.credential_by_hash(&credentials::hash(view, secret)?)?;
    let person = view.principal(row.principal)?;
    let is_user = user.is_none_or(|user| person.email.key() == Address::key_of(user));
    (is_user && !person.disabled).then_some(Login {
        principal: row.principal,
        inbox: row.inbox,
        credential: Some(id),
        password: None,
    })
}

fn password_of<'v>(view: &'v View, user: &str) -> Option<(PrincipalId, &'v str)> {
    let id = view.principal_by_email(user)?;
    let row = view.principal(id)?;
    if row.disabled { None } else { Some((id, row.password.as_deref()?)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::people;
    use crate::auth::support::House;
    use crate::types::limits::LOGIN_FAILURES_FREE_MAX;

    fn basic(user: &str, password: &str) -> Credentials {
        Credentials::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn a_verified_password_is_remembered_until_it_changes() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let (here, auth) = (IpAddr::from([127, 0, 0, 1]), &house.authenticator);
        let old = basic("Ada@example.com", "secret of ada@example.com");
        assert_eq!(auth.try_cached(&old), None);
        let login = auth.login(&old, here).unwrap();
        assert_eq!((login.principal, login.inbox), (ada, None));
        assert_eq!(auth.try_cached(&old), Some(login));
        let phc = password::hash("new", &house.store.random).unwrap();
        house.change(|txn| people::set_password(txn, ada, phc)).unwrap();
        assert_eq!(auth.try_cached(&old), None);
        assert_eq!(auth.login(&old, here), Err(LoginError::Refused));
        assert!(auth.login(&basic("ada@example.com", "new"), here).is_ok());
    }

    #[test]
    fn an_app_password_opens_as_token_and_as_password_of_its_own_person() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        house.person("bob@example.com");
        let (id, secret) = house.app_password(ada, None);
        let auth = &house.authenticator;
        let login = auth.try_cached(&Credentials::Bearer { token: secret.clone() }).unwrap();
        assert_eq!((login.principal, login.credential), (ada, Some(id)));
        assert_eq!(auth.try_cached(&basic("ada@example.com", &secret)), Some(login));
        assert_eq!(auth.try_cached(&basic("bob@example.com", &secret)), None);
        house.change(|txn| people::disable(txn, ada)).unwrap();
        assert_eq!(auth.try_cached(&Credentials::Bearer { token: secret }), None);
    }

    #[test]
    fn guesses_wait_after_a_few_failures() {
        let house = House::new();
        let here = IpAddr::from([127, 0, 0, 1]);
        let wrong = basic("nobody@example.com", "x");
        for _ in 0..LOGIN_FAILURES_FREE_MAX {
            assert_eq!(house.authenticator.login(&wrong, here), Err(LoginError::Refused));
        }
        let retry_after = Duration::from_secs(1);
        assert_eq!(house.authenticator.login(&wrong, here), Err(LoginError::TooSoon { retry_after }));
    }
}
