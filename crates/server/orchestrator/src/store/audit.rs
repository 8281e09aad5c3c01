//! The audit: who did what, and who was refused what.
//!
//! Rows are only ever added (the database itself refuses anything else), and each holds the
//! hash of itself and of the row before it, so that a row that was changed, taken out or put
//! in shows. The hash is
//! `SHA-256("artifacts.audit.v1" ‖ previous ‖ seq ‖ at ‖ lp(action) ‖ …)`; numbers are eight
//! bytes, big-endian; a text is `1`, its length in four bytes and itself, an absent one is
//! `0`; the first row's previous hash is 32 zero bytes. The form is fixed.

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::Result;
use api::{AuditRow, TenantId, Timestamp};

/// What is recorded. Texts never hold a secret or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What was done: `MountCredentialCreated`, `RequestRefused` …
    pub action: &'static str,
    /// Who: an actor, `token:ID`, `ticket:ID`, or nothing for the server itself.
    pub actor: Option<String>,
    /// In which tenant.
    pub tenant: Option<TenantId>,
    /// To what: the number of a key, a workspace …
    pub subject: Option<String>,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
}

/// A row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place, counted from 1 without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// Who.
    pub actor: Option<String>,
    /// In which tenant.
    pub tenant: Option<TenantId>,
    /// To what.
    pub subject: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// Recording, and reading what was recorded.
#[async_trait]
pub trait Audit {
    /// Records what changed nothing: a refusal, a failed attempt.
    async fn record(&self, entry: &Entry) -> Result<()>;

    /// The rows behind number `after`, in order, at most `limit`.
    async fn recorded(&self, after: i64, limit: i64) -> Result<Vec<Recorded>>;

    /// The same of one tenant's.
    async fn recorded_of(&self, tenant: TenantId, after: i64, limit: i64) -> Result<Vec<Recorded>>;

    /// The rows before number `before`, newest first, at most `limit`; of one tenant, if one is
    /// named.
    async fn recorded_before(
        &self,
        tenant: Option<TenantId>,
        before: i64,
        limit: i64,
    ) -> Result<Vec<Recorded>>;
}

impl From<Recorded> for AuditRow {
    fn from(row: Recorded) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            at_micros: row.at.micros(),
            action: row.action,
            actor: row.actor,
            tenant_id: row.tenant,
            subject: row.subject,
            reason: row.reason,
            request_id: row.request_id,
            hash: hex::encode(row.hash),
        }
    }
}

impl Recorded {
    /// The row that follows `previous`.
    pub(super) fn following(previous: Option<(i64, Vec<u8>)>, entry: &Entry) -> Self {
        let (last, before) = previous.unwrap_or((0, vec![0; 32]));
        let mut row = Self {
            seq: last + 1,
            at: entry.at,
            action: entry.action.to_owned(),
            actor: entry.actor.clone(),
            tenant: entry.tenant,
            subject: entry.subject.clone(),
            reason: entry.reason.clone(),
            request_id: entry.request_id.clone(),
            hash: Vec::new(),
        };
        row.hash = row.computed_hash(&before);
        row
    }

    /// The hash that this row must have behind a row with the hash `before`.
    pub fn computed_hash(&self, before: &[u8]) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(b"artifacts.audit.v1");
        hash.update(before);
        hash.update(self.seq.to_be_bytes());
        hash.update(self.at.micros().to_be_bytes());
        let tenant = self.tenant.map(|tenant| tenant.to_string());
        let texts = [
            Some(&self.action),
            self.actor.as_ref(),
            tenant.as_ref(),
            self.subject.as_ref(),
            self.reason.as_ref(),
            self.request_id.as_ref(),
        ];
        for text in texts {
            match text {
                None => hash.update([0]),
                Some(text) => {
                    hash.update([1]);
                    // Texts come from requests, whose size is limited far below.
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    hash.update(length.to_be_bytes());
                    hash.update(text);
                }
            }
        }
        hash.finalize().to_vec()
    }
}
