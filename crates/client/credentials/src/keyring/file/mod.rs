//! The keyring in a folder of encrypted files, for machines without a system keyring.
//!
//! `head` says how the key is made from the password, proves that a password is right, and
//! holds the sealed index: which entry is in which file ([`header`]). Each entry is a file of
//! its own, named after a random id: `artkring`, the format's number, and the sealed secret,
//! bound to realm, name and id.
//!
//! The rename of `head` is what makes a change so. A new value goes into a new file first,
//! the old file goes last; the same with all files when the password changes. Whatever dies
//! in between leaves either the old state or the new one, and a file that no index names,
//! which the next write takes away. Writers hold the folder's lock.
//!
//! Compatibility: what this version has written, every later version reads.

mod header;
mod seal;
mod unlock;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use self::header::{Head, Header, Id, Index};
use self::seal::{Context, Key};
use super::{EntryName, Keyring, KeyringError, KeyringKind, Secret, check_kept, check_size};
use crate::{Error, Folder, Privacy, Result};

/// The file keyring in one folder. The key is derived at most once in its life.
pub struct FileKeyring {
    path: PathBuf,
    passwords: Box<dyn Passwords>,
    /// How long a password, once typed, opens the keyring for this login session.
    unlocked_for: Duration,
    key: Mutex<Option<(Header, Key)>>,
}

/// Where passwords come from: a variable, a person.
pub trait Passwords: Send + Sync {
    /// The password for the keyring at `path`. Where a person chooses a new one, it is asked
    /// for twice.
    fn password(&self, path: &Path, purpose: Purpose) -> Result<Password>;
}

/// What a password is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To open the keyring.
    Open,
    /// To make the keyring.
    Create,
    /// To be the keyring's next password.
    Change,
}

/// A password as it was given.
pub struct Password {
    /// The password.
    pub text: Zeroizing<String>,
    /// Whether a person has typed it and may try again.
    pub typed: bool,
}

const HEAD: &str = "head";
const SUFFIX: &str = ".entry";

/// The fewest characters of a new password.
const LEAST: usize = 8;
/// How often a person may mistype.
const ATTEMPTS: usize = 3;
/// How often a reader looks anew when a writer was at work meanwhile.
const LOOKS: usize = 5;

impl FileKeyring {
    /// The keyring in the folder `path`, which need not exist yet. A zero `unlocked_for`
    /// keeps nothing between commands.
    pub fn new(path: PathBuf, passwords: Box<dyn Passwords>, unlocked_for: Duration) -> Self {
        Self {
            path,
            passwords,
            unlocked_for,
            key: Mutex::new(None),
        }
    }

    /// Whether there is a keyring in the folder.
    pub fn exists(&self) -> Result<bool> {
        Ok(self.open()?.is_some())
    }

    /// Whether this login session can open it without a password. Needs no password itself.
    pub fn is_unlocked(&self) -> Result<bool> {
        let Some((_, head)) = self.open()? else {
            return Ok(false);
        };
        Ok(unlock::find(&head.header).is_some())
    }

    /// Forgets the unlock of this login session; whether there was one.
    pub fn lock(&self) -> Result<bool> {
        *self.cached() = None;
        let Some((_, head)) = self.open()? else {
            return Ok(false);
        };
        Ok(unlock::forget(&head.header))
    }

    /// The keyring's realm, chosen at random when it was made and never changed.
    pub fn realm(&self) -> Result<Option<String>> {
        Ok(self.open()?.map(|(_, head)| hex::encode(head.header.realm)))
    }

