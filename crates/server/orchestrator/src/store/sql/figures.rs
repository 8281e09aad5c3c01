//! Counting rows.

use api::Timestamp;
use async_trait::async_trait;

use super::columns::{number, some_number, some_time};
use super::{Adapter, DbRow};
use crate::store::{Connections, DueRows, Figures, Result, Watched};

statements! {
    LIVE = "SELECT COUNT(*) AS count, MIN(reported_at) AS oldest FROM mounts
            WHERE reported_at >= $1";
    ROWS = "SELECT MAX(seq) AS count FROM audit";
    DUE_KEYS = "SELECT COUNT(*) AS count, MIN(due_at) AS oldest FROM credentials
                WHERE due_at <= $1";
    DUE_WORKSPACES = "SELECT COUNT(*) AS count, MIN(due_at) AS oldest FROM workspaces
                      WHERE due_at <= $1";
    DUE_TENANTS = "SELECT COUNT(*) AS count, MIN(due_at) AS oldest FROM tenants
                   WHERE due_at <= $1";
}

#[async_trait]
impl Watched for Adapter {
    async fn figures(&self, now: Timestamp, since: Timestamp) -> Result<Figures> {
        Ok(Figures {
            live_mounts: self.counted(LIVE, since).await?.count,
            audit_rows: self.newest_row().await?,
            due: [
                ("key", self.counted(DUE_KEYS, now).await?),
                ("workspace", self.counted(DUE_WORKSPACES, now).await?),
                ("tenant", self.counted(DUE_TENANTS, now).await?),
            ],
        })
    }

    fn connections(&self) -> Connections {
        let whole = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Connections {
            open: whole(self.pool.size()),
            idle: self.pool.num_idle(),
            most: whole(self.pool.options().get_max_connections()),
        }
    }
}

impl Adapter {
    async fn counted(&self, statement: &'static str, time: Timestamp) -> Result<DueRows> {
        let row = sqlx::query(statement).bind(time.micros());
        let row = row.fetch_one(&self.pool).await?;
        due_rows(&row)
    }

    /// Rows of the audit are numbered from 1 without gaps.
    async fn newest_row(&self) -> Result<i64> {
        let row = sqlx::query(ROWS).fetch_one(&self.pool).await?;
        Ok(some_number(&row, "count")?.unwrap_or(0))
    }
}

fn due_rows(row: &DbRow) -> Result<DueRows> {
    Ok(DueRows {
        count: number(row, "count")?,
        oldest: some_time(row, "oldest")?,
    })
}
