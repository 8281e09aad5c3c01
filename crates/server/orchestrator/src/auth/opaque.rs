//! Tokens that are only random: they say nothing, and the database has their hash.

use std::time::Duration;

use api::{ServiceTokenId, Timestamp};
use base::Random;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What service tokens begin with, so that scanners for leaked secrets know them.
pub(crate) const SERVICE_PREFIX: &str = "art_";

/// What bootstrap tokens begin with.
pub(crate) const BOOTSTRAP_PREFIX: &str = "artboot_";

/// For how long a bootstrap token counts.
pub const BOOTSTRAP_LIFETIME: Duration = Duration::from_secs(3600);

/// A new bootstrap token and its hash.
pub fn new_bootstrap(random: &dyn Random) -> (SecretString, Vec<u8>) {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let text = base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
    let token = SecretString::from(format!("{BOOTSTRAP_PREFIX}{text}"));
    let hash = hash(token.expose_secret());
    (token, hash)
}

/// SHA-256. The tokens have 256 random bits: there is nothing to guess, so nothing slower is
/// needed, and looking one up by its hash tells nothing of the others.
pub(crate) fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}

/// The hash of a token, as settings and rows keep it.
pub fn token_hash(token: &str) -> Vec<u8> {
    hash(token)
}

/// Whether a service token counts.
pub(crate) fn counts(
    revoked: Option<Timestamp>,
    ends: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), super::Refused> {
    if revoked.is_some() {
        Err(super::Refused::Revoked)
    } else if ends.is_some_and(|end| end <= now) {
        Err(super::Refused::Expired)
    } else {
        Ok(())
    }
}

/// How the audit names a service token.
pub(crate) fn audit_name(id: ServiceTokenId) -> String {
    format!("token:{id}")
}
