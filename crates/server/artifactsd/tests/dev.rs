//! The program: what it says when ready, what it refuses, and what `kill -9` leaves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "dev")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use parking_lot::Mutex;

const BUCKET: &str = "crash-bucket";
const PROGRAM: &str = env!("CARGO_BIN_EXE_artifactsd");

/// A server that is killed when the test is done with it.
struct Running {
    child: Child,
    endpoint: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["dev", "--store-only", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("ARTIFACTS_DEV_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
        .env(
            "ARTIFACTS_DEV_SECRET_ACCESS_KEY",
            testkit::SECRET_ACCESS_KEY,
        )
        .stdin(Stdio::null());
    command
}

fn start(data: &Path) -> Running {
    let mut child = program(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(
        !line.contains(testkit::SECRET_ACCESS_KEY),
        "the line holds no secret"
    );
    Running {
        child,
        endpoint: ready["endpoint"].as_str().unwrap().to_owned(),
    }
}

fn keys(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command
        .args(["dev", "keys", "--data"])
        .arg(data)
        .args(arguments)
        .output()
        .unwrap()
}

/// The body of a version of an object: it names itself, at one of several sizes so that
/// both small (in the index) and large (in files) bodies are hit.
fn body(key: u64, version: u64) -> Vec<u8> {
    let size = [100, 5_000, 40_000, 300_000][usize::try_from((key + version) % 4).unwrap()];
    let text = format!("object {key} version {version}\n");
    text.bytes().cycle().take(size).collect()
}

/// What a writer knows of a key: the version answered last, and the one under way.
#[derive(Default, Clone, Copy)]
struct Known {
    answered: u64,
    tried: u64,
}

/// Overwrites a hundred keys again and again until the server is gone.
async fn write(
    client: Client,
    writer: u64,
    known: Arc<Mutex<HashMap<u64, Known>>>,
    puts: Arc<AtomicU64>,
) {
    for turn in 0.. {
        let key = writer * 25 + turn % 25;
        let version = {
            let mut known = known.lock();
            let known = known.entry(key).or_default();
            known.tried += 1;
            known.tried
        };
        let put = client
            .put_object()
            .bucket(BUCKET)
            .key(key.to_string())
            .body(body(key, version).into());
        if put.send().await.is_err() {
            return;
        }
        known.lock().entry(key).or_default().answered = version;
        puts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every key has a whole body: of the version answered last or, where a write was under
/// way, possibly of that one.
async fn verify(client: &Client, known: &HashMap<u64, Known>) {
    for (key, known) in known {
        let got = client
            .get_object()
            .bucket(BUCKET)
            .key(key.to_string())
            .send()
            .await;
        let Ok(got) = got else {
            assert_eq!(
                known.answered, 0,
                "object {key} was answered and is not there"
            );
            continue;
        };
        let etag = got.e_tag.unwrap();
        let bytes = got.body.collect().await.unwrap().to_vec();
        let found = (known.answered..=known.tried).find(|version| body(*key, *version) == bytes);
        assert!(
            found.is_some(),
            "object {key} is neither old nor new: {} bytes",
            bytes.len()
        );
        let again = client
            .put_object()
            .bucket("proof")
            .key("etag")
            .body(bytes.into())
            .send()
            .await
            .unwrap();
        assert_eq!(again.e_tag.unwrap(), etag, "object {key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_1000_puts_leaves_old_or_new() {
    let folder = tempfile::tempdir().unwrap();
    let known = Arc::new(Mutex::new(HashMap::new()));
    let puts = Arc::new(AtomicU64::new(0));
    for round in 1..=5 {
        let mut server = start(folder.path());
        let client = testkit::s3::client(&server.endpoint);
        for bucket in [BUCKET, "proof"] {
            // There from the second round on.
            let _ = client.create_bucket().bucket(bucket).send().await;
        }
        let before = known.lock().clone();
        verify(&client, &before).await;
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                tokio::spawn(write(
                    client.clone(),
                    writer,
                    Arc::clone(&known),
                    Arc::clone(&puts),
                ))
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        while puts.load(Ordering::Relaxed) < round * 230 {
            assert!(Instant::now() < deadline, "too slow to be a test");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        server.child.kill().unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
    }
    assert!(puts.load(Ordering::Relaxed) >= 1000);
    let server = start(folder.path());
    let client = testkit::s3::client(&server.endpoint);
    let known = known.lock().clone();
    verify(&client, &known).await;
}

#[test]
fn a_key_is_added_listed_and_revoked_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    drop(start(folder.path()));
    let policy = folder.path().join("policy.json");
    std::fs::write(
        &policy,
        r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#,
    )
    .unwrap();
    let added = keys(
        folder.path(),
        &["add", "--policy", policy.to_str().unwrap()],
    );
    let added: serde_json::Value = serde_json::from_slice(&added.stdout).unwrap();
    let id = added["access_key_id"].as_str().unwrap();
    let listed = String::from_utf8(keys(folder.path(), &["list"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), 2);
    assert!(listed.contains(id) && !listed.contains(added["secret_access_key"].as_str().unwrap()));
    assert!(keys(folder.path(), &["revoke", id]).status.success());
    let again = keys(folder.path(), &["revoke", id]);
    assert!(!again.status.success());
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(
        said.starts_with(&format!("error: there is no key {id}\nhint: ")),
        "{said}"
    );
}

#[test]
fn half_a_root_key_and_a_remote_address_are_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let half = program(folder.path())
        .env_remove("ARTIFACTS_DEV_SECRET_ACCESS_KEY")
        .output()
        .unwrap();
    let said = String::from_utf8(half.stderr).unwrap();
    assert!(
        !half.status.success() && said.contains("hint: set both or neither"),
        "{said}"
    );
    let remote = Command::new(PROGRAM)
        .args(["dev", "--store-only", "--listen", "0.0.0.0:0", "--data"])
        .arg(folder.path())
        .output();
    let said = String::from_utf8(remote.unwrap().stderr).unwrap();
    assert!(said.contains("--allow-remote"), "{said}");
}

#[test]
fn sigterm_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.child.wait().unwrap().success());
}
