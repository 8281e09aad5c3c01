//! `artifactsd worker serve` as a process, with a signer and a broker over mTLS, documents that an
//! operator has signed, and storage keys from a store's STS.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "dev", feature = "worker"))]

mod common;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::vault::{
    DeriveCredKek, DerivedKek, LONGEST_PLAINTEXT, PROOF_HEADER, WebIdentity, WorkerWebIdentity,
};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base::ca::{Authority, Order};
use base::mutual::Identity;
use base::peer::only;
use base::{ClientCa, Clock, Listener, SystemClock, Tls};
use common::{Running, start_store};
use model::{Actor, ServiceName};
use parking_lot::Mutex;
use registry::documents::{
    DeviceEntry, EPOCH_FILE, EPOCH_TYPE, EpochDocument, OPERATOR_TYPE, OperatorDocument, Pins,
    ScopeEntry, operator_file, sign,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vault::{
    Cap, DeviceKey, MasterSecret, Op, ProofFor, SignEs256, VerifyKeys, derive_cred_kek, make_proof,
    mint_cap, mint_web_identity, verify_cap,
};

const BUCKET: &str = "vault-bucket";
const ROLE: &str = "arn:aws:iam::000000000000:role/vault";

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn number() -> String {
    format!("n{}", NUMBER.fetch_add(1, Ordering::SeqCst))
}

fn now() -> i64 {
    SystemClock.now().seconds()
}

/// All that a worker needs around it.
struct Lab {
    folder: tempfile::TempDir,
    authority: Authority,
    store: Running,
    broker_key: Arc<DeviceKey>,
    issuer: String,
    broker_internal: String,
    signer: String,
    operator_key: DeviceKey,
    device: DeviceKey,
    operator: Actor,
    agent: Actor,
    service: ServiceName,
    stop: CancellationToken,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Lab {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trust = "vault.test".parse().unwrap();
        let ca = folder.path().join("ca");
        std::fs::create_dir(&ca).unwrap();
        let authority = Authority::open_or_make(&ca, &trust, SystemClock.now()).unwrap();
        let stop = CancellationToken::new();
        let broker_key = Arc::new(DeviceKey::generate().unwrap());
        let issuer = serve_keys(&broker_key, &stop).await;
        let keys = VerifyKeys::from_keys([broker_key.public_jwk().clone()]).unwrap();
        let identities = identities(Arc::clone(&broker_key), keys, issuer.clone());
        let broker_internal = serve(&authority, &ca, "broker", identities, &stop).await;
        let signer = serve(&authority, &ca, "signer", kek_router(), &stop).await;
        let data = folder.path().join("store");
        std::fs::create_dir(&data).unwrap();
        trust_broker(&data, &issuer);
        let store = start_store(&data);
        let operator = Actor::from_oidc("https://people.example", "ada").unwrap();
        let lab = Self {
            agent: operator.agent("builder").unwrap(),
            operator,
            service: "openrouter".parse().unwrap(),
            operator_key: DeviceKey::generate().unwrap(),
            device: DeviceKey::generate().unwrap(),
            folder,
            authority,
            store,
            broker_key,
            issuer,
            broker_internal,
            signer,
            stop,
        };
        lab.make_bucket().await;
        lab.write_documents(1, true);
        lab
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.store.address)
    }

    fn admin(&self) -> aws_sdk_s3::Client {
        use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
        let keys = Credentials::new(
            testkit::ACCESS_KEY_ID,
            testkit::SECRET_ACCESS_KEY,
            None,
            None,
            "test",
        );
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(testkit::REGION))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .credentials_provider(keys);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    async fn make_bucket(&self) {
        self.admin()
            .create_bucket()
            .bucket(BUCKET)
            .send()
            .await
            .unwrap();
    }

    /// What operator and deployment have signed.
    fn write_documents(&self, version: u64, in_scope: bool) {
        let folder = self.folder.path().join("registry");
        std::fs::create_dir_all(&folder).unwrap();
        let scope = ScopeEntry {
            actor: self.agent.clone(),
            service: self.service.clone(),
            read_only: false,
        };
        let document = OperatorDocument {
            operator: self.operator.clone(),
            version,
            devices: vec![DeviceEntry {
                device: self.device.public_jwk().thumbprint(),
                actor: self.agent.clone(),
                roles: 1,
                tier: 0,
                registered_at: 1,
                revoked: false,
            }],
            scopes: in_scope.then_some(scope).into_iter().collect(),
        };
        let signed = sign(OPERATOR_TYPE, &document, &self.operator_key).unwrap();
        std::fs::write(folder.join(operator_file(&self.operator)), signed).unwrap();
        let epoch = EpochDocument {
            version: 1,
            epoch: 1,
        };
        let signed = sign(EPOCH_TYPE, &epoch, &self.operator_key).unwrap();
        std::fs::write(folder.join(EPOCH_FILE), signed).unwrap();
        let key = self.operator_key.public_jwk();
        let pins = Pins::new(key.clone(), [(self.operator.clone(), key.clone())]).unwrap();
        std::fs::write(self.folder.path().join("operators.json"), pins.to_json()).unwrap();
    }

    fn identity(&self) -> Identity {
        let ca = self.folder.path().join("ca");
        issue(&self.authority, &ca, "worker", &["127.0.0.1"])
    }

    /// What a worker is told, as variables.
    fn settings(&self, name: &str, identity: &Identity) -> Vec<(&'static str, OsString)> {
        let path = |name: &str| self.folder.path().join(name).into_os_string();
        vec![
            ("ARTIFACTS_WORKER_DATA", path(name)),
            ("ARTIFACTS_WORKER_BROKER", self.issuer.clone().into()),
            (
                "ARTIFACTS_WORKER_BROKER_INTERNAL",
                self.broker_internal.clone().into(),
            ),
            ("ARTIFACTS_WORKER_SIGNER", self.signer.clone().into()),
            (
                "ARTIFACTS_WORKER_INTERNAL_CERTIFICATE",
                identity.certificate.clone().into(),
            ),
            ("ARTIFACTS_WORKER_INTERNAL_KEY", identity.key.clone().into()),
            ("ARTIFACTS_WORKER_INTERNAL_CA", identity.ca.clone().into()),
            ("ARTIFACTS_TRUST_DOMAIN", "vault.test".into()),
            ("ARTIFACTS_REGISTRY_DOCUMENTS", path("registry")),
            ("ARTIFACTS_REGISTRY_PINS", path("operators.json")),
            ("ARTIFACTS_WORKER_BUCKET", BUCKET.into()),
            ("ARTIFACTS_WORKER_ENDPOINT", self.endpoint().into()),
            ("ARTIFACTS_WORKER_REGION", testkit::REGION.into()),
            ("ARTIFACTS_WORKER_ROLE_ARN", ROLE.into()),
            // Nobody answers there: what stays on this machine, the broker's keys and the bucket,
            // goes through no proxy.
            ("HTTP_PROXY", "http://127.0.0.1:1".into()),
            ("http_proxy", "http://127.0.0.1:1".into()),
            ("NO_PROXY", "".into()),
            ("no_proxy", "".into()),
        ]
    }

    /// A worker, which is killed when the test is done with it.
    fn worker(&self, name: &str) -> Worker {
        let path = |name: &str| self.folder.path().join(name);
        let identity = self.identity();
        let mut child = Command::new(env!("CARGO_BIN_EXE_artifactsd"))
            .args(["worker", "serve", "--listen", "127.0.0.1:0"])
            .arg("--tls-certificate")
            .arg(&identity.certificate)
            .arg("--tls-key")
            .arg(&identity.key)
            .envs(self.settings(name, &identity))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(path("worker.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{}", std::fs::read_to_string(path("worker.log")).unwrap());
        });
        let pem = std::fs::read(&identity.ca).unwrap();
        let roots = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        Worker {
            child,
            url: ready["endpoint"].as_str().unwrap().to_owned(),
            client: reqwest::Client::builder()
                .tls_certs_only(roots)
                .build()
                .unwrap(),
            audit: path(name).join("audit.jsonl"),
        }
    }

    fn cap(&self, op: Op) -> String {
        let cap = Cap {
            iss: self.issuer.clone(),
            sub: self.agent.clone(),
            operator: self.operator.clone(),
            op,
            service: (op != Op::List).then(|| self.service.clone()),
            target: None,
            epoch: 1,
            iat: now(),
            nbf: now(),
            exp: now() + 300,
            jti: number(),
            device: self.device.public_jwk().thumbprint(),
        };
        let token = mint_cap(&cap, &*self.broker_key).unwrap();
        token.expose_secret().to_owned()
    }

    async fn ask(&self, worker: &Worker, op: Op, cap: &str, mut body: Value) -> (u16, Value) {
        body["cap"] = cap.into();
        if op != Op::List {
            body["service"] = self.service.as_str().into();
        }
        let body = serde_json::to_vec(&body).unwrap();
        let url = format!("{}/v1/cred/{}", worker.url, op.as_str());
        let wanted = ProofFor {
            method: "POST",
            url: &url,
            token: Some(cap),
            body: &body,
        };
        let proof = make_proof(&self.device, &wanted, &number(), now()).unwrap();
        let request = worker
            .client
            .post(&url)
            .header(PROOF_HEADER, proof)
            .body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap(),
        )
    }
}

