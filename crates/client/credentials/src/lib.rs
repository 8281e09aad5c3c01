//! What this machine keeps for its user: storage keys and the workspaces it knows.
//!
//! - [`Paths`]: where the files are (XDG base directories).
//! - [`Folder`]: reading and writing files that nobody else may read or change.
//! - [`KeyFile`]: the format of `byo-credentials`, and [`StorageKeys`]: the chain that
//!   finds the keys (environment, then that file, then an error that names both places).
//! - [`WorkspaceConfig`] and [`Workspaces`]: the files `workspaces/NAME.toml`.
//!
//! Compatibility: a file written by an older version is always read; lines and fields that
//! this version does not know are kept when it rewrites the file.

mod address;
mod aws;
mod chain;
mod config;
mod environment;
mod error;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod key_file;
mod key_set;
mod key_source;
pub mod keyring;
mod lifetime;
mod lock;
pub mod login;
mod paths;
mod profile;
mod steps;
mod value;
pub mod vault;
mod workspaces;

pub use address::{BucketName, Endpoint, Prefix};
pub use chain::{Keys, Overview, Place, Source, Sourced, StorageKeys};
pub use config::{
    Config, KeyringSettings, KeyringSpec, PASSWORD_VARIABLE, ProfileSettings, expand_home,
};
pub use environment::Environment;
pub use error::{Error, Result};
pub use folder::{Folder, Privacy};
pub use identity::{Flow, Identity, IdentityName};
pub use key_file::{Field, KeyFile};
pub use key_set::KeySet;
pub use lifetime::Lifetime;
pub use lock::Lock;
pub use paths::{CREDENTIALS_FILE, Paths};
pub use profile::KeyProfile;
pub use value::FieldValue;
pub use vault::{CredentialBackend, RegistrySettings, VaultSettings};
pub use workspaces::{Backend, IssuedKey, Registration, WorkspaceConfig, Workspaces};
