//! The master secrets as they lie in their file.
//!
//! ```text
//! offset  bytes
//!      0      8  "artsignr"
//!      8      1  format, 1
//!      9      1  how the file's key is found again, 1 = passphrase, 2 = KMS
//!     10      2  n, the length of what that needs    (integers are big-endian)
//!     12      n  for a passphrase: Argon2id's memory in KiB (4), passes (4), lanes (4), salt (16);
//!                for a KMS: the key's ARN, the signer's trust domain, the file's key as the KMS
//!                has wrapped it, each with its length before it (2)
//!   12+n     28  verifier: nonce and tag over nothing
//!   40+n     12  nonce
//!   52+n      …  sealed: for each epoch, from the first, when it began (seconds since 1970, 8)
//!                and its secret (32)
//!      …     16  tag
//! ```
//!
//! Both seals are AES-256-GCM, bound to all bytes before the verifier, so that no field can be
//! changed alone. `vectors/sealed.json` has an example. Format 1 stays readable; what must be
//! different gets another number.

pub mod kms;
mod passphrase;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::secrets::{Epochs, MOST};
use kms::{KeyArn, KmsError};

pub use kms::KmsSeal;
pub use passphrase::{InvalidPassphrase, Passphrase};

const MAGIC: &[u8; 8] = b"artsignr";
const FORMAT: u8 = 1;
const FIXED: usize = 12;
const TAG: usize = 16;
const VERIFIER: usize = NONCE_LEN + TAG;
const ENTRY: usize = 8 + 32;

const BY_PASSPHRASE: u8 = 1;
const BY_KMS: u8 = 2;

/// No file of ours is longer.
pub(crate) const LONGEST: usize = 8 * 1024 + MOST * ENTRY;

/// Why a file is not opened, or not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is not one of ours.
    #[error("it is not a signer's file")]
    Form,
    /// It is of a later version.
    #[error("it is of format {0}, and this version reads format 1\nhint: use a newer artifactsd")]
    Newer(u8),
    /// It is sealed in a way that is not known here.
    #[error(
        "it is sealed in a way that this version does not know (kind {0})\nhint: use a newer artifactsd"
    )]
    Kind(u8),
    /// It is to be opened by a key of a KMS, and is sealed under a passphrase.
    #[error(
        "it is sealed under a passphrase, and a KMS key was named\nhint: --passphrase-file instead of --kms-key; `artifactsd signer reseal --new-kms-key` seals it by the key"
    )]
    UnderPassphrase,
    /// It is to be opened by a passphrase, and is sealed by a key of a KMS.
    #[error(
        "it is sealed by the KMS key {0}, not under a passphrase\nhint: --kms-key {0}, if that key is yours"
    )]
    ByKms(String),
    /// It names another key of the KMS than its operator does.
    #[error(
        "it is sealed by the KMS key {file}, and {named} was named\nhint: if both are yours, name the first with --kms-key; else somebody has put another file in its place"
    )]
    OtherKey {
        /// What the file says.
        file: String,
        /// What the operator says.
        named: KeyArn,
    },
    /// It is another installation's.
    #[error(
        "it is sealed for the trust domain {file}, and this is {here}\nhint: --trust-domain says which installation's it is"
    )]
    OtherTrustDomain {
        /// What the file says.
        file: String,
        /// What the operator says.
        here: String,
    },
    /// The KMS gives no key.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// What the KMS has opened is not the file's key, or the file's head was changed.
    #[error(
        "the key that the KMS opens is another file's, or its head was changed\nhint: take the copy that you keep of it"
    )]
    Head,
    /// A parameter is out of bounds; nothing was done with it.
    #[error("its {name} is {value}, and between {least} and {most} is taken")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What the file says.
        value: u32,
        /// The least that is taken.
        least: u32,
        /// The most.
        most: u32,
    },
    /// The passphrase is another, or the file's head was changed.
    #[error("the passphrase is not the file's, or its head was changed")]
    Passphrase,
    /// It was changed or cut off behind its head.
    #[error("it was changed or cut off\nhint: take the copy that you keep of it")]
    Damaged,
    /// The cryptographic library fails.
    #[error("the cryptographic library fails at {0}")]
    Crypto(&'static str),
}

/// The key of one file. Neither `Debug` nor `Clone`; wiped when dropped.
pub struct FileKey(Zeroizing<[u8; 32]>);

impl FileKey {
    /// From its bytes.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }
}

/// How the key of a file is found again: by a passphrase, or by a service that keeps a key.
#[async_trait]
pub trait Seal: Send + Sync {
    /// Its number in files.
    fn kind(&self) -> u8;

    /// A new key, and what the file has to say for it to be found again.
    async fn new_key(&self) -> Result<(Vec<u8>, FileKey), SealError>;

    /// The key of the file that says this.
    async fn key_of(&self, parameters: &[u8]) -> Result<FileKey, SealError>;
}

/// A file's bytes, taken apart. Nothing in it is believed before it was opened.
struct Parts<'a> {
    head: &'a [u8],
    kind: u8,
    parameters: &'a [u8],
    verifier: &'a [u8],
    body: &'a [u8],
}

