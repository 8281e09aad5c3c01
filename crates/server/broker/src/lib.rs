//! Identity for the vault: sessions, capabilities, identities for an STS, drop events.
//!
//! A request passes through the bounds of `base`, finds out who asks (`caller`: a session, and a
//! proof by a device where one is wanted), and reaches its endpoint (`endpoints`, one file for
//! each thing). What the registry allows is judged in one place (`judge`), in the worker's order
//! and with the worker's words; the worker judges again and takes nobody's word for it.
//! [`watch`] looks at what live capabilities rest on, and tells the daemons that follow
//! (`endpoints/events`, `hub`) what ended.
//!
//! What is never kept: a token, a code or a secret of anybody's (their hashes are). What is never
//! seen here: a credential, the key of one, or storage keys.

mod app;
mod audit;
mod caller;
mod endpoints;
mod hub;
mod judge;
pub mod keys;
mod pages;
mod refusal;
mod router;
mod session;
pub mod settings;
mod store;
mod wallet;
pub mod watch;

pub use app::{App, Parts};
pub use audit::{Audit, FileAudit, Record};
pub use endpoints::sessions::new_bootstrap;
pub use keys::SigningKeys;
pub use router::{internal, public};
pub use settings::{File, Settings, SettingsError};
pub use store::{Store, StoreError};
