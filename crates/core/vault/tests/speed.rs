//! How long it takes. `cargo test --release -p artifacts-vault --test speed -- --ignored --nocapture`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a test fails, and the figure is what this is for"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use artifacts_vault::{
    Cap, DeviceKey, MasterSecret, Op, Place, ProofFor, SignEs256, VerifyKeys, derive_cred_kek,
    make_proof, mint_cap, open, seal, verify_cap, verify_proof,
};
use model::Actor;
use secrecy::ExposeSecret;

const NOW: i64 = 1_800_000_000;

#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
fn sealing_and_opening_1_kib_takes_10_microseconds_at_most() {
    let operator = Actor::from_oidc("https://id.example", "ada").unwrap();
    let actor = operator.agent("builder").unwrap();
    let service = "openrouter".parse().unwrap();
    let place = Place {
        operator: &operator,
        actor: &actor,
        service: &service,
    };
    let secret = MasterSecret::from_bytes([7; 32]);
    let kek = derive_cred_kek(&secret, &operator, &actor);
    let plaintext = vec![b'k'; 1024];
    let both = median(|| {
        let envelope = seal(&kek, &place, 1, 1, &plaintext).unwrap();
        black_box(open(&kek, &place, &envelope).unwrap());
    });
    let envelope = seal(&kek, &place, 1, 1, &plaintext).unwrap();
    let sealing = median(|| drop(black_box(seal(&kek, &place, 1, 1, &plaintext).unwrap())));
    let opening = median(|| drop(black_box(open(&kek, &place, &envelope).unwrap())));
    let deriving = median(|| drop(black_box(derive_cred_kek(&secret, &operator, &actor))));
    println!(
        "envelope of 1 KiB: seal and open {both:.2?} (seal {sealing:.2?}, open {opening:.2?}); derive its key {deriving:.2?}"
    );
    assert!(both <= Duration::from_micros(10), "{both:?}");
}

#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
fn what_a_worker_verifies_for_each_request() {
    let (broker, device) = (
        DeviceKey::generate().unwrap(),
        DeviceKey::generate().unwrap(),
    );
    let keys = VerifyKeys::from_keys([broker.public_jwk().clone()]).unwrap();
    let ada = Actor::from_oidc("https://id.example", "ada").unwrap();
    let cap = Cap {
        iss: "https://broker.example".into(),
        sub: ada.clone(),
        operator: ada,
        op: Op::Fetch,
        service: Some("openrouter".parse().unwrap()),
        target: None,
        epoch: 1,
        iat: NOW,
        nbf: NOW,
        exp: NOW + 300,
        jti: "cap-1".into(),
        device: device.public_jwk().thumbprint(),
    };
    let token = mint_cap(&cap, &broker).unwrap();
    let request = ProofFor {
        method: "POST",
        url: "https://worker.example/v1/cred/fetch",
        token: Some(token.expose_secret()),
        body: &[b'b'; 1024],
    };
    let proof = make_proof(&device, &request, "p", NOW).unwrap();
    let capability = median(|| {
        black_box(verify_cap(token.expose_secret(), &keys, &cap.iss, NOW).unwrap());
    });
    let possession = median(|| {
        black_box(verify_proof(Some(&proof), &request, Some(&cap.device), NOW).unwrap());
    });
    let making = median(|| drop(black_box(make_proof(&device, &request, "p", NOW).unwrap())));
    println!("capability {capability:.2?}, proof {possession:.2?}; making a proof {making:.2?}");
    assert!(capability + possession <= Duration::from_micros(300));
}

/// The time of one call: the median of 200 rounds of 100.
fn median(mut call: impl FnMut()) -> Duration {
    let mut rounds: Vec<Duration> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..100 {
                call();
            }
            begun.elapsed() / 100
        })
        .collect();
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}
