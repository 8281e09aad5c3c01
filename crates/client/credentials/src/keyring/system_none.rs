//! Where no system keyring is supported, it says so.

use super::{EntryName, Keyring, KeyringError, KeyringKind, Secret};
use crate::Result;

/// No keyring: every call is an error with the remedy.
#[derive(Default)]
pub struct SystemKeyring;

impl SystemKeyring {
    /// The one that says so.
    pub fn new(_: std::path::PathBuf) -> Self {
        Self
    }
}

fn none<T>() -> Result<T> {
    Err(KeyringError::Unavailable {
        reason: "this build supports none on this operating system".into(),
    }
    .into())
}

impl Keyring for SystemKeyring {
    fn kind(&self) -> KeyringKind {
        KeyringKind::System
    }

    fn place(&self) -> String {
        "the system keyring".into()
    }

    fn load(&self, _: &EntryName) -> Result<Option<Secret>> {
        none()
    }

    fn names(&self) -> Result<Vec<EntryName>> {
        none()
    }

    fn alone(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        none()
    }

    fn put(&self, _: &EntryName, _: &Secret) -> Result<()> {
        none()
    }

    fn delete(&self, _: &EntryName) -> Result<bool> {
        none()
    }
}
