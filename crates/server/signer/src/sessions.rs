//! Whose session a request outside comes with.

use axum::http::{HeaderMap, header};
use base::Failure;
use base::published::PublishedKeys;
use vault::{Session, TokenError, verify_session};

/// The broker whose sessions count, and its keys.
pub struct Sessions {
    issuer: String,
    keys: PublishedKeys,
}

impl Sessions {
    /// Of the broker that calls itself so in its tokens (`iss`).
    pub fn new(issuer: impl Into<String>, keys: PublishedKeys) -> Self {
        Self {
            issuer: issuer.into(),
            keys,
        }
    }

    /// The session in a request's headers.
    ///
    /// # Errors
    /// 401 for none or one that does not count, 503 where that cannot be known.
    pub(crate) async fn of(&self, headers: &HeaderMap, now: i64) -> Result<Session, Failure> {
        let token = bearer(headers).ok_or_else(|| {
            Failure::unauthenticated("there is no session\nhint: Authorization: Bearer SESSION")
        })?;
        let keys = self.keys.current().await.map_err(|error| {
            tracing::error!(%error, "no session can be verified");
            Failure::unavailable("the broker's keys cannot be had\nhint: try again")
        })?;
        let verified = match verify_session(token, &keys, &self.issuer, now) {
            // Perhaps the broker signs with a newer key.
            Err(TokenError::Invalid) => match self.keys.newer().await {
                Some(keys) => verify_session(token, &keys, &self.issuer, now),
                None => Err(TokenError::Invalid),
            },
            verified => verified,
        };
        verified.map_err(|error| Failure::unauthenticated(error.to_string()))
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
