//! Tokens of others: what is checked of each, and the issuers that the operator has configured.

mod issuers;
mod peek;

use jsonwebtoken::{Algorithm, Validation};

pub use issuers::{
    Attempt, Door, Foreign, IssuerConfig, IssuerKind, Issuers, NotLetIn, PinnedAlgorithm,
};
pub use peek::{Peek, peek};

/// Whom every token is for (`aud`).
pub const AUDIENCE: &str = "artifacts";

/// How far another machine's clock may be from ours, in seconds.
pub const LEEWAY: i64 = 30;

/// A token that was not accepted: why, for the log and the audit. The caller is told less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No token of a known kind.
    #[error("it is no token of any kind that is known")]
    Form,
    /// By an issuer that is not known.
    #[error("its issuer is not known")]
    Issuer,
    /// Signed with another algorithm than its issuer does.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// Of another type (`typ`).
    #[error("its type is not allowed here")]
    Type,
    /// By a key that is not its issuer's.
    #[error("its key is not the issuer's")]
    Key,
    /// Its signature does not verify.
    #[error("its signature does not verify")]
    Signature,
    /// For somebody else (`aud`).
    #[error("it is for somebody else (aud)")]
    Audience,
    /// It has ended.
    #[error("it has ended")]
    Expired,
    /// It does not count yet.
    #[error("it does not count yet")]
    NotYet,
    /// A claim is missing or of the wrong form.
    #[error("a claim is missing or of the wrong form")]
    Claims,
    /// Its issuer's keys cannot be fetched.
    #[error("its issuer's keys cannot be fetched")]
    KeysUnavailable,
    /// Not the answer to this sign-in.
    #[error("it is not the answer to this sign-in (nonce)")]
    Nonce,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// Not known here.
    #[error("it is not known here")]
    Unknown,
}

impl Refused {
    /// The same as a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Claims => "claims",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Nonce => "nonce",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }
}

/// The times of a token, against a clock that the caller chooses.
///
/// # Errors
/// It has ended, or does not count yet.
pub fn check_times(
    now: api::Timestamp,
    issued: i64,
    not_before: Option<i64>,
    ends: i64,
) -> Result<(), Refused> {
    let now = now.seconds();
    if ends <= now - LEEWAY {
        Err(Refused::Expired)
    } else if issued > now + LEEWAY || not_before.is_some_and(|begin| begin > now + LEEWAY) {
        Err(Refused::NotYet)
    } else {
        Ok(())
    }
}

/// What the cryptographic library found, in our words.
pub fn refused_by_library(error: &jsonwebtoken::errors::Error) -> Refused {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => Refused::Signature,
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Refused::Algorithm,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_) => Refused::Claims,
        _ => Refused::Form,
    }
}

/// What the library checks: algorithm, signature, issuer, audience. Times are checked by
/// [`check_times`], against the caller's clock.
pub fn validation(algorithms: &[Algorithm], issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::default();
    validation.algorithms = algorithms.to_vec();
    validation.set_audience(&[audience]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}
