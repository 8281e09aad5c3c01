//! A signer over mTLS that is started anew again and again while two workers are under load: no
//! wrong answer, only retries. And what a worker does not take for its signer or broker.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use api::vault::{DeriveCredKek, DerivedKek, FetchedCredential, Reason};
use artifacts_worker::Budget;
use artifacts_worker::adapters::{BrokerKeys, MutualSigner};
use artifacts_worker::ports::{CapKeys, Signer};
use axum::routing::{get, post};
use axum::{Json, Router};
use base::ca::{Authority, Order};
use base::mutual::{Identity, client};
use base::peer::only;
use base::published::PublishedKeys;
use base::{ClientCa, Clock, Listener, SystemClock, Tls};
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use vault::{DeviceKey, Op, SignEs256, derive_cred_kek};
use world::fakes::{FakeKeys, FakeSigner};
use world::{World, base64};

/// An authority and what it has issued.
struct Town {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Town {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let domain = "vault.test".parse().unwrap();
        let authority = Authority::open_or_make(folder.path(), &domain, SystemClock.now());
        Self {
            authority: authority.unwrap(),
            folder,
        }
    }

    fn identity(&self, role: &str, names: &[String]) -> Identity {
        let order = Order {
            role: Some(role),
            names,
            lifetime: Duration::from_secs(3600),
        };
        let file = |end: &str| -> PathBuf { self.folder.path().join(format!("{role}{end}")) };
        let identity = Identity {
            ca: self.folder.path().join("ca.pem"),
            certificate: file(".pem"),
            key: file("-key.pem"),
            trust_domain: self.authority.trust_domain().clone(),
        };
        let issued = self.authority.issue(&order, SystemClock.now()).unwrap();
        issued.write(&identity.certificate, &identity.key).unwrap();
        identity
    }

    /// A server of a role, at this address.
    async fn serve(&self, role: &str, address: SocketAddr, router: Router) -> Server {
        let identity = self.identity(role, &["127.0.0.1".to_owned()]);
        let tls = Tls {
            certificate: identity.certificate,
            key: identity.key,
            clients: Some(ClientCa {
                file: identity.ca,
                trust_domain: identity.trust_domain,
            }),
        };
        let listener = Listener::bind(address, Some(&tls), false).await.unwrap();
        let address = listener.address();
        let stop = CancellationToken::new();
        let task = tokio::spawn(base::serve(listener, router, stop.clone()));
        Server {
            address,
            stop,
            task,
        }
    }

    fn signer(&self, address: SocketAddr, budget: Budget) -> MutualSigner {
        let worker = self.identity("worker", &[]);
        let client = client(&worker, "signer").unwrap().build().unwrap();
        MutualSigner::new(client, &format!("https://{address}/"), budget)
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Ends: nobody listens any more, and idle connections are closed.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.stop.cancel();
    }
}

