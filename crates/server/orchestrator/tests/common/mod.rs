//! An orchestrator in this process: a clock that stands still, a provider in memory, a
//! database of its own, and an issuer of people on loopback.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod browser;
pub(crate) mod document;
pub(crate) mod issuer;
pub(crate) mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::Timestamp;
use artifacts_orchestrator as orchestrator;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base::{Clock, Listener, ManualClock, SystemRandom};
use orchestrator::provision::fake::Fake;
use orchestrator::provision::{Supply, upkeep};
use orchestrator::store::{Entry, PostgresStore, SqliteStore, Store};
use orchestrator::{App, IssuerConfig, Issuers, Parts, Settings, SigningKey};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use issuer::Issuer;
use stream::Stream;

pub(crate) const PUBLIC_URL: &str = "https://orchestrator.example.com";

/// All that a test needs.
pub(crate) struct Lab {
    pub(crate) app: Arc<App>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) issuer: Issuer,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) database: PathBuf,
    router: Router,
    folder: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    async fn read(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Without its parameters.
    pub(crate) fn content_type(&self) -> &str {
        let value = self.headers.get("content-type");
        let value = value.map_or("", |value| value.to_str().unwrap());
        value.split(';').next().unwrap().trim()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> String {
        let value = &self.json()[name];
        match value.as_str() {
            Some(text) => text.to_owned(),
            None => panic!("no text {name}: {self:?}"),
        }
    }

    /// The exact refusal.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.field("code"), code, "{self:?}");
        self.field("message")
    }

    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With settings of its own.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("orchestrator.db");
        let store = Arc::new(SqliteStore::open(&database).await.unwrap());
        Self::over(folder, database, store, change).await
    }

    /// Over a database that is there.
    pub(crate) async fn over(
        folder: tempfile::TempDir,
        database: PathBuf,
        store: Arc<dyn Store>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::known_at(folder, database, store, change, |_| {}).await
    }

    /// The same, known at the issuer in a way of its own.
    pub(crate) async fn known_at(
        folder: tempfile::TempDir,
        database: PathBuf,
        store: Arc<dyn Store>,
        change: impl FnOnce(&mut Settings),
        known: impl FnOnce(&mut IssuerConfig),
    ) -> Self {
        let issuer = Issuer::start().await;
        let mut config = config(&issuer.url);
        known(&mut config);
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(
            1_790_000_000_000_000,
        )));
        let fake = Arc::new(Fake::new());
        let mut settings = Settings::new(PUBLIC_URL);
        settings.provider_patience = Duration::from_millis(300);
        change(&mut settings);
        let stop = CancellationToken::new();
        let app = App::new(Parts {
            settings,
            store: Arc::clone(&store),
            supply: Some(Supply::new(fake.clone()).unwrap()),
            key: SigningKey::generate(),
            issuers: Issuers::new(vec![config]).unwrap(),
            clock: clock.clone(),
            random: Arc::new(SystemRandom::default()),
            stop: stop.clone(),
        });
        tokio::spawn(orchestrator::hub::run(Arc::clone(&app), stop));
        Self {
            router: orchestrator::router(Arc::clone(&app)),
            app,
            fake,
            clock,
            issuer,
            store,
            database,
            folder,
        }
    }

    /// One of several servers of a database.
    pub(crate) async fn on_postgres(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = PostgresStore::open(&url.to_owned().into()).await.unwrap();
        let database = folder.path().join("none");
        Self::over(folder, database, Arc::new(store), |_| {}).await
    }

    /// Serves on a free port until the test ends; answers where.
    pub(crate) async fn listen(&self) -> String {
        let address = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(address, None, false).await.unwrap();
        let url = format!("http://{}", listener.address());
        let stop = CancellationToken::new();
        tokio::spawn(base::serve(listener, self.router.clone(), stop));
        url
    }

    /// Follows a workspace, or says why not.
    pub(crate) async fn follow(
        &self,
        workspace: &str,
        token: &str,
        last: Option<&str>,
    ) -> Result<Stream, Answer> {
        let mut request = Request::builder()
            .uri(format!("/workspaces/{workspace}/events"))
            .header("authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        if response.status() != StatusCode::OK {
            return Err(Answer::read(response).await);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Stream::new(response.into_body()))
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, so: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not become so in ten seconds");
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asks, and holds the answer against the document.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        let answer = Answer::read(self.router.clone().oneshot(request).await.unwrap()).await;
        document::document().check_answer(&method, &path, &answer);
        answer
    }

    /// A request, with a token unless that is empty, and a JSON body unless that is null.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let sent = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        let answer = self.send(request.body(sent).unwrap()).await;
        if answer.status.is_success() && !body.is_null() {
            document::document().check_request(method, path, &body);
        }
        answer
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, token, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call("POST", path, token, body).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call("DELETE", path, token, Value::Null).await
    }

    pub(crate) async fn form(&self, path: &str, fields: &str) -> Answer {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(fields.to_owned())).unwrap())
            .await
    }

    /// The session of the first operator.
    pub(crate) async fn operator(&self) -> String {
        let token = self.bootstrap_token().await;
        let answer = self
            .post("/bootstrap", "", json!({ "token": token }))
            .await
            .ok(200);
        answer.field("access_token")
    }

    pub(crate) async fn bootstrap_token(&self) -> String {
        use secrecy::ExposeSecret;
        let (token, hash) = orchestrator::new_bootstrap(&SystemRandom::default());
        let ends = self.now().plus(orchestrator::BOOTSTRAP_LIFETIME);
        let entry = entry(self.now(), "BootstrapTokenCreated");
        self.store.put_bootstrap(&hash, ends, &entry).await.unwrap();
        token.expose_secret().to_owned()
    }

    /// A token of the issuer for somebody.
    pub(crate) fn person(&self, name: &str) -> String {
        self.issuer.token(name, self.now())
    }

    /// A tenant whose owner has the same name; answers its number and the owner's token.
    pub(crate) async fn tenant(&self, operator: &str, handle: &str) -> (String, String) {
        let body = json!({
            "handle": handle,
            "owner": { "issuer": self.issuer.url, "subject": handle },
        });
        let answer = self.post("/tenants", operator, body).await.ok(201);
        // So that lists have an order to be sure of.
        self.clock.advance(Duration::from_millis(1));
        (answer.field("tenant_id"), self.person(handle))
    }

    /// One look of the background work.
    pub(crate) async fn upkeep(&self) {
        upkeep::round(&self.app).await.unwrap();
    }

    pub(crate) async fn upkeep_after(&self, length: Duration) {
        self.clock.advance(length);
        self.upkeep().await;
    }

    /// What the audit says, as lines of action and reason.
    pub(crate) async fn audit(&self) -> Vec<String> {
        let rows = self.store.recorded(0, 10_000).await.unwrap();
        let line = |row: orchestrator::store::Recorded| match row.reason {
            Some(reason) => format!("{}: {reason}", row.action),
            None => row.action,
        };
        rows.into_iter().map(line).collect()
    }
}

pub(crate) fn config(url: &str) -> IssuerConfig {
    serde_json::from_value(json!({
        "url": url, "algorithms": ["ES256"], "name": "Example", "client_id": "console",
    }))
    .unwrap()
}

pub(crate) fn entry(at: Timestamp, action: &'static str) -> Entry {
    Entry {
        at,
        action,
        actor: None,
        tenant: None,
        subject: None,
        reason: None,
        request_id: None,
    }
}

/// A failure of the provider that passes: the work may have been done.
pub(crate) fn passing() -> provider::Error {
    provider::Error::Unavailable {
        action: "a call".into(),
        reason: "500".into(),
        retry_after: None,
    }
}

/// A refusal of the provider that stays.
pub(crate) fn refusing() -> provider::Error {
    provider::Error::Denied {
        action: "a call".into(),
        code: "AccessDenied".into(),
    }
}
