//! Sessions: who gets one, for how long, and which tokens count for nothing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use artifacts_broker::{keys, new_bootstrap};
use base::SystemRandom;
use common::{Broker, claims, id, new_key};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vault::{SignEs256, jws, verify_session};

#[tokio::test]
async fn a_token_of_a_configured_issuer_becomes_a_session_of_its_person() {
    let broker = Broker::start().await;
    let token = broker.login("ada").await;
    let keys = broker.jwks().await;
    let session = verify_session(&token, &keys, &broker.url, broker.now()).unwrap();
    assert_eq!(session.sub, broker.actor("ada"));
    assert_eq!(session.operator, session.sub);
    assert_eq!(session.device, None);
    let record = broker.kept.last();
    assert_eq!(record["action"], "session.exchange");
    assert_eq!(record["token"], session.jti);
    let shown = broker.get("/v1/session", &token).await.done();
    assert_eq!(shown["actor"], session.sub.as_str());
    // It ends with the word that it rests on, an hour from now, not in a day.
    assert_eq!(session.exp, broker.now() + 3600);
    broker.clock.advance(Duration::from_secs(3600));
    let refused = broker.get("/v1/session", &token).await;
    refused.is_failure(401, "unauthenticated");
}

/// Everything that is not exactly a good token, with the reason that the audit has.
#[tokio::test]
async fn forged_expired_and_confused_tokens_are_refused() {
    let broker = Broker::start().await;
    let (issuer, now) = (&broker.issuer, broker.now());
    let good = issuer.claims("ada", now);
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let forger = new_key();
    let forged = jws::sign("JWT", &good, &forger).unwrap();
    let signed = issuer.sign("JWT", &good);
    let (rest, signature) = signed.rsplit_once('.').unwrap();
    let (head, body) = rest.split_once('.').unwrap();
    let encode = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
    let kid = issuer.key.public_jwk().thumbprint();
    let header = |alg: &str| encode(&format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{kid}"}}"#));
    let bob = encode(&issuer.claims("bob", now).to_string());
    let own = broker.login("ada").await;
    let cases = [
        ("key", forged.expose_secret().to_owned()),
        ("signature", format!("{head}.{bob}.{signature}")),
        ("algorithm", format!("{}.{body}.", header("none"))),
        (
            "algorithm",
            format!("{}.{body}.{signature}", header("HS256")),
        ),
        (
            "algorithm",
            format!("{}.{body}.{signature}", header("ES384")),
        ),
        ("no token", "x.y".to_owned()),
        ("ended", issuer.sign("JWT", &with("exp", json!(now - 31)))),
        (
            "not count yet",
            issuer.sign("JWT", &with("iat", json!(now + 31))),
        ),
        (
            "not count yet",
            issuer.sign("JWT", &with("nbf", json!(now + 31))),
        ),
        (
            "somebody else",
            issuer.sign("JWT", &with("aud", json!("other"))),
        ),
        (
            "somebody else",
            issuer.sign("JWT", &with("aud", json!("broker-pages"))),
        ),
        (
            "issuer is not known",
            issuer.sign("JWT", &with("iss", json!("https://evil.example"))),
        ),
        ("type", issuer.sign("cap+jwt", &good)),
        ("claim", issuer.sign("JWT", &with("sub", json!("a\nb")))),
        // The broker's own sessions are not exchanged for fresh ones.
        ("issuer is not known", own),
    ];
    for (reason, token) in cases {
        let body = json!({ "token": token });
        let refused = broker.post("/v1/session/exchange", None, &body).await;
        refused.is_failure(401, "unauthenticated");
        let record = broker.kept.last();
        let note = record["note"].as_str().unwrap();
        assert!(note.contains(reason), "{reason}: {note}");
        assert!(!refused.text.contains(note), "{}", refused.text);
    }
}

/// Bearer tokens of other kinds, or of sessions that are none.
#[tokio::test]
async fn only_the_broker_s_own_live_sessions_count() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let token = ada.token;
    let identity = broker
        .prove("/v1/mint-oidc-jwt", Some(&token), &ada.key, &json!({}))
        .await
        .done();
    let foreign = broker.issuer.token("ada", broker.now());
    let forger = new_key();
    let forged = jws::sign("session+jwt", &claims(&token), &forger).unwrap();
    for other in [
        identity["token"].as_str().unwrap(),
        &foreign,
        forged.expose_secret(),
        "x",
        "",
    ] {
        let refused = broker.get("/v1/session", other).await;
        refused.is_failure(401, "unauthenticated");
        assert_eq!(broker.kept.last()["outcome"], "unauthenticated");
    }
    let body = json!({});
    let ended = broker.post("/v1/session/end", Some(&token), &body).await;
    assert_eq!(ended.status, 204);
    let refused = broker.get("/v1/session", &token).await;
    refused.is_failure(401, "unauthenticated");
}

