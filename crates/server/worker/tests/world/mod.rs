//! A worker with everything around it in memory, asked over HTTP as its router takes it.

#![allow(
    dead_code,
    reason = "each test program takes the part of it that it needs"
)]

pub(crate) mod fakes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Timestamp;
use api::vault::{PROOF_HEADER, Reason, Refusal};
use artifacts_worker::ports::Signer;
use artifacts_worker::{App, Parts, Record, Settings, router};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base::ManualClock;
use bucket::memory::MemoryBucket;
use bucket::{Bucket, GetOptions, Key, PutOptions};
use model::{Actor, ServiceName};
use registry::{Device, Roles, Scope};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt;
use vault::{
    Cap, DeviceKey, Op, Place, ProofFor, SignEs256, derive_cred_kek, make_proof, mint_cap, seal,
};

use fakes::{FakeAudit, FakeBuckets, FakeKeys, FakeRegistry, FakeSigner};

pub(crate) const URL: &str = "https://worker.example";
pub(crate) const ISSUER: &str = "https://broker.example";
/// What the clock shows, in seconds since 1970.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) registry: Arc<FakeRegistry>,
    pub(crate) signer: Arc<FakeSigner>,
    pub(crate) bucket: MemoryBucket,
    pub(crate) buckets: Arc<FakeBuckets>,
    pub(crate) keys: Arc<FakeKeys>,
    pub(crate) audit: Arc<FakeAudit>,
    pub(crate) broker: DeviceKey,
    pub(crate) device: DeviceKey,
    pub(crate) operator: Actor,
    pub(crate) agent: Actor,
    pub(crate) service: ServiceName,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A number that was not there before, for capabilities and proofs.
pub(crate) fn number() -> String {
    format!("n-{}", NUMBER.fetch_add(1, Ordering::SeqCst))
}

impl World {
    /// An operator's agent, whose device may use `openrouter`, and nothing stored.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(set: impl FnOnce(&mut Settings)) -> Self {
        let operator = Actor::from_oidc("https://people.example", "ada").unwrap();
        let agent = operator.agent("builder").unwrap();
        let service: ServiceName = "openrouter".parse().unwrap();
        let device = DeviceKey::generate().unwrap();
        let broker = DeviceKey::generate().unwrap();
        let registry = Arc::new(FakeRegistry::new());
        let (yes, read_only) = (true, false);
        registry.allow(
            &agent,
            &service,
            Scope {
                in_scope: yes,
                read_only,
            },
        );
        registry.register(
            device.public_jwk().thumbprint(),
            device_of(&operator, &agent, Roles::USE),
        );
        let bucket = MemoryBucket::new();
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(NOW * 1_000_000)));
        let signer = Arc::new(FakeSigner::default());
        let buckets = Arc::new(FakeBuckets::new(bucket.clone()));
        let keys = Arc::new(FakeKeys::of(broker.public_jwk()));
        let audit = Arc::new(FakeAudit::default());
        let mut settings = Settings::new(URL, ISSUER);
        set(&mut settings);
        let app = App::new(Parts {
            settings,
            registry: registry.clone(),
            signer: signer.clone(),
            buckets: buckets.clone(),
            cap_keys: keys.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
        })
        .unwrap();
        Self {
            router: router(Arc::clone(&app)),
            app,
            clock,
            registry,
            signer,
            bucket,
            buckets,
            keys,
            audit,
            broker,
            device,
            operator,
            agent,
            service,
        }
    }

    /// Another worker over the same bucket, for the same device, with this signer.
    pub(crate) fn beside(&self, signer: Arc<dyn Signer>) -> Self {
        let other = Self::new();
        let buckets = Arc::new(FakeBuckets::new(self.bucket.clone()));
        let app = App::new(Parts {
            settings: Settings::new(URL, ISSUER),
            registry: other.registry.clone(),
            signer,
            buckets: buckets.clone(),
            cap_keys: other.keys.clone(),
            audit: other.audit.clone(),
            clock: other.clock.clone(),
        })
        .unwrap();
        Self {
            router: router(Arc::clone(&app)),
            app,
            bucket: self.bucket.clone(),
            buckets,
            ..other
        }
    }

    /// A good request of the agent's device.
    pub(crate) fn ask(&self, op: Op) -> Ask<'_> {
        let has_service = matches!(op, Op::Store | Op::Fetch);
        let teardown = op == Op::Teardown;
        Ask {
            world: self,
            op,
            cap: Cap {
                iss: ISSUER.into(),
                sub: if teardown {
                    &self.operator
                } else {
                    &self.agent
                }
                .clone(),
                operator: self.operator.clone(),
                op,
                service: has_service.then(|| self.service.clone()),
                target: teardown.then(|| self.agent.clone()),
                epoch: 1,
                iat: NOW,
                nbf: NOW,
                exp: NOW + 300,
                jti: number(),
                device: self.device.public_jwk().thumbprint(),
            },
            change_cap: None,
            proof: ProofKind::Good,
            body: match op {
                Op::Store => {
                    json!({ "service": self.service, "plaintext": base64(b"sk-or-secret") })
                }
                Op::Fetch => json!({ "service": self.service }),
                Op::List => json!({}),
                Op::Teardown => json!({ "target": self.agent, "label": "builder" }),
            },
            change_body: None,
        }
    }

    /// Makes the device a master's.
    pub(crate) fn master(&self) {
        let device = device_of(&self.operator, &self.operator, Roles(3));
        self.registry
            .register(self.device.public_jwk().thumbprint(), device);
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let retry_after = response.headers().contains_key(header::RETRY_AFTER);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        Reply {
            status,
            retry_after,
            body: body.unwrap().to_vec(),
        }
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            operator: &self.operator,
            actor: &self.agent,
            service: &self.service,
        }
    }

    /// An envelope as a worker would seal it.
    pub(crate) fn sealed(
        &self,
        place: &Place<'_>,
        epoch: u32,
        generation: u64,
        text: &[u8],
    ) -> Vec<u8> {
        let kek = derive_cred_kek(&FakeSigner::secret(epoch), place.operator, place.actor);
        seal(&kek, place, epoch, generation, text).unwrap()
    }

    pub(crate) async fn put(&self, key: &str, bytes: impl Into<bytes::Bytes>) {
        let key = Key::new(key).unwrap();
        let body = bucket::Body::Bytes(bytes.into());
        self.bucket
            .put(&key, body, PutOptions::default())
            .await
            .unwrap();
    }

    pub(crate) async fn object(&self, key: &str) -> Vec<u8> {
        let object = self
            .bucket
            .get(&Key::new(key).unwrap(), GetOptions::default())
            .await;
        bucket::collect(object.unwrap().body).await.unwrap()
    }

    /// The one record that a request has left.
    pub(crate) fn only_record(&self) -> Record {
        let mut records = self.audit.take();
        assert_eq!(records.len(), 1, "one request, one record: {records:?}");
        records.remove(0)
    }

    /// Sends a request that must be refused for this reason, with one record of it.
    pub(crate) async fn refused(&self, ask: Ask<'_>, reason: Reason) {
        self.audit.take();
        let op = ask.op;
        let reply = ask.send().await;
        assert_eq!(reply.reason(), reason, "{}", reply.text());
        assert_eq!(reply.status.as_u16(), reason.status());
        let record = self.only_record();
        assert_eq!((record.op, record.outcome), (op.as_str(), Err(reason)));
    }

    /// Sends a request that must be done, with one record of it.
    pub(crate) async fn done<T: DeserializeOwned>(&self, ask: Ask<'_>) -> T {
        self.audit.take();
        let reply = ask.send().await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        assert_eq!(self.only_record().outcome, Ok(()));
        serde_json::from_slice(&reply.body).unwrap()
    }
}

