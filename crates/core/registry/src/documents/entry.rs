//! One document as it is known now, read again when it is no longer fresh.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::PublicKey;

use super::pins::Pin;
use super::seen::Seen;
use super::signed::{DocumentError, verify};
use super::source::{Fetched, Fresh, Source};
use crate::Unavailable;

/// A kind of document.
pub(super) trait Document: Serialize + DeserializeOwned + Send + Sync {
    /// Whose it is.
    type Owner: Sync;
    /// Its JWS type.
    const TYPE: &'static str;

    /// The name of its file.
    fn file(owner: &Self::Owner) -> String;

    /// Its version.
    fn version(&self) -> u64;

    /// What its form does not say.
    ///
    /// # Errors
    /// Why it is no good.
    fn check(&self, owner: &Self::Owner) -> Result<(), DocumentError>;
}

/// A failure is remembered for a moment, so that a crowd of callers does not ask a dead source
/// one after the other.
const FAILURE_COUNTS_FOR: Duration = Duration::from_millis(250);

pub(super) struct Entry<D> {
    known: RwLock<Option<Known<D>>>,
    /// One reads, the others wait for what it finds.
    reading: tokio::sync::Mutex<Option<Last<D>>>,
}

/// What callers are answered.
struct Known<D> {
    /// When the reading began.
    at: Instant,
    key: PublicKey,
    answer: Result<Option<Arc<D>>, Unavailable>,
}

/// The last good document, so that one that did not change is not verified again.
struct Last<D> {
    fresh: Fresh,
    key: PublicKey,
    document: Arc<D>,
}

impl<D> Default for Entry<D> {
    fn default() -> Self {
        Self {
            known: RwLock::new(None),
            reading: tokio::sync::Mutex::new(None),
        }
    }
}

impl<D: Document> Entry<D> {
    /// The document; `None` where there is none, never was and none is asked for.
    pub(super) async fn current(
        &self,
        fresh_for: Duration,
        pin: &Pin,
        source: &Source,
        seen: &Seen,
        owner: &D::Owner,
    ) -> Result<Option<Arc<D>>, Unavailable> {
        let document = self.known(fresh_for, pin, source, seen, owner).await?;
        let version = document.as_ref().map_or(0, |document| document.version());
        if version >= pin.min_version {
            return Ok(document);
        }
        let file = D::file(owner);
        Err(Unavailable(format!(
            "{file} in {source}: it is version {version}, and operators.json asks for {} at least: \
             an older document was put back\nhint: publish the newest one again",
            pin.min_version
        )))
    }

    async fn known(
        &self,
        fresh_for: Duration,
        pin: &Pin,
        source: &Source,
        seen: &Seen,
        owner: &D::Owner,
    ) -> Result<Option<Arc<D>>, Unavailable> {
        if let Some(answer) = self.fresh(fresh_for, &pin.key) {
            return answer;
        }
        let mut last = self.reading.lock().await;
        if let Some(answer) = self.fresh(fresh_for, &pin.key) {
            return answer;
        }
        let at = Instant::now();
        let answer = read(&mut last, pin, source, seen, owner).await;
        if let Err(Unavailable(reason)) = &answer {
            tracing::debug!("the registry's documents: {reason}");
        }
        *self.known.write() = Some(Known {
            // A failure counts from now: whoever waited for it is answered by it.
            at: if answer.is_ok() { at } else { Instant::now() },
            key: pin.key.clone(),
            answer: answer.clone(),
        });
        answer
    }

    fn fresh(
        &self,
        fresh_for: Duration,
        key: &PublicKey,
    ) -> Option<Result<Option<Arc<D>>, Unavailable>> {
        let known = self.known.read();
        let known = known.as_ref().filter(|known| known.key == *key)?;
        let counts_for = match known.answer {
            Ok(_) => fresh_for,
            Err(_) => fresh_for.min(FAILURE_COUNTS_FOR),
        };
        (known.at.elapsed() < counts_for).then(|| known.answer.clone())
    }
}

async fn read<D: Document>(
    last: &mut Option<Last<D>>,
    pin: &Pin,
    source: &Source,
    seen: &Seen,
    owner: &D::Owner,
) -> Result<Option<Arc<D>>, Unavailable> {
    let file = D::file(owner);
    let known = last.as_ref().filter(|last| last.key == pin.key);
    let fetched = source.fetch(&file, known.map(|last| &last.fresh)).await?;
    let fresh = match (fetched, known) {
        (Fetched::Unchanged, Some(known)) => return Ok(Some(Arc::clone(&known.document))),
        (Fetched::Unchanged, None) => {
            return Err(Unavailable(format!(
                "{source} says that {file} did not change since never"
            )));
        }
        (Fetched::Missing, _) => {
            *last = None;
            return seen.nothing(&file, source).map(|()| None);
        }
        (Fetched::Found(fresh), _) => fresh,
    };
    let bad = |error: DocumentError| Unavailable(format!("{file} in {source}: {error}"));
    let document: D = verify(fresh.bytes(), D::TYPE, &pin.keys).map_err(bad)?;
    if document.version() == 0 {
        return Err(bad(DocumentError::Form("its version is 0".into())));
    }
    document.check(owner).map_err(bad)?;
    seen.record(&file, document.version(), fresh.bytes())
        .await
        .map_err(|reason| Unavailable(format!("{file} in {source}: {reason}")))?;
    let document = Arc::new(document);
    *last = Some(Last {
        fresh,
        key: pin.key.clone(),
        document: Arc::clone(&document),
    });
    Ok(Some(document))
}
