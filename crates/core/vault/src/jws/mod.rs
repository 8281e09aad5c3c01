//! Compact JWS with ES256 and nothing else (RFC 7515), read strictly.
//!
//! A header has `alg`, `typ` and either `kid` or `jwk`; any other member, `crit` included, is
//! refused, and so are members that are there twice, arrays in place of objects, base64url that
//! is not the one canonical spelling, and whatever is longer than the caller expects. `alg` is
//! ES256 and `typ` exactly the type that the caller expects, so that no token of another kind is
//! taken for it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use secrecy::SecretString;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::key::{PublicKey, SignEs256, VerifyKeys};

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It is too long, not of the form, or says something that is not understood here.
    #[error("the token is not of the form that is read here")]
    Form,
    /// It is of another type.
    #[error("the token is of another type")]
    Type,
    /// No key that counts has its name.
    #[error("the token is signed by a key that is not known")]
    Key,
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    Signature,
}

/// Signs claims as a token of a type, with the key's thumbprint as `kid`. `None` if the key
/// cannot be used now.
pub fn sign(typ: &str, claims: &impl Serialize, key: &dyn SignEs256) -> Option<SecretString> {
    let kid = key.public_jwk().thumbprint().to_string();
    sign_with(
        &Names {
            alg: "ES256",
            typ,
            kid,
        },
        claims,
        key,
    )
    .map(SecretString::from)
}

/// As [`sign`], with the public key itself in the header in place of its name.
pub(crate) fn sign_with_jwk(
    typ: &str,
    claims: &impl Serialize,
    key: &dyn SignEs256,
) -> Option<String> {
    let public = key.public_jwk();
    let jwk = Jwk {
        kty: "EC".into(),
        crv: "P-256".into(),
        x: public.x(),
        y: public.y(),
    };
    sign_with(
        &Carries {
            alg: "ES256",
            typ,
            jwk,
        },
        claims,
        key,
    )
}

#[derive(Serialize)]
struct Names<'a> {
    alg: &'static str,
    typ: &'a str,
    kid: String,
}

#[derive(Serialize)]
struct Carries<'a> {
    alg: &'static str,
    typ: &'a str,
    jwk: Jwk,
}

fn sign_with(
    header: &impl Serialize,
    claims: &impl Serialize,
    key: &dyn SignEs256,
) -> Option<String> {
    let part = |json: Vec<u8>| base64_simd::URL_SAFE_NO_PAD.encode_to_string(json);
    let header = part(serde_json::to_vec(header).ok()?);
    let claims = part(serde_json::to_vec(claims).ok()?);
    let mut token = format!("{header}.{claims}");
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&base64_simd::URL_SAFE_NO_PAD.encode_to_string(signature));
    Some(token)
}

/// The claims of a token of at most `longest` bytes that a key of the set has signed.
///
/// # Errors
/// [`JwsError`].
pub fn verify<T: DeserializeOwned>(
    token: &str,
    typ: &str,
    keys: &VerifyKeys,
    longest: usize,
) -> Result<T, JwsError> {
    let parts = Parts::split(token, longest)?;
    let header: NamesOwned = parts.header()?;
    check(&header.alg, &header.typ, typ)?;
    let key = keys.get(&header.kid).ok_or(JwsError::Key)?;
    parts.verified(key)
}

/// The claims of a token that the key in its own header has signed, and that key. Who holds it
/// is for the caller to judge.
pub(crate) fn verify_with_jwk<T: DeserializeOwned>(
    token: &str,
    typ: &str,
    longest: usize,
) -> Result<(T, PublicKey), JwsError> {
    let parts = Parts::split(token, longest)?;
    let header: CarriesOwned = parts.header()?;
    check(&header.alg, &header.typ, typ)?;
    let Object(jwk) = header.jwk;
    if jwk.kty != "EC" || jwk.crv != "P-256" {
        return Err(JwsError::Form);
    }
    let key = PublicKey::from_jwk_members(&jwk.x, &jwk.y).map_err(|_| JwsError::Form)?;
    Ok((parts.verified(&key)?, key))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesOwned {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CarriesOwned {
    alg: String,
    typ: String,
    jwk: Object<Jwk>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

fn check(alg: &str, typ: &str, wanted: &str) -> Result<(), JwsError> {
    if alg != "ES256" {
        return Err(JwsError::Form);
    }
    if typ != wanted {
        return Err(JwsError::Type);
    }
    Ok(())
}

struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str, longest: usize) -> Result<Self, JwsError> {
        if token.len() > longest {
            return Err(JwsError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::Form)?;
        Ok(Self {
            header,
            claims,
            signature,
            signed,
        })
    }

    fn header<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        object(&decode(self.header).ok_or(JwsError::Form)?)
    }

    /// Claims are read only once the signature has been verified.
    fn verified<T: DeserializeOwned>(&self, key: &PublicKey) -> Result<T, JwsError> {
        object(&self.payload(key)?)
    }

    fn payload(&self, key: &PublicKey) -> Result<Vec<u8>, JwsError> {
        let signature = decode(self.signature).ok_or(JwsError::Form)?;
        if !key.verifies(self.signed.as_bytes(), &signature) {
            return Err(JwsError::Signature);
        }
        decode(self.claims).ok_or(JwsError::Form)
    }
}

fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, JwsError> {
    let Object(value) = serde_json::from_slice(json).map_err(|_| JwsError::Form)?;
    Ok(value)
}

/// Base64url without padding, in its one canonical spelling.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    // The library refuses padding and bits that are left over; the vectors hold it to that.
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// A member that may be absent and may not be null.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A value that is read from a JSON object only: derived readers of structs take an array of
/// their members in order, too.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Reader(PhantomData)).map(Self)
    }
}