    /// Gives the keyring another password: everything is sealed anew under a new key.
    pub fn change_password(&self) -> Result<()> {
        let missing = || Error::io("open", &self.path, rustix::io::Errno::NOENT);
        let (folder, _) = self.open()?.ok_or_else(missing)?;
        let _lock = folder.lock()?;
        let (_, head) = self.open()?.ok_or_else(missing)?;
        let key = self.key(&head)?;
        let index = head.index(&key, &self.head_path())?;
        let fresh = Header::new(head.header.realm)?;
        let fresh_key = self.new_key(&fresh, Purpose::Change)?;
        let mut moved = Index::new();
        for (name, id) in &index {
            let secret = self.read_entry(&folder, &head.header, &key, name, id)?;
            let secret = secret.ok_or_else(|| self.entry_missing(id))?;
            let id = self.write_entry(&folder, &fresh, &fresh_key, name, secret.expose())?;
            moved.insert(name.clone(), id);
        }
        folder.replace(HEAD, &Head::render(&fresh, &fresh_key, &moved)?)?;
        let was_unlocked = unlock::forget(&head.header);
        if was_unlocked {
            unlock::keep(&fresh, &fresh_key, self.unlocked_for);
        }
        *self.cached() = Some((fresh, fresh_key));
        sweep(&folder, &moved)
    }

    /// The folder and its head; `None` before the keyring is made.
    fn open(&self) -> Result<Option<(Folder, Head)>> {
        let Some(folder) = Folder::open(&self.path)? else {
            return Ok(None);
        };
        let Some(bytes) = folder.read(HEAD, Privacy::Secret)? else {
            return Ok(None);
        };
        let head = Head::parse(&bytes, &self.head_path())?;
        Ok(Some((folder, head)))
    }

    /// The head's key: known to this process, unlocked in this session, or derived from the
    /// password, in this order.
    fn key(&self, head: &Head) -> Result<Key> {
        if let Some((header, key)) = &*self.cached()
            && *header == head.header
        {
            return copy(key);
        }
        let kept = unlock::find(&head.header);
        let key = match kept {
            Some(key) if head.verifies(&key)? => key,
            _ => self.ask_for_key(head)?,
        };
        *self.cached() = Some((head.header.clone(), copy(&key)?));
        Ok(key)
    }

    fn ask_for_key(&self, head: &Head) -> Result<Key> {
        for _ in 0..ATTEMPTS {
            let password = self.passwords.password(&self.path, Purpose::Open)?;
            let key = Key::derive(&password.text, &head.header)?;
            if head.verifies(&key)? {
                unlock::keep(&head.header, &key, self.unlocked_for);
                return Ok(key);
            }
            if !password.typed {
                break;
            }
        }
        Err(KeyringError::WrongPassword {
            path: self.path.clone(),
        }
        .into())
    }

    fn new_key(&self, header: &Header, purpose: Purpose) -> Result<Key> {
        let password = self.passwords.password(&self.path, purpose)?;
        if password.text.chars().count() < LEAST {
            return Err(KeyringError::ShortPassword { least: LEAST }.into());
        }
        Key::derive(&password.text, header)
    }

    /// Changes the index under the lock. `change` may write entry files; what the new index
    /// does not name is swept away afterwards.
    fn change<T>(
        &self,
        work: impl FnOnce(&Folder, &Header, &Key, &mut Index) -> Result<T>,
    ) -> Result<T> {
        let folder = Folder::create(&self.path)?;
        let _lock = folder.lock()?;
        let (header, key, mut index) = match self.open()? {
            Some((_, head)) => {
                let key = self.key(&head)?;
                let index = head.index(&key, &self.head_path())?;
                (head.header, key, index)
            }
            None => {
                let header = Header::new(seal::random()?)?;
                let key = self.new_key(&header, Purpose::Create)?;
                unlock::keep(&header, &key, self.unlocked_for);
                (header, key, Index::new())
            }
        };
        let answer = work(&folder, &header, &key, &mut index)?;
        folder.replace(HEAD, &Head::render(&header, &key, &index)?)?;
        *self.cached() = Some((header, key));
        sweep(&folder, &index)?;
        Ok(answer)
    }

    fn write_entry(
        &self,
        folder: &Folder,
        header: &Header,
        key: &Key,
        name: &EntryName,
        secret: &[u8],
    ) -> Result<Id> {
        let id: Id = seal::random()?;
        let sealed = key.seal(secret, &entry_context(header, name, &id))?;
        let bytes = [&header::MAGIC[..], &[header::FORMAT], &sealed].concat();
        folder.replace(&file_name(&id), &bytes)?;
        Ok(id)
    }

