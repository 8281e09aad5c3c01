//! What the broker remembers: one SQLite file, mode 0600.
//!
//! No token is in it: of what was handed out there is a hash or a number. Times come from the
//! caller.

mod asking;
mod events;
mod logins;
mod pairings;
mod sessions;
mod watched;

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row, SqlSafeStr, Sqlite, SqlitePool, Transaction};

pub(crate) use asking::Standing;
pub(crate) use events::EVERYBODY;
pub(crate) use logins::NewLogin;
pub(crate) use pairings::{NewPairing, Pairing};
pub(crate) use sessions::SessionRow;
pub(crate) use watched::Watched;

/// How long a writer waits for another before it says that the database is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Readers do not block each other; one writer at a time is SQLite's rule.
const CONNECTIONS: u32 = 4;

/// A migration that was released is never changed: its hash is in the database, and one that
/// differs is refused.
const STEPS: &[(i64, &str, &str)] = &[(1, "the first tables", include_str!("schema.sql"))];

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("{0}")]
    Open(String),
    /// It does not answer, or not in a way that was expected.
    #[error("the database failed: {0}")]
    Failed(#[from] sqlx::Error),
    /// A row holds what no row of ours holds.
    #[error("a row of the database is not of the form that this program writes: {0}")]
    Row(&'static str),
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the file, makes it when missing (mode 0600) and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the path and the cause.
    pub async fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let wrong = |cause: String| {
            StoreError::Open(format!(
                "the database {shown} cannot be opened: {cause}\nhint: check the path and its folder's permissions; nothing was changed"
            ))
        };
        make_private(path).map_err(|error| wrong(error.to_string()))?;
        let mode = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if mode.mode() & 0o077 != 0 {
            let text = format!(
                "the database {shown} can be read by others (mode {:04o})\nhint: chmod 600 {shown}",
                mode.mode() & 0o777
            );
            return Err(StoreError::Open(text));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A one-time token that was used, or a proof that was seen, stays so after a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let migrated = migrator().run(&pool).await;
        migrated.map_err(|error| wrong(error.to_string()))?;
        Ok(Self { pool })
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Writers begin as writers: one that begins as a reader and is overtaken would fail.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A word that is kept.
    pub(crate) async fn meta(&self, name: &str) -> Result<Option<String>> {
        let found = sqlx::query("SELECT value FROM meta WHERE name = ?");
        let row = found.bind(name).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Keeps a word in place of an older one.
    pub(crate) async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        let set = "INSERT INTO meta (name, value) VALUES (?, ?)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let set = sqlx::query(set).bind(name).bind(value);
        set.execute(&self.pool).await?;
        Ok(())
    }

    /// Remembers a proof until it has ended by itself; `false` if it was seen before.
    pub(crate) async fn see_proof(&self, hash: &[u8], until: i64) -> Result<bool> {
        let seen = sqlx::query("INSERT OR IGNORE INTO proofs (hash, until) VALUES (?, ?)");
        let seen = seen.bind(hash).bind(until).execute(&self.pool).await?;
        Ok(seen.rows_affected() == 1)
    }

    /// Forgets what has ended.
    pub(crate) async fn tidy(&self, now: i64) -> Result<()> {
        for gone in [
            "DELETE FROM proofs WHERE until < ?",
            "DELETE FROM watched WHERE until < ?",
            "DELETE FROM sessions WHERE expires_at < ?",
            "DELETE FROM pairings WHERE expires_at < ?",
            "DELETE FROM logins WHERE expires_at < ?",
            "DELETE FROM nonces WHERE expires_at < ?",
            "DELETE FROM bootstrap WHERE expires_at < ?",
        ] {
            // Those who come a little late are told why.
            let gone = sqlx::query(gone).bind(now - 600);
            gone.execute(&self.pool).await?;
        }
        Ok(())
    }
}

fn migrator() -> Migrator {
    let migrations = STEPS.iter().map(|(version, name, sql)| {
        let forward_only = MigrationType::Simple;
        let sql = sql.into_sql_str();
        Migration::new(*version, (*name).into(), forward_only, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// SQLite would make the file readable to others.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(path).map(drop)
}

/// A column as a type that is parsed from its text.
fn parsed<T: std::str::FromStr>(row: &SqliteRow, column: &'static str) -> Result<T> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| StoreError::Row(column))
}

/// The same, where it may be absent.
fn parsed_or_none<T: std::str::FromStr>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>> {
    let text: Option<String> = row.try_get(column)?;
    let parsed = text.map(|text| text.parse().map_err(|_| StoreError::Row(column)));
    parsed.transpose()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_file_is_private_and_an_exposed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        Store::open(&path).await.unwrap().close().await;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Store::open(&path).await.err().unwrap().to_string();
        assert!(refused.contains("mode 0644)\nhint: chmod 600"), "{refused}");
    }

    #[tokio::test]
    async fn a_proof_is_seen_once_also_by_the_next_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.db");
        let store = Store::open(&path).await.unwrap();
        assert!(store.see_proof(b"a", 100).await.unwrap());
        assert!(!store.see_proof(b"a", 100).await.unwrap());
        store.close().await;
        let store = Store::open(&path).await.unwrap();
        assert!(!store.see_proof(b"a", 100).await.unwrap());
        store.tidy(701).await.unwrap();
        assert!(store.see_proof(b"a", 800).await.unwrap());
    }
}
