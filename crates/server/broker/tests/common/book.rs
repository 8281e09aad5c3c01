//! A registry in memory that a test changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use parking_lot::Mutex;
use registry::{Device, Registry, Roles, Scope, Unavailable};

/// Who may do what.
pub(crate) struct Book {
    devices: Mutex<HashMap<DeviceId, Device>>,
    scopes: Mutex<HashMap<(Actor, Actor, ServiceName), bool>>,
    epoch: AtomicU32,
    away: AtomicBool,
    breaks: AtomicBool,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            devices: Mutex::default(),
            scopes: Mutex::default(),
            epoch: AtomicU32::new(1),
            away: AtomicBool::new(false),
            breaks: AtomicBool::new(false),
        }
    }
}

impl Book {
    pub(crate) fn add(&self, operator: &Actor, actor: &Actor, id: DeviceId, roles: u32) {
        let device = Device {
            operator: operator.clone(),
            actor: actor.clone(),
            roles: Roles(roles),
            tier: 0,
            registered_at: 0,
            revoked: false,
        };
        self.devices.lock().insert(id, device);
    }

    /// The next question about the epoch makes the asker panic, as a defect would.
    pub(crate) fn break_once(&self) {
        self.breaks.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_broken(&self) -> bool {
        !self.breaks.load(Ordering::SeqCst)
    }

    pub(crate) fn revoke(&self, id: DeviceId) {
        self.devices.lock().get_mut(&id).unwrap().revoked = true;
    }

    pub(crate) fn forget(&self, id: DeviceId) {
        self.devices.lock().remove(&id);
    }

    /// Allows a service; `read_only` if so.
    pub(crate) fn allow(&self, operator: &Actor, actor: &Actor, service: &str, read_only: bool) {
        let key = (operator.clone(), actor.clone(), service.parse().unwrap());
        self.scopes.lock().insert(key, read_only);
    }

    pub(crate) fn disallow(&self, operator: &Actor, actor: &Actor, service: &str) {
        let key = (operator.clone(), actor.clone(), service.parse().unwrap());
        self.scopes.lock().remove(&key);
    }

    pub(crate) fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn here(&self) -> Result<(), Unavailable> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(Unavailable("told to be away".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Registry for Book {
    async fn device(&self, _: &Actor, id: &DeviceId) -> Result<Option<Device>, Unavailable> {
        self.here()?;
        Ok(self.devices.lock().get(id).cloned())
    }

    async fn scope(
        &self,
        operator: &Actor,
        actor: &Actor,
        service: &ServiceName,
    ) -> Result<Scope, Unavailable> {
        self.here()?;
        let key = (operator.clone(), actor.clone(), service.clone());
        let found = self.scopes.lock().get(&key).copied();
        Ok(Scope {
            in_scope: found.is_some(),
            read_only: found.unwrap_or(false),
        })
    }

    async fn current_epoch(&self) -> Result<u32, Unavailable> {
        assert!(!self.breaks.swap(false, Ordering::SeqCst), "told to break");
        self.here()?;
        Ok(self.epoch.load(Ordering::SeqCst))
    }
}
