//! The device's key: ECDSA on P-256, made on this machine and never leaving it. Its thumbprint
//! is the device's number in the registry; its signatures prove who asks.

use credentials::{Error, Result};
pub use vault::DeviceKey;

use crate::place::Place;

/// The name under which the key is kept, in PKCS #8.
const NAME: &str = "device";

/// Where this machine's device key is kept.
#[derive(Clone)]
pub struct Devices(Place);

impl Devices {
    /// In this place.
    pub fn new(place: Place) -> Self {
        Self(place)
    }

    /// The key; `None` where none was made yet.
    ///
    /// # Errors
    /// The place is unreadable, exposed or locked, or holds something else.
    pub fn load(&self) -> Result<Option<DeviceKey>> {
        let Some(bytes) = self.0.load(NAME)? else {
            return Ok(None);
        };
        let key = DeviceKey::from_pkcs8(&bytes);
        key.map(Some).map_err(|_| self.0.damaged(NAME))
    }

    /// The key, made where there was none; and whether it was made now.
    ///
    /// # Errors
    /// As [`load`](Self::load), or a new key could not be kept.
    pub fn load_or_make(&self) -> Result<(DeviceKey, bool)> {
        if let Some(key) = self.load()? {
            return Ok((key, false));
        }
        let failed = || Error::NotKept {
            path: self.0.shown(NAME).into(),
        };
        let fresh = DeviceKey::generate_pkcs8().ok_or_else(failed)?;
        let made = self.0.save_first(NAME, &fresh)?;
        // Another command may have been quicker.
        self.load()?.map(|key| (key, made)).ok_or_else(failed)
    }

    /// Forgets the key; whether there was one. What is registered for it stays registered.
    ///
    /// # Errors
    /// It is still there.
    pub fn forget(&self) -> Result<bool> {
        self.0.forget(NAME)
    }

    /// Where it is, as people read it.
    pub fn shown(&self) -> String {
        self.0.shown(NAME)
    }
}

#[cfg(test)]
mod tests {
    use credentials::Paths;
    use vault::SignEs256;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_signs_what_its_public_half_verifies() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let devices = Devices::new(Place::in_files(&Paths::under(home.path())));
        assert!(devices.load().expect("readable").is_none());
        let (first, made) = devices.load_or_make().expect("made");
        assert!(made);
        let (again, made) = devices.load_or_make().expect("kept");
        assert!(!made);
        let signature = again.sign(b"words").expect("randomness");
        assert!(first.public_jwk().verifies(b"words", &signature));
        assert!(!first.public_jwk().verifies(b"other", &signature));
        assert!(devices.forget().expect("gone"));
        let (next, made) = devices.load_or_make().expect("made");
        assert!(made && next.public_jwk() != first.public_jwk());
    }

    #[test]
    fn something_else_in_its_place_is_named_and_not_replaced() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = Place::in_files(&Paths::under(home.path()));
        let other = Zeroizing::new(b"not a key".to_vec());
        place.save(NAME, &other).expect("kept");
        let error = Devices::new(place.clone()).load_or_make().err();
        assert!(
            matches!(error, Some(Error::MalformedKeyFile { .. })),
            "{error:?}"
        );
        assert_eq!(place.load(NAME), Ok(Some(other)));
    }
}
