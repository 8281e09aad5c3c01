//! The keyring in a folder of encrypted files, for machines without a system keyring.
//!
//! `head` says how the key is made from the password, proves that a password is right, and
//! holds the sealed index: which entry is in which file ([`header`]). Each entry is a file of
//! its own, named after a random id: `artkring`, the format's number, and the sealed secret,
//! bound to realm, name and id.
//!
//! The rename of `head` is what makes a change so, from the first one on, which writes a head
//! with an empty index. A new value goes into a new file first, the old file goes last; the
//! same with all files when the password changes. Whatever dies in between leaves either the
//! old state or the new one, and a file that no index names, which the next write takes away.
//! So entries without a head, or a head without its entries, are never what a crash has left
//! but what is missing of a copy: then nothing is taken away, and the first is an error.
//!
//! Writers hold the folder's lock, and only once the key is known: nobody waits for what a
//! person types.
//!
//! Compatibility: what this version has written, every later version reads.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod header;
mod seal;
mod unlock;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use self::header::{Head, Header, Id, Index};
use self::seal::{Context, Key};
use super::{EntryName, Keyring, KeyringError, KeyringKind, Secret};
use crate::lock::Lock;
use crate::{Error, Folder, Privacy, Result};

/// The file keyring in one folder. The key is derived at most once in its life.
pub struct FileKeyring {
    path: PathBuf,
    passwords: Box<dyn Passwords>,
    /// How long a password, once typed, opens the keyring for this login session.
    unlocked_for: Duration,
    key: Mutex<Option<(Header, Key)>>,
    /// Held while the password is asked for, so that threads of one process ask once.
    asking: Mutex<()>,
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
/// How often who reads or writes begins anew when a writer was at work meanwhile.
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
            asking: Mutex::new(()),
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

