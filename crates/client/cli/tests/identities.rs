//! Identities against the embedded store's STS.

mod support;

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::Value;
use support::{Machine, Said};

/// A store, and a machine with a file keyring.
struct Lab {
    _runtime: tokio::runtime::Runtime,
    server: embedded::Server,
    _data: tempfile::TempDir,
    machine: Machine,
}

const ALL: &str = r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

impl Lab {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut options = embedded::Options::new(data.path());
        options.durability = embedded::Durability::Process;
        options.root = Some(embedded::AccessKey {
            id: testkit::ACCESS_KEY_ID.to_owned(),
            secret: testkit::SECRET_ACCESS_KEY.into(),
        });
        let server = runtime.block_on(embedded::Server::start(options));
        let mut machine = Machine::new();
        machine
            .set("ARTIFACTS_KEYRING_TYPE", "file")
            .set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
        Self {
            _runtime: runtime,
            server: server.expect("a store"),
            _data: data,
            machine,
        }
    }

    /// Configures identity `ada` with a new key of the store's; its id.
    fn configure(&self, more: &str) -> String {
        let key = self.server.keys().add(ALL).expect("a key");
        let endpoint = self.server.endpoint();
        let line = format!(
            "auth user configure --identity ada --access-key-id {} --secret-stdin --endpoint {endpoint} {more}",
            key.id
        );
        let said = self
            .machine
            .run_with_input(&line, key.secret.expose_secret());
        assert!(!said.err.contains(key.secret.expose_secret()));
        said.ok();
        key.id
    }

    fn json(&self, line: &str) -> Value {
        let said = self.machine.run(&format!("{line} --format json"));
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err))
    }

    /// The access key id that `auth env` hands on.
    fn handed_on(&self) -> Said {
        self.machine.run_openly("auth env --identity ada -f json")
    }

    fn session_key(&self) -> String {
        let value: Value = serde_json::from_str(&self.handed_on().ok()).expect("JSON");
        value["AWS_ACCESS_KEY_ID"]
            .as_str()
            .expect("a key")
            .to_owned()
    }
}

#[test]
fn a_login_makes_a_session_beside_the_keys() {
    let lab = Lab::new();
    let long_lived = lab.configure("--session-length 1h");
    lab.machine.run("auth login --identity bob").refused(
        5,
        "there is no identity bob",
        "auth user configure --identity bob",
    );
    let before = lab.machine.run("auth whoami --identity ada");
    assert_eq!(before.code, 3);
    assert!(
        before.err.contains("identity ada is not logged in"),
        "{}",
        before.err
    );

    lab.machine.run("auth login --identity ada").ok();
    let who = lab.json("auth whoami --identity ada");
    assert_eq!(who["valid"], true, "{who}");
    assert_eq!(who["login"], "session");
    let left = who["expires_in"].as_i64().expect("seconds");
    assert!((3500..=3600).contains(&left), "{left}");
    let session = lab.session_key();
    assert_ne!(session, long_lived);
    assert_eq!(lab.session_key(), session, "a good session is used again");
    let status = lab.json("auth keyring status");
    let entries = serde_json::json!(["identity/ada", "session/ada"]);
    assert_eq!(status["entries"], entries);

    let said = lab
        .machine
        .run("auth exec --identity ada -- printenv AWS_ACCESS_KEY_ID");
    assert_eq!(said.ok().trim(), session);
    let said = lab.machine.run("auth exec --identity ada -- false");
    assert_eq!(said.code, 1, "the command's own exit code");
    let said = lab
        .machine
        .run("auth exec --identity ada -- no-such-program");
    assert_eq!(said.code, 127, "{}", said.err);

    lab.machine.run("auth logout --identity ada").ok();
    assert_eq!(lab.machine.run("auth whoami --identity ada").code, 3);
    let status = lab.json("auth keyring status");
    assert_eq!(status["entries"], serde_json::json!(["identity/ada"]));
    lab.machine.run("auth logout --all --keychain").ok();
    let status = lab.json("auth keyring status");
    assert_eq!(status["entries"], serde_json::json!([]));
    assert_eq!(lab.json("auth list"), serde_json::json!([]));
}

#[test]
fn a_session_near_its_end_is_renewed_and_a_lasting_one_is_not() {
    let lab = Lab::new();
    lab.configure("--session-length 299s");
    let first = lab.session_key();
    assert_ne!(lab.session_key(), first, "less than five minutes are left");
    lab.configure("--session-length 310s");
    let first = lab.session_key();
    assert_eq!(lab.session_key(), first);
}

