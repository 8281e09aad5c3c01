//! Capabilities: who gets one, and who is refused for what.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::atomic::Ordering;

use common::{Broker, Person, id, new_key};
use serde_json::json;
use vault::{Op, verify_cap};

const SERVICE: &str = "openrouter";

fn about() -> serde_json::Value {
    json!({ "service": "OpenRouter" })
}

async fn with_ada() -> (Broker, Person) {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, false);
    (broker, ada)
}

#[tokio::test]
async fn a_capability_is_what_a_worker_takes_and_the_audit_knows_it() {
    let (broker, ada) = with_ada().await;
    let keys = broker.jwks().await;
    for op in [Op::Store, Op::Fetch, Op::List] {
        let body = if op == Op::List { json!({}) } else { about() };
        let answer = broker.cap(&ada, op.as_str(), &body).await.done();
        assert_eq!(answer["expires_in"], 120);
        let token = answer["cap"].as_str().unwrap();
        let cap = verify_cap(token, &keys, &broker.url, broker.now()).unwrap();
        assert_eq!((cap.op, cap.epoch, cap.exp), (op, 1, broker.now() + 120));
        assert_eq!((&cap.sub, &cap.operator), (&ada.actor, &ada.actor));
        assert_eq!(cap.device, id(&ada.key));
        let service = cap.service.map(|service| service.to_string());
        let wanted = (op != Op::List).then(|| SERVICE.to_owned());
        assert_eq!(service, wanted);
        let record = broker.kept.last();
        assert_eq!(record["action"], format!("cap.{}", op.as_str()));
        assert_eq!(record["outcome"], "done");
        assert_eq!(record["token"], cap.jti);
        let text = record.to_string();
        for secret in [token, &ada.token] {
            assert!(!text.contains(secret));
        }
    }
}

/// Each reason, by exactly what brings it about, with a record in the audit.
#[tokio::test]
async fn each_refusal_has_its_reason_and_a_record() {
    let (broker, ada) = with_ada().await;
    let path = "/v1/cap/cred-store";
    let token = Some(ada.token.as_str());
    let recorded = |reason: &str| {
        let record = broker.kept.last();
        let found = (&record["action"], &record["outcome"]);
        assert_eq!(found, (&json!("cap.store"), &json!(reason)), "{record}");
        assert_eq!(record["actor"], ada.actor.as_str());
    };
    let missing = broker.post(path, token, &about()).await;
    missing.is_refused(403, "proof_missing");
    recorded("proof_missing");
    for body in [json!({}), json!([SERVICE]), json!({ "service": "../x" })] {
        let refused = broker.prove(path, token, &ada.key, &body).await;
        refused.is_refused(400, "request_invalid");
        recorded("request_invalid");
    }
    let text = about().to_string();
    let fetch = broker.proof("/v1/cap/cred-fetch", token, &ada.key, &text);
    let other = broker.proof(path, token, &ada.key, "{}");
    let bare = broker.proof(path, None, &ada.key, &text);
    for wrong in [&fetch, &other, &bare, "x"] {
        let refused = broker.with_proof(path, token, wrong, &about()).await;
        refused.is_refused(403, "proof_invalid");
        recorded("proof_invalid");
    }
    let old = broker.proof(path, token, &ada.key, &text);
    broker.clock.advance(std::time::Duration::from_secs(61));
    let refused = broker.with_proof(path, token, &old, &about()).await;
    refused.is_refused(403, "proof_invalid");

    let ask = async || broker.cap(&ada, "store", &about()).await;
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, true);
    ask().await.is_refused(403, "scope_read_only");
    recorded("scope_read_only");
    broker.cap(&ada, "fetch", &about()).await.done();
    broker.book.disallow(&ada.actor, &ada.actor, SERVICE);
    ask().await.is_refused(403, "scope_denied");
    recorded("scope_denied");
    broker.book.add(&ada.actor, &ada.actor, id(&ada.key), 2);
    ask().await.is_refused(403, "role_missing");
    recorded("role_missing");
    let agent = ada.actor.agent("ci").unwrap();
    broker.book.add(&ada.actor, &agent, id(&ada.key), 1);
    ask().await.is_refused(403, "device_binding_mismatch");
    recorded("device_binding_mismatch");
    broker.book.revoke(id(&ada.key));
    ask().await.is_refused(403, "device_revoked");
    recorded("device_revoked");
    broker.book.forget(id(&ada.key));
    ask().await.is_refused(403, "device_unknown");
    recorded("device_unknown");
    broker.book.set_away(true);
    ask().await.is_refused(502, "registry_unavailable");
    recorded("registry_unavailable");
}

#[tokio::test]
async fn a_proof_counts_once_also_after_a_restart() {
    let (broker, ada) = with_ada().await;
    let path = "/v1/cap/cred-fetch";
    let token = Some(ada.token.as_str());
    let proof = broker.proof(path, token, &ada.key, &about().to_string());
    let first = broker.with_proof(path, token, &proof, &about()).await;
    first.done();
    let again = broker.with_proof(path, token, &proof, &about()).await;
    again.is_refused(403, "proof_replayed");
    let broker = broker.restart().await;
    let again = broker.with_proof(path, token, &proof, &about()).await;
    again.is_refused(403, "proof_replayed");
    assert_eq!(broker.kept.last()["outcome"], "proof_replayed");
}