pub(crate) fn device_of(operator: &Actor, actor: &Actor, roles: Roles) -> Device {
    Device {
        operator: operator.clone(),
        actor: actor.clone(),
        roles,
        tier: 0,
        registered_at: 1,
        revoked: false,
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

pub(crate) fn path_of(op: Op) -> String {
    format!("/v1/cred/{}", op.as_str())
}

/// What is sent as proof.
pub(crate) enum ProofKind {
    Good,
    Missing,
    /// A good one of another device.
    Foreign,
    /// This one.
    This(String),
}

/// A request in the making.
pub(crate) struct Ask<'a> {
    pub(crate) world: &'a World,
    pub(crate) op: Op,
    pub(crate) cap: Cap,
    /// Changes the token behind the signature's back.
    pub(crate) change_cap: Option<fn(String) -> String>,
    pub(crate) proof: ProofKind,
    pub(crate) body: Value,
    /// Changes the body before it is proved.
    pub(crate) change_body: Option<fn(Vec<u8>) -> Vec<u8>>,
}

impl Ask<'_> {
    pub(crate) fn token(&self) -> String {
        let token = mint_cap(&self.cap, &self.world.broker).expect("a capability");
        let token = token.expose_secret().to_owned();
        match self.change_cap {
            Some(change) => change(token),
            None => token,
        }
    }

    pub(crate) fn with_token(self, token: &str) -> Request<Body> {
        let mut body = self.body.clone();
        body["cap"] = token.into();
        let mut body = serde_json::to_vec(&body).unwrap();
        if let Some(change) = self.change_body {
            body = change(body);
        }
        let proof = self.proof_of(token, &body);
        let request =
            Request::post(path_of(self.op)).header(header::CONTENT_TYPE, "application/json");
        let request = match proof {
            Some(proof) => request.header(PROOF_HEADER, proof),
            None => request,
        };
        request.body(Body::from(body)).unwrap()
    }

    fn proof_of(&self, token: &str, body: &[u8]) -> Option<String> {
        let url = format!("{URL}{}", path_of(self.op));
        let request = ProofFor {
            method: "POST",
            url: &url,
            token: Some(token),
            body,
        };
        let now = self.world.now();
        match &self.proof {
            ProofKind::Good => make_proof(&self.world.device, &request, &number(), now),
            ProofKind::Missing => None,
            ProofKind::Foreign => {
                let other = DeviceKey::generate().unwrap();
                make_proof(&other, &request, &number(), now)
            }
            ProofKind::This(proof) => Some(proof.clone()),
        }
    }

    pub(crate) fn request(self) -> Request<Body> {
        let token = self.token();
        self.with_token(&token)
    }

    pub(crate) async fn send(self) -> Reply {
        let world = self.world;
        world.send(self.request()).await
    }
}

impl World {
    pub(crate) fn now(&self) -> i64 {
        base::Clock::now(&*self.clock).seconds()
    }
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: bool,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn reason(&self) -> Reason {
        let refusal: Refusal = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} is no refusal: {}", self.status, self.text()));
        assert!(refusal.error.contains("\nhint: "), "{}", refusal.error);
        refusal.reason
    }
}
