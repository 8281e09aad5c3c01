//! Documents and envelopes that somebody has made to do harm, each with how it must fail.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use artifacts_vault::legacy::{self, Owner, Wallet};
use artifacts_vault::{
    DeviceKey, EnvelopeError, InvalidKey, Kek, LONGEST_ENVELOPE, Place, PublicKey, SignEs256,
    VerifyKeys, header, open, seal,
};
use model::{Actor, ServiceName};
use serde_json::{Value, json};

fn jwk() -> Value {
    DeviceKey::generate().unwrap().public_jwk().jwk()
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name).unwrap();
    jwk
}

fn set(keys: impl IntoIterator<Item = Value>) -> String {
    json!({ "keys": keys.into_iter().collect::<Vec<_>>() }).to_string()
}

#[test]
fn sets_of_keys() {
    use InvalidKey::{Key, Name, Set};
    let (key, other) = (jwk(), jwk());
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa", "alg": "RS256" });
    let twice = |member: &str| {
        let text = set([key.clone()]);
        text.replacen(
            &format!("\"{member}\":"),
            &format!("\"{member}\":0,\"{member}\":"),
            1,
        )
    };
    let cases = [
        ("nothing", String::new(), Set),
        ("no object", "[]".into(), Set),
        ("null", "null".into(), Set),
        ("an empty object", "{}".into(), Set),
        ("no key", set([]), Set),
        ("keys null", json!({ "keys": null }).to_string(), Set),
        ("keys an object", json!({ "keys": key }).to_string(), Set),
        (
            "a key as a list",
            json!({ "keys": [["EC", "P-256"]] }).to_string(),
            Set,
        ),
        ("the set as a list", json!([[key]]).to_string(), Set),
        (
            "only others' keys",
            set([rsa.clone(), with(key.clone(), "crv", "P-384")]),
            Set,
        ),
        (
            "only keys to encrypt",
            set([with(key.clone(), "use", "enc")]),
            Set,
        ),
        (
            "only keys for other algorithms",
            set([with(key.clone(), "alg", "ES384")]),
            Set,
        ),
        (
            "only keys that sign",
            set([with(key.clone(), "key_ops", json!(["sign"]))]),
            Set,
        ),
        (
            "17 keys",
            set((0..17).map(|_| rsa.clone()).chain([key.clone()])),
            Set,
        ),
        ("kty twice", twice("kty"), Set),
        ("x twice", twice("x"), Set),
        ("keys twice", twice("keys"), Set),
        ("something after it", set([key.clone()]) + "x", Set),
        (
            "longer than any",
            set([key.clone()]) + &" ".repeat(65_536),
            Set,
        ),
        ("a private key", set([with(key.clone(), "d", "AAAA")]), Name),
        (
            "a private key of others",
            set([with(rsa.clone(), "d", "AAAA"), key.clone()]),
            Name,
        ),
        ("no name", set([without(key.clone(), "kid")]), Name),
        (
            "a name of one's choice",
            set([with(key.clone(), "kid", "key-1")]),
            Name,
        ),
        (
            "another key's name",
            set([with(key.clone(), "kid", other["kid"].clone())]),
            Name,
        ),
        (
            "one key twice",
            set([key.clone(), other.clone(), key.clone()]),
            Name,
        ),
        ("no x", set([without(key.clone(), "x")]), Key),
        (
            "off the curve",
            set([with(key.clone(), "y", key["x"].clone())]),
            Key,
        ),
        (
            "x of 31 bytes",
            set([with(key.clone(), "x", "A".repeat(42))]),
            Key,
        ),
        (
            "x padded",
            set([with(
                key.clone(),
                "x",
                format!("{}=", key["x"].as_str().unwrap()),
            )]),
            Key,
        ),
    ];
    for (name, document, wanted) in cases {
        assert_eq!(VerifyKeys::parse(&document).err(), Some(wanted), "{name}");
    }
    // What others add to theirs does no harm.
    let more = with(with(key.clone(), "x5c", json!(["AAAA"])), "ext", true);
    let keys = VerifyKeys::parse(&set([rsa, more, other.clone()])).unwrap();
    for key in [&key, &other] {
        let name = key["kid"].as_str().unwrap();
        assert_eq!(keys.get(name).unwrap().thumbprint().to_string(), name);
        assert!(keys.get(&format!("{name}=")).is_none());
    }
    let again = VerifyKeys::parse(&keys.jwks().to_string()).unwrap();
    assert_eq!(again.jwks(), keys.jwks());
}

