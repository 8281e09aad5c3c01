//! Writes to the registry: transactions to a chain, or documents that the operator signs.
//!
//! [`Registrar`] is what an operator does: devices and scopes of their own. What who runs the
//! deployment does (contracts, controllers, the epoch) is beside it, in [`chain`] and
//! [`documents`].

pub mod chain;
pub mod documents;
mod error;
pub mod sign_in;

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use registry::{Device, Roles};

pub use error::{RegistrarError, Result};

/// A device that is to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// The thumbprint of its key.
    pub device: DeviceId,
    /// Who acts by it: the operator, or an agent of theirs.
    pub actor: Actor,
    /// What it may be used for; [`Roles::MASTER`] for the operator's own devices only.
    pub roles: Roles,
    /// How its key is kept, as [`Device::tier`] has it.
    pub tier: u8,
}

/// A service that an actor may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedScope {
    /// Who may.
    pub actor: Actor,
    /// Which service.
    pub service: ListedService,
    /// Whether for fetching only.
    pub read_only: bool,
}

/// A service in a list. A chain has only the hash of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedService {
    /// Its name.
    Name(ServiceName),
    /// keccak256 of its name.
    Hash([u8; 32]),
}

impl ListedService {
    /// Whether it is this one.
    pub fn is(&self, name: &ServiceName) -> bool {
        match self {
            Self::Name(listed) => listed == name,
            Self::Hash(hash) => *hash == registry::chain::service_word(name).0,
        }
    }
}

/// What an operator does with their own devices and scopes. When a call returns, the registry
/// says so.
#[async_trait]
pub trait Registrar: Send + Sync {
    /// Whose devices and scopes these are.
    fn operator(&self) -> &Actor;

    /// Registers a device.
    async fn register(&self, device: &NewDevice) -> Result<()>;

    /// Revokes a device, for good.
    async fn revoke_device(&self, device: &DeviceId) -> Result<()>;

    /// All devices, the revoked ones too.
    async fn devices(&self) -> Result<Vec<(DeviceId, Device)>>;

    /// Allows an actor services, or changes whether they may only be read.
    async fn set_scope(
        &self,
        actor: &Actor,
        services: &[ServiceName],
        read_only: bool,
    ) -> Result<()>;

    /// Takes services from an actor; those that were not allowed stay so.
    async fn revoke_scope(&self, actor: &Actor, services: &[ServiceName]) -> Result<()>;

    /// What is allowed.
    async fn scopes(&self) -> Result<Vec<ListedScope>>;
}

/// What every registry refuses to register, told before it is asked.
fn check(operator: &Actor, new: &NewDevice) -> Result<()> {
    let known = Roles(Roles::USE.0 | Roles::MASTER.0);
    if new.roles.0 == 0 || !known.has(new.roles) {
        return Err(RegistrarError::Roles(new.roles.0));
    }
    if new.roles.has(Roles::MASTER) && new.actor != *operator {
        return Err(RegistrarError::MasterOfAgent);
    }
    Ok(())
}
