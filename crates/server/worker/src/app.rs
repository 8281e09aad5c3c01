//! Everything that requests share.

use std::sync::Arc;
use std::time::Duration;

use api::vault::Reason;
use base::Clock;
use base::limits::Shares;
use bucket::Etag;
use parking_lot::Mutex;
use registry::Registry;
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};
use vault::{Place, ReplayCache};

use crate::audit::Record;
use crate::checks::Verified;
use crate::ports::{Audit, Buckets, CapKeys, Signer};
use crate::recent::Recent;
use crate::strangers::Strangers;

/// How the worker is set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL that clients call, without a path's end: what proofs are made for.
    pub public_url: String,
    /// The broker, as its capabilities name it.
    pub issuer: String,
    /// Proofs that were made before this second are refused, because a worker that was started
    /// anew does not know which of them were used. `None` where each process lives for a few
    /// requests, and would refuse the one that it was started for.
    pub oldest_proof: Option<i64>,
    /// How many proofs are remembered, for a minute each; one device has a sixteenth of it, one
    /// operator a quarter.
    pub proofs: usize,
    /// How many requests are carried out at once; others wait.
    pub at_once: usize,
    /// How long a request waits for its turn, or for room.
    pub patience: Duration,
    /// How many bytes the bodies of all requests may have that are here at once; one client has
    /// a quarter of it.
    pub body_room: u32,
    /// How long a body may take to come.
    pub arrival: Duration,
    /// How long a client may send nothing of a body that it has not sent whole.
    pub silence: Duration,
    /// How many refusals of callers without a verified capability are recorded one by one in a
    /// minute. Of more, their number is: a stranger fills no disk.
    pub stranger_records: u32,
}

/// Why the settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// What clients call has no scheme, or what proofs are not made for.
    #[error(
        "{0} is not a URL that clients can make proofs for\nhint: https://HOST[:PORT][/PATH], or http:// on this machine, without a query and without '/' at its end"
    )]
    PublicUrl(String),
    /// Nothing would be let in.
    #[error("{0} must be more than 0")]
    Nothing(&'static str),
}

impl Settings {
    /// With what suits a server on a small machine.
    pub fn new(public_url: impl Into<String>, issuer: impl Into<String>) -> Self {
        Self {
            public_url: public_url.into(),
            issuer: issuer.into(),
            oldest_proof: None,
            proofs: 1 << 19,
            at_once: 64,
            patience: Duration::from_secs(20),
            body_room: 48 << 20,
            arrival: Duration::from_secs(10),
            silence: Duration::from_secs(4),
            stranger_records: 60,
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        let url = &self.public_url;
        let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
        let odd = |rest: &str| {
            rest.is_empty()
                || rest.ends_with('/')
                || rest.contains(['?', '#', '@', ' '])
                || rest.chars().any(char::is_control)
        };
        if rest.is_none_or(odd) {
            return Err(SettingsError::PublicUrl(url.clone()));
        }
        for (what, number) in [
            ("the number of requests at once", self.at_once),
            ("the room for proofs", self.proofs),
        ] {
            if number == 0 {
                return Err(SettingsError::Nothing(what));
            }
        }
        if (self.body_room as usize) < crate::intake::LONGEST {
            return Err(SettingsError::Nothing(
                "the room for bodies, beyond the longest one,",
            ));
        }
        Ok(())
    }
}

/// What a worker is made of.
pub struct Parts {
    /// How it is set.
    pub settings: Settings,
    /// Who may do what.
    pub registry: Arc<dyn Registry>,
    /// Derives keys.
    pub signer: Arc<dyn Signer>,
    /// Gives buckets.
    pub buckets: Arc<dyn Buckets>,
    /// Gives the broker's public keys.
    pub cap_keys: Arc<dyn CapKeys>,
    /// Keeps what happened.
    pub audit: Arc<dyn Audit>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// A worker.
pub struct App {
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) buckets: Arc<dyn Buckets>,
    pub(crate) cap_keys: Arc<dyn CapKeys>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) proofs: ReplayCache,
    pub(crate) verified: Verified,
    pub(crate) seen: Seen,
    /// Whether the bucket refuses a write whose condition fails, once that is known.
    pub(crate) bucket_compares: OnceCell<bool>,
    /// Bytes of bodies that may be here.
    pub(crate) room: Arc<Semaphore>,
    /// Of these, those of one client.
    pub(crate) peers: Arc<Shares>,
    pub(crate) strangers: Strangers,
    /// Requests that may be carried out at once.
    pub(crate) places: Semaphore,
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(parts: Parts) -> Result<Arc<Self>, SettingsError> {
        parts.settings.check()?;
        Ok(Arc::new(Self {
            proofs: ReplayCache::new(parts.settings.proofs),
            verified: Verified::new(),
            seen: Seen::new(),
            bucket_compares: OnceCell::new(),
            room: Arc::new(Semaphore::new(parts.settings.body_room as usize)),
            peers: Shares::new(share_of(parts.settings.body_room)),
            strangers: Strangers::new(parts.settings.stranger_records),
            places: Semaphore::new(parts.settings.at_once),
            settings: parts.settings,
            registry: parts.registry,
            signer: parts.signer,
            buckets: parts.buckets,
            cap_keys: parts.cap_keys,
            audit: parts.audit,
            clock: parts.clock,
        }))
    }

