//! The worker of the vault: stores, fetches, lists and tears down credentials, for whoever shows
//! a capability, a proof of possession, and a scope that the registry knows of.
//!
//! A request passes through `intake` (how large, how many at once), [`checks`] (who may do what,
//! in one order), and its endpoint (`endpoints`, one file each), and ends in `outcome`: one
//! record in the audit, and only then an answer. What the worker asks of others is in [`ports`];
//! `adapters` ask the real ones. It holds no key of its own and keeps nothing between requests
//! but what it would be told again: storage keys of one actor each, the broker's public keys,
//! proofs that were used, and the newest envelope that it has seen of each credential, by number and ETag.

pub mod adapters;
mod app;
pub mod audit;
mod checks;
mod endpoints;
mod intake;
mod lambda;
mod outcome;
pub mod ports;
mod recent;
mod refused;
mod retry;
mod router;
mod strangers;

pub use app::{App, Parts, Settings, SettingsError};
pub use audit::Record;
pub use lambda::{answer as answer_event, serve as serve_lambda, under_lambda};
pub use retry::Budget;
pub use router::router;
