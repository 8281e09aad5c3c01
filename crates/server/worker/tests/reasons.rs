//! Every reason for which a worker refuses, reached over HTTP, in the order of the checks: each
//! test has its own fault and all that come after it, and must be answered its own. Each leaves
//! exactly one record.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use api::vault::Reason;
use registry::{Roles, Scope};
use serde_json::json;
use tokio::sync::Notify;
use vault::{DeviceKey, Op, SignEs256};
use world::{Ask, ProofKind, World, base64, device_of};

/// A fault: what it makes the answer be, and how it is made.
struct Fault(Reason, fn(&mut Ask<'_>));

const BEFORE_THE_BUCKET: &[Fault] = &[
    Fault(Reason::TooLarge, |ask| {
        ask.change_body = Some(|_| vec![b' '; 200 * 1024]);
    }),
    Fault(Reason::RequestInvalid, |ask| {
        ask.change_body = Some(|mut body| {
            body.truncate(body.len() / 2);
            body
        });
    }),
    Fault(Reason::KeysUnavailable, |ask| {
        *ask.world.keys.known.lock() = None;
    }),
    Fault(Reason::CapSignatureInvalid, |ask| {
        ask.change_cap = Some(|token| {
            let (signed, _) = token.rsplit_once('.').unwrap();
            format!("{signed}.{}", "A".repeat(86))
        });
    }),
    Fault(Reason::CapExpired, |ask| {
        ask.cap.iat -= 400;
        ask.cap.nbf -= 400;
        ask.cap.exp = ask.cap.iat + 300;
    }),
    Fault(Reason::CapOpMismatch, |ask| {
        ask.cap.op = if ask.op == Op::Store {
            Op::Fetch
        } else {
            Op::Store
        };
    }),
    Fault(Reason::CapServiceMismatch, |ask| {
        ask.cap.service = Some("github".parse().unwrap());
    }),
    Fault(Reason::ProofMissing, |ask| ask.proof = ProofKind::Missing),
    Fault(Reason::ProofInvalid, |ask| ask.proof = ProofKind::Foreign),
    Fault(Reason::DeviceUnknown, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        ask.world.registry.unregister(ask.cap.device);
    }),
    Fault(Reason::DeviceRevoked, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        ask.world
            .registry
            .change(ask.cap.device, |device| device.revoked = true);
    }),
    Fault(Reason::DeviceBindingMismatch, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        let operator = ask.world.operator.clone();
        ask.world
            .registry
            .change(ask.cap.device, |device| device.actor = operator);
    }),
    Fault(Reason::RoleMissing, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        ask.world
            .registry
            .change(ask.cap.device, |device| device.roles = Roles::MASTER);
    }),
    Fault(Reason::ScopeDenied, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        set_scope(ask, false, true);
    }),
    Fault(Reason::ScopeReadOnly, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        set_scope(ask, true, true);
    }),
    Fault(Reason::EpochMismatch, |ask| {
        ask.world.registry.is_down.store(false, SeqCst);
        ask.world.registry.epoch.store(2, SeqCst);
    }),
    Fault(Reason::RegistryUnavailable, |ask| {
        ask.world.registry.is_down.store(true, SeqCst);
    }),
    Fault(Reason::SignerUnavailable, |ask| {
        ask.world.signer.is_down.store(true, SeqCst);
    }),
    Fault(Reason::BucketUnavailable, |ask| {
        ask.world.buckets.is_down.store(true, SeqCst);
    }),
];

fn set_scope(ask: &Ask<'_>, in_scope: bool, read_only: bool) {
    let scope = Scope {
        in_scope,
        read_only,
    };
    ask.world
        .registry
        .allow(&ask.world.agent, &ask.world.service, scope);
}