/// Opens a file's bytes.
///
/// # Errors
/// [`SealError`].
pub async fn open(bytes: &[u8], seal: &dyn Seal) -> Result<Epochs, SealError> {
    let parts = Parts::of(bytes)?;
    if parts.kind != seal.kind() {
        return Err(parts.other_way());
    }
    let key = seal.key_of(parts.parameters).await?;
    parts.open(&key)
}

/// Seals epochs under a new key.
///
/// # Errors
/// [`SealError::Crypto`], or what the way of sealing says.
pub async fn seal(epochs: &Epochs, seal: &dyn Seal) -> Result<Vec<u8>, SealError> {
    let (parameters, key) = seal.new_key().await?;
    let nonces = [random()?, random()?];
    render(seal.kind(), &parameters, &key, epochs, nonces)
}

fn render(
    kind: u8,
    parameters: &[u8],
    key: &FileKey,
    epochs: &Epochs,
    nonces: [[u8; NONCE_LEN]; 2],
) -> Result<Vec<u8>, SealError> {
    let length = u16::try_from(parameters.len()).map_err(|_| SealError::Crypto("parameters"))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[FORMAT, kind]);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(parameters);
    let verifier = key.seal(Zeroizing::new(Vec::new()), &bytes, "verifier", nonces[0])?;
    let mut plain = Zeroizing::new(Vec::with_capacity(epochs.current() as usize * ENTRY + TAG));
    for (begun, secret) in epochs.all() {
        plain.extend_from_slice(&begun.to_be_bytes());
        plain.extend_from_slice(secret.expose());
    }
    let body = key.seal(plain, &bytes, "epochs", nonces[1])?;
    bytes.extend_from_slice(&verifier);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, SealError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(SealError::Form)?;
        let [format, kind, high, low, rest @ ..] = rest else {
            return Err(SealError::Form);
        };
        if *format != FORMAT {
            return Err(SealError::Newer(*format));
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (parameters, rest) = rest.split_at_checked(length).ok_or(SealError::Damaged)?;
        let (verifier, body) = rest.split_at_checked(VERIFIER).ok_or(SealError::Damaged)?;
        if bytes.len() > LONGEST {
            return Err(SealError::Damaged);
        }
        Ok(Self {
            head: &bytes[..FIXED + length],
            kind: *kind,
            parameters,
            verifier,
            body,
        })
    }

    /// Why it is not opened by a seal of another kind.
    fn other_way(&self) -> SealError {
        match self.kind {
            BY_PASSPHRASE => SealError::UnderPassphrase,
            BY_KMS => match kms::Parameters::read(self.parameters) {
                Some(parameters) => SealError::ByKms(parameters.key.to_owned()),
                None => SealError::Damaged,
            },
            other => SealError::Kind(other),
        }
    }

    fn open(&self, key: &FileKey) -> Result<Epochs, SealError> {
        let nothing = key.open(self.verifier, self.head, "verifier")?;
        if nothing.is_none_or(|nothing| !nothing.is_empty()) {
            return Err(match self.kind {
                BY_KMS => SealError::Head,
                _ => SealError::Passphrase,
            });
        }
        let plain = key.open(self.body, self.head, "epochs")?;
        let plain = plain.ok_or(SealError::Damaged)?;
        let entries = plain.chunks_exact(ENTRY);
        if plain.is_empty() || !entries.remainder().is_empty() {
            return Err(SealError::Damaged);
        }
        let mut epochs = Epochs::empty();
        for entry in entries {
            let (begun, secret) = entry.split_first_chunk::<8>().ok_or(SealError::Damaged)?;
            let mut copy = Zeroizing::new([0; 32]);
            copy.copy_from_slice(secret);
            let pushed = epochs.push(&copy, i64::from_be_bytes(*begun));
            pushed.ok_or(SealError::Damaged)?;
        }
        Ok(epochs)
    }
}

impl FileKey {
    fn seal(
        &self,
        mut plain: Zeroizing<Vec<u8>>,
        head: &[u8],
        part: &str,
        nonce: [u8; NONCE_LEN],
    ) -> Result<Vec<u8>, SealError> {
        let sealed = self.cipher()?.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context(head, part)),
            &mut *plain,
        );
        sealed.map_err(|_| SealError::Crypto("sealing"))?;
        Ok([&nonce[..], &plain[..]].concat())
    }

    /// `None` where key, head, part or bytes are others.
    fn open(
        &self,
        sealed: &[u8],
        head: &[u8],
        part: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, SealError> {
        let Some((nonce, sealed)) = sealed.split_first_chunk::<NONCE_LEN>() else {
            return Ok(None);
        };
        let mut plain = Zeroizing::new(sealed.to_vec());
        let opened = self.cipher()?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(context(head, part)),
            &mut plain,
        );
        let Ok(length) = opened.map(|plain| plain.len()) else {
            return Ok(None);
        };
        plain.truncate(length);
        Ok(Some(plain))
    }

    fn cipher(&self) -> Result<LessSafeKey, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, self.0.as_slice());
        Ok(LessSafeKey::new(
            key.map_err(|_| SealError::Crypto("the key"))?,
        ))
    }
}

/// Length-prefixed parts, never joined by a separator.
fn context(head: &[u8], part: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [b"artifacts.signer.1", part.as_bytes(), head] {
        let length = u32::try_from(part.len()).expect("heads are at most 64 KiB");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| SealError::Crypto("random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
