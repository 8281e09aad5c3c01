//! An S3 store on a local folder: SigV4, IAM policies, conditional writes, multipart.
//!
//! [`Server::start`] runs it on threads of its own inside any program; `artifactsd dev` is
//! the same as a program. It is a store for development, tests and demonstrations: one
//! machine, one owner, no versions, no TLS. What it does, it does as S3 documents it.
//!
//! How it is built: `server` takes connections and gives them to the crate s3s, which
//! checks signatures with `keys` and asks `access` and `policy`; `s3` translates each
//! operation for `store`, which keeps bodies and the index; buckets have policies
//! (`bucket_policies`) and a `lifecycle` of their own. `iam` and `sts` are AWS's other two
//! services of the same address.

mod access;
mod bucket_policies;
mod iam;
mod keys;
mod lifecycle;
mod policy;
mod s3;
mod server;
mod store;
mod sts;

pub use keys::{AccessKey, FILE as KEYS_FILE, Holder, KeySummary, Keys, KeysError};
pub use policy::{Policy, PolicyError};
pub use s3::REGION;
pub use server::{Options, Server, StartError};
pub use store::Durability;
pub use sts::FILE as STS_FILE;
