//! Why the broker refuses, and the answer that says so.

use api::ErrorCode;
use api::vault::Reason;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::Failure;
use serde::Serialize;

use crate::store::StoreError;

/// A refusal. Where a worker would refuse for the same reason, it has the worker's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As a worker refuses.
    Reason(Reason),
    /// Any other.
    Plain(Failure),
}

/// Both forms in one, so that a client reads either.
#[derive(Serialize)]
struct Body {
    error: &'static str,
    reason: Reason,
    code: ErrorCode,
    message: &'static str,
}

impl Refusal {
    /// The HTTP status that it goes with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Reason(reason) => {
                StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Plain(failure) => failure.status(),
        }
    }

    /// The sentence for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Reason(reason) => explained(*reason).to_owned(),
            Self::Plain(failure) => failure.message.clone(),
        }
    }

    /// The word for the audit.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.as_str(),
            Self::Plain(failure) => match failure.code {
                ErrorCode::Unauthenticated => "unauthenticated",
                ErrorCode::Forbidden => "forbidden",
                ErrorCode::NotFound => "not_found",
                ErrorCode::Conflict => "conflict",
                ErrorCode::Invalid => "invalid",
                ErrorCode::RateLimited => "rate_limited",
                ErrorCode::Unavailable => "unavailable",
                _ => "internal",
            },
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Plain(failure)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Plain(error.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed(error) => {
                tracing::warn!(%error, "the database does not answer");
                Self::unavailable("the database does not answer")
            }
            StoreError::Open(_) | StoreError::Row(_) => {
                tracing::error!(%error, "the database and the program do not agree");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let reason = match self {
            Self::Plain(failure) => return failure.into_response(),
            Self::Reason(reason) => reason,
        };
        let text = explained(reason);
        let body = Body {
            error: text,
            reason,
            code: code(status),
            message: text,
        };
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::BAD_GATEWAY {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

fn code(status: StatusCode) -> ErrorCode {
    match status.as_u16() {
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        409 => ErrorCode::Conflict,
        413 => ErrorCode::TooLarge,
        400 => ErrorCode::Invalid,
        429 => ErrorCode::RateLimited,
        502 => ErrorCode::Unavailable,
        _ => ErrorCode::Internal,
    }
}

fn explained(reason: Reason) -> &'static str {
    match reason {
        Reason::TooLarge => "the body is larger than this endpoint takes",
        Reason::RequestInvalid => {
            "the body is not of the form that this endpoint reads\nhint: a JSON object with the fields of the reference"
        }
        Reason::CapSignatureInvalid => {
            "this is no capability of this broker\nhint: ask for a new one"
        }
        Reason::CapExpired => "the capability has ended\nhint: ask for a new one",
        Reason::CapOpMismatch => "the capability is for another operation",
        Reason::CapServiceMismatch => {
            "the target is neither the operator nor the agent with this label\nhint: name the agent's label"
        }
        Reason::ProofMissing => {
            "there is no proof by a device\nhint: send one in the header artifacts-proof"
        }
        Reason::ProofInvalid => {
            "the proof is not this device's, or not for this request\nhint: check this machine's clock; a proof counts for a minute"
        }
        Reason::ProofReplayed => "the proof was used before\nhint: make a new one",
        Reason::DeviceUnknown => {
            "the registry does not know this device\nhint: the operator registers it: artifacts device register"
        }
        Reason::DeviceRevoked => {
            "the device was revoked\nhint: make a new key and register it: artifacts device register"
        }
        Reason::DeviceBindingMismatch => {
            "the registry binds this device to somebody else\nhint: log in as whom it was registered for, or register another device"
        }
        Reason::RoleMissing => {
            "the device does not have the role that this needs\nhint: the operator registers a device with it: artifacts device register"
        }
        Reason::ScopeDenied => {
            "the registry does not allow this service\nhint: the operator allows it: artifacts scope set"
        }
        Reason::ScopeReadOnly => {
            "the registry allows reading this service only\nhint: the operator allows storing: artifacts scope set"
        }
        Reason::RegistryUnavailable => {
            "the registry does not answer, or not in a way that can be believed\nhint: try again; the broker's log has the reason"
        }
        Reason::AuditUnavailable => {
            "the audit cannot be written, so nothing is done\nhint: the operator of the broker looks at its disk"
        }
        _ => "the broker failed\nhint: try again; the broker's log has the reason",
    }
}
