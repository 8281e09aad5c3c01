//! The way to the vault: its settings, this machine's key and login.

use credentials::{KeyProfile, VaultSettings};
use secrets::{Devices, Place};

use crate::context::Context;
use crate::failure::Result;
use crate::variables;

impl Context {
    /// What `config.toml` says about the vault, with what variables say in its place.
    pub(crate) fn vault_settings(&self) -> Result<VaultSettings> {
        let written = self.config()?.vault().clone();
        Ok(written.with_variables(variables::text)?)
    }

    /// Where this machine keeps its own key and login: in the keyring that is configured, else
    /// in files.
    pub(crate) fn vault_place(&self) -> Result<Place> {
        let settings = self.keyring_settings(&self.config()?, &KeyProfile::default())?;
        Ok(match settings {
            Some(settings) => Place::Keyring(self.open_keyring(&settings)?),
            None => Place::in_files(&self.paths()?),
        })
    }

    /// Where this machine's device key is.
    pub(crate) fn devices(&self) -> Result<Devices> {
        Ok(Devices::new(self.vault_place()?))
    }
}
