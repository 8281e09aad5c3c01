//! The mounts that are alive: what they say of themselves, who sees it, and until when.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use common::{Answer, Lab};
use serde_json::{Value, json};
use uuid::Uuid;

/// Ada has the workspaces `cases` and `other`; Bob has nothing.
struct Two {
    lab: Lab,
    ada: String,
    bob: String,
    cases: String,
    other: String,
}

async fn two() -> Two {
    two_in(Lab::new().await).await
}

async fn two_in(lab: Lab) -> Two {
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    let (_, bob) = lab.tenant(&operator, "bob").await;
    let made = async |name: &str| {
        let made = lab.post("/workspaces", &ada, json!({ "name": name }));
        made.await.ok(201).field("workspace_id")
    };
    let (cases, other) = (made("cases").await, made("other").await);
    Two {
        ada,
        bob,
        cases,
        other,
        lab,
    }
}

impl Two {
    async fn report(&self, token: &str, mount: &str, body: Value) -> Answer {
        self.report_in(&self.cases, token, mount, body).await
    }

    async fn report_in(&self, workspace: &str, token: &str, mount: &str, body: Value) -> Answer {
        let path = format!("/workspaces/{workspace}/mounts/{mount}");
        self.lab.call("PUT", &path, token, body).await
    }

    async fn end(&self, token: &str, mount: &str) -> Answer {
        let path = format!("/workspaces/{}/mounts/{mount}", self.cases);
        self.lab.delete(&path, token).await
    }

    async fn list(&self, token: &str) -> Vec<Value> {
        let path = format!("/workspaces/{}/mounts", self.cases);
        items(&self.lab.get(&path, token).await)
    }

    async fn grant(&self, mode: &str) {
        let body = json!({ "workspace_id": self.cases, "grantee": "bob", "mode": mode });
        self.lab.post("/grants", &self.ada, body).await.ok(201);
    }
}

#[track_caller]
fn items(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

fn machines(mounts: &[Value]) -> Vec<&str> {
    let mut machines = Vec::new();
    for mount in mounts {
        machines.push(mount["machine"].as_str().unwrap());
    }
    machines
}

fn on(machine: &str, mode: &str) -> Value {
    json!({ "machine": machine, "mode": mode })
}

fn number() -> String {
    Uuid::now_v7().to_string()
}

#[tokio::test]
async fn a_mount_is_listed_with_what_it_said_last_and_how_far_behind_it_is() {
    let t = two().await;
    let mount = number();
    let body = json!({ "machine": "laptop of Ada", "mode": "rw", "last_event_id": 0 });
    t.report(&t.ada, &mount, body).await.ok(204);
    let change = json!({ "workspace_id": t.cases, "changed": [{ "key": "a" }, { "key": "b" }],
        "deleted": [{ "key": "c" }] });
    t.lab.post("/sync", &t.ada, change).await.ok(200);
    let first = t.list(&t.ada).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["mount_id"], mount.as_str());
    assert_eq!(first[0]["workspace_id"], t.cases.as_str());
    assert_eq!(first[0]["workspace"], "cases");
    assert_eq!(
        (&first[0]["events_behind"], &first[0]["pending"]),
        (&json!(2), &json!(0))
    );
    t.lab.clock.advance(Duration::from_secs(10));
    let body = json!({ "machine": "laptop of Ada", "mode": "ro", "last_event_id": 2,
        "pending": 3, "pending_bytes": 4096, "oldest_pending_seconds": 7 });
    t.report(&t.ada, &mount, body.clone()).await.ok(204);
    let now = t.list(&t.ada).await;
    assert_eq!(now.len(), 1);
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&now[0][name], value, "{name}");
    }
    assert_eq!(now[0]["events_behind"], 0);
    assert_eq!(now[0]["started_at"], first[0]["reported_at"]);
    assert_ne!(now[0]["started_at"], now[0]["reported_at"]);
}

