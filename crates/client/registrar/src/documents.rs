//! Documents that the operator signs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use registry::Device;
use registry::documents::{
    DeviceEntry, EPOCH_FILE, EPOCH_TYPE, EpochDocument, LONGEST_DOCUMENT, OPERATOR_TYPE,
    OperatorDocument, ScopeEntry, operator_file, sign, verify,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::{DeviceKey, SignEs256, VerifyKeys};

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
            return Err(RegistrarError::File { path, reason, hint });
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
        write(&self.folder, &file, OPERATOR_TYPE, &list, &self.key)
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

/// Writes the first epoch, where there is none yet; the epoch that counts.
///
/// # Errors
/// The document cannot be read or written.
pub async fn begin_epochs(folder: &Path, key: &DeviceKey) -> Result<u32> {
    next_epoch(folder, key, |_| None).await
}

/// Begins the next epoch, by the deployment's key; its number.
///
/// # Errors
/// The document cannot be read or written.
pub async fn advance_epoch(folder: &Path, key: &DeviceKey) -> Result<u32> {
    next_epoch(folder, key, |epoch| Some(epoch.saturating_add(1))).await
}

async fn next_epoch(
    folder: &Path,
    key: &DeviceKey,
    next: impl FnOnce(u32) -> Option<u32> + Send,
) -> Result<u32> {
    let _lock = lock(folder).await?;
    let (version, epoch) = match read::<EpochDocument>(folder, EPOCH_FILE, EPOCH_TYPE, key)? {
        None => (1, 1),
        Some(current) => match next(current.epoch) {
            None => return Ok(current.epoch),
            Some(epoch) => (current.version + 1, epoch),
        },
    };
    let document = EpochDocument { version, epoch };
    write(folder, EPOCH_FILE, EPOCH_TYPE, &document, key)?;
    Ok(epoch)
}

/// A document of our own. One that our key has not signed is not built upon: whoever put it
/// there would get it signed.
fn read<T: DeserializeOwned>(
    folder: &Path,
    file: &str,
    typ: &str,
    key: &DeviceKey,
) -> Result<Option<T>> {
    let path = folder.join(file);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&path, &e)),
    };
    let keys = VerifyKeys::from_keys([key.public_jwk().clone()])
        .map_err(|e| RegistrarError::Key(e.to_string()))?;
    verify(&bytes, typ, &keys).map(Some).map_err(|e| {
        let text = e.to_string();
        RegistrarError::File {
            path,
            reason: text.lines().next().unwrap_or_default().to_owned(),
            hint: "use the key that signed it, or move it away to begin anew with a higher version",
        }
    })
}

/// Whole or not at all. Readers of other users read it: it is signed, not secret.
fn write(
    folder: &Path,
    file: &str,
    typ: &str,
    document: &(impl Serialize + Sync),
    key: &DeviceKey,
) -> Result<()> {
    let path = folder.join(file);
    let signed = sign(typ, document, key).map_err(|e| RegistrarError::File {
        path: path.clone(),
        reason: format!(
            "it cannot be signed, or would be longer than {LONGEST_DOCUMENT} bytes: {e}"
        ),
        hint: "revoke scopes that are not needed any more",
    })?;
    let write = || -> std::io::Result<()> {
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(signed.as_bytes())?;
        new.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|e| failed(&path, &e))
}

const PATIENCE: Duration = Duration::from_secs(4);

/// Others that change documents in this folder wait meanwhile.
async fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(|e| failed(&path, &e))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(e) => return Err(failed(&path, &e.into())),
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> RegistrarError {
    RegistrarError::File {
        path: path.to_owned(),
        reason: error.to_string(),
        hint: "look at who owns the folder of the registry's documents, and who may write there",
    }
}
