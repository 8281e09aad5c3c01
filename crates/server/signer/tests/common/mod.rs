//! A signer behind both of its doors, a broker that publishes its keys, and callers with
//! certificates and sessions.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use artifacts_signer::message::LoginPlace;
use artifacts_signer::seal::Passphrase;
use artifacts_signer::{Parts, Rates, Sessions, Signer, file, internal, public};
use axum::Router;
use axum::routing::get;
use base::audit::{AuditFile, Verdict};
use base::ca::{Authority, Order};
use base::mutual::{Identity, client};
use base::published::PublishedKeys;
use base::{ClientCa, Clock, Listener, SystemClock, Tls, serve};
use model::Actor;
use reqwest::{Client, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use vault::{DeviceKey, ProofFor, Session, SignEs256, VerifyKeys, make_proof, mint_session};

pub(crate) const PASSPHRASE: &str = "correct horse battery";
pub(crate) const LOGIN_AT: &str = "https://broker.example";
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) signer: Arc<Signer>,
    pub(crate) inside: String,
    pub(crate) outside: String,
    authority: Authority,
    broker: DeviceKey,
    issuer: String,
    http: Client,
    issued: AtomicU32,
    /// What sessions are bound to.
    pub(crate) device: DeviceKey,
    proofs: AtomicU32,
}

pub(crate) fn passphrase() -> Passphrase {
    Passphrase::new(PASSPHRASE.to_owned().into()).unwrap()
}

