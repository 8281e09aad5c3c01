//! `/tenants`: accounts, and who belongs to them.

use model::{Actor, Handle};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{BucketName, Description, TenantId, Timestamp, schemas};

/// Who holds the keys to the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The operator makes the bucket and issues keys to it.
    #[default]
    Managed,
    /// Bring your own: the tenant has the bucket and the keys, and the orchestrator knows the
    /// place only.
    Byo,
}

/// The body of `POST /tenants`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateTenant {
    /// The short name that its workspaces are addressed by.
    #[schema(value_type = schemas::Handle)]
    pub handle: Handle,
    /// A longer name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Description>,
    /// Whether it gets a bucket.
    #[serde(default)]
    pub backend: Backend,
    /// Its first member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Person>,
}

/// How a person is named: by their actor, or as an OpenID Connect provider knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Person {
    /// By actor.
    Actor {
        /// The actor.
        #[schema(value_type = schemas::Actor)]
        actor: Actor,
    },
    /// By issuer and subject.
    Oidc {
        /// The provider's issuer URL, exactly as its tokens have it.
        issuer: String,
        /// The `sub` of their tokens.
        subject: String,
    },
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its number.
    pub tenant_id: TenantId,
    /// Its short name.
    #[schema(value_type = schemas::Handle)]
    pub handle: Handle,
    /// Its longer name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Description>,
    /// Who holds the keys.
    pub backend: Backend,
    /// Its bucket, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_name: Option<BucketName>,
    /// How far it is.
    pub state: TenantState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What was last in the way, in the state `provisioning`, `failed` or `deleting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How far a tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// Its bucket is being made.
    Provisioning,
    /// It can be used.
    Active,
    /// Its bucket cannot be made; what was made of it is being taken back.
    Undoing,
    /// Its bucket cannot be made, and nothing of it is left.
    Failed,
    /// Its keys are being revoked, and its bucket deleted if that was asked.
    Deleting,
    /// It is gone; its handle is free.
    Deleted,
}

/// The query of `DELETE /tenants/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeleteTenant {
    /// What becomes of its bucket.
    #[serde(default)]
    #[param(inline)]
    pub bucket: FateOfBucket,
}

/// What becomes of a deleted tenant's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FateOfBucket {
    /// It stays, with all that is in it.
    #[default]
    Keep,
    /// It is deleted if it is empty; a bucket with objects in it stays.
    Delete,
}

/// The body of `POST /tenants/{id}/members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddMember {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// As what.
    pub role: Role,
}

/// What a member may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Use workspaces; issue, list and revoke storage keys.
    Member,
    /// The same, and manage members, workspaces, grants, tickets and service tokens.
    Owner,
}

/// Somebody who belongs to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Who.
    #[schema(value_type = schemas::Actor)]
    pub actor: Actor,
    /// As what.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
}
