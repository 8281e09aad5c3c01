//! Nothing that opens anything is kept: the database's files, the logs at their most talkative,
//! the audit and the metrics are searched for every secret that was ever handed out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, LazyLock};

use artifacts_orchestrator::provision::fake::{Failure, STEPS};
use common::Lab;
use common::browser::{Browser, csrf, location};
use parking_lot::Mutex;
use serde_json::{Value, json};

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
    let (_, owner) = lab.tenant(&operator, "ada").await;
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
    secrets.extend(in_a_browser(lab).await);
    // The random parts: what stands before them is no secret.
    let signed =
        [&operator, &owner, &ticket, &session].map(|t| t.rsplit('.').next().unwrap().to_owned());
    secrets.extend(signed);
    secrets.extend([bootstrap[8..].to_owned(), token[4..].to_owned(), code]);
    secrets.extend(lab.fake.secrets());
    secrets
}

/// The same by the console's pages: what the browser keeps, what the issuer is shown, and what a
/// page shows once.
async fn in_a_browser(lab: &Lab) -> Vec<String> {
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
    for form in ["/console/keys", "/console/tokens"] {
        let fields = [
            ("csrf", &*csrf),
            ("description", "by a page"),
            ("mode", "rw"),
            ("purpose", "mount"),
        ];
        browser.post(lab, form, &fields).await.ok(201);
    }
    browser
        .post(lab, "/console/sign-out", &[("csrf", &csrf)])
        .await;
    let verifier = lab.issuer.asked()["code_verifier"].clone();
    let last = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let secret = attempt.split('.').next().unwrap().to_owned();
    vec![
        secret,
        verifier,
        code.into(),
        csrf,
        last(&id_token),
        last(&session),
    ]
}

#[tokio::test]
async fn no_secret_is_in_the_database_the_logs_the_audit_or_the_metrics() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| Writer)
        .init();
    let watcher = "the token of the server that watches";
    let hash = artifacts_orchestrator::token_hash(watcher);
    let lab = Lab::with(|settings| settings.metrics_token = Some(hash)).await;
    let mut secrets = scenario(&lab).await;
    let metrics = lab.get("/metrics", watcher).await.ok(200).text;
    secrets.push(watcher.to_owned());
    assert!(secrets.len() >= 18, "{}", secrets.len());
    let folder = lab.database.parent().unwrap();
    let mut places: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    assert!(places.len() >= 2, "the database and its log");
    places.push(("the log".into(), LOG.lock().clone()));
    let audit = lab.store.recorded(0, 10_000).await.unwrap();
    places.push(("the audit".into(), format!("{audit:?}").into_bytes()));
    places.push(("the metrics".into(), metrics.into_bytes()));
    // The search finds what is there: names and public halves of keys.
    let found = |what: &str| {
        let contains = |bytes: &[u8]| bytes.windows(what.len()).any(|w| w == what.as_bytes());
        places
            .iter()
            .filter(|(_, bytes)| contains(bytes))
            .map(|(place, _)| place.clone())
            .collect::<Vec<_>>()
    };
    assert!(!found("MountCredentialCreated").is_empty());
    assert!(!found("answered").is_empty(), "the log was written");
    assert_eq!(found("artifacts_storage_keys_total"), ["the metrics"]);
    for secret in secrets {
        assert!(secret.len() >= 32, "too short to be looked for");
        let places = found(&secret);
        assert!(places.is_empty(), "{} … is in {places:?}", &secret[..4]);
    }
}
