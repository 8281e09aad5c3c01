//! Sessions, and the one-time tokens of the first operator.

use model::{Actor, DeviceId};
use sqlx::Row;

use super::{Result, Store, parsed, parsed_or_none};

/// A session that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) jti: String,
    pub(crate) actor: Actor,
    pub(crate) operator: Actor,
    pub(crate) device: Option<DeviceId>,
    /// How it came about.
    pub(crate) way: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

const ADD: &str = "INSERT INTO sessions
    (jti, actor, operator, device, way, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)";

impl Store {
    /// Keeps a session that is about to be handed out.
    pub(crate) async fn add_session(&self, row: &SessionRow) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        add(&mut connection, row).await
    }

    /// A session that was not revoked.
    pub(crate) async fn session(&self, jti: &str) -> Result<Option<SessionRow>> {
        let found = sqlx::query("SELECT * FROM sessions WHERE jti = ? AND revoked_at IS NULL");
        let row = found.bind(jti).fetch_optional(&self.pool).await?;
        let read = row.map(|row| {
            Ok(SessionRow {
                jti: row.try_get("jti")?,
                actor: parsed(&row, "actor")?,
                operator: parsed(&row, "operator")?,
                device: parsed_or_none(&row, "device")?,
                way: row.try_get("way")?,
                created_at: row.try_get("created_at")?,
                expires_at: row.try_get("expires_at")?,
            })
        });
        read.transpose()
    }

    /// Ends a session.
    pub(crate) async fn revoke_session(&self, jti: &str, now: i64) -> Result<()> {
        let end = "UPDATE sessions SET revoked_at = ? WHERE jti = ? AND revoked_at IS NULL";
        let end = sqlx::query(end).bind(now).bind(jti);
        end.execute(&self.pool).await?;
        Ok(())
    }

    /// Lets a session end earlier than its token says.
    pub(crate) async fn shorten_session(&self, jti: &str, ends: i64) -> Result<()> {
        let end = "UPDATE sessions SET expires_at = min(expires_at, ?) WHERE jti = ?";
        let end = sqlx::query(end).bind(ends).bind(jti);
        end.execute(&self.pool).await?;
        Ok(())
    }

    /// Ends all sessions of a device.
    pub(crate) async fn revoke_sessions_of(&self, device: &DeviceId, now: i64) -> Result<()> {
        let end = "UPDATE sessions SET revoked_at = ? WHERE device = ? AND revoked_at IS NULL";
        let end = sqlx::query(end).bind(now).bind(device.to_string());
        end.execute(&self.pool).await?;
        Ok(())
    }

    /// Keeps the hash of a bootstrap token; older ones count no more.
    pub(crate) async fn put_bootstrap(&self, hash: &[u8], expires_at: i64) -> Result<()> {
        let mut change = self.begin().await?;
        sqlx::query("DELETE FROM bootstrap")
            .execute(&mut *change)
            .await?;
        let put = sqlx::query("INSERT INTO bootstrap (hash, expires_at) VALUES (?, ?)");
        let put = put.bind(hash).bind(expires_at);
        put.execute(&mut *change).await?;
        Ok(change.commit().await?)
    }

    /// Uses a bootstrap token up, for a session; `false` if it does not count.
    pub(crate) async fn use_bootstrap(&self, hash: &[u8], session: &SessionRow) -> Result<bool> {
        let mut change = self.begin().await?;
        let used = sqlx::query("DELETE FROM bootstrap WHERE hash = ? AND expires_at > ?");
        let used = used.bind(hash).bind(session.created_at);
        if used.execute(&mut *change).await?.rows_affected() != 1 {
            return Ok(false);
        }
        add(&mut change, session).await?;
        change.commit().await?;
        Ok(true)
    }
}

/// Adds a session within a change.
pub(super) async fn add(connection: &mut sqlx::SqliteConnection, row: &SessionRow) -> Result<()> {
    let add = sqlx::query(ADD)
        .bind(&row.jti)
        .bind(row.actor.as_str())
        .bind(row.operator.as_str())
        .bind(row.device.map(|device| device.to_string()))
        .bind(&row.way)
        .bind(row.created_at)
        .bind(row.expires_at);
    add.execute(connection).await?;
    Ok(())
}
