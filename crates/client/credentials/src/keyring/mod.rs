//! Keyrings: places that keep secrets between commands, behind one trait.
//!
//! - [`SystemKeyring`]: the operating system's (Secret Service on Linux).
//! - [`FileKeyring`]: a folder of encrypted files, for machines that have no other.
//! - [`MemoryKeyring`]: gone at exit.
//!
//! Every backend passes [`contract::check`]. None ever stands in for another: what cannot be
//! used is an error with the remedy.

pub mod contract;
mod entry;
mod error;
mod file;
mod memory;
#[cfg(target_os = "linux")]
mod system;
#[cfg(not(target_os = "linux"))]
mod system_none;

pub use entry::{EntryName, Secret};
pub use error::KeyringError;
pub use file::{FileKeyring, Password, Passwords, Purpose};
pub use memory::MemoryKeyring;
#[cfg(target_os = "linux")]
pub use system::SystemKeyring;
#[cfg(not(target_os = "linux"))]
pub use system_none::SystemKeyring;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Result;

/// The most bytes of one secret. Access keys with the longest session tokens are a tenth of
/// it.
pub const SECRET_LIMIT: usize = 64 * 1024;

/// A place for secrets. Calls block; a call of the system's keyring ends in time whatever
/// happens.
pub trait Keyring: Send + Sync {
    /// Which backend this is.
    fn kind(&self) -> KeyringKind;

    /// Where it is, as people read it.
    fn place(&self) -> String;

    /// What was stored under the name; `None` where nothing is.
    fn load(&self, name: &EntryName) -> Result<Option<Secret>>;

    /// Stores the secret in place of what may be there, and reads it back before it answers.
    ///
    /// # Errors
    /// [`KeyringError::TooLarge`] above [`SECRET_LIMIT`], [`KeyringError::NotKept`] where
    /// what is read back is not what was written.
    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()>;

    /// Removes an entry; whether it was there.
    fn remove(&self, name: &EntryName) -> Result<bool>;

    /// The names of all entries of ours, sorted.
    fn names(&self) -> Result<Vec<EntryName>>;
}

/// The backends, as `auth.keyring.type` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Refuses what no backend would keep.
fn check_size(secret: &Secret) -> Result<()> {
    if secret.expose().len() > SECRET_LIMIT {
        return Err(KeyringError::TooLarge {
            limit: SECRET_LIMIT,
        }
        .into());
    }
    Ok(())
}

/// Compares what a backend gives back with what it was given.
fn check_kept(name: &EntryName, wanted: &Secret, kept: Option<&Secret>) -> Result<()> {
    if kept.is_some_and(|kept| kept.expose() == wanted.expose()) {
        return Ok(());
    }
    Err(KeyringError::NotKept { name: name.clone() }.into())
}
