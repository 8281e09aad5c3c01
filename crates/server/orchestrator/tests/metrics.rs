//! What the server counts of itself: who reads it, that it is what Prometheus reads, and that
//! it tells of no tenant.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use artifacts_orchestrator::provision::fake::Failure;
use artifacts_orchestrator::token_hash;
use common::Lab;
use serde_json::{Value, json};

const TOKEN: &str = "the token of the server that watches";

const KEYS: &str = "/tenant/mount/credentials";

async fn lab() -> Lab {
    Lab::with(|settings| settings.metrics_token = Some(token_hash(TOKEN))).await
}

/// The samples by their names with labels, after everything that the form asks of a line
/// ("Text-based format", Prometheus documentation).
fn read(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let parts = ["_bucket", "_sum", "_count"];
            let part = parts.iter().find_map(|part| family.strip_suffix(part));
            let is_part = part.is_some_and(|name| kinds.get(name) == Some(&"histogram"));
            assert!(is_part || kinds.contains_key(family), "no type: {line}");
            let value = value.parse().unwrap();
            assert!(
                samples.insert(name.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    assert!(kinds.len() > 5, "{kinds:?}");
    samples
}

async fn scrape(lab: &Lab) -> BTreeMap<String, f64> {
    read(&lab.get("/metrics", TOKEN).await.ok(200).text)
}

/// The sum of the samples that begin with a name and hold all of these labels.
fn sum(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let is_meant = |key: &str| {
        key.split('{').next() == Some(name) && labels.iter().all(|label| key.contains(label))
    };
    let meant = samples.iter().filter(|(key, _)| is_meant(key));
    meant.map(|(_, value)| value).sum()
}

#[track_caller]
fn is(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str], wanted: u32) {
    let found = sum(samples, name, labels);
    assert_eq!(found, f64::from(wanted), "{name} {labels:?}: {samples:#?}");
}

#[tokio::test]
async fn they_are_for_the_one_who_watches_and_for_operators() {
    let lab = lab().await;
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    lab.get("/metrics", TOKEN).await.ok(200);
    lab.get("/metrics", &operator).await.ok(200);
    lab.get("/metrics", &ada).await.refused(403, "forbidden");
    for nobody in ["", "the token of another"] {
        lab.get("/metrics", nobody)
            .await
            .refused(401, "unauthenticated");
    }
    // The token opens nothing else.
    lab.get("/tenants", TOKEN)
        .await
        .refused(401, "unauthenticated");
    let without = Lab::new().await;
    without
        .get("/metrics", TOKEN)
        .await
        .refused(401, "unauthenticated");
}

#[tokio::test]
async fn requests_are_counted_by_the_routers_paths() {
    let lab = lab().await;
    let operator = lab.operator().await;
    let (id, ada) = lab.tenant(&operator, "ada").await;
    for _ in 0..3 {
        lab.get(&format!("/tenants/{id}"), &operator).await.ok(200);
    }
    lab.get(&format!("/tenants/{id}"), &ada)
        .await
        .refused(403, "forbidden");
    lab.get("/nothing/of/ours", "")
        .await
        .refused(404, "not_found");
    lab.call("BREW", "/whoami", "", Value::Null)
        .await
        .refused(405, "method_not_allowed");
    let samples = scrape(&lab).await;
    let count = "artifacts_http_request_duration_seconds_count";
    let show = ["method=\"GET\"", "path=\"/tenants/{tenant_id}\""];
    is(&samples, count, &[show[0], show[1], "status=\"200\""], 3);
    is(&samples, count, &[show[0], show[1], "status=\"403\""], 1);
    is(&samples, count, &["path=\"none\"", "status=\"404\""], 1);
    is(&samples, count, &["method=\"other\"", "status=\"405\""], 1);
    let buckets = "artifacts_http_request_duration_seconds_bucket";
    is(
        &samples,
        buckets,
        &[show[1], "status=\"200\"", "le=\"+Inf\""],
        3,
    );
    let all = format!("{samples:?}");
    for told in ["ada", &id, "nothing", "BREW"] {
        assert!(!all.contains(told), "{told}");
    }
}

#[tokio::test]
async fn what_happens_to_keys_logins_and_tokens_is_counted() {
    let lab = lab().await;
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    let key = lab.post(KEYS, &ada, Value::Null).await.ok(201);
    lab.fake.fail(0, Failure::Before(common::passing()));
    lab.post(KEYS, &ada, Value::Null)
        .await
        .refused(503, "unavailable");
    let path = format!("{KEYS}/{}", key.field("credential_id"));
    lab.delete(&path, &ada).await.ok(200);
    lab.form("/oauth/device_authorization", "client_id=a&machine=m")
        .await
        .ok(200);
    lab.get("/whoami", "art_nobodys")
        .await
        .refused(401, "unauthenticated");
    let samples = scrape(&lab).await;
    let keys = "artifacts_storage_keys_total";
    is(&samples, keys, &["change=\"issued\""], 1);
    is(&samples, keys, &["change=\"not_issued\""], 1);
    assert!(sum(&samples, keys, &["change=\"revoked\""]) >= 1.0);
    let calls = "artifacts_provider_call_duration_seconds_count";
    is(
        &samples,
        calls,
        &["call=\"make_bucket\"", "outcome=\"done\""],
        1,
    );
    is(
        &samples,
        calls,
        &["call=\"issue_key\"", "outcome=\"unavailable\""],
        1,
    );
    let logins = "artifacts_logins_total";
    is(
        &samples,
        logins,
        &["way=\"bootstrap\"", "outcome=\"let_in\""],
        1,
    );
    is(
        &samples,
        logins,
        &["way=\"device\"", "outcome=\"begun\""],
        1,
    );
    is(
        &samples,
        "artifacts_tokens_refused_total",
        &["reason=\"unknown\""],
        1,
    );
    let audit = lab.store.recorded(0, 10_000).await.unwrap().len();
    is(
        &samples,
        "artifacts_audit_rows",
        &[],
        u32::try_from(audit).unwrap(),
    );
    is(&samples, "artifacts_database_up", &[], 1);
    assert!(sum(&samples, "artifacts_database_connections", &["most"]) >= 1.0);
}

#[tokio::test]
async fn mounts_streams_and_events_are_counted() {
    let lab = lab().await;
    let operator = lab.operator().await;
    let (tenant, ada) = lab.tenant(&operator, "ada").await;
    let made = lab.post("/workspaces", &ada, json!({ "name": "cases" }));
    let workspace = made.await.ok(201).field("workspace_id");
    let mount = format!("/workspaces/{workspace}/mounts/{}", uuid::Uuid::now_v7());
    let report = json!({ "machine": "laptop", "mode": "rw" });
    lab.call("PUT", &mount, &ada, report).await.ok(204);
    let mut stream = lab.follow(&workspace, &ada, None).await.unwrap();
    stream.begin().await;
    let change = json!({ "workspace_id": workspace, "changed": [{ "key": "a" }] });
    lab.post("/sync", &ada, change).await.ok(200);
    stream.next().await;
    let token = json!({ "description": "store", "mode": "ro", "purpose": "webhook" });
    let token = lab
        .post("/tokens", &ada, token)
        .await
        .ok(201)
        .field("token");
    let notice = json!({ "Records": [] });
    lab.post(&format!("/webhooks/minio/{tenant}"), &token, notice)
        .await
        .ok(200);
    let samples = scrape(&lab).await;
    is(&samples, "artifacts_live_mounts", &[], 1);
    is(&samples, "artifacts_event_streams", &[], 1);
    is(
        &samples,
        "artifacts_events_sent_total",
        &["event=\"changed\""],
        1,
    );
    is(
        &samples,
        "artifacts_webhooks_received_total",
        &["sender=\"minio\""],
        1,
    );
    lab.clock.advance(Duration::from_secs(46));
    is(&scrape(&lab).await, "artifacts_live_mounts", &[], 0);
}

#[tokio::test]
async fn what_the_background_work_is_behind_with_shows() {
    let lab = lab().await;
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    let key = json!({ "ttl_seconds": 60 });
    lab.post(KEYS, &ada, key).await.ok(201);
    let due = "artifacts_background_steps_due";
    is(&scrape(&lab).await, due, &["kind=\"key\""], 0);
    lab.clock.advance(Duration::from_secs(90));
    let samples = scrape(&lab).await;
    is(&samples, due, &["kind=\"key\""], 1);
    is(&samples, due, &["kind=\"tenant\""], 0);
    let oldest = "artifacts_background_oldest_due_seconds";
    is(&samples, oldest, &["kind=\"key\""], 30);
    lab.upkeep().await;
    is(&scrape(&lab).await, due, &["kind=\"key\""], 0);
}

#[tokio::test]
async fn they_are_there_when_the_database_is_not() {
    let lab = lab().await;
    lab.store.close().await;
    let samples = scrape(&lab).await;
    is(&samples, "artifacts_database_up", &[], 0);
}
