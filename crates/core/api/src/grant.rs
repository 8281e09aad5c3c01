//! `/grants`: another tenant may mount a workspace.

use model::Handle;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{GrantId, Lifetime, Mode, TenantId, Timestamp, WorkspaceId, schemas};

/// The body of `POST /grants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateGrant {
    /// The workspace, one of the caller's tenant.
    pub workspace_id: WorkspaceId,
    /// The tenant that may mount it.
    #[schema(value_type = schemas::Handle)]
    pub grantee: Handle,
    /// What it may do.
    pub mode: Mode,
    /// For how long; otherwise until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<Lifetime>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// Its number.
    pub grant_id: GrantId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Whose workspace it is.
    pub tenant_id: TenantId,
    /// Who may mount it.
    #[schema(value_type = schemas::Handle)]
    pub grantee: Handle,
    /// What they may do.
    pub mode: Mode,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}