#[tokio::test]
async fn numbers_that_cannot_be_do_no_harm() {
    let t = two().await;
    let most = i64::MAX;
    let extremes = [
        json!({ "machine": "m", "mode": "rw", "last_event_id": i64::MIN, "pending": most }),
        json!({ "machine": "m", "mode": "rw", "last_event_id": most, "pending_bytes": most,
            "oldest_pending_seconds": most }),
    ];
    for body in extremes {
        t.report(&t.ada, &number(), body).await.ok(204);
    }
    let behind: Vec<Value> = t
        .list(&t.ada)
        .await
        .into_iter()
        .map(|mount| mount["events_behind"].clone())
        .collect();
    assert_eq!(behind, [0, 0]);
    let none = t.report(&t.ada, &number(), on("m", "rw")).await;
    none.ok(204);
    assert_eq!(t.list(&t.ada).await[2]["events_behind"], Value::Null);
    for bad in [
        json!({ "machine": "a\nb", "mode": "rw" }),
        json!({ "machine": "m" }),
        json!({ "machine": "m", "mode": "rw", "pending": -1 }),
        json!({ "machine": "m", "mode": "rw", "pending": u64::MAX }),
        json!({ "machine": "m", "mode": "rw", "oldest_pending_seconds": 1_u64 << 63 }),
    ] {
        t.report(&t.ada, &number(), bad)
            .await
            .refused(422, "invalid");
    }
    t.report(&t.ada, "no-number", on("m", "rw"))
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn a_silent_mount_is_gone_and_so_is_one_that_ended() {
    let t = two().await;
    let (silent, ended) = (number(), number());
    for mount in [&silent, &ended] {
        t.report(&t.ada, mount, on("laptop", "rw")).await.ok(204);
    }
    t.end(&t.ada, &ended).await.ok(204);
    assert_eq!(t.list(&t.ada).await.len(), 1);
    t.end(&t.ada, &ended).await.ok(204);
    t.lab.clock.advance(Duration::from_secs(45));
    assert_eq!(
        t.list(&t.ada).await.len(),
        1,
        "the third report may be late"
    );
    t.lab.clock.advance(Duration::from_secs(1));
    assert_eq!(
        t.list(&t.ada).await.len(),
        0,
        "nobody need have forgotten it"
    );
    t.lab.upkeep().await;
    // Its row is gone: a number that nobody has may be anybody's.
    t.grant("rw").await;
    t.report(&t.bob, &silent, on("bob's", "rw")).await.ok(204);
}

#[tokio::test]
async fn a_mounts_number_is_its_own() {
    let t = two().await;
    t.grant("rw").await;
    let mount = number();
    t.report(&t.ada, &mount, on("laptop", "rw")).await.ok(204);
    t.report(&t.bob, &mount, on("bob's", "rw"))
        .await
        .refused(409, "conflict");
    t.report_in(&t.other, &t.ada, &mount, on("laptop", "rw"))
        .await
        .refused(409, "conflict");
    let token = json!({ "description": "build", "mode": "rw" });
    let token = t
        .lab
        .post("/tokens", &t.ada, token)
        .await
        .ok(201)
        .field("token");
    t.report(&token, &mount, on("builder", "rw"))
        .await
        .refused(409, "conflict");
    // Nobody else ends it either.
    t.end(&t.bob, &mount).await.ok(204);
    assert_eq!(machines(&t.list(&t.ada).await), ["laptop"]);
}

#[tokio::test]
async fn who_may_not_see_the_workspace_sees_and_says_nothing() {
    let t = two().await;
    let mount = number();
    t.report(&t.ada, &mount, on("laptop", "rw")).await.ok(204);
    let path = format!("/workspaces/{}/mounts", t.cases);
    t.lab.get(&path, &t.bob).await.refused(404, "not_found");
    t.report(&t.bob, &number(), on("bob's", "ro"))
        .await
        .refused(404, "not_found");
    t.end(&t.bob, &mount).await.refused(404, "not_found");
    t.lab.get(&path, "").await.refused(401, "unauthenticated");
    // A grant opens files and tells nothing of the owner's machines.
    t.grant("ro").await;
    t.report(&t.bob, &number(), on("bob's", "rw"))
        .await
        .refused(403, "forbidden");
    t.report(&t.bob, &number(), on("bob's", "ro")).await.ok(204);
    assert_eq!(machines(&t.list(&t.bob).await), ["bob's"]);
    assert_eq!(machines(&t.list(&t.ada).await), ["laptop", "bob's"]);
}

#[tokio::test]
async fn a_ticket_says_and_sees_what_its_workspace_is_about() {
    let t = two().await;
    let ticket = json!({ "workspace_id": t.cases, "mode": "ro", "ttl_seconds": 600 });
    let ticket = t
        .lab
        .post("/tickets", &t.ada, ticket)
        .await
        .ok(201)
        .field("ticket");
    t.report(&ticket, &number(), on("job", "rw"))
        .await
        .refused(403, "forbidden");
    t.report(&ticket, &number(), on("job", "ro")).await.ok(204);
    t.report_in(&t.other, &ticket, &number(), on("job", "ro"))
        .await
        .refused(404, "not_found");
    let seen = t.list(&ticket).await;
    assert_eq!(machines(&seen), ["job"]);
    assert!(
        seen[0]["actor"].as_str().unwrap().starts_with("ticket:"),
        "{seen:?}"
    );
    t.lab
        .get("/tenant/mounts", &ticket)
        .await
        .refused(403, "forbidden");
}

#[tokio::test]
async fn a_tenant_sees_all_mounts_of_its_workspaces_in_pages() {
    let t = two().await;
    t.grant("rw").await;
    for (workspace, token, machine) in [
        (&t.cases, &t.ada, "one"),
        (&t.other, &t.ada, "two"),
        (&t.cases, &t.bob, "three"),
    ] {
        t.report_in(workspace, token, &number(), on(machine, "rw"))
            .await
            .ok(204);
    }
    let first = t.lab.get("/tenant/mounts?limit=2", &t.ada).await.ok(200);
    assert_eq!(machines(&items(&first)), ["one", "two"]);
    let next = format!(
        "/tenant/mounts?limit=2&page_token={}",
        first.field("next_page_token")
    );
    let last = t.lab.get(&next, &t.ada).await.ok(200);
    assert_eq!(machines(&items(&last)), ["three"]);
    assert_eq!(last.json()["next_page_token"], Value::Null);
    assert_eq!(
        items(&t.lab.get("/tenant/mounts", &t.bob).await).len(),
        0,
        "not its workspaces"
    );
}

#[tokio::test]
async fn a_tenant_that_reports_without_end_is_held_back() {
    let t = two_in(Lab::with(|settings| settings.mount_reports_per_minute = 2).await).await;
    t.grant("rw").await;
    for _ in 0..2 {
        t.report(&t.ada, &number(), on("laptop", "rw"))
            .await
            .ok(204);
    }
    t.report(&t.ada, &number(), on("laptop", "rw"))
        .await
        .refused(429, "rate_limited");
    t.report(&t.bob, &number(), on("bob's", "rw")).await.ok(204);
}

#[tokio::test]
async fn no_workspace_has_the_name_of_an_endpoint() {
    let t = two().await;
    for name in ["events", "mounts"] {
        let body = json!({ "name": name });
        let said = t
            .lab
            .post("/workspaces", &t.ada, body)
            .await
            .refused(422, "invalid");
        assert!(said.contains(name), "{said}");
    }
}

#[tokio::test]
async fn a_program_sees_its_own_mounts_and_learns_of_no_other_machine() {
    let two = two().await;
    let body = json!({ "workspace_id": two.cases, "mode": "rw", "ttl_seconds": 600 });
    let ticket = two.lab.post("/tickets", &two.ada, body).await.ok(201);
    let ticket = ticket.field("ticket");
    let report = |machine: &str| json!({ "machine": machine, "mode": "rw" });
    let (hers, its) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    two.report(&two.ada, &hers, report("laptop of Ada"))
        .await
        .ok(204);
    two.report(&ticket, &its, report("sandbox")).await.ok(204);
    assert_eq!(machines(&two.list(&ticket).await), ["sandbox"]);
    let all = two.list(&two.ada).await;
    assert_eq!(all.len(), 2, "{all:?}");
}
