//! Storage keys: who has which, and how far each is.

use api::{
    BucketName, Credential, CredentialId, Deletion, Description, GrantId, Mode, Prefix, TenantId,
    Timestamp, WorkspaceId,
};
use async_trait::async_trait;
use uuid::Uuid;

use super::{Back, Due, Entry, Part, Result};

/// A key that the provider is about to be asked for.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Its number.
    pub id: CredentialId,
    /// To whom.
    pub tenant: TenantId,
    /// Whose bucket it opens.
    pub bucket_tenant: TenantId,
    /// Which workspace.
    pub workspace: Option<WorkspaceId>,
    /// By which grant.
    pub grant: Option<GrantId>,
    /// Through which service token or ticket.
    pub via: Option<Uuid>,
    /// The bucket.
    pub bucket: BucketName,
    /// The part of it.
    pub prefix: Prefix,
    /// What it may do.
    pub mode: Mode,
    /// What it is for.
    pub description: Option<Description>,
    /// Who asked.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it is taken back if nothing more is heard of it.
    pub due_at: Timestamp,
}

/// A key with what is needed to take it back.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// The key as lists show it.
    pub credential: Credential,
    /// To whom it was issued.
    pub tenant: TenantId,
    /// The bucket.
    pub bucket: BucketName,
    /// The part of it.
    pub prefix: Prefix,
    /// What the provider wants back: JSON without any secret.
    pub handle: String,
    /// The service token or ticket that it was issued through.
    pub via: Option<Uuid>,
    /// How often its revocation has failed.
    pub attempts: i64,
}

/// Which keys.
#[derive(Debug, Clone, Copy)]
pub enum KeysOf {
    /// One, if it is the tenant's.
    One(TenantId, CredentialId),
    /// One, whoever's it is: for the background work.
    Any(CredentialId),
    /// Those that a tenant holds.
    Holder(TenantId),
    /// Those to a tenant's bucket, whoever holds them.
    Bucket(TenantId),
    /// Those of a workspace.
    Workspace(WorkspaceId),
    /// Those by a grant.
    Grant(GrantId),
    /// Those through a service token or ticket.
    Via(Uuid),
}

/// Storage keys.
#[async_trait]
pub trait Credentials {
    /// Adds a row in the state `pending`, before the provider is asked. `false` if the tenant
    /// of the bucket, or that of the key, is not active (any more).
    async fn add_credential(&self, credential: &NewCredential) -> Result<bool>;

    /// Keeps what the provider wants back, after each of its steps.
    async fn keep_handle(&self, id: CredentialId, handle: &str) -> Result<()>;

    /// `pending` becomes `active`; `false` if it was taken back meanwhile, or if its tenant or
    /// workspace is ending: whoever counts the living keys of these saw this one, or began
    /// before it could become active.
    async fn activate_credential(
        &self,
        id: CredentialId,
        access_key: &str,
        handle: &str,
        due_at: Option<Timestamp>,
        entry: &Entry,
    ) -> Result<bool>;

    /// A part of a tenant's keys, also of those that are gone.
    async fn credentials(&self, tenant: TenantId, part: Part) -> Result<Vec<Credential>>;

    /// The same, newest first.
    async fn credentials_back(&self, tenant: TenantId, back: Back) -> Result<Vec<Credential>>;

    /// A tenant's key.
    async fn credential(&self, tenant: TenantId, id: CredentialId)
    -> Result<Option<CredentialRow>>;

    /// When the newest of a tenant's active keys was made.
    async fn newest_credential(&self, tenant: TenantId) -> Result<Option<Timestamp>>;

    /// Notes that an active key is in use; `false` if it is not active.
    async fn touch_credential(
        &self,
        tenant: TenantId,
        id: CredentialId,
        now: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<bool>;

    /// `pending` and `active` keys become `revoking`, due at once; answers those that did.
    async fn begin_revocations(
        &self,
        keys: KeysOf,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<Vec<CredentialRow>>;

    /// The provider confirmed: `revoking` becomes `revoked`.
    async fn finish_revocation(&self, id: CredentialId, entry: &Entry) -> Result<bool>;

    /// The provider did not confirm: it is asked again later.
    async fn fail_revocation(
        &self,
        id: CredentialId,
        deletion: Deletion,
        trouble: &str,
        due_at: Timestamp,
    ) -> Result<()>;

    /// How many keys of a tenant, or to its bucket, are not confirmed as gone.
    async fn living_keys_of_tenant(&self, tenant: TenantId) -> Result<i64>;

    /// How many keys of a workspace are not confirmed as gone.
    async fn living_keys_of_workspace(&self, workspace: WorkspaceId) -> Result<i64>;

    /// Takes keys whose time has come, whatever their state.
    async fn due_credentials(&self, due: Due) -> Result<Vec<CredentialRow>>;
}
