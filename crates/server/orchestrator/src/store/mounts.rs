//! The mounts that are alive, by what they say of themselves.
//!
//! It is kept for those who look at a list, and for nothing else: no right follows from a row.
//! So a report is no entry of the audit, which holds what this server did.

use api::{LiveMount, MountId, ReportMount, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::{Part, Result};

/// What a mount said.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// Which mount.
    pub mount: MountId,
    /// What it shows.
    pub workspace: WorkspaceId,
    /// Whose workspace that is.
    pub owner: TenantId,
    /// Whose token it uses: the tenant of it.
    pub tenant: TenantId,
    /// The same: who.
    pub actor: String,
    /// What it said.
    pub report: ReportMount,
    /// When.
    pub at: Timestamp,
}

/// The mounts of what are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountsOf {
    /// A workspace.
    Workspace(WorkspaceId),
    /// A workspace, and only those with a token of this tenant, which it was granted to.
    Visitor(TenantId, WorkspaceId),
    /// All workspaces of a tenant.
    Owner(TenantId),
}

/// Mounts.
#[async_trait]
pub trait Mounts {
    /// Keeps what a mount said in place of what it said before; `false` if another actor's
    /// mount, or one of another workspace, has its number.
    async fn report_mount(&self, report: &NewReport) -> Result<bool>;

    /// Forgets a mount that has ended; `false` if this actor has none of this number there.
    async fn end_mount(&self, id: MountId, workspace: WorkspaceId, actor: &str) -> Result<bool>;

    /// A part of those that said something at `since` or later, by their numbers.
    async fn mounts(&self, of: MountsOf, since: Timestamp, part: Part) -> Result<Vec<LiveMount>>;

    /// Forgets those that said nothing since.
    async fn forget_mounts(&self, before: Timestamp) -> Result<()>;
}
