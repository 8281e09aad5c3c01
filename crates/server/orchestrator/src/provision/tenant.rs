//! Making and ending tenants.
//!
//! provisioning → active → deleting → deleted; provisioning → undoing → failed, when the
//! bucket cannot be made. A step that fails in passing is tried again.

use api::{BucketName, TenantId, TenantState};
use provider::{Error, Setting};

use super::{Call, after_failure, in_short};
use crate::app::App;
use crate::store::{Entry, KeysOf, Result as StoreResult, TenantChange, TenantRow};

/// So many passing failures in a row are taken for a refusal: three hours of trying.
const PROVISIONING_ATTEMPTS: i64 = 45;

impl App {
    /// Takes steps until the tenant is where it wants to be, or a step fails.
    pub(crate) async fn bring_on(&self, id: TenantId) -> StoreResult<Option<TenantRow>> {
        loop {
            let Some(row) = self.store.tenant(id).await? else {
                return Ok(None);
            };
            if !self.tend_tenant(&row).await? {
                return self.store.tenant(id).await;
            }
        }
    }

    /// Takes one step; answers whether it moved the tenant on.
    pub(crate) async fn tend_tenant(&self, row: &TenantRow) -> StoreResult<bool> {
        match row.tenant.state {
            TenantState::Provisioning => self.make_bucket(row).await,
            TenantState::Undoing => self.unmake_bucket(row).await,
            TenantState::Deleting => self.end_tenant(row).await,
            TenantState::Active | TenantState::Failed | TenantState::Deleted => Ok(false),
        }
    }

    async fn make_bucket(&self, row: &TenantRow) -> StoreResult<bool> {
        let made = match &row.tenant.bucket_name {
            None => Ok(()),
            Some(bucket) => self.settled_bucket(bucket).await,
        };
        match made {
            Ok(()) => {
                let active = TenantState::Active;
                let moved = self
                    .move_tenant(row, active, "TenantActivated", None)
                    .await?;
                if !moved {
                    self.unmake_late(row.tenant.tenant_id).await?;
                }
                Ok(moved)
            }
            Err(error) if error.may_pass() && row.attempts < PROVISIONING_ATTEMPTS => {
                self.wait(row, &in_short(&error)).await
            }
            Err(error) => {
                let trouble = Some(in_short(&error));
                self.move_tenant(row, TenantState::Undoing, "TenantRefused", trouble)
                    .await
            }
        }
    }

    /// The tenant was ended while its bucket was being made, perhaps before that was there to
    /// be deleted.
    async fn unmake_late(&self, id: TenantId) -> StoreResult<()> {
        let row = self.store.tenant(id).await?;
        let ended = |row: &TenantRow| row.tenant.state == TenantState::Deleted && row.delete_bucket;
        if let Some(row) = row.filter(ended)
            && let Err(error) = self.remove_bucket(&row).await
        {
            tracing::error!(tenant = %id, %error, "the bucket of a tenant that is gone stays");
        }
        Ok(())
    }

    /// The bucket with the settings that every bucket of ours has. Both calls may be repeated.
    async fn settled_bucket(&self, bucket: &BucketName) -> provider::Result<()> {
        let provider = self.asked_provider()?;
        let bucket = bucket.as_str().parse()?;
        self.in_time(Call::MakeBucket, provider.create_bucket(&bucket))
            .await?;
        let settings = provider.settle_bucket(&bucket);
        let settings = self.in_time(Call::SettleBucket, settings).await?;
        for (setting, name) in [
            (settings.uploads_expire, "abandoned uploads stay"),
            (
                settings.public_access_blocked,
                "public access is not blocked",
            ),
            (settings.cors_off, "CORS is not known"),
        ] {
            if setting == Setting::Unsupported {
                tracing::info!(%bucket, name, "the store does not have a setting");
            }
        }
        Ok(())
    }

    /// Takes back a bucket that was perhaps made. One with objects in it is not ours to
    /// delete: it stays, and the row says so.
    async fn unmake_bucket(&self, row: &TenantRow) -> StoreResult<bool> {
        let undone = self.remove_bucket(row).await;
        match undone {
            Ok(kept) => {
                let trouble = kept.or_else(|| row.tenant.trouble.clone());
                self.move_tenant(row, TenantState::Failed, "TenantFailed", trouble)
                    .await
            }
            Err(error) => self.wait(row, &in_short(&error)).await,
        }
    }

    /// First every key is gone, then the bucket, then the tenant.
    async fn end_tenant(&self, row: &TenantRow) -> StoreResult<bool> {
        let id = row.tenant.tenant_id;
        let entry = Entry {
            at: self.now(),
            action: "MountCredentialRevoked",
            actor: None,
            tenant: None,
            subject: None,
            reason: None,
            request_id: None,
        };
        for keys in [KeysOf::Holder(id), KeysOf::Bucket(id)] {
            self.revoke_because(keys, &entry, "its tenant is being deleted")
                .await?;
        }
        let living = self.store.living_keys_of_tenant(id).await?;
        if living > 0 {
            let trouble = format!("{living} keys are not confirmed as gone");
            return self.wait(row, &trouble).await;
        }
        let removed = match row.delete_bucket {
            true => self.remove_bucket(row).await,
            false => Ok(None),
        };
        match removed {
            Ok(kept) => {
                self.move_tenant(row, TenantState::Deleted, "TenantDeleted", kept)
                    .await
            }
            Err(error) => self.wait(row, &in_short(&error)).await,
        }
    }

    /// Deletes the bucket if it is empty; answers why it was kept, if it was.
    async fn remove_bucket(&self, row: &TenantRow) -> provider::Result<Option<String>> {
        let Some(bucket) = &row.tenant.bucket_name else {
            return Ok(None);
        };
        let provider = self.asked_provider()?;
        let name = bucket.as_str().parse()?;
        match self
            .in_time(Call::DeleteBucket, provider.delete_bucket(&name))
            .await
        {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(None),
            Err(Error::NotEmpty { .. }) => Ok(Some(format!(
                "the bucket {bucket} has objects or unfinished uploads in it and was kept"
            ))),
            Err(error) => Err(error),
        }
    }

    async fn move_tenant(
        &self,
        row: &TenantRow,
        to: TenantState,
        action: &'static str,
        trouble: Option<String>,
    ) -> StoreResult<bool> {
        let now = self.now();
        let more = to == TenantState::Undoing;
        let entry = Entry {
            at: now,
            action,
            actor: None,
            tenant: Some(row.tenant.tenant_id),
            subject: row.tenant.bucket_name.as_ref().map(ToString::to_string),
            reason: trouble.clone(),
            request_id: None,
        };
        let change = TenantChange {
            from: row.tenant.state,
            to,
            trouble,
            attempts: 0,
            due_at: more.then_some(now),
        };
        let id = row.tenant.tenant_id;
        self.store.change_tenant(id, &change, Some(&entry)).await
    }

    /// The step is taken again later. Answers that nothing moved.
    async fn wait(&self, row: &TenantRow, trouble: &str) -> StoreResult<bool> {
        tracing::warn!(tenant = %row.tenant.tenant_id, trouble, "a step is taken again later");
        let change = TenantChange {
            from: row.tenant.state,
            to: row.tenant.state,
            trouble: Some(trouble.to_owned()),
            attempts: row.attempts + 1,
            due_at: Some(after_failure(self.now(), row.attempts)),
        };
        let id = row.tenant.tenant_id;
        self.store.change_tenant(id, &change, None).await?;
        Ok(false)
    }
}
