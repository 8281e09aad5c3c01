//! The orchestrator's own key: ECDSA P-256, in a file that only its user may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use base::tokens::{AUDIENCE, Peek, Refused, refused_by_library, validation};

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others may read the file.
    #[error(
        "the signing key {} can be read by others (mode {mode:04o})\nhint: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no P-256 key.
    #[error(
        "{} is no ECDSA P-256 key in PKCS#8\nhint: move it away, and a new one is made; sessions end then",
        .0.display()
    )]
    Form(PathBuf),
    /// It cannot be read or made.
    #[error("the signing key {} cannot be used: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

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
        let wrong = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        if !path.exists() {
            make(path).map_err(wrong)?;
        }
        let mode = fs::metadata(path).map_err(wrong)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyError::Exposed { path, mode });
        }
        let form = || KeyError::Form(path.to_owned());
        let der = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|_| form())?;
        Self::from_pkcs8(der.secret_pkcs8_der()).ok_or_else(form)
    }

    /// A key for one run.
    ///
    /// # Panics
    /// If the cryptographic library cannot make keys at all.
    pub fn generate() -> Self {
        let key = new_key().expect("the library makes keys");
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

fn new_key() -> io::Result<Vec<u8>> {
    let failed = |_| io::Error::other("the cryptographic library makes no key");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    Ok(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
}

/// Whole or not there: of two servers that start at the same time, one makes the key.
/// A key for one purpose from the private key.
fn derived(der: &[u8], purpose: &[u8]) -> hmac::Key {
    let root = hmac::Key::new(hmac::HMAC_SHA256, der);
    let key = hmac::sign(&root, purpose);
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}

fn make(path: &Path) -> io::Result<()> {
    let text = base64_simd::STANDARD.encode_to_string(new_key()?);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|start| &text[start..text.len().min(start + 64)])
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    let made = match fs::hard_link(&partial, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    fs::remove_file(&partial)?;
    made
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session-key.pem");
        let first = SigningKey::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = SigningKey::open(&path).unwrap();
        assert_eq!(first.id, again.id);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_so_is_what_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session-key.pem");
        drop(SigningKey::open(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = SigningKey::open(&path).err().unwrap();
        assert!(matches!(refused, KeyError::Exposed { mode: 0o640, .. }));
        fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let refused = SigningKey::open(&path).err().unwrap();
        assert!(matches!(refused, KeyError::Form(_)), "{refused}");
    }
}
