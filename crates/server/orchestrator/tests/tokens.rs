//! Which tokens count, and which do not: each kind of wrong token has its own test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::issuer::Key;
use common::{Lab, PUBLIC_URL};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The token is refused at an endpoint that a good one opens, and the audit says why.
async fn refused(lab: &Lab, token: &str, reason: &str) {
    lab.get("/whoami", token)
        .await
        .refused(401, "unauthenticated");
    let audit = lab.audit().await;
    assert_eq!(audit.last().unwrap(), &format!("RequestRefused: {reason}"));
}

async fn lab_and_claims() -> (Lab, Value) {
    let lab = Lab::new().await;
    let claims = lab.issuer.claims("ada", lab.now());
    let good = lab.issuer.key().sign(Some("JWT"), &claims);
    lab.get("/whoami", &good).await.ok(200);
    (lab, claims)
}

#[tokio::test]
async fn a_wrong_issuer() {
    let (lab, mut claims) = lab_and_claims().await;
    claims["iss"] = json!("https://evil.example.com");
    let token = lab.issuer.key().sign(Some("JWT"), &claims);
    refused(&lab, &token, "its issuer is not known").await;
}

#[tokio::test]
async fn our_own_name_on_anothers_signature() {
    let (lab, mut claims) = lab_and_claims().await;
    claims["iss"] = json!(PUBLIC_URL);
    let token = lab.issuer.key().sign(Some("session+jwt"), &claims);
    refused(&lab, &token, "its key is not the issuer's").await;
}

#[tokio::test]
async fn a_wrong_audience() {
    let (lab, mut claims) = lab_and_claims().await;
    for audience in [json!("other"), json!(["other", "another"]), json!("")] {
        claims["aud"] = audience;
        let token = lab.issuer.key().sign(Some("JWT"), &claims);
        refused(&lab, &token, "it is for somebody else (aud)").await;
    }
}

#[tokio::test]
async fn the_algorithm_none() {
    let (lab, claims) = lab_and_claims().await;
    let encode = |value: &Value| base64_simd::URL_SAFE_NO_PAD.encode_to_string(value.to_string());
    for name in ["none", "None", "NONE", ""] {
        let header = encode(&json!({ "alg": name, "typ": "JWT", "kid": "first" }));
        let token = format!("{header}.{}.", encode(&claims));
        refused(&lab, &token, "its algorithm is not allowed").await;
    }
}

#[tokio::test]
async fn hs256_with_the_public_key_as_its_secret() {
    let (lab, claims) = lab_and_claims().await;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("first".into());
    let secret = EncodingKey::from_secret(&lab.issuer.key().public_bytes);
    let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    refused(&lab, &token, "its algorithm is not allowed").await;
}

#[tokio::test]
async fn a_strangers_key_under_a_known_number() {
    let (lab, claims) = lab_and_claims().await;
    let token = Key::new("first").sign(Some("JWT"), &claims);
    refused(&lab, &token, "its signature does not verify").await;
}

