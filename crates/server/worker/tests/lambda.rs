//! An event of API Gateway is answered by the same router.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod world;

use artifacts_worker::answer_event;
use axum::http::HeaderMap;
use lambda_http::{Body, IntoResponse};
use serde_json::{Value, json};
use vault::Op;
use world::{World, base64};

/// The event as an HTTP API (payload 2.0) or a function URL gives it.
fn event(path: &str, headers: &HeaderMap, body: &str, is_base64: bool) -> String {
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .chain([("host".to_owned(), "worker.example".into())])
        .collect();
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "domainName": "worker.example",
            "domainPrefix": "worker", "requestId": "id", "routeKey": "$default", "stage": "$default",
            "http": {
                "method": "POST", "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "artifacts"
            },
            "time": "12/Mar/2027:19:03:58 +0000", "timeEpoch": 1_800_000_000_000_u64
        },
        "body": body,
        "isBase64Encoded": is_base64
    })
    .to_string()
}

async fn answer(world: &World, event: &str) -> (u16, Value) {
    let request = lambda_http::request::from_str(event).unwrap();
    let response = answer_event(world.router.clone(), request).await.unwrap();
    let response = response.into_response().await;
    let Body::Text(text) = response.body() else {
        panic!(
            "an answer that API Gateway passes on as text: {:?}",
            response.headers()
        );
    };
    (
        response.status().as_u16(),
        serde_json::from_str(text).unwrap(),
    )
}

#[tokio::test]
async fn an_event_of_api_gateway_is_answered_as_a_request_is() {
    let world = World::new();
    for (op, in_base64) in [(Op::Store, false), (Op::Fetch, true)] {
        let (parts, body) = world.ask(op).request().into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let body = if in_base64 {
            base64(&body)
        } else {
            String::from_utf8(body.to_vec()).unwrap()
        };
        let event = event(parts.uri.path(), &parts.headers, &body, in_base64);
        let (status, value) = answer(&world, &event).await;
        assert_eq!(status, 200, "{value}");
        if op == Op::Fetch {
            assert_eq!(value["plaintext"], base64(b"sk-or-secret"));
        }
        // The same event again is a replay.
        let (status, value) = answer(&world, &event).await;
        assert_eq!((status, &value["reason"]), (403, &json!("proof_replayed")));
    }
}

#[tokio::test]
async fn a_stage_in_the_path_is_the_path_of_the_public_url() {
    let world = World::with(|settings| settings.public_url.push_str("/prod"));
    for path in ["/prod/v1/cred/list", "/v1/cred/list"] {
        let (parts, _) = world.ask(Op::List).request().into_parts();
        let (status, value) = answer(&world, &event(path, &parts.headers, "{}", false)).await;
        assert_eq!(
            (status, &value["reason"]),
            (400, &json!("request_invalid")),
            "{value}"
        );
    }
}
