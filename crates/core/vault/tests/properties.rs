//! What holds for all inputs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::LazyLock;

use artifacts_vault::legacy::{self, Owner};
use artifacts_vault::{
    Cap, DeviceKey, EnvelopeError, Kek, Op, Place, ProofFor, SignEs256, VerifyKeys, header,
    make_proof, mint_cap, open, seal, verify_cap, verify_proof, verify_session,
};
use model::{Actor, ServiceName};
use proptest::collection::vec;
use proptest::prelude::*;
use secrecy::ExposeSecret;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://broker.example";

static KEY: LazyLock<DeviceKey> = LazyLock::new(|| DeviceKey::generate().unwrap());

fn keys() -> VerifyKeys {
    VerifyKeys::from_keys([KEY.public_jwk().clone()]).unwrap()
}

fn actor() -> impl Strategy<Value = Actor> {
    "[0-9a-f]{64}".prop_map(|text| text.parse().unwrap())
}

fn service() -> impl Strategy<Value = ServiceName> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

fn plaintext() -> impl Strategy<Value = Vec<u8>> {
    // Short ones, and some about the ends of chunks.
    let near = |length: usize| (length - 2)..=(length + 2);
    prop_oneof![
        8 => vec(any::<u8>(), 0..300),
        1 => (near(16_384), any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => (near(49_152), any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn cap() -> impl Strategy<Value = Cap> {
    let about = prop_oneof![
        service().prop_map(|service| (Op::Store, Some(service), None)),
        service().prop_map(|service| (Op::Fetch, Some(service), None)),
        Just((Op::List, None, None)),
        actor().prop_map(|target| (Op::Teardown, None, Some(target))),
    ];
    let parts = (
        about,
        actor(),
        actor(),
        any::<u32>(),
        1..=300i64,
        "[A-Za-z0-9_-]{1,64}",
    );
    parts.prop_map(
        |((op, service, target), sub, operator, epoch, life, jti)| Cap {
            iss: ISSUER.into(),
            sub,
            operator,
            op,
            service,
            target,
            epoch,
            iat: NOW,
            nbf: NOW,
            exp: NOW + life,
            jti,
            device: KEY.public_jwk().thumbprint(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens_at_its_place_only(
        (operator, actor, other) in (actor(), actor(), actor()),
        (service, another) in (service(), service()),
        (epoch, generation, kek) in (any::<u32>(), any::<u64>(), any::<[u8; 32]>()),
        plaintext in plaintext(),
    ) {
        let kek = Kek::from_bytes(kek);
        let place = Place { operator: &operator, actor: &actor, service: &service };
        let envelope = seal(&kek, &place, epoch, generation, &plaintext).unwrap();
        let head = header(&envelope).unwrap();
        prop_assert_eq!((head.epoch, head.generation), (epoch, generation));
        prop_assert!(open(&kek, &place, &envelope).unwrap().expose() == plaintext);
        for wrong in [
            Place { operator: &other, ..place },
            Place { actor: &other, ..place },
            Place { service: &another, ..place },
        ] {
            if wrong != place {
                let refused = open(&kek, &wrong, &envelope).err();
                prop_assert_eq!(refused, Some(EnvelopeError::Invalid));
            }
        }
        prop_assert_eq!(Place::service_of(&actor, &place.object_key()), Some(service));
    }

    #[test]
    fn a_changed_envelope_does_not_open(
        plaintext in vec(any::<u8>(), 0..100),
        (at, bit) in (any::<prop::sample::Index>(), 0..8u8),
    ) {
        let (kek, actor, service) = (Kek::from_bytes([1; 32]), "a".repeat(64).parse().unwrap(), "a".parse().unwrap());
        let place = Place { operator: &actor, actor: &actor, service: &service };
        let mut envelope = seal(&kek, &place, 1, 1, &plaintext).unwrap();
        let at = at.index(envelope.len());
        envelope[at] ^= 1u8 << bit;
        prop_assert!(open(&kek, &place, &envelope).is_err());
        let mut old = legacy::seal(&kek, Owner::Actor(&actor), &service, &plaintext).unwrap();
        let at = at % old.len();
        old[at] ^= 1u8 << bit;
        prop_assert!(legacy::open(&kek, Owner::Actor(&actor), &service, &old).is_err());
    }

    #[test]
    fn no_bytes_open_by_chance(bytes in vec(any::<u8>(), 0..400), version in prop_oneof![Just(1u8), Just(2), Just(0x10)]) {
        let (kek, actor, service) = (Kek::from_bytes([1; 32]), "a".repeat(64).parse().unwrap(), "a".parse().unwrap());
        let place = Place { operator: &actor, actor: &actor, service: &service };
        let bytes = [&[version][..], &bytes].concat();
        prop_assert!(open(&kek, &place, &bytes).is_err());
        prop_assert!(legacy::open(&kek, Owner::Actor(&actor), &service, &bytes).is_err());
        // Read, or refused; nothing else.
        let _ = header(&bytes);
    }

    #[test]
    fn a_capability_is_read_as_it_was_minted(cap in cap(), other in cap()) {
        let token = mint_cap(&cap, &*KEY).unwrap();
        let read = verify_cap(token.expose_secret(), &keys(), ISSUER, NOW);
        prop_assert_eq!(read.as_ref(), Ok(&cap));
        let about = |cap: &Cap| (cap.op, cap.service.clone(), cap.target.clone());
        let check = cap.check(other.op, other.service.as_ref(), other.target.as_ref());
        prop_assert_eq!(check.is_ok(), about(&cap) == about(&other));
    }

    #[test]
    fn a_proof_is_for_one_request(
        (method, other_method) in ("[A-Z]{1,6}", "[A-Z]{1,6}"),
        (url, other_url) in ("https://[a-z]{1,9}/[a-z/]{0,20}", "https://[a-z]{1,9}/[a-z/]{0,20}"),
        (token, other_token) in (proptest::option::of("[a-z.]{1,20}"), proptest::option::of("[a-z.]{1,20}")),
        (body, other_body) in (vec(any::<u8>(), 0..50), vec(any::<u8>(), 0..50)),
        skew in -60..=60i64,
    ) {
        let request = ProofFor { method: &method, url: &url, token: token.as_deref(), body: &body };
        let proof = make_proof(&*KEY, &request, "p", NOW).unwrap();
        let device = KEY.public_jwk().thumbprint();
        let read = verify_proof(Some(&proof), &request, Some(&device), NOW + skew);
        prop_assert_eq!(read.unwrap().device, device);
        for (other, same) in [
            (ProofFor { method: &other_method, ..request }, method == other_method),
            (ProofFor { url: &other_url, ..request }, url == other_url),
            (ProofFor { token: other_token.as_deref(), ..request }, token == other_token),
            (ProofFor { body: &other_body, ..request }, body == other_body),
        ] {
            let read = verify_proof(Some(&proof), &other, Some(&device), NOW);
            prop_assert_eq!(read.is_ok(), same);
        }
    }

    #[test]
    fn no_text_is_a_token(text in "\\PC{0,300}", parts in vec("[A-Za-z0-9_-]{0,80}", 0..5)) {
        let request = ProofFor { method: "POST", url: "https://a", token: None, body: b"" };
        for token in [text, parts.join(".")] {
            prop_assert!(verify_cap(&token, &keys(), ISSUER, NOW).is_err());
            prop_assert!(verify_session(&token, &keys(), ISSUER, NOW).is_err());
            prop_assert!(verify_proof(Some(&token), &request, None, NOW).is_err());
        }
    }
}
