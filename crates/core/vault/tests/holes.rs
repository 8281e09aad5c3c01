//! One test for each class of holes that vaults have had: what was found in others, and in the
//! plan of this one, stays shut here.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::{Duration, Instant};

use api::vault::Reason;
use artifacts_vault::{
    Cap, DeviceKey, EnvelopeError, Kek, MasterSecret, Op, Place, Plaintext, ProofFor, PublicKey,
    Session, SignEs256, TokenError, VerifyKeys, WebIdentity, derive_cred_kek, jws, make_proof,
    mint_cap, mint_session, mint_web_identity, open, seal, verify_cap, verify_proof,
    verify_session,
};
use model::{Actor, ServiceName};
use secrecy::ExposeSecret;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://broker.example";

fn person(name: &str) -> Actor {
    Actor::from_oidc("https://id.example", name).unwrap()
}

fn key() -> DeviceKey {
    DeviceKey::generate().unwrap()
}

fn keys_of(key: &DeviceKey) -> VerifyKeys {
    VerifyKeys::from_keys([key.public_jwk().clone()]).unwrap()
}

fn cap(device: &DeviceKey) -> Cap {
    Cap {
        iss: ISSUER.into(),
        sub: person("ada"),
        operator: person("ada"),
        op: Op::Fetch,
        service: Some("openrouter".parse().unwrap()),
        target: None,
        epoch: 1,
        iat: NOW,
        nbf: NOW,
        exp: NOW + 300,
        jti: "cap-1".into(),
        device: device.public_jwk().thumbprint(),
    }
}

/// The client wrote `OpenRouter`, the worker read `openrouter`: stored, and never found.
#[test]
fn name_casing() {
    let (ada, kek) = (person("ada"), Kek::from_bytes([1; 32]));
    let named = |name: &str| name.parse::<ServiceName>().unwrap();
    let place = |service| Place {
        operator: &ada,
        actor: &ada,
        service,
    };
    let (client, worker) = (named("OpenRouter"), named("openrouter"));
    assert_eq!(place(&client).object_key(), place(&worker).object_key());
    let envelope = seal(&kek, &place(&client), 1, 1, b"key").unwrap();
    let opened = open(&kek, &place(&worker), &envelope).unwrap();
    assert_eq!(opened.expose(), b"key");
    let mut cap = cap(&key());
    cap.service = Some(client);
    assert_eq!(cap.check(Op::Fetch, Some(&worker), None), Ok(()));
    // An object that another program has named in capitals is none of ours.
    let foreign = format!("bots/{ada}/credentials/OpenRouter.enc");
    assert_eq!(Place::service_of(&ada, &foreign), None);
}

/// One tenant's envelope or capability used for another's.
#[test]
fn tenant_crossing() {
    let (ada, ben, service) = (person("ada"), person("ben"), "github".parse().unwrap());
    let secret = MasterSecret::from_bytes([9; 32]);
    let people = [
        &ada,
        &ben,
        &ada.agent("ben").unwrap(),
        &ben.agent("ada").unwrap(),
    ];
    let mut places = Vec::new();
    for operator in people {
        for actor in people {
            places.push((operator, actor));
        }
    }
    let place = |(operator, actor)| Place {
        operator,
        actor,
        service: &service,
    };
    for &from in &places {
        let kek = derive_cred_kek(&secret, from.0, from.1);
        let envelope = seal(&kek, &place(from), 1, 1, b"key").unwrap();
        for &to in places.iter().filter(|&&to| to != from) {
            let others = derive_cred_kek(&secret, to.0, to.1);
            assert!(others.expose() != kek.expose(), "{from:?} {to:?}");
            // Neither by who holds the right key, nor by who is at the right place.
            for (kek, place) in [
                (&kek, place(to)),
                (&others, place(from)),
                (&others, place(to)),
            ] {
                let refused = open(kek, &place, &envelope).err();
                assert_eq!(refused, Some(EnvelopeError::Invalid), "{from:?} {to:?}");
            }
        }
    }
    let mut teardown = cap(&key());
    (teardown.op, teardown.service, teardown.target) = (Op::Teardown, None, Some(ada));
    let crossed = teardown.check(Op::Teardown, None, Some(&ben));
    assert_eq!(crossed, Err(Reason::CapServiceMismatch));
}

