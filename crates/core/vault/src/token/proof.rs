//! Proofs of possession, after RFC 9449: that a request comes from a device.

use api::vault::Reason;
use model::DeviceId;
use serde::{Deserialize, Serialize};

use super::{LONGEST_TOKEN, is_jti};
use crate::jws;
use crate::key::{PublicKey, SignEs256};
use crate::sha::sha256_base64url;

const TYPE: &str = "cap-proof+jwt";

/// How far a proof's time may be from ours, in seconds, either way.
pub(super) const WINDOW: i64 = 60;

/// The request that a proof is for.
#[derive(Clone, Copy)]
pub struct ProofFor<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The URL that the client calls: scheme, host, port and path.
    pub url: &'a str,
    /// The capability or session that the request carries, if any.
    pub token: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// A proof that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The device whose key has signed it.
    pub device: DeviceId,
    /// Its number, never used twice by one device.
    pub jti: String,
    /// When it was made, in seconds since 1970 (UTC).
    pub iat: i64,
    /// The device's public key.
    pub key: PublicKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    htm: String,
    htu: String,
    iat: i64,
    jti: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "jws::present"
    )]
    ath: Option<String>,
    bdh: String,
}

/// Signs a proof for a request. `None` if the number is no number (1 to 64 of letters, digits,
/// `-` and `_`), or if the key cannot be used now.
pub fn make_proof(
    key: &dyn SignEs256,
    request: &ProofFor<'_>,
    jti: &str,
    now: i64,
) -> Option<String> {
    if !is_jti(jti) {
        return None;
    }
    let claims = Claims {
        htm: request.method.to_owned(),
        htu: request.url.to_owned(),
        iat: now,
        jti: jti.to_owned(),
        ath: request
            .token
            .map(|token| sha256_base64url(token.as_bytes())),
        bdh: sha256_base64url(request.body),
    };
    jws::sign_with_jwk(TYPE, &claims, key)
}

/// Verifies that a proof is for a request, made now, and by the expected device if there is one.
/// Whether it was used before is for [`ReplayCache`](super::ReplayCache) to say.
///
/// # Errors
/// [`Reason::ProofMissing`], [`Reason::ProofInvalid`].
pub fn verify_proof(
    proof: Option<&str>,
    request: &ProofFor<'_>,
    expected: Option<&DeviceId>,
    now: i64,
) -> Result<Proof, Reason> {
    let token = proof.ok_or(Reason::ProofMissing)?;
    let (claims, key): (Claims, _) =
        jws::verify_with_jwk(token, TYPE, LONGEST_TOKEN).map_err(|_| Reason::ProofInvalid)?;
    let device = key.thumbprint();
    let expected = expected.is_none_or(|expected| *expected == device);
    let timely = claims.iat.abs_diff(now) <= WINDOW.unsigned_abs();
    if !expected || !timely || !is_jti(&claims.jti) || !claims.are_for(request) {
        return Err(Reason::ProofInvalid);
    }
    Ok(Proof {
        device,
        jti: claims.jti,
        iat: claims.iat,
        key,
    })
}

impl Claims {
    fn are_for(&self, request: &ProofFor<'_>) -> bool {
        let ath = request
            .token
            .map(|token| sha256_base64url(token.as_bytes()));
        self.htm == request.method
            && self.htu == request.url
            && self.ath == ath
            && self.bdh == sha256_base64url(request.body)
    }
}
