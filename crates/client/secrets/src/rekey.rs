//! Every envelope of an older epoch sealed anew under the present one.
//!
//! One conditional write each: until it, the old envelope is there and opens, after it the new
//! one. Whoever is killed and run again goes on where it ended, because what is left to do is
//! seen from the envelopes themselves. Somebody who stores meanwhile wins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::vault::Reason;
use futures::StreamExt;
use model::ServiceName;
use tokio::sync::Mutex;
use vault::{Kek, Place};

use crate::backend::s3::{S3Store, place};
use crate::error::{Kind, Result, SecretError};
use crate::login::Login;
use crate::seen::{following, refuse_older};
use crate::signer::OwnKek;
use crate::value::SecretValue;

/// Services that are worked on at one time.
const AT_ONE_TIME: usize = 8;
/// So many generations are remembered with one write.
const WRITTEN_AT_ONCE: usize = 256;

/// What has come of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Envelopes that were looked at.
    pub looked_at: u64,
    /// Sealed anew.
    pub rekeyed: u64,
    /// Of the present epoch already.
    pub current: u64,
    /// Changed or deleted by somebody else meanwhile, and good as they are.
    pub overtaken: u64,
    /// Could not be opened or written, and are as they were.
    pub failed: u64,
}

/// What is told of one service.
pub struct Step<'a> {
    /// How many there are in all.
    pub all: usize,
    /// The counts so far.
    pub counts: Counts,
    /// The service that failed, and why.
    pub failure: Option<(&'a ServiceName, &'a SecretError)>,
}

enum Outcome {
    /// As this generation.
    Rekeyed(u64),
    Current,
    Overtaken,
}

/// Which envelopes are sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those of an older epoch, in whatever version that the policy still opens.
    OlderEpochs,
    /// Those of versions 0x01 and 0x02 alone.
    OlderVersions,
}

/// Seals the login's envelopes anew that are of the kind, several at one time.
///
/// # Errors
/// What stops all of it: no login, no signer, no listing. What stops one service is counted and
/// told, and the others go on.
pub async fn run(store: &S3Store, which: Which, mut tell: impl FnMut(Step<'_>)) -> Result<Counts> {
    let login = store.login().await?;
    let current = store.kek(&login, None).await?;
    let objects = store.objects(&login.actor).await?.into_iter();
    let services: Vec<ServiceName> = objects
        .filter_map(|object| Place::service_of(&login.actor, object.key.as_str()))
        .collect();
    let work = Work {
        store,
        login: &login,
        which,
        current: &current,
        older: Mutex::default(),
        seen: store.seen().all(&login.actor)?,
    };
    let mut counts = Counts::default();
    let mut written: Vec<(ServiceName, u64)> = Vec::new();
    let mut ended = Ok(());
    let running = futures::stream::iter(&services)
        .map(|service| one_of(&work, service))
        .buffer_unordered(AT_ONE_TIME);
    let mut running = std::pin::pin!(running);
    while let Some((service, done)) = running.next().await {
        counts.looked_at += 1;
        let mut failure = None;
        match &done {
            Ok(Outcome::Rekeyed(generation)) => {
                counts.rekeyed += 1;
                written.push((service.clone(), *generation));
            }
            Ok(Outcome::Current) => counts.current += 1,
            Ok(Outcome::Overtaken) => counts.overtaken += 1,
            // Nothing else would fare better.
            Err(error) if matches!(error.kind, Kind::Login | Kind::Temporary) => {
                ended = Err(SecretError {
                    message: format!("{} ({} rekeyed so far)", error.message, counts.rekeyed),
                    ..error.clone()
                });
                break;
            }
            Err(error) => {
                counts.failed += 1;
                failure = Some((service, error));
            }
        }
        tell(Step {
            all: services.len(),
            counts,
            failure,
        });
        if written.len() >= WRITTEN_AT_ONCE {
            store.seen().note_all(&login.actor, &written)?;
            written.clear();
        }
    }
    store.seen().note_all(&login.actor, &written)?;
    ended.map(|()| counts)
}

/// What all services have in common.
struct Work<'a> {
    store: &'a S3Store,
    login: &'a Login,
    which: Which,
    current: &'a OwnKek,
    /// The keys of older epochs, each derived once.
    older: Mutex<HashMap<u32, Arc<Kek>>>,
    seen: BTreeMap<ServiceName, u64>,
}

async fn one_of<'s>(
    work: &Work<'_>,
    service: &'s ServiceName,
) -> (&'s ServiceName, Result<Outcome>) {
    (service, work.one(service).await)
}

impl Work<'_> {
    async fn one(&self, service: &ServiceName) -> Result<Outcome> {
        let place = place(self.login, service);
        let Some(found) = self.store.find(&place).await? else {
            return Ok(Outcome::Overtaken);
        };
        let is_present_form = found.header.version == vault::envelope::VERSION;
        let is_of_now = found.header.epoch >= self.current.epoch;
        if is_present_form && (is_of_now || self.which == Which::OlderVersions) {
            return Ok(Outcome::Current);
        }
        let seen = self.seen.get(service).copied();
        refuse_older(seen, service, found.header.generation)?;
        let value = if is_present_form {
            let kek = self.older(found.header.epoch).await?;
            SecretValue::opened(&vault::open(&kek, &place, &found.bytes)?)
        } else {
            self.store.unseal(self.login, &place, &found).await?
        };
        let generation = following(service, found.header.generation, seen)?;
        let OwnKek { kek, epoch, .. } = self.current;
        let sealed = vault::seal(kek, &place, *epoch, generation, value.expose())?;
        match self.store.put(&place, sealed, Some(&found.etag)).await {
            Ok(()) => Ok(Outcome::Rekeyed(generation)),
            Err(error) if error.reason == Some(Reason::GenerationMismatch) => {
                Ok(Outcome::Overtaken)
            }
            // Deleted between the look and the write.
            Err(error) if error.kind == Kind::NotFound => Ok(Outcome::Overtaken),
            Err(error) => Err(error),
        }
    }

    async fn older(&self, epoch: u32) -> Result<Arc<Kek>> {
        let mut known = self.older.lock().await;
        if let Some(kek) = known.get(&epoch) {
            return Ok(kek.clone());
        }
        let kek = Arc::new(self.store.kek(self.login, Some(epoch)).await?.kek);
        known.insert(epoch, kek.clone());
        Ok(kek)
    }
}

/// The services whose envelopes are of versions 0x01 and 0x02, with the version.
///
/// # Errors
/// No login, no listing, an envelope that is none.
pub async fn older_versions(store: &S3Store) -> Result<Vec<(ServiceName, u8)>> {
    let login = store.login().await?;
    let mut found = Vec::new();
    for object in store.objects(&login.actor).await? {
        let Some(service) = Place::service_of(&login.actor, object.key.as_str()) else {
            continue;
        };
        let envelope = store.find(&place(&login, &service)).await?;
        let version = envelope.map(|envelope| envelope.header.version);
        if let Some(version @ (0x01 | 0x02)) = version {
            found.push((service, version));
        }
    }
    Ok(found)
}
