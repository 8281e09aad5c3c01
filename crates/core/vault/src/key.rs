//! ES256 keys: the public half, the private half, and a set of public ones.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    ParsedPublicKey,
};
use model::DeviceId;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::jws::{self, Object};

/// Why a key or a set of keys cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a point of P-256, in one of the forms that are read here.
    #[error("this is no P-256 key\nhint: make one with `artifacts device register`")]
    Key,
    /// Not a JSON Web Key Set with at least one P-256 key.
    #[error(
        "this is no JSON Web Key Set with a P-256 key\nhint: look at what the broker's jwks_uri answers"
    )]
    Set,
    /// A `kid` that is not its key's thumbprint, or a set with a private key or two of the same.
    #[error(
        "a key of the set is named wrongly, is there twice or is private\nhint: `kid` is the key's SHA-256 thumbprint (RFC 7638); publish public keys only"
    )]
    Name,
}

/// What signs with ES256: a device's key, or a server's.
pub trait SignEs256: Send + Sync {
    /// The signature of `input`, r and s; `None` if the key cannot be used now.
    fn sign(&self, input: &[u8]) -> Option<[u8; 64]>;

    /// The public half.
    fn public_jwk(&self) -> &PublicKey;
}

/// A public key on P-256.
#[derive(Clone)]
pub struct PublicKey {
    point: [u8; 65],
    thumbprint: DeviceId,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// From both coordinates.
    ///
    /// # Errors
    /// [`InvalidKey::Key`] if that is no point of the curve.
    pub fn new(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, InvalidKey> {
        let mut point = [4; 65];
        point[1..33].copy_from_slice(x);
        point[33..].copy_from_slice(y);
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        Ok(Self {
            thumbprint: thumbprint(x, y),
            parsed: parsed.map_err(|_| InvalidKey::Key)?,
            point,
        })
    }

    /// From SEC 1's uncompressed form (4, x, y).
    ///
    /// # Errors
    /// [`InvalidKey::Key`].
    pub fn from_sec1(point: &[u8]) -> Result<Self, InvalidKey> {
        let (x, y) = match point {
            [4, rest @ ..] if rest.len() == 64 => rest.split_at(32),
            _ => return Err(InvalidKey::Key),
        };
        let coordinate = |bytes: &[u8]| bytes.try_into().map_err(|_| InvalidKey::Key);
        Self::new(&coordinate(x)?, &coordinate(y)?)
    }

    /// From the members `x` and `y` of a JWK.
    ///
    /// # Errors
    /// [`InvalidKey::Key`].
    pub fn from_jwk_members(x: &str, y: &str) -> Result<Self, InvalidKey> {
        let coordinate = |text: &str| {
            let bytes = jws::decode(text).ok_or(InvalidKey::Key)?;
            <[u8; 32]>::try_from(bytes).map_err(|_| InvalidKey::Key)
        };
        Self::new(&coordinate(x)?, &coordinate(y)?)
    }

    /// From a JWK. Other members than `kty`, `crv`, `x`, `y`, `kid`, `use` and `alg` are refused.
    ///
    /// # Errors
    /// [`InvalidKey::Key`], and [`InvalidKey::Name`] if `kid` is not the thumbprint.
    pub fn from_jwk(json: &str) -> Result<Self, InvalidKey> {
        let Object(jwk) =
            serde_json::from_str::<Object<OneJwk>>(json).map_err(|_| InvalidKey::Key)?;
        let fits = |value: &Option<String>, wanted: &str| {
            value.as_deref().is_none_or(|value| value == wanted)
        };
        if jwk.kty != "EC" || jwk.crv != "P-256" {
            return Err(InvalidKey::Key);
        }
        if !fits(&jwk.usage, "sig") || !fits(&jwk.alg, "ES256") {
            return Err(InvalidKey::Key);
        }
        let key = Self::from_jwk_members(&jwk.x, &jwk.y)?;
        if !fits(&jwk.kid, &key.thumbprint.to_string()) {
            return Err(InvalidKey::Name);
        }
        Ok(key)
    }

    /// The key's thumbprint (RFC 7638), by which it is known: a device's id, a server's `kid`.
    pub fn thumbprint(&self) -> DeviceId {
        self.thumbprint
    }

    /// SEC 1's uncompressed form (4, x, y).
    pub fn sec1(&self) -> &[u8; 65] {
        &self.point
    }

    /// The member `x` of its JWK.
    pub fn x(&self) -> String {
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(&self.point[1..33])
    }

    /// The member `y` of its JWK.
    pub fn y(&self) -> String {
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(&self.point[33..])
    }

    /// As a JWK with what the key is for and its `kid` (RFC 7517), to publish.
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": self.thumbprint.to_string(), "x": self.x(), "y": self.y(),
        })
    }

    /// Whether the signature (r and s, 64 bytes) of `input` is this key's.
    pub fn verifies(&self, input: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(input, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint)
    }
}

