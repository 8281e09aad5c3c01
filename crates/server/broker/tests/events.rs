//! What daemons are told: by whom, in which order, and what a gap is.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::{Duration, Instant};

use common::stream::Stream;
use common::{Broker, id};
use serde_json::json;

const SERVICE: &str = "openrouter";

#[tokio::test]
async fn a_revocation_made_elsewhere_is_heard_within_a_second() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let agent = broker.agent(&ada, "ci").await;
    let body = json!({ "service": SERVICE });
    broker.book.allow(&ada.actor, &agent.actor, SERVICE, false);
    broker.cap(&agent, "fetch", &body).await.done();
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    let begin = stream.begin().await;
    broker.book.disallow(&ada.actor, &agent.actor, SERVICE);
    let since = Instant::now();
    let heard = stream.event().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(1));
    assert_eq!(heard.event.as_deref(), Some("drop"));
    let wanted = json!({ "kind": "drop", "actor": agent.actor, "service": SERVICE });
    assert_eq!(heard.data, wanted);
    assert!(heard.id.unwrap() > begin);

    broker.cap(&agent, "list", &json!({})).await.done();
    broker.book.revoke(id(&agent.key));
    let since = Instant::now();
    let heard = stream.event().await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(1));
    let wanted = json!({ "kind": "device_revoked", "device": id(&agent.key) });
    assert_eq!(heard.data, wanted);
    // And the device's session has ended.
    let refused = broker.get("/v1/session", &agent.token).await;
    refused.is_failure(401, "unauthenticated");

    broker.cap(&ada, "list", &json!({})).await.done();
    broker.book.set_epoch(2);
    let heard = stream.event().await.unwrap();
    assert_eq!(heard.data, json!({ "kind": "epoch", "epoch": 2 }));
}

/// Minted in the new epoch, before the broker has told of it.
#[tokio::test]
async fn a_capability_of_the_newest_epoch_is_watched() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, false);
    let body = json!({ "service": SERVICE });
    broker.cap(&ada, "fetch", &body).await.done();
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    stream.begin().await;
    let mut kind = async || {
        let heard = tokio::time::timeout(Duration::from_secs(5), stream.event()).await;
        heard.expect("nobody looks").unwrap().event
    };
    // After this it has looked in the first epoch.
    broker.book.disallow(&ada.actor, &ada.actor, SERVICE);
    assert_eq!(kind().await.as_deref(), Some("drop"));
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, false);
    broker.book.set_epoch(2);
    broker.cap(&ada, "fetch", &body).await.done();
    assert_eq!(kind().await.as_deref(), Some("epoch"));
    broker.book.disallow(&ada.actor, &ada.actor, SERVICE);
    assert_eq!(kind().await.as_deref(), Some("drop"));
}

#[tokio::test]
async fn a_look_that_breaks_down_is_not_the_last_one() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let body = json!({ "service": SERVICE });
    broker.book.allow(&ada.actor, &ada.actor, SERVICE, false);
    broker.cap(&ada, "fetch", &body).await.done();
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    stream.begin().await;
    broker.book.break_once();
    let since = Instant::now();
    while !broker.book.has_broken() {
        assert!(since.elapsed() < Duration::from_secs(5), "nobody looks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.book.disallow(&ada.actor, &ada.actor, SERVICE);
    let heard = tokio::time::timeout(Duration::from_secs(5), stream.event());
    let heard = heard.await.expect("the watch is gone").unwrap();
    assert_eq!(heard.event.as_deref(), Some("drop"));
}

/// What does not fit one look is looked at in the next ones.
#[tokio::test]
async fn more_capabilities_than_fit_a_look_are_all_looked_at() {
    let broker = Broker::start_with(|settings| settings.watched_at_once = 2).await;
    let ada = broker.operator("ada").await;
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    stream.begin().await;
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        broker.book.allow(&ada.actor, &ada.actor, name, false);
        let body = json!({ "service": name });
        broker.cap(&ada, "fetch", &body).await.done();
    }
    for name in ["e", "a", "c"] {
        broker.book.disallow(&ada.actor, &ada.actor, name);
        let heard = tokio::time::timeout(Duration::from_secs(5), stream.event());
        let heard = heard.await.expect("it was never looked at").unwrap();
        let wanted = json!({ "kind": "drop", "actor": ada.actor, "service": name });
        assert_eq!(heard.data, wanted);
    }
}

/// One agent's device does not take the places of all.
#[tokio::test]
async fn streams_are_counted_by_device() {
    let broker = Broker::start_with(|settings| settings.streams_per_device = 1).await;
    let ada = broker.operator("ada").await;
    let agent = broker.agent(&ada, "ci").await;
    let mut first = Stream::open(&broker, &ada.actor, &agent.token, None).await;
    first.begin().await;
    let path = format!("/v1/sse/operator/{}", ada.actor);
    let second = broker.get(&path, &agent.token).await;
    second.is_failure(429, "rate_limited");
    let mut other = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    other.begin().await;
}

