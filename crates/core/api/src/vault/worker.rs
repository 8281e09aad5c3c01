//! `POST /v1/cred/{store,fetch,list,teardown}`.

use model::{Actor, ServiceName};
use serde::{Deserialize, Serialize};

use crate::{Secret, Timestamp};

/// The body of `POST /v1/cred/store`.
#[derive(Serialize, Deserialize)]
pub struct StoreCredential {
    /// A capability of op `store` for the service.
    pub cap: Secret,
    /// Which service's key it is.
    pub service: ServiceName,
    /// The key, base64; at most [`LONGEST_PLAINTEXT`](super::LONGEST_PLAINTEXT) bytes.
    pub plaintext: Secret,
    /// Store only if the credential is at this generation now; 0: only if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_generation: Option<u64>,
}

/// The answer, once the envelope is in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCredential {
    /// The service.
    pub service: ServiceName,
    /// The new envelope's epoch.
    pub epoch: u32,
    /// The new envelope's generation.
    pub generation: u64,
}

/// The body of `POST /v1/cred/fetch`.
#[derive(Serialize, Deserialize)]
pub struct FetchCredential {
    /// A capability of op `fetch` for the service.
    pub cap: Secret,
    /// Which service's key is wanted.
    pub service: ServiceName,
    /// The highest generation that the caller has seen: an older envelope is refused as a
    /// rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_generation: Option<u64>,
}

/// The answer.
#[derive(Serialize, Deserialize)]
pub struct FetchedCredential {
    /// The service.
    pub service: ServiceName,
    /// The key, base64.
    pub plaintext: Secret,
    /// The version byte of the envelope that it was in.
    pub version: u8,
    /// Its epoch; 0 in versions that have none.
    pub epoch: u32,
    /// Its generation; 0 in versions that have none.
    pub generation: u64,
}

/// The body of `POST /v1/cred/list`.
#[derive(Serialize, Deserialize)]
pub struct ListCredentials {
    /// A capability of op `list`.
    pub cap: Secret,
    /// Where the last page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
}

/// The answer: no plaintext, and no word of what the keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCredentials {
    /// What there is, by name.
    pub credentials: Vec<ListedCredential>,
    /// To ask for what follows, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// One credential, as the bucket lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCredential {
    /// The service.
    pub service: ServiceName,
    /// Bytes of the envelope.
    pub size: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// The body of `POST /v1/cred/teardown`.
#[derive(Serialize, Deserialize)]
pub struct Teardown {
    /// A capability of op `teardown` for the target.
    pub cap: Secret,
    /// Whose credentials are to go: the operator's own actor, or that of the agent with `label`.
    pub target: Actor,
    /// The agent's label, from which the worker computes by itself that the target is the
    /// operator's. Absent where the target is the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TornDown {
    /// How many objects are gone.
    pub deleted: u64,
    /// How many could not be deleted and are still there.
    pub failed: u64,
    /// The names of some of these, at most 100.
    #[serde(default)]
    pub left: Vec<String>,
}
