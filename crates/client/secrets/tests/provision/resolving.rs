//! A store in the probes' way that is as careless with `..` as no store of ours is: what it does
//! must be found, and what only looks so must not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use artifacts_secrets::provision::{Report, Seen, StoreKind, Verdict, verify};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};

use super::tokens::{BUCKET, Broker, Tokens, ada, target};

/// What is done with `..`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// It is kept as it is.
    Kept,
    /// It is resolved before the policy is asked.
    ResolvedFirst,
    /// It is resolved after the policy was asked.
    ResolvedLate,
    /// The same, after another decoding.
    DecodedLate,
}

#[derive(Clone)]
struct Store {
    care: Care,
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

type Answer = (StatusCode, String);

impl Store {
    async fn start(care: Care) -> String {
        let store = Self {
            care,
            objects: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(store);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        // Ends with the test's process.
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    /// The key of an object, where the policy lets one of ada's have it.
    fn allowed(&self, name: &str) -> Result<String, Answer> {
        let name = match self.care {
            Care::ResolvedFirst => resolved(name),
            _ => name.to_owned(),
        };
        let own = format!("bots/{}/credentials/", ada().as_str());
        if !name.starts_with(&own) {
            return Err(refused(StatusCode::FORBIDDEN, "AccessDenied"));
        }
        Ok(match self.care {
            Care::Kept | Care::ResolvedFirst => name,
            Care::ResolvedLate => resolved(&name),
            Care::DecodedLate => resolved(&decoded(&name)),
        })
    }

    fn put(&self, name: &str, source: Option<&str>, body: Bytes) -> Result<Answer, Answer> {
        let name = self.allowed(name)?;
        let body = match source {
            None => body,
            Some(source) => self.get(source)?,
        };
        self.objects.lock().unwrap().insert(name, body);
        let copied = "<CopyObjectResult></CopyObjectResult>".to_owned();
        Ok((StatusCode::OK, copied))
    }

    fn get(&self, name: &str) -> Result<Bytes, Answer> {
        let name = self.allowed(name)?;
        let there = self.objects.lock().unwrap().get(&name).cloned();
        there.ok_or_else(|| refused(StatusCode::NOT_FOUND, "NoSuchKey"))
    }

    fn delete(&self, name: &str) -> Result<Answer, Answer> {
        let name = self.allowed(name)?;
        self.objects.lock().unwrap().remove(&name);
        Ok((StatusCode::NO_CONTENT, String::new()))
    }

    fn list(&self, prefix: &str) -> Result<Answer, Answer> {
        let prefix = self.allowed(prefix)?;
        let objects = self.objects.lock().unwrap();
        let keys = objects.keys().filter(|key| key.starts_with(&prefix));
        let entry = |key: &String| format!("<Contents><Key>{key}</Key></Contents>");
        let entries: String = keys.map(entry).collect();
        let answer = format!("<ListBucketResult>{entries}</ListBucketResult>");
        Ok((StatusCode::OK, answer))
    }
}

async fn answer(
    State(store): State<Store>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let path = decoded(uri.path());
    if method == Method::POST && path == "/" {
        return (StatusCode::OK, KEYS.to_owned());
    }
    let name = path
        .strip_prefix(&format!("/{BUCKET}/"))
        .unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    let prefix = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("prefix="));
    let source = headers.get("x-amz-copy-source");
    let source = source.map(|source| decoded(source.to_str().unwrap()));
    let source = source.as_deref().and_then(|source| source.split_once('/'));
    let done = match (method, name, prefix) {
        (Method::GET, "", Some(prefix)) => store.list(&decoded(prefix)),
        (Method::GET, name, None) if !name.is_empty() => {
            let got = store.get(name);
            got.map(|body| (StatusCode::OK, String::from_utf8_lossy(&body).into_owned()))
        }
        (Method::PUT, name, _) => store.put(name, source.map(|(_, key)| key), body),
        (Method::DELETE, name, _) => store.delete(name),
        _ => Err(refused(StatusCode::FORBIDDEN, "AccessDenied")),
    };
    done.unwrap_or_else(|refused| refused)
}

const KEYS: &str = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
    <AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
    <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
    </AssumeRoleWithWebIdentityResponse>";

fn refused(status: StatusCode, code: &str) -> Answer {
    (status, format!("<Error><Code>{code}</Code></Error>"))
}

fn decoded(text: &str) -> String {
    let text = percent_encoding::percent_decode_str(text);
    text.decode_utf8_lossy().into_owned()
}

fn resolved(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The checks of names with `..`: how many there are, and which failed.
async fn looked_at(care: Care) -> (usize, Vec<String>) {
    let broker = Broker::start();
    let endpoint = Store::start(care).await;
    let target = target(StoreKind::SeaweedFs, &endpoint, &broker.issuer);
    let tokens = Tokens {
        broker: &broker,
        actor: ada(),
    };
    let report: Report = verify(&target, &tokens, Seen::Unseen).await.unwrap();
    let all: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.name.ends_with("does not leave the own prefix"))
        .collect();
    let failed = all.iter().filter(|check| check.verdict == Verdict::Failed);
    let name = |check: &&_| {
        let check: &artifacts_secrets::provision::Check = check;
        let name = check.name.split_once(" does not leave").unwrap().0;
        name.replace(" by a name with", "")
    };
    let failed = failed.map(name).collect();
    (all.len(), failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_names_or_judges_what_they_mean_passes() {
    for care in [Care::Kept, Care::ResolvedFirst] {
        assert_eq!(looked_at(care).await, (22, Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_resolves_names_after_its_policy_is_found() {
    let verbs = [
        "PutObject",
        "GetObject",
        "CopyObject from",
        "CopyObject to",
        "DeleteObject",
    ];
    let mut expected = Vec::new();
    for form in ["../", "%2e%2e/", "..%2f", "%252e%252e/"] {
        expected.extend(verbs.map(|verb| format!("{verb} {form}")));
        if matches!(form, "../" | "%252e%252e/") {
            expected.insert(expected.len() - 1, format!("listing {form}"));
        }
    }
    assert_eq!(looked_at(Care::DecodedLate).await, (22, expected.clone()));
    expected.retain(|name| !name.ends_with("%252e%252e/"));
    assert_eq!(looked_at(Care::ResolvedLate).await, (22, expected));
}
