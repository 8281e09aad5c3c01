//! A file's key from a passphrase (Argon2id).

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{FileKey, Seal, SealError, random};

/// What is written is the least; what is read must be at least that, and no more than a machine
/// does within some seconds. Memory is in KiB.
const MEMORY: (u32, u32) = (64 << 10, 1 << 20);
const PASSES: (u32, u32) = (3, 16);
const LANES: (u32, u32) = (1, 4);

const SALT: usize = 16;
const LENGTH: usize = 12 + SALT;

/// Shorter ones can be guessed by whoever has the file.
const SHORTEST: usize = 12;

/// Why a text is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the passphrase is too short: whoever gets the file could guess it\nhint: at least 12 characters, better a random text of 24"
)]
pub struct InvalidPassphrase;

/// A passphrase. Neither `Debug` nor `Clone`; wiped when dropped.
pub struct Passphrase(Arc<SecretString>);

impl Passphrase {
    /// A text of 12 characters or more.
    ///
    /// # Errors
    /// [`InvalidPassphrase`].
    pub fn new(text: SecretString) -> Result<Self, InvalidPassphrase> {
        if text.expose_secret().chars().count() < SHORTEST {
            return Err(InvalidPassphrase);
        }
        Ok(Self(Arc::new(text)))
    }

    /// Takes a tenth of a second and more: on a thread of its own, so that nobody waits.
    async fn key(&self, derivation: Derivation) -> Result<FileKey, SealError> {
        let text = Arc::clone(&self.0);
        let key = tokio::task::spawn_blocking(move || derivation.key(&text)).await;
        key.map_err(|_| SealError::Crypto("key derivation"))?
    }
}

/// How a key follows from the passphrase.
struct Derivation {
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT],
}

impl Derivation {
    fn read(parameters: &[u8]) -> Result<Self, SealError> {
        let bytes: &[u8; LENGTH] = parameters.try_into().map_err(|_| SealError::Damaged)?;
        let number = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut salt = [0; SALT];
        salt.copy_from_slice(&bytes[12..]);
        Ok(Self {
            memory: bounded("memory in KiB", number(0), MEMORY)?,
            passes: bounded("number of passes", number(4), PASSES)?,
            lanes: bounded("number of lanes", number(8), LANES)?,
            salt,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        for number in [self.memory, self.passes, self.lanes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes
    }

    fn key(&self, passphrase: &SecretString) -> Result<FileKey, SealError> {
        let failed = |_| SealError::Crypto("key derivation");
        let params = Params::new(self.memory, self.passes, self.lanes, Some(32));
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(failed)?)
            .hash_password_into(
                passphrase.expose_secret().as_bytes(),
                &self.salt,
                key.as_mut_slice(),
            )
            .map_err(failed)?;
        Ok(FileKey(key))
    }
}

#[async_trait]
impl Seal for Passphrase {
    fn kind(&self) -> u8 {
        super::BY_PASSPHRASE
    }

    async fn new_key(&self) -> Result<(Vec<u8>, FileKey), SealError> {
        let derivation = Derivation {
            memory: MEMORY.0,
            passes: PASSES.0,
            lanes: LANES.0,
            salt: random()?,
        };
        Ok((derivation.to_bytes(), self.key(derivation).await?))
    }

    async fn key_of(&self, parameters: &[u8]) -> Result<FileKey, SealError> {
        self.key(Derivation::read(parameters)?).await
    }
}

fn bounded(name: &'static str, value: u32, (least, most): (u32, u32)) -> Result<u32, SealError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(SealError::Parameter {
        name,
        value,
        least,
        most,
    })
}
