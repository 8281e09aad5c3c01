//! What the store refuses, and why.

use std::io;

/// Shorthand for a result with this module's [`Error`].
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why the store did not do what it was asked. `s3::convert` gives each its S3 code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("the bucket exists")]
    BucketExists,
    #[error("the bucket holds objects")]
    BucketNotEmpty,
    #[error("no such key")]
    NoSuchKey,
    #[error("no such upload")]
    NoSuchUpload,
    #[error("a condition does not hold")]
    Precondition,
    #[error("part {0} is missing or has another ETag")]
    InvalidPart(i32),
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    #[error("part {0} is smaller than 5 MiB and not the last")]
    EntityTooSmall(i32),
    #[error("the token was not made by this store")]
    InvalidToken,
    #[error("index: {0}")]
    Index(#[from] rusqlite::Error),
    #[error("bodies: {0}")]
    Io(#[from] io::Error),
    #[error("the index could not commit: {0}")]
    Commit(String),
    #[error("the store is closing")]
    Closing,
}
