//! The vectors of tokens; `scripts/suites/vectors.sh` holds the same files against a second
//! implementation, which has written them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use api::vault::Reason;
use artifacts_vault::token::is_tag_value;
use artifacts_vault::{
    Cap, Op, ProofFor, Session, TokenError, VerifyKeys, WebIdentity, make_proof, mint_cap,
    mint_session, mint_web_identity, verify_cap, verify_proof, verify_session,
};
use common::{KnownKey, bytes, keys, part};
use model::{Actor, DeviceId, ServiceName};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Caps {
    keys: Value,
    private: String,
    issuer: String,
    taken: Vec<CapCase>,
    refused: Vec<CapCase>,
}

#[derive(Deserialize)]
struct CapCase {
    name: String,
    now: i64,
    request: CapRequest,
    token: String,
    claims: Option<Value>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct CapRequest {
    op: String,
    service: Option<ServiceName>,
    target: Option<Actor>,
}

impl CapRequest {
    fn op(&self) -> Op {
        Op::ALL
            .into_iter()
            .find(|op| op.as_str() == self.op)
            .unwrap()
    }

    /// As a worker does.
    fn read(&self, case: &CapCase, keys: &VerifyKeys, issuer: &str) -> Result<Cap, Reason> {
        let cap = verify_cap(&case.token, keys, issuer, case.now)?;
        cap.check(self.op(), self.service.as_ref(), self.target.as_ref())?;
        Ok(cap)
    }
}

#[test]
fn good_capabilities_are_taken_and_written_alike() {
    let all: Caps = common::read(include_str!("../vectors/caps.json"));
    let (keys, broker) = (keys(&all.keys), KnownKey::of_set(&all.private, &all.keys));
    assert_eq!(all.taken.len(), 12);
    for case in &all.taken {
        let cap = case.request.read(case, &keys, &all.issuer);
        let cap = cap.unwrap_or_else(|reason| panic!("{}: {reason}", case.name));
        let ours = mint_cap(&cap, &broker).unwrap();
        let ours = ours.expose_secret();
        assert_eq!(part(ours, 0), part(&case.token, 0), "{}", case.name);
        assert_eq!(
            part(ours, 1),
            *case.claims.as_ref().unwrap(),
            "{}",
            case.name
        );
        assert_eq!(verify_cap(ours, &keys, &all.issuer, case.now), Ok(cap));
    }
}

#[test]
fn bad_capabilities_are_refused_with_their_reason() {
    let all: Caps = common::read(include_str!("../vectors/caps.json"));
    let keys = keys(&all.keys);
    assert_eq!(all.refused.len(), 246);
    for case in &all.refused {
        let refused = case.request.read(case, &keys, &all.issuer).err();
        let reason = refused.map(Reason::as_str);
        assert_eq!(reason, case.reason.as_deref(), "{}", case.name);
    }
}

#[derive(Deserialize)]
struct Proofs {
    private: String,
    device: DeviceId,
    taken: Vec<ProofCase>,
    refused: Vec<ProofCase>,
}

#[derive(Deserialize)]
struct ProofCase {
    name: String,
    now: i64,
    expected: Option<DeviceId>,
    request: ProofRequest,
    proof: Option<String>,
    claims: Option<Value>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct ProofRequest {
    method: String,
    url: String,
    token: Option<String>,
    body: String,
}

fn proof_for<'a>(request: &'a ProofRequest, body: &'a [u8]) -> ProofFor<'a> {
    ProofFor {
        method: &request.method,
        url: &request.url,
        token: request.token.as_deref(),
        body,
    }
}

#[test]
fn good_proofs_are_taken_and_written_alike() {
    let all: Proofs = common::read(include_str!("../vectors/proofs.json"));
    assert_eq!(all.taken.len(), 8);
    for case in &all.taken {
        let (body, proof) = (bytes(&case.request.body), case.proof.as_deref());
        let request = proof_for(&case.request, &body);
        let read = verify_proof(proof, &request, case.expected.as_ref(), case.now);
        let read = read.unwrap_or_else(|reason| panic!("{}: {reason}", case.name));
        assert_eq!(read.device, all.device, "{}", case.name);
        let device = KnownKey::new(&all.private, &read.key.x(), &read.key.y());
        let ours = make_proof(&device, &request, &read.jti, read.iat).unwrap();
        assert_eq!(part(&ours, 0), part(proof.unwrap(), 0), "{}", case.name);
        assert_eq!(
            part(&ours, 1),
            *case.claims.as_ref().unwrap(),
            "{}",
            case.name
        );
        let again = verify_proof(Some(&ours), &request, case.expected.as_ref(), case.now);
        assert_eq!(again, Ok(read), "{}", case.name);
    }
}

#[test]
fn bad_proofs_are_refused_with_their_reason() {
    let all: Proofs = common::read(include_str!("../vectors/proofs.json"));
    assert_eq!(all.refused.len(), 163);
    for case in &all.refused {
        let body = bytes(&case.request.body);
        let request = proof_for(&case.request, &body);
        let read = verify_proof(
            case.proof.as_deref(),
            &request,
            case.expected.as_ref(),
            case.now,
        );
        let reason = read.err().map(Reason::as_str);
        assert_eq!(reason, case.reason.as_deref(), "{}", case.name);
    }
}

#[derive(Deserialize)]
struct Sessions {
    keys: Value,
    private: String,
    issuer: String,
    taken: Vec<SessionCase>,
    refused: Vec<SessionCase>,
}

#[derive(Deserialize)]
struct SessionCase {
    name: String,
    now: i64,
    token: String,
    claims: Option<Value>,
    reason: Option<String>,
}

#[test]
fn sessions_are_taken_or_refused_and_written_alike() {
    let all: Sessions = common::read(include_str!("../vectors/sessions.json"));
    let (keys, broker) = (keys(&all.keys), KnownKey::of_set(&all.private, &all.keys));
    assert_eq!((all.taken.len(), all.refused.len()), (4, 131));
    for case in &all.taken {
        let read = verify_session(&case.token, &keys, &all.issuer, case.now);
        let session: Session = read.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let ours = mint_session(&session, &broker).unwrap();
        let ours = ours.expose_secret();
        assert_eq!(part(ours, 0), part(&case.token, 0), "{}", case.name);
        assert_eq!(
            part(ours, 1),
            *case.claims.as_ref().unwrap(),
            "{}",
            case.name
        );
    }
    for case in &all.refused {
        let read = verify_session(&case.token, &keys, &all.issuer, case.now);
        let reason = read.err().map(|refused| match refused {
            TokenError::Invalid => "invalid",
            TokenError::Expired => "expired",
        });
        assert_eq!(reason, case.reason.as_deref(), "{}", case.name);
    }
}

#[derive(Deserialize)]
struct WebIdentities {
    keys: Value,
    private: String,
    made: Vec<WebIdentityCase>,
    tag_values: TagValues,
}

#[derive(Deserialize)]
struct WebIdentityCase {
    name: String,
    issuer: String,
    actor: Actor,
    iat: i64,
    jti: String,
    claims: Value,
    token: String,
}

#[derive(Deserialize)]
struct TagValues {
    taken: Vec<String>,
    refused: Vec<String>,
}

#[test]
fn web_identities_are_written_alike() {
    let all: WebIdentities = common::read(include_str!("../vectors/web_identities.json"));
    let broker = KnownKey::of_set(&all.private, &all.keys);
    assert_eq!(all.made.len(), 2);
    for case in all.made {
        let identity = WebIdentity {
            iss: case.issuer,
            actor: case.actor,
            iat: case.iat,
            jti: case.jti,
        };
        let ours = mint_web_identity(&identity, &broker).unwrap();
        let ours = ours.expose_secret();
        assert_eq!(part(ours, 0), part(&case.token, 0), "{}", case.name);
        assert_eq!(part(ours, 1), case.claims, "{}", case.name);
    }
}

#[test]
fn no_tag_acts_as_a_wildcard() {
    let all: WebIdentities = common::read(include_str!("../vectors/web_identities.json"));
    let TagValues { taken, refused } = all.tag_values;
    assert_eq!((taken.len(), refused.len()), (6, 21));
    for value in taken {
        assert!(is_tag_value(&value), "{value:?}");
    }
    for value in refused {
        assert!(!is_tag_value(&value), "{value:?}");
    }
}
