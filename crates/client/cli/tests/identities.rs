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
    data: tempfile::TempDir,
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
            data,
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
    lab.machine.run("auth logout --all --keychain").refused(
        2,
        "This removes the keys of ada from the keyring",
        "--yes",
    );
    let status = lab.json("auth keyring status");
    assert_eq!(status["entries"], serde_json::json!(["identity/ada"]));
    lab.machine.run("auth logout --all --keychain --yes").ok();
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

/// What `whoami` says where the time is not over: the STS is asked.
#[test]
fn whoami_knows_a_session_that_is_dead_before_its_time() {
    let lab = Lab::new();
    let key = lab.configure("--session-length 1h");
    lab.machine.run("auth login --identity ada").ok();
    let who = lab.json("auth whoami --identity ada");
    assert_eq!(who["arn"], format!("arn:aws:iam::000000000000:user/{key}"));
    let realm = lab.json("auth keyring status")["realm"].clone();
    assert!(realm.is_string() && who["realm"] == realm, "{who}");
    lab.server.keys().revoke(&key).expect("revoked");
    let said = lab.machine.run("auth whoami --identity ada --format json");
    assert_eq!(said.code, 3, "{}", said.out);
    assert!(said.out.contains("\"valid\": false"), "{}", said.out);
    assert!(
        said.error()["message"]
            .to_string()
            .contains("is not accepted any more")
    );
    let shown = lab.machine.run("auth whoami --identity ada").out;
    assert!(shown.contains("not accepted any more"), "{shown}");
    // Without asking there is only the time; and so it is where nobody answers.
    lab.machine.run("auth whoami --identity ada --offline").ok();
}

/// A store's own session ends with the keys that it was made with: its keys open nothing any
/// more, long before their time is over.
#[test]
fn a_session_opens_nothing_once_its_keys_are_revoked() {
    let lab = Lab::new();
    let key = lab.configure("--session-length 1h");
    let endpoint = lab.server.endpoint();
    testkit::s3::create_bucket(&endpoint, "cases").expect("a bucket");
    let line =
        format!("workspace create cases --bucket cases --endpoint {endpoint} --identity ada");
    lab.machine.run(&line).ok();
    lab.machine.run("conflicts list cases").ok();
    lab.server.keys().revoke(&key).expect("revoked");
    let said = lab.machine.run("conflicts list cases");
    assert_eq!(said.code, 3, "{}", said.err);
}

#[test]
fn roles_codes_and_tokens_are_those_of_the_embedded_store() {
    let lab = Lab::new();
    let settings = serde_json::json!({
        "version": 1,
        "roles": [{
            "arn": "arn:aws:iam::000000000000:role/Reader",
            "trust": [{ "key": "*", "mfa": true, "external_id": "agreed" }],
            "policy": { "Statement": [
                { "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*" }
            ] }
        }],
        "mfa_devices": [{ "serial": "GAHT1", "code": "493817" }]
    });
    let path = lab.data.path().join(embedded::STS_FILE);
    std::fs::write(&path, settings.to_string()).expect("written");
    support::chmod(&path, 0o600);
    lab.configure("--role-arn arn:aws:iam::000000000000:role/Reader --mfa-device GAHT1");
    let login = |code: &str| {
        let line = format!("auth login --identity ada --mfa-code {code}");
        lab.machine.run(&line)
    };
    login("493817").refused(3, "AccessDenied", "auth user configure");
    lab.machine
        .run("auth user configure --identity ada --external-id agreed")
        .ok();
    login("000000").refused(3, "AccessDenied", "auth user configure");
    login("493817").ok();
    let who = lab.json("auth whoami --identity ada");
    assert_eq!(who["login"], "role");
    assert_eq!(
        who["arn"],
        "arn:aws:sts::000000000000:assumed-role/Reader/artifacts-ada"
    );
    // Its rights are the role's, not the key's.
    let endpoint = lab.server.endpoint();
    testkit::s3::create_bucket(&endpoint, "cases").expect("a bucket");
    let line =
        format!("workspace create cases --bucket cases --endpoint {endpoint} --identity ada");
    lab.machine.run(&line).refused(4, "may not write", "");
    let bare = lab
        .machine
        .run("auth user configure --identity ci --web-identity-token-file x");
    bare.refused(2, "exchanged for a role, and none is given", "--role-arn");
}

