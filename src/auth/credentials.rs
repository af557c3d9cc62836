//! App passwords: 140 random bits, shown once, kept as a keyed hash.
//!
//! Because they are random, a fast keyed hash is enough: there is nothing to guess, and whoever
//! steals the stored hashes without the server's key can't even test one.

use super::directory::View;
use super::error::{AuthError, AuthResult};
use super::people::{self, checked_name, touch};
use crate::store::Read;
use crate::store::Txn;
use crate::store::rows::directory::{AccountKind, AccountRow, CredentialRow};
use crate::types::{AccountId, CredentialId, PrincipalId, Random};

const KEY_CONTEXT: &str = "postroom.dev 2026-11 app password hash";
const PREFIX: &str = "pr";
const GROUPS: usize = 7;
const GROUP_CHARS: usize = 4;
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A fresh secret, `pr-xxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxx`: 28 digits of 5 bits.
pub fn new_secret(random: &Random) -> String {
    let bytes: [u8; GROUPS * GROUP_CHARS] = random.bytes();
    let mut secret = PREFIX.to_owned();
    for group in bytes.chunks(GROUP_CHARS) {
        secret.push('-');
        // 256 is a multiple of 32, so the digits are even.
        secret.extend(
            group
                .iter()
                .filter_map(|byte| DIGITS.get(usize::from(byte % 32)))
                .map(|digit| char::from(*digit)),
        );
    }
    secret
}

/// The keyed hash of what may be an app password; dashes, spaces and case don't count. `None`
/// where it can't be one.
pub fn hash(view: &View, text: &str) -> Option<[u8; 32]> {
    let whole = PREFIX.len() + GROUPS * GROUP_CHARS;
    if text.len() > whole * 4 {
        return None;
    }
    let plain = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_lowercase());
    let plain: String = plain.collect();
    let digits = plain.strip_prefix(PREFIX)?;
    let fits = plain.len() == whole && digits.bytes().all(|byte| DIGITS.contains(&byte));
    fits.then(|| *blake3::keyed_hash(&view.key(KEY_CONTEXT), plain.as_bytes()).as_bytes())
}

/// Adds an app password by the hash of its secret.
pub fn add(
    txn: &mut Txn<'_>,
    principal: PrincipalId,
    inbox: Option<AccountId>,
    label: &str,
    hash: [u8; 32],
) -> AuthResult<CredentialId> {
    let label = checked_name(label)?;
    let person = people::get(txn, principal)?;
    if person.disabled {
        return Err(AuthError::Disabled(person.email));
    }
    if let Some(inbox) = inbox {
        let row: Option<AccountRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, inbox)?;
        let row = row.ok_or_else(|| AuthError::UnknownInbox(inbox.to_string()))?;
        let own = row.addresses.first().cloned().ok_or_else(|| AuthError::UnknownInbox(inbox.to_string()))?;
        let member = matches!(&row.kind, AccountKind::Inbox(members) if members.iter().any(|m| m.principal == principal));
        if !member {
            return Err(AuthError::NotMember { person: person.email, inbox: own });
        }
    }
    let id = CredentialId(txn.allot(AccountId::DIRECTORY, |next| &mut next.credential)?);
    let created_at = txn.store().clock.now();
    txn.insert(AccountId::DIRECTORY, id, &CredentialRow { principal, inbox, label, hash, created_at })?;
    touch(txn, principal)?;
    Ok(id)
}

/// Takes an app password away; what it opened answers 401 from here on.
pub fn revoke(txn: &mut Txn<'_>, id: CredentialId) -> AuthResult<()> {
    let row: Option<CredentialRow> = (txn as &dyn Read).row(AccountId::DIRECTORY, id)?;
    let row = row.ok_or(AuthError::UnknownCredential(id))?;
    txn.remove::<CredentialRow>(AccountId::DIRECTORY, id)?;
    touch(txn, row.principal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::support::House;

    #[test]
    fn a_secret_is_readable_and_its_spelling_is_forgiving() {
        let house = House::new();
        let view = house.directory.current();
        let secret = new_secret(&house.store.random);
        assert_eq!(secret.len(), 2 + 7 * 5);
        let known = hash(&view, &secret);
        assert!(known.is_some());
        assert_eq!(hash(&view, &secret.to_uppercase().replace('-', " ")), known);
        for wrong in [
            "",
            "pr",
            "pr-aaaa",
            "password",
            &secret[..36],
            &format!("{secret}a"),
            &secret.replace("pr-", "px-"),
        ] {
            assert_eq!(hash(&view, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_app_password_is_bound_to_an_inbox_of_the_person_only() {
        let house = House::new();
        let ada = house.person("ada@example.com");
        let inbox = house.inbox("support@example.com", &[], &[]);
        let refused = house.change(|txn| add(txn, ada, Some(inbox), "", [1; 32])).unwrap_err();
        assert_eq!(refused.to_string(), "ada@example.com is no member of support@example.com");
    }
}