struct Worker {
    child: Child,
    url: String,
    client: reqwest::Client,
    audit: PathBuf,
}

impl Worker {
    /// The most memory that it ever had, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn issue(authority: &Authority, folder: &Path, role: &str, names: &[&str]) -> Identity {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let order = Order {
        role: Some(role),
        names: &names,
        lifetime: Duration::from_secs(3600),
    };
    let identity = Identity {
        ca: authority.certificate().to_owned(),
        certificate: folder.join(format!("{role}.pem")),
        key: folder.join(format!("{role}-key.pem")),
        trust_domain: authority.trust_domain().clone(),
    };
    let issued = authority.issue(&order, SystemClock.now()).unwrap();
    issued.write(&identity.certificate, &identity.key).unwrap();
    identity
}

async fn serve(
    authority: &Authority,
    folder: &Path,
    role: &str,
    router: Router,
    stop: &CancellationToken,
) -> String {
    let identity = issue(authority, folder, role, &["127.0.0.1"]);
    let clients = ClientCa {
        file: identity.ca,
        trust_domain: identity.trust_domain,
    };
    let tls = Tls {
        certificate: identity.certificate,
        key: identity.key,
        clients: Some(clients),
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(&tls), false)
        .await
        .unwrap();
    let url = format!("https://{}", listener.address());
    tokio::spawn(base::serve(listener, router, stop.clone()));
    url
}

