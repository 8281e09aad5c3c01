//! Changes of a keyring: what every backend's writes have in common.
//!
//! A write is believed only once it was read back, and a change that depends on what is there
//! lets no other writer come in between.

use subtle::ConstantTimeEq;

use super::{EntryName, Keyring, KeyringError, SECRET_LIMIT, Secret};
use crate::Result;

/// Puts `wanted` in place of `expected`, `None` standing for no entry, and says whether it
/// did: where the entry is not `expected`, nothing is changed.
///
/// # Errors
/// As [`Keyring::store`] and [`Keyring::remove`].
pub fn exchange(
    keyring: &dyn Keyring,
    name: &EntryName,
    expected: Option<&Secret>,
    wanted: Option<&Secret>,
) -> Result<bool> {
    wanted.map(check_size).transpose()?;
    // What has to be typed is typed here; and no keyring is made where nothing is to be kept.
    if !same(keyring.load(name)?.as_ref(), expected) {
        return Ok(false);
    }
    if expected.is_none() && wanted.is_none() {
        return Ok(true);
    }
    let mut exchanged = false;
    keyring.alone(&mut || {
        exchanged = same(keyring.load(name)?.as_ref(), expected);
        match wanted {
            _ if !exchanged => Ok(()),
            Some(secret) => put_and_look(keyring, name, secret),
            None => delete_and_look(keyring, name).map(drop),
        }
    })?;
    Ok(exchanged)
}

/// Removes an entry that still is what `expected` says; whether it did. An entry that was
/// changed since, or is gone, stays as it is.
///
/// # Errors
/// As [`Keyring::remove`].
pub fn remove_if_equal(keyring: &dyn Keyring, name: &EntryName, expected: &Secret) -> Result<bool> {
    exchange(keyring, name, Some(expected), None)
}

/// Whether two entries are the same, in a time that does not tell how much of them is.
pub(crate) fn same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.expose().ct_eq(other.expose()).into(),
        (None, None) => true,
        _ => false,
    }
}

/// Refuses what no backend would keep.
pub(super) fn check_size(secret: &Secret) -> Result<()> {
    if secret.expose().len() > SECRET_LIMIT {
        return Err(KeyringError::TooLarge {
            limit: SECRET_LIMIT,
        }
        .into());
    }
    Ok(())
}

/// Writes, and compares what the backend gives back with what it was given. Only within
/// [`Keyring::alone`].
pub(crate) fn put_and_look<K: Keyring + ?Sized>(
    keyring: &K,
    name: &EntryName,
    secret: &Secret,
) -> Result<()> {
    keyring.put(name, secret)?;
    if same(keyring.load(name)?.as_ref(), Some(secret)) {
        return Ok(());
    }
    Err(KeyringError::NotKept { name: name.clone() }.into())
}

/// Deletes, and looks whether the entry is gone. Only within [`Keyring::alone`].
pub(super) fn delete_and_look<K: Keyring + ?Sized>(keyring: &K, name: &EntryName) -> Result<bool> {
    let was_there = keyring.delete(name)?;
    if keyring.load(name)?.is_some() {
        return Err(KeyringError::NotRemoved { name: name.clone() }.into());
    }
    Ok(was_there)
}

#[cfg(test)]
mod tests {
    use super::super::{KeyringKind, MemoryKeyring};
    use super::*;
    use crate::Error;

    /// A backend that says yes and does something else.
    struct Lying {
        inner: MemoryKeyring,
        lie: Lie,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Lie {
        KeepsNothing,
        KeepsThePast,
        CutsShort,
        RemovesNothing,
    }

    impl Keyring for Lying {
        fn kind(&self) -> KeyringKind {
            KeyringKind::Memory
        }

        fn place(&self) -> String {
            "a keyring that lies".into()
        }

        fn load(&self, name: &EntryName) -> Result<Option<Secret>> {
            self.inner.load(name)
        }

        fn names(&self) -> Result<Vec<EntryName>> {
            self.inner.names()
        }

        fn alone(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
            self.inner.alone(work)
        }

        fn put(&self, name: &EntryName, secret: &Secret) -> Result<()> {
            let bytes = secret.expose();
            match self.lie {
                Lie::KeepsNothing => self.inner.delete(name).map(drop),
                Lie::KeepsThePast => Ok(()),
                Lie::CutsShort => {
                    let short = bytes[..bytes.len() - 1].to_vec();
                    self.inner.put(name, &Secret::new(short))
                }
                Lie::RemovesNothing => self.inner.put(name, secret),
            }
        }

        fn delete(&self, name: &EntryName) -> Result<bool> {
            match self.lie {
                Lie::RemovesNothing => Ok(true),
                _ => self.inner.delete(name),
            }
        }
    }

    fn name() -> EntryName {
        "storage/default".parse().expect("a name")
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    fn lying(lie: Lie) -> Lying {
        let inner = MemoryKeyring::new();
        inner.store(&name(), &secret("old")).expect("kept");
        Lying { inner, lie }
    }

    #[test]
    fn nothing_counts_as_stored_that_does_not_come_back() {
        for lie in [Lie::KeepsNothing, Lie::KeepsThePast, Lie::CutsShort] {
            let not_kept = Err(Error::from(KeyringError::NotKept { name: name() }));
            let keyring = lying(lie);
            assert_eq!(keyring.store(&name(), &secret("new")), not_kept);
            let keyring = lying(lie);
            let exchanged = exchange(
                &keyring,
                &name(),
                Some(&secret("old")),
                Some(&secret("new")),
            );
            assert_eq!(exchanged.map(drop), not_kept);
        }
    }

    #[test]
    fn nothing_counts_as_removed_that_is_still_there() {
        let keyring = lying(Lie::RemovesNothing);
        let expected = Error::from(KeyringError::NotRemoved { name: name() });
        assert_eq!(keyring.remove(&name()), Err(expected.clone()));
        let removed = remove_if_equal(&keyring, &name(), &secret("old"));
        assert_eq!(removed, Err(expected));
    }

    #[test]
    fn an_entry_is_exchanged_only_for_what_was_expected() {
        let keyring = MemoryKeyring::new();
        let read = || {
            let found = keyring.load(&name()).expect("read");
            found.map(|s| String::from_utf8(s.expose().to_vec()).expect("text"))
        };
        let go = |expected: Option<&str>, wanted: Option<&str>| {
            let (expected, wanted) = (expected.map(secret), wanted.map(secret));
            exchange(&keyring, &name(), expected.as_ref(), wanted.as_ref())
        };
        assert_eq!(go(Some("a"), Some("b")), Ok(false));
        assert_eq!(go(Some("a"), None), Ok(false));
        assert_eq!(go(None, None), Ok(true));
        assert_eq!(read(), None);
        assert_eq!(go(None, Some("a")), Ok(true));
        assert_eq!(go(None, Some("b")), Ok(false), "nothing is overwritten");
        assert_eq!(go(None, None), Ok(false));
        assert_eq!(read().as_deref(), Some("a"));
        assert_eq!(go(Some("a"), Some("b")), Ok(true));
        assert_eq!(remove_if_equal(&keyring, &name(), &secret("a")), Ok(false));
        assert_eq!(read().as_deref(), Some("b"));
        assert_eq!(remove_if_equal(&keyring, &name(), &secret("b")), Ok(true));
        assert_eq!(read(), None);
    }
}
