//! The signer's state, and what both doors share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base::audit::AuditFile;
use base::limits::{KeyedLimit, Limit};
use base::{Clock, Failure};
use bytes::Bytes;
use parking_lot::RwLock;
use serde::Serialize;
use vault::ReplayCache;
use zeroize::Zeroizing;

use crate::file::{self, FileError};
use crate::message::LoginPlace;
use crate::record::Record;
use crate::seal::Seal;
use crate::secrets::Epochs;
use crate::sessions::Sessions;

/// The bodies of requests are small: two actors and a number, or a message.
pub(crate) const LONGEST_BODY: usize = 8 * 1024;

/// No answer is longer.
const LONGEST_ANSWER: usize = 1024;

/// Refusals in a minute of those whom nobody knows that are written into the audit; more would
/// let strangers fill the disk.
const STRANGERS: u32 = 300;

/// How often something may be asked in a minute.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Keys of credentials, by each worker.
    pub derive: u32,
    /// Keys of one's own, by each person.
    pub own: u32,
    /// Signatures, by each person.
    pub sign: u32,
    /// Requests outside, by each address, whoever it is.
    pub address: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            derive: 120_000,
            own: 120,
            sign: 60,
            address: 600,
        }
    }
}

/// What a signer is made of.
pub struct Parts {
    /// The file of master secrets.
    pub path: PathBuf,
    /// How it is opened again when it has grown.
    pub seal: Box<dyn Seal>,
    /// What it held when it was opened.
    pub epochs: Epochs,
    /// Where requests are recorded.
    pub audit: AuditFile,
    /// Whose sessions count outside.
    pub sessions: Sessions,
    /// Where people reach the signer: what their devices' proofs name. No slash at its end.
    pub public_url: String,
    /// Whether people get the keys of their own credentials, and signatures under the messages of
    /// older envelopes. Whoever has the broker's signing key can be anybody, so with this they
    /// open the credentials of every operator (not of agents).
    pub own_keys: bool,
    /// Where wallets may log in.
    pub login_places: Vec<LoginPlace>,
    /// How often something may be asked.
    pub rates: Rates,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The file's secrets are not taken up; those from before stay in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// Epochs are missing in it, or are others.
    #[error(
        "the file does not hold the epochs that are in use\nhint: is it an older copy, or another signer's?"
    )]
    Other,
}

/// The signer.
pub struct Signer {
    parts: Fixed,
    epochs: RwLock<Arc<Epochs>>,
    pub(crate) limits: Limits,
    strangers: Limit,
    omitted: AtomicU64,
    pub(crate) proofs: ReplayCache,
    /// Proofs from before this second are refused: whether they were used is not known.
    pub(crate) started: i64,
}

struct Fixed {
    path: PathBuf,
    seal: Box<dyn Seal>,
    audit: AuditFile,
    sessions: Sessions,
    login_places: Vec<LoginPlace>,
    public_url: String,
    own_keys: bool,
    clock: Arc<dyn Clock>,
}

pub(crate) struct Limits {
    /// By certificate.
    pub(crate) derive: KeyedLimit<String>,
    /// By actor.
    pub(crate) own: KeyedLimit<String>,
    /// By actor.
    pub(crate) sign: KeyedLimit<String>,
    /// By address.
    pub(crate) address: KeyedLimit<String>,
}

impl Signer {
    /// Of these parts.
    pub fn new(parts: Parts) -> Arc<Self> {
        let rates = parts.rates;
        Arc::new(Self {
            epochs: RwLock::new(Arc::new(parts.epochs)),
            limits: Limits {
                derive: KeyedLimit::per_minute(rates.derive),
                own: KeyedLimit::per_minute(rates.own),
                sign: KeyedLimit::per_minute(rates.sign),
                address: KeyedLimit::per_minute(rates.address),
            },
            strangers: Limit::per_minute(STRANGERS),
            omitted: AtomicU64::new(0),
            proofs: ReplayCache::default(),
            started: parts.clock.now().seconds(),
            parts: Fixed {
                path: parts.path,
                seal: parts.seal,
                audit: parts.audit,
                sessions: parts.sessions,
                login_places: parts.login_places,
                public_url: parts.public_url,
                own_keys: parts.own_keys,
                clock: parts.clock,
            },
        })
    }

    /// The secrets that are in use.
    pub fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.epochs.read())
    }

    /// Takes up the epochs that were added to the file. The current one's number.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing changes.
    pub async fn reload(&self) -> Result<u32, ReloadError> {
        let read = file::open(&self.parts.path, &*self.parts.seal).await?;
        let mut held = self.epochs.write();
        if !read.continues(&held) {
            return Err(ReloadError::Other);
        }
        *held = Arc::new(read);
        Ok(held.current())
    }

    /// Puts the audit on the disk; to be called each second.
    pub fn sync_audit(&self) {
        if let Err(error) = self.parts.audit.sync() {
            tracing::error!(%error, "the audit is not on the disk");
        }
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.parts.sessions
    }

    pub(crate) fn login_places(&self) -> &[LoginPlace] {
        &self.parts.login_places
    }

    /// Whether people get keys of their own.
    pub(crate) fn own_keys(&self) -> bool {
        self.parts.own_keys
    }

    /// The URL of one of our paths, as people call it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.parts.public_url)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    /// The answer to a request, once it is in the audit; where that cannot be written, another.
    pub(crate) fn answer<T: Serialize>(
        &self,
        mut record: Record,
        result: Result<T, Failure>,
    ) -> Response {
        record.end(result.as_ref().err());
        if let Err(failure) = self.write(record) {
            return failure.into_response();
        }
        match result.and_then(|answer| json(&answer)) {
            Ok(response) => response,
            Err(failure) => failure.into_response(),
        }
    }

    fn write(&self, mut record: Record) -> Result<(), Failure> {
        if !record.is_of_somebody() && self.strangers.check().is_err() {
            self.omitted.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        record.at = self.clock().now();
        record.omitted = self.omitted.swap(0, Ordering::Relaxed);
        self.parts.audit.append(&record).map_err(|error| {
            tracing::error!(%error, "a request was not answered");
            Failure::unavailable("the audit cannot be written, so nothing is done\nhint: tell the operator of the signer")
        })
    }
}

/// JSON in memory that is wiped once it was sent.
fn json<T: Serialize>(answer: &T) -> Result<Response, Failure> {
    // Large enough that it never grows, which would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER));
    serde_json::to_writer(&mut *bytes, answer).map_err(|_| Failure::internal())?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, Bytes::from_owner(bytes)).into_response())
}