/// Whoever has one thing of somebody's, and not the other.
#[tokio::test]
async fn a_stolen_half_is_worth_nothing() {
    let (broker, ada) = with_ada().await;
    let agent = broker.agent(&ada, "ci").await;
    let other = broker.agent(&ada, "other").await;
    let eve = broker.operator("eve").await;
    for who in [&agent, &other] {
        broker.book.allow(&ada.actor, &who.actor, SERVICE, false);
    }
    let path = "/v1/cap/cred-fetch";
    let with = async |token: &str, device: &vault::DeviceKey| {
        broker.prove(path, Some(token), device, &about()).await
    };
    let ask =
        async |session: &Person, device: &vault::DeviceKey| with(&session.token, device).await;
    // An operator's stolen session, with a device of nobody's, of the thief's, of an agent's.
    for device in [&new_key(), &eve.key, &agent.key] {
        ask(&ada, device).await.is_refused(403, "proof_invalid");
    }
    // One that is bound to none, as a browser's.
    let unbound = broker.login("ada").await;
    let unknown = with(&unbound, &new_key()).await;
    unknown.is_refused(403, "device_unknown");
    let mismatch = "device_binding_mismatch";
    with(&unbound, &eve.key).await.is_refused(403, mismatch);
    with(&unbound, &agent.key).await.is_refused(403, mismatch);
    // A thief's own session with a stolen device.
    let thief = broker.login("eve").await;
    with(&thief, &ada.key).await.is_refused(403, mismatch);
    // An agent's stolen session counts for its device only, its operator's included.
    for device in [&other.key, &ada.key, &eve.key] {
        ask(&agent, device).await.is_refused(403, "proof_invalid");
    }
    // An agent asks for what only another one may.
    broker.book.disallow(&ada.actor, &agent.actor, SERVICE);
    ask(&agent, &agent.key)
        .await
        .is_refused(403, "scope_denied");
    ask(&other, &other.key).await.done();
    // A capability is no session.
    let cap = ask(&other, &other.key).await.done();
    let body = json!({});
    let cap = cap["cap"].as_str();
    let refused = broker
        .prove("/v1/cap/cred-list", cap, &other.key, &body)
        .await;
    refused.is_failure(401, "unauthenticated");
}

#[tokio::test]
async fn a_teardown_is_for_a_master_device_and_its_own_operator_s_actors() {
    let (broker, ada) = with_ada().await;
    let agent = broker.agent(&ada, "ci").await;
    let eve = broker.operator("eve").await;
    let target = |actor: &model::Actor, label: Option<&str>| match label {
        Some(label) => json!({ "target": actor, "label": label }),
        None => json!({ "target": actor }),
    };
    let keys = broker.jwks().await;
    for body in [target(&ada.actor, None), target(&agent.actor, Some("ci"))] {
        let answer = broker.cap(&ada, "teardown", &body).await.done();
        let cap = answer["cap"].as_str().unwrap();
        let cap = verify_cap(cap, &keys, &broker.url, broker.now()).unwrap();
        assert_eq!(cap.target.unwrap().as_str(), body["target"]);
    }
    for body in [
        target(&eve.actor, None),
        target(&agent.actor, None),
        target(&agent.actor, Some("other")),
        target(&ada.actor, Some("ci")),
    ] {
        let refused = broker.cap(&ada, "teardown", &body).await;
        refused.is_refused(403, "cap_service_mismatch");
    }
    let refused = broker
        .cap(&ada, "teardown", &target(&agent.actor, Some("C I")))
        .await;
    refused.is_refused(400, "request_invalid");
    // Whatever the registry says of an agent's device, it is nobody's master.
    broker.book.add(&ada.actor, &agent.actor, id(&agent.key), 3);
    let refused = broker
        .cap(&agent, "teardown", &target(&ada.actor, None))
        .await;
    refused.is_refused(403, "role_missing");
    broker.book.add(&ada.actor, &ada.actor, id(&ada.key), 1);
    let refused = broker
        .cap(&ada, "teardown", &target(&ada.actor, None))
        .await;
    refused.is_refused(403, "role_missing");
}

#[tokio::test]
async fn nothing_is_handed_out_that_the_audit_does_not_know() {
    let (broker, ada) = with_ada().await;
    broker.kept.broken.store(true, Ordering::SeqCst);
    let refused = broker.cap(&ada, "fetch", &about()).await;
    refused.is_refused(502, "audit_unavailable");
    let token = Some(ada.token.as_str());
    let path = "/v1/mint-oidc-jwt";
    let refused = broker.prove(path, token, &ada.key, &json!({})).await;
    refused.is_refused(502, "audit_unavailable");
    let body = json!({ "token": broker.issuer.token("ada", broker.now()) });
    let refused = broker.post("/v1/session/exchange", None, &body).await;
    refused.is_refused(502, "audit_unavailable");
}

#[tokio::test]
async fn each_actor_has_a_limit_of_their_own() {
    let broker = Broker::start_with(|settings| settings.caps_per_minute = 3).await;
    let (ada, eve) = (broker.operator("ada").await, broker.operator("eve").await);
    for _ in 0..3 {
        broker.cap(&eve, "list", &json!({})).await.done();
    }
    let refused = broker.cap(&eve, "list", &json!({})).await;
    refused.is_failure(429, "rate_limited");
    broker.cap(&ada, "list", &json!({})).await.done();
}
