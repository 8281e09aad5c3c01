//! The whole way of a storage key: two servers, a tenant, a machine that is let in, a key that
//! boto3 uses, and the end of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "dev", feature = "orchestrator"))]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Running, operator, said, start_store, start_with};
use serde_json::{Value, json};
use testkit::tools::Tool;

const KEYS: &str = "/tenant/mount/credentials";

/// A store and an orchestrator that makes buckets and keys in it.
struct Lab {
    orchestrator: Running,
    store: Running,
    operator: String,
    python: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn start(python: std::path::PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = start_store(&folder.path().join("store"));
        let endpoint = format!("http://{}", store.address);
        let orchestrator = start_with(folder.path(), |command| {
            command
                .args(["--provider", "embedded", "--endpoint", &endpoint])
                .env("ARTIFACTS_PROVIDER_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
                .env(
                    "ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY",
                    testkit::SECRET_ACCESS_KEY,
                );
        });
        let operator = operator(folder.path(), &orchestrator);
        Self {
            orchestrator,
            store,
            operator,
            python,
            _folder: folder,
        }
    }

    fn json(&self, method: &str, path: &str, token: &str, body: Value, status: u16) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (answered, text) = self.orchestrator.call(method, path, token, &body);
        assert_eq!(answered, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A tenant whose owner is the operator, and the session of a machine in it.
    fn tenant(&self, handle: &str) -> (String, String) {
        let me = self.json("GET", "/whoami", &self.operator, Value::Null, 200);
        let owner = json!({ "handle": handle, "owner": { "actor": me["identity"]["actor"] } });
        let made = self.json("POST", "/tenants", &self.operator, owner, 201);
        let tenant = made["tenant_id"].as_str().unwrap().to_owned();
        let session = self.machine(&tenant);
        (tenant, session)
    }

    /// A machine asks, the operator lets it in, and it gets its session (RFC 8628).
    fn machine(&self, tenant: &str) -> String {
        let form = |path, fields: &str| {
            let kind = "application/x-www-form-urlencoded";
            let (status, text) = self.orchestrator.send("POST", path, "", (kind, fields));
            let answer: Value = serde_json::from_str(&text).unwrap();
            (status, answer)
        };
        let asked = "client_id=artifacts&machine=laptop";
        let (status, asked) = form("/oauth/device_authorization", asked);
        assert_eq!(status, 200, "{asked}");
        let device = asked["device_code"].as_str().unwrap();
        let fields = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=artifacts&device_code={device}"
        );
        let yes = json!({ "user_code": asked["user_code"], "tenant_id": tenant });
        self.json("POST", "/device/approve", &self.operator, yes, 204);
        let (status, token) = form("/oauth/token", &fields);
        assert_eq!(status, 200, "{token}");
        token["access_token"].as_str().unwrap().to_owned()
    }

    fn key(&self, session: &str, wanted: Value) -> Value {
        self.json("POST", KEYS, session, wanted, 201)
    }

    /// What boto3 may do with a key in a bucket: "get put list delete", as far as it may; what
    /// it may not is the store's code of refusal.
    fn may(&self, key: &Value, bucket: &Value) -> String {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let output = Command::new(&self.python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/may.py"))
            .arg(text(bucket))
            .env("AWS_ACCESS_KEY_ID", text(&key["access_key"]))
            .env("AWS_SECRET_ACCESS_KEY", text(&key["secret_key"]))
            .env("AWS_DEFAULT_REGION", text(&key["region"]))
            .env("AWS_ENDPOINT_URL", text(&key["endpoint_url"]))
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn a_key_opens_its_tenants_bucket_alone_and_dies_with_its_revocation() {
    let lab = Lab::start(testkit::require!(Tool::Python));
    let (_, ada) = lab.tenant("ada");
    let (_, bob) = lab.tenant("bob");
    let reading = json!({ "mode": "ro", "description": "the report" });
    let (key, reader) = (lab.key(&ada, Value::Null), lab.key(&ada, reading));
    let other = lab.key(&bob, Value::Null);
    assert_eq!(
        key["endpoint_url"],
        json!(format!("http://{}", lab.store.address))
    );
    let own = &key["bucket_name"];
    assert_eq!(lab.may(&key, own), "put get list delete");
    assert_eq!(
        lab.may(&reader, own),
        "put:AccessDenied get list delete:AccessDenied"
    );
    let none = "put:AccessDenied get:AccessDenied list:AccessDenied delete:AccessDenied";
    assert_eq!(lab.may(&key, &other["bucket_name"]), none);
    assert_eq!(lab.may(&other, own), none);

    let listed = lab.json("GET", KEYS, &ada, Value::Null, 200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let secret = key["secret_key"].as_str().unwrap();
    assert!(!listed.to_string().contains(secret));
    let path = format!("{KEYS}/{}", key["credential_id"].as_str().unwrap());
    lab.json("DELETE", &path, &bob, Value::Null, 404);
    let gone = lab.json("DELETE", &path, &ada, Value::Null, 200);
    assert_eq!(gone["deletion_status"], "completed");
    let dead = ["put", "get", "list", "delete"].map(|verb| format!("{verb}:InvalidAccessKeyId"));
    assert_eq!(lab.may(&key, own), dead.join(" "));
    assert_eq!(
        lab.may(&reader, own),
        "put:AccessDenied get list delete:AccessDenied",
        "the other key of the tenant lives"
    );
}

#[test]
fn a_workspace_of_another_tenant_is_opened_by_a_grant_and_no_more_of_its_bucket() {
    let lab = Lab::start(testkit::require!(Tool::Python));
    let (_, ada) = lab.tenant("ada");
    let (_, bob) = lab.tenant("bob");
    let name = json!({ "name": "cases" });
    let workspace = lab.json("POST", "/workspaces", &ada, name, 201);
    let id = &workspace["workspace_id"];
    let wanted = json!({ "workspace_id": id });
    lab.json("POST", KEYS, &bob, wanted.clone(), 404);
    let grant = json!({ "workspace_id": id, "grantee": "bob", "mode": "rw" });
    let grant = lab.json("POST", "/grants", &ada, grant, 201);
    let key = lab.key(&bob, wanted);
    assert_eq!(key["prefix"], "cases/");
    let bucket = &key["bucket_name"];
    let part = json!(format!("{}/cases", bucket.as_str().unwrap()));
    assert_eq!(lab.may(&key, &part), "put get list delete");
    let none = "put:AccessDenied get:AccessDenied list:AccessDenied delete:AccessDenied";
    assert_eq!(lab.may(&key, bucket), none);
    let path = format!("/grants/{}", grant["grant_id"].as_str().unwrap());
    lab.json("DELETE", &path, &ada, Value::Null, 204);
    let dead = ["put", "get", "list", "delete"].map(|verb| format!("{verb}:InvalidAccessKeyId"));
    assert_eq!(lab.may(&key, &part), dead.join(" "));
}

#[test]
fn a_deleted_tenant_leaves_no_key_and_no_bucket() {
    let lab = Lab::start(testkit::require!(Tool::Python));
    let (tenant, ada) = lab.tenant("ada");
    let key = lab.key(&ada, Value::Null);
    let path = format!("/tenants/{tenant}?bucket=delete");
    let gone = lab.json("DELETE", &path, &lab.operator, Value::Null, 200);
    assert_eq!(gone["state"], "deleted");
    lab.json("GET", "/tenant/mount/info", &ada, Value::Null, 403);
    let dead = lab.may(&key, &key["bucket_name"]);
    assert!(dead.starts_with("put:InvalidAccessKeyId "), "{dead}");
    let root = json!({
        "access_key": testkit::ACCESS_KEY_ID, "secret_key": testkit::SECRET_ACCESS_KEY,
        "region": key["region"], "endpoint_url": key["endpoint_url"],
    });
    let missing = lab.may(&root, &key["bucket_name"]);
    assert!(missing.starts_with("put:NoSuchBucket "), "{missing}");
}