/// A request with this fault and all later ones is answered this one. The later are made first:
/// of two that cannot be at once, the earlier counts.
async fn is_first(op: Op, reason: Reason) {
    let world = World::new();
    let mut ask = world.ask(op);
    let from = BEFORE_THE_BUCKET
        .iter()
        .position(|fault| fault.0 == reason)
        .unwrap();
    for Fault(later, make) in BEFORE_THE_BUCKET[from..].iter().rev() {
        if op == Op::Store || *later != Reason::ScopeReadOnly {
            make(&mut ask);
        }
    }
    world.refused(ask, reason).await;
    let objects = world.bucket.calls();
    assert_eq!(objects.total(), 0, "nothing of the bucket was touched");
}

macro_rules! first {
    ($($name:ident: $reason:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            is_first(Op::Fetch, Reason::$reason).await;
            is_first(Op::Store, Reason::$reason).await;
        })*

        /// The order above is that of the wire's list, and leaves out only what the tests below
        /// reach each by itself.
        #[test]
        fn the_tests_follow_the_order_of_the_reasons() {
            let tested = [$(Reason::$reason,)*];
            let mut rest = Reason::ALL.iter();
            for reason in tested {
                assert!(rest.any(|next| *next == reason), "{reason} is out of order");
            }
            let alone = [
                Reason::RateLimited, Reason::ProofReplayed, Reason::ScopeReadOnly,
                Reason::NotFound, Reason::GenerationMismatch, Reason::EnvelopeVersion,
                Reason::EnvelopeMalformed, Reason::EnvelopeInvalid, Reason::EnvelopeRollback,
                Reason::AuditUnavailable, Reason::Internal,
            ];
            for reason in Reason::ALL {
                assert!(tested.contains(reason) != alone.contains(reason), "{reason}");
            }
        }
    };
}

first! {
    too_large: TooLarge;
    request_invalid: RequestInvalid;
    keys_unavailable: KeysUnavailable;
    cap_signature_invalid: CapSignatureInvalid;
    cap_expired: CapExpired;
    cap_op_mismatch: CapOpMismatch;
    cap_service_mismatch: CapServiceMismatch;
    proof_missing: ProofMissing;
    proof_invalid: ProofInvalid;
    device_unknown: DeviceUnknown;
    device_revoked: DeviceRevoked;
    device_binding_mismatch: DeviceBindingMismatch;
    role_missing: RoleMissing;
    scope_denied: ScopeDenied;
    epoch_mismatch: EpochMismatch;
    registry_unavailable: RegistryUnavailable;
    signer_unavailable: SignerUnavailable;
    bucket_unavailable: BucketUnavailable;
}

#[tokio::test]
async fn scope_read_only() {
    is_first(Op::Store, Reason::ScopeReadOnly).await;
    let world = World::new();
    let ask = world.ask(Op::Fetch);
    set_scope(&ask, true, true);
    let envelope = world.sealed(&world.place(), 1, 1, b"value");
    world.put(&world.place().object_key(), envelope).await;
    world.done::<serde_json::Value>(ask).await;
}

#[tokio::test]
async fn proof_replayed() {
    for op in Op::ALL {
        let world = World::new();
        if op == Op::Teardown {
            world.master();
        }
        let token = world.ask(op).token();
        let request = |ask: Ask<'_>| ask.with_token(&token);
        let first = request(world.ask(op));
        let (parts, body) = first.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let again = || axum::http::Request::from_parts(parts.clone(), body.clone().into());
        world.send(again()).await;
        // Everything that is checked later is wrong by now, too.
        world.registry.is_down.store(true, SeqCst);
        world.audit.take();
        let reply = world.send(again()).await;
        assert_eq!(reply.reason(), Reason::ProofReplayed);
        assert_eq!(world.only_record().outcome, Err(Reason::ProofReplayed));
    }
}

