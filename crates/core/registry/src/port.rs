//! What is asked of a registry.

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};

/// A registry that answers for all operators.
///
/// Answers may be as old as two seconds, no older.
#[async_trait]
pub trait Registry: Send + Sync {
    /// A device; `None` if it was never registered. A revoked one is told, and is marked so.
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, Unavailable>;

    /// Whether an actor of an operator may use a service.
    async fn scope(
        &self,
        operator: &Actor,
        actor: &Actor,
        service: &ServiceName,
    ) -> Result<Scope, Unavailable>;

    /// The epoch that counts now, from 1.
    async fn current_epoch(&self) -> Result<u32, Unavailable>;
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose it is.
    pub operator: Actor,
    /// Who acts by it: the operator, or an agent of theirs.
    pub actor: Actor,
    /// What it may be used for.
    pub roles: Roles,
    /// How its key is kept, as the operator declared: 0 in a file, 1 in a keyring, 2 in hardware.
    pub tier: u8,
    /// When, in seconds since 1970 (UTC).
    pub registered_at: u64,
    /// Whether it was revoked. It stays so.
    pub revoked: bool,
}

/// The roles of a device, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles(pub u32);

impl Roles {
    /// Store, fetch and list.
    pub const USE: Self = Self(1);
    /// Teardown. Only an operator's own devices are given it.
    pub const MASTER: Self = Self(2);

    /// Whether all of these are among them.
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// What an actor may do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Whether it may be used at all.
    pub in_scope: bool,
    /// Whether it may be fetched only.
    pub read_only: bool,
}

/// The registry did not answer, or not in a way that can be believed. The text is for the
/// operator's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry cannot be asked: {0}")]
pub struct Unavailable(pub String);
