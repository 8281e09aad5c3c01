//! The ways to a secret with the broker's, the worker's and the signer's own routers; registry and
//! bucket are in memory.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::Secret;
use api::vault::{PairingApproval, Reason};
use artifacts_sidecar::{Daemon, server};
use async_trait::async_trait;
use bucket::Bucket;
use bucket::memory::MemoryBucket;
use credentials::{Endpoint, Paths};
use model::{Actor, DeviceId, ServiceName};
use registry::{Device, Registry, Roles, Scope, Unavailable};
use secrecy::ExposeSecret;
use secrets::{
    Access, AskedEachTime, Broker, Devices, HttpStore, Kind, Login, Logins, Place, S3Settings,
    S3Store, SecretStore, SecretValue, Seen, Server, SidecarStore, Worker,
};
use tokio_util::sync::CancellationToken;
use vault::{Kek, MasterSecret, SignEs256, VerifyKeys, derive_cred_kek};
use worker::ports::{Away, Buckets, CapKeys, Signer};
use zeroize::Zeroizing;

/// Who may do what.
#[derive(Default)]
struct Book {
    devices: Mutex<HashMap<DeviceId, Device>>,
    scopes: Mutex<HashSet<(Actor, ServiceName)>>,
    epoch: AtomicU32,
    is_away: AtomicBool,
}

impl Book {
    fn add(&self, operator: &Actor, actor: &Actor, id: DeviceId, roles: u32) {
        let device = Device {
            operator: operator.clone(),
            actor: actor.clone(),
            roles: Roles(roles),
            tier: 0,
            registered_at: 0,
            revoked: false,
        };
        self.devices.lock().expect("unpoisoned").insert(id, device);
    }

