//! What the orchestrator answers when it does not do what was asked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every refusal: a code that programs act on, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What the caller can do about it.
    pub code: ErrorCode,
    /// What happened, and as `hint:` what to do next. Never a secret.
    pub message: String,
}

/// Why a request was refused. Codes are stable; new ones may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 401: there is no token, or it does not count (any more). Log in.
    Unauthenticated,
    /// 403: the token is good, and what was asked is not its holder's to have.
    Forbidden,
    /// 404: there is no such thing, or it is not the caller's to know of.
    NotFound,
    /// 405: the path exists, and not for this method.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    Timeout,
    /// 409: it exists already, or its state does not allow this.
    Conflict,
    /// 413: the body is larger than any request needs to be.
    TooLarge,
    /// 415: the body is of another kind than the endpoint reads.
    UnsupportedMediaType,
    /// 422: the request breaks a rule that its message names.
    Invalid,
    /// 429: too many; `Retry-After` says when to come again.
    RateLimited,
    /// 500: a fault of the server's own.
    Internal,
    /// 502: the provider of buckets and keys failed. What it may have made is undone.
    ProviderFailed,
    /// 503: the server cannot do this now; try again after `Retry-After`.
    Unavailable,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The HTTP status that it goes with.
    pub fn status(self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::RateLimited => 429,
            Self::Internal | Self::Unknown => 500,
            Self::ProviderFailed => 502,
            Self::Unavailable => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_server_is_read() {
        let body: ErrorBody = serde_json::from_str(r#"{"code":"teapot","message":"m"}"#).unwrap();
        assert_eq!(body.code, ErrorCode::Unknown);
        let text = serde_json::to_string(&ErrorBody {
            code: ErrorCode::NotFound,
            message: "m".into(),
        });
        assert_eq!(text.unwrap(), r#"{"code":"not_found","message":"m"}"#);
    }
}