#[tokio::test]
async fn rate_limited() {
    let world = Arc::new(World::with(|settings| {
        settings.at_once = 1;
        settings.patience = Duration::from_millis(50);
    }));
    let release = Arc::new(Notify::new());
    *world.registry.hang.lock() = Some(Arc::clone(&release));
    let first = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.ask(Op::List).send().await.status }
    });
    while world.registry.hang.lock().is_some() {
        tokio::task::yield_now().await;
    }
    let mut second = world.ask(Op::Fetch);
    second.change_cap = Some(|_| "no capability".into());
    let reply = second.send().await;
    assert_eq!(reply.reason(), Reason::RateLimited);
    assert!(reply.retry_after);
    assert_eq!(world.only_record().outcome, Err(Reason::RateLimited));
    release.notify_one();
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(world.only_record().outcome, Ok(()));
}

#[tokio::test]
async fn not_found() {
    let world = World::new();
    world.refused(world.ask(Op::Fetch), Reason::NotFound).await;
}

#[tokio::test]
async fn generation_mismatch() {
    let world = World::new();
    let expecting = |generation: u64| {
        let mut ask = world.ask(Op::Store);
        ask.body["expected_generation"] = generation.into();
        ask
    };
    world
        .refused(expecting(1), Reason::GenerationMismatch)
        .await;
    world.done::<serde_json::Value>(expecting(0)).await;
    world
        .refused(expecting(0), Reason::GenerationMismatch)
        .await;
    world
        .refused(expecting(2), Reason::GenerationMismatch)
        .await;
    world.done::<serde_json::Value>(expecting(1)).await;
}

async fn fetch_of(bytes: Vec<u8>, reason: Reason) {
    let world = World::new();
    world.put(&world.place().object_key(), bytes).await;
    world.refused(world.ask(Op::Fetch), reason).await;
}

#[tokio::test]
async fn envelope_version() {
    let old = |version: u8, length: usize| {
        let mut bytes = vec![7; length];
        bytes[0] = version;
        bytes
    };
    for bytes in [old(1, 60), old(2, 60), old(0, 60), old(0x11, 80)] {
        fetch_of(bytes.clone(), Reason::EnvelopeVersion).await;
    }
    // Nor is one of a newer release written over.
    let world = World::new();
    let key = world.place().object_key();
    world.put(&key, old(0x11, 80)).await;
    world
        .refused(world.ask(Op::Store), Reason::EnvelopeVersion)
        .await;
    assert_eq!(world.object(&key).await, old(0x11, 80));
}

#[tokio::test]
async fn envelope_malformed() {
    let world = World::new();
    let whole = world.sealed(&world.place(), 1, 1, b"");
    fetch_of(Vec::new(), Reason::EnvelopeMalformed).await;
    fetch_of(whole[..whole.len() - 1].to_vec(), Reason::EnvelopeMalformed).await;
    let too_long = [&whole[..], &vec![0; 70_000]].concat();
    fetch_of(too_long, Reason::EnvelopeMalformed).await;
}

#[tokio::test]
async fn envelope_invalid() {
    let world = World::new();
    let mut other = world.place();
    let service = "github".parse().unwrap();
    other.service = &service;
    fetch_of(
        world.sealed(&other, 1, 1, b"value"),
        Reason::EnvelopeInvalid,
    )
    .await;
    // Of an epoch that has not begun, and of one that never is.
    fetch_of(
        world.sealed(&world.place(), 2, 1, b"value"),
        Reason::EnvelopeInvalid,
    )
    .await;
    fetch_of(
        world.sealed(&world.place(), 0, 1, b"value"),
        Reason::EnvelopeInvalid,
    )
    .await;
}