#[test]
fn one_key() {
    let key = jwk();
    let text = |jwk: &Value| jwk.to_string();
    assert!(PublicKey::from_jwk(&text(&key)).is_ok());
    for name in ["use", "alg", "kid"] {
        assert!(PublicKey::from_jwk(&text(&without(key.clone(), name))).is_ok());
    }
    for (name, jwk, wanted) in [
        (
            "a private part",
            with(key.clone(), "d", "AAAA"),
            InvalidKey::Key,
        ),
        ("kty oct", with(key.clone(), "kty", "oct"), InvalidKey::Key),
        (
            "crv secp256k1",
            with(key.clone(), "crv", "secp256k1"),
            InvalidKey::Key,
        ),
        (
            "alg none",
            with(key.clone(), "alg", "none"),
            InvalidKey::Key,
        ),
        ("use enc", with(key.clone(), "use", "enc"), InvalidKey::Key),
        (
            "another name",
            with(key.clone(), "kid", "x"),
            InvalidKey::Name,
        ),
        (
            "a list",
            json!(["EC", "P-256", key["x"], key["y"]]),
            InvalidKey::Key,
        ),
    ] {
        assert_eq!(
            PublicKey::from_jwk(&text(&jwk)).err(),
            Some(wanted),
            "{name}"
        );
    }
    for point in [&[][..], &[4; 64], &[4; 66], &[0], &[2; 33], &[4; 65]] {
        assert_eq!(PublicKey::from_sec1(point).err(), Some(InvalidKey::Key));
    }
    assert_eq!(DeviceKey::from_pkcs8(b"").err(), Some(InvalidKey::Key));
    assert_eq!(
        DeviceKey::from_pkcs8(&[0x30; 138]).err(),
        Some(InvalidKey::Key)
    );
}

/// Every first byte with every length about the ends of its form, of zeros and of ones.
#[test]
fn envelopes_of_any_length() {
    let actor = Actor::from_oidc("https://id.example", "ada").unwrap();
    let service: ServiceName = "openrouter".parse().unwrap();
    let wallet: Wallet = "0x52908400098527886e0f7030069857d2e4169ee7"
        .parse()
        .unwrap();
    let kek = Kek::from_bytes([1; 32]);
    let place = Place {
        operator: &actor,
        actor: &actor,
        service: &service,
    };
    let lengths = (0..=100).chain([LONGEST_OLD, LONGEST_OLD + 1]).chain([
        // A whole chunk, and what is no last chunk after it.
        69 + 16_400,
        69 + 16_415,
        69 + 16_416,
        LONGEST_ENVELOPE,
        LONGEST_ENVELOPE + 1,
        1 << 20,
    ]);
    for length in lengths {
        for (version, fill) in (0..=255u8).flat_map(|version| [(version, 0), (version, 0xff)]) {
            let mut bytes = vec![fill; length];
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let read = match version {
                0x01 => legacy::open(&kek, Owner::Wallet(&wallet), &service, &bytes).err(),
                0x02 => legacy::open(&kek, Owner::Actor(&actor), &service, &bytes).err(),
                _ => open(&kek, &place, &bytes).err(),
            };
            let wanted = wanted(version, length);
            assert_eq!(read, Some(wanted), "version {version:#x}, {length} bytes");
            // The head alone does not tell a message that was cut off between two chunks.
            let head = header(&bytes).map(|head| head.version);
            match wanted {
                EnvelopeError::Version(_) => assert_eq!(head, Err(wanted)),
                EnvelopeError::Invalid => assert_eq!(head, Ok(version)),
                _ => assert!(head == Err(wanted) || length > 16_000),
            }
        }
    }
}

const LONGEST_OLD: usize = 65_536 + 29;

fn wanted(version: u8, length: usize) -> EnvelopeError {
    let whole = match version {
        0x01 | 0x02 => (29..=LONGEST_OLD).contains(&length),
        0x10 => (85..=LONGEST_ENVELOPE).contains(&length) && (length - 69) % 16_400 >= 16,
        _ if length > 0 => return EnvelopeError::Version(version),
        _ => false,
    };
    if whole {
        EnvelopeError::Invalid
    } else {
        EnvelopeError::Malformed
    }
}

#[test]
fn what_is_too_long_is_not_sealed() {
    let actor = Actor::from_oidc("https://id.example", "ada").unwrap();
    let service: ServiceName = "openrouter".parse().unwrap();
    let place = Place {
        operator: &actor,
        actor: &actor,
        service: &service,
    };
    let kek = Kek::from_bytes([1; 32]);
    let longest = vec![7; 65_536];
    assert_eq!(
        seal(&kek, &place, 1, 1, &longest).unwrap().len(),
        LONGEST_ENVELOPE
    );
    let more = vec![7; 65_537];
    assert_eq!(seal(&kek, &place, 1, 1, &more), Err(EnvelopeError::TooLong));
    let old = legacy::seal(&kek, Owner::Actor(&actor), &service, &more);
    assert_eq!(old, Err(EnvelopeError::TooLong));
    // No two envelopes of the same are alike.
    let sealed = || seal(&kek, &place, 1, 1, b"key").unwrap();
    assert_ne!(sealed()[13..37], sealed()[13..37]);
}
