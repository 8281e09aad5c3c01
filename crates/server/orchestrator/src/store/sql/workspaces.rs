//! The rows of workspaces.

use api::{Place, TenantId, Timestamp, Workspace, WorkspaceId};
use async_trait::async_trait;
use model::{Handle, WorkspaceName};

use super::audit::append;
use super::columns::{id, some_time, time, value};
use super::steps::{due_by, part_of, took_place};
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
        let statement = sqlx::query(ADD)
            .bind(new.id.uuid())
            .bind(new.tenant.uuid())
            .bind(new.name.as_str())
            .bind(word(&new.backend)?)
            .bind(new.place.bucket.as_str())
            .bind(new.place.endpoint_url.as_str())
            .bind(new.place.region.as_str())
            .bind(new.place.prefix.as_str())
            .bind(&new.created_by)
            .bind(new.created_at.micros());
        self.add(statement, entry).await
    }

    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>> {
        self.one(sqlx::query(BY_ID).bind(id.uuid()), workspace)
            .await
    }

    async fn workspace_by_name(
        &self,
        handle: &Handle,
        name: &WorkspaceName,
    ) -> Result<Option<Workspace>> {
        let statement = sqlx::query(BY_NAME)
            .bind(handle.as_str())
            .bind(name.as_str());
        self.one(statement, workspace).await
    }

    async fn workspaces(&self, tenant: TenantId, part: Part) -> Result<Vec<Workspace>> {
        self.all(
            part_of(sqlx::query(PART).bind(tenant.uuid()), part),
            workspace,
        )
        .await
    }

    async fn format_workspace(
        &self,
        id: WorkspaceId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        self.change(
            sqlx::query(FORMAT).bind(id.uuid()).bind(now.micros()),
            entry,
        )
        .await
    }

    async fn begin_workspace_end(
        &self,
        id: WorkspaceId,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let began = sqlx::query(BEGIN_END).bind(id.uuid()).bind(now.micros());
        let began = took_place(&mut transaction, began).await?;
        if began {
            let ended = sqlx::query(END_GRANTS).bind(id.uuid()).bind(now.micros());
            ended.execute(&mut *transaction).await?;
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(began)
    }

    async fn finish_workspace_end(&self, id: WorkspaceId, entry: &Entry) -> Result<bool> {
        self.change(sqlx::query(FINISH_END).bind(id.uuid()), entry)
            .await
    }

    async fn due_workspaces(&self, due: Due) -> Result<Vec<Workspace>> {
        self.all(due_by(TAKE_DUE, due), workspace).await
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