#[tokio::test]
async fn while_the_registry_is_away_nothing_is_dropped() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    broker.cap(&ada, "list", &json!({})).await.done();
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    stream.begin().await;
    broker.book.set_away(true);
    // Heartbeats go on: three of them are more than five looks at the registry.
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().event, None);
    }
}

#[tokio::test]
async fn what_was_missed_comes_by_number_also_after_a_restart() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let token = Some(ada.token.as_str());
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    let begin = stream.begin().await;
    let drop = async |broker: &Broker, service: &str| {
        let body = json!({ "service": service });
        let told = broker.post("/v1/drop", token, &body).await;
        assert_eq!(told.status, 204);
    };
    drop(&broker, "a").await;
    let first = stream.event().await.unwrap().id.unwrap();
    std::mem::drop(stream);
    drop(&broker, "b").await;
    let broker = broker.restart().await;
    drop(&broker, "c").await;
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, Some(first)).await;
    let mut last = first;
    for service in ["b", "c"] {
        let heard = stream.event().await.unwrap();
        assert_eq!(heard.data["service"], service);
        assert!(heard.id.unwrap() > last);
        last = heard.id.unwrap();
    }
    // From before the beginning nothing is forgotten yet.
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, Some(begin)).await;
    assert_eq!(stream.event().await.unwrap().id, Some(first));
    // A number that nobody has, and one that is none.
    for unknown in [last + 1, -5] {
        let mut stream = Stream::open(&broker, &ada.actor, &ada.token, Some(unknown)).await;
        let heard = stream.event().await.unwrap();
        assert_eq!(heard.event.as_deref(), Some("resync"));
        assert_eq!(heard.id, Some(last));
    }
}

#[tokio::test]
async fn nobody_follows_another_operator_and_an_agent_hears_of_itself_only() {
    let broker = Broker::start().await;
    let (ada, eve) = (broker.operator("ada").await, broker.operator("eve").await);
    let agent = broker.agent(&ada, "ci").await;
    let other = ada.actor.agent("other").unwrap();
    for (who, whose) in [(&eve, &ada), (&ada, &eve), (&agent, &eve)] {
        let path = format!("/v1/sse/operator/{}", whose.actor);
        let refused = broker.get(&path, &who.token).await;
        refused.is_failure(403, "forbidden");
        assert_eq!(broker.kept.last()["action"], "events.follow");
    }
    // An agent does not follow itself as an operator either.
    let path = format!("/v1/sse/operator/{}", agent.actor);
    broker
        .get(&path, &agent.token)
        .await
        .is_failure(403, "forbidden");

    let mut stream = Stream::open(&broker, &ada.actor, &agent.token, None).await;
    stream.begin().await;
    let token = Some(ada.token.as_str());
    for body in [
        json!({ "actor": other, "service": "a" }),
        json!({ "actor": agent.actor, "service": "b" }),
        json!({ "actor": other }),
        json!({}),
    ] {
        let told = broker.post("/v1/drop", token, &body).await;
        assert_eq!(told.status, 204);
    }
    assert_eq!(stream.event().await.unwrap().data["service"], "b");
    assert_eq!(
        stream.event().await.unwrap().data,
        json!({ "kind": "drop" })
    );
    // Only operators tell.
    let refused = broker
        .post("/v1/drop", Some(&agent.token), &json!({}))
        .await;
    refused.is_failure(403, "forbidden");
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_with_its_device() {
    let broker = Broker::start().await;
    let ada = broker.operator("ada").await;
    let agent = broker.agent(&ada, "ci").await;
    let mut operators = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    let mut agents = Stream::open(&broker, &ada.actor, &agent.token, None).await;
    operators.begin().await;
    agents.begin().await;
    broker.book.forget(id(&agent.key));
    while agents.next().await.is_some() {}
    let body = json!({});
    let ended = broker
        .post("/v1/session/end", Some(&ada.token), &body)
        .await;
    assert_eq!(ended.status, 204);
    while operators.next().await.is_some() {}
    let path = format!("/v1/sse/operator/{}", ada.actor);
    let refused = broker.get(&path, &agent.token).await;
    refused.is_refused(403, "device_unknown");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_and_misses_nothing() {
    let broker = Broker::start_with(|settings| settings.heartbeat = Duration::from_secs(60)).await;
    let ada = broker.operator("ada").await;
    let mut stream = Stream::open(&broker, &ada.actor, &ada.token, None).await;
    stream.begin().await;
    for number in 0..100 {
        let body = json!({ "service": format!("s{number}") });
        let told = broker.post("/v1/drop", Some(&ada.token), &body).await;
        assert_eq!(told.status, 204);
    }
    for number in 0..100 {
        let heard = stream.event().await.unwrap();
        assert_eq!(heard.data["service"], format!("s{number}"));
    }
}
