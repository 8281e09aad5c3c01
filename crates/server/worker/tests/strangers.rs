//! What somebody does to a worker who has no capability at all: fill its disk, or its memory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod world;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use api::vault::{LONGEST_BODY, ListedCredentials, Reason};
use axum::body::Body;
use axum::http::{Request, header};
use base::peer::Peer;
use bytes::Bytes;
use futures::StreamExt;
use registry::Roles;
use vault::{Op, SignEs256};
use world::{World, device_of, path_of};

const KIB: usize = 1024;

fn few_records() -> World {
    World::with(|settings| settings.stranger_records = 3)
}

async fn garbage(world: &World) {
    let mut ask = world.ask(Op::Fetch);
    ask.change_cap = Some(|_| "no capability".into());
    let reply = ask.send().await;
    assert_eq!(reply.reason(), Reason::CapSignatureInvalid);
}

#[tokio::test]
async fn strangers_leave_so_many_records_a_minute_and_then_a_number() {
    let world = few_records();
    for _ in 0..10 {
        garbage(&world).await;
    }
    let mut long = world.ask(Op::List);
    long.change_body = Some(|_| vec![b' '; 17 * KIB]);
    assert_eq!(long.send().await.reason(), Reason::TooLarge);
    let records = world.audit.take();
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(records.iter().all(|record| record.op == "fetch"));
    // The minute is over: what was left out comes first, then what is new.
    world.clock.advance(Duration::from_secs(60));
    garbage(&world).await;
    let records = world.audit.take();
    let [number, new] = &records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(
        (number.op, number.outcome),
        ("strangers", Err(Reason::RateLimited))
    );
    let omitted = BTreeMap::from([("cap_signature_invalid", 7), ("too_large", 1)]);
    assert_eq!(number.omitted, Some(omitted));
    assert_eq!(
        (new.op, new.outcome),
        ("fetch", Err(Reason::CapSignatureInvalid))
    );
    assert_eq!(new.omitted, None);
}

#[tokio::test]
async fn a_number_is_told_also_if_nobody_comes_any_more() {
    let world = few_records();
    for _ in 0..5 {
        garbage(&world).await;
    }
    world.audit.take();
    world.app.settle(false).await;
    assert_eq!(world.audit.take(), [], "the minute is not over");
    world.app.settle(true).await;
    let omitted = BTreeMap::from([("cap_signature_invalid", 2)]);
    assert_eq!(world.only_record().omitted, Some(omitted));
    world.app.settle(true).await;
    assert_eq!(world.audit.take(), [], "once");
}

#[tokio::test]
async fn a_number_that_cannot_be_written_is_told_later() {
    let world = few_records();
    for _ in 0..5 {
        garbage(&world).await;
    }
    world.audit.take();
    world.clock.advance(Duration::from_secs(60));
    world.audit.is_full.store(true, SeqCst);
    world.app.settle(false).await;
    world.audit.is_full.store(false, SeqCst);
    assert_eq!(world.audit.take(), []);
    world.app.settle(true).await;
    let omitted = BTreeMap::from([("cap_signature_invalid", 2)]);
    assert_eq!(world.only_record().omitted, Some(omitted));
}

#[tokio::test]
async fn strangers_hide_nobody_whose_capability_was_verified() {
    let world = few_records();
    for _ in 0..10 {
        garbage(&world).await;
    }
    // Each of these has its own record, whatever comes out.
    for _ in 0..10 {
        world.done::<ListedCredentials>(world.ask(Op::List)).await;
    }
    let id = world.device.public_jwk().thumbprint();
    world
        .registry
        .register(id, device_of(&world.operator, &world.agent, Roles::MASTER));
    for _ in 0..10 {
        world
            .refused(world.ask(Op::List), Reason::RoleMissing)
            .await;
    }
}

