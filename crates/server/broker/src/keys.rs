//! The broker's signing keys: ECDSA P-256, in a folder that only its user may read.
//!
//! `keys.json` says which key signs from when on, and until when each is published. A rotation
//! publishes the next key before it signs, so that verifiers that keep the key set for a while
//! know it already, and publishes the one before until the last token that it signed has ended.
//! So there are one or two, never more. A server that runs reads the file again when it changes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::key_file::{self, KeyError};
use base::reload::Reloaded;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use vault::{DeviceKey, SignEs256, VerifyKeys};

/// A verifier of ours keeps a key set this long, in seconds; so long is the next key published
/// before it signs.
pub const LEAD: i64 = 900;

/// Why keys cannot be used or rotated.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key's file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The list of keys.
    #[error("the list of keys {} cannot be used: {reason}\nhint: put it back from a backup, or move the folder away: new keys are made then, and all sessions end", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder.
    #[error("the folder of signing keys {} cannot be used: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Two keys are published already.
    #[error(
        "a rotation is under way until {until} (seconds since 1970)\nhint: wait for its end, or say --compromised to take all older keys back now: sessions and capabilities end then"
    )]
    UnderWay {
        /// When it ends.
        until: i64,
    },
}

/// What `keys.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    keys: Vec<Listed>,
}

/// One key, by its thumbprint; its file has the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    kid: String,
    signs_from: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published_until: Option<i64>,
}

/// A key that was read.
struct Key {
    listed: Listed,
    key: Arc<DeviceKey>,
}

/// The keys of a folder, as they are now.
pub struct SigningKeys {
    folder: PathBuf,
    read: Reloaded<Vec<Key>>,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new key.
    pub kid: String,
    /// From when on it signs.
    pub signs_from: i64,
    /// Until when the older one is published; `None` if it is gone.
    pub old_until: Option<i64>,
}

impl SigningKeys {
    /// Reads the keys of a folder; makes the first one where there is none.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn open(folder: &Path, now: i64) -> Result<Self, KeysError> {
        let _lock = lock(folder)?;
        if read_list(folder)?.keys.is_empty() {
            let first = make(folder, now)?;
            write_list(folder, &List { keys: vec![first] })?;
        }
        let read = Reloaded::new(vec![list_path(folder)], || load(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            read,
        })
    }

    /// The key that signs now.
    pub(crate) fn signer(&self, now: i64) -> Option<Arc<DeviceKey>> {
        let keys = self.read.get(|| load(&self.folder));
        let begun = keys.iter().filter(|key| key.listed.signs_from <= now);
        let newest = begun.max_by_key(|key| key.listed.signs_from)?;
        Some(Arc::clone(&newest.key))
    }

    /// The keys whose tokens count, the next one included.
    pub(crate) fn published(&self, now: i64) -> Option<VerifyKeys> {
        let keys = self.read.get(|| load(&self.folder));
        let published = keys.iter().filter(|key| key.listed.is_published(now));
        VerifyKeys::from_keys(published.map(|key| key.key.public_jwk().clone())).ok()
    }
}

impl Listed {
    fn is_published(&self, now: i64) -> bool {
        self.published_until.is_none_or(|until| now < until)
    }
}

/// Makes the next key. What the one before signs lasts `longest` seconds at most.
///
/// # Errors
/// [`KeysError::UnderWay`], or why the folder cannot be used.
pub fn rotate(folder: &Path, now: i64, longest: i64) -> Result<Rotated, KeysError> {
    let _lock = lock(folder)?;
    let mut list = forget_ended(folder, read_list(folder)?, now);
    let until = list.keys.iter().filter_map(|key| key.published_until).max();
    if let Some(until) = until {
        return Err(KeysError::UnderWay { until });
    }
    let next = make(folder, now + LEAD)?;
    let old_until = next.signs_from + longest;
    for old in &mut list.keys {
        old.published_until = Some(old_until);
    }
    let rotated = Rotated {
        kid: next.kid.clone(),
        signs_from: next.signs_from,
        old_until: Some(old_until),
    };
    list.keys.push(next);
    write_list(folder, &list)?;
    Ok(rotated)
}

/// Makes a key that signs from now on, and takes all others back: what they signed counts no more
/// as soon as a verifier asks for the keys again.
///
/// # Errors
/// Why the folder cannot be used.
pub fn replace_all(folder: &Path, now: i64) -> Result<Rotated, KeysError> {
    let _lock = lock(folder)?;
    let old = read_list(folder)?;
    let key = make(folder, now)?;
    let rotated = Rotated {
        kid: key.kid.clone(),
        signs_from: now,
        old_until: None,
    };
    write_list(folder, &List { keys: vec![key] })?;
    for gone in old.keys {
        let _ = fs::remove_file(key_path(folder, &gone.kid));
    }
    Ok(rotated)
}

