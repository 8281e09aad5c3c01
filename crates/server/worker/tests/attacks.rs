//! What somebody tries who holds the bucket, a capability that is not enough, or a request that
//! is not what it seems.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod world;

use std::sync::atomic::Ordering::SeqCst;

use api::vault::{FetchedCredential, ListedCredentials, PROOF_HEADER, Reason, TornDown};
use axum::body::Body;
use axum::http::Request;
use bucket::faults::{Fault, Rule, Verb};
use bucket::{Bucket, Error, ListRequest};
use model::Actor;
use registry::{Roles, Scope};
use serde_json::{Value, json};
use vault::{Op, Place, SignEs256};
use world::{ProofKind, World, base64, device_of, path_of};

#[tokio::test]
async fn a_flipped_bit_at_any_offset_of_an_envelope_is_refused() {
    let world = World::new();
    let key = world.place().object_key();
    let whole = world.sealed(&world.place(), 1, 1, b"sk-or-v1");
    for offset in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[offset] ^= 1 << (offset % 8);
        world.put(&key, flipped).await;
        let wanted = if offset == 0 {
            Reason::EnvelopeVersion
        } else {
            Reason::EnvelopeInvalid
        };
        // The version that bit 0 makes of 0x10 is unknown; whatever else changes is not authentic.
        world.refused(world.ask(Op::Fetch), wanted).await;
    }
    world.put(&key, whole).await;
    let fetched: FetchedCredential = world.done(world.ask(Op::Fetch)).await;
    assert_eq!(fetched.plaintext.expose(), base64(b"sk-or-v1"));
}

#[tokio::test]
async fn a_truncated_or_lengthened_envelope_is_refused_at_every_length() {
    let world = World::new();
    let key = world.place().object_key();
    let whole = world.sealed(&world.place(), 1, 1, b"sk-or-v1");
    for length in 0..whole.len() {
        world.put(&key, whole[..length].to_vec()).await;
        let reply = world.ask(Op::Fetch).send().await;
        let reason = reply.reason();
        assert!(
            matches!(reason, Reason::EnvelopeMalformed | Reason::EnvelopeInvalid),
            "{reason}"
        );
    }
    world.put(&key, [&whole[..], &[0]].concat()).await;
    world
        .refused(world.ask(Op::Fetch), Reason::EnvelopeInvalid)
        .await;
}

#[tokio::test]
async fn an_envelope_of_another_service_actor_or_operator_does_not_open() {
    let world = World::new();
    let (github, eve) = (
        "github".parse().unwrap(),
        Actor::from_oidc("https://people.example", "eve").unwrap(),
    );
    let here = world.place();
    let others = [
        Place {
            service: &github,
            ..here
        },
        Place {
            actor: &world.operator,
            ..here
        },
        Place {
            operator: &eve,
            ..here
        },
    ];
    for other in others {
        world
            .put(&here.object_key(), world.sealed(&other, 1, 1, b"theirs"))
            .await;
        world
            .refused(world.ask(Op::Fetch), Reason::EnvelopeInvalid)
            .await;
    }
}

#[tokio::test]
async fn what_is_stored_in_capitals_is_found_in_small_letters() {
    let world = World::new();
    let mut ask = world.ask(Op::Store);
    ask.body["service"] = "OpenRouter".into();
    world.done::<Value>(ask).await;
    assert!(!world.object(&world.place().object_key()).await.is_empty());
    let mut ask = world.ask(Op::Fetch);
    ask.body["service"] = "OPENROUTER".into();
    let fetched: FetchedCredential = world.done(ask).await;
    assert_eq!(fetched.service.as_str(), "openrouter");
    let all = ListRequest {
        prefix: "bots/".into(),
        ..ListRequest::default()
    };
    assert_eq!(world.bucket.list(&all).await.unwrap().objects.len(), 1);
}

#[tokio::test]
async fn names_that_leave_the_folder_are_no_names() {
    let world = World::new();
    for name in [
        "..", "../x", "a/b", "a%2fb", ".enc", "", "a\u{0}", "ö", "a b",
    ] {
        for op in [Op::Store, Op::Fetch] {
            let mut ask = world.ask(op);
            ask.body["service"] = name.into();
            world.refused(ask, Reason::RequestInvalid).await;
        }
    }
    assert_eq!(world.bucket.calls().total(), 0);
}

