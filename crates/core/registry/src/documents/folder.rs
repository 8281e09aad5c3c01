//! Writing documents into a folder: whole or not at all, one writer at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::{DeviceKey, SignEs256, VerifyKeys};

use super::{EPOCH_FILE, EPOCH_TYPE, EpochDocument, sign, verify};

/// Why a document was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}\nhint: {hint}")]
pub struct FolderError {
    /// Which file or folder.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// What to do.
    pub hint: &'static str,
}

/// Writes the first epoch, where there is none yet; the epoch that counts.
///
/// # Errors
/// The document cannot be read or written.
pub async fn begin_epochs(folder: &Path, key: &DeviceKey) -> Result<u32, FolderError> {
    next_epoch(folder, key, |_| None).await
}

/// Begins the next epoch, by the deployment's key; its number.
///
/// # Errors
/// The document cannot be read or written.
pub async fn advance_epoch(folder: &Path, key: &DeviceKey) -> Result<u32, FolderError> {
    next_epoch(folder, key, |epoch| Some(epoch.saturating_add(1))).await
}

async fn next_epoch(
    folder: &Path,
    key: &DeviceKey,
    next: impl FnOnce(u32) -> Option<u32> + Send,
) -> Result<u32, FolderError> {
    let _lock = lock(folder).await?;
    let (version, epoch) = match read::<EpochDocument>(folder, EPOCH_FILE, EPOCH_TYPE, key)? {
        None => (1, 1),
        Some(current) => match next(current.epoch) {
            None => return Ok(current.epoch),
            Some(epoch) => (current.version + 1, epoch),
        },
    };
    let document = EpochDocument { version, epoch };
    write(folder, EPOCH_FILE, EPOCH_TYPE, &document, key)?;
    Ok(epoch)
}

/// A document of one's own. One that the key has not signed is not built upon: whoever put it
/// there would get it signed.
///
/// # Errors
/// It cannot be read, or another key has signed it.
pub fn read<T: DeserializeOwned>(
    folder: &Path,
    file: &str,
    typ: &str,
    key: &DeviceKey,
) -> Result<Option<T>, FolderError> {
    let path = folder.join(file);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&path, &e)),
    };
    let keys = VerifyKeys::from_keys([key.public_jwk().clone()]).map_err(|e| FolderError {
        path: path.clone(),
        reason: e.to_string(),
        hint: "use another key",
    })?;
    verify(&bytes, typ, &keys).map(Some).map_err(|e| {
        let text = e.to_string();
        FolderError {
            path,
            reason: text.lines().next().unwrap_or_default().to_owned(),
            hint: "use the key that signed it, or move it away to begin anew with a higher version",
        }
    })
}

/// Whole or not at all. Readers of other users read it: it is signed, not secret.
///
/// # Errors
/// It is too long, or cannot be written.
pub fn write(
    folder: &Path,
    file: &str,
    typ: &str,
    document: &(impl Serialize + Sync),
    key: &DeviceKey,
) -> Result<(), FolderError> {
    let path = folder.join(file);
    let signed = sign(typ, document, key).map_err(|e| FolderError {
        path: path.clone(),
        reason: format!("it would not be read: {}", e.sentence()),
        hint: "revoke scopes that are not needed any more",
    })?;
    let write = || -> std::io::Result<()> {
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(signed.as_bytes())?;
        new.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|e| failed(&path, &e))
}

const PATIENCE: Duration = Duration::from_secs(4);

/// Others that change documents in this folder wait meanwhile. Makes the folder where there is
/// none.
///
/// # Errors
/// It is not to be had within some seconds.
pub async fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join(".lock");
    fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(|e| failed(&path, &e))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(e) => return Err(failed(&path, &e.into())),
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> FolderError {
    FolderError {
        path: path.to_owned(),
        reason: error.to_string(),
        hint: "look at who owns the folder of the registry's documents, and who may write there",
    }
}
