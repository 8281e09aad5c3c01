//! PostgreSQL: several servers, one database.
//!
//! The statements are in `sql/`, once for both databases: they are written in what the two
//! have in common, and compiled for each against its own types.

#![allow(
    clippy::duplicate_mod,
    reason = "one source of statements, compiled once for each database"
)]

use std::str::FromStr;
use std::time::Duration;

use api::WorkspaceId;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection as _, PgConnection, PgPool, Postgres, Transaction};

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

type Adapter = PostgresStore;
type Connection = PgConnection;
type Database = Postgres;
type DbRow = PgRow;

/// How long a request waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that was used this recently is taken to live still; others are tried first, which
/// costs the database a question more.
const FRESH: Duration = Duration::from_secs(1);

/// PostgreSQL admits a hundred unless told otherwise: four servers fit.
const CONNECTIONS: u32 = 20;

/// Any number that nothing else in the database locks: "artaudit" as bytes.
const AUDIT_LOCK: i64 = 0x6172_7461_7564_6974;

/// Where servers of one database tell each other what happened.
const CHANNEL: &str = "artifacts_events";

/// The store in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects, and brings the database up to date. The URL may hold a password and is
    /// repeated nowhere.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the host and the cause.
    pub async fn open(url: &SecretString) -> Result<Self> {
        let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| {
            StoreError::Open(
                "the PostgreSQL URL cannot be read\nhint: postgres://USER:PASSWORD@HOST/DATABASE"
                    .into(),
            )
        })?;
        let host = options.get_host().to_owned();
        let wrong = |cause: String| {
            StoreError::Open(format!(
                "the PostgreSQL database on {host} cannot be used: {cause}\nhint: check that it runs, and the user, password and database in the URL"
            ))
        };
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .test_before_acquire(false)
            .before_acquire(|connection, used| {
                let is_fresh = used.idle_for < FRESH;
                Box::pin(async move {
                    if !is_fresh {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.disable_statement_logging())
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let migrated = migrate::postgres().run(&pool).await;
        migrated.map_err(|error| wrong(error.to_string()))?;
        Ok(Self { pool })
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        Ok(self.pool.begin().await?)
    }
}

impl PostgresStore {
    /// The database tells everybody, this server too.
    fn committed(&self, _: WorkspaceId) {}

    async fn hear(&self) -> Result<BoxStream<'static, Heard>> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(futures::stream::unfold(listener, next_heard).boxed())
    }
}

/// A connection that was lost is made anew; what was said meanwhile is not repeated.
async fn next_heard(mut listener: PgListener) -> Option<(Heard, PgListener)> {
    let heard = match listener.try_recv().await {
        Ok(Some(notice)) => match notice.payload().parse() {
            Ok(workspace) => Heard::Workspace(workspace),
            Err(_) => Heard::Perhaps,
        },
        // The connection was lost and is there again.
        Ok(None) => Heard::Perhaps,
        Err(error) => {
            tracing::warn!(%error, "the database is not heard any more");
            return None;
        }
    };
    Some((heard, listener))
}

/// Said when the transaction is committed, and only then.
async fn announce(connection: &mut Connection, workspace: WorkspaceId) -> Result<()> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(workspace.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// One writer of the audit at a time, until the transaction ends: the chain has one end.
async fn lock_audit(connection: &mut Connection) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(AUDIT_LOCK)
        .execute(connection)
        .await?;
    Ok(())
}

#[async_trait]
impl Store for PostgresStore {
    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(feature = "testing")]
impl PostgresStore {
    /// Every statement, by its name.
    pub fn statements() -> Vec<(&'static str, &'static str)> {
        all_statements()
    }

    /// How the database would carry a statement out if it had a reason to avoid reading
    /// whole tables, whatever their size.
    ///
    /// # Errors
    /// The database's refusal.
    pub async fn plan(&self, statement: &str) -> Result<String> {
        self.explain(statement, "SET LOCAL enable_seqscan = off")
            .await
    }

    /// How the database would carry a statement out, as large as its tables are.
    ///
    /// # Errors
    /// The database's refusal.
    pub async fn plan_as_is(&self, statement: &str) -> Result<String> {
        self.explain(statement, "SET LOCAL enable_seqscan = on")
            .await
    }

    async fn explain(&self, statement: &str, setting: &'static str) -> Result<String> {
        use sqlx::Row;
        let mut transaction = self.begin().await?;
        let parameters = (1..)
            .take_while(|n| statement.contains(&format!("${n}")))
            .count();
        let nulls = vec!["NULL"; parameters].join(", ");
        let arguments = if parameters == 0 {
            String::new()
        } else {
            format!("({nulls})")
        };
        for preparation in [
            setting.to_owned(),
            "SET LOCAL plan_cache_mode = force_generic_plan".to_owned(),
            format!("PREPARE explained AS {statement}"),
        ] {
            let preparation = sqlx::AssertSqlSafe(preparation);
            sqlx::raw_sql(preparation)
                .execute(&mut *transaction)
                .await?;
        }
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN EXECUTE explained {arguments}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut *transaction).await?;
        let lines: std::result::Result<Vec<String>, _> =
            rows.iter().map(|row| row.try_get(0)).collect();
        let lines = lines?.join("\n");
        sqlx::raw_sql("DEALLOCATE explained")
            .execute(&mut *transaction)
            .await?;
        transaction.rollback().await?;
        Ok(lines)
    }

    /// The connections, for what a test does behind the store's back.
    pub fn pool(&self) -> &PgPool {
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
