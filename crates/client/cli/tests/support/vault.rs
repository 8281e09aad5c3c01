//! A broker and a worker in one small server, which check proofs and capabilities as the real
//! ones do and keep secrets in memory.

#![allow(
    clippy::result_large_err,
    reason = "a refusal is an answer, and tests have room"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use api::vault::{CapAnswer, CapCredential, PROOF_HEADER, Reason, Refusal};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use model::{Actor, ServiceName};
use serde_json::{Value, json};
use vault::{
    Cap, DeviceKey, Op, ProofFor, Session, SignEs256, VerifyKeys, mint_cap, mint_session,
    verify_cap, verify_proof,
};

/// The server.
#[derive(Clone)]
pub(crate) struct Vault {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    key: DeviceKey,
    operator: Actor,
    state: Mutex<Kept>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Kept {
    secrets: BTreeMap<ServiceName, (String, u64)>,
    polls: u32,
    proofs: BTreeSet<String>,
    refused: BTreeSet<ServiceName>,
    number: u64,
    caps: u64,
    decided: Vec<Value>,
}

type Answer = Result<Response, Response>;

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("in range")
}

fn refuse(reason: Reason) -> Response {
    let body = Refusal {
        error: format!("the vault says {reason}"),
        reason,
    };
    let status = StatusCode::from_u16(reason.status()).expect("a status");
    (status, axum::Json(body)).into_response()
}

impl Vault {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let handle = runtime.handle().clone();
        let vault = Self {
            url,
            inner: Arc::new(Inner {
                key: DeviceKey::generate().expect("randomness"),
                operator: Actor::from_oidc("https://issuer", "ada").expect("an actor"),
                state: Mutex::default(),
                _runtime: runtime,
            }),
        };
        let router = Router::new()
            .route("/v1/bootstrap", post(bootstrap))
            .route("/v1/pairing", post(pair))
            .route("/v1/pairing/token", post(poll))
            .route("/v1/pairing/{code}", get(pending).post(decide))
            .route("/v1/session/end", post(|| async { StatusCode::NO_CONTENT }))
            .route("/v1/cap/{op}", post(cap))
            .route("/v1/cred/{op}", post(cred))
            .route("/v1/sse/operator/{actor}", get(events))
            .route("/credential/list", get(older_list))
            .route("/credential/read", get(older_read))
            .with_state(Weak {
                url: vault.url.clone(),
                inner: Arc::downgrade(&vault.inner),
            });
        handle.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await
        });
        vault
    }

    /// From now on, this service is out of scope.
    pub(crate) fn refuse(&self, service: &str) {
        let service = service.parse().expect("a name");
        self.kept().refused.insert(service);
    }

    pub(crate) fn put(&self, service: &str, value: &str) {
        let service = service.parse().expect("a name");
        self.kept().secrets.insert(service, (value.to_owned(), 1));
    }

    pub(crate) fn get(&self, service: &str) -> Option<(String, u64)> {
        let service: ServiceName = service.parse().expect("a name");
        self.kept().secrets.get(&service).cloned()
    }

    /// What operators have said to machines that ask.
    pub(crate) fn decided(&self) -> Vec<Value> {
        self.kept().decided.clone()
    }

    /// Whose the vault is.
    pub(crate) fn operator(&self) -> Actor {
        self.inner.operator.clone()
    }

    /// How many capabilities were given.
    pub(crate) fn caps(&self) -> u64 {
        self.kept().caps
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.inner.state.lock().expect("unpoisoned")
    }
}

/// What endpoints hold: the runtime must end with the test, not with the last connection.
#[derive(Clone)]
struct Weak {
    url: String,
    inner: std::sync::Weak<Inner>,
}

impl Weak {
    fn vault(&self) -> Vault {
        Vault {
            url: self.url.clone(),
            inner: self.inner.upgrade().expect("the test runs"),
        }
    }
}

impl Vault {
    fn session(&self, agent: Option<&str>, device: Option<model::DeviceId>) -> Response {
        let operator = self.inner.operator.clone();
        let sub = agent.map_or(operator.clone(), |label| {
            operator.agent(label).expect("a label")
        });
        let session = Session {
            iss: self.url.clone(),
            sub,
            operator,
            iat: now(),
            exp: now() + 3600,
            jti: "session-1".into(),
            device,
        };
        let token = mint_session(&session, &self.inner.key).expect("a session");
        let token = secrecy::ExposeSecret::expose_secret(&token).to_owned();
        axum::Json(json!({
            "access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "tenant",
        }))
        .into_response()
    }

    /// Checks the proof of a request; the device that made it.
    fn proven(
        &self,
        path: &str,
        headers: &HeaderMap,
        token: Option<&str>,
        body: &[u8],
    ) -> Result<model::DeviceId, Response> {
        let url = format!("{}{path}", self.url);
        let wanted = ProofFor {
            method: "POST",
            url: &url,
            token,
            body,
        };
        let proof = headers
            .get(PROOF_HEADER)
            .and_then(|proof| proof.to_str().ok());
        let proof = verify_proof(proof, &wanted, None, now()).map_err(refuse)?;
        if !self.kept().proofs.insert(proof.jti) {
            return Err(refuse(Reason::ProofReplayed));
        }
        Ok(proof.device)
    }
}

async fn bootstrap(State(weak): State<Weak>, body: Bytes) -> Answer {
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    match body["token"] == "artboot_one" {
        true => Ok(weak.vault().session(None, None)),
        false => Err((
            StatusCode::UNAUTHORIZED,
            axum::Json(json!({ "code": "unauthenticated", "message": "it does not count" })),
        )
            .into_response()),
    }
}

