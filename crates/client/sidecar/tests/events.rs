//! What the broker says, and what its silence means. Time runs fifty times as fast.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use artifacts_sidecar::{CapCache, Liveness, Pace, Upstream, follow};
use secrets::{Caps, Kind, Login, Wanted};
use serde_json::json;
use support::Broker;
use tokio::time::sleep;
use vault::SignEs256;

/// How many times as fast.
const FASTER: u32 = 50;

/// So many of the broker's seconds pass.
async fn pass(seconds: u32) {
    sleep(Duration::from_secs(1) / FASTER * seconds).await;
}

struct Scene {
    broker: Arc<Broker>,
    caps: Arc<CapCache>,
    liveness: Arc<Liveness>,
    login: Login,
}

async fn scene() -> Scene {
    scene_at(Pace::default().faster(FASTER)).await
}

async fn scene_at(pace: Pace) -> Scene {
    let broker = Broker::new();
    let liveness = Arc::new(Liveness::new(pace));
    let caps = Arc::new(CapCache::new(broker.clone(), liveness.clone()));
    tokio::spawn(follow::run(broker.clone(), caps.clone(), liveness.clone()));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(broker.streams(), 1);
    // From here on a stream that begins anew replays, and drops nothing by itself.
    broker.event(1, &json!({ "kind": "drop", "service": "nothing" }));
    sleep(Duration::from_millis(50)).await;
    let login = broker.login().await.expect("a login");
    Scene {
        broker,
        caps,
        liveness,
        login,
    }
}

fn fetch(service: &str) -> Wanted {
    Wanted::Fetch(service.parse().expect("a name"))
}

impl Scene {
    /// Asks for a capability; whether it was held already.
    async fn is_held(&self, service: &str) -> bool {
        let held = self.caps.cap(&self.login, &fetch(service)).await;
        !held.expect("a capability").is_fresh
    }
}

#[tokio::test]
async fn a_capability_is_held_until_shortly_before_its_end() {
    let scene = scene().await;
    assert!(!scene.is_held("a").await);
    assert!(scene.is_held("a").await);
    assert!(!scene.is_held("b").await, "for another service");
    pass(250).await;
    assert!(scene.is_held("a").await);
    pass(60).await;
    assert!(!scene.is_held("a").await);
    scene.broker.lasts.store(1_000_000, Ordering::SeqCst);
    assert!(!scene.is_held("c").await);
    pass(310).await;
    assert!(
        !scene.is_held("c").await,
        "no capability counts for longer than 300 s"
    );
}

#[tokio::test]
async fn what_the_broker_drops_is_gone_within_a_second() {
    let scene = scene().await;
    for service in ["a", "b"] {
        assert!(!scene.is_held(service).await);
    }
    let listing = scene.caps.cap(&scene.login, &Wanted::List).await;
    assert!(listing.expect("a capability").is_fresh);
    scene
        .broker
        .event(1, &json!({ "kind": "drop", "service": "a" }));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.caps.count(), 1, "the list goes too, b stays");
    assert!(scene.is_held("b").await);
    assert!(!scene.is_held("a").await);
    let other = scene.login.operator.agent("bot").expect("an agent");
    scene
        .broker
        .event(2, &json!({ "kind": "drop", "actor": other }));
    sleep(Duration::from_millis(100)).await;
    assert!(scene.is_held("a").await, "another actor's drop");
    scene.broker.event(3, &json!({ "kind": "drop" }));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(scene.caps.count(), 0);
}

#[tokio::test]
async fn revoked_devices_older_epochs_and_lost_events_drop_what_rests_on_them() {
    let scene = scene().await;
    let device = scene.broker.key().expect("a key").public_jwk().thumbprint();
    for (id, event, is_gone) in [
        (
            1,
            json!({ "kind": "device_revoked", "device": model::DeviceId::new([7; 32]) }),
            false,
        ),
        (
            2,
            json!({ "kind": "device_revoked", "device": device }),
            true,
        ),
        (3, json!({ "kind": "epoch", "epoch": 1 }), false),
        (4, json!({ "kind": "epoch", "epoch": 2 }), true),
        (5, json!({ "kind": "resync" }), true),
        (6, json!({ "kind": "something_later" }), true),
    ] {
        scene.is_held("a").await;
        scene.broker.event(id, &event);
        sleep(Duration::from_millis(100)).await;
        assert_eq!(scene.caps.count() == 0, is_gone, "{event}");
    }
}

