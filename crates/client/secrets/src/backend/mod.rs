//! The three ways to a secret.

pub(crate) mod caps;
pub(crate) mod http;
pub(crate) mod s3;
pub(crate) mod sidecar;