    /// Tells the audit how many strangers' refusals it was not told one by one, once their minute
    /// is over; at the worker's end (`is_end`) also of the minute under way. Whoever runs a worker
    /// calls this every second or so; requests do it, too.
    pub async fn settle(&self, is_end: bool) {
        let at = self.clock.now();
        let Some(omitted) = self.strangers.due(at, is_end) else {
            return;
        };
        let record = Record {
            at,
            omitted: Some(omitted.clone()),
            outcome: Err(Reason::RateLimited),
            note: Some("refused without a verified capability, beyond what is recorded one by one"),
            ..Record::of("strangers")
        };
        if let Err(away) = self.audit.write(&record).await {
            tracing::warn!(error = %away, "the number of strangers is told later");
            self.strangers.keep(omitted);
        }
    }

    /// Seconds since 1970 (UTC).
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// What a client calls to reach this path.
    pub(crate) fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.settings.public_url)
    }
}

/// A quarter, and in any case one body.
fn share_of(room: u32) -> usize {
    (room as usize / 4).max(crate::intake::LONGEST)
}

/// The highest generation that was seen of each credential, and the object that held it, as far
/// as there is room. Losing one costs the notice of a rollback, which the caller can still give by
/// what it has seen, and one look into the bucket.
pub(crate) struct Seen(Mutex<Recent<[u8; 16], Newest>>);

/// The newest envelope of a credential that this worker read or wrote.
#[derive(Clone)]
pub(crate) struct Newest {
    pub(crate) generation: u64,
    pub(crate) etag: Option<Etag>,
}

impl Newest {
    /// A store's longer ETag is not kept: it names its own text.
    pub(crate) fn new(generation: u64, etag: Etag) -> Self {
        let etag = (etag.as_str().len() <= LONGEST_ETAG).then_some(etag);
        Self { generation, etag }
    }
}

/// An MD5 in hexadecimal digits, of a multipart upload at most, has 40.
const LONGEST_ETAG: usize = 128;
/// Some 8 MiB.
const CREDENTIALS: usize = 1 << 16;

impl Seen {
    fn new() -> Self {
        Self(Mutex::new(Recent::new(CREDENTIALS)))
    }

    /// 0 if none was.
    pub(crate) fn highest(&self, place: &Place<'_>) -> u64 {
        self.newest(place).map_or(0, |newest| newest.generation)
    }

    pub(crate) fn newest(&self, place: &Place<'_>) -> Option<Newest> {
        self.0.lock().get(&number(place)).cloned()
    }

    pub(crate) fn note(&self, place: &Place<'_>, newest: Newest) {
        let mut seen = self.0.lock();
        let number = number(place);
        let known = seen.get(&number).map_or(0, |known| known.generation);
        if newest.generation >= known {
            seen.put(number, newest);
        }
    }
}

fn number(place: &Place<'_>) -> [u8; 16] {
    let digest = Sha256::digest(place.object_key());
    let mut number = [0; 16];
    number.copy_from_slice(&digest[..16]);
    number
}
