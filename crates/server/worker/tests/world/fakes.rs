//! What stands for the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use artifacts_worker::Record;
use artifacts_worker::ports::{Audit, Away, Buckets, CapKeys, Signer};
use async_trait::async_trait;
use bucket::faults::Faulty;
use bucket::memory::MemoryBucket;
use bucket::{
    Body, Bucket, Condition, CopyOptions, DeleteOutcome, Error, GetOptions, Key, ListPage,
    ListRequest, Object, ObjectMeta, PutOptions, PutOutcome, Result,
};
use model::{Actor, DeviceId, ServiceName};
use parking_lot::Mutex;
use registry::{Device, Registry, Scope, Unavailable};
use tokio::sync::Notify;
use vault::{Kek, MasterSecret, Place, PublicKey, VerifyKeys, derive_cred_kek};

/// A registry that says what it is told to.
pub(crate) struct FakeRegistry {
    devices: Mutex<HashMap<DeviceId, Device>>,
    scopes: Mutex<HashMap<(Actor, ServiceName), Scope>>,
    pub(crate) epoch: AtomicU32,
    pub(crate) is_down: AtomicBool,
    pub(crate) panics: AtomicBool,
    /// The next question waits for this.
    pub(crate) hang: Mutex<Option<Arc<Notify>>>,
}

impl FakeRegistry {
    pub(crate) fn new() -> Self {
        Self {
            devices: Mutex::default(),
            scopes: Mutex::default(),
            epoch: AtomicU32::new(1),
            is_down: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            hang: Mutex::default(),
        }
    }

    pub(crate) fn register(&self, id: DeviceId, device: Device) {
        self.devices.lock().insert(id, device);
    }

    pub(crate) fn change(&self, id: DeviceId, change: impl FnOnce(&mut Device)) {
        change(self.devices.lock().get_mut(&id).expect("registered"));
    }

    pub(crate) fn unregister(&self, id: DeviceId) {
        self.devices.lock().remove(&id);
    }

    pub(crate) fn allow(&self, actor: &Actor, service: &ServiceName, scope: Scope) {
        let key = (actor.clone(), service.clone());
        self.scopes.lock().insert(key, scope);
    }

    async fn up(&self) -> std::result::Result<(), Unavailable> {
        let hang = self.hang.lock().take();
        if let Some(hang) = hang {
            hang.notified().await;
        }
        assert!(!self.panics.load(Ordering::SeqCst), "told to panic");
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Unavailable("told to be".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Registry for FakeRegistry {
    async fn device(
        &self,
        _: &Actor,
        id: &DeviceId,
    ) -> std::result::Result<Option<Device>, Unavailable> {
        self.up().await?;
        Ok(self.devices.lock().get(id).cloned())
    }

    async fn scope(
        &self,
        _: &Actor,
        actor: &Actor,
        service: &ServiceName,
    ) -> std::result::Result<Scope, Unavailable> {
        self.up().await?;
        let none = Scope {
            in_scope: false,
            read_only: false,
        };
        let key = (actor.clone(), service.clone());
        Ok(self.scopes.lock().get(&key).copied().unwrap_or(none))
    }

    async fn current_epoch(&self) -> std::result::Result<u32, Unavailable> {
        self.up().await?;
        Ok(self.epoch.load(Ordering::SeqCst))
    }
}

/// A signer whose secret of an epoch follows from its number.
#[derive(Default)]
pub(crate) struct FakeSigner {
    pub(crate) is_down: AtomicBool,
    /// What was derived: owner and epoch.
    pub(crate) asked: Mutex<Vec<(Actor, u32)>>,
}

impl FakeSigner {
    pub(crate) fn secret(epoch: u32) -> MasterSecret {
        MasterSecret::from_bytes([u8::try_from(epoch).unwrap(); 32])
    }
}

#[async_trait]
impl Signer for FakeSigner {
    async fn derive(
        &self,
        operator: &Actor,
        actor: &Actor,
        epoch: u32,
    ) -> std::result::Result<Kek, Away> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Away::for_good("the signer", "told to be away"));
        }
        self.asked.lock().push((actor.clone(), epoch));
        Ok(derive_cred_kek(&Self::secret(epoch), operator, actor))
    }
}

/// Keys of a broker.
pub(crate) struct FakeKeys {
    pub(crate) known: Mutex<Option<Arc<VerifyKeys>>>,
    /// What the broker would answer if it were asked.
    pub(crate) published: Mutex<Option<Arc<VerifyKeys>>>,
}

impl FakeKeys {
    pub(crate) fn of(key: &PublicKey) -> Self {
        Self {
            known: Mutex::new(Some(Self::set(key))),
            published: Mutex::default(),
        }
    }

    pub(crate) fn set(key: &PublicKey) -> Arc<VerifyKeys> {
        Arc::new(VerifyKeys::from_keys([key.clone()]).unwrap())
    }
}

