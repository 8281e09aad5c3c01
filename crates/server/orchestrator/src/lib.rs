//! The orchestrator: tenants, each with a bucket of its own; storage keys that open only that
//! bucket and can be taken back at any moment; workspaces by name, grants and tickets.
//!
//! A request passes through [`layers`] (its number, time limit, log and audit of refusals),
//! finds out who asks (`auth`), and reaches its endpoint (`endpoints`, one file each). What
//! has to be made or taken back at the store is a row in the database ([`store`]) before the
//! provider ([`provision`]) is asked, so that a crash leaves something to go on from.
//!
//! What is never kept: the secret of a storage key (it is in one answer), a token (its hash
//! is), a bring-your-own tenant's anything but names and places. What is never called: an
//! address that a tenant chose.

mod app;
mod auth;
mod console;
mod document;
mod endpoints;
pub mod hub;
mod layers;
mod limits;
mod metrics;
pub mod provision;
mod router;
pub mod settings;
pub mod store;
pub mod verify;
mod webhooks;

pub use app::{App, Parts};
pub use auth::token_hash;
pub use auth::{
    BOOTSTRAP_LIFETIME, IssuerConfig, IssuerKind, Issuers, PinnedAlgorithm, SigningKey,
    new_bootstrap,
};
pub use router::{document, document_text, router};
pub use settings::{File, Settings, SettingsError};