#[tokio::test]
async fn bodies_that_are_bombs_are_refused_before_anything_is_verified() {
    type Bomb = fn(Vec<u8>) -> Vec<u8>;
    let world = World::new();
    let bombs: [(Bomb, Reason); 6] = [
        (
            |_| [vec![b'['; 8_000], vec![b']'; 8_000]].concat(),
            Reason::RequestInvalid,
        ),
        (
            |_| "{\"a\":".repeat(3_000).into_bytes(),
            Reason::RequestInvalid,
        ),
        (
            |_| b"{\"cap\":\"a\",\"cap\":\"b\",\"service\":\"openrouter\"}".to_vec(),
            Reason::RequestInvalid,
        ),
        (|_| b"\xff\xfe{}".to_vec(), Reason::RequestInvalid),
        (|_| Vec::new(), Reason::RequestInvalid),
        (|_| vec![b' '; 17 * 1024], Reason::TooLarge),
    ];
    for (bomb, reason) in bombs {
        let mut ask = world.ask(Op::Fetch);
        ask.change_body = Some(bomb);
        world.refused(ask, reason).await;
    }
    // A body of a length that is only announced is refused without being read.
    let request = Request::post(path_of(Op::Store)).header("content-length", 50 << 20);
    let reply = world
        .send(
            request
                .body(Body::from_stream(futures::stream::pending::<
                    Result<bytes::Bytes, std::io::Error>,
                >()))
                .unwrap(),
        )
        .await;
    assert_eq!(reply.reason(), Reason::TooLarge);
}

#[tokio::test]
async fn an_error_never_repeats_what_the_body_says() {
    let world = World::new();
    let mut ask = world.ask(Op::Store);
    ask.body = json!({ "service": "openrouter", "plaintext": 5, "expected_generation": "sk-secret-in-the-wrong-place" });
    let reply = ask.send().await;
    assert_eq!(reply.reason(), Reason::RequestInvalid);
    assert!(!reply.text().contains("sk-secret"), "{}", reply.text());
    for bad in ["not base64!", "c2stb3I", "c2stb3Kt_w=="] {
        let mut ask = world.ask(Op::Store);
        ask.body["plaintext"] = bad.into();
        let reply = ask.send().await;
        assert_eq!(reply.reason(), Reason::RequestInvalid);
        assert!(!reply.text().contains(bad));
    }
}

#[tokio::test]
async fn a_credential_has_at_most_64_kibibytes() {
    let world = World::new();
    for (length, fits) in [(65_536, true), (65_537, false), (0, true)] {
        let mut ask = world.ask(Op::Store);
        ask.body["plaintext"] = base64(&vec![7; length]).into();
        if fits {
            world.done::<Value>(ask).await;
            let fetched: FetchedCredential = world.done(world.ask(Op::Fetch)).await;
            assert_eq!(fetched.plaintext.expose(), base64(&vec![7; length]));
        } else {
            world.refused(ask, Reason::TooLarge).await;
        }
    }
}

#[tokio::test]
async fn the_broker_alone_opens_nothing() {
    let world = World::new();
    // Its signature on a capability for a service out of scope.
    let github = "github".parse().unwrap();
    let key = Place {
        service: &github,
        ..world.place()
    }
    .object_key();
    world
        .put(
            &key,
            world.sealed(
                &Place {
                    service: &github,
                    ..world.place()
                },
                1,
                1,
                b"x",
            ),
        )
        .await;
    let mut ask = world.ask(Op::Fetch);
    ask.cap.service = Some(github.clone());
    ask.body["service"] = "github".into();
    world.refused(ask, Reason::ScopeDenied).await;
    // On one for another actor than the device's, and for a device of its own making.
    let mut ask = world.ask(Op::Fetch);
    ask.cap.sub = world.operator.clone();
    world.refused(ask, Reason::DeviceBindingMismatch).await;
    let mut ask = world.ask(Op::Fetch);
    ask.cap.device = world.broker.public_jwk().thumbprint();
    world.refused(ask, Reason::ProofInvalid).await;
    // And on one that lasts for an hour.
    let mut ask = world.ask(Op::Fetch);
    ask.cap.exp = ask.cap.iat + 300;
    let token = ask.token();
    world.clock.advance(std::time::Duration::from_secs(301));
    let request = world.ask(Op::Fetch).with_token(&token);
    assert_eq!(world.send(request).await.reason(), Reason::CapExpired);
}

