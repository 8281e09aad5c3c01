//! Nothing that opens anything is kept: the database's files, the logs at their most talkative,
//! the audit and the metrics are searched for every secret that was ever handed out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Once};

use artifacts_orchestrator::provision::fake::{Failure, STEPS};
use artifacts_orchestrator::store::{PostgresStore, SqliteStore, Store};
use artifacts_orchestrator::{IssuerConfig, Settings};
use common::Lab;
use common::browser::{Browser, csrf, location};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// What the operator gives the server, and nobody else.
const WATCHER: &str = "the token of the server that watches";
const STORES: &str = "the token of the operator's own stores";
const CLIENT_SECRET: &str = "the-secret-of-the-console-at-its-issuer";

static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);

#[derive(Clone)]
struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that a lab handed out, through every endpoint that hands something out.
async fn scenario(lab: &Lab) -> Vec<String> {
    let mut secrets = Vec::new();
    let bootstrap = lab.bootstrap_token().await;
    let body = json!({ "token": bootstrap });
    let operator = lab
        .post("/bootstrap", "", body)
        .await
        .ok(200)
        .field("access_token");
    let (tenant, owner) = lab.tenant(&operator, "ada").await;
    let workspace = lab
        .post("/workspaces", &owner, json!({ "name": "cases" }))
        .await
        .ok(201);
    let workspace = workspace.field("workspace_id");
    let keys = "/tenant/mount/credentials";
    let key = lab.post(keys, &owner, Value::Null).await.ok(201);
    for step in 0..STEPS {
        lab.fake.fail(step, Failure::After(common::passing()));
        let answer = lab.post(keys, &owner, Value::Null).await;
        answer.refused(503, "unavailable");
    }
    let path = format!("{keys}/{}", key.field("credential_id"));
    lab.delete(&path, &owner).await.ok(200);
    let token = json!({ "description": "build", "mode": "rw" });
    let token = lab
        .post("/tokens", &owner, token)
        .await
        .ok(201)
        .field("token");
    let store = announced_by_stores(lab, &owner, &tenant).await;
    let ticket = json!({ "workspace_id": workspace, "mode": "ro", "ttl_seconds": 600 });
    let ticket = lab
        .post("/tickets", &owner, ticket)
        .await
        .ok(201)
        .field("ticket");
    for holder in [&token, &ticket] {
        lab.post(keys, holder, Value::Null).await.ok(201);
        lab.get("/tenants", holder).await.refused(403, "forbidden");
    }
    let fields = "client_id=artifacts&machine=laptop";
    let device = lab
        .form("/oauth/device_authorization", fields)
        .await
        .ok(200);
    let decision = json!({ "user_code": device.field("user_code") });
    lab.post("/device/approve", &owner, decision).await.ok(204);
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
    let code = device.field("device_code");
    let fields = format!("grant_type={grant}&client_id=artifacts&device_code={code}");
    let session = lab
        .form("/oauth/token", &fields)
        .await
        .ok(200)
        .field("access_token");
    lab.post("/logout", &session, Value::Null).await.ok(204);
    lab.get("/whoami", &session)
        .await
        .refused(401, "unauthenticated");
    secrets.extend(in_a_browser(lab, &workspace).await);
    // The random parts: what stands before them is no secret.
    let signed =
        [&operator, &owner, &ticket, &session].map(|t| t.rsplit('.').next().unwrap().to_owned());
    secrets.extend(signed);
    secrets.extend([bootstrap[8..].to_owned(), code]);
    secrets.extend([token, store].map(|token| token[4..].to_owned()));
    secrets.extend(lab.fake.secrets());
    secrets
}

/// What a tenant's store and the operator's say, each with its token; answers the tenant's.
async fn announced_by_stores(lab: &Lab, owner: &str, tenant: &str) -> String {
    let wanted = json!({ "description": "minio", "mode": "ro", "purpose": "webhook" });
    let token = lab.post("/tokens", owner, wanted).await.ok(201);
    let token = token.field("token");
    let notice = || json!({ "Records": [] });
    let (theirs, all) = (format!("/webhooks/minio/{tenant}"), "/webhooks/minio/all");
    lab.post(&theirs, &token, notice()).await.ok(200);
    lab.post(all, STORES, notice()).await.ok(200);
    lab.post(all, &token, notice())
        .await
        .refused(401, "unauthenticated");
    lab.get("/tenants", &token).await.refused(403, "forbidden");
    token
}

