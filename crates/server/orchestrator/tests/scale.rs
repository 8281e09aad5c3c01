//! Every list and lookup by an index where the tables are large: what PostgreSQL itself
//! chooses, by the statistics of the rows. With `ARTIFACTS_LONG` there are 100,000 tenants and
//! 1,000,000 keys, otherwise a fiftieth of that.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use artifacts_orchestrator::store::{PostgresStore, Store};
use secrecy::SecretString;

const ROWS: &str = include_str!("scale.sql");

const LARGE: [&str; 6] = [
    "tenants",
    "members",
    "sessions",
    "workspaces",
    "service_tokens",
    "credentials",
];

/// Statements about all rows before a time. PostgreSQL plans them for the time that is asked,
/// and these here without one, as if it were before a third of all.
const BY_TIME: [&str; 1] = ["FORGET_SESSIONS"];

#[tokio::test]
async fn large_tables_are_never_read_from_end_to_end() {
    let server = testkit::require_postgres!();
    let url = SecretString::from(server.create_database().unwrap());
    let store = PostgresStore::open(&url).await.unwrap();
    let tenants = match std::env::var_os("ARTIFACTS_LONG") {
        Some(_) => 100_000,
        None => 2_000,
    };
    fill(&store, tenants).await;
    let mut asked = 0;
    let mut scans = Vec::new();
    for (name, statement) in PostgresStore::statements() {
        let plan = store.plan_as_is(statement).await.unwrap();
        let is_about = |table: &str| plan.contains(&format!(" on {table} "));
        asked += usize::from(LARGE.iter().any(|table| is_about(table)));
        let is_scan = |table: &str| plan.contains(&format!("Seq Scan on {table} "));
        if LARGE.iter().any(|table| is_scan(table)) && !BY_TIME.contains(&name) {
            scans.push(format!("{name}: {statement}\n{plan}"));
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n\n"));
    assert!(asked > 30, "only {asked} statements are about large tables");
    // The test itself can fail: nothing finds a key by what it is for.
    let by_nothing = "SELECT id FROM credentials WHERE description = $1";
    let plan = store.plan_as_is(by_nothing).await.unwrap();
    assert!(plan.contains("Seq Scan on credentials "), "{plan}");
    store.close().await;
}

async fn fill(store: &PostgresStore, tenants: u32) {
    let statements = ROWS
        .replace(":tenants", &tenants.to_string())
        .replace(":keys", "10");
    for statements in [statements, "ANALYZE".to_owned()] {
        let statements = sqlx::AssertSqlSafe(statements);
        sqlx::raw_sql(statements)
            .execute(store.pool())
            .await
            .unwrap();
    }
}
