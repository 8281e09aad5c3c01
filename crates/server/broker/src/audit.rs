//! What the audit is told: who was given what, and who was refused. Never a token, a code, a
//! proof or a key.

use std::sync::atomic::Ordering;

use api::Timestamp;
use async_trait::async_trait;
use axum::http::StatusCode;
use base::audit::AuditFile;
use model::{Actor, DeviceId, ServiceName};
use serde::Serialize;

use crate::app::App;
use crate::caller::Caller;
use crate::refusal::Refusal;

/// Keeps the records of what happened.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Keeps one record. It counts as written once this returns.
    ///
    /// # Errors
    /// Why it could not be written: then nothing is handed out.
    async fn write(&self, record: &Record) -> Result<(), String>;
}

/// The audit in a file, each record bound to all before it.
pub struct FileAudit(AuditFile);

impl FileAudit {
    /// Into this file.
    pub fn new(file: AuditFile) -> Self {
        Self(file)
    }

    /// Puts what was written on the disk. That it cannot is in the log.
    pub fn sync(&self) {
        if let Err(error) = self.0.sync() {
            tracing::error!(%error, "the audit is not on the disk");
        }
    }
}

#[async_trait]
impl Audit for FileAudit {
    async fn write(&self, record: &Record) -> Result<(), String> {
        self.0.append(record).map_err(|error| error.to_string())
    }
}

/// One thing that was done or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// What: `cap.fetch`, `session.exchange`, `pairing.approve` …
    pub action: String,
    /// `done`, or why not.
    pub outcome: &'static str,
    /// Whose actor it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Actor>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// By which device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// For which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Concerning whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Actor>,
    /// The number of the token that was handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Refusals since the record before that are in no record: there were too many.
    #[serde(skip_serializing_if = "is_none")]
    pub omitted: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Record {
    /// Of what nothing is known yet.
    pub(crate) fn of(app: &App, action: impl Into<String>) -> Self {
        Self {
            at: app.clock.now(),
            action: action.into(),
            outcome: "done",
            operator: None,
            actor: None,
            device: None,
            service: None,
            target: None,
            token: None,
            note: None,
            omitted: 0,
        }
    }

    /// Of what a caller wants.
    pub(crate) fn by(app: &App, action: impl Into<String>, caller: &Caller) -> Self {
        Self {
            operator: Some(caller.session.operator.clone()),
            actor: Some(caller.session.sub.clone()),
            device: caller.session.device,
            ..Self::of(app, action)
        }
    }

    /// The same, with a word.
    pub(crate) fn saying(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl App {
    /// Writes what is about to be done.
    pub(crate) async fn record(&self, record: &Record) -> Result<(), Refusal> {
        self.write(record.clone()).await.map_err(|error| {
            tracing::error!(error, "the audit cannot be written");
            Refusal::Reason(api::vault::Reason::AuditUnavailable)
        })
    }

    /// Writes a record, with how many refusals were left out before it.
    async fn write(&self, mut record: Record) -> Result<(), String> {
        record.omitted = self.omitted.swap(0, Ordering::Relaxed);
        let written = self.audit.write(&record).await;
        if written.is_err() {
            self.omitted.fetch_add(record.omitted, Ordering::Relaxed);
        }
        written
    }

    /// Writes that something was refused, and gives the refusal on. Those who are known to nobody
    /// are limited, and so is everybody; what is left out is counted in the next record.
    pub(crate) async fn refused(&self, mut record: Record, refusal: Refusal) -> Refusal {
        record.outcome = refusal.word();
        record.at = self.clock.now();
        let worth = match (&record.actor, &refusal) {
            (_, Refusal::Plain(failure)) if failure.status() == StatusCode::TOO_MANY_REQUESTS => {
                false
            }
            (Some(actor), _) => self.limits.refusals.check(actor).is_ok(),
            (None, _) => self.limits.nobodys.check().is_ok(),
        };
        if !worth {
            self.omitted.fetch_add(1, Ordering::Relaxed);
        } else if let Err(error) = self.write(record).await {
            tracing::error!(error, "a refusal is not in the audit");
        }
        refusal
    }
}
