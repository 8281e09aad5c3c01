//! What makes buckets and keys: one port to the stores that an operator may have.
//!
//! [`open`] gives a [`Provider`] for AWS, Tigris, SeaweedFS, the embedded store, or any
//! other S3 store with keys that somebody else makes. A key is issued as a list of steps,
//! each of which may be repeated ([`Issuing`]), under names that follow from a credential's
//! id alone: whoever crashed in between, or heard no answer, goes on or takes everything
//! back without having to know how far it came. [`verify`] uses a key from outside and says
//! whether it opens what it should and nothing else; [`check`] does that with a scratch
//! bucket from beginning to end.
//!
//! The secret of a new key is given once, in a [`NewKey`], and kept nowhere. The
//! administrator's keys ([`AdminKeys`]) come from the environment or a file of mode 0600.

pub mod check;
pub mod verify;

mod admin;
mod config;
mod error;
mod generic;
mod iam;
mod issue;
mod names;
mod policy;
mod port;
mod s3;
mod sdk;

pub use admin::{ACCESS_KEY_VARIABLE, AdminKeys, SECRET_KEY_VARIABLE, SESSION_TOKEN_VARIABLE};
pub use config::{Config, Kind, open};
pub use error::{Error, Result};
pub use issue::{Failed, Issuing, issue, patiently};
pub use names::{BucketName, Endpoint, Namespace, Prefix};
pub use policy::{Access, Grant, Scope};
pub use port::{
    BucketInfo, Creation, Emptied, IssuedKey, KeyHandle, Marker, NewKey, Page, Place, Provider,
    Setting, Settings, Step,
};
