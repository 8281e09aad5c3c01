//! C2SP chunked-encryption, instantiated as Cobblestone-256: AES-256-GCM under
//! HKDF-Expand-SHA-512, key-committing (<https://c2sp.org/chunked-encryption>).
//!
//! The specification is implemented here on aws-lc-rs. The crate `cobblestone` 0.2 was reviewed
//! for it: it compares the commitment in constant time and before anything else, and its context
//! is what is needed, but it does not hold here. It takes no salt from its caller, so that test
//! vectors and a second implementation cannot be compared byte by byte; it gives the plaintext in
//! memory that is not wiped, and leaves there what it had opened before a later chunk failed; and
//! it brings a second AES, a second SHA-2 and a second random generator into every program that
//! has aws-lc's. Both pass the same Wycheproof file (`tests.rs` beside this).

#[cfg(test)]
mod tests;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::kek::Kek;
use crate::primitives::{Cipher, KEY, NONCE, TAG, hkdf_expand_sha512};

pub(crate) const SALT: usize = 24;
const COMMITMENT: usize = 32;
const CHUNK: usize = 16 * 1024;
const SEALED_CHUNK: usize = CHUNK + TAG;
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// Why a message is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No message is that long: it was cut off, or something was added.
    Length,
    /// Another key, another context, or another salt: nothing was decrypted.
    Commitment,
    /// A chunk was changed.
    Chunk,
}

/// How long the message of a plaintext is.
pub(crate) const fn sealed_length(plaintext: usize) -> usize {
    SALT + COMMITMENT + plaintext + (plaintext / CHUNK + 1) * TAG
}

/// Appends the message to `out`. The salt must never have been used with the key before.
pub(crate) fn seal(
    key: &Kek,
    salt: &[u8; SALT],
    context: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) {
    let keys = Keys::derive(key, salt, context);
    // Reserved as a whole, so that no plaintext stays behind where a vector has grown.
    out.reserve_exact(sealed_length(plaintext.len()));
    out.extend_from_slice(salt);
    out.extend_from_slice(keys.commitment());
    let cipher = keys.cipher();
    for (number, chunk) in chunks(plaintext).enumerate() {
        let start = out.len();
        out.extend_from_slice(chunk);
        let tag = cipher.seal(keys.nonce(number), b"", &mut out[start..]);
        out.extend_from_slice(&tag);
    }
}

/// What [`seal`] was given; nothing of it if any of it was changed.
pub(crate) fn open(
    key: &Kek,
    context: &[u8],
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let (salt, rest) = message.split_first_chunk().ok_or(Refused::Length)?;
    let (commitment, sealed) = rest
        .split_first_chunk::<COMMITMENT>()
        .ok_or(Refused::Length)?;
    // The last chunk is always there and always shorter than the others.
    if sealed.len() % SEALED_CHUNK < TAG {
        return Err(Refused::Length);
    }
    let keys = Keys::derive(key, salt, context);
    if !bool::from(keys.commitment().ct_eq(commitment)) {
        return Err(Refused::Commitment);
    }
    let cipher = keys.cipher();
    let mut plaintext = Zeroizing::new(vec![0; opened_length(sealed.len())]);
    let mut rest = plaintext.as_mut_slice();
    for (number, chunk) in sealed.chunks(SEALED_CHUNK).enumerate() {
        let (opened, after) = rest.split_at_mut(chunk.len() - TAG);
        if !cipher.open(keys.nonce(number), b"", chunk, opened) {
            return Err(Refused::Chunk);
        }
        rest = after;
    }
    Ok(plaintext)
}

/// Whole chunks, and then one that is shorter and may be empty.
fn chunks(plaintext: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (whole, last) = plaintext.split_at(plaintext.len() / CHUNK * CHUNK);
    whole.chunks(CHUNK).chain([last])
}

fn opened_length(sealed: usize) -> usize {
    sealed - (sealed / SEALED_CHUNK + 1) * TAG
}

/// What a message is sealed with: the cipher's key, the base of its nonces, the commitment.
struct Keys(Zeroizing<[u8; KEY + NONCE + COMMITMENT]>);

impl Keys {
    fn derive(key: &Kek, salt: &[u8; SALT], context: &[u8]) -> Self {
        let mut keys = Zeroizing::new([0; KEY + NONCE + COMMITMENT]);
        let info = [LABEL, salt.as_slice(), context];
        hkdf_expand_sha512(key.expose(), &info, keys.as_mut_slice())
            .expect("HKDF-SHA512 gives up to 16,320 bytes");
        Self(keys)
    }

    fn commitment(&self) -> &[u8] {
        &self.0[KEY + NONCE..]
    }

    fn cipher(&self) -> Cipher {
        Cipher::new(self.0.first_chunk().expect("the key comes first"))
    }

    /// The base, with the chunk's number in its last bytes.
    fn nonce(&self, number: usize) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&self.0[KEY..KEY + NONCE]);
        for (byte, counter) in nonce[4..].iter_mut().zip((number as u64).to_be_bytes()) {
            *byte ^= counter;
        }
        nonce
    }
}