/// A body that begins, and does not end.
fn stalled(bytes: usize) -> Body {
    let begin = futures::stream::iter([Ok::<_, io::Error>(Bytes::from(vec![b' '; bytes]))]);
    let begin = begin.filter(|part| {
        let is_there = part.as_ref().is_ok_and(|part| !part.is_empty());
        async move { is_there }
    });
    Body::from_stream(begin.chain(futures::stream::pending()))
}

/// A request that announces the longest body, by a client at this address.
fn announced(address: &str, body: Body) -> Request<Body> {
    let mut request = Request::post(path_of(Op::Store))
        .header(header::CONTENT_LENGTH, LONGEST_BODY)
        .body(body)
        .unwrap();
    request.extensions_mut().insert(Peer {
        address: address.parse().unwrap(),
        certificate: None,
        is_shared: false,
    });
    request
}

/// Sends it, and goes on when all of it that comes has come.
async fn send_beside(world: &Arc<World>, request: Request<Body>) -> tokio::task::JoinHandle<()> {
    let beside = Arc::clone(world);
    let task = tokio::spawn(async move {
        beside.send(request).await;
    });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn who_only_announces_a_body_takes_no_room_for_it() {
    let world = Arc::new(World::with(|settings| {
        settings.body_room = u32::try_from(2 * LONGEST_BODY).unwrap();
        settings.patience = Duration::from_millis(200);
    }));
    let mut silent = Vec::new();
    for n in 0..20 {
        let request = announced(&format!("192.0.2.{n}:1"), stalled(0));
        silent.push(send_beside(&world, request).await);
    }
    world.done::<ListedCredentials>(world.ask(Op::List)).await;
    silent.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn one_client_takes_no_more_than_its_share_of_the_room() {
    let world = Arc::new(World::with(|settings| {
        settings.body_room = u32::try_from(8 * LONGEST_BODY).unwrap();
        settings.patience = Duration::from_millis(200);
    }));
    let most = LONGEST_BODY - 1;
    let mut stalled_ones = Vec::new();
    for n in 0..2 {
        let request = announced(&format!("[2001:db8::{n}]:1"), stalled(most));
        stalled_ones.push(send_beside(&world, request).await);
    }
    // Of the same network, however many addresses it has.
    let third = announced("[2001:db8::ffff]:1", stalled(most));
    let reply = tokio::time::timeout(Duration::from_secs(1), world.send(third)).await;
    assert_eq!(reply.unwrap().reason(), Reason::RateLimited);
    // Another one is served; so are clients that nobody can tell apart.
    let mut other = world.ask(Op::List).request();
    let of_another = announced("192.0.2.1:1", Body::empty());
    other
        .extensions_mut()
        .extend(of_another.extensions().clone());
    assert_eq!(world.send(other).await.status, 200);
    world.audit.take();
    world.done::<ListedCredentials>(world.ask(Op::List)).await;
    stalled_ones.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_body_is_not_waited_for() {
    let late = |world: World| async move {
        let request = announced("192.0.2.1:1", stalled(5));
        let reply = tokio::time::timeout(Duration::from_secs(2), world.send(request)).await;
        let reply = reply.unwrap();
        assert_eq!(reply.reason(), Reason::RequestInvalid);
        assert!(
            reply.text().contains("did not come in time"),
            "{}",
            reply.text()
        );
        assert_eq!(world.only_record().outcome, Err(Reason::RequestInvalid));
    };
    late(World::with(|settings| {
        settings.silence = Duration::from_millis(50);
    }))
    .await;
    late(World::with(|settings| {
        settings.arrival = Duration::from_millis(50);
    }))
    .await;
}

#[tokio::test]
async fn a_body_that_comes_in_many_parts_is_put_together() {
    let world = World::new();
    let (parts, body) = world.ask(Op::Store).request().into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let pieces: Vec<_> = body.chunks(7).map(Bytes::copy_from_slice).collect();
    let pieces = futures::stream::iter(pieces.into_iter().map(Ok::<_, io::Error>));
    let request = Request::from_parts(parts, Body::from_stream(pieces));
    assert_eq!(world.send(request).await.status, 200);
}
