//! Service tokens.

use api::{
    Description, Mode, Purpose, ServiceToken, ServiceTokenId, TenantId, Timestamp, WorkspaceId,
};
use async_trait::async_trait;

use super::{Back, Entry, Part, Result, TenantRow};

/// A service token that is made.
#[derive(Debug, Clone)]
pub struct NewServiceToken {
    /// Its number.
    pub id: ServiceTokenId,
    /// Whose.
    pub tenant: TenantId,
    /// SHA-256 of the token.
    pub hash: Vec<u8>,
    /// What it is for.
    pub description: Description,
    /// What it may do.
    pub mode: Mode,
    /// What it is used for.
    pub purpose: Purpose,
    /// Which workspace it is for.
    pub workspace: Option<WorkspaceId>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// What a service token opens now.
#[derive(Debug, Clone)]
pub struct ServiceTokenRow {
    /// The token.
    pub token: ServiceToken,
    /// Whose it is.
    pub tenant: TenantRow,
}

/// Service tokens.
#[async_trait]
pub trait ServiceTokens {
    /// Adds one.
    async fn add_service_token(&self, token: &NewServiceToken, entry: &Entry) -> Result<()>;

    /// The one with this hash, with its tenant.
    async fn service_token(&self, hash: &[u8]) -> Result<Option<ServiceTokenRow>>;

    /// A part of a tenant's, also of those that have ended.
    async fn service_tokens(&self, tenant: TenantId, part: Part) -> Result<Vec<ServiceToken>>;

    /// The same, newest first.
    async fn service_tokens_back(&self, tenant: TenantId, back: Back) -> Result<Vec<ServiceToken>>;

    /// Revokes one of the tenant's; `false` if there is none that counts. The keys through it
    /// are the caller's to revoke.
    async fn revoke_service_token(
        &self,
        tenant: TenantId,
        id: ServiceTokenId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;
}
