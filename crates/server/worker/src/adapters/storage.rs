//! The bucket as one actor: a web identity from the broker, storage keys from the store's STS for
//! it, and a client with these keys. The worker has no key of its own at the store.

mod sts;
mod web_identity;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bucket::Bucket;
use bucket::s3::{Config, S3Bucket, StaticKeys};
use model::Actor;
use parking_lot::Mutex;

pub use sts::{Sts, StsSettings};
pub use web_identity::WebIdentities;

use crate::ports::{Away, Buckets};

/// Storage keys are not used for the last minute that they count.
const EARLY: Duration = Duration::from_secs(60);

/// Actors whose keys are kept. One that was used least lately goes for another.
const ACTORS: usize = 1_024;

/// Buckets by actor, each with storage keys that open this actor's prefix and no other.
pub struct ActorBuckets {
    identities: WebIdentities,
    sts: Sts,
    /// Settings without keys.
    config: Config,
    actors: Mutex<Actors>,
}

#[derive(Default)]
struct Actors {
    slots: HashMap<Actor, Arc<Slot>>,
    uses: u64,
}

/// One actor's.
#[derive(Default)]
struct Slot {
    open: Mutex<Option<Open>>,
    /// Held while keys are asked for, so that a hundred requests ask once.
    asking: tokio::sync::Mutex<()>,
    used: Mutex<u64>,
}

struct Open {
    bucket: Arc<dyn Bucket>,
    until: SystemTime,
}

impl ActorBuckets {
    /// `config` says where the bucket is; its keys are never used.
    pub fn new(identities: WebIdentities, sts: Sts, config: Config) -> Self {
        Self {
            identities,
            sts,
            config,
            actors: Mutex::default(),
        }
    }

    fn slot(&self, actor: &Actor) -> Arc<Slot> {
        let mut actors = self.actors.lock();
        actors.uses += 1;
        let now = actors.uses;
        if let Some(slot) = actors.slots.get(actor) {
            *slot.used.lock() = now;
            return Arc::clone(slot);
        }
        if actors.slots.len() >= ACTORS {
            let oldest = actors
                .slots
                .iter()
                .min_by_key(|(_, slot)| *slot.used.lock());
            if let Some(oldest) = oldest.map(|(actor, _)| actor.clone()) {
                actors.slots.remove(&oldest);
            }
        }
        let slot = Arc::new(Slot {
            used: Mutex::new(now),
            ..Slot::default()
        });
        actors.slots.insert(actor.clone(), Arc::clone(&slot));
        slot
    }

    async fn open(&self, actor: &Actor, cap: &str) -> Result<Open, Away> {
        let token = self.identities.for_cap(cap).await?;
        let keys = self.sts.assume(actor, &token).await?;
        let now = SystemTime::now();
        // Without an end they are good for this request and a few after it.
        let end = keys.expires.unwrap_or(now + 2 * EARLY);
        let config = Config {
            keys: Arc::new(StaticKeys::new(keys)),
            ..self.config.clone()
        };
        let bucket = S3Bucket::new(config);
        let bucket = bucket.map_err(|error| Away::for_good("the bucket", error.to_string()))?;
        Ok(Open {
            bucket: Arc::new(bucket),
            until: end - EARLY,
        })
    }
}

impl Slot {
    fn bucket(&self) -> Option<Arc<dyn Bucket>> {
        let open = self.open.lock();
        let open = open
            .as_ref()
            .filter(|open| SystemTime::now() < open.until)?;
        Some(Arc::clone(&open.bucket))
    }
}

#[async_trait]
impl Buckets for ActorBuckets {
    async fn of(&self, actor: &Actor, cap: &str) -> Result<Arc<dyn Bucket>, Away> {
        let slot = self.slot(actor);
        if let Some(bucket) = slot.bucket() {
            return Ok(bucket);
        }
        let _asking = slot.asking.lock().await;
        if let Some(bucket) = slot.bucket() {
            return Ok(bucket);
        }
        let open = self.open(actor, cap).await?;
        let bucket = Arc::clone(&open.bucket);
        *slot.open.lock() = Some(open);
        Ok(bucket)
    }

    fn forget(&self, actor: &Actor, refused: &Arc<dyn Bucket>) {
        let slot = self.slot(actor);
        let mut open = slot.open.lock();
        if open
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(&open.bucket, refused))
        {
            *open = None;
        }
    }
}
