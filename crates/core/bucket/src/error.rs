//! Errors by what the caller can do about them.

use crate::Key;

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call on a bucket failed. No variant ever carries a secret or a signed URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such object. Create it or go without.
    #[error("no object {key}")]
    NotFound {
        /// The key asked for.
        key: Key,
    },
    /// There is no such bucket. Check the name.
    #[error("no bucket {bucket}")]
    NoSuchBucket {
        /// The bucket's name.
        bucket: String,
    },
    /// The version there is not the one required (HTTP 412, or 409 for a write that raced).
    /// Look at what is there and decide.
    #[error("{key} is not the version expected")]
    Precondition {
        /// The key of the refused call.
        key: Key,
    },
    /// The range begins past the end of the object (HTTP 416).
    #[error("range past the end of {key}")]
    OutOfRange {
        /// The key of the refused call.
        key: Key,
    },
    /// The keys are good but may not do this (403 AccessDenied). Ask for the right.
    #[error("not permitted to {action}")]
    PermissionDenied {
        /// The call that was refused, with its key: `put notes/a.md`.
        action: String,
    },
    /// The store does not accept these keys (InvalidAccessKeyId, SignatureDoesNotMatch,
    /// ExpiredToken …). Get other ones.
    #[error("the store refused the keys: {reason}")]
    BadCredentials {
        /// The store's error code.
        reason: String,
        /// True where a session has ended and new keys of the same source may help.
        expired: bool,
    },
    /// The store's clock and ours are too far apart for a signature (RequestTimeTooSkewed), and
    /// the store did not say what time it has. Set this machine's clock.
    #[error("this machine's clock is too far from the store's: {reason}")]
    ClockSkewed {
        /// The store's code and message.
        reason: String,
    },
    /// No answer in time, or none at all. Try again later.
    #[error("{endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// The endpoint's address, without credentials.
        endpoint: String,
        /// Time-out, refused connection, TLS failure …
        reason: String,
    },
    /// The store is overloaded (503 SlowDown, 429, 5xx). Try again with fewer calls.
    #[error("the store is busy: {reason}")]
    Throttled {
        /// The store's code or status.
        reason: String,
    },
    /// The answer is not S3's. Check the endpoint.
    #[error("{endpoint} does not answer as an S3 store: {reason}")]
    NotS3 {
        /// The endpoint's address.
        endpoint: String,
        /// What was odd.
        reason: String,
    },
    /// The store cannot do this at all (501 NotImplemented). Do without.
    #[error("the store cannot do this: {reason}")]
    Unsupported {
        /// The store's words.
        reason: String,
    },
    /// The body is larger than the store takes.
    #[error("{key} is too large for the store")]
    TooLarge {
        /// The key of the refused call.
        key: Key,
    },
    /// The request is wrong (400): a defect on our side or a setting such as the region.
    #[error("the store refused the request: {reason}")]
    Invalid {
        /// The store's code and message.
        reason: String,
    },
    /// Reading the body's local file failed, or it was shorter than promised.
    #[error("the local body cannot be read: {reason}")]
    LocalBody {
        /// The operating system's words.
        reason: String,
    },
}

impl Error {
    /// Whether an upload in parts that ended so is left as it is, to be gone on with.
    pub fn leaves_upload(&self) -> bool {
        self.is_temporary()
            || matches!(self, Self::BadCredentials { .. } | Self::ClockSkewed { .. })
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Throttled { .. })
    }
}
