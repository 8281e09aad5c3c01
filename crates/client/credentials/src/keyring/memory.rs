//! The keyring that is gone at exit: for tests, and for jobs that bring their keys along.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{EntryName, Keyring, KeyringKind, Secret};
use crate::Result;

/// Entries in this process's memory.
#[derive(Default)]
pub struct MemoryKeyring {
    entries: Mutex<BTreeMap<EntryName, Secret>>,
    writing: Mutex<()>,
}

impl MemoryKeyring {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<EntryName, Secret>) -> T) -> T {
        // A map is whole whatever panicked beside it.
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Keyring for MemoryKeyring {
    fn kind(&self) -> KeyringKind {
        KeyringKind::Memory
    }

    fn place(&self) -> String {
        "this process's memory".into()
    }

    fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
        Ok(self.with(|entries| {
            let found = entries.get(name);
            found.map(|secret| Secret::new(secret.expose().to_vec()))
        }))
    }

    fn names(&self) -> Result<Vec<EntryName>> {
        Ok(self.with(|entries| entries.keys().cloned().collect()))
    }

    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    fn put(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        let copy = Secret::new(secret.expose().to_vec());
        self.with(|entries| entries.insert(name.clone(), copy));
        Ok(())
    }

    fn delete(&self, name: &EntryName) -> Result<bool> {
        Ok(self.with(|entries| entries.remove(name).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_contract() {
        super::super::contract::check(&MemoryKeyring::new());
    }

    #[test]
    fn two_of_them_share_nothing() {
        let name = "storage/default".parse().expect("a name");
        let first = MemoryKeyring::new();
        first
            .store(&name, &Secret::new(b"x".to_vec()))
            .expect("kept");
        assert!(MemoryKeyring::new().load(&name).expect("read").is_none());
    }
}
