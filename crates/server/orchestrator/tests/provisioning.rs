//! Every step fails once, in every way; every step is done twice; and between any two the
//! server is killed. Afterwards nothing is left over and nothing is missing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use artifacts_orchestrator::provision::fake::{Content, Failure, STEPS};
use common::{Answer, Lab, passing, refusing};
use serde_json::{Value, json};

const KEYS: &str = "/tenant/mount/credentials";

/// Longer than any row waits for the next look.
const LATER: Duration = Duration::from_secs(400);

/// Each way in which a call may fail.
fn failures() -> Vec<Failure> {
    vec![
        Failure::Before(passing()),
        Failure::After(passing()),
        Failure::Before(refusing()),
        Failure::After(refusing()),
        Failure::Silence,
    ]
}

async fn lab() -> (Lab, String) {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    lab.tenant(&operator, "ada").await;
    (lab, operator)
}

/// One bucket, and nothing of any key.
fn assert_no_keys(content: &Content) {
    assert_eq!(content.users.len(), 0, "{content:?}");
    assert_eq!(content.policies.len(), 0, "{content:?}");
    assert_eq!(content.buckets.len(), 1, "{content:?}");
}

async fn states(lab: &Lab) -> Vec<Value> {
    let listed = lab.get(KEYS, &lab.person("ada")).await.ok(200).json();
    let items = listed["items"].as_array().unwrap();
    items.iter().map(|key| key["state"].clone()).collect()
}

#[tokio::test]
async fn issuing_that_fails_at_any_step_leaves_nothing() {
    for step in 0..STEPS {
        for failure in failures() {
            let case = format!("{step} {failure:?}");
            let (lab, _) = lab().await;
            lab.fake.fail(step, failure);
            let answer = lab.post(KEYS, &lab.person("ada"), Value::Null).await;
            assert!(
                matches!(answer.status.as_u16(), 502 | 503),
                "{case}: {answer:?}"
            );
            assert_no_keys(&lab.fake.content());
            // What had no answer may still be carried out: it is asked for once more.
            if answer.status == 503 {
                assert_eq!(states(&lab).await, ["revoking"], "{case}");
                lab.upkeep_after(LATER).await;
                assert_no_keys(&lab.fake.content());
            }
            assert_eq!(states(&lab).await, ["revoked"], "{case}");
        }
    }
}

#[tokio::test]
async fn taking_back_that_fails_too_is_made_up_for_later() {
    for step in 0..STEPS {
        let (lab, _) = lab().await;
        lab.fake.fail(step, Failure::After(passing()));
        lab.fake.fail(step + 1, Failure::Silence);
        let answer = lab.post(KEYS, &lab.person("ada"), Value::Null).await;
        answer.refused(503, "unavailable");
        lab.upkeep_after(LATER).await;
        assert_no_keys(&lab.fake.content());
        assert_eq!(states(&lab).await, ["revoked"]);
    }
}

#[tokio::test]
async fn every_step_done_twice_is_done_once() {
    let (lab, operator) = lab().await;
    lab.fake.do_everything_twice();
    let (tenant, _) = lab.tenant(&operator, "bob").await;
    let key = lab
        .post(KEYS, &lab.person("bob"), Value::Null)
        .await
        .ok(201);
    let content = lab.fake.content();
    assert_eq!(
        (
            content.buckets.len(),
            content.policies.len(),
            content.users.len()
        ),
        (2, 1, 1)
    );
    let keys = content.users.values().next().unwrap();
    assert!(keys.len() == 1 && keys.contains(&key.field("access_key")));
    lab.delete(&format!("/tenants/{tenant}?bucket=delete"), &operator)
        .await
        .ok(200);
    assert_no_keys(&lab.fake.content());
}

