//! A broker on loopback, with a registry, an audit and a clock that the test holds.

#![allow(dead_code, reason = "not every suite uses all of it")]

pub(crate) mod book;
pub(crate) mod issuer;
pub(crate) mod stream;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::Timestamp;
use artifacts_broker::{App, Audit, Parts, Record, Settings, SigningKeys, Store, public, watch};
use async_trait::async_trait;
use base::tokens::Issuers;
use base::{Clock, ManualClock, SystemRandom};
use model::Actor;
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use vault::{DeviceKey, ProofFor, SignEs256, VerifyKeys, make_proof};

use book::Book;
use issuer::Issuer;
use registry::Registry;

/// What was written into the audit.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) records: Mutex<Vec<Value>>,
    pub(crate) broken: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Audit for Kept {
    async fn write(&self, record: &Record) -> Result<(), String> {
        if self.broken.load(Ordering::SeqCst) {
            return Err("no space".into());
        }
        let record = serde_json::to_value(record).unwrap();
        self.records.lock().push(record);
        Ok(())
    }
}

impl Kept {
    /// The last record.
    pub(crate) fn last(&self) -> Value {
        self.records.lock().last().cloned().unwrap_or(Value::Null)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.records.lock().len()
    }
}

/// A broker that runs.
pub(crate) struct Broker {
    pub(crate) url: String,
    pub(crate) app: Arc<App>,
    pub(crate) store: Store,
    pub(crate) book: Arc<Book>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) issuer: Issuer,
    pub(crate) folder: tempfile::TempDir,
    client: reqwest::Client,
    numbers: AtomicUsize,
    stop: CancellationToken,
    _guard: DropGuard,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// That it was refused for exactly this, by a worker's word.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, reason: &str) {
        let found = (self.status.as_u16(), self.body["reason"].as_str());
        assert_eq!(found, (status, Some(reason)), "{}", self.text);
        assert_eq!(self.body["error"], self.body["message"]);
    }

    /// That it was refused for exactly this, by an error code.
    #[track_caller]
    pub(crate) fn is_failure(&self, status: u16, code: &str) {
        let found = (self.status.as_u16(), self.body["code"].as_str());
        assert_eq!(found, (status, Some(code)), "{}", self.text);
        assert!(self.body["reason"].is_null(), "{}", self.text);
    }

    /// The body, of a request that was done.
    #[track_caller]
    pub(crate) fn done(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self.body
    }

    #[track_caller]
    pub(crate) fn token(self) -> String {
        self.done()["access_token"].as_str().unwrap().to_owned()
    }
}

/// Where the clocks of tests begin.
pub(crate) const BEGIN: i64 = 1_800_000_000;

