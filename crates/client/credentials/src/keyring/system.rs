//! The operating system's keyring: on Linux the Secret Service (GNOME Keyring, KWallet) over
//! D-Bus, on macOS the login keychain.
//!
//! Entries have the attributes `service = artifacts` and `username = NAME`, so that
//! `secret-tool lookup service artifacts username storage/default` finds one.
//!
//! The service may wait for ever for somebody to unlock it. So every call runs in a thread
//! of its own and is given up after a few seconds; the calls of one command share these.
//!
//! It has no change that depends on what is there. So our writers hold a lock of their own,
//! which other programs know nothing of.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keyring_core::{CredentialStore, Entry, Error as CoreError};

use super::{EntryName, Keyring, KeyringError, KeyringKind, Secret, platform};
use crate::{Folder, Result};

/// The system keyring of this user's session.
pub struct SystemKeyring {
    connect: Connect,
    /// The folder whose lock our writers hold.
    lock: PathBuf,
    connected: Mutex<Option<Arc<CredentialStore>>>,
    waited: Mutex<Waited>,
}

/// How the platform's store is reached.
type Connect = fn() -> std::result::Result<Arc<CredentialStore>, CoreError>;

/// How long was waited for answers lately.
struct Waited {
    time: Duration,
    last: Option<Instant>,
}

/// How long the calls of a command may wait. The command must have ended after five seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// What a call may take without being counted as waiting.
const USUAL: Duration = Duration::from_millis(500);
/// After so long without a call, it is another command's, or a mount's next look.
const REST: Duration = Duration::from_secs(10);

/// The attribute that all our entries have.
const SERVICE: &str = "artifacts";

impl SystemKeyring {
    /// Connects with the first call, not here. Writers hold the lock of the folder `lock`,
    /// which is made.
    pub fn new(lock: PathBuf) -> Self {
        Self::reached_by(platform::connect, lock)
    }

    fn reached_by(connect: Connect, lock: PathBuf) -> Self {
        Self {
            connect,
            lock,
            connected: Mutex::new(None),
            waited: Mutex::new(Waited {
                time: Duration::ZERO,
                last: None,
            }),
        }
    }

    /// Runs work on the store in a thread, for as long as there is patience.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CredentialStore) -> std::result::Result<T, CoreError> + Send + 'static,
    ) -> Result<T> {
        let (connect, started) = (self.connect, Instant::now());
        let patience = self.waited().left(started);
        if patience.is_zero() {
            // It was silent a moment ago.
            return Err(KeyringError::Silent { after: PATIENCE }.into());
        }
        // Taken out, so that a connection that failed is not used again.
        let known = self.connected().take();
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let answer = known.map_or_else(connect, Ok).and_then(|store| {
                let answer = work(store.as_ref())?;
                Ok((answer, store))
            });
            // Nobody waits any more where the time was up.
            let _ = sender.send(answer);
        });
        let answer = receiver.recv_timeout(patience);
        match answer {
            Err(RecvTimeoutError::Timeout) => self.waited().exhaust(Instant::now()),
            _ => self.waited().count(started, Instant::now()),
        }
        match answer {
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

    fn connected(&self) -> MutexGuard<'_, Option<Arc<CredentialStore>>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waited {
    /// What is left of the patience for a call that begins at `now`.
    fn left(&mut self, now: Instant) -> Duration {
        if self.last.is_none_or(|last| now - last >= REST) {
            self.time = Duration::ZERO;
        }
        PATIENCE.saturating_sub(self.time)
    }

    /// No answer came: the rest of the command's calls would wait in vain as well.
    fn exhaust(&mut self, ended: Instant) {
        self.time = PATIENCE;
        self.last = Some(ended);
    }

    /// Counts a call from `started` to `ended`.
    fn count(&mut self, started: Instant, ended: Instant) {
        self.time += (ended - started).saturating_sub(USUAL);
        self.last = Some(ended);
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

    fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let folder = Folder::create(&self.lock)?;
        let started = Instant::now();
        let patience = self.waited().left(started);
        let lock = folder.lock_within(patience);
        self.waited().count(started, Instant::now());
        let _lock = lock?;
        work()
    }

    fn put(&self, name: &EntryName, secret: &Secret) -> Result<()> {
        let (name, bytes) = (name.clone(), Secret::new(secret.expose().to_vec()));
        self.ask(move |store| entry(store, &name)?.set_secret(bytes.expose()))
    }

    fn delete(&self, name: &EntryName) -> Result<bool> {
        let name = name.clone();
        self.ask(
            move |store| match entry(store, &name)?.delete_credential() {
                Ok(()) => Ok(true),
                Err(CoreError::NoEntry) => Ok(false),
                Err(e) => Err(e),
            },
        )
    }
}

fn entry(store: &CredentialStore, name: &EntryName) -> std::result::Result<Entry, CoreError> {
    let label = format!("artifacts {name}");
    let modifiers = platform::modifiers(&label);
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
        CoreError::TooLong(_, limit) => {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            return KeyringError::TooLarge { limit }.into();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_command_share_one_patience() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut waited = Waited {
            time: Duration::ZERO,
            last: None,
        };
        assert_eq!(waited.left(at(0.0)), PATIENCE);
        for call in 0..20 {
            let begin = f64::from(call) * 0.1;
            waited.count(at(begin), at(begin + 0.1));
        }
        assert_eq!(waited.left(at(2.0)), PATIENCE, "a working keyring's calls");
        waited.count(at(2.0), at(5.5));
        assert_eq!(waited.left(at(5.5)), Duration::from_secs(1));
        waited.exhaust(at(8.0));
        assert_eq!(waited.left(at(8.0)), Duration::ZERO, "silent for the rest");
        assert_eq!(waited.left(at(17.9)), Duration::ZERO);
        assert_eq!(waited.left(at(18.0)), PATIENCE, "another command");
    }

    #[test]
    fn what_the_platform_finds_too_long_is_too_large() {
        let error = refusal(CoreError::TooLong("secret".into(), 2560));
        assert_eq!(error, KeyringError::TooLarge { limit: 2560 }.into());
    }
}
