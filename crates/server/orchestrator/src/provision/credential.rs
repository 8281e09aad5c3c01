//! Issuing and revoking storage keys.
//!
//! pending → active → revoking → revoked. The row is there before the provider is asked, so
//! whatever the provider makes has a row that it is taken back by. A key whose issuing was cut
//! short is taken back, never finished: its secret is lost, since it is kept nowhere.

use std::time::Duration;

use api::{
    BucketName, CredentialId, CredentialState, Deletion, Description, ErrorCode, GrantId, Mode,
    Prefix, TenantId, Timestamp, WorkspaceId,
};
use base::Failure;
use provider::{Error, Issuing, NewKey};
use uuid::Uuid;

use super::{Call, after_failure, in_short, refusal, supply};
use crate::app::App;
use crate::metrics::Key;
use crate::store::{CredentialRow, Entry, KeysOf, NewCredential, Result as StoreResult};

/// A request for a key, after all questions of who may have it.
pub(crate) struct Request {
    /// To whom.
    pub(crate) tenant: TenantId,
    /// Whose bucket.
    pub(crate) bucket_tenant: TenantId,
    /// The bucket.
    pub(crate) bucket: BucketName,
    /// The part of it.
    pub(crate) prefix: Prefix,
    /// Which workspace that is.
    pub(crate) workspace: Option<WorkspaceId>,
    /// By which grant.
    pub(crate) grant: Option<GrantId>,
    /// Through which service token or ticket.
    pub(crate) via: Option<Uuid>,
    /// What it may do.
    pub(crate) mode: Mode,
    /// What it is for.
    pub(crate) description: Option<Description>,
    /// When it ends by itself.
    pub(crate) expires_at: Option<Timestamp>,
}

/// A key that was issued.
pub(crate) struct Issued {
    /// Its number.
    pub(crate) id: CredentialId,
    /// What the provider gave.
    pub(crate) key: NewKey,
}

/// So many keys are taken back within one request; more are left to the background.
const AT_ONCE: usize = 20;

/// How long a row may be `pending`: longer than any request lives.
const PENDING: Duration = Duration::from_secs(120);

impl App {
    /// Issues a key. What was made is taken back if it cannot be finished.
    pub(crate) async fn issue(&self, request: Request, entry: Entry) -> Result<Issued, Failure> {
        let supply = self.supply()?;
        let id = CredentialId::from(self.new_id());
        let (bucket, prefix) = (&request.bucket, &request.prefix);
        let grant = supply::grant(id.uuid(), bucket, prefix, request.mode).map_err(refusal)?;
        // What this store cannot do is said before there is a row.
        let issuing = Issuing::begin(&*supply.provider, &grant, None).map_err(refusal)?;
        let due_at = self.new_key_due(entry.at, request.expires_at);
        let tenant = request.tenant;
        let new = pending(id, request, &entry);
        if !self.store.add_credential(&new).await? {
            return Err(Failure::forbidden("the tenant is not active"));
        }
        let entry = Entry {
            action: "MountCredentialCreated",
            subject: Some(id.to_string()),
            ..entry
        };
        match self.take_steps(issuing, id, due_at, &entry).await {
            Ok(key) => {
                self.metrics.key(Key::Issued);
                Ok(Issued { id, key })
            }
            Err(trouble) => {
                self.metrics.key(Key::NotIssued);
                let is_over = trouble.code != ErrorCode::Unavailable;
                self.take_back(id, tenant, &entry, is_over).await;
                Err(trouble)
            }
        }
    }

    /// The provider's steps, one after the other; after each the row knows what there is. In
    /// the end the row is active.
    async fn take_steps(
        &self,
        mut issuing: Issuing<'_>,
        id: CredentialId,
        due_at: Option<Timestamp>,
        entry: &Entry,
    ) -> Result<NewKey, Failure> {
        while issuing.next_step().is_some() {
            self.in_time(Call::IssueKey, issuing.advance())
                .await
                .map_err(refusal)?;
            if issuing.next_step().is_some() {
                let made = supply::to_row(issuing.handle())?;
                self.store.keep_handle(id, &made).await?;
            }
        }
        let (handle, key) = issuing.finish();
        let key = key.ok_or_else(Failure::internal)?;
        let (access_key, handle) = (&key.access_key_id, supply::to_row(&handle)?);
        let activated = self
            .store
            .activate_credential(id, access_key, &handle, due_at, entry)
            .await?;
        activated
            .then_some(key)
            .ok_or_else(|| Failure::forbidden("the tenant is not active any more"))
    }

