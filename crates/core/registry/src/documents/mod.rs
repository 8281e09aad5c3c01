//! The registry as documents that operators have signed.
//!
//! Each operator keeps one list of devices and scopes, `<operator>.jws`; who runs the deployment
//! keeps the epoch, `epoch.jws`. They lie in a folder or behind an https address, and it does not
//! matter who can write there: a document counts only if the key that is pinned for its operator
//! has signed it, and only if it is not older than one that was seen before.
//!
//! What it cannot notice is a source that keeps a newer document back from a reader that never
//! saw it. A chain does not have that weakness.

mod claims;
mod entry;
pub mod folder;
mod pins;
mod seen;
mod signed;
mod source;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Actor, DeviceId, ServiceName};
use parking_lot::RwLock;

use crate::{Device, Registry, Scope, Unavailable};
use entry::Entry;

pub use claims::{DeviceEntry, EpochDocument, OperatorDocument, ScopeEntry};
pub use pins::Pins;
pub use signed::{DocumentError, EPOCH_TYPE, LONGEST_DOCUMENT, OPERATOR_TYPE, sign, verify};
pub use source::{EPOCH_FILE, Source, operator_file};

use pins::PinFile;
use seen::Seen;

/// Where documents are read from, and what is held against them.
#[derive(Debug, Clone)]
pub struct DocumentSettings {
    /// Where they lie.
    pub source: Source,
    /// The file of pinned keys, `operators.json`. Read again when it changes.
    pub pins: PathBuf,
    /// The file of versions that were seen; made when missing. Whoever deletes it takes the
    /// protection against older documents away.
    pub seen: PathBuf,
    /// For how long a document that was read is not looked at again, at most a second.
    pub fresh_for: Duration,
}

/// A document that changed counts within a second, the reading included.
pub const FRESH_FOR: Duration = Duration::from_millis(500);

/// A registry of signed documents.
pub struct DocumentRegistry {
    source: Source,
    pins: PinFile,
    seen: Seen,
    fresh_for: Duration,
    operators: RwLock<HashMap<Actor, Arc<Entry<OperatorDocument>>>>,
    epoch: Entry<EpochDocument>,
}

impl DocumentRegistry {
    /// A reader. Nothing is read yet but the keys and the versions that were seen.
    ///
    /// # Errors
    /// The file of keys or that of versions cannot be used.
    pub fn open(settings: DocumentSettings) -> Result<Self, Unavailable> {
        Ok(Self {
            source: settings.source,
            pins: PinFile::open(settings.pins)?,
            seen: Seen::open(settings.seen)?,
            fresh_for: settings.fresh_for.min(Duration::from_secs(1)),
            operators: RwLock::default(),
            epoch: Entry::default(),
        })
    }

    /// The operator's document. `None` where no key is pinned for the operator, or where there is
    /// none and never was: either way nothing is allowed.
    async fn operator(
        &self,
        operator: &Actor,
    ) -> Result<Option<Arc<OperatorDocument>>, Unavailable> {
        let pins = self.pins.current()?;
        let Some(pin) = pins.operator(operator) else {
            return Ok(None);
        };
        let entry = self.entry(operator);
        entry
            .current(self.fresh_for, pin, &self.source, &self.seen, operator)
            .await
    }

    fn entry(&self, operator: &Actor) -> Arc<Entry<OperatorDocument>> {
        if let Some(entry) = self.operators.read().get(operator) {
            return Arc::clone(entry);
        }
        let mut operators = self.operators.write();
        Arc::clone(operators.entry(operator.clone()).or_default())
    }
}

#[async_trait]
impl Registry for DocumentRegistry {
    async fn device(&self, operator: &Actor, id: &DeviceId) -> Result<Option<Device>, Unavailable> {
        let document = self.operator(operator).await?;
        Ok(document.and_then(|document| document.device(id)))
    }

    async fn scope(
        &self,
        operator: &Actor,
        actor: &Actor,
        service: &ServiceName,
    ) -> Result<Scope, Unavailable> {
        let document = self.operator(operator).await?;
        Ok(document.map_or(Scope::NONE, |document| document.scope(actor, service)))
    }

    async fn current_epoch(&self) -> Result<u32, Unavailable> {
        let pins = self.pins.current()?;
        let pin = pins.deployment();
        let current = self
            .epoch
            .current(self.fresh_for, pin, &self.source, &self.seen, &())
            .await?;
        current.map(|document| document.epoch).ok_or_else(|| {
            let source = &self.source;
            Unavailable(format!(
                "there is no {EPOCH_FILE} in {source}\nhint: whoever runs the deployment writes it"
            ))
        })
    }
}

#[cfg(test)]
mod tests;
