//! Machines that wait to be let in (RFC 8628).

use api::{Description, Scope, TenantId, Timestamp, UserCode};
use async_trait::async_trait;
use model::Actor;
use serde::{Deserialize, Serialize};

use super::{Entry, NewSession, Result};

/// A machine that asks.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// SHA-256 of its device code.
    pub device_hash: Vec<u8>,
    /// What the person types.
    pub user_code: UserCode,
    /// The program that asks.
    pub client_id: Description,
    /// The machine's name.
    pub machine: Description,
    /// What for.
    pub scope: Scope,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Seconds between two questions.
    pub interval: i64,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// Nobody has decided.
    Pending,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Denied,
    /// The session was handed over.
    Used,
}

/// A request, as the person and the machine see it.
#[derive(Debug, Clone)]
pub struct DeviceRequest {
    /// What the person types.
    pub user_code: UserCode,
    /// The program that asks.
    pub client_id: Description,
    /// The machine's name.
    pub machine: Description,
    /// What for.
    pub scope: Scope,
    /// When.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// How far it is.
    pub state: DeviceState,
    /// Who said yes.
    pub actor: Option<Actor>,
    /// The tenant that the session shall stand in.
    pub tenant: Option<TenantId>,
}

/// What a machine's question found.
#[derive(Debug, Clone)]
pub struct DevicePoll {
    /// The request.
    pub request: DeviceRequest,
    /// Whether the question came sooner after the last one than was asked for. The pause that
    /// is asked for has grown by five seconds then (RFC 8628 §3.5).
    pub too_fast: bool,
}

/// Machines that wait to be let in.
#[async_trait]
pub trait Devices {
    /// Adds a request. [`Exists`](super::StoreError::Exists) if the user code is in use.
    async fn add_device(&self, device: &NewDevice) -> Result<()>;

    /// The request that a person typed the code of.
    async fn device_by_code(&self, code: &UserCode) -> Result<Option<DeviceRequest>>;

    /// Decides a pending request that has not ended; `false` if there is none.
    async fn decide_device(
        &self,
        code: &UserCode,
        decision: Option<(&Actor, Option<TenantId>)>,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;

    /// Notes that a machine asked.
    async fn poll_device(&self, device_hash: &[u8], now: Timestamp) -> Result<Option<DevicePoll>>;

    /// Hands the session over: the approved request is used up and the session begins.
    /// `false` if another question was faster.
    async fn use_device(
        &self,
        device_hash: &[u8],
        session: &NewSession,
        entry: &Entry,
    ) -> Result<bool>;
}
