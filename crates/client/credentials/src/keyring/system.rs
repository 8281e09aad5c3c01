//! The operating system's keyring: the Secret Service (GNOME Keyring, KWallet) over D-Bus.
//!
//! Entries have the attributes `service = artifacts` and `username = NAME`, so that
//! `secret-tool lookup service artifacts username storage/default` finds one.
//!
//! The service may wait for ever for somebody to unlock it. So every call runs in a thread
//! of its own and is given up after a few seconds.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error as CoreError};
use zbus_secret_service_keyring_store::Store;

use super::{EntryName, Keyring, KeyringError, KeyringKind, Secret, check_kept, check_size};
use crate::Result;

/// The system keyring of this user's session.
pub struct SystemKeyring {
    connected: Mutex<Option<Arc<Store>>>,
}

/// How long one call may take. The first that is not answered ends the command, which must
/// have ended after five seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// The attribute that all our entries have.
const SERVICE: &str = "artifacts";

impl SystemKeyring {
    /// Connects with the first call, not here.
    pub fn new() -> Self {
        Self {
            connected: Mutex::new(None),
        }
    }

    /// Runs work on the store in a thread, for as long as there is patience.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> std::result::Result<T, CoreError> + Send + 'static,
    ) -> Result<T> {
        // Taken out, so that a connection that failed is not used again.
        let known = self.connected().take();
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let answer = known.map_or_else(Store::new, Ok).and_then(|store| {
                let answer = work(&store)?;
                Ok((answer, store))
            });
            // Nobody waits any more where the time was up.
            let _ = sender.send(answer);
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(answer) => {
                let (answer, store) = answer.map_err(refusal)?;
                *self.connected() = Some(store);
                Ok(answer)
            }
            Err(RecvTimeoutError::Timeout) => Err(KeyringError::Silent { after: PATIENCE }.into()),
            Err(RecvTimeoutError::Disconnected) => Err(KeyringError::Refused {
                reason: "its client library failed".into(),
            }
            .into()),
        }
    }

    fn connected(&self) -> MutexGuard<'_, Option<Arc<Store>>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SystemKeyring {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyring for SystemKeyring {
    fn kind(&self) -> KeyringKind {
        KeyringKind::System
    }

    fn place(&self) -> String {
        "the system keyring".into()
    }

    fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
        let name = name.clone();
        self.ask(move |store| match entry(store, &name)?.get_secret() {
            Ok(bytes) => Ok(Some(Secret::new(bytes))),
            Err(CoreError::NoEntry) => Ok(None),
            Err(e) => Err(e),
        })
    }

    fn store(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        check_size(secret)?;
        let (wanted, bytes) = (name.clone(), Secret::new(secret.expose().to_vec()));
        self.ask(move |store| entry(store, &wanted)?.set_secret(bytes.expose()))?;
        check_kept(name, secret, self.load(name)?.as_ref())
    }

    fn remove(&self, name: &EntryName) -> Result<bool> {
        let name = name.clone();
        self.ask(
            move |store| match entry(store, &name)?.delete_credential() {
                Ok(()) => Ok(true),
                Err(CoreError::NoEntry) => Ok(false),
                Err(e) => Err(e),
            },
        )
    }

    fn names(&self) -> Result<Vec<EntryName>> {
        self.ask(|store| {
            let entries = store.search(&HashMap::from([("service", SERVICE)]))?;
            let names = entries.iter().filter_map(Entry::get_specifiers);
            let mut names: Vec<EntryName> =
                names.filter_map(|(_, user)| user.parse().ok()).collect();
            names.sort();
            names.dedup();
            Ok(names)
        })
    }
}

fn entry(store: &Store, name: &EntryName) -> std::result::Result<Entry, CoreError> {
    let label = format!("artifacts {name}");
    let modifiers = HashMap::from([("label", label.as_str())]);
    store.build(SERVICE, name.as_str(), Some(&modifiers))
}

/// The library's errors as ours. Their texts are about D-Bus, never about a value; the two
/// that carry a value are not printed.
fn refusal(error: CoreError) -> crate::Error {
    let text = match &error {
        CoreError::NoStorageAccess(cause) => {
            let cause = cause.to_string();
            if cause.contains("locked") || cause.contains("prompt") {
                return KeyringError::Locked.into();
            }
            return KeyringError::Unavailable { reason: cause }.into();
        }
        CoreError::PlatformFailure(cause) => cause.to_string(),
        CoreError::Ambiguous(_) => "it holds two entries of one name".into(),
        CoreError::BadEncoding(_) | CoreError::BadDataFormat(..) => {
            "what it holds cannot be read".into()
        }
        other => other.to_string(),
    };
    let unreachable = [
        "no secret service provider",
        "ServiceUnknown",
        "zbus error: I/O error",
        "Address",
        "address",
    ];
    if unreachable.iter().any(|sign| text.contains(sign)) {
        return KeyringError::Unavailable { reason: text }.into();
    }
    KeyringError::Refused { reason: text }.into()
}