/// A proof renews what its device holds, under no other session and for no other device.
#[test]
fn renewal_under_another_identity() {
    let (broker, laptop, other) = (key(), key(), key());
    let session = |name: &str, device: &DeviceKey| {
        let session = Session {
            iss: ISSUER.into(),
            sub: person(name),
            operator: person(name),
            iat: NOW,
            exp: NOW + 3600,
            jti: "session-1".into(),
            device: Some(device.public_jwk().thumbprint()),
        };
        let token = mint_session(&session, &broker).unwrap();
        token.expose_secret().to_owned()
    };
    let (adas, bens) = (session("ada", &laptop), session("ben", &other));
    let request = |token| ProofFor {
        method: "POST",
        url: "https://broker.example/v1/cap/cred-fetch",
        token: Some(token),
        body: b"{}",
    };
    let proof = make_proof(&laptop, &request(&adas), "p-1", NOW).unwrap();
    let device = laptop.public_jwk().thumbprint();
    let others = other.public_jwk().thumbprint();
    let read = |token, device| verify_proof(Some(&proof), &request(token), Some(device), NOW);
    assert_eq!(read(&adas, &device).unwrap().device, device);
    assert_eq!(read(&bens, &device).err(), Some(Reason::ProofInvalid));
    assert_eq!(read(&adas, &others).err(), Some(Reason::ProofInvalid));
    // Whose session it is stands in what the broker has signed, and nowhere else.
    let keys = keys_of(&broker);
    let read = verify_session(&bens, &keys, ISSUER, NOW).unwrap();
    assert_eq!((read.sub, read.device), (person("ben"), Some(others)));
}

/// `not_printable!(T)` compiles only while `T` can be neither printed, copied nor written out.
macro_rules! not_printable {
    ($($type:ty),*) => {$({
        trait Unclear<Which> {
            fn which() {}
        }
        struct Debugs;
        struct Displays;
        struct Clones;
        struct Defaults;
        struct Serializes;
        impl<T: ?Sized> Unclear<()> for T {}
        impl<T: ?Sized + std::fmt::Debug> Unclear<Debugs> for T {}
        impl<T: ?Sized + std::fmt::Display> Unclear<Displays> for T {}
        impl<T: Clone> Unclear<Clones> for T {}
        impl<T: Default> Unclear<Defaults> for T {}
        impl<T: ?Sized + serde::Serialize> Unclear<Serializes> for T {}
        <$type as Unclear<_>>::which();
    })*};
}

/// Secrets in logs and audits: what cannot be printed is not printed.
#[test]
fn secrets_in_debug_output() {
    not_printable!(Kek, MasterSecret, Plaintext, DeviceKey);
    // What is refused is not repeated in the error's text.
    let token = "eyJhbGciOiJub25lIn0.c2VjcmV0.";
    let keys = keys_of(&key());
    for error in [
        verify_session(token, &keys, ISSUER, NOW)
            .unwrap_err()
            .to_string(),
        verify_cap(token, &keys, ISSUER, NOW)
            .unwrap_err()
            .to_string(),
        jws::verify::<serde_json::Value>(token, "JWT", &keys, 4096)
            .unwrap_err()
            .to_string(),
        PublicKey::from_jwk(token).unwrap_err().to_string(),
        VerifyKeys::parse(token).unwrap_err().to_string(),
    ] {
        assert!(!error.contains("eyJ") && !error.contains("c2Vj"), "{error}");
    }
}

/// `..` in what becomes a path.
#[test]
fn dots_in_paths() {
    let (ada, ben) = (person("ada"), person("ben"));
    for name in [
        "..",
        "../x",
        "a/../../x",
        "/x",
        "a/b",
        "%2e%2e",
        ".",
        "a\\b",
        "a\0",
        "",
    ] {
        assert!(name.parse::<ServiceName>().is_err(), "{name:?}");
        let key = format!("bots/{ada}/credentials/{name}.enc");
        assert_eq!(Place::service_of(&ada, &key), None, "{name:?}");
    }
    // A name may hold dots; it stays one name in one folder.
    let service = "a..b".parse().unwrap();
    let place = Place {
        operator: &ada,
        actor: &ada,
        service: &service,
    };
    let key = place.object_key();
    assert_eq!(key, format!("bots/{ada}/credentials/a..b.enc"));
    assert_eq!(Place::service_of(&ada, &key), Some(service));
    assert_eq!(Place::service_of(&ben, &key), None);
    for actor in ["..", "../", &format!("../{}", &ada.as_str()[3..])] {
        assert!(actor.parse::<Actor>().is_err(), "{actor:?}");
    }
}

