//! The rows of events.

use std::collections::BTreeSet;

use api::{Backend, BucketName, Event, EventId, RevokedKey, TenantId, Timestamp, WorkspaceId};
use async_trait::async_trait;
use futures::stream::BoxStream;
use uuid::Uuid;

use super::columns::{id, number, text, value};
use super::{Adapter, Connection, DbRow, announce};
use crate::store::{CredentialRow, Events, Happened, Heard, Missed, Result, Situated, StoreError};

statements! {
    COUNT = "UPDATE workspaces SET last_event = last_event + 1
             WHERE id = $1 AND state <> 'deleted' RETURNING last_event";
    ADD = "INSERT INTO events (workspace_id, seq, at, event) VALUES ($1, $2, $3, $4)";
    BEHIND = "SELECT seq, event FROM events WHERE workspace_id = $1 AND seq > $2
              ORDER BY seq LIMIT $3";
    NEWEST = "SELECT last_event FROM workspaces WHERE id = $1";
    IN_BUCKET = "SELECT id, tenant_id, prefix, backend FROM workspaces
                 WHERE bucket = $1 AND state IN ('pending_format', 'active')";
    AT_PREFIX = "SELECT id, tenant_id, prefix, backend FROM workspaces
                 WHERE bucket = $1 AND prefix = $2 AND state IN ('pending_format', 'active')";
    OF_TENANT = "SELECT id FROM workspaces
                 WHERE tenant_id = $1 AND bucket = $2 AND state <> 'deleted'";
    FORGET = "DELETE FROM events WHERE at < $1";
}

#[async_trait]
impl Events for Adapter {
    async fn add_events(
        &self,
        workspace: WorkspaceId,
        now: Timestamp,
        events: &[Event],
    ) -> Result<Option<EventId>> {
        let mut transaction = self.begin().await?;
        let mut last = None;
        for event in events {
            last = add(&mut transaction, workspace, now, event).await?;
            if last.is_none() {
                return Ok(None);
            }
        }
        announce(&mut transaction, workspace).await?;
        transaction.commit().await?;
        self.committed(workspace);
        Ok(last)
    }

    async fn events(&self, workspace: WorkspaceId, after: EventId, limit: i64) -> Result<Missed> {
        // The newest number first: events that are added between the two questions are behind
        // it, and make no gap.
        let newest = self.newest_event(workspace).await?;
        let rows = sqlx::query(BEHIND)
            .bind(workspace.uuid())
            .bind(after.0)
            .bind(limit);
        let rows = rows.fetch_all(&self.pool).await?;
        let events: Result<Vec<Happened>> = rows.iter().map(happened).collect();
        let events = events?;
        let gap = match events.first() {
            Some(first) => first.id.0 != after.0 + 1,
            None => newest != after,
        };
        Ok(Missed {
            events,
            newest,
            gap,
        })
    }

    async fn newest_event(&self, workspace: WorkspaceId) -> Result<EventId> {
        let row = sqlx::query(NEWEST).bind(workspace.uuid());
        let row = row.fetch_optional(&self.pool).await?;
        let last = row.as_ref().map(|row| number(row, "last_event"));
        Ok(EventId(last.transpose()?.unwrap_or(0)))
    }

    async fn workspaces_in(&self, bucket: &BucketName) -> Result<Vec<Situated>> {
        self.all(sqlx::query(IN_BUCKET).bind(bucket.as_str()), situated)
            .await
    }

    async fn workspaces_at(&self, bucket: &BucketName, prefix: &str) -> Result<Vec<Situated>> {
        let statement = sqlx::query(AT_PREFIX)
            .bind(bucket.as_str())
            .bind(prefix.to_owned());
        self.all(statement, situated).await
    }

    async fn forget_events(&self, before: Timestamp) -> Result<()> {
        let forget = sqlx::query(FORGET).bind(before.micros());
        forget.execute(&self.pool).await?;
        Ok(())
    }

    async fn listen(&self) -> Result<BoxStream<'static, Heard>> {
        self.hear().await
    }
}

/// Adds one event; `None` if the workspace is gone.
async fn add(
    connection: &mut Connection,
    workspace: WorkspaceId,
    now: Timestamp,
    event: &Event,
) -> Result<Option<EventId>> {
    let counted = sqlx::query(COUNT).bind(workspace.uuid());
    let Some(row) = counted.fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    let seq = number(&row, "last_event")?;
    let text = serde_json::to_string(event);
    let text = text.map_err(|error| StoreError::Broken(error.to_string()))?;
    sqlx::query(ADD)
        .bind(workspace.uuid())
        .bind(seq)
        .bind(now.micros())
        .bind(text)
        .execute(connection)
        .await?;
    Ok(Some(EventId(seq)))
}

/// Tells those who follow the workspaces that these keys open that they no longer count.
/// Answers the workspaces, for [`committed`](Adapter::committed). They are taken in order, so
/// that two transactions never wait for each other.
pub(super) async fn tell_of_revocations(
    connection: &mut Connection,
    now: Timestamp,
    rows: &[CredentialRow],
) -> Result<Vec<WorkspaceId>> {
    let mut told: BTreeSet<(Uuid, usize)> = BTreeSet::new();
    for (place, row) in rows.iter().enumerate() {
        for workspace in workspaces_of(connection, row).await? {
            told.insert((workspace.uuid(), place));
        }
    }
    let mut workspaces = Vec::new();
    for (workspace, place) in told {
        let workspace = WorkspaceId::from(workspace);
        let credential = &rows[place].credential;
        let event = Event::Revoked(RevokedKey {
            credential_id: credential.credential_id,
            access_key: credential.access_key.clone(),
        });
        if add(connection, workspace, now, &event).await?.is_some() {
            announce(connection, workspace).await?;
            workspaces.push(workspace);
        }
    }
    Ok(workspaces)
}

/// The workspaces that a key opens: the one that it is for, or all in its bucket.
async fn workspaces_of(
    connection: &mut Connection,
    row: &CredentialRow,
) -> Result<Vec<WorkspaceId>> {
    if let Some(workspace) = row.credential.workspace_id {
        return Ok(vec![workspace]);
    }
    let rows = sqlx::query(OF_TENANT)
        .bind(TenantId::uuid(row.tenant))
        .bind(row.bucket.as_str());
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(|row| id(row, "id")).collect()
}

fn situated(row: &DbRow) -> Result<Situated> {
    Ok(Situated {
        workspace: id(row, "id")?,
        tenant: id(row, "tenant_id")?,
        prefix: value(row, "prefix")?,
        managed: value::<Backend>(row, "backend")? == Backend::Managed,
    })
}

fn happened(row: &DbRow) -> Result<Happened> {
    let event = serde_json::from_str(&text(row, "event")?);
    Ok(Happened {
        id: EventId(number(row, "seq")?),
        event: event.map_err(|error| StoreError::Broken(error.to_string()))?,
    })
}