/// Where the broker's keys are: its issuer.
async fn serve_keys(key: &Arc<DeviceKey>, stop: &CancellationToken) -> String {
    let set = VerifyKeys::from_keys([key.public_jwk().clone()])
        .unwrap()
        .jwks();
    let router = Router::new().route("/jwks.json", get(async move || Json(set.clone())));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None, false)
        .await
        .unwrap();
    let url = format!("http://{}", listener.address());
    tokio::spawn(base::serve(listener, router, stop.clone()));
    url
}

fn identities(key: Arc<DeviceKey>, keys: VerifyKeys, issuer: String) -> Router {
    let mint = async move |Json(asked): Json<WorkerWebIdentity>| {
        let cap = verify_cap(asked.cap.expose(), &keys, &issuer, now()).unwrap();
        let identity = vault::WebIdentity {
            iss: issuer.clone(),
            actor: cap.target.unwrap_or(cap.sub),
            iat: now(),
            jti: number(),
        };
        let token = mint_web_identity(&identity, &*key).unwrap();
        Json(WebIdentity {
            token: token.into(),
            expires_in: 300,
        })
    };
    Router::new().route("/v1/worker/web-identity", only(&["worker"], post(mint)))
}

fn kek_router() -> Router {
    let derive = async |Json(asked): Json<DeriveCredKek>| {
        let secret = MasterSecret::from_bytes([9; 32]);
        let kek = derive_cred_kek(&secret, &asked.operator, &asked.actor);
        let kek = base64_simd::STANDARD.encode_to_string(kek.expose());
        Json(DerivedKek {
            kek: SecretString::from(kek).into(),
            epoch: asked.epoch,
            current_epoch: 1,
        })
    };
    Router::new().route("/v1/derive-cred-kek", only(&["worker"], post(derive)))
}