#[tokio::test]
async fn a_capability_that_was_asked_for_before_a_drop_is_not_kept_after_it() {
    let scene = scene().await;
    *scene.broker.pause.lock().expect("unpoisoned") = Duration::from_millis(400);
    let (caps, login) = (scene.caps.clone(), scene.broker.login().await.expect("one"));
    let asking = tokio::spawn(async move { caps.cap(&login, &fetch("a")).await.map(drop) });
    sleep(Duration::from_millis(100)).await;
    scene
        .broker
        .event(1, &json!({ "kind": "drop", "service": "a" }));
    asking.await.expect("it ends").expect("a capability");
    assert_eq!(scene.caps.count(), 0);
}

#[tokio::test]
async fn an_idle_daemon_is_not_locked_out() {
    let scene = scene().await;
    for _ in 0..20 {
        pass(15).await;
        scene.broker.say(": heartbeat\n\n");
    }
    sleep(Duration::from_millis(10)).await;
    assert!(
        scene.liveness.is_connected(),
        "five minutes of heartbeats and nothing else"
    );
    assert_eq!(scene.broker.streams(), 1, "the stream was never begun anew");
    assert!(!scene.is_held("a").await, "and it serves");
}

#[tokio::test]
async fn a_silent_stream_is_begun_anew_after_the_last_event() {
    let scene = scene().await;
    scene
        .broker
        .event(41, &json!({ "kind": "drop", "service": "x" }));
    pass(30).await;
    assert_eq!(scene.broker.streams(), 1);
    assert!(scene.liveness.is_connected());
    pass(30).await;
    let asked = scene.broker.asked.lock().expect("unpoisoned").clone();
    assert_eq!(asked, [None, Some("41".to_owned())]);
    assert!(scene.liveness.is_connected());
}

#[tokio::test]
async fn a_broker_that_is_away_ends_nothing_that_is_held_and_is_followed_again_by_number() {
    let scene = scene().await;
    scene
        .broker
        .event(7, &json!({ "kind": "drop", "service": "x" }));
    sleep(Duration::from_millis(50)).await;
    assert!(!scene.is_held("a").await);
    scene.broker.go();
    pass(120).await;
    assert!(!scene.liveness.is_connected());
    assert!(scene.is_held("a").await, "what is held goes on");
    let refused = scene.caps.cap(&scene.login, &fetch("b")).await.map(drop);
    let error = refused.expect_err("nothing is held for it");
    assert_eq!(error.kind, Kind::Temporary);
    assert!(error.message.contains("it was heard last"), "{error}");
    assert!(
        error.hint.contains("goes on until it ends"),
        "{}",
        error.hint
    );
    pass(480).await;
    let ended = scene.caps.cap(&scene.login, &fetch("a")).await.map(drop);
    assert_eq!(ended.expect_err("it has ended").kind, Kind::Temporary);
    scene.broker.come_back();
    pass(60).await;
    assert!(scene.liveness.is_connected());
    let asked = scene.broker.asked.lock().expect("unpoisoned").clone();
    assert_eq!(asked.last(), Some(&Some("7".to_owned())));
    assert!(!scene.is_held("a").await);
}

#[tokio::test]
async fn whoever_asks_brings_the_stream_back_before_an_idle_daemon_would() {
    let scene = scene_at(Pace {
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_secs(3600),
        ..Pace::default()
    })
    .await;
    assert!(!scene.is_held("a").await);
    scene.broker.go();
    // By now it is tried again after more than a second.
    sleep(Duration::from_millis(1400)).await;
    scene.broker.come_back();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(scene.broker.streams(), 1, "nobody has asked");
    assert!(scene.is_held("a").await);
    sleep(Duration::from_millis(300)).await;
    assert!(scene.liveness.is_connected());
    let asked = scene.broker.asked.lock().expect("unpoisoned").clone();
    assert_eq!(asked, [None, Some("1".to_owned())]);
}

#[tokio::test]
async fn an_event_without_end_breaks_the_stream_off() {
    let scene = scene().await;
    // Also one whose pieces look like heartbeats.
    for (ended, start) in [(1, "data: "), (2, ":")] {
        scene.broker.say("data: x");
        for _ in 0..9 {
            scene.broker.say(&format!("{start}{}", "x".repeat(8000)));
        }
        sleep(Duration::from_millis(100)).await;
        pass(10).await;
        assert_eq!(
            scene.broker.streams(),
            ended + 1,
            "long before a silence would have ended it"
        );
    }
}
