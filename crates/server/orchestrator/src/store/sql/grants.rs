//! The rows of grants.

use api::{Grant, GrantId, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::columns::{id, some_time, time, value};
use super::steps::part_of;
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
        let statement = sqlx::query(ADD)
            .bind(grant.id.uuid())
            .bind(grant.workspace.uuid())
            .bind(grant.tenant.uuid())
            .bind(grant.grantee.uuid())
            .bind(word(&grant.mode)?)
            .bind(&grant.created_by)
            .bind(grant.created_at.micros())
            .bind(grant.expires_at.map(Timestamp::micros));
        self.add(statement, entry).await
    }

    async fn grants_by(&self, tenant: TenantId, part: Part) -> Result<Vec<Grant>> {
        let statement = part_of(sqlx::query(PART_BY).bind(tenant.uuid()), part);
        self.all(statement, grant).await
    }

    async fn grants_to(&self, tenant: TenantId, part: Part) -> Result<Vec<Grant>> {
        let statement = part_of(sqlx::query(PART_TO).bind(tenant.uuid()), part);
        self.all(statement, grant).await
    }

    async fn grant_for(
        &self,
        workspace: WorkspaceId,
        grantee: TenantId,
    ) -> Result<Option<GrantRow>> {
        let statement = sqlx::query(FOR_PAIR)
            .bind(workspace.uuid())
            .bind(grantee.uuid());
        self.one(statement, allowance).await
    }

    async fn revoke_grant(
        &self,
        tenant: TenantId,
        id: GrantId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let statement = sqlx::query(REVOKE)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(now.micros());
        self.change(statement, entry).await
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
