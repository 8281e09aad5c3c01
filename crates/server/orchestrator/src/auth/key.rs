//! The orchestrator's own key: ECDSA P-256, in a file that only its user may read.

use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base::key_file::{self, KeyError};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use base::tokens::{AUDIENCE, Peek, Refused, refused_by_library, validation};

/// The key, as what signs and what verifies.
pub struct SigningKey {
    signs: EncodingKey,
    verifies: DecodingKey,
    /// For what a browser keeps for us between two requests: all servers with this key know it
    /// again.
    seals: hmac::Key,
    id: String,
    x: String,
    y: String,
}

impl SigningKey {
    /// Reads the key of a PEM file, or makes one where there is none.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let der = key_file::read_or_make(path)?;
        Self::from_pkcs8(&der).ok_or_else(|| KeyError::Form(path.to_owned()))
    }

    /// A key for one run.
    ///
    /// # Panics
    /// If the cryptographic library cannot make keys at all.
    pub fn generate() -> Self {
        let key = key_file::generate().expect("the library makes keys");
        Self::from_pkcs8(&key).expect("a key that was just made is one")
    }

    /// `None` if it is no P-256 key.
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
        // SEC 1 §2.3.3: 4, then both coordinates.
        let point = pair.public_key().as_ref();
        let (x, y) = match point {
            [4, rest @ ..] if rest.len() == 64 => rest.split_at(32),
            _ => return None,
        };
        let encode = |bytes: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
        let (x, y) = (encode(x), encode(y));
        // RFC 7638: the members that are needed, in order, without spaces.
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Some(Self {
            signs: EncodingKey::from_ec_der(der),
            verifies: DecodingKey::from_ec_components(&x, &y).ok()?,
            seals: derived(der, b"artifacts.console.attempt.v1"),
            id: encode(Sha256::digest(members).as_slice()),
            x,
            y,
        })
    }

    /// The public half, as others fetch it (RFC 7517).
    pub(crate) fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": self.id, "x": self.x, "y": self.y,
        }] })
    }

    /// A seal of ours for a text.
    pub(crate) fn seal(&self, text: &str) -> String {
        let tag = hmac::sign(&self.seals, text.as_bytes());
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(tag.as_ref())
    }

    /// Whether a seal of a text is ours.
    pub(crate) fn is_sealed(&self, text: &str, seal: &str) -> bool {
        let tag = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(seal);
        tag.is_ok_and(|tag| hmac::verify(&self.seals, text.as_bytes(), &tag).is_ok())
    }

    /// Signs claims as a token of a type.
    pub(super) fn sign(&self, kind: &str, claims: &impl Serialize) -> Option<SecretString> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(kind.to_owned());
        header.kid = Some(self.id.clone());
        let token = jsonwebtoken::encode(&header, claims, &self.signs).ok()?;
        Some(token.into())
    }

    /// Verifies all of a token but its times.
    pub(super) fn verify<T: DeserializeOwned>(
        &self,
        token: &str,
        seen: &Peek,
        kind: &str,
    ) -> Result<T, Refused> {
        if seen.algorithm != "ES256" {
            return Err(Refused::Algorithm);
        }
        if seen.kind.as_deref() != Some(kind) {
            return Err(Refused::Type);
        }
        if seen.key.as_deref() != Some(&self.id) {
            return Err(Refused::Key);
        }
        let validation = validation(&[Algorithm::ES256], &seen.issuer, AUDIENCE);
        let claims = jsonwebtoken::decode(token, &self.verifies, &validation);
        claims
            .map(|token| token.claims)
            .map_err(|error| refused_by_library(&error))
    }
}

/// A key for one purpose from the private key.
fn derived(der: &[u8], purpose: &[u8]) -> hmac::Key {
    let root = hmac::Key::new(hmac::HMAC_SHA256, der);
    let key = hmac::sign(&root, purpose);
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}
