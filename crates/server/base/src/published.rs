//! The public keys of another server, from where it publishes them.

use std::sync::Arc;
use std::time::Duration;

use api::Timestamp;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use vault::VerifyKeys;

use crate::clock::Clock;

/// Keys older than this are asked for again: one that is not published any more ends to count
/// here after that.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// How long they count while their server cannot be asked.
const LASTING: Duration = Duration::from_secs(60 * 60);

/// Strangers send tokens of unknown keys; they make us ask no more often than this.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// An answer takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// No set of keys is longer.
const LONGEST: usize = 64 * 1024;

/// The keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys of {url} cannot be had: {reason}")]
pub struct KeysAway {
    url: String,
    reason: String,
}

/// The keys of a JSON Web Key Set at a URL that the operator has configured, kept for a while.
pub struct PublishedKeys {
    client: reqwest::Client,
    url: String,
    clock: Arc<dyn Clock>,
    known: RwLock<Option<Known>>,
    asked: Mutex<Option<Timestamp>>,
}

struct Known {
    keys: Arc<VerifyKeys>,
    since: Timestamp,
}

impl PublishedKeys {
    /// Of a URL, by this client.
    pub fn new(client: reqwest::Client, url: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            url: url.into(),
            clock,
            known: RwLock::new(None),
            asked: Mutex::new(None),
        }
    }

    /// The keys, asked for if none are known or if they are old.
    ///
    /// # Errors
    /// None are known, and they cannot be had.
    pub async fn current(&self) -> Result<Arc<VerifyKeys>, KeysAway> {
        if let Some(keys) = self.known(FRESH) {
            return Ok(keys);
        }
        let lasting = self.known(LASTING);
        // One asks; the others go on with what there is, or wait where there is nothing.
        let mut asked = match (&lasting, self.asked.try_lock()) {
            (_, Ok(asked)) => asked,
            (Some(keys), Err(_)) => return Ok(Arc::clone(keys)),
            (None, Err(_)) => self.asked.lock().await,
        };
        if let Some(keys) = self.known(FRESH) {
            return Ok(keys);
        }
        match (lasting, self.rested(*asked)) {
            (Some(keys), false) => Ok(keys),
            (None, false) => Err(self.away("they could not be had a moment ago")),
            (lasting, true) => {
                *asked = Some(self.clock.now());
                let answer = self.ask().await;
                match (answer, lasting) {
                    (Err(error), Some(keys)) => {
                        tracing::warn!(%error, "keys from before are used");
                        Ok(keys)
                    }
                    (answer, _) => answer,
                }
            }
        }
    }

    /// Keys that may know a token that those known do not: asked for now, unless that was a
    /// moment ago.
    pub async fn newer(&self) -> Option<Arc<VerifyKeys>> {
        let mut asked = self.asked.lock().await;
        if !self.rested(*asked) {
            return None;
        }
        *asked = Some(self.clock.now());
        self.ask().await.ok()
    }

    fn rested(&self, asked: Option<Timestamp>) -> bool {
        asked.is_none_or(|asked| self.clock.now() >= asked.plus(COOL_DOWN))
    }

    fn known(&self, age: Duration) -> Option<Arc<VerifyKeys>> {
        let known = self.known.read();
        let now = self.clock.now();
        let known = known.as_ref().filter(|known| now < known.since.plus(age))?;
        Some(Arc::clone(&known.keys))
    }

    async fn ask(&self) -> Result<Arc<VerifyKeys>, KeysAway> {
        let document = tokio::time::timeout(PATIENCE, self.document()).await;
        let document = document.map_err(|_| self.away("no answer in time"))??;
        let keys = VerifyKeys::parse(&document).map_err(|error| self.away(error))?;
        let keys = Arc::new(keys);
        *self.known.write() = Some(Known {
            keys: Arc::clone(&keys),
            since: self.clock.now(),
        });
        Ok(keys)
    }

    async fn document(&self) -> Result<String, KeysAway> {
        let answer = self.client.get(&self.url).send().await;
        let mut answer = answer.map_err(|error| self.away(innermost(&error)))?;
        if !answer.status().is_success() {
            return Err(self.away(format!("it answers {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(part) = answer
            .chunk()
            .await
            .map_err(|error| self.away(innermost(&error)))?
        {
            if body.len() + part.len() > LONGEST {
                return Err(self.away("its answer is too long"));
            }
            body.extend_from_slice(&part);
        }
        String::from_utf8(body).map_err(|_| self.away("its answer is no text"))
    }

    fn away(&self, reason: impl ToString) -> KeysAway {
        KeysAway {
            url: self.url.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The innermost cause says most.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