#[tokio::test]
async fn envelope_rollback() {
    let world = World::new();
    let key = world.place().object_key();
    world
        .put(&key, world.sealed(&world.place(), 1, 4, b"old"))
        .await;
    let mut ask = world.ask(Op::Fetch);
    ask.body["seen_generation"] = json!(5);
    world.refused(ask, Reason::EnvelopeRollback).await;
    // By what the worker itself has seen.
    world
        .put(&key, world.sealed(&world.place(), 1, 7, b"new"))
        .await;
    world.done::<serde_json::Value>(world.ask(Op::Fetch)).await;
    world
        .put(&key, world.sealed(&world.place(), 1, 6, b"old"))
        .await;
    world
        .refused(world.ask(Op::Fetch), Reason::EnvelopeRollback)
        .await;
}

#[tokio::test]
async fn audit_unavailable() {
    for op in Op::ALL {
        let world = World::new();
        let key = world.place().object_key();
        let envelope = world.sealed(&world.place(), 1, 1, b"sk-in-the-bucket");
        world.put(&key, envelope.clone()).await;
        if op == Op::Teardown {
            world.master();
        }
        world.audit.is_full.store(true, SeqCst);
        let reply = world.ask(op).send().await;
        assert_eq!(reply.reason(), Reason::AuditUnavailable, "{op:?}");
        assert!(!reply.text().contains(&base64(b"sk-in-the-bucket")));
        assert_eq!(
            world.object(&key).await,
            envelope,
            "{op:?} has changed nothing"
        );
        // A refusal that cannot be recorded is no other answer either.
        let mut ask = world.ask(op);
        ask.proof = ProofKind::Missing;
        assert_eq!(ask.send().await.reason(), Reason::AuditUnavailable);
    }
    let world = World::new();
    world.audit.is_unready.store(true, SeqCst);
    world
        .refused(world.ask(Op::Store), Reason::AuditUnavailable)
        .await;
    assert_eq!(world.bucket.calls().put, 0);
}

#[tokio::test]
async fn internal() {
    let world = World::new();
    world.registry.panics.store(true, SeqCst);
    world.refused(world.ask(Op::Fetch), Reason::Internal).await;
    world.registry.panics.store(false, SeqCst);
    world.refused(world.ask(Op::Fetch), Reason::NotFound).await;
}

#[tokio::test]
async fn the_rights_of_a_teardown_have_an_order_too() {
    let world = World::new();
    // An agent's device is no master, whatever its roles say.
    let id = world.device.public_jwk().thumbprint();
    world
        .registry
        .register(id, device_of(&world.operator, &world.agent, Roles(3)));
    let mut ask = world.ask(Op::Teardown);
    ask.cap.sub = world.agent.clone();
    world.refused(ask, Reason::RoleMissing).await;
    world
        .refused(world.ask(Op::Teardown), Reason::DeviceBindingMismatch)
        .await;
    world
        .registry
        .register(id, device_of(&world.operator, &world.operator, Roles::USE));
    world
        .refused(world.ask(Op::Teardown), Reason::RoleMissing)
        .await;
    // A target that is nobody of the operator's, though broker and master say so.
    world.master();
    let stranger = model::Actor::from_oidc("https://people.example", "eve").unwrap();
    for label in [json!(null), json!("builder"), json!("x/../y")] {
        let mut ask = world.ask(Op::Teardown);
        ask.cap.target = Some(stranger.clone());
        ask.body = json!({ "target": stranger, "label": label });
        world.refused(ask, Reason::CapServiceMismatch).await;
    }
    assert_eq!(world.buckets.opened.lock().len(), 0);
}

#[tokio::test]
async fn a_key_that_the_broker_began_to_use_is_asked_for_and_an_unknown_one_is_not_believed() {
    let mut world = World::new();
    let old = std::mem::replace(&mut world.broker, DeviceKey::generate().unwrap());
    world
        .refused(world.ask(Op::List), Reason::CapSignatureInvalid)
        .await;
    world.keys.publish(world.broker.public_jwk());
    world.done::<serde_json::Value>(world.ask(Op::List)).await;
    world.broker = old;
    world.keys.take_over();
    let ask = world.ask(Op::List);
    world.refused(ask, Reason::CapSignatureInvalid).await;
}