    fn here(&self) -> Result<(), Unavailable> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(Unavailable("told to be away".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Registry for Book {
    async fn device(&self, _: &Actor, id: &DeviceId) -> Result<Option<Device>, Unavailable> {
        self.here()?;
        Ok(self.devices.lock().expect("unpoisoned").get(id).cloned())
    }

    async fn scope(
        &self,
        _: &Actor,
        actor: &Actor,
        name: &ServiceName,
    ) -> Result<Scope, Unavailable> {
        self.here()?;
        let scopes = self.scopes.lock().expect("unpoisoned");
        Ok(Scope {
            in_scope: scopes.contains(&(actor.clone(), name.clone())),
            read_only: false,
        })
    }

    async fn current_epoch(&self) -> Result<u32, Unavailable> {
        self.here()?;
        Ok(self.epoch.load(Ordering::SeqCst))
    }
}

/// Signer, bucket, broker's keys and audit of the worker.
struct Around {
    bucket: MemoryBucket,
    jwks: String,
}

#[async_trait]
impl Signer for Around {
    async fn derive(&self, operator: &Actor, actor: &Actor, epoch: u32) -> Result<Kek, Away> {
        let secret = MasterSecret::from_bytes([u8::try_from(epoch).expect("small"); 32]);
        Ok(derive_cred_kek(&secret, operator, actor))
    }
}

#[async_trait]
impl Buckets for Around {
    async fn of(&self, _: &Actor, _: &str) -> Result<Arc<dyn Bucket>, Away> {
        Ok(Arc::new(self.bucket.clone()))
    }

    fn forget(&self, _: &Actor, _: &Arc<dyn Bucket>) {}
}

#[async_trait]
impl CapKeys for Around {
    async fn current(&self) -> Result<Arc<VerifyKeys>, Away> {
        let text = reqwest::get(&self.jwks)
            .await
            .expect("the broker")
            .text()
            .await;
        Ok(Arc::new(
            VerifyKeys::parse(&text.expect("text")).expect("keys"),
        ))
    }

    async fn newer(&self, _: &Arc<VerifyKeys>) -> Option<Arc<VerifyKeys>> {
        None
    }
}

#[async_trait]
impl worker::ports::Audit for Around {
    async fn write(&self, _: &worker::Record) -> Result<(), Away> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), Away> {
        Ok(())
    }
}

struct NoAudit;

#[async_trait]
impl broker::Audit for NoAudit {
    async fn write(&self, _: &broker::Record) -> Result<(), String> {
        Ok(())
    }
}

struct World {
    home: tempfile::TempDir,
    book: Arc<Book>,
    broker: Endpoint,
    worker: Endpoint,
    operator: Login,
    agent: Actor,
    _stop: tokio_util::sync::DropGuard,
}

async fn listen() -> (base::Listener, String) {
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = base::Listener::bind(address, None, false)
        .await
        .expect("a port");
    let url = format!("http://{}", listener.address());
    (listener, url)
}

impl World {
    /// An operator who is logged in, and an agent's machine that is paired and registered.
    async fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let stop = CancellationToken::new();
        let book = Arc::new(Book::default());
        book.epoch.store(1, Ordering::SeqCst);
        let (listener, url) = listen().await;
        let random = Arc::new(base::SystemRandom::default());
        let store = broker::Store::open(&home.path().join("broker.db")).await;
        let store = store.expect("a database");
        let now = secrets::now();
        let folder = home.path().join("keys");
        let app = broker::App::new(broker::Parts {
            settings: broker::Settings {
                heartbeat: Duration::from_millis(200),
                watch_interval: Duration::from_millis(100),
                poll_interval: Duration::from_millis(10),
                ..broker::Settings::new(&url)
            },
            store: store.clone(),
            keys: broker::SigningKeys::open(&folder, now).expect("keys"),
            issuers: base::tokens::Issuers::new(Vec::new()).expect("none"),
            registry: book.clone(),
            audit: Arc::new(NoAudit),
            clock: Arc::new(base::SystemClock),
            random: random.clone(),
            stop: stop.clone(),
        });
        tokio::spawn(base::serve(
            listener,
            broker::public(app.clone()),
            stop.clone(),
        ));
        tokio::spawn(broker::watch::run(app, stop.clone()));
        let token = broker::new_bootstrap(&store, random.as_ref(), now).await;
        let token = token.expect("a token").expose_secret().to_owned();

        let (listener, worker_url) = listen().await;
        let around = Arc::new(Around {
            bucket: MemoryBucket::new(),
            jwks: format!("{url}/jwks.json"),
        });
        let app = worker::App::new(worker::Parts {
            settings: worker::Settings::new(&worker_url, &url),
            registry: book.clone(),
            signer: around.clone(),
            buckets: around.clone(),
            cap_keys: around.clone(),
            audit: around,
            clock: Arc::new(base::SystemClock),
        });
        let router = worker::router(app.expect("good settings"));
        tokio::spawn(base::serve(listener, router, stop.clone()));

        let broker: Endpoint = url.parse().expect("an address");
        let client = Broker::new(Server::new("broker", broker.clone(), None).expect("a server"));
        let token: Secret = secrecy::SecretString::from(token).into();
        let own = Place::in_files(&operator_paths(&home));
        let (key, _) = Devices::new(own).load_or_make().expect("a key");
        let session = client.bootstrap(token, &key).await.expect("a session");
        let operator = Login::of(session.access_token).expect("a session");
        let agent = pair(&client, &operator, &book, &home).await;
        Self {
            home,
            book,
            broker,
            worker: worker_url.parse().expect("an address"),
            operator,
            agent,
            _stop: stop.drop_guard(),
        }
    }

    fn paths(&self) -> Paths {
        Paths::under(self.home.path())
    }

    fn allow(&self, name: &str) {
        let scope = (self.agent.clone(), service(name));
        self.book.scopes.lock().expect("unpoisoned").insert(scope);
    }

    fn disallow(&self, name: &str) {
        let scope = (self.agent.clone(), service(name));
        self.book.scopes.lock().expect("unpoisoned").remove(&scope);
    }

    fn access(&self) -> Access {
        let broker = Server::new("broker", self.broker.clone(), None).expect("a server");
        Access::open(Broker::new(broker), &Place::in_files(&self.paths())).expect("readable")
    }

    fn worker(&self) -> Worker {
        Worker::new(Server::new("worker", self.worker.clone(), None).expect("a server"))
    }

    fn http(&self) -> HttpStore<AskedEachTime> {
        let caps = AskedEachTime::new(self.access());
        HttpStore::new(caps, self.worker(), Seen::new(&self.paths()))
    }

    /// A daemon of the agent's machine, which hears the broker.
    async fn daemon(&self) -> (Arc<Daemon>, SidecarStore) {
        let access = Arc::new(self.access());
        let daemon = Daemon::new(access, self.broker.to_string(), self.worker(), self.paths());
        let daemon = Arc::new(daemon);
        let path = self.home.path().join("run/daemon.sock");
        let socket = server::bind(&path, false).await.expect("bound");
        tokio::spawn(server::serve(socket, daemon.clone()));
        let following = daemon.clone();
        tokio::spawn(async move { following.follow().await });
        let began = Instant::now();
        while !daemon.liveness().is_connected() {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{:?}",
                daemon.liveness().trouble()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (daemon, SidecarStore::new(path))
    }
}

/// The operator's own machine.
fn operator_paths(home: &tempfile::TempDir) -> Paths {
    Paths::under(&home.path().join("operator"))
}

/// Pairs the machine as the agent `bot`, as the commands of both sides do.
async fn pair(client: &Broker, operator: &Login, book: &Book, home: &tempfile::TempDir) -> Actor {
    let place = Place::in_files(&Paths::under(home.path()));
    let (key, _) = Devices::new(place.clone()).load_or_make().expect("a key");
    let asked = client.pair(&key, "bot").await.expect("asked");
    let code = asked.user_code.to_string();
    let pending = client.pending(operator, &code).await.expect("it waits");
    assert_eq!(pending.device, key.public_jwk().thumbprint());
    let actor = operator.operator.agent("bot").expect("a label");
    assert_eq!(pending.actor, actor);
    let word = PairingApproval {
        approve: true,
        device: pending.device,
    };
    client
        .decide(operator, &code, &word)
        .await
        .expect("approved");
    let early = client
        .poll_pairing(&key, &asked.pairing)
        .await
        .expect("not yet");
    assert!(early.is_none(), "the registry does not know it yet");
    book.add(&operator.operator, &actor, pending.device, 1);
    let began = Instant::now();
    let session = loop {
        assert!(began.elapsed() < Duration::from_secs(20), "no session");
        tokio::time::sleep(Duration::from_millis(50)).await;
        match client.poll_pairing(&key, &asked.pairing).await {
            Ok(Some(session)) => break session,
            Ok(None) => {}
            Err(error) => assert_eq!(error.kind, Kind::Temporary, "{error}"),
        }
    };
    let url = client.server().base();
    Logins::new(place)
        .save(url, &session.access_token)
        .expect("kept");
    actor
}

fn service(name: &str) -> ServiceName {
    name.parse().expect("a name")
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a value")
}

async fn read(store: &dyn SecretStore, name: &str) -> secrets::Result<String> {
    let read = store.read(&service(name), false).await?;
    Ok(String::from_utf8(read.value.expose().to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_way_stores_the_other_reads_and_only_within_the_scope() {
    let world = World::new().await;
    world.allow("openrouter");
    let (daemon, sidecar) = world.daemon().await;
    let http = world.http();
    let stored = sidecar
        .store(&service("OpenRouter"), &value("sk-1"), None)
        .await;
    assert_eq!(stored.expect("stored").generation, 1);
    assert_eq!(read(&http, "openrouter").await.expect("read"), "sk-1");
    let stored = http
        .store(&service("openrouter"), &value("sk-2"), Some(1))
        .await;
    assert_eq!(stored.expect("stored").generation, 2);
    assert_eq!(read(&sidecar, "openrouter").await.expect("read"), "sk-2");
    let listed = sidecar.list().await.expect("listed");
    assert_eq!(listed.len(), 1);
    for store in [&http as &dyn SecretStore, &sidecar] {
        let error = read(store, "github").await.expect_err("out of scope");
        assert_eq!(
            (error.reason, error.kind),
            (Some(Reason::ScopeDenied), Kind::Denied)
        );
        let error = store.teardown(None).await.expect_err("no master");
        assert_eq!(error.kind, Kind::Denied, "{error}");
    }
    assert!(daemon.caps().count() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_revoked_is_gone_from_the_daemon_within_a_second() {
    let world = World::new().await;
    world.allow("openrouter");
    let (daemon, sidecar) = world.daemon().await;
    sidecar
        .store(&service("openrouter"), &value("sk"), None)
        .await
        .expect("stored");
    read(&sidecar, "openrouter").await.expect("read");
    let held = daemon.caps().count();
    assert!(held > 0);
    world.disallow("openrouter");
    let began = Instant::now();
    while daemon.caps().count() > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{held} are still held"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = read(&sidecar, "openrouter").await.expect_err("revoked");
    assert_eq!(error.reason, Some(Reason::ScopeDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_costs_one_more_question_and_an_operator_hears_the_reason_of_each_refusal() {
    let world = World::new().await;
    world.allow("openrouter");
    let (_daemon, sidecar) = world.daemon().await;
    sidecar
        .store(&service("openrouter"), &value("sk"), None)
        .await
        .expect("stored");
    world.book.epoch.store(2, Ordering::SeqCst);
    assert_eq!(
        read(&sidecar, "openrouter")
            .await
            .expect("sealed in epoch 1"),
        "sk"
    );
    let stored = sidecar
        .store(&service("openrouter"), &value("sk2"), None)
        .await;
    assert_eq!(stored.expect("stored").epoch, 2);
    world.book.is_away.store(true, Ordering::SeqCst);
    let error = read(&sidecar, "openrouter").await.expect_err("away");
    assert_eq!(
        (error.reason, error.kind),
        (Some(Reason::RegistryUnavailable), Kind::Temporary)
    );
    world.book.is_away.store(false, Ordering::SeqCst);
    assert_eq!(read(&sidecar, "openrouter").await.expect("back"), "sk2");
    assert!(world.operator.is_operator());
}

/// A signer of this broker's sessions.
async fn signer_of(world: &World) -> secrets::Signer {
    let folder = world.home.path().join("signer");
    std::fs::create_dir(&folder).expect("made");
    let words = secrecy::SecretString::from("correct horse battery");
    let passphrase = || signer::seal::Passphrase::new(words.clone()).expect("long enough");
    let path = folder.join("signer.sealed");
    let epochs = signer::file::init(&path, &passphrase(), secrets::now()).await;
    let clock = Arc::new(base::SystemClock);
    let jwks = format!("{}/jwks.json", world.broker);
    let keys = base::published::PublishedKeys::new(reqwest::Client::new(), jwks, clock.clone());
    let (listener, url) = listen().await;
    let signer = signer::Signer::new(signer::Parts {
        seal: Box::new(passphrase()),
        epochs: epochs.expect("a file"),
        audit: base::audit::AuditFile::open(&folder.join("audit.jsonl")).expect("a file"),
        sessions: signer::Sessions::new(world.broker.as_str(), keys),
        public_url: url.clone(),
        own_keys: true,
        login_places: Vec::new(),
        rates: signer::Rates::default(),
        clock,
        path,
    });
    tokio::spawn(base::serve(
        listener,
        signer::public(signer),
        CancellationToken::new(),
    ));
    let url = url.parse().expect("an address");
    secrets::Signer::new(Server::new("signer", url, None).expect("a server"))
}

/// The backend `s3` of whoever has this session, on the machine that it is bound to.
fn s3(
    world: &World,
    paths: &Paths,
    login: &Login,
    signer: secrets::Signer,
    bucket: &MemoryBucket,
    wallet: &str,
) -> S3Store {
    let place = Place::in_files(paths);
    Logins::new(place.clone())
        .save(&world.broker, &login.token)
        .expect("kept");
    let broker = Server::new("broker", world.broker.clone(), None).expect("a server");
    let access = Access::open(Broker::new(broker), &place).expect("readable");
    let settings = S3Settings {
        bucket: "vault".parse().expect("a name"),
        endpoint: None,
        sts_endpoint: None,
        region: "r".into(),
        role_arn: "role".into(),
        old: vault::OldVersions {
            allow_01: true,
            allow_02: false,
        },
        wallet: Some(wallet.parse().expect("an address")),
    };
    let seen = Seen::new(paths);
    S3Store::over(
        Arc::new(access),
        signer,
        Arc::new(bucket.clone()),
        &settings,
        seen,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signer_gives_an_operators_own_machine_what_it_seals_and_opens_with() {
    let world = World::new().await;
    let (signer, bucket) = (signer_of(&world).await, MemoryBucket::new());
    let operator = &world.operator;
    let nobodys = format!("0x{}", "0".repeat(40));
    let own = operator_paths(&world.home);
    let key = Devices::new(Place::in_files(&own)).load();
    let key = &key.expect("readable").expect("made");
    let store = s3(&world, &own, operator, signer.clone(), &bucket, &nobodys);
    store
        .store(&service("openrouter"), &value("sk"), None)
        .await
        .expect("stored");
    assert_eq!(read(&store, "openrouter").await.expect("read"), "sk");

    // An older envelope opens with the signature of the login's own wallet and of no other.
    let asked = signer
        .legacy_kek(
            operator,
            key,
            &nobodys.parse().expect("one"),
            &service("old"),
        )
        .await;
    let error = asked.err().expect("not its wallet");
    assert_eq!(error.kind, Kind::Denied, "{error}");
    let wallet = error.hint.split(':').nth(1).expect("its wallet").to_owned();
    let owner = wallet.parse().expect("an address");
    let kek = signer
        .legacy_kek(operator, key, &owner, &service("old"))
        .await
        .expect("signed");
    let owner = vault::legacy::Owner::Wallet(&owner);
    let sealed = vault::legacy::seal(&kek, owner, &service("old"), b"from before");
    let key = format!("bots/{}/credentials/old.enc", operator.actor);
    let body = bucket::Body::Bytes(sealed.expect("sealed").into());
    let key = bucket::Key::new(key).expect("a key");
    bucket
        .put(&key, body, bucket::PutOptions::default())
        .await
        .expect("written");
    let store = s3(&world, &own, operator, signer.clone(), &bucket, &wallet);
    assert_eq!(read(&store, "old").await.expect("allowed"), "from before");

    // An agent's keys stay between signer and worker.
    let agent = Logins::new(Place::in_files(&world.paths())).load(&world.broker);
    let agent = agent.expect("readable").expect("paired");
    let store = s3(&world, &world.paths(), &agent, signer, &bucket, &wallet);
    let error = store
        .store(&service("a"), &value("x"), None)
        .await
        .expect_err("an agent");
    assert_eq!(error.kind, Kind::Denied, "{error}");
    assert!(
        error.hint.contains("--credential-backend"),
        "{}",
        error.hint
    );
}