pub(crate) fn person(name: &str) -> Actor {
    Actor::from_oidc("https://login.example", name).unwrap()
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::with(Rates::default()).await
    }

    pub(crate) async fn with(rates: Rates) -> Self {
        Self::made(rates, true).await
    }

    /// One that gives people no keys of their own.
    pub(crate) async fn without_own_keys() -> Self {
        Self::made(Rates::default(), false).await
    }

    async fn made(rates: Rates, own_keys: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let domain = "town".parse().unwrap();
        let now = SystemClock.now();
        let authority = Authority::open_or_make(folder.path(), &domain, now).unwrap();
        let broker = DeviceKey::generate().unwrap();
        let issuer = publish(&broker).await;
        let path = folder.path().join("signer.sealed");
        let epochs = file::init(&path, &passphrase(), now.seconds())
            .await
            .unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any, None, false).await.unwrap();
        let outside = format!("http://{}", listener.address());
        let keys = PublishedKeys::new(Client::new(), format!("{issuer}/jwks.json"), clock.clone());
        let signer = Signer::new(Parts {
            seal: Box::new(passphrase()),
            epochs,
            audit: AuditFile::open(&folder.path().join("audit.jsonl")).unwrap(),
            sessions: Sessions::new(issuer.clone(), keys),
            login_places: vec![LoginPlace::new(LOGIN_AT).unwrap()],
            public_url: outside.clone(),
            own_keys,
            rates,
            clock,
            path,
        });
        let mut lab = Self {
            folder,
            signer,
            inside: String::new(),
            outside,
            authority,
            broker,
            issuer,
            http: Client::new(),
            issued: AtomicU32::new(0),
            device: DeviceKey::generate().unwrap(),
            proofs: AtomicU32::new(0),
        };
        lab.open_doors(listener).await;
        lab
    }

    async fn open_doors(&mut self, outside: Listener) {
        let own = self.identity("signer", &["127.0.0.1"]);
        let tls = Tls {
            certificate: own.certificate,
            key: own.key,
            clients: Some(ClientCa {
                file: own.ca,
                trust_domain: own.trust_domain,
            }),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any, Some(&tls), false).await.unwrap();
        self.inside = format!("https://{}", listener.address());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, internal(self.signer.clone()), stop.clone()));
        tokio::spawn(serve(outside, public(self.signer.clone()), stop));
    }

    /// A certificate of a role.
    pub(crate) fn identity(&self, role: &str, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let order = Order {
            role: Some(role),
            names: &names,
            lifetime: DAY,
        };
        // Each has files of its own: a server reads its certificate again when its files change.
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let file = |name: String| self.folder.path().join(format!("{number}-{name}"));
        let identity = Identity {
            ca: self.authority.certificate().to_owned(),
            certificate: file(format!("{role}.pem")),
            key: file(format!("{role}-key.pem")),
            trust_domain: self.authority.trust_domain().clone(),
        };
        let issued = self.authority.issue(&order, SystemClock.now()).unwrap();
        issued.write(&identity.certificate, &identity.key).unwrap();
        identity
    }

    /// A client with a certificate of a role.
    pub(crate) fn peer(&self, role: &str) -> Client {
        let identity = self.identity(role, &[]);
        client(&identity, "signer").unwrap().build().unwrap()
    }

    pub(crate) async fn derive(&self, peer: &Client, body: Value) -> (u16, Value) {
        let url = format!("{}/v1/derive-cred-kek", self.inside);
        said(with_json(peer.post(url), &body)).await
    }

    /// A request outside with a session, proved by the device.
    pub(crate) async fn ask(&self, path: &str, session: &str, body: Value) -> (u16, Value) {
        let proof = self.proof(&self.device, path, session, &body);
        self.ask_by(path, session, &body, Some(&proof)).await
    }

    /// The same with a proof that the test has made, or none.
    pub(crate) async fn ask_by(
        &self,
        path: &str,
        session: &str,
        body: &Value,
        proof: Option<&str>,
    ) -> (u16, Value) {
        let mut request = self.http.post(format!("{}{path}", self.outside));
        if let Some(proof) = proof {
            request = request.header("artifacts-proof", proof);
        }
        said(with_json(request.bearer_auth(session), body)).await
    }

    pub(crate) fn proof(&self, key: &DeviceKey, path: &str, session: &str, body: &Value) -> String {
        let number = self.proofs.fetch_add(1, Ordering::Relaxed);
        let url = format!("{}{path}", self.outside);
        let body = body.to_string();
        let request = ProofFor {
            method: "POST",
            url: &url,
            token: Some(session),
            body: body.as_bytes(),
        };
        make_proof(
            key,
            &request,
            &format!("n{number}"),
            SystemClock.now().seconds(),
        )
        .unwrap()
    }

    /// A session of a person, or of an agent of theirs.
    pub(crate) fn session(&self, operator: &Actor, actor: &Actor) -> String {
        self.session_by(&self.broker, operator, actor, 60)
    }

    pub(crate) fn session_by(
        &self,
        key: &dyn SignEs256,
        operator: &Actor,
        actor: &Actor,
        seconds: i64,
    ) -> String {
        let session = self.claims(operator, actor, seconds);
        text_of(&session, key)
    }

    /// What a session says.
    pub(crate) fn claims(&self, operator: &Actor, actor: &Actor, seconds: i64) -> Session {
        let now = SystemClock.now().seconds();
        Session {
            iss: self.issuer.clone(),
            sub: actor.clone(),
            operator: operator.clone(),
            iat: now - 100,
            exp: now + seconds,
            jti: format!("session-{}", &actor.as_str()[..8]),
            device: Some(self.device.public_jwk().thumbprint()),
        }
    }

    pub(crate) fn broker(&self) -> &DeviceKey {
        &self.broker
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// The audit's records; its chain is whole.
    pub(crate) fn records(&self) -> Vec<Value> {
        let verdict = base::audit::verify(&self.audit()).unwrap();
        let records = lines(&self.audit());
        let whole = matches!(verdict, Verdict::Whole { records: count, .. } if count == records.len() as u64);
        assert!(whole, "{verdict:?}");
        records
    }

    /// The last record.
    pub(crate) fn last(&self) -> Value {
        self.records().pop().unwrap()
    }
}

/// A session's token.
pub(crate) fn text_of(session: &Session, key: &dyn SignEs256) -> String {
    let token = mint_session(session, key).unwrap();
    token.expose_secret().to_owned()
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The request with a body of JSON.
pub(crate) fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    let request = request.header("content-type", "application/json");
    request.body(body.to_string())
}

/// Status and body of an answer.
pub(crate) async fn said(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// The message of a refusal of this kind.
pub(crate) fn refused<'a>((status, body): &'a (u16, Value), expected: (u16, &str)) -> &'a str {
    let code = body["code"].as_str().unwrap_or_default();
    assert_eq!((*status, code), expected, "{body}");
    body["message"].as_str().unwrap()
}

/// A broker that publishes this key; its URL.
async fn publish(key: &DeviceKey) -> String {
    let keys = VerifyKeys::from_keys([key.public_jwk().clone()]).unwrap();
    let document = keys.jwks().to_string();
    let router = Router::new().route("/jwks.json", get(move || async move { document }));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None, false).await;
    let listener = listener.unwrap();
    let url = format!("http://{}", listener.address());
    tokio::spawn(serve(listener, router, CancellationToken::new()));
    url
}
