//! The operating system's own store of secrets: which one it is, and what differs between
//! them. Only that of Linux is built and tested here.

use std::collections::HashMap;
use std::sync::Arc;

use keyring_core::{CredentialStore, Error};

/// The store, reached anew.
#[cfg(target_os = "linux")]
pub(super) fn connect() -> Result<Arc<CredentialStore>, Error> {
    Ok(zbus_secret_service_keyring_store::Store::new()?)
}

/// The store, reached anew.
#[cfg(target_os = "macos")]
pub(super) fn connect() -> Result<Arc<CredentialStore>, Error> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

/// What an entry is made with, beside its service and user.
pub(super) fn modifiers(label: &str) -> HashMap<&'static str, &str> {
    match cfg!(target_os = "linux") {
        true => HashMap::from([("label", label)]),
        // The keychain shows the service.
        false => HashMap::new(),
    }
}
