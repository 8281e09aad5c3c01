//! Live changes: announced by mounts and stores, heard by everybody who follows a workspace,
//! in order, once, and also by those who were away.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use api::BucketName;
use artifacts_orchestrator::store::PostgresStore;
use common::Lab;
use common::stream::{Stream, Told};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Ada has the workspace `cases`; Bob has nothing.
struct Two {
    lab: Lab,
    operator: String,
    ada: String,
    bob: String,
    tenant: String,
    workspace: String,
}

async fn two() -> Two {
    two_in(Lab::with(|settings| settings.heartbeat = Duration::from_millis(100)).await).await
}

async fn two_in(lab: Lab) -> Two {
    let operator = lab.operator().await;
    let (tenant, ada) = lab.tenant(&operator, "ada").await;
    let (_, bob) = lab.tenant(&operator, "bob").await;
    let made = lab
        .post("/workspaces", &ada, json!({ "name": "cases" }))
        .await
        .ok(201);
    let workspace = made.field("workspace_id");
    Two {
        lab,
        operator,
        ada,
        bob,
        tenant,
        workspace,
    }
}

impl Two {
    async fn announce(&self, changed: &[&str], deleted: &[&str]) -> Value {
        let objects = |keys: &[&str]| {
            keys.iter()
                .map(|key| json!({ "key": key }))
                .collect::<Vec<_>>()
        };
        let body = json!({
            "workspace_id": self.workspace, "origin": "mount-1",
            "changed": objects(changed), "deleted": objects(deleted),
        });
        self.lab.post("/sync", &self.ada, body).await.ok(200).json()
    }

    async fn follow(&self, token: &str, last: Option<&str>) -> Stream {
        self.lab.follow(&self.workspace, token, last).await.unwrap()
    }

    async fn grant(&self, mode: &str) -> String {
        let body = json!({ "workspace_id": self.workspace, "grantee": "bob", "mode": mode });
        let grant = self.lab.post("/grants", &self.ada, body).await.ok(201);
        grant.field("grant_id")
    }
}

