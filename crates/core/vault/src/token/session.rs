//! Sessions: who is logged in at the broker.

use model::{Actor, DeviceId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{CLOCK_SKEW, LONGEST_TOKEN, is_jti};
use crate::jws;
use crate::key::{SignEs256, VerifyKeys};

const TYPE: &str = "session+jwt";
const AUDIENCE: &str = "artifacts";

/// Why a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its form, signature, key, issuer, audience or type is wrong.
    #[error("this is no session of this broker\nhint: log in again with `artifacts vault login`")]
    Invalid,
    /// It has ended, or does not count yet.
    #[error("the session has ended\nhint: log in again with `artifacts vault login`")]
    Expired,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The broker.
    pub iss: String,
    /// Who is logged in: an operator, or an agent.
    pub sub: Actor,
    /// Whose actor that is: for an operator, the same.
    pub operator: Actor,
    /// When it began, in seconds since 1970 (UTC).
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
    /// Its number.
    pub jti: String,
    /// The device that it was given to, if to one.
    pub device: Option<DeviceId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Actor,
    operator: Actor,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "jws::present"
    )]
    device: Option<DeviceId>,
}

/// Signs a session. `None` if it would never count, or if the key cannot be used now.
pub fn mint_session(session: &Session, key: &dyn SignEs256) -> Option<SecretString> {
    if !is_jti(&session.jti) || session.exp <= session.iat {
        return None;
    }
    let claims = Claims {
        iss: session.iss.clone(),
        aud: AUDIENCE.into(),
        sub: session.sub.clone(),
        operator: session.operator.clone(),
        iat: session.iat,
        exp: session.exp,
        jti: session.jti.clone(),
        device: session.device,
    };
    jws::sign(TYPE, &claims, key)
}

/// Reads a session.
///
/// # Errors
/// [`TokenError`].
pub fn verify_session(
    token: &str,
    keys: &VerifyKeys,
    issuer: &str,
    now: i64,
) -> Result<Session, TokenError> {
    let claims: Claims =
        jws::verify(token, TYPE, keys, LONGEST_TOKEN).map_err(|_| TokenError::Invalid)?;
    if claims.iss != issuer || claims.aud != AUDIENCE || !is_jti(&claims.jti) {
        return Err(TokenError::Invalid);
    }
    if claims.exp <= now || claims.iat > now.saturating_add(CLOCK_SKEW) {
        return Err(TokenError::Expired);
    }
    Ok(Session {
        iss: claims.iss,
        sub: claims.sub,
        operator: claims.operator,
        iat: claims.iat,
        exp: claims.exp,
        jti: claims.jti,
        device: claims.device,
    })
}
