//! The rows of mounts.

use api::{EventId, LiveMount, MountId, ReportMount, Timestamp, WorkspaceId};
use async_trait::async_trait;

use super::columns::{id, number, some_number, text, time, value};
use super::steps::{Bound, part_of};
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{Mounts, MountsOf, NewReport, Part, Result};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT m.*, w.name AS workspace, w.last_event AS newest_event
             FROM mounts m JOIN workspaces w ON w.id = m.workspace_id ",
            $rest
        )
    };
}

statements! {
    // A number that is another's stays another's: the condition finds no row then.
    REPORT = "INSERT INTO mounts (id, workspace_id, owner_id, tenant_id, actor, machine, mode,
                  last_event, pending, pending_bytes, oldest_pending_seconds, started_at,
                  reported_at)
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
              ON CONFLICT (id) DO UPDATE SET
                  machine = excluded.machine, mode = excluded.mode,
                  last_event = excluded.last_event, pending = excluded.pending,
                  pending_bytes = excluded.pending_bytes,
                  oldest_pending_seconds = excluded.oldest_pending_seconds,
                  reported_at = excluded.reported_at
              WHERE mounts.workspace_id = excluded.workspace_id
                  AND mounts.tenant_id = excluded.tenant_id
                  AND mounts.actor = excluded.actor";
    END = "DELETE FROM mounts WHERE id = $1 AND workspace_id = $2 AND actor = $3";
    OF_WORKSPACE = select!("WHERE m.workspace_id = $1 AND m.reported_at >= $2 AND m.id > $3
                            ORDER BY m.id LIMIT $4");
    OF_VISITOR = select!("WHERE m.tenant_id = $1 AND m.workspace_id = $2
                              AND m.reported_at >= $3 AND m.id > $4
                          ORDER BY m.id LIMIT $5");
    OF_OWNER = select!("WHERE m.owner_id = $1 AND m.reported_at >= $2 AND m.id > $3
                        ORDER BY m.id LIMIT $4");
    FORGET = "DELETE FROM mounts WHERE reported_at < $1";
}

#[async_trait]
impl Mounts for Adapter {
    async fn report_mount(&self, new: &NewReport) -> Result<bool> {
        let report = &new.report;
        let statement = sqlx::query(REPORT)
            .bind(new.mount.uuid())
            .bind(new.workspace.uuid())
            .bind(new.owner.uuid())
            .bind(new.tenant.uuid())
            .bind(&new.actor)
            .bind(report.machine.as_str())
            .bind(word(&report.mode)?)
            .bind(report.last_event_id.map(|id| id.0))
            .bind(column(report.pending))
            .bind(column(report.pending_bytes))
            .bind(report.oldest_pending_seconds.map(column))
            .bind(new.at.micros());
        Ok(statement.execute(&self.pool).await?.rows_affected() > 0)
    }

    async fn end_mount(&self, id: MountId, workspace: WorkspaceId, actor: &str) -> Result<bool> {
        let statement = sqlx::query(END)
            .bind(id.uuid())
            .bind(workspace.uuid())
            .bind(actor);
        Ok(statement.execute(&self.pool).await?.rows_affected() > 0)
    }

    async fn mounts(&self, of: MountsOf, since: Timestamp, part: Part) -> Result<Vec<LiveMount>> {
        let statement: Bound<'_> = match of {
            MountsOf::Workspace(workspace) => sqlx::query(OF_WORKSPACE).bind(workspace.uuid()),
            MountsOf::Visitor(tenant, workspace) => sqlx::query(OF_VISITOR)
                .bind(tenant.uuid())
                .bind(workspace.uuid()),
            MountsOf::Owner(tenant) => sqlx::query(OF_OWNER).bind(tenant.uuid()),
        };
        self.all(part_of(statement.bind(since.micros()), part), mount)
            .await
    }

    async fn forget_mounts(&self, before: Timestamp) -> Result<()> {
        let forget = sqlx::query(FORGET).bind(before.micros());
        forget.execute(&self.pool).await?;
        Ok(())
    }
}

/// No mount has more than a column has room for; one that says so is shown as having that.
fn column(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The same the other way round: nothing negative was ever written.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn mount(row: &DbRow) -> Result<LiveMount> {
    let last = some_number(row, "last_event")?;
    let newest = number(row, "newest_event")?;
    Ok(LiveMount {
        mount_id: id(row, "id")?,
        workspace_id: id(row, "workspace_id")?,
        workspace: value(row, "workspace")?,
        actor: text(row, "actor")?,
        report: ReportMount {
            machine: value(row, "machine")?,
            mode: value(row, "mode")?,
            last_event_id: last.map(EventId),
            pending: count(number(row, "pending")?),
            pending_bytes: count(number(row, "pending_bytes")?),
            oldest_pending_seconds: some_number(row, "oldest_pending_seconds")?.map(count),
        },
        // What a mount says may be nonsense: a number below the first event or above the newest.
        events_behind: last.map(|last| count(newest.saturating_sub(last.max(0)))),
        started_at: time(row, "started_at")?,
        reported_at: time(row, "reported_at")?,
    })
}
