//! What anybody may know.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::Broker;
use reqwest::Method;

#[tokio::test]
async fn an_sts_finds_the_keys_by_the_issuer() {
    let broker = Broker::start().await;
    let path = "/.well-known/openid-configuration";
    let found = broker.send(broker.request(Method::GET, path)).await.done();
    assert_eq!(found["issuer"], broker.url);
    assert_eq!(found["jwks_uri"], format!("{}/jwks.json", broker.url));
    let keys = broker.send(broker.request(Method::GET, "/jwks.json")).await;
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 1);
    assert!(!keys.text.contains("\"d\""));
}

#[tokio::test]
async fn it_is_ready_while_its_registry_answers() {
    let broker = Broker::start().await;
    let ask = async |path: &str| broker.send(broker.request(Method::GET, path)).await;
    assert_eq!(ask("/readyz").await.status, 204);
    broker.book.set_away(true);
    ask("/readyz").await.is_failure(503, "unavailable");
    assert_eq!(ask("/healthz").await.status, 204);
    ask("/v1/nothing").await.is_failure(404, "not_found");
    ask("/v1/drop").await.is_failure(405, "method_not_allowed");
}
