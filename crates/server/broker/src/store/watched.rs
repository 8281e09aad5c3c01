//! What live capabilities rest on, so that the registry can be asked whether it still stands.

use model::{Actor, DeviceId, ServiceName};
use sqlx::Row;

use super::{Result, Store, StoreError, parsed};

/// What one or more live capabilities rest on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Watched {
    pub(crate) operator: Actor,
    pub(crate) actor: Actor,
    pub(crate) device: DeviceId,
    /// `store`, `fetch`, `list` or `teardown`.
    pub(crate) op: String,
    pub(crate) service: Option<ServiceName>,
}

const WATCH: &str = "INSERT INTO watched (operator, actor, device, op, service, until)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET until = max(until, excluded.until)";

const BEHIND: &str = "SELECT * FROM watched
    WHERE until > ? AND (operator, actor, device, op, service) > (?, ?, ?, ?, ?)
    ORDER BY operator, actor, device, op, service LIMIT ?";

impl Store {
    /// Remembers a proof and what the capability that is minted for it rests on; `false` if the
    /// proof was seen before: then nothing is minted.
    pub(crate) async fn watch(
        &self,
        proof: (&[u8], i64),
        watched: &Watched,
        until: i64,
    ) -> Result<bool> {
        let mut change = self.begin().await?;
        let seen = sqlx::query("INSERT OR IGNORE INTO proofs (hash, until) VALUES (?, ?)");
        let seen = seen.bind(proof.0).bind(proof.1);
        if seen.execute(&mut *change).await?.rows_affected() != 1 {
            return Ok(false);
        }
        let watch = sqlx::query(WATCH)
            .bind(watched.operator.as_str())
            .bind(watched.actor.as_str())
            .bind(watched.device.to_string())
            .bind(&watched.op)
            .bind(watched.service.as_ref().map_or("", ServiceName::as_str))
            .bind(until);
        watch.execute(&mut *change).await?;
        change.commit().await?;
        Ok(true)
    }

    /// What live capabilities rest on, at most so many, in the order of the key, behind this one.
    pub(crate) async fn watched(
        &self,
        now: i64,
        after: Option<&Watched>,
        limit: i64,
    ) -> Result<Vec<Watched>> {
        let found = sqlx::query(BEHIND)
            .bind(now)
            .bind(after.map_or("", |after| after.operator.as_str()))
            .bind(after.map_or("", |after| after.actor.as_str()))
            .bind(after.map_or_else(String::new, |after| after.device.to_string()))
            .bind(after.map_or("", |after| after.op.as_str()))
            .bind(
                after
                    .and_then(|after| after.service.as_ref())
                    .map_or("", ServiceName::as_str),
            )
            .bind(limit);
        let rows = found.fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Forgets what no longer stands.
    pub(crate) async fn unwatch(&self, watched: &Watched) -> Result<()> {
        let gone = "DELETE FROM watched WHERE operator = ? AND actor = ? AND device = ?
            AND op = ? AND service = ?";
        let gone = sqlx::query(gone)
            .bind(watched.operator.as_str())
            .bind(watched.actor.as_str())
            .bind(watched.device.to_string())
            .bind(&watched.op)
            .bind(watched.service.as_ref().map_or("", ServiceName::as_str));
        gone.execute(&self.pool).await?;
        Ok(())
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<Watched> {
    let service: String = row.try_get("service")?;
    let service = match service.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|_| StoreError::Row("service"))?),
    };
    Ok(Watched {
        operator: parsed(row, "operator")?,
        actor: parsed(row, "actor")?,
        device: parsed(row, "device")?,
        op: row.try_get("op")?,
        service,
    })
}
