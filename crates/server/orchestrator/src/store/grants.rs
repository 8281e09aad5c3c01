//! Grants.

use api::{Grant, GrantId, Mode, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::{Entry, Part, Result};

/// A grant that is given.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Its number.
    pub id: GrantId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Whose it is.
    pub tenant: TenantId,
    /// To whom.
    pub grantee: TenantId,
    /// What they may do.
    pub mode: Mode,
    /// Who gave it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// What a grant allows.
#[derive(Debug, Clone, Copy)]
pub struct GrantRow {
    /// Its number.
    pub id: GrantId,
    /// What the grantee may do.
    pub mode: Mode,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Grants.
#[async_trait]
pub trait Grants {
    /// Adds one. [`Exists`](super::StoreError::Exists) if the pair has one.
    async fn add_grant(&self, grant: &NewGrant, entry: &Entry) -> Result<()>;

    /// A part of what a tenant has given, and not taken back.
    async fn grants_by(&self, tenant: TenantId, part: Part) -> Result<Vec<Grant>>;

    /// A part of what a tenant was given.
    async fn grants_to(&self, tenant: TenantId, part: Part) -> Result<Vec<Grant>>;

    /// What a tenant may do with another's workspace.
    async fn grant_for(
        &self,
        workspace: WorkspaceId,
        grantee: TenantId,
    ) -> Result<Option<GrantRow>>;

    /// Takes a grant of the tenant's back; `false` if there is none. The keys by it are the
    /// caller's to revoke.
    async fn revoke_grant(
        &self,
        tenant: TenantId,
        id: GrantId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;
}
