//! The rows of storage keys.

use api::{Credential, CredentialId, Deletion, GrantId, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::audit::append;
use super::columns::{id, number, some_id, some_text, some_time, some_value, text, time, value};
use super::events::tell_of_revocations;
use super::steps::{back_of, due_by, part_of};
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{
    Back, CredentialRow, Credentials, Due, Entry, KeysOf, NewCredential, Part, Result,
};

/// The same change for every choice of keys.
macro_rules! begin_revocation {
    ($choice:literal) => {
        concat!(
            "UPDATE credentials SET state = 'revoking', deletion_status = 'pending',
                 revoked_at = $1, due_at = $1
             WHERE ",
            $choice,
            " AND state <> 'revoked' AND state <> 'revoking' RETURNING *"
        )
    };
}

statements! {
    // A key to the bucket of a tenant that is being deleted would outlive it.
    ADD = "INSERT INTO credentials (id, tenant_id, bucket_tenant_id, workspace_id, grant_id, via,
               bucket, prefix, mode, description, handle, state, created_by, created_at,
               expires_at, due_at, attempts)
           SELECT $1, t.id, b.id, $4, $5, $6, $7, $8, $9, $10, '{}', 'pending', $11, $12, $13,
               $14, 0
           FROM tenants t, tenants b
           WHERE t.id = $2 AND b.id = $3 AND t.state = 'active' AND b.state = 'active'";
    KEEP_HANDLE = "UPDATE credentials SET handle = $2 WHERE id = $1";
    ACTIVATE = "UPDATE credentials SET state = 'active', access_key = $2, handle = $3, due_at = $4
                WHERE id = $1 AND state = 'pending'
                  AND NOT EXISTS (SELECT 1 FROM tenants t
                      WHERE t.id = credentials.tenant_id AND t.state <> 'active')
                  AND NOT EXISTS (SELECT 1 FROM tenants t
                      WHERE t.id = credentials.bucket_tenant_id AND t.state <> 'active')
                  AND NOT EXISTS (SELECT 1 FROM workspaces w
                      WHERE w.id = credentials.workspace_id
                        AND w.state IN ('deleting', 'deleted'))";
    PART = "SELECT * FROM credentials WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    BACK = "SELECT * FROM credentials WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    ONE = "SELECT * FROM credentials WHERE id = $1 AND tenant_id = $2";
    NEWEST = "SELECT created_at FROM credentials WHERE tenant_id = $1 AND state = 'active'
              ORDER BY id DESC LIMIT 1";
    TOUCH = "UPDATE credentials SET last_used_at = $3, due_at = $4
             WHERE id = $1 AND tenant_id = $2 AND state = 'active'";
    REVOKE_ONE = begin_revocation!("id = $2 AND tenant_id = $3");
    REVOKE_ANY = begin_revocation!("id = $2");
    REVOKE_OF_HOLDER = begin_revocation!("tenant_id = $2");
    REVOKE_TO_BUCKET = begin_revocation!("bucket_tenant_id = $2");
    REVOKE_OF_WORKSPACE = begin_revocation!("workspace_id = $2");
    REVOKE_OF_GRANT = begin_revocation!("grant_id = $2");
    REVOKE_OF_VIA = begin_revocation!("via = $2");
    FINISH = "UPDATE credentials SET state = 'revoked', deletion_status = 'completed',
                  trouble = NULL, due_at = NULL
              WHERE id = $1 AND state = 'revoking'";
    FAIL = "UPDATE credentials SET deletion_status = $2, trouble = $3, due_at = $4,
                attempts = attempts + 1
            WHERE id = $1 AND state = 'revoking'";
    LIVING_OF_HOLDER = "SELECT count(*) AS keys FROM credentials
                        WHERE tenant_id = $1 AND state <> 'revoked'";
    LIVING_TO_BUCKET = "SELECT count(*) AS keys FROM credentials
                        WHERE bucket_tenant_id = $1 AND state <> 'revoked'";
    LIVING_OF_WORKSPACE = "SELECT count(*) AS keys FROM credentials
                           WHERE workspace_id = $1 AND state <> 'revoked'";
    DUE = "UPDATE credentials SET due_at = $2
           WHERE due_at <= $1
             AND id IN (SELECT id FROM credentials WHERE due_at <= $1 ORDER BY due_at LIMIT $3)
           RETURNING *";
}

#[async_trait]
impl Credentials for Adapter {
    async fn add_credential(&self, new: &NewCredential) -> Result<bool> {
        let added = sqlx::query(ADD)
            .bind(new.id.uuid())
            .bind(new.tenant.uuid())
            .bind(new.bucket_tenant.uuid())
            .bind(new.workspace.map(WorkspaceId::uuid))
            .bind(new.grant.map(GrantId::uuid))
            .bind(new.via)
            .bind(new.bucket.as_str())
            .bind(new.prefix.as_str())
            .bind(word(&new.mode)?)
            .bind(new.description.as_ref().map(|text| text.as_str()))
            .bind(&new.created_by)
            .bind(new.created_at.micros())
            .bind(new.expires_at.map(Timestamp::micros))
            .bind(new.due_at.micros())
            .execute(&self.pool)
            .await?;
        Ok(added.rows_affected() > 0)
    }

    async fn keep_handle(&self, id: CredentialId, handle: &str) -> Result<()> {
        let kept = sqlx::query(KEEP_HANDLE).bind(id.uuid()).bind(handle);
        kept.execute(&self.pool).await?;
        Ok(())
    }

    async fn activate_credential(
        &self,
        id: CredentialId,
        access_key: &str,
        handle: &str,
        due_at: Option<Timestamp>,
        entry: &Entry,
    ) -> Result<bool> {
        let statement = sqlx::query(ACTIVATE)
            .bind(id.uuid())
            .bind(access_key)
            .bind(handle)
            .bind(due_at.map(Timestamp::micros));
        self.change(statement, entry).await
    }

