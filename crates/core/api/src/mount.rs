//! `/workspaces/{id}/mounts` and `/tenant/mounts`: the mounts that are alive, and how far behind
//! each is.

use model::WorkspaceName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Description, EventId, Mode, MountId, Timestamp, WorkspaceId, schemas};

/// The body of `PUT /workspaces/{id}/mounts/{mount_id}`: what a mount says of itself, when it
/// begins, whenever what it says changes (at most once a second), and at least every 15 seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportMount {
    /// The machine that it is on.
    pub machine: Description,
    /// What it may do.
    pub mode: Mode,
    /// The last event that it has taken in; absent while it follows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<EventId>,
    /// Changes that are not in the bucket yet.
    #[serde(default)]
    pub pending: u64,
    /// The bytes of these.
    #[serde(default)]
    pub pending_bytes: u64,
    /// For how many seconds the oldest of these has waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_pending_seconds: Option<u64>,
}

/// A mount as lists show it. One that said nothing for 45 seconds is not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveMount {
    /// Its number, which it chose when it began.
    pub mount_id: MountId,
    /// What it shows.
    pub workspace_id: WorkspaceId,
    /// The same, by its name.
    #[schema(value_type = schemas::WorkspaceName)]
    pub workspace: WorkspaceName,
    /// Whose token it uses: an actor, `token:ID` or `ticket:ID`.
    pub actor: String,
    /// What it said last.
    #[serde(flatten)]
    pub report: ReportMount,
    /// How many events of the workspace it has not taken in; absent while it follows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_behind: Option<u64>,
    /// When the server heard of it for the first time, or again after it was silent for so long
    /// that it was forgotten.
    pub started_at: Timestamp,
    /// When it said that.
    pub reported_at: Timestamp,
}

impl LiveMount {
    /// Three reports that did not come.
    pub const FORGOTTEN_AFTER_SECONDS: u64 = 45;
}