/// The store takes this broker's identities for a role that opens each actor's own prefix.
fn trust_broker(data: &Path, issuer: &str) {
    let own = "bots/${aws:PrincipalTag/artifacts_actor}/credentials/*";
    let settings = json!({
        "version": 1,
        "providers": [{ "issuer": issuer, "jwks": format!("{issuer}/jwks.json") }],
        "roles": [{
            "arn": ROLE,
            "trust": [{ "issuer": issuer, "audience": "sts.amazonaws.com" }],
            "policy": { "Version": "2012-10-17", "Statement": [
                { "Effect": "Allow", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{BUCKET}"),
                  "Condition": { "StringLike": { "s3:prefix": own } } },
                { "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                  "Resource": format!("arn:aws:s3:::{BUCKET}/{own}") },
            ] },
            "max_seconds": 3600,
        }],
    });
    let path = data.join("sts.json");
    std::fs::write(&path, settings.to_string()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_goes_the_whole_way_and_ends_with_its_scope() {
    let lab = Lab::start().await;
    let worker = lab.worker("one");
    let value = base64_simd::STANDARD.encode_to_string("sk-or-v1-whole-way");
    let (store, fetch) = (lab.cap(Op::Store), lab.cap(Op::Fetch));
    let (status, stored) = lab
        .ask(&worker, Op::Store, &store, json!({ "plaintext": value }))
        .await;
    assert_eq!(
        (status, &stored["generation"]),
        (200, &json!(1)),
        "{stored}"
    );
    let key = format!("bots/{}/credentials/openrouter.enc", lab.agent);
    let object = lab
        .admin()
        .get_object()
        .bucket(BUCKET)
        .key(&key)
        .send()
        .await
        .unwrap();
    let object = object.body.collect().await.unwrap().to_vec();
    assert_eq!(object[0], 0x10);
    assert!(!object.windows(5).any(|part| part == b"sk-or"));
    let (status, fetched) = lab.ask(&worker, Op::Fetch, &fetch, json!({})).await;
    assert_eq!(
        (status, &fetched["plaintext"]),
        (200, &json!(value)),
        "{fetched}"
    );
    let (status, listed) = lab
        .ask(&worker, Op::List, &lab.cap(Op::List), json!({}))
        .await;
    assert_eq!(
        (status, &listed["credentials"][0]["service"]),
        (200, &json!("openrouter"))
    );
    // The operator takes the scope back: within two seconds, whatever the broker has signed.
    lab.write_documents(2, false);
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    let (status, refused) = lab.ask(&worker, Op::Fetch, &fetch, json!({})).await;
    assert_eq!((status, &refused["reason"]), (403, &json!("scope_denied")));
    // Somebody puts the older document back.
    lab.write_documents(1, true);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let (status, refused) = lab.ask(&worker, Op::Fetch, &fetch, json!({})).await;
    assert_ne!(status, 200, "{refused}");
    let audit = Command::new(env!("CARGO_BIN_EXE_artifactsd"))
        .args(["worker", "audit"])
        .arg(&worker.audit)
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(told["records"], 5, "{told}");
    let records = std::fs::read_to_string(&worker.audit).unwrap();
    for secret in [&value, &*store, &*fetch, "sk-or-v1"] {
        assert!(!records.contains(secret));
    }
    let log = std::fs::read_to_string(lab.folder.path().join("worker.log")).unwrap();
    for secret in [&value, &*store, &*fetch, "sk-or-v1"] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_fetches_at_once_take_less_than_200_mebibytes() {
    let lab = Arc::new(Lab::start().await);
    let worker = Arc::new(lab.worker("one"));
    let value = base64_simd::STANDARD.encode_to_string(vec![7; LONGEST_PLAINTEXT]);
    let store = lab.cap(Op::Store);
    let (status, stored) = lab
        .ask(&worker, Op::Store, &store, json!({ "plaintext": value }))
        .await;
    assert_eq!(status, 200, "{stored}");
    let cap = lab.cap(Op::Fetch);
    let fetches = (0..1_000).map(|_| {
        let (lab, worker, cap) = (Arc::clone(&lab), Arc::clone(&worker), cap.clone());
        tokio::spawn(async move {
            let (status, answer) = lab.ask(&worker, Op::Fetch, &cap, json!({})).await;
            assert_eq!(status, 200, "{answer}");
            answer["plaintext"].as_str().unwrap().len()
        })
    });
    for fetch in fetches.collect::<Vec<_>>() {
        assert_eq!(fetch.await.unwrap(), value.len());
    }
    let peak = worker.peak();
    assert!(peak < 200 * 1024, "{peak} KiB");
}

/// As AWS Lambda gives events and takes answers.
async fn lambda(event: Value, stop: &CancellationToken) -> (String, mpsc::Receiver<Value>) {
    let (answered, answers) = mpsc::channel(1);
    let event = Arc::new(Mutex::new(Some(event)));
    let next = async move || {
        let event = event.lock().take();
        let Some(event) = event else {
            // No more events; Lambda would freeze the process here.
            std::future::pending::<()>().await;
            unreachable!("it waits for ever")
        };
        let headers = [
            ("lambda-runtime-aws-request-id", "first".to_owned()),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:x:1:function:worker".into(),
            ),
            (
                "lambda-runtime-deadline-ms",
                ((now() + 30) * 1_000).to_string(),
            ),
        ];
        (headers, Json(event))
    };
    let answer = async move |answer: String| {
        let answer = serde_json::from_str(&answer).unwrap();
        answered.send(answer).await.unwrap();
        StatusCode::ACCEPTED
    };
    let base = "/2018-06-01/runtime/invocation";
    let router = Router::new()
        .route(&format!("{base}/next"), get(next))
        .route(&format!("{base}/first/response"), post(answer));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None, false)
        .await
        .unwrap();
    let address = listener.address().to_string();
    tokio::spawn(base::serve(listener, router, stop.clone()));
    (address, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_package_for_lambda_answers_an_event_and_writes_its_audit_out() {
    const URL: &str = "https://worker.example";
    let lab = Lab::start().await;
    let identity = lab.identity();
    let cap = lab.cap(Op::List);
    let body = json!({ "cap": cap }).to_string();
    let url = format!("{URL}/v1/cred/list");
    let wanted = ProofFor {
        method: "POST",
        url: &url,
        token: Some(&cap),
        body: body.as_bytes(),
    };
    // Made before the process begins, as the request is that Lambda begins one for.
    let proof = make_proof(&lab.device, &wanted, &number(), now() - 5).unwrap();
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/v1/cred/list", "rawQueryString": "",
        "headers": { "host": "worker.example", PROOF_HEADER: proof },
        "requestContext": {
            "accountId": "1", "apiId": "api", "domainName": "worker.example", "domainPrefix": "worker",
            "requestId": "id", "routeKey": "$default", "stage": "$default", "timeEpoch": 1,
            "http": {
                "method": "POST", "path": "/v1/cred/list", "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "artifacts"
            }
        },
        "body": body, "isBase64Encoded": false
    });
    let (api, mut answers) = lambda(event, &lab.stop).await;
    let mut function = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    function
        .envs(lab.settings("lambda", &identity))
        .env("ARTIFACTS_WORKER_PUBLIC_URL", URL)
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .env("AWS_LAMBDA_FUNCTION_NAME", "worker")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .stdin(Stdio::null());
    // Documents that it forgets are not taken unasked.
    let refused = function.output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("ARTIFACTS_WORKER_MAY_FORGET=true"), "{text}");
    let mut child = function
        .env("ARTIFACTS_WORKER_MAY_FORGET", "true")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), answers.recv()).await;
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    if answer.is_ok() {
        BufReader::new(output).read_line(&mut line).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let answer = answer.expect("an answer in time").unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let record: Value = serde_json::from_str(&line).unwrap();
    let told = (&record["seq"], &record["op"], &record["outcome"]);
    assert_eq!(told, (&json!(1), &json!("list"), &json!("done")));
}
