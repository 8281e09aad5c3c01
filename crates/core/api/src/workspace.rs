//! `/workspaces`: names and where they lie.

use model::{Handle, WorkspaceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Backend, ErrorCode, Place, TenantId, Timestamp, WorkspaceId, schemas};

/// The body of `POST /workspaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateWorkspace {
    /// Its name, one of its tenant's.
    #[schema(value_type = schemas::WorkspaceName)]
    pub name: WorkspaceName,
    /// Who holds the keys to it.
    #[serde(default)]
    pub backend: Backend,
    /// Where it lies: given for `byo`, chosen by the server for `managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    /// Its number.
    pub workspace_id: WorkspaceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The same, by its short name.
    #[schema(value_type = schemas::Handle)]
    pub handle: Handle,
    /// Its name.
    #[schema(value_type = schemas::WorkspaceName)]
    pub name: WorkspaceName,
    /// Who holds the keys to it.
    pub backend: Backend,
    /// Where it lies.
    pub place: Place,
    /// How far it is.
    pub state: WorkspaceState,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// When it was formatted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted_at: Option<Timestamp>,
}

/// How far a workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceState {
    /// Its name is reserved; its marker is not in the bucket yet.
    PendingFormat,
    /// It can be mounted.
    Active,
    /// Keys to it are being revoked.
    Deleting,
    /// It is gone, and its name is free. Its objects are where they were.
    Deleted,
}

/// The body of 409 from `POST /workspaces`: what has the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceConflict {
    /// `conflict`.
    pub code: ErrorCode,
    /// What happened.
    pub message: String,
    /// The workspace of that name, where that is the reason.
    #[schema(required = false)]
    pub existing: Workspace,
}