/// The settings of tests: quick.
pub(crate) fn quick(url: &str) -> Settings {
    Settings {
        heartbeat: Duration::from_millis(200),
        watch_interval: Duration::from_millis(100),
        poll_interval: Duration::from_secs(5),
        logins_per_minute: 10_000,
        logins_per_address: 10_000,
        wallet_chains: vec![31_337],
        ..Settings::new(url)
    }
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_micros(BEGIN * 1_000_000));
        let (book, kept) = (Arc::new(Book::default()), Arc::default());
        let issuer = Issuer::start().await;
        let parts = (folder, Arc::new(clock), book, kept, issuer);
        Self::put_together(parts, None, None, change).await
    }

    /// With a registry other than the book, at this machine's time.
    pub(crate) async fn start_on(registry: impl FnOnce(&Issuer) -> Arc<dyn Registry>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(base::SystemClock.now());
        let (book, kept) = (Arc::new(Book::default()), Arc::default());
        let issuer = Issuer::start().await;
        let registry = registry(&issuer);
        let parts = (folder, Arc::new(clock), book, kept, issuer);
        let change = |settings: &mut Settings| {
            // As it is outside of tests.
            settings.watch_interval = Settings::new("").watch_interval;
        };
        Self::put_together(parts, None, Some(registry), change).await
    }

    async fn put_together(
        parts: (
            tempfile::TempDir,
            Arc<ManualClock>,
            Arc<Book>,
            Arc<Kept>,
            Issuer,
        ),
        address: Option<String>,
        registry: Option<Arc<dyn Registry>>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let (folder, clock, book, kept, issuer) = parts;
        let address = address.unwrap_or_else(|| "127.0.0.1:0".into());
        let listener = bound(&address).await;
        let url = format!("http://{}", listener.address());
        let store = Store::open(&folder.path().join("broker.db")).await.unwrap();
        let stop = CancellationToken::new();
        let mut settings = quick(&url);
        change(&mut settings);
        let registry = registry.unwrap_or_else(|| Arc::clone(&book) as _);
        let audit: Arc<dyn Audit> = Arc::clone(&kept) as _;
        let app = App::new(Parts {
            settings,
            store: store.clone(),
            keys: keys(folder.path(), clock.now().seconds()),
            issuers: Issuers::new(vec![issuer.config()]).unwrap(),
            registry,
            audit,
            clock: Arc::clone(&clock) as _,
            random: Arc::new(SystemRandom::default()),
            stop: stop.clone(),
        });
        tokio::spawn(base::serve(
            listener,
            public(Arc::clone(&app)),
            stop.clone(),
        ));
        tokio::spawn(watch::run(Arc::clone(&app), stop.clone()));
        Self {
            url,
            app,
            store,
            book,
            kept,
            clock,
            issuer,
            folder,
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            numbers: AtomicUsize::new(0),
            _guard: stop.clone().drop_guard(),
            stop,
        }
    }

    /// The same broker anew, at the same address.
    pub(crate) async fn restart(self) -> Self {
        self.stop.cancel();
        self.store.close().await;
        drop(self.app);
        let address = self.url.strip_prefix("http://").unwrap().to_owned();
        let parts = (self.folder, self.clock, self.book, self.kept, self.issuer);
        Self::put_together(parts, Some(address), None, |_| {}).await
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    pub(crate) fn keys_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("keys")
    }

    /// Asks, and reads the answer.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, body, text }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Reply {
        let request = self.request(Method::GET, path).bearer_auth(token);
        self.send(request).await
    }

    /// A POST with a session, if there is one.
    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Reply {
        let mut request = self.request(Method::POST, path).body(body.to_string());
        request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        self.send(request).await
    }

    /// A POST with a proof by a device.
    pub(crate) async fn prove(
        &self,
        path: &str,
        token: Option<&str>,
        key: &DeviceKey,
        body: &Value,
    ) -> Reply {
        let proof = self.proof(path, token, key, &body.to_string());
        self.with_proof(path, token, &proof, body).await
    }

    pub(crate) async fn with_proof(
        &self,
        path: &str,
        token: Option<&str>,
        proof: &str,
        body: &Value,
    ) -> Reply {
        let mut request = self.request(Method::POST, path).body(body.to_string());
        request = request.header("artifacts-proof", proof);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        self.send(request).await
    }

    pub(crate) fn proof(
        &self,
        path: &str,
        token: Option<&str>,
        key: &DeviceKey,
        body: &str,
    ) -> String {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let url = format!("{}{path}", self.url);
        let request = ProofFor {
            method: "POST",
            url: &url,
            token,
            body: body.as_bytes(),
        };
        let number = format!("n{number}-{}", std::process::id());
        make_proof(key, &request, &number, self.now()).unwrap()
    }

    /// Who somebody at the issuer is.
    pub(crate) fn actor(&self, name: &str) -> Actor {
        Actor::from_oidc(&self.issuer.url, name).unwrap()
    }

    /// A session of somebody at the issuer.
    pub(crate) async fn login(&self, name: &str) -> String {
        let token = self.issuer.token(name, self.now());
        let body = json!({ "token": token });
        let reply = self.post("/v1/session/exchange", None, &body).await;
        reply.token()
    }

    /// A session of somebody at the issuer, bound to a device.
    pub(crate) async fn login_at(&self, name: &str, key: &DeviceKey) -> String {
        let token = self.issuer.token(name, self.now());
        let body = json!({ "token": token });
        let reply = self.prove("/v1/session/exchange", None, key, &body).await;
        reply.token()
    }

    /// An operator with a device that may do everything.
    pub(crate) async fn operator(&self, name: &str) -> Person {
        let (actor, key) = (self.actor(name), new_key());
        self.book.add(&actor, &actor, id(&key), 3);
        Person {
            token: self.login_at(name, &key).await,
            operator: actor.clone(),
            actor,
            key,
        }
    }

    /// An agent of an operator, paired.
    pub(crate) async fn agent(&self, operator: &Person, label: &str) -> Person {
        let (actor, key) = (operator.actor.agent(label).unwrap(), new_key());
        let body = json!({ "label": label });
        let asked = self.prove("/v1/pairing", None, &key, &body).await.done();
        let path = format!("/v1/pairing/{}", asked["user_code"].as_str().unwrap());
        let approval = json!({ "approve": true, "device": id(&key) });
        let approved = self.post(&path, Some(&operator.token), &approval).await;
        assert_eq!(approved.status, 204, "{}", approved.text);
        self.book.add(&operator.actor, &actor, id(&key), 1);
        let body = json!({ "pairing": asked["pairing"] });
        let token = self.prove("/v1/pairing/token", None, &key, &body).await;
        Person {
            token: token.token(),
            operator: operator.actor.clone(),
            actor,
            key,
        }
    }

    /// Asks for a capability.
    pub(crate) async fn cap(&self, who: &Person, op: &str, body: &Value) -> Reply {
        let path = format!("/v1/cap/cred-{op}");
        self.prove(&path, Some(&who.token), &who.key, body).await
    }

    /// The keys, as a verifier fetches them.
    pub(crate) async fn jwks(&self) -> VerifyKeys {
        let reply = self.send(self.request(Method::GET, "/jwks.json")).await;
        assert_eq!(reply.status, 200);
        VerifyKeys::parse(&reply.text).unwrap()
    }
}

/// A port; one that a broker before has just left is free in a moment.
async fn bound(address: &str) -> base::Listener {
    for _ in 0..100 {
        match base::Listener::bind(address.parse().unwrap(), None, false).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("{address} stays in use");
}

/// Somebody with a session and a device.
pub(crate) struct Person {
    pub(crate) token: String,
    pub(crate) operator: Actor,
    pub(crate) actor: Actor,
    pub(crate) key: DeviceKey,
}

pub(crate) fn new_key() -> DeviceKey {
    DeviceKey::generate().unwrap()
}

pub(crate) fn id(key: &DeviceKey) -> model::DeviceId {
    key.public_jwk().thumbprint()
}

fn keys(folder: &Path, now: i64) -> SigningKeys {
    SigningKeys::open(&folder.join("keys"), now).unwrap()
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    let json = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap();
    serde_json::from_slice(&json).unwrap()
}
