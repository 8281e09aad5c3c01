//! The forms of refusals, and what every request passes through.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use common::{Answer, Lab};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

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
    come_again_later(&answer, 31);
    // Another tenant is not held back.
    let (_, other) = lab.tenant(&operator, "bob").await;
    lab.post("/tenant/mount/credentials", &other, Value::Null)
        .await
        .ok(201);
}

/// The exact refusal, and that it says within how many seconds to come again.
#[track_caller]
fn come_again_later(answer: &Answer, longest: u64) {
    answer.refused(429, "rate_limited");
    let wait = answer.headers[header::RETRY_AFTER].to_str().unwrap();
    let wait: u64 = wait.parse().unwrap();
    assert!((1..=longest).contains(&wait), "{wait}");
}

#[tokio::test]
async fn too_many_logins_are_refused_with_the_time_to_wait_whoever_begins_them() {
    let lab = Lab::with(|settings| settings.logins_per_minute = 2).await;
    let operator = lab.operator().await;
    let (begin, fields) = (
        "/oauth/device_authorization",
        "client_id=artifacts&machine=laptop",
    );
    lab.form(begin, fields).await.ok(200);
    come_again_later(&lab.form(begin, fields).await, 31);
    // A good token does not count either, and is not used up by it.
    let token = lab.bootstrap_token().await;
    let body = json!({ "token": token });
    come_again_later(&lab.post("/bootstrap", "", body).await, 31);
    // Who is logged in goes on.
    lab.get("/whoami", &operator).await.ok(200);
}

/// A workspace of Ada's and her store's token; answers the tenant's number, the owner's token,
/// the workspace's number, and the store's token.
async fn announcing(lab: &Lab) -> (String, String, String, String) {
    let operator = lab.operator().await;
    let (tenant, owner) = lab.tenant(&operator, "ada").await;
    let made = lab.post("/workspaces", &owner, json!({ "name": "cases" }));
    let workspace = made.await.ok(201).field("workspace_id");
    let wanted = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let store = lab.post("/tokens", &owner, wanted).await.ok(201);
    (tenant, owner, workspace, store.field("token"))
}

#[tokio::test]
async fn too_many_announcements_are_refused_with_the_time_to_wait() {
    let lab = Lab::with(|settings| settings.announcements_per_minute = 2).await;
    let (tenant, owner, workspace, store) = announcing(&lab).await;
    let said = json!({ "workspace_id": workspace, "changed": [{ "key": "a" }] });
    let (hook, notice) = (
        format!("/webhooks/minio/{tenant}"),
        json!({ "Records": [] }),
    );
    lab.post("/sync", &owner, said.clone()).await.ok(200);
    // A store's are the tenant's, too.
    lab.post(&hook, &store, notice.clone()).await.ok(200);
    come_again_later(&lab.post("/sync", &owner, said).await, 31);
    come_again_later(&lab.post(&hook, &store, notice.clone()).await, 31);
    // Another tenant is not held back.
    let operator = lab.operator().await;
    let (other, bob) = lab.tenant(&operator, "bob").await;
    let wanted = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let theirs = lab.post("/tokens", &bob, wanted).await.ok(201);
    let hook = format!("/webhooks/minio/{other}");
    let theirs = theirs.field("token");
    lab.post(&hook, &theirs, notice).await.ok(200);
}

#[tokio::test]
async fn announcements_of_more_than_a_mebibyte_and_other_bodies_of_more_than_64_kib_are_refused() {
    const MEBIBYTE: usize = 1 << 20;
    let lab = Lab::new().await;
    let (tenant, owner, workspace, store) = announcing(&lab).await;
    // White space is as good as anything to be long.
    let padded = |body: &Value, length: usize| {
        let text = body.to_string();
        let space = " ".repeat(length - text.len());
        text + &space
    };
    let post = |path: &str, token: &str, body: String| {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        lab.send(request.body(Body::from(body)).unwrap())
    };
    let said = json!({ "workspace_id": workspace, "changed": [{ "key": "a" }] });
    let (hook, notice) = (
        format!("/webhooks/minio/{tenant}"),
        json!({ "Records": [] }),
    );
    let token = json!({ "description": "build", "mode": "ro" });
    for (path, holder, body, most, taken) in [
        ("/sync", &owner, &said, MEBIBYTE, 200),
        (&*hook, &store, &notice, MEBIBYTE, 200),
        ("/tokens", &owner, &token, 64 * 1024, 201),
    ] {
        post(path, holder, padded(body, most)).await.ok(taken);
        let answer = post(path, holder, padded(body, most + 1)).await;
        answer.refused(413, "too_large");
    }
}