/// Drops a request while the provider is silent, at the call of this number from now on: as by
/// kill -9, nothing after it runs.
async fn killed(lab: &Lab, call: usize, request: impl Future<Output = Answer>) {
    let before = lab.fake.calls().len();
    tokio::select! {
        answer = request => panic!("the provider is silent for longer: {answer:?}"),
        () = lab.until(|| lab.fake.calls().len() > before + call) => {}
    }
}

#[tokio::test]
async fn a_kill_at_any_step_of_issuing_leaves_nothing() {
    for step in 0..STEPS {
        let (lab, _) = lab().await;
        lab.fake.fail(step, Failure::Silence);
        let ada = lab.person("ada");
        let request = lab.post(KEYS, &ada, Value::Null);
        killed(&lab, step, request).await;
        assert_eq!(states(&lab).await, ["pending"]);
        lab.upkeep().await;
        assert_eq!(
            states(&lab).await,
            ["pending"],
            "it could still be under way"
        );
        lab.upkeep_after(LATER).await;
        assert_no_keys(&lab.fake.content());
        assert_eq!(states(&lab).await, ["revoked"]);
        let audit = lab.audit().await;
        let orphaned = "MountCredentialOrphaned: issuing was cut short".to_owned();
        assert!(audit.contains(&orphaned), "{audit:?}");
    }
}

#[tokio::test]
async fn a_kill_while_revoking_is_gone_on_from() {
    let (lab, _) = lab().await;
    let ada = lab.person("ada");
    let key = lab
        .post(KEYS, &ada, Value::Null)
        .await
        .ok(201)
        .field("credential_id");
    lab.fake.fail(0, Failure::Silence);
    let path = format!("{KEYS}/{key}");
    let request = lab.delete(&path, &ada);
    killed(&lab, 0, request).await;
    assert_eq!(states(&lab).await, ["revoking"]);
    lab.upkeep_after(LATER).await;
    assert_no_keys(&lab.fake.content());
    assert_eq!(states(&lab).await, ["revoked"]);
}

#[tokio::test]
async fn a_bucket_that_is_not_made_at_once_is_made_later() {
    for failure in [
        Failure::Before(passing()),
        Failure::After(passing()),
        Failure::Silence,
    ] {
        let (lab, operator) = lab().await;
        lab.fake.fail(0, failure);
        let body = json!({ "handle": "bob" });
        let tenant = lab.post("/tenants", &operator, body).await.ok(202);
        assert_eq!(tenant.field("state"), "provisioning");
        let path = format!("/tenants/{}", tenant.field("tenant_id"));
        lab.upkeep_after(LATER).await;
        assert_eq!(lab.get(&path, &operator).await.field("state"), "active");
        assert_eq!(lab.fake.content().buckets.len(), 2);
    }
}

#[tokio::test]
async fn a_bucket_that_is_refused_leaves_nothing_and_frees_the_handle() {
    for failure in [Failure::Before(refusing()), Failure::After(refusing())] {
        for undoing in [None, Some(Failure::Silence)] {
            let (lab, operator) = lab().await;
            lab.fake.fail(0, failure.clone());
            let undone_later = undoing.is_some();
            if let Some(undoing) = undoing {
                lab.fake.fail(1, undoing);
            }
            let answer = lab
                .post("/tenants", &operator, json!({ "handle": "bob" }))
                .await;
            if undone_later {
                assert_eq!(answer.ok(202).field("state"), "undoing");
                lab.upkeep_after(LATER).await;
            } else {
                answer.refused(502, "provider_failed");
            }
            assert_eq!(lab.fake.content().buckets.len(), 1);
            lab.tenant(&operator, "bob").await;
        }
    }
}