#[tokio::test]
async fn a_changed_claim_under_a_good_signature() {
    let (lab, mut claims) = lab_and_claims().await;
    let good = lab.issuer.key().sign(Some("JWT"), &claims);
    claims["sub"] = json!("eve");
    let forged = base64_simd::URL_SAFE_NO_PAD.encode_to_string(claims.to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let token = format!("{}.{forged}.{}", parts[0], parts[2]);
    refused(&lab, &token, "its signature does not verify").await;
}

#[tokio::test]
async fn times_that_are_over_or_not_yet() {
    let (lab, good) = lab_and_claims().await;
    let now = lab.now().seconds();
    let with = |field: &str, value: i64| {
        let mut claims = good.clone();
        claims[field] = json!(value);
        lab.issuer.key().sign(Some("JWT"), &claims)
    };
    refused(&lab, &with("exp", now - 31), "it has ended").await;
    refused(&lab, &with("iat", now + 31), "it does not count yet").await;
    refused(&lab, &with("nbf", now + 31), "it does not count yet").await;
    // Another machine's clock may be half a minute off.
    lab.get("/whoami", &with("exp", now - 29)).await.ok(200);
    lab.get("/whoami", &with("nbf", now + 29)).await.ok(200);
}

#[tokio::test]
async fn a_claim_that_is_missing() {
    let (lab, good) = lab_and_claims().await;
    for field in ["exp", "iat", "sub", "aud", "iss"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(field);
        let token = lab.issuer.key().sign(Some("JWT"), &claims);
        refused(&lab, &token, "a claim is missing or of the wrong form").await;
    }
}

#[tokio::test]
async fn a_token_of_another_type() {
    let (lab, claims) = lab_and_claims().await;
    for kind in ["cap+jwt", "ticket+jwt", "dpop+jwt", "logout+jwt"] {
        let token = lab.issuer.key().sign(Some(kind), &claims);
        refused(&lab, &token, "its type is not allowed here").await;
    }
}

#[tokio::test]
async fn what_is_no_token_at_all() {
    let lab = Lab::new().await;
    for text in ["x", "a.b", "a.b.c.d", "e30.e30.", &"x".repeat(9000)] {
        refused(&lab, text, "it is no token of any kind that is known").await;
    }
    refused(&lab, "art_nobody-made-this", "it is not known here").await;
}

#[tokio::test]
async fn a_replaced_key_is_found_and_strangers_cannot_make_us_ask_again_and_again() {
    let (lab, claims) = lab_and_claims().await;
    assert_eq!(lab.issuer.fetched.load(Ordering::SeqCst), 1);
    let second = Key::new("second");
    let token = second.sign(Some("JWT"), &claims);
    lab.issuer.show_keys(&[lab.issuer.key(), &second]);
    // Within the pause nobody is asked.
    refused(&lab, &token, "its key is not the issuer's").await;
    lab.clock.advance(Duration::from_secs(31));
    lab.get("/whoami", &token).await.ok(200);
    assert_eq!(lab.issuer.fetched.load(Ordering::SeqCst), 2);
    for number in 0..20 {
        let token = Key::new(&format!("invented-{number}")).sign(None, &claims);
        refused(&lab, &token, "its key is not the issuer's").await;
    }
    assert_eq!(lab.issuer.fetched.load(Ordering::SeqCst), 2);
    // A key that was taken away counts until the keys are old.
    lab.issuer.show_keys(&[lab.issuer.key()]);
    lab.clock.advance(Duration::from_secs(601));
    refused(&lab, &token, "its key is not the issuer's").await;
}

#[tokio::test]
async fn the_first_operator_is_made_once() {
    let lab = Lab::new().await;
    let token = lab.bootstrap_token().await;
    let body = json!({ "token": token });
    let session = lab
        .post("/bootstrap", "", body.clone())
        .await
        .ok(200)
        .field("access_token");
    lab.get("/tenants", &session).await.ok(200);
    lab.post("/bootstrap", "", body)
        .await
        .refused(401, "unauthenticated");
    let late = lab.bootstrap_token().await;
    lab.clock.advance(Duration::from_secs(3601));
    let body = json!({ "token": late });
    lab.post("/bootstrap", "", body)
        .await
        .refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_session_ends_with_logout_and_by_itself() {
    let lab = Lab::new().await;
    let session = lab.operator().await;
    let me = lab.get("/whoami", &session).await.ok(200).json();
    assert_eq!(me["identity"]["operator"], true);
    lab.post("/logout", &session, Value::Null).await.ok(204);
    refused(&lab, &session, "it was revoked").await;
    let session = lab.operator().await;
    lab.clock.advance(Duration::from_secs(721 * 3600));
    refused(&lab, &session, "it has ended").await;
}

#[tokio::test]
async fn a_person_of_an_issuer_is_no_operator_and_no_member_by_saying_so() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (tenant, _) = lab.tenant(&operator, "ada").await;
    let mut claims = lab.issuer.claims("eve", lab.now());
    claims["tenant"] = json!(tenant);
    claims["scope"] = json!("operator");
    let token = lab.issuer.key().sign(Some("JWT"), &claims);
    lab.get("/whoami", &token).await.ok(200);
    lab.get("/tenants", &token).await.refused(403, "forbidden");
    lab.get("/tenant/mount/info", &token)
        .await
        .refused(403, "forbidden");
}

#[tokio::test]
async fn a_service_token_does_what_it_is_for_and_nothing_else() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let (_, owner) = lab.tenant(&operator, "ada").await;
    let body = json!({ "description": "the build", "mode": "ro", "ttl_seconds": 600 });
    let made = lab.post("/tokens", &owner, body).await.ok(201);
    let token = made.field("token");
    assert!(
        token.starts_with("art_") && token.len() == 47,
        "{}",
        token.len()
    );
    lab.get("/tenant/mount/info", &token).await.ok(200);
    let key = lab
        .post("/tenant/mount/credentials", &token, Value::Null)
        .await
        .ok(201);
    assert_eq!(key.field("mode"), "ro");
    assert_eq!(key.field("expires_at"), made.field("expires_at"));
    let writing = json!({ "mode": "rw" });
    lab.post("/tenant/mount/credentials", &token, writing)
        .await
        .refused(403, "forbidden");
    for path in [
        "/tenants",
        "/tenant/mount/credentials",
        "/workspaces",
        "/tokens",
    ] {
        lab.get(path, &token).await.refused(403, "forbidden");
    }
    let listed = lab.get("/tokens", &owner).await.ok(200);
    assert!(!listed.text.contains(&token[4..]), "{}", listed.text);
    // Its keys end with it.
    let id = made.field("token_id");
    lab.delete(&format!("/tokens/{id}"), &owner).await.ok(204);
    refused(&lab, &token, "it was revoked").await;
    assert_eq!(lab.fake.content().users.len(), 0);
    lab.delete(&format!("/tokens/{id}"), &owner)
        .await
        .refused(404, "not_found");
}
