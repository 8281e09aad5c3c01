//! The rows of service tokens.

use api::{ServiceToken, ServiceTokenId, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::columns::{id, some_id, some_time, time, value};
use super::steps::{back_of, part_of};
use super::tenants::tenant_row;
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{Back, Entry, NewServiceToken, Part, Result, ServiceTokenRow, ServiceTokens};

statements! {
    ADD = "INSERT INTO service_tokens (id, tenant_id, hash, description, mode, purpose,
               workspace_id, created_by, created_at, expires_at, revoked_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL)";
    BY_HASH = "SELECT t.*, k.id AS token_id, k.workspace_id, k.mode, k.purpose, k.description,
                   k.created_at AS made_at, k.expires_at, k.revoked_at
               FROM service_tokens k JOIN tenants t ON t.id = k.tenant_id
               WHERE k.hash = $1";
    PART = "SELECT id AS token_id, workspace_id, mode, purpose, description, created_at AS made_at,
                expires_at, revoked_at
            FROM service_tokens WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    BACK = "SELECT id AS token_id, workspace_id, mode, purpose, description, created_at AS made_at,
                expires_at, revoked_at
            FROM service_tokens WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    REVOKE = "UPDATE service_tokens SET revoked_at = $3
              WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL";
}

#[async_trait]
impl ServiceTokens for Adapter {
    async fn add_service_token(&self, token: &NewServiceToken, entry: &Entry) -> Result<()> {
        let statement = sqlx::query(ADD)
            .bind(token.id.uuid())
            .bind(token.tenant.uuid())
            .bind(&token.hash)
            .bind(token.description.as_str())
            .bind(word(&token.mode)?)
            .bind(word(&token.purpose)?)
            .bind(token.workspace.map(WorkspaceId::uuid))
            .bind(&token.created_by)
            .bind(token.created_at.micros())
            .bind(token.expires_at.map(Timestamp::micros));
        self.add(statement, entry).await
    }

    async fn service_token(&self, hash: &[u8]) -> Result<Option<ServiceTokenRow>> {
        let read = |row: &DbRow| {
            Ok(ServiceTokenRow {
                token: token(row)?,
                tenant: tenant_row(row)?,
            })
        };
        self.one(sqlx::query(BY_HASH).bind(hash), read).await
    }

    async fn service_tokens(&self, tenant: TenantId, part: Part) -> Result<Vec<ServiceToken>> {
        self.all(part_of(sqlx::query(PART).bind(tenant.uuid()), part), token)
            .await
    }

    async fn service_tokens_back(&self, tenant: TenantId, back: Back) -> Result<Vec<ServiceToken>> {
        let statement = sqlx::query(BACK).bind(tenant.uuid());
        self.all(back_of(statement, back), token).await
    }

    async fn revoke_service_token(
        &self,
        tenant: TenantId,
        id: ServiceTokenId,
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

fn token(row: &DbRow) -> Result<ServiceToken> {
    Ok(ServiceToken {
        token_id: id(row, "token_id")?,
        description: value(row, "description")?,
        mode: value(row, "mode")?,
        purpose: value(row, "purpose")?,
        workspace_id: some_id(row, "workspace_id")?,
        created_at: time(row, "made_at")?,
        expires_at: some_time(row, "expires_at")?,
        revoked_at: some_time(row, "revoked_at")?,
    })
}
