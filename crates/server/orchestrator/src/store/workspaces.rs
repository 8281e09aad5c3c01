//! Workspaces.

use api::{Place, TenantId, Timestamp, Workspace, WorkspaceId};
use async_trait::async_trait;
use model::{Handle, WorkspaceName};

use super::{Due, Entry, Part, Result};

/// A workspace that is reserved.
#[derive(Debug, Clone)]
pub struct NewWorkspace {
    /// Its number.
    pub id: WorkspaceId,
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: WorkspaceName,
    /// Who holds the keys to it.
    pub backend: api::Backend,
    /// Where it lies.
    pub place: Place,
    /// Who asked.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// Workspaces.
#[async_trait]
pub trait Workspaces {
    /// Reserves a name, in the state `pending_format`.
    /// [`Exists`](super::StoreError::Exists) if a living one has it.
    async fn add_workspace(&self, workspace: &NewWorkspace, entry: &Entry) -> Result<()>;

    /// One by number.
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>>;

    /// The living one of a name.
    async fn workspace_by_name(
        &self,
        handle: &Handle,
        name: &WorkspaceName,
    ) -> Result<Option<Workspace>>;

    /// A part of a tenant's, also of those that are gone.
    async fn workspaces(&self, tenant: TenantId, part: Part) -> Result<Vec<Workspace>>;

    /// `pending_format` becomes `active`; `false` if it is in another state.
    async fn format_workspace(
        &self,
        id: WorkspaceId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;

    /// `pending_format` and `active` become `deleting`; grants of it end.
    async fn begin_workspace_end(
        &self,
        id: WorkspaceId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;

    /// `deleting` becomes `deleted`.
    async fn finish_workspace_end(&self, id: WorkspaceId, entry: &Entry) -> Result<bool>;

    /// Takes workspaces whose time has come.
    async fn due_workspaces(&self, due: Due) -> Result<Vec<Workspace>>;
}
