//! `/audit`: who did what, and who was refused what.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{PageLimit, PageToken, TenantId, Timestamp};

/// The query of `GET /audit`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// At most so many.
    #[serde(default)]
    #[param(inline)]
    pub limit: PageLimit,
    /// From a page's `next_page_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub page_token: Option<PageToken>,
    /// Only what concerns this tenant; for its owners, and for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub tenant_id: Option<TenantId>,
}

/// A row of the audit. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Its place, counted from 1 without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The same to the microsecond, as the hash has it.
    pub at_micros: i64,
    /// What was done: `MountCredentialCreated`, `RequestRefused` …
    pub action: String,
    /// Who: an actor, `token:ID`, `ticket:ID`; absent for the server itself.
    pub actor: Option<String>,
    /// In which tenant.
    pub tenant_id: Option<TenantId>,
    /// To what.
    pub subject: Option<String>,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// The row's hash, in hexadecimal digits: over the one before it and all of the above.
    pub hash: String,
}
