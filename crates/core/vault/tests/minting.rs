//! What nobody would take is not signed in the first place.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use artifacts_vault::{
    Cap, DeviceKey, Op, ProofFor, PublicKey, Session, SignEs256, WebIdentity, jws, make_proof,
    mint_cap, mint_session, mint_web_identity,
};
use model::Actor;

const NOW: i64 = 1_800_000_000;

fn ada() -> Actor {
    Actor::from_oidc("https://id.example", "ada").unwrap()
}

fn cap(key: &DeviceKey) -> Cap {
    Cap {
        iss: "https://broker.example".into(),
        sub: ada(),
        operator: ada(),
        op: Op::Fetch,
        service: Some("openrouter".parse().unwrap()),
        target: None,
        epoch: 1,
        iat: NOW,
        nbf: NOW,
        exp: NOW + 300,
        jti: "cap-1".into(),
        device: key.public_jwk().thumbprint(),
    }
}

/// The numbers that no token may have.
fn bad_numbers() -> [String; 4] {
    [String::new(), "a".repeat(65), "a b".into(), "ä".into()]
}

#[test]
fn capabilities() {
    let key = DeviceKey::generate().unwrap();
    let mints = |change: &dyn Fn(&mut Cap)| {
        let mut cap = cap(&key);
        change(&mut cap);
        mint_cap(&cap, &key).is_some()
    };
    assert!(mints(&|_| {}));
    assert!(mints(&|cap| cap.nbf = NOW + 5));
    for jti in bad_numbers() {
        assert!(!mints(&|cap| cap.jti.clone_from(&jti)), "{jti:?}");
    }
    for (name, change) in [
        (
            "for 301 s",
            &(|cap: &mut Cap| cap.exp = NOW + 301) as &dyn Fn(&mut Cap),
        ),
        ("ended", &|cap| cap.exp = NOW),
        ("for 301 s by nbf", &|cap| cap.nbf = NOW - 1),
        ("to fetch nothing", &|cap| cap.service = None),
        ("to list a service", &|cap| cap.op = Op::List),
        ("to tear down a service", &|cap| cap.op = Op::Teardown),
        ("to fetch of a target", &|cap| cap.target = Some(ada())),
        ("to tear down nobody", &|cap| {
            (cap.op, cap.service) = (Op::Teardown, None)
        }),
    ] {
        assert!(!mints(change), "{name}");
    }
}

#[test]
fn sessions_identities_and_proofs() {
    let key = DeviceKey::generate().unwrap();
    let session = |jti: &str, exp| {
        let session = Session {
            iss: "https://broker.example".into(),
            sub: ada(),
            operator: ada(),
            iat: NOW,
            exp,
            jti: jti.into(),
            device: None,
        };
        mint_session(&session, &key).is_some()
    };
    let identity = |jti: &str, iat| {
        let identity = WebIdentity {
            iss: "https://broker.example".into(),
            actor: ada(),
            iat,
            jti: jti.into(),
        };
        mint_web_identity(&identity, &key).is_some()
    };
    let request = ProofFor {
        method: "POST",
        url: "https://worker.example/v1/cred/fetch",
        token: None,
        body: b"",
    };
    let proof = |jti: &str| make_proof(&key, &request, jti, NOW).is_some();
    assert!(session("a", NOW + 1) && identity("a", NOW) && proof("a"));
    assert!(!session("a", NOW) && !session("a", NOW - 1) && !identity("a", i64::MAX));
    for jti in bad_numbers() {
        assert!(
            !session(&jti, NOW + 1) && !identity(&jti, NOW) && !proof(&jti),
            "{jti:?}"
        );
    }
}

/// A key that cannot be used now, such as one in hardware that is away, signs nothing.
#[test]
fn a_key_that_is_away() {
    struct Away(PublicKey);

    impl SignEs256 for Away {
        fn sign(&self, _: &[u8]) -> Option<[u8; 64]> {
            None
        }

        fn public_jwk(&self) -> &PublicKey {
            &self.0
        }
    }

    let key = DeviceKey::generate().unwrap();
    let away = Away(key.public_jwk().clone());
    assert!(mint_cap(&cap(&key), &away).is_none());
    assert!(jws::sign("JWT", &serde_json::json!({}), &away).is_none());
}
