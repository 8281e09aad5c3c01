//! Who asks: session tokens of our own and of other issuers, service tokens, tickets.

mod caller;
mod issuers;
mod key;
mod opaque;
mod peek;
mod session;
mod ticket;

pub(crate) use caller::{Bearer, Caller, Who, only_webhooks};
pub(crate) use issuers::{Attempt, Door, Foreign, NotLetIn};
pub use issuers::{IssuerConfig, IssuerKind, Issuers, PinnedAlgorithm};
pub use key::{KeyError, SigningKey};
pub use opaque::token_hash;
pub use opaque::{BOOTSTRAP_LIFETIME, new_bootstrap};
pub(crate) use opaque::{BOOTSTRAP_PREFIX, SERVICE_PREFIX, hash};

/// Whom every token is for (`aud`).
pub(crate) const AUDIENCE: &str = "artifacts";

/// How far another machine's clock may be from ours, in seconds.
pub(crate) const LEEWAY: i64 = 30;

/// A token that was not accepted: why, for the log and the audit. The caller is told less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is no token of any kind that is known")]
    Form,
    #[error("its issuer is not known")]
    Issuer,
    #[error("its algorithm is not allowed")]
    Algorithm,
    #[error("its type is not allowed here")]
    Type,
    #[error("its key is not the issuer's")]
    Key,
    #[error("its signature does not verify")]
    Signature,
    #[error("it is for somebody else (aud)")]
    Audience,
    #[error("it has ended")]
    Expired,
    #[error("it does not count yet")]
    NotYet,
    #[error("a claim is missing or of the wrong form")]
    Claims,
    #[error("its issuer's keys cannot be fetched")]
    KeysUnavailable,
    #[error("it is not the answer to this sign-in (nonce)")]
    Nonce,
    #[error("it was revoked")]
    Revoked,
    #[error("it is not known here")]
    Unknown,
}

impl Refused {
    /// The same as a label.
    fn word(self) -> &'static str {
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
pub(crate) fn check_times(
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
fn refused_by_library(error: &jsonwebtoken::errors::Error) -> Refused {
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
