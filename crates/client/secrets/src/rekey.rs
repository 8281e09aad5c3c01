//! Every envelope of an older epoch sealed anew under the present one.
//!
//! One conditional write each: until it, the old envelope is there and opens, after it the new
//! one. Whoever is killed and run again goes on where it ended, because what is left to do is
//! seen from the envelopes themselves. Somebody who stores meanwhile wins.

use api::vault::Reason;
use model::ServiceName;
use vault::{Kek, Place};

use crate::backend::s3::{S3Store, place};
use crate::error::{Kind, Result, SecretError};
use crate::login::Login;

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
    Rekeyed,
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

/// Seals the login's envelopes anew that are of the kind.
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
    let mut counts = Counts::default();
    // The keys of older epochs, each derived once.
    let mut older: Vec<(u32, Kek)> = Vec::new();
    for service in &services {
        let new = (current.epoch, &current.kek);
        let done = one(store, &login, (service, which), new, &mut older).await;
        counts.looked_at += 1;
        let mut failure = None;
        match &done {
            Ok(Outcome::Rekeyed) => counts.rekeyed += 1,
            Ok(Outcome::Current) => counts.current += 1,
            Ok(Outcome::Overtaken) => counts.overtaken += 1,
            // Nothing else would fare better.
            Err(error) if matches!(error.kind, Kind::Login | Kind::Temporary) => {
                return Err(SecretError {
                    message: format!("{} ({} rekeyed so far)", error.message, counts.rekeyed),
                    ..error.clone()
                });
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
    }
    Ok(counts)
}

async fn one(
    store: &S3Store,
    login: &Login,
    (service, which): (&ServiceName, Which),
    (epoch, kek): (u32, &Kek),
    older: &mut Vec<(u32, Kek)>,
) -> Result<Outcome> {
    let place = place(login, service);
    let Some(found) = store.find(&place).await? else {
        return Ok(Outcome::Overtaken);
    };
    let is_present_form = found.header.version == vault::envelope::VERSION;
    let is_done = found.header.epoch >= epoch || which == Which::OlderVersions;
    if is_present_form && is_done {
        return Ok(Outcome::Current);
    }
    store
        .seen()
        .check(&login.actor, service, found.header.generation)?;
    let value = if is_present_form {
        let known = older.iter().position(|(of, _)| *of == found.header.epoch);
        let at = match known {
            Some(at) => at,
            None => {
                let derived = store.kek(login, Some(found.header.epoch)).await?;
                older.push((derived.epoch, derived.kek));
                older.len() - 1
            }
        };
        let opened = vault::open(&older[at].1, &place, &found.bytes)?;
        crate::SecretValue::opened(&opened)
    } else {
        store.unseal(login, &place, &found).await?
    };
    let generation = found.header.generation + 1;
    let sealed = vault::seal(kek, &place, epoch, generation, value.expose())?;
    match store.put(&place, sealed, Some(&found.etag)).await {
        Ok(()) => {
            store.seen().note(&login.actor, service, generation)?;
            Ok(Outcome::Rekeyed)
        }
        Err(error) if error.reason == Some(Reason::GenerationMismatch) => Ok(Outcome::Overtaken),
        // Deleted between the look and the write.
        Err(error) if error.kind == Kind::NotFound => Ok(Outcome::Overtaken),
        Err(error) => Err(error),
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
