//! The highest version of each document that was seen, across restarts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::source::Source;
use crate::Unavailable;

/// The file of versions, and what is in it. Several processes may share the file.
#[derive(Clone)]
pub(super) struct Seen {
    path: Arc<PathBuf>,
    known: Arc<Mutex<Versions>>,
}

type Versions = BTreeMap<String, Version>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    version: u64,
    /// Of what was signed, in hexadecimal: one version is one content.
    digest: String,
}

/// How long to wait for another process, which only rewrites this small file.
const PATIENCE: Duration = Duration::from_millis(800);

impl Seen {
    pub(super) fn open(path: PathBuf) -> Result<Self, Unavailable> {
        let known = read(&path).map_err(Unavailable)?;
        Ok(Self {
            path: Arc::new(path),
            known: Arc::new(Mutex::new(known)),
        })
    }

    /// There is no document: right if there never was one.
    pub(super) fn nothing(&self, file: &str, source: &Source) -> Result<(), Unavailable> {
        match self.known.lock().get(file) {
            None => Ok(()),
            Some(seen) => Err(Unavailable(format!(
                "{file} is gone from {source}, where it was version {}\nhint: put it back",
                seen.version
            ))),
        }
    }

    /// Notes a version, on the disk before it counts.
    pub(super) async fn record(
        &self,
        file: &str,
        version: u64,
        document: &[u8],
    ) -> Result<(), String> {
        let found = Version {
            version,
            digest: digest(document),
        };
        if !is_newer(&found, self.known.lock().get(file))? {
            return Ok(());
        }
        let (this, file) = (self.clone(), file.to_owned());
        let written = tokio::task::spawn_blocking(move || this.write(&file, found)).await;
        written.map_err(|e| format!("the writing of its version ended: {e}"))?
    }

    fn write(&self, file: &str, found: Version) -> Result<(), String> {
        let _lock = lock(&self.path)?;
        let mut versions = read(&self.path)?;
        // Another process may have seen more.
        if is_newer(&found, versions.get(file))? {
            versions.insert(file.to_owned(), found);
            replace(&self.path, &versions)?;
        }
        *self.known.lock() = versions;
        Ok(())
    }
}

fn is_newer(found: &Version, seen: Option<&Version>) -> Result<bool, String> {
    let Some(seen) = seen else { return Ok(true) };
    if found.version < seen.version {
        return Err(format!(
            "it is version {}, and version {} was seen before: an older document was put back\n\
             hint: publish the newest one again",
            found.version, seen.version
        ));
    }
    if found.version == seen.version && found.digest != seen.digest {
        return Err(format!(
            "another document of version {} was seen before\n\
             hint: each change has a version of its own; sign it again with the next one",
            seen.version
        ));
    }
    Ok(found.version > seen.version)
}

/// The digest of a compact JWS's payload: who signs the same thing twice says the same thing.
fn digest(document: &[u8]) -> String {
    let mut parts = document.split(|byte| *byte == b'.');
    let payload = parts.nth(1).unwrap_or(document);
    hex::encode(Sha256::digest(payload))
}

fn read(path: &Path) -> Result<Versions, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Versions::new()),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    serde_json::from_slice(&bytes).map_err(|e| {
        format!(
            "{} is damaged ({e}), so an older document could not be told\n\
             hint: restore it; without it, whatever is served now is taken for the newest",
            path.display()
        )
    })
}

fn replace(path: &Path, versions: &Versions) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    let folder = folder(path);
    let bytes = serde_json::to_vec_pretty(versions).map_err(|e| fail(e.into()))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    file.write_all(&bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(fail)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn lock(path: &Path) -> Result<File, String> {
    let path = path.with_extension("lock");
    let fail = |e: std::io::Error| format!("cannot lock {}: {e}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(fail)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(e) => return Err(fail(e.into())),
        }
    }
}
