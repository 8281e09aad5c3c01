//! Envelopes of versions 0x01 and 0x02, as existing agentKeys vaults hold them.
//!
//! `version ‖ nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes)`, AES-256-GCM. The key is
//! `SHA-256("agentkeys.kek-derive.v1" ‖ signature)`, where the signature (65 bytes, EIP-191) is
//! that of [`kek_message`]. The additional data is `agentkeys.cred.aad.v1|<wallet>|<service>` in
//! 0x01 and `agentkeys.cred.aad.v2|<actor>|<service>` in 0x02; no part can hold the separator.
//! Neither version has an epoch or a generation, and neither commits to its key: new credentials
//! are sealed in [version 0x10](crate::envelope).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use model::{Actor, ServiceName};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::envelope::{EnvelopeError, Plaintext};
use crate::kek::Kek;
use crate::primitives::{Cipher, NONCE, TAG};

const SMALLEST: usize = 1 + NONCE + TAG;

/// The address of a wallet: `0x` and 40 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wallet(String);

/// Why a text is not the address of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wallet's address is 0x and 40 digits of 0-9 and a-f")]
pub struct InvalidWallet;

impl Wallet {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Wallet {
    type Err = InvalidWallet;

    fn from_str(text: &str) -> Result<Self, InvalidWallet> {
        // The one place that says what an address looks like.
        Actor::from_evm(text).map_err(|_| InvalidWallet)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose credential an older envelope is, in the words of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// Version 0x01: a wallet.
    Wallet(&'a Wallet),
    /// Version 0x02: an actor.
    Actor(&'a Actor),
}

impl Owner<'_> {
    /// The version byte.
    pub fn version(self) -> u8 {
        match self {
            Self::Wallet(_) => 0x01,
            Self::Actor(_) => 0x02,
        }
    }

    fn additional_data(self, service: &ServiceName) -> String {
        match self {
            Self::Wallet(wallet) => format!("agentkeys.cred.aad.v1|{wallet}|{service}"),
            Self::Actor(actor) => format!("agentkeys.cred.aad.v2|{actor}|{service}"),
        }
    }
}

/// What the wallet signs, for the key of one service.
pub fn kek_message(wallet: &Wallet, service: &ServiceName) -> String {
    format!("agentkeys.kek.v1:{wallet}:{service}")
}

/// The key that follows from the signature (r, s, v) of [`kek_message`].
pub fn kek(signature: &[u8; 65]) -> Kek {
    let mut hash = Sha256::new();
    hash.update(b"agentkeys.kek-derive.v1");
    hash.update(signature);
    let mut key = Zeroizing::new([0; 32]);
    // Into its place at once: no copy of it is left on the stack.
    hash.finalize_into((&mut *key).into());
    Kek::new(key)
}

/// Seals a credential under a fresh nonce, in the owner's version.
///
/// # Errors
/// [`EnvelopeError::TooLong`], and [`EnvelopeError::NoRandom`] if there is no nonce to be had.
pub fn seal(
    kek: &Kek,
    owner: Owner<'_>,
    service: &ServiceName,
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let mut nonce = [0; NONCE];
    rand::fill(&mut nonce).map_err(|_| EnvelopeError::NoRandom)?;
    seal_with_nonce(kek, owner, service, plaintext, nonce)
}

/// As [`seal`], with a nonce of the caller's: for vectors and tests.
///
/// # Errors
/// [`EnvelopeError::TooLong`].
pub fn seal_with_nonce(
    kek: &Kek,
    owner: Owner<'_>,
    service: &ServiceName,
    plaintext: &[u8],
    nonce: [u8; NONCE],
) -> Result<Vec<u8>, EnvelopeError> {
    if plaintext.len() > api::vault::LONGEST_PLAINTEXT {
        return Err(EnvelopeError::TooLong);
    }
    let mut envelope = Vec::with_capacity(SMALLEST + plaintext.len());
    envelope.push(owner.version());
    envelope.extend_from_slice(&nonce);
    let start = envelope.len();
    envelope.extend_from_slice(plaintext);
    let data = owner.additional_data(service);
    let tag = Cipher::new(kek.expose()).seal(nonce, data.as_bytes(), &mut envelope[start..]);
    envelope.extend_from_slice(&tag);
    Ok(envelope)
}

/// Opens an envelope of the owner's version, and of no other. Whether it is to be opened at all
/// is for [`OldVersions`](crate::OldVersions) to say.
///
/// # Errors
/// [`EnvelopeError::Version`], [`EnvelopeError::Malformed`] and [`EnvelopeError::Invalid`].
pub fn open(
    kek: &Kek,
    owner: Owner<'_>,
    service: &ServiceName,
    bytes: &[u8],
) -> Result<Plaintext, EnvelopeError> {
    let (&version, rest) = bytes.split_first().ok_or(EnvelopeError::Malformed)?;
    if version != owner.version() {
        return Err(EnvelopeError::Version(version));
    }
    if !is_whole(bytes) {
        return Err(EnvelopeError::Malformed);
    }
    let (nonce, sealed) = rest
        .split_first_chunk::<NONCE>()
        .ok_or(EnvelopeError::Malformed)?;
    let mut plaintext = Zeroizing::new(vec![0; sealed.len() - TAG]);
    let data = owner.additional_data(service);
    let cipher = Cipher::new(kek.expose());
    if !cipher.open(*nonce, data.as_bytes(), sealed, &mut plaintext) {
        return Err(EnvelopeError::Invalid);
    }
    Ok(Plaintext::new(plaintext))
}

/// Whether an older envelope has a possible length.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    (SMALLEST..=SMALLEST + api::vault::LONGEST_PLAINTEXT).contains(&bytes.len())
}
