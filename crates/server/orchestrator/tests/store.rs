//! One suite for both databases.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
mod store_suite;

use std::sync::Arc;

use artifacts_orchestrator::store::{PostgresStore, SqliteStore, Store};
use secrecy::SecretString;

/// Statements that read a whole table, each for a reason.
const WHOLE_TABLES: &[(&str, &str)] = &[
    ("ANY_OPERATOR", "takes the first row that there is"),
    ("LAST", "goes to the end of the table"),
    ("END_BOOTSTRAPS", "the table has one row at most"),
];

#[tokio::test]
async fn sqlite_keeps_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("a.db"))
        .await
        .unwrap();
    store_suite::all(Arc::new(store)).await;
}

#[tokio::test]
async fn postgres_keeps_the_suite() {
    let server = testkit::require_postgres!();
    let url = SecretString::from(server.create_database().unwrap());
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    store_suite::all(store.clone()).await;
    // A second server of the same database finds it up to date.
    let second = PostgresStore::open(&url).await.unwrap();
    assert!(!second.recorded_everything().await.is_empty());
    second.close().await;
    store.close().await;
}

trait Everything {
    async fn recorded_everything(&self) -> Vec<artifacts_orchestrator::store::Recorded>;
}

impl<S: Store> Everything for S {
    async fn recorded_everything(&self) -> Vec<artifacts_orchestrator::store::Recorded> {
        self.recorded(0, 100_000).await.unwrap()
    }
}

#[tokio::test]
async fn sqlite_finds_everything_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("a.db"))
        .await
        .unwrap();
    let mut scans = Vec::new();
    for (name, statement) in SqliteStore::statements() {
        let plan = store.plan(statement).await.unwrap();
        let reads_all = plan
            .lines()
            .any(|line| line.trim_start().starts_with("SCAN"));
        let sorts = plan.contains("USE TEMP B-TREE");
        if (reads_all || sorts) && !is_allowed(name) {
            scans.push(format!("{name}: {plan}"));
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

#[tokio::test]
async fn postgres_finds_everything_by_an_index() {
    let server = testkit::require_postgres!();
    let url = SecretString::from(server.create_database().unwrap());
    let store = PostgresStore::open(&url).await.unwrap();
    let mut scans = Vec::new();
    for (name, statement) in PostgresStore::statements() {
        let plan = store.plan(statement).await.unwrap();
        if plan.contains("Seq Scan") && !is_allowed(name) {
            scans.push(format!("{name}: {plan}"));
        }
    }
    store.close().await;
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

fn is_allowed(name: &str) -> bool {
    WHOLE_TABLES.iter().any(|(allowed, _)| *allowed == name)
}

#[tokio::test]
async fn sqlites_file_is_its_users_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.ping().await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}
