//! A private key (ECDSA P-256) in a PEM file that only its user may read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::private_file::{self, NotPrivate};

/// A private key's PKCS#8 (DER), wiped when dropped.
pub type Pkcs8 = Zeroizing<Vec<u8>>;

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not this user's alone.
    #[error("a signing key is not used: {0}")]
    NotPrivate(#[from] NotPrivate),
    /// It is no P-256 key.
    #[error(
        "{} is no ECDSA P-256 key in PKCS#8\nhint: move it away, and a new one is made; what the old one signed counts no more then",
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

/// No file of one key is longer.
const LONGEST: usize = 16 * 1024;

/// Reads the key of a PEM file, or makes one where there is none.
///
/// # Errors
/// Why it cannot be used.
pub fn read_or_make(path: &Path) -> Result<Pkcs8, KeyError> {
    let made = if path.exists() { Ok(()) } else { make(path) };
    made.map_err(|source| KeyError::Io {
        path: path.to_owned(),
        source,
    })?;
    read(path)
}

/// Reads the key of a PEM file.
///
/// # Errors
/// Why it cannot be used.
pub fn read(path: &Path) -> Result<Pkcs8, KeyError> {
    let pem = private_file::read(path, LONGEST)?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem);
    let der = der.map_err(|_| KeyError::Form(path.to_owned()))?;
    Ok(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
}

/// A new key.
///
/// # Errors
/// The cryptographic library makes none.
pub fn generate() -> io::Result<Pkcs8> {
    let failed = |_| io::Error::other("the cryptographic library makes no key");
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let der = pair.to_pkcs8v1().map_err(failed)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn make(path: &Path) -> io::Result<()> {
    write_once(path, pem(&generate()?).as_bytes(), 0o600)
}

pub(crate) fn pem(der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(base64_simd::STANDARD.encode_to_string(der));
    let mut pem = Zeroizing::new(String::with_capacity(text.len() * 2));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for start in (0..text.len()).step_by(64) {
        pem.push_str(&text[start..text.len().min(start + 64)]);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// Writes a new file, whole or not at all: of two processes that
/// start at the same time, one makes it. A file that is there already stays as it is.
pub(crate) fn write_once(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)?;
    let made = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| match fs::hard_link(&partial, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        });
    fs::remove_file(&partial)?;
    made
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session-key.pem");
        let first = read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(*first, *read_or_make(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_so_is_what_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session-key.pem");
        drop(read_or_make(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read_or_make(&path).err().unwrap();
        let exposed = NotPrivate::Exposed {
            path: path.clone(),
            mode: 0o640,
        };
        assert_eq!(refused.to_string(), KeyError::from(exposed).to_string());
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAA\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let refused = read_or_make(&path).err().unwrap();
        assert!(matches!(refused, KeyError::Form(_)), "{refused}");
    }
}