/// The same by the console's pages: what the browser keeps, what the issuer is shown, and what a
/// page shows once.
async fn in_a_browser(lab: &Lab, workspace: &str) -> Vec<String> {
    let mut browser = Browser::default();
    let begun = browser.get(lab, "/console/sign-in/with/0").await;
    let (_, query) = location(&begun).split_once('?').unwrap();
    let asked: HashMap<String, String> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let attempt = browser.cookies["__Host-artifacts-attempt"].clone();
    let mut claims = lab.issuer.claims("ada", lab.now());
    claims["aud"] = json!("console");
    claims["nonce"] = json!(asked["nonce"]);
    let id_token = lab.issuer.key().sign(None, &claims);
    let code = "a-code-that-an-issuer-gave-to-a-browser";
    lab.issuer.answers(code, id_token.clone());
    let state = &asked["state"];
    let back = format!("/console/sign-in/callback?code={code}&state={state}");
    assert_eq!(location(&browser.get(lab, &back).await), "/");
    let session = browser.cookies["__Host-artifacts-session"].clone();
    let page = browser.get(lab, "/console/keys").await.ok(200);
    let csrf = csrf(&page.text);
    let fields = [
        ("csrf", &*csrf),
        ("description", "by a page"),
        ("mode", "rw"),
        ("purpose", "mount"),
        ("ttl_seconds", "3600"),
        ("workspace_id", workspace),
    ];
    let key = browser.post(lab, "/console/keys", &fields).await.ok(201);
    assert!(lab.fake.secrets().iter().any(|it| key.text.contains(it)));
    let token = browser.post(lab, "/console/tokens", &fields).await.ok(201);
    let ticket = browser.post(lab, "/console/tickets", &fields).await.ok(201);
    let (token, ticket) = (handed(&token.text), handed(&ticket.text));
    for holder in [&token, &ticket] {
        lab.get("/tenants", holder).await.refused(403, "forbidden");
    }
    browser
        .post(lab, "/console/sign-out", &[("csrf", &csrf)])
        .await;
    let verifier = lab.issuer.asked()["code_verifier"].clone();
    let authorization = lab.issuer.authorization().unwrap();
    let by_header = authorization.strip_prefix("Basic ").unwrap().to_owned();
    let last = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let secret = attempt.split('.').next().unwrap().to_owned();
    vec![
        secret,
        verifier,
        by_header,
        code.into(),
        csrf,
        last(&id_token),
        last(&session),
        last(&ticket),
        token[4..].to_owned(),
    ]
}

/// The text that a page shows once.
#[track_caller]
fn handed(page: &str) -> String {
    let (_, rest) = page
        .split_once("<code id=\"handed-text\" class=\"secret\">")
        .expect(page);
    rest.split_once('<').unwrap().0.to_owned()
}

/// A place, and what is in it.
type Place = (String, Vec<u8>);

/// A lab whose operator has secrets, too; these are in no folder that is searched.
async fn lab(folder: tempfile::TempDir, store: Arc<dyn Store>, secret: &Path) -> Lab {
    static LOGGING: Once = Once::new();
    LOGGING.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Writer)
            .init();
    });
    let database = database(folder.path());
    let hash = artifacts_orchestrator::token_hash;
    let settings = |settings: &mut Settings| {
        settings.metrics_token = Some(hash(WATCHER));
        settings.webhook_token = Some(hash(STORES));
    };
    let known = |config: &mut IssuerConfig| config.client_secret_file = Some(secret.to_owned());
    Lab::known_at(folder, database, store, settings, known).await
}

fn database(folder: &Path) -> PathBuf {
    folder.join("orchestrator.db")
}

fn client_secret() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, CLIENT_SECRET).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

#[tokio::test]
async fn no_secret_is_in_the_database_the_logs_the_audit_or_the_metrics() {
    let (folder, secret) = (tempfile::tempdir().unwrap(), client_secret());
    let store = SqliteStore::open(&database(folder.path())).await.unwrap();
    let lab = lab(folder, Arc::new(store), secret.path()).await;
    let secrets = scenario(&lab).await;
    let places: Vec<Place> = std::fs::read_dir(lab.database.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    assert!(places.len() >= 2, "the database and its log");
    search(&lab, secrets, places).await;
}

#[tokio::test]
async fn no_secret_is_in_postgres_either() {
    let server = testkit::require_postgres!();
    let url = server.create_database().unwrap().into();
    let (folder, secret) = (tempfile::tempdir().unwrap(), client_secret());
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    let lab = lab(folder, store.clone(), secret.path()).await;
    let secrets = scenario(&lab).await;
    let tables = tables(&store).await;
    assert!(tables.len() >= 14, "{}", tables.len());
    search(&lab, secrets, tables).await;
    store.close().await;
}

/// Every table as text; bytes are in it in hexadecimal.
async fn tables(store: &PostgresStore) -> Vec<Place> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(store.pool())
            .await
            .unwrap();
    let mut tables = Vec::new();
    for name in names {
        let statement = format!("SELECT held::text FROM \"{name}\" AS held");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(store.pool())
            .await
            .unwrap();
        tables.push((name, rows.join("\n").into_bytes()));
    }
    tables
}

/// Fails if a secret is in one of the places, or in those that every database has beside it.
async fn search(lab: &Lab, mut secrets: Vec<String>, mut places: Vec<Place>) {
    let metrics = lab.get("/metrics", WATCHER).await.ok(200).text;
    secrets.extend([WATCHER, STORES, CLIENT_SECRET].map(str::to_owned));
    assert!(secrets.len() >= 25, "{}", secrets.len());
    let is_in_the_database = |what: &str| places.iter().any(|place| holds(place, what));
    assert!(is_in_the_database("MountCredentialCreated"));
    assert!(is_in_the_database("by a page"));
    places.push(("the log".into(), LOG.lock().clone()));
    let audit = lab.store.recorded(0, 10_000).await.unwrap();
    places.push(("the audit".into(), format!("{audit:?}").into_bytes()));
    places.push(("the metrics".into(), metrics.into_bytes()));
    // The search finds what is there: names and public halves of keys.
    let found = |what: &str| {
        let places = places.iter().filter(|place| holds(place, what));
        places.map(|(place, _)| place.clone()).collect::<Vec<_>>()
    };
    assert!(!found("answered").is_empty(), "the log was written");
    assert_eq!(found("artifacts_storage_keys_total"), ["the metrics"]);
    for secret in secrets {
        assert!(secret.len() >= 32, "too short to be looked for");
        for form in [&secret, &hex::encode(&secret)] {
            let places = found(form);
            assert!(places.is_empty(), "{} … is in {places:?}", &secret[..4]);
        }
    }
}

fn holds((_, bytes): &Place, what: &str) -> bool {
    bytes.windows(what.len()).any(|w| w == what.as_bytes())
}
