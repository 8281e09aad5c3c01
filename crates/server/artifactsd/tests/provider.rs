//! `artifactsd provider check` as an operator runs it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "dev", feature = "provider"))]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_artifactsd");

async fn store(folder: &Path) -> embedded::Server {
    let root = embedded::AccessKey {
        id: testkit::ACCESS_KEY_ID.into(),
        secret: testkit::SECRET_ACCESS_KEY.to_owned().into(),
    };
    let options = embedded::Options {
        root: Some(root),
        durability: embedded::Durability::Process,
        ..embedded::Options::new(folder)
    };
    embedded::Server::start(options).await.unwrap()
}

fn check(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "provider",
            "check",
            "--provider",
            "embedded",
            "--endpoint",
            endpoint,
        ])
        .args(arguments)
        .env_remove("ARTIFACTS_PROVIDER_ACCESS_KEY_ID")
        .env_remove("ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY");
    command
}

fn with_keys(command: &mut Command, secret: &str) -> Output {
    command
        .env("ARTIFACTS_PROVIDER_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
        .env("ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY", secret)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_store_passes_and_nothing_is_left_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let output = with_keys(
        &mut check(&store.endpoint(), &[]),
        testkit::SECRET_ACCESS_KEY,
    );
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("copy from another bucket"), "{out}");
    assert!(
        out.contains(" as it should be, 0 not, 2 not known to this store"),
        "{out}"
    );
    assert!(!out.contains(testkit::SECRET_ACCESS_KEY));
    assert_eq!(store.keys().list().unwrap().len(), 1);
    let client = testkit::s3::client(&store.endpoint());
    let buckets = client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_fail_with_exit_code_1_and_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let json = ["--format", "json"];
    let output = with_keys(&mut check(&store.endpoint(), &json), "wrong-secret");
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let failed = &report["rows"][0];
    assert_eq!(failed["outcome"], "failed");
    let seen = failed["seen"].as_str().unwrap();
    assert!(
        seen.contains("the store refuses") && seen.contains("administrator's keys"),
        "{seen}"
    );
    assert!(!text(&output.stdout).contains("wrong-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_private_file_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let file = folder.path().join("admin.toml");
    let (id, secret) = (testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY);
    let lines = format!("access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n");
    std::fs::write(&file, lines).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let run = || {
        let named = ["--admin-keys", file.to_str().unwrap()];
        check(&store.endpoint(), &named).output().unwrap()
    };
    mode(0o644);
    let open = run();
    assert_eq!(open.status.code(), Some(1));
    assert!(
        text(&open.stderr).contains("hint: chmod 600"),
        "{}",
        text(&open.stderr)
    );
    mode(0o600);
    let output = run();
    assert!(output.status.success(), "{}", text(&output.stdout));

    let none = check(&store.endpoint(), &[]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    let said = text(&none.stderr);
    assert!(
        said.contains("hint: set ARTIFACTS_PROVIDER_ACCESS_KEY_ID"),
        "{said}"
    );
}
