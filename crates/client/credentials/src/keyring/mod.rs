//! Keyrings: places that keep secrets between commands, behind one trait.
//!
//! - [`SystemKeyring`]: the operating system's (Secret Service on Linux, keychain on macOS).
//! - [`FileKeyring`]: a folder of encrypted files, for machines that have no other.
//! - [`MemoryKeyring`]: gone at exit.
//!
//! Every backend passes [`contract::check`]. None ever stands in for another: what cannot be
//! used is an error with the remedy.

mod change;
pub mod contract;
mod entry;
mod error;
pub mod export;
mod file;
mod memory;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod platform;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod system_none;

pub use change::{exchange, remove_if_equal};
pub(crate) use change::{put_and_look, same};
pub use entry::{EntryName, Secret};
pub use error::KeyringError;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use file::fuzzed;
pub use file::{FileKeyring, Password, Passwords, Purpose};
pub use memory::MemoryKeyring;
#[cfg(any(target_os = "linux", target_os = "macos"))]
pub use system::SystemKeyring;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub use system_none::SystemKeyring;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::change::{check_size, delete_and_look};
use crate::Result;

/// The most bytes of one secret. Access keys with the longest session tokens are a tenth of
/// it.
pub const SECRET_LIMIT: usize = 64 * 1024;

/// A place for secrets. Calls block; a call of the system's keyring ends in time whatever
/// happens.
///
/// A backend gives [`alone`](Self::alone), [`put`](Self::put) and [`delete`](Self::delete);
/// who uses a keyring calls [`store`](Self::store), [`remove`](Self::remove) and the functions
/// of this module that change an entry by what is there.
pub trait Keyring: Send + Sync {
    /// Which backend this is.
    fn kind(&self) -> KeyringKind;

    /// Where it is, as people read it.
    fn place(&self) -> String;

    /// What was stored under the name; `None` where nothing is.
    fn load(&self, name: &EntryName) -> Result<Option<Secret>>;

    /// The names of all entries of ours, sorted.
    fn names(&self) -> Result<Vec<EntryName>>;

    /// Runs `work` while no other writer of ours, in whatever process, is at work. Whatever a
    /// person has to type is asked for before that. Not within itself.
    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()>;

    /// Writes an entry, without a look at what came of it. Only within [`alone`](Self::alone).
    fn put(&self, name: &EntryName, secret: &Secret) -> Result<()>;

    /// Takes an entry away; whether it was there. Only within [`alone`](Self::alone).
    fn delete(&self, name: &EntryName) -> Result<bool>;

    /// Stores the secret in place of what may be there, and reads it back before it answers.
    ///
    /// # Errors
    /// [`KeyringError::TooLarge`] above [`SECRET_LIMIT`], [`KeyringError::NotKept`] where
    /// what is read back is not what was written.
    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        check_size(secret)?;
        self.alone(&mut || put_and_look(self, name, secret))
    }

    /// Removes an entry; whether it was there.
    ///
    /// # Errors
    /// [`KeyringError::NotRemoved`] where it is still there afterwards.
    fn remove(&self, name: &EntryName) -> Result<bool> {
        // No keyring is made for a removal.
        if !self.names()?.contains(name) {
            return Ok(false);
        }
        let mut was_there = false;
        self.alone(&mut || {
            was_there = delete_and_look(self, name)?;
            Ok(())
        })?;
        Ok(was_there)
    }
}

/// The backends, as `auth.keyring.type` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyringKind {
    /// The operating system's.
    System,
    /// A folder of encrypted files.
    File,
    /// This process's memory.
    Memory,
}

impl fmt::Display for KeyringKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::File => "file",
            Self::Memory => "memory",
        })
    }
}

impl FromStr for KeyringKind {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "system" => Ok(Self::System),
            "file" => Ok(Self::File),
            "memory" => Ok(Self::Memory),
            _ => Err(KeyringError::UnknownKind(text.to_owned()).into()),
        }
    }
}