    /// Gives the keyring another password: everything is sealed anew under a new key. The
    /// present password is asked for, whoever has unlocked the keyring.
    pub fn change_password(&self) -> Result<()> {
        let missing = || Error::io("open", &self.path, rustix::io::Errno::NOENT);
        let (folder, before) = self.open()?.ok_or_else(missing)?;
        let key = self.prove(&before)?;
        let fresh = Header::new(before.header.realm)?;
        let fresh_key = self.new_key(&fresh, Purpose::Change)?;
        let _lock = folder.lock()?;
        let (_, head) = self.open()?.ok_or_else(missing)?;
        if head.header != before.header {
            // Somebody was faster: what was typed is the password no more.
            return Err(self.wrong_password());
        }
        let index = head.index(&key, &self.head_path())?;
        let mut moved = Index::new();
        for (name, id) in &index {
            let secret = self.read_entry(&folder, &head.header, &key, name, id)?;
            let secret = secret.ok_or_else(|| self.entry_missing(id))?;
            let id = self.write_entry(&folder, &fresh, &fresh_key, name, secret.expose())?;
            moved.insert(name.clone(), id);
        }
        folder.replace(HEAD, &Head::render(&fresh, &fresh_key, &moved)?)?;
        if unlock::forget(&head.header) {
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
        let mut bytes = folder.read(HEAD, Privacy::Secret)?;
        if bytes.is_none() && folder.names()?.iter().any(|name| name.ends_with(SUFFIX)) {
            // Made between the two looks, it has a head now.
            bytes = folder.read(HEAD, Privacy::Secret)?;
            if bytes.is_none() {
                return Err(self.damaged(HEAD, "it is not there, but entries are"));
            }
        }
        let head = bytes.map(|bytes| Head::parse(&bytes, &self.head_path()));
        Ok(head.transpose()?.map(|head| (folder, head)))
    }

    /// Takes the lock once the key is known, and makes the keyring where there is none.
    fn hold(&self) -> Result<Lock> {
        for _ in 0..LOOKS {
            let Some((folder, head)) = self.open()? else {
                match self.make()? {
                    Some(lock) => return Ok(lock),
                    None => continue,
                }
            };
            self.key(&head)?;
            let lock = folder.lock()?;
            let now = self.open()?;
            if now.is_some_and(|(_, now)| now.header == head.header) {
                return Ok(lock);
            }
        }
        Err(Error::Locked {
            path: self.path.clone(),
        })
    }

    /// Makes an empty keyring and keeps its lock; `None` where another process was faster.
    fn make(&self) -> Result<Option<Lock>> {
        let header = Header::new(seal::random()?)?;
        let key = self.new_key(&header, Purpose::Create)?;
        let folder = Folder::create(&self.path)?;
        let lock = folder.lock()?;
        if self.open()?.is_some() {
            return Ok(None);
        }
        folder.replace(HEAD, &Head::render(&header, &key, &Index::new())?)?;
        unlock::keep(&header, &key, self.unlocked_for);
        *self.cached() = Some((header, key));
        Ok(Some(lock))
    }

    /// What is there for a holder of the lock.
    fn held(&self) -> Result<(Folder, Header, Key, Index)> {
        let missing = || self.damaged(HEAD, "it went away");
        let (folder, head) = self.open()?.ok_or_else(missing)?;
        let key = self.key(&head)?;
        let index = head.index(&key, &self.head_path())?;
        Ok((folder, head.header, key, index))
    }

    /// The head's key: known to this process, unlocked in this session, or derived from the
    /// password, in this order.
    fn key(&self, head: &Head) -> Result<Key> {
        if let Some(key) = self.known_key(head)? {
            return Ok(key);
        }
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have asked meanwhile.
        if let Some(key) = self.known_key(head)? {
            return Ok(key);
        }
        let key = match unlock::find(&head.header) {
            Some(key) if head.verifies(&key)? => key,
            _ => {
                let key = self.prove(head)?;
                unlock::keep(&head.header, &key, self.unlocked_for);
                key
            }
        };
        *self.cached() = Some((head.header.clone(), copy(&key)?));
        Ok(key)
    }

    fn known_key(&self, head: &Head) -> Result<Option<Key>> {
        let cached = self.cached();
        let known = cached.as_ref().filter(|(header, _)| *header == head.header);
        known.map(|(_, key)| copy(key)).transpose()
    }

    /// The key as the password gives it, whoever knows it already.
    fn prove(&self, head: &Head) -> Result<Key> {
        for _ in 0..ATTEMPTS {
            let password = self.passwords.password(&self.path, Purpose::Open)?;
            let key = Key::derive(&password.text, &head.header)?;
            if head.verifies(&key)? {
                return Ok(key);
            }
            if !password.typed {
                break;
            }
        }
        Err(self.wrong_password())
    }

    fn new_key(&self, header: &Header, purpose: Purpose) -> Result<Key> {
        let password = self.passwords.password(&self.path, purpose)?;
        if password.text.chars().count() < LEAST {
            return Err(KeyringError::ShortPassword { least: LEAST }.into());
        }
        Key::derive(&password.text, header)
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
        match open_entry(&bytes, &path, key, &entry_context(header, name, id))? {
            Some(text) => Ok(Some(text.into())),
            None => {
                let what = "it was changed, or belongs to another keyring";
                Err(self.damaged(&file_name(id), what))
            }
        }
    }

    fn entry_missing(&self, id: &Id) -> Error {
        self.damaged(&file_name(id), "the index names it, but it is not there")
    }

    fn damaged(&self, file: &str, what: &'static str) -> Error {
        KeyringError::Damaged {
            path: self.path.join(file),
            what,
        }
        .into()
    }

    fn wrong_password(&self) -> Error {
        KeyringError::WrongPassword {
            path: self.path.clone(),
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

    fn names(&self) -> Result<Vec<EntryName>> {
        let Some((_, head)) = self.open()? else {
            return Ok(Vec::new());
        };
        let key = self.key(&head)?;
        let index = head.index(&key, &self.head_path())?;
        Ok(index.into_keys().collect())
    }

    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let _lock = self.hold()?;
        work()
    }

    fn put(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        let (folder, header, key, mut index) = self.held()?;
        let id = self.write_entry(&folder, &header, &key, name, secret.expose())?;
        let old = index.insert(name.clone(), id);
        folder.replace(HEAD, &Head::render(&header, &key, &index)?)?;
        if let Some(old) = old {
            folder.remove(&file_name(&old))?;
        }
        sweep(&folder, &index)
    }

    fn delete(&self, name: &EntryName) -> Result<bool> {
        let (folder, header, key, mut index) = self.held()?;
        let Some(old) = index.remove(name) else {
            return Ok(false);
        };
        folder.replace(HEAD, &Head::render(&header, &key, &index)?)?;
        folder.remove(&file_name(&old))?;
        sweep(&folder, &index)?;
        Ok(true)
    }
}

fn entry_context(header: &Header, name: &EntryName, id: &Id) -> Context {
    let name = name.as_str().as_bytes();
    Context::new(&[b"artifacts.keyring.1", b"entry", &header.realm, name, id])
}

/// What an entry's file holds; `None` where it is not what was sealed in this context.
fn open_entry(
    bytes: &[u8],
    path: &Path,
    key: &Key,
    context: &Context,
) -> Result<Option<Zeroizing<Vec<u8>>>> {
    header::check_magic(bytes, path)?;
    key.open(&bytes[header::MAGIC.len() + 1..], context)
}

fn file_name(id: &Id) -> String {
    hex::encode(id) + SUFFIX
}

/// Takes away what crashes have left: entry files that the index does not name, and
/// temporary files. Only for holders of the lock. Where a file of the index is missing, it was
/// no crash, and what is there may be all that is left of it: then entries stay.
fn sweep(folder: &Folder, index: &Index) -> Result<()> {
    folder.sweep()?;
    let named: BTreeSet<String> = index.values().map(file_name).collect();
    let files = folder.names()?;
    if !named.iter().all(|name| files.contains(name)) {
        return Ok(());
    }
    for name in files {
        if name.ends_with(SUFFIX) && !named.contains(&name) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

fn copy(key: &Key) -> Result<Key> {
    Key::from_bytes(key.expose()).ok_or_else(|| KeyringError::Crypto { what: "the key" }.into())
}
