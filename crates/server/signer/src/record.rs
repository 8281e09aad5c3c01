//! What the audit is told of each request: who asked for what, and how it ended. Never a key, a
//! signature, a session or a message.

use api::{ErrorCode, Timestamp};
use base::Failure;
use base::peer::{Peer, PeerRole};
use model::{Actor, ServiceName};
use serde::{Serialize, Serializer};

/// One request, done or refused.
#[derive(Serialize)]
pub(crate) struct Record {
    /// When it was answered.
    pub(crate) at: Timestamp,
    /// What was asked.
    pub(crate) op: &'static str,
    #[serde(serialize_with = "ending")]
    pub(crate) outcome: Result<(), ErrorCode>,
    /// Why not, in a sentence of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Where the request came from.
    pub(crate) from: String,
    /// The role of a server that asks, by its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// The SHA-256 of this certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// The number of the session of a person who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<Actor>,
    /// Whose key it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u32>,
    /// What a signed message was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<ServiceName>,
    /// Refusals of strangers before this one that are not in the audit: there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) omitted: u64,
}

impl Record {
    /// Of what nothing is known yet but where it comes from.
    pub(crate) fn of(op: &'static str, peer: &Peer, role: &PeerRole) -> Self {
        Self {
            at: Timestamp::from_micros(0),
            op,
            outcome: Err(ErrorCode::Internal),
            reason: None,
            from: peer.address.ip().to_string(),
            role: role.0.clone(),
            certificate: peer.certificate.as_deref().map(str::to_owned),
            session: None,
            operator: None,
            actor: None,
            epoch: None,
            purpose: None,
            service: None,
            omitted: 0,
        }
    }

    /// How it ended.
    pub(crate) fn end(&mut self, failure: Option<&Failure>) {
        self.outcome = failure.map_or(Ok(()), |failure| Err(failure.code));
        self.reason = failure.and_then(|failure| failure.message.lines().next().map(str::to_owned));
    }

    /// Whether it is known who asked.
    pub(crate) fn is_of_somebody(&self) -> bool {
        self.role.is_some() || self.session.is_some()
    }
}

fn ending<S: Serializer>(
    outcome: &Result<(), ErrorCode>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match outcome {
        Ok(()) => serializer.serialize_str("done"),
        Err(code) => code.serialize(serializer),
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
