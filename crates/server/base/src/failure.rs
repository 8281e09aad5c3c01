//! Why a request is refused, and the answer that says so.

use std::time::Duration;

use api::{ErrorBody, ErrorCode};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A refusal. Its message goes to the caller and never holds a secret; what an attacker
/// could use goes to the log instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the caller can do about it.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// After how many seconds it is worth trying again.
    pub retry_after: Option<u64>,
}

impl Failure {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    /// There is no token, or it does not count.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthenticated, message)
    }

    /// It is not the caller's to have.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// There is no such thing, or the caller may not know of it: the same answer for both.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no such {what}"))
    }

    /// It exists already, or its state does not allow this.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// The request breaks a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// Any other.
    pub fn other(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code, message)
    }

    /// Too many requests.
    pub fn rate_limited(seconds: u64) -> Self {
        let text = format!("too many requests\nhint: try again in {seconds} s");
        Self {
            retry_after: Some(seconds.max(1)),
            ..Self::new(ErrorCode::RateLimited, text)
        }
    }

    /// Something does not answer right now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(5),
            ..Self::new(ErrorCode::Unavailable, message)
        }
    }

    /// The same, by something that may have said for how long.
    pub fn unavailable_for(message: &str, wait: Option<Duration>) -> Self {
        let failure = Self::unavailable(message);
        Self {
            retry_after: wait
                .map(|wait| wait.as_secs().max(1))
                .or(failure.retry_after),
            ..failure
        }
    }

    /// The provider will not do it.
    pub fn provider_failed() -> Self {
        let text = "the provider of buckets and keys refused\nhint: ask the operator of this server: its log has the reason";
        Self::new(ErrorCode::ProviderFailed, text)
    }

    /// A fault of the server's own.
    pub fn internal() -> Self {
        let text = "the server failed\nhint: give its operator the number in x-request-id";
        Self::new(ErrorCode::Internal, text)
    }

    /// The HTTP status of its code.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = ErrorBody {
            code: self.code,
            message: self.message.clone(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For the layer that records refusals.
        response.extensions_mut().insert(self);
        response
    }
}
