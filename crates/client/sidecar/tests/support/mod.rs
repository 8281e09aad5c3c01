//! A broker and a worker that do what a test says.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Secret;
use api::vault::{CapAnswer, Reason, Refusal};
use artifacts_sidecar::{Chunks, Upstream};
use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use model::Actor;
use secrets::{DeviceKey, Kind, Login, Result, SecretError, Server, Wanted, Worker};

/// A broker in the test's hands.
pub(crate) struct Broker {
    pub(crate) operator: Actor,
    key: Arc<DeviceKey>,
    pub(crate) epoch: AtomicUsize,
    /// How many capabilities it gave.
    pub(crate) given: AtomicUsize,
    /// Whether it answers.
    pub(crate) is_away: AtomicBool,
    /// For how many seconds capabilities count.
    pub(crate) lasts: AtomicUsize,
    /// With which last event each stream was asked for.
    pub(crate) asked: Mutex<Vec<Option<String>>>,
    streams: Mutex<Vec<UnboundedSender<std::result::Result<Bytes, String>>>>,
    /// How long it takes to give one.
    pub(crate) pause: Mutex<Duration>,
}

fn token(claims: &serde_json::Value) -> Secret {
    let encode = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
    let text = format!("{}.{}.x", encode("{}"), encode(&claims.to_string()));
    secrecy::SecretString::from(text).into()
}

impl Broker {
    pub(crate) fn new() -> Arc<Self> {
        let operator = Actor::from_oidc("https://issuer", "ada").expect("an actor");
        Arc::new(Self {
            operator,
            key: Arc::new(DeviceKey::generate().expect("randomness")),
            epoch: AtomicUsize::new(1),
            given: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
            lasts: AtomicUsize::new(300),
            asked: Mutex::default(),
            streams: Mutex::default(),
            pause: Mutex::default(),
        })
    }

    pub(crate) fn given(&self) -> usize {
        self.given.load(Ordering::SeqCst)
    }

    /// How many streams were asked for.
    pub(crate) fn streams(&self) -> usize {
        self.asked.lock().expect("unpoisoned").len()
    }

    /// Says something on the last stream.
    pub(crate) fn say(&self, text: &str) {
        let streams = self.streams.lock().expect("unpoisoned");
        let stream = streams.last().expect("a stream");
        let _ = stream.unbounded_send(Ok(Bytes::copy_from_slice(text.as_bytes())));
    }

    pub(crate) fn event(&self, id: u64, data: &serde_json::Value) {
        let kind = data["kind"].as_str().expect("a kind");
        self.say(&format!("event: {kind}\nid: {id}\ndata: {data}\n\n"));
    }

    /// Goes away: streams break, nothing is answered.
    pub(crate) fn go(&self) {
        self.is_away.store(true, Ordering::SeqCst);
        self.streams.lock().expect("unpoisoned").clear();
    }

    pub(crate) fn come_back(&self) {
        self.is_away.store(false, Ordering::SeqCst);
    }

    fn answers(&self) -> Result<()> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(SecretError::new(
                Kind::Temporary,
                "the broker does not answer",
                "wait",
            )),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Upstream for Broker {
    async fn login(&self) -> Result<Login> {
        let claims = serde_json::json!({
            "sub": self.operator, "operator": self.operator, "exp": i64::MAX,
        });
        Ok(Login::of(token(&claims)).expect("a session"))
    }

    fn key(&self) -> Result<Arc<DeviceKey>> {
        Ok(self.key.clone())
    }

    async fn cap(&self, _login: &Login, _wanted: &Wanted) -> Result<CapAnswer> {
        self.answers()?;
        let pause = *self.pause.lock().expect("unpoisoned");
        let number = self.given.fetch_add(1, Ordering::SeqCst);
        let epoch = self.epoch.load(Ordering::SeqCst);
        tokio::time::sleep(pause).await;
        Ok(CapAnswer {
            cap: token(&serde_json::json!({ "epoch": epoch, "number": number })),
            expires_in: self.lasts.load(Ordering::SeqCst) as u64,
        })
    }

    async fn events(&self, _login: &Login, last: Option<&str>) -> Result<Chunks> {
        self.answers()?;
        let (sender, receiver): (_, UnboundedReceiver<_>) = unbounded();
        self.streams.lock().expect("unpoisoned").push(sender);
        self.asked
            .lock()
            .expect("unpoisoned")
            .push(last.map(str::to_owned));
        Ok(receiver.boxed())
    }

    async fn renew(&self) -> Result<bool> {
        Ok(false)
    }
}

/// A worker that answers what it was told to, one answer for each request.
#[derive(Clone, Default)]
pub(crate) struct FakeWorker {
    answers: Arc<Mutex<VecDeque<(StatusCode, String)>>>,
    /// The capability and the proof of each request.
    pub(crate) seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl FakeWorker {
    pub(crate) fn will_refuse(&self, reason: Reason) {
        let refusal = Refusal {
            error: format!("no: {reason}"),
            reason,
        };
        let status = StatusCode::from_u16(reason.status()).expect("a status");
        let body = serde_json::to_string(&refusal).expect("JSON");
        self.answers
            .lock()
            .expect("unpoisoned")
            .push_back((status, body));
    }

    pub(crate) fn will_give(&self, service: &str, value: &str, generation: u64) {
        let body = serde_json::json!({
            "service": service,
            "plaintext": base64_simd::STANDARD.encode_to_string(value),
            "version": 16, "epoch": 1, "generation": generation,
        });
        let answer = (StatusCode::OK, body.to_string());
        self.answers.lock().expect("unpoisoned").push_back(answer);
    }

    pub(crate) fn will_store(&self, service: &str, generation: u64) {
        let body = serde_json::json!({ "service": service, "epoch": 1, "generation": generation });
        let answer = (StatusCode::OK, body.to_string());
        self.answers.lock().expect("unpoisoned").push_back(answer);
    }

    pub(crate) fn caps(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("unpoisoned");
        seen.iter().map(|(cap, _)| cap.clone()).collect()
    }

    pub(crate) async fn start(&self) -> Worker {
        let router = Router::new()
            .route("/v1/cred/fetch", post(answer))
            .route("/v1/cred/store", post(answer))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}").parse().expect("an address");
        Worker::new(Server::new("worker", url, None).expect("a server"))
    }
}

async fn answer(
    State(worker): State<FakeWorker>,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let proof = headers.get(api::vault::PROOF_HEADER).expect("a proof");
    let cap = body["cap"].as_str().expect("a capability").to_owned();
    let proof = proof.to_str().expect("text").to_owned();
    worker.seen.lock().expect("unpoisoned").push((cap, proof));
    let answer = worker.answers.lock().expect("unpoisoned").pop_front();
    answer.unwrap_or((
        StatusCode::INTERNAL_SERVER_ERROR,
        "nothing was planned".into(),
    ))
}
