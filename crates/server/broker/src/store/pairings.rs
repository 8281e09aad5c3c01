//! Devices of agents that ask to belong to an operator.

use api::UserCode;
use model::{Actor, DeviceId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::asking::{Standing, added};
use super::{Result, SessionRow, Store, parsed, parsed_or_none};

/// A device that asks.
#[derive(Debug, Clone)]
pub(crate) struct NewPairing {
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) user_code: UserCode,
    pub(crate) label: String,
    pub(crate) device: DeviceId,
    pub(crate) expires_at: i64,
}

/// The same, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pairing {
    pub(crate) label: String,
    pub(crate) device: DeviceId,
    pub(crate) state: Standing,
    pub(crate) operator: Option<Actor>,
    pub(crate) expires_at: i64,
    /// When it was asked for last.
    pub(crate) polled_at: i64,
}

const ADD: &str = "INSERT INTO pairings
    (secret_hash, user_code, label, device, state, expires_at)
    VALUES (?, ?, ?, ?, 'pending', ?)";

impl Store {
    /// Adds one in place of an older one of the same device; `false` if there are too many, or the
    /// code is in use by chance.
    pub(crate) async fn add_pairing(
        &self,
        new: &NewPairing,
        now: i64,
        most: i64,
    ) -> Result<Option<bool>> {
        let mut change = self.begin().await?;
        let older = sqlx::query("DELETE FROM pairings WHERE device = ? OR expires_at <= ?");
        let older = older.bind(new.device.to_string()).bind(now);
        older.execute(&mut *change).await?;
        let count = sqlx::query("SELECT count(*) FROM pairings WHERE state = 'pending'");
        let count: i64 = count.fetch_one(&mut *change).await?.try_get(0)?;
        if count >= most {
            return Ok(None);
        }
        let add = sqlx::query(ADD)
            .bind(&new.secret_hash)
            .bind(new.user_code.letters())
            .bind(&new.label)
            .bind(new.device.to_string())
            .bind(new.expires_at);
        if !added(add.execute(&mut *change).await)? {
            return Ok(Some(false));
        }
        change.commit().await?;
        Ok(Some(true))
    }

    /// The one that a user code stands for.
    pub(crate) async fn pairing_by_code(&self, code: &UserCode) -> Result<Option<Pairing>> {
        let found = sqlx::query("SELECT * FROM pairings WHERE user_code = ?");
        let row = found
            .bind(code.letters())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// The one that a secret stands for; nothing is noted.
    pub(crate) async fn pairing(&self, hash: &[u8]) -> Result<Option<Pairing>> {
        let found = sqlx::query("SELECT * FROM pairings WHERE secret_hash = ?");
        let row = found.bind(hash).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// The one that a device asks for; notes that it did. What is answered is from before.
    pub(crate) async fn poll_pairing(&self, hash: &[u8], now: i64) -> Result<Option<Pairing>> {
        let mut change = self.begin().await?;
        let found = sqlx::query("SELECT * FROM pairings WHERE secret_hash = ?");
        let row = found.bind(hash).fetch_optional(&mut *change).await?;
        let note = sqlx::query("UPDATE pairings SET polled_at = ? WHERE secret_hash = ?");
        note.bind(now).bind(hash).execute(&mut *change).await?;
        change.commit().await?;
        row.as_ref().map(read).transpose()
    }

    /// Decides about exactly this device; `false` if it does not wait any more.
    pub(crate) async fn decide_pairing(
        &self,
        code: &UserCode,
        device: &DeviceId,
        operator: Option<&Actor>,
        now: i64,
        expires_at: i64,
    ) -> Result<bool> {
        let decide = "UPDATE pairings SET state = ?, operator = ?, expires_at = ?
            WHERE user_code = ? AND device = ? AND state = 'pending' AND expires_at > ?";
        let decide = sqlx::query(decide)
            .bind(Standing::decided(operator).as_str())
            .bind(operator.map(Actor::as_str))
            .bind(expires_at)
            .bind(code.letters())
            .bind(device.to_string())
            .bind(now);
        Ok(decide.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Uses an approved one up, for a session; `false` if it was used meanwhile.
    pub(crate) async fn use_pairing(&self, hash: &[u8], session: &SessionRow) -> Result<bool> {
        let used =
            "UPDATE pairings SET state = 'used' WHERE secret_hash = ? AND state = 'approved'";
        self.use_up(sqlx::query(used).bind(hash), session).await
    }
}

fn read(row: &SqliteRow) -> Result<Pairing> {
    Ok(Pairing {
        label: row.try_get("label")?,
        device: parsed(row, "device")?,
        state: parsed(row, "state")?,
        operator: parsed_or_none(row, "operator")?,
        expires_at: row.try_get("expires_at")?,
        polled_at: row.try_get("polled_at")?,
    })
}
