//! Workspaces, grants and tickets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use common::Lab;
use serde_json::{Value, json};

const KEYS: &str = "/tenant/mount/credentials";

struct Two {
    lab: Lab,
    ada: String,
    bob: String,
}

async fn two() -> Two {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    let (_, bob) = lab.tenant(&operator, "bob").await;
    Two { lab, ada, bob }
}

impl Two {
    async fn workspace(&self, name: &str) -> String {
        let body = json!({ "name": name });
        let made = self.lab.post("/workspaces", &self.ada, body).await.ok(201);
        made.field("workspace_id")
    }
}

#[tokio::test]
async fn a_name_is_reserved_formatted_and_deleted() {
    let t = two().await;
    let made = t
        .lab
        .post("/workspaces", &t.ada, json!({ "name": "cases" }))
        .await
        .ok(201)
        .json();
    assert_eq!(
        (&made["state"], &made["handle"]),
        (&json!("pending_format"), &json!("ada"))
    );
    assert_eq!(made["place"]["prefix"], "cases/");
    let again = t
        .lab
        .post("/workspaces", &t.ada, json!({ "name": "cases" }))
        .await;
    again.refused(409, "conflict");
    assert_eq!(again.json()["existing"], made);
    let path = "/workspaces/ada/cases";
    for _ in 0..2 {
        let done = t
            .lab
            .post(&format!("{path}/format-completed"), &t.ada, Value::Null)
            .await;
        assert_eq!(done.ok(200).field("state"), "active");
    }
    let id = made["workspace_id"].clone();
    let key = json!({ "workspace_id": id, "mode": "ro" });
    let key = t.lab.post(KEYS, &t.ada, key).await.ok(201);
    assert_eq!(key.field("prefix"), "cases/");
    assert_eq!(
        t.lab.delete(path, &t.ada).await.ok(200).field("state"),
        "deleted"
    );
    assert_eq!(
        t.lab.fake.content().users.len(),
        0,
        "its keys ended with it"
    );
    t.lab.get(path, &t.ada).await.refused(404, "not_found");
    t.lab
        .post(KEYS, &t.ada, json!({ "workspace_id": id }))
        .await
        .refused(404, "not_found");
    t.workspace("cases").await;
    let listed = t.lab.get("/workspaces", &t.ada).await.ok(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn of_a_bring_your_own_workspace_the_place_is_kept_and_no_key_is_issued() {
    let t = two().await;
    let place = json!({
        "bucket": "my-bucket", "endpoint_url": "http://10.0.0.1:9000",
        "region": "eu-central-1", "prefix": "a/",
    });
    let body = json!({ "name": "own", "backend": "byo", "place": place });
    let calls = t.lab.fake.calls().len();
    let made = t.lab.post("/workspaces", &t.ada, body).await.ok(201).json();
    assert_eq!(made["place"], place);
    let key = json!({ "workspace_id": made["workspace_id"] });
    t.lab.post(KEYS, &t.ada, key).await.refused(409, "conflict");
    assert_eq!(
        t.lab.fake.calls().len(),
        calls,
        "nothing was asked of anybody"
    );
    let without = json!({ "name": "other", "backend": "byo" });
    t.lab
        .post("/workspaces", &t.ada, without)
        .await
        .refused(422, "invalid");
    for endpoint in [
        "https://key:secret@store.example.com",
        "https://a?X-Amz-Signature=1",
    ] {
        let mut place = place.clone();
        place["endpoint_url"] = json!(endpoint);
        let body = json!({ "name": "other", "backend": "byo", "place": place });
        let said = t
            .lab
            .post("/workspaces", &t.ada, body)
            .await
            .refused(422, "invalid");
        assert!(
            !said.contains("secret@") && !said.contains("Signature"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_tenant_without_a_bucket_of_ours_has_workspaces_of_its_own() {
    let t = two().await;
    let operator = t.lab.operator().await;
    let owner = json!({ "issuer": t.lab.issuer.url, "subject": "eve" });
    let body = json!({ "handle": "eve", "backend": "byo", "owner": owner });
    t.lab.post("/tenants", &operator, body).await.ok(201);
    let eve = t.lab.person("eve");
    t.lab
        .get("/tenant/mount/info", &eve)
        .await
        .refused(404, "not_found");
    t.lab
        .post(KEYS, &eve, Value::Null)
        .await
        .refused(409, "conflict");
    t.lab
        .post("/workspaces", &eve, json!({ "name": "x" }))
        .await
        .refused(409, "conflict");
}

#[tokio::test]
async fn what_is_anothers_is_not_there_until_it_is_granted() {
    let t = two().await;
    let id = t.workspace("cases").await;
    let path = "/workspaces/ada/cases";
    let key = json!({ "workspace_id": id });
    t.lab.get(path, &t.bob).await.refused(404, "not_found");
    t.lab
        .post(KEYS, &t.bob, key.clone())
        .await
        .refused(404, "not_found");
    t.lab.delete(path, &t.bob).await.refused(404, "not_found");
    let theirs = json!({ "workspace_id": id, "grantee": "bob", "mode": "rw" });
    t.lab
        .post("/grants", &t.bob, theirs)
        .await
        .refused(404, "not_found");

    let grant = json!({ "workspace_id": id, "grantee": "bob", "mode": "ro" });
    let given = t.lab.post("/grants", &t.ada, grant.clone()).await.ok(201);
    t.lab
        .post("/grants", &t.ada, grant)
        .await
        .refused(409, "conflict");
    t.lab.get(path, &t.bob).await.ok(200);
    t.lab.delete(path, &t.bob).await.refused(403, "forbidden");
    let received = t.lab.get("/grants/received", &t.bob).await.ok(200).json();
    assert_eq!(received["items"][0]["workspace_id"], id.as_str());
    let writing = json!({ "workspace_id": id, "mode": "rw" });
    t.lab
        .post(KEYS, &t.bob, writing)
        .await
        .refused(403, "forbidden");
    let issued = t.lab.post(KEYS, &t.bob, key.clone()).await.ok(201);
    assert_eq!(
        (issued.field("mode"), issued.field("prefix")),
        ("ro".into(), "cases/".into())
    );
    let mine = t
        .lab
        .get("/tenant/mount/info", &t.ada)
        .await
        .field("bucket_name");
    assert_eq!(issued.field("bucket_name"), mine);

    let grant = format!("/grants/{}", given.field("grant_id"));
    t.lab.delete(&grant, &t.bob).await.refused(404, "not_found");
    t.lab.delete(&grant, &t.ada).await.ok(204);
    assert_eq!(
        t.lab.fake.content().users.len(),
        0,
        "the keys ended with the grant"
    );
    t.lab.get(path, &t.bob).await.refused(404, "not_found");
    t.lab
        .post(KEYS, &t.bob, key)
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn a_grant_and_the_keys_by_it_end_with_its_time() {
    let t = two().await;
    let id = t.workspace("cases").await;
    let grant = json!({ "workspace_id": id, "grantee": "bob", "mode": "rw", "ttl_seconds": 600 });
    t.lab.post("/grants", &t.ada, grant).await.ok(201);
    let key = json!({ "workspace_id": id, "ttl_seconds": 3600 });
    let issued = t.lab.post(KEYS, &t.bob, key.clone()).await.ok(201);
    let end = t.lab.now().plus(Duration::from_secs(600)).to_string();
    assert_eq!(issued.field("expires_at"), end);
    t.lab.upkeep_after(Duration::from_secs(600)).await;
    assert_eq!(t.lab.fake.content().users.len(), 0);
    t.lab
        .post(KEYS, &t.bob, key)
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn a_ticket_opens_one_workspace_in_one_mode_for_one_time() {
    let t = two().await;
    let (cases, other) = (t.workspace("cases").await, t.workspace("other").await);
    let ticket = json!({ "workspace_id": cases, "mode": "ro", "ttl_seconds": 600 });
    let made = t.lab.post("/tickets", &t.ada, ticket).await.ok(201);
    let text = made.field("ticket");
    let key = t.lab.post(KEYS, &text, Value::Null).await.ok(201);
    assert_eq!(key.field("prefix"), "cases/");
    assert_eq!(key.field("expires_at"), made.field("expires_at"));
    let elsewhere = json!({ "workspace_id": other });
    t.lab
        .post(KEYS, &text, elsewhere)
        .await
        .refused(403, "forbidden");
    t.lab
        .post(KEYS, &text, json!({ "mode": "rw" }))
        .await
        .refused(403, "forbidden");
    t.lab.get("/workspaces/ada/cases", &text).await.ok(200);
    t.lab
        .get("/workspaces/ada/other", &text)
        .await
        .refused(404, "not_found");
    t.lab
        .get("/workspaces", &text)
        .await
        .refused(403, "forbidden");
    // Its holder takes back what they were given, and nothing else.
    let foreign = t
        .lab
        .post(KEYS, &t.ada, Value::Null)
        .await
        .ok(201)
        .field("credential_id");
    t.lab
        .delete(&format!("{KEYS}/{foreign}"), &text)
        .await
        .refused(404, "not_found");
    t.lab
        .delete(&format!("{KEYS}/{}", key.field("credential_id")), &text)
        .await
        .ok(200);
    t.lab.post(KEYS, &text, Value::Null).await.ok(201);
    let path = format!("/tickets/{}", made.field("ticket_id"));
    t.lab.delete(&path, &t.bob).await.refused(404, "not_found");
    t.lab.delete(&path, &t.ada).await.ok(204);
    t.lab
        .post(KEYS, &text, Value::Null)
        .await
        .refused(401, "unauthenticated");
    assert_eq!(
        t.lab.fake.content().users.len(),
        1,
        "the owner's own is left"
    );
    let long = json!({ "workspace_id": cases, "mode": "ro", "ttl_seconds": 604_801 });
    t.lab
        .post("/tickets", &t.ada, long)
        .await
        .refused(422, "invalid");
}

#[tokio::test]
async fn a_member_uses_and_an_owner_gives() {
    let t = two().await;
    let operator = t.lab.operator().await;
    let me = t.lab.get("/whoami", &t.ada).await.field("tenant_id");
    let who = json!({ "issuer": t.lab.issuer.url, "subject": "max", "role": "member" });
    let members = format!("/tenants/{me}/members");
    t.lab
        .post(&members, &t.bob, who.clone())
        .await
        .refused(403, "forbidden");
    t.lab.post(&members, &t.ada, who).await.ok(201);
    let max = t.lab.person("max");
    t.lab.post(KEYS, &max, Value::Null).await.ok(201);
    let id = t.workspace("cases").await;
    t.lab
        .post("/workspaces", &max, json!({ "name": "x" }))
        .await
        .refused(403, "forbidden");
    let grant = json!({ "workspace_id": id, "grantee": "bob", "mode": "ro" });
    t.lab
        .post("/grants", &max, grant)
        .await
        .refused(403, "forbidden");
    let ticket = json!({ "workspace_id": id, "mode": "ro", "ttl_seconds": 60 });
    t.lab
        .post("/tickets", &max, ticket)
        .await
        .refused(403, "forbidden");
    let listed = t.lab.get(&members, &operator).await.ok(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}