#[tokio::test]
async fn a_capability_that_was_verified_before_still_ends() {
    let world = World::new();
    let token = world.ask(Op::List).token();
    let send = || world.send(world.ask(Op::List).with_token(&token));
    assert_eq!(send().await.status, 200);
    world.clock.advance(std::time::Duration::from_secs(200));
    assert_eq!(send().await.status, 200);
    world.clock.advance(std::time::Duration::from_secs(100));
    assert_eq!(send().await.reason(), Reason::CapExpired);
}

#[tokio::test]
async fn a_proof_is_for_one_url_method_body_and_capability_only() {
    let world = World::new();
    let bytes = |request: Request<Body>| async {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts, body)
    };
    // Taken from a request to another endpoint, for another body, for another capability.
    let (listing, body) = bytes(world.ask(Op::List).request()).await;
    let proof = listing.headers[PROOF_HEADER].to_str().unwrap().to_owned();
    let mut ask = world.ask(Op::Fetch);
    ask.proof = ProofKind::This(proof.clone());
    world.refused(ask, Reason::ProofInvalid).await;
    let mut changed = body.to_vec();
    changed.insert(1, b' ');
    let request = Request::from_parts(listing.clone(), Body::from(changed));
    assert_eq!(world.send(request).await.reason(), Reason::ProofInvalid);
    // Two of them are none.
    let mut doubled = listing.clone();
    doubled.headers.append(PROOF_HEADER, proof.parse().unwrap());
    let request = Request::from_parts(doubled, Body::from(body.clone()));
    assert_eq!(world.send(request).await.reason(), Reason::ProofInvalid);
    // Too old, and from the future.
    for at in [-61, 61] {
        world.clock.advance(std::time::Duration::from_secs(100));
        let now = world.now();
        let token = world.ask(Op::List).token();
        let body = serde_json::to_vec(&json!({ "cap": token })).unwrap();
        let url = format!("{}{}", world::URL, path_of(Op::List));
        let wanted = vault::ProofFor {
            method: "POST",
            url: &url,
            token: Some(&token),
            body: &body,
        };
        let proof = vault::make_proof(&world.device, &wanted, &world::number(), now + at).unwrap();
        let request = Request::post(path_of(Op::List)).header(PROOF_HEADER, proof);
        let reply = world.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(reply.reason(), Reason::ProofInvalid);
    }
}

#[tokio::test]
async fn a_worker_that_was_started_anew_takes_no_proof_from_before() {
    let world = World::with(|settings| settings.oldest_proof = Some(world::NOW + 1));
    world
        .refused(world.ask(Op::List), Reason::ProofReplayed)
        .await;
    world.clock.advance(std::time::Duration::from_secs(1));
    world.done::<ListedCredentials>(world.ask(Op::List)).await;
}

#[tokio::test]
async fn a_list_shows_names_and_nothing_else_and_counts_what_is_none() {
    let world = World::new();
    let prefix = Place::prefix(&world.agent);
    for name in [
        "a.enc",
        "b.enc",
        "OpenRouter.enc",
        "deep/er.enc",
        "notes.txt",
        ".enc",
    ] {
        world.put(&format!("{prefix}{name}"), &b"12345"[..]).await;
    }
    world
        .put(
            &format!("bots/{}/credentials/theirs.enc", world.operator),
            &b"1"[..],
        )
        .await;
    world.audit.take();
    let reply = world.ask(Op::List).send().await;
    let listed: ListedCredentials = serde_json::from_slice(&reply.body).unwrap();
    let names: Vec<_> = listed
        .credentials
        .iter()
        .map(|c| c.service.as_str())
        .collect();
    assert_eq!((names, listed.next_page_token), (vec!["a", "b"], None));
    assert_eq!(listed.credentials[0].size, 5);
    let record = world.only_record();
    assert_eq!((record.listed, record.skipped), (Some(2), Some(4)));
    assert!(
        world.signer.asked.lock().is_empty(),
        "no key is needed for names"
    );
}

#[tokio::test]
async fn a_list_of_many_comes_in_pages() {
    let world = World::new();
    let prefix = Place::prefix(&world.agent);
    for n in 0..1_001 {
        world.put(&format!("{prefix}s{n:04}.enc"), &b"1"[..]).await;
    }
    let first: ListedCredentials = world.done(world.ask(Op::List)).await;
    assert_eq!(first.credentials.len(), 1_000);
    let mut ask = world.ask(Op::List);
    ask.body["page_token"] = first.next_page_token.unwrap().into();
    let second: ListedCredentials = world.done(ask).await;
    assert_eq!(second.credentials[0].service.as_str(), "s1000");
    assert_eq!(second.next_page_token, None);
    for bad in ["", "a\nb"] {
        let mut ask = world.ask(Op::List);
        ask.body["page_token"] = bad.into();
        world.refused(ask, Reason::RequestInvalid).await;
    }
}

