//! Documents that the operator signs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use registry::Device;
use registry::documents::folder::{FolderError, lock, read, write};
use registry::documents::{
    DeviceEntry, OPERATOR_TYPE, OperatorDocument, ScopeEntry, operator_file,
};
use vault::DeviceKey;

use crate::{ListedScope, ListedService, NewDevice, Registrar, RegistrarError, Result, check};

/// Writes an operator's list into a folder.
pub struct DocumentRegistrar {
    folder: PathBuf,
    operator: Actor,
    key: Arc<DeviceKey>,
}

impl DocumentRegistrar {
    /// For this operator, with the key that is pinned for them.
    pub fn new(folder: PathBuf, operator: Actor, key: Arc<DeviceKey>) -> Self {
        Self {
            folder,
            operator,
            key,
        }
    }

    /// The list as it is.
    fn current(&self) -> Result<OperatorDocument> {
        let file = operator_file(&self.operator);
        let list = read(&self.folder, &file, OPERATOR_TYPE, &self.key)?;
        let list = list.unwrap_or_else(|| OperatorDocument::empty(self.operator.clone()));
        if list.operator != self.operator {
            let path = self.folder.join(file);
            let reason = "it is the list of another operator".into();
            let hint = "give each operator's list its own name";
            return Err(FolderError { path, reason, hint }.into());
        }
        Ok(list)
    }

    /// Changes the list, as its next version. Where nothing changes, nothing is written.
    async fn change(
        &self,
        change: impl FnOnce(&mut OperatorDocument) -> Result<()> + Send,
    ) -> Result<()> {
        let _lock = lock(&self.folder).await?;
        let before = self.current()?;
        let mut list = before.clone();
        change(&mut list)?;
        if list == before && list.version > 0 {
            return Ok(());
        }
        list.version += 1;
        let file = operator_file(&self.operator);
        Ok(write(&self.folder, &file, OPERATOR_TYPE, &list, &self.key)?)
    }
}

#[async_trait]
impl Registrar for DocumentRegistrar {
    fn operator(&self) -> &Actor {
        &self.operator
    }

    async fn register(&self, new: &NewDevice) -> Result<()> {
        check(&self.operator, new)?;
        self.change(|list| {
            match list.device(&new.device) {
                Some(device) if device.revoked => {
                    return Err(RegistrarError::DeviceRevoked(new.device));
                }
                Some(_) => return Err(RegistrarError::DeviceKnown(new.device)),
                None => {}
            }
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            list.devices.push(DeviceEntry {
                device: new.device,
                actor: new.actor.clone(),
                roles: new.roles.0,
                tier: new.tier,
                registered_at: now.as_secs(),
                revoked: false,
            });
            Ok(())
        })
        .await
    }

    async fn revoke_device(&self, device: &DeviceId) -> Result<()> {
        self.change(|list| {
            let mut entries = list.devices.iter_mut();
            let entry = entries.find(|entry| entry.device == *device);
            let entry = entry.ok_or(RegistrarError::DeviceUnknown(*device))?;
            match std::mem::replace(&mut entry.revoked, true) {
                true => Err(RegistrarError::DeviceRevoked(*device)),
                false => Ok(()),
            }
        })
        .await
    }

    async fn devices(&self) -> Result<Vec<(DeviceId, Device)>> {
        let list = self.current()?;
        let entries = list.devices.iter();
        let devices = entries.filter_map(|e| Some((e.device, list.device(&e.device)?)));
        Ok(devices.collect())
    }

    async fn set_scope(
        &self,
        actor: &Actor,
        services: &[ServiceName],
        read_only: bool,
    ) -> Result<()> {
        self.change(|list| {
            for service in services {
                let mut entries = list.scopes.iter_mut();
                match entries.find(|e| e.actor == *actor && e.service == *service) {
                    Some(entry) => entry.read_only = read_only,
                    None => list.scopes.push(ScopeEntry {
                        actor: actor.clone(),
                        service: service.clone(),
                        read_only,
                    }),
                }
            }
            Ok(())
        })
        .await
    }

    async fn revoke_scope(&self, actor: &Actor, services: &[ServiceName]) -> Result<()> {
        self.change(|list| {
            list.scopes
                .retain(|e| e.actor != *actor || !services.contains(&e.service));
            Ok(())
        })
        .await
    }

    async fn scopes(&self) -> Result<Vec<ListedScope>> {
        let scopes = self.current()?.scopes.into_iter();
        Ok(scopes
            .map(|entry| ListedScope {
                actor: entry.actor,
                service: ListedService::Name(entry.service),
                read_only: entry.read_only,
            })
            .collect())
    }
}
