//! Key-encryption keys: one for each actor of each operator in each epoch.
//!
//! `KEK = HKDF-SHA256(salt = "artifacts.kek.v2", ikm = K3[epoch],
//! info = "artifacts.cred" ‖ lp(operator) ‖ lp(actor))`, 32 bytes, where operator and actor are
//! their 64 characters and `lp(x)` is the length of `x` in two bytes, big-endian, and then `x`.
//! `vectors/keks.json` has examples. The derivation is fixed; another one would get another salt.

use model::Actor;
use zeroize::Zeroizing;

use crate::primitives::hkdf_sha256;

const SALT: &[u8] = b"artifacts.kek.v2";
const PURPOSE: &[u8] = b"artifacts.cred";

/// A key-encryption key. Neither `Debug` nor `Clone`; wiped when dropped.
pub struct Kek(Zeroizing<[u8; 32]>);

impl Kek {
    pub(crate) fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// A key that was derived elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key's bytes, to hand over or to seal with.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The master secret (K3) of one epoch. Only the signer holds it. Neither `Debug` nor `Clone`;
/// wiped when dropped.
pub struct MasterSecret(Zeroizing<[u8; 32]>);

impl MasterSecret {
    /// A secret that was unsealed, or made anew.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret's bytes, to seal at rest.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key that seals the credentials of an operator's actor in the epoch of the secret.
pub fn derive_cred_kek(secret: &MasterSecret, operator: &Actor, actor: &Actor) -> Kek {
    let mut info = PURPOSE.to_vec();
    push_prefixed(&mut info, operator.as_str());
    push_prefixed(&mut info, actor.as_str());
    let mut key = Zeroizing::new([0; 32]);
    hkdf_sha256(SALT, secret.expose(), &[&info], key.as_mut_slice())
        .expect("HKDF-SHA256 gives up to 8,160 bytes");
    Kek(key)
}

/// `lp(text)`: its length in two bytes, and then itself.
///
/// Only for names of bounded length: actors and services.
pub(crate) fn push_prefixed(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names of actors and services are short");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