#[test]
fn the_system_keyring_is_where_identities_are_unless_another_is_chosen() {
    let mut machine = Machine::new();
    machine.set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    let line = "auth user configure --access-key-id A --secret-stdin";
    let said = machine.run_with_input(line, "b");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(
        said.err.contains("ARTIFACTS_KEYRING_TYPE=file"),
        "{}",
        said.err
    );
    assert!(!machine.config().join("config.toml").exists());
    // A profile may have its own.
    std::fs::create_dir_all(machine.config()).expect("made");
    let file = machine.config().join("config.toml");
    std::fs::write(&file, "[profiles.ci.keyring]\ntype = \"file\"\n").expect("written");
    support::chmod(&file, 0o600);
    machine.set("ARTIFACTS_KEYRING_PASSWORD", "correct horse");
    let said = machine.run_with_input(&format!("{line} --profile ci"), "b");
    said.ok();
    machine.run("auth list --profile ci").ok();
    assert_eq!(machine.run("auth list").code, 3);
    machine.set("ARTIFACTS_PROFILE", "ci");
    machine.run("auth list").ok();
    let status = machine.run("auth keyring status --format json").ok();
    assert!(status.contains("identity/default"), "{status}");
}

#[test]
fn a_session_of_other_settings_is_never_handed_on() {
    let lab = Lab::new();
    lab.configure("--session-length 1h");
    let configure = |more: &str| {
        let line = format!("auth user configure --identity ada {more}");
        lab.machine.run(&line).ok();
    };
    let entries = || lab.json("auth keyring status")["entries"].clone();
    let first = lab.session_key();
    configure("--session-length 2h");
    assert_eq!(lab.session_key(), first, "that would be no other session");
    for more in [
        "--role-arn arn:aws:iam::1:role/ReadOnly",
        "--external-id agreed",
        "--mfa-device GAHT1",
        "--endpoint http://127.0.0.1:1",
    ] {
        configure(more);
        assert_eq!(entries(), serde_json::json!(["identity/ada"]), "{more}");
        let endpoint = lab.server.endpoint();
        configure(&format!(
            "--role-arn= --external-id= --mfa-device= --endpoint {endpoint}"
        ));
        lab.session_key();
    }
    // A provider's token takes the place of long-lived keys.
    let said = lab.machine.run(
        "auth user configure --identity ada --role-arn arn:aws:iam::1:role/R --web-identity-token-file token",
    );
    assert!(said.err.contains("forgotten"), "{}", said.err);
    said.ok();
    assert_eq!(entries(), serde_json::json!([]));
    let line = "auth user configure --identity ada --web-identity-token-file= --access-key-id A --secret-stdin --role-arn=";
    lab.machine.run_with_input(line, "b").ok();
}

#[test]
fn keys_do_not_cross_a_network_in_the_clear() {
    let lab = Lab::new();
    let line = "auth user configure --identity ada --access-key-id A --secret-stdin --endpoint http://sts.example.com";
    lab.machine.run_with_input(line, "b").refused(
        2,
        "http://sts.example.com would send a session's keys over the network unencrypted",
        "https://",
    );
    assert_eq!(lab.json("auth list"), serde_json::json!([]));
    // Whoever writes it into the file gets no further.
    let file = lab.machine.config().join("config.toml");
    std::fs::create_dir_all(lab.machine.config()).expect("made");
    let text = "[auth.identities.ada]\nendpoint = \"http://10.0.0.1:9000\"\n";
    std::fs::write(&file, text).expect("written");
    support::chmod(&file, 0o600);
    for line in [
        "auth login --identity ada",
        "auth env --identity ada",
        "workspace create w --bucket b --identity ada",
    ] {
        lab.machine.run(line).refused(2, "unencrypted", "https://");
    }
}

#[test]
fn a_command_is_handed_the_session_and_nothing_that_opens_more() {
    let mut lab = Lab::new();
    lab.configure("--session-length 1h");
    let secrets = [
        ("ARTIFACTS_S3_ACCESS_KEY_ID", "s3-id"),
        ("ARTIFACTS_S3_SECRET_ACCESS_KEY", "s3-secret"),
        ("ARTIFACTS_S3_SESSION_TOKEN", "s3-token"),
        ("ARTIFACTS_KEYRING_NEW_PASSWORD", "next horse"),
        ("ARTIFACTS_EXPORT_PASSWORD", "third horse"),
        ("VAULT_PASSWORD", "fourth horse"),
    ];
    for (name, value) in secrets {
        lab.machine.set(name, value);
    }
    lab.machine.set("AWS_REGION", "shells-own");
    let file = lab.machine.config().join("config.toml");
    let mut config = std::fs::read_to_string(&file).expect("written");
    config.push_str(
        "[profiles.x.keyring]\ntype = \"file\"\nspec.password_env = \"VAULT_PASSWORD\"\n",
    );
    std::fs::write(&file, config).expect("written");
    let said = lab
        .machine
        .run_openly("auth exec --identity ada -- env")
        .ok();
    assert!(said.contains("AWS_SESSION_TOKEN="), "{said}");
    assert!(said.contains("AWS_REGION=shells-own"), "{said}");
    for (name, value) in secrets {
        assert!(
            !said.contains(name) && !said.contains(value),
            "{name}: {said}"
        );
    }
    assert!(!said.contains("correct horse"), "{said}");
    // Nor does it find the password's key in the login session.
    lab.machine.unset("ARTIFACTS_KEYRING_PASSWORD");
    for (name, _) in secrets {
        lab.machine.unset(name);
    }
    if lab.json("auth keyring status")["unlocked"] == true {
        let inside = "auth exec --identity ada -- artifacts auth keyring status --format json";
        let said = lab.machine.run(inside).ok();
        assert!(said.contains("\"unlocked\": false"), "{said}");
        assert_eq!(lab.json("auth keyring status")["unlocked"], true);
    }
}