    /// Begins to take a key back and tries it once. What cannot be done now, not even the
    /// beginning, the background does: the row is there and will be due.
    ///
    /// Somebody else may have begun it meanwhile, while the provider was still making the key:
    /// they wait for this, or, where this server dies, for the time that no request outlives.
    /// With `is_over` the provider has answered each step; a step without an answer may still
    /// be carried out, and what comes of it is asked for once more later.
    async fn take_back(&self, id: CredentialId, tenant: TenantId, entry: &Entry, is_over: bool) {
        let now = self.now();
        let entry = Entry {
            at: now,
            action: "MountCredentialOrphaned",
            reason: Some("issuing failed".to_owned()),
            ..entry.clone()
        };
        match self
            .store
            .begin_revocations(KeysOf::Any(id), now, &entry)
            .await
        {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, key = %id, "a key is taken back later"),
        }
        match self.store.credential(tenant, id).await {
            Ok(Some(row)) if row.credential.state == CredentialState::Revoking => {
                let request_id = entry.request_id.as_deref();
                match is_over {
                    true => self.revoke_finally(&row, request_id).await,
                    false => self.revoke_row(&row, request_id).await,
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, key = %id, "a key is taken back later"),
        }
    }

    /// Takes keys back; answers those that it applies to, as they are then.
    pub(crate) async fn revoke(
        &self,
        keys: KeysOf,
        entry: &Entry,
    ) -> StoreResult<Vec<CredentialRow>> {
        let mut rows = self.store.begin_revocations(keys, entry.at, entry).await?;
        // The others are due already.
        for row in rows.iter_mut().take(AT_ONCE) {
            self.revoke_row(row, entry.request_id.as_deref()).await;
            if let Some(now) = self
                .store
                .credential(row.tenant, row.credential.credential_id)
                .await?
            {
                *row = now;
            }
        }
        Ok(rows)
    }

    /// Takes keys back as a consequence of something else that is being done.
    pub(crate) async fn revoke_because(
        &self,
        keys: KeysOf,
        entry: &Entry,
        reason: &str,
    ) -> StoreResult<()> {
        let entry = Entry {
            action: "MountCredentialRevoked",
            reason: Some(reason.to_owned()),
            ..entry.clone()
        };
        self.revoke(keys, &entry).await.map(drop)
    }

    /// Asks the provider once to take a `revoking` key back, and notes what came of it. A key
    /// that may still be in the making is asked for once more when it no longer can be: what
    /// the provider does not have yet it cannot take back.
    async fn revoke_row(&self, row: &CredentialRow, request_id: Option<&str>) {
        let over = row.credential.created_at.plus(PENDING);
        let may_be_in_the_making = row.credential.access_key.is_none() && self.now() < over;
        if !may_be_in_the_making {
            return self.revoke_finally(row, request_id).await;
        }
        let id = row.credential.credential_id;
        let trouble = match self.ask_to_revoke(row).await {
            Ok(()) => "it was still being made; it is asked for once more".to_owned(),
            Err(error) => in_short(&error),
        };
        let store = &self.store;
        let noted = store.fail_revocation(id, Deletion::Pending, &trouble, over);
        if let Err(error) = noted.await {
            tracing::warn!(%error, key = %id, "what became of a key was not noted");
        }
    }

