//! SQLite: one file, one server. The default.
//!
//! The statements are in `sql/`, once for both databases: they are written in what the two
//! have in common, and compiled for each against its own types.

#![allow(
    clippy::duplicate_mod,
    reason = "one source of statements, compiled once for each database"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use api::WorkspaceId;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite, SqliteConnection, SqlitePool, Transaction};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Heard, Result, Store, StoreError, migrate};

#[path = "sql/audit.rs"]
mod audit;
#[path = "sql/columns.rs"]
mod columns;
#[path = "sql/credentials.rs"]
mod credentials;
#[path = "sql/devices.rs"]
mod devices;
#[path = "sql/events.rs"]
mod events;
#[path = "sql/figures.rs"]
mod figures;
#[path = "sql/grants.rs"]
mod grants;
#[path = "sql/mounts.rs"]
mod mounts;
#[path = "sql/people.rs"]
mod people;
#[path = "sql/steps.rs"]
mod steps;
#[path = "sql/tenants.rs"]
mod tenants;
#[path = "sql/tickets.rs"]
mod tickets;
#[path = "sql/tokens.rs"]
mod tokens;
#[path = "sql/workspaces.rs"]
mod workspaces;

type Adapter = SqliteStore;
type Connection = SqliteConnection;
type Database = Sqlite;
type DbRow = SqliteRow;

/// How long a writer waits for another before it says that the database is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Readers do not block each other; one writer at a time is SQLite's rule.
const CONNECTIONS: u32 = 8;

/// Events that may wait to be heard; after more the listener looks everywhere.
const UNHEARD: usize = 1_024;

/// The store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    happened: broadcast::Sender<WorkspaceId>,
}

impl SqliteStore {
    /// Opens the file, makes it when missing (mode 0600) and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the path and the cause.
    pub async fn open(path: &Path) -> Result<Self> {
        let wrong = |cause: String| {
            StoreError::Open(format!(
                "the database {} cannot be opened: {cause}\nhint: check the path and its folder's permissions; nothing was changed",
                path.display()
            ))
        };
        make_private(path).map_err(|error| wrong(error.to_string()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was answered survives a power cut: a key that the provider made must be
            // known, or nobody revokes it.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let migrated = migrate::sqlite().run(&pool).await;
        migrated.map_err(|error| wrong(error.to_string()))?;
        let (happened, _) = broadcast::channel(UNHEARD);
        Ok(Self { pool, happened })
    }

    /// Writers begin as writers: one that begins as a reader and is overtaken would fail.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

impl SqliteStore {
    /// This server is the only one, and tells itself.
    fn committed(&self, workspace: WorkspaceId) {
        // Nobody need be listening.
        let _ = self.happened.send(workspace);
    }

    async fn hear(&self) -> Result<BoxStream<'static, Heard>> {
        let heard = self.happened.subscribe();
        let stream = futures::stream::unfold(heard, async |mut heard| match heard.recv().await {
            Ok(workspace) => Some((Heard::Workspace(workspace), heard)),
            Err(RecvError::Lagged(_)) => Some((Heard::Perhaps, heard)),
            Err(RecvError::Closed) => None,
        });
        Ok(stream.boxed())
    }
}

async fn announce(_: &mut Connection, _: WorkspaceId) -> Result<()> {
    Ok(())
}

/// A writer in SQLite is alone already.
async fn lock_audit(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// SQLite would make the file readable to others.
fn make_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(feature = "testing")]
impl SqliteStore {
    /// Every statement, by its name.
    pub fn statements() -> Vec<(&'static str, &'static str)> {
        all_statements()
    }

    /// How the database would carry a statement out, one step a line.
    ///
    /// # Errors
    /// The database's refusal.
    pub async fn plan(&self, statement: &str) -> Result<String> {
        use sqlx::Row;
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let rows = sqlx::query(explain).fetch_all(&self.pool).await?;
        let lines: std::result::Result<Vec<String>, _> =
            rows.iter().map(|row| row.try_get("detail")).collect();
        Ok(lines?.join("\n"))
    }

    /// The connections, for what a test does behind the store's back.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

#[cfg(feature = "testing")]
fn all_statements() -> Vec<(&'static str, &'static str)> {
    [
        audit::ALL,
        credentials::ALL,
        devices::ALL,
        events::ALL,
        figures::ALL,
        grants::ALL,
        mounts::ALL,
        people::ALL,
        tenants::ALL,
        tickets::ALL,
        tokens::ALL,
        workspaces::ALL,
    ]
    .concat()
}
