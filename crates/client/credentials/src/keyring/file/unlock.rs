//! The unlock of a login session: the derived key in the kernel's session keyring, which
//! forgets it when the time is over or the session ends. Nothing reaches a disk, and other
//! users cannot read it.
//!
//! Where the kernel refuses (some containers forbid `keyctl`), nothing is kept and the
//! password is needed each time.

use std::time::Duration;

use super::header::Header;
use super::seal::Key;

#[cfg(target_os = "linux")]
pub(super) use kernel::{find, forget, keep};

/// The key's name: which keyring, and which of its passwords.
fn description(header: &Header) -> String {
    format!(
        "artifacts:{}:{}",
        hex::encode(header.realm),
        hex::encode(&header.salt[..8])
    )
}

#[cfg(target_os = "linux")]
mod kernel {
    use linux_keyutils::{KeyRing, KeyRingIdentifier};
    use zeroize::Zeroizing;

    use super::{Duration, Header, Key, description};
    use crate::steps::step;

    /// The key, where this session has it.
    pub(in super::super) fn find(header: &Header) -> Option<Key> {
        let key = session()?.search(&description(header)).ok()?;
        // One byte more than a key has, so that a longer payload is seen as such.
        let mut buffer = Zeroizing::new([0; Key::LENGTH + 1]);
        let length = key.read(&mut *buffer).ok()?;
        Key::from_bytes(buffer.get(..length)?)
    }

    /// Keeps the key for so long; not at all for no time.
    pub(in super::super) fn keep(header: &Header, key: &Key, time: Duration) {
        let seconds = usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        if seconds == 0 {
            return;
        }
        if put(header, key, seconds).is_none() {
            tracing::debug!("the kernel's keyring is not available: nothing is unlocked");
        }
    }

    /// Made where it ends with this process, given its time limit, and only then handed to the
    /// session: whatever kills us in between, it is never there without a limit.
    fn put(header: &Header, key: &Key, seconds: usize) -> Option<()> {
        let session = session()?;
        let own = KeyRing::from_special_id(KeyRingIdentifier::Process, true).ok()?;
        let added = own.add_key(&description(header), key.expose()).ok()?;
        step();
        let handed = added.set_timeout(seconds).and_then(|()| {
            step();
            session.link_key(added)
        });
        // Gone at exit in any case.
        let _ = own.unlink_key(added);
        handed.ok()
    }

    /// Forgets the key; whether it was there.
    pub(in super::super) fn forget(header: &Header) -> bool {
        let found = session().and_then(|session| session.search(&description(header)).ok());
        found.is_some_and(|key| key.invalidate().is_ok())
    }

    /// The session's keyring, as it is: making one would make it this process's alone.
    fn session() -> Option<KeyRing> {
        KeyRing::from_special_id(KeyRingIdentifier::Session, false).ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    use super::{Duration, Header, Key};

    pub(in super::super) fn find(_: &Header) -> Option<Key> {
        None
    }

    pub(in super::super) fn keep(_: &Header, _: &Key, _: Duration) {}

    pub(in super::super) fn forget(_: &Header) -> bool {
        false
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use nothing::{find, forget, keep};
