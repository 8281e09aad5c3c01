//! `/tenant/mount`: the bucket of the caller's tenant, and storage keys to it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    BucketName, CredentialId, Description, Endpoint, Lifetime, Mode, Prefix, Region, Secret,
    TenantId, Timestamp, WorkspaceId,
};

/// The answer of `GET /tenant/mount/info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MountInfo {
    /// The caller's tenant.
    pub tenant_id: TenantId,
    /// Its bucket.
    pub bucket_name: BucketName,
    /// Whether it has a key that counts.
    pub has_credentials: bool,
    /// When the newest of these was made.
    pub credentials_created_at: Option<Timestamp>,
}

/// The body of `POST /tenant/mount/credentials`; every field, and the body itself, may be
/// left out. The tenant comes from the caller's token and from nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssueCredential {
    /// What the key may do; otherwise all that the caller may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// How long it shall count; otherwise until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<Lifetime>,
    /// The workspace that it shall open, also one that was granted by another tenant;
    /// otherwise the whole bucket of the caller's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
}

/// The answer of `POST /tenant/mount/credentials`. The secret is in this answer and nowhere
/// else, ever.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct IssuedCredential {
    /// The key's number, by which it is listed and revoked.
    pub credential_id: CredentialId,
    /// The tenant that it was issued to.
    pub tenant_id: TenantId,
    /// The bucket that it opens.
    pub bucket_name: BucketName,
    /// The part of the bucket that it opens; empty for all of it.
    pub prefix: Prefix,
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: Secret,
    /// The store.
    pub endpoint_url: Endpoint,
    /// Its region.
    pub region: Region,
    /// What it may do.
    pub mode: Mode,
    /// When it is revoked by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A key as lists show it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// Its number.
    pub credential_id: CredentialId,
    /// The access key id; absent while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// What it may do.
    pub mode: Mode,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// The workspace that it opens; absent for the whole bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// Whether it counts.
    pub state: CredentialState,
    /// How far its deletion at the provider is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_status: Option<Deletion>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is revoked by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When a mount last said that it uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When its revocation was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialState {
    /// It is being made.
    Pending,
    /// It counts.
    Active,
    /// It is being taken back, until the provider confirms that.
    Revoking,
    /// It is gone.
    Revoked,
}

/// How far a key's deletion at the provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    /// Asked for.
    Pending,
    /// The provider confirmed it.
    Completed,
    /// The provider refused or did not answer; it is asked again.
    Failed,
}