    async fn revoke_finally(&self, row: &CredentialRow, request_id: Option<&str>) {
        let id = row.credential.credential_id;
        let revoked = self.ask_to_revoke(row).await;
        let noted = match revoked {
            Ok(()) => {
                self.metrics.key(Key::Revoked);
                let entry = Entry {
                    at: self.now(),
                    action: "MountCredentialDeleted",
                    actor: None,
                    tenant: Some(row.tenant),
                    subject: Some(id.to_string()),
                    reason: None,
                    request_id: request_id.map(str::to_owned),
                };
                self.store.finish_revocation(id, &entry).await.map(drop)
            }
            Err(error) => {
                self.metrics.key(Key::NotRevoked);
                tracing::warn!(%error, key = %id, "the provider did not take a key back; it is asked again");
                let due_at = after_failure(self.now(), row.attempts);
                let store = &self.store;
                let failed = Deletion::Failed;
                store
                    .fail_revocation(id, failed, &in_short(&error), due_at)
                    .await
            }
        };
        if let Err(error) = noted {
            // The row stays due, and revoking it again costs nothing.
            tracing::warn!(%error, key = %id, "what became of a key was not noted");
        }
    }

    async fn ask_to_revoke(&self, row: &CredentialRow) -> Result<(), Error> {
        let handle = supply::handle(row.credential.credential_id.uuid(), &row.handle);
        let provider = self.asked_provider()?;
        self.in_time(Call::RevokeKey, provider.revoke(&handle))
            .await
    }

    /// What the time of a key has come for.
    pub(crate) async fn tend_credential(&self, row: CredentialRow) -> StoreResult<()> {
        let now = self.now();
        let (action, reason) = match row.credential.state {
            CredentialState::Revoked => return Ok(()),
            CredentialState::Revoking => {
                self.revoke_row(&row, None).await;
                return Ok(());
            }
            CredentialState::Pending => ("MountCredentialOrphaned", "issuing was cut short"),
            CredentialState::Active if row.credential.expires_at.is_some_and(|end| end <= now) => {
                ("MountCredentialRevoked", "its time has ended")
            }
            CredentialState::Active if self.is_unconfirmed(&row, now) => {
                ("MountCredentialOrphaned", "no mount ever confirmed it")
            }
            CredentialState::Active => ("MountCredentialOrphaned", "unused for too long"),
        };
        let entry = Entry {
            at: now,
            action,
            actor: None,
            tenant: None,
            subject: None,
            reason: Some(reason.to_owned()),
            request_id: None,
        };
        let key = KeysOf::Any(row.credential.credential_id);
        self.revoke(key, &entry).await.map(drop)
    }

    /// The same for a new key, which a mount has yet to confirm: whoever asked may have died
    /// before the answer reached them.
    fn new_key_due(&self, made: Timestamp, ends: Option<Timestamp>) -> Option<Timestamp> {
        let unconfirmed = self.settings.revoke_unconfirmed_after;
        let unconfirmed = unconfirmed.map(|length| made.plus(length));
        [self.key_due(made, ends), unconfirmed]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_unconfirmed(&self, row: &CredentialRow, now: Timestamp) -> bool {
        let limit = self.settings.revoke_unconfirmed_after;
        let made = row.credential.created_at;
        row.credential.last_used_at.is_none()
            && limit.is_some_and(|length| made.plus(length) <= now)
    }

    /// When the background looks at an active key: at its end, or when it was unused for as
    /// long as the operator allows.
    pub(crate) fn key_due(&self, used: Timestamp, ends: Option<Timestamp>) -> Option<Timestamp> {
        let unused = self.settings.revoke_unused_after;
        let unused = unused.map(|length| used.plus(length));
        [ends, unused].into_iter().flatten().min()
    }
}

fn pending(id: CredentialId, request: Request, entry: &Entry) -> NewCredential {
    NewCredential {
        id,
        tenant: request.tenant,
        bucket_tenant: request.bucket_tenant,
        workspace: request.workspace,
        grant: request.grant,
        via: request.via,
        bucket: request.bucket,
        prefix: request.prefix,
        mode: request.mode,
        description: request.description,
        created_by: entry.actor.clone().unwrap_or_default(),
        created_at: entry.at,
        expires_at: request.expires_at,
        due_at: entry.at.plus(PENDING),
    }
}