/// The list without keys that are published no more; their files go too.
fn forget_ended(folder: &Path, mut list: List, now: i64) -> List {
    list.keys.retain(|key| {
        let stays = key.is_published(now);
        if !stays {
            let _ = fs::remove_file(key_path(folder, &key.kid));
        }
        stays
    });
    list
}

fn load(folder: &Path) -> Result<Vec<Key>, KeysError> {
    let list = read_list(folder)?;
    let keys = list.keys.into_iter().map(|listed| {
        let path = key_path(folder, &listed.kid);
        let der = key_file::read(&path)?;
        let key = DeviceKey::from_pkcs8(&der);
        let key = Arc::new(key.map_err(|_| KeyError::Form(path.clone()))?);
        if key.public_jwk().thumbprint().to_string() != listed.kid {
            return Err(KeyError::Form(path).into());
        }
        Ok(Key { listed, key })
    });
    keys.collect()
}

/// A new key in its file.
fn make(folder: &Path, signs_from: i64) -> Result<Listed, KeysError> {
    let wrong = |source| KeysError::Folder {
        path: folder.to_owned(),
        source,
    };
    let path = folder.join("next.pem");
    // What a rotation that was cut off has left was never published.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let der = key_file::read_or_make(&path)?;
    let key = DeviceKey::from_pkcs8(&der).map_err(|_| KeyError::Form(path.clone()))?;
    let kid = key.public_jwk().thumbprint().to_string();
    fs::rename(&path, key_path(folder, &kid)).map_err(wrong)?;
    Ok(Listed {
        kid,
        signs_from,
        published_until: None,
    })
}

fn read_list(folder: &Path) -> Result<List, KeysError> {
    let path = list_path(folder);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(List::default()),
        text => text,
    };
    let wrong = |reason: String| KeysError::List {
        path: path.clone(),
        reason,
    };
    let list: List = serde_json::from_slice(&text.map_err(|error| wrong(error.to_string()))?)
        .map_err(|error| wrong(error.to_string()))?;
    let good = |kid: &str| kid.parse::<model::DeviceId>().is_ok();
    match list.keys.iter().all(|key| good(&key.kid)) {
        true => Ok(list),
        false => Err(wrong("a kid is no thumbprint".into())),
    }
}

/// Whole or as before: a temporary file, flushed, renamed over the old one.
fn write_list(folder: &Path, list: &List) -> Result<(), KeysError> {
    let path = list_path(folder);
    let wrong = |source| KeysError::Folder {
        path: folder.to_owned(),
        source,
    };
    let text = serde_json::to_vec_pretty(list).map_err(|error| wrong(error.into()))?;
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&partial).map_err(wrong)?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&partial, &path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(wrong)
}

/// One change of the folder at a time; held until it is dropped.
fn lock(folder: &Path) -> Result<File, KeysError> {
    let wrong = |source| KeysError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(wrong)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(folder.join("lock")).map_err(wrong)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| wrong(error.into()))?;
    Ok(file)
}

fn list_path(folder: &Path) -> PathBuf {
    folder.join("keys.json")
}

fn key_path(folder: &Path, kid: &str) -> PathBuf {
    folder.join(format!("{kid}.pem"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(key: &DeviceKey) -> String {
        key.public_jwk().thumbprint().to_string()
    }

    #[test]
    fn the_next_key_is_published_before_it_signs_and_the_old_one_after() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let keys = SigningKeys::open(&folder, 1_000).unwrap();
        let old = kid(&keys.signer(1_000).unwrap());
        let rotated = rotate(&folder, 2_000, 100).unwrap();
        let begin = 2_000 + LEAD;
        assert_eq!(rotated.signs_from, begin);
        let published = |now| {
            let set = keys.published(now).unwrap();
            (set.get(&old).is_some(), set.get(&rotated.kid).is_some())
        };
        assert_eq!(kid(&keys.signer(begin - 1).unwrap()), old);
        assert_eq!(published(2_000), (true, true));
        assert_eq!(kid(&keys.signer(begin).unwrap()), rotated.kid);
        assert_eq!(published(begin + 99), (true, true));
        assert_eq!(published(begin + 100), (false, true));
        let refused = rotate(&folder, begin + 99, 100).unwrap_err();
        assert!(matches!(refused, KeysError::UnderWay { until } if until == begin + 100));
        rotate(&folder, begin + 100, 100).unwrap();
        assert!(!key_path(&folder, &old).exists());
    }

    #[test]
    fn a_compromised_key_is_gone_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let keys = SigningKeys::open(&folder, 1_000).unwrap();
        let old = kid(&keys.signer(1_000).unwrap());
        let rotated = replace_all(&folder, 2_000).unwrap();
        assert_eq!(kid(&keys.signer(2_000).unwrap()), rotated.kid);
        assert!(keys.published(2_000).unwrap().get(&old).is_none());
        assert!(!key_path(&folder, &old).exists());
        let again = SigningKeys::open(&folder, 3_000).unwrap();
        assert_eq!(kid(&again.signer(3_000).unwrap()), rotated.kid);
    }
}
