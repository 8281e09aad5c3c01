//! Machines that ask for a person's session (RFC 8628), and nonces of wallets.

use api::UserCode;
use model::Actor;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::asking::{Standing, added};
use super::{Result, SessionRow, Store, parsed, parsed_or_none};

/// A machine that asks.
#[derive(Debug, Clone)]
pub(crate) struct NewLogin {
    pub(crate) device_hash: Vec<u8>,
    pub(crate) user_code: UserCode,
    pub(crate) client_id: String,
    pub(crate) machine: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    /// Seconds between two questions.
    pub(crate) interval: i64,
}

/// The same, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) machine: String,
    pub(crate) state: Standing,
    pub(crate) actor: Option<Actor>,
    pub(crate) expires_at: i64,
}

/// What a machine that asks again is answered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Polled {
    pub(crate) login: Login,
    pub(crate) too_fast: bool,
}

const ADD: &str = "INSERT INTO logins
    (device_hash, user_code, client_id, machine, state, created_at, expires_at, interval)
    VALUES (?, ?, ?, ?, 'pending', ?, ?, ?)";

impl Store {
    /// Adds a machine; `Some(false)` if the code is in use by chance, `None` if too many wait.
    pub(crate) async fn add_login(&self, new: &NewLogin, most: i64) -> Result<Option<bool>> {
        let mut change = self.begin().await?;
        let older = sqlx::query("DELETE FROM logins WHERE expires_at <= ?");
        let older = older.bind(new.created_at);
        older.execute(&mut *change).await?;
        let count = sqlx::query("SELECT count(*) FROM logins");
        let count: i64 = count.fetch_one(&mut *change).await?.try_get(0)?;
        if count >= most {
            return Ok(None);
        }
        let add = sqlx::query(ADD)
            .bind(&new.device_hash)
            .bind(new.user_code.letters())
            .bind(&new.client_id)
            .bind(&new.machine)
            .bind(new.created_at)
            .bind(new.expires_at)
            .bind(new.interval);
        if !added(add.execute(&mut *change).await)? {
            return Ok(Some(false));
        }
        change.commit().await?;
        Ok(Some(true))
    }

    /// The machine that a code stands for, while it waits.
    pub(crate) async fn waiting_login(&self, code: &UserCode, now: i64) -> Result<Option<Login>> {
        let found = "SELECT * FROM logins
            WHERE user_code = ? AND state = 'pending' AND expires_at > ?";
        let found = sqlx::query(found).bind(code.letters()).bind(now);
        let row = found.fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Lets a machine in as an actor, or not; `false` if it does not wait any more.
    pub(crate) async fn decide_login(
        &self,
        code: &UserCode,
        actor: Option<&Actor>,
        now: i64,
    ) -> Result<bool> {
        let decide = "UPDATE logins SET state = ?, actor = ?
            WHERE user_code = ? AND state = 'pending' AND expires_at > ?";
        let decide = sqlx::query(decide)
            .bind(Standing::decided(actor).as_str())
            .bind(actor.map(Actor::as_str))
            .bind(code.letters())
            .bind(now);
        Ok(decide.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// A machine asks again: one that asks too fast has to wait five seconds more from then on
    /// (RFC 8628 §3.5).
    pub(crate) async fn poll_login(&self, hash: &[u8], now: i64) -> Result<Option<Polled>> {
        // Looked at first: nobody makes writers wait by codes that they invent.
        const FOUND: &str = "SELECT * FROM logins WHERE device_hash = ?";
        let seen = sqlx::query(FOUND).bind(hash);
        if seen.fetch_optional(&self.pool).await?.is_none() {
            return Ok(None);
        }
        let mut change = self.begin().await?;
        let found = sqlx::query(FOUND).bind(hash);
        let row = found.fetch_optional(&mut *change).await?;
        let Some(row) = row else { return Ok(None) };
        let (polled_at, interval): (i64, i64) =
            (row.try_get("polled_at")?, row.try_get("interval")?);
        let too_fast = now < polled_at.saturating_add(interval);
        let note = "UPDATE logins SET polled_at = ?, interval = interval + ? WHERE device_hash = ?";
        let note = sqlx::query(note)
            .bind(now)
            .bind(if too_fast { 5 } else { 0 })
            .bind(hash);
        note.execute(&mut *change).await?;
        change.commit().await?;
        let login = read(&row)?;
        Ok(Some(Polled { login, too_fast }))
    }

    /// Uses an approved one up, for a session; `false` if it was used meanwhile.
    pub(crate) async fn use_login(&self, hash: &[u8], session: &SessionRow) -> Result<bool> {
        let used = "UPDATE logins SET state = 'used' WHERE device_hash = ? AND state = 'approved'";
        self.use_up(sqlx::query(used).bind(hash), session).await
    }

    /// Keeps a nonce; `false` if too many wait.
    pub(crate) async fn add_nonce(
        &self,
        nonce: &str,
        now: i64,
        expires_at: i64,
        most: i64,
    ) -> Result<bool> {
        let mut change = self.begin().await?;
        let older = sqlx::query("DELETE FROM nonces WHERE expires_at <= ?");
        older.bind(now).execute(&mut *change).await?;
        let count = sqlx::query("SELECT count(*) FROM nonces");
        let count: i64 = count.fetch_one(&mut *change).await?.try_get(0)?;
        if count >= most {
            return Ok(false);
        }
        let add = sqlx::query("INSERT INTO nonces (nonce, expires_at) VALUES (?, ?)");
        let add = add.bind(nonce).bind(expires_at);
        add.execute(&mut *change).await?;
        change.commit().await?;
        Ok(true)
    }

    /// Uses a nonce up; `false` if it does not count.
    pub(crate) async fn use_nonce(&self, nonce: &str, now: i64) -> Result<bool> {
        let used = sqlx::query("DELETE FROM nonces WHERE nonce = ? AND expires_at > ?");
        let used = used.bind(nonce).bind(now).execute(&self.pool).await?;
        Ok(used.rows_affected() == 1)
    }
}

fn read(row: &SqliteRow) -> Result<Login> {
    Ok(Login {
        client_id: row.try_get("client_id")?,
        machine: row.try_get("machine")?,
        state: parsed(row, "state")?,
        actor: parsed_or_none(row, "actor")?,
        expires_at: row.try_get("expires_at")?,
    })
}
