//! What the audit is told of each request: who asked for what, and how it ended. Never a
//! capability, a proof, a key, or anything of a credential but its name. Callers who show no
//! capability that counts share so many records a minute; of the rest the number is recorded.

use std::collections::BTreeMap;

use api::Timestamp;
use api::vault::Reason;
use model::{Actor, DeviceId, ServiceName};
use serde::{Serialize, Serializer};

/// One request, done or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// When it ended.
    pub at: Timestamp,
    /// What was asked: `store`, `fetch`, `list`, `teardown`; `strangers` for a number of refusals.
    pub op: &'static str,
    /// `done`, or why not.
    #[serde(serialize_with = "ending")]
    pub outcome: Result<(), Reason>,
    /// Who owns the credentials, as far as a verified capability says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Actor>,
    /// Who asked, as far as a verified capability says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// By which device, as far as a verified capability says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The capability's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// Which credential the request names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Whose credentials the request names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Actor>,
    /// The epoch of the envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The generation of the envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// How many were listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<u64>,
    /// How many objects of the listing are no credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// How many objects were deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// How many could not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// How many requests were refused that have no record of their own, by reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omitted: Option<BTreeMap<&'static str, u64>>,
    /// What was found and done away with on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

impl Record {
    /// Of what nothing is known yet.
    pub(crate) fn of(op: &'static str) -> Self {
        Self {
            at: Timestamp::from_micros(0),
            op,
            outcome: Err(Reason::Internal),
            operator: None,
            actor: None,
            device: None,
            cap: None,
            service: None,
            target: None,
            epoch: None,
            generation: None,
            listed: None,
            skipped: None,
            deleted: None,
            failed: None,
            omitted: None,
            note: None,
        }
    }
}

fn ending<S: Serializer>(outcome: &Result<(), Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match outcome {
        Ok(()) => "done",
        Err(reason) => reason.as_str(),
    })
}