/// RFC 7638: the members that are needed, in order, without spaces.
fn thumbprint(x: &[u8; 32], y: &[u8; 32]) -> DeviceId {
    let encode = |bytes: &[u8; 32]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes);
    let (x, y) = (encode(x), encode(y));
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    DeviceId::new(Sha256::digest(members).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneJwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
}

/// A private key in this process's memory. Neither `Debug` nor `Clone`.
pub struct DeviceKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl DeviceKey {
    /// Reads a key in PKCS#8 (DER).
    ///
    /// # Errors
    /// [`InvalidKey::Key`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| InvalidKey::Key)?;
        let public = PublicKey::from_sec1(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// A new key in PKCS#8 (DER), to keep. `None` if the system gives no random numbers.
    pub fn generate_pkcs8() -> Option<Zeroizing<Vec<u8>>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
        let document = pair.to_pkcs8v1().ok()?;
        Some(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// A new key for one run. `None` if the system gives no random numbers.
    pub fn generate() -> Option<Self> {
        Self::from_pkcs8(&Self::generate_pkcs8()?).ok()
    }
}

impl SignEs256 for DeviceKey {
    fn sign(&self, input: &[u8]) -> Option<[u8; 64]> {
        let signature = self.pair.sign(&SystemRandom::new(), input).ok()?;
        signature.as_ref().try_into().ok()
    }

    fn public_jwk(&self) -> &PublicKey {
        &self.public
    }
}

/// The public keys of an issuer.
#[derive(Debug, Clone)]
pub struct VerifyKeys(Vec<PublicKey>);

/// More keys than any issuer rotates.
const MOST_KEYS: usize = 16;
const LONGEST_SET: usize = 64 * 1024;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Object<SetJwk>>,
}

/// A member of a set: kinds and uses of others are passed over (RFC 7517, section 5).
#[derive(Deserialize)]
struct SetJwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    key_ops: Option<Vec<String>>,
    d: Option<serde::de::IgnoredAny>,
}

impl VerifyKeys {
    /// Reads a JSON Web Key Set. Keys of other kinds in it are passed over; a P-256 key counts
    /// only under its thumbprint.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub fn parse(jwks: &str) -> Result<Self, InvalidKey> {
        if jwks.len() > LONGEST_SET {
            return Err(InvalidKey::Set);
        }
        let Object(set) = serde_json::from_str::<Object<Set>>(jwks).map_err(|_| InvalidKey::Set)?;
        if set.keys.len() > MOST_KEYS {
            return Err(InvalidKey::Set);
        }
        let mut keys = Self(Vec::new());
        for Object(jwk) in set.keys {
            if let Some(key) = jwk.read()? {
                keys.add(key)?;
            }
        }
        if keys.0.is_empty() {
            return Err(InvalidKey::Set);
        }
        Ok(keys)
    }

    /// A set of one key, or of several.
    ///
    /// # Errors
    /// [`InvalidKey::Set`] for none, [`InvalidKey::Name`] for a key that is there twice.
    pub fn from_keys(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, InvalidKey> {
        let mut set = Self(Vec::new());
        for key in keys {
            set.add(key)?;
        }
        if set.0.is_empty() {
            return Err(InvalidKey::Set);
        }
        Ok(set)
    }

    /// As a document to publish.
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = self.0.iter().map(PublicKey::jwk).collect();
        serde_json::json!({ "keys": keys })
    }

    /// The key of this name.
    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        let id: DeviceId = kid.parse().ok()?;
        self.0.iter().find(|key| key.thumbprint == id)
    }

    fn add(&mut self, key: PublicKey) -> Result<(), InvalidKey> {
        if self.0.contains(&key) {
            return Err(InvalidKey::Name);
        }
        self.0.push(key);
        Ok(())
    }
}

impl SetJwk {
    fn read(self) -> Result<Option<PublicKey>, InvalidKey> {
        if self.d.is_some() {
            return Err(InvalidKey::Name);
        }
        let other = |value: &Option<String>, wanted: &str| {
            value.as_deref().is_some_and(|value| value != wanted)
        };
        if self.kty != "EC" || self.crv.as_deref() != Some("P-256") {
            return Ok(None);
        }
        let ops = self
            .key_ops
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !ops || other(&self.usage, "sig") || other(&self.alg, "ES256") {
            return Ok(None);
        }
        let (Some(x), Some(y)) = (self.x, self.y) else {
            return Err(InvalidKey::Key);
        };
        let key = PublicKey::from_jwk_members(&x, &y)?;
        if self.kid.as_deref() != Some(&key.thumbprint.to_string()) {
            return Err(InvalidKey::Name);
        }
        Ok(Some(key))
    }
}