/// JSON that is small on the wire and large in memory, or deep enough to end the stack.
#[test]
fn json_bombs() {
    let (broker, begun) = (key(), Instant::now());
    let (keys, kid) = (keys_of(&broker), broker.public_jwk().thumbprint());
    let deep =
        |open: &str, close: &str, times| format!("{}1{}", open.repeat(times), close.repeat(times));
    for bomb in [
        deep("[", "]", 30_000),
        deep(r#"{"keys":"#, "}", 9_000),
        deep(r#"{"keys":["#, "]}", 6_000),
        format!(r#"{{"keys":[{}]}}"#, ["{}"; 20_000].join(",")),
        format!(r#"{{"keys":[{}]}}"#, ["[]"; 20_000].join(",")),
        format!(r#"{{"a":"{}"}}"#, "a".repeat(1_000_000)),
    ] {
        assert!(VerifyKeys::parse(&bomb).is_err());
        assert!(PublicKey::from_jwk(&bomb).is_err());
    }
    // Signed by the broker itself, even: read within bounds, and refused.
    for (open, close, times) in [("[", "]", 1_000), (r#"{"cnf":"#, "}", 300)] {
        let claims = deep(open, close, times);
        let header = format!(r#"{{"alg":"ES256","typ":"cap+jwt","kid":"{kid}"}}"#);
        let read = verify_cap(
            &common::token(&header, &claims, &broker),
            &keys,
            ISSUER,
            NOW,
        );
        assert_eq!(read, Err(Reason::CapSignatureInvalid));
        // The same key, the same header: it is for the claims that it is refused.
        let of_cap = common::part(mint_cap(&cap(&broker), &broker).unwrap().expose_secret(), 1);
        let good = common::token(&header, &of_cap.to_string(), &broker);
        assert!(verify_cap(&good, &keys, ISSUER, NOW).is_ok());
    }
    let long = "a".repeat(10_000_000);
    for token in [
        long.clone(),
        format!("{long}.{long}.{long}"),
        ".".repeat(1_000_000),
    ] {
        let read = verify_cap(&token, &keys, ISSUER, NOW);
        assert_eq!(read, Err(Reason::CapSignatureInvalid));
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// A token of one kind taken for one of another: all of them signed by the same key, with claims
/// that would do for each.
#[test]
fn token_of_another_type() {
    let broker = key();
    let keys = keys_of(&broker);
    let cap = cap(&broker);
    let request = ProofFor {
        method: "POST",
        url: "https://worker.example/v1/cred/fetch",
        token: None,
        body: b"",
    };
    let session = Session {
        iss: ISSUER.into(),
        sub: person("ada"),
        operator: person("ada"),
        iat: NOW,
        exp: NOW + 300,
        jti: "s-1".into(),
        device: None,
    };
    let identity = WebIdentity {
        iss: ISSUER.into(),
        actor: person("ada"),
        iat: NOW,
        jti: "w-1".into(),
    };
    let mut tokens = vec![
        ("cap+jwt", mint_cap(&cap, &broker).unwrap()),
        ("session+jwt", mint_session(&session, &broker).unwrap()),
        ("JWT", mint_web_identity(&identity, &broker).unwrap()),
        (
            "cap-proof+jwt",
            make_proof(&broker, &request, "p-1", NOW).unwrap().into(),
        ),
    ];
    // The claims of a capability and of a session under every other type.
    let claims = |number: usize| common::part(tokens[number].1.expose_secret(), 1);
    let (of_cap, of_session) = (claims(0), claims(1));
    for typ in ["JWT", "at+jwt", "jwt", "CAP+JWT", "Session+jwt", ""] {
        tokens.push(("other", jws::sign(typ, &of_cap, &broker).unwrap()));
        tokens.push(("other", jws::sign(typ, &of_session, &broker).unwrap()));
    }
    for (typ, token) in &tokens {
        let token = token.expose_secret();
        let taken = verify_cap(token, &keys, ISSUER, NOW);
        let wanted = (*typ != "cap+jwt").then_some(Reason::CapSignatureInvalid);
        assert_eq!(taken.err(), wanted, "{typ}");
        let taken = verify_session(token, &keys, ISSUER, NOW);
        let wanted = (*typ != "session+jwt").then_some(TokenError::Invalid);
        assert_eq!(taken.err(), wanted, "{typ}");
        let taken = verify_proof(Some(token), &request, None, NOW);
        let wanted = (*typ != "cap-proof+jwt").then_some(Reason::ProofInvalid);
        assert_eq!(taken.err(), wanted, "{typ}");
    }
}
