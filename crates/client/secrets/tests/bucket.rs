//! The backend `s3` over a bucket: the bytes, conflicts, rollbacks, older envelopes, and keys that
//! change. The signer and the broker's login are the test's; the bucket is in memory.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use api::Secret;
use api::vault::Reason;
use artifacts_secrets::rekey::{self, Which};
use artifacts_secrets::{
    Access, Broker, Devices, Kind, Logins, Place, S3Settings, S3Store, SecretStore, SecretValue,
    Seen, Server, Signer,
};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bucket::memory::MemoryBucket;
use bucket::{Body, Bucket, Condition, GetOptions, Key, PutOptions, collect};
use credentials::{Endpoint, Paths};
use model::{Actor, ServiceName};
use serde_json::{Value, json};
use vault::legacy::{self, Owner, Wallet};
use vault::{MasterSecret, OldVersions, derive_cred_kek};
use zeroize::Zeroizing;

const WALLET: &str = "0x52908400098527886e0f7030069857d2e4169ee7";

/// A signer with a master secret for each epoch.
struct FakeSigner {
    operator: Actor,
    current: AtomicU32,
    /// So many requests are answered, then none.
    left: AtomicUsize,
    asked: Mutex<Vec<Value>>,
}

impl FakeSigner {
    fn kek(&self, epoch: u32) -> vault::Kek {
        let secret = MasterSecret::from_bytes([u8::try_from(epoch).expect("small"); 32]);
        derive_cred_kek(&secret, &self.operator, &self.operator)
    }
}

fn signature() -> [u8; 65] {
    std::array::from_fn(|at| u8::try_from(at).expect("small"))
}

