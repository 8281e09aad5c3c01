//! What is asked of a registry.

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};

/// A registry that answers for all operators.
///
/// Answers may be as old as two seconds, no older.
#[async_trait]
pub trait Registry: Send + Sync {
    /// A device that is said to be this operator's; `None` if it was never registered. A revoked
    /// one is told, and is marked so.
    ///
    /// Each operator keeps a list of their own, and only this operator's is looked into: nobody
    /// can stand in another's way by listing their device.
    async fn device(&self, operator: &Actor, id: &DeviceId) -> Result<Option<Device>, Unavailable>;

    /// Whether an actor of an operator may use a service.
    async fn scope(
        &self,
        operator: &Actor,
        actor: &Actor,
        service: &ServiceName,
    ) -> Result<Scope, Unavailable>;

    /// The epoch that counts now, from 1.
    async fn current_epoch(&self) -> Result<u32, Unavailable>;

    /// All that one request depends on, at once: a reader over a network asks it in one round.
    async fn answers(&self, question: &Question<'_>) -> Result<Answers, Unavailable> {
        let Question {
            operator,
            actor,
            device,
            service,
        } = *question;
        let device = self.device(operator, device).await?;
        let scope = match service {
            Some(service) => Some(self.scope(operator, actor, service).await?),
            None => None,
        };
        Ok(Answers {
            device,
            scope,
            epoch: self.current_epoch().await?,
        })
    }
}

/// What one request depends on.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Whose credentials are asked for.
    pub operator: &'a Actor,
    /// Who asks: the operator, or an agent of theirs.
    pub actor: &'a Actor,
    /// By which device.
    pub device: &'a DeviceId,
    /// For which service; `None` where there is no scope to look at.
    pub service: Option<&'a ServiceName>,
}

/// What the registry says to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// As [`Registry::device`] says.
    pub device: Option<Device>,
    /// As [`Registry::scope`] says; `None` where no service was named.
    pub scope: Option<Scope>,
    /// As [`Registry::current_epoch`] says.
    pub epoch: u32,
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

impl Scope {
    /// What nobody has allowed.
    pub const NONE: Self = Self {
        in_scope: false,
        read_only: false,
    };
}

/// The registry did not answer, or not in a way that can be believed. The text is for the
/// operator's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the registry cannot be asked: {0}")]
pub struct Unavailable(pub String);