#[tokio::test]
async fn a_teardown_takes_every_page_of_one_actor_and_nothing_of_others() {
    let world = World::new();
    world.master();
    let other = world.operator.agent("other").unwrap();
    for n in 0..1_003 {
        world
            .put(
                &format!("{}s{n:04}.enc", Place::prefix(&world.agent)),
                &b"1"[..],
            )
            .await;
    }
    world
        .put(
            &format!("{}odd name", Place::prefix(&world.agent)),
            &b"1"[..],
        )
        .await;
    let beside = [
        format!("{}s.enc", Place::prefix(&other)),
        format!("{}s.enc", Place::prefix(&world.operator)),
        format!("bots/{}/credentials.enc", world.agent),
        format!("bots/{}x/credentials/s.enc", world.agent),
    ];
    for key in &beside {
        world.put(key, &b"1"[..]).await;
    }
    world.audit.take();
    let reply = world.ask(Op::Teardown).send().await;
    let torn: TornDown = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((torn.deleted, torn.failed, torn.left.len()), (1_004, 0, 0));
    let record = world.only_record();
    assert_eq!((record.deleted, record.failed), (Some(1_004), Some(0)));
    assert_eq!(record.target.as_ref(), Some(&world.agent));
    let all = world.bucket.list(&ListRequest::default()).await.unwrap();
    let mut left: Vec<_> = all
        .objects
        .iter()
        .map(|object| object.key.as_str())
        .collect();
    let mut wanted: Vec<_> = beside.iter().map(String::as_str).collect();
    left.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(left, wanted);
    assert!(
        world
            .buckets
            .opened
            .lock()
            .iter()
            .all(|actor| *actor == world.agent)
    );
    // The operator's own, without a label.
    let mut ask = world.ask(Op::Teardown);
    ask.cap.target = Some(world.operator.clone());
    ask.body = json!({ "target": world.operator });
    let torn: TornDown = world.done(ask).await;
    assert_eq!(torn.deleted, 1);
}

#[tokio::test]
async fn a_teardown_says_what_it_could_not_delete_and_how_far_it_came() {
    let world = World::new();
    world.master();
    let prefix = Place::prefix(&world.agent);
    for n in 0..1_200 {
        world.put(&format!("{prefix}s{n:04}.enc"), &b"1"[..]).await;
    }
    // The second page cannot be listed.
    let away = Error::Unreachable {
        endpoint: "test".into(),
        reason: "away".into(),
    };
    let rule = Rule::new(Fault::FailBefore(away)).on(Verb::List).nth(2);
    world.buckets.faulty.add(rule);
    world.audit.take();
    let reply = world.ask(Op::Teardown).send().await;
    assert_eq!(reply.reason(), Reason::BucketUnavailable);
    assert!(
        reply.text().contains("after 1000 objects"),
        "{}",
        reply.text()
    );
    let record = world.only_record();
    assert_eq!(
        (record.deleted, record.outcome),
        (Some(1_000), Err(Reason::BucketUnavailable))
    );
    let torn: TornDown = world.done(world.ask(Op::Teardown)).await;
    assert_eq!(torn.deleted, 200);
}

