//! What is used of the cryptographic library: AES-256-GCM and HKDF. One implementation of each,
//! which the library checks against the vectors of Wycheproof and RFC 5869 here.

#[cfg(test)]
mod tests;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA512, Prk, Salt};

pub(crate) const KEY: usize = 32;
pub(crate) const NONCE: usize = aws_lc_rs::aead::NONCE_LEN;
pub(crate) const TAG: usize = 16;

/// More was asked of HKDF than 255 hashes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

/// HKDF-SHA-256, extract and expand.
pub(crate) fn hkdf_sha256(
    salt: &[u8],
    secret: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> Result<(), TooMuch> {
    fill(&Salt::new(HKDF_SHA256, salt).extract(secret), info, out)
}

/// HKDF-Expand-SHA-512 of a key of at most 64 bytes.
pub(crate) fn hkdf_expand_sha512(
    key: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> Result<(), TooMuch> {
    fill(&Prk::new_less_safe(HKDF_SHA512, key), info, out)
}

fn fill(key: &Prk, info: &[&[u8]], out: &mut [u8]) -> Result<(), TooMuch> {
    let expanded = key.expand(info, Length(out.len())).map_err(|_| TooMuch)?;
    expanded.fill(out).map_err(|_| TooMuch)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// AES-256-GCM with one key.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts in place and gives the tag. No nonce may be used twice.
    pub(crate) fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.expect("AES-GCM seals up to 64 GiB");
        tag.as_ref().try_into().expect("the tag has 16 bytes")
    }

    /// Decrypts what is followed by its tag into `out`, which is as long as the text; whether it
    /// is what was sealed.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> bool {
        let Some((text, tag)) = sealed.split_last_chunk::<TAG>() else {
            return false;
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self
            .0
            .open_separate_gather(nonce, Aad::from(aad), text, tag, out);
        opened.is_ok()
    }
}
