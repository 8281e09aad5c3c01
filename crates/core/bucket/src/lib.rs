//! The port to one bucket: what Artifacts needs from an object store, and nothing more.
//!
//! [`Bucket`] is the narrow trait that the rest of the product speaks. Adapters:
//! [`s3`] (any S3-compatible store), [`memory`] (fast tests) and [`faults`] (a wrapper
//! that injects latency and failures by rule). [`conformance`] is the one suite that
//! every adapter runs; [`probe`] finds out what a store can really do.
//!
//! Errors are named by *what the caller can do about them*, see [`Error`].

mod body;
mod error;
mod metadata;
mod pace;
mod port;

pub mod conformance;
pub mod faults;
pub mod limit;
pub mod memory;
pub mod probe;
pub mod s3;

pub use error::{Error, Result};
pub use pace::Pace;
pub use port::{
    Body, Bucket, ByteStream, Condition, CopyOptions, DeleteOutcome, Etag, GetOptions, Key,
    KeyError, ListPage, ListRequest, Metadata, Meter, Object, ObjectMeta, PutOptions, PutOutcome,
    Resume, collect,
};