fn signer_router(asked: Arc<AtomicU64>) -> Router {
    let derive = move |Json(question): Json<DeriveCredKek>| async move {
        asked.fetch_add(1, SeqCst);
        let secret = FakeSigner::secret(question.epoch);
        let kek = derive_cred_kek(&secret, &question.operator, &question.actor);
        Json(DerivedKek {
            kek: SecretString::from(base64(kek.expose())).into(),
            epoch: question.epoch,
            current_epoch: question.epoch,
        })
    };
    Router::new().route("/v1/derive-cred-kek", only(&["worker"], post(derive)))
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_is_started_anew_under_load_costs_retries_only() {
    let town = Town::new();
    let asked = Arc::new(AtomicU64::new(0));
    let mut server = town
        .serve("signer", any(), signer_router(asked.clone()))
        .await;
    let address = server.address;
    // Two workers, over one bucket.
    let world = World::new();
    let second = world.beside(Arc::new(town.signer(address, Budget::default())));
    let first = Arc::new(world.beside(Arc::new(town.signer(address, Budget::default()))));
    let second = Arc::new(second);
    let text = b"sk-or-steady";
    world
        .put(
            &world.place().object_key(),
            world.sealed(&world.place(), 1, 1, text),
        )
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let clients = (0..8).map(|n| {
        let worker = if n % 2 == 0 {
            first.clone()
        } else {
            second.clone()
        };
        let done = done.clone();
        tokio::spawn(async move {
            let mut answered = 0_u64;
            while !done.load(SeqCst) {
                let reply = worker.ask(Op::Fetch).send().await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                let fetched: FetchedCredential = serde_json::from_slice(&reply.body).unwrap();
                assert_eq!(fetched.plaintext.expose(), base64(b"sk-or-steady"));
                answered += 1;
            }
            answered
        })
    });
    let clients: Vec<_> = clients.collect();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        server.kill().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        server = town
            .serve("signer", address, signer_router(asked.clone()))
            .await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    done.store(true, SeqCst);
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert!(answered >= 40, "{answered} answers");
    assert!(
        asked.load(SeqCst) >= answered,
        "no key is kept: each request asks"
    );
    server.kill().await;
}

#[tokio::test]
async fn a_signer_that_stays_away_is_told_within_the_budget() {
    let town = Town::new();
    let budget = Budget {
        time: Duration::from_millis(300),
        ..Budget::default()
    };
    let nobody = std::net::TcpListener::bind(any())
        .unwrap()
        .local_addr()
        .unwrap();
    let world = World::new();
    let worker = world.beside(Arc::new(town.signer(nobody, budget)));
    let begun = std::time::Instant::now();
    worker
        .refused(worker.ask(Op::Fetch), Reason::SignerUnavailable)
        .await;
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn another_role_and_an_answer_of_another_epoch_are_not_the_signer() {
    let town = Town::new();
    let world = World::new();
    let asked = Arc::new(AtomicU64::new(0));
    let derive = |signer: MutualSigner| {
        let (operator, agent) = (world.operator.clone(), world.agent.clone());
        async move { signer.derive(&operator, &agent, 1).await.err() }
    };
    // A broker that was taken over stands where the signer was: it is not even asked.
    let broker = town
        .serve("broker", any(), signer_router(asked.clone()))
        .await;
    let budget = Budget {
        time: Duration::from_millis(300),
        ..Budget::default()
    };
    let away = derive(town.signer(broker.address, budget)).await.unwrap();
    assert!(away.why.contains("certificate"), "{away}");
    assert_eq!(asked.load(SeqCst), 0);
    broker.kill().await;
    // A signer that answers with the key of another epoch.
    let other = post(|| async {
        Json(DerivedKek {
            kek: SecretString::from(base64(&[7; 32])).into(),
            epoch: 2,
            current_epoch: 2,
        })
    });
    let router = Router::new().route("/v1/derive-cred-kek", other);
    let signer = town.serve("signer", any(), router).await;
    let away = derive(town.signer(signer.address, budget)).await.unwrap();
    assert!(
        !away.temporary && away.why.contains("another epoch"),
        "{away}"
    );
    signer.kill().await;
    // And one that refuses: asked once.
    let times = asked.clone();
    let refuse = post(move || async move {
        times.fetch_add(1, SeqCst);
        axum::http::StatusCode::FORBIDDEN
    });
    let router = Router::new().route("/v1/derive-cred-kek", refuse);
    let signer = town.serve("signer", any(), router).await;
    let away = derive(town.signer(signer.address, budget)).await.unwrap();
    assert!(!away.temporary && away.why.contains("403"), "{away}");
    assert_eq!(asked.load(SeqCst), 1);
    signer.kill().await;
}

#[tokio::test]
async fn the_brokers_keys_are_kept_and_those_of_a_new_one_are_asked_for() {
    let (old, new) = (
        DeviceKey::generate().unwrap(),
        DeviceKey::generate().unwrap(),
    );
    let set = |key: &DeviceKey| FakeKeys::set(key.public_jwk()).jwks();
    let shown = Arc::new(parking_lot::Mutex::new(set(&old)));
    let served = Arc::new(AtomicU64::new(0));
    let router = Router::new().route(
        "/jwks.json",
        get({
            let (shown, served) = (shown.clone(), served.clone());
            move || async move {
                served.fetch_add(1, SeqCst);
                Json::<Value>(shown.lock().clone())
            }
        }),
    );
    let listener = Listener::bind(any(), None, false).await.unwrap();
    let url = format!("http://{}/jwks.json", listener.address());
    let stop = CancellationToken::new();
    tokio::spawn(base::serve(listener, router, stop.clone()));
    let world = World::new();
    let published = PublishedKeys::new(reqwest::Client::new(), url, world.clock.clone());
    let keys = BrokerKeys::new(published);
    let first = keys.current().await.unwrap();
    assert!(Arc::ptr_eq(&first, &keys.current().await.unwrap()));
    assert_eq!(served.load(SeqCst), 1);
    *shown.lock() = set(&new);
    // Somebody who sends nonsense all the time makes us ask once in a while only.
    assert!(keys.newer(&first).await.is_none());
    world.clock.advance(Duration::from_secs(11));
    let kid = new.public_jwk().thumbprint().to_string();
    let newer = keys.newer(&first).await.unwrap();
    assert!(newer.get(&kid).is_some());
    assert_eq!(served.load(SeqCst), 2);
    // Another request that found the same out in that moment is given them without asking.
    assert!(Arc::ptr_eq(&keys.newer(&first).await.unwrap(), &newer));
    assert_eq!(served.load(SeqCst), 2);
    stop.cancel();
}