/// However a session begins, it is bound to the device that proves itself then.
#[tokio::test]
async fn a_session_is_bound_to_the_device_that_begins_it() {
    let broker = Broker::start().await;
    let key = new_key();
    let path = "/v1/session/exchange";
    let body = json!({ "token": broker.issuer.token("ada", broker.now()) });
    let proof = broker.proof(path, None, &key, &body.to_string());
    let token = broker.with_proof(path, None, &proof, &body).await.token();
    assert_eq!(claims(&token)["device"], id(&key).to_string());
    let again = broker.with_proof(path, None, &proof, &body).await;
    again.is_refused(403, "proof_replayed");
    let other = broker.proof("/v1/bootstrap", None, &key, &body.to_string());
    let wrong = broker.with_proof(path, None, &other, &body).await;
    wrong.is_refused(403, "proof_invalid");

    let random = SystemRandom::default();
    let first = new_bootstrap(&broker.store, &random, broker.now()).await;
    let body = json!({ "token": first.unwrap().expose_secret() });
    let begun = broker.prove("/v1/bootstrap", None, &key, &body).await;
    assert_eq!(claims(&begun.token())["device"], id(&key).to_string());
    // A capability is for that device only.
    broker
        .book
        .add(&broker.actor("ada"), &broker.actor("ada"), id(&key), 3);
    let list = "/v1/cap/cred-list";
    let mine = broker.prove(list, Some(&token), &key, &json!({})).await;
    assert!(mine.done()["cap"].is_string());
    let thief = new_key();
    broker
        .book
        .add(&broker.actor("ada"), &broker.actor("ada"), id(&thief), 3);
    let stolen = broker.prove(list, Some(&token), &thief, &json!({})).await;
    stolen.is_refused(403, "proof_invalid");
}

#[tokio::test]
async fn one_address_does_not_use_up_the_logins_of_all() {
    let broker = Broker::start_with(|settings| settings.logins_per_address = 3).await;
    let body = json!({ "token": "artboot_AAAA" });
    for _ in 0..3 {
        let refused = broker.post("/v1/bootstrap", None, &body).await;
        refused.is_failure(401, "unauthenticated");
    }
    let limited = broker.post("/v1/bootstrap", None, &body).await;
    limited.is_failure(429, "rate_limited");
    // What is asked for elsewhere is counted apart.
    let nonce = broker.post("/v1/wallet/nonce", None, &json!({})).await;
    assert!(nonce.done()["nonce"].is_string());
    // What was left out of the audit is counted in the next record.
    let refused = broker.get("/v1/session", "x").await;
    refused.is_failure(401, "unauthenticated");
    assert_eq!(broker.kept.last()["omitted"], 1);
    let refused = broker.get("/v1/session", "x").await;
    refused.is_failure(401, "unauthenticated");
    assert!(broker.kept.last()["omitted"].is_null());
}

