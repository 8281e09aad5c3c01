//! Where this machine keeps its own secrets of the vault: in the keyring that is configured,
//! else in files of mode 0600 beside the storage keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use credentials::keyring::{EntryName, Keyring, Secret as Kept, exchange};
use credentials::{Error, Folder, Paths, Privacy, Result};
use zeroize::Zeroizing;

/// A place of a few small secrets, each under a plain name.
#[derive(Clone)]
pub enum Place {
    /// A keyring, under `vault/NAME`.
    Keyring(Arc<dyn Keyring>),
    /// A folder of files.
    Files(PathBuf),
}

impl Place {
    /// The folder of these paths, `vault/` beside the storage keys.
    pub fn in_files(paths: &Paths) -> Self {
        Self::Files(paths.config().join("vault"))
    }

    /// What is kept under a name; `None` where nothing is.
    ///
    /// # Errors
    /// The place is unreadable, exposed to others, or locked.
    pub fn load(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match self {
            Self::Keyring(keyring) => {
                let kept = keyring.load(&entry(name)?)?;
                Ok(kept.map(|kept| Zeroizing::new(kept.expose().to_vec())))
            }
            Self::Files(path) => match open(path)? {
                Some(folder) => folder.read(name, Privacy::Secret),
                None => Ok(None),
            },
        }
    }

    /// Keeps a secret in place of what was there.
    ///
    /// # Errors
    /// It could not be kept; "kept" is only said of what was read back.
    pub fn save(&self, name: &str, secret: &Zeroizing<Vec<u8>>) -> Result<()> {
        match self {
            Self::Keyring(keyring) => {
                keyring.store(&entry(name)?, &Kept::new(secret.as_slice().to_vec()))
            }
            Self::Files(path) => {
                let folder = create(path)?;
                let _lock = folder.lock()?;
                write(&folder, name, secret)
            }
        }
    }

    /// Keeps a secret where there is none yet; whether it did. Of two that do this at one time,
    /// one does.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_first(&self, name: &str, secret: &Zeroizing<Vec<u8>>) -> Result<bool> {
        match self {
            Self::Keyring(keyring) => {
                let kept = Kept::new(secret.as_slice().to_vec());
                exchange(keyring.as_ref(), &entry(name)?, None, Some(&kept))
            }
            Self::Files(path) => {
                let folder = create(path)?;
                let _lock = folder.lock()?;
                if folder.read(name, Privacy::Secret)?.is_some() {
                    return Ok(false);
                }
                write(&folder, name, secret).map(|()| true)
            }
        }
    }

    /// Forgets a secret; whether there was one.
    ///
    /// # Errors
    /// It is still there.
    pub fn forget(&self, name: &str) -> Result<bool> {
        match self {
            Self::Keyring(keyring) => keyring.remove(&entry(name)?),
            Self::Files(path) => match open(path)? {
                None => Ok(false),
                Some(folder) => {
                    let _lock = folder.lock()?;
                    folder.remove(name)
                }
            },
        }
    }

    /// Where that is, as people read it.
    pub fn shown(&self, name: &str) -> String {
        match self {
            Self::Keyring(keyring) => keyring.place(),
            Self::Files(path) => path.join(name).display().to_string(),
        }
    }

    /// Something that is kept there and is not what was written.
    pub(crate) fn damaged(&self, name: &str) -> Error {
        Error::MalformedKeyFile {
            path: self.shown(name).into(),
            line: 1,
            reason: format!("it is not the {name} that was written; move it away"),
        }
    }
}

fn write(folder: &Folder, name: &str, secret: &Zeroizing<Vec<u8>>) -> Result<()> {
    folder.replace(name, secret)?;
    match folder.read(name, Privacy::Secret)? {
        Some(back) if *back == **secret => Ok(()),
        _ => Err(Error::NotKept {
            path: folder.path().join(name),
        }),
    }
}

fn open(path: &Path) -> Result<Option<Folder>> {
    if let Some(parent) = path.parent()
        && Folder::open(parent)?.is_none()
    {
        return Ok(None);
    }
    Folder::open(path)
}

fn create(path: &Path) -> Result<Folder> {
    if let Some(parent) = path.parent() {
        Folder::create(parent)?;
    }
    Folder::create(path)
}

fn entry(name: &str) -> Result<EntryName> {
    format!("vault/{name}").parse()
}

#[cfg(test)]
mod tests {
    use credentials::keyring::MemoryKeyring;

    use super::*;

    fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.into())
    }

    #[test]
    fn both_places_keep_replace_and_forget() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let files = Place::in_files(&Paths::under(home.path()));
        for place in [files, Place::Keyring(Arc::new(MemoryKeyring::new()))] {
            assert_eq!(place.load("device"), Ok(None));
            assert_eq!(place.forget("device"), Ok(false));
            assert_eq!(place.save_first("device", &bytes("one")), Ok(true));
            assert_eq!(place.save_first("device", &bytes("two")), Ok(false));
            assert_eq!(place.load("device"), Ok(Some(bytes("one"))));
            place.save("device", &bytes("three")).expect("kept");
            assert_eq!(place.load("device"), Ok(Some(bytes("three"))));
            assert_eq!(place.load("other"), Ok(None));
            assert_eq!(place.forget("device"), Ok(true));
            assert_eq!(place.load("device"), Ok(None));
        }
    }
}
