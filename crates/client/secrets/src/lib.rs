//! Secrets of services (openrouter, github, stripe …) in the vault, from the client's side.
//!
//! - [`SecretStore`]: store, read, list, teardown. Three backends hold to it: [`HttpStore`] asks a
//!   worker, [`S3Store`] seals and opens itself, [`SidecarStore`] asks this machine's daemon.
//! - [`Access`]: whose login and which device's key this machine has, [`Broker`], [`Worker`] and
//!   [`Signer`]: their endpoints, one method each.
//! - [`Seen`]: the highest generation of each secret that was seen here, so that an older state of
//!   the bucket does not pass for the present one.
//! - [`rekey`]: every envelope of an older epoch sealed anew.
//! - [`provision`]: the bucket and the role that keep actors apart, made and shown to do so.
//! - [`Place`] and [`Devices`]: where this machine keeps its own key and login.
//!
//! A value is never written to a file, a log, an address or an error by anything here.

mod access;
mod backend;
mod broker;
pub mod device;
pub mod dotenv;
mod error;
mod fingerprint;
pub mod legacy_http;
mod login;
pub mod place;
pub mod provision;
pub mod rekey;
mod seen;
mod server;
pub mod sidecar;
mod signer;
mod store;
mod sts;
mod value;
mod worker;

pub use access::Access;
pub use backend::caps::{AskedEachTime, Caps, HeldCap};
pub use backend::http::HttpStore;
pub use backend::s3::{S3Settings, S3Store};
pub use backend::sidecar::SidecarStore;
pub use broker::{Broker, Wanted};
pub use device::{DeviceKey, Devices};
pub use error::{Kind, Result, SecretError, hint_of, kind_of};
pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub use login::{Login, Logins};
pub use place::Place;
pub use seen::Seen;
pub use server::{Server, prove_login};
pub use signer::Signer;
pub use store::{ReadSecret, SecretStore};
pub use value::SecretValue;
pub use worker::Worker;

/// Seconds since 1970 (UTC).
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
