//! Why the orchestrator did not do what was asked, by what the caller can do about it.

use api::{ErrorCode, Workspace};
use credentials::Endpoint;

/// What a call to the orchestrator gives.
pub type Result<T> = std::result::Result<T, ControlError>;

/// Why a call failed. Never a token, never a body that may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A bearer token would go over a network unencrypted.
    #[error("{url} would send your login over the network unencrypted")]
    InClear {
        /// The address.
        url: Endpoint,
    },
    /// No answer came.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// The server.
        url: Endpoint,
        /// The system's words.
        reason: String,
    },
    /// What answers is no orchestrator, or a later one that says something else.
    #[error("what answers at {url} is not an orchestrator that this version knows: {reason}")]
    Strange {
        /// The server.
        url: Endpoint,
        /// What was wrong with the answer.
        reason: String,
    },
    /// The orchestrator said no.
    #[error("{message}")]
    Refused {
        /// What can be done about it.
        code: ErrorCode,
        /// Its words, perhaps with its own `hint:` lines.
        message: String,
        /// When to come again, in seconds, where it said so.
        retry_after: Option<u64>,
    },
    /// A workspace has the name already.
    #[error("there is a workspace artifacts://{}/{} already", existing.handle, existing.name)]
    Exists {
        /// That workspace.
        existing: Box<Workspace>,
    },
    /// There is no login for this server on this machine.
    #[error("not logged in at {url}")]
    NotLoggedIn {
        /// The server.
        url: Endpoint,
    },
    /// The person who was asked said no.
    #[error("the login was refused at {url}")]
    Denied {
        /// The server.
        url: Endpoint,
    },
    /// Nobody answered in time.
    #[error("the code has ended: nobody approved it in time")]
    CodeEnded,
    /// A file or keyring of this machine.
    #[error(transparent)]
    Local(#[from] credentials::Error),
}

impl ControlError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                ErrorCode::Timeout
                    | ErrorCode::RateLimited
                    | ErrorCode::Internal
                    | ErrorCode::ProviderFailed
                    | ErrorCode::Unavailable
            ),
            _ => false,
        }
    }

    /// Whether the orchestrator refused with this code.
    pub fn is(&self, wanted: ErrorCode) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }
}