#[test]
fn no_process_of_ours_leaves_a_core_dump_and_its_commands_may() {
    let lab = Lab::new();
    lab.configure("--session-length 1h");
    let limit = |said: &str| {
        let line = said.lines().find(|l| l.starts_with("Max core file size"));
        line.expect("a limit")
            .split_whitespace()
            .nth(4)
            .map(str::to_owned)
    };
    let script =
        "ulimit -S -c 1024; exec artifacts auth exec --identity ada -- cat /proc/self/limits";
    let said = lab
        .machine
        .command("/bin/bash")
        .args(["-c", script])
        .output();
    let said = Said::from(said.expect("bash")).ok();
    assert_eq!(limit(&said).as_deref(), Some("1048576"), "{said}");

    let silent = testkit::fake::Endpoint::silent().expect("listening");
    let line = format!(
        "auth user configure --identity ada --endpoint {}",
        silent.endpoint()
    );
    lab.machine.run(&line).ok();
    let mut login = lab
        .machine
        .artifacts("auth login --identity ada")
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_millis(500));
    let path = format!("/proc/{}", login.id());
    let limits = std::fs::read_to_string(format!("{path}/limits")).expect("running");
    let status = std::fs::read_to_string(format!("{path}/status")).expect("running");
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("{path}/environ")).expect("there"),
    );
    login.kill().expect("killed");
    login.wait().expect("ended");
    assert_eq!(limit(&limits).as_deref(), Some("0"), "{limits}");
    // proc(5): what is not dumpable belongs to root there, whoever runs it.
    assert_eq!(owner, 0, "{status}");
}

#[test]
fn what_is_left_in_the_keyring_can_be_found_and_logged_out() {
    let lab = Lab::new();
    lab.configure("--session-length 1h");
    lab.session_key();
    let file = lab.machine.config().join("config.toml");
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(lab.json("auth list"), serde_json::json!([]));
    // Its settings are made again without a question for the keys.
    let endpoint = lab.server.endpoint();
    lab.machine
        .run(&format!(
            "auth user configure --identity ada --endpoint {endpoint}"
        ))
        .ok();
    lab.machine.run("auth login --identity ada").ok();
    std::fs::remove_file(&file).expect("removed");
    let ended = lab.json("auth logout --all --keychain --yes");
    assert_eq!(ended["ended"], serde_json::json!(["ada"]));
    assert_eq!(
        lab.json("auth keyring status")["entries"],
        serde_json::json!([])
    );
    lab.machine.run("auth logout --identity ada").refused(
        5,
        "there is no identity ada",
        "auth user configure",
    );
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
    machine.run("conflicts list cases").ok();
    let line = "auth user configure --role-arn arn:aws:iam::role/Nobody";
    machine.run(line).ok();
    machine.run("auth login").refused(
        3,
        "the login of identity default was refused",
        "auth user configure",
    );
    // Rotated: keys that the store does not know are refused, and no session of before helps.
    let line = "auth user configure --role-arn arn:aws:iam::role/Files --access-key-id AKIAUNKNOWNUNKNOWN --secret-stdin";
    machine.run_with_input(line, "unknown").ok();
    machine.run("auth login").refused(
        3,
        "the login of identity default was refused",
        "auth user configure",
    );
    assert_eq!(machine.run("conflicts list cases").code, 3);
    let line = format!(
        "auth user configure --access-key-id {} --secret-stdin",
        store.access_key_id()
    );
    machine
        .run_with_input(&line, store.secret_access_key())
        .ok();
    machine.run("conflicts list cases").ok();
    // It has no sessions of its own users, and says so.
    machine.run("auth user configure --role-arn=").ok();
    let said = machine.run("auth login");
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("was refused"), "{}", said.err);
}