async fn derive(State(signer): State<Arc<FakeSigner>>, body: axum::Json<Value>) -> Response {
    if signer.left.load(Ordering::SeqCst) == 0 {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    signer.left.fetch_sub(1, Ordering::SeqCst);
    signer
        .asked
        .lock()
        .expect("unpoisoned")
        .push(body.0.clone());
    let current = signer.current.load(Ordering::SeqCst);
    let wanted = body.0["epoch"]
        .as_u64()
        .map_or(current, |epoch| epoch as u32);
    let kek = base64_simd::STANDARD.encode_to_string(signer.kek(wanted).expose());
    axum::Json(json!({ "kek": kek, "epoch": wanted, "current_epoch": current })).into_response()
}

async fn sign(State(signer): State<Arc<FakeSigner>>, body: axum::Json<Value>) -> Response {
    signer.asked.lock().expect("unpoisoned").push(body.0);
    let digits: String = signature()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let answer = json!({ "address": WALLET, "signature": format!("0x{digits}") });
    axum::Json(answer).into_response()
}

struct Scene {
    _home: tempfile::TempDir,
    paths: Paths,
    signer: Arc<FakeSigner>,
    url: Endpoint,
    bucket: Arc<MemoryBucket>,
    operator: Actor,
}

impl Scene {
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let paths = Paths::under(home.path());
        let operator = Actor::from_oidc("https://issuer", "ada").expect("an actor");
        let signer = Arc::new(FakeSigner {
            operator: operator.clone(),
            current: AtomicU32::new(1),
            left: AtomicUsize::new(usize::MAX),
            asked: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/derive-own-kek", post(derive))
            .route("/dev/sign-message", post(sign))
            .with_state(signer.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url: Endpoint = format!("http://{address}").parse().expect("an address");
        let place = Place::in_files(&paths);
        let encode = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
        let claims = json!({ "sub": operator, "operator": operator, "exp": i64::MAX });
        let token = format!("{}.{}.x", encode("{}"), encode(&claims.to_string()));
        let token: Secret = secrecy::SecretString::from(token).into();
        Logins::new(place.clone()).save(&url, &token).expect("kept");
        Devices::new(place).load_or_make().expect("a key");
        Self {
            _home: home,
            paths,
            signer,
            url,
            bucket: Arc::new(MemoryBucket::default()),
            operator,
        }
    }

    fn store(&self) -> S3Store {
        self.store_with(OldVersions::default())
    }

    fn store_with(&self, old: OldVersions) -> S3Store {
        let server = |role| Server::new(role, self.url.clone(), None).expect("a server");
        let place = Place::in_files(&self.paths);
        let access = Access::open(Broker::new(server("broker")), &place).expect("readable");
        let settings = S3Settings {
            bucket: "vault".parse().expect("a name"),
            endpoint: None,
            sts_endpoint: None,
            region: "r".into(),
            role_arn: "role".into(),
            old,
            wallet: Some(WALLET.parse().expect("an address")),
        };
        let (signer, seen) = (Signer::new(server("signer")), Seen::new(&self.paths));
        S3Store::over(
            Arc::new(access),
            signer,
            self.bucket.clone(),
            &settings,
            seen,
        )
    }

    fn place<'a>(&'a self, service: &'a ServiceName) -> vault::Place<'a> {
        vault::Place {
            operator: &self.operator,
            actor: &self.operator,
            service,
        }
    }

    async fn bytes(&self, name: &str) -> Vec<u8> {
        let object = self
            .bucket
            .get(&self.key(name), GetOptions::default())
            .await;
        collect(object.expect("there").body).await.expect("whole")
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) {
        let options = PutOptions::default();
        let body = Body::Bytes(bytes.into());
        self.bucket
            .put(&self.key(name), body, options)
            .await
            .expect("written");
    }

    fn key(&self, name: &str) -> Key {
        Key::new(self.place(&service(name)).object_key()).expect("a key")
    }
}

fn service(name: &str) -> ServiceName {
    name.parse().expect("a name")
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a value")
}

async fn read(store: &S3Store, name: &str) -> artifacts_secrets::Result<String> {
    let read = store.read(&service(name), false).await?;
    Ok(String::from_utf8(read.value.expose().to_vec()).expect("text"))
}

#[tokio::test]
async fn what_is_stored_is_an_envelope_that_anybody_with_the_key_opens() {
    let scene = Scene::new().await;
    let store = scene.store();
    let name = service("openrouter");
    let stored = store
        .store(&name, &value("sk"), None)
        .await
        .expect("stored");
    assert_eq!((stored.epoch, stored.generation), (1, 1));
    let bytes = scene.bytes("openrouter").await;
    let opened = vault::open(&scene.signer.kek(1), &scene.place(&name), &bytes);
    assert_eq!(opened.expect("opens").expose(), b"sk");
    // One that a worker has sealed is read here.
    let sealed = vault::seal(
        &scene.signer.kek(1),
        &scene.place(&name),
        1,
        2,
        b"by a worker",
    );
    scene.put("openrouter", sealed.expect("sealed")).await;
    assert_eq!(
        read(&store, "openrouter").await.expect("read"),
        "by a worker"
    );
    let stored = store
        .store(&name, &value("third"), Some(2))
        .await
        .expect("stored");
    assert_eq!(stored.generation, 3);
    let listed = store.list().await.expect("listed");
    assert_eq!(
        listed
            .iter()
            .map(|one| one.service.as_str())
            .collect::<Vec<_>>(),
        ["openrouter"]
    );
    let done = store.teardown(None).await.expect("done");
    assert_eq!((done.deleted, done.failed), (1, 0));
    let error = read(&store, "openrouter").await.expect_err("gone");
    assert_eq!(error.reason, Some(Reason::NotFound));
}

#[tokio::test]
async fn what_must_be_there_decides_whether_it_is_replaced() {
    let scene = Scene::new().await;
    let store = scene.store();
    let name = service("a");
    store
        .store(&name, &value("one"), Some(0))
        .await
        .expect("none was there");
    for expected in [0, 2] {
        let error = store
            .store(&name, &value("x"), Some(expected))
            .await
            .expect_err("other");
        assert_eq!(error.reason, Some(Reason::GenerationMismatch), "{expected}");
    }
    assert_eq!(read(&store, "a").await.expect("read"), "one");
}

#[tokio::test]
async fn an_older_envelope_is_a_rollback_and_is_not_continued() {
    let scene = Scene::new().await;
    let store = scene.store();
    let name = service("a");
    store
        .store(&name, &value("one"), None)
        .await
        .expect("stored");
    let old = scene.bytes("a").await;
    store
        .store(&name, &value("two"), None)
        .await
        .expect("stored");
    scene.put("a", old).await;
    let error = read(&store, "a").await.expect_err("a rollback");
    assert_eq!(
        (error.reason, error.kind),
        (Some(Reason::EnvelopeRollback), Kind::Conflict)
    );
    let stored = store
        .store(&name, &value("three"), None)
        .await
        .expect("stored");
    assert_eq!(stored.generation, 3, "above all that was seen");
    assert_eq!(read(&store, "a").await.expect("read"), "three");
}

#[tokio::test]
async fn a_made_up_generation_does_not_begin_again_from_zero() {
    let scene = Scene::new().await;
    let store = scene.store();
    let name = service("a");
    for text in ["one", "two"] {
        store
            .store(&name, &value(text), None)
            .await
            .expect("stored");
    }
    let old = {
        let sealed = vault::seal(&scene.signer.kek(1), &scene.place(&name), 1, 1, b"one");
        sealed.expect("sealed")
    };
    for generation in [u64::MAX, u64::MAX / 2 + 1] {
        let mut garbage = old.clone();
        garbage[5..13].copy_from_slice(&generation.to_be_bytes());
        assert_eq!(
            vault::header(&garbage).expect("a header").generation,
            generation
        );
        scene.put("a", garbage).await;
        let error = store.store(&name, &value("three"), None).await;
        assert_eq!(
            error.expect_err("made up").reason,
            Some(Reason::EnvelopeInvalid)
        );
        scene.put("a", old.clone()).await;
        let error = read(&store, "a").await.expect_err("a rollback");
        assert_eq!(error.reason, Some(Reason::EnvelopeRollback));
    }
}

#[tokio::test]
async fn an_envelope_of_another_service_or_a_changed_one_does_not_open() {
    let scene = Scene::new().await;
    let store = scene.store();
    store
        .store(&service("a"), &value("one"), None)
        .await
        .expect("stored");
    let bytes = scene.bytes("a").await;
    scene.put("b", bytes.clone()).await;
    let error = read(&store, "b").await.expect_err("swapped");
    assert_eq!(error.reason, Some(Reason::EnvelopeInvalid));
    let mut changed = bytes;
    *changed.last_mut().expect("bytes") ^= 1;
    scene.put("a", changed).await;
    let error = read(&store, "a").await.expect_err("changed");
    assert_eq!(error.reason, Some(Reason::EnvelopeInvalid));
}

async fn put_older(scene: &Scene) {
    let wallet: Wallet = WALLET.parse().expect("an address");
    let kek = legacy::kek(&signature());
    for (name, owner) in [
        ("first", Owner::Wallet(&wallet)),
        ("second", Owner::Actor(&scene.operator)),
    ] {
        let sealed = legacy::seal(&kek, owner, &service(name), name.as_bytes());
        scene.put(name, sealed.expect("sealed")).await;
    }
}

#[tokio::test]
async fn older_versions_are_read_by_policy_and_sealed_anew() {
    let scene = Scene::new().await;
    put_older(&scene).await;
    let error = read(&scene.store(), "first")
        .await
        .expect_err("not allowed");
    assert_eq!(error.reason, Some(Reason::EnvelopeVersion));
    let some = scene.store_with(OldVersions {
        allow_01: true,
        allow_02: false,
    });
    assert_eq!(read(&some, "first").await.expect("allowed"), "first");
    let error = read(&some, "second").await.expect_err("not allowed");
    assert_eq!(error.reason, Some(Reason::EnvelopeVersion));
    let asked = scene
        .signer
        .asked
        .lock()
        .expect("unpoisoned")
        .last()
        .cloned();
    let message = format!("agentkeys.kek.v1:{WALLET}:first");
    assert_eq!(asked, Some(json!({ "message": message })));
    let both = scene.store_with(OldVersions {
        allow_01: true,
        allow_02: true,
    });
    let found = rekey::older_versions(&both).await.expect("listed");
    assert_eq!(found, [(service("first"), 1), (service("second"), 2)]);
    let counts = rekey::run(&both, Which::OlderVersions, |_| {})
        .await
        .expect("done");
    assert_eq!((counts.rekeyed, counts.failed), (2, 0));
    let strict = scene.store();
    for name in ["first", "second"] {
        assert_eq!(
            read(&strict, name).await.expect("of the present form"),
            name
        );
    }
}

#[tokio::test]
async fn a_rekey_of_ten_thousand_that_is_cut_off_goes_on_and_every_secret_opens_meanwhile() {
    const SECRETS: usize = 10_000;
    let scene = Scene::new().await;
    let store = scene.store();
    let name = |number: usize| format!("s{number}");
    let old = scene.signer.kek(1);
    for number in 0..SECRETS {
        let service = service(&name(number));
        let text = name(number);
        let sealed = vault::seal(&old, &scene.place(&service), 1, 7, text.as_bytes());
        scene.put(&text, sealed.expect("sealed")).await;
    }
    scene.signer.current.store(3, Ordering::SeqCst);
    let mut before = 0;
    // Each time it is dropped where it stands, after so many more.
    for more in [1, 137, 2_500] {
        let told = AtomicUsize::new(0);
        let run = rekey::run(&store, Which::OlderEpochs, |step| {
            let done = usize::try_from(step.counts.rekeyed).expect("small");
            told.store(done, Ordering::SeqCst);
        });
        tokio::select! {
            biased;
            () = async {
                while told.load(Ordering::SeqCst) < more {
                    tokio::task::yield_now().await;
                }
            } => {}
            ended = run => panic!("it ended by itself: {:?}", ended.map_err(|e| e.message)),
        }
        let after = all_open(&scene, SECRETS, &name).await;
        assert!(
            after >= before + more && after < SECRETS,
            "{before} {after}"
        );
        before = after;
    }
    let last = rekey::run(&store, Which::OlderEpochs, |_| {})
        .await
        .expect("finished");
    assert_eq!((last.failed, last.looked_at), (0, SECRETS as u64));
    assert_eq!(last.current as usize + last.rekeyed as usize, SECRETS);
    assert_eq!(all_open(&scene, SECRETS, &name).await, SECRETS);
    assert_eq!(read(&store, "s9999").await.expect("read"), "s9999");
    let again = rekey::run(&store, Which::OlderEpochs, |_| {})
        .await
        .expect("nothing to do");
    assert_eq!((again.rekeyed, again.current), (0, SECRETS as u64));
}

/// Opens every envelope with the key of its epoch; how many are of the present one.
async fn all_open(scene: &Scene, secrets: usize, name: &dyn Fn(usize) -> String) -> usize {
    let keks = [scene.signer.kek(1), scene.signer.kek(3)];
    let mut current = 0;
    for number in 0..secrets {
        let service = service(&name(number));
        let bytes = scene.bytes(service.as_str()).await;
        let header = vault::header(&bytes).expect("an envelope");
        let (kek, generation) = match header.epoch {
            1 => (&keks[0], 7),
            _ => (&keks[1], 8),
        };
        assert_eq!(header.generation, generation);
        let opened = vault::open(kek, &scene.place(&service), &bytes).expect("opens");
        assert_eq!(opened.expose(), service.as_str().as_bytes());
        current += usize::from(header.epoch == 3);
    }
    current
}

#[tokio::test]
async fn a_rekey_tells_what_it_could_not_do_and_stops_where_the_signer_is_away() {
    let scene = Scene::new().await;
    let store = scene.store();
    for name in ["a", "b"] {
        store
            .store(&service(name), &value(name), None)
            .await
            .expect("stored");
    }
    let mut bytes = scene.bytes("a").await;
    *bytes.last_mut().expect("bytes") ^= 1;
    scene.put("a", bytes).await;
    scene.signer.current.store(2, Ordering::SeqCst);
    let mut failures = Vec::new();
    let counts = rekey::run(&store, Which::OlderEpochs, |step| {
        failures.extend(
            step.failure
                .map(|(name, error)| (name.clone(), error.reason)),
        );
    });
    let counts = counts.await.expect("done");
    assert_eq!((counts.rekeyed, counts.failed), (1, 1));
    assert_eq!(failures, [(service("a"), Some(Reason::EnvelopeInvalid))]);
    scene.signer.current.store(4, Ordering::SeqCst);
    scene.signer.left.store(1, Ordering::SeqCst);
    let error = rekey::run(&store, Which::OlderEpochs, |_| {})
        .await
        .expect_err("away");
    assert_eq!(error.kind, Kind::Temporary, "{error}");
    scene.signer.left.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(read(&store, "b").await.expect("as it was"), "b");
}

#[tokio::test]
async fn a_write_in_between_is_not_overwritten() {
    let scene = Scene::new().await;
    let store = scene.store();
    let name = service("a");
    store
        .store(&name, &value("one"), None)
        .await
        .expect("stored");
    let body = Body::Bytes(b"x".to_vec().into());
    let options = PutOptions {
        condition: Condition::Absent,
        ..PutOptions::default()
    };
    let refused = scene.bucket.put(&scene.key("a"), body, options).await;
    assert!(
        matches!(refused, Err(bucket::Error::Precondition { .. })),
        "the bucket keeps conditions"
    );
    let (first, second) = (value("by one"), value("by two"));
    let both = tokio::join!(
        store.store(&name, &first, None),
        store.store(&name, &second, None)
    );
    let generations = [
        both.0.expect("stored").generation,
        both.1.expect("stored").generation,
    ];
    assert_eq!(
        generations.iter().max(),
        Some(&3),
        "one after the other: {generations:?}"
    );
}
