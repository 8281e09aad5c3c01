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

/// Whether somebody would have to unlock the place where new entries go. Asks nobody.
///
/// # Errors
/// `NoStorageAccess` where there is no such place.
#[cfg(target_os = "linux")]
pub(super) fn is_locked() -> Result<bool, Error> {
    use secret_service::blocking::SecretService;
    use secret_service::{EncryptionType, Error as ServiceError};

    let ask = || {
        let service = SecretService::connect(EncryptionType::Dh)?;
        let collection = service.get_default_collection()?;
        collection.is_locked()
    };
    ask().map_err(|error| match error {
        ServiceError::NoResult => Error::NoStorageAccess(Box::new(error)),
        other => Error::PlatformFailure(Box::new(other)),
    })
}

/// Its library has no call that tells without asking somebody.
#[cfg(target_os = "macos")]
pub(super) fn is_locked() -> Result<bool, Error> {
    Ok(false)
}

/// What an entry is made with, beside its service and user.
pub(super) fn modifiers(label: &str) -> HashMap<&'static str, &str> {
    match cfg!(target_os = "linux") {
        true => HashMap::from([("label", label)]),
        // The keychain shows the service.
        false => HashMap::new(),
    }
}
