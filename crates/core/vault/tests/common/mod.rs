//! What several test programs share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its part; a panic is how a test fails"
)]

use artifacts_vault::{PublicKey, SignEs256, VerifyKeys};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::de::DeserializeOwned;

/// A file of `vectors/`.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    hex::decode(digits).unwrap()
}

pub(crate) fn array<const N: usize>(digits: &str) -> [u8; N] {
    bytes(digits).try_into().unwrap()
}

pub(crate) fn keys(jwks: &serde_json::Value) -> VerifyKeys {
    VerifyKeys::parse(&jwks.to_string()).unwrap()
}

/// A part of a token, as JSON.
pub(crate) fn part(token: &str, number: usize) -> serde_json::Value {
    let part = token.split('.').nth(number).unwrap();
    let json = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// A token of JSON texts that nothing of ours would write.
pub(crate) fn token(header: &str, claims: &str, key: &dyn SignEs256) -> String {
    let encode = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
    let signed = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(&signature))
}

/// A private key whose number is published.
pub(crate) struct KnownKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl KnownKey {
    pub(crate) fn new(private: &str, x: &str, y: &str) -> Self {
        let public = PublicKey::from_jwk_members(x, y).unwrap();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &bytes(private),
            public.sec1(),
        )
        .unwrap();
        assert_eq!(pair.public_key().as_ref(), public.sec1());
        Self { pair, public }
    }

    /// The one key of a set.
    pub(crate) fn of_set(private: &str, jwks: &serde_json::Value) -> Self {
        let jwk = &jwks["keys"][0];
        let member = |name: &str| jwk[name].as_str().unwrap();
        Self::new(private, member("x"), member("y"))
    }
}

impl SignEs256 for KnownKey {
    fn sign(&self, input: &[u8]) -> Option<[u8; 64]> {
        let signature = self.pair.sign(&SystemRandom::new(), input).ok()?;
        signature.as_ref().try_into().ok()
    }

    fn public_jwk(&self) -> &PublicKey {
        &self.public
    }
}