async fn pair(State(weak): State<Weak>, headers: HeaderMap, body: Bytes) -> Answer {
    weak.vault().proven("/v1/pairing", &headers, None, &body)?;
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    Ok(axum::Json(json!({
        "pairing": body["label"], "user_code": "BCDF-GHJK", "expires_in": 60, "interval": 1,
    }))
    .into_response())
}

async fn poll(State(weak): State<Weak>, headers: HeaderMap, body: Bytes) -> Answer {
    let vault = weak.vault();
    let device = vault.proven("/v1/pairing/token", &headers, None, &body)?;
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let polls = {
        let mut kept = vault.kept();
        kept.polls += 1;
        kept.polls
    };
    match polls {
        1 => Ok(StatusCode::ACCEPTED.into_response()),
        _ => Ok(vault.session(body["pairing"].as_str(), Some(device))),
    }
}

async fn pending(State(weak): State<Weak>) -> Response {
    let vault = weak.vault();
    let actor = vault.inner.operator.agent("bot").expect("a label");
    let device = model::DeviceId::new([7; 32]);
    axum::Json(json!({ "label": "bot", "device": device, "actor": actor, "state": "pending" }))
        .into_response()
}

async fn decide(State(weak): State<Weak>, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    weak.vault().kept().decided.push(body);
    StatusCode::NO_CONTENT
}

async fn cap(
    State(weak): State<Weak>,
    Path(op): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let vault = weak.vault();
    let bearer = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let token = bearer
        .and_then(|value| value.strip_prefix("Bearer "))
        .expect("a session");
    let device = vault.proven(&format!("/v1/cap/{op}"), &headers, Some(token), &body)?;
    let op = match op.as_str() {
        "cred-store" => Op::Store,
        "cred-fetch" => Op::Fetch,
        "cred-list" => Op::List,
        _ => Op::Teardown,
    };
    let keys = vault.keys();
    let session = vault::verify_session(token, &keys, &vault.url, now()).expect("a session");
    let wanted: CapCredential = serde_json::from_slice(&body).expect("JSON");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let target = body["target"]
        .as_str()
        .map(|text| text.parse().expect("an actor"));
    let number = {
        let mut kept = vault.kept();
        kept.number += 1;
        kept.caps += 1;
        kept.number
    };
    let cap = Cap {
        iss: vault.url.clone(),
        sub: session.sub,
        operator: session.operator,
        op,
        service: wanted.service,
        target,
        epoch: 1,
        iat: now(),
        nbf: now(),
        exp: now() + 300,
        jti: format!("cap-{number}"),
        device,
    };
    let cap = mint_cap(&cap, &vault.inner.key).expect("a capability");
    let answer = CapAnswer {
        cap: cap.into(),
        expires_in: 300,
    };
    Ok(axum::Json(answer).into_response())
}

async fn cred(
    State(weak): State<Weak>,
    Path(op): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let vault = weak.vault();
    let body: Value = serde_json::from_slice(&bytes).expect("JSON");
    let token = body["cap"].as_str().expect("a capability");
    let cap = verify_cap(token, &vault.keys(), &vault.url, now()).map_err(refuse)?;
    let device = vault.proven(&format!("/v1/cred/{op}"), &headers, Some(token), &bytes)?;
    assert_eq!(device, cap.device);
    assert_eq!(cap.op.as_str(), op);
    let mut kept = vault.kept();
    let answer = match (&cap.service, cap.op) {
        (Some(service), _) if kept.refused.contains(service) => {
            return Err(refuse(Reason::ScopeDenied));
        }
        (Some(service), Op::Store) => {
            let there = kept
                .secrets
                .get(service)
                .map_or(0, |(_, generation)| *generation);
            let expected = body["expected_generation"].as_u64();
            if expected.is_some_and(|expected| expected != there) {
                return Err(refuse(Reason::GenerationMismatch));
            }
            let value = base64_simd::STANDARD
                .decode_to_vec(body["plaintext"].as_str().expect("a value"))
                .expect("base64");
            let value = String::from_utf8(value).expect("text");
            kept.secrets.insert(service.clone(), (value, there + 1));
            json!({ "service": service, "epoch": 1, "generation": there + 1 })
        }
        (Some(service), Op::Fetch) => {
            let found = kept.secrets.get(service);
            let (value, generation) = found.ok_or_else(|| refuse(Reason::NotFound))?;
            json!({
                "service": service, "version": 16, "epoch": 1, "generation": generation,
                "plaintext": base64_simd::STANDARD.encode_to_string(value),
            })
        }
        (_, Op::List) => {
            let one = |service: &ServiceName| json!({ "service": service, "size": 100, "stored_at": "2026-11-29T19:00:00Z" });
            json!({ "credentials": kept.secrets.keys().map(one).collect::<Vec<_>>() })
        }
        _ => {
            let deleted = kept.secrets.len();
            kept.secrets.clear();
            json!({ "deleted": deleted, "failed": 1, "left": ["bots/x/credentials/stuck.enc"] })
        }
    };
    Ok(axum::Json(answer).into_response())
}

async fn events() -> Response {
    let beats = futures::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        Some((Ok::<_, std::convert::Infallible>(": heartbeat\n\n"), ()))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(beats))
        .expect("an answer")
}

async fn older_list() -> Response {
    axum::Json(json!({ "services": ["stripe", "GitHub"] })).into_response()
}

async fn older_read(uri: axum::http::Uri) -> Response {
    let service = uri.query().and_then(|query| query.rsplit('=').next());
    let value = format!("old-{}", service.expect("a service"));
    let text = base64_simd::STANDARD.encode_to_string(value);
    axum::Json(json!({ "ciphertext": text })).into_response()
}

impl Vault {
    fn keys(&self) -> VerifyKeys {
        let key = self.inner.key.public_jwk().clone();
        VerifyKeys::from_keys([key]).expect("keys")
    }
}
