//! The rows of workspaces.

use api::{Place, TenantId, Timestamp, Workspace, WorkspaceId};
use async_trait::async_trait;
use model::{Handle, WorkspaceName};

use super::audit::append;
use super::columns::{id, some_time, time, value};
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{Due, Entry, NewWorkspace, Part, Result, Workspaces};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT w.*, t.handle FROM workspaces w JOIN tenants t ON t.id = w.tenant_id ",
            $rest
        )
    };
}

statements! {
    ADD = "INSERT INTO workspaces (id, tenant_id, name, backend, bucket, endpoint, region, prefix,
               state, created_by, created_at, formatted_at, last_event, due_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending_format', $9, $10, NULL, 0, NULL)";
    BY_ID = select!("WHERE w.id = $1");
    BY_NAME = select!("WHERE t.handle = $1 AND t.state NOT IN ('deleted', 'failed')
                       AND w.name = $2 AND w.state <> 'deleted'");
    PART = select!("WHERE w.tenant_id = $1 AND w.id > $2 ORDER BY w.id LIMIT $3");
    FORMAT = "UPDATE workspaces SET state = 'active', formatted_at = $2
              WHERE id = $1 AND state = 'pending_format'";
    BEGIN_END = "UPDATE workspaces SET state = 'deleting', due_at = $2
                 WHERE id = $1 AND state IN ('pending_format', 'active')";
    END_GRANTS = "UPDATE grants SET revoked_at = $2 WHERE workspace_id = $1 AND revoked_at IS NULL";
    FINISH_END = "UPDATE workspaces SET state = 'deleted', due_at = NULL
                  WHERE id = $1 AND state = 'deleting'";
    TAKE_DUE = "UPDATE workspaces SET due_at = $2
                WHERE due_at <= $1
                  AND id IN (SELECT id FROM workspaces WHERE due_at <= $1 ORDER BY due_at LIMIT $3)
                RETURNING *, (SELECT handle FROM tenants t WHERE t.id = tenant_id) AS handle";
}

#[async_trait]
impl Workspaces for Adapter {
    async fn add_workspace(&self, new: &NewWorkspace, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(ADD)
            .bind(new.id.uuid())
            .bind(new.tenant.uuid())
            .bind(new.name.as_str())
            .bind(word(&new.backend)?)
            .bind(new.place.bucket.as_str())
            .bind(new.place.endpoint_url.as_str())
            .bind(new.place.region.as_str())
            .bind(new.place.prefix.as_str())
            .bind(&new.created_by)
            .bind(new.created_at.micros())
            .execute(&mut *transaction)
            .await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>> {
        let row = sqlx::query(BY_ID).bind(id.uuid());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(workspace).transpose()
    }

    async fn workspace_by_name(
        &self,
        handle: &Handle,
        name: &WorkspaceName,
    ) -> Result<Option<Workspace>> {
        let row = sqlx::query(BY_NAME)
            .bind(handle.as_str())
            .bind(name.as_str());
        let row = row.fetch_optional(&self.pool).await?;
        row.as_ref().map(workspace).transpose()
    }

    async fn workspaces(&self, tenant: TenantId, part: Part) -> Result<Vec<Workspace>> {
        let rows = sqlx::query(PART)
            .bind(tenant.uuid())
            .bind(part.after)
            .bind(part.limit);
        rows.fetch_all(&self.pool)
            .await?
            .iter()
            .map(workspace)
            .collect()
    }

    async fn format_workspace(
        &self,
        id: WorkspaceId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let formatted = sqlx::query(FORMAT).bind(id.uuid()).bind(now.micros());
        let formatted = formatted.execute(&mut *transaction).await?.rows_affected() > 0;
        if formatted {
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(formatted)
    }

    async fn begin_workspace_end(
        &self,
        id: WorkspaceId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let began = sqlx::query(BEGIN_END).bind(id.uuid()).bind(now.micros());
        let began = began.execute(&mut *transaction).await?.rows_affected() > 0;
        if began {
            let ended = sqlx::query(END_GRANTS).bind(id.uuid()).bind(now.micros());
            ended.execute(&mut *transaction).await?;
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(began)
    }

    async fn finish_workspace_end(&self, id: WorkspaceId, entry: &Entry) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let finished = sqlx::query(FINISH_END).bind(id.uuid());
        let finished = finished.execute(&mut *transaction).await?.rows_affected() > 0;
        if finished {
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(finished)
    }

    async fn due_workspaces(&self, due: Due) -> Result<Vec<Workspace>> {
        let rows = sqlx::query(TAKE_DUE)
            .bind(due.now.micros())
            .bind(due.again.micros())
            .bind(due.limit);
        rows.fetch_all(&self.pool)
            .await?
            .iter()
            .map(workspace)
            .collect()
    }
}

fn workspace(row: &DbRow) -> Result<Workspace> {
    let place = Place {
        bucket: value(row, "bucket")?,
        endpoint_url: value(row, "endpoint")?,
        region: value(row, "region")?,
        prefix: value(row, "prefix")?,
    };
    Ok(Workspace {
        workspace_id: id(row, "id")?,
        tenant_id: id(row, "tenant_id")?,
        handle: value(row, "handle")?,
        name: value(row, "name")?,
        backend: value(row, "backend")?,
        place,
        state: value(row, "state")?,
        created_at: time(row, "created_at")?,
        formatted_at: some_time(row, "formatted_at")?,
    })
}
