//! Human passwords: Argon2id, a few at once, in PHC form.
//!
//! Invariant: an attempt costs the same whether or not the name exists.

use super::error::{AuthError, AuthResult};
use crate::types::Random;
use crate::types::limits::PASSWORD_BYTES_MAX;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

/// Memory of one computation; with the two figures below what OWASP advises for Argon2id.
const ARGON2_MEMORY_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;

fn argon2() -> AuthResult<Argon2<'static>> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None)
        .map_err(|_| AuthError::Password { max: PASSWORD_BYTES_MAX })?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The PHC string of a new password. Slow by design; blocks.
pub fn hash(password: &str, random: &Random) -> AuthResult<String> {
    let refused = AuthError::Password { max: PASSWORD_BYTES_MAX };
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(refused);
    }
    let salt = SaltString::encode_b64(&random.bytes::<16>()).map_err(|_| refused.clone())?;
    let hash = argon2()?.hash_password(password.as_bytes(), &salt).map_err(|_| refused)?;
    Ok(hash.to_string())
}

/// Whether the password is the one that was hashed, with the parameters that the hash names.
pub fn verify(password: &str, phc: &str) -> bool {
    let (Ok(argon2), Ok(hash)) = (argon2(), PasswordHash::new(phc)) else { return false };
    password.len() <= PASSWORD_BYTES_MAX && argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_verified_and_another_is_not() {
        let phc = hash("correct horse", &Random::seeded(1)).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify("correct horse", &phc));
        assert!(!verify("correct hors", &phc));
        assert!(!verify("x", "not a hash"));
        assert!(hash("", &Random::seeded(1)).is_err());
    }
}