/// The limits are those of a running server, in real time; they are waited for all at once.
#[tokio::test]
async fn who_sends_or_reads_too_slowly_is_let_go() {
    let lab = Lab::with(|settings| settings.streams_per_tenant = 1).await;
    let address = lab.listen().await;
    let address = address.strip_prefix("http://").unwrap();
    tokio::join!(
        who_asks_nothing_is_let_go(address, ""),
        who_asks_nothing_is_let_go(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
        a_slow_head_is_cut(address),
        a_slow_body_is_answered(address),
        who_reads_no_answers_is_let_go(address),
        who_reads_no_events_is_let_go(&lab, address),
    );
}

async fn send(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    stream.write_all(text.as_bytes()).await
}

/// One byte each second, until the server has no more of it; answers what it said.
async fn trickle(stream: TcpStream, byte: &str) -> String {
    let (mut read, mut write) = stream.into_split();
    let byte = byte.to_owned();
    let sending = tokio::spawn(async move {
        while write.write_all(byte.as_bytes()).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut said = Vec::new();
    let ended = timeout(Duration::from_secs(100), read.read_to_end(&mut said)).await;
    // A reset ends it, too.
    drop(ended.expect("the server lets go"));
    sending.abort();
    String::from_utf8(said).unwrap()
}

/// Nothing at all, or nothing more after a whole request.
async fn who_asks_nothing_is_let_go(address: &str, first: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    send(&mut stream, first).await.unwrap();
    let mut said = String::new();
    let read = timeout(Duration::from_secs(50), stream.read_to_string(&mut said)).await;
    read.expect("the server lets go").unwrap();
    let took = begun.elapsed().as_secs();
    assert!((9..30).contains(&took), "{took}");
    assert_eq!(
        said.starts_with("HTTP/1.1 200 OK"),
        !first.is_empty(),
        "{said}"
    );
}

async fn a_slow_head_is_cut(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    send(&mut stream, "GET /healthz HTTP/1.1\r\nX-Slow: ")
        .await
        .unwrap();
    let said = trickle(stream, "a").await;
    let took = begun.elapsed().as_secs();
    assert!((9..30).contains(&took), "{took}");
    assert!(!said.contains("200 OK"), "{said}");
}

async fn a_slow_body_is_answered(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let head = "POST /bootstrap HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    send(&mut stream, &format!("{head}Content-Length: 10000\r\n\r\n"))
        .await
        .unwrap();
    let said = trickle(stream, " ").await;
    let took = begun.elapsed().as_secs();
    assert!((59..90).contains(&took), "{took}");
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!(said.contains("\"code\":\"timeout\""), "{said}");
}

/// A connection that takes little before its reader reads.
async fn narrow(address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

/// More answers are asked for than lie in the buffers of both ends.
async fn who_reads_no_answers_is_let_go(address: &str) {
    const ASKED: usize = 300;
    let (mut read, mut write) = narrow(address).await.into_split();
    let sending = tokio::spawn(async move {
        let request = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n";
        for _ in 0..ASKED {
            if write.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
        write
    });
    sleep(Duration::from_secs(45)).await;
    let mut said = Vec::new();
    let read = timeout(Duration::from_secs(20), read.read_to_end(&mut said)).await;
    drop(read.expect("the server has let go"));
    drop(sending);
    let answers = String::from_utf8_lossy(&said)
        .matches("HTTP/1.1 200 OK")
        .count();
    assert!((1..ASKED / 2).contains(&answers), "{answers}");
}

/// The one stream that a tenant may have is free again.
async fn who_reads_no_events_is_let_go(lab: &Lab, address: &str) {
    let (_, owner, workspace, _) = announcing(lab).await;
    let mut stream = narrow(address).await;
    let head = format!("GET /workspaces/{workspace}/events HTTP/1.1\r\nHost: a\r\n");
    send(
        &mut stream,
        &format!("{head}Authorization: Bearer {owner}\r\n\r\n"),
    )
    .await
    .unwrap();
    lab.until(|| lab.app.streams() == 1).await;
    let names: Vec<Value> = (0..1_000)
        .map(|n| json!({ "key": format!("{n:0900}") }))
        .collect();
    let said = json!({ "workspace_id": workspace, "changed": names });
    for _ in 0..12 {
        lab.post("/sync", &owner, said.clone()).await.ok(200);
    }
    let refused = lab.follow(&workspace, &owner, None).await.err().unwrap();
    refused.refused(429, "rate_limited");
    sleep(Duration::from_secs(45)).await;
    assert_eq!(lab.app.streams(), 0, "it is let go");
    assert!(lab.follow(&workspace, &owner, None).await.is_ok());
}
