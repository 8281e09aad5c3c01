//! The audit cannot be changed through the database, and shows where it was anyway.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use artifacts_orchestrator::store::{Audit, SqliteStore};
use artifacts_orchestrator::verify::{Verdict, verify};
use common::{Lab, entry};
use serde_json::Value;

async fn store(folder: &tempfile::TempDir) -> SqliteStore {
    let store = SqliteStore::open(&folder.path().join("a.db"))
        .await
        .unwrap();
    let at = api::Timestamp::from_micros(0);
    for action in ["One", "Two", "Three"] {
        store.record(&entry(at, action)).await.unwrap();
    }
    store
}

async fn run(store: &SqliteStore, statement: &'static str) -> Result<(), String> {
    let done = sqlx::query(statement).execute(store.pool()).await;
    done.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn operators_read_all_of_it_and_owners_their_tenants_part() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (ada, owner) = lab.tenant(&operator, "ada").await;
    let (bob, other) = lab.tenant(&operator, "bob").await;
    lab.post("/tenant/mount/credentials", &owner, Value::Null)
        .await
        .ok(201);
    // Page by page, everything in order.
    let mut seen: Vec<Value> = Vec::new();
    let mut path = "/audit?limit=2".to_owned();
    loop {
        let page = lab.get(&path, &operator).await.ok(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_page_token"].as_str() {
            Some(token) => path = format!("/audit?limit=2&page_token={token}"),
            None => break,
        }
    }
    let rows = lab.store.recorded(0, 1_000).await.unwrap();
    let wanted: Vec<Value> = rows
        .into_iter()
        .map(|row| serde_json::to_value(api::AuditRow::from(row)).unwrap())
        .collect();
    assert_eq!(seen, wanted);
    let own = lab
        .get(&format!("/audit?tenant_id={ada}"), &owner)
        .await
        .ok(200);
    let items = own.json()["items"].as_array().unwrap().clone();
    assert!(!items.is_empty() && items.iter().all(|row| row["tenant_id"] == ada.as_str()));
    assert!(
        items
            .iter()
            .any(|row| row["action"] == "MountCredentialCreated")
    );
    for path in ["/audit".to_owned(), format!("/audit?tenant_id={ada}")] {
        lab.get(&path, &other).await.refused(403, "forbidden");
    }
    lab.get(&format!("/audit?tenant_id={bob}"), &other)
        .await
        .ok(200);
    lab.get("/audit", "").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_row_is_neither_changed_nor_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    for statement in ["UPDATE audit SET action = 'Other'", "DELETE FROM audit"] {
        let refused = run(&store, statement).await.unwrap_err();
        assert!(refused.contains("the audit is append-only"), "{refused}");
    }
}

#[tokio::test]
async fn what_was_done_behind_the_databases_back_shows() {
    let tampering = [
        ("UPDATE audit SET reason = 'none' WHERE seq = 2", 2),
        ("UPDATE audit SET at = 1 WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("UPDATE audit SET actor = '' WHERE seq = 3", 3),
    ];
    for (statement, seq) in tampering {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        for trigger in [
            "DROP TRIGGER audit_is_not_changed",
            "DROP TRIGGER audit_is_not_deleted",
        ] {
            run(&store, trigger).await.unwrap();
        }
        assert!(matches!(
            verify(&store).await.unwrap(),
            Verdict::Whole { rows: 3, .. }
        ));
        run(&store, statement).await.unwrap();
        assert_eq!(
            verify(&store).await.unwrap(),
            Verdict::Broken { seq },
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_request_leaves_its_number_its_actor_and_its_tenant() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (tenant, owner) = lab.tenant(&operator, "ada").await;
    let key = lab
        .post("/tenant/mount/credentials", &owner, Value::Null)
        .await
        .ok(201);
    let me = lab.get("/whoami", &owner).await.json();
    let rows = lab.store.recorded(0, 100).await.unwrap();
    let row = rows
        .iter()
        .find(|row| row.action == "MountCredentialCreated")
        .unwrap();
    assert_eq!(
        row.request_id.as_deref(),
        key.headers["x-request-id"].to_str().ok()
    );
    assert_eq!(row.actor.as_deref(), me["identity"]["actor"].as_str());
    assert_eq!(row.tenant.map(|tenant| tenant.to_string()), Some(tenant));
    assert_eq!(row.subject, Some(key.field("credential_id")));
    let refused = lab.get("/tenants", &owner).await;
    refused.refused(403, "forbidden");
    let rows = lab.store.recorded(0, 100).await.unwrap();
    let last = rows.last().unwrap();
    assert_eq!(
        (last.action.as_str(), last.subject.as_deref()),
        ("RequestRefused", Some("GET /tenants"))
    );
    assert_eq!(
        last.request_id.as_deref(),
        refused.headers["x-request-id"].to_str().ok()
    );
}

#[tokio::test]
async fn strangers_cannot_keep_what_others_try_out_of_the_audit() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (_, member) = lab.tenant(&operator, "ada").await;
    for _ in 0..400 {
        lab.get("/whoami", "art_nobody_has_this").await.ok(401);
    }
    lab.get("/tenants", &member).await.ok(403);
    let rows = lab.store.recorded(0, 1_000).await.unwrap();
    let refused = rows.iter().filter(|row| row.action == "RequestRefused");
    let refused: Vec<_> = refused.map(|row| row.subject.clone().unwrap()).collect();
    assert!(refused.len() <= 330, "{} rows by strangers", refused.len());
    assert_eq!(refused.last().map(String::as_str), Some("GET /tenants"));
}