    async fn credentials(&self, tenant: TenantId, part: Part) -> Result<Vec<Credential>> {
        self.all(
            part_of(sqlx::query(PART).bind(tenant.uuid()), part),
            credential,
        )
        .await
    }

    async fn credentials_back(&self, tenant: TenantId, back: Back) -> Result<Vec<Credential>> {
        let statement = sqlx::query(BACK).bind(tenant.uuid());
        self.all(back_of(statement, back), credential).await
    }

    async fn credential(
        &self,
        tenant: TenantId,
        id: CredentialId,
    ) -> Result<Option<CredentialRow>> {
        self.one(
            sqlx::query(ONE).bind(id.uuid()).bind(tenant.uuid()),
            credential_row,
        )
        .await
    }

    async fn newest_credential(&self, tenant: TenantId) -> Result<Option<Timestamp>> {
        self.one(sqlx::query(NEWEST).bind(tenant.uuid()), |row| {
            time(row, "created_at")
        })
        .await
    }

    async fn touch_credential(
        &self,
        tenant: TenantId,
        id: CredentialId,
        now: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<bool> {
        let touched = sqlx::query(TOUCH)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(now.micros())
            .bind(due_at.map(Timestamp::micros))
            .execute(&self.pool)
            .await?;
        Ok(touched.rows_affected() > 0)
    }

    async fn begin_revocations(
        &self,
        keys: KeysOf,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<Vec<CredentialRow>> {
        let moment = now;
        let now = now.micros();
        let query = match keys {
            KeysOf::One(tenant, key) => {
                let query = sqlx::query(REVOKE_ONE).bind(now).bind(key.uuid());
                query.bind(tenant.uuid())
            }
            KeysOf::Any(key) => sqlx::query(REVOKE_ANY).bind(now).bind(key.uuid()),
            KeysOf::Holder(tenant) => sqlx::query(REVOKE_OF_HOLDER).bind(now).bind(tenant.uuid()),
            KeysOf::Bucket(tenant) => sqlx::query(REVOKE_TO_BUCKET).bind(now).bind(tenant.uuid()),
            KeysOf::Workspace(workspace) => sqlx::query(REVOKE_OF_WORKSPACE)
                .bind(now)
                .bind(workspace.uuid()),
            KeysOf::Grant(grant) => sqlx::query(REVOKE_OF_GRANT).bind(now).bind(grant.uuid()),
            KeysOf::Via(via) => sqlx::query(REVOKE_OF_VIA).bind(now).bind(via),
        };
        let mut transaction = self.begin().await?;
        let rows = query.fetch_all(&mut *transaction).await?;
        let rows: Result<Vec<CredentialRow>> = rows.iter().map(credential_row).collect();
        let rows = rows?;
        let told = tell_of_revocations(&mut transaction, moment, &rows).await?;
        for row in &rows {
            let subject = Some(row.credential.credential_id.to_string());
            let entry = Entry {
                subject,
                tenant: Some(row.tenant),
                ..entry.clone()
            };
            append(&mut transaction, &entry).await?;
        }
        transaction.commit().await?;
        for workspace in told {
            self.committed(workspace);
        }
        Ok(rows)
    }

    async fn finish_revocation(&self, id: CredentialId, entry: &Entry) -> Result<bool> {
        self.change(sqlx::query(FINISH).bind(id.uuid()), entry)
            .await
    }

    async fn fail_revocation(
        &self,
        id: CredentialId,
        deletion: Deletion,
        trouble: &str,
        due_at: Timestamp,
    ) -> Result<()> {
        sqlx::query(FAIL)
            .bind(id.uuid())
            .bind(word(&deletion)?)
            .bind(trouble)
            .bind(due_at.micros())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn living_keys_of_tenant(&self, tenant: TenantId) -> Result<i64> {
        let mut living = 0;
        for statement in [LIVING_OF_HOLDER, LIVING_TO_BUCKET] {
            let row = sqlx::query(statement).bind(tenant.uuid());
            living += number(&row.fetch_one(&self.pool).await?, "keys")?;
        }
        Ok(living)
    }

    async fn living_keys_of_workspace(&self, workspace: WorkspaceId) -> Result<i64> {
        let row = sqlx::query(LIVING_OF_WORKSPACE).bind(workspace.uuid());
        number(&row.fetch_one(&self.pool).await?, "keys")
    }

    async fn due_credentials(&self, due: Due) -> Result<Vec<CredentialRow>> {
        self.all(due_by(DUE, due), credential_row).await
    }
}

fn credential_row(row: &DbRow) -> Result<CredentialRow> {
    Ok(CredentialRow {
        credential: credential(row)?,
        tenant: id(row, "tenant_id")?,
        via: some_id(row, "via")?,
        bucket: value(row, "bucket")?,
        prefix: value(row, "prefix")?,
        handle: text(row, "handle")?,
        attempts: number(row, "attempts")?,
    })
}

fn credential(row: &DbRow) -> Result<Credential> {
    Ok(Credential {
        credential_id: id(row, "id")?,
        access_key: some_text(row, "access_key")?,
        mode: value(row, "mode")?,
        description: some_value(row, "description")?,
        workspace_id: some_id(row, "workspace_id")?,
        state: value(row, "state")?,
        deletion_status: some_value(row, "deletion_status")?,
        created_at: time(row, "created_at")?,
        expires_at: some_time(row, "expires_at")?,
        last_used_at: some_time(row, "last_used_at")?,
        revoked_at: some_time(row, "revoked_at")?,
    })
}
