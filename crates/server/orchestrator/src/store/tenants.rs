//! Tenants and their members.

use api::{Backend, BucketName, Member, Role, Tenant, TenantId, TenantState, Timestamp};
use async_trait::async_trait;
use model::{Actor, Handle};
use uuid::Uuid;

use super::{Due, Entry, Part, Result};

/// A tenant that was asked for.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// Its number.
    pub id: TenantId,
    /// Its short name.
    pub handle: Handle,
    /// Its longer name.
    pub display_name: Option<api::Description>,
    /// Who holds the keys.
    pub backend: Backend,
    /// The bucket that it shall get.
    pub bucket: Option<BucketName>,
    /// Where it begins: `provisioning` with a bucket to be made, or `active`.
    pub state: TenantState,
    /// Who asked.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When the background work looks at it, if this request does not bring it to an end.
    pub due_at: Option<Timestamp>,
    /// Its first member.
    pub owner: Option<NewMember>,
}

/// Somebody to be made a member.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// A number for the row.
    pub id: Uuid,
    /// Who.
    pub actor: Actor,
    /// As what.
    pub role: Role,
    /// When.
    pub created_at: Timestamp,
}

/// A tenant, and how its provisioning goes.
#[derive(Debug, Clone)]
pub struct TenantRow {
    /// The tenant.
    pub tenant: Tenant,
    /// Whether its deletion takes the bucket too.
    pub delete_bucket: bool,
    /// How often a step has failed.
    pub attempts: i64,
}

/// What a step changes of a tenant.
#[derive(Debug, Clone)]
pub struct TenantChange {
    /// The state that it must be in, else nothing happens.
    pub from: TenantState,
    /// The state that it gets, or keeps.
    pub to: TenantState,
    /// What was in the way.
    pub trouble: Option<String>,
    /// How often a step has failed now.
    pub attempts: i64,
    /// When the background work looks at it again.
    pub due_at: Option<Timestamp>,
}

/// Tenants and their members.
#[async_trait]
pub trait Tenants {
    /// Adds one. [`Exists`](super::StoreError::Exists) if a living one has the handle.
    async fn add_tenant(&self, tenant: &NewTenant, entry: &Entry) -> Result<()>;

    /// One by number.
    async fn tenant(&self, id: TenantId) -> Result<Option<TenantRow>>;

    /// The living one of a handle.
    async fn tenant_by_handle(&self, handle: &Handle) -> Result<Option<TenantRow>>;

    /// A part of all of them, also of those that are gone.
    async fn tenants(&self, part: Part) -> Result<Vec<Tenant>>;

    /// Carries a step's change out, if the tenant is in the state that it starts from.
    async fn change_tenant(
        &self,
        id: TenantId,
        change: &TenantChange,
        entry: Option<&Entry>,
    ) -> Result<bool>;

    /// Begins the end of a tenant that is active or being made; grants by it and to it end.
    async fn begin_tenant_end(
        &self,
        id: TenantId,
        delete_bucket: bool,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool>;

    /// Takes tenants whose time has come.
    async fn due_tenants(&self, due: Due) -> Result<Vec<TenantRow>>;

    /// Makes somebody a member, or changes their role.
    async fn put_member(&self, tenant: TenantId, member: &NewMember, entry: &Entry) -> Result<()>;

    /// Ends a membership; `false` if there was none.
    async fn remove_member(&self, tenant: TenantId, actor: &Actor, entry: &Entry) -> Result<bool>;

    /// A part of a tenant's members, each with its row's number.
    async fn members(&self, tenant: TenantId, part: Part) -> Result<Vec<(Uuid, Member)>>;
}