    /// `None` where the file is not there (any more).
    fn read_entry(
        &self,
        folder: &Folder,
        header: &Header,
        key: &Key,
        name: &EntryName,
        id: &Id,
    ) -> Result<Option<Secret>> {
        let Some(bytes) = folder.read(&file_name(id), Privacy::Secret)? else {
            return Ok(None);
        };
        let path = self.path.join(file_name(id));
        header::check_magic(&bytes, &path)?;
        let sealed = &bytes[header::MAGIC.len() + 1..];
        match key.open(sealed, &entry_context(header, name, id))? {
            Some(text) => Ok(Some(text.into())),
            None => Err(KeyringError::Damaged {
                path,
                what: "it was changed, or belongs to another keyring",
            }
            .into()),
        }
    }

    fn entry_missing(&self, id: &Id) -> Error {
        KeyringError::Damaged {
            path: self.path.join(file_name(id)),
            what: "the index names it, but it is not there",
        }
        .into()
    }

    fn head_path(&self) -> PathBuf {
        self.path.join(HEAD)
    }

    fn cached(&self) -> MutexGuard<'_, Option<(Header, Key)>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keyring for FileKeyring {
    fn kind(&self) -> KeyringKind {
        KeyringKind::File
    }

    fn place(&self) -> String {
        format!("the keyring {}", self.path.display())
    }

    fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
        let mut missing = None;
        for _ in 0..LOOKS {
            let Some((folder, head)) = self.open()? else {
                return Ok(None);
            };
            let key = self.key(&head)?;
            let index = head.index(&key, &self.head_path())?;
            let Some(id) = index.get(name) else {
                return Ok(None);
            };
            if let Some(secret) = self.read_entry(&folder, &head.header, &key, name, id)? {
                return Ok(Some(secret));
            }
            // A writer may have replaced it between our two reads; not twice the same one.
            if missing.replace(*id) == Some(*id) {
                break;
            }
        }
        Err(self.entry_missing(&missing.unwrap_or_default()))
    }

    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        check_size(secret)?;
        self.change(|folder, header, key, index| {
            let id = self.write_entry(folder, header, key, name, secret.expose())?;
            let kept = self.read_entry(folder, header, key, name, &id)?;
            check_kept(name, secret, kept.as_ref())?;
            index.insert(name.clone(), id);
            Ok(())
        })?;
        Ok(())
    }

    fn remove(&self, name: &EntryName) -> Result<bool> {
        if !self.names()?.contains(name) {
            return Ok(false);
        }
        self.change(|_, _, _, index| Ok(index.remove(name).is_some()))
    }

    fn names(&self) -> Result<Vec<EntryName>> {
        let Some((_, head)) = self.open()? else {
            return Ok(Vec::new());
        };
        let key = self.key(&head)?;
        let index = head.index(&key, &self.head_path())?;
        Ok(index.into_keys().collect())
    }
}

fn entry_context(header: &Header, name: &EntryName, id: &Id) -> Context {
    let name = name.as_str().as_bytes();
    Context::new(&[b"artifacts.keyring.1", b"entry", &header.realm, name, id])
}

fn file_name(id: &Id) -> String {
    hex::encode(id) + SUFFIX
}

/// Takes away what crashes have left: entry files that the index does not name, and
/// temporary files. Only for holders of the lock.
fn sweep(folder: &Folder, index: &Index) -> Result<()> {
    let named: Vec<String> = index.values().map(file_name).collect();
    for name in folder.names()? {
        let entry = name.ends_with(SUFFIX) && !named.contains(&name);
        if entry || Folder::is_temporary(&name) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

fn copy(key: &Key) -> Result<Key> {
    Key::from_bytes(key.expose()).ok_or_else(|| KeyringError::Crypto { what: "the key" }.into())
}
