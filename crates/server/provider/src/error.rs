//! Why a store did not do what it was asked, named by what the caller can do.

use std::fmt;
use std::time::Duration;

/// What every call of a provider answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the call is about is not there.
    #[error("{what} is not there")]
    NotFound {
        /// The bucket, user or policy.
        what: String,
    },
    /// The name belongs to somebody else.
    #[error("{what} belongs to somebody else\nhint: choose another name")]
    AlreadyExists {
        /// The bucket.
        what: String,
    },
    /// A bucket holds objects or unfinished uploads: empty it first.
    #[error("the bucket {bucket} is not empty\nhint: empty it first")]
    NotEmpty {
        /// The bucket.
        bucket: String,
    },
    /// The administrator's keys are wrong or may not do it.
    #[error(
        "the store refuses {action} ({code})\nhint: check the administrator's keys and their rights (docs/providers.md)"
    )]
    Denied {
        /// The call.
        action: String,
        /// The store's code.
        code: String,
    },
    /// Too many calls: wait and ask again.
    #[error("the store is busy at {action}{}", after(*retry_after))]
    Throttled {
        /// The call.
        action: String,
        /// How long the store wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No usable answer. The store may have done the work: ask again, or take it back.
    #[error("no answer from the store to {action}: {reason}{}", after(*retry_after))]
    Unavailable {
        /// The call.
        action: String,
        /// What was seen.
        reason: String,
        /// How long the store wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The call itself is wrong, and stays so.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// This store cannot do it.
    #[error("this store does not have {what}")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
}

impl Error {
    /// Whether the same call may succeed later, with nothing changed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }

    /// How long the store wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            _ => None,
        }
    }

    pub(crate) fn invalid(reason: impl fmt::Display) -> Self {
        Self::Invalid {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unsupported(what: &str) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// What is gone already counts as done.
pub(crate) fn gone_is_done(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

fn after(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(wait) => format!("\nhint: ask again in {} s", wait.as_secs()),
        None => "\nhint: ask again in a moment".into(),
    }
}
