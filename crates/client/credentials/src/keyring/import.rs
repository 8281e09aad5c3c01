//! Entries that come from another place, and what is there already.
//!
//! Entries go in one after the other, each whole. What stops an import leaves every entry as
//! it was or as it is wanted, and the same import again does the rest.

use super::{EntryName, Keyring, Secret, exchange};
use crate::{Field, KeyFile, KeyProfile, Result};

/// Stores entries in a keyring, each read back. The answer names those that are there with
/// another value: where there are any, nothing is stored, unless `overwrite` allows it. An
/// entry that somebody changes during the import stays as they made it, and is named as well.
///
/// # Errors
/// As [`Keyring::store`]; the entries before the failing one are stored.
pub fn import(
    to: &dyn Keyring,
    entries: &[(EntryName, Secret)],
    overwrite: bool,
) -> Result<Vec<EntryName>> {
    let mut changes = Vec::new();
    let mut clashes = Vec::new();
    for (name, wanted) in entries {
        let there = to.load(name)?;
        let same = there
            .as_ref()
            .map(|there| says_the_same(name, there, wanted));
        match same {
            Some(true) => {}
            Some(false) if !overwrite => clashes.push(name.clone()),
            _ => changes.push((name, there, wanted)),
        }
    }
    if !clashes.is_empty() {
        return Ok(clashes);
    }
    for (name, there, wanted) in changes {
        if !exchange(to, name, there.as_ref(), Some(wanted))? {
            clashes.push(name.clone());
        }
    }
    Ok(clashes)
}

/// Whether two values of an entry say the same. Storage keys are compared by their fields: the
/// order of their lines, and comments, say nothing.
pub fn says_the_same(name: &EntryName, one: &Secret, other: &Secret) -> bool {
    if super::same(Some(one), Some(other)) {
        return true;
    }
    let parsed = |secret: &Secret| KeyFile::parse(secret.expose(), name.as_str().as_ref());
    let is_storage = name.as_str().starts_with("storage/");
    let (Ok(one), Ok(other)) = (parsed(one), parsed(other)) else {
        return false;
    };
    let profile = KeyProfile::default();
    let has_keys = one
        .value(&profile, Field::AccessKeyId)
        .is_ok_and(|id| id.is_some());
    is_storage
        && has_keys
        && Field::ALL.into_iter().all(|field| {
            let values = (one.value(&profile, field), other.value(&profile, field));
            match values {
                (Ok(Some(one)), Ok(Some(other))) => one.expose() == other.expose(),
                (Ok(None), Ok(None)) => true,
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::super::MemoryKeyring;
    use super::*;

    fn name(text: &str) -> EntryName {
        text.parse().expect("a name")
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn nothing_is_stored_where_a_value_differs_unless_it_may_be_overwritten() {
        let (new, there) = (name("session/new"), name("storage/there"));
        let keyring = MemoryKeyring::new();
        keyring.store(&there, &secret("old")).expect("kept");
        let entries = [(new.clone(), secret("new")), (there.clone(), secret("new"))];
        let clashes = import(&keyring, &entries, false);
        assert_eq!(clashes, Ok(vec![there.clone()]));
        assert_eq!(keyring.names(), Ok(vec![there.clone()]), "nothing at all");
        assert_eq!(import(&keyring, &entries, true), Ok(Vec::new()));
        assert_eq!(import(&keyring, &entries, false), Ok(Vec::new()), "again");
        for entry in [new, there] {
            let kept = keyring.load(&entry).expect("read").expect("there");
            assert_eq!(kept.expose(), b"new");
        }
    }

    #[test]
    fn storage_keys_are_the_same_whatever_the_order_of_their_lines() {
        let storage = name("storage/default");
        let one = secret("ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=b\n");
        let other = secret("# mine\nSECRET_ACCESS_KEY=b\nACCESS_KEY_ID=A\n");
        assert!(says_the_same(&storage, &one, &other));
        assert!(!says_the_same(&name("identity/a"), &one, &other));
        let third = secret("ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=c\n");
        assert!(!says_the_same(&storage, &one, &third));
    }
}
