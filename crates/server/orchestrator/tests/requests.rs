//! The forms of refusals, and what every request passes through.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use axum::body::Body;
use axum::http::{Request, header};
use common::Lab;
use serde_json::{Value, json};

#[tokio::test]
async fn health_needs_no_token_and_everything_else_does() {
    let lab = Lab::new().await;
    for path in ["/healthz", "/readyz", "/.well-known/jwks.json"] {
        lab.get(path, "").await.ok(200);
    }
    for path in [
        "/whoami",
        "/tenants",
        "/tenant/mount/info",
        "/workspaces",
        "/grants",
        "/tokens",
    ] {
        let answer = lab.get(path, "").await;
        answer.refused(401, "unauthenticated");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}

#[tokio::test]
async fn every_answer_has_a_number_of_its_own_and_is_kept_by_nobody() {
    let lab = Lab::new().await;
    let (one, other) = (lab.get("/healthz", "").await, lab.get("/nothing", "").await);
    let id = |answer: &common::Answer| answer.headers["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(id(&one), id(&other));
    assert!(uuid::Uuid::parse_str(&id(&one)).is_ok());
    assert_eq!(other.headers[header::CACHE_CONTROL], "no-store");
    other.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_no_request_of_ours_is_refused_in_our_form() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    lab.delete("/whoami", &operator)
        .await
        .refused(405, "method_not_allowed");
    let post = |kind: &str, body: Vec<u8>| {
        let request = Request::builder()
            .method("POST")
            .uri("/tenants")
            .header("authorization", format!("Bearer {operator}"))
            .header("content-type", kind);
        lab.send(request.body(Body::from(body)).unwrap())
    };
    post("text/plain", b"{}".to_vec())
        .await
        .refused(415, "unsupported_media_type");
    post("application/json", vec![b' '; 65 * 1024])
        .await
        .refused(413, "too_large");
    let said = post("application/json", b"{\"handle\":".to_vec())
        .await
        .refused(422, "invalid");
    assert!(said.contains("EOF"), "{said}");
    // What has the right items in the right order is no object either.
    for (path, list) in [
        ("/tenants", json!(["ada", null, "byo", null])),
        ("/tenant/mount/credentials", json!([null, null])),
    ] {
        let said = lab.post(path, &operator, list).await;
        assert!(said.refused(422, "invalid").contains("no JSON object"));
    }
    let wrong = json!({ "handle": "not a handle" });
    let said = lab
        .post("/tenants", &operator, wrong)
        .await
        .refused(422, "invalid");
    assert!(said.contains("use 1 to 63 letters"), "{said}");
    lab.get("/tenants?limit=0", &operator)
        .await
        .refused(422, "invalid");
    lab.get("/tenants?page_token=x", &operator)
        .await
        .refused(422, "invalid");
    lab.get("/tenants/not-an-id", &operator)
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn lists_come_in_pages_without_a_gap() {
    let lab = Lab::new().await;
    let operator = lab.operator().await;
    let mut made = Vec::new();
    for number in 0..5 {
        let (id, _) = lab.tenant(&operator, &format!("t{number}")).await;
        made.push(id);
        lab.clock.advance(std::time::Duration::from_millis(1));
    }
    let mut found = Vec::new();
    let mut path = "/tenants?limit=2".to_owned();
    loop {
        let page = lab.get(&path, &operator).await.ok(200).json();
        let items = page["items"].as_array().unwrap().clone();
        assert!(items.len() <= 2);
        found.extend(
            items
                .iter()
                .map(|tenant| tenant["tenant_id"].as_str().unwrap().to_owned()),
        );
        match &page["next_page_token"] {
            Value::String(token) => path = format!("/tenants?limit=2&page_token={token}"),
            _ => break,
        }
    }
    assert_eq!(found, made);
}

#[tokio::test]
async fn too_many_keys_are_refused_with_the_time_to_wait() {
    let lab = Lab::with(|settings| settings.keys_per_minute = 2).await;
    let operator = lab.operator().await;
    let (_, owner) = lab.tenant(&operator, "ada").await;
    for _ in 0..2 {
        lab.post("/tenant/mount/credentials", &owner, Value::Null)
            .await
            .ok(201);
    }
    let answer = lab
        .post("/tenant/mount/credentials", &owner, Value::Null)
        .await;
    answer.refused(429, "rate_limited");
    let wait: u64 = answer.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=31).contains(&wait), "{wait}");
    // Another tenant is not held back.
    let (_, other) = lab.tenant(&operator, "bob").await;
    lab.post("/tenant/mount/credentials", &other, Value::Null)
        .await
        .ok(201);
}
