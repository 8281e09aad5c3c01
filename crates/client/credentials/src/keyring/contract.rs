//! What every keyring must do, as one suite that each backend's tests run.

use super::{EntryName, Keyring, KeyringError, SECRET_LIMIT, Secret};
use crate::Error;

/// Runs the suite on an empty keyring, and leaves it empty. Panics where the keyring breaks
/// the contract.
pub fn check(keyring: &dyn Keyring) {
    nothing_is_found_before_it_is_stored(keyring);
    what_is_stored_comes_back_byte_for_byte(keyring);
    storing_again_replaces(keyring);
    names_are_sorted_and_no_entry_touches_another(keyring);
    the_limit_is_kept_and_what_is_above_it_refused(keyring);
    removing_is_final_and_says_whether_it_was_there(keyring);
}

fn nothing_is_found_before_it_is_stored(keyring: &dyn Keyring) {
    assert_eq!(names(keyring), Vec::<String>::new());
    assert_eq!(read(keyring, "storage/default"), None);
    assert!(!remove(keyring, "storage/default"));
}

fn what_is_stored_comes_back_byte_for_byte(keyring: &dyn Keyring) {
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [
        &b"ACCESS_KEY_ID=A\n"[..],
        &all,
        b"",
        b"\0",
        "\u{fc}".as_bytes(),
    ] {
        store(keyring, "storage/default", bytes);
        assert_eq!(read(keyring, "storage/default").as_deref(), Some(bytes));
    }
}

fn storing_again_replaces(keyring: &dyn Keyring) {
    store(keyring, "storage/default", b"a longer value than the next");
    store(keyring, "storage/default", b"short");
    let read = read(keyring, "storage/default");
    assert_eq!(read.as_deref(), Some(&b"short"[..]));
    assert_eq!(names(keyring), ["storage/default"]);
}

fn names_are_sorted_and_no_entry_touches_another(keyring: &dyn Keyring) {
    store(keyring, "session/ada", b"session");
    store(keyring, "identity/ada", b"long-lived");
    assert_eq!(
        names(keyring),
        ["identity/ada", "session/ada", "storage/default"]
    );
    let long_lived = read(keyring, "identity/ada");
    assert_eq!(long_lived.as_deref(), Some(&b"long-lived"[..]));
    assert_eq!(read(keyring, "identity/ad"), None, "no prefix is an entry");
}

fn the_limit_is_kept_and_what_is_above_it_refused(keyring: &dyn Keyring) {
    let most = vec![b'x'; SECRET_LIMIT];
    store(keyring, "storage/large", &most);
    assert_eq!(read(keyring, "storage/large"), Some(most.clone()));
    let mut more = most.clone();
    more.push(b'x');
    let refused = keyring.store(&name("storage/large"), &Secret::new(more));
    let expected = Error::from(KeyringError::TooLarge {
        limit: SECRET_LIMIT,
    });
    assert_eq!(refused, Err(expected));
    assert_eq!(read(keyring, "storage/large"), Some(most), "as it was");
}

fn removing_is_final_and_says_whether_it_was_there(keyring: &dyn Keyring) {
    for entry in names(keyring) {
        assert!(remove(keyring, &entry));
        assert!(!remove(keyring, &entry));
        assert_eq!(read(keyring, &entry), None);
    }
    assert_eq!(names(keyring), Vec::<String>::new());
}

fn name(text: &str) -> EntryName {
    text.parse().expect("the suite's names are good")
}

fn store(keyring: &dyn Keyring, entry: &str, bytes: &[u8]) {
    keyring
        .store(&name(entry), &Secret::new(bytes.to_vec()))
        .unwrap_or_else(|e| panic!("store {entry}: {e}"));
}

fn read(keyring: &dyn Keyring, entry: &str) -> Option<Vec<u8>> {
    let found = keyring
        .load(&name(entry))
        .unwrap_or_else(|e| panic!("load {entry}: {e}"));
    found.map(|secret| secret.expose().to_vec())
}

fn remove(keyring: &dyn Keyring, entry: &str) -> bool {
    keyring
        .remove(&name(entry))
        .unwrap_or_else(|e| panic!("remove {entry}: {e}"))
}

fn names(keyring: &dyn Keyring) -> Vec<String> {
    let names = keyring.names().unwrap_or_else(|e| panic!("names: {e}"));
    names.into_iter().map(|n| n.as_str().to_owned()).collect()
}
