//! Capabilities.

use api::vault::Reason;
use model::{Actor, DeviceId, ServiceName};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{CLOCK_SKEW, LONGEST_TOKEN, is_jti};
use crate::jws::{self, Object};
use crate::key::{SignEs256, VerifyKeys};

const TYPE: &str = "cap+jwt";
const AUDIENCE: &str = "artifacts-worker";
const DATA_CLASS: &str = "credentials";

/// For how many seconds a capability counts at most.
pub const LONGEST_CAP_LIFETIME: i64 = 300;

/// What may be done with a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Store a credential.
    Store,
    /// Fetch one.
    Fetch,
    /// List their names.
    List,
    /// Delete all of an actor's.
    Teardown,
}

impl Op {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Store, Self::Fetch, Self::List, Self::Teardown];

    /// The word in tokens and in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Fetch => "fetch",
            Self::List => "list",
            Self::Teardown => "teardown",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == word)
    }

    /// Whether these are what the operation is about: a service, a target, or neither.
    fn is_about(self, service: bool, target: bool) -> bool {
        match self {
            Self::Store | Self::Fetch => service && !target,
            Self::List => !service && !target,
            Self::Teardown => !service && target,
        }
    }
}

/// A capability: leave of the broker's for one operation, by one device, for a short time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// The broker.
    pub iss: String,
    /// Whose credentials.
    pub sub: Actor,
    /// Who owns the actor.
    pub operator: Actor,
    /// What may be done.
    pub op: Op,
    /// With which service's credential; none for list and teardown.
    pub service: Option<ServiceName>,
    /// Whose credentials go; teardown only.
    pub target: Option<Actor>,
    /// The registry's epoch when it was made.
    pub epoch: u32,
    /// When it was made, in seconds since 1970 (UTC).
    pub iat: i64,
    /// From when on it counts.
    pub nbf: i64,
    /// When it ends.
    pub exp: i64,
    /// Its number.
    pub jti: String,
    /// The device that must prove itself with it.
    pub device: DeviceId,
}

impl Cap {
    /// Whether it is for this.
    ///
    /// # Errors
    /// [`Reason::CapOpMismatch`], then [`Reason::CapServiceMismatch`].
    pub fn check(
        &self,
        op: Op,
        service: Option<&ServiceName>,
        target: Option<&Actor>,
    ) -> Result<(), Reason> {
        if self.op != op {
            return Err(Reason::CapOpMismatch);
        }
        let about = op.is_about(self.service.is_some(), self.target.is_some());
        if !about || self.service.as_ref() != service || self.target.as_ref() != target {
            return Err(Reason::CapServiceMismatch);
        }
        Ok(())
    }

    fn check_times(&self, now: i64) -> Result<(), Reason> {
        let latest = now.saturating_add(CLOCK_SKEW);
        let begun = self.iat <= latest && self.nbf <= latest;
        let lifetime = self.exp.checked_sub(self.iat.min(self.nbf));
        let short = lifetime.is_some_and(|life| (1..=LONGEST_CAP_LIFETIME).contains(&life));
        if begun && short && now < self.exp {
            Ok(())
        } else {
            Err(Reason::CapExpired)
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Actor,
    operator: Actor,
    op: String,
    data_class: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "jws::present"
    )]
    service: Option<ServiceName>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "jws::present"
    )]
    target: Option<Actor>,
    epoch: u32,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    cnf: Object<Confirmation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jkt: DeviceId,
}

/// Signs a capability. `None` if no worker would take it (about something that its operation is
/// not about, for longer than [`LONGEST_CAP_LIFETIME`], a number that is too long), or if the key
/// cannot be used now.
pub fn mint_cap(cap: &Cap, key: &dyn SignEs256) -> Option<SecretString> {
    let about = cap.op.is_about(cap.service.is_some(), cap.target.is_some());
    if !about || !is_jti(&cap.jti) || cap.check_times(cap.iat).is_err() {
        return None;
    }
    let claims = Claims {
        iss: cap.iss.clone(),
        aud: AUDIENCE.into(),
        sub: cap.sub.clone(),
        operator: cap.operator.clone(),
        op: cap.op.as_str().into(),
        data_class: DATA_CLASS.into(),
        service: cap.service.clone(),
        target: cap.target.clone(),
        epoch: cap.epoch,
        iat: cap.iat,
        nbf: cap.nbf,
        exp: cap.exp,
        jti: cap.jti.clone(),
        cnf: Object(Confirmation { jkt: cap.device }),
    };
    jws::sign(TYPE, &claims, key)
}

/// Reads a capability: form, key, signature, issuer, audience and type first, then times, then
/// what it says. Whether it is for a request is for [`Cap::check`] to say.
///
/// # Errors
/// [`Reason::CapSignatureInvalid`], [`Reason::CapExpired`], [`Reason::CapOpMismatch`].
pub fn verify_cap(token: &str, keys: &VerifyKeys, issuer: &str, now: i64) -> Result<Cap, Reason> {
    let claims: Claims =
        jws::verify(token, TYPE, keys, LONGEST_TOKEN).map_err(|_| Reason::CapSignatureInvalid)?;
    if claims.iss != issuer || claims.aud != AUDIENCE || !is_jti(&claims.jti) {
        return Err(Reason::CapSignatureInvalid);
    }
    let Object(Confirmation { jkt }) = claims.cnf;
    let op = Op::from_word(&claims.op);
    let cap = Cap {
        iss: claims.iss,
        sub: claims.sub,
        operator: claims.operator,
        // Times come first; the word is judged right after.
        op: op.unwrap_or(Op::List),
        service: claims.service,
        target: claims.target,
        epoch: claims.epoch,
        iat: claims.iat,
        nbf: claims.nbf,
        exp: claims.exp,
        jti: claims.jti,
        device: jkt,
    };
    cap.check_times(now)?;
    if op.is_none() || claims.data_class != DATA_CLASS {
        return Err(Reason::CapOpMismatch);
    }
    Ok(cap)
}
