//! What the documents say.

use std::collections::BTreeSet;

use model::{Actor, DeviceId, ServiceName};
use serde::{Deserialize, Serialize};

use super::entry::Document;
use super::signed::DocumentError;
use super::source::{EPOCH_FILE, operator_file};
use super::{EPOCH_TYPE, OPERATOR_TYPE};
use crate::{Device, Roles, Scope};

/// An operator's list. A field that this version does not know is an error: it may have been
/// meant to forbid something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorDocument {
    /// Whose list it is.
    pub operator: Actor,
    /// Grows with each change, from 1.
    pub version: u64,
    /// All devices that were ever registered.
    pub devices: Vec<DeviceEntry>,
    /// What may be used by whom. What is not here is not allowed.
    pub scopes: Vec<ScopeEntry>,
}

/// A device in an operator's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// The thumbprint of its key.
    pub device: DeviceId,
    /// Who acts by it.
    pub actor: Actor,
    /// Its roles, as [`Roles`] has them.
    pub roles: u32,
    /// How its key is kept, as [`Device::tier`] has it.
    pub tier: u8,
    /// When, in seconds since 1970 (UTC).
    pub registered_at: u64,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// A permission in an operator's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeEntry {
    /// Who may.
    pub actor: Actor,
    /// Use which service.
    pub service: ServiceName,
    /// Whether for fetching only.
    pub read_only: bool,
}

/// The deployment's epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochDocument {
    /// Grows with each change, from 1.
    pub version: u64,
    /// The epoch that counts, from 1.
    pub epoch: u32,
}

impl OperatorDocument {
    /// The list of an operator that has nothing registered yet; it is no version yet.
    pub fn empty(operator: Actor) -> Self {
        Self {
            operator,
            version: 0,
            devices: Vec::new(),
            scopes: Vec::new(),
        }
    }

    /// What it says of a device.
    pub fn device(&self, id: &DeviceId) -> Option<Device> {
        let entry = self.devices.iter().find(|entry| entry.device == *id)?;
        Some(Device {
            operator: self.operator.clone(),
            actor: entry.actor.clone(),
            roles: Roles(entry.roles),
            tier: entry.tier,
            registered_at: entry.registered_at,
            revoked: entry.revoked,
        })
    }

    /// What it allows an actor.
    pub fn scope(&self, actor: &Actor, service: &ServiceName) -> Scope {
        let mut entries = self.scopes.iter();
        let found = entries.find(|entry| entry.actor == *actor && entry.service == *service);
        found.map_or(Scope::NONE, |entry| Scope {
            in_scope: true,
            read_only: entry.read_only,
        })
    }
}

impl Document for OperatorDocument {
    type Owner = Actor;
    const TYPE: &'static str = OPERATOR_TYPE;

    fn file(owner: &Actor) -> String {
        operator_file(owner)
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn check(&self, owner: &Actor) -> Result<(), DocumentError> {
        if self.operator != *owner {
            return Err(DocumentError::Owner);
        }
        let mut devices = BTreeSet::new();
        if !self
            .devices
            .iter()
            .all(|entry| devices.insert(entry.device))
        {
            return Err(DocumentError::Form("it lists a device twice".into()));
        }
        let mut scopes = BTreeSet::new();
        let once = |entry: &ScopeEntry| scopes.insert((entry.actor.clone(), entry.service.clone()));
        if !self.scopes.iter().all(once) {
            return Err(DocumentError::Form("it lists a scope twice".into()));
        }
        Ok(())
    }
}

impl Document for EpochDocument {
    type Owner = ();
    const TYPE: &'static str = EPOCH_TYPE;

    fn file((): &()) -> String {
        EPOCH_FILE.to_owned()
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn check(&self, (): &()) -> Result<(), DocumentError> {
        match self.epoch {
            0 => Err(DocumentError::Form("its epoch is 0".into())),
            _ => Ok(()),
        }
    }
}
