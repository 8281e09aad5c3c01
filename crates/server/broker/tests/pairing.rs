//! An agent's device: asked for, seen, approved, registered, and only then let in.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use common::{Broker, Person, Reply, claims, id, new_key};
use serde_json::{Value, json};
use vault::DeviceKey;

struct Asked {
    key: DeviceKey,
    pairing: Value,
    code: String,
}

async fn ask(broker: &Broker, label: &str) -> Asked {
    let key = new_key();
    let body = json!({ "label": label });
    let answer = broker.prove("/v1/pairing", None, &key, &body).await.done();
    Asked {
        key,
        pairing: answer["pairing"].clone(),
        code: answer["user_code"].as_str().unwrap().to_owned(),
    }
}

/// Asks again, after the pause that is due.
async fn poll(broker: &Broker, asked: &Asked, key: &DeviceKey) -> Reply {
    broker.clock.advance(Duration::from_secs(5));
    let body = json!({ "pairing": asked.pairing });
    broker.prove("/v1/pairing/token", None, key, &body).await
}

async fn decide(broker: &Broker, asked: &Asked, who: &Person, approve: bool) -> Reply {
    let body = json!({ "approve": approve, "device": id(&asked.key) });
    let path = format!("/v1/pairing/{}", asked.code);
    broker.post(&path, Some(&who.token), &body).await
}

#[tokio::test]
async fn the_session_comes_once_the_registry_knows_the_device() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let asked = ask(&broker, "ci").await;
    let agent = ada.actor.agent("ci").unwrap();
    assert_eq!(poll(&broker, &asked, &asked.key).await.status, 202);
    let path = format!("/v1/pairing/{}", asked.code.to_lowercase());
    let seen = broker.get(&path, &ada.token).await.done();
    let wanted = json!({
        "label": "ci", "state": "pending", "device": id(&asked.key), "actor": agent,
    });
    assert_eq!(seen, wanted);
    assert_eq!(decide(&broker, &asked, &ada, true).await.status, 204);
    assert_eq!(broker.kept.last()["action"], "pairing.approve");
    // An approval alone opens nothing.
    assert_eq!(poll(&broker, &asked, &asked.key).await.status, 202);
    let eve = broker.actor("eve");
    broker.book.add(&eve, &agent, id(&asked.key), 1);
    let refused = poll(&broker, &asked, &asked.key).await;
    refused.is_refused(403, "device_binding_mismatch");
    broker.book.add(&ada.actor, &ada.actor, id(&asked.key), 1);
    let refused = poll(&broker, &asked, &asked.key).await;
    refused.is_refused(403, "device_binding_mismatch");
    broker.book.add(&ada.actor, &agent, id(&asked.key), 1);
    // Nobody but the device itself takes it.
    let refused = poll(&broker, &asked, &new_key()).await;
    refused.is_refused(403, "proof_invalid");
    let token = poll(&broker, &asked, &asked.key).await.token();
    let said = claims(&token);
    assert_eq!(said["sub"], agent.as_str());
    assert_eq!(said["operator"], ada.actor.as_str());
    assert_eq!(said["device"], id(&asked.key).to_string());
    // Once.
    let again = poll(&broker, &asked, &asked.key).await;
    again.is_failure(404, "not_found");
}

#[tokio::test]
async fn a_device_that_is_refused_late_or_too_quick_gets_nothing() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let asked = ask(&broker, "ci").await;
    assert_eq!(decide(&broker, &asked, &ada, false).await.status, 204);
    let refused = poll(&broker, &asked, &asked.key).await;
    refused.is_failure(403, "forbidden");

    let asked = ask(&broker, "ci").await;
    assert_eq!(poll(&broker, &asked, &asked.key).await.status, 202);
    let body = json!({ "pairing": asked.pairing });
    let quick = broker
        .prove("/v1/pairing/token", None, &asked.key, &body)
        .await;
    quick.is_failure(429, "rate_limited");
    broker.clock.advance(Duration::from_secs(600));
    let late = poll(&broker, &asked, &asked.key).await;
    late.is_failure(404, "not_found");
    let late = decide(&broker, &asked, &ada, true).await;
    late.is_failure(404, "not_found");
}

#[tokio::test]
async fn only_operators_decide_and_about_the_device_that_they_have_seen() {
    let broker = Broker::start().await;
    let (ada, eve) = (broker.operator("ada").await, broker.operator("eve").await);
    let agent = broker.agent(&ada, "ci").await;
    let asked = ask(&broker, "other").await;
    let refused = decide(&broker, &asked, &agent, true).await;
    refused.is_failure(403, "forbidden");
    let path = format!("/v1/pairing/{}", asked.code);
    broker
        .get(&path, &agent.token)
        .await
        .is_failure(403, "forbidden");
    let body = json!({ "approve": true, "device": id(&agent.key) });
    let other = broker.post(&path, Some(&ada.token), &body).await;
    other.is_failure(409, "conflict");
    assert_eq!(decide(&broker, &asked, &ada, true).await.status, 204);
    // It is ada's now: nobody else sees it or takes it.
    let seen = broker.get(&path, &ada.token).await.done();
    assert_eq!(seen["state"], "approved");
    broker
        .get(&path, &eve.token)
        .await
        .is_failure(404, "not_found");
    let late = decide(&broker, &asked, &eve, true).await;
    late.is_failure(404, "not_found");
}

#[tokio::test]
async fn codes_cannot_be_tried_out_and_a_device_asks_by_its_own_key() {
    let broker = Broker::start().await;
    let eve = broker.operator("eve").await;
    for _ in 0..10 {
        let unknown = broker.get("/v1/pairing/BCDFGHJK", &eve.token).await;
        unknown.is_failure(404, "not_found");
    }
    let limited = broker.get("/v1/pairing/BCDFGHJK", &eve.token).await;
    limited.is_failure(429, "rate_limited");

    let body = json!({ "label": "ci" });
    let missing = broker.post("/v1/pairing", None, &body).await;
    missing.is_refused(403, "proof_missing");
    let key = new_key();
    let proof = broker.proof("/v1/pairing", None, &key, &body.to_string());
    let first = broker
        .with_proof("/v1/pairing", None, &proof, &body)
        .await
        .done();
    let again = broker.with_proof("/v1/pairing", None, &proof, &body).await;
    again.is_refused(403, "proof_replayed");
    let bad = json!({ "label": "C I" });
    let refused = broker.prove("/v1/pairing", None, &key, &bad).await;
    refused.is_failure(422, "invalid");
    // A device that asks anew takes its older question back.
    let second = broker.prove("/v1/pairing", None, &key, &body).await.done();
    let old = Asked {
        key,
        pairing: first["pairing"].clone(),
        code: String::new(),
    };
    let gone = poll(&broker, &old, &old.key).await;
    gone.is_failure(404, "not_found");
    assert_ne!(first["user_code"], second["user_code"]);
}