#[test]
fn a_session_ends_with_its_keys_and_new_keys_end_it() {
    let lab = Lab::new();
    let old = lab.configure("--session-length 2s");
    lab.machine.run("auth login --identity ada").ok();
    lab.server.keys().revoke(&old).expect("revoked");
    std::thread::sleep(Duration::from_millis(2100));
    let who = lab.machine.run("auth whoami --identity ada --format json");
    assert_eq!(who.code, 3);
    assert_eq!(who.error()["code"], "not-logged-in");
    assert!(who.out.contains("\"valid\": false"), "{}", who.out);
    let refused = lab.handed_on();
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(
        refused
            .err
            .contains("the login of identity ada was refused"),
        "{}",
        refused.err
    );
    // Rotated: the old session does not stick.
    lab.configure("--session-length 1h");
    let status = lab.json("auth keyring status");
    assert_eq!(status["entries"], serde_json::json!(["identity/ada"]));
    lab.session_key();
}

#[test]
fn an_sts_that_is_not_there_is_temporary() {
    let lab = Lab::new();
    lab.configure("");
    let line = "auth user configure --identity ada --endpoint http://127.0.0.1:1";
    lab.machine.run(line).ok();
    lab.machine
        .run("auth login --identity ada")
        .refused(7, "gives no answer", "endpoint");
}

#[test]
fn an_identity_is_the_key_source_of_a_workspace() {
    let lab = Lab::new();
    lab.configure("--session-length 1h");
    let endpoint = lab.server.endpoint();
    let line = "auth exec --identity ada -- artifacts workspace create x --bucket none --endpoint http://127.0.0.1:1";
    assert_eq!(
        lab.machine.run(line).code,
        3,
        "exec hands on AWS variables, not ours"
    );
    testkit::s3::create_bucket(&endpoint, "cases").expect("a bucket");
    let line =
        format!("workspace create cases --bucket cases --endpoint {endpoint} --identity ada");
    lab.machine.run(&line).ok();
    let shown = lab.machine.run("workspace show cases").ok();
    assert!(shown.contains("(session/ada)"), "{shown}");
    let said = lab.machine.run_openly("credential-process cases").ok();
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(answer["AccessKeyId"], lab.session_key().as_str());
    assert!(
        answer["Expiration"]
            .as_str()
            .is_some_and(|t| t.ends_with('Z')),
        "{answer}"
    );
    let said = lab.machine.run("storage show");
    assert_eq!(said.code, 3, "the profile itself has no keys");
}

#[test]
fn scripts_are_never_asked() {
    let lab = Lab::new();
    lab.machine.run("auth user configure --no-input").refused(
        2,
        "the access key id is not given",
        "--access-key-id ID",
    );
    lab.machine
        .run("auth user configure --access-key-id A")
        .refused(2, "would have to be typed", "--secret-stdin");
    lab.configure("--mfa-device arn:aws:iam::1:mfa/x");
    lab.machine.run("auth login --identity ada").refused(
        2,
        "the code of arn:aws:iam::1:mfa/x is not given",
        "--mfa-code CODE",
    );
}

/// A role in SeaweedFS that may do everything with files, for whoever has keys.
fn seaweedfs_with_a_role() -> testkit::seaweedfs::Options {
    let role = serde_json::json!({
        "roleName": "Files",
        "roleArn": "arn:aws:iam::role/Files",
        "attachedPolicies": ["All"],
        "trustPolicy": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}
        ]}
    });
    testkit::seaweedfs::Options {
        iam: Some(serde_json::json!({
            "sts": {
                "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs-sts",
                "signingKey": "dGVzdC1zaWduaW5nLWtleS0zMi1jaGFycy1sb25nISE="
            },
            "providers": [],
            "policy": {"defaultEffect": "Deny", "storeType": "memory"},
            "roles": [role],
            "policies": [{"name": "All", "document": {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
            ]}}]
        })),
        ..testkit::seaweedfs::Options::default()
    }
}

#[test]
fn a_role_of_seaweedfs_is_assumed_and_its_keys_open_a_bucket() {
    testkit::require!(testkit::tools::Tool::Weed);
    let store = testkit::seaweedfs::SeaweedFs::start_with(seaweedfs_with_a_role());
    let store = store.expect("a store");
    store.create_bucket("cases").expect("a bucket");
    let endpoint = store.endpoint();
    let mut machine = Machine::new();
    machine
        .set("ARTIFACTS_KEYRING_TYPE", "file")
        .set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
    let line = format!(
        "auth user configure --access-key-id {} --secret-stdin --endpoint {endpoint} --role-arn arn:aws:iam::role/Files --session-length 1h",
        store.access_key_id()
    );
    machine
        .run_with_input(&line, store.secret_access_key())
        .ok();
    machine.run("auth login").ok();
    let who = machine.run("auth whoami --format json").ok();
    assert!(
        who.contains("\"login\": \"role\"") && who.contains("\"valid\": true"),
        "{who}"
    );
    let line =
        format!("workspace create cases --bucket cases --endpoint {endpoint} --identity default");
    machine.run(&line).ok();
    let line = "auth user configure --role-arn arn:aws:iam::role/Nobody";
    machine.run(line).ok();
    machine.run("auth login").refused(
        3,
        "the login of identity default was refused",
        "auth user configure",
    );
}
