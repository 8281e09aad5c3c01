//! What may go wrong without being wrong: refusals that a request is made again for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use api::vault::{Reason, Refusal};
use parking_lot::Mutex;

use crate::Failure;

/// No answer came, or half of one.
const UNREACHABLE: &str = "unreachable";

/// Why a request had no good answer.
pub(crate) struct Trouble {
    /// The reason's word, or [`UNREACHABLE`]; none where no reason was given.
    pub(crate) word: Option<&'static str>,
    pub(crate) text: String,
}

impl Trouble {
    /// Nobody answered.
    pub(crate) fn unreachable(url: &str, error: &reqwest::Error) -> Self {
        Self {
            word: Some(UNREACHABLE),
            text: format!("{url}: {error:?}"),
        }
    }

    /// Somebody refused.
    pub(crate) fn refused(url: &str, status: reqwest::StatusCode, body: &[u8]) -> Self {
        let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
        Self {
            // With the status that goes with it, or it is no such refusal.
            word: refusal
                .map(|refusal| refusal.reason)
                .filter(|reason| reason.status() == status.as_u16())
                .map(Reason::as_str),
            text: format!("{url}: {status}: {}", String::from_utf8_lossy(body)),
        }
    }

    /// Anything else.
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self {
            word: None,
            text: text.into(),
        }
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::other(error.to_string())
    }
}

/// Which requests are made again, and how many were.
pub(crate) struct Retries {
    words: BTreeSet<String>,
    pub(crate) patience: Duration,
    seen: Mutex<Seen>,
}

struct Seen {
    counts: BTreeMap<&'static str, u64>,
    last: Instant,
}

impl Retries {
    /// For these reasons.
    pub(crate) fn new(words: &[String], patience: Duration) -> Result<Self, Failure> {
        let known = |word: &String| {
            word == UNREACHABLE || Reason::ALL.iter().any(|reason| reason.as_str() == word)
        };
        if let Some(unknown) = words.iter().find(|word| !known(word)) {
            return Err(format!("{unknown} is no reason of a worker's").into());
        }
        Ok(Self {
            words: words.iter().cloned().collect(),
            patience,
            seen: Mutex::new(Seen {
                counts: BTreeMap::new(),
                last: Instant::now(),
            }),
        })
    }

    /// Counts the trouble where the request is made again for it.
    pub(crate) fn take(&self, trouble: &Trouble) -> bool {
        let Some(word) = trouble.word.filter(|word| self.words.contains(*word)) else {
            return false;
        };
        let mut seen = self.seen.lock();
        *seen.counts.entry(word).or_default() += 1;
        seen.last = Instant::now();
        true
    }

    /// How many, by reason.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.seen.lock().counts.clone()
    }

    /// For how long there was none.
    pub(crate) fn quiet(&self) -> Duration {
        self.seen.lock().last.elapsed()
    }
}
