//! Storage keys: who gets which, what lists show, and how they end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use artifacts_orchestrator::provision::fake::Failure;
use common::Lab;
use serde_json::{Value, json};

const KEYS: &str = "/tenant/mount/credentials";

async fn lab() -> (Lab, String, String) {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (tenant, owner) = lab.tenant(&operator, "ada").await;
    (lab, tenant, owner)
}

#[tokio::test]
async fn mount_info_tells_the_bucket_and_whether_there_are_keys() {
    let (lab, tenant, owner) = lab().await;
    let info = lab.get("/tenant/mount/info", &owner).await.ok(200).json();
    let bucket = format!("artifacts-{}", tenant.replace('-', ""));
    let wanted = json!({
        "tenant_id": tenant, "bucket_name": bucket,
        "has_credentials": false, "credentials_created_at": null,
    });
    assert_eq!(info, wanted);
    assert!(lab.fake.content().buckets.contains_key(&bucket));
    let key = lab.post(KEYS, &owner, Value::Null).await.ok(201);
    let info = lab.get("/tenant/mount/info", &owner).await.ok(200).json();
    assert_eq!(info["has_credentials"], true);
    assert_eq!(info["credentials_created_at"], lab.now().to_string());
    lab.delete(&format!("{KEYS}/{}", key.field("credential_id")), &owner)
        .await
        .ok(200);
    let info = lab.get("/tenant/mount/info", &owner).await.ok(200).json();
    assert_eq!(info["has_credentials"], false);
}

#[tokio::test]
async fn the_tenant_comes_from_the_token_and_one_in_the_body_is_ignored() {
    let (lab, tenant, owner) = lab().await;
    let operator = lab.operator().await;
    let (other, _) = lab.tenant(&operator, "bob").await;
    let body =
        json!({ "tenant_id": other, "tenant": other, "bucket_name": "theirs", "mode": "ro" });
    let key = lab.post(KEYS, &owner, body).await.ok(201).json();
    assert_eq!(key["tenant_id"], tenant.as_str());
    assert_eq!(
        key["bucket_name"],
        format!("artifacts-{}", tenant.replace('-', ""))
    );
    assert_eq!(key["mode"], "ro");
    assert_eq!(key["endpoint_url"], "https://store.example.com");
    assert_eq!(key["region"], "auto");
}

#[tokio::test]
async fn nobody_sees_or_revokes_anothers_key() {
    let (lab, _, ada) = lab().await;
    let operator = lab.operator().await;
    let (_, bob) = lab.tenant(&operator, "bob").await;
    let key = lab
        .post(KEYS, &ada, Value::Null)
        .await
        .ok(201)
        .field("credential_id");
    assert_eq!(lab.get(KEYS, &bob).await.ok(200).json()["items"], json!([]));
    let path = format!("{KEYS}/{key}");
    lab.delete(&path, &bob).await.refused(404, "not_found");
    lab.post(&format!("{path}/used"), &bob, Value::Null)
        .await
        .refused(404, "not_found");
    lab.delete(&path, &operator).await.refused(403, "forbidden");
    assert_eq!(lab.fake.content().users.len(), 1);
}

#[tokio::test]
async fn a_list_shows_everything_but_the_secret() {
    let (lab, _, owner) = lab().await;
    let body = json!({ "description": "the laptop", "ttl_seconds": 3600 });
    let key = lab.post(KEYS, &owner, body).await.ok(201);
    let listed = lab.get(KEYS, &owner).await.ok(200);
    assert!(!listed.text.contains(&key.field("secret_key")));
    let item = &listed.json()["items"][0];
    assert_eq!(item["access_key"], key.field("access_key").as_str());
    assert_eq!(
        (&item["state"], &item["description"]),
        (&json!("active"), &json!("the laptop"))
    );
    assert_eq!(
        item["expires_at"],
        lab.now().plus(Duration::from_secs(3600)).to_string()
    );
}

#[tokio::test]
async fn a_revocation_is_repeated_until_the_provider_confirms_it() {
    let (lab, _, owner) = lab().await;
    let key = lab
        .post(KEYS, &owner, Value::Null)
        .await
        .ok(201)
        .field("credential_id");
    let down = || Failure::Before(common::passing());
    (0..3).for_each(|call| lab.fake.fail(call, down()));
    let path = format!("{KEYS}/{key}");
    let answer = lab.delete(&path, &owner).await.ok(202).json();
    assert_eq!(
        (&answer["state"], &answer["deletion_status"]),
        (&json!("revoking"), &json!("failed"))
    );
    // It does not count for anybody meanwhile, and asking again changes nothing.
    let info = lab.get("/tenant/mount/info", &owner).await.json();
    assert_eq!(info["has_credentials"], false);
    lab.delete(&path, &owner).await.ok(202);
    lab.upkeep().await;
    assert_eq!(lab.fake.content().users.len(), 1, "not before its time");
    lab.upkeep_after(Duration::from_secs(2)).await;
    lab.upkeep_after(Duration::from_secs(3)).await;
    assert_eq!(
        lab.fake.content().users.len(),
        1,
        "it has failed three times"
    );
    lab.upkeep_after(Duration::from_secs(5)).await;
    assert_eq!(lab.fake.content().users.len(), 0);
    let listed = lab.get(KEYS, &owner).await.json();
    let item = &listed["items"][0];
    assert_eq!(
        (&item["state"], &item["deletion_status"]),
        (&json!("revoked"), &json!("completed"))
    );
}

