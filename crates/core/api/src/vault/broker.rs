//! Capabilities, web identities, pairing, and the stream of drop events.

use model::{Actor, DeviceId, ServiceName};
use serde::{Deserialize, Serialize};

use crate::{Secret, UserCode};

/// The body of `POST /v1/cap/cred-{store,fetch,list}`, with a session as bearer token and a
/// proof by the device that the capability is to be bound to (its `ath` is the session's hash).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapCredential {
    /// Which service; absent for `list`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
}

/// The body of `POST /v1/cap/cred-teardown`, with a proof by a master device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapTeardown {
    /// Whose credentials are to go: the operator's own actor, or that of the agent with `label`.
    pub target: Actor,
    /// The agent's label, from which the broker computes that the target is the operator's.
    /// Absent where the target is the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The answer to all four.
#[derive(Serialize, Deserialize)]
pub struct CapAnswer {
    /// The capability.
    pub cap: Secret,
    /// For how many seconds it counts.
    pub expires_in: u64,
}

/// The body of `POST /v1/mint-oidc-jwt`, with a session as bearer token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintWebIdentity {}

/// The body of `POST /v1/worker/web-identity`, over mTLS, for the role `worker`.
#[derive(Serialize, Deserialize)]
pub struct WorkerWebIdentity {
    /// The capability for whose actor (teardown: target) the identity is.
    pub cap: Secret,
}

/// The answer to both.
#[derive(Serialize, Deserialize)]
pub struct WebIdentity {
    /// A token for AssumeRoleWithWebIdentity, tagged with one actor.
    pub token: Secret,
    /// For how many seconds it counts.
    pub expires_in: u64,
}

/// The body of `POST /v1/pairing`: an agent's device asks to belong to an operator. With a proof
/// by its key, whose `ath` is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingRequest {
    /// What the agent is to be called: `[a-z0-9-]{1,32}`.
    pub label: String,
}

/// The answer.
#[derive(Serialize, Deserialize)]
pub struct PairingAnswer {
    /// What the device polls with.
    pub pairing: Secret,
    /// What the operator types.
    pub user_code: UserCode,
    /// For how many seconds both count.
    pub expires_in: u64,
    /// Seconds between two polls.
    pub interval: u64,
}

/// The body of `POST /v1/pairing/token`, with a proof by the device's key. 200 with a
/// [`SessionToken`](crate::SessionToken) once the operator has approved and the registry knows
/// the device; 202 with nothing before.
#[derive(Serialize, Deserialize)]
pub struct PairingPoll {
    /// From the answer above.
    pub pairing: Secret,
}

/// The answer of `GET /v1/pairing/{user_code}`, for an operator's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPairing {
    /// What the agent is to be called.
    pub label: String,
    /// Where it stands.
    pub state: PairingStanding,
    /// The device that asks.
    pub device: DeviceId,
    /// Who it will be: `operator.agent(label)`.
    pub actor: Actor,
}

/// Where a pairing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingStanding {
    /// Nobody has decided.
    Pending,
    /// This operator approved; the session comes once the registry knows the device.
    Approved,
}

/// The body of `POST /v1/pairing/{user_code}`, for an operator's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingApproval {
    /// Whether it may.
    pub approve: bool,
    /// The device that the operator has seen, so that no other is approved in its place.
    pub device: DeviceId,
}

/// The body of `POST /v1/drop`, for an operator's session: what was revoked, so that daemons
/// hear of it at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropEvent {
    /// Whose capabilities; absent for all of the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// For which service; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
}

/// What `GET /v1/sse/operator/{actor}` says, as the data of an event whose `event:` is the kind
/// and whose `id:` grows. Heartbeats are comments, each 15 seconds or more often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OperatorEvent {
    /// Capabilities are not to be used any more.
    Drop(DropEvent),
    /// A device was revoked.
    DeviceRevoked {
        /// Which.
        device: DeviceId,
    },
    /// A new epoch began: capabilities of older ones are refused.
    Epoch {
        /// The new one.
        epoch: u32,
    },
    /// Events were lost (the id asked for is too old): drop everything.
    Resync,
}
