//! The file keyring's cryptography: Argon2id makes the key, AES-256-GCM seals.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::header::Header;
use crate::Result;
use crate::keyring::KeyringError;

/// The key of a keyring. Neither `Debug` nor `Clone`; wiped when dropped.
pub(super) struct Key(Zeroizing<[u8; Key::LENGTH]>);

/// A sealed text is its nonce, the text as long as it was, and this many bytes.
const TAG: usize = 16;

impl Key {
    /// 256 bits.
    pub(super) const LENGTH: usize = 32;

    /// Derives the key from a password. Takes as long and as much memory as the header says.
    pub(super) fn derive(password: &str, header: &Header) -> Result<Self> {
        let failed = |_| crypto("key derivation");
        let params = Params::new(
            header.memory,
            header.passes,
            header.lanes,
            Some(Self::LENGTH),
        )
        .map_err(failed)?;
        let mut key = Zeroizing::new([0; Self::LENGTH]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &header.salt, key.as_mut_slice())
            .map_err(failed)?;
        Ok(Self(key))
    }

    /// A key that was derived before; `None` where the length is wrong.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; Self::LENGTH] = bytes.try_into().ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    /// The key itself, for the kernel's keyring only.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Seals under a fresh random nonce, which comes first. A key seals some thousands of
    /// texts in its life, far below the 2^32 up to which random nonces are safe
    /// (NIST SP 800-38D, section 8.3).
    pub(super) fn seal(&self, text: &[u8], context: &Context) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(NONCE_LEN + text.len() + TAG));
        sealed.extend_from_slice(text);
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&context.0),
                &mut *sealed,
            )
            .map_err(|_| crypto("sealing"))?;
        Ok([&nonce[..], &sealed[..]].concat())
    }

    /// Opens what [`seal`](Self::seal) gave; `None` where key, context or bytes are others.
    pub(super) fn open(
        &self,
        sealed: &[u8],
        context: &Context,
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some((nonce, sealed)) = sealed.split_first_chunk::<NONCE_LEN>() else {
            return Ok(None);
        };
        let mut text = Zeroizing::new(sealed.to_vec());
        let opened = self.cipher()?.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(&context.0),
            &mut text,
        );
        let Ok(length) = opened.map(|text| text.len()) else {
            return Ok(None);
        };
        text.truncate(length);
        Ok(Some(text))
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, self.expose()).map_err(|_| crypto("the key"))?;
        Ok(LessSafeKey::new(key))
    }
}

/// What a sealed text is bound to: length-prefixed parts, never joined by a separator.
pub(super) struct Context(Vec<u8>);

impl Context {
    /// The parts, each of at most 65,535 bytes.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            let length = u16::try_from(part.len()).expect("contexts are short: names and headers");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }
}

/// Random bytes of the cryptographic generator.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| crypto("random numbers"))?;
    Ok(bytes)
}

fn crypto(what: &'static str) -> crate::Error {
    KeyringError::Crypto { what }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_as_it_was() {
        let key = Key::from_bytes(&[7; 32]).expect("a key");
        let context = Context::new(&[b"a", b"bc"]);
        let sealed = key.seal(b"text", &context).expect("sealed");
        assert_eq!(sealed.len(), NONCE_LEN + 4 + TAG);
        let open = |key: &Key, sealed: &[u8], context: &Context| {
            let text = key.open(sealed, context).expect("the library works");
            text.map(|text| text.to_vec())
        };
        assert_eq!(open(&key, &sealed, &context), Some(b"text".to_vec()));
        let regrouped = Context::new(&[b"ab", b"c"]);
        assert_eq!(open(&key, &sealed, &regrouped), None);
        let other = Key::from_bytes(&[8; 32]).expect("a key");
        assert_eq!(open(&other, &sealed, &context), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&key, &changed, &context), None, "byte {at}");
            assert_eq!(open(&key, &sealed[..at], &context), None, "{at} bytes");
        }
    }

    /// The reference implementation's answer, by its command line:
    /// `echo -n "correct horse" | argon2 saltsaltsaltsalt -id -t 3 -m 16 -p 1 -l 32 -r`
    #[test]
    fn derivation_is_the_reference_implementations() {
        let header = Header {
            memory: 1 << 16,
            passes: 3,
            lanes: 1,
            salt: *b"saltsaltsaltsalt",
            realm: [0; 16],
        };
        let key = Key::derive("correct horse", &header).expect("derived");
        assert_eq!(hex::encode(key.expose()), REFERENCE);
    }

    const REFERENCE: &str = "332541e4192860aa42935c10c48d64793839c579a782b7c5baeff2d7c197d1f4";
}