fn keys(told: &Told) -> Vec<&str> {
    let objects = told.data["objects"].as_array().unwrap();
    objects.iter().map(|o| o["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_one_announces_all_others_hear_in_order() {
    let t = two().await;
    t.grant("ro").await;
    let (mut ada, mut bob) = (t.follow(&t.ada, None).await, t.follow(&t.bob, None).await);
    assert_eq!(ada.begin().await, "0");
    assert_eq!(bob.begin().await, "0");
    let answer = t.announce(&["a.txt", "b//c"], &["d"]).await;
    assert_eq!(answer["last_event_id"], 2);
    t.announce(&["e"], &[]).await;
    for stream in [&mut ada, &mut bob] {
        let first = stream.next().await;
        assert_eq!((first.id.as_str(), first.event.as_str()), ("1", "changed"));
        assert_eq!(keys(&first), ["a.txt", "b//c"]);
        assert_eq!(first.data["origin"], "mount-1");
        assert_eq!(first.data["source"], "client");
        let second = stream.next().await;
        assert_eq!(
            (second.id.as_str(), second.event.as_str()),
            ("2", "deleted")
        );
        assert_eq!(keys(&second), ["d"]);
        assert_eq!(stream.next().await.id, "3");
    }
    let nothing = t.announce(&[], &[]).await;
    assert_eq!(nothing, json!({}));
}

#[tokio::test]
async fn who_was_away_hears_what_they_missed_and_goes_on() {
    let t = two().await;
    for key in ["a", "b", "c"] {
        t.announce(&[key], &[]).await;
    }
    let mut stream = t.follow(&t.ada, Some("1")).await;
    t.announce(&["d"], &[]).await;
    for (id, key) in [("2", "b"), ("3", "c"), ("4", "d")] {
        let told = stream.next().await;
        assert_eq!((told.id.as_str(), keys(&told)), (id, vec![key]));
    }
    let mut current = t.follow(&t.ada, Some("4")).await;
    t.announce(&["e"], &[]).await;
    assert_eq!(current.next().await.id, "5");
}

#[tokio::test]
async fn more_than_one_read_is_missed_without_a_gap() {
    let t = two().await;
    for _ in 0..1_100 {
        let workspace = t.workspace.parse().unwrap();
        let event = [api::Event::Resync {}];
        let added = t.lab.store.add_events(workspace, t.lab.now(), &event);
        added.await.unwrap().unwrap();
    }
    let mut stream = t.follow(&t.ada, Some("0")).await;
    for id in 1..=1_100 {
        assert_eq!(stream.next().await.id, id.to_string());
    }
}

#[tokio::test]
async fn who_was_away_for_too_long_is_told_to_list_again() {
    let t = two().await;
    t.announce(&["a"], &[]).await;
    t.announce(&["b"], &[]).await;
    t.lab.upkeep_after(DAY + Duration::from_secs(1)).await;
    let ada = t.lab.person("ada");
    for last in ["1", "99", "rubbish"] {
        let mut stream = t.follow(&ada, Some(last)).await;
        let told = stream.next().await;
        assert_eq!(
            (told.id.as_str(), told.event.as_str()),
            ("2", "resync"),
            "{last}"
        );
    }
    // Who knows the last one missed nothing, though it is forgotten.
    let mut stream = t.follow(&ada, Some("2")).await;
    let body = json!({ "workspace_id": t.workspace, "changed": [{ "key": "c" }] });
    t.lab.post("/sync", &ada, body).await.ok(200);
    let told = stream.next().await;
    assert_eq!((told.id.as_str(), told.event.as_str()), ("3", "changed"));
}

#[tokio::test]
async fn only_who_may_see_a_workspace_follows_it_and_only_who_may_write_announces() {
    let t = two().await;
    let refused = t.lab.follow(&t.workspace, &t.bob, None).await;
    refused.err().unwrap().refused(404, "not_found");
    let body = json!({ "workspace_id": t.workspace, "changed": [{ "key": "a" }] });
    let sync = |token: String| {
        let body = body.clone();
        let lab = &t.lab;
        async move { lab.post("/sync", &token, body).await }
    };
    sync(t.bob.clone()).await.refused(404, "not_found");
    sync(String::new()).await.refused(401, "unauthenticated");
    let grant = t.grant("ro").await;
    sync(t.bob.clone()).await.refused(403, "forbidden");
    let mut stream = t.follow(&t.bob, None).await;
    stream.begin().await;
    // A reading token of the owner's own may not either.
    let token = json!({ "description": "reader", "mode": "ro", "workspace_id": t.workspace });
    let token = t
        .lab
        .post("/tokens", &t.ada, token)
        .await
        .ok(201)
        .field("token");
    sync(token).await.refused(403, "forbidden");
    // The stream of who may no longer see it ends.
    t.lab
        .delete(&format!("/grants/{grant}"), &t.ada)
        .await
        .ok(204);
    assert!(stream.ends().await);
    t.lab.until(|| t.lab.app.streams() == 0).await;
    let many: Vec<Value> = (0..1_001)
        .map(|n| json!({ "key": n.to_string() }))
        .collect();
    let body = json!({ "workspace_id": t.workspace, "deleted": many });
    t.lab
        .post("/sync", &t.ada, body)
        .await
        .refused(422, "invalid");
}

#[tokio::test]
async fn a_revoked_key_is_told_to_those_who_may_be_using_it() {
    let t = two().await;
    let keys = "/tenant/mount/credentials";
    let one = json!({ "workspace_id": t.workspace });
    let (one, all) = (
        t.lab.post(keys, &t.ada, one).await.ok(201),
        t.lab.post(keys, &t.ada, Value::Null).await.ok(201),
    );
    let mut stream = t.follow(&t.ada, None).await;
    for key in [one, all] {
        let path = format!("{keys}/{}", key.field("credential_id"));
        t.lab.delete(&path, &t.ada).await.ok(200);
        let told = stream.next().await;
        assert_eq!(told.event, "revoked");
        assert_eq!(told.data["credential_id"], key.field("credential_id"));
        assert_eq!(told.data["access_key"], key.field("access_key"));
    }
}

#[tokio::test]
async fn a_grant_that_is_taken_back_ends_the_stream_with_its_keys() {
    // The stream has no other time to look whether its token counts.
    let t = two_in(Lab::with(|settings| settings.heartbeat = DAY).await).await;
    let grant = t.grant("ro").await;
    let wanted = json!({ "workspace_id": t.workspace, "mode": "ro" });
    let key = t
        .lab
        .post("/tenant/mount/credentials", &t.bob, wanted)
        .await;
    let key = key.ok(201).field("credential_id");
    let mut stream = t.follow(&t.bob, None).await;
    let path = format!("/grants/{grant}");
    t.lab.delete(&path, &t.ada).await.ok(204);
    let told = stream.next().await;
    assert_eq!(told.event, "revoked");
    assert_eq!(told.data["credential_id"], key);
    assert!(stream.ends().await);
}

#[tokio::test]
async fn an_announcement_of_a_thousand_long_names_fits() {
    let t = two().await;
    let names: Vec<String> = (0..1_000).map(|n| format!("{n:0900}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stream = t.follow(&t.ada, None).await;
    t.announce(&names, &[]).await;
    assert_eq!(keys(&stream.next().await), names);
}

#[tokio::test]
async fn a_tenant_has_so_many_streams_and_no_more() {
    let lab = Lab::with(|settings| settings.streams_per_tenant = 2).await;
    let t = two_in(lab).await;
    let streams = (t.follow(&t.ada, None).await, t.follow(&t.ada, None).await);
    let refused = t.lab.follow(&t.workspace, &t.ada, None).await;
    refused.err().unwrap().refused(429, "rate_limited");
    drop(streams);
    t.lab.until(|| t.lab.app.streams() == 0).await;
    t.follow(&t.ada, None).await;
}

/// The token of a store of Ada's, and what it sends.
async fn store_token(t: &Two) -> String {
    let wanted = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let token = t.lab.post("/tokens", &t.ada, wanted).await.ok(201);
    assert_eq!(token.field("purpose"), "webhook");
    token.field("token")
}

fn notification(bucket: &str, key: &str) -> Value {
    json!({ "Records": [{
        "eventName": "s3:ObjectCreated:Put",
        "s3": { "bucket": { "name": bucket }, "object": { "key": key, "eTag": "0cc1" } },
    }] })
}

async fn bucket(t: &Two) -> BucketName {
    let info = t.lab.get("/tenant/mount/info", &t.ada).await.ok(200);
    info.field("bucket_name").parse().unwrap()
}

#[tokio::test]
async fn a_store_says_what_changed_in_its_bucket() {
    let t = two().await;
    let (token, bucket) = (store_token(&t).await, bucket(&t).await);
    let mut stream = t.follow(&t.ada, None).await;
    let path = format!("/webhooks/minio/{}", t.tenant);
    let other = notification("elsewhere", "cases/a");
    t.lab.post(&path, &token, other).await.ok(200);
    let outside = notification(bucket.as_str(), "other/a");
    t.lab.post(&path, &token, outside).await.ok(200);
    let inside = notification(bucket.as_str(), "cases/a+b.txt");
    t.lab.post(&path, &token, inside).await.ok(200);
    let tigris = json!({ "events": [{
        "eventName": "OBJECT_DELETED", "bucket": bucket, "object": { "key": "cases/a b.txt" },
    }] });
    let path = format!("/webhooks/tigris/{}", t.tenant);
    t.lab.post(&path, &token, tigris).await.ok(200);
    let told = stream.next().await;
    assert_eq!(
        (told.event.as_str(), keys(&told)),
        ("changed", vec!["a b.txt"])
    );
    assert_eq!(told.data["objects"][0]["etag"], "\"0cc1\"");
    assert_eq!(told.data["source"], "s3");
    let told = stream.next().await;
    assert_eq!(
        (told.event.as_str(), keys(&told)),
        ("deleted", vec!["a b.txt"])
    );
    // More folders than are looked for one by one.
    let deep = format!("{}x", "d/".repeat(40));
    let inside = notification(bucket.as_str(), &format!("cases/{deep}"));
    let path = format!("/webhooks/minio/{}", t.tenant);
    t.lab.post(&path, &token, inside).await.ok(200);
    assert_eq!(keys(&stream.next().await), [deep]);
}

#[tokio::test]
async fn a_stores_token_is_for_its_tenants_webhooks_and_nothing_else() {
    let t = two().await;
    let (token, bucket) = (store_token(&t).await, bucket(&t).await);
    let body = notification(bucket.as_str(), "cases/a");
    let path = format!("/webhooks/s3/{}", t.tenant);
    for (token, status, code) in [
        ("", 401, "unauthenticated"),
        ("art_wrong", 401, "unauthenticated"),
        (t.ada.as_str(), 403, "forbidden"),
        (t.operator.as_str(), 403, "forbidden"),
    ] {
        let answer = t.lab.post(&path, token, body.clone()).await;
        answer.refused(status, code);
    }
    let narrow = json!({
        "description": "minio", "mode": "ro", "purpose": "webhook", "workspace_id": t.workspace,
    });
    t.lab
        .post("/tokens", &t.ada, narrow)
        .await
        .refused(422, "invalid");
    let mine = t.lab.get("/whoami", &t.bob).await.field("tenant_id");
    let elsewhere = format!("/webhooks/s3/{mine}");
    t.lab
        .post(&elsewhere, &token, body.clone())
        .await
        .refused(403, "forbidden");
    t.lab
        .post("/webhooks/s3/all", &token, body.clone())
        .await
        .refused(401, "unauthenticated");
    t.lab
        .post("/webhooks/gcs/all", &token, body.clone())
        .await
        .refused(404, "not_found");
    for rubbish in [json!({ "Records": [1] }), json!({}), json!([])] {
        t.lab
            .post(&path, &token, rubbish)
            .await
            .refused(422, "invalid");
    }
    for path in ["/tenant/mount/info", "/workspaces"] {
        t.lab.get(path, &token).await.refused(403, "forbidden");
    }
    let refused = t.lab.follow(&t.workspace, &token, None).await;
    refused.err().unwrap().refused(403, "forbidden");
    let none = t.lab.follow(&t.workspace, &t.ada, Some("0")).await;
    let mut stream = none.unwrap();
    let body = json!({ "workspace_id": t.workspace, "changed": [{ "key": "last" }] });
    t.lab.post("/sync", &t.ada, body).await.ok(200);
    assert_eq!(
        keys(&stream.next().await),
        ["last"],
        "nothing came of all that"
    );
}

#[tokio::test]
async fn the_operators_store_reaches_buckets_of_this_servers_making_only() {
    let secret = "the operator's webhook token";
    let lab = Lab::with(|settings| {
        settings.webhook_token = Some(artifacts_orchestrator::token_hash(secret));
    })
    .await;
    let t = two_in(lab).await;
    let bucket = bucket(&t).await;
    // Bob claims that his own workspace lies in Ada's bucket.
    let place = json!({
        "bucket": bucket, "endpoint_url": "https://s3.example.com", "region": "auto", "prefix": "",
    });
    let claim = json!({ "name": "spy", "backend": "byo", "place": place });
    let spy = t.lab.post("/workspaces", &t.bob, claim).await.ok(201);
    let mut ada = t.follow(&t.ada, None).await;
    let spied = spy.field("workspace_id");
    let message = json!({ "new_entry": { "name": "a" }, "new_parent_path": "/buckets/x" });
    let body = json!({
        "key": format!("/buckets/{bucket}/cases/a"), "event_type": "create", "message": message,
    });
    t.lab
        .post("/webhooks/seaweedfs/all", secret, body)
        .await
        .ok(200);
    let told = ada.next().await;
    assert_eq!(keys(&told), ["a"]);
    assert_eq!(told.data["source"], "seaweedfs");
    let id = spied.parse().unwrap();
    assert_eq!(t.lab.store.newest_event(id).await.unwrap().0, 0);
}

#[tokio::test]
async fn no_workspace_takes_the_streams_name() {
    let t = two().await;
    t.lab
        .post("/workspaces", &t.ada, json!({ "name": "events" }))
        .await
        .refused(422, "invalid");
}

#[tokio::test]
async fn servers_of_one_postgres_hear_each_other_also_after_a_lost_connection() {
    let server = testkit::require_postgres!();
    let url = server.create_database().unwrap();
    let (one, two) = (Lab::on_postgres(&url).await, Lab::on_postgres(&url).await);
    let t = two_in(one).await;
    // A token that both servers know.
    let token = json!({ "description": "reader", "mode": "ro", "workspace_id": t.workspace });
    let token = t
        .lab
        .post("/tokens", &t.ada, token)
        .await
        .ok(201)
        .field("token");
    let mut stream = two.follow(&t.workspace, &token, None).await.unwrap();
    assert_eq!(stream.begin().await, "0");
    t.announce(&["a"], &[]).await;
    assert_eq!(keys(&stream.next().await), ["a"]);
    // All listeners lose their connections, and nobody who follows loses an event.
    let store = PostgresStore::open(&url.clone().into()).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    sqlx::query(cut).execute(store.pool()).await.unwrap();
    t.announce(&["b"], &[]).await;
    assert_eq!(keys(&stream.next().await), ["b"]);
}