#[async_trait]
impl CapKeys for FakeKeys {
    async fn current(&self) -> std::result::Result<Arc<VerifyKeys>, Away> {
        let known = self.known.lock().clone();
        known.ok_or_else(|| Away::for_now("the broker's keys", "told to be away"))
    }

    async fn newer(&self, _: &Arc<VerifyKeys>) -> Option<Arc<VerifyKeys>> {
        self.published.lock().clone()
    }
}

/// An audit in memory.
#[derive(Default)]
pub(crate) struct FakeAudit {
    records: Mutex<Vec<Record>>,
    pub(crate) is_full: AtomicBool,
    /// Only [`Audit::ready`] tells.
    pub(crate) is_unready: AtomicBool,
}

impl FakeAudit {
    pub(crate) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.records.lock())
    }
}

#[async_trait]
impl Audit for FakeAudit {
    async fn write(&self, record: &Record) -> std::result::Result<(), Away> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Away::for_now("the audit", "told to be full"));
        }
        self.records.lock().push(record.clone());
        Ok(())
    }

    async fn ready(&self) -> std::result::Result<(), Away> {
        let away = self.is_full.load(Ordering::SeqCst) || self.is_unready.load(Ordering::SeqCst);
        if away {
            return Err(Away::for_now("the audit", "told to be full"));
        }
        Ok(())
    }
}

/// One bucket, shown to each actor as their keys would show it.
pub(crate) struct FakeBuckets {
    pub(crate) faulty: Arc<Faulty>,
    pub(crate) is_down: AtomicBool,
    /// For whom keys were made.
    pub(crate) opened: Mutex<Vec<Actor>>,
    /// How many of the next calls find their keys refused.
    pub(crate) refuse_keys: Arc<AtomicU32>,
    pub(crate) forgotten: AtomicU32,
    /// As a store that knows no `If-Match`.
    pub(crate) compares_nothing: Arc<AtomicBool>,
}

impl FakeBuckets {
    pub(crate) fn new(bucket: MemoryBucket) -> Self {
        Self {
            faulty: Arc::new(Faulty::new(Arc::new(bucket))),
            is_down: AtomicBool::new(false),
            opened: Mutex::default(),
            refuse_keys: Arc::default(),
            forgotten: AtomicU32::new(0),
            compares_nothing: Arc::default(),
        }
    }
}

#[async_trait]
impl Buckets for FakeBuckets {
    async fn of(&self, actor: &Actor, _: &str) -> std::result::Result<Arc<dyn Bucket>, Away> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Away::for_good("the broker", "told to be away"));
        }
        self.opened.lock().push(actor.clone());
        Ok(Arc::new(OfActor {
            inner: self.faulty.clone(),
            prefix: Place::prefix(actor),
            refuse: self.refuse_keys.clone(),
            compares_nothing: self.compares_nothing.clone(),
        }))
    }

    fn forget(&self, _: &Actor, _: &Arc<dyn Bucket>) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

/// A bucket of which one prefix can be used.
struct OfActor {
    inner: Arc<Faulty>,
    prefix: String,
    refuse: Arc<AtomicU32>,
    compares_nothing: Arc<AtomicBool>,
}

impl OfActor {
    fn allow(&self, key: &str) -> Result<()> {
        let left = self.refuse.load(Ordering::SeqCst);
        if left > 0 {
            self.refuse.store(left - 1, Ordering::SeqCst);
            return Err(Error::BadCredentials {
                reason: "ExpiredToken".into(),
                expired: true,
            });
        }
        if key.starts_with(&self.prefix) {
            return Ok(());
        }
        Err(Error::PermissionDenied {
            action: format!("use {key}"),
        })
    }
}

#[async_trait]
impl Bucket for OfActor {
    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.allow(key.as_str())?;
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.allow(key.as_str())?;
        self.inner.head(key).await
    }

    async fn put(&self, key: &Key, body: Body, mut options: PutOptions) -> Result<PutOutcome> {
        self.allow(key.as_str())?;
        if self.compares_nothing.load(Ordering::SeqCst) {
            options.condition = Condition::None;
        }
        self.inner.put(key, body, options).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<PutOutcome> {
        self.allow(from.as_str())?;
        self.allow(to.as_str())?;
        self.inner.copy(from, to, options).await
    }

    async fn delete(&self, key: &Key, condition: Condition) -> Result<()> {
        self.allow(key.as_str())?;
        self.inner.delete(key, condition).await
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<Vec<DeleteOutcome>> {
        for key in keys {
            self.allow(key.as_str())?;
        }
        self.inner.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage> {
        self.allow(&request.prefix)?;
        self.inner.list(request).await
    }
}

impl FakeKeys {
    /// The broker publishes this key from now on.
    pub(crate) fn publish(&self, key: &PublicKey) {
        *self.published.lock() = Some(Self::set(key));
    }

    /// What is published is all that is known.
    pub(crate) fn take_over(&self) {
        *self.known.lock() = self.published.lock().clone();
    }
}