#[tokio::test]
async fn a_key_ends_with_its_time_and_when_nobody_uses_it() {
    let day = Duration::from_secs(24 * 3600);
    let lab = Lab::with(|settings| settings.revoke_unused_after = Some(10 * day)).await;
    let operator = lab.operator().await;
    let (_, _) = lab.tenant(&operator, "ada").await;
    let owner = || lab.person("ada");
    lab.post(KEYS, &owner(), json!({ "ttl_seconds": 3600 }))
        .await
        .ok(201);
    let used = lab
        .post(KEYS, &owner(), Value::Null)
        .await
        .ok(201)
        .field("credential_id");
    lab.post(KEYS, &owner(), Value::Null).await.ok(201);
    lab.upkeep_after(Duration::from_secs(3599)).await;
    assert_eq!(lab.fake.content().users.len(), 3);
    lab.upkeep_after(Duration::from_secs(1)).await;
    assert_eq!(lab.fake.content().users.len(), 2);
    lab.upkeep_after(9 * day).await;
    lab.post(&format!("{KEYS}/{used}/used"), &owner(), Value::Null)
        .await
        .ok(204);
    lab.upkeep_after(day).await;
    assert_eq!(lab.fake.content().users.len(), 1);
    let audit = lab.audit().await;
    assert!(audit.contains(&"MountCredentialRevoked: its time has ended".to_owned()));
    assert!(audit.contains(&"MountCredentialOrphaned: unused for too long".to_owned()));
    lab.upkeep_after(9 * day).await;
    assert_eq!(lab.fake.content().users.len(), 0);
}

#[tokio::test]
async fn a_key_that_nobody_confirms_is_taken_back() {
    let hour = Duration::from_secs(3600);
    let lab = Lab::with(|settings| settings.revoke_unconfirmed_after = Some(hour)).await;
    let operator = lab.operator().await;
    let (_, owner) = lab.tenant(&operator, "ada").await;
    let confirmed = lab
        .post(KEYS, &owner, Value::Null)
        .await
        .ok(201)
        .field("credential_id");
    lab.post(KEYS, &owner, Value::Null).await.ok(201);
    lab.post(&format!("{KEYS}/{confirmed}/used"), &owner, Value::Null)
        .await
        .ok(204);
    lab.upkeep_after(hour - Duration::from_secs(1)).await;
    assert_eq!(lab.fake.content().users.len(), 2);
    lab.upkeep_after(Duration::from_secs(1)).await;
    assert_eq!(lab.fake.content().users.len(), 1);
    let audit = lab.audit().await;
    assert!(audit.contains(&"MountCredentialOrphaned: no mount ever confirmed it".to_owned()));
    lab.upkeep_after(24 * hour).await;
    assert_eq!(lab.fake.content().users.len(), 1, "a confirmed one stays");
}

#[tokio::test]
async fn a_deleted_tenants_tokens_open_nothing() {
    let (lab, tenant, owner) = lab().await;
    let operator = lab.operator().await;
    let service = json!({ "description": "build", "mode": "rw" });
    let store = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let service = lab.post("/tokens", &owner, service).await.ok(201);
    let store = lab.post("/tokens", &owner, store).await.ok(201);
    let (service, store) = (service.field("token"), store.field("token"));
    let made = lab.post("/workspaces", &owner, json!({ "name": "cases" }));
    let workspace = made.await.ok(201).field("workspace_id");
    let ticket = json!({ "workspace_id": workspace, "mode": "rw", "ttl_seconds": 600 });
    let ticket = lab.post("/tickets", &owner, ticket).await.ok(201);
    let ticket = ticket.field("ticket");
    let (hook, notice) = (
        format!("/webhooks/minio/{tenant}"),
        json!({ "Records": [] }),
    );
    let said = json!({ "workspace_id": workspace, "changed": [{ "key": "a" }] });
    // All of them count before.
    lab.post(&hook, &store, notice.clone()).await.ok(200);
    for token in [&owner, &service, &ticket] {
        lab.get("/tenant/mount/info", token).await.ok(200);
        lab.post(KEYS, token, Value::Null).await.ok(201);
        lab.post("/sync", token, said.clone()).await.ok(200);
    }
    lab.delete(&format!("/tenants/{tenant}"), &operator)
        .await
        .ok(200);
    for token in [&owner, &service, &ticket, &store] {
        for path in [
            &*format!("/workspaces/{workspace}/events"),
            "/workspaces/ada/cases",
        ] {
            lab.get(path, token).await.refused(403, "forbidden");
        }
        lab.post("/sync", token, said.clone())
            .await
            .refused(403, "forbidden");
        lab.post(&hook, token, notice.clone())
            .await
            .refused(403, "forbidden");
    }
    for token in [&owner, &service, &ticket, &store] {
        lab.get("/tenant/mount/info", token)
            .await
            .refused(403, "forbidden");
        lab.post(KEYS, token, Value::Null)
            .await
            .refused(403, "forbidden");
    }
    assert_eq!(lab.fake.content().users.len(), 0);
}
