//! What every endpoint and the background work share.

use std::sync::Arc;

use api::Timestamp;
use base::{Clock, Failure, Random};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::auth::{Issuers, SigningKey};
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::provision::Supply;
use crate::settings::Settings;
use crate::store::Store;

/// What an orchestrator is put together from.
pub struct Parts {
    /// How it shall behave.
    pub settings: Settings,
    /// What it remembers.
    pub store: Arc<dyn Store>,
    /// What makes buckets and keys; `None` for bring-your-own tenants only.
    pub supply: Option<Supply>,
    /// What signs sessions and tickets.
    pub key: SigningKey,
    /// Where people come from.
    pub issuers: Issuers,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub random: Arc<dyn Random>,
    /// Ends the streams of events when the server stops.
    pub stop: CancellationToken,
}

/// An orchestrator.
pub struct App {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) supply: Option<Supply>,
    pub(crate) key: SigningKey,
    pub(crate) issuers: Issuers,
    pub(crate) limits: Limits,
    pub(crate) hub: Hub,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl App {
    /// Puts one together.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            limits: Limits::new(&parts.settings),
            hub: Hub::default(),
            metrics: Metrics::new(),
            stop: parts.stop,
            settings: parts.settings,
            store: parts.store,
            supply: parts.supply,
            key: parts.key,
            issuers: parts.issuers,
            clock: parts.clock,
            random: parts.random,
        })
    }

    /// What it remembers.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How many streams of events there are.
    #[cfg(feature = "testing")]
    pub fn streams(&self) -> usize {
        self.hub.streams()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A UUID of version 7, for now.
    pub(crate) fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        let millis = u64::try_from(self.now().micros() / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// A text of 256 random bits, which nobody guesses.
    pub(crate) fn new_secret(&self) -> secrecy::SecretString {
        let mut random = [0; 32];
        self.random.fill(&mut random);
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(random).into()
    }

    pub(crate) fn fill_random(&self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    /// The store of this server, for a request that needs it.
    pub(crate) fn supply(&self) -> Result<&Supply, Failure> {
        self.supply.as_ref().ok_or_else(|| {
            Failure::conflict(
                "this server makes no buckets and no keys\nhint: bring your own: --backend byo",
            )
        })
    }
}