#[tokio::test]
async fn a_bootstrap_token_counts_once_and_is_always_the_same_operator_s() {
    let broker = Broker::start().await;
    let random = SystemRandom::default();
    let new = async || {
        let token = new_bootstrap(&broker.store, &random, broker.now());
        token.await.unwrap().expose_secret().to_owned()
    };
    let begin = async |token: &str| {
        let body = json!({ "token": token });
        broker.post("/v1/bootstrap", None, &body).await
    };
    let refused = begin("artboot_AAAA").await;
    refused.is_failure(401, "unauthenticated");
    let first = new().await;
    let session = begin(&first).await.token();
    begin(&first).await.is_failure(401, "unauthenticated");
    let older = new().await;
    let newer = new().await;
    begin(&older).await.is_failure(401, "unauthenticated");
    let again = begin(&newer).await.token();
    assert_eq!(claims(&session)["sub"], claims(&again)["sub"]);
    let late = new().await;
    broker.clock.advance(Duration::from_secs(3601));
    begin(&late).await.is_failure(401, "unauthenticated");
    let file = std::fs::read(broker.folder.path().join("broker.db")).unwrap();
    for token in [&first, &newer, &late] {
        let found = file
            .windows(token.len())
            .any(|part| part == token.as_bytes());
        assert!(!found, "the database has a token");
    }
}

#[tokio::test]
async fn a_device_renews_its_own_session_and_nobody_else_s() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let agent = broker.agent(&ada, "ci").await;
    let other = broker.agent(&ada, "other").await;
    let path = "/v1/session/renew";
    let body = json!({});
    let renew = async |token: &str, key: &vault::DeviceKey| {
        broker.prove(path, Some(token), key, &body).await
    };
    renew(&agent.token, &other.key)
        .await
        .is_refused(403, "proof_invalid");
    renew(&agent.token, &ada.key)
        .await
        .is_refused(403, "proof_invalid");
    let missing = broker.post(path, Some(&agent.token), &body).await;
    missing.is_refused(403, "proof_missing");
    // A person logs in again.
    renew(&ada.token, &ada.key)
        .await
        .is_failure(403, "forbidden");

    broker.clock.advance(Duration::from_secs(60));
    let proof = broker.proof(path, Some(&agent.token), &agent.key, "{}");
    let renewed = broker
        .with_proof(path, Some(&agent.token), &proof, &body)
        .await
        .token();
    let again = broker
        .with_proof(path, Some(&agent.token), &proof, &body)
        .await;
    again.is_refused(403, "proof_replayed");
    let (old, new) = (claims(&agent.token), claims(&renewed));
    for same in ["sub", "operator", "device", "iss"] {
        assert_eq!(old[same], new[same]);
    }
    assert_eq!(new["exp"].as_i64(), old["exp"].as_i64().map(|exp| exp + 60));
    // The old one ends, and the new one goes on.
    broker.get("/v1/session", &agent.token).await.done();
    broker.clock.advance(Duration::from_secs(61));
    let refused = broker.get("/v1/session", &agent.token).await;
    refused.is_failure(401, "unauthenticated");
    broker.get("/v1/session", &renewed).await.done();

    broker.book.revoke(id(&agent.key));
    renew(&renewed, &agent.key)
        .await
        .is_refused(403, "device_revoked");
    let moved = broker.actor("eve");
    broker.book.add(&moved, &other.actor, id(&other.key), 1);
    let mismatch = "device_binding_mismatch";
    renew(&other.token, &other.key)
        .await
        .is_refused(403, mismatch);
}

#[tokio::test]
async fn a_verifier_sees_the_next_key_before_it_signs_and_the_old_one_after() {
    let broker = Broker::start().await;
    let before = broker.login("ada").await;
    let kept = broker.jwks().await;
    let longest = 24 * 3600;
    let rotated = keys::rotate(&broker.keys_folder(), broker.now(), longest).unwrap();
    let both = broker.jwks().await;
    assert!(both.get(&rotated.kid).is_some());
    // A verifier that has not asked again goes on.
    let still = broker.login("ada").await;
    verify_session(&still, &kept, &broker.url, broker.now()).unwrap();
    broker
        .clock
        .advance(Duration::from_secs(keys::LEAD.unsigned_abs()));
    let after = broker.login("ada").await;
    verify_session(&after, &kept, &broker.url, broker.now()).unwrap_err();
    verify_session(&after, &both, &broker.url, broker.now()).unwrap();
    broker.get("/v1/session", &before).await.done();
    // A key that is compromised takes all with it.
    keys::replace_all(&broker.keys_folder(), broker.now()).unwrap();
    for token in [&before, &after] {
        let refused = broker.get("/v1/session", token).await;
        refused.is_failure(401, "unauthenticated");
    }
}
