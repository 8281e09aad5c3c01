//! RFC 8628, as a machine and a person go through it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use common::{Answer, Lab};
use serde_json::{Value, json};

struct Codes {
    device: String,
    user: String,
}

async fn begin(lab: &Lab, scope: &str) -> Codes {
    let fields = format!("client_id=artifacts&machine=laptop+of+Ada{scope}");
    let answer = lab
        .form("/oauth/device_authorization", &fields)
        .await
        .ok(200);
    assert_eq!(answer.json()["interval"], 5);
    Codes {
        device: answer.field("device_code"),
        user: answer.field("user_code"),
    }
}

async fn ask(lab: &Lab, codes: &Codes) -> Answer {
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let fields = format!(
        "grant_type={grant}&client_id=artifacts&device_code={}",
        codes.device
    );
    lab.form("/oauth/token", &fields).await
}

#[track_caller]
fn not_yet(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 400);
    assert_eq!(answer.field("error"), error);
}

async fn lab() -> (Lab, String) {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (_, ada) = lab.tenant(&operator, "ada").await;
    (lab, ada)
}

#[tokio::test]
async fn a_machine_is_let_in_once_by_somebody_who_sees_its_name() {
    let (lab, ada) = lab().await;
    let codes = begin(&lab, "").await;
    not_yet(&ask(&lab, &codes).await, "authorization_pending");
    let shown = lab
        .get(&format!("/device/{}", codes.user), &ada)
        .await
        .ok(200);
    assert_eq!(shown.field("machine"), "laptop of Ada");
    let typed = codes.user.to_lowercase().replace('-', "");
    lab.post("/device/approve", &ada, json!({ "user_code": typed }))
        .await
        .ok(204);
    lab.clock.advance(Duration::from_secs(6));
    let session = ask(&lab, &codes).await.ok(200).field("access_token");
    let me = lab.get("/whoami", &session).await.ok(200).json();
    assert_eq!(
        (&me["handle"], &me["identity"]["operator"]),
        (&json!("ada"), &json!(false))
    );
    lab.get("/tenant/mount/info", &session).await.ok(200);
    lab.clock.advance(Duration::from_secs(6));
    not_yet(&ask(&lab, &codes).await, "invalid_grant");
}

#[tokio::test]
async fn who_asks_too_fast_is_slowed_down_by_five_seconds_each_time() {
    let (lab, _) = lab().await;
    let codes = begin(&lab, "").await;
    not_yet(&ask(&lab, &codes).await, "authorization_pending");
    lab.clock.advance(Duration::from_secs(4));
    not_yet(&ask(&lab, &codes).await, "slow_down");
    lab.clock.advance(Duration::from_secs(9));
    not_yet(&ask(&lab, &codes).await, "slow_down");
    lab.clock.advance(Duration::from_secs(15));
    not_yet(&ask(&lab, &codes).await, "authorization_pending");
}

#[tokio::test]
async fn codes_end_and_people_may_say_no() {
    let (lab, ada) = lab().await;
    let codes = begin(&lab, "").await;
    let decision = json!({ "user_code": codes.user });
    lab.post("/device/deny", &ada, decision.clone())
        .await
        .ok(204);
    lab.post("/device/approve", &ada, decision)
        .await
        .refused(404, "not_found");
    not_yet(&ask(&lab, &codes).await, "access_denied");
    let codes = begin(&lab, "").await;
    lab.clock.advance(Duration::from_secs(600));
    not_yet(&ask(&lab, &codes).await, "expired_token");
    let late = json!({ "user_code": codes.user });
    let ada = lab.person("ada");
    lab.post("/device/approve", &ada, late)
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn nobody_gives_what_is_not_theirs() {
    let (lab, ada) = lab().await;
    let operator = lab.operator().await;
    let (other, _) = lab.tenant(&operator, "bob").await;
    let codes = begin(&lab, "").await;
    let elsewhere = json!({ "user_code": codes.user, "tenant_id": other });
    lab.post("/device/approve", &ada, elsewhere)
        .await
        .refused(403, "forbidden");
    let nobody = lab.person("nobody");
    let decision = json!({ "user_code": codes.user });
    lab.post("/device/approve", &nobody, decision)
        .await
        .refused(422, "invalid");
    let codes = begin(&lab, "&scope=operator").await;
    let decision = json!({ "user_code": codes.user });
    lab.post("/device/approve", &ada, decision.clone())
        .await
        .refused(403, "forbidden");
    lab.post("/device/approve", &operator, decision)
        .await
        .ok(204);
    let session = ask(&lab, &codes).await.ok(200).field("access_token");
    lab.get("/tenants", &session).await.ok(200);
}

#[tokio::test]
async fn codes_are_not_tried_out_and_not_anothers() {
    let (lab, ada) = lab().await;
    for _ in 0..10 {
        lab.get("/device/BCDF-GHJK", &ada)
            .await
            .refused(404, "not_found");
    }
    lab.get("/device/BCDF-GHJK", &ada)
        .await
        .refused(429, "rate_limited");
    let codes = begin(&lab, "").await;
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let fields = format!(
        "grant_type={grant}&client_id=other&device_code={}",
        codes.device
    );
    not_yet(&lab.form("/oauth/token", &fields).await, "invalid_grant");
    let fields = format!(
        "grant_type=password&client_id=artifacts&device_code={}",
        codes.device
    );
    not_yet(
        &lab.form("/oauth/token", &fields).await,
        "unsupported_grant_type",
    );
    let said = lab
        .form("/oauth/token", "device_code=secret")
        .await
        .refused(422, "invalid");
    assert!(!said.contains("secret"), "{said}");
}

#[tokio::test]
async fn a_session_ends_with_its_membership() {
    let (lab, ada) = lab().await;
    let operator = lab.operator().await;
    let codes = begin(&lab, "").await;
    lab.post("/device/approve", &ada, json!({ "user_code": codes.user }))
        .await
        .ok(204);
    let session = ask(&lab, &codes).await.ok(200).field("access_token");
    let me = lab.get("/whoami", &session).await.ok(200).json();
    let (tenant, actor) = (
        me["tenant_id"].as_str().unwrap(),
        me["identity"]["actor"].as_str().unwrap(),
    );
    let member = format!("/tenants/{tenant}/members/{actor}");
    lab.delete(&member, &operator).await.ok(204);
    lab.get("/tenant/mount/info", &session)
        .await
        .refused(403, "forbidden");
    assert_eq!(
        lab.get("/whoami", &session).await.ok(200).json()["tenant_id"],
        Value::Null
    );
}
