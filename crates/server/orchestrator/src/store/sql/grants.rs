//! The rows of grants.

use api::{Grant, GrantId, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::audit::append;
use super::columns::{id, some_time, time, value};
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{Entry, GrantRow, Grants, NewGrant, Part, Result};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT g.*, t.handle AS grantee FROM grants g JOIN tenants t ON t.id = g.grantee_id ",
            $rest
        )
    };
}

statements! {
    ADD = "INSERT INTO grants (id, workspace_id, tenant_id, grantee_id, mode, created_by,
               created_at, expires_at, revoked_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)";
    PART_BY = select!("WHERE g.tenant_id = $1 AND g.revoked_at IS NULL AND g.id > $2
                       ORDER BY g.id LIMIT $3");
    PART_TO = select!("WHERE g.grantee_id = $1 AND g.revoked_at IS NULL AND g.id > $2
                       ORDER BY g.id LIMIT $3");
    FOR_PAIR = "SELECT * FROM grants
                WHERE workspace_id = $1 AND grantee_id = $2 AND revoked_at IS NULL";
    REVOKE = "UPDATE grants SET revoked_at = $3
              WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
}

#[async_trait]
impl Grants for Adapter {
    async fn add_grant(&self, grant: &NewGrant, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(ADD)
            .bind(grant.id.uuid())
            .bind(grant.workspace.uuid())
            .bind(grant.tenant.uuid())
            .bind(grant.grantee.uuid())
            .bind(word(&grant.mode)?)
            .bind(&grant.created_by)
            .bind(grant.created_at.micros())
            .bind(grant.expires_at.map(Timestamp::micros))
            .execute(&mut *transaction)
            .await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn grants_by(&self, tenant: TenantId, part: Part) -> Result<Vec<Grant>> {
        self.grants(PART_BY, tenant, part).await
    }

    async fn grants_to(&self, tenant: TenantId, part: Part) -> Result<Vec<Grant>> {
        self.grants(PART_TO, tenant, part).await
    }

    async fn grant_for(
        &self,
        workspace: WorkspaceId,
        grantee: TenantId,
    ) -> Result<Option<GrantRow>> {
        let row = sqlx::query(FOR_PAIR)
            .bind(workspace.uuid())
            .bind(grantee.uuid());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(allowance).transpose()
    }

    async fn revoke_grant(
        &self,
        tenant: TenantId,
        id: GrantId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let revoked = sqlx::query(REVOKE)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(now.micros())
            .execute(&mut *transaction)
            .await?
            .rows_affected()
            > 0;
        if revoked {
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(revoked)
    }
}

impl Adapter {
    async fn grants(
        &self,
        statement: &'static str,
        tenant: TenantId,
        part: Part,
    ) -> Result<Vec<Grant>> {
        let rows = sqlx::query(statement)
            .bind(tenant.uuid())
            .bind(part.after)
            .bind(part.limit);
        rows.fetch_all(&self.pool)
            .await?
            .iter()
            .map(grant)
            .collect()
    }
}

fn allowance(row: &DbRow) -> Result<GrantRow> {
    Ok(GrantRow {
        id: id(row, "id")?,
        mode: value(row, "mode")?,
        expires_at: some_time(row, "expires_at")?,
    })
}

fn grant(row: &DbRow) -> Result<Grant> {
    Ok(Grant {
        grant_id: id(row, "id")?,
        workspace_id: id(row, "workspace_id")?,
        tenant_id: id(row, "tenant_id")?,
        grantee: value(row, "grantee")?,
        mode: value(row, "mode")?,
        created_at: time(row, "created_at")?,
        expires_at: some_time(row, "expires_at")?,
    })
}
