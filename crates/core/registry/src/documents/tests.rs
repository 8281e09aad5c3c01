#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use tempfile::TempDir;
use vault::DeviceKey;

use super::*;
use crate::{Roles, Unavailable};

struct Bench {
    folder: TempDir,
    operator: Actor,
    key: DeviceKey,
    deployment: DeviceKey,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            operator: Actor::from_oidc("https://accounts.example", "ada").unwrap(),
            key: DeviceKey::generate().unwrap(),
            deployment: DeviceKey::generate().unwrap(),
        };
        std::fs::create_dir(bench.documents()).unwrap();
        bench.pin(&bench.key);
        bench.write_epoch(&EpochDocument {
            version: 1,
            epoch: 1,
        });
        bench
    }

    fn documents(&self) -> PathBuf {
        self.folder.path().join("documents")
    }

    fn pin(&self, key: &DeviceKey) {
        let public = |key: &DeviceKey| vault::SignEs256::public_jwk(key).clone();
        let operators = [(self.operator.clone(), public(key))];
        let pins = Pins::new(public(&self.deployment), operators).unwrap();
        std::fs::write(self.pins(), pins.to_json()).unwrap();
    }

    fn pins(&self) -> PathBuf {
        self.folder.path().join("operators.json")
    }

    fn reader(&self) -> DocumentRegistry {
        self.reader_with("seen.json", Duration::ZERO)
    }

    fn reader_with(&self, seen: &str, fresh_for: Duration) -> DocumentRegistry {
        DocumentRegistry::open(DocumentSettings {
            source: Source::Folder(self.documents()),
            pins: self.pins(),
            seen: self.folder.path().join(seen),
            fresh_for,
        })
        .unwrap()
    }

    fn put(&self, file: &str, text: &str) {
        replace(&self.documents().join(file), text);
    }

    fn write(&self, document: &OperatorDocument) {
        let text = sign(OPERATOR_TYPE, document, &self.key).unwrap();
        self.put(&operator_file(&self.operator), &text);
    }

    fn write_epoch(&self, document: &EpochDocument) {
        self.put(
            EPOCH_FILE,
            &sign(EPOCH_TYPE, document, &self.deployment).unwrap(),
        );
    }

    fn document(&self, version: u64) -> OperatorDocument {
        OperatorDocument {
            operator: self.operator.clone(),
            version,
            devices: vec![DeviceEntry {
                device: device(1),
                actor: self.operator.clone(),
                roles: 3,
                tier: 1,
                registered_at: 1_700_000_000,
                revoked: false,
            }],
            scopes: vec![ScopeEntry {
                actor: self.operator.clone(),
                service: service("openrouter"),
                read_only: false,
            }],
        }
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn device(n: u8) -> DeviceId {
    DeviceId::new([n; 32])
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

async fn scope(reader: &DocumentRegistry, bench: &Bench) -> Result<Scope, Unavailable> {
    let operator = &bench.operator;
    reader
        .scope(operator, operator, &service("openrouter"))
        .await
}

/// The refusal, which must be this one.
fn refused<T: std::fmt::Debug>(answer: Result<T, Unavailable>, words: &str) {
    let Unavailable(reason) = answer.unwrap_err();
    assert!(reason.contains(words), "expected {words:?}, got {reason:?}");
}

const ALLOWED: Scope = Scope {
    in_scope: true,
    read_only: false,
};

#[tokio::test]
async fn what_is_signed_is_answered() {
    let bench = Bench::new();
    bench.write(&bench.document(1));
    let reader = bench.reader();
    let known = reader
        .device(&bench.operator, &device(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.operator, bench.operator);
    assert_eq!(known.roles, Roles(3));
    assert!(known.roles.has(Roles::MASTER) && !known.revoked);
    assert_eq!(
        reader.device(&bench.operator, &device(2)).await.unwrap(),
        None
    );
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    let agent = bench.operator.agent("ci").unwrap();
    let openrouter = service("openrouter");
    let others = reader
        .scope(&bench.operator, &agent, &openrouter)
        .await
        .unwrap();
    assert_eq!(
        others,
        Scope::NONE,
        "an operator's scope is not their agents'"
    );
    assert_eq!(reader.current_epoch().await.unwrap(), 1);
}

#[tokio::test]
async fn an_operator_without_a_key_or_a_document_has_nothing() {
    let bench = Bench::new();
    let reader = bench.reader();
    assert_eq!(scope(&reader, &bench).await.unwrap(), Scope::NONE);
    assert_eq!(
        reader.device(&bench.operator, &device(1)).await.unwrap(),
        None
    );
    let stranger = Actor::from_oidc("https://accounts.example", "eve").unwrap();
    let mut hers = bench.document(1);
    hers.operator = stranger.clone();
    let text = sign(OPERATOR_TYPE, &hers, &DeviceKey::generate().unwrap()).unwrap();
    bench.put(&operator_file(&stranger), &text);
    assert_eq!(reader.device(&stranger, &device(1)).await.unwrap(), None);
    std::fs::remove_file(bench.documents().join(EPOCH_FILE)).unwrap();
    refused(
        bench.reader().current_epoch().await,
        "there is no epoch.jws",
    );
}

#[tokio::test]
async fn an_older_document_is_refused_also_after_a_restart_and_by_every_reader_that_saw_more() {
    let bench = Bench::new();
    let first = bench.document(1);
    let mut second = bench.document(2);
    second.scopes.clear();
    let (one, other) = (
        bench.reader(),
        bench.reader_with("seen.2.json", Duration::ZERO),
    );
    for reader in [&one, &other] {
        bench.write(&first);
        assert_eq!(scope(reader, &bench).await.unwrap(), ALLOWED);
        bench.write(&second);
        assert_eq!(scope(reader, &bench).await.unwrap(), Scope::NONE);
        bench.write(&first);
        refused(
            scope(reader, &bench).await,
            "version 1, and version 2 was seen",
        );
    }
    refused(
        scope(&bench.reader(), &bench).await,
        "version 1, and version 2 was seen",
    );
    std::fs::remove_file(bench.documents().join(operator_file(&bench.operator))).unwrap();
    for reader in [&one, &bench.reader()] {
        refused(scope(reader, &bench).await, "is gone from");
    }
    bench.write(&second);
    assert_eq!(
        scope(&one, &bench).await.unwrap(),
        Scope::NONE,
        "the newest is welcome back"
    );

    bench.write_epoch(&EpochDocument {
        version: 3,
        epoch: 2,
    });
    assert_eq!(one.current_epoch().await.unwrap(), 2);
    bench.write_epoch(&EpochDocument {
        version: 2,
        epoch: 1,
    });
    refused(
        one.current_epoch().await,
        "version 2, and version 3 was seen",
    );
}

/// As for a worker whose disk is empty each time it starts.
#[tokio::test]
async fn a_reader_that_saw_nothing_refuses_what_is_older_than_the_file_of_keys_asks_for() {
    let bench = Bench::new();
    let mut pins: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.pins()).unwrap()).unwrap();
    let operator = bench.operator.as_str();
    pins["operators"][operator]["min_version"] = 3.into();
    pins["deployment"]["min_version"] = 2.into();
    replace(&bench.pins(), &pins.to_string());
    let fresh = |n: u32| bench.reader_with(&format!("seen.{n}.json"), Duration::ZERO);
    let words = "version 2, and operators.json asks for 3 at least";
    bench.write(&bench.document(2));
    refused(scope(&fresh(1), &bench).await, words);
    refused(
        fresh(2).current_epoch().await,
        "version 1, and operators.json asks for 2 at least",
    );
    std::fs::remove_file(bench.documents().join(operator_file(&bench.operator))).unwrap();
    refused(scope(&fresh(3), &bench).await, "version 0, and");
    bench.write(&bench.document(3));
    let reader = fresh(4);
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    // Raised, it counts for the document that is known already.
    pins["operators"][operator]["min_version"] = 4.into();
    replace(&bench.pins(), &pins.to_string());
    tokio::time::sleep(Duration::from_millis(600)).await;
    refused(
        scope(&reader, &bench).await,
        "version 3, and operators.json asks for 4 at least",
    );
    // Who writes the file again keeps it, with a new key also.
    let known = Pins::read(&bench.pins()).unwrap();
    let other = DeviceKey::generate().unwrap();
    let other = vault::SignEs256::public_jwk(&other).clone();
    let again = known.with(bench.operator.clone(), Some(other)).unwrap();
    let again: serde_json::Value = serde_json::from_str(&again.to_json()).unwrap();
    assert_eq!(again["operators"][operator]["min_version"], 4);
    assert_eq!(again["deployment"]["min_version"], 2);
    pins["operators"][operator]["min_version"] = "4".into();
    replace(&bench.pins(), &pins.to_string());
    refused(Pins::read(&bench.pins()), "is no version");
}

#[tokio::test]
async fn a_list_that_is_too_long_and_one_that_is_nested_deeply_are_refused() {
    let bench = Bench::new();
    let reader = bench.reader();
    let file = operator_file(&bench.operator);
    let mut long = bench.document(1);
    long.scopes = (0..10_000)
        .map(|n| ScopeEntry {
            service: service(&format!("service-{n}")),
            ..long.scopes[0].clone()
        })
        .collect();
    let refusal = sign(OPERATOR_TYPE, &long, &bench.key);
    assert_eq!(refusal, Err(DocumentError::TooLong));
    let text = vault::jws::sign(OPERATOR_TYPE, &long, &bench.key).unwrap();
    bench.put(&file, secrecy::ExposeSecret::expose_secret(&text));
    refused(scope(&reader, &bench).await, "longer than 1 MiB");

    let mut deep = serde_json::json!([]);
    for _ in 0..500 {
        deep = serde_json::json!([deep]);
    }
    for field in ["devices", "later"] {
        let mut document = serde_json::to_value(bench.document(1)).unwrap();
        document[field] = deep.clone();
        bench.put(&file, &sign(OPERATOR_TYPE, &document, &bench.key).unwrap());
        refused(scope(&reader, &bench).await, "not of the form");
    }
    // The header is read before any signature is: by anybody who may write to the folder.
    let nested = "[".repeat(400_000);
    for header in [
        nested.clone(),
        format!("{{\"alg\":\"ES256\",\"x\":{nested}"),
    ] {
        let header = base64_simd::URL_SAFE_NO_PAD.encode_to_string(header);
        bench.put(&file, &format!("{header}.e30.AAAA"));
        refused(scope(&reader, &bench).await, "not of the form");
    }
    bench.write(&bench.document(1));
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
}

#[tokio::test]
async fn two_readers_of_one_file_of_versions_share_what_they_saw() {
    let bench = Bench::new();
    let (one, other) = (bench.reader(), bench.reader());
    bench.write(&bench.document(7));
    assert_eq!(scope(&one, &bench).await.unwrap(), ALLOWED);
    bench.write(&bench.document(6));
    refused(
        scope(&other, &bench).await,
        "version 6, and version 7 was seen",
    );
    let seen = std::fs::read_to_string(bench.folder.path().join("seen.json")).unwrap();
    assert!(seen.contains("\"version\": 7"), "{seen}");
}

#[tokio::test]
async fn one_version_is_one_content() {
    let bench = Bench::new();
    let reader = bench.reader();
    let document = bench.document(1);
    bench.write(&document);
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    // Signed again it says the same.
    bench.write(&document);
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    let mut other = document.clone();
    other.scopes[0].read_only = true;
    bench.write(&other);
    refused(
        scope(&reader, &bench).await,
        "another document of version 1 was seen",
    );
}

#[tokio::test]
async fn what_is_not_signed_by_the_pinned_key_for_this_purpose_is_refused() {
    let bench = Bench::new();
    let reader = bench.reader();
    let file = operator_file(&bench.operator);
    let good = bench.document(1);
    let strange = DeviceKey::generate().unwrap();
    let signature = "not signed by the key that is pinned";
    let form = "not of the form";

    bench.put(&file, &sign(OPERATOR_TYPE, &good, &strange).unwrap());
    refused(scope(&reader, &bench).await, signature);
    bench.put(&file, &sign(EPOCH_TYPE, &good, &bench.key).unwrap());
    refused(scope(&reader, &bench).await, signature);
    // A changed claim under a good signature.
    let text = sign(OPERATOR_TYPE, &good, &bench.key).unwrap();
    let (head, rest) = text.split_once('.').unwrap();
    let (_, tail) = rest.split_once('.').unwrap();
    let claims = serde_json::to_vec(&bench.document(9)).unwrap();
    let claims = base64_simd::URL_SAFE_NO_PAD.encode_to_string(claims);
    bench.put(&file, &format!("{head}.{claims}.{tail}"));
    refused(scope(&reader, &bench).await, signature);
    for damaged in ["", "{}", &text[..text.len() - 3], &format!("{text}.x")] {
        bench.put(&file, damaged);
        let Unavailable(reason) = scope(&reader, &bench).await.unwrap_err();
        assert!(
            reason.contains(form) || reason.contains(signature),
            "{reason}"
        );
    }
    let long = "x".repeat(LONGEST_DOCUMENT + 1);
    bench.put(&file, &long);
    refused(scope(&reader, &bench).await, "longer than 1 MiB");

    let mut hers = good.clone();
    hers.operator = bench.operator.agent("other").unwrap();
    bench.put(&file, &sign(OPERATOR_TYPE, &hers, &bench.key).unwrap());
    refused(scope(&reader, &bench).await, "another operator");
    let mut doubled = good.clone();
    doubled.scopes.push(ScopeEntry {
        read_only: true,
        ..good.scopes[0].clone()
    });
    bench.write(&doubled);
    refused(scope(&reader, &bench).await, "lists a scope twice");
    let mut doubled = good.clone();
    doubled.devices.push(DeviceEntry {
        revoked: true,
        ..good.devices[0].clone()
    });
    bench.write(&doubled);
    refused(scope(&reader, &bench).await, "lists a device twice");
    let mut newer = serde_json::to_value(&good).unwrap();
    newer["expires_at"] = 1.into();
    bench.put(&file, &sign(OPERATOR_TYPE, &newer, &bench.key).unwrap());
    refused(scope(&reader, &bench).await, form);
    bench.write(&OperatorDocument {
        version: 0,
        ..good.clone()
    });
    refused(scope(&reader, &bench).await, "its version is 0");

    bench.write(&good);
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    bench.put(
        EPOCH_FILE,
        &sign(
            EPOCH_TYPE,
            &EpochDocument {
                version: 2,
                epoch: 9,
            },
            &bench.key,
        )
        .unwrap(),
    );
    refused(reader.current_epoch().await, signature);
    bench.write_epoch(&EpochDocument {
        version: 2,
        epoch: 0,
    });
    refused(reader.current_epoch().await, "its epoch is 0");
}

#[tokio::test]
async fn a_change_counts_within_a_second_and_a_key_that_is_taken_out_too() {
    let bench = Bench::new();
    let reader = bench.reader_with("seen.json", FRESH_FOR);
    bench.write(&bench.document(1));
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    let mut second = bench.document(2);
    second.scopes.clear();
    bench.write(&second);
    let begun = std::time::Instant::now();
    while scope(&reader, &bench).await.unwrap() == ALLOWED {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );

    bench.write(&bench.document(3));
    bench.pin(&DeviceKey::generate().unwrap());
    let begun = std::time::Instant::now();
    loop {
        match scope(&reader, &bench).await {
            Err(Unavailable(reason)) if reason.contains("not signed by the key") => break,
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn nothing_is_read_while_it_is_fresh_and_one_reads_for_all() {
    let bench = Bench::new();
    bench.write(&bench.document(1));
    let reader = Arc::new(bench.reader_with("seen.json", Duration::from_secs(1)));
    assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    std::fs::remove_dir_all(bench.documents()).unwrap();
    for _ in 0..100 {
        assert_eq!(scope(&reader, &bench).await.unwrap(), ALLOWED);
    }
}

#[tokio::test]
async fn versions_that_cannot_be_kept_or_read_stop_everything() {
    let bench = Bench::new();
    bench.write(&bench.document(1));
    let seen = bench.folder.path().join("gone").join("seen.json");
    std::fs::create_dir(seen.parent().unwrap()).unwrap();
    let reader = bench.reader_with("gone/seen.json", Duration::ZERO);
    std::fs::remove_dir(seen.parent().unwrap()).unwrap();
    refused(scope(&reader, &bench).await, "cannot lock");
    let damaged = bench.folder.path().join("damaged.json");
    std::fs::write(&damaged, "{").unwrap();
    let settings = DocumentSettings {
        source: Source::Folder(bench.documents()),
        pins: bench.pins(),
        seen: damaged,
        fresh_for: FRESH_FOR,
    };
    refused(DocumentRegistry::open(settings).map(drop), "is damaged");
}

#[test]
fn an_address_in_clear_to_another_machine_is_no_source() {
    for bad in ["http://registry.example/", "ftp://a/", "http://10.0.0.1/"] {
        assert!(Source::parse(bad).is_err(), "{bad}");
    }
    for good in [
        "https://registry.example/x",
        "http://127.0.0.1:1/",
        "http://[::1]:1/",
    ] {
        assert!(matches!(Source::parse(good), Ok(Source::Web(_))), "{good}");
    }
    assert!(matches!(
        Source::parse("/srv/registry"),
        Ok(Source::Folder(_))
    ));
}

mod web;