#[tokio::test]
async fn a_kill_while_a_tenant_is_made_or_ended_is_gone_on_from() {
    let (lab, operator) = lab().await;
    lab.fake.fail(0, Failure::Silence);
    let request = lab.post("/tenants", &operator, json!({ "handle": "bob" }));
    killed(&lab, 0, request).await;
    lab.upkeep_after(LATER).await;
    let listed = lab.get("/tenants", &operator).await.json();
    let bob = &listed["items"][1];
    assert_eq!(
        (&bob["handle"], &bob["state"]),
        (&json!("bob"), &json!("active"))
    );
    // Ended: first a key, then the bucket, each with a kill in between.
    let path = format!(
        "/tenants/{}?bucket=delete",
        bob["tenant_id"].as_str().unwrap()
    );
    let member = format!("/tenants/{}/members", bob["tenant_id"].as_str().unwrap());
    let who = json!({ "issuer": lab.issuer.url, "subject": "bob", "role": "owner" });
    lab.post(&member, &operator, who).await.ok(201);
    lab.post(KEYS, &lab.person("bob"), Value::Null)
        .await
        .ok(201);
    lab.fake.fail(0, Failure::Silence);
    let request = lab.delete(&path, &operator);
    killed(&lab, 0, request).await;
    lab.fake.fail(1, Failure::Before(passing()));
    for _ in 0..4 {
        lab.upkeep_after(LATER).await;
    }
    assert_no_keys(&lab.fake.content());
    let listed = lab.get("/tenants", &operator).await.json();
    assert_eq!(listed["items"][1]["state"], "deleted");
}

#[tokio::test]
async fn a_bucket_with_objects_in_it_outlives_its_tenant() {
    let (lab, operator) = lab().await;
    let (tenant, owner) = lab.tenant(&operator, "bob").await;
    let info = lab.get("/tenant/mount/info", &owner).await.ok(200);
    let bucket: api::BucketName = info.field("bucket_name").parse().unwrap();
    lab.fake.put_object(&bucket);
    let path = format!("/tenants/{tenant}?bucket=delete");
    let gone = lab.delete(&path, &operator).await.ok(200);
    assert_eq!(gone.field("state"), "deleted");
    assert!(
        gone.field("trouble")
            .contains("has objects or unfinished uploads in it and was kept")
    );
    assert!(lab.fake.content().buckets.contains_key(bucket.as_str()));
    lab.delete(&path, &operator).await.refused(409, "conflict");
    // Unless told otherwise, an empty one does too.
    let (tenant, _) = lab.tenant(&operator, "eve").await;
    lab.delete(&format!("/tenants/{tenant}"), &operator)
        .await
        .ok(200);
    assert_eq!(lab.fake.content().buckets.len(), 3);
}

#[tokio::test]
async fn a_busy_store_says_when_to_come_again() {
    let (lab, _) = lab().await;
    let busy = provider::Error::Throttled {
        action: "CreateUser".into(),
        retry_after: Some(Duration::from_secs(7)),
    };
    lab.fake.fail(1, Failure::Before(busy));
    let answer = lab.post(KEYS, &lab.person("ada"), Value::Null).await;
    assert_eq!(answer.headers["retry-after"], "7");
    answer.refused(503, "unavailable");
    assert_no_keys(&lab.fake.content());
}

#[tokio::test]
async fn a_bucket_whose_settings_fail_is_settled_later_or_not_used() {
    let (lab, operator) = lab().await;
    lab.fake.fail(1, Failure::After(passing()));
    let body = json!({ "handle": "bob" });
    let tenant = lab.post("/tenants", &operator, body).await.ok(202);
    assert_eq!(tenant.field("state"), "provisioning");
    lab.upkeep_after(LATER).await;
    let path = format!("/tenants/{}", tenant.field("tenant_id"));
    assert_eq!(lab.get(&path, &operator).await.field("state"), "active");
    let content = lab.fake.content();
    assert_eq!(content.buckets.len(), content.settled.len());
    // Refused for good: the bucket is taken back.
    lab.fake.fail(1, Failure::Before(refusing()));
    lab.post("/tenants", &operator, json!({ "handle": "eve" }))
        .await
        .refused(502, "provider_failed");
    assert_eq!(lab.fake.content().buckets.len(), 2);
}
