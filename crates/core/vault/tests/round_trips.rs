//! What is sealed opens, and what is signed verifies.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use artifacts_vault::{
    self as vault, Cap, DeviceKey, Kek, MasterSecret, Op, Place, ProofFor, ReplayCache, Session,
    SignEs256, VerifyKeys, WebIdentity, derive_cred_kek, legacy,
};
use model::Actor;
use secrecy::ExposeSecret;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://broker.example";

fn operator() -> Actor {
    Actor::from_oidc("https://id.example", "ada").unwrap()
}

fn keys_of(key: &DeviceKey) -> VerifyKeys {
    let jwks = serde_json::json!({ "keys": [key.public_jwk().jwk()] });
    VerifyKeys::parse(&jwks.to_string()).unwrap()
}

#[test]
fn an_envelope_opens_at_its_place() {
    let operator = operator();
    let actor = operator.agent("builder").unwrap();
    let service = "openrouter".parse().unwrap();
    let place = Place {
        operator: &operator,
        actor: &actor,
        service: &service,
    };
    let kek = derive_cred_kek(&MasterSecret::from_bytes([7; 32]), &operator, &actor);
    for length in [0, 1, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 64 * 1024] {
        let plaintext = vec![b'k'; length];
        let envelope = vault::seal(&kek, &place, 3, 9, &plaintext).unwrap();
        let header = vault::header(&envelope).unwrap();
        assert_eq!(
            (header.version, header.epoch, header.generation),
            (0x10, 3, 9)
        );
        let opened = vault::open(&kek, &place, &envelope).unwrap();
        assert!(opened.expose() == plaintext);
    }
    assert_eq!(
        place.object_key(),
        format!("bots/{actor}/credentials/openrouter.enc")
    );
    assert_eq!(
        Place::service_of(&actor, &place.object_key()),
        Some(service)
    );
}

#[test]
fn an_older_envelope_opens_for_its_owner() {
    let actor = operator();
    let wallet = "0x52908400098527886e0f7030069857d2e4169ee7"
        .parse()
        .unwrap();
    let service = "github".parse().unwrap();
    assert_eq!(
        legacy::kek_message(&wallet, &service),
        format!("agentkeys.kek.v1:{wallet}:github")
    );
    let kek = legacy::kek(&[3; 65]);
    for owner in [legacy::Owner::Wallet(&wallet), legacy::Owner::Actor(&actor)] {
        let envelope = legacy::seal(&kek, owner, &service, b"secret").unwrap();
        assert_eq!(vault::header(&envelope).unwrap().version, owner.version());
        let opened = legacy::open(&kek, owner, &service, &envelope).unwrap();
        assert_eq!(opened.expose(), b"secret");
    }
}

#[test]
fn a_capability_and_its_proof_are_taken_once() {
    let (broker, device) = (
        DeviceKey::generate().unwrap(),
        DeviceKey::generate().unwrap(),
    );
    let cap = Cap {
        iss: ISSUER.into(),
        sub: operator(),
        operator: operator(),
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
    let token = vault::mint_cap(&cap, &broker).unwrap();
    let read = vault::verify_cap(token.expose_secret(), &keys_of(&broker), ISSUER, NOW).unwrap();
    assert_eq!(read, cap);
    assert_eq!(read.check(Op::Fetch, cap.service.as_ref(), None), Ok(()));

    let request = ProofFor {
        method: "POST",
        url: "https://worker.example/v1/cred/fetch",
        token: Some(token.expose_secret()),
        body: b"{}",
    };
    let proof = vault::make_proof(&device, &request, "proof-1", NOW).unwrap();
    let proof = vault::verify_proof(Some(&proof), &request, Some(&cap.device), NOW).unwrap();
    assert_eq!(proof.device, cap.device);
    let cache = ReplayCache::default();
    assert!(!cache.seen(&proof, &cap.operator, NOW));
    assert!(cache.seen(&proof, &cap.operator, NOW));
}

#[test]
fn a_session_is_read_as_it_was_given() {
    let broker = DeviceKey::generate().unwrap();
    let session = Session {
        iss: ISSUER.into(),
        sub: operator().agent("builder").unwrap(),
        operator: operator(),
        iat: NOW,
        exp: NOW + 3600,
        jti: "session-1".into(),
        device: Some(broker.public_jwk().thumbprint()),
    };
    let token = vault::mint_session(&session, &broker).unwrap();
    let keys = keys_of(&broker);
    let read = vault::verify_session(token.expose_secret(), &keys, ISSUER, NOW);
    assert_eq!(read, Ok(session));
}

#[test]
fn a_web_identity_has_both_forms_of_tags() {
    let broker = DeviceKey::generate().unwrap();
    let identity = WebIdentity {
        iss: ISSUER.into(),
        actor: operator(),
        iat: NOW,
        jti: "w-1".into(),
    };
    let token = vault::mint_web_identity(&identity, &broker).unwrap();
    let keys = keys_of(&broker);
    let claims: serde_json::Value =
        vault::jws::verify(token.expose_secret(), "JWT", &keys, 4096).unwrap();
    let tag = serde_json::json!([operator().as_str()]);
    let aws = &claims["https://aws.amazon.com/tags"];
    assert_eq!(aws["principal_tags"]["artifacts_actor"], tag);
    assert_eq!(
        aws["transitive_tag_keys"],
        serde_json::json!(["artifacts_actor"])
    );
    let seaweed = &claims["https://aws.amazon.com/tags/principal_tags"];
    assert_eq!(seaweed["artifacts_actor"], tag);
    assert_eq!(claims["aud"], "sts.amazonaws.com");
    assert_eq!(claims["exp"], NOW + 300);
}

#[test]
fn a_key_that_is_kept_is_the_same_key() {
    let der = DeviceKey::generate_pkcs8().unwrap();
    let (first, again) = (DeviceKey::from_pkcs8(&der), DeviceKey::from_pkcs8(&der));
    let first = first.unwrap().public_jwk().clone();
    assert_eq!(&first, again.unwrap().public_jwk());
    assert_eq!(
        artifacts_vault::PublicKey::from_jwk(&first.jwk().to_string()),
        Ok(first)
    );
    let _ = Kek::from_bytes([0; 32]);
}