#[tokio::test]
async fn who_stores_at_once_has_each_stored_once() {
    let world = std::sync::Arc::new(World::new());
    let stores = (0..6).map(|n| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut ask = world.ask(Op::Store);
            ask.body["plaintext"] = base64(format!("value {n}").as_bytes()).into();
            let reply = ask.send().await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let answer: Value = serde_json::from_slice(&reply.body).unwrap();
            answer["generation"].as_u64().unwrap()
        })
    });
    let mut generations = Vec::new();
    for store in stores.collect::<Vec<_>>() {
        generations.push(store.await.unwrap());
    }
    generations.sort_unstable();
    assert_eq!(generations, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_was_stored_or_fetched_last_is_replaced_without_a_look_unless_another_wrote() {
    let world = World::new();
    let key = world.place().object_key();
    let calls = || {
        let calls = world.bucket.calls();
        (calls.get, calls.put)
    };
    let store = async |generation: u64| {
        let stored: Value = world.done(world.ask(Op::Store)).await;
        assert_eq!(stored["generation"], generation);
    };
    store(1).await;
    assert_eq!(calls(), (1, 1));
    store(2).await;
    // Once it is tried whether the bucket compares: three writes beside, of which one is refused.
    let (gets, puts) = calls();
    assert_eq!(gets, 1);
    store(3).await;
    assert_eq!(calls(), (1, puts + 1));

    // Another worker's.
    let theirs = world.sealed(&world.place(), 1, 4, b"theirs");
    world.put(&key, theirs).await;
    let before = calls();
    store(5).await;
    let (gets, puts) = calls();
    // One to see that it was not its own write, one for what is to be replaced.
    assert_eq!((gets - before.0, puts - before.1), (2, 2));

    let theirs = world.sealed(&world.place(), 1, 6, b"theirs");
    world.put(&key, theirs).await;
    world.done::<Value>(world.ask(Op::Fetch)).await;
    let before = calls();
    store(7).await;
    let (gets, puts) = calls();
    assert_eq!((gets - before.0, puts - before.1), (0, 1));

    // Whoever expects another one is told so by what is in the bucket.
    let mut ask = world.ask(Op::Store);
    ask.body["expected_generation"] = json!(6);
    world.refused(ask, Reason::GenerationMismatch).await;
    let mut ask = world.ask(Op::Store);
    ask.body["expected_generation"] = json!(7);
    let stored: Value = world.done(ask).await;
    assert_eq!(stored["generation"], 8);
    let left: Vec<_> = world.bucket.contents().into_keys().collect();
    assert_eq!(left, [key], "nothing is left of the trial");
}

#[tokio::test]
async fn where_the_bucket_compares_nothing_each_store_looks_first() {
    let world = World::new();
    world.buckets.compares_nothing.store(true, SeqCst);
    let key = world.place().object_key();
    for generation in [1, 2] {
        let stored: Value = world.done(world.ask(Op::Store)).await;
        assert_eq!(stored["generation"], generation);
    }
    // Another worker's: it is seen, not written over as if it were not there.
    let theirs = world.sealed(&world.place(), 1, 9, b"theirs");
    world.put(&key, theirs).await;
    let stored: Value = world.done(world.ask(Op::Store)).await;
    assert_eq!(stored["generation"], 10);
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_no_conflict_with_oneself() {
    let world = World::new();
    // The write takes effect; its answer is lost, and the store's client writes again.
    let refused = Error::Precondition {
        key: bucket::Key::new(world.place().object_key()).unwrap(),
    };
    world
        .buckets
        .faulty
        .add(Rule::new(Fault::FailAfter(refused)).on(Verb::Put).nth(1));
    let mut ask = world.ask(Op::Store);
    ask.body["expected_generation"] = json!(0);
    let stored: Value = world.done(ask).await;
    assert_eq!(stored["generation"], 1);
    assert_eq!(world.bucket.calls().put, 1);
}

#[tokio::test]
async fn storage_keys_that_the_store_refuses_are_replaced_once() {
    let world = World::new();
    world
        .put(
            &world.place().object_key(),
            world.sealed(&world.place(), 1, 1, b"x"),
        )
        .await;
    world.buckets.refuse_keys.store(1, SeqCst);
    world.done::<Value>(world.ask(Op::Fetch)).await;
    assert_eq!(world.buckets.forgotten.load(SeqCst), 1);
    world.buckets.refuse_keys.store(2, SeqCst);
    world
        .refused(world.ask(Op::Fetch), Reason::BucketUnavailable)
        .await;
}

#[tokio::test]
async fn an_envelope_of_an_older_epoch_opens_and_is_stored_anew_in_the_current_one() {
    let world = World::new();
    let key = world.place().object_key();
    world
        .put(&key, world.sealed(&world.place(), 1, 4, b"old"))
        .await;
    world.registry.epoch.store(3, SeqCst);
    let ask = |op| {
        let mut ask = world.ask(op);
        ask.cap.epoch = 3;
        ask
    };
    let fetched: FetchedCredential = world.done(ask(Op::Fetch)).await;
    assert_eq!(
        (fetched.epoch, fetched.generation, fetched.version),
        (1, 4, 0x10)
    );
    let stored: Value = world.done(ask(Op::Store)).await;
    assert_eq!(
        (&stored["epoch"], &stored["generation"]),
        (&json!(3), &json!(5))
    );
    let fetched: FetchedCredential = world.done(ask(Op::Fetch)).await;
    assert_eq!((fetched.epoch, fetched.generation), (3, 5));
    // The key is always the owner's.
    assert!(
        world
            .signer
            .asked
            .lock()
            .iter()
            .all(|(owner, _)| *owner == world.agent)
    );
}

#[tokio::test]
async fn after_a_rollback_or_a_removal_the_next_store_is_above_all_that_was_seen() {
    let world = World::new();
    let key = world.place().object_key();
    world
        .put(&key, world.sealed(&world.place(), 1, 9, b"new"))
        .await;
    world.done::<Value>(world.ask(Op::Fetch)).await;
    world
        .put(&key, world.sealed(&world.place(), 1, 2, b"old"))
        .await;
    world.audit.take();
    let reply = world.ask(Op::Store).send().await;
    let stored: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(stored["generation"], 10);
    let note = world.only_record().note;
    assert_eq!(
        note,
        Some("replaced an older envelope than was seen before")
    );
    bucket::Bucket::delete(
        &world.bucket,
        &bucket::Key::new(&*key).unwrap(),
        bucket::Condition::None,
    )
    .await
    .unwrap();
    let stored: Value = world.done(world.ask(Op::Store)).await;
    assert_eq!(stored["generation"], 11);
    // A generation that leaves no room above it is nobody's.
    world
        .put(&key, world.sealed(&world.place(), 1, u64::MAX, b"evil"))
        .await;
    world
        .refused(world.ask(Op::Store), Reason::EnvelopeInvalid)
        .await;
    // What is no envelope at all is written over.
    world.put(&key, &b""[..]).await;
    let stored: Value = world.done(world.ask(Op::Store)).await;
    assert_eq!(stored["generation"], 12);
}

#[tokio::test]
async fn a_client_that_goes_away_changes_nothing_of_what_happens() {
    let world = World::new();
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    *world.registry.hang.lock() = Some(release.clone());
    let request = world.ask(Op::Store).request();
    let sending = world.send(request);
    let gone = tokio::time::timeout(std::time::Duration::from_millis(50), sending).await;
    assert!(gone.is_err(), "it is still under way");
    release.notify_one();
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if let [record] = &world.audit.take()[..] {
            assert_eq!((record.outcome, record.generation), (Ok(()), Some(1)));
            assert!(!world.object(&world.place().object_key()).await.is_empty());
            return;
        }
    }
    panic!("the request was never carried out");
}

#[tokio::test]
async fn no_record_and_no_envelope_holds_a_secret() {
    let world = World::new();
    let secret = "sk-or-v1-0123456789abcdef";
    let mut ask = world.ask(Op::Store);
    ask.body["plaintext"] = base64(secret.as_bytes()).into();
    let token = ask.token();
    let reply = world.send(ask.with_token(&token)).await;
    assert_eq!(reply.status, 200);
    world.done::<Value>(world.ask(Op::List)).await;
    world.send(world.ask(Op::Fetch).request()).await;
    world.ask(Op::Store).send().await;
    let records: Vec<_> = world.audit.take();
    assert!(!records.is_empty());
    let records = serde_json::to_string(&records).unwrap();
    let envelope = world.object(&world.place().object_key()).await;
    let signature = token.rsplit('.').next().unwrap();
    for secret in [secret, &base64(secret.as_bytes()), signature] {
        assert!(!records.contains(secret), "{records}");
        assert!(!String::from_utf8_lossy(&envelope).contains(secret));
    }
}

#[tokio::test]
async fn a_device_of_another_operator_stays_theirs() {
    let world = World::new();
    let eve = Actor::from_oidc("https://people.example", "eve").unwrap();
    // A broker that was taken over mints whatever it likes for a device of Eve's.
    let id = world.device.public_jwk().thumbprint();
    world
        .registry
        .register(id, device_of(&eve, &world.agent, Roles(3)));
    world.registry.allow(
        &world.agent,
        &world.service,
        Scope {
            in_scope: true,
            read_only: false,
        },
    );
    world
        .refused(world.ask(Op::Fetch), Reason::DeviceBindingMismatch)
        .await;
    let mut ask = world.ask(Op::Fetch);
    ask.cap.operator = eve.clone();
    // Hers by all that the registry says; the envelope is not.
    world
        .put(
            &world.place().object_key(),
            world.sealed(&world.place(), 1, 1, b"ada's"),
        )
        .await;
    world.refused(ask, Reason::EnvelopeInvalid).await;
}
